//! A room with three clocks that are wound by hand.

use jiff::civil::Time;
use lectern_wire::id::LessonId;
use proptest::prelude::*;

use super::*;
use crate::model::timetable::{Plan, Weeks};

const MINUTE: u64 = 60_000;
/// Monday 2026-08-31, 10:00 in Shanghai.
const TEN: i64 = 1_788_141_600_000;

/// A room: what is seen of it at the next look, and its clocks.
struct Room {
    ledger: Ledger,
    boot: String,
    boot_ms: u64,
    awake_ms: u64,
    /// True time.
    wall_ms: i64,
    /// How wrong its wall clock is; none: it cannot be believed.
    wrong_ms: Option<i64>,
    seen: Seen,
}

impl Room {
    /// Switched on at a true time, the agent with it.
    fn on(wall_ms: i64) -> Self {
        Self {
            ledger: Ledger::default(),
            boot: "a".into(),
            boot_ms: 0,
            awake_ms: 0,
            wall_ms,
            wrong_ms: Some(0),
            seen: Seen::default(),
        }
        .looked()
    }

    fn looked(mut self) -> Self {
        self.look();
        self
    }

    fn look(&mut self) {
        let wall_ms = self.wrong_ms.map(|wrong| self.wall_ms + wrong);
        let now = Moment { boot_id: &self.boot, boot_ms: self.boot_ms, awake_ms: self.awake_ms, wall_ms };
        self.ledger.look(now, self.seen.clone());
    }

    fn passes(&mut self, ms: u64) {
        self.boot_ms += ms;
        self.awake_ms += ms;
        self.wall_ms += ms.cast_signed();
    }

    /// Time goes by and the agent looks.
    fn runs(&mut self, minutes: u64) {
        for _ in 0..minutes * MINUTE / LOOK_EVERY_MS {
            self.passes(LOOK_EVERY_MS);
            self.look();
        }
    }

    /// Off for a while, and on again.
    fn off(&mut self, minutes: u64, end: End) {
        self.ledger.end(end);
        self.wall_ms += (minutes * MINUTE).cast_signed();
        self.boot.push('b');
        (self.boot_ms, self.awake_ms) = (0, 0);
        self.look();
    }

    /// Kept and read again, as by a restart of the agent.
    fn restarts(&mut self) {
        let kept = serde_json::to_string(&self.ledger).expect("json");
        self.ledger = serde_json::from_str(&kept).expect("json");
    }

    /// The 40 minutes from ten.
    fn sums(&self) -> Sums {
        self.ledger.sums(TEN, TEN + 40 * 60_000, true)
    }

    fn judged(&self) -> Used {
        judge(&self.sums(), 2400, 600)
    }
}

fn at_work() -> Seen {
    Seen { display: Some(true), input: Some(true), ..Seen::default() }
}

fn nobody() -> Seen {
    Seen { display: Some(true), input: Some(false), ..Seen::default() }
}

fn minutes(n: u32) -> std::ops::RangeInclusive<u32> {
    n * 60 - 20..=n * 60 + 20
}

#[test]
fn an_awake_display_and_activity_must_come_together_and_a_recording_counts_by_itself() {
    let seen = |display, input| Seen { display, input, ..Seen::default() }.used();
    let (yes, no) = (Some(true), Some(false));
    for (display, input, used) in [
        (yes, yes, yes),
        (yes, no, no),
        (no, yes, no),
        (no, None, no),
        (None, no, no),
        (yes, None, None),
        (None, yes, None),
        (None, None, None),
    ] {
        assert_eq!(seen(display, input), used, "{display:?} {input:?}");
    }
    let slides = Seen { display: yes, input: no, teaching: true, ..Seen::default() };
    assert_eq!(slides.used(), yes, "a teaching activity in the foreground is activity");
    assert_eq!(Seen { display: no, ..slides }.used(), no, "but not on a dark display");
    let lesson = LessonId::new("l").expect("id");
    assert_eq!(Seen { recording: Some(lesson.clone()), ..Seen::default() }.used(), yes);
    assert_eq!(Seen { recording: Some(lesson), asleep: true, ..Seen::default() }.used(), no);
}

