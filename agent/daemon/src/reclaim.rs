//! Makes room: removes the bytes of lessons that are stored elsewhere for certain, oldest first.
//!
//! By rule (so many days after the receipt) or under pressure (less free than is to be kept free). Never a lesson
//! that waits for anything, and never without a receipt that is here and fits now. In this order:
//!
//! 1. The receipt is read and checked again.
//! 2. The row says reclaimed, with the reason and the proof it rests on, in one durable change.
//! 3. The takes are removed and the folder synced. Manifest and receipt stay.
//! 4. The row says that they are gone. A crash in between is made up for at the next start.

use std::time::Duration;

use lectern_base::{clock, disk};
use lectern_wire::digest::Digest;
use lectern_wire::receipt::Receipt;
use lectern_wire::sign::Signed;
use tokio_util::sync::CancellationToken;

use crate::model::lesson::State;
use crate::model::status::Keeping;
use crate::platform::rest;
use crate::store::clips::ClipState;
use crate::store::deliveries::HUB;
use crate::store::keeping::Decision;
use crate::store::lessons::Lesson;
use crate::store::{Store, StoreError, at};

/// How often free space is looked at.
const EVERY: Duration = Duration::from_secs(60);

/// When bytes may go.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Days a lesson's bytes stay here after it was stored.
    pub keep_days: u32,
    /// Bytes to be kept free on the disk.
    pub keep_free_bytes: u64,
}

/// Runs until told to stop; looks every minute and whenever a receipt arrives.
pub async fn run(store: Store, settings: Settings, stop: CancellationToken) {
    loop {
        let owner = store.clone();
        let work = move || {
            let made = reclaim(&owner, settings, clock::wall_ms());
            made.and_then(|()| count(&owner))
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::error!("stored lessons could not be cleared away: {e}"),
            Err(e) => tracing::error!("clearing away broke off: {e}"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = store.bells().reclaim.notified() => {}
            () = rest::about(EVERY) => {}
        }
    }
}

/// A lesson whose bytes may go.
struct Stored {
    lesson: Lesson,
    bytes: u64,
    stored_wall_ms: i64,
    proof: String,
}

/// Clears away what is due.
fn reclaim(store: &Store, settings: Settings, now_ms: i64) -> Result<(), StoreError> {
    // A crash between decision and deed left files behind.
    for lesson in store.lessons_in(State::Reclaimed)? {
        remove_takes(store, &lesson, now_ms)?;
    }
    let in_use: Vec<_> =
        store.clips()?.into_iter().filter(|c| c.state == ClipState::Waiting).map(|c| c.lesson).collect();
    let mut stored = Vec::new();
    for lesson in store.lessons_in(State::Stored)? {
        if in_use.contains(&lesson.id) {
            continue;
        }
        match proof(store, &lesson) {
            Ok((stored_wall_ms, proof)) => {
                let bytes = store.local_bytes(&lesson.id)?;
                stored.push(Stored { stored_wall_ms, bytes, proof, lesson });
            }
            Err(why) => tracing::warn!(lesson = %lesson.id, "its bytes stay here: {why}"),
        }
    }
    let free = disk::free_bytes(store.folder()).map_err(at(store.folder()))?;
    let sizes: Vec<_> =
        stored.iter().map(|s| (s.bytes, s.stored_wall_ms.max(s.lesson.started_wall_ms))).collect();
    for (n, why) in choose(&sizes, settings, free, now_ms) {
        let Stored { lesson, bytes, proof, .. } = &stored[n];
        store.decide_reclaim(&lesson.id, &Decision { wall_ms: now_ms, why, proof, bytes: *bytes })?;
        remove_takes(store, lesson, now_ms)?;
        tracing::info!(lesson = %lesson.id, why, bytes, "local bytes removed; the receipt is kept");
        let data =
            serde_json::json!({ "lesson_id": lesson.id, "state": "reclaimed", "why": why, "bytes": bytes });
        store.outbox().push_event("lesson", &data);
        store.bells().publish.notify_one();
        store.board().update(|s| {
            if let Some(shown) = s.lesson.as_mut().filter(|shown| shown.id == lesson.id) {
                shown.state = State::Reclaimed;
            }
        });
    }
    Ok(())
}

/// Which of the stored lessons go, oldest first, and why. Each is its bytes and when it was stored.
fn choose(stored: &[(u64, i64)], settings: Settings, free: u64, now_ms: i64) -> Vec<(usize, &'static str)> {
    let keep_ms = i64::from(settings.keep_days) * 86_400_000;
    let by_rule = |stored_ms: i64| now_ms - stored_ms > keep_ms;
    let mut free = free + stored.iter().filter(|(_, at)| by_rule(*at)).map(|(bytes, _)| bytes).sum::<u64>();
    let mut chosen = Vec::new();
    for (n, (bytes, stored_ms)) in stored.iter().enumerate() {
        if by_rule(*stored_ms) {
            chosen.push((n, "rule"));
        } else if free < settings.keep_free_bytes && *bytes > 0 {
            free += bytes;
            chosen.push((n, "pressure"));
        }
    }
    chosen
}

/// When a lesson was stored, and what says so: each required destination's word is here and fits now.
fn proof(store: &Store, lesson: &Lesson) -> Result<(i64, String), String> {
    let required = store.required();
    let (mut stored_wall_ms, mut words) = (i64::MIN, serde_json::Map::new());
    // Where nothing is required any more, the hub's word from before must stand.
    let hub = required.is_empty() || required.iter().any(|name| name == HUB);
    let others = required.iter().map(String::as_str).filter(|name| *name != HUB);
    for name in hub.then_some(HUB).into_iter().chain(others) {
        let (wall_ms, word) = match name {
            HUB => receipt(store, lesson)?,
            name => confirmation(store, lesson, name)?,
        };
        stored_wall_ms = stored_wall_ms.max(wall_ms);
        words.insert(name.to_owned(), word);
    }
    Ok((stored_wall_ms, serde_json::Value::Object(words).to_string()))
}

/// A destination's written word: it is here, and for this manifest.
fn confirmation(store: &Store, lesson: &Lesson, name: &str) -> Result<(i64, serde_json::Value), String> {
    let file = format!("stored-{name}.json");
    let bytes =
        std::fs::read(store.lesson_folder(&lesson.id).join(&file)).map_err(|e| format!("{file}: {e}"))?;
    let word: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| format!("{file}: {e}"))?;
    let manifest = lesson.manifest_sha256.map(|digest| digest.to_string());
    let fits =
        word["lesson_id"] == lesson.id.as_str() && word["manifest_sha256"].as_str() == manifest.as_deref();
    match word["confirmed_wall_ms"].as_i64().filter(|_| fits && manifest.is_some()) {
        Some(wall_ms) => Ok((wall_ms, serde_json::json!({ "sha256": Digest::of(&bytes) }))),
        None => Err(format!("{file} is for another lesson or another manifest")),
    }
}

