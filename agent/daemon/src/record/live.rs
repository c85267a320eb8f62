//! What the driver knows of the lesson being recorded.

use std::fs::File;
use std::time::Duration;

use lectern_base::clock;
use lectern_wire::id::LessonId;
use tokio::net::unix::OwnedWriteHalf;
use tokio::process::Child;

use crate::model::lesson::{CutShort, State};
use crate::model::timetable::Bell;

/// The lesson being recorded.
pub struct Live {
    /// The lesson.
    pub id: LessonId,
    /// Where it stands, as the store says.
    pub state: State,
    /// The take being written.
    pub take: u32,
    /// The recorder, when it is our child; an adopted one is not.
    pub child: Option<Child>,
    /// Its process id, once it said so or was started by us.
    pub pid: Option<u32>,
    /// The way to speak to it.
    pub link: Option<OwnedWriteHalf>,
    /// When durable bytes last grew, or the recorder was started.
    pub progress: Duration,
    /// Durable picture of this take.
    pub take_ms: u64,
    /// Durable picture of the takes before.
    pub before_ms: u64,
    /// Durable bytes of this take.
    pub take_bytes: u64,
    /// Durable bytes of the takes before.
    pub before_bytes: u64,
    /// The teacher wants it ended; since when.
    pub stopping: Option<Duration>,
    /// Why it is being ended before the teacher wanted.
    pub cut_short: Option<CutShort>,
    /// What the recorder last complained about.
    pub complaint: Option<String>,
    /// When recorders were lost.
    pub losses: Vec<Duration>,
    /// When the next recorder is to be started.
    pub restart_at: Option<Duration>,
    /// The teacher's last word was to pause; the recorder may not have stood still yet.
    pub still: bool,
    /// Paused, and its recorder is lost: nothing records until the teacher goes on.
    pub rests: bool,
    /// Whether the recorder was told to send previews.
    pub preview: bool,
    /// Whether it is also sent live, by the teacher's choice.
    pub sent: bool,
    /// When it ends by itself, by the school's bell.
    pub bell: Option<Bell>,
    /// When that was last put off.
    pub put_off: Option<Duration>,
    /// The take whose recorder was not there when the daemon started: locked, so that it cannot come yet.
    pub barred: Option<File>,
}

impl Live {
    /// A lesson whose recorder is about to be started or found.
    pub fn new(id: LessonId, state: State, take: u32) -> Self {
        Self {
            id,
            state,
            take,
            child: None,
            pid: None,
            link: None,
            progress: clock::mono(),
            take_ms: 0,
            before_ms: 0,
            take_bytes: 0,
            before_bytes: 0,
            stopping: None,
            cut_short: None,
            complaint: None,
            losses: Vec::new(),
            restart_at: None,
            still: state == State::Paused,
            rests: false,
            preview: false,
            sent: false,
            bell: None,
            put_off: None,
            barred: None,
        }
    }

    /// Counts this take among the takes before and turns to the next.
    pub fn next_take(&mut self) {
        self.before_ms += self.take_ms;
        self.before_bytes += self.take_bytes;
        (self.take_ms, self.take_bytes) = (0, 0);
        self.take += 1;
        (self.child, self.pid, self.link) = (None, None, None);
        self.preview = false;
        self.progress = clock::mono();
    }

    /// Paused without a recorder.
    pub fn rest(&mut self) {
        self.rests = true;
        (self.child, self.pid, self.link) = (None, None, None);
        self.preview = false;
    }

    /// Notes a loss; how long to wait before the next recorder, or `None` to give up.
    pub fn lost(&mut self, now: Duration) -> Option<Duration> {
        self.losses.retain(|at| now.saturating_sub(*at) < super::RESTART_WINDOW);
        self.losses.push(now);
        let n = self.losses.len();
        (n <= super::MAX_RESTARTS).then(|| match n {
            1 => Duration::ZERO,
            n => Duration::from_secs(1 << (n - 2)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorder_is_replaced_at_once_then_ever_later_then_given_up() {
        let mut live = Live::new(LessonId::new("a").expect("id"), State::Recording, 1);
        let waits: Vec<_> = (0..7).map(|n| live.lost(Duration::from_secs(n)).map(|d| d.as_secs())).collect();
        assert_eq!(waits, [Some(0), Some(1), Some(2), Some(4), Some(8), None, None]);
        assert_eq!(live.lost(Duration::from_secs(1000)), Some(Duration::ZERO), "old losses are forgotten");
    }
}
