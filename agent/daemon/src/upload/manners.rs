//! Keeps the line usable for whoever else is on it: a bystander's round trip may grow by at most half.
//!
//! A small question goes to the other end ten times a second while parts are under way; what its answer takes
//! longer than at rest is the queue we make. While there is none we go faster, quickly up to where there was one
//! last time, slowly beyond. When there is one, how fast it grows tells how much too fast we are, and so what the
//! line can do; we go on a little below that, until the queue is gone.
//!
//! Aimed at is three tenths of the round trip at rest, so that the half is not reached while we notice. In the
//! same building (under 2 ms) there is no line to share and no limit. What the round trip is at rest is the least
//! of the last minutes, so that a changed route, or somebody else's standing queue, is not held against us for ever.

use std::time::Duration;

/// Questions are this far apart.
pub const ASK_EVERY: Duration = Duration::from_millis(100);
/// An answer that takes longer counts as this long.
pub const LOST: Duration = Duration::from_secs(1);
/// Below this round trip the other end is in the same building.
pub const SAME_BUILDING: Duration = Duration::from_millis(2);
/// The least of the round trips is taken over one to two of these.
const MEMORY: Duration = Duration::from_secs(120);
/// A queue that so many cuts in a row did not make shorter is somebody else's.
const NOT_OURS: u32 = 4;
/// Bytes a second before anything is known.
const FIRST: f64 = 500e3;
/// Never less, bytes a second: patient, not still.
const LEAST: f64 = 32e3;

/// The delay controller. Pure: told the time, the answers and what moved.
#[derive(Debug, Clone, PartialEq)]
pub struct Manners {
    /// Least round trip of this stretch of [`MEMORY`] and of the one before, and when this one began.
    least: (Option<Duration>, Option<Duration>, Duration),
    /// The last five answers.
    last: [Option<Duration>; 5],
    rate: f64,
    /// The rate at which there was a queue last; none while starting.
    ceiling: Option<f64>,
    cut: Duration,
    /// The queue before the first of several cuts in a row, seconds, and how many they were.
    row: (f64, u32),
    /// What had moved at the last answer, when that was, and how fast it went since, smoothed.
    moved: Option<(Duration, u64)>,
    used: f64,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            least: (None, None, Duration::ZERO),
            last: [None; 5],
            rate: FIRST,
            ceiling: None,
            cut: Duration::ZERO,
            row: (0.0, 0),
            moved: None,
            used: 0.0,
        }
    }
}

impl Manners {
    /// Bytes a second that may go; none when there is no limit.
    pub fn rate(&self) -> Option<u64> {
        let near = self.at_rest().is_some_and(|rtt| rtt < SAME_BUILDING);
        (!near).then_some(self.rate as u64)
    }

    /// The round trip at rest, as far as it is known.
    pub fn at_rest(&self) -> Option<Duration> {
        [self.least.0, self.least.1].into_iter().flatten().min()
    }

    /// Nothing has been under way for a while: what was asked before says nothing about now.
    pub fn rested(&mut self) {
        self.last = [None; 5];
        self.moved = None;
    }

    /// An answer came after `rtt`; `bytes` have moved in all so far.
    pub fn answered(&mut self, now: Duration, rtt: Duration, bytes: u64) {
        let rtt = rtt.min(LOST);
        if now.saturating_sub(self.least.2) > MEMORY {
            self.least = (None, self.least.0, now);
        }
        self.least.0 = Some(self.least.0.map_or(rtt, |least| least.min(rtt)));
        self.last.rotate_left(1);
        self.last[4] = Some(rtt);
        if let Some((since, before)) = self.moved {
            let seconds = now.saturating_sub(since).as_secs_f64().max(0.001);
            let rate = bytes.saturating_sub(before) as f64 / seconds;
            self.used += (rate - self.used) * 0.3;
        }
        self.moved = Some((now, bytes));
        let ([Some(a), Some(b), Some(c), Some(d), Some(e)], Some(rest)) = (self.last, self.at_rest()) else {
            return;
        };
        // Late answers among timely ones are lost packets or a busy machine; a queue makes all three late.
        let (before, after) = (a.min(b).min(c), c.min(d).min(e));
        let slope = (after.as_secs_f64() - before.as_secs_f64()) / (ASK_EVERY * 2).as_secs_f64();
        self.steer(now, after.saturating_sub(rest).as_secs_f64(), slope, rest.as_secs_f64());
    }

