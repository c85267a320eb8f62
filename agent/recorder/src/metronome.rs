//! Tells the screen's thread when to capture, so that pictures are taken on the ticks.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use lectern_base::clock;

use crate::pace;

/// Tells the screen's thread when to capture, so that pictures are taken on the ticks.
pub struct Metronome {
    start_us: AtomicU64,
    fps: u32,
    /// How many of the ticks of a second have a picture.
    pace: AtomicU32,
}

impl Metronome {
    /// One that does not beat yet.
    pub fn new(fps: u32) -> Self {
        Self { start_us: AtomicU64::new(0), fps, pace: AtomicU32::new(fps) }
    }

    /// Beats from here on, once a tick.
    pub fn set(&self, start: Duration) {
        self.start_us.store(micros(start), Ordering::Relaxed);
    }

    /// Beats only so often a second from now on.
    pub fn slow(&self, pace: u32) {
        self.pace.store(pace, Ordering::Relaxed);
    }

    /// Sleeps until the next tick that has a picture.
    pub fn wait_for_next(&self) {
        let start = self.start_us.load(Ordering::Relaxed);
        if start == 0 {
            return;
        }
        let (into, fps) = (micros(clock::mono()).saturating_sub(start), u64::from(self.fps));
        let mut tick = into * fps / 1_000_000 + 1;
        while !pace::kept(i64::try_from(tick).unwrap_or(0), self.fps, self.pace.load(Ordering::Relaxed)) {
            tick += 1;
        }
        std::thread::sleep(Duration::from_micros((tick * 1_000_000 / fps).saturating_sub(into)));
    }
}

fn micros(t: Duration) -> u64 {
    u64::try_from(t.as_micros()).unwrap_or(u64::MAX)
}
