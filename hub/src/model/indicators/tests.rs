//! A month that fits on a sheet of paper, counted by hand.

use lectern_wire::manifest::About;
use lectern_wire::timetable::Weeks;
use lectern_wire::usage::Usage;
use serde_json::json;

use super::*;
use crate::model::register::{At, Known, Said};
use crate::model::timetable::Lesson;

const DAY: i64 = 86_400_000;
const HOUR: i64 = 3_600_000;

fn device(name: &str) -> DeviceId {
    DeviceId::new(name).expect("id")
}

/// The row of a period of 40 minutes on the n-th day.
fn usage(day: u8, period: u8, used: &str, teacher: &str, powered_s: u32) -> Usage {
    let start = i64::from(day) * DAY + i64::from(period) * HOUR;
    serde_json::from_value(json!({
        "v": 1, "date": format!("2026-09-{day:02}"), "weekday": 1, "period": format!("第{period}节"), "ordinal": period,
        "planned_start_ms": start, "planned_end_ms": start + 2_400_000, "planned": !teacher.is_empty() || period < 8,
        "used": used, "needed_s": 600, "used_s": 0, "active_s": 0, "display_on_s": 0, "recorded_s": 0,
        "known_s": if used == "unknown" { 100 } else { 2400 }, "powered_s": powered_s, "source": "auto", "said_ms": 1,
        "teacher": teacher,
    }))
    .expect("a row")
}

fn entry(room: &str, known: Known) -> Entry {
    Entry { device: device(room), room: format!("{room}教室"), known }
}

fn row(room: &str, usage: Usage) -> Entry {
    entry(room, Known::Row { auto: Box::new(usage), said: None })
}

fn lesson(room: &str) -> Lesson {
    Lesson {
        weekday: 1,
        period: "第1节".into(),
        weeks: Weeks::default(),
        about: About::default(),
        room: room.into(),
        at: crate::model::timetable::Place::default(),
    }
}

/// Three rooms with lessons, two of them registered, and a registered store room. Two days.
fn facts() -> Facts {
    let room = |name: &str, heard| Room { device: device(name), name: format!("{name}教室"), heard };
    let teacher = |id: &str, name: &str| Teacher { id: id.into(), name: name.into() };
    let corrected = Said { row: usage(2, 1, "used", "钱老师", 0), ms: 5, at: At::Hub };
    Facts {
        entries: vec![
            // Day 1: used, not used, unknown; a machine that was off all day.
            row("r1", usage(1, 1, "used", "张老师", 2400)),
            row("r1", usage(1, 2, "not", "王老师", 2400)),
            row("r1", usage(1, 3, "unknown", "李老师", 300)),
            row("r2", usage(1, 1, "not", "王老师", 0)),
            // Day 2: no record but a word of a person; no record at all; in the evening, without a plan, used.
            entry("r1", Known::Word(Box::new(corrected))),
            entry("r2", Known::Nothing(Box::new(usage(2, 1, "unknown", "李老师", 0)))),
            row("r1", usage(2, 9, "used", "", 2400)),
            // A lesson that the timetable names nobody for.
            row("r1", usage(2, 2, "used", "", 2400)),
        ],
        rooms: vec![room("r1", true), room("r2", true), room("store", true), room("r3", false)],
        table: SchoolTable {
            lessons: ["r1教室", "r2教室", "r3教室", "r4教室", "R1 教室"].map(lesson).into(),
            ..SchoolTable::default()
        },
        troubles: vec![
            // From the first lesson of day 1 for five minutes; at night; and open since before day 2 in r2, which told nothing.
            Trouble { device: device("r1"), from_ms: DAY + HOUR, to_ms: Some(DAY + HOUR + 300_000) },
            Trouble { device: device("r2"), from_ms: DAY + 20 * HOUR, to_ms: Some(DAY + 21 * HOUR) },
            Trouble { device: device("r2"), from_ms: DAY + 22 * HOUR, to_ms: None },
        ],
        tickets: vec![
            Ticket { asked_ms: 0, doing_ms: Some(HOUR), done_ms: Some(5 * HOUR) },
            Ticket { asked_ms: 0, doing_ms: Some(3 * HOUR), done_ms: None },
            Ticket { asked_ms: 0, doing_ms: None, done_ms: None },
        ],
        submitted: vec![
            teacher("T1", "张老师"),
            teacher("T1", "张老师"),
            teacher("", "赵老师"),
            teacher("", ""),
        ],
    }
}