/// The hub's receipt: it is here, the known hub signed it, and it is for this manifest.
fn receipt(store: &Store, lesson: &Lesson) -> Result<(i64, serde_json::Value), String> {
    let path = store.lesson_folder(&lesson.id).join("receipt.json");
    let bytes = std::fs::read(&path).map_err(|e| format!("receipt.json: {e}"))?;
    let signed: Signed<Receipt> = serde_json::from_slice(&bytes).map_err(|e| format!("receipt.json: {e}"))?;
    let ring = store.hub_ring().map_err(|e| e.to_string())?;
    let receipt = signed.verify(&ring).map_err(|e| format!("receipt.json: {e}"))?;
    if receipt.lesson_id != lesson.id || Some(receipt.manifest_sha256) != lesson.manifest_sha256 {
        return Err("receipt.json is for another lesson or another manifest".into());
    }
    let digest = receipt.digest().map_err(|e| e.to_string())?;
    let word = serde_json::json!({ "receipt": digest, "log_index": receipt.log_index });
    Ok((receipt.stored_wall_ms, word))
}

fn remove_takes(store: &Store, lesson: &Lesson, now_ms: i64) -> Result<(), StoreError> {
    let folder = store.lesson_folder(&lesson.id);
    let mut removed = false;
    for take in store.takes(&lesson.id)? {
        let path = folder.join(format!("take-{}.mp4", take.n));
        match std::fs::remove_file(&path) {
            Ok(()) => removed = true,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(at(&path)(e)),
        }
    }
    if removed {
        disk::sync_folder(&folder).map_err(at(&folder))?;
    }
    store.reclaimed(&lesson.id, now_ms)
}

