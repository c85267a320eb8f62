//! Takes lessons where they belong, part by part, while they are still being recorded.
//!
//! A part goes as soon as its row is there; any interruption resumes at the rows. The lesson is
//! stored when the destination has proved it (the hub: by a signed receipt that names the manifest's
//! hash), and not before. There is no end to trying: waits grow to a minute and are jittered, a stalled
//! line is cut, not a slow one.
//!
//! The stage decides what goes and when, [`destination`] knows how it is taken there.

mod destination;
mod error;
pub mod hub;
mod receipt;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lectern_base::{chance, clock};
use lectern_wire::PART_SIZE;
use lectern_wire::digest::Digest;
use lectern_wire::id::LessonId;
use lectern_wire::manifest::Part;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::model::lesson::{Event, State};
use crate::model::status::Status;
use crate::store::lessons::{Lesson, PartRow};
use crate::store::{Store, StoreError};
pub use destination::Destination;
pub use error::UploadError;

/// Parts sent side by side.
const PARALLEL: usize = 2;
/// Longest wait between tries.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Runs until told to stop.
pub async fn run(store: Store, destination: Destination, stop: CancellationToken) {
    store.board().update(|s| s.upload.configured = true);
    let uploader = Arc::new(Uploader { store: store.clone(), destination });
    let mut wait = Duration::ZERO;
    loop {
        let round = tokio::select! {
            () = stop.cancelled() => return,
            round = uploader.round() => round,
        };
        wait = match &round {
            Ok(()) => Duration::ZERO,
            Err(e) => {
                tracing::warn!("uploading waits: {e}");
                let doubled = (wait * 2).clamp(Duration::from_secs(1), MAX_WAIT);
                e.retry_after().unwrap_or(doubled)
            }
        };
        let unreachable = matches!(&round, Err(e) if e.is_network());
        uploader.tell(Some(!unreachable), round.err().filter(|e| !e.is_network()).map(|e| e.to_string()));
        let pause = async {
            if wait.is_zero() {
                std::future::pending::<()>().await;
            } else {
                let jitter = chance::below(u64::try_from(wait.as_millis()).unwrap_or(1000) / 4 + 1);
                tokio::time::sleep(wait + Duration::from_millis(jitter)).await;
            }
        };
        // While waiting after a failure the bell does not hurry: it rings with every part.
        tokio::select! {
            () = stop.cancelled() => return,
            () = store.bells().upload.notified(), if wait.is_zero() => {}
            () = pause => {}
        }
    }
}

struct Uploader {
    store: Store,
    destination: Destination,
}

struct Sent {
    lesson: LessonId,
    row: PartRow,
    outcome: Result<(), UploadError>,
}

