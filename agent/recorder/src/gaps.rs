//! Which sources are there: a source without anything new is lost, and that is a gap until it is back.

use std::time::Duration;

use lectern_base::clock;
use lectern_wire::capture::SourceKind;
use lectern_wire::recorder::{Event, Fact};

use crate::sound::Timeline;
use crate::source::Running;

/// A source without anything new for this long is lost.
pub const STALE: Duration = Duration::from_secs(1);
/// A source that was never there may take this long to open before that is a gap.
pub const OPENING: Duration = Duration::from_secs(3);

/// A source of the take.
pub struct Tracked {
    pub running: Running,
    /// Where its sound belongs, if it gives any, and how loud.
    pub timeline: Option<(Timeline, f32)>,
    /// When it last gave something; `None` before the first time.
    pub last: Option<Duration>,
    gap: bool,
}

impl Tracked {
    pub fn new(running: Running, timeline: Option<(Timeline, f32)>) -> Self {
        Self { running, timeline, last: None, gap: false }
    }

    /// Whether the source was lost or has come back since the last look; `start` is when the take began, `at_ms`
    /// where in it we are.
    pub fn look(&mut self, start: Duration, at_ms: u64) -> Option<(Fact, Event)> {
        if matches!(self.running.kind, SourceKind::Test) {
            return None;
        }
        self.last = self.running.outlet.newest().map_or(self.last, |p| Some(p.at));
        let (last, patience) = self.last.map_or((start, OPENING), |last| (last, STALE));
        let lost = clock::mono().saturating_sub(last) > patience;
        if lost == self.gap {
            return None;
        }
        self.gap = lost;
        // One that was away when the take began was away from its start.
        let at_ms = if self.last.is_none_or(|last| last < start) { 0 } else { at_ms };
        let source = self.running.name.clone();
        Some(if lost {
            let fault = self.running.outlet.fault();
            let cause = fault.unwrap_or_else(|| "nothing new arrived for 1 s".into());
            tracing::warn!(source, at_ms, cause, "gap opened");
            (
                Fact::GapOpened { source: source.clone(), at_ms, cause: cause.clone() },
                Event::GapOpened { source, at_ms, cause },
            )
        } else {
            tracing::info!(source, at_ms, "gap closed");
            (Fact::GapClosed { source: source.clone(), at_ms }, Event::GapClosed { source, at_ms })
        })
    }

    /// The take begins now: what is away is said again.
    pub fn begin(&mut self) {
        self.gap = false;
    }

    /// The take stood still and goes on now, with its sound at `sound_at`.
    pub fn resume(&mut self, now: Duration, sound_at: i64) {
        if let Some((timeline, _)) = &mut self.timeline {
            timeline.reset(sound_at);
        }
        self.last = self.last.map(|last| last.max(now));
    }
}
