//! 保留期限: how long the hub keeps a lesson's bytes, by what became of the lesson. Off unless set.
//!
//! A draft (草稿: stored, put forward for nothing) is kept for so many days; a lesson that was put forward until
//! the school year it was stored in has ended, and so many days more for appeals. Days count from when the hub
//! stored it, by the hub's clock. Rows, hash, receipt and log stay for good.

use jiff::civil::Date;

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Days a draft is kept; `None` for good.
    pub draft_days: Option<u32>,
    /// Days a lesson that was put forward is kept after the end of its school year; `None` for good.
    pub submitted_days: Option<u32>,
    /// Month and day the school year ends with.
    pub year_ends: (i8, i8),
}

impl Retention {
    /// Whether anything is ever removed.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.draft_days.is_some() || self.submitted_days.is_some()
    }

    /// Why a lesson's bytes are due for removal, as the record has it; nothing while they are kept.
    #[must_use]
    pub fn due(&self, stored: Date, submitted: bool, today: Date) -> Option<String> {
        let (from, days) = if submitted {
            (self.year_end(stored)?, self.submitted_days?)
        } else {
            (stored, self.draft_days?)
        };
        let last = from.checked_add(jiff::Span::new().days(i64::from(days))).ok()?;
        (today > last).then(|| match submitted {
            true => format!("submitted, school year ended {from}, {days} days for appeals"),
            false => format!("draft, stored {from}, kept {days} days"),
        })
    }

    /// The first day of the school year a day lies in.
    #[must_use]
    pub fn year_begin(&self, day: Date) -> Option<Date> {
        let last = self.year_end(day)?;
        last.checked_sub(jiff::Span::new().years(1)).and_then(|before| before.tomorrow()).ok()
    }

    /// The last day of the school year a day lies in.
    fn year_end(&self, day: Date) -> Option<Date> {
        let (month, last) = self.year_ends;
        let this = Date::new(day.year(), month, last).ok()?;
        if day <= this { Some(this) } else { Date::new(day.year() + 1, month, last).ok() }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const RULES: Retention = Retention { draft_days: Some(30), submitted_days: Some(60), year_ends: (8, 31) };

    #[test]
    fn a_draft_goes_after_its_days_and_a_submitted_lesson_after_its_school_year_and_appeal() {
        let stored = date(2026, 9, 12);
        assert_eq!(RULES.due(stored, false, date(2026, 10, 12)), None);
        assert!(RULES.due(stored, false, date(2026, 10, 13)).is_some());
        // Stored in autumn: the year ends the next August.
        assert_eq!(RULES.due(stored, true, date(2027, 10, 30)), None);
        assert!(RULES.due(stored, true, date(2027, 10, 31)).is_some());
        assert!(RULES.due(date(2026, 8, 31), true, date(2026, 10, 31)).is_some());
    }

    #[test]
    fn what_is_not_set_is_kept_for_good() {
        let off = Retention { draft_days: None, submitted_days: None, ..RULES };
        assert!(!off.is_on());
        assert_eq!(off.due(date(2026, 9, 12), false, date(2126, 1, 1)), None);
        let drafts = Retention { submitted_days: None, ..RULES };
        assert_eq!(drafts.due(date(2026, 9, 12), true, date(2126, 1, 1)), None);
    }
}
