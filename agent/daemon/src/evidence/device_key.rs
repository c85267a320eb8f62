//! Changing this device's signing key. In this order: 1. the new key is durable as `device.key.next`; 2. the fact
//! `key_rotations` holds the old key's word for it; 3. it takes the name `device.key`. A start after a crash in
//! between does the third. The hub is told with the next lesson; what the old key signed stays signed.

use ed25519_dalek::SigningKey;
use lectern_base::clock;
use lectern_wire::id::DeviceId;
use lectern_wire::rotation::{Rotation, owner};
use lectern_wire::sign::{PublicKey, Signed};

use crate::platform::identity;
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
    use lectern_wire::rotation;

    use super::*;

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
}
