//! How the line to the hub is, lately: told by whoever speaks with the hub, read by the measurements.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use lectern_base::clock;

/// Stands for "not known".
const UNKNOWN: i64 = i64::MIN;

/// The line; every field stands for itself, so atomics do.
#[derive(Debug)]
pub struct Line {
    /// Microseconds from a message to its acknowledgement, the least of the last few; 0 is not known.
    round_trip_us: AtomicU64,
    /// Connections that were lost since start.
    lost: AtomicU32,
    /// What the hub's clock said when ours since boot was zero, Unix milliseconds. Held against the time since boot, which
    /// never jumps: when somebody sets our wall clock right, how far the hub is ahead of it is right at once.
    hub_at_boot_ms: AtomicI64,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            round_trip_us: AtomicU64::new(0),
            lost: AtomicU32::new(0),
            hub_at_boot_ms: AtomicI64::new(UNKNOWN),
        }
    }
}

impl Line {
    /// Takes in how long an acknowledgement took; the shortest since the last [`Line::round_trip_ms`] counts, the
    /// rest is the broker being busy.
    pub fn heard_after(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let keep = |known: u64| (known == 0 || us < known).then_some(us);
        // A value that somebody shorter beat meanwhile is not needed.
        let _kept = self.round_trip_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, keep);
    }

    /// The shortest round trip since this was asked last, milliseconds.
    #[must_use]
    pub fn round_trip_ms(&self) -> Option<f64> {
        let us = self.round_trip_us.swap(0, Ordering::Relaxed);
        (us > 0).then(|| us as f64 / 1000.0)
    }

    /// Notes that a connection was lost.
    pub fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections lost since start.
    #[must_use]
    pub fn losses(&self) -> u32 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Takes in the hub's time, Unix milliseconds, as it was told between two moments of ours since boot.
    pub fn hub_told(&self, hub_ms: i64, asked: Duration, heard: Duration) {
        let ours = millis(asked).midpoint(millis(heard));
        self.hub_at_boot_ms.store(hub_ms.saturating_sub(ours), Ordering::Relaxed);
    }

    /// How far the hub's clock is ahead of ours, milliseconds; to half a second, as HTTP tells whole seconds.
    #[must_use]
    pub fn hub_ahead_ms(&self) -> Option<i64> {
        self.hub_ahead_of(clock::boot(), clock::wall_ms())
    }

    fn hub_ahead_of(&self, boot: Duration, wall_ms: i64) -> Option<i64> {
        let known = Some(self.hub_at_boot_ms.load(Ordering::Relaxed)).filter(|ms| *ms != UNKNOWN)?;
        Some(known.saturating_add(millis(boot)).saturating_sub(wall_ms))
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_round_trip_counts_once() {
        let line = Line::default();
        assert_eq!(line.round_trip_ms(), None, "missing is missing, never zero");
        for ms in [9, 4, 30] {
            line.heard_after(Duration::from_millis(ms));
        }
        assert_eq!(line.round_trip_ms(), Some(4.0));
        assert_eq!(line.round_trip_ms(), None);
    }

    #[test]
    fn the_hubs_clock_is_held_against_the_middle_of_question_and_answer() {
        let line = Line::default();
        assert_eq!(line.hub_ahead_ms(), None);
        let boot = Duration::from_millis;
        line.hub_told(10_000, boot(400), boot(600));
        assert_eq!(line.hub_ahead_of(boot(500), 5000), Some(5000));
        assert_eq!(line.hub_ahead_of(boot(90_500), 95_000), Some(5000), "as time goes by");
        assert_eq!(line.hub_ahead_of(boot(90_500), 100_000), Some(0), "and once ours was set right");
    }
}
