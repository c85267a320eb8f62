//! Tells the screen's thread when to capture, so that pictures are taken on the ticks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lectern_base::clock;

/// Tells the screen's thread when to capture, so that pictures are taken on the ticks.
pub struct Metronome {
    start_us: AtomicU64,
    step_us: u64,
}

impl Metronome {
    /// One that does not beat yet.
    pub fn new(fps: u32) -> Self {
        Self { start_us: AtomicU64::new(0), step_us: 1_000_000 / u64::from(fps) }
    }

    /// Beats from here on, once a tick.
    pub fn set(&self, start: Duration) {
        self.start_us.store(micros(start), Ordering::Relaxed);
    }

    /// Sleeps until the next tick.
    pub fn wait_for_next(&self) {
        let start = self.start_us.load(Ordering::Relaxed);
        if start == 0 {
            return;
        }
        let now = micros(clock::mono());
        let into = now.saturating_sub(start) % self.step_us;
        std::thread::sleep(Duration::from_micros(self.step_us - into));
    }
}

fn micros(t: Duration) -> u64 {
    u64::try_from(t.as_micros()).unwrap_or(u64::MAX)
}
