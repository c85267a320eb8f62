//! `enrolled.toml` in the data folder: what the hub gave when this machine enrolled. It is read after agent.toml, which need
//! not say who the device is then. A machine that neither says is nobody's yet.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use lectern_wire::digest::Digest;
use lectern_wire::sign::PublicKey;
use toml::{Table, Value};

use super::{Config, DATA_DIR};

/// The file, below the data folder.
pub const FILE: &str = "enrolled.toml";
/// What stands for a name in settings that are nobody's yet.
const NOBODY: &str = "x";

/// An enrolment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// Which; each has its own.
    pub id: String,
    /// The room it made this machine.
    pub room: String,
    /// Its school and the device's id: whose lessons this machine hands in.
    pub is: (String, String),
    /// What the hub signs with.
    pub hub_key: PublicKey,
    /// The hub's time then, Unix milliseconds.
    pub hub_ms: i64,
    /// What the machine was known by.
    machine: Vec<Digest>,
}

impl Enrolled {
    /// Whether these are another machine's marks: the disk was cloned. One in common is the same machine; without marks
    /// nothing is known.
    #[must_use]
    pub fn is_elsewhere(&self, marks: &[Digest]) -> bool {
        !marks.is_empty() && !self.machine.is_empty() && !self.machine.iter().any(|mark| marks.contains(mark))
    }
}

/// What a machine that is nobody's yet needs of its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    /// Where its state is kept.
    pub data_dir: PathBuf,
    /// Where its page is served.
    pub listen: SocketAddr,
    /// The school's proxy, and the file with its password.
    pub proxy: Option<(url::Url, Option<PathBuf>)>,
    /// Where the machine's `/sys` stands.
    pub host: PathBuf,
    /// The room that the disk was cloned from, if it was.
    pub cloned: Option<String>,
}

impl First {
    /// Of settings that are somebody's.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let upload = &config.upload;
        Self {
            data_dir: config.device.data_dir.clone(),
            listen: config.page.listen,
            proxy: upload.proxy.clone().map(|proxy| (proxy, upload.proxy_password_file.clone())),
            host: config.sense.host.clone(),
            cloned: None,
        }
    }
}

/// The enrolment of the machine whose state is in this folder.
///
/// # Errors
/// A sentence when the file cannot be read.
pub fn read(data: &Path) -> Result<Option<Enrolled>, String> {
    let Some(table) = table(data)? else { return Ok(None) };
    let named =
        |what: &str| format!("{}: {what}; `lectern enrol --again` makes it anew", data.join(FILE).display());
    let own = table.get("enrolled").and_then(Value::as_table).ok_or_else(|| named("has no [enrolled]"))?;
    let text =
        |name: &str| own.get(name).and_then(Value::as_str).ok_or_else(|| named(&format!("has no {name}")));
    let device = |name: &str| {
        let said = table.get("device").and_then(|d| d.get(name)).and_then(Value::as_str);
        said.unwrap_or_default().to_owned()
    };
    let marks = own.get("machine").and_then(Value::as_array).into_iter().flatten();
    let marks = marks.map(|mark| mark.as_str().and_then(|text| text.parse().ok()));
    Ok(Some(Enrolled {
        id: text("id")?.to_owned(),
        room: device("room"),
        is: (device("school"), device("id")),
        hub_key: PublicKey::try_from(text("hub_key")?.to_owned()).map_err(|e| named(&e.to_string()))?,
        hub_ms: own.get("hub_ms").and_then(Value::as_integer).ok_or_else(|| named("has no hub_ms"))?,
        machine: marks.collect::<Option<_>>().ok_or_else(|| named("has odd machine marks"))?,
    }))
}

fn table(data: &Path) -> Result<Option<Table>, String> {
    let path = data.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|e| format!("{}: {e}", path.display()))?,
    };
    text.parse().map(Some).map_err(|e: toml::de::Error| format!("{}: {}", path.display(), e.message()))
}

fn data_dir(settings: &Table) -> PathBuf {
    let said = settings.get("device").and_then(|d| d.get("data_dir")).and_then(Value::as_str);
    PathBuf::from(said.unwrap_or(DATA_DIR))
}

