//! Sends the ready parts of one lesson, some side by side, and has the next one ready when a lane becomes free.
//!
//! A part that failed on the line goes back to the front and is tried again after a jittered wait; the others are
//! not disturbed. When nothing gets through any more the round ends, and the stage waits longer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lectern_base::{chance, clock};
use lectern_wire::PART_SIZE;
use lectern_wire::id::LessonId;
use tokio::task::JoinSet;

use super::destination::Went;
use super::turns::Turns;
use super::{UploadError, Uploader};
use crate::model::status::Hold;
use crate::store::StoreError;
use crate::store::lessons::PartRow;

/// Parts beyond the lanes that are on their way to their turn.
const AHEAD: usize = 1;
/// Failures in a row after which the line counts as down.
const DOWN: u32 = 4;
/// Progress is looked at this often.
const LOOK: Duration = Duration::from_millis(500);

/// What came of a lesson's parts.
#[derive(Debug, PartialEq, Eq)]
pub enum Came {
    /// Nothing was to be sent.
    Nothing,
    /// All that was there was sent.
    Sent,
    /// Some were; now something more urgent is there.
    GaveWay,
}

struct Done {
    row: PartRow,
    outcome: Result<Went, UploadError>,
}

impl Uploader {
    /// Sends parts; `live` is whether the lesson goes before all others.
    pub(super) async fn parts(
        self: &Arc<Self>,
        lesson: &LessonId,
        rows: Vec<PartRow>,
        live: bool,
    ) -> Result<Came, UploadError> {
        let mut waiting = VecDeque::from(rows);
        let mut running = JoinSet::new();
        let turns = Arc::new(Turns::new(self.climb().lanes()));
        let (mut came, mut failures, mut not_before) = (Came::Nothing, 0, Duration::ZERO);
        let mut look = tokio::time::interval(LOOK);
        loop {
            let lanes = self.climb().lanes();
            turns.set(lanes);
            while clock::mono() >= not_before && running.len() < lanes + AHEAD {
                let Some(row) = waiting.pop_front() else { break };
                let (me, lesson, turns) = (self.clone(), lesson.clone(), turns.clone());
                running.spawn(async move {
                    let outcome = me.part(&lesson, &row, live, &turns).await;
                    Done { row, outcome }
                });
            }
            if running.is_empty() && waiting.is_empty() {
                return Ok(came);
            }
            let done = tokio::select! {
                Some(done) = running.join_next() => done,
                _ = look.tick() => {
                    // A line that is held back by rules, manners or a queue at the hub says nothing of lanes.
                    let busy = running.len() >= lanes && !waiting.is_empty();
                    self.climb().moved(clock::mono(), self.road.pace.moved(), busy);
                    let leave = self.leave();
                    let may = if live { leave.live } else { leave.backlog };
                    if !may || (!live && leave.live && self.live_waits()?) {
                        waiting.clear();
                        turns.end();
                        came = Came::GaveWay;
                    }
                    continue;
                }
            };
            let done = done.map_err(|e| StoreError::Impossible(format!("an upload broke off: {e}")))?;
            let row = done.row;
            match self.settle(lesson, &row, done.outcome).await {
                Ok(Went::NotNow) => {}
                Ok(went) => {
                    failures = 0;
                    if let (Went::Sent(took), PART_SIZE) = (went, row.part.size) {
                        self.climb().went(took);
                    }
                    if came == Came::Nothing {
                        came = Came::Sent;
                    }
                }
                Err(e) if e.is_queued() => {
                    waiting.push_front(row);
                    let wait = e.retry_after().unwrap_or(Duration::from_secs(2));
                    not_before = clock::mono() + jittered_a_little(wait);
                    if running.is_empty() {
                        self.hold(Some(Hold::Queue));
                    }
                }
                Err(e @ (UploadError::Network(_) | UploadError::HashRefused)) => {
                    failures += 1;
                    self.climb().failed();
                    tracing::info!(%lesson, take = row.take, part = row.part.n, "the part is sent again: {e}");
                    if failures >= DOWN {
                        return Err(e);
                    }
                    waiting.push_front(row);
                    not_before = clock::mono() + jittered(Duration::from_millis(250 << failures));
                }
                Err(e) => return Err(e),
            }
        }
    }
}

/// A wait that was asked for, and up to a quarter more.
pub fn jittered_a_little(wait: Duration) -> Duration {
    wait + Duration::from_millis(chance::below(u64::try_from(wait.as_millis()).unwrap_or(1000) / 4 + 1))
}

/// A wait and up to as much again, so that sixty rooms do not come back together.
pub fn jittered(wait: Duration) -> Duration {
    wait + Duration::from_millis(chance::below(u64::try_from(wait.as_millis()).unwrap_or(1000) + 1))
}
