//! Devices: their accounts, and what the hub knows of them.

use lectern_wire::digest::Digest;
use lectern_wire::id::{DeviceId, SchoolId};
use lectern_wire::sign::PublicKey;
use lectern_wire::telemetry::{Info, Presence, State};
use lectern_wire::topic::Topics;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::odd;
use crate::model::watch::Known;

/// One device.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its id, also its MQTT client id and user name.
    pub id: DeviceId,
    /// Its school.
    pub school: SchoolId,
    /// The room's name as people say it.
    pub room: String,
    /// Its public signing key, once pinned.
    pub key: Option<PublicKey>,
    /// What it last said, or the broker said for it.
    pub presence: Option<Presence>,
    /// Why.
    pub reason: Option<String>,
    /// When anything came from it last.
    pub seen_ms: Option<i64>,
    /// Its inventory.
    pub info: Option<Info>,
    /// Since when it is out of use.
    pub retired_ms: Option<i64>,
}

impl Device {
    /// Its topics.
    #[must_use]
    pub fn topics(&self) -> Topics {
        Topics { school: self.school.clone(), device: self.id.clone() }
    }
}

const COLUMNS: &str = "id, school, room, key, state, reason, seen_ms, info, retired_ms";

fn device(row: &Row<'_>) -> rusqlite::Result<Device> {
    let id: String = row.get(0)?;
    let school: String = row.get(1)?;
    let key: Option<String> = row.get(3)?;
    let state: Option<String> = row.get(4)?;
    let info: Option<String> = row.get(7)?;
    Ok(Device {
        id: DeviceId::new(id).map_err(|e| odd(0, e))?,
        school: SchoolId::new(school).map_err(|e| odd(1, e))?,
        room: row.get(2)?,
        key: key.map(PublicKey::try_from).transpose().map_err(|e| odd(3, e))?,
        presence: state.as_deref().and_then(presence),
        reason: row.get(5)?,
        seen_ms: row.get(6)?,
        info: info.and_then(|text| serde_json::from_str(&text).ok()),
        retired_ms: row.get(8)?,
    })
}

fn presence(word: &str) -> Option<Presence> {
    match word {
        "online" => Some(Presence::Online),
        "offline" => Some(Presence::Offline),
        "lost" => Some(Presence::Lost),
        _ => None,
    }
}

fn word(presence: Presence) -> &'static str {
    match presence {
        Presence::Online => "online",
        Presence::Offline => "offline",
        Presence::Lost => "lost",
    }
}

/// Registers a device with a new password; false when the id is taken.
///
/// # Errors
/// What the database says.
pub fn add(db: &Connection, topics: &Topics, room: &str, password: &str, now: i64) -> rusqlite::Result<bool> {
    let changed = db.execute(
        "INSERT OR IGNORE INTO device (id, school, room, password_sha256, added_ms) VALUES (?,?,?,?,?)",
        params![topics.device.as_str(), topics.school.as_str(), room, hash(password), now],
    )?;
    Ok(changed == 1)
}

/// Gives a known device a new password, on whatever machine it is from now on, also one that was out of use; false when it
/// is not known. Where none of its certificates counts any more the password is all it shows from now on.
///
/// # Errors
/// What the database says.
pub fn set_password(db: &Connection, id: &DeviceId, password: &str) -> rusqlite::Result<bool> {
    let changed = db.execute(
        "UPDATE device SET password_sha256 = ?, machine = NULL, other_marks = NULL, other_ms = NULL, retired_ms = NULL,
         certified = EXISTS
         (SELECT 1 FROM certificate WHERE device = device.id AND certificate.retired_ms IS NULL) WHERE id = ?",
        params![hash(password), id.as_str()],
    )?;
    Ok(changed == 1)
}

/// Device passwords are 24 random bytes, so a fast hash protects them as well as a slow one.
fn hash(password: &str) -> String {
    Digest::of(password.as_bytes()).to_string()
}

