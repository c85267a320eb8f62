//! The register by hand: rooms, days and timetables that fit on a sheet of paper.

use jiff::civil::date;
use jiff::tz::TimeZone;
use lectern_wire::manifest::About;
use lectern_wire::timetable::{Period, Weeks};
use serde_json::json;

use super::*;
use crate::model::timetable::{Lesson, Otherwise, SchoolTable};

/// Monday 2026-09-14, 08:00 in Shanghai.
const EIGHT: i64 = 1_789_344_000_000;
const MINUTE: i64 = 60_000;

fn zone() -> TimeZone {
    TimeZone::get("Asia/Shanghai").expect("a zone")
}

pub(super) fn row(period: &str, used: &str) -> Usage {
    let n = if period == "第1节" { 0 } else { 50 * MINUTE };
    serde_json::from_value(json!({
        "v": 1, "date": "2026-09-14", "week": 3, "weekday": 1, "period": period, "ordinal": 1, "planned_start_ms": EIGHT + n,
        "planned_end_ms": EIGHT + n + 40 * MINUTE, "planned": true, "used": used, "needed_s": 600, "used_s": 0, "active_s": 0,
        "display_on_s": 0, "recorded_s": 0, "known_s": 2400, "powered_s": 2400, "source": "auto",
        "said_ms": EIGHT + n + 40 * MINUTE, "teacher": "张老师", "teacher_id": "T1", "class": "五年级2班",
    }))
    .expect("a row")
}

fn device(name: &str) -> DeviceId {
    DeviceId::new(name).expect("id")
}

fn entry(name: &str, row: Usage) -> Entry {
    Entry { device: device(name), room: name.into(), known: Known::Row { auto: Box::new(row), said: None } }
}

fn school(periods: &[(&str, i8)], lessons: &[(i8, &str, &str)]) -> SchoolTable {
    let period = |(name, hour): &(&str, i8)| Period {
        name: (*name).into(),
        start: jiff::civil::time(*hour, 0, 0, 0),
        end: jiff::civil::time(*hour, 40, 0, 0),
    };
    let lesson = |(weekday, period, room): &(i8, &str, &str)| Lesson {
        weekday: *weekday,
        period: (*period).into(),
        weeks: Weeks::default(),
        about: About { class: "五年级2班".into(), teacher: "张老师".into(), ..About::default() },
        room: (*room).into(),
        at: crate::model::timetable::Place::default(),
    };
    SchoolTable {
        first_monday: Some(date(2026, 8, 31)),
        periods: periods.iter().map(period).collect(),
        lessons: lessons.iter().map(lesson).collect(),
        ..SchoolTable::default()
    }
}

fn places() -> Vec<Place> {
    ["301", "302"]
        .map(|name| Place { device: device(name), room: name.into(), since_ms: 0, until_ms: i64::MAX })
        .into()
}

fn told(entries: &[Entry]) -> Vec<(String, String, Verdict)> {
    entries.iter().map(|e| (e.room.clone(), e.row().period.clone(), e.verdict())).collect()
}

#[test]
fn a_planned_lesson_that_nothing_came_of_is_no_record_and_not_unused() {
    let table = school(
        &[("第1节", 8), ("第2节", 9)],
        &[(1, "第1节", "301"), (1, "第2节", "301"), (1, "第2节", "302")],
    );
    let versions = [Version { since_ms: 0, table }];
    let days = dates(date(2026, 9, 14), date(2026, 9, 15));
    let at = |ms| planned(&versions, &places(), &days, ms, &zone());
    assert_eq!(at(EIGHT + 45 * MINUTE), [], "it may still come");
    let all = at(EIGHT + 200 * MINUTE);
    assert_eq!(all.len(), 3, "Tuesday has no lesson");
    let rows = vec![entry("301", row("第1节", "not"))];
    let line = |room: &str, period: &str, verdict| (room.to_owned(), period.to_owned(), verdict);
    assert_eq!(
        told(&register(rows, all)),
        [
            line("301", "第1节", Verdict::Not),
            line("301", "第2节", Verdict::NoRecord),
            line("302", "第2节", Verdict::NoRecord),
        ]
    );
}

