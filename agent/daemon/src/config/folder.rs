//! Reads a folder of small TOML files, one value each, in the order of their names.

use std::path::Path;

use super::reader::{Faults, Section};

/// All values of a folder; none when there is no such folder.
///
/// # Errors
/// All faults of all files, a sentence each.
pub fn load<T>(folder: &Path, read: fn(&mut Section<'_>) -> T) -> Result<Vec<T>, Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(vec![format!("{} could not be read: {e}", folder.display())]),
    };
    let mut files: Vec<_> =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    let mut values = Vec::new();
    let mut faults = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|e| vec![format!("could not be read: {e}")]);
        match text.and_then(|text| parse(&text, read)) {
            Ok(value) => values.push(value),
            Err(found) => {
                faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", file.display())));
            }
        }
    }
    if faults.is_empty() { Ok(values) } else { Err(faults) }
}

/// One value from TOML text.
///
/// # Errors
/// All faults, a sentence each.
pub fn parse<T>(text: &str, read: impl FnOnce(&mut Section<'_>) -> T) -> Result<T, Vec<String>> {
    let table: toml::Table =
        text.parse().map_err(|e: toml::de::Error| vec![format!("not TOML: {e}").trim_end().to_owned()])?;
    let faults = Faults::default();
    let mut section = Section::new(&faults, "", table);
    let value = read(&mut section);
    section.end();
    faults.into_result(value)
}
