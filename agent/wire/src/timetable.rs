//! 课表 of one room: when the bell rings, which lesson is planned then, and the days that are otherwise.
//!
//! Pure: asked with a local time, answers with the [`Slot`] that is on or about to begin. A room has it from a
//! file of its own or handed down by its hub ([`crate::desired`]); both mean the same.

use jiff::civil::{Date, Time};
use jiff::{SignedDuration, Zoned};
use serde::{Deserialize, Serialize};

use crate::manifest::About;

/// Longest cycle of weeks: 轮换课表.
pub const MOST_WEEKS_OF_A_CYCLE: u32 = 9;
/// Last week of a term that can be named.
const LAST_WEEK: u32 = 60;

/// The school day and one room's lessons.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Timetable {
    /// Monday of the first week of term; without it every week is every week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub first_monday: Option<Date>,
    /// How much later than the true time the school's bell rings, seconds; negative when it is early.
    #[serde(default)]
    pub bell_offset_s: i32,
    /// The periods of a day, in order, not overlapping.
    pub periods: Vec<Period>,
    /// What is planned in them.
    pub plans: Vec<Plan>,
    /// Days that are no school, or go by another day: 停课, 补班.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<Day>,
    /// Single periods that are otherwise than planned: 调课.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

/// 节次: one period of the day, by the bell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Period {
    /// For example 第3节.
    pub name: String,
    /// The bell at its start.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub start: Time,
    /// The bell at its end.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub end: Time,
}

/// A planned lesson.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Plan {
    /// 1 is Monday.
    pub weekday: i8,
    /// Name of its period.
    pub period: String,
    /// In which weeks.
    #[serde(default, skip_serializing_if = "Weeks::every")]
    pub weeks: Weeks,
    /// Class, subject, teacher; the period is filled in.
    pub about: About,
}

/// A day that is otherwise than its weekday says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Day {
    /// Which.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub date: Date,
    /// The day whose timetable it goes by (补班); absent when there is no school (停课).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub goes_by: Option<Date>,
}

/// A period of one day that is otherwise than planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Change {
    /// The day.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub date: Date,
    /// Name of the period.
    pub period: String,
    /// What is on instead; nothing of it: the lesson does not take place.
    #[serde(default)]
    pub about: About,
}

/// In which weeks of term: `1-16`, `1-16[单周]`, `2,4,9-12[双周]`, or the first of every three, `1-16[1/3]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", schemars(with = "String"))]
pub struct Weeks(Vec<Run>);

/// Weeks `from` to `to`, of these the `nth` of every `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    from: u32,
    to: u32,
    nth: u32,
    of: u32,
}

impl Run {
    fn holds(self, week: u32) -> bool {
        (self.from..=self.to).contains(&week) && week % self.of == self.nth % self.of
    }
}

impl Weeks {
    /// Reads weeks as timetables write them; empty is every week.
    ///
    /// # Errors
    /// What cannot be read, in a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut runs = Vec::new();
        for part in text.split([',', '，', '、', ';', '；']).map(str::trim).filter(|p| !p.is_empty()) {
            let wrong = || format!("{part:?} is not weeks such as 1-16, 3, 1-16[单周] or 1-16[1/3]");
            let (range, word) = part.split_once(['[', '(', '（']).unwrap_or((part, ""));
            let word = word.trim_end_matches([']', ')', '）']).trim().trim_end_matches('周');
            let range = range.trim().trim_start_matches('第').trim_end_matches('周').trim();
            // 单周 by itself: every odd week.
            let (range, word) = match range {
                "单" | "双" if word.is_empty() => ("", range),
                _ => (range, word),
            };
            let (nth, of) = match word {
                "" | "全" | "每" => (1, 1),
                "单" | "单数" | "奇" => (1, 2),
                "双" | "双数" | "偶" => (2, 2),
                cycle => cycle
                    .split_once('/')
                    .and_then(|(nth, of)| Some((nth.trim().parse().ok()?, of.trim().parse().ok()?)))
                    .filter(|&(nth, of)| (1..=of).contains(&nth) && of <= MOST_WEEKS_OF_A_CYCLE)
                    .ok_or_else(wrong)?,
            };
            let week = |text: &str| text.trim().parse::<u32>().ok().filter(|n| (1..=LAST_WEEK).contains(n));
            let (from, to) = match range.split_once(['-', '~', '－', '—', '–', '至']) {
                _ if range.is_empty() && of > 1 => (Some(1), Some(LAST_WEEK)),
                Some((from, to)) => (week(from), week(to.trim_start_matches('第'))),
                None => (week(range), week(range)),
            };
            match (from, to) {
                (Some(from), Some(to)) if from <= to => runs.push(Run { from, to, nth, of }),
                _ => return Err(wrong()),
            }
        }
        Ok(Self(runs))
    }

    /// The `nth` week of every `of`, all term long.
    #[must_use]
    pub fn nth_of(nth: u32, of: u32) -> Self {
        Self(vec![Run { from: 1, to: LAST_WEEK, nth, of: of.max(1) }])
    }

    /// Whether it is every week.
    #[must_use]
    pub fn every(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a week is one of them. Where weeks are not counted, every week is.
    #[must_use]
    pub fn hold(&self, week: Option<u32>) -> bool {
        let Some(week) = week else { return true };
        self.0.is_empty() || self.0.iter().any(|run| run.holds(week))
    }

    /// Whether some week of a term is in both.
    #[must_use]
    pub fn meet(&self, other: &Self) -> bool {
        (1..=LAST_WEEK).any(|week| self.hold(Some(week)) && other.hold(Some(week)))
    }
}

