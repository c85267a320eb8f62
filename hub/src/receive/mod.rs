//! Floor 3: lessons arrive over HTTP, part by part, and leave a signed receipt.
//!
//! Numbered invariants, in the order they are kept:
//! 1. A part's row is committed only after all its bytes were written and have the granted hash. It says what the device
//!    need not send now, not what is durable: the device keeps its bytes until the receipt.
//! 2. A grant lets its holder store exactly the bytes it names; anything else leaves no row.
//! 3. Every byte is made durable, then read back from the disk, against its part's hash and the take's, before a receipt.
//! 4. A receipt is appended only after all takes and `manifest.json` are durable under their final names.
//! 5. A lesson without a receipt has only `.partial` files; [`recover`] restores this at start.
//! 6. A lesson with a receipt never changes; sealing it again answers the same receipt.
//! 7. A lesson that its teacher threw away has no bytes and takes none in; see [`discard`].

mod api;
mod at_s3;
pub mod check;
#[cfg(test)]
mod crash;
mod discard;
#[cfg(test)]
mod evidence_tests;
pub mod janitor;
mod lock;
mod log_api;
pub mod log_check;
mod part;
mod readback;
pub mod recover;
pub mod retention;
mod seal;
#[cfg(test)]
mod tests;
pub mod witness;

use std::sync::Arc;

use lectern_wire::id::LessonId;
use lectern_wire::upload::{LessonStatus, StoreState};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::admission::Admission;
use crate::model::bell::Bell;
use crate::model::count::Counts;
use crate::store::keys::Signer;
use crate::store::objects::{Objects, Place};
use crate::store::reliance::Reliance;
use crate::store::{Store, StoreError, lessons};

use crate::door::problem;
pub use api::{router, routes, store_routes};

/// The stage's handle. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Receive {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    deps: Deps,
    part_locks: lock::Locks<(LessonId, u32, u32)>,
    /// Held while a lesson is sealed, from the first look at its rows to its receipt.
    seal_locks: lock::Locks<LessonId>,
    /// Held for a moment: between the look whether a lesson still takes anything in and the making of a
    /// name in its folder.
    folder_locks: lock::Locks<LessonId>,
    /// Whose part may come now.
    admission: std::sync::Mutex<Admission>,
    readback: readback::Readback,
    read_soon: mpsc::Sender<(Place, u32)>,
    at_s3: at_s3::AtS3,
    /// Seals and discards go on when their device hangs up; stopping waits for them.
    seals: TaskTracker,
}

/// What receiving needs from below.
#[derive(Debug)]
pub struct Deps {
    /// Rows.
    pub store: Store,
    /// Bytes.
    pub objects: Objects,
    /// Grants are keyed with this.
    pub grant_key: [u8; 32],
    /// Receipts and checkpoints are signed with this.
    pub signer: Signer,
    /// Rung when a lesson changes.
    pub bell: Bell,
    /// Counters.
    pub counts: Arc<Counts>,
    /// Space that stays free, bytes.
    pub keep_free_bytes: u64,
    /// Parts that may be on their way at once, over all rooms.
    pub parts_at_once: usize,
    /// What an S3 store can be trusted with.
    pub reliance: Reliance,
}

/// What waits to be read back; when it is full the rest is read at sealing.
const READ_SOON: usize = 1024;

impl Receive {
    /// The stage and the work of its background reader.
    pub fn new(deps: Deps) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (read_soon, mut to_read) = mpsc::channel(READ_SOON);
        let admission = std::sync::Mutex::new(Admission::new(deps.parts_at_once));
        let inner = Inner {
            deps,
            part_locks: lock::Locks::default(),
            seal_locks: lock::Locks::default(),
            folder_locks: lock::Locks::default(),
            admission,
            readback: readback::Readback::default(),
            read_soon,
            at_s3: at_s3::AtS3::default(),
            seals: TaskTracker::new(),
        };
        let receive = Self { inner: Arc::new(inner) };
        // The reader must not keep itself alive by holding the sender it waits for.
        let reader = Arc::downgrade(&receive.inner);
        let work = async move {
            while let Some((place, take)) = to_read.recv().await {
                let Some(inner) = reader.upgrade() else { return };
                let read = tokio::task::spawn_blocking(move || {
                    if let Err(e) = inner.readback.advance(&inner.deps, &place, take) {
                        tracing::warn!(lesson = %place.lesson, take, "reading back: {e}");
                    }
                });
                if read.await.is_err() {
                    tracing::error!("the background reader ended early; lessons are read at sealing");
                }
            }
        };
        (receive, work)
    }

    fn deps(&self) -> &Deps {
        &self.inner.deps
    }

    fn admission(&self) -> std::sync::MutexGuard<'_, Admission> {
        self.inner.admission.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits until no seal or discard is under way.
    pub async fn drain(&self, stop: CancellationToken) {
        stop.cancelled().await;
        self.inner.seals.close();
        self.inner.seals.wait().await;
    }

    /// What the store has of a lesson.
    ///
    /// # Errors
    /// What the database says.
    async fn status(&self, lesson: LessonId) -> Result<LessonStatus, StoreError> {
        self.deps()
            .store
            .read(move |db| {
                let state = lessons::find(db, lesson.as_str())?.map_or(StoreState::Receiving, |l| l.state);
                let mut status = LessonStatus { lesson_id: lesson, state, parts: Default::default() };
                for part in lessons::parts(db, &status.lesson_id)? {
                    status.parts.entry(part.take).or_default().push(part.n);
                }
                Ok(status)
            })
            .await
    }
}