#[test]
fn ten_minutes_make_a_period_used_and_being_switched_on_does_not() {
    let mut room = Room::on(TEN - 600_000);
    room.seen = nobody();
    room.runs(25);
    assert_eq!(room.judged(), Used::Unknown, "the rest of the period could still bring it");
    room.runs(26);
    assert_eq!(room.judged(), Used::Not);
    assert_eq!((room.sums().powered_s, room.sums().known_s, room.sums().used_s), (2400, 2400, 0));
    let mut room = Room::on(TEN - 600_000);
    room.seen = at_work();
    room.runs(21);
    assert_eq!(room.judged(), Used::Used, "at the eleventh minute it is known already");
    room.seen = nobody();
    room.runs(30);
    let sums = room.sums();
    assert!(minutes(11).contains(&sums.used_s) && sums.known_s == 2400, "{sums:?}");
    let (first, last) = sums.actual_ms.expect("used");
    assert!(first == TEN && (TEN + 640_000..=TEN + 680_000).contains(&last), "{sums:?}");
}

#[test]
fn an_agent_that_comes_in_the_middle_says_nothing_of_what_was_before() {
    let mut room = Room::on(TEN);
    room.ledger = Ledger::default();
    room.passes(15 * MINUTE);
    room.seen = nobody();
    room.look();
    room.runs(25);
    let sums = room.sums();
    assert!(minutes(25).contains(&sums.known_s), "{sums:?}");
    assert_eq!(sums.powered_s, 2400, "it was on since its boot and never slept");
    assert_eq!(room.judged(), Used::Unknown, "a quarter of an hour was not seen");
    room.boot_ms += 9 * MINUTE;
    room.ledger = Ledger::default();
    room.look();
    assert_eq!(room.sums().powered_s, 0, "it slept at some time before, and nobody knows when");
}

#[test]
fn a_cut_at_the_wall_is_off_but_for_what_the_last_kept_look_leaves_open() {
    let mut room = Room::on(TEN - 60_000);
    room.seen = nobody();
    room.runs(11);
    room.restarts();
    room.off(45, End::Open);
    let sums = room.sums();
    assert_eq!(sums.powered_s, 600);
    assert_eq!(2400 - sums.known_s, 90, "how long it really went on after the last look is not known");
    assert_eq!(room.judged(), Used::Not, "a minute and a half cannot make ten");
    let mut room = Room::on(TEN - 60_000);
    room.seen = at_work();
    room.runs(10);
    room.off(45, End::Open);
    assert_eq!(room.judged(), Used::Unknown, "nine minutes were seen, and one may be missing");
    let mut room = Room::on(TEN - 60_000);
    room.seen = at_work();
    room.runs(10);
    room.off(45, End::Shutdown);
    assert_eq!(room.judged(), Used::Not, "nine minutes, and then it was shut down");
}

#[test]
fn off_from_end_to_end_is_not_used_and_what_nobody_knows_is_unknown() {
    for (end, off_is_known, used, known_s) in [
        (End::Shutdown, true, Used::Not, 2400),
        (End::Open, true, Used::Not, 2400),
        (End::Stopped, true, Used::Unknown, 0),
        (End::Shutdown, false, Used::Unknown, 0),
    ] {
        let mut room = Room::on(TEN - 3_600_000);
        room.seen = at_work();
        room.runs(5);
        room.off(180, end);
        let sums = room.ledger.sums(TEN, TEN + 2_400_000, off_is_known);
        assert_eq!((sums.known_s, sums.powered_s), (known_s, 0), "{end:?}");
        assert_eq!(judge(&sums, 2400, 600), used, "{end:?}");
    }
}

