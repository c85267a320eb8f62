//! Hours the machine was on, in all and today, across boots and mains cuts, and the newest time that was known to be right.
//!
//! All are kept every few minutes: a cut at the wall takes at most that much of the hours. A clock that wakes up before
//! the newest known time is wrong for certain.

use std::time::Duration;

use jiff::civil::Date;
use lectern_base::clock;

use crate::store::{CLOCK_FLOOR, Store};

/// How much a cut at the wall may take.
const KEEP_EVERY: Duration = Duration::from_secs(5 * 60);
/// The facts.
const POWER_ON: &str = "power_on";
/// See [`POWER_ON`].
const POWER_TODAY: &str = "power_today";

/// The hours.
pub struct Hours {
    sum: Sum,
    today: Option<Today>,
    kept: Duration,
}

/// Whole boots before, and this one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Sum {
    boot: String,
    boots: u64,
    /// Seconds of the boots before this one.
    before_s: u64,
    /// Seconds of this one.
    up_s: u64,
}

impl Sum {
    /// What was kept, carried on into this boot.
    fn carried_on(kept: &str, boot: &str, up_s: u64) -> Self {
        let words: Vec<&str> = kept.split(' ').collect();
        let number = |n: usize| words.get(n).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        let old = Self {
            boot: words.first().copied().unwrap_or_default().to_owned(),
            boots: number(1),
            before_s: number(2),
            up_s: number(3),
        };
        if old.boot == boot {
            return Self { up_s, ..old };
        }
        Self { boot: boot.to_owned(), boots: old.boots + 1, before_s: old.before_s + old.up_s, up_s }
    }

    fn text(&self) -> String {
        format!("{} {} {} {}", self.boot, self.boots, self.before_s, self.up_s)
    }
}

/// One day's part of the sum: what the machine was on in all when the day began, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Today {
    date: Date,
    /// Seconds in all before this day.
    before_s: u64,
}

impl Today {
    /// The day that a moment belongs to. `since_midnight_s`: how long the day lasts already; `up_s`: this boot;
    /// `total_s`: all boots with it.
    fn of(known: Option<Self>, date: Date, since_midnight_s: u64, up_s: u64, total_s: u64) -> Self {
        match known {
            // A clock that was set back or forth begins the day anew; what is more than the day has so far is not of it.
            Some(today)
                if today.date == date && total_s.saturating_sub(today.before_s) <= since_midnight_s =>
            {
                today
            }
            _ => Self { date, before_s: total_s.saturating_sub(up_s.min(since_midnight_s)) },
        }
    }

    fn read(text: &str) -> Option<Self> {
        let (date, before_s) = text.split_once(' ')?;
        Some(Self { date: date.parse().ok()?, before_s: before_s.parse().ok()? })
    }
}

impl Hours {
    /// Carries on from what was kept.
    #[must_use]
    pub fn open(store: &Store) -> Self {
        let fact = |key| {
            store.fact(key).unwrap_or_else(|e| {
                tracing::error!("{key} cannot be read: {e}");
                None
            })
        };
        if let Some(floor) = fact(CLOCK_FLOOR).and_then(|ms| ms.parse().ok()) {
            clock::raise_floor(floor);
        }
        let kept = fact(POWER_ON).unwrap_or_default();
        let sum = Sum::carried_on(&kept, &clock::boot_id(), clock::boot().as_secs());
        let today = fact(POWER_TODAY).as_deref().and_then(Today::read);
        Self { sum, today, kept: Duration::ZERO }
    }

    /// Seconds the machine was on today; none while the clock cannot be believed.
    #[must_use]
    pub fn today_s(&mut self) -> Option<f64> {
        if !clock::plausible() {
            return None;
        }
        let now = clock::local(clock::wall_ms());
        let midnight = now.start_of_day().ok()?;
        let since = now.timestamp().as_second() - midnight.timestamp().as_second();
        let (up, total) = (clock::boot().as_secs(), self.sum.before_s + clock::boot().as_secs());
        let today = Today::of(self.today, now.date(), u64::try_from(since).unwrap_or(0), up, total);
        self.today = Some(today);
        Some(total.saturating_sub(today.before_s) as f64)
    }

