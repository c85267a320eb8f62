//! Which sources are there: a source without anything new is lost, and that is a gap until it is back.
//!
//! Only time in which somebody looked counts: a recorder that was itself held up (a busy machine, a sleep) cannot say
//! that a source gave nothing meanwhile. What is lost here is shown as a plate there: one answer for both.

use std::time::Duration;

use lectern_base::clock;
use lectern_wire::capture::SourceKind;
use lectern_wire::manifest::GapCode;
use lectern_wire::recorder::{Event, Fact};

use crate::sound::Timeline;
use crate::source::Running;

/// A source without anything new for this long is lost.
pub const STALE: Duration = Duration::from_secs(1);
/// A source that was never there may take this long to open before that is a gap.
const OPENING: Duration = Duration::from_secs(3);
/// From one look to the next no more than this counts.
const STEP: Duration = Duration::from_millis(400);

/// A source of the take.
pub struct Tracked {
    pub running: Running,
    /// Where its sound belongs, if it gives any, and how loud.
    pub timeline: Option<(Timeline, f32)>,
    /// When it last gave something; `None` before the first time.
    pub last: Option<Duration>,
    unseen: Unseen,
    /// When the take began; pauses do not move it.
    begun: Duration,
    gap: bool,
}

/// For how long nothing new was seen.
#[derive(Debug, Default)]
struct Unseen {
    length: Duration,
    /// What was newest at the last look, and when that was.
    newest: Option<Duration>,
    looked: Option<Duration>,
    lost: bool,
}

impl Unseen {
    fn look(&mut self, now: Duration, newest: Option<Duration>) {
        let step = now.saturating_sub(self.looked.replace(now).unwrap_or(now)).min(STEP);
        if newest == self.newest {
            self.length += step;
        } else {
            self.newest = newest;
            self.length = newest.map_or(Duration::ZERO, |at| now.saturating_sub(at)).min(STEP);
        }
        self.judge();
    }

    /// Nobody looked until now: what is old counts as old at once.
    fn renew(&mut self, now: Duration, newest: Option<Duration>) {
        self.length = newest.map_or(Duration::ZERO, |at| now.saturating_sub(at));
        (self.newest, self.looked) = (newest, Some(now));
        self.judge();
    }

    fn judge(&mut self) {
        self.lost = self.length > if self.newest.is_none() { OPENING } else { STALE };
    }
}

impl Tracked {
    pub fn new(running: Running, timeline: Option<(Timeline, f32)>) -> Self {
        let (unseen, begun) = (Unseen::default(), clock::mono());
        Self { running, timeline, last: None, unseen, begun, gap: false }
    }

    /// Looks whether there is anything new.
    pub fn watch(&mut self) {
        self.last = self.running.outlet.newest().map_or(self.last, |p| Some(p.at));
        self.unseen.look(clock::mono(), self.last);
    }

    /// Whether it is lost, as it was last seen.
    pub fn lost(&self) -> bool {
        self.unseen.lost
    }

    /// How far its sound has come on the timeline; nothing of a source that is lost or never gave any.
    pub fn heard_to(&self) -> Option<i64> {
        let (timeline, _) = self.timeline.as_ref().filter(|_| !self.lost() && self.last.is_some())?;
        Some(timeline.end())
    }

    /// Whether the source was lost or has come back since the last time this was asked; `at_ms` is where in the take
    /// we are.
    pub fn change(&mut self, at_ms: u64) -> Option<(Fact, Event)> {
        if matches!(self.running.kind, SourceKind::Test) || self.lost() == self.gap {
            return None;
        }
        self.gap = self.lost();
        // One that was away when the take began was away from its start.
        let at_ms = if self.last.is_none_or(|last| last < self.begun) { 0 } else { at_ms };
        let source = self.running.name.clone();
        Some(if self.gap {
            let (code, cause) = self
                .running
                .outlet
                .fault()
                .unwrap_or_else(|| (GapCode::NoSignal, "nothing new arrived for 1 s".into()));
            tracing::warn!(source, at_ms, ?code, cause, "gap opened");
            (
                Fact::GapOpened { source: source.clone(), at_ms, code: Some(code), cause: cause.clone() },
                Event::GapOpened { source, at_ms, code: Some(code), cause },
            )
        } else {
            tracing::info!(source, at_ms, "gap closed");
            (Fact::GapClosed { source: source.clone(), at_ms }, Event::GapClosed { source, at_ms })
        })
    }

    /// The take begins now: what is away is said again.
    pub fn begin(&mut self) {
        (self.begun, self.gap) = (clock::mono(), false);
        self.renew(self.begun);
    }

    /// The take stood still and goes on now, with its sound at `sound_at`.
    pub fn resume(&mut self, now: Duration, sound_at: i64) {
        if let Some((timeline, _)) = &mut self.timeline {
            timeline.reset(sound_at);
        }
        self.renew(now);
    }

    fn renew(&mut self, now: Duration) {
        match self.running.outlet.newest() {
            Some(newest) => self.last = Some(newest.at),
            // What it gave meanwhile was let go without a look.
            None => self.last = self.last.map(|_| now),
        }
        if self.last.is_some() {
            self.unseen.renew(now, self.last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_source_that_stands_still_is_lost_after_a_second_and_back_with_its_next_picture() {
        let mut unseen = Unseen::default();
        let mut changes = Vec::new();
        for n in 0..40 {
            let now = n * 200;
            // A picture every 40 ms until 2 s, and again from 5 s.
            let newest = if (2000..5000).contains(&now) { 2000 } else { now };
            let before = unseen.lost;
            unseen.look(ms(now), Some(ms(newest)));
            if unseen.lost != before {
                changes.push((now, unseen.lost));
            }
        }
        assert_eq!(changes, [(3200, true), (5000, false)]);
    }

    #[test]
    fn a_recorder_that_was_held_up_itself_accuses_no_source() {
        let mut unseen = Unseen::default();
        let mut now = 0;
        for held_up in [200, 200, 1700, 200, 3000, 200, 200] {
            now += held_up;
            // Its thread has not had the processor either: the newest is from just before.
            unseen.look(ms(now), Some(ms(now - held_up)));
            assert!(!unseen.lost, "at {now} ms");
        }
        // But one that gives nothing is found out all the same.
        for _ in 0..4 {
            now += 1700;
            unseen.look(ms(now), Some(ms(5)));
        }
        assert!(unseen.lost);
    }

    #[test]
    fn one_that_was_never_there_has_three_seconds_and_one_long_gone_none() {
        let mut unseen = Unseen::default();
        assert!((0..16).all(|n| {
            unseen.look(ms(n * 200), None);
            !unseen.lost
        }));
        unseen.look(ms(3400), None);
        assert!(unseen.lost);
        let mut unseen = Unseen::default();
        unseen.renew(ms(60_000), Some(ms(100)));
        assert!(unseen.lost, "an old picture is not shown as if it were new");
    }
}
