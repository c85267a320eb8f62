//! Lessons at an S3 store. The store takes a part's bytes and checks them against the hash that is signed into the
//! URL; it does not tell the hub. In order:
//!
//! 1. A take's upload is begun and its row written before the first grant: what is at the store has a row.
//! 2. The device sends a part to the store, then says so here. The hub looks into the store's own list, not at the
//!    device's word: number, length and, where the store keeps it, hash. Only then the part's row is committed.
//! 3. At sealing the object is completed and read back whole, every part against its hash. An object that is not what
//!    was recorded is deleted and its parts are forgotten, so the device sends them again.
//! 4. After the receipt nothing can change the object: its upload is over, and there is no grant for anything else.
//!
//! A hub that dies anywhere goes on where it was: completing twice is answered by looking whether the object is there.
//! A store that cannot be trusted to refuse wrong bytes gets its parts from the hub, which checks them itself.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::TryStreamExt as _;
use lectern_base::clock;
use lectern_wire::digest::Digest;
use lectern_wire::id::LessonId;
use lectern_wire::manifest::{Manifest, Take};
use lectern_wire::receipt::StoredObject;
use lectern_wire::upload::{Grant, GrantRequest, StoreState};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::Receive;
use super::discard::discarded;
use super::problem::Problem;
use crate::model::grant::{Granted, LIFE_MS};
use crate::store::StoreError;
use crate::store::at_s3::{self, Object};
use crate::store::lessons::{self, Lesson, StoredPart};
use crate::store::objects::bucket::{Bucket, S3Error};
use crate::store::objects::source::{parts, waiting};
use crate::store::objects::{Objects, Place};

/// Parts that pass through the hub side by side: each is held in memory until it is checked.
const PASSING: usize = 8;

/// What is remembered while the hub runs.
#[derive(Debug)]
pub struct AtS3 {
    /// Parts granted and not yet said to be sent.
    granted: Mutex<HashSet<(LessonId, u32, u32)>>,
    passing: Semaphore,
    started_ms: i64,
}

impl Default for AtS3 {
    fn default() -> Self {
        Self { granted: Mutex::default(), passing: Semaphore::new(PASSING), started_ms: clock::wall_ms() }
    }
}

/// The store has no such part: it is sent again.
fn not_there(take: u32, n: u32) -> Problem {
    Problem::conflict(
        "part_not_there",
        format!("the store does not have part {n} of take {take} as it was granted; send it again"),
    )
}

fn failed(what: &'static str) -> impl FnOnce(S3Error) -> Problem {
    move |e| StoreError::s3(what)(e).into()
}

impl Receive {
    fn bucket(&self) -> Result<Arc<Bucket>, Problem> {
        let bucket = self.deps().objects.bucket().map_err(StoreError::io("finding the S3 store"))?;
        Ok(Arc::clone(bucket))
    }

    /// The upload that makes a take's object; begun when there is none.
    async fn upload(&self, lesson: &LessonId, take: u32) -> Result<Object, Problem> {
        let deps = self.deps();
        let bucket = self.bucket()?;
        // From here on nobody cleans up behind this lesson.
        let _nobody_removes = self.inner.folder_locks.lock(lesson.clone()).await;
        let id = lesson.clone();
        let look =
            deps.store.read(move |db| Ok((lessons::find(db, id.as_str())?, at_s3::find(db, &id, take)?)));
        let (row, object) = look.await?;
        let row = row.ok_or_else(discarded)?;
        match row.state {
            StoreState::Discarded => return Err(discarded()),
            StoreState::Stored => return Err(super::part::sealed()),
            StoreState::Receiving | StoreState::Verifying => {}
        }
        if let Some(object) = object {
            return Ok(object);
        }
        let place = Place::of(&row);
        let key = deps.objects.object_key(&place, take).map_err(StoreError::io("finding the S3 store"))?;
        let hashes = deps.reliance.hashes_kept();
        let upload = bucket.begin(&key, hashes).await.map_err(failed("beginning an upload"))?;
        let object = Object { lesson: lesson.clone(), take, key, upload, begun_ms: clock::wall_ms(), hashes };
        let keep = object.clone();
        deps.store.write(move |db| at_s3::add(db, &keep)).await?;
        Ok(object)
    }

