//! 使用记录 of a school: what rooms sent, what people say of it, and planned periods that nobody sent anything about.
//!
//! ```text
//! rows (device, day, period) ─┐
//! timetable of that day ──────┴─▶ entries, a line each: used │ not │ unknown │ no record
//! ```
//!
//! Precedence: what the room saw stays as it is; of all words, said in the room or here, the newest holds. A word cannot be
//! older than its period nor younger than its arrival, whatever the clock it was said by ([`said_ms`]).

mod planned;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use jiff::civil::Date;
use lectern_wire::id::DeviceId;
use lectern_wire::usage::{Source, Usage, Used};

pub use planned::{MOST_DAYS, Place, Version, dates, planned};

/// Where a word was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// At the room's page or command line.
    Room,
    /// At the hub's console.
    Hub,
}

impl At {
    /// The name it is kept under.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Room => "room",
            Self::Hub => "hub",
        }
    }

    /// The place of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Room, Self::Hub].into_iter().find(|at| at.name() == name)
    }
}

/// What a person says of a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The row as they say it.
    pub row: Usage,
    /// When, as far as that can be believed.
    pub ms: i64,
    /// Where.
    pub at: At,
}

/// What is known of a period in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// A row, and perhaps a word about it.
    Row {
        /// What the room saw.
        auto: Box<Usage>,
        /// The newest word.
        said: Option<Box<Said>>,
    },
    /// Only a word: 补录.
    Word(Box<Said>),
    /// A lesson was planned and nothing came: the row as it would be, with nothing seen.
    Nothing(Box<Usage>),
}

/// A line of the register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The room's device.
    pub device: DeviceId,
    /// The room's name.
    pub room: String,
    /// What is known.
    pub known: Known,
}

/// What a line says of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// 使用.
    Used,
    /// 未使用.
    Not,
    /// 未知: too little was seen.
    Unknown,
    /// 没有记录: nothing came from the room.
    NoRecord,
}

impl Entry {
    /// The row that holds.
    #[must_use]
    pub fn row(&self) -> &Usage {
        match &self.known {
            Known::Row { said: Some(said), .. } | Known::Word(said) => &said.row,
            Known::Row { auto, .. } => auto,
            Known::Nothing(row) => row,
        }
    }

    /// What the room saw, if it sent anything.
    #[must_use]
    pub fn auto(&self) -> Option<&Usage> {
        match &self.known {
            Known::Row { auto, .. } => Some(auto),
            Known::Word(_) | Known::Nothing(_) => None,
        }
    }

    /// The newest word, if there is one.
    #[must_use]
    pub fn said(&self) -> Option<&Said> {
        match &self.known {
            Known::Row { said, .. } => said.as_deref(),
            Known::Word(said) => Some(said),
            Known::Nothing(_) => None,
        }
    }

    /// What it says of use.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (&self.known, self.row().used) {
            (Known::Nothing(_), _) => Verdict::NoRecord,
            (_, Used::Used) => Verdict::Used,
            (_, Used::Not) => Verdict::Not,
            (_, Used::Unknown) => Verdict::Unknown,
        }
    }

    /// Whether something was recorded in it.
    #[must_use]
    pub fn recorded(&self) -> bool {
        let row = self.row();
        row.recorded_s > 0 || !row.lessons.is_empty()
    }

    /// Whether the machine was on at some time in it; none when nobody knows.
    #[must_use]
    pub fn powered(&self) -> Option<bool> {
        let row = self.auto()?;
        if row.powered_s > 0 {
            return Some(true);
        }
        let length_s = (row.planned_end_ms - row.planned_start_ms) / 1000;
        (i64::from(row.known_s) >= length_s).then_some(false)
    }

    /// What tells one teacher from another: the 工号, else the name; empty where neither is known.
    #[must_use]
    pub fn teacher(&self) -> &str {
        let row = self.row();
        if row.teacher_id.is_empty() { &row.teacher } else { &row.teacher_id }
    }

    fn order(&self) -> (std::cmp::Reverse<&str>, i64, u32, &str, &str) {
        let row = self.row();
        let day = std::cmp::Reverse(row.date.as_str());
        (day, row.planned_start_ms, row.ordinal, &self.room, self.device.as_str())
    }
}

/// 自动, or 补录 where a person says what was so.
#[must_use]
pub fn source(row: &Usage) -> &'static str {
    match row.source {
        Source::Auto | Source::Confirmed => "自动",
        Source::Corrected => "补录",
    }
}

/// When a word was said, as far as that can be believed: not before its period was over, not after it arrived.
#[must_use]
pub fn said_ms(row: &Usage, arrived_ms: i64) -> i64 {
    row.said_ms.max(row.planned_end_ms).min(arrived_ms)
}

/// 学期 of a day: the first from August to January, the second from February to July.
#[must_use]
pub fn term(date: Date) -> String {
    let (year, month) = (date.year(), date.month());
    let first = if month >= 8 { year } else { year - 1 };
    let half = if (2..8).contains(&month) { "二" } else { "一" };
    format!("{first}-{}学年第{half}学期", first + 1)
}

/// What lines are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of one device.
    pub device: Option<DeviceId>,
    /// Part of a teacher's name or 工号.
    pub teacher: String,
    /// Part of a class's name.
    pub class: String,
    /// Only lines that say this.
    pub verdict: Option<Verdict>,
}

impl Filter {
    /// Whether a line is shown.
    #[must_use]
    pub fn takes(&self, entry: &Entry) -> bool {
        let row = entry.row();
        let part = |wanted: &str, texts: &[&str]| {
            wanted.is_empty() || texts.iter().any(|text| text.contains(wanted))
        };
        self.device.as_ref().is_none_or(|device| *device == entry.device)
            && part(&self.teacher, &[&row.teacher, &row.teacher_id])
            && part(&self.class, &[&row.class])
            && self.verdict.is_none_or(|verdict| verdict == entry.verdict())
    }
}

/// The register: rows, and what was planned and has none; the newest day first, in it by period and room.
#[must_use]
pub fn register(rows: Vec<Entry>, planned: Vec<Entry>) -> Vec<Entry> {
    let key = |entry: &Entry| {
        let row = entry.row();
        (entry.device.clone(), row.date.clone(), row.period.clone())
    };
    let known: HashSet<_> = rows.iter().map(key).collect();
    let missing = planned.into_iter().filter(|entry| !known.contains(&key(entry)));
    let mut all: Vec<_> = rows.into_iter().chain(missing).collect();
    all.sort_by(|a, b| a.order().cmp(&b.order()));
    all
}

/// The day of a row; none where its text is no day.
#[must_use]
pub fn day(row: &Usage) -> Option<Date> {
    row.date.parse().ok()
}
