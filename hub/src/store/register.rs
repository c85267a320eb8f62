//! The register of a school and what its indicators are made of, put together from several tables.

use std::collections::HashMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use lectern_wire::afterwards::Submission;
use lectern_wire::id::{DeviceId, SchoolId};
use lectern_wire::manifest::About;
use rusqlite::{Connection, params};

use super::{odd, repairs, usage};
use crate::model::indicators::{EQUIPMENT, Facts, Room, Teacher, Ticket, Trouble};
use crate::model::register::{Entry, dates, planned, register};
use crate::model::repair::State;

/// Where and when days begin and end.
#[derive(Debug, Clone)]
pub struct Now {
    /// Unix milliseconds.
    pub ms: i64,
    /// The hub's own zone: a school lies in one.
    pub zone: TimeZone,
}

impl Now {
    /// When a day begins, Unix milliseconds.
    #[must_use]
    pub fn begins_ms(&self, day: Date) -> i64 {
        day.to_zoned(self.zone.clone()).map_or(0, |at| at.timestamp().as_millisecond())
    }

    /// Today.
    #[must_use]
    pub fn today(&self) -> Date {
        jiff::Timestamp::from_millisecond(self.ms).unwrap_or_default().to_zoned(self.zone.clone()).date()
    }

    /// From the beginning of a day to the end of another.
    fn span(&self, from: Date, to: Date) -> std::ops::Range<i64> {
        self.begins_ms(from)..to.tomorrow().map_or(i64::MAX, |next| self.begins_ms(next))
    }
}

/// The lines of a school from one day to another: rows, and what was planned and has none.
///
/// # Errors
/// What the database says.
pub fn entries(
    db: &Connection,
    school: &SchoolId,
    (from, to): (Date, Date),
    now: &Now,
) -> rusqlite::Result<Vec<Entry>> {
    let rows = usage::of_days(db, school, from, to)?;
    let versions = usage::versions(db, school, now.span(from, to))?;
    let days = dates(from, to.min(now.today()));
    let planned = planned(&versions, &usage::places(db, school)?, &days, now.ms, &now.zone);
    Ok(register(rows, planned))
}

/// What the indicators of a school and a month are made of. `year`: the first day of the school year.
///
/// # Errors
/// What the database says.
pub fn facts(
    db: &Connection,
    school: &SchoolId,
    (first, last): (Date, Date),
    year: Date,
    now: &Now,
) -> rusqlite::Result<Facts> {
    let span = now.span(first, last);
    let versions = usage::versions(db, school, span.clone())?;
    let table = versions.last().map(|version| version.table.clone()).unwrap_or_default();
    let tickets = tickets(db, school, span.end)?;
    let mut troubles = alarms(db, school, &span)?;
    troubles.extend(
        tickets
            .iter()
            .filter(|(_, t)| t.done_ms.is_none_or(|done| done >= span.start))
            .map(|(device, t)| Trouble { device: device.clone(), from_ms: t.asked_ms, to_ms: t.done_ms }),
    );
    Ok(Facts {
        entries: entries(db, school, (first, last), now)?,
        rooms: rooms(db, school)?,
        table,
        troubles,
        tickets: tickets.into_iter().map(|(_, t)| t).filter(|t| span.contains(&t.asked_ms)).collect(),
        submitted: submitted(db, school, now.begins_ms(year)..span.end)?,
    })
}

fn rooms(db: &Connection, school: &SchoolId) -> rusqlite::Result<Vec<Room>> {
    let mut rows = db.prepare_cached(
        "SELECT id, room, seen_ms IS NOT NULL FROM device WHERE school = ? AND retired_ms IS NULL",
    )?;
    let rows = rows.query_map([school.as_str()], |row| {
        let id: String = row.get(0)?;
        Ok(Room { device: DeviceId::new(id).map_err(|e| odd(0, e))?, name: row.get(1)?, heard: row.get(2)? })
    })?;
    rows.collect()
}

fn alarms(db: &Connection, school: &SchoolId, span: &std::ops::Range<i64>) -> rusqlite::Result<Vec<Trouble>> {
    let mut rows = db.prepare_cached(
        "SELECT a.device, a.raised_ms, a.cleared_ms, a.code FROM alarm a JOIN device d ON d.id = a.device
         WHERE d.school = ?1 AND a.raised_ms < ?2 AND coalesce(a.cleared_ms, ?3) >= ?3",
    )?;
    let rows = rows.query_map(params![school.as_str(), span.end, span.start], |row| {
        let (device, code): (String, String) = (row.get(0)?, row.get(3)?);
        let trouble = Trouble {
            device: DeviceId::new(device).map_err(|e| odd(0, e))?,
            from_ms: row.get(1)?,
            to_ms: row.get(2)?,
        };
        Ok((code, trouble))
    })?;
    let all = rows.collect::<rusqlite::Result<Vec<_>>>()?.into_iter();
    Ok(all.filter(|(code, _)| EQUIPMENT.iter().any(|e| e.name() == code)).map(|(_, t)| t).collect())
}

/// Repairs that were asked for before a moment, with what became of them.
fn tickets(db: &Connection, school: &SchoolId, before_ms: i64) -> rusqlite::Result<Vec<(DeviceId, Ticket)>> {
    let mut steps =
        db.prepare_cached("SELECT subject, detail, at_ms FROM audit WHERE what = ? ORDER BY n")?;
    let mut by: HashMap<String, (Option<i64>, Option<i64>)> = HashMap::new();
    let steps = steps.query_map([repairs::KIND], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
    })?;
    for step in steps {
        let (subject, detail, at_ms) = step?;
        let (doing, done) = by.entry(subject).or_default();
        match State::named(&detail) {
            Some(State::Doing) => {
                doing.get_or_insert(at_ms);
                *done = None;
            }
            Some(State::Done) => *done = Some(at_ms),
            Some(State::Open) | None => {}
        }
    }
    let mut rows = db.prepare_cached(
        "SELECT r.device, r.id, r.asked_ms FROM repair r JOIN device d ON d.id = r.device
         WHERE d.school = ? AND r.asked_ms < ? ORDER BY r.asked_ms",
    )?;
    let rows = rows.query_map(params![school.as_str(), before_ms], |row| {
        let (device, id): (String, String) = (row.get(0)?, row.get(1)?);
        let (doing_ms, done_ms) = by.get(&format!("{device}/{id}")).copied().unwrap_or_default();
        let device = DeviceId::new(device).map_err(|e| odd(0, e))?;
        Ok((device, Ticket { asked_ms: row.get(2)?, doing_ms, done_ms }))
    })?;
    rows.collect()
}

/// Who put a lesson forward within a time; one entry a lesson.
fn submitted(
    db: &Connection,
    school: &SchoolId,
    span: std::ops::Range<i64>,
) -> rusqlite::Result<Vec<Teacher>> {
    let mut rows = db.prepare_cached(
        "SELECT about, submitted FROM lesson
         WHERE school = ? AND submitted IS NOT NULL AND state = 'stored'",
    )?;
    let rows = rows.query_map([school.as_str()], |row| {
        let (about, submitted): (String, String) = (row.get(0)?, row.get(1)?);
        let about: About = serde_json::from_str(&about).map_err(|e| odd(0, e))?;
        let submitted: Vec<Submission> = serde_json::from_str(&submitted).map_err(|e| odd(1, e))?;
        let within = submitted.iter().any(|s| span.contains(&s.wall_ms));
        Ok(within.then_some(Teacher { id: about.teacher_id, name: about.teacher }))
    })?;
    rows.filter_map(Result::transpose).collect()
}
