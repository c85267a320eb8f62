//! Sends the ready parts of one lesson, some side by side.
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

use super::{UploadError, Uploader};
use crate::model::status::Hold;
use crate::store::StoreError;
use crate::store::lessons::PartRow;

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
    outcome: Result<(), UploadError>,
    took: Duration,
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
        let (mut came, mut failures, mut not_before) = (Came::Nothing, 0, Duration::ZERO);
        let mut look = tokio::time::interval(LOOK);
        loop {
            let lanes = self.climb().lanes();
            while clock::mono() >= not_before && running.len() < lanes {
                let Some(row) = waiting.pop_front() else { break };
                let (me, lesson) = (self.clone(), lesson.clone());
                running.spawn(async move {
                    let began = clock::mono();
                    let outcome = me.part(&lesson, &row, live).await;
                    Done { row, outcome, took: clock::mono() - began }
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
                        came = Came::GaveWay;
                    }
                    continue;
                }
            };
            let done = done.map_err(|e| StoreError::Impossible(format!("an upload broke off: {e}")))?;
            let (row, took) = (done.row, done.took);
            match self.settle(lesson, &row, done.outcome).await {
                Ok(()) => {
                    failures = 0;
                    if row.part.size == PART_SIZE {
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
                    self.hold(Some(Hold::Queue));
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
