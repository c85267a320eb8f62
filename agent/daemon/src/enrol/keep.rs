//! What enrolment brought, on the disk.
//!
//! 1. password, key, certificate and the hub's authority, in a new folder `enrolled/{id}`; durable
//! 2. `enrolled.toml`, which names them and is read after agent.toml: from here on this machine is the room's
//! 3. folders of enrolments before are removed
//!
//! A machine that came with a cloned disk image first puts everything that belongs to the machine it was cloned from aside.

use std::path::{Path, PathBuf};

use lectern_base::{chance, disk};
use lectern_wire::digest::Digest;
use lectern_wire::enrol::Broker;
use lectern_wire::sign::PublicKey;
use url::Url;

use super::EnrolError;
use super::ask::{self, Agreed, Card};
use crate::config::enrolled::{self, FILE};
use crate::platform::identity;

/// Where what belongs to one enrolment lies.
const FOLDER: &str = "enrolled";
/// What stays where it is when everything else is put aside.
const STAYS: [&str; 3] = ["run", "lock", "lost+found"];

/// A room that has enrolled.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Done {
    /// The room as people call it.
    pub room: String,
    /// The device's id.
    pub device: String,
    /// The hub.
    pub hub: String,
    /// Where what came with a cloned disk image lies now.
    pub aside: Option<PathBuf>,
}

/// Enrols this machine, whose state is in `data`.
///
/// # Errors
/// [`EnrolError`]; then nothing has changed, but that a clone's belongings are aside.
pub async fn enrol(data: &Path, card: &Card, machine: &[Digest], again: bool) -> Result<Done, EnrolError> {
    let odd = |e: std::io::Error| EnrolError::Keep(format!("{}: {e}", data.display()));
    disk::make_folder(data).map_err(odd)?;
    let before = enrolled::read(data).map_err(EnrolError::Keep)?;
    let mut aside = None;
    if let Some(before) = &before {
        if before.is_elsewhere(machine) {
            aside = Some(put_aside(data, &before.id).map_err(odd)?);
        } else if !again {
            return Err(EnrolError::Already(before.room.clone()));
        }
    }
    let key = identity::signing_key(data).map_err(EnrolError::Keep)?;
    let agreed = ask::enrol(card, PublicKey::of(&key), machine.to_vec()).await?;
    let becomes = (agreed.enrolled.school.to_string(), agreed.enrolled.device.to_string());
    if let Some(before) = before.filter(|before| aside.is_none() && before.is != becomes) {
        let lessons = unstored(data).map_err(odd)?;
        if lessons > 0 {
            return Err(EnrolError::Waiting { lessons, device: before.is.1, next: agreed.enrolled.room });
        }
    }
    write(data, &card.hub, &agreed, machine).map_err(odd)?;
    let device = agreed.enrolled.device.to_string();
    Ok(Done { room: agreed.enrolled.room, device, hub: card.hub.to_string(), aside })
}

/// How many lessons lie here without the receipt of a hub: each is signed as the device's that recorded it.
fn unstored(data: &Path) -> std::io::Result<usize> {
    let lessons = match std::fs::read_dir(data.join("lessons")) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        lessons => lessons?,
    };
    let mut count = 0;
    for lesson in lessons {
        let lesson = lesson?.path();
        count += usize::from(lesson.join("take-1.mp4").exists() && !lesson.join("receipt.json").exists());
    }
    Ok(count)
}