    /// Leave to send a part to the store, or to the hub where the store cannot be trusted with it.
    pub(super) async fn grant_at_s3(
        &self,
        lesson: Lesson,
        take: u32,
        wish: GrantRequest,
    ) -> Result<Grant, Problem> {
        let expires_ms = clock::wall_ms() + LIFE_MS;
        let bucket = self.bucket()?;
        let object = self.upload(&lesson.id, take).await?;
        let part = (lesson.id.clone(), take, wish.n);
        let again = {
            let mut granted = self.inner.at_s3.granted.lock().unwrap_or_else(PoisonError::into_inner);
            if granted.len() > 100_000 {
                granted.clear();
            }
            !granted.insert(part) || object.begun_ms < self.inner.at_s3.started_ms
        };
        if again && object.hashes {
            // It may have arrived already and only its word was lost.
            if self.settle(&bucket, &object, &wish).await.is_ok() {
                return Ok(Grant { url: None, headers: Default::default(), expires_ms, confirm: false });
            }
        } else if again {
            // A store that keeps no hashes cannot tell; but that it refused the first grant may be a matter of clocks.
            bucket.ask_the_time().await.map_err(failed("asking the time"))?;
        }
        if bucket.settings().through_hub || !self.deps().reliance.direct() {
            let GrantRequest { n, size, sha256, .. } = wish;
            let granted = Granted { lesson: lesson.id, take, n, size, sha256, expires_ms };
            let url = Some(granted.url(&self.deps().grant_key));
            return Ok(Grant { url, headers: Default::default(), expires_ms, confirm: false });
        }
        let lasts = Duration::from_millis(LIFE_MS.unsigned_abs());
        let (url, headers) = bucket.grant(&object.key, &object.upload, wish.n, wish.size, wish.sha256, lasts);
        // The length is in the signature too, but it is HTTP's own header: the sender's library writes it.
        let headers = headers.into_iter().filter(|(name, _)| *name != "content-length");
        let headers = headers.map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(Grant { url: Some(url.into()), headers, expires_ms, confirm: true })
    }

    /// A device says that it has sent a part to the store. Safe to repeat.
    pub(super) async fn sent(&self, lesson: &Lesson, take: u32, said: GrantRequest) -> Result<(), Problem> {
        let deps = self.deps();
        let id = lesson.id.clone();
        let look = deps
            .store
            .read(move |db| Ok((lessons::find_part(db, &id, take, said.n)?, at_s3::find(db, &id, take)?)));
        let (part, object) = look.await?;
        match part {
            Some(part) if (part.size, part.sha256) == (said.size, said.sha256) => return Ok(()),
            Some(_) => return Err(super::part::differs(take, said.n)),
            None if lesson.state == StoreState::Stored => return Err(super::part::sealed()),
            None => {}
        }
        let object = object.ok_or_else(|| not_there(take, said.n))?;
        let bucket = self.bucket()?;
        self.settle(&bucket, &object, &said).await
    }

    /// Commits a part when the store's own list has it.
    async fn settle(&self, bucket: &Bucket, object: &Object, part: &GrantRequest) -> Result<(), Problem> {
        let listed = bucket.part(&object.key, &object.upload, part.n).await;
        let listed = match listed {
            Err(e) if e.is_missing() => None,
            other => other.map_err(failed("asking for a part"))?,
        };
        let fits = listed.filter(|listed| {
            listed.size == part.size && listed.digest().is_none_or(|digest| digest == part.sha256)
        });
        let listed = fits.ok_or_else(|| not_there(object.take, part.n))?;
        self.commit(object, part, listed.etag).await
    }

