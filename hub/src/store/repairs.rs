//! 报修: what teachers report, one row a ticket. Who changed one is in [`super::audit`].

use std::collections::HashMap;

use lectern_wire::afterwards::{REPAIR_MAX_CHARS, Repair};
use lectern_wire::id::DeviceId;
use lectern_wire::telemetry::Event;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{audit, odd};
use crate::model::repair::{Answer, State};

/// The event's type, and the kind of thing in the audit.
pub const KIND: &str = "repair";

/// One ticket.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// Whose.
    pub device: DeviceId,
    /// Its id, the device's own.
    pub id: String,
    /// When it was reported: by the device's clock where that was trusted, else when it came.
    pub asked_ms: i64,
    /// What the teacher says; may be empty.
    pub text: String,
    /// The machine's condition then.
    pub condition: serde_json::Value,
    /// How far it is.
    pub state: State,
    /// What was changed, oldest first.
    pub history: Vec<audit::Entry>,
}

fn subject(device: &str, id: &str) -> String {
    format!("{device}/{id}")
}

/// Takes an event that was stored: a new id is a new ticket, a known one is the same. The inner error says
/// why nothing can be made of it.
///
/// # Errors
/// What the database says.
pub fn heard(
    db: &Connection,
    device: &DeviceId,
    event: &Event,
    now: i64,
) -> rusqlite::Result<Result<(), String>> {
    let repair: Repair = match serde_json::from_value(event.data.clone()) {
        Ok(repair) => repair,
        Err(e) => return Ok(Err(e.to_string())),
    };
    let is_id = repair.id.len() == 16 && repair.id.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    if !is_id {
        return Ok(Err("the ticket's id is not 16 hexadecimal digits".into()));
    }
    let asked_ms = if event.clock_trusted { event.ts } else { now };
    db.execute(
        "INSERT OR IGNORE INTO repair (device, id, asked_ms, text, condition, state) VALUES (?,?,?,?,?,?)",
        params![
            device.as_str(),
            repair.id,
            asked_ms,
            plain(&repair.text),
            repair.condition.to_string(),
            State::Open.name()
        ],
    )?;
    Ok(Ok(()))
}

/// What a teacher wrote, cut to its limit: a report that is too long is still one.
fn plain(text: &str) -> String {
    let line = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
    text.trim().chars().map(line).take(REPAIR_MAX_CHARS).collect()
}

/// What a list of tickets is limited to.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of one device.
    pub device: Option<String>,
    /// Done or not; absent: all.
    pub done: Option<bool>,
}

/// Tickets: those nobody has taken up, then those somebody is at, then the done; newest first in each.
///
/// # Errors
/// What the database says.
pub fn list(db: &Connection, filter: &Filter, most: u32, skip: u32) -> rusqlite::Result<Vec<Ticket>> {
    let mut rows = db.prepare_cached(
        "SELECT device, id, asked_ms, text, condition, state FROM repair
         WHERE (?1 IS NULL OR device = ?1) AND (?2 IS NULL OR (state = 'done') = ?2)
         ORDER BY CASE state WHEN 'open' THEN 0 WHEN 'doing' THEN 1 ELSE 2 END, asked_ms DESC, id
         LIMIT ?3 OFFSET ?4",
    )?;
    let rows = rows.query_map(params![filter.device, filter.done, most, skip], |row| {
        let device: String = row.get(0)?;
        let condition: String = row.get(4)?;
        let state: String = row.get(5)?;
        Ok(Ticket {
            device: DeviceId::new(device).map_err(|e| odd(0, e))?,
            id: row.get(1)?,
            asked_ms: row.get(2)?,
            text: row.get(3)?,
            condition: serde_json::from_str(&condition).map_err(|e| odd(4, e))?,
            state: State::named(&state).unwrap_or(State::Open),
            history: Vec::new(),
        })
    })?;
    let mut tickets = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    for ticket in &mut tickets {
        ticket.history = audit::of(db, KIND, &subject(ticket.device.as_str(), &ticket.id))?;
    }
    Ok(tickets)
}

