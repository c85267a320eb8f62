//! Reads the video profiles, one file each, from a folder; files in the order of their names.

use std::path::Path;

use super::reader::{Faults, Section};
use crate::model::profile::Profile;

/// All profiles of a folder; none when there is no such folder.
///
/// # Errors
/// All faults of all files, a sentence each.
pub fn load(folder: &Path) -> Result<Vec<Profile>, Vec<String>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut files: Vec<_> =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    let mut profiles = Vec::new();
    let mut faults = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|e| vec![e.to_string()]);
        match text.and_then(|text| parse(&text)) {
            Ok(profile) => profiles.push(profile),
            Err(found) => {
                faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", file.display())));
            }
        }
    }
    if faults.is_empty() { Ok(profiles) } else { Err(faults) }
}

fn parse(text: &str) -> Result<Profile, Vec<String>> {
    let table: toml::Table =
        text.parse().map_err(|e: toml::de::Error| vec![format!("not TOML: {e}").trim_end().to_owned()])?;
    let faults = Faults::default();
    let mut s = Section::new(&faults, "", table);
    let profile = Profile {
        id: s.text("id", None, 20),
        name: s.text("name", None, 20),
        purpose: s.text("for", None, 60),
        min_width: s.maybe_number("min_width", 16..=8192),
        min_height: s.maybe_number("min_height", 16..=8192),
        max_kbps: s.maybe_number("max_kbps", 1..=100_000),
        min_minutes: s.maybe_number("min_minutes", 0..=600),
        max_minutes: s.maybe_number("max_minutes", 1..=600),
        max_mib: s.maybe_number("max_mib", 1..=100_000),
        uninterrupted: s.choice_of_bool("uninterrupted"),
    };
    s.end();
    faults.into_result(profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profiles_that_ship_are_valid_and_a_wrong_one_names_its_faults() {
        let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/profiles"));
        let profiles = load(shipped).expect("valid");
        assert_eq!(
            profiles.iter().map(|p| p.id.as_str()).collect::<Vec<_>>(),
            ["master", "youke", "noedit", "clip"]
        );
        assert!(profiles[2].uninterrupted && profiles[3].max_minutes == Some(10));
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(
            folder.path().join("a.toml"),
            "id = \"a\"\nname = \"a\"\nmax_minutes = 0\nsurprise = 1\n",
        )
        .expect("writes");
        let faults = load(folder.path()).expect_err("faults");
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(load(Path::new("/nowhere")).expect("none").is_empty());
    }
}
