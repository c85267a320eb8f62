//! 使用记录: what rooms saw of their use, one row a device, day and period, and the newest word of a person beside it.
//!
//! Rows come as events, at least once and in any order; here each is kept once. One that cannot be used is noted in the
//! audit with the reason, and its event stays. See [`crate::model::register`] for what holds.

use jiff::civil::Date;
use lectern_base::clock;
use lectern_wire::id::{DeviceId, SchoolId};
use lectern_wire::telemetry::Event;
use lectern_wire::usage::{KIND, OPEN_DAYS, Source, Usage};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{audit, odd, people, unwritable};
use crate::model::register::{At, Entry, Known, Place, Said, Version, said_ms};

/// The kind of a refused row in the audit.
pub const REFUSED: &str = "usage_refused";
/// The setting that says that the events of before this table were read.
const CAUGHT_UP: &str = "usage_caught_up";

/// What a row is called in the audit.
#[must_use]
pub fn subject(device: &DeviceId, date: &str, period: &str) -> String {
    format!("{device}/{date}/{period}")
}

/// Takes an event that was stored. The inner error says why nothing can be made of it; the audit says so too.
///
/// # Errors
/// What the database says.
pub fn heard(
    db: &Connection,
    device: &DeviceId,
    event: &Event,
    now: i64,
) -> rusqlite::Result<Result<(), String>> {
    let row = match read(event) {
        Ok(row) => row,
        Err(why) => return refuse(db, device, &format!("{} 号", event.seq), why, now),
    };
    let known = find(db, device, &row.date, &row.period)?;
    if row.source == Source::Auto {
        match known.as_ref().and_then(Entry::auto) {
            // Sent again, by another number: after a power cut between two files of the room.
            Some(same) if *same == row => {}
            Some(_) => {
                let why = "a row of this period is here already, and says something else".to_owned();
                return refuse(db, device, &format!("{} {}", row.date, row.period), why, now);
            }
            None => put_auto(db, device, &row, now)?,
        }
        return Ok(Ok(()));
    }
    let ms = said_ms(&row, now);
    let said_day = clock::local(ms).date();
    let days =
        row.date.parse::<Date>().ok().and_then(|day| said_day.since(day).ok()).map(|span| span.get_days());
    if days.is_none_or(|days| i64::from(days) >= OPEN_DAYS) {
        let why = "it was said after the row was closed".to_owned();
        return refuse(db, device, &format!("{} {}", row.date, row.period), why, now);
    }
    let newest = known.as_ref().and_then(Entry::said).map(|said| said.ms);
    // Of two words of one moment the one heard last holds.
    if newest.is_none_or(|newest| newest <= ms) {
        put_said(db, device, &Said { row, ms, at: At::Room }, now)?;
    }
    Ok(Ok(()))
}

/// Reads and checks the row of an event.
fn read(event: &Event) -> Result<Usage, String> {
    let row: Usage = serde_json::from_value(event.data.clone()).map_err(|e| e.to_string())?;
    row.check()?;
    row.date.parse::<Date>().map_err(|e| format!("date {}: {e}", row.date))?;
    Ok(row)
}

fn refuse(
    db: &Connection,
    device: &DeviceId,
    which: &str,
    why: String,
    now: i64,
) -> rusqlite::Result<Result<(), String>> {
    audit::note(db, "hub", REFUSED, device.as_str(), &format!("{which}: {why}"), now)?;
    Ok(Err(why))
}

/// Makes sure that there is a row to write into.
fn begin(db: &Connection, device: &DeviceId, row: &Usage, now: i64) -> rusqlite::Result<()> {
    db.execute(
        "INSERT OR IGNORE INTO usage (device, date, period, school, room, arrived_ms)
         SELECT id, ?2, ?3, school, room, ?4 FROM device WHERE id = ?1",
        params![device.as_str(), row.date, row.period, now],
    )?;
    Ok(())
}

fn put_auto(db: &Connection, device: &DeviceId, row: &Usage, now: i64) -> rusqlite::Result<()> {
    begin(db, device, row, now)?;
    let text = serde_json::to_string(row).map_err(unwritable)?;
    db.execute(
        "UPDATE usage SET auto = ?4 WHERE device = ?1 AND date = ?2 AND period = ?3",
        params![device.as_str(), row.date, row.period, text],
    )?;
    Ok(())
}

fn put_said(db: &Connection, device: &DeviceId, said: &Said, now: i64) -> rusqlite::Result<()> {
    begin(db, device, &said.row, now)?;
    let text = serde_json::to_string(&said.row).map_err(unwritable)?;
    db.execute(
        "UPDATE usage SET said = ?4, said_ms = ?5, said_at = ?6 WHERE device = ?1 AND date = ?2 AND period = ?3",
        params![device.as_str(), said.row.date, said.row.period, text, said.ms, said.at.name()],
    )?;
    Ok(())
}

/// Keeps what somebody at the console says of a row, and notes in the audit what they said.
///
/// # Errors
/// What the database says.
pub fn say(
    db: &Connection,
    device: &DeviceId,
    row: &Usage,
    (who, what): (&str, &str),
    now: i64,
) -> rusqlite::Result<()> {
    put_said(db, device, &Said { row: row.clone(), ms: now, at: At::Hub }, now)?;
    audit::note(db, who, KIND, &subject(device, &row.date, &row.period), what, now)
}

const COLUMNS: &str = "device, room, auto, said, said_ms, said_at";

