//! Devices' certificates as the hub knows them, and who is let in by which.
//!
//! A device that enrolled with a token shows its certificate on every connection by TLS, beside its password; one whose
//! account a person made has a password alone. A certificate that is not in the table, or was retired there, opens nothing,
//! however good its signature is.

use lectern_wire::id::DeviceId;
use lectern_wire::sign::PublicKey;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::authority::Issued;
use super::devices::{self, Device};

/// How somebody has come to the hub's door.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Came {
    /// Without TLS of the hub's: on this machine, or through a proxy that speaks it.
    #[default]
    Plain,
    /// By TLS, showing no certificate.
    Tls,
    /// By TLS, with the certificate of this serial number, signed by the hub's authority.
    With(String),
}

/// Notes a certificate that was given to a device.
///
/// # Errors
/// What the database says.
pub fn add(db: &Connection, device: &DeviceId, issued: &Issued, now: i64) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO certificate (serial, device, issued_ms, ends_ms) VALUES (?,?,?,?)",
        params![issued.serial, device.as_str(), now, issued.ends_ms],
    )?;
    db.execute("UPDATE device SET certified = 1 WHERE id = ?", [device.as_str()])?;
    Ok(())
}

/// Retires a device's certificates, but for one.
///
/// # Errors
/// What the database says.
pub fn retire(
    db: &Connection,
    device: &DeviceId,
    but: Option<&str>,
    why: &str,
    now: i64,
) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE certificate SET retired_ms = ?, why = ? WHERE device = ? AND retired_ms IS NULL AND serial IS NOT ?",
        params![now, why, device.as_str(), but],
    )?;
    Ok(())
}

/// Whether the machine with this signing key was given a certificate as another device after its last as this one.
///
/// # Errors
/// What the database says.
pub fn was_elsewhere(db: &Connection, device: &DeviceId, key: PublicKey) -> rusqlite::Result<bool> {
    db.query_row(
        "SELECT EXISTS (SELECT 1 FROM device JOIN certificate ON certificate.device = device.id
         WHERE device.key = ?1 AND device.id <> ?2 AND issued_ms >
         (SELECT coalesce(max(issued_ms), 0) FROM certificate WHERE device = ?2))",
        params![String::from(key), device.as_str()],
        |row| row.get(0),
    )
}

/// When the certificate of a device that holds longest ends; none when it has none.
///
/// # Errors
/// What the database says.
pub fn ends_ms(db: &Connection, device: &DeviceId) -> rusqlite::Result<Option<i64>> {
    db.query_row(
        "SELECT max(ends_ms) FROM certificate WHERE device = ? AND retired_ms IS NULL",
        [device.as_str()],
        |row| row.get(0),
    )
}

/// The device with this id and password, when it may come in the way it came.
///
/// # Errors
/// What the database says.
pub fn enter(db: &Connection, id: &str, password: &str, came: &Came) -> rusqlite::Result<Option<Device>> {
    let Some(device) = devices::account(db, id, password)? else { return Ok(None) };
    let fits = match came {
        Came::Plain => true,
        Came::Tls => !certified(db, id)?,
        Came::With(serial) => holder(db, serial)?.as_deref() == Some(id),
    };
    if !fits {
        tracing::info!(
            device = id,
            ?came,
            "a device with the right password was refused: not with its own certificate"
        );
    }
    Ok(Some(device).filter(|_| fits))
}

fn certified(db: &Connection, id: &str) -> rusqlite::Result<bool> {
    db.query_row("SELECT certified FROM device WHERE id = ?", [id], |row| row.get(0))
}

/// Whose certificate this is, while it is good.
fn holder(db: &Connection, serial: &str) -> rusqlite::Result<Option<String>> {
    let found = db.query_row(
        "SELECT device FROM certificate WHERE serial = ? AND retired_ms IS NULL",
        [serial],
        |row| row.get(0),
    );
    found.optional()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::testkit;

    #[test]
    fn who_has_a_certificate_shows_it_and_nobody_elses_and_none_that_was_retired() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path()).expect("opens");
        let (one, two) = (testkit::topics("room-1"), testkit::topics("room-2"));
        let with = |serial: &str| Came::With(serial.into());
        store
            .write_now(|db| {
                for topics in [&one, &two] {
                    devices::add(db, topics, "301教室", "pw", 1)?;
                }
                let issued = |serial: &str| Issued { pem: String::new(), serial: serial.into(), ends_ms: 9 };
                add(db, &one.device, &issued("aa"), 1)?;
                let lets_in =
                    |id: &str, came: &Came| Ok::<_, rusqlite::Error>(enter(db, id, "pw", came)?.is_some());
                assert!(lets_in("room-1", &with("aa"))? && lets_in("room-1", &Came::Plain)?);
                assert!(!lets_in("room-1", &Came::Tls)?, "its password alone");
                assert!(!lets_in("room-1", &with("bb"))?, "one that is in no row");
                assert!(lets_in("room-2", &Came::Tls)?, "made by hand: it has none");
                assert!(!lets_in("room-2", &with("aa"))?, "another's");
                assert!(enter(db, "room-1", "wrong", &with("aa"))?.is_none());

                add(db, &one.device, &issued("cc"), 2)?;
                retire(db, &one.device, Some("cc"), "renewed", 3)?;
                assert!(!lets_in("room-1", &with("aa"))? && lets_in("room-1", &with("cc"))?);
                assert_eq!(ends_ms(db, &one.device)?, Some(9));

                assert!(devices::retire(db, &one.device, 4)?);
                assert!(!lets_in("room-1", &with("cc"))? && !lets_in("room-1", &Came::Plain)?);
                retire(db, &one.device, None, "retired", 4)?;
                devices::set_password(db, &one.device, "pw")?;
                assert!(lets_in("room-1", &Came::Tls)?, "by hand again");
                assert!(!lets_in("room-1", &with("cc"))?, "what was retired stays so");
                Ok(())
            })
            .expect("no database fault");
    }
}
