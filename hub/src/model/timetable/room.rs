//! What one room gets of its school's table.

use std::collections::BTreeMap;

use jiff::civil::Date;
use lectern_wire::manifest::About;
use lectern_wire::timetable::{Change, Day, Plan, Timetable};

use super::{Lesson, Otherwise, SchoolTable, fold};

/// Longest 停课, days: a summer.
pub const LONGEST_OFF_DAYS: i32 = 120;

/// Where a lesson is: its room, or the class's own.
#[must_use]
pub fn of(lesson: &Lesson) -> &str {
    if lesson.room.is_empty() { &lesson.about.class } else { &lesson.room }
}

/// Whether a name of a timetable means the room of a device.
#[must_use]
pub fn means(name: &str, device: &str, room: &str) -> bool {
    let folded = fold::room(name);
    !folded.is_empty() && (folded == fold::room(room) || folded == fold::room(device))
}

/// The days of a school that are otherwise.
fn days(table: &SchoolTable) -> Vec<Day> {
    let mut days = BTreeMap::new();
    for change in &table.changes {
        match change {
            Otherwise::Off { from, to } => {
                let mut date = *from;
                while date <= *to {
                    days.insert(date, None);
                    let Ok(next) = date.tomorrow() else { break };
                    date = next;
                }
            }
            Otherwise::GoesBy { date, goes_by } => {
                days.insert(*date, Some(*goes_by));
            }
            Otherwise::Swap { .. } | Otherwise::Cancel { .. } => {}
        }
    }
    days.into_iter().map(|(date, goes_by)| Day { date, goes_by }).collect()
}

/// The timetable with lessons of `lessons` only, and no single periods otherwise.
fn plain<'a>(table: &SchoolTable, lessons: impl Iterator<Item = &'a Lesson>) -> Timetable {
    Timetable {
        first_monday: table.first_monday,
        bell_offset_s: table.bell_offset_s,
        periods: table.periods.clone(),
        plans: lessons
            .map(|l| Plan {
                weekday: l.weekday,
                period: l.period.clone(),
                weeks: l.weeks.clone(),
                about: l.about.clone(),
            })
            .collect(),
        days: days(table),
        changes: Vec::new(),
    }
}

/// A lesson of a class at a time, by the week: what it is about and where.
#[must_use]
pub fn lesson_of(table: &SchoolTable, class: &str, date: Date, period: &str) -> Option<(About, String)> {
    let own: Vec<_> =
        table.lessons.iter().filter(|l| fold::text(&l.about.class) == fold::text(class)).collect();
    let (by, week) = match days(table).into_iter().find(|day| day.date == date) {
        Some(day) => (day.goes_by?, plain(table, std::iter::empty()).week(day.goes_by?)),
        None => (date, plain(table, std::iter::empty()).week(date)),
    };
    let weekday = by.weekday().to_monday_one_offset();
    let found = own.into_iter().find(|l| l.weekday == weekday && l.period == period && l.weeks.hold(week));
    found.map(|l| (l.about.clone(), of(l).to_owned()))
}

/// Which room has what instead, by (date, period): the newest word about each counts.
fn changes(table: &SchoolTable) -> BTreeMap<(Date, String, String), About> {
    let mut out = BTreeMap::new();
    let mut put = |at: &(Date, String), room: &str, about: About| {
        out.insert((at.0, at.1.clone(), fold::room(room)), about);
    };
    for change in &table.changes {
        match change {
            Otherwise::Swap { class, one, other } => {
                let first = lesson_of(table, class, one.0, &one.1);
                let second = lesson_of(table, class, other.0, &other.1);
                // Who moves to a time at which the class has nothing takes the room along.
                let room = |own: &Option<(About, String)>, others: &Option<(About, String)>| {
                    own.as_ref().or(others.as_ref()).map(|(_, room)| room.clone()).unwrap_or_default()
                };
                let about = |l: &Option<(About, String)>| {
                    l.as_ref().map(|(about, _)| about.clone()).unwrap_or_default()
                };
                put(one, &room(&first, &second), about(&second));
                put(other, &room(&second, &first), about(&first));
            }
            Otherwise::Cancel { class, at } => {
                if let Some((_, room)) = lesson_of(table, class, at.0, &at.1) {
                    put(at, &room, About::default());
                }
            }
            Otherwise::Off { .. } | Otherwise::GoesBy { .. } => {}
        }
    }
    out
}

/// What the room of a device goes by; nothing while the school has no bells.
#[must_use]
pub fn timetable(table: &SchoolTable, device: &str, room: &str) -> Option<Timetable> {
    if table.periods.is_empty() {
        return None;
    }
    let own = table.lessons.iter().filter(|lesson| means(of(lesson), device, room));
    let mut out = plain(table, own);
    out.plans.sort_by(|a, b| {
        (a.weekday, &a.period, a.weeks.to_string()).cmp(&(b.weekday, &b.period, b.weeks.to_string()))
    });
    out.changes = changes(table)
        .into_iter()
        .filter(|((_, _, place), _)| means(place, device, room))
        .map(|((date, period, _), about)| Change {
            date,
            period,
            about: About { period: String::new(), ..about },
        })
        .collect();
    Some(out)
}

/// What is wrong with a change before it is taken, in a sentence.
#[must_use]
pub fn change_fault(table: &SchoolTable, change: &Otherwise) -> Option<String> {
    let known = |period: &str| table.periods.iter().any(|p| p.name == period);
    let has = |class: &str, at: &(Date, String)| lesson_of(table, class, at.0, &at.1).is_some();
    match change {
        Otherwise::Off { from, to } => {
            let days = to.since(*from).map_or(-1, |span| span.get_days());
            (!(0..LONGEST_OFF_DAYS).contains(&days)).then(|| {
                format!("停课要从前一天到后一天，最多 {LONGEST_OFF_DAYS} 天，不能是 {from} 到 {to}。")
            })
        }
        Otherwise::GoesBy { date, goes_by } => {
            (date == goes_by).then(|| "补班的日子和照着上课的日子不能是同一天。".to_owned())
        }
        Otherwise::Swap { one, other, .. } if one == other => Some("两个时间是同一节，没有可调的。".into()),
        Otherwise::Swap { class, one, other } => {
            if let Some(at) = [one, other].into_iter().find(|at| !known(&at.1)) {
                return Some(format!("作息时间里没有“{}”这一节。", at.1));
            }
            (!has(class, one) && !has(class, other)).then(|| {
                format!("{class}在 {} {} 和 {} {} 都没有课，没有可调的。", one.0, one.1, other.0, other.1)
            })
        }
        Otherwise::Cancel { class, at } => {
            (!has(class, at)).then(|| format!("{class}在 {} {} 没有课，没有可停的。", at.0, at.1))
        }
    }
}
