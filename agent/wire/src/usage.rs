//! 使用记录: one row of the use register per period, as event `e/usage` (data: [`Usage`]).
//!
//! The room writes each period's row once, at the period's end, with [`Source::Auto`]. The hub keeps it by device, date
//! and period; a second automatic row of the same period changes nothing. What a person says later ([`word`]) is an event
//! of its own with the same date and period and another source: it stands beside the automatic row and never overwrites
//! it; of several words, also of those said at the hub, the one with the newest [`Usage::said_ms`] holds.
//!
//! The rule: a period was used when the display was awake and (there was input or a teaching activity in the foreground),
//! or a recording was running, for at least [`Usage::needed_s`] seconds inside it. Powered on is not used. What was not
//! seen is not counted as used: where it could have made the difference, the row says [`Used::Unknown`].
//!
//! Seconds are measured by a clock that only goes forward; every `_s` lies within the period and is at most its length.
//! `used_s ≤ known_s`, and `known_s` may exceed `powered_s` by the time the machine was certainly off or asleep.
//!
//! A period in which the room's machine was off from end to end has a row too, once the machine is on again and only where
//! a lesson was planned; rooms that stay away have none, and the hub says so. A row may thus arrive days late.

pub mod word;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::alarm::Code;
use crate::id::LessonId;

/// The event's type: the last level of `e/{type}`.
pub const KIND: &str = "usage";
/// Days a teacher can confirm or correct a row, from the day of its period.
pub const OPEN_DAYS: i64 = 7;
/// Longest text field, in characters.
pub const MAX_CHARS: usize = 80;
/// Longest [`Usage::fault_note`] and [`Usage::condition_note`], in characters.
pub const NOTE_MAX_CHARS: usize = 200;
/// Most entries of each list and map.
pub const MAX_ENTRIES: usize = 32;
/// Longest period, seconds.
pub const MAX_PERIOD_S: i64 = 24 * 3600;

/// Whether a period was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Used {
    /// 使用: by the rule.
    Used,
    /// 未使用: it was seen long enough to say so, or the machine was certainly off.
    Not,
    /// 不明: too little was seen to say either. Never counted as used.
    Unknown,
}

/// Who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// 自动: the room's agent.
    Auto,
    /// 确认: a teacher says that the automatic row is right.
    Confirmed,
    /// 更正 (补录): a teacher says what was really so.
    Corrected,
}

/// A row of the register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Usage {
    /// Always 1.
    pub v: u32,
    /// The day by the room's clock, `2026-09-12`.
    pub date: String,
    /// 周次, from 1; 0 before the first week; absent where the timetable has no first week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub week: Option<u32>,
    /// 星期 of the date: 1 is Monday, 7 Sunday.
    pub weekday: u8,
    /// 节次, for example 第3节.
    pub period: String,
    /// Its place in the day, from 1.
    pub ordinal: u32,
    /// The bell at its start, Unix milliseconds of the room's clock.
    pub planned_start_ms: i64,
    /// The bell at its end.
    pub planned_end_ms: i64,
    /// The first moment that counts as use, Unix milliseconds; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual_start_ms: Option<i64>,
    /// The last moment that counts as use, Unix milliseconds; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual_end_ms: Option<i64>,
    /// 班级, as planned or as a recording of this period says; empty where nobody knows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub class: String,
    /// 学科.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// 课题.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub topic: String,
    /// 教师, the name as shown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub teacher: String,
    /// 工号.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub teacher_id: String,
    /// Whether a lesson is planned here in this period; without a plan a period that was not used is nobody's omission.
    pub planned: bool,
    /// See [`Used`].
    pub used: Used,
    /// Seconds of use that the rule asks for, for example 600.
    pub needed_s: u32,
    /// 使用时长: seconds that count as use.
    pub used_s: u32,
    /// Seconds with input or a teaching activity in the foreground, whatever the display did.
    pub active_s: u32,
    /// Seconds with a display awake.
    pub display_on_s: u32,
    /// Seconds recorded, without pauses.
    pub recorded_s: u32,
    /// Seconds of which it is known whether they count as use. The rest of the period is unknown.
    pub known_s: u32,
    /// Seconds the machine was on and awake, as far as the agent can vouch for it; 0 where it was certainly off.
    pub powered_s: u32,
    /// Seconds each category of application was in the foreground; only where the school switched it on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub categories: BTreeMap<String, u32>,
    /// 是否录课: lessons recorded in this period, also those that only reached into it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lessons: Vec<LessonId>,
    /// 使用前设备情况: alarms that stood when the agent first saw the period.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Code>,
    /// 使用后设备情况: alarms that stood at its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Code>,
    /// 设备情况 as a teacher says it; empty in an automatic row.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub condition_note: String,
    /// 故障说明 as a teacher says it; empty in an automatic row.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fault_note: String,
    /// See [`Source`].
    pub source: Source,
    /// 确认人: who says so; empty in an automatic row.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// 确认人's 工号; empty in an automatic row, and where the person gave a name alone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by_id: String,
    /// When this was said, Unix milliseconds of the room's clock.
    pub said_ms: i64,
}

impl Usage {
    /// What makes a row of one device the same period's.
    #[must_use]
    pub fn key(&self) -> (&str, &str) {
        (&self.date, &self.period)
    }