/// Adds what enrolment brought to settings; the enrolment, if there is one.
pub(super) fn add(settings: &mut Table) -> Result<Option<Enrolled>, Vec<String>> {
    let data = data_dir(settings);
    let one = |e: String| vec![e];
    let Some(brought) = table(&data).map_err(one)? else { return Ok(None) };
    let enrolled = read(&data).map_err(one)?;
    let mut faults = Vec::new();
    for section in ["device", "hub"] {
        let Some(brought) = brought.get(section).and_then(Value::as_table) else { continue };
        let own = settings.entry(section).or_insert_with(|| Table::new().into());
        // Settings that are no section are told as such later.
        let Some(own) = own.as_table_mut() else { continue };
        for (key, value) in brought {
            match own.get(key) {
                None => _ = own.insert(key.clone(), value.clone()),
                // People may call a room otherwise by and by.
                Some(said) if said == value || key == "room" => {}
                Some(said) => faults.push(format!(
                    "{section}.{key}: is {said} here and {value} in {}, which enrolment wrote; take it out here",
                    data.join(FILE).display()
                )),
            }
        }
    }
    if faults.is_empty() { Ok(enrolled) } else { Err(faults) }
}

/// Settings that enrolment brings and that stand in a settings file already: they are to be taken out before.
///
/// # Errors
/// When the file cannot be read.
pub fn in_the_way(path: &Path) -> Result<Vec<String>, Vec<String>> {
    let settings = super::read_table(path)?;
    let stands = |section: &'static str, key: &'static str| {
        settings.get(section).and_then(|s| s.get(key)).map(|_| format!("{section}.{key}"))
    };
    let keys = [
        ("device", "id"),
        ("device", "school"),
        ("hub", "url"),
        ("hub", "mqtt"),
        ("hub", "password_file"),
        ("hub", "certificate"),
        ("hub", "key"),
        ("hub", "ca"),
    ];
    Ok(keys.into_iter().filter_map(|(section, key)| stands(section, key)).collect())
}

/// What is needed of settings that are nobody's yet; none when they are somebody's.
///
/// # Errors
/// All faults of the file, but for what enrolment brings.
pub fn first(path: &Path) -> Result<Option<First>, Vec<String>> {
    let mut settings = super::read_table(path)?;
    if !in_the_way(path)?.is_empty() || table(&data_dir(&settings)).map_err(|e| vec![e])?.is_some() {
        return Ok(None);
    }
    let device = settings.entry("device").or_insert_with(|| Table::new().into());
    if let Some(device) = device.as_table_mut() {
        for key in ["id", "school", "room"] {
            device.entry(key).or_insert_with(|| NOBODY.into());
        }
    }
    Ok(Some(First::of(&Config::check(settings, None)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_a_device_is_stands_in_one_place() {
        let folder = tempfile::tempdir().expect("folder");
        let data = folder.path();
        let path = data.join("agent.toml");
        let write = |more: &str| {
            let text = format!(
                "[device]\ndata_dir = {data:?}\n{more}\n[[source]]\nname = \"card\"\nkind = \"test\"\n"
            );
            std::fs::write(&path, text).expect("written");
        };
        write("");
        assert_eq!(first(&path).expect("checked").expect("nobody's").data_dir, data);
        write("id = \"room-1\"");
        assert_eq!(first(&path), Ok(None), "somebody's, though not whole");
        assert_eq!(in_the_way(&path).expect("read"), ["device.id"]);
        write("colour = \"red\"");
        assert!(first(&path).expect_err("told")[0].starts_with("device.colour"));

        let key = PublicKey::of(&ed25519_dalek::SigningKey::from_bytes(&[7; 32]));
        let brought = format!(
            "[device]\nid = \"room-1\"\nschool = \"s\"\nroom = \"301\"\n[hub]\nurl = \"https://h:1\"\nmqtt = \"mqtts://h:2\"\n\
             [enrolled]\nid = \"e\"\nhub_key = \"{}\"\nhub_ms = 5\nmachine = []\n",
            String::from(key)
        );
        std::fs::write(data.join(FILE), brought).expect("written");
        write("room = \"阶梯教室\"");
        let config = Config::load(&path).expect("sound");
        assert_eq!((config.device.id.as_str(), config.device.room.as_str()), ("room-1", "阶梯教室"));
        assert_eq!(config.enrolled.expect("enrolled").hub_key, key);
        write("id = \"room-2\"");
        let faults = Config::load(&path).expect_err("told");
        assert!(faults.len() == 1 && faults[0].starts_with("device.id:"), "{faults:?}");
        std::fs::write(data.join(FILE), "[enrolled]\n").expect("written");
        assert!(Config::load(&path).expect_err("told")[0].contains("--again"));
    }
}
