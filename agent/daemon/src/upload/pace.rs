//! Lets bytes go at a rate, over all parts together, and counts what went.
//!
//! Two limits, the smaller holds: the rules' (see [`crate::model::schedule`]) and good manners' (see
//! [`super::manners`]). Pieces are small enough that a slow line's queue stays short between them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lectern_base::clock;
use tokio::sync::Notify;

/// A piece takes about this long at the rate.
const PIECE: Duration = Duration::from_millis(4);
/// Smallest piece, bytes: a few packets.
const LEAST: u64 = 4096;
/// Largest piece, bytes.
const MOST: u64 = 128 * 1024;
/// What was not used for this long is lost.
const CATCH_UP: Duration = Duration::from_millis(10);

/// The two limits, bytes a second.
#[derive(Debug, Default, Clone, Copy)]
struct Limits {
    rules: Option<u64>,
    manners: Option<u64>,
}

impl Limits {
    fn rate(self) -> Option<u64> {
        [self.rules, self.manners].into_iter().flatten().min().map(|rate| rate.max(1000))
    }
}

/// See the module's header.
#[derive(Debug, Default)]
pub struct Pace {
    /// The limits, and when the next piece may go, on the monotonic clock.
    bucket: Mutex<(Limits, Duration)>,
    moved: AtomicU64,
    under_way: AtomicUsize,
    begun: Notify,
}

/// A part that is under way, while it lives.
pub struct UnderWay<'p>(&'p Pace);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pace {
    fn bucket(&self) -> std::sync::MutexGuard<'_, (Limits, Duration)> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the rules allow, bytes a second.
    pub fn set_rules(&self, rate: Option<u64>) {
        self.bucket().0.rules = rate;
    }

    /// What good manners allow, bytes a second.
    pub fn set_manners(&self, rate: Option<u64>) {
        self.bucket().0.manners = rate;
    }

    /// Bytes to let go at once.
    pub fn piece(&self) -> usize {
        let rate = self.bucket().0.rate();
        let bytes = rate.map_or(MOST, |rate| rate * u64::try_from(PIECE.as_millis()).unwrap_or(1) / 1000);
        usize::try_from(bytes.clamp(LEAST, MOST)).unwrap_or(usize::MAX)
    }

    /// Waits until so many bytes may go, and counts them.
    pub async fn leave(&self, bytes: usize) {
        let bytes = bytes as u64;
        let wait = self.book(clock::mono(), bytes);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How long a piece waits.
    fn book(&self, now: Duration, bytes: u64) -> Duration {
        let mut bucket = self.bucket();
        let Some(rate) = bucket.0.rate() else { return Duration::ZERO };
        let start = bucket.1.max(now.saturating_sub(CATCH_UP));
        bucket.1 = start + Duration::from_secs_f64(bytes as f64 / rate as f64);
        start.saturating_sub(now)
    }

    /// Bytes that went in all.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Counts a part in until the answer is dropped.
    pub fn under_way(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.begun.notify_one();
        UnderWay(self)
    }

    /// Comes back when a part is under way.
    pub async fn begins(&self) {
        while !self.is_busy() {
            self.begun.notified().await;
        }
    }

    /// Whether any part is under way.
    pub fn is_busy(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_all_parts_follow_each_other_at_the_smaller_rate() {
        let pace = Pace::default();
        pace.set_rules(Some(2_000_000));
        pace.set_manners(Some(1_000_000));
        assert_eq!(pace.piece(), LEAST as usize);
        let now = Duration::from_secs(100);
        let waits: Vec<_> = (0..100).map(|_| pace.book(now, 10_000)).collect();
        assert_eq!(waits[0], Duration::ZERO);
        assert_eq!(waits[99], Duration::from_millis(980), "a second's bytes, less what may be caught up");
        pace.set_manners(None);
        let more = pace.book(now, 10_000);
        assert_eq!(more, Duration::from_millis(990), "what is booked stays booked");
        pace.set_rules(None);
        assert_eq!(pace.book(now, 10_000), Duration::ZERO);
        assert_eq!(pace.piece(), MOST as usize);
    }

    #[test]
    fn what_was_not_used_is_not_saved_up() {
        let pace = Pace::default();
        pace.set_rules(Some(1_000_000));
        assert_eq!(pace.book(Duration::from_secs(100), 1_000_000), Duration::ZERO);
        assert_eq!(pace.book(Duration::from_secs(200), 1_000_000), Duration::ZERO);
        assert_eq!(pace.book(Duration::from_secs(200), 1), Duration::from_millis(990));
    }
}