    /// Seconds the machine was on since Lectern came to it.
    #[must_use]
    pub fn total_s(&self) -> f64 {
        (self.sum.before_s + clock::boot().as_secs()) as f64
    }

    /// Boots since Lectern came to it.
    #[must_use]
    pub fn boots(&self) -> f64 {
        self.sum.boots as f64
    }

    /// As [`Hours::keep`], every few minutes.
    pub fn keep_if_due(&mut self, store: &Store) {
        if self.kept.is_zero() || clock::mono().saturating_sub(self.kept) >= KEEP_EVERY {
            self.keep(store);
        }
    }

    /// Keeps the hours, and the time when it is known to be right.
    pub fn keep(&mut self, store: &Store) {
        self.kept = clock::mono();
        self.sum.up_s = clock::boot().as_secs();
        let mut outcome = store.set_fact(POWER_ON, &self.sum.text());
        if let Some(Today { date, before_s }) = self.today {
            outcome = outcome.and_then(|()| store.set_fact(POWER_TODAY, &format!("{date} {before_s}")));
        }
        // Only a time that somebody vouches for: one wrong year ahead would spoil every year to come.
        let ahead = store.line().hub_ahead_ms();
        if clock::trusted() || ahead.is_some_and(|ms| ms.abs() < 2000) {
            clock::raise_floor(clock::wall_ms());
            outcome = outcome.and_then(|()| store.set_fact(CLOCK_FLOOR, &clock::wall_ms().to_string()));
        }
        if let Err(e) = outcome {
            tracing::error!("the hours the machine was on could not be kept: {e}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_go_on_across_boots_and_restarts_of_the_daemon() {
        let first = Sum::carried_on("", "a", 100);
        assert_eq!((first.boots, first.before_s), (1, 0));
        let restarted = Sum::carried_on(&Sum { up_s: 160, ..first }.text(), "a", 200);
        assert_eq!((restarted.boots, restarted.before_s), (1, 0), "the same boot is counted once");
        let cut = Sum::carried_on(&restarted.text(), "b", 30);
        assert_eq!((cut.boots, cut.before_s, cut.up_s), (2, 200, 30));
        assert_eq!(Sum::carried_on("rubbish", "c", 5).boots, 1, "what cannot be read begins anew");
    }

    #[test]
    fn today_is_what_the_machine_was_on_since_midnight_whatever_boots_and_cuts_there_were() {
        let day = |d: i8| Date::constant(2026, 9, d);
        let of = |today, d, since, up, total| Today::of(today, day(d), since, up, total);
        // Eight o'clock, on since seven, after 1000 hours in all.
        let today = of(None, 14, 8 * 3600, 3600, 3_603_600);
        assert_eq!(3_603_600 - today.before_s, 3600);
        // Cut at nine, on again at ten: two hours, then and after the daemon was restarted.
        let today = of(Some(today), 14, 11 * 3600, 3600, 3_610_800);
        assert_eq!(3_610_800 - today.before_s, 3 * 3600);
        assert_eq!(Today::read(&format!("{} {}", today.date, today.before_s)), Some(today));
        // Past midnight without being switched off: only the new day's part.
        let next = of(Some(today), 15, 600, 40_000, 3_650_000);
        assert_eq!(3_650_000 - next.before_s, 600);
        // A clock that was a day wrong cannot give a day more hours than it has so far.
        let back = of(Some(Today { date: day(15), before_s: 0 }), 15, 600, 40_000, 3_650_000);
        assert_eq!(3_650_000 - back.before_s, 600);
        assert_eq!(Today::read("rubbish"), None);
    }
}