/// The device with this id and password.
///
/// # Errors
/// What the database says.
pub fn account(db: &Connection, id: &str, password: &str) -> rusqlite::Result<Option<Device>> {
    // Hashes are compared, so the time it takes says nothing about the password.
    db.query_row(
        &format!("SELECT {COLUMNS} FROM device WHERE id = ? AND password_sha256 = ? AND retired_ms IS NULL"),
        params![id, hash(password)],
        device,
    )
    .optional()
}

/// Gives a known device the room's name of today.
///
/// # Errors
/// What the database says.
pub fn rename(db: &Connection, id: &DeviceId, room: &str) -> rusqlite::Result<()> {
    db.execute("UPDATE device SET room = ? WHERE id = ?", params![room, id.as_str()])?;
    Ok(())
}

/// Takes a device out of use: its account opens nothing until it has a new password. What it recorded stays. False when it
/// is not in use.
///
/// # Errors
/// What the database says.
pub fn retire(db: &Connection, id: &DeviceId, now: i64) -> rusqlite::Result<bool> {
    let changed = db.execute(
        "UPDATE device SET retired_ms = ? WHERE id = ? AND retired_ms IS NULL",
        params![now, id.as_str()],
    )?;
    Ok(changed == 1)
}

/// How many devices are out of use.
///
/// # Errors
/// What the database says.
pub fn retired(db: &Connection) -> rusqlite::Result<u32> {
    db.query_row("SELECT count(*) FROM device WHERE retired_ms IS NOT NULL", [], |row| row.get(0))
}

/// The device with this id.
///
/// # Errors
/// What the database says.
pub fn find(db: &Connection, id: &str) -> rusqlite::Result<Option<Device>> {
    db.query_row(&format!("SELECT {COLUMNS} FROM device WHERE id = ?"), [id], device).optional()
}

/// All devices, by school and room.
///
/// # Errors
/// What the database says.
pub fn all(db: &Connection) -> rusqlite::Result<Vec<Device>> {
    let mut rows = db.prepare_cached(&format!("SELECT {COLUMNS} FROM device ORDER BY school, room, id"))?;
    rows.query_map([], device)?.collect()
}

/// Notes what a device or its last will said.
///
/// # Errors
/// What the database says.
pub fn set_state(db: &Connection, id: &DeviceId, state: &State, now: i64) -> rusqlite::Result<()> {
    // A last will is the broker's word, not the device's: it is no sign of life.
    let seen = (state.state != Presence::Lost).then_some(now);
    let reason: Option<String> = state.reason.as_ref().map(|r| r.chars().take(200).collect());
    db.execute(
        "UPDATE device SET state = ?, reason = ?, state_ms = ?, seen_ms = coalesce(?, seen_ms) WHERE id = ?",
        params![word(state.state), reason, now, seen, id.as_str()],
    )?;
    Ok(())
}

/// At start nobody is connected, whatever the table says from before.
///
/// # Errors
/// What the database says.
pub fn all_lost(db: &Connection, now: i64) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE device SET state = 'lost', reason = 'hub_restart', state_ms = ? WHERE state = 'online'",
        [now],
    )?;
    Ok(())
}

/// What the hub's own watch asks of every device.
///
/// # Errors
/// What the database says.
pub fn watched(db: &Connection) -> rusqlite::Result<Vec<(DeviceId, Known)>> {
    let mut rows = db.prepare_cached(
        "SELECT id, state, state_ms, reason, seen_ms,
         CASE WHEN anew_ms > coalesce(anew_known_ms, 0) THEN anew_ms END, other_ms, info ->> '$.agent_version'
         FROM device WHERE retired_ms IS NULL",
    )?;
    let rows = rows.query_map([], |row| {
        let id: String = row.get(0)?;
        let (state, at): (Option<String>, Option<i64>) = (row.get(1)?, row.get(2)?);
        let known = Known {
            presence: state.as_deref().and_then(presence).zip(at),
            reason: row.get(3)?,
            seen_ms: row.get(4)?,
            hole: None,
            anew_ms: row.get(5)?,
            other_ms: row.get(6)?,
            version: row.get(7)?,
        };
        Ok((DeviceId::new(id).map_err(|e| odd(0, e))?, known))
    })?;
    let mut found = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    for (id, known) in &mut found {
        known.hole = super::events::hole(db, id)?;
    }
    Ok(found)
}

