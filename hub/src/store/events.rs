//! Events: at least once on the wire, exactly once here.
//!
//! A device numbers its events from 1. `high` is the number up to which none is missing; the hub
//! acknowledges it and the device forgets them. Three things may leave a hole that nothing fills:
//! the device lost rows and says so (a `gap` event), the device lost its outbox and counts from 1
//! again (a known number with other content: a new epoch), or the hub lost its own past (the first
//! event of a device the hub has none of: what was before it had been acknowledged).

use lectern_wire::id::DeviceId;
use lectern_wire::telemetry::Event;
use rusqlite::{Connection, OptionalExtension as _, params};

/// Stores an event; answers whether it is new and how far none is missing.
///
/// # Errors
/// What the database says.
pub fn add(
    db: &Connection,
    device: &DeviceId,
    kind: &str,
    event: &Event,
    now: i64,
) -> rusqlite::Result<(bool, u64)> {
    let id = device.as_str();
    let seq = i64::try_from(event.seq).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, i64::MAX))?;
    let body =
        serde_json::to_string(event).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
    let (mut epoch, mut high): (i64, i64) =
        db.query_row("SELECT epoch, high FROM device WHERE id = ?", [id], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;

    let known: Option<String> = db
        .prepare_cached("SELECT body FROM event WHERE device = ? AND epoch = ? AND seq = ?")?
        .query_row(params![id, epoch, seq], |row| row.get(0))
        .optional()?;
    match known {
        // Compared as what it says, not as text: another version may write the same event differently.
        Some(same) if serde_json::from_str::<Event>(&same).is_ok_and(|e| e == *event) => {
            return Ok((false, u64::try_from(high).unwrap_or(0)));
        }
        Some(_) => {
            tracing::warn!(device = id, seq, "the device numbers its events anew: its outbox was lost");
            epoch += 1;
            high = seq - 1;
            db.execute("UPDATE device SET anew_ms = ? WHERE id = ?", params![now, id])?;
        }
        None if high == 0 && none_yet(db, id, epoch)? => high = seq - 1,
        None => {}
    }
    db.prepare_cached(
        "INSERT INTO event (device, epoch, seq, kind, ts, body, arrived_ms) VALUES (?,?,?,?,?,?,?)",
    )?
    .execute(params![id, epoch, seq, kind, event.ts, body, now])?;
    if kind == "gap" {
        let number = |name: &str| event.data.get(name).and_then(serde_json::Value::as_i64);
        if let (Some(from), Some(to)) = (number("from_seq"), number("to_seq"))
            && from <= to
        {
            db.execute(
                "INSERT OR IGNORE INTO gap (device, epoch, from_seq, to_seq) VALUES (?,?,?,?)",
                params![id, epoch, from, to],
            )?;
        }
    }
    high = advance(db, id, epoch, high)?;
    db.execute(
        "UPDATE device SET epoch = ?, high = ?, seen_ms = ? WHERE id = ?",
        params![epoch, high, now, id],
    )?;
    Ok((true, u64::try_from(high).unwrap_or(0)))
}

fn none_yet(db: &Connection, device: &str, epoch: i64) -> rusqlite::Result<bool> {
    db.query_row(
        "SELECT NOT EXISTS (SELECT 1 FROM event WHERE device = ? AND epoch = ?)",
        params![device, epoch],
        |row| row.get(0),
    )
}

/// Walks up from `high` over stored numbers and named gaps.
fn advance(db: &Connection, device: &str, epoch: i64, mut high: i64) -> rusqlite::Result<i64> {
    let mut stored = db.prepare_cached("SELECT 1 FROM event WHERE device = ? AND epoch = ? AND seq = ?")?;
    let mut gap = db.prepare_cached(
        "SELECT max(to_seq) FROM gap WHERE device = ? AND epoch = ? AND from_seq <= ? AND to_seq >= ?",
    )?;
    loop {
        let Some(next) = high.checked_add(1) else { return Ok(high) };
        if stored.exists(params![device, epoch, next])? {
            high = next;
        } else if let Some(to) =
            gap.query_row(params![device, epoch, next, next], |row| row.get::<_, Option<i64>>(0))?
        {
            high = to;
        } else {
            return Ok(high);
        }
    }
}

/// Another machine takes the device's place, or one that was another device meanwhile comes back: its numbers do not
/// continue those that came last.
///
/// # Errors
/// What the database says.
pub fn begin_anew(db: &Connection, device: &DeviceId) -> rusqlite::Result<()> {
    db.execute("UPDATE device SET epoch = epoch + 1, high = 0 WHERE id = ?", [device.as_str()])?;
    Ok(())
}