#[test]
fn a_boot_whose_clock_was_never_believed_makes_the_time_around_it_unknown() {
    let mut room = Room::on(TEN - 3_600_000);
    room.seen = nobody();
    room.runs(5);
    room.off(60, End::Shutdown);
    room.wrong_ms = None;
    room.ledger.boots_mut().last_mut().expect("boot").ahead = None;
    room.runs(5);
    room.off(60, End::Shutdown);
    room.wrong_ms = Some(0);
    room.runs(1);
    assert_eq!(room.sums().known_s, 0, "{:?}", room.sums());
}

#[test]
fn a_machine_asleep_is_known_not_to_be_used() {
    let mut room = Room::on(TEN);
    room.seen = at_work();
    room.runs(5);
    // The lid was closed for half an hour.
    room.boot_ms += 30 * MINUTE;
    room.wall_ms += 30 * 60_000;
    room.runs(5);
    let sums = room.sums();
    assert!(sums.known_s == 2400 && minutes(10).contains(&sums.powered_s), "{sums:?}");
    assert!(minutes(10).contains(&sums.used_s), "{sums:?}");
}

#[test]
fn a_clock_that_is_set_right_puts_what_was_seen_where_it_belongs() {
    let mut room = Room::on(TEN);
    room.ledger = Ledger::default();
    room.wrong_ms = None;
    room.seen = at_work();
    room.look();
    room.runs(12);
    assert_eq!(room.judged(), Used::Unknown, "nobody knows when that was");
    room.wrong_ms = Some(-7 * 60_000);
    room.runs(3);
    room.wrong_ms = Some(0);
    room.seen = nobody();
    room.runs(26);
    let sums = room.sums();
    assert!(minutes(15).contains(&sums.used_s) && sums.known_s == 2400, "{sums:?}");
    // Forward by an hour and back again: nothing is counted twice and nothing lost.
    room.wrong_ms = Some(3_600_000);
    room.runs(1);
    room.wrong_ms = Some(0);
    room.runs(1);
    assert_eq!(room.sums(), sums);
}

#[test]
fn an_agent_that_was_restarted_goes_on_and_its_pause_is_unknown() {
    let mut room = Room::on(TEN);
    room.seen = at_work();
    room.runs(5);
    room.restarts();
    room.ledger.end(End::Stopped);
    room.passes(20 * MINUTE);
    room.runs(15);
    let sums = room.sums();
    assert_eq!(sums.powered_s, 2400, "it was the same boot");
    assert!(minutes(20).contains(&sums.known_s), "{sums:?}");
    assert_eq!(sums.used_s, sums.known_s);
}

#[test]
fn a_helper_that_is_missing_leaves_it_unknown_unless_the_display_is_dark() {
    let mut room = Room::on(TEN);
    room.seen = Seen { display: Some(true), ..Seen::default() };
    room.runs(40);
    assert_eq!((room.judged(), room.sums().known_s, room.sums().display_on_s), (Used::Unknown, 0, 2400));
    let mut room = Room::on(TEN);
    room.seen = Seen { display: Some(false), ..Seen::default() };
    room.runs(40);
    assert_eq!((room.judged(), room.sums().known_s), (Used::Not, 2400));
}

#[test]
fn a_recording_across_the_bell_counts_in_both_periods() {
    let lesson = LessonId::new("20260831-104000-aa").expect("id");
    let mut room = Room::on(TEN);
    room.seen = nobody();
    room.runs(25);
    room.seen.recording = Some(lesson.clone());
    room.runs(30);
    room.seen.recording = None;
    room.runs(40);
    let first = room.sums();
    let second = room.ledger.sums(TEN + 2_400_000, TEN + 4_800_000, true);
    assert!(minutes(15).contains(&first.recorded_s) && minutes(15).contains(&second.recorded_s));
    assert_eq!(first.recorded_s + second.recorded_s, 1800);
    assert_eq!(first.lessons, [(lesson, first.recorded_s)]);
    assert_eq!((judge(&first, 2400, 600), judge(&second, 2400, 600)), (Used::Used, Used::Used));
}

