//! `keys.json`: the public keys this device knows, beside its state, for `lectern verify`.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lectern_base::disk;
use lectern_wire::sign::{KeyRing, PublicKey};

use super::device_key;
use crate::store::Store;

/// The file.
pub fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("keys.json")
}

/// Writes it. What stands there stays: a key whose secret half is lost has signed lessons that are here.
///
/// # Errors
/// A sentence.
pub fn write(store: &Store, own: PublicKey) -> anyhow::Result<()> {
    let path = file(store.folder());
    let mut ring = read(&path);
    store.hub_ring()?.iter().for_each(|key| ring.add(*key));
    store.former_hubs()?.into_iter().for_each(|key| ring.add(key));
    device_key::rotations(store)?.iter().for_each(|change| ring.add(change.document.old));
    ring.add(own);
    disk::replace(&path, &serde_json::to_vec_pretty(&ring)?).with_context(|| path.display().to_string())
}

/// The keys in the file; none where it is not there yet or cannot be read: then it is written anew.
fn read(path: &Path) -> KeyRing {
    let read = std::fs::read(path).and_then(|text| Ok(serde_json::from_slice(&text)?));
    read.unwrap_or_else(|e| {
        if e.kind() != io::ErrorKind::NotFound {
            tracing::warn!("{} cannot be read and is written anew: {e}", path.display());
        }
        KeyRing::default()
    })
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    #[test]
    fn a_key_that_is_lost_stays_known_and_a_broken_file_is_written_anew() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path(), 1 << 20).expect("opens");
        let [lost, now] = [[1; 32], [2; 32]].map(|seed| PublicKey::of(&SigningKey::from_bytes(&seed)));
        write(&store, lost).expect("writes");
        write(&store, now).expect("writes");
        let known = read(&file(folder.path()));
        assert!(known.get(&lost.id()).is_some() && known.get(&now.id()).is_some());
        std::fs::write(file(folder.path()), "rubbish").expect("breaks");
        write(&store, now).expect("writes");
        assert_eq!(read(&file(folder.path())).iter().count(), 1);
    }
}
