//! The take's clock: ticks, positions of sound and milliseconds, all from one monotonic start.
//!
//! Tick `n` stands for the instant `start + n / fps`. A pause moves the start on by its length, so that the take's
//! time goes on exactly where it stood.

use std::time::Duration;

use crate::av::RATE;

/// The take's clock.
#[derive(Debug, Clone, Copy)]
pub struct Ticks {
    fps: u32,
    start: Duration,
    /// Tick of the take's time 0: not 0 when something was kept before the press.
    origin: i64,
}

impl Ticks {
    /// A clock of so many ticks a second whose tick 0 is at `start`, monotonic.
    pub fn new(fps: u32, start: Duration) -> Self {
        Self { fps, start, origin: 0 }
    }

    /// Ticks a second.
    pub fn per_second(&self) -> i64 {
        i64::from(self.fps)
    }

    /// Monotonic instant of the take's time 0, moved on by every pause.
    pub fn start(&self) -> Duration {
        self.instant(self.origin)
    }

    /// The take's time 0 is at this tick.
    pub fn set_origin(&mut self, tick: i64) {
        self.origin = tick;
    }

    /// Ticks since the take's time 0.
    pub fn taken(&self, tick: i64) -> i64 {
        tick - self.origin
    }

    /// Monotonic instant of a tick.
    pub fn instant(&self, tick: i64) -> Duration {
        self.start + Duration::from_micros(u64::try_from(tick).unwrap_or(0) * 1_000_000 / u64::from(self.fps))
    }

    /// How many whole ticks lie between two instants.
    pub fn between(&self, from: Duration, to: Duration) -> i64 {
        let micros = i64::try_from(to.saturating_sub(from).as_micros()).unwrap_or(0);
        micros * self.per_second() / 1_000_000
    }

    /// The first tick on a whole second after this one.
    pub fn next_second(&self, tick: i64) -> i64 {
        (tick / self.per_second() + 1) * self.per_second()
    }

    /// Where a tick is in the take.
    pub fn ms(&self, tick: i64) -> u64 {
        u64::try_from((tick - self.origin) * 1000 / self.per_second()).unwrap_or(0)
    }

    /// Frames of sound before a monotonic instant; negative before the start.
    pub fn position(&self, at: Duration) -> i64 {
        let delta = at.as_micros() as i128 - self.start.as_micros() as i128;
        i64::try_from(delta * i128::from(RATE) / 1_000_000).unwrap_or(0)
    }

    /// Frames of sound before a tick.
    pub fn sound(&self, tick: i64) -> i64 {
        tick * i64::from(RATE) / self.per_second()
    }

    /// Where a tick is in the clock's own time, which may have begun before the take's.
    pub fn clock_ms(&self, tick: i64) -> u64 {
        u64::try_from(tick * 1000 / self.per_second()).unwrap_or(0)
    }

    /// Where a frame of sound is in the take.
    pub fn sound_ms(&self, position: i64) -> u64 {
        u64::try_from((position - self.sound(self.origin)) * 1000 / i64::from(RATE)).unwrap_or(0)
    }

    /// From now on `tick` is at `now`.
    pub fn resume(&mut self, tick: i64, now: Duration) {
        self.start += now.saturating_sub(self.instant(tick));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_no_time_of_the_take() {
        let mut ticks = Ticks::new(25, Duration::from_secs(100));
        assert_eq!(ticks.instant(50), Duration::from_secs(102));
        ticks.resume(50, Duration::from_secs(300));
        assert_eq!(ticks.instant(75), Duration::from_secs(301));
        assert_eq!(ticks.position(Duration::from_secs(301)), 3 * i64::from(RATE));
        assert_eq!((ticks.ms(75), ticks.sound(75), ticks.next_second(75)), (3000, 144_000, 100));
        ticks.set_origin(50);
        assert_eq!((ticks.ms(75), ticks.sound_ms(144_000)), (1000, 1000));
        assert_eq!(ticks.start(), Duration::from_secs(300));
        assert_eq!(ticks.between(Duration::from_millis(0), Duration::from_millis(119)), 2);
    }
}
