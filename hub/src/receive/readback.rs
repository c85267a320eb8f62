//! Makes durable what was stored and reads it back from the disk, in order, so that at sealing only the end is left.
//!
//! What a power cut takes from the hub's memory is found here too: after a restart the rows may know of parts whose bytes
//! never reached the disk. Their hashes do not fit, and the device sends them again.
//!
//! One pass serves both checks: each part's own hash and, carried along, the hash of the whole take.
//! After a restart the pass starts again from the first byte.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lectern_wire::digest::Digest;
use lectern_wire::id::{DeviceId, LessonId};
use sha2::{Digest as _, Sha256};

use super::Deps;
use crate::store::objects::{Place, read_part_into};
use crate::store::{StoreError, lessons};

/// How far each take has been read back.
#[derive(Debug, Default)]
pub struct Readback {
    takes: Mutex<HashMap<(LessonId, u32), Shared>>,
}

/// One take's pass: whoever reads holds it.
type Shared = Arc<Mutex<Progress>>;

#[derive(Debug, Default, Clone)]
struct Progress {
    next: u32,
    size: u64,
    hasher: Sha256,
}

/// What stopped a pass.
#[derive(Debug, thiserror::Error)]
pub enum ReadFault {
    /// A part is not what was stored; its row is gone, so the device sends it again.
    #[error("part {n} of take {take} could not be read back as it was stored; the device will send it again")]
    Damaged {
        /// Take number.
        take: u32,
        /// Part number.
        n: u32,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Readback {
    /// Reads what has arrived without a hole; answers size and hash of all that.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn advance(&self, deps: &Deps, place: &Place, take: u32) -> Result<(u64, Digest), ReadFault> {
        let progress = {
            let mut takes = self.takes.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(takes.entry((place.lesson.clone(), take)).or_default())
        };
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        let first = progress.next;
        let outcome = Self::read_on(deps, place, take, &mut progress);
        if progress.next > first {
            deps.store
                .write_now_unsynced(|db| lessons::set_read_back(db, &place.lesson, take, progress.next))?;
        }
        outcome?;
        Ok((progress.size, Digest::finish(progress.hasher.clone())))
    }

    fn read_on(deps: &Deps, place: &Place, take: u32, progress: &mut Progress) -> Result<(), ReadFault> {
        let path = deps.objects.partial(place, take);
        let lesson = &place.lesson;
        let mut bytes = Vec::new();
        loop {
            let arrived = deps.store.read_now(|db| lessons::parts_from(db, lesson, take, progress.next))?;
            let Some(first) = arrived.first().map(|part| part.n) else { return Ok(()) };
            let damaged = |n: u32, why: String| {
                tracing::error!(%lesson, take, part = n, "a stored part is damaged: {why}");
                ReadFault::Damaged { take, n }
            };
            if let Err(e) = deps.objects.sync(place, take) {
                // Never asked a second time: the kernel may have let go of what it could not write.
                deps.store.write_now(|db| {
                    arrived.iter().try_for_each(|part| lessons::drop_part(db, lesson, take, part.n).map(drop))
                })?;
                return Err(damaged(first, e.to_string()));
            }
            for part in arrived {
                match read_part_into(&mut bytes, &path, part.n, part.size) {
                    Ok(()) if Digest::of(&bytes) == part.sha256 => {}
                    other => {
                        if !deps.store.write_now(|db| lessons::drop_part(db, lesson, take, part.n))? {
                            // The lesson was thrown away while its part was read.
                            return Ok(());
                        }
                        let why =
                            other.err().map_or_else(|| "its bytes differ".to_owned(), |e| e.to_string());
                        return Err(damaged(part.n, why));
                    }
                }
                if let Ok(device) = DeviceId::new(place.owner.1.as_str()) {
                    super::witness::look(&deps.store, lesson, &device, take, &part, &bytes)?;
                }
                progress.hasher.update(&bytes);
                progress.size += part.size;
                progress.next += 1;
            }
        }
    }

    /// Forgets a lesson's passes.
    pub fn forget(&self, lesson: &LessonId) {
        self.takes.lock().unwrap_or_else(PoisonError::into_inner).retain(|(l, _), _| l != lesson);
    }
}
