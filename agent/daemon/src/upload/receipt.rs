//! Checks a receipt and keeps it; only then is a lesson stored.

use std::path::Path;

use lectern_base::disk;
use lectern_wire::receipt::Receipt;
use lectern_wire::sign::{KeyRing, Signed};

use super::UploadError;
use crate::store::Store;
use crate::store::lessons::Lesson;

/// Checks that the known hub signed it for this very manifest, and makes it durable.
pub fn keep(
    store: &Store,
    folder: &Path,
    lesson: &Lesson,
    signed: &Signed<Receipt>,
) -> Result<(), UploadError> {
    let bad = |what: String| UploadError::BadReceipt(what);
    check(&store.hub_ring()?, lesson, signed).map_err(bad)?;
    let path = folder.join("receipt.json");
    let bytes = serde_json::to_vec_pretty(signed).map_err(|e| bad(e.to_string()))?;
    disk::replace(&path, &bytes).map_err(|e| UploadError::file(&path, e))
}

/// Whether the known hub signed a receipt for this very manifest.
///
/// # Errors
/// [`UploadError::BadReceipt`].
pub fn fits(store: &Store, lesson: &Lesson, signed: &Signed<Receipt>) -> Result<(), UploadError> {
    check(&store.hub_ring()?, lesson, signed).map_err(UploadError::BadReceipt)
}

fn check(ring: &KeyRing, lesson: &Lesson, signed: &Signed<Receipt>) -> Result<(), String> {
    let receipt = signed.verify(ring).map_err(|e| e.to_string())?;
    if receipt.v != 1 {
        return Err(format!("version {} is not known", receipt.v));
    }
    if receipt.lesson_id != lesson.id {
        return Err(format!("it is for lesson {}", receipt.lesson_id));
    }
    if Some(receipt.manifest_sha256) != lesson.manifest_sha256 {
        return Err("it names another manifest".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use lectern_wire::capture::{AudioSettings, CaptureSettings, Layout, VideoSettings};
    use lectern_wire::digest::Digest;
    use lectern_wire::id::LessonId;
    use lectern_wire::manifest::About;
    use lectern_wire::receipt::StoreLocation;
    use lectern_wire::sign::PublicKey;

    use super::*;
    use crate::model::lesson::State;

    #[test]
    fn only_the_known_hubs_receipt_for_this_manifest_counts() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let mut ring = KeyRing::default();
        ring.add(PublicKey::of(&key));
        let lesson = Lesson {
            number: 1,
            id: LessonId::new("l").expect("id"),
            state: State::Sealed,
            started_wall_ms: 0,
            boot_id: String::new(),
            about: About::default(),
            capture: CaptureSettings {
                layout: Layout::Screen,
                sources: vec![],
                video: VideoSettings {
                    width: 64,
                    height: 64,
                    fps: 25,
                    max_kbps: 100,
                    gop_s: 2,
                    encoder: None,
                },
                audio: AudioSettings { kbps: 96 },
                copy_camera: false,
            },
            cut_short: None,
            discarded_wall_ms: None,
            submitted: None,
            bell: None,
            manifest_sha256: Some(Digest::of(b"manifest")),
        };
        let receipt = Receipt {
            v: 1,
            lesson_id: lesson.id.clone(),
            manifest_sha256: Digest::of(b"manifest"),
            store: StoreLocation { kind: "file".into(), objects: vec![] },
            stored_wall_ms: 0,
            log_index: 0,
            log_prev: None,
            heads: None,
            log: None,
        };
        let sign = |r: &Receipt, k: &SigningKey| Signed::sign(r.clone(), k).expect("signs");
        assert_eq!(check(&ring, &lesson, &sign(&receipt, &key)), Ok(()));
        let other = Receipt { manifest_sha256: Digest::of(b"other"), ..receipt.clone() };
        assert!(check(&ring, &lesson, &sign(&other, &key)).is_err());
        assert!(check(&ring, &lesson, &sign(&receipt, &SigningKey::from_bytes(&[2; 32]))).is_err());
    }
}
