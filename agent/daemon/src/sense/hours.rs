//! Hours the machine was on, across boots and mains cuts, and the newest time that was known to be right.
//!
//! Both are kept every few minutes: a cut at the wall takes at most that much of the hours. A clock that wakes up before
//! the newest known time is wrong for certain.

use std::time::Duration;

use lectern_base::clock;

use crate::store::Store;

/// How much a cut at the wall may take.
const KEEP_EVERY: Duration = Duration::from_secs(5 * 60);
/// The facts.
const POWER_ON: &str = "power_on";
/// See [`POWER_ON`].
const CLOCK_FLOOR: &str = "clock_floor_ms";

/// The hours.
pub struct Hours {
    sum: Sum,
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
        Self { sum, kept: Duration::ZERO }
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
}