impl std::fmt::Display for Weeks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, Run { from, to, nth, of }) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{from}")?;
            if from != to {
                write!(f, "-{to}")?;
            }
            match (nth, of) {
                (_, 1) => {}
                (1, 2) => write!(f, "[单周]")?,
                (2, 2) => write!(f, "[双周]")?,
                (nth, of) => write!(f, "[{nth}/{of}]")?,
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for Weeks {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Weeks> for String {
    fn from(weeks: Weeks) -> String {
        weeks.to_string()
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

    /// All periods of the day of `now`, in order; none on a day without school.
    #[must_use]
    pub fn slots(&self, now: &Zoned) -> Vec<Slot> {
        let date = now.date();
        if self.days.iter().any(|day| day.date == date && day.goes_by.is_none()) {
            return Vec::new();
        }
        self.periods.iter().filter_map(|period| self.slot(period, now)).collect()
    }

    fn slot(&self, period: &Period, now: &Zoned) -> Option<Slot> {
        let date = now.date();
        let bell = |time: Time| {
            let at = date.to_datetime(time).to_zoned(now.time_zone().clone()).ok()?;
            Some(at.timestamp().as_millisecond() + i64::from(self.bell_offset_s) * 1000)
        };
        let about = self.planned(date, &period.name);
        let text = |time: Time| format!("{:02}:{:02}", time.hour(), time.minute());
        let times = format!("{}–{}", text(period.start), text(period.end));
        Some(Slot { about, start_ms: bell(period.start)?, end_ms: bell(period.end)?, times })
    }

    /// What is planned in a period of a day; at least the period is filled in.
    #[must_use]
    pub fn planned(&self, date: Date, period: &str) -> About {
        let change = self.changes.iter().find(|c| c.date == date && c.period == period);
        let mut about = match change {
            Some(change) => change.about.clone(),
            None => self.by_the_week(date, period).unwrap_or_default(),
        };
        period.clone_into(&mut about.period);
        about
    }

    fn by_the_week(&self, date: Date, period: &str) -> Option<About> {
        let date = match self.days.iter().find(|day| day.date == date) {
            Some(day) => day.goes_by?,
            None => date,
        };
        let weekday = date.weekday().to_monday_one_offset();
        let week = self.week(date);
        let plan =
            self.plans.iter().find(|p| p.weekday == weekday && p.period == period && p.weeks.hold(week));
        plan.map(|p| p.about.clone())
    }

    /// The week of term, from 1; `None` without a first Monday, 0 before it.
    #[must_use]
    pub fn week(&self, date: Date) -> Option<u32> {
        let days = date.since(self.first_monday?).ok()?.get_days();
        Some(if days < 0 { 0 } else { u32::try_from(days / 7).ok()? + 1 })
    }

    /// What is wrong with it, if anything, in a sentence: what a hub handed down is checked like a file.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        if let Some(monday) = self.first_monday
            && monday.weekday() != jiff::civil::Weekday::Monday
        {
            return Some(format!("the first Monday of term, {monday}, is not a Monday"));
        }
        if !(-3600..=3600).contains(&self.bell_offset_s) {
            return Some(format!("the bell is {} s off; at most an hour makes sense", self.bell_offset_s));
        }
        for (n, period) in self.periods.iter().enumerate() {
            if period.name.is_empty() || self.periods[..n].iter().any(|p| p.name == period.name) {
                return Some(format!("the period {:?} has no name of its own", period.name));
            }
            if period.end <= period.start || n > 0 && period.start < self.periods[n - 1].end {
                return Some(format!("the period {} does not follow the one before it", period.name));
            }
        }
        let known = |name: &str| self.periods.iter().any(|p| p.name == name);
        let strange = self.plans.iter().map(|p| &p.period).chain(self.changes.iter().map(|c| &c.period));
        if let Some(name) = strange.into_iter().find(|name| !known(name)) {
            return Some(format!("a lesson is planned in {name:?}, and there is no such period"));
        }
        if let Some(plan) = self.plans.iter().find(|p| !(1..=7).contains(&p.weekday)) {
            return Some(format!("{} is not a weekday; 1 is Monday", plan.weekday));
        }
        let about = self.plans.iter().map(|p| &p.about).chain(self.changes.iter().map(|c| &c.about));
        about.into_iter().find_map(About::fault)
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
            ..Timetable::default()
        }
    }

    fn at(table: &Timetable, text: &str) -> Option<(String, String, String)> {
        let now: Zoned = format!("{text}[Asia/Shanghai]").parse().expect("time");
        let slot = table.at(&now, SignedDuration::from_mins(10))?;
        Some((slot.about.period, slot.about.subject, slot.times))
    }

    #[test]
    fn the_slot_is_the_one_that_is_on_or_begins_soon() {
        let third = |subject: &str| Some(("第3节".into(), subject.into(), "10:10–10:50".into()));
        let at = |text| at(&table(), text);
        assert_eq!(at("2026-08-31T10:30"), third("语文"), "week 1, odd");
        assert_eq!(at("2026-09-07T10:30"), third("音乐"), "week 2, even");
        assert_eq!(at("2026-09-02T10:30"), third(""), "nothing is planned on Wednesday");
        assert_eq!(at("2026-08-31T10:00:30").map(|s| s.0).as_deref(), Some("第2节"), "the bell is 60 s late");
        assert_eq!(at("2026-08-31T10:01"), third("语文"), "in the break the next one is near");
        assert_eq!(at("2026-08-31T08:00"), None);
        assert_eq!(at("2026-08-31T10:51"), None);
    }

    #[test]
    fn days_and_periods_that_are_otherwise_are_otherwise() {
        let date = Date::constant;
        let mut table = table();
        table.days = vec![
            Day { date: date(2026, 8, 31), goes_by: None },
            // A Saturday on which Monday's lessons of an even week are held.
            Day { date: date(2026, 9, 5), goes_by: Some(date(2026, 9, 7)) },
        ];
        let moved = About { subject: "美术".into(), ..About::default() };
        table.changes = vec![
            Change { date: date(2026, 9, 1), period: "第2节".into(), about: About::default() },
            Change { date: date(2026, 9, 2), period: "第2节".into(), about: moved },
        ];
        assert_eq!(at(&table, "2026-08-31T10:30"), None, "no school, no bell");
        assert_eq!(at(&table, "2026-09-05T10:30").expect("on").1, "音乐");
        assert_eq!(at(&table, "2026-09-01T09:30").expect("on").1, "", "it does not take place");
        assert_eq!(at(&table, "2026-09-02T09:30").expect("on").1, "美术");
        assert_eq!(at(&table, "2026-09-08T09:30").expect("on").1, "数学", "only that one day");
        assert_eq!(table.fault(), None);
        let text = serde_json::to_string(&table).expect("json");
        assert_eq!(serde_json::from_str::<Timetable>(&text).expect("reads"), table);
    }

    #[test]
    fn weeks_are_read_as_timetables_write_them_and_written_so_that_they_read_the_same() {
        let read = |text: &str| Weeks::parse(text).expect("weeks");
        let holds = |text: &str, week| {
            let weeks = read(text);
            assert_eq!(read(&weeks.to_string()), weeks, "{text}");
            weeks.hold(Some(week))
        };
        assert!(holds("1-16[单周]", 15) && !holds("1-16[单周]", 16) && !holds("1-16[单周]", 17));
        assert!(holds("2,4，9-12(双)", 12) && !holds("2,4，9-12(双)", 11) && holds("2,4", 4));
        assert!(holds("7,8,9,11-16[周]", 11) && !holds("7,8,9,11-16[周]", 10));
        assert!(holds("", 40) && holds("3周", 3) && holds("第3-5周", 4));
        assert!(holds("单周", 7) && !holds("单周", 8) && holds("双", 8));
        assert!(holds("1-18[2/3]", 5) && !holds("1-18[2/3]", 6) && holds("1-18[3/3]", 6));
        for bad in ["1-", "0", "5-2", "5-2[半]", "1-9[4/3]", "1-9[1/10]", "1-9[0/2]", "1-61", "周"] {
            assert!(Weeks::parse(bad).is_err(), "{bad}");
        }
        assert!(read("1-8").meet(&read("8-9")) && !read("单周").meet(&read("双周")));
    }

    #[test]
    fn what_does_not_fit_together_is_said() {
        let broken = |change: fn(&mut Timetable)| {
            let mut table = table();
            change(&mut table);
            table.fault().unwrap_or_default()
        };
        assert_eq!(broken(|_| {}), "");
        assert!(broken(|t| t.first_monday = Some(Date::constant(2026, 9, 1))).contains("not a Monday"));
        assert!(broken(|t| t.periods.swap(0, 1)).contains("does not follow"));
        assert!(broken(|t| t.plans[0].period = "第9节".into()).contains("第9节"));
        assert!(broken(|t| t.plans[0].weekday = 8).contains("weekday"));
        assert!(broken(|t| t.plans[0].about.subject = "长".repeat(200)).contains("subject"));
    }
}
