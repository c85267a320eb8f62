//! 确认 and 更正: what a person says of a row, at the room's page, its command line or the hub's console. One rule for all.

use jiff::civil::Date;

use super::{OPEN_DAYS, Source, Usage, Used};

/// What a person says of a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Word {
    /// Whether the period was used; none confirms the row as it is.
    pub used: Option<bool>,
    /// Minutes of use; none leaves the row's.
    pub minutes: Option<u32>,
    /// 设备情况.
    pub condition: String,
    /// 故障说明.
    pub fault: String,
    /// Who says so.
    pub by: String,
    /// Their 工号.
    pub by_id: String,
}

/// Why a word is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is too late.
    #[error("a row can be confirmed or corrected for {OPEN_DAYS} days; this one is closed")]
    Closed,
    /// What nobody knows cannot be confirmed.
    #[error("it is not known whether this period was used: say whether it was")]
    NotKnown,
    /// More minutes than the period has, which are these.
    #[error("minutes: this period has {0}")]
    Longer(u32),
    /// Something else about it, in a sentence that names the field.
    #[error("{0}")]
    Wrong(String),
}

/// The row as a person says it; the automatic one stays as it is.
///
/// # Errors
/// [`Refused`].
pub fn said(auto: &Usage, word: &Word, today: Date, now_ms: i64) -> Result<Usage, Refused> {
    if !open(auto, today) {
        return Err(Refused::Closed);
    }
    let length_s = u32::try_from((auto.planned_end_ms - auto.planned_start_ms) / 1000).unwrap_or(0);
    let mut row = Usage {
        source: Source::Confirmed,
        condition_note: word.condition.trim().to_owned(),
        fault_note: word.fault.trim().to_owned(),
        by: word.by.trim().to_owned(),
        by_id: word.by_id.trim().to_owned(),
        said_ms: now_ms,
        ..auto.clone()
    };
    match word.used {
        None if auto.used == Used::Unknown => return Err(Refused::NotKnown),
        None => {}
        Some(used) => {
            row.source = Source::Corrected;
            row.used = if used { Used::Used } else { Used::Not };
            let minutes = word.minutes.map(|minutes| minutes.saturating_mul(60));
            row.used_s = if used { minutes.unwrap_or(auto.used_s) } else { 0 };
            if row.used_s > length_s {
                return Err(Refused::Longer(length_s / 60));
            }
        }
    }
    row.check().map_err(Refused::Wrong)?;
    Ok(row)
}

/// Whether a row can still be confirmed or corrected.
#[must_use]
pub fn open(row: &Usage, today: Date) -> bool {
    let days =
        row.date.parse::<Date>().ok().and_then(|date| today.since(date).ok()).map(|span| span.get_days());
    days.is_some_and(|days| i64::from(days) < OPEN_DAYS)
}
