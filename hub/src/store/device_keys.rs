//! The keys a device signs with, every one it ever had, with from and until.
//!
//! ```text
//! (none) ──first lesson──▶ first ──signed by the one before──▶ rotated
//!                            │  └──a person lets a new one come──▶ (none) ──next lesson──▶ registered
//! ```
//!
//! What an old key signed stays signed. For a new lesson those keys count that led to today's without a person's
//! hand: a lesson may be sealed before its device changed keys, and arrive after.

use lectern_wire::id::DeviceId;
use lectern_wire::rotation::{self, Rotation};
use lectern_wire::sign::{KeyRing, PublicKey, Signed};
use rusqlite::{Connection, params};

use super::{devices, odd, unwritable};

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceKey {
    /// The key.
    pub key: PublicKey,
    /// `first`, `rotated`, `registered`.
    pub how: String,
    /// Since when, Unix milliseconds.
    pub from_ms: i64,
    /// Until when; none for the one that holds.
    pub until_ms: Option<i64>,
}

/// All keys of a device, oldest first.
///
/// # Errors
/// What the database says.
pub fn all(db: &Connection, device: &DeviceId) -> rusqlite::Result<Vec<DeviceKey>> {
    let mut rows =
        db.prepare_cached("SELECT key, how, from_ms, until_ms FROM device_key WHERE device = ? ORDER BY n")?;
    let rows = rows.query_map([device.as_str()], |row| {
        let key = PublicKey::try_from(row.get::<_, String>(0)?).map_err(|e| odd(0, e))?;
        Ok(DeviceKey { key, how: row.get(1)?, from_ms: row.get(2)?, until_ms: row.get(3)? })
    })?;
    rows.collect()
}

/// Every key the device ever had: for what is stored.
///
/// # Errors
/// What the database says.
pub fn ring(db: &Connection, device: &DeviceId) -> rusqlite::Result<KeyRing> {
    Ok(all(db, device)?.into_iter().map(|k| k.key).collect())
}

/// The keys that count for what is new.
///
/// # Errors
/// What the database says.
pub fn live(db: &Connection, device: &DeviceId) -> rusqlite::Result<KeyRing> {
    let keys = all(db, device)?;
    if keys.last().is_none_or(|newest| newest.until_ms.is_some()) {
        return Ok(KeyRing::default());
    }
    let begins = keys.iter().rposition(|k| k.how != "rotated").unwrap_or(0);
    Ok(keys.into_iter().skip(begins).map(|k| k.key).collect())
}

/// Takes in the key a device shows. The inner error says why it is not accepted.
///
/// # Errors
/// What the database says.
pub fn show(
    db: &Connection,
    device: &DeviceId,
    key: PublicKey,
    rotations: &[Signed<Rotation>],
    now: i64,
) -> rusqlite::Result<Result<(), String>> {
    let Some(known) = devices::find(db, device.as_str())?.and_then(|d| d.key) else {
        let how = if all(db, device)?.is_empty() { "first" } else { "registered" };
        return add(db, device, key, how, None, now).map(Ok);
    };
    if known == key {
        return Ok(Ok(()));
    }
    let keys = match rotation::follow(&rotation::owner(device), known, key, rotations) {
        Ok(keys) => keys,
        Err(e) => return Ok(Err(e.to_string())),
    };
    for pair in keys.windows(2) {
        let [old, new] = pair else { continue };
        let document = rotations.iter().find(|r| (r.document.old, r.document.new) == (*old, *new));
        let document = document.map(serde_json::to_string).transpose().map_err(unwritable)?;
        add(db, device, *new, "rotated", document.as_deref(), now)?;
        tracing::info!(%device, key = new.id(), "the device signs with a new key; the old one signed it");
    }
    Ok(Ok(()))
}

fn add(
    db: &Connection,
    device: &DeviceId,
    key: PublicKey,
    how: &str,
    document: Option<&str>,
    now: i64,
) -> rusqlite::Result<()> {
    let (id, key) = (device.as_str(), String::from(key));
    db.execute("UPDATE device_key SET until_ms = ? WHERE device = ? AND until_ms IS NULL", params![now, id])?;
    db.execute(
        "INSERT INTO device_key (device, n, key, how, from_ms, rotation)
         SELECT ?1, 1 + coalesce(max(n), 0), ?2, ?3, ?4, ?5 FROM device_key WHERE device = ?1",
        params![id, key, how, now, document],
    )?;
    db.execute("UPDATE device SET key = ? WHERE id = ?", params![key, id])?;
    Ok(())
}

/// A person lets a new key come: the machine was replaced, or its key may be in other hands. What the old one
/// signed stays; from now on it signs nothing new.
///
/// # Errors
/// What the database says.
pub fn release(db: &Connection, device: &DeviceId, now: i64) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE device_key SET until_ms = ? WHERE device = ? AND until_ms IS NULL",
        params![now, device.as_str()],
    )?;
    let sql =
        "UPDATE device SET key = NULL, machine = NULL, other_marks = NULL, other_ms = NULL WHERE id = ?";
    db.execute(sql, [device.as_str()])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::testkit;

    #[test]
    fn a_device_changes_its_key_by_itself_or_by_a_persons_hand_and_every_key_is_kept() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path()).expect("opens");
        let topics = testkit::topics("room-1");
        let device = &topics.device;
        let public = |n| PublicKey::of(&testkit::key(n));
        let change = |old, new| {
            let owner = rotation::owner(device);
            let said = Rotation { v: 1, owner, old: public(old), new: public(new), wall_ms: 1 };
            Signed::sign(said, &testkit::key(old)).expect("signs")
        };
        store
            .write_now(|db| {
                devices::add(db, &topics, "301教室", "pw", 1)?;
                assert_eq!(show(db, device, public(1), &[], 10)?, Ok(()));
                assert_eq!(show(db, device, public(1), &[], 11)?, Ok(()));
                assert!(show(db, device, public(9), &[], 12)?.is_err(), "not without the old one's word");
                assert_eq!(show(db, device, public(3), &[change(1, 2), change(2, 3)], 20)?, Ok(()));
                let ring = live(db, device)?;
                assert!([1, 2, 3].iter().all(|n| ring.get(&public(*n).id()).is_some()));
                assert!(show(db, device, public(1), &[], 21)?.is_err(), "not back");

                release(db, device, 30)?;
                assert!(live(db, device)?.is_empty());
                assert_eq!(show(db, device, public(5), &[], 40)?, Ok(()));
                let ring = live(db, device)?;
                assert!(ring.get(&public(5).id()).is_some() && ring.get(&public(3).id()).is_none());
                let told: Vec<_> =
                    all(db, device)?.into_iter().map(|k| (k.how, k.from_ms, k.until_ms)).collect();
                let want = [
                    ("first", 10, Some(20)),
                    ("rotated", 20, Some(20)),
                    ("rotated", 20, Some(30)),
                    ("registered", 40, None),
                ];
                assert_eq!(told, want.map(|(how, from, until)| (how.to_owned(), from, until)));
                Ok(())
            })
            .expect("no database fault");
    }
}
