//! Lessons that were planned by the timetable of their time, as lines of the register about which nothing is known.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use lectern_wire::id::DeviceId;
use lectern_wire::timetable::Timetable;
use lectern_wire::usage::{Source, Usage, Used};

use super::{Entry, Known};
use crate::model::timetable::{SchoolTable, room};

/// A row may come so long after its bell before anybody misses it.
const LATE_MS: i64 = 10 * 60_000;
/// Longest span of days, so that no wish takes the hub's breath away.
pub const MOST_DAYS: i32 = 400;

/// A timetable of a school and since when it counts.
#[derive(Debug, Clone)]
pub struct Version {
    /// Since when, Unix milliseconds.
    pub since_ms: i64,
    /// The timetable.
    pub table: SchoolTable,
}

/// A registered room.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its device.
    pub device: DeviceId,
    /// Its name.
    pub room: String,
    /// When it was registered: before that nobody misses it.
    pub since_ms: i64,
    /// When it was taken out of use: from then on nobody does.
    pub until_ms: i64,
}

/// Every day from one to another.
#[must_use]
pub fn dates(from: Date, to: Date) -> Vec<Date> {
    let days = from.series(jiff::Span::new().days(1)).take_while(|day| *day <= to);
    days.take(usize::try_from(MOST_DAYS).unwrap_or(0)).collect()
}

/// Every lesson that was planned in these rooms on these days and whose bell has rung, each by the timetable that counted
/// when it began. Versions oldest first.
#[must_use]
pub fn planned(
    versions: &[Version],
    places: &[Place],
    days: &[Date],
    now_ms: i64,
    zone: &TimeZone,
) -> Vec<Entry> {
    let mut out = Vec::new();
    for place in places {
        let tables: Vec<_> = versions
            .iter()
            .map(|v| (v.since_ms, room::timetable(&v.table, place.device.as_str(), &place.room)))
            .collect();
        for day in days {
            out.extend(of_day(&tables, place, *day, now_ms, zone));
        }
    }
    out
}

fn of_day(
    tables: &[(i64, Option<Timetable>)],
    place: &Place,
    day: Date,
    now_ms: i64,
    zone: &TimeZone,
) -> Vec<Entry> {
    // Noon is on every day, also on one whose midnight the clock leaps over.
    let Ok(noon) = day.at(12, 0, 0, 0).to_zoned(zone.clone()) else { return Vec::new() };
    let mut out = Vec::new();
    for (n, (since_ms, table)) in tables.iter().enumerate() {
        let until_ms = tables.get(n + 1).map_or(i64::MAX, |(next, _)| *next);
        let Some(table) = table else { continue };
        for (ordinal, slot) in (1..).zip(table.slots(&noon)) {
            let counts = (*since_ms..until_ms).contains(&slot.start_ms)
                && (place.since_ms..place.until_ms).contains(&slot.start_ms);
            let about = &slot.about;
            let lesson = [&about.class, &about.subject, &about.teacher, &about.teacher_id];
            if !counts || slot.end_ms + LATE_MS > now_ms || lesson.iter().all(|text| text.is_empty()) {
                continue;
            }
            let row = Usage {
                v: 1,
                date: day.to_string(),
                week: table.week(day),
                weekday: day.weekday().to_monday_one_offset().unsigned_abs(),
                period: about.period.clone(),
                ordinal,
                planned_start_ms: slot.start_ms,
                planned_end_ms: slot.end_ms,
                actual_start_ms: None,
                actual_end_ms: None,
                class: about.class.clone(),
                subject: about.subject.clone(),
                topic: about.topic.clone(),
                teacher: about.teacher.clone(),
                teacher_id: about.teacher_id.clone(),
                planned: true,
                used: Used::Unknown,
                needed_s: 0,
                used_s: 0,
                active_s: 0,
                display_on_s: 0,
                recorded_s: 0,
                known_s: 0,
                powered_s: 0,
                categories: BTreeMap::new(),
                lessons: Vec::new(),
                before: Vec::new(),
                after: Vec::new(),
                condition_note: String::new(),
                fault_note: String::new(),
                source: Source::Auto,
                by: String::new(),
                by_id: String::new(),
                said_ms: slot.end_ms,
            };
            let known = Known::Nothing(Box::new(row));
            out.push(Entry { device: place.device.clone(), room: place.room.clone(), known });
        }
    }
    out
}