fn of(code: Code, targets: &Targets) -> Indicator {
    compute(&facts(), targets).into_iter().find(|i| i.code == code).expect("every code is computed")
}

fn shared(code: Code) -> (Value, Vec<u64>) {
    let found = of(code, &Targets::default());
    (found.value, found.left_out.into_iter().map(|(n, _)| n).collect())
}

fn share(num: u64, den: u64) -> Value {
    Value::Share { num, den }
}

#[test]
fn every_share_is_as_counted_by_hand_and_says_what_it_left_out() {
    // r1, r2, r3, r4 have lessons; r3 was never heard of, r4 is not registered. The store room has none.
    assert_eq!(shared(Code::Coverage), (share(2, 4), vec![1]));
    // Room-days: r1 on both days on, r2 on day 1 off, r2 on day 2 nobody knows.
    assert_eq!(shared(Code::PowerOn), (share(2, 3), vec![1]));
    // Planned: used 3 (one by a person's word, one without a teacher), not 2; unknown 1, no record 1; 1 beside the plan.
    assert_eq!(shared(Code::PeriodsUsed), (share(3, 5), vec![1, 1, 1]));
    // 张 and 钱 used it, 王 twice not; 李 nobody knows; one lesson has no teacher.
    assert_eq!(shared(Code::Teachers), (share(2, 3), vec![1, 1]));
    // 张 of 张, 王, 李, 钱; 赵 has no lesson, one lesson says nobody, one lesson has no teacher.
    assert_eq!(shared(Code::Submitted), (share(1, 4), vec![1, 1, 1]));
    // r1 on day 1 had an alarm, on day 2 not; r2 on day 1 only at night; r2 on day 2 told nothing.
    assert_eq!(shared(Code::InOrder), (share(2, 3), vec![1]));
}

#[test]
fn repairs_are_means_over_those_that_came_so_far() {
    assert_eq!(shared(Code::Answered), (Value::Mean { ms: 4 * HOUR, n: 2 }, vec![1]));
    assert_eq!(shared(Code::Repaired), (Value::Mean { ms: 5 * HOUR, n: 1 }, vec![2]));
}

#[test]
fn recording_rooms_are_those_that_are_named() {
    assert!(
        matches!(shared(Code::RecordingRooms).0, Value::Cannot(why) if why.contains("targets.recording_rooms"))
    );
    let targets =
        Targets { recording_rooms: vec!["R2教室".into(), "录播教室".into()], ..Targets::default() };
    let found = of(Code::RecordingRooms, &targets);
    assert_eq!(found.value, share(0, 1));
    assert_eq!(
        found.left_out.iter().map(|(n, _)| *n).collect::<Vec<_>>(),
        [1, 1],
        "no record; not registered"
    );
}

#[test]
fn a_target_is_reached_exactly_and_what_cannot_be_computed_is_left_out() {
    assert!(matches!(shared(Code::Targets).0, Value::Cannot(why) if why.contains("没有设目标")));
    let mut targets = Targets::default();
    targets.tenths.insert(Code::PeriodsUsed, 600);
    targets.tenths.insert(Code::PowerOn, 667);
    targets.tenths.insert(Code::RecordingRooms, 500);
    assert_eq!(of(Code::PeriodsUsed, &targets).reached(), Some(true), "3 of 5 are 60 %");
    assert_eq!(of(Code::PowerOn, &targets).reached(), Some(false), "2 of 3 are less than 66.7 %");
    assert_eq!(of(Code::PowerOn, &targets).value.tenths(), Some(666), "and are not shown as more");
    let all = of(Code::Targets, &targets);
    assert_eq!((all.value, all.left_out[0].0), (share(1, 2), 1));
}

#[test]
fn an_empty_month_says_why_instead_of_zero() {
    for found in compute(&Facts::default(), &Targets::default()) {
        assert!(matches!(&found.value, Value::Cannot(why) if why.ends_with('。')), "{found:?}");
        assert_eq!(found.left_out, [], "{found:?}");
    }
}