/// How many tickets are not done, by device.
///
/// # Errors
/// What the database says.
pub fn pending(db: &Connection) -> rusqlite::Result<HashMap<String, u32>> {
    let mut rows =
        db.prepare_cached("SELECT device, count(*) FROM repair WHERE state <> 'done' GROUP BY device")?;
    rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Changes a ticket and notes who did; none when there is no such ticket.
///
/// # Errors
/// What the database says.
pub fn change(
    db: &Connection,
    device: &str,
    id: &str,
    to: State,
    who: &str,
    now: i64,
) -> rusqlite::Result<Option<Answer>> {
    let found: Option<String> = db
        .query_row("SELECT state FROM repair WHERE device = ? AND id = ?", [device, id], |row| row.get(0))
        .optional()?;
    let Some(from) = found.as_deref().and_then(State::named) else { return Ok(None) };
    let answer = from.go(to);
    if answer == Answer::Changed {
        db.execute(
            "UPDATE repair SET state = ? WHERE device = ? AND id = ?",
            params![to.name(), device, id],
        )?;
        audit::note(db, who, KIND, &subject(device, id), to.name(), now)?;
    }
    Ok(Some(answer))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::store::{Store, devices};
    use crate::testkit;

    fn event(ts: i64, data: Value) -> Event {
        Event { seq: 1, ts, mono_ms: 1, boot_id: "b".into(), clock_trusted: ts > 100, data }
    }

    fn store() -> (tempfile::TempDir, Store, DeviceId) {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path()).expect("opens");
        let topics = testkit::topics("room-1");
        store.write_now(|db| devices::add(db, &topics, "301教室", "pw", 1)).expect("added");
        (folder, store, topics.device)
    }

    #[test]
    fn a_ticket_sent_twice_is_one_and_what_is_none_is_refused() {
        let (_folder, store, id) = store();
        let hear = |event: &Event| store.write_now(|db| heard(db, &id, event, 500)).expect("no fault");
        let ticket = |name: &str, text: &str| json!({"id": name, "text": text, "condition": []});
        assert_eq!(hear(&event(200, ticket("0123456789abcdef", "话筒没有声音"))), Ok(()));
        assert_eq!(hear(&event(300, ticket("0123456789abcdef", "又按了一次"))), Ok(()));
        // A clock that nobody trusts says nothing of when it was.
        assert_eq!(hear(&event(7, ticket("fedcba9876543210", &"长\u{0}".repeat(900)))), Ok(()));
        for bad in [
            json!(null),
            json!({"id": "0123456789abcdef", "text": "x"}),
            ticket("", ""),
            ticket("0123456789ABCDEF", ""),
            ticket("../../etc/passwd", ""),
            ticket("0123456789abcdef0", ""),
        ] {
            assert!(hear(&event(200, bad)).is_err());
        }
        let found = store.read_now(|db| list(db, &Filter::default(), 9, 0)).expect("read");
        let shown: Vec<_> = found.iter().map(|t| (t.asked_ms, t.text.chars().count())).collect();
        assert_eq!(shown, [(500, 400), (200, 6)]);
        assert!(found[0].text.starts_with("长 长"), "{}", found[0].text);
        assert_eq!(store.read_now(pending).expect("read"), HashMap::from([("room-1".into(), 2)]));
    }

    #[test]
    fn who_changed_a_ticket_is_noted_once() {
        let (_folder, store, id) = store();
        let data = json!({"id": "0123456789abcdef", "text": "", "condition": {"findings": []}});
        store.write_now(|db| heard(db, &id, &event(200, data), 500)).expect("no fault").expect("heard");
        let go = |to, now| {
            store
                .write_now(|db| change(db, "room-1", "0123456789abcdef", to, "admin", now))
                .expect("no fault")
        };
        assert_eq!(go(State::Done, 1), Some(Answer::Denied));
        assert_eq!(go(State::Doing, 2), Some(Answer::Changed));
        assert_eq!(go(State::Doing, 3), Some(Answer::AlreadySo));
        assert_eq!(go(State::Done, 4), Some(Answer::Changed));
        let nobody = store.write_now(|db| change(db, "room-2", "0123456789abcdef", State::Doing, "admin", 5));
        assert_eq!(nobody.expect("no fault"), None);
        let list = |done| {
            let filter = Filter { device: Some("room-1".into()), done };
            store.read_now(|db| list(db, &filter, 9, 0)).expect("read")
        };
        assert!(list(Some(false)).is_empty() && store.read_now(pending).expect("read").is_empty());
        let found = list(Some(true));
        let history: Vec<_> = found[0].history.iter().map(|e| (e.at_ms, e.detail.as_str())).collect();
        assert_eq!(history, [(2, "doing"), (4, "done")]);
        assert_eq!((found[0].state, list(None).len()), (State::Done, 1));
    }
}