/// Notes a sign of life.
///
/// # Errors
/// What the database says.
pub fn seen(db: &Connection, id: &DeviceId, now: i64) -> rusqlite::Result<()> {
    db.execute("UPDATE device SET seen_ms = ? WHERE id = ?", params![now, id.as_str()])?;
    Ok(())
}

/// Notes that a device speaks, so that it is not lost, whatever was said before: a broker may tell an old
/// connection's last will after the new connection's first word, or not tell its first word at all, and after the hub's
/// start nobody says anew that they are there.
///
/// # Errors
/// What the database says.
pub fn alive(db: &Connection, id: &DeviceId, now: i64) -> rusqlite::Result<()> {
    let found = "UPDATE device SET state = 'online', reason = NULL, state_ms = ? WHERE id = ? AND coalesce(state, 'lost') = 'lost'";
    db.execute(found, params![now, id.as_str()])?;
    seen(db, id, now)
}

/// When anything came from a device last.
///
/// # Errors
/// What the database says.
pub fn seen_ms(db: &Connection, id: &DeviceId) -> rusqlite::Result<Option<i64>> {
    let found = db.query_row("SELECT seen_ms FROM device WHERE id = ?", [id.as_str()], |row| row.get(0));
    Ok(found.optional()?.flatten())
}

/// Puts back when anything came from a device last.
///
/// # Errors
/// What the database says.
pub fn set_seen(db: &Connection, id: &DeviceId, seen_ms: Option<i64>) -> rusqlite::Result<()> {
    db.execute("UPDATE device SET seen_ms = ? WHERE id = ?", params![seen_ms, id.as_str()])?;
    Ok(())
}

/// Notes a device's inventory.
///
/// # Errors
/// What the database says.
pub fn set_info(db: &Connection, id: &DeviceId, info: &Info, now: i64) -> rusqlite::Result<()> {
    let text =
        serde_json::to_string(info).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
    db.execute("UPDATE device SET info = ?, seen_ms = ? WHERE id = ?", params![text, now, id.as_str()])?;
    Ok(())
}

/// Pins the machine a device runs on by its marks; false when it was another machine until now. One mark in common
/// is the same machine, which is then known by its newest marks. Without marks nothing is known.
///
/// Another machine is remembered, until it comes under an id of its own or the device is given a new password.
///
/// # Errors
/// What the database says.
pub fn pin_machine(db: &Connection, id: &DeviceId, marks: &[Digest], now: i64) -> rusqlite::Result<bool> {
    if marks.is_empty() {
        return Ok(true);
    }
    let read = |text: Option<String>| -> Vec<Digest> {
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    };
    let known: Option<String> =
        db.query_row("SELECT machine FROM device WHERE id = ?", [id.as_str()], |row| row.get(0))?;
    let (known, text) = (read(known), serde_json::to_string(marks).map_err(super::unwritable)?);
    if !known.is_empty() && !known.iter().any(|mark| marks.contains(mark)) {
        let sql = "UPDATE device SET other_marks = ?, other_ms = ? WHERE id = ?";
        db.execute(sql, params![text, now, id.as_str()])?;
        return Ok(false);
    }
    if known != marks {
        db.execute("UPDATE device SET machine = ? WHERE id = ?", params![text, id.as_str()])?;
    }
    // A machine that has an id of its own now is nobody's copy any more.
    let mut copied =
        db.prepare_cached("SELECT id, other_marks FROM device WHERE other_marks IS NOT NULL AND id <> ?")?;
    let copied = copied.query_map([id.as_str()], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
    for row in copied.collect::<rusqlite::Result<Vec<_>>>()? {
        let (copied, other) = row;
        if read(other).iter().any(|mark| marks.contains(mark)) {
            db.execute("UPDATE device SET other_marks = NULL, other_ms = NULL WHERE id = ?", [copied])?;
        }
    }
    Ok(true)
}
