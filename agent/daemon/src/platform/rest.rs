//! Waits that need not be exact: they end together, so that a machine at rest is woken once for all of them.
//!
//! What stages do now and then (measure, look at the disk, ask a hub that was away once more) happens at moments they
//! share: whole [`STEP`]s since the first of them. Whatever a person waits for waits elsewhere, by a bell.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior};

/// Between two shared moments.
pub const STEP: Duration = Duration::from_secs(15);

/// The moment that the others are counted from. Each process has its own: rooms that are switched on together do not
/// speak together for the rest of the day.
fn first() -> Instant {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    *FIRST.get_or_init(Instant::now)
}

/// The number of the shared moment nearest to a time since the first.
fn nearest(since: Duration) -> u32 {
    u32::try_from((since + STEP / 2).as_secs() / STEP.as_secs()).unwrap_or(u32::MAX)
}

/// Waits about so long: to the shared moment nearest to it. Less than a [`STEP`] is waited exactly.
pub async fn about(wait: Duration) {
    if wait < STEP {
        return tokio::time::sleep(wait).await;
    }
    let moment = nearest(first().elapsed() + wait);
    tokio::time::sleep_until(first() + STEP * moment).await;
}

/// A beat, the first at once: at shared moments when it is of whole [`STEP`]s, else by itself.
#[derive(Debug)]
pub struct Beat(Kind);

#[derive(Debug)]
enum Kind {
    Shared { every: Duration, next: Option<u32> },
    Own(Interval),
}

impl Beat {
    /// A beat of this length, which is not zero.
    #[must_use]
    pub fn every(every: Duration) -> Self {
        if every.subsec_nanos() == 0 && every.as_secs().is_multiple_of(STEP.as_secs()) {
            return Self(Kind::Shared { every, next: None });
        }
        let mut own = tokio::time::interval(every);
        own.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(Kind::Own(own))
    }

    /// The next one. May be dropped while waiting; those that were missed are not made up for.
    pub async fn next(&mut self) {
        match &mut self.0 {
            Kind::Own(own) => drop(own.tick().await),
            Kind::Shared { every, next } => {
                if let Some(moment) = *next {
                    tokio::time::sleep_until(first() + STEP * moment).await;
                }
                *next = Some(nearest(first().elapsed() + *every));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_of_all_lengths_end_at_the_same_moments_and_none_at_once() {
        let s = Duration::from_secs;
        assert_eq!([0, 7, 8, 22, 23].map(|at| nearest(s(at))), [0, 0, 1, 1, 2]);
        // Whoever waits a step from any moment on waits half a step at least.
        for ms in 0..30_000 {
            let now = Duration::from_millis(ms);
            let waited = (STEP * nearest(now + STEP)).saturating_sub(now);
            assert!(
                waited > STEP / 2 - Duration::from_millis(1) && waited <= STEP * 3 / 2,
                "{ms}: {waited:?}"
            );
        }
        // A beat that wakes a little late keeps its length.
        assert_eq!(nearest(s(60) + Duration::from_millis(40) + s(30)), 6);
    }

    #[tokio::test]
    async fn the_first_beat_is_at_once() {
        for every in [STEP, STEP * 2, Duration::from_secs(1)] {
            let mut beat = Beat::every(every);
            tokio::time::timeout(Duration::from_secs(5), beat.next()).await.expect("at once");
        }
    }
}
