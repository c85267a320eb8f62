//! 课表 of a school: what is imported, how it is checked, and what each room gets of it.
//!
//! ```text
//! file ─▶ sheet (cells) ─▶ list, grid or cses ─▶ lessons ─▶ clash ─▶ preview ─▶ the school's table ─▶ rooms
//! ```
//!
//! A refused file gets a sentence for each place that is wrong; nothing of it is taken then.

mod cell;
pub mod clash;
mod cses;
pub mod fold;
mod grid;
pub mod import;
mod list;
pub mod room;
pub mod sheet;
#[cfg(test)]
mod tests;

use jiff::civil::{Date, Time};
use lectern_wire::manifest::About;
use lectern_wire::timetable::{Period, Weeks};
use serde::{Deserialize, Serialize};

/// A school's timetable, whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SchoolTable {
    /// Monday of the first week of term.
    pub first_monday: Option<Date>,
    /// How much later than the true time the bell rings, seconds.
    pub bell_offset_s: i32,
    /// 节次, in order.
    pub periods: Vec<Period>,
    /// What is planned.
    pub lessons: Vec<Lesson>,
    /// What is otherwise than planned, in the order it was entered.
    pub changes: Vec<Otherwise>,
}

/// A planned lesson of a school.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lesson {
    /// 1 is Monday.
    pub weekday: i8,
    /// Name of its period.
    pub period: String,
    /// In which weeks.
    #[serde(default, skip_serializing_if = "Weeks::every")]
    pub weeks: Weeks,
    /// Class, subject, teacher and 工号.
    pub about: About,
    /// Where, as the file says; empty: in the class's own room.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub room: String,
    /// Where it stood in the file.
    #[serde(skip)]
    pub at: Place,
}

/// What is otherwise than planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Otherwise {
    /// 停课: no school from one day to another.
    Off {
        /// First day.
        from: Date,
        /// Last day.
        to: Date,
    },
    /// 补班: a day goes by another day's timetable.
    GoesBy {
        /// Which day.
        date: Date,
        /// By which.
        goes_by: Date,
    },
    /// 调课: what a class has at two times changes places.
    Swap {
        /// The class.
        class: String,
        /// One time.
        one: (Date, String),
        /// The other.
        other: (Date, String),
    },
    /// 停一节: a class's lesson does not take place.
    Cancel {
        /// The class.
        class: String,
        /// When.
        at: (Date, String),
    },
}

impl Otherwise {
    /// In a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Off { from, to } if from == to => format!("{from} 停课"),
            Self::Off { from, to } => format!("{from} 到 {to} 停课"),
            Self::GoesBy { date, goes_by } => {
                format!("{date} 补班，按 {goes_by}（{}）的课表", fold::weekday_word(*goes_by))
            }
            Self::Swap { class, one, other } => {
                format!("{class} 调课：{} {} 与 {} {} 对调", one.0, one.1, other.0, other.1)
            }
            Self::Cancel { class, at } => format!("{class} {} {} 停一节", at.0, at.1),
        }
    }

    /// The last day it says something about.
    #[must_use]
    pub fn last_day(&self) -> Date {
        match self {
            Self::Off { to, .. } => *to,
            Self::GoesBy { date, .. } => *date,
            Self::Swap { one, other, .. } => one.0.max(other.0),
            Self::Cancel { at, .. } => at.0,
        }
    }
}

/// Where something stands in a file: sheet, row and column as a spreadsheet counts them, from 1; 0 is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The sheet's name.
    pub sheet: String,
    /// Row.
    pub row: usize,
    /// Column.
    pub column: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "「{}」", self.sheet)?;
        if self.row > 0 {
            write!(f, "第 {} 行", self.row)?;
        }
        if self.column > 0 {
            write!(f, " {} 列", letters(self.column))?;
        }
        Ok(())
    }
}

/// A column as spreadsheets name it: A to Z, then AA.
fn letters(mut column: usize) -> String {
    let mut out = Vec::new();
    while column > 0 {
        column -= 1;
        out.push(char::from(b'A' + u8::try_from(column % 26).unwrap_or(0)));
        column /= 26;
    }
    out.iter().rev().collect()
}

/// What is wrong in a file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub at: Place,
    /// What, and what to do.
    pub what: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.at.sheet.is_empty() {
            f.write_str(&self.what)
        } else {
            write!(f, "{}：{}", self.at, self.what)
        }
    }
}

/// A clock time, `08:05` or `8:05:00`.
#[must_use]
pub fn clock_time(text: &str) -> Option<Time> {
    let text = fold::text(text);
    ["%H:%M", "%H:%M:%S"].iter().find_map(|form| Time::strptime(form, &text).ok())
}

/// Reads bells as they are typed: a period a line, `第1节 08:00-08:40`.
///
/// # Errors
/// A sentence for each line that cannot be read.
pub fn bells(text: &str) -> Result<Vec<Period>, Vec<String>> {
    let (mut periods, mut faults) = (Vec::new(), Vec::new());
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let folded = fold::spaced(line);
        let read = || {
            let (name, times) = folded.rsplit_once(' ')?;
            let (start, end) = times.split_once(['-', '–', '~'])?;
            let name = name.trim();
            (!name.is_empty() && name.chars().count() <= 20).then_some(())?;
            Some(Period { name: name.to_owned(), start: clock_time(start)?, end: clock_time(end)? })
        };
        match read() {
            Some(period) => periods.push(period),
            None => {
                faults.push(format!("第 {} 行“{}”不是“第1节 08:00-08:40”这样的节次。", n + 1, line.trim()));
            }
        }
    }
    faults.extend(bells_fault(&periods));
    if faults.is_empty() { Ok(periods) } else { Err(faults) }
}

/// What is wrong with bells, if anything.
#[must_use]
pub fn bells_fault(periods: &[Period]) -> Option<String> {
    for (n, period) in periods.iter().enumerate() {
        if period.end <= period.start {
            return Some(format!("{}的下课时间不在上课时间之后。", period.name));
        }
        if n > 0 && period.start < periods[n - 1].end {
            return Some(format!("{}在{}下课之前就开始了。", period.name, periods[n - 1].name));
        }
        if periods[..n].iter().any(|p| fold::text(&p.name) == fold::text(&period.name)) {
            return Some(format!("{}出现了两次。", period.name));
        }
    }
    None
}
