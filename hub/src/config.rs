//! Floor 2: settings. Read once, checked whole: every fault is told at once, by field path.

mod broker;
mod targets;
pub mod tls;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use lectern_wire::desired::Thresholds;
use toml::{Table, Value};
use url::Url;

pub use broker::Outside;

use crate::model::indicators::Targets;
use crate::model::retention::Retention;
use crate::model::watch;
use crate::store::objects::bucket::S3Settings;

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
    /// Parts that may be on their way at once, over all rooms.
    pub parts_at_once: u32,
    /// Where the broker inside listens.
    pub mqtt_listen: SocketAddr,
    /// What rooms are told to report to, where it is not this hub's own port: `mqtts://…`.
    pub mqtt_address: Option<Url>,
    /// How the hub is spoken with from other machines.
    pub tls: tls::Tls,
    /// A broker beside the hub, instead of the one inside.
    pub outside: Option<Outside>,
    /// Days that measurements are kept.
    pub samples_days: u32,
    /// Space that stays free on the disk, bytes.
    pub keep_free_bytes: u64,
    /// How long lessons are kept.
    pub retention: Retention,
    /// Thresholds of alarms that every room is handed.
    pub thresholds: Thresholds,
    /// When rooms are missed.
    pub watch: watch::Rules,
    /// What the school has set itself, and which rooms are recording rooms.
    pub targets: Targets,
    /// Days without news after which a lesson that was never sealed loses the parts it has here.
    pub abandoned_days: u32,
    /// The S3 store that lessons go to; without one they are files below `data_dir`.
    pub s3: Option<S3Settings>,
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
    let table: Table = text.parse().map_err(|e: toml::de::Error| {
        // Not the line itself: it may hold a secret, and this goes to the journal.
        let at = e.span().map_or(0, |at| at.start);
        let line = text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1;
        vec![format!("not TOML in line {line}: {}", e.message().trim_end())]
    })?;
    let mut reader = Reader { table: &table, known: BTreeSet::new(), faults: Vec::new() };
    let http_listen = reader.address("http.listen", "0.0.0.0:8470");
    let mqtt_listen = reader.address("mqtt.listen", "0.0.0.0:8883");
    let config = Config {
        data_dir: reader.text("data_dir", "/var/lib/lectern-hub", 4096).into(),
        school: reader.text("school", "示范学校", 40),
        schemes: reader.text("schemes", "/etc/lectern/hub-schemes", 4096).into(),
        http_listen,
        parts_at_once: reader.number("http.parts_at_once", 16, 1..=1000),
        mqtt_listen,
        mqtt_address: reader.mqtt_address(),
        tls: reader.tls([("http.listen", http_listen), ("mqtt.listen", mqtt_listen)]),
        outside: reader.outside(),
        samples_days: reader.number("store.samples_days", 14, 1..=400),
        keep_free_bytes: u64::from(reader.number("store.keep_free_mib", 1024, 0..=1_000_000)) << 20,
        retention: Retention {
            draft_days: reader.days("retention.draft_days"),
            submitted_days: reader.days("retention.submitted_days"),
            year_ends: reader.year_end("retention.year_ends", "08-31"),
        },
        watch: watch::Rules {
            away_ms: i64::from(reader.number("alarms.away_minutes", 5, 1..=1440)) * 60_000,
            hours: reader.hours("alarms.school_hours", "1-5 07:30-16:30"),
            oldest: reader.version("alarms.oldest_version"),
        },
        thresholds: reader.thresholds(),
        targets: reader.targets(),
        abandoned_days: reader.number("store.abandoned_days", 30, 1..=400),
        s3: reader.s3(),
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

    fn hours(&mut self, path: &'static str, default: &str) -> watch::Hours {
        let text = self.text(path, default, 40);
        watch::Hours::parse(&text).unwrap_or_else(|| {
            self.fault(path, &format!("{text:?} is not days of the week and hours such as \"{default}\""));
            watch::Hours { days: 1..=7, minutes: 0..1440 }
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

    /// What every room is handed; 0 leaves it to the room.
    fn thresholds(&mut self) -> Thresholds {
        let mut one = |path: &'static str| Some(self.number(path, 0, 0..=86_400)).filter(|n| *n > 0);
        let all = Thresholds {
            temperature_celsius: one("room_alarms.temperature_celsius"),
            disk_minutes: one("room_alarms.disk_minutes"),
            disk_used_pct: one("room_alarms.disk_used_pct"),
            round_trip_ms: one("room_alarms.round_trip_ms"),
            resent_pct: one("room_alarms.resent_pct"),
            clock_off_s: one("room_alarms.clock_off_s"),
        };
        if let Some(what) = all.fault() {
            self.fault("room_alarms", &format!("{what}, or 0 to leave it to the room"));
        }
        all
    }

    /// Days, where 0 stands for good.
    fn days(&mut self, path: &'static str) -> Option<u32> {
        Some(self.number(path, 0, 0..=36_500)).filter(|days| *days > 0)
    }

    fn year_end(&mut self, path: &'static str, default: &str) -> (i8, i8) {
        let text = self.text(path, default, 5);
        let day =
            text.split_once('-').and_then(|(month, day)| Some((month.parse().ok()?, day.parse().ok()?)));
        // A day that every year has.
        let there = day.filter(|(month, day)| jiff::civil::Date::new(2027, *month, *day).is_ok());
        there.unwrap_or_else(|| {
            self.fault(path, &format!("must be a month and a day such as \"{default}\", not {text:?}"));
            (8, 31)
        })
    }

    fn flag(&mut self, path: &'static str, default: bool) -> bool {
        match self.value(path) {
            None => default,
            Some(Value::Boolean(flag)) => flag,
            Some(other) => {
                self.fault(path, &format!("must be true or false, not {}", other.type_str()));
                default
            }
        }
    }

    /// The S3 store, when `store.kind` says so. Its fields are checked either way, as far as they are there.
    fn s3(&mut self) -> Option<S3Settings> {
        let kind = self.text("store.kind", "file", 10);
        let wanted = kind == "s3";
        if !wanted && kind != "file" {
            self.fault("store.kind", &format!("must be \"file\" or \"s3\", not {kind:?}"));
        }
        let endpoint = self.filled("s3.endpoint", wanted, "the address of the S3 store");
        let bucket = self.filled("s3.bucket", wanted, "the bucket's name");
        let keys_file = self.filled("s3.keys_file", wanted, "the file with the access key and its secret");
        let region = self.text("s3.region", "garage", 64);
        let path_style = self.flag("s3.path_style", true);
        let prefix = self.filled("s3.prefix", false, "");
        let through_hub = self.flag("s3.through_hub", false);
        let url = (!endpoint.is_empty()).then(|| self.endpoint(&endpoint)).flatten();
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !bucket.is_empty() && (!(3..=63).contains(&bucket.len()) || !bucket.chars().all(plain)) {
            self.fault("s3.bucket", "must have 3 to 63 characters: letters, digits, - and .");
        }
        let levels = prefix.trim_end_matches('/').split('/');
        let sound = |level: &str| !level.is_empty() && level.chars().all(plain) && !level.starts_with('.');
        if !prefix.is_empty() && (prefix.len() > 200 || !levels.into_iter().all(sound)) {
            self.fault("s3.prefix", "must be names of letters, digits, -, _ and . with / between them");
        }
        let prefix = if prefix.is_empty() || prefix.ends_with('/') { prefix } else { prefix + "/" };
        let keys = if wanted && !keys_file.is_empty() {
            read_keys(Path::new(&keys_file))
        } else {
            Ok(Default::default())
        };
        let (key, secret) = keys.unwrap_or_else(|e| {
            self.fault("s3.keys_file", &e);
            Default::default()
        });
        let endpoint = url.filter(|_| wanted)?;
        Some(S3Settings { endpoint, bucket, region, path_style, prefix, through_hub, key, secret })
    }

    /// A text that is needed only sometimes; empty when it is not there.
    fn filled(&mut self, path: &'static str, needed: bool, what: &str) -> String {
        let text = match self.value(path) {
            Some(Value::String(s)) if s.is_empty() => None,
            None => None,
            Some(_) => Some(self.text(path, "", 4096)),
        };
        if text.is_none() && needed {
            self.fault(path, &format!("is needed when store.kind is \"s3\": {what}"));
        }
        text.unwrap_or_default()
    }

    fn endpoint(&mut self, text: &str) -> Option<Url> {
        let url = Url::parse(text).ok().filter(|url| {
            let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
            let anonymous = url.username().is_empty() && url.password().is_none();
            matches!(url.scheme(), "http" | "https") && url.host().is_some() && bare && anonymous
        });
        if url.is_none() {
            self.fault(
                "s3.endpoint",
                &format!("{text:?} is not an address such as \"https://s3.example.com\""),
            );
        }
        url
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

/// The access key and its secret.
fn read_keys(path: &Path) -> Result<(String, String), String> {
    read_lines(path, "two lines: the access key and its secret").map(|[key, secret]| (key, secret))
}

/// The lines of a file that is its user's alone.
fn read_lines<const N: usize>(path: &Path, what: &str) -> Result<[String; N], String> {
    use std::os::unix::fs::PermissionsExt as _;
    let shown = path.display();
    let about = std::fs::metadata(path).map_err(|e| format!("{shown} cannot be read: {e}"))?;
    if about.permissions().mode() & 0o077 != 0 {
        return Err(format!("{shown} can be read by others; take their rights away: chmod 600 {shown}"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| format!("{shown} cannot be read: {e}"))?;
    let lines: Vec<_> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    lines.try_into().ok().filter(|_| text.is_ascii()).ok_or_else(|| format!("{shown} must hold {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_in_a_line_with_a_secret_does_not_say_the_secret() {
        let faults =
            parse("data_dir = \"x\"\n[s3]\nsecret = \"s3cret\nbucket = 5").expect_err("a quote is missing");
        assert!(faults.len() == 1 && faults[0].starts_with("not TOML in line 3: "), "{faults:?}");
        assert!(!faults[0].contains("s3cret"), "{faults:?}");
    }

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
            "http.parts_at_once",
            "mqtt.listen",
            "mqtt.address",
            "tls.kind",
            "tls.loopback",
            "tls.names",
            "tls.certificate",
            "tls.key",
            "tls.ca",
            "broker.url",
            "broker.id",
            "broker.user",
            "broker.password_file",
            "broker.share",
            "store.samples_days",
            "store.keep_free_mib",
            "retention.draft_days",
            "retention.submitted_days",
            "retention.year_ends",
            "alarms.away_minutes",
            "alarms.school_hours",
            "alarms.oldest_version",
            "targets.coverage_pct",
            "targets.power_on_pct",
            "targets.periods_used_pct",
            "targets.teachers_pct",
            "targets.recording_rooms_pct",
            "targets.submitted_pct",
            "targets.in_order_pct",
            "targets.recording_rooms",
            "store.abandoned_days",
            "store.kind",
            "s3.endpoint",
            "s3.bucket",
            "s3.region",
            "s3.path_style",
            "s3.prefix",
            "s3.keys_file",
            "s3.through_hub",
        ] {
            assert!(reader.value(path).is_some(), "{path} is not in config/hub.toml");
        }
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let faults = parse(
            "data_dir = 5\nschool = ''\ncolour = 'red'\nmqtt = 3\n[http]\nlisten = 'everywhere'\nport = 1\n\
             [store]\nsamples_days = -1\nkeep_free_mib = 'lots'\n\
             [retention]\ndraft_days = -2\nyear_ends = '02-30'\n",
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
            "retention.draft_days:",
            "retention.year_ends:",
        ] {
            assert!(faults.iter().any(|f| f.starts_with(path)), "{path} is missing in {faults:#?}");
        }
        assert_eq!(faults.len(), 10, "{faults:#?}");
    }

    #[test]
    fn an_s3_store_is_taken_whole_or_its_faults_are_all_told() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("folder");
        let keys = folder.path().join("keys");
        let settings = |more: &str| {
            format!(
                "[store]\nkind = 's3'\n[s3]\nendpoint = 'http://127.0.0.1:3900'\nbucket = 'lessons'\nkeys_file = '{}'\n{more}",
                keys.display()
            )
        };
        let told = |text: &str| parse(text).expect_err("faults");
        assert_eq!(told("[store]\nkind = 's3'").len(), 3, "endpoint, bucket, keys");
        assert_eq!(told("[store]\nkind = 'tape'").len(), 1);
        std::fs::write(&keys, "GK1\nsecret\n").expect("written");
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o644)).expect("set");
        assert!(told(&settings(""))[0].contains("chmod 600"));
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).expect("set");
        let config = parse(&settings("prefix = 'county/hub-1'\n")).expect("sound");
        let s3 = config.s3.expect("an S3 store");
        assert_eq!(
            (s3.key.as_str(), s3.secret.as_str(), s3.prefix.as_str()),
            ("GK1", "secret", "county/hub-1/")
        );
        assert!(!format!("{s3:?}").contains("secret"));
        std::fs::write(&keys, "only one line").expect("written");
        assert!(told(&settings(""))[0].contains("two lines"));
        for bad in ["prefix = '../x'", "prefix = '/x'", "prefix = 'a//b'", "path_style = 'yes'", "colour = 1"]
        {
            assert!(
                told(&settings(bad))
                    .iter()
                    .any(|f| f.starts_with(&format!("s3.{}:", bad.split(' ').next().unwrap_or_default()))),
                "{bad}"
            );
        }
        for bad in ["lessons", "ftp://x", "http://u:p@x", "http://x/y", "http://x?y"] {
            let text = format!(
                "[store]\nkind = 's3'\n[s3]\nendpoint = '{bad}'\nbucket = 'lessons'\nkeys_file = 'x'"
            );
            assert!(told(&text).iter().any(|f| f.starts_with("s3.endpoint:")), "{bad}");
        }
    }
}