    /// All in seconds; `slope` is how much the queue grows in one.
    fn steer(&mut self, now: Duration, queue: f64, slope: f64, rest: f64) {
        // Less than a few milliseconds is not told from a busy machine.
        let aim = (rest * 0.3).max(0.004);
        if queue > aim {
            // What was cut must first be felt at the other end.
            let felt = Duration::from_secs_f64(rest) + ASK_EVERY * 3;
            if slope < -0.02 || now.saturating_sub(self.cut) < felt {
                return;
            }
            if self.row.1 >= NOT_OURS && queue > self.row.0 * 0.7 {
                // It stays although we went slower and slower: it is not ours, and giving way helps nobody.
                self.least = (Some(Duration::from_secs_f64(rest + queue)), None, now);
                self.row = (0.0, 0);
                return;
            }
            // Once the line is known we come near it slowly: a queue that grows fast then is a burst of packets sent again, or
            // somebody who came, and then the next cut takes the rest. So little is unlearned at once.
            let first = self.row.1 == 0;
            let (steepest, kept) = match (self.ceiling, first) {
                (None, _) => (3.0, 0.0),
                (Some(ceiling), true) => (0.1, ceiling * 0.9),
                (Some(ceiling), false) => (3.0, ceiling * 0.75),
            };
            // Beyond what really went there is nothing to learn from.
            let line = self.rate.min(self.used.max(LEAST) * 1.2) / (1.0 + slope.clamp(0.0, steepest));
            self.row = (if first { queue } else { self.row.0 }, self.row.1 + 1);
            self.ceiling = Some(line.max(kept));
            self.rate = (line * (0.93 - queue.min(0.35))).max(LEAST);
            self.cut = now;
            return;
        }
        self.row = (0.0, 0);
        if queue <= aim / 2.0 && self.used >= self.rate * 0.7 {
            self.rate *= match self.ceiling {
                None => 1.15,
                Some(ceiling) if self.rate < ceiling * 0.7 => 1.1,
                Some(ceiling) if self.rate < ceiling * 0.95 => 1.03,
                // Long past it: the line has become faster.
                Some(ceiling) if self.rate > ceiling * 1.3 => 1.03,
                Some(_) => 1.005,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line with a queue in front of it: bytes a second, round trip at rest, and what it does to us.
    struct Line {
        capacity: f64,
        rest: f64,
        queue: f64,
        sent: f64,
    }

    impl Line {
        /// Goes on for a tenth of a second at our rate beside somebody else's; the round trip at its end.
        fn tenth(&mut self, ours: f64, theirs: f64) -> Duration {
            self.queue = (self.queue + (ours + theirs - self.capacity) * 0.1).max(0.0);
            self.sent += ours * 0.1;
            Duration::from_secs_f64(self.rest + self.queue / self.capacity)
        }
    }

    /// Round trips in ms and the share of the line we took, in the last half of so many seconds.
    fn run(line: &mut Line, manners: &mut Manners, from: u32, seconds: u32, theirs: f64) -> (Vec<f64>, f64) {
        let (mut trips, mut ours) = (Vec::new(), 0.0);
        // An answer tells of the queue two tenths ago.
        let mut late = std::collections::VecDeque::from([Duration::from_secs_f64(line.rest); 2]);
        for n in 0..seconds * 10 {
            let rate = manners.rate().map_or(f64::MAX, |rate| rate as f64).min(line.capacity * 3.0);
            late.push_back(line.tenth(rate, theirs));
            let now = ASK_EVERY * (from * 10 + n);
            manners.answered(now, late.pop_front().unwrap(), line.sent as u64);
            if n >= seconds * 5 {
                trips.push(late[1].as_secs_f64() * 1e3);
                ours += rate;
            }
        }
        trips.sort_by(f64::total_cmp);
        let share = ours / trips.len() as f64 / line.capacity;
        (trips, share)
    }

    #[test]
    fn on_slow_and_fast_lines_it_takes_most_of_the_line_and_the_middle_round_trip_stays_short() {
        for (megabit, rest_ms) in [(2.0, 40.0), (20.0, 10.0), (20.0, 40.0), (50.0, 60.0), (200.0, 20.0)] {
            let mut line = Line { capacity: megabit * 125e3, rest: rest_ms / 1e3, queue: 0.0, sent: 0.0 };
            let (trips, share) = run(&mut line, &mut Manners::default(), 0, 120, 0.0);
            let middle = trips[trips.len() / 2];
            assert!(middle <= rest_ms * 1.2, "{megabit} Mb/s, {rest_ms} ms: {middle} ms");
            let late = trips[trips.len() * 95 / 100];
            assert!(late <= rest_ms * 1.8 + 12.0, "{megabit} Mb/s, {rest_ms} ms: {late} ms");
            assert!((0.9..1.01).contains(&share), "{megabit} Mb/s, {rest_ms} ms: {share} of the line");
        }
    }

    #[test]
    fn it_gives_way_to_somebody_else_and_comes_back() {
        let mut line = Line { capacity: 2.5e6, rest: 0.04, queue: 0.0, sent: 0.0 };
        let mut manners = Manners::default();
        run(&mut line, &mut manners, 0, 30, 0.0);
        let (trips, share) = run(&mut line, &mut manners, 30, 40, 1.5e6);
        assert!(trips[trips.len() / 2] < 60.0 && (0.3..0.45).contains(&share), "{share} of the line");
        let (_, share) = run(&mut line, &mut manners, 70, 60, 0.0);
        assert!(share > 0.85, "{share} of the line");
    }

    #[test]
    fn a_burst_of_late_answers_costs_a_second_or_two() {
        let mut line = Line { capacity: 6.25e6, rest: 0.06, queue: 0.0, sent: 0.0 };
        let mut manners = Manners::default();
        run(&mut line, &mut manners, 0, 60, 0.0);
        // Lost packets, a busy machine: nothing of it is the line's.
        for n in 0..8 {
            line.sent += line.capacity * 0.01;
            let late = Duration::from_millis(if n < 4 { 160 } else { 60 });
            manners.answered(ASK_EVERY * (600 + n), late, line.sent as u64);
        }
        assert!(manners.rate().is_some_and(|rate| rate < 5_000_000), "at first it gives way");
        let (_, share) = run(&mut line, &mut manners, 61, 4, 0.0);
        assert!(share > 0.85, "{share} of the line");
    }

    #[test]
    fn late_answers_among_timely_ones_change_nothing() {
        let mut manners = Manners::default();
        for n in 0..600_u32 {
            let rtt = if n % 3 > 0 { LOST } else { Duration::from_millis(40) };
            manners.answered(ASK_EVERY * n, rtt, u64::from(n) * 10_000_000);
        }
        assert!(manners.rate().is_some_and(|rate| rate > 10_000_000));
    }

    #[test]
    fn in_the_same_building_there_is_no_limit() {
        let mut manners = Manners::default();
        assert!(manners.rate().is_some(), "not before it is known");
        manners.answered(Duration::ZERO, Duration::from_micros(300), 0);
        assert_eq!(manners.rate(), None);
    }

    #[test]
    fn a_queue_that_stays_whatever_we_do_is_not_ours_and_does_not_hold_us_for_long() {
        let mut manners = Manners::default();
        manners.answered(Duration::ZERO, Duration::from_millis(40), 0);
        let (mut bytes, mut least) = (0, u64::MAX);
        for n in 1..600_u32 {
            let rate = manners.rate().unwrap();
            (bytes, least) = (bytes + rate / 10, least.min(rate));
            manners.answered(ASK_EVERY * n, Duration::from_millis(200), bytes);
        }
        assert!(least < 200_000, "at first it gives way");
        assert!(manners.rate().is_some_and(|rate| rate > 1_000_000), "within a minute it goes on");
    }
}
