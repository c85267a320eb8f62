//! Floor 2: settings. Read once, checked whole: every fault is told at once, by field path.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// Checked settings. `config/hub.toml` is their reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// The name at the top of the console and in downloads.
    pub school: String,
    /// Folder of the certification schemes.
    pub schemes: PathBuf,
    /// Where the console and the upload API listen.
    pub http_listen: SocketAddr,
    /// Where the broker listens.
    pub mqtt_listen: SocketAddr,
    /// Days that measurements are kept.
    pub samples_days: u32,
    /// Space that stays free on the disk, bytes.
    pub keep_free_bytes: u64,
}

/// Every fault of a settings file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} has {} fault(s):\n  {}", .faults.len(), .faults.join("\n  "))]
pub struct BadConfig {
    /// The file.
    pub path: String,
    /// One line each, starting with the field's path.
    pub faults: Vec<String>,
}

/// Reads and checks a settings file.
///
/// # Errors
/// [`BadConfig`] with all faults.
pub fn load(path: &Path) -> Result<Config, BadConfig> {
    let bad = |faults| BadConfig { path: path.display().to_string(), faults };
    let text = std::fs::read_to_string(path).map_err(|e| bad(vec![format!("it cannot be read: {e}")]))?;
    parse(&text).map_err(bad)
}

/// Checks settings.
///
/// # Errors
/// One line for each fault.
pub fn parse(text: &str) -> Result<Config, Vec<String>> {
    let table: Table = text.parse().map_err(|e: toml::de::Error| vec![e.to_string().trim().to_owned()])?;
    let mut reader = Reader { table: &table, known: BTreeSet::new(), faults: Vec::new() };
    let config = Config {
        data_dir: reader.text("data_dir", "/var/lib/lectern-hub", 4096).into(),
        school: reader.text("school", "示范学校", 40),
        schemes: reader.text("schemes", "/etc/lectern/hub-schemes", 4096).into(),
        http_listen: reader.address("http.listen", "0.0.0.0:8470"),
        mqtt_listen: reader.address("mqtt.listen", "0.0.0.0:1883"),
        samples_days: reader.number("store.samples_days", 14, 1..=400),
        keep_free_bytes: u64::from(reader.number("store.keep_free_mib", 1024, 0..=1_000_000)) << 20,
    };
    if config.http_listen == config.mqtt_listen && config.http_listen.port() != 0 {
        reader.faults.push("mqtt.listen: is the same as http.listen; give each its own port".into());
    }
    reader.unknown();
    if reader.faults.is_empty() { Ok(config) } else { Err(reader.faults) }
}

/// Takes fields one by one, remembers which exist, and collects what is wrong.
struct Reader<'a> {
    table: &'a Table,
    known: BTreeSet<&'static str>,
    faults: Vec<String>,
}

impl Reader<'_> {
    fn value(&mut self, path: &'static str) -> Option<Value> {
        self.known.insert(path);
        let mut levels = path.split('.');
        let mut value = self.table.get(levels.next()?)?;
        for level in levels {
            value = value.as_table()?.get(level)?;
        }
        Some(value.clone())
    }

    fn fault(&mut self, path: &str, what: &str) {
        self.faults.push(format!("{path}: {what}"));
    }

    fn text(&mut self, path: &'static str, default: &str, max_chars: usize) -> String {
        match self.value(path) {
            None => default.to_owned(),
            Some(Value::String(s)) => {
                if s.trim().is_empty() || s.chars().count() > max_chars || s.chars().any(char::is_control) {
                    self.fault(path, &format!("must be 1 to {max_chars} characters on one line"));
                }
                s
            }
            Some(other) => {
                self.fault(path, &format!("must be a text in quotes, not {}", other.type_str()));
                String::new()
            }
        }
    }

    fn address(&mut self, path: &'static str, default: &str) -> SocketAddr {
        let text = match self.value(path) {
            None => default.to_owned(),
            Some(Value::String(s)) => s,
            Some(other) => other.type_str().to_owned(),
        };
        text.parse().unwrap_or_else(|_| {
            self.fault(path, &format!("{text:?} is not an address and port such as \"{default}\""));
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    fn number(&mut self, path: &'static str, default: u32, range: std::ops::RangeInclusive<u32>) -> u32 {
        let given = match self.value(path) {
            None => return default,
            Some(Value::Integer(n)) => u32::try_from(n).ok().filter(|n| range.contains(n)),
            Some(_) => None,
        };
        given.unwrap_or_else(|| {
            self.fault(path, &format!("must be a whole number from {} to {}", range.start(), range.end()));
            default
        })
    }

    fn unknown(&mut self) {
        let mut faults = Vec::new();
        for (name, value) in self.table {
            let section = format!("{name}.");
            let is_section = self.known.iter().any(|k| k.starts_with(&section));
            match value {
                Value::Table(fields) if is_section => {
                    let stray = fields.keys().map(|f| format!("{name}.{f}"));
                    faults.extend(stray.filter(|path| !self.known.contains(path.as_str())));
                }
                _ if is_section => self.faults.push(format!("{name}: must be a section, [{name}]")),
                _ if self.known.contains(name.as_str()) => {}
                _ => faults.push(name.clone()),
            }
        }
        self.faults.extend(faults.into_iter().map(|path| format!("{path}: is not a setting of lectern-hub")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_annotated_file_holds_every_setting_at_its_default() {
        let annotated = include_str!("../../config/hub.toml");
        assert_eq!(parse(annotated), parse(""));
        let table: Table = annotated.parse().expect("toml");
        let mut reader = Reader { table: &table, known: BTreeSet::new(), faults: vec![] };
        for path in [
            "data_dir",
            "school",
            "schemes",
            "http.listen",
            "mqtt.listen",
            "store.samples_days",
            "store.keep_free_mib",
        ] {
            assert!(reader.value(path).is_some(), "{path} is not in config/hub.toml");
        }
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let faults = parse(
            "data_dir = 5\nschool = ''\ncolour = 'red'\nmqtt = 3\n[http]\nlisten = 'everywhere'\nport = 1\n\
             [store]\nsamples_days = -1\nkeep_free_mib = 'lots'\n",
        )
        .expect_err("faults");
        for path in [
            "data_dir:",
            "school:",
            "colour:",
            "mqtt:",
            "http.listen:",
            "http.port:",
            "store.samples_days:",
            "store.keep_free_mib:",
        ] {
            assert!(faults.iter().any(|f| f.starts_with(path)), "{path} is missing in {faults:#?}");
        }
        assert_eq!(faults.len(), 8, "{faults:#?}");
    }
}