#[test]
fn what_was_planned_is_asked_of_the_timetable_of_that_time() {
    let before = school(&[("第1节", 8)], &[(1, "第1节", "301")]);
    let mut after = school(&[("第1节", 8), ("第2节", 9)], &[(1, "第2节", "301")]);
    after.changes.push(Otherwise::Off { from: date(2026, 9, 21), to: date(2026, 9, 21) });
    // Changed at half past eight, in the middle of the first lesson.
    let versions =
        [Version { since_ms: 0, table: before }, Version { since_ms: EIGHT + 30 * MINUTE, table: after }];
    let days = dates(date(2026, 9, 7), date(2026, 9, 28));
    let late = EIGHT + 30 * 86_400_000;
    let found = planned(&versions, &places()[..1], &days, late, &zone());
    let found: Vec<_> = found.iter().map(|e| (e.row().date.as_str(), e.row().period.as_str())).collect();
    assert_eq!(
        found,
        [("2026-09-07", "第1节"), ("2026-09-14", "第1节"), ("2026-09-14", "第2节"), ("2026-09-28", "第2节")]
    );
    let newly = [Place { since_ms: EIGHT + 86_400_000, ..places().remove(0) }];
    let found = planned(&versions, &newly, &days, late, &zone());
    assert_eq!(found.len(), 1, "before it was registered nobody misses it");
    assert_eq!((found[0].row().week, found[0].row().weekday), (Some(5), 1));
}

#[test]
fn a_word_is_neither_older_than_its_period_nor_younger_than_its_arrival() {
    let row = row("第1节", "used");
    let end = row.planned_end_ms;
    let said = |ms| said_ms(&Usage { said_ms: ms, ..row.clone() }, end + 5 * MINUTE);
    assert_eq!(said(end + MINUTE), end + MINUTE);
    assert_eq!(said(1_356_998_400_000), end, "a clock in 2013");
    assert_eq!(said(end + 90 * 86_400_000), end + 5 * MINUTE, "a clock in the future");
}

#[test]
fn terms_begin_in_august_and_february() {
    for (day, want) in [
        (date(2026, 9, 14), "2026-2027学年第一学期"),
        (date(2027, 1, 20), "2026-2027学年第一学期"),
        (date(2027, 2, 1), "2026-2027学年第二学期"),
        (date(2027, 7, 31), "2026-2027学年第二学期"),
        (date(2027, 8, 1), "2027-2028学年第一学期"),
    ] {
        assert_eq!(term(day), want);
    }
}

#[test]
fn lines_are_found_by_room_teacher_class_and_what_they_say() {
    let line = entry("301", row("第1节", "unknown"));
    let takes = |filter: Filter| filter.takes(&line);
    assert!(takes(Filter::default()));
    assert!(takes(Filter { teacher: "张".into(), class: "2班".into(), ..Filter::default() }));
    assert!(takes(Filter { teacher: "T1".into(), verdict: Some(Verdict::Unknown), ..Filter::default() }));
    assert!(!takes(Filter { teacher: "王".into(), ..Filter::default() }));
    assert!(!takes(Filter { device: Some(device("302")), ..Filter::default() }));
    assert!(!takes(Filter { verdict: Some(Verdict::Not), ..Filter::default() }));
}

#[test]
fn whether_a_machine_was_on_is_known_only_when_the_whole_period_was_seen() {
    let powered =
        |powered_s, known_s| entry("301", Usage { powered_s, known_s, ..row("第1节", "not") }).powered();
    assert_eq!((powered(5, 5), powered(0, 2400), powered(0, 2399)), (Some(true), Some(false), None));
}
