//! Changing this device's signing key. In this order: 1. the new key is durable as `device.key.next`; 2. the fact
//! `key_rotations` holds the old key's word for it; 3. it takes the name `device.key`. A start after a crash in
//! between does the third. The hub is told with the next lesson; what the old key signed stays signed.

use std::io;
use std::path::Path;

use ed25519_dalek::SigningKey;
use lectern_base::{clock, disk};
use lectern_wire::id::DeviceId;
use lectern_wire::manifest::Manifest;
use lectern_wire::rotation::{Rotation, owner};
use lectern_wire::sign::{KeyRing, PublicKey, Signed};

use super::SealError;
use crate::model::lesson::State;
use crate::platform::identity;
use crate::store::deliveries::HUB;
use crate::store::lessons::Lesson;
use crate::store::{Store, StoreError};

const FACT: &str = "key_rotations";
/// The fact that names a key which follows no other and which the hub took in by a card, since the one before was lost; and
/// how many changes there were then: it counts until the next one.
const REGISTERED: &str = "key_registered";

/// All changes of this device's key, oldest first.
///
/// # Errors
/// [`StoreError`].
pub fn rotations(store: &Store) -> Result<Vec<Signed<Rotation>>, StoreError> {
    let text = store.fact(FACT)?;
    let read = |text: String| serde_json::from_str(&text);
    text.map_or(Ok(Vec::new()), read).map_err(|e| StoreError::Impossible(format!("{FACT}: {e}")))
}

/// The device's key; finishes a change that was cut short.
///
/// # Errors
/// A sentence.
pub fn open(store: &Store) -> Result<SigningKey, String> {
    let folder = store.folder();
    let key = identity::signing_key(folder)?;
    let (own, mut all) = (PublicKey::of(&key), rotations(store).map_err(|e| e.to_string())?);
    let anew = store.fact(REGISTERED).map_err(|e| e.to_string())?;
    let anew = anew.is_some_and(|fact| fact == told(own, all.len()));
    let Some(newest) = all.pop().filter(|r| !anew && r.document.new != own) else { return Ok(key) };
    let next = identity::next_key(folder)?.filter(|next| PublicKey::of(next) == newest.document.new);
    let next = next.ok_or_else(|| {
        format!(
            "device.key is {}, but this device signs with {} by now: restore the key from a backup, or register \
             the device anew with a card (`lectern enrol --again`)",
            own.id(),
            newest.document.new.id()
        )
    })?;
    identity::take_next(folder).map_err(|e| e.to_string())?;
    Ok(next)
}

/// Notes that this machine has enrolled with the key it has, whatever key it had before.
///
/// # Errors
/// A sentence.
pub fn registered(store: &Store) -> Result<(), String> {
    let key = PublicKey::of(&identity::signing_key(store.folder())?);
    let changes = rotations(store).map_err(|e| e.to_string())?.len();
    store.set_fact(REGISTERED, &told(key, changes)).map_err(|e| e.to_string())
}

/// Signs anew what waits for the hub and was signed with a key that is lost: the hub takes that key's word no more
/// for what it does not have yet. The manifest stays the one that was sealed; its name is the hash of what it says.
/// Where one cannot be, the log says so, and the others are not held up.
///
/// # Errors
/// [`StoreError`].
pub fn vouch_for_waiting(store: &Store, key: &SigningKey) -> Result<(), StoreError> {
    let anew = store.fact(REGISTERED)?;
    let counts_from = anew.and_then(|fact| fact.split_once(' ')?.1.parse().ok()).unwrap_or(0);
    let mut ring: KeyRing = rotations(store)?.iter().skip(counts_from).map(|r| r.document.old).collect();
    ring.add(PublicKey::of(key));
    for lesson in store.waiting_for(HUB)?.iter().filter(|lesson| lesson.state == State::Sealed) {
        match sign_anew(&store.lesson_folder(&lesson.id).join("manifest.json"), lesson, key, &ring) {
            Ok(None) => {}
            Ok(Some(was)) => {
                tracing::warn!(lesson = %lesson.id, was, "signed anew: the key it was signed with is lost");
            }
            Err(e) => tracing::error!(lesson = %lesson.id, "its manifest cannot be signed anew: {e}"),
        }
    }
    Ok(())
}

/// Signs a manifest anew where no key of the ring signed it; the id of the key that had.
fn sign_anew(
    path: &Path,
    lesson: &Lesson,
    key: &SigningKey,
    ring: &KeyRing,
) -> Result<Option<String>, SealError> {
    let file = |source| SealError::File { path: path.to_owned(), source };
    let bytes = std::fs::read(path).map_err(file)?;
    let signed: Signed<Manifest> = serde_json::from_slice(&bytes).map_err(|e| file(e.into()))?;
    let was = signed.signature.key_id;
    if ring.get(&was).is_some() {
        return Ok(None);
    }
    if Some(signed.document.digest()?) != lesson.manifest_sha256 {
        return Err(file(io::Error::other("it is not the one that was sealed")));
    }
    let anew = Signed::sign_kept(signed.document, key)?;
    disk::replace(path, &serde_json::to_vec_pretty(&anew).map_err(|e| file(e.into()))?).map_err(file)?;
    Ok(Some(was))
}

fn told(key: PublicKey, changes: usize) -> String {
    format!("{} {changes}", key.id())
}

