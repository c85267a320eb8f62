//! 课表: when the bell rings, and which lesson is planned then.
//!
//! Pure: asked with a local time, answers with the [`Slot`] that is on or about to begin.

use jiff::civil::{Date, Time};
use jiff::{SignedDuration, Zoned};
use lectern_wire::manifest::About;

/// The school day and this room's lessons.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timetable {
    /// The periods of a day, in order, not overlapping.
    pub periods: Vec<Period>,
    /// What is planned in them.
    pub plans: Vec<Plan>,
    /// Monday of the first week of term; without it every week is every week.
    pub first_monday: Option<Date>,
    /// How much later than the true time the school's bell rings, seconds; negative when it is early.
    pub bell_offset_s: i32,
}

/// 节次: one period of the day, by the bell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Period {
    /// For example 第3节.
    pub name: String,
    /// The bell at its start.
    pub start: Time,
    /// The bell at its end.
    pub end: Time,
}

/// A planned lesson.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// 1 is Monday.
    pub weekday: i8,
    /// Name of its period.
    pub period: String,
    /// In which weeks.
    pub weeks: Weeks,
    /// Class, subject, teacher; the period is filled in.
    pub about: About,
}

/// In which weeks of term, for example `1-16[单周]` or `2,4,9-12`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Weeks(Vec<(u32, u32, Parity)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parity {
    All,
    Odd,
    Even,
}

impl Weeks {
    /// Reads weeks as timetables write them; empty is every week.
    ///
    /// # Errors
    /// What cannot be read, in a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        for part in text.split([',', '，']).map(str::trim).filter(|p| !p.is_empty()) {
            let wrong = || format!("{part:?} is not weeks such as 1-16, 3 or 1-16[单周]");
            let (range, parity) = match part.split_once(['[', '(', '（']) {
                None => (part.trim_end_matches('周'), Parity::All),
                Some((range, word)) => match word.trim_end_matches([']', ')', '）']).trim_end_matches('周')
                {
                    "单" => (range, Parity::Odd),
                    "双" => (range, Parity::Even),
                    "" => (range, Parity::All),
                    _ => return Err(wrong()),
                },
            };
            let week = |text: &str| text.trim().parse::<u32>().ok().filter(|n| (1..=60).contains(n));
            let (from, to) = match range.trim().split_once('-') {
                Some((from, to)) => (week(from), week(to)),
                None => (week(range), week(range)),
            };
            match (from, to) {
                (Some(from), Some(to)) if from <= to => parts.push((from, to, parity)),
                _ => return Err(wrong()),
            }
        }
        Ok(Self(parts))
    }

    fn hold(&self, week: Option<u32>) -> bool {
        let Some(week) = week else { return true };
        self.0.is_empty()
            || self.0.iter().any(|&(from, to, parity)| {
                (from..=to).contains(&week)
                    && match parity {
                        Parity::All => true,
                        Parity::Odd => week % 2 == 1,
                        Parity::Even => week % 2 == 0,
                    }
            })
    }
}

/// A period of a day, with its plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// What is planned; at least the period is filled in.
    pub about: About,
    /// When the bell starts it, Unix milliseconds of the machine's clock.
    pub start_ms: i64,
    /// When the bell ends it.
    pub end_ms: i64,
    /// Start and end as the bell plan says them, `10:30–11:10`.
    pub times: String,
}

impl Timetable {
    /// The period that is on at `now`, or begins within `early`.
    #[must_use]
    pub fn at(&self, now: &Zoned, early: SignedDuration) -> Option<Slot> {
        let now_ms = now.timestamp().as_millisecond();
        let early_ms = i64::try_from(early.as_millis()).unwrap_or(0);
        let slots = self.slots(now).into_iter();
        // A period that is on comes before one that is about to begin.
        let (on, next): (Vec<_>, Vec<_>) =
            slots.filter(|s| now_ms < s.end_ms).partition(|s| s.start_ms <= now_ms);
        on.into_iter().next().or_else(|| next.into_iter().find(|s| s.start_ms - now_ms <= early_ms))
    }

    /// All periods of the day of `now`, in order.
    #[must_use]
    pub fn slots(&self, now: &Zoned) -> Vec<Slot> {
        self.periods.iter().filter_map(|period| self.slot(period, now)).collect()
    }

    fn slot(&self, period: &Period, now: &Zoned) -> Option<Slot> {
        let date = now.date();
        let bell = |time: Time| {
            let at = date.to_datetime(time).to_zoned(now.time_zone().clone()).ok()?;
            Some(at.timestamp().as_millisecond() + i64::from(self.bell_offset_s) * 1000)
        };
        let weekday = date.weekday().to_monday_one_offset();
        let week = self.week(date);
        let plan =
            self.plans.iter().find(|p| p.weekday == weekday && p.period == period.name && p.weeks.hold(week));
        let mut about = plan.map(|p| p.about.clone()).unwrap_or_default();
        about.period.clone_from(&period.name);
        let text = |time: Time| format!("{:02}:{:02}", time.hour(), time.minute());
        let times = format!("{}–{}", text(period.start), text(period.end));
        Some(Slot { about, start_ms: bell(period.start)?, end_ms: bell(period.end)?, times })
    }