    /// Checks what crossed a border.
    ///
    /// # Errors
    /// What is wrong, in a sentence that names the field.
    pub fn check(&self) -> Result<(), String> {
        if self.v != 1 {
            return Err(format!("v is {}, known is 1", self.v));
        }
        if !is_date(&self.date) {
            return Err(format!("date {:?} is not a day such as 2026-09-12", self.date));
        }
        if !(1..=7).contains(&self.weekday) {
            return Err(format!("weekday is {}, 1 is Monday and 7 Sunday", self.weekday));
        }
        if self.period.trim().is_empty() {
            return Err("period is empty".into());
        }
        let length_ms = self.planned_end_ms.saturating_sub(self.planned_start_ms);
        if !(1..=MAX_PERIOD_S * 1000).contains(&length_ms) {
            return Err("planned_end_ms is not after planned_start_ms on the same day".into());
        }
        let length_s = u32::try_from((length_ms + 999) / 1000).unwrap_or(u32::MAX);
        let seconds = [
            ("used_s", self.used_s),
            ("active_s", self.active_s),
            ("display_on_s", self.display_on_s),
            ("recorded_s", self.recorded_s),
            ("known_s", self.known_s),
            ("powered_s", self.powered_s),
        ];
        let seconds = seconds.into_iter().chain(self.categories.iter().map(|(name, s)| (name.as_str(), *s)));
        if let Some((name, s)) = seconds.into_iter().find(|(_, s)| *s > length_s) {
            return Err(format!("{name} is {s}, the period has {length_s} s"));
        }
        if self.source == Source::Auto && self.used_s > self.known_s {
            return Err("used_s is more than known_s".into());
        }
        if let (Some(from), Some(to)) = (self.actual_start_ms, self.actual_end_ms)
            && to < from
        {
            return Err("actual_end_ms is before actual_start_ms".into());
        }
        let texts = [
            ("period", &self.period, MAX_CHARS),
            ("class", &self.class, MAX_CHARS),
            ("subject", &self.subject, MAX_CHARS),
            ("topic", &self.topic, MAX_CHARS),
            ("teacher", &self.teacher, MAX_CHARS),
            ("teacher_id", &self.teacher_id, MAX_CHARS),
            ("by", &self.by, MAX_CHARS),
            ("by_id", &self.by_id, MAX_CHARS),
            ("condition_note", &self.condition_note, NOTE_MAX_CHARS),
            ("fault_note", &self.fault_note, NOTE_MAX_CHARS),
        ];
        for (name, text, max) in texts {
            if text.chars().count() > max {
                return Err(format!("{name} is longer than {max} characters"));
            }
            if text.chars().any(char::is_control) {
                return Err(format!("{name} holds a control character"));
            }
        }
        let lists = [self.categories.len(), self.lessons.len(), self.before.len(), self.after.len()];
        if lists.into_iter().any(|n| n > MAX_ENTRIES) {
            return Err(format!("a list holds more than {MAX_ENTRIES} entries"));
        }
        if self.categories.keys().any(|name| name.trim().is_empty() || name.chars().count() > MAX_CHARS) {
            return Err("a category has no proper name".into());
        }
        if self.source != Source::Auto && self.by.trim().is_empty() && self.by_id.trim().is_empty() {
            return Err("who confirms or corrects is not said: by and by_id are empty".into());
        }
        Ok(())
    }
}

/// Whether a text is a day as the register writes it.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| {
        bytes
            .get(range)
            .filter(|d| d.iter().all(u8::is_ascii_digit))
            .and_then(|d| std::str::from_utf8(d).ok().and_then(|d| d.parse::<u32>().ok()))
    };
    bytes.len() == 10
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && digits(0..4).is_some()
        && digits(5..7).is_some_and(|m| (1..=12).contains(&m))
        && digits(8..10).is_some_and(|d| (1..=31).contains(&d))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Usage {
        Usage {
            v: 1,
            date: "2026-09-14".into(),
            week: Some(3),
            weekday: 1,
            period: "第3节".into(),
            ordinal: 3,
            planned_start_ms: 1_789_353_000_000,
            planned_end_ms: 1_789_355_400_000,
            actual_start_ms: None,
            actual_end_ms: None,
            class: String::new(),
            subject: String::new(),
            topic: String::new(),
            teacher: String::new(),
            teacher_id: String::new(),
            planned: false,
            used: Used::Not,
            needed_s: 600,
            used_s: 0,
            active_s: 0,
            display_on_s: 0,
            recorded_s: 0,
            known_s: 2400,
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
            said_ms: 1_789_355_400_500,
        }
    }

    #[test]
    fn a_row_that_says_too_much_or_nothing_is_refused_by_the_name_of_its_field() {
        assert_eq!(row().check(), Ok(()));
        type Spoil = fn(&mut Usage);
        let wrong: [(&str, Spoil); 10] = [
            ("v is", |r| r.v = 2),
            ("date", |r| r.date = "2026-9-14".into()),
            ("date", |r| r.date = "第十四日".into()),
            ("weekday", |r| r.weekday = 0),
            ("period", |r| r.period = " ".into()),
            ("planned_end_ms", |r| r.planned_end_ms = r.planned_start_ms),
            ("display_on_s", |r| r.display_on_s = 2401),
            ("used_s", |r| (r.used_s, r.known_s) = (9, 8)),
            ("fault_note", |r| r.fault_note = "x".repeat(201)),
            ("who", |r| r.source = Source::Corrected),
        ];
        for (name, spoil) in wrong {
            let mut row = row();
            spoil(&mut row);
            let why = row.check().expect_err(name);
            assert!(why.contains(name), "{name}: {why}");
        }
    }

    #[test]
    fn what_is_empty_is_not_sent_and_reads_back_as_empty() {
        let text = serde_json::to_string(&row()).expect("json");
        assert!(
            !text.contains("class") && !text.contains("lessons") && text.contains(r#""used":"not""#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Usage>(&text).expect("json"), row());
        assert!(text.len() < 400, "{} bytes", text.len());
    }
}
