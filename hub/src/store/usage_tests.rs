//! Rows and words as rooms and people send them: once, twice, late, spoilt.

use serde_json::{Value, json};

use super::*;
use crate::model::register::Verdict;
use crate::store::{Store, devices, events};
use crate::testkit;

/// The end of the third period on Monday 2026-09-14 in Shanghai, 11:10.
const END: i64 = 1_789_355_400_000;
const HOUR: i64 = 3_600_000;

fn store() -> (tempfile::TempDir, Store, DeviceId) {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("opens");
    let topics = testkit::topics("room-1");
    store.write_now(|db| devices::add(db, &topics, "301教室", "pw", 1)).expect("added");
    (folder, store, topics.device)
}

fn row(used: &str) -> Value {
    json!({
        "v": 1, "date": "2026-09-14", "week": 3, "weekday": 1, "period": "第3节", "ordinal": 3,
        "planned_start_ms": END - 2_400_000, "planned_end_ms": END, "planned": true, "used": used, "needed_s": 600,
        "used_s": if used == "used" { 1200 } else { 0 }, "active_s": 0, "display_on_s": 0, "recorded_s": 0, "known_s": 2400,
        "powered_s": 2400, "source": "auto", "said_ms": END + 500,
    })
}

fn word(used: &str, by: &str, said_ms: i64) -> Value {
    let mut row = row(used);
    (row["source"], row["by"], row["said_ms"]) = ("corrected".into(), by.into(), said_ms.into());
    row
}

fn event(seq: u64, data: Value) -> Event {
    Event { seq, ts: END, mono_ms: 1, boot_id: "b".into(), clock_trusted: true, data }
}

struct Bench {
    _folder: tempfile::TempDir,
    store: Store,
    device: DeviceId,
}

impl Bench {
    fn new() -> Self {
        let (folder, store, device) = store();
        Self { _folder: folder, store, device }
    }

    fn hears(&self, data: Value, now: i64) -> Result<(), String> {
        self.store.write_now(|db| heard(db, &self.device, &event(1, data), now)).expect("no fault")
    }

    fn line(&self) -> Entry {
        let found = self.store.read_now(|db| find(db, &self.device, "2026-09-14", "第3节")).expect("reads");
        found.expect("a line")
    }

    /// What holds, and who says so.
    fn holds(&self) -> (Verdict, String) {
        let line = self.line();
        (line.verdict(), line.row().by.clone())
    }

    fn refused(&self) -> usize {
        let all = self.store.read_now(|db| audit::of(db, REFUSED, self.device.as_str())).expect("reads");
        all.len()
    }
}

#[test]
fn a_row_is_kept_once_and_what_contradicts_it_is_noted_and_changes_nothing() {
    let bench = Bench::new();
    assert_eq!(bench.hears(row("used"), END + HOUR), Ok(()));
    assert_eq!(bench.hears(row("used"), END + HOUR), Ok(()), "sent twice");
    assert_eq!(bench.refused(), 0);
    assert!(bench.hears(row("not"), END + HOUR).is_err_and(|why| why.contains("already")));
    assert_eq!((bench.holds(), bench.refused()), ((Verdict::Used, String::new()), 1));
    let count: i64 = bench
        .store
        .read_now(|db| db.query_row("SELECT count(*) FROM usage", [], |r| r.get(0)))
        .expect("count");
    assert_eq!(count, 1);
}

#[test]
fn what_is_no_row_is_noted_with_the_reason() {
    let bench = Bench::new();
    let spoilt = |name: &str, value: Value| {
        let mut row = row("used");
        row[name] = value;
        row
    };
    let bad = [
        json!(null),
        json!({"v": 1}),
        spoilt("used", "perhaps".into()),
        spoilt("date", "2026-02-31".into()),
        spoilt("used_s", 9999.into()),
        spoilt("class", "x".repeat(99).into()),
        spoilt("source", "corrected".into()),
    ];
    for (n, bad) in bad.into_iter().enumerate() {
        assert!(bench.hears(bad.clone(), END).is_err(), "{bad}");
        assert_eq!(bench.refused(), n + 1);
    }
    let school = testkit::topics("room-1").school;
    let told = bench.store.read_now(|db| refused(db, &school, 0..END + 1, 9)).expect("reads");
    assert!(told.len() == 7 && told[0].0 == "301教室" && told[0].2.contains("by_id"), "{told:?}");
}