fn write(data: &Path, hub: &Url, agreed: &Agreed, machine: &[Digest]) -> std::io::Result<()> {
    let id = chance::hex::<8>();
    let all = data.join(FOLDER);
    let folder = all.join(&id);
    disk::make_folder(&folder)?;
    let given = &agreed.enrolled;
    let keep = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        disk::replace_with_mode(&path, bytes, 0o600).map(|()| path)
    };
    let password = keep("device.password", format!("{}\n", given.password).as_bytes())?;
    let key = keep("key.pem", &agreed.key.pem().map_err(std::io::Error::other)?)?;
    let certificate = keep("certificate.pem", given.certificate.as_bytes())?;
    let ca = agreed.ca.as_ref().map(|ca| keep("ca.pem", ca.as_bytes())).transpose()?;
    let mut hub_section = toml::Table::new();
    let mut put = |name: &str, value: String| _ = hub_section.insert(name.into(), value.into());
    put("url", hub.to_string());
    put("mqtt", broker(hub, &given.broker));
    for (name, path) in [
        ("password_file", Some(password)),
        ("key", Some(key)),
        ("certificate", Some(certificate)),
        ("ca", ca),
    ] {
        if let Some(path) = path {
            put(name, path.to_string_lossy().into_owned());
        }
    }
    let mut device = toml::Table::new();
    device.insert("id".into(), given.device.to_string().into());
    device.insert("school".into(), given.school.to_string().into());
    device.insert("room".into(), given.room.clone().into());
    let mut own = toml::Table::new();
    own.insert("id".into(), id.clone().into());
    own.insert("hub_key".into(), String::from(given.hub_key).into());
    own.insert("hub_ms".into(), given.now_ms.into());
    let marks = machine.iter().map(|mark| toml::Value::from(mark.to_string()));
    own.insert("machine".into(), marks.collect::<toml::value::Array>().into());
    let mut table = toml::Table::new();
    table.insert("device".into(), device.into());
    table.insert("hub".into(), hub_section.into());
    table.insert("enrolled".into(), own.into());
    let text = format!(
        "# What `lectern enrol` brought from the hub. Settings of agent.toml count before these; `lectern enrol --again` makes it anew.\n{table}"
    );
    // No secret stands in it; whoever may read the settings may read it too.
    disk::replace_with_mode(&data.join(FILE), text.as_bytes(), 0o640)?;
    for entry in std::fs::read_dir(&all)?.flatten() {
        if entry.file_name() != std::ffi::OsStr::new(&id) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// The broker's address, as this device calls it.
fn broker(hub: &Url, broker: &Broker) -> String {
    let host = hub.host_str().unwrap_or_default();
    match broker {
        Broker::Tls(port) => format!("mqtts://{host}:{port}"),
        Broker::Plain(port) => format!("mqtt://{host}:{port}"),
        Broker::At(address) => address.clone(),
    }
}

/// Puts everything that belongs to another machine aside.
fn put_aside(data: &Path, id: &str) -> std::io::Result<PathBuf> {
    let aside = data.join(format!("set-aside-{id}"));
    disk::make_folder(&aside)?;
    // The settings last: until they are gone this stays a clone, and is put aside at the next try.
    let mut names: Vec<_> = std::fs::read_dir(data)?.flatten().map(|entry| entry.file_name()).collect();
    names.sort_by_key(|name| name == FILE);
    for name in names {
        let text = name.to_string_lossy();
        if !STAYS.contains(&text.as_ref()) && !text.starts_with("set-aside-") {
            std::fs::rename(data.join(&name), aside.join(&name))?;
        }
    }
    disk::sync_folder(&aside)?;
    disk::sync_folder(data)?;
    tracing::warn!(aside = %aside.display(), "what came with a cloned disk image was put aside");
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use lectern_wire::enrol::Enrolled;
    use lectern_wire::id::{DeviceId, SchoolId};

    use super::*;
    use crate::config::Config;
    use crate::platform::tls::CertificateKey;

    fn agreed(room: &str) -> Agreed {
        let enrolled = Enrolled {
            school: SchoolId::new("3401000001").expect("id"),
            device: DeviceId::new("room-301").expect("id"),
            room: room.into(),
            password: "s3cret".into(),
            certificate: "CERT".into(),
            hub_key: PublicKey::of(&ed25519_dalek::SigningKey::from_bytes(&[7; 32])),
            broker: Broker::Tls(8883),
            now_ms: 1_790_000_000_000,
        };
        Agreed { enrolled, ca: Some("CA".into()), key: CertificateKey::new().expect("made") }
    }

    #[test]
    fn what_was_given_becomes_settings_and_secrets_are_the_daemons_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("folder");
        let (data, hub) = (folder.path(), Url::parse("https://10.0.0.5:8470").expect("url"));
        let settings = data.join("agent.toml");
        std::fs::write(
            &settings,
            format!("[device]\ndata_dir = {data:?}\n[[source]]\nname = \"card\"\nkind = \"test\"\n"),
        )
        .expect("written");
        assert!(Config::load(&settings).is_err(), "nobody's yet");
        assert!(enrolled::first(&settings).expect("checked").is_some());
        let marks = [Digest::of(b"card")];
        write(data, &hub, &agreed("三年级\"2\"班"), &marks).expect("written");
        let config = Config::load(&settings).expect("settings");
        assert_eq!((config.device.id.as_str(), config.device.room.as_str()), ("room-301", "三年级\"2\"班"));
        let hub_settings = config.hub.expect("a hub");
        assert_eq!(hub_settings.mqtt.as_str(), "mqtts://10.0.0.5:8883");
        assert_eq!(identity::password(&hub_settings.password_file).expect("there"), "s3cret");
        let own = config.enrolled.expect("enrolled");
        assert_eq!(own.hub_ms, 1_790_000_000_000);
        assert!(
            !own.is_elsewhere(&marks) && own.is_elsewhere(&[Digest::of(b"other")]) && !own.is_elsewhere(&[])
        );
        for (file, mode) in [(hub_settings.password_file.clone(), 0o600), (data.join(FILE), 0o640)] {
            let found = std::fs::metadata(&file).expect("there").permissions().mode() & 0o777;
            assert_eq!(found & !mode, 0, "{file:?}");
        }
        write(data, &hub, &agreed("302教室"), &marks).expect("again");
        assert_eq!(Config::load(&settings).expect("settings").device.room, "302教室");
        assert!(!hub_settings.password_file.exists(), "what is no longer good is gone");
        assert!(enrolled::first(&settings).expect("checked").is_none());
    }

    #[test]
    fn a_clone_begins_with_nothing_of_the_machine_it_was_cloned_from() {
        let folder = tempfile::tempdir().expect("folder");
        let data = folder.path();
        for name in [FILE, "state.db", "device.key", "lock"] {
            std::fs::write(data.join(name), name).expect("written");
        }
        std::fs::create_dir(data.join("lessons")).expect("made");
        let aside = put_aside(data, "x").expect("aside");
        for name in [FILE, "state.db", "device.key", "lessons"] {
            assert!(aside.join(name).exists() && !data.join(name).exists(), "{name}");
        }
        assert!(data.join("lock").exists());
    }
}
