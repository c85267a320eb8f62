//! Commands given to devices, and what became of each.

use lectern_wire::command::{Command, CommandState, DETAIL_MAX_CHARS, Outcome};
use lectern_wire::id::DeviceId;
use lectern_wire::sign::Signed;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{audit, odd};

/// The kind of these changes in the audit.
pub const KIND: &str = "command";

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// The name of what is asked.
    pub verb: String,
    /// When it was given.
    pub given_ms: i64,
    /// Who gave it.
    pub who: String,
    /// How far it is.
    pub state: CommandState,
    /// What the device says of it.
    pub detail: String,
    /// Since when it is that far.
    pub state_ms: i64,
}

/// Keeps a new command and notes who gave it.
///
/// # Errors
/// What the database says.
pub fn add(db: &Connection, signed: &Signed<Command>, now: i64) -> rusqlite::Result<()> {
    let command = &signed.document;
    let text =
        serde_json::to_string(signed).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
    let expires = command.given_ms.saturating_add(i64::try_from(command.good_for_ms).unwrap_or(i64::MAX));
    // It was not received by anybody yet: that is what an empty state means here.
    db.execute(
        "INSERT INTO command (id, device, verb, document, given_ms, expires_ms, who, state, state_ms)
         VALUES (?,?,?,?,?,?,?,'',?)",
        params![
            command.id,
            command.device.as_str(),
            command.verb.name(),
            text,
            command.given_ms,
            expires,
            command.who,
            now
        ],
    )?;
    audit::note(db, &command.who, KIND, command.device.as_str(), command.verb.name(), now)
}

/// Commands of a device that it has not taken in and that are still good: their documents, oldest first.
///
/// # Errors
/// What the database says.
pub fn to_send(db: &Connection, device: &DeviceId, now: i64) -> rusqlite::Result<Vec<(String, String)>> {
    let mut rows = db.prepare_cached(
        "SELECT id, document FROM command WHERE device = ? AND state = '' AND expires_ms > ? ORDER BY n",
    )?;
    let rows = rows.query_map(params![device.as_str(), now], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Devices for which [`to_send`] has something.
///
/// # Errors
/// What the database says.
pub fn waiting(db: &Connection, now: i64) -> rusqlite::Result<Vec<DeviceId>> {
    let mut rows =
        db.prepare_cached("SELECT DISTINCT device FROM command WHERE state = '' AND expires_ms > ?")?;
    let rows = rows.query_map([now], |row| {
        let id: String = row.get(0)?;
        DeviceId::new(id).map_err(|e| odd(0, e))
    })?;
    rows.collect()
}

/// Whether [`expire`] has something to do: so that nothing is written every few seconds for nothing.
///
/// # Errors
/// What the database says.
pub fn expired(db: &Connection, now: i64) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM command WHERE state = '' AND expires_ms <= ?")?.exists([now])
}

/// Commands that nobody took in while they were good come to their end; answers whether there were any.
///
/// # Errors
/// What the database says.
pub fn expire(db: &Connection, now: i64) -> rusqlite::Result<bool> {
    let changed = db.execute(
        "UPDATE command SET state = 'expired', detail = '这台设备一直没有连上', state_ms = ?1
         WHERE state = '' AND expires_ms <= ?1",
        [now],
    )?;
    Ok(changed > 0)
}

/// Notes what a device says of a command; false when there is no such command of this device, or it is a step
/// back. A word that comes twice changes nothing.
///
/// # Errors
/// What the database says.
pub fn heard(db: &Connection, device: &DeviceId, outcome: &Outcome, now: i64) -> rusqlite::Result<bool> {
    let before: Option<String> = db
        .query_row(
            "SELECT state FROM command WHERE id = ? AND device = ?",
            params![outcome.id, device.as_str()],
            |row| row.get(0),
        )
        .optional()?;
    let Some(before) = before else { return Ok(false) };
    let ok = match CommandState::from_name(&before) {
        // Nothing was heard so far; one that expired here may have been taken in all the same.
        None | Some(CommandState::Expired) => true,
        Some(before) => outcome.state == before || outcome.state.follows(before),
    };
    if !ok {
        return Ok(false);
    }
    let line = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
    let detail: String = outcome.detail.chars().map(line).take(DETAIL_MAX_CHARS).collect();
    db.execute(
        "UPDATE command SET state = ?, detail = ?, state_ms = ? WHERE id = ?",
        params![outcome.state.name(), detail, now, outcome.id],
    )?;
    Ok(true)
}

/// The newest commands of a device.
///
/// # Errors
/// What the database says.
pub fn newest(db: &Connection, device: &DeviceId, most: u32) -> rusqlite::Result<Vec<(Row, bool)>> {
    let mut rows = db.prepare_cached(
        "SELECT id, verb, given_ms, who, state, detail, state_ms FROM command WHERE device = ? ORDER BY n DESC LIMIT ?",
    )?;
    let rows = rows.query_map(params![device.as_str(), most], |row| {
        let state: String = row.get(4)?;
        let known = CommandState::from_name(&state);
        let row = Row {
            id: row.get(0)?,
            verb: row.get(1)?,
            given_ms: row.get(2)?,
            who: row.get(3)?,
            state: known.unwrap_or(CommandState::Received),
            detail: row.get(5)?,
            state_ms: row.get(6)?,
        };
        Ok((row, known.is_some()))
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use lectern_wire::command::Verb;

    use super::*;
    use crate::store::Store;
    use crate::testkit;

    #[test]
    fn a_command_is_sent_until_it_is_taken_in_and_never_goes_back() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path()).expect("opens");
        let topics = testkit::topics("room-1");
        let command = |id: &str| {
            let command = Command {
                v: 1,
                id: id.into(),
                school: topics.school.clone(),
                device: topics.device.clone(),
                verb: Verb::Refresh,
                given_ms: 1000,
                good_for_ms: 500,
                who: "admin".into(),
            };
            Signed::sign(command, &testkit::key(1)).expect("signs")
        };
        let (a, b) = ("0123456789abcdef", "fedcba9876543210");
        store
            .write_now(|db| add(db, &command(a), 1000).and_then(|()| add(db, &command(b), 1000)))
            .expect("no fault");
        let waiting = |now| store.read_now(|db| to_send(db, &topics.device, now)).expect("read").len();
        assert_eq!((waiting(1400), waiting(1500)), (2, 0));
        let say = |id: &str, state, device: &DeviceId| {
            let outcome = Outcome { id: id.into(), state, detail: "x".into(), ts: 1 };
            store.write_now(|db| heard(db, device, &outcome, 1200)).expect("no fault")
        };
        let stranger = testkit::topics("room-2").device;
        assert!(!say(a, CommandState::Running, &stranger), "another device says nothing about it");
        assert!(
            say(a, CommandState::Running, &topics.device) && say(a, CommandState::Successful, &topics.device)
        );
        assert!(say(a, CommandState::Successful, &topics.device), "said twice");
        assert!(
            !say(a, CommandState::Running, &topics.device)
                && !say("0", CommandState::Running, &topics.device)
        );
        assert_eq!(waiting(1400), 1);
        assert!(store.write_now(|db| expire(db, 1500)).expect("no fault"));
        let states: Vec<_> = store
            .read_now(|db| newest(db, &topics.device, 9))
            .expect("read")
            .into_iter()
            .map(|(row, _)| row.state)
            .collect();
        assert_eq!(states, [CommandState::Expired, CommandState::Successful]);
    }
}
