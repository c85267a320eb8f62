//! How many pictures a second the machine can bear: fewer when it falls behind, all again after a calm while.
//!
//! ```text
//! all (25) ──3 of 4 s bad──▶ 15 ──3 of 4 s bad──▶ 10
//!          ◀──calm for 10 s──    ◀──calm for 10 s──
//! ```
//!
//! A second is bad when a tenth of its pictures had to be left out, calm when at most one was and the next higher pace
//! would leave a fifth of the time to spare. A step up that does not last a minute doubles the calm that the next
//! one needs. Only pictures are made fewer, evenly, on the same clock; sound is never touched.

use std::time::Duration;

/// The slower paces, pictures a second.
const SLOWER: [u32; 2] = [15, 10];
/// Bad seconds of the last [`WINDOW`] that make it slower.
const BAD: u32 = 3;
/// See [`BAD`].
const WINDOW: u32 = 4;
/// Calm seconds in a row that make it faster.
const CALM: u32 = 10;
/// Most calm that is ever asked for.
const MOST_CALM: u32 = 160;
/// A step up that lasted this long was right.
const LASTED: u32 = 60;

/// Whether tick `n` has a picture when `pace` of the clock's `of` ticks a second have.
pub fn kept(n: i64, of: u32, pace: u32) -> bool {
    let (of, pace) = (i64::from(of.max(1)), i64::from(pace));
    (n * pace).div_euclid(of) != ((n - 1) * pace).div_euclid(of)
}

/// Watches how the work goes and decides.
#[derive(Debug)]
pub struct Pace {
    steps: Vec<u32>,
    at: usize,
    /// Start of the second being watched.
    since: Option<Duration>,
    left_out: i64,
    busy: Duration,
    /// The last seconds, newest in the lowest bit; bad is 1.
    seconds: u32,
    calm: u32,
    calm_wanted: u32,
    since_up: u32,
}

impl Pace {
    /// Begins with all that the settings ask for.
    pub fn new(fps: u32) -> Self {
        let steps = std::iter::once(fps).chain(SLOWER.into_iter().filter(|slower| *slower < fps)).collect();
        Self {
            steps,
            at: 0,
            since: None,
            left_out: 0,
            busy: Duration::ZERO,
            seconds: 0,
            calm: 0,
            calm_wanted: CALM,
            since_up: LASTED,
        }
    }

    fn all(&self) -> u32 {
        self.steps.first().copied().unwrap_or(1)
    }

    /// Pictures a second now.
    pub fn fps(&self) -> u32 {
        self.steps.get(self.at).copied().unwrap_or(1)
    }

    /// Whether that is all that the settings ask for.
    pub fn full(&self) -> bool {
        self.at == 0
    }

    /// The next tick with a picture, this one or later.
    pub fn next(&self, mut tick: i64) -> i64 {
        while !kept(tick, self.all(), self.fps()) {
            tick += 1;
        }
        tick
    }

    /// Begins a new second: the take stood still.
    pub fn rest(&mut self) {
        (self.since, self.left_out, self.busy) = (None, 0, Duration::ZERO);
    }

    /// A picture took `busy` to make, and `left_out` ticks before it were left out; whether the pace changes.
    pub fn worked(&mut self, now: Duration, left_out: i64, busy: Duration) -> bool {
        self.left_out += left_out;
        self.busy += busy;
        let second = now.saturating_sub(*self.since.get_or_insert(now));
        if second < Duration::from_secs(1) {
            return false;
        }
        let part = self.busy.as_secs_f64() / second.as_secs_f64();
        let bad = self.left_out * 10 >= i64::from(self.all());
        let faster = self.at.checked_sub(1).and_then(|at| self.steps.get(at)).copied();
        // One late picture in a second is no trouble.
        let calm = self.left_out <= 1
            && faster.is_none_or(|faster| part * f64::from(faster) / f64::from(self.fps()) < 0.8);
        (self.since, self.left_out, self.busy) = (Some(now), 0, Duration::ZERO);
        self.judge(bad, calm)
    }

    /// One second was bad, calm or neither.
    fn judge(&mut self, bad: bool, calm: bool) -> bool {
        self.seconds = (self.seconds << 1 | u32::from(bad)) & ((1 << WINDOW) - 1);
        self.calm = if calm { self.calm + 1 } else { 0 };
        self.since_up = (self.since_up + 1).min(LASTED);
        if self.seconds.count_ones() >= BAD && self.at + 1 < self.steps.len() {
            let in_vain = self.since_up < LASTED;
            self.calm_wanted = if in_vain { (self.calm_wanted * 2).min(MOST_CALM) } else { CALM };
            self.at += 1;
        } else if self.at > 0 && self.calm >= self.calm_wanted {
            self.at -= 1;
            self.since_up = 0;
        } else {
            return false;
        }
        (self.seconds, self.calm) = (0, 0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until the pace changes, at most 1000.
    fn until_change(pace: &mut Pace, bad: bool) -> u32 {
        (1..=1000).find(|_| pace.judge(bad, !bad)).unwrap_or(1000)
    }

    #[test]
    fn pictures_are_left_out_evenly_and_whole_seconds_keep_theirs() {
        for pace in [25, 15, 10] {
            let ticks: Vec<_> = (0..100).filter(|n| kept(*n, 25, pace)).collect();
            assert_eq!(ticks.len(), pace as usize * 4);
            assert!([0, 25, 50, 75].iter().all(|second| ticks.contains(second)), "{pace}: {ticks:?}");
            assert!(ticks.windows(2).all(|w| w[1] - w[0] <= 3), "{pace}: {ticks:?}");
        }
    }

    #[test]
    fn three_bad_seconds_make_it_slower_and_ten_calm_ones_faster() {
        let mut pace = Pace::new(25);
        assert_eq!((until_change(&mut pace, true), pace.fps()), (3, 15));
        assert_eq!((until_change(&mut pace, true), pace.fps()), (3, 10));
        assert_eq!(until_change(&mut pace, true), 1000, "there is nothing slower");
        assert_eq!((until_change(&mut pace, false), pace.fps()), (10, 15));
        assert_eq!((until_change(&mut pace, false), pace.fps()), (10, 25));
        assert!(pace.full());
    }

    #[test]
    fn a_step_up_in_vain_makes_the_next_one_wait_longer() {
        let mut pace = Pace::new(25);
        let mut waits = Vec::new();
        for _ in 0..6 {
            until_change(&mut pace, true);
            waits.push(until_change(&mut pace, false));
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 160]);
    }

    #[test]
    fn a_second_is_judged_by_its_own_pictures() {
        let mut pace = Pace::new(25);
        let mut now = Duration::from_secs(5);
        let mut changes = 0;
        // Every picture takes 60 ms: a third is left out.
        for _ in 0..80 {
            now += Duration::from_millis(60);
            changes += u32::from(pace.worked(now, 1, Duration::from_millis(60)));
        }
        assert_eq!((changes, pace.fps()), (1, 15));
        // Now they fit, but at 25 they would take all the time: no step up.
        for _ in 0..600 {
            now += Duration::from_millis(66);
            assert!(!pace.worked(now, 0, Duration::from_millis(40)));
        }
    }
}