    async fn commit(&self, object: &Object, part: &GrantRequest, etag: String) -> Result<(), Problem> {
        let (deps, now) = (self.deps(), clock::wall_ms());
        let (take, n) = (object.take, part.n);
        let row = StoredPart { take, n, size: part.size, sha256: part.sha256, read_back: false };
        let keep = object.clone();
        if !deps.store.write(move |db| at_s3::add_part(db, &keep, &row, &etag, now)).await? {
            let gone = super::discard::is_discarded(&deps.store, &object.lesson)?;
            return Err(if gone { discarded() } else { not_there(take, n) });
        }
        let part_key = (object.lesson.clone(), take, n);
        self.inner.at_s3.granted.lock().unwrap_or_else(PoisonError::into_inner).remove(&part_key);
        deps.counts.parts.one();
        deps.counts.bytes.add(part.size);
        deps.bell.ring();
        Ok(())
    }

    /// Waits until one more part may be held in memory.
    pub(super) async fn may_pass(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Problem> {
        Ok(self.inner.at_s3.passing.acquire().await.map_err(|_| StoreError::Closing)?)
    }

    /// Passes a part on to the store, whose bytes the hub has checked.
    pub(super) async fn pass_on(&self, grant: &Granted, bytes: Bytes) -> Result<(), Problem> {
        let bucket = self.bucket()?;
        let object = self.upload(&grant.lesson, grant.take).await?;
        let hash = object.hashes.then_some(grant.sha256);
        let sent = bucket.put_part(&object.key, &object.upload, grant.n, bytes, hash).await;
        let etag = match sent {
            Err(e) if e.is_missing() => {
                self.lost(&object)?;
                return Err(failed("passing a part on")(e));
            }
            other => other.map_err(failed("passing a part on"))?,
        };
        let part = GrantRequest { n: grant.n, size: grant.size, sha256: grant.sha256, live: false };
        self.commit(&object, &part, etag).await
    }

    /// The store has lost an upload: its parts are forgotten here, so they are sent again.
    fn lost(&self, object: &Object) -> Result<(), StoreError> {
        tracing::error!(lesson = %object.lesson, take = object.take, "the S3 store has lost an upload; its parts are asked for again");
        self.deps().store.write_now(|db| at_s3::forget(db, &object.lesson, object.take))
    }

    /// Completes the objects of a lesson and reads them back. For threads that may wait.
    pub(super) fn seal_at_s3(
        &self,
        place: &Place,
        manifest: &Manifest,
    ) -> Result<Vec<StoredObject>, Problem> {
        let bucket = self.bucket()?;
        let mut objects = Vec::new();
        for take in &manifest.takes {
            let (lesson, n) = (&place.lesson, take.n);
            let found = self.deps().store.read_now(|db| at_s3::find(db, lesson, n))?;
            let object =
                found.ok_or_else(|| super::seal::missing(format!("take {n} is not here yet; send it")))?;
            self.complete(&bucket, &object, take)?;
            let read = self.read_back(&bucket, &object, take)?;
            if read != (take.size, take.sha256) {
                return Err(super::seal::mismatch(n, read));
            }
            objects.push(StoredObject { take: n, key: object.key, size: read.0, sha256: read.1 });
        }
        Ok(objects)
    }

    fn complete(&self, bucket: &Bucket, object: &Object, take: &Take) -> Result<(), Problem> {
        let etags = self.deps().store.read_now(|db| at_s3::etags(db, &object.lesson, take.n))?;
        let named = etags.into_iter().zip(&take.parts);
        let parts: Vec<_> = named.map(|(etag, part)| (etag, object.hashes.then_some(part.sha256))).collect();
        let Err(e) = waiting(bucket.complete(&object.key, &object.upload, &parts)) else { return Ok(()) };
        // It may have been completed before: by a hub that died, or by a request whose answer was lost.
        let there = waiting(bucket.size(&object.key)).map_err(failed("looking for an object"))?;
        if there == Some(take.size) {
            tracing::info!(lesson = %object.lesson, take = take.n, "the object was completed before: {e}");
            return Ok(());
        }
        if e.is_missing() || e.lacks_parts() {
            waiting(bucket.abort(&object.key, &object.upload)).map_err(failed("giving up an upload"))?;
            self.lost(object)?;
            return Err(super::seal::missing(format!(
                "the S3 store has lost take {}; send it again",
                take.n
            )));
        }
        Err(failed("completing an object")(e))
    }

    /// Reads an object back; one that is not what was stored is deleted, so that it can come again.
    fn read_back(
        &self,
        bucket: &Arc<Bucket>,
        object: &Object,
        take: &Take,
    ) -> Result<(u64, Digest), Problem> {
        let sizes = take.parts.iter().map(|part| part.size).collect();
        let (mut whole, mut size, mut n) = (Sha256::new(), 0, 0_usize);
        let damage = waiting(async {
            let mut stream = std::pin::pin!(parts(Arc::clone(bucket), object.key.clone(), sizes));
            loop {
                match stream.try_next().await {
                    Ok(Some((hash, bytes))) if take.parts.get(n).is_some_and(|p| p.sha256 == hash) => {
                        whole.update(&bytes);
                        size += bytes.len() as u64;
                        n += 1;
                    }
                    Ok(Some(_)) => return Ok(Some(n)),
                    Ok(None) => return Ok(None),
                    Err(e) => return Err(StoreError::io("reading an object back")(e)),
                }
            }
        })?;
        let longer =
            waiting(bucket.size(&object.key)).map_err(failed("looking for an object"))? != Some(take.size);
        if damage.is_none() && !longer {
            return Ok((size, Digest::finish(whole)));
        }
        tracing::error!(lesson = %object.lesson, take = take.n, part = damage, "the S3 store holds other bytes than were sent");
        waiting(bucket.delete(&object.key)).map_err(failed("deleting a damaged object"))?;
        self.lost(object)?;
        Err(super::seal::missing(format!(
            "take {} reads back from the S3 store with other bytes than were sent; send it again",
            take.n
        )))
    }

    /// Writes a lesson's document beside its takes in the bucket. For threads that may wait.
    pub(super) fn document_at_s3(&self, place: &Place, name: &str, text: &[u8]) -> Result<(), Problem> {
        let bucket = self.bucket()?;
        let key = format!("{}{}", bucket.settings().prefix, Objects::document_key(place, name));
        let headers = [("content-type", "application/json")];
        waiting(bucket.put(&key, Bytes::copy_from_slice(text), &headers))
            .map_err(failed("writing a document"))
    }

    /// Removes what a lesson has at the store; safe to repeat. Nobody may be at work on it.
    pub(super) async fn remove_at_s3(&self, place: &Place) -> Result<(), Problem> {
        let bucket = self.bucket()?;
        let lesson = place.lesson.clone();
        let objects = self.deps().store.read(move |db| at_s3::of_lesson(db, &lesson)).await?;
        for name in ["manifest.json", "receipt.json", "heads.jsonl"] {
            let key = format!("{}{}", bucket.settings().prefix, Objects::document_key(place, name));
            bucket.delete(&key).await.map_err(failed("removing a discarded lesson"))?;
        }
        for object in objects {
            self.remove_object(&bucket, object).await?;
        }
        Ok(())
    }

    /// Removes one take at the store: its upload, its object, and only then its row.
    pub(super) async fn remove_object(&self, bucket: &Bucket, object: Object) -> Result<(), Problem> {
        let gone = "removing a lesson from the S3 store";
        bucket.abort(&object.key, &object.upload).await.map_err(failed(gone))?;
        bucket.delete(&object.key).await.map_err(failed(gone))?;
        let (lesson, take) = (object.lesson, object.take);
        self.deps().store.write(move |db| at_s3::forget(db, &lesson, take)).await?;
        Ok(())
    }
}