#[test]
fn what_is_forgotten_changes_nothing_that_comes_after() {
    let mut room = Room::on(TEN - 7_200_000);
    for _ in 0..6 {
        room.seen = at_work();
        room.runs(7);
        room.seen = nobody();
        room.runs(3);
        room.off(10, End::Shutdown);
    }
    room.runs(40);
    let before = room.sums();
    let boots = room.ledger.boots_mut().len();
    room.ledger.forget_before(TEN);
    assert!(room.ledger.boots_mut().len() < boots);
    assert_eq!(room.sums(), before);
}

#[test]
fn input_is_what_the_shown_session_has_and_a_silent_one_is_unknown() {
    let at = |uid, shown, idle| At { uid, shown, idle };
    let (teacher, pupil) = (at(1000, true, false), at(1001, false, false));
    let fresh = [(1000, Some(5_000)), (1001, Some(900_000))];
    assert_eq!(input(Some(&[teacher, pupil]), &fresh, 120_000), Some(true));
    let other = [(1000, Some(900_000)), (1001, Some(5_000))];
    assert_eq!(
        input(Some(&[teacher, pupil]), &other, 120_000),
        Some(false),
        "a session behind does not count"
    );
    assert_eq!(input(Some(&[teacher]), &[], 120_000), None, "no helper, and no hint proves nothing");
    assert_eq!(input(Some(&[at(1000, true, true)]), &[], 120_000), Some(false), "its desktop says idle");
    assert_eq!(input(Some(&[at(1000, false, false)]), &fresh[..1], 120_000), Some(false), "locked");
    assert_eq!(input(Some(&[]), &[], 120_000), Some(false), "nobody is logged in");
    assert_eq!(input(None, &[], 120_000), None, "nobody could be asked");
    assert_eq!(input(None, &[(0, Some(3))], 120_000), Some(true), "the helper alone");
    assert_eq!(input(Some(&[]), &[(0, Some(3))], 120_000), Some(true), "a session the service does not know");
    assert_eq!(input(None, &[(0, None)], 120_000), None, "a desktop that tells nothing");
}

fn table() -> Timetable {
    let time = |h, m| Time::constant(h, m, 0, 0);
    let period = |name: &str, start, end| crate::model::timetable::Period { name: name.into(), start, end };
    Timetable {
        periods: vec![
            period("第1节", time(10, 0), time(10, 40)),
            period("第2节", time(10, 50), time(11, 30)),
        ],
        plans: vec![Plan {
            weekday: 1,
            period: "第1节".into(),
            weeks: Weeks::default(),
            about: About { subject: "语文".into(), teacher: "张老师".into(), ..About::default() },
        }],
        first_monday: Some(Date::constant(2026, 8, 31)),
        ..Timetable::default()
    }
}

fn local(wall_ms: i64) -> Zoned {
    let zone = jiff::tz::TimeZone::get("Asia/Shanghai").expect("zone");
    jiff::Timestamp::from_millisecond(wall_ms).expect("time").to_zoned(zone)
}

const RULE: Rule = Rule { needed_s: 600, input_counts_ms: 120_000, off_is_known: true };

#[test]
fn periods_end_once_and_those_of_a_week_ago_are_still_found() {
    let (found, next) = ended(&table(), TEN, &local(TEN + 2_400_000));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].slot.about.period.as_str(), found[0].ordinal, found[0].week), ("第1节", 1, Some(1)));
    assert_eq!(next, Some(TEN + 5_400_000));
    let (found, _) = ended(&table(), TEN + 2_400_000, &local(TEN + 2_400_000));
    assert!(found.is_empty(), "what ended at that very moment was found before");
    let (found, _) = ended(&table(), TEN, &local(TEN + 3 * 86_400_000));
    assert_eq!(found.len(), 6, "{found:#?}");
    let (found, _) = ended(&table(), 0, &local(TEN + 30 * 86_400_000));
    assert_eq!(found.len(), 14, "a week at most: {found:#?}");
}