/// A row as a line; none where the database holds neither a row nor a word.
fn entry(row: &Row<'_>) -> rusqlite::Result<Option<Entry>> {
    let usage = |column: usize| -> rusqlite::Result<Option<Usage>> {
        let text: Option<String> = row.get(column)?;
        text.map(|text| serde_json::from_str(&text).map_err(|e| odd(column, e))).transpose()
    };
    let (auto, said) = (usage(2)?.map(Box::new), usage(3)?);
    let (ms, at): (Option<i64>, Option<String>) = (row.get(4)?, row.get(5)?);
    let said = said.map(|said| {
        let at = at.as_deref().and_then(At::named).unwrap_or(At::Room);
        Box::new(Said { ms: ms.unwrap_or(said.said_ms), at, row: said })
    });
    let known = match (auto, said) {
        (Some(auto), said) => Known::Row { auto, said },
        (None, Some(said)) => Known::Word(said),
        (None, None) => return Ok(None),
    };
    let device: String = row.get(0)?;
    Ok(Some(Entry { device: DeviceId::new(device).map_err(|e| odd(0, e))?, room: row.get(1)?, known }))
}

/// The line of a period in a room, if anything is known.
///
/// # Errors
/// What the database says.
pub fn find(db: &Connection, device: &DeviceId, date: &str, period: &str) -> rusqlite::Result<Option<Entry>> {
    let sql = format!("SELECT {COLUMNS} FROM usage WHERE device = ? AND date = ? AND period = ?");
    let found = db.prepare_cached(&sql)?.query_row([device.as_str(), date, period], entry).optional()?;
    Ok(found.flatten())
}

/// The lines of a school from one day to another.
///
/// # Errors
/// What the database says.
pub fn of_days(db: &Connection, school: &SchoolId, from: Date, to: Date) -> rusqlite::Result<Vec<Entry>> {
    let sql = format!("SELECT {COLUMNS} FROM usage WHERE school = ? AND date >= ? AND date <= ?");
    let mut rows = db.prepare_cached(&sql)?;
    let rows = rows.query_map([school.as_str(), &from.to_string(), &to.to_string()], entry)?;
    rows.filter_map(Result::transpose).collect()
}

/// Rows that could not be used and came within a time, newest first: device, when, and why.
///
/// # Errors
/// What the database says.
pub fn refused(
    db: &Connection,
    school: &SchoolId,
    span: std::ops::Range<i64>,
    most: u32,
) -> rusqlite::Result<Vec<(String, i64, String)>> {
    let mut rows = db.prepare_cached(
        "SELECT d.room, a.at_ms, a.detail FROM audit a JOIN device d ON d.id = a.subject
         WHERE a.what = ? AND d.school = ? AND a.at_ms >= ? AND a.at_ms < ? ORDER BY a.n DESC LIMIT ?",
    )?;
    let rows = rows.query_map(params![REFUSED, school.as_str(), span.start, span.end, most], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    rows.collect()
}

/// The rooms of a school, as the register misses them.
///
/// # Errors
/// What the database says.
pub fn places(db: &Connection, school: &SchoolId) -> rusqlite::Result<Vec<Place>> {
    let mut rows = db.prepare_cached(
        "SELECT id, room, added_ms, retired_ms FROM device WHERE school = ? ORDER BY room, id",
    )?;
    let rows = rows.query_map([school.as_str()], |row| {
        let id: String = row.get(0)?;
        Ok(Place {
            device: DeviceId::new(id).map_err(|e| odd(0, e))?,
            room: row.get(1)?,
            since_ms: row.get(2)?,
            until_ms: row.get::<_, Option<i64>>(3)?.unwrap_or(i64::MAX),
        })
    })?;
    rows.collect()
}

/// The timetables of a school that counted within a time, oldest first.
///
/// # Errors
/// What the database says.
pub fn versions(
    db: &Connection,
    school: &SchoolId,
    span: std::ops::Range<i64>,
) -> rusqlite::Result<Vec<Version>> {
    let mut rows = db.prepare_cached(
        "SELECT at_ms, document FROM timetable WHERE school = ?1 AND at_ms < ?3 AND at_ms >= coalesce(
             (SELECT max(at_ms) FROM timetable WHERE school = ?1 AND at_ms <= ?2), ?2)
         ORDER BY n",
    )?;
    let rows = rows.query_map(params![school.as_str(), span.start, span.end], |row| {
        let document: String = row.get(1)?;
        Ok(Version { since_ms: row.get(0)?, table: serde_json::from_str(&document).map_err(|e| odd(1, e))? })
    })?;
    rows.collect()
}

/// Reads, once, the rows that came as events before there was this table; answers how many events it read.
///
/// # Errors
/// What the database says.
pub fn catch_up(db: &Connection, now: i64) -> rusqlite::Result<usize> {
    if people::get(db, CAUGHT_UP)?.is_some() {
        return Ok(0);
    }
    let mut rows = db.prepare(
        "SELECT e.device, e.body FROM event e JOIN device d ON d.id = e.device
         WHERE e.kind = ? ORDER BY e.device, e.epoch, e.seq",
    )?;
    let rows = rows.query_map([KIND], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let mut read = 0;
    for row in rows {
        let (device, body) = row?;
        let device = DeviceId::new(device).map_err(|e| odd(0, e))?;
        let event: Event = serde_json::from_str(&body).map_err(|e| odd(1, e))?;
        if let Err(why) = heard(db, &device, &event, now)? {
            tracing::warn!(%device, seq = event.seq, "a row of the use register from before cannot be used: {why}");
        }
        read += 1;
    }
    people::set(db, CAUGHT_UP, "1")?;
    Ok(read)
}

#[cfg(test)]
#[path = "usage_tests.rs"]
mod tests;