/// Changes the key; gives the ids of the old and the new one.
///
/// # Errors
/// A sentence; then the old key holds, or the next start finishes the change.
pub fn rotate(store: &Store, device: &DeviceId) -> Result<(String, String), String> {
    let old = open(store)?;
    let new = identity::make_next(store.folder())?;
    let (from, to) = (PublicKey::of(&old), PublicKey::of(&new));
    let said = Rotation { v: 1, owner: owner(device), old: from, new: to, wall_ms: clock::wall_ms() };
    let mut all = rotations(store).map_err(|e| e.to_string())?;
    all.push(Signed::sign(said, &old).map_err(|e| e.to_string())?);
    let text = serde_json::to_string(&all).map_err(|e| e.to_string())?;
    store.set_fact(FACT, &text).map_err(|e| e.to_string())?;
    identity::take_next(store.folder()).map_err(|e| e.to_string())?;
    Ok((from.id(), to.id()))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use lectern_wire::id::LessonId;
    use lectern_wire::rotation;

    use super::*;
    use crate::model::lesson::Event;

    #[test]
    fn a_key_is_changed_with_the_old_ones_word_also_when_that_was_cut_short() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path(), 1 << 20).expect("opens");
        let device = DeviceId::new("room-301").expect("id");
        let first = PublicKey::of(&open(&store).expect("made"));
        let path = |name: &str| folder.path().join(name);
        let old = std::fs::read(path("device.key")).expect("reads");
        rotate(&store, &device).expect("changes");
        let second = PublicKey::of(&open(&store).expect("opens"));
        assert_ne!(first, second);
        std::fs::rename(path("device.key"), path("device.key.next")).expect("renames");
        std::fs::write(path("device.key"), &old).expect("writes");
        assert_eq!(PublicKey::of(&open(&store).expect("finishes")), second);
        rotate(&store, &device).expect("changes again");
        let third = PublicKey::of(&open(&store).expect("opens"));
        let all = rotations(&store).expect("reads");
        let way = rotation::follow(&owner(&device), first, third, &all);
        assert_eq!(way, Ok(vec![first, second, third]));
        std::fs::write(path("device.key"), &old).expect("writes");
        assert!(open(&store).expect_err("refused").contains("register"), "an old key is not taken back");

        // Lost, and a card used: the key made then is the device's, and can be changed as any other.
        std::fs::remove_file(path("device.key")).expect("lost");
        registered(&store).expect("noted");
        let anew = PublicKey::of(&open(&store).expect("taken"));
        rotate(&store, &device).expect("changes");
        let last = PublicKey::of(&open(&store).expect("opens"));
        let way = rotation::follow(&owner(&device), anew, last, &rotations(&store).expect("reads"));
        assert_eq!(way, Ok(vec![anew, last]));
    }

    /// A lesson that is sealed with that key and waits; its manifest's file.
    fn sealed(store: &Store, name: &str, key: &SigningKey) -> PathBuf {
        let id = LessonId::new(name).expect("id");
        let manifest: Manifest = serde_json::from_value(serde_json::json!({
            "v": 1, "lesson_id": id, "school": "3401000001", "room": "301教室", "device": "room-301",
            "about": {}, "takes": [], "sealed_wall_ms": 5,
            "software": { "agent": "0.1.0", "recorder": "0.1.0", "libav": "" },
            "capture": {
                "layout": "screen", "sources": [], "audio": { "kbps": 96 },
                "video": { "width": 64, "height": 64, "fps": 25, "max_kbps": 100, "gop_s": 2 },
            },
        }))
        .expect("a manifest");
        let signed = Signed::sign(manifest, key).expect("signs");
        let about = &signed.document.about;
        store.begin_lesson(&id, 5, "boot", about, &signed.document.capture).expect("begins");
        for event in [Event::Durable, Event::Ended] {
            store.advance(&id, event).expect("advances");
        }
        store.seal(&id, signed.document.digest().expect("digest")).expect("seals");
        let path = store.lesson_folder(&id).join("manifest.json");
        std::fs::create_dir_all(path.parent().expect("folder")).expect("makes");
        std::fs::write(&path, serde_json::to_vec(&signed).expect("json")).expect("writes");
        path
    }

    #[test]
    fn what_a_lost_key_signed_and_waits_is_signed_anew_and_nothing_else_is() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path(), 1 << 20).expect("opens");
        let device = DeviceId::new("room-301").expect("id");
        let lost = open(&store).expect("made");
        let [waits, altered, broken] = ["waits", "altered", "broken"].map(|name| sealed(&store, name, &lost));
        std::fs::copy(&waits, &altered).expect("copies");
        std::fs::write(&broken, "rubbish").expect("breaks");
        std::fs::remove_file(folder.path().join("device.key")).expect("lost");
        registered(&store).expect("noted");
        // Changed since, as any key may be: what the one before signed is still believed.
        let before = sealed(&store, "before", &open(&store).expect("opens"));
        rotate(&store, &device).expect("changes");
        let key = open(&store).expect("opens");
        let others = [&altered, &broken, &before];
        let text = |path: &PathBuf| std::fs::read(path).expect("reads");
        let kept = others.map(text);
        vouch_for_waiting(&store, &key).expect("looks");
        assert!(others.map(text) == kept);
        let anew: Signed<Manifest> = serde_json::from_slice(&text(&waits)).expect("reads");
        anew.verify(&[PublicKey::of(&key)].into_iter().collect()).expect("signed with today's key");
        let row = store.lesson(&anew.document.lesson_id).expect("reads").expect("there");
        assert_eq!(Some(anew.document.digest().expect("digest")), row.manifest_sha256);
    }
}
