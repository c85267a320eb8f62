//! 告警: what is wrong in which room, from its raising to its clearing.
//!
//! A device says the same alarm again whenever it connects, and the hub's own watch looks again and again:
//! both only ever say whether a problem holds, and a row changes when the answer does.

use std::collections::HashMap;

use lectern_wire::alarm::Code;
use lectern_wire::id::DeviceId;
use rusqlite::{Connection, params};

use super::{audit, events, odd};

/// The kind of these changes in the audit.
pub const KIND: &str = "alarm";
/// Longest detail, characters: a device may say anything.
const DETAIL_MAX_CHARS: usize = 200;

/// One problem in one room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its number, rising.
    pub n: i64,
    /// The room's device.
    pub device: DeviceId,
    /// What is wrong.
    pub code: Code,
    /// Since when.
    pub raised_ms: i64,
    /// What exactly.
    pub detail: String,
    /// Until when; absent while it stands.
    pub cleared_ms: Option<i64>,
    /// Who has taken note of it, and when.
    pub known: Option<(String, i64)>,
}

/// Notes whether a problem holds: `detail` says what exactly, none that it does not. Answers whether that
/// changed anything. `since` is when it began, as far as that can be believed.
///
/// # Errors
/// What the database says.
pub fn set(
    db: &Connection,
    device: &DeviceId,
    code: Code,
    detail: Option<&str>,
    since: i64,
    now: i64,
) -> rusqlite::Result<bool> {
    let (id, name) = (device.as_str(), code.name());
    let Some(detail) = detail else {
        let sql = "UPDATE alarm SET cleared_ms = ? WHERE device = ? AND code = ? AND cleared_ms IS NULL";
        return Ok(db.execute(sql, params![now, id, name])? > 0);
    };
    let line = |c: char| if c.is_control() { ' ' } else { c };
    let detail: String = detail.chars().map(line).take(DETAIL_MAX_CHARS).collect();
    let changed = db.execute(
        "INSERT INTO alarm (device, code, raised_ms, detail) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (device, code) WHERE cleared_ms IS NULL DO UPDATE SET detail = ?4 WHERE detail <> ?4",
        params![id, name, since, detail],
    )?;
    Ok(changed > 0)
}

/// Which problems are asked for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of one device.
    pub device: Option<String>,
    /// Only those that stand.
    pub standing: bool,
}

