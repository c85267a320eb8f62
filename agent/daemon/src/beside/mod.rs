//! Destinations beside the hub: a mounted share, an S3 store, Opencast. The same queue and the same rules as the hub's:
//! what is ready goes while the lesson is still recorded, an interruption resumes at what is there, and a lesson counts
//! as there only when it was looked at there. Then `stored-{name}.json`, durable, says what was checked.
//!
//! ```text
//! grow (as parts become ready) ─▶ … ─▶ finish (sealed: the rest, the manifest, the look) ─▶ confirmed
//! discard at any time
//! ```
//!
//! Each destination is a task of its own: one that fails, hangs or is full holds up no other. Every verb is safe to
//! repeat, and there is no end to trying.

pub(crate) mod calendar;
mod folder;
mod ingest;
mod opencast;
mod s3;
pub mod share;
mod trouble;
pub mod work;
pub(crate) mod xml;

use std::time::Duration;

use lectern_base::{chance, clock, disk};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::config::destination::{Settings, Way};
use crate::model::lesson::State;
use crate::model::status;
use crate::store::Store;
use crate::store::lessons::Lesson;
pub use trouble::Trouble;
use work::{Checked, Work};

/// How often the rows are looked at; a lesson grows by a part in half a minute or so.
const EVERY: Duration = Duration::from_secs(2);
/// Longest wait between tries.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// What carries lessons to one destination.
enum Carrier {
    Folder(folder::Folder),
    S3(s3::Bucket),
    Opencast(Box<opencast::Core>),
}

impl Carrier {
    async fn grow(&self, work: &Work) -> Result<(), Trouble> {
        match self {
            Self::Folder(folder) => folder.grow(work).await,
            Self::S3(bucket) => bucket.grow(work).await,
            // A track is handed in whole.
            Self::Opencast(_) => Ok(()),
        }
    }

    async fn finish(&self, work: &Work) -> Result<Vec<Checked>, Trouble> {
        match self {
            Self::Folder(folder) => folder.finish(work).await,
            Self::S3(bucket) => bucket.finish(work).await,
            Self::Opencast(core) => core.finish(work).await,
        }
    }

    async fn discard(&self, work: &Work) -> Result<(), Trouble> {
        match self {
            Self::Folder(folder) => folder.discard(work).await,
            Self::S3(bucket) => bucket.discard(work).await,
            Self::Opencast(core) => core.discard(work).await,
        }
    }
}

/// Runs one destination until told to stop. One that cannot be set up says so on the page, and lessons wait for it.
pub async fn run(store: Store, settings: Settings, place: work::Place, stop: CancellationToken) {
    let kind = settings.way.kind();
    show(&store, &settings, |_| {});
    let carrier = match &settings.way {
        Way::Folder { path } => Ok(Carrier::Folder(folder::Folder::new(path.clone()))),
        Way::S3(bucket) => s3::Bucket::new(bucket).map(Carrier::S3),
        Way::Opencast(core) => opencast::Core::new(core, &place).map(Box::new).map(Carrier::Opencast),
    };
    let carrier = match carrier {
        Ok(carrier) => carrier,
        Err(e) => {
            tracing::error!(destination = settings.name, kind, "it cannot be set up: {e}");
            show(&store, &settings, |shown| shown.problem = Some(e.to_string()));
            return stop.cancelled().await;
        }
    };
    let stage = Stage { store, settings, place, carrier };
    tokio::select! {
        () = stop.cancelled() => {}
        () = stage.rounds() => {}
        () = stage.beside() => {}
    }
}

struct Stage {
    store: Store,
    settings: Settings,
    place: work::Place,
    carrier: Carrier,
}

impl Stage {
    /// What Opencast wants beside lessons: a sign of life, and its calendar.
    async fn beside(&self) {
        match &self.carrier {
            Carrier::Opencast(core) => core.live(&self.store).await,
            _ => std::future::pending().await,
        }
    }

    async fn rounds(&self) {
        let mut wait = Duration::ZERO;
        loop {
            let outcome = self.round().await;
            let problem = outcome.as_ref().err().map(ToString::to_string);
            wait = match &outcome {
                Ok(()) => Duration::ZERO,
                Err(e) => {
                    tracing::warn!(destination = self.settings.name, "it waits: {e}");
                    e.retry_after().unwrap_or((wait * 2).clamp(Duration::from_secs(1), MAX_WAIT))
                }
            };
            self.count(problem);
            let jitter = chance::below(u64::try_from(wait.as_millis()).unwrap_or(1000) / 4 + 1);
            tokio::time::sleep(if wait.is_zero() { EVERY } else { wait + Duration::from_millis(jitter) })
                .await;
        }
    }