    /// The week of term, from 1; `None` without a first Monday, 0 before it.
    #[must_use]
    pub fn week(&self, date: Date) -> Option<u32> {
        let days = date.since(self.first_monday?).ok()?.get_days();
        Some(if days < 0 { 0 } else { u32::try_from(days / 7).ok()? + 1 })
    }
}

/// When a lesson ends by itself, in milliseconds since boot: steps of the wall clock do not move it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bell {
    /// When the bell rings.
    pub rings_ms: u64,
    /// When the lesson ends, unless it is put off.
    pub ends_ms: u64,
}

/// How long before its end a lesson counts down.
pub const COUNTDOWN_MS: u64 = 3 * 60 * 1000;
/// How much longer one press lets it go on.
pub const EXTEND_MS: u64 = 10 * 60 * 1000;

impl Bell {
    /// The bell `until_ms` from now, and the end `grace_ms` after it.
    #[must_use]
    pub fn after(now_ms: u64, until_ms: u64, grace_ms: u64) -> Self {
        Self { rings_ms: now_ms + until_ms, ends_ms: now_ms + until_ms + grace_ms }
    }

    /// Whether the countdown is on.
    #[must_use]
    pub fn counts_down(self, now_ms: u64) -> bool {
        now_ms >= self.rings_ms && now_ms + COUNTDOWN_MS >= self.ends_ms
    }

    /// The same, put off.
    #[must_use]
    pub fn put_off(self, now_ms: u64) -> Self {
        Self { ends_ms: self.ends_ms.max(now_ms) + EXTEND_MS, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Timetable {
        let time = |h, m| Time::constant(h, m, 0, 0);
        let plan = |weekday, period: &str, weeks: &str, subject: &str| Plan {
            weekday,
            period: period.into(),
            weeks: Weeks::parse(weeks).expect("weeks"),
            about: About { subject: subject.into(), ..About::default() },
        };
        Timetable {
            periods: vec![
                Period { name: "第2节".into(), start: time(9, 20), end: time(10, 0) },
                Period { name: "第3节".into(), start: time(10, 10), end: time(10, 50) },
            ],
            plans: vec![
                plan(1, "第3节", "1-16[单周]", "语文"),
                plan(1, "第3节", "1-16[双周]", "音乐"),
                plan(2, "第2节", "", "数学"),
            ],
            first_monday: Some(Date::constant(2026, 8, 31)),
            bell_offset_s: 60,
        }
    }

    fn at(text: &str) -> Option<(String, String, String)> {
        let now: Zoned = format!("{text}[Asia/Shanghai]").parse().expect("time");
        let slot = table().at(&now, SignedDuration::from_mins(10))?;
        Some((slot.about.period, slot.about.subject, slot.times))
    }

    #[test]
    fn the_slot_is_the_one_that_is_on_or_begins_soon() {
        let third = |subject: &str| Some(("第3节".into(), subject.into(), "10:10–10:50".into()));
        assert_eq!(at("2026-08-31T10:30"), third("语文"), "week 1, odd");
        assert_eq!(at("2026-09-07T10:30"), third("音乐"), "week 2, even");
        assert_eq!(at("2026-09-02T10:30"), third(""), "nothing is planned on Wednesday");
        assert_eq!(at("2026-08-31T10:00:30").map(|s| s.0).as_deref(), Some("第2节"), "the bell is 60 s late");
        assert_eq!(at("2026-08-31T10:01"), third("语文"), "in the break the next one is near");
        assert_eq!(at("2026-08-31T08:00"), None);
        assert_eq!(at("2026-08-31T10:51"), None);
    }

    #[test]
    fn weeks_are_read_as_timetables_write_them() {
        let holds = |text: &str, week| Weeks::parse(text).expect("weeks").hold(Some(week));
        assert!(holds("1-16[单周]", 15) && !holds("1-16[单周]", 16) && !holds("1-16[单周]", 17));
        assert!(holds("2,4，9-12(双)", 12) && !holds("2,4，9-12(双)", 11) && holds("2,4", 4));
        assert!(holds("", 40) && holds("3周", 3));
        assert!(
            Weeks::parse("1-").is_err() && Weeks::parse("0").is_err() && Weeks::parse("5-2[半]").is_err()
        );
    }

    #[test]
    fn the_bell_counts_down_and_can_be_put_off_again_and_again() {
        let bell = Bell::after(1000, 60_000, COUNTDOWN_MS);
        assert!(!bell.counts_down(60_999) && bell.counts_down(61_000));
        let later = bell.put_off(70_000);
        assert_eq!(later.ends_ms, bell.ends_ms + EXTEND_MS);
        assert!(!later.counts_down(70_000) && later.counts_down(later.ends_ms - COUNTDOWN_MS));
        assert_eq!(later.put_off(later.ends_ms).ends_ms, later.ends_ms + EXTEND_MS);
    }
}
