//! 指标 of a school and a month: each a share with its numerator, its denominator, and what was left out and why.
//!
//! What is not known is never counted as used, nor as not used: it is left out and told. No indicator names a person, and
//! none puts schools, rooms or people in an order. What cannot be computed says why.

mod compute;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use lectern_wire::alarm;
use lectern_wire::id::DeviceId;

use super::register::Entry;
use super::timetable::SchoolTable;

pub use compute::compute;

/// Alarms that say that a room's equipment is not in order.
pub const EQUIPMENT: [alarm::Code; 5] = [
    alarm::Code::Hot,
    alarm::Code::CameraNoPicture,
    alarm::Code::MicrophoneNoSound,
    alarm::Code::DisplayFault,
    alarm::Code::RecordingFailed,
];

/// Which indicator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// 覆盖率
    Coverage,
    /// 开机率
    PowerOn,
    /// 课时使用率
    PeriodsUsed,
    /// 教师使用率
    Teachers,
    /// 录播室使用率
    RecordingRooms,
    /// 课堂实录提交率
    Submitted,
    /// 设备完好率
    InOrder,
    /// 目标达成率
    Targets,
    /// 报修响应时长
    Answered,
    /// 报修修复时长
    Repaired,
}

impl Code {
    /// What people call it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Coverage => "覆盖率",
            Self::PowerOn => "开机率",
            Self::PeriodsUsed => "课时使用率",
            Self::Teachers => "教师使用率",
            Self::RecordingRooms => "录播室使用率",
            Self::Submitted => "课堂实录提交率",
            Self::InOrder => "设备完好率",
            Self::Targets => "目标达成率",
            Self::Answered => "报修响应时长",
            Self::Repaired => "报修修复时长",
        }
    }

    /// How it is computed, in a sentence.
    #[must_use]
    pub fn means(self) -> &'static str {
        match self {
            Self::Coverage => "课表里有课的教室中，已经登记并且连上过中心的。",
            Self::PowerOn => "有课的教室每天算一次，当天开过机的。",
            Self::PeriodsUsed => "课表里的课中，使用了设备的。开着机不算使用。",
            Self::Teachers => "有课的教师中，这个月至少使用过一节的。",
            Self::RecordingRooms => "录播室里有课或有记录的课时中，使用了的。",
            Self::Submitted => "这个月有课的教师中，本学年到月底已经提交过课堂实录的。",
            Self::InOrder => "教室每天算一次，当天上课时间里没有设备告警、也没有没修好的报修的。",
            Self::Targets => "设了目标的指标中，达到目标的。",
            Self::Answered => "从报修到开始处理，平均每件。",
            Self::Repaired => "从报修到修好，平均每件。",
        }
    }
}

/// What it comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// So many of so many; there is at least one to count.
    Share {
        /// Numerator.
        num: u64,
        /// Denominator, not 0.
        den: u64,
    },
    /// So long altogether over so many.
    Mean {
        /// Milliseconds.
        ms: i64,
        /// How many, not 0.
        n: u64,
    },
    /// It cannot be computed, and why.
    Cannot(String),
}

impl Value {
    /// A share in tenths of a percent, rounded down: what is not reached is not shown as reached.
    #[must_use]
    pub fn tenths(&self) -> Option<u64> {
        match self {
            Self::Share { num, den } => (num * 1000).checked_div(*den),
            Self::Mean { .. } | Self::Cannot(_) => None,
        }
    }
}

/// One indicator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indicator {
    /// Which.
    pub code: Code,
    /// What it comes to.
    pub value: Value,
    /// What was left out: how many, of what and why.
    pub left_out: Vec<(u64, String)>,
    /// What was to be reached, tenths of a percent.
    pub target: Option<u64>,
}

impl Indicator {
    /// Whether the target was reached; none without one, or where it cannot be computed.
    #[must_use]
    pub fn reached(&self) -> Option<bool> {
        let (target, Value::Share { num, den }) = (self.target?, &self.value) else { return None };
        Some(num * 1000 >= target * den)
    }
}

/// `[targets]` of the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Targets {
    /// Tenths of a percent by indicator.
    pub tenths: BTreeMap<Code, u64>,
    /// Recording rooms by name or id.
    pub recording_rooms: Vec<String>,
}

/// A registered room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Its device.
    pub device: DeviceId,
    /// Its name.
    pub name: String,
    /// Whether it was ever heard of.
    pub heard: bool,
}

/// When something was wrong with a room's equipment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The room's device.
    pub device: DeviceId,
    /// Since when, Unix milliseconds.
    pub from_ms: i64,
    /// Until when; absent while it stands.
    pub to_ms: Option<i64>,
}

/// A repair that was asked for in the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// When, Unix milliseconds.
    pub asked_ms: i64,
    /// When somebody took it up first.
    pub doing_ms: Option<i64>,
    /// When it was done; absent while it is not, also when it was taken up again.
    pub done_ms: Option<i64>,
}

/// A teacher, as a timetable or a lesson names one.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Teacher {
    /// 工号; may be empty.
    pub id: String,
    /// Name; may be empty.
    pub name: String,
}

impl Teacher {
    /// Whether both mean one person: by the 工号 where both have one, else by the name.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        if self.id.is_empty() || other.id.is_empty() {
            !self.name.is_empty() && self.name == other.name
        } else {
            self.id == other.id
        }
    }
}

/// Everything the indicators of a school and a month are made of.
#[derive(Debug, Default)]
pub struct Facts {
    /// The register of the month, as far as its bells have rung.
    pub entries: Vec<Entry>,
    /// Registered rooms.
    pub rooms: Vec<Room>,
    /// The timetable at the month's end; an empty one where there is none.
    pub table: SchoolTable,
    /// Alarms of [`EQUIPMENT`] and open repairs that reach into the month.
    pub troubles: Vec<Trouble>,
    /// Repairs asked for in the month.
    pub tickets: Vec<Ticket>,
    /// Who put a recorded lesson forward this school year, up to the month's end; an empty one where it does not say who.
    pub submitted: Vec<Teacher>,
}
