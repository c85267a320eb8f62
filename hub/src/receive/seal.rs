//! Sealing: the manifest is checked against itself, its signature and the stored bytes; then the
//! lesson gets its final names and its receipt. Safe to repeat at any point.

use lectern_base::{chance, clock, disk};
use lectern_wire::chain::Witness;
use lectern_wire::digest::Digest;
use lectern_wire::id::LessonId;
use lectern_wire::log::Salt;
use lectern_wire::manifest::{Manifest, Part};
use lectern_wire::receipt::{Receipt, StoreLocation, StoredObject};
use lectern_wire::sign::{self, Signed};

use super::discard::{discarded, is_discarded};
use super::problem::Problem;
use super::readback::ReadFault;
use super::{Receive, witness};
use crate::model::sound;
use crate::store::devices::Device;
use crate::store::lessons::{self, StoredPart};
use crate::store::objects::{Kind, Objects, Place, read_part};
use crate::store::{StoreError, device_keys, receipts};

impl Receive {
    /// Seals a lesson of a device.
    ///
    /// # Errors
    /// [`Problem`]; the lesson is then as it was.
    pub(super) async fn seal(
        &self,
        device: Device,
        lesson: LessonId,
        manifest: Signed<Manifest>,
    ) -> Result<Signed<Receipt>, Problem> {
        let _alone = self.inner.seal_locks.lock(lesson.clone()).await;
        let receive = self.clone();
        let sealed = tokio::task::spawn_blocking(move || receive.seal_now(&device, &lesson, &manifest));
        let outcome = sealed.await.map_err(|_| StoreError::Closing)?;
        self.deps().bell.ring();
        outcome
    }

    fn seal_now(
        &self,
        device: &Device,
        lesson: &LessonId,
        signed: &Signed<Manifest>,
    ) -> Result<Signed<Receipt>, Problem> {
        let deps = self.deps();
        let manifest = &signed.document;
        if (&manifest.lesson_id, &manifest.device, &manifest.school) != (lesson, &device.id, &device.school) {
            return Err(Problem::unsound(
                "wrong_lesson",
                "the manifest is of another lesson, device or school",
            ));
        }
        let ring = deps.store.read_now(|db| device_keys::live(db, &device.id))?;
        if ring.is_empty() {
            return Err(Problem::conflict(
                "not_announced",
                "no key of this device is known; announce the lesson first",
            ));
        }
        signed.verify(&ring).map_err(|e| Problem::unsound("bad_signature", e.to_string()))?;
        sound::check(manifest).map_err(|fault| Problem::unsound("bad_manifest", fault))?;
        let digest = manifest.digest().map_err(|e| Problem::unsound("bad_manifest", e.to_string()))?;

        let gone = || is_discarded(&deps.store, lesson);
        if gone()? {
            return Err(discarded());
        }
        if let Some(receipt) = deps.store.read_now(|db| receipts::find(db, lesson))? {
            return if receipt.document.manifest_sha256 == digest {
                Ok(receipt)
            } else {
                Err(super::part::sealed())
            };
        }
        let stored = deps.store.read_now(|db| lessons::parts(db, lesson))?;
        compare(manifest, &stored).or_else(|e| if gone()? { Err(discarded()) } else { Err(e) })?;
        if !deps.store.write_now(|db| lessons::begin_seal(db, signed, digest))? {
            return Err(discarded());
        }
        let outcome = self.finish(device, signed, digest);
        if outcome.is_err() {
            deps.store.write_now(|db| lessons::abandon_seal(db, lesson))?;
        }
        // Whatever stopped it, or stored it in the last moment: the teacher's word stands above.
        if gone()? { Err(discarded()) } else { outcome }
    }