#[test]
fn of_all_words_the_newest_holds_wherever_it_was_said_and_in_whatever_order_it_comes() {
    let bench = Bench::new();
    bench.hears(row("unknown"), END + HOUR).expect("heard");
    let at_the_hub = |used: &str, now: i64| {
        let row: Usage = serde_json::from_value(word(used, "admin", now)).expect("a row");
        bench
            .store
            .write_now(|db| say(db, &bench.device, &row, ("admin", "未知 → 使用"), now))
            .expect("said");
    };
    assert_eq!(bench.hears(word("used", "张老师", END + 2 * HOUR), END + 3 * HOUR), Ok(()));
    assert_eq!(bench.holds(), (Verdict::Used, "张老师".into()));
    at_the_hub("not", END + 4 * HOUR);
    assert_eq!(bench.holds(), (Verdict::Not, "admin".into()));
    // Said before, and late: the room had no line.
    assert_eq!(bench.hears(word("used", "李老师", END + 3 * HOUR), END + 9 * HOUR), Ok(()));
    assert_eq!(bench.holds(), (Verdict::Not, "admin".into()));
    assert_eq!(bench.hears(word("used", "李老师", END + 8 * HOUR), END + 9 * HOUR), Ok(()));
    assert_eq!(bench.holds(), (Verdict::Used, "李老师".into()));
    // A clock in the future does not win for ever.
    assert_eq!(bench.hears(word("not", "王老师", END + 999 * HOUR), END + 10 * HOUR), Ok(()));
    at_the_hub("used", END + 11 * HOUR);
    assert_eq!(bench.holds(), (Verdict::Used, "admin".into()));
    let line = bench.line();
    assert_eq!(
        line.auto().map(|row| row.used),
        Some(lectern_wire::usage::Used::Unknown),
        "it stays as it was"
    );
    let subject = subject(&bench.device, "2026-09-14", "第3节");
    assert_eq!(bench.store.read_now(|db| audit::of(db, KIND, &subject)).expect("reads").len(), 2);
}

#[test]
fn a_word_stands_alone_where_the_row_is_lost_and_the_row_may_come_after_it() {
    let bench = Bench::new();
    bench.hears(word("used", "张老师", END + HOUR), END + HOUR).expect("heard");
    assert!(bench.line().auto().is_none() && bench.holds().0 == Verdict::Used);
    bench.hears(row("not"), END + 2 * HOUR).expect("heard");
    assert!(bench.line().auto().is_some() && bench.holds().0 == Verdict::Used);
    let late = END + 7 * 24 * HOUR;
    assert!(bench.hears(word("not", "张老师", late), late).is_err_and(|why| why.contains("closed")));
    assert_eq!(bench.holds().0, Verdict::Used);
}

#[test]
fn rows_that_came_before_there_was_a_register_are_brought_into_it_once() {
    let bench = Bench::new();
    bench
        .store
        .write_now(|db| {
            events::add(db, &bench.device, KIND, &event(1, row("used")), END)?;
            events::add(db, &bench.device, KIND, &event(2, word("not", "张老师", END + HOUR)), END + HOUR)?;
            events::add(db, &bench.device, KIND, &event(3, json!("nonsense")), END + HOUR)?;
            events::add(db, &bench.device, "lesson", &event(4, json!({})), END + HOUR)
        })
        .expect("stored");
    let catch = || bench.store.write_now(|db| catch_up(db, END + 2 * HOUR)).expect("no fault");
    assert_eq!((catch(), catch()), (3, 0));
    assert_eq!((bench.holds(), bench.refused()), ((Verdict::Not, "张老师".into()), 1));
}

#[test]
fn the_timetables_that_counted_in_a_time_are_those_made_in_it_and_the_one_before() {
    let bench = Bench::new();
    let school = testkit::topics("room-1").school;
    let made: Vec<i64> = bench
        .store
        .write_now(|db| {
            for ms in [10, 20, 30, 40] {
                db.execute(
                    "INSERT INTO timetable (school, document, who, what, at_ms) VALUES (?, '{}', 'a', 'b', ?)",
                    params![school.as_str(), ms],
                )?;
            }
            Ok(versions(db, &school, 25..40)?.into_iter().map(|v| v.since_ms).collect())
        })
        .expect("reads");
    assert_eq!(made, [20, 30]);
    let first = bench.store.read_now(|db| versions(db, &school, 5..25)).expect("reads");
    assert_eq!(first.into_iter().map(|v| v.since_ms).collect::<Vec<_>>(), [10, 20]);
}
