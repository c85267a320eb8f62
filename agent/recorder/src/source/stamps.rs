//! When a block of sound was captured, by the monotonic clock.
//!
//! PulseAudio computes a block's age from stamps of the wall clock that client and server exchange, through a
//! filter that remembers: after a step of the wall clock it may be wrong for seconds, and sound placed by it
//! would be lost. So while the filter finds the new time, blocks follow each other.

use std::time::Duration;

use crate::av::RATE;

/// The wall clock and the monotonic one are read a moment apart; more than this is a step. 50 ms.
const STEP_US: i64 = 50_000;
/// How long the filter is left to find the new time.
const RELEARN: Duration = Duration::from_secs(10);
/// No block is older than this.
const OLDEST: Duration = Duration::from_secs(2);

/// The stamps of one open device.
#[derive(Debug, Default)]
pub struct Stamps {
    /// The wall clock less the monotonic one at the last block, microseconds.
    offset_us: Option<i64>,
    /// Where the next block begins when nothing is missing.
    next: Duration,
    /// The filter is not believed before this.
    distrusted_until: Duration,
}

impl Stamps {
    /// Monotonic time of a block's first frame. `age` is what the server says of it, `now` and `wall_us` are this
    /// instant.
    pub fn stamp(&mut self, now: Duration, wall_us: i64, age: Duration, frames: usize) -> Duration {
        let offset_us = wall_us - i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
        let before = self.offset_us.replace(offset_us).unwrap_or(offset_us);
        if offset_us.abs_diff(before) > STEP_US.unsigned_abs() {
            let step_ms = (offset_us - before) / 1000;
            tracing::warn!(step_ms, "the wall clock was stepped; the sound goes on where it was");
            self.distrusted_until = now + RELEARN;
        }
        let at = if now < self.distrusted_until {
            self.next.clamp(now.saturating_sub(OLDEST), now)
        } else {
            now.saturating_sub(age.min(OLDEST))
        };
        self.next = at + Duration::from_micros(frames as u64 * 1_000_000 / u64::from(RATE));
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20 ms blocks, 30 ms old when they are read, while the wall clock steps; `filter` is what the server's
    /// answer is off by, so many blocks after the step. Gives the greatest error of a stamp.
    fn worst_error(step_us: i64, filter: impl Fn(i64) -> i64) -> Duration {
        let mut stamps = Stamps::default();
        let mut worst = Duration::ZERO;
        for n in 0..2000u64 {
            let captured = Duration::from_millis(5000 + 20 * n);
            let now = captured + Duration::from_millis(30);
            let since = i64::try_from(n).expect("small") - 200;
            let stepped_us = if since < 0 { 0 } else { step_us };
            let wall_us = 1_790_000_000_000_000 + i64::try_from(now.as_micros()).expect("small") + stepped_us;
            let age_us = 30_000 - if since < 0 { 0 } else { filter(since) };
            let age = Duration::from_micros(u64::try_from(age_us).unwrap_or(0));
            worst = worst.max(stamps.stamp(now, wall_us, age, 960).abs_diff(captured));
        }
        worst
    }

    #[test]
    fn a_step_of_the_wall_clock_moves_no_sound() {
        for step_us in [3_600_000_000, -3_600_000_000, -430_000_000_000_000, 60_000] {
            // The filter's error dies out by a seventh a block, and overshoots.
            let filter =
                |n: i64| (step_us as f64 * (-0.139 * n as f64).exp() * (0.139 * n as f64).cos()) as i64;
            let worst = worst_error(step_us, |n| -filter(n));
            assert!(worst < Duration::from_millis(1), "a step of {step_us} us moved the sound by {worst:?}");
        }
    }

    #[test]
    fn without_a_step_the_device_is_believed() {
        assert!(worst_error(0, |_| 0) < Duration::from_millis(1));
        assert_eq!(worst_error(0, |_| -700_000), Duration::from_millis(700), "a late block is late");
        assert_eq!(Stamps::default().stamp(OLDEST * 9, 0, OLDEST * 50, 960), OLDEST * 8);
    }
}