    fn finish(
        &self,
        device: &Device,
        signed: &Signed<Manifest>,
        digest: Digest,
    ) -> Result<Signed<Receipt>, Problem> {
        let deps = self.deps();
        let manifest = &signed.document;
        let lesson = &manifest.lesson_id;
        let row = deps.store.read_now(|db| lessons::find(db, lesson.as_str()))?.ok_or_else(discarded)?;
        let place = Place::of(&row);
        let folder = deps.objects.folder(&place);
        let (objects, heads) = match place.kind {
            Kind::File => self.seal_files(device, &place, manifest)?,
            Kind::S3 => {
                let objects = self.seal_at_s3(&place, manifest)?;
                let read =
                    |take, part: &Part| deps.objects.source(&place, take)?.read_part_now(part.n, part.size);
                (objects, witness::settle(&deps.store, &device.id, manifest, read)?)
            }
        };
        let fail = |what: &'static str| move |e| Problem::from(StoreError::io(what)(e));
        disk::sync_folder(&folder).map_err(fail("syncing the lesson's folder"))?;
        let text = sign::canonical(signed).map_err(|e| Problem::unsound("bad_manifest", e.to_string()))?;
        disk::replace(&folder.join("manifest.json"), &text).map_err(fail("writing manifest.json"))?;
        if place.kind == Kind::S3 {
            self.document_at_s3(&place, "manifest.json", &text)?;
        }

        if let Some((text, _)) = &heads {
            disk::replace(&folder.join("heads.jsonl"), text.as_bytes())
                .map_err(fail("writing heads.jsonl"))?;
            if place.kind == Kind::S3 {
                self.document_at_s3(&place, "heads.jsonl", text.as_bytes())?;
            }
        }

        let location = StoreLocation { kind: place.kind.name().into(), objects };
        let facts = receipts::Facts {
            lesson,
            manifest_sha256: digest,
            store: location,
            heads: heads.map(|(_, witness)| witness),
            salt: Salt::new(chance::bytes()),
            now: clock::wall_ms(),
        };
        let receipt = deps.store.write_now(|db| receipts::append(db, &deps.signer, facts))?;
        let receipt = receipt.ok_or_else(discarded)?;
        deps.counts.receipts.one();
        self.inner.readback.forget(lesson);
        // The log is the truth; should this file not be written, recovery writes it at the next start.
        let text = sign::canonical(&receipt).unwrap_or_default();
        if let Err(e) = disk::replace(&folder.join("receipt.json"), &text) {
            tracing::error!(%lesson, "receipt.json could not be written beside the lesson: {e}");
        }
        if place.kind == Kind::S3
            && let Err(problem) = self.document_at_s3(&place, "receipt.json", &text)
        {
            tracing::error!(%lesson, "receipt.json could not be written into the bucket: {}", problem.message);
        }
        tracing::info!(%lesson, device = %device.id, log_index = receipt.document.log_index, "lesson stored");
        Ok(receipt)
    }
}

impl Receive {
    /// Reads the takes' files back and gives them their final names.
    fn seal_files(&self, device: &Device, place: &Place, manifest: &Manifest) -> Result<Sealed, Problem> {
        let deps = self.deps();
        let mut objects = Vec::new();
        for take in &manifest.takes {
            let (size, sha256) = self.inner.readback.advance(deps, place, take.n).map_err(|e| match e {
                ReadFault::Damaged { .. } => missing(e.to_string()),
                ReadFault::Store(e) => e.into(),
            })?;
            if (size, sha256) != (take.size, take.sha256) {
                return Err(mismatch(take.n, (size, sha256)));
            }
            objects.push(StoredObject { take: take.n, key: Objects::key(place, take.n), size, sha256 });
        }
        let read = |take, part: &Part| read_part(&deps.objects.partial(place, take), part.n, part.size);
        let heads = witness::settle(&deps.store, &device.id, manifest, read)?;
        for take in &manifest.takes {
            let done = deps.objects.finish(place, take.n, take.size);
            done.map_err(StoreError::io("sealing a take"))?;
        }
        Ok((objects, heads))
    }
}

/// The objects of a lesson that is sealed, and what its chain heads say.
type Sealed = (Vec<StoredObject>, Option<(String, Witness)>);

/// The bytes add up to something else than the manifest says.
pub(super) fn mismatch(take: u32, (size, sha256): (u64, Digest)) -> Problem {
    Problem::unsound(
        "take_mismatch",
        format!("take {take} reads back as {size} bytes with hash {sha256}, the manifest says otherwise"),
    )
}

/// Whether all parts of a manifest are stored, with its hashes.
fn compare(manifest: &Manifest, stored: &[StoredPart]) -> Result<(), Problem> {
    let mut absent = Vec::new();
    for take in &manifest.takes {
        for part in &take.parts {
            match stored.iter().find(|s| (s.take, s.n) == (take.n, part.n)) {
                Some(s) if (s.size, s.sha256) == (part.size, part.sha256) => {}
                Some(_) => return Err(super::part::differs(take.n, part.n)),
                None => absent.push(format!("{}/{}", take.n, part.n)),
            }
        }
    }
    if absent.is_empty() {
        return Ok(());
    }
    let count = absent.len();
    absent.truncate(50);
    Err(missing(format!("{count} parts are not here yet (take/part): {}; send them", absent.join(" "))))
}

pub(super) fn missing(message: String) -> Problem {
    Problem::conflict("parts_missing", message)
}