#[test]
fn a_row_says_what_was_planned_or_what_the_teacher_said_and_nobodys_empty_period_has_none() {
    let (found, _) = ended(&table(), TEN, &local(TEN + 6_000_000));
    let off = Sums { known_s: 2400, ..Sums::default() };
    assert_eq!(row(&found[1], &off, RULE, Beside::default()), None);
    let planned = row(&found[0], &off, RULE, Beside::default()).expect("a lesson was planned");
    assert_eq!((planned.subject.as_str(), planned.used, planned.planned), ("语文", Used::Not, true));
    assert_eq!(planned.check(), Ok(()));
    let said = About { subject: "数学".into(), topic: "分数".into(), ..About::default() };
    let beside = Beside { said: Some(said), now_ms: TEN, ..Beside::default() };
    let row = row(&found[0], &Sums { powered_s: 5, ..off }, RULE, beside).expect("row");
    assert_eq!((row.subject.as_str(), row.topic.as_str(), row.teacher.as_str()), ("数学", "分数", "张老师"));
}

#[test]
fn a_teacher_confirms_or_corrects_for_seven_days_and_never_overwrites() {
    let (found, _) = ended(&table(), TEN, &local(TEN + 2_400_000));
    let auto =
        row(&found[0], &Sums { powered_s: 60, ..Sums::default() }, RULE, Beside::default()).expect("row");
    assert_eq!(auto.used, Used::Unknown);
    let day =
        |days: i64| Date::constant(2026, 8, 31).checked_add(jiff::Span::new().days(days)).expect("date");
    let word = Word { used: Some(true), minutes: Some(35), by: " 李老师 ".into(), ..Word::default() };
    let row = said(&auto, &word, day(6), 7).expect("open");
    assert_eq!(
        (row.source, row.used, row.used_s, row.by.as_str()),
        (Source::Corrected, Used::Used, 2100, "李老师")
    );
    assert_eq!(row.known_s, auto.known_s, "what the agent saw stays as it saw it");
    assert_eq!(said(&auto, &word, day(7), 7), Err(Refused::Closed));
    let wrong = |word: Word| said(&auto, &word, day(0), 7).is_err();
    assert!(wrong(Word { by: String::new(), ..word.clone() }), "who says so");
    assert!(wrong(Word { minutes: Some(41), ..word.clone() }), "more than there are");
    assert!(wrong(Word { used: None, ..word.clone() }), "unknown cannot be confirmed");
    assert!(wrong(Word { fault: "x".repeat(201), ..word }), "too long");
}

proptest! {
    #[test]
    fn whatever_happens_no_second_is_counted_twice_and_nothing_unknown_as_used(
        steps in proptest::collection::vec((0..8_u8, 1..20_u64, any::<i32>()), 1..60)
    ) {
        let mut room = Room::on(TEN - 1_800_000);
        for (step, minutes, by) in steps {
            match step {
                0 => room.seen = at_work(),
                1 => room.seen = nobody(),
                2 => room.seen = Seen::default(),
                3 => room.wrong_ms = if by % 3 == 0 { None } else { Some(i64::from(by)) },
                4 => room.off(minutes, [End::Open, End::Shutdown, End::Stopped][by.unsigned_abs() as usize % 3]),
                5 => room.boot_ms += minutes * MINUTE,
                6 => room.passes(minutes * MINUTE),
                _ => room.restarts(),
            }
            room.runs(minutes);
            let sums = room.sums();
            prop_assert!(sums.used_s <= sums.known_s && sums.known_s <= 2400, "{sums:?}");
            prop_assert!(sums.powered_s <= 2400 && sums.display_on_s <= sums.powered_s, "{sums:?}");
        }
    }
}