    /// Does everything there is to do now. The first trouble of the destination ends it; one of a single lesson does not.
    async fn round(&self) -> Result<(), Trouble> {
        let name = &self.settings.name;
        for id in self.store.discards_for(name)? {
            let Some(lesson) = self.store.lesson(&id)? else { continue };
            self.carrier.discard(&self.work(lesson, false)?).await?;
            tracing::info!(destination = name, lesson = %id, "it has nothing of the lesson any more");
            self.store.delivery_gone(&id, name)?;
        }
        let mut first = None;
        for lesson in self.store.waiting_for(name)? {
            let id = lesson.id.clone();
            match self.lesson(lesson).await {
                Ok(()) => {}
                Err(e) => {
                    self.store.delivery_problem(&id, name, Some(&e.to_string()))?;
                    if !e.is_of_lesson() {
                        return Err(e);
                    }
                    first.get_or_insert(e);
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    fn work(&self, lesson: Lesson, sealed: bool) -> Result<Work, Trouble> {
        Work::new(&self.store, &self.settings.name, &self.place, lesson, sealed)
    }

    async fn lesson(&self, lesson: Lesson) -> Result<(), Trouble> {
        let sealed = matches!(lesson.state, State::Sealed | State::Stored);
        let work = self.work(lesson, sealed)?;
        if !sealed {
            let all: u64 = work.parts.iter().map(|row| row.part.size).sum();
            let sent = self.store.delivery(&work.lesson.id, &self.settings.name)?.map_or(0, |d| d.sent_bytes);
            return if all > sent { self.carrier.grow(&work).await } else { Ok(()) };
        }
        let checked = self.carrier.finish(&work).await?;
        self.confirm(&work, &checked)
    }

    /// The written word, then the row.
    fn confirm(&self, work: &Work, checked: &[Checked]) -> Result<(), Trouble> {
        let id = &work.lesson.id;
        if self.store.lesson(id)?.is_none_or(|now| now.state == State::Discarded) {
            // Thrown away meanwhile: the next round takes it away there too.
            return Ok(());
        }
        let (name, wall_ms) = (&self.settings.name, clock::wall_ms());
        let word = json!({
            "v": 1,
            "lesson_id": id,
            "manifest_sha256": work.lesson.manifest_sha256,
            "destination": name,
            "kind": self.settings.way.kind(),
            "place": self.settings.way.place(),
            "confirmed_wall_ms": wall_ms,
            "objects": checked,
        });
        let path = work.folder.join(format!("stored-{name}.json"));
        let text = serde_json::to_vec_pretty(&word).map_err(|e| Trouble::lesson(e.to_string()))?;
        disk::replace(&path, &text).map_err(|e| Trouble::file(&path, &e))?;
        let state = self.store.confirm(id, name, wall_ms)?;
        tracing::info!(destination = name, lesson = %id, state = state.name(), "it has the lesson, and it was checked there");
        if state == State::Stored && work.lesson.state != State::Stored {
            self.store.tell_stored(id);
        }
        Ok(())
    }

    /// Puts the destination's part of the status on the board.
    fn count(&self, problem: Option<String>) {
        let counted = self.store.waiting_for(&self.settings.name).and_then(|waiting| {
            let mut bytes = 0;
            for lesson in &waiting {
                let all: u64 = self.store.parts(&lesson.id)?.iter().map(|row| row.part.size).sum();
                let sent = self.store.delivery(&lesson.id, &self.settings.name)?.map_or(0, |d| d.sent_bytes);
                bytes += all.saturating_sub(sent);
            }
            Ok((waiting.len() as u64, bytes))
        });
        match counted {
            Ok((waiting, pending)) => show(&self.store, &self.settings, |shown| {
                (shown.waiting, shown.pending_bytes) = (waiting, pending);
                (shown.reachable, shown.problem) = (Some(problem.is_none()), problem);
            }),
            Err(e) => tracing::error!("a destination's progress cannot be read: {e}"),
        }
    }
}

/// Changes a destination's part of the status; puts it there when it is new.
fn show(store: &Store, settings: &Settings, change: impl FnOnce(&mut status::Destination)) {
    store.board().update(|s| {
        let known = s.destinations.iter().position(|d| d.name == settings.name);
        let at = known.unwrap_or_else(|| {
            s.destinations.push(status::Destination {
                name: settings.name.clone(),
                kind: settings.way.kind(),
                required: settings.required,
                reachable: None,
                waiting: 0,
                pending_bytes: 0,
                problem: None,
            });
            s.destinations.len() - 1
        });
        change(&mut s.destinations[at]);
    });
}