/// Problems: those that stand and nobody has taken note of, then the others that stand, then the past; the
/// newest first in each.
///
/// # Errors
/// What the database says.
pub fn list(db: &Connection, filter: &Filter, most: u32, skip: u32) -> rusqlite::Result<Vec<Row>> {
    let mut rows = db.prepare_cached(
        "SELECT n, device, code, raised_ms, detail, cleared_ms, known_by, known_ms FROM alarm
         WHERE (?1 IS NULL OR device = ?1) AND (NOT ?2 OR cleared_ms IS NULL)
         ORDER BY cleared_ms IS NOT NULL, cleared_ms IS NULL AND known_ms IS NOT NULL, raised_ms DESC, n DESC
         LIMIT ?3 OFFSET ?4",
    )?;
    let rows = rows.query_map(params![filter.device, filter.standing, most, skip], row)?;
    // A code of a later version has no words here; it is kept for that version.
    rows.filter_map(Result::transpose).collect()
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Row>> {
    let device: String = row.get(1)?;
    let code: String = row.get(2)?;
    let Some(code) = Code::from_name(&code) else { return Ok(None) };
    let (who, when): (Option<String>, Option<i64>) = (row.get(6)?, row.get(7)?);
    Ok(Some(Row {
        n: row.get(0)?,
        device: DeviceId::new(device).map_err(|e| odd(1, e))?,
        code,
        raised_ms: row.get(3)?,
        detail: row.get(4)?,
        cleared_ms: row.get(5)?,
        known: who.zip(when),
    }))
}

/// The problems that stand, by device.
///
/// # Errors
/// What the database says.
pub fn standing(db: &Connection) -> rusqlite::Result<HashMap<DeviceId, Vec<Row>>> {
    let mut out: HashMap<_, Vec<Row>> = HashMap::new();
    for row in list(db, &Filter { device: None, standing: true }, u32::MAX, 0)? {
        out.entry(row.device.clone()).or_default().push(row);
    }
    Ok(out)
}

/// Nothing stands any more of a device that is out of use.
///
/// # Errors
/// What the database says.
pub fn end_all(db: &Connection, device: &DeviceId, now: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE alarm SET cleared_ms = ? WHERE device = ? AND cleared_ms IS NULL";
    db.execute(sql, params![now, device.as_str()]).map(drop)
}

/// Somebody has taken note of a problem; false when it does not stand, or was known already.
///
/// # Errors
/// What the database says.
pub fn know(db: &Connection, n: i64, who: &str, now: i64) -> rusqlite::Result<bool> {
    let changed = db.execute(
        "UPDATE alarm SET known_by = ?, known_ms = ? WHERE n = ? AND cleared_ms IS NULL AND known_ms IS NULL",
        params![who, now, n],
    )?;
    if changed == 0 {
        return Ok(false);
    }
    audit::note(db, who, KIND, &n.to_string(), "known", now)?;
    let (device, code): (String, String) =
        db.query_row("SELECT device, code FROM alarm WHERE n = ?", [n], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    if code == Code::SequenceGap.name() {
        // What never ends by itself is over when somebody has looked into it.
        db.execute("UPDATE device SET anew_known_ms = ? WHERE id = ?", params![now, device])?;
        events::pass(db, &DeviceId::new(device).map_err(|e| odd(0, e))?)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, devices};
    use crate::testkit;

    fn store() -> (tempfile::TempDir, Store, DeviceId) {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path()).expect("opens");
        let topics = testkit::topics("room-1");
        store.write_now(|db| devices::add(db, &topics, "301教室", "pw", 1)).expect("added");
        (folder, store, topics.device)
    }

    #[test]
    fn a_problem_said_often_is_one_row_until_it_is_over() {
        let (_folder, store, id) = store();
        let say = |detail: Option<&str>, now| {
            store.write_now(|db| set(db, &id, Code::Hot, detail, now, now)).expect("no fault")
        };
        let all = || store.read_now(|db| list(db, &Filter::default(), 9, 0)).expect("read");
        assert!(!say(None, 1), "what never stood is not cleared");
        assert!(say(Some("91℃"), 2) && !say(Some("91℃"), 3) && say(Some("94℃\n"), 4));
        assert_eq!(all().iter().map(|r| (r.raised_ms, r.detail.as_str())).collect::<Vec<_>>(), [(2, "94℃ ")]);
        assert!(say(None, 5) && !say(None, 6) && say(Some("92℃"), 7));
        let told: Vec<_> = all().iter().map(|r| (r.raised_ms, r.cleared_ms)).collect();
        assert_eq!(told, [(7, None), (2, Some(5))], "what stands comes first");
        assert_eq!(store.read_now(standing).expect("read")[&id].len(), 1);
    }

    #[test]
    fn who_took_note_is_kept_and_audited_once() {
        let (_folder, store, id) = store();
        store.write_now(|db| set(db, &id, Code::Hot, Some("x"), 1, 1)).expect("no fault");
        let n = store.read_now(|db| list(db, &Filter::default(), 1, 0)).expect("read")[0].n;
        let know = |who: &str, now| store.write_now(|db| know(db, n, who, now)).expect("no fault");
        assert!(know("王老师", 2) && !know("李老师", 3));
        let row = store.read_now(|db| list(db, &Filter::default(), 1, 0)).expect("read").remove(0);
        assert_eq!(row.known, Some(("王老师".into(), 2)));
        assert_eq!(store.read_now(|db| audit::of(db, KIND, &n.to_string())).expect("read").len(), 1);
        assert!(!store.write_now(|db| super::know(db, 99, "王老师", 4)).expect("no fault"));
    }

    #[test]
    fn numbers_that_somebody_has_looked_for_in_vain_are_passed_over() {
        let (_folder, store, id) = store();
        let event = |seq| lectern_wire::telemetry::Event {
            seq,
            ts: 1,
            mono_ms: 1,
            boot_id: "b".into(),
            clock_trusted: true,
            data: serde_json::Value::Null,
        };
        let add =
            |seq| store.write_now(|db| events::add(db, &id, "lesson", &event(seq), 5)).expect("no fault").1;
        assert_eq!((add(1), add(5), add(9)), (1, 1, 1));
        assert_eq!(store.read_now(|db| events::hole(db, &id)).expect("read"), Some((2, 4, 5)));
        store.write_now(|db| set(db, &id, Code::SequenceGap, Some("x"), 1, 1)).expect("no fault");
        store.write_now(|db| know(db, 1, "王老师", 2)).expect("no fault");
        assert_eq!(store.read_now(|db| events::hole(db, &id)).expect("read"), Some((6, 8, 5)));
        assert_eq!(add(6), 6);
    }
}