/// Numbers that are missing below one that has arrived: first, last, and when that one arrived.
///
/// # Errors
/// What the database says.
pub fn hole(db: &Connection, device: &DeviceId) -> rusqlite::Result<Option<(i64, i64, i64)>> {
    let mut hole = db.prepare_cached(
        "SELECT d.high + 1, e.seq - 1, e.arrived_ms FROM device d
         JOIN event e ON e.device = d.id AND e.epoch = d.epoch AND e.seq > d.high
         WHERE d.id = ? ORDER BY e.seq LIMIT 1",
    )?;
    hole.query_row([device.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()
}

/// Passes over numbers that somebody has looked for in vain, so that those behind them are acknowledged.
///
/// # Errors
/// What the database says.
pub fn pass(db: &Connection, device: &DeviceId) -> rusqlite::Result<()> {
    let Some((from, to, _)) = hole(db, device)? else { return Ok(()) };
    let id = device.as_str();
    let epoch: i64 = db.query_row("SELECT epoch FROM device WHERE id = ?", [id], |row| row.get(0))?;
    db.execute(
        "INSERT OR IGNORE INTO gap (device, epoch, from_seq, to_seq) VALUES (?,?,?,?)",
        params![id, epoch, from, to],
    )?;
    let high = advance(db, id, epoch, from - 1)?;
    db.execute("UPDATE device SET high = ? WHERE id = ?", params![high, id])?;
    Ok(())
}

/// The newest events of a device as (kind, event), newest first.
///
/// # Errors
/// What the database says.
pub fn newest(db: &Connection, device: &DeviceId, most: u32) -> rusqlite::Result<Vec<(String, Event, i64)>> {
    let mut rows = db.prepare_cached(
        "SELECT kind, body, arrived_ms FROM event WHERE device = ? ORDER BY epoch DESC, seq DESC LIMIT ?",
    )?;
    let rows = rows.query_map(params![device.as_str(), most], |row| {
        let body: String = row.get(1)?;
        let event = serde_json::from_str(&body).map_err(|e| super::odd(1, e))?;
        Ok((row.get(0)?, event, row.get(2)?))
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, devices};
    use crate::testkit;

    fn event(seq: u64, word: &str) -> Event {
        Event {
            seq,
            ts: 1,
            mono_ms: 1,
            boot_id: "b".into(),
            clock_trusted: true,
            data: serde_json::json!({ "word": word }),
        }
    }

    fn store() -> (tempfile::TempDir, Store, DeviceId) {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path()).expect("opens");
        let topics = testkit::topics("room-1");
        store.write_now(|db| devices::add(db, &topics, "301教室", "pw", 1)).expect("added");
        (folder, store, topics.device)
    }

    fn add_one(store: &Store, id: &DeviceId, kind: &str, event: &Event) -> (bool, u64) {
        store.write_now(|db| add(db, id, kind, event, 5)).expect("stored")
    }

    #[test]
    fn a_repeated_event_is_stored_once_and_acknowledged_again() {
        let (_folder, store, id) = store();
        assert_eq!(add_one(&store, &id, "lesson", &event(1, "a")), (true, 1));
        assert_eq!(add_one(&store, &id, "lesson", &event(1, "a")), (false, 1));
        assert_eq!(add_one(&store, &id, "lesson", &event(2, "b")), (true, 2));
        assert_eq!(store.read_now(|db| newest(db, &id, 9)).expect("read").len(), 2);
    }

    #[test]
    fn the_acknowledgement_stops_at_a_hole_until_it_is_filled_or_named() {
        let (_folder, store, id) = store();
        add_one(&store, &id, "lesson", &event(1, "a"));
        assert_eq!(add_one(&store, &id, "lesson", &event(3, "c")), (true, 1));
        assert_eq!(add_one(&store, &id, "lesson", &event(2, "b")), (true, 3));
        assert_eq!(add_one(&store, &id, "lesson", &event(7, "g")), (true, 3));
        let gap = Event { data: serde_json::json!({"from_seq": 4, "to_seq": 6}), ..event(8, "") };
        assert_eq!(add_one(&store, &id, "gap", &gap), (true, 8));
        let backwards = Event { data: serde_json::json!({"from_seq": 9, "to_seq": -6}), ..event(9, "") };
        assert_eq!(add_one(&store, &id, "gap", &backwards), (true, 9));
    }

    #[test]
    fn a_device_that_counts_from_one_again_loses_nothing() {
        let (_folder, store, id) = store();
        for n in 1..=5 {
            add_one(&store, &id, "lesson", &event(n, "before"));
        }
        assert_eq!(add_one(&store, &id, "lesson", &event(1, "after")), (true, 1));
        assert_eq!(add_one(&store, &id, "lesson", &event(2, "after")), (true, 2));
        assert_eq!(store.read_now(|db| newest(db, &id, 9)).expect("read").len(), 7);
    }

    #[test]
    fn another_machine_in_the_devices_place_counts_from_where_it_stands() {
        let (_folder, store, id) = store();
        add_one(&store, &id, "lesson", &event(1, "the one before"));
        store.write_now(|db| begin_anew(db, &id)).expect("begun");
        assert_eq!(add_one(&store, &id, "lesson", &event(40, "moved here")), (true, 40));
        assert_eq!(store.read_now(|db| hole(db, &id)).expect("read"), None);
        store.write_now(|db| begin_anew(db, &id)).expect("begun");
        assert_eq!(add_one(&store, &id, "lesson", &event(1, "a new one")), (true, 1));
        let anew = "SELECT anew_ms FROM device";
        let anew = store.read_now(|db| db.query_row(anew, [], |row| row.get::<_, Option<i64>>(0)));
        assert_eq!(anew.expect("read"), None, "nothing was lost, and nobody is told so");
    }

    #[test]
    fn a_hub_that_lost_its_past_goes_on_from_what_the_device_still_has() {
        let (_folder, store, id) = store();
        assert_eq!(add_one(&store, &id, "lesson", &event(500, "a")), (true, 500));
        assert_eq!(add_one(&store, &id, "lesson", &event(501, "b")), (true, 501));
    }
}