impl Uploader {
    /// Sends everything there is to send now.
    async fn round(self: &Arc<Self>) -> Result<(), UploadError> {
        loop {
            let mut more = false;
            for lesson in self.store.discards_to_tell()? {
                self.destination.discard(&lesson).await?;
                tracing::info!(%lesson, "the hub has nothing of the lesson any more");
                self.store.discard_told(&lesson)?;
            }
            for lesson in self.store.waiting_lessons()? {
                more |= self.lesson(&lesson).await?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Sends what a lesson has ready; true when something was sent.
    async fn lesson(self: &Arc<Self>, lesson: &Lesson) -> Result<bool, UploadError> {
        let rows = self.store.parts(&lesson.id)?;
        let sealable = lesson.state == State::Sealed;
        if !sealable && rows.iter().all(|row| row.stored || row.damaged) {
            return Ok(false);
        }
        let held = self.destination.open(lesson).await?;
        let mut pending = Vec::new();
        for row in rows.into_iter().filter(|row| !row.damaged) {
            let there = held.get(&row.take).is_some_and(|parts| parts.contains(&row.part.n));
            if row.stored && !there {
                // What counts is what the hub has, not what it once said.
                tracing::warn!(lesson = %lesson.id, take = row.take, part = row.part.n, "the hub no longer has this part");
                self.store.part_lost(&lesson.id, row.take, row.part.n)?;
            }
            // Where the hub has this number, the grant settles whether it has these bytes.
            if !(row.stored && there) {
                pending.push(row);
            }
        }
        let mut sent = self.parts(&lesson.id, pending).await?;
        if sealable {
            self.seal(lesson).await?;
            sent = true;
        }
        Ok(sent)
    }

    async fn parts(self: &Arc<Self>, lesson: &LessonId, rows: Vec<PartRow>) -> Result<bool, UploadError> {
        let mut rows = rows.into_iter();
        let mut running = JoinSet::new();
        let mut sent = false;
        loop {
            while running.len() < PARALLEL {
                let Some(row) = rows.next() else { break };
                let (me, lesson) = (self.clone(), lesson.clone());
                running.spawn(async move {
                    let outcome = me.part(&lesson, &row).await;
                    Sent { lesson, row, outcome }
                });
            }
            let Some(done) = running.join_next().await else { return Ok(sent) };
            let done = done.map_err(|e| StoreError::Impossible(format!("an upload broke off: {e}")))?;
            sent |= self.settle(done).await?;
        }
    }

    async fn settle(&self, done: Sent) -> Result<bool, UploadError> {
        let (take, n) = (done.row.take, done.row.part.n);
        match done.outcome {
            Ok(()) => {
                self.store.part_stored(&done.lesson, take, n)?;
                self.tell(Some(true), None);
                Ok(true)
            }
            Err(UploadError::HashRefused) => {
                // The hub got other bytes than were hashed: on the line, or on this disk?
                let path = self.take_path(&done.lesson, take);
                let part = done.row.part;
                let now = tokio::task::spawn_blocking(move || hash_part(&path, &part)).await;
                let now = now.map_err(|e| StoreError::Impossible(format!("hashing broke off: {e}")))?;
                if now.ok() == Some(part.sha256) {
                    return Err(UploadError::HashRefused);
                }
                tracing::error!(lesson = %done.lesson, take, part = n, "the part's bytes have changed on this disk");
                self.store.part_damaged(&done.lesson, take, n)?;
                let data = serde_json::json!({ "lesson_id": done.lesson, "take": take, "part": n, "what": "damaged_part" });
                self.store.outbox().push_event("fault", &data)?;
                self.store.bells().publish.notify_one();
                Err(UploadError::Damaged { take, part: n })
            }
            Err(e) => Err(e),
        }
    }

    async fn part(&self, lesson: &LessonId, row: &PartRow) -> Result<(), UploadError> {
        let started = clock::mono();
        self.destination.part(lesson, row, &self.take_path(lesson, row.take)).await?;
        let seconds = clock::mono().saturating_sub(started).as_secs_f64().max(0.001);
        let rate = (row.part.size as f64 / seconds) as u64;
        self.store
            .board()
            .update(|s| s.upload.rate = Some(s.upload.rate.map_or(rate, |old| (old * 3 + rate) / 4)));
        Ok(())
    }

    fn take_path(&self, lesson: &LessonId, take: u32) -> PathBuf {
        self.store.lesson_folder(lesson).join(format!("take-{take}.mp4"))
    }

    async fn seal(&self, lesson: &Lesson) -> Result<(), UploadError> {
        let parts = self.store.parts(&lesson.id)?;
        if let Some(bad) = parts.iter().find(|p| p.damaged) {
            return Err(UploadError::Damaged { take: bad.take, part: bad.part.n });
        }
        let folder = self.store.lesson_folder(&lesson.id);
        self.destination.finish(lesson, &folder).await?;
        if self.store.lesson(&lesson.id)?.is_none_or(|now| now.state == State::Discarded) {
            return Ok(());
        }
        let state = self.store.advance(&lesson.id, Event::Receipted)?;
        tracing::info!(lesson = %lesson.id, "stored");
        let now = u64::try_from(clock::boot().as_millis()).unwrap_or(0);
        self.store.board().update(|s| {
            if let Some(shown) = s.lesson.as_mut().filter(|l| l.id == lesson.id) {
                shown.state = state;
                shown.stored_after_ms = shown.stopped_at_boot_ms.map(|at| now.saturating_sub(at));
            }
        });
        let data = serde_json::json!({ "lesson_id": lesson.id, "state": state.name() });
        self.store.outbox().push_event("lesson", &data)?;
        self.store.bells().publish.notify_one();
        self.store.bells().reclaim.notify_one();
        Ok(())
    }

    /// Puts the upload's part of the status on the board.
    fn tell(&self, reachable: Option<bool>, blocked: Option<String>) {
        if let Err(e) = self.count(reachable, blocked) {
            tracing::error!("the upload's progress cannot be read: {e}");
        }
    }

    fn count(&self, reachable: Option<bool>, blocked: Option<String>) -> Result<(), StoreError> {
        let waiting = self.store.waiting_lessons()?;
        let shown = self.store.board().read().lesson.map(|l| l.id);
        let (mut pending, mut sent) = (0, 0);
        for lesson in &waiting {
            for row in self.store.parts(&lesson.id)? {
                match (row.stored, Some(&lesson.id) == shown.as_ref()) {
                    (true, true) => sent += row.part.size,
                    (true, false) => {}
                    (false, _) => pending += row.part.size,
                }
            }
        }
        let waiting = waiting.len() as u64;
        self.store.board().update(|s: &mut Status| {
            s.upload.waiting_lessons = waiting;
            s.upload.pending_bytes = pending;
            s.upload.sent_bytes = sent;
            s.upload.reachable = reachable;
            s.upload.blocked = blocked;
        });
        Ok(())
    }
}

/// The hash of a part's bytes as they are on disk now.
fn hash_part(path: &Path, part: &Part) -> std::io::Result<Digest> {
    use std::io::{Read as _, Seek as _};
    let mut file = std::fs::File::open(path)?;
    file.seek(std::io::SeekFrom::Start(u64::from(part.n) * PART_SIZE))?;
    let mut bytes = Vec::new();
    file.take(part.size).read_to_end(&mut bytes)?;
    Ok(Digest::of(&bytes))
}
