//! How many parts go side by side: up while one more brings more, down when one less brings as much.
//!
//! ```text
//!            up brought ≥ 5 % more            up did not, or down lost > 2 %
//!          ┌───────────────────────┐        ┌──────────────────────────────┐
//! Steady ──┴─▶ Trial (one more) ───┴──▶ Steady ──▶ Trial (one less) ───────┴──▶ Steady, for longer
//! ```
//!
//! Judged by the bytes that moved while every lane had work. The first window after a change is not judged: a
//! new connection fills its buffers and finds its speed. A failed part takes three lanes of ten away. On a line so fast
//! that a part is through in a blink the store's disk is waited for, not the line: there it goes on with four at once.

use std::time::Duration;

/// Parts side by side at most. With BBR one or two fill a line; CUBIC needs many where packets are lost.
pub const MOST: usize = 8;
/// Where it begins.
const FIRST: usize = 2;
/// Lanes where a part takes less than [`BLINK`].
const AT_ONCE: usize = 4;
/// A part of 8 MiB at 250 Mb/s.
const BLINK: Duration = Duration::from_millis(250);
/// Length of a window.
const WINDOW: Duration = Duration::from_secs(2);
/// Windows between two trials at most.
const MOST_REST: u32 = 32;

/// The number of lanes, and how it was come by. Pure: told the time and what moved.
#[derive(Debug, Clone, PartialEq)]
pub struct Climb {
    lanes: usize,
    phase: Phase,
    /// When the window began, and what had moved then.
    window: Option<(Duration, u64)>,
    /// The next window is not judged.
    settling: bool,
    /// Windows to rest before the next trial, and how many of them are left.
    rest: (u32, u32),
    /// The next trial goes down.
    down_next: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Steady,
    /// Bytes a second before the lanes were changed, and whether they were raised.
    Trial {
        before: f64,
        up: bool,
    },
}

impl Default for Climb {
    fn default() -> Self {
        Self {
            lanes: FIRST,
            phase: Phase::Steady,
            window: None,
            settling: true,
            rest: (1, 0),
            down_next: false,
        }
    }
}

impl Climb {
    /// Parts that may go side by side.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// What has moved in all so far; `busy` when every lane had work since the last word.
    pub fn moved(&mut self, now: Duration, bytes: u64, busy: bool) {
        let Some((since, before)) = self.window.filter(|_| busy) else {
            self.window = busy.then_some((now, bytes));
            self.settling = true;
            return;
        };
        let length = now.saturating_sub(since);
        if length < WINDOW {
            return;
        }
        self.window = Some((now, bytes));
        if std::mem::take(&mut self.settling) {
            return;
        }
        self.judge(bytes.saturating_sub(before) as f64 / length.as_secs_f64());
    }

    fn judge(&mut self, rate: f64) {
        match self.phase {
            Phase::Trial { before, up } => {
                let worth = if up { rate >= before * 1.05 } else { rate >= before * 0.98 };
                self.phase = Phase::Steady;
                if worth {
                    // This way on.
                    self.down_next = !up;
                    self.rest = (1, 0);
                } else {
                    self.set(if up { self.lanes - 1 } else { self.lanes + 1 });
                    self.down_next = up;
                    let longer = (self.rest.0 * 2).min(MOST_REST);
                    self.rest = (longer, longer);
                }
            }
            Phase::Steady if self.rest.1 > 0 => self.rest.1 -= 1,
            Phase::Steady => {
                let up = !self.down_next;
                let next = if up { self.lanes + 1 } else { self.lanes.saturating_sub(1) };
                if (1..=MOST).contains(&next) {
                    self.phase = Phase::Trial { before: rate, up };
                    self.set(next);
                } else {
                    self.down_next = up;
                    self.rest.1 = self.rest.0;
                }
            }
        }
    }

    /// A part went through, whole, in this time.
    pub fn went(&mut self, took: Duration) {
        if took < BLINK && self.lanes == FIRST && self.phase == Phase::Steady && self.rest == (1, 0) {
            self.set(AT_ONCE);
        }
    }

    /// A part failed on the line.
    pub fn failed(&mut self) {
        self.set((self.lanes * 7 / 10).max(1));
        self.phase = Phase::Steady;
        self.down_next = false;
        self.rest = (4, 4);
    }

    fn set(&mut self, lanes: usize) {
        self.lanes = lanes.clamp(1, MOST);
        self.settling = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs on a line that gives so many bytes a second for so many lanes; the lanes of each half second.
    fn on(line: impl Fn(usize) -> f64, seconds: u64) -> Vec<usize> {
        let (mut climb, mut bytes) = (Climb::default(), 0.0);
        let half = |n: u64| Duration::from_millis(500 * n);
        (0..seconds * 2)
            .map(|n| {
                bytes += line(climb.lanes()) / 2.0;
                climb.moved(half(n), bytes as u64, true);
                climb.lanes()
            })
            .collect()
    }

    #[test]
    fn where_packets_are_lost_it_climbs_until_the_line_is_full() {
        // CUBIC at one percent of loss: each connection brings 2.4 Mb/s, the line 50.
        let lanes = on(|n| 300e3 * n as f64, 60);
        assert_eq!(lanes.last(), Some(&MOST));
        // The line is full with five.
        let lanes = on(|n| 300e3 * (n as f64).min(5.0), 300);
        let late = &lanes[lanes.len() / 2..];
        assert!(late.iter().all(|n| (4..=6).contains(n)), "{late:?}");
    }

    #[test]
    fn where_one_fills_the_line_it_comes_down_to_one() {
        let lanes = on(|_| 2.5e6, 300);
        assert!(lanes[lanes.len() / 2..].iter().all(|&n| n <= 2), "{lanes:?}");
        assert!(lanes.iter().all(|&n| n <= 3), "{lanes:?}");
    }

    #[test]
    fn a_failure_takes_lanes_away_and_one_stays() {
        let mut climb = Climb { lanes: 8, ..Climb::default() };
        for left in [5, 3, 2, 1, 1] {
            climb.failed();
            assert_eq!(climb.lanes(), left);
        }
    }

    #[test]
    fn on_a_line_as_fast_as_a_disk_four_go_at_once_and_not_again_after_a_failure() {
        let mut climb = Climb::default();
        climb.went(Duration::from_secs(1));
        assert_eq!(climb.lanes(), FIRST);
        climb.went(Duration::from_millis(40));
        assert_eq!(climb.lanes(), AT_ONCE);
        climb.failed();
        climb.went(Duration::from_millis(40));
        assert_eq!(climb.lanes(), 2);
    }

    #[test]
    fn a_line_without_work_is_not_judged() {
        let mut climb = Climb::default();
        for n in 0..1000 {
            climb.moved(Duration::from_millis(500 * n), n * 1000, n % 3 != 0);
        }
        assert_eq!(climb, Climb { window: climb.window, settling: climb.settling, ..Climb::default() });
    }
}