/// Puts what waits, and what it takes up, on the board.
fn count(store: &Store) -> Result<(), StoreError> {
    let mut keeping = Keeping::default();
    for lesson in store.waiting_lessons()?.iter().filter(|l| !l.state.is_live()) {
        keeping.waiting += 1;
        keeping.waiting_bytes += store.local_bytes(&lesson.id)?;
    }
    for lesson in store.lessons_in(State::Stored)? {
        keeping.stored += 1;
        keeping.stored_bytes += store.local_bytes(&lesson.id)?;
    }
    store.board().update(|s| s.keeping = keeping);
    Ok(())
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use lectern_wire::capture::{AudioSettings, CaptureSettings, Layout, VideoSettings};
    use lectern_wire::id::LessonId;
    use lectern_wire::manifest::About;
    use lectern_wire::sign::PublicKey;

    use super::*;
    use crate::model::lesson::Event;

    fn capture() -> CaptureSettings {
        CaptureSettings {
            layout: Layout::Screen,
            sources: vec![],
            video: VideoSettings { width: 64, height: 64, fps: 25, max_kbps: 100, gop_s: 2, encoder: None },
            audio: AudioSettings { kbps: 96 },
            copy_camera: false,
        }
    }

    const DAY: i64 = 86_400_000;
    const GB: u64 = 1_000_000_000;

    #[test]
    fn under_pressure_the_oldest_go_first_and_no_more_than_needed() {
        let stored = [(GB, DAY), (2 * GB, 2 * DAY), (GB, 3 * DAY), (GB, 4 * DAY)];
        let settings = Settings { keep_days: 7, keep_free_bytes: 5 * GB };
        let chosen = |free| choose(&stored, settings, free, 5 * DAY);
        assert_eq!(chosen(5 * GB), []);
        assert_eq!(chosen(4 * GB), [(0, "pressure")]);
        assert_eq!(chosen(3 * GB), [(0, "pressure"), (1, "pressure")]);
        assert_eq!(chosen(0).len(), 4);
    }

    #[test]
    fn what_goes_by_rule_counts_towards_what_is_needed() {
        let stored = [(2 * GB, 0), (GB, 6 * DAY), (GB, 7 * DAY)];
        let settings = Settings { keep_days: 7, keep_free_bytes: 5 * GB };
        assert_eq!(choose(&stored, settings, 3 * GB, 8 * DAY), [(0, "rule")]);
        assert_eq!(choose(&stored, settings, 2 * GB, 8 * DAY), [(0, "rule"), (1, "pressure")]);
    }

    /// A stored lesson with one take; the receipt is signed by the key of that seed.
    fn stored_lesson(store: &Store, seed: u8) -> Lesson {
        let id = LessonId::new(format!("l-{seed}")).expect("id");
        let folder = store.lesson_folder(&id);
        std::fs::create_dir_all(&folder).expect("folder");
        store.begin_lesson(&id, 5, "boot", &About::default(), &capture()).expect("begins");
        for event in [Event::Durable, Event::Ended] {
            store.advance(&id, event).expect("advances");
        }
        let manifest_sha256 = Digest::of(b"manifest");
        store.seal(&id, manifest_sha256).expect("seals");
        store.advance(&id, Event::Receipted).expect("advances");
        std::fs::write(folder.join("take-1.mp4"), b"take").expect("writes");
        let receipt: Receipt = serde_json::from_value(serde_json::json!({
            "v": 1, "lesson_id": id, "manifest_sha256": manifest_sha256, "stored_wall_ms": 5, "log_index": 0,
            "store": { "kind": "file", "objects": [] },
        }))
        .expect("a receipt");
        let signed = Signed::sign(receipt, &SigningKey::from_bytes(&[seed; 32])).expect("signs");
        std::fs::write(folder.join("receipt.json"), serde_json::to_vec(&signed).expect("json"))
            .expect("writes");
        store.lesson(&id).expect("reads").expect("is there")
    }

    #[test]
    fn only_a_receipt_of_the_known_hub_lets_bytes_go_and_the_decision_stands_before_the_deed() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path(), 1 << 20).expect("opens");
        let known = PublicKey::of(&SigningKey::from_bytes(&[1; 32]));
        store.set_fact("hub_key", &String::from(known)).expect("sets");
        let (ours, forged) = (stored_lesson(&store, 1), stored_lesson(&store, 2));
        let take = |lesson: &Lesson| store.lesson_folder(&lesson.id).join("take-1.mp4");
        // More than any disk has: pressure for ever.
        let settings = Settings { keep_days: 3650, keep_free_bytes: u64::MAX };
        reclaim(&store, settings, 1_000).expect("reclaims");
        assert!(!take(&ours).exists() && take(&forged).exists());
        assert!(store.lesson_folder(&ours.id).join("receipt.json").exists());
        assert_eq!(store.reclaim_of(&ours.id).expect("reads"), Some(("pressure".into(), 1_000)));
        assert_eq!(store.reclaim_of(&forged.id).expect("reads"), None);
        // A crash between decision and deed: the next look makes up for it.
        std::fs::write(take(&ours), b"left behind").expect("writes");
        reclaim(&store, settings, 2_000).expect("reclaims");
        assert!(!take(&ours).exists());
        assert_eq!(store.reclaim_of(&ours.id).expect("reads"), Some(("pressure".into(), 1_000)));
    }

    #[test]
    fn a_clock_that_fell_back_to_2013_removes_nothing_by_rule() {
        let settings = Settings { keep_days: 0, keep_free_bytes: 0 };
        assert_eq!(choose(&[(GB, 1_789_180_200_000)], settings, 0, 1_357_000_000_000), []);
    }
}
