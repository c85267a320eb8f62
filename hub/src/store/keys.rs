//! The hub's own secrets, each a file only its user can read: the signing key and the grant key.
//!
//! The signing key can be changed ([`rotate`]); every key there was is kept as a row, each but the first with the
//! word of the one before. In this order: 1. the new key is durable as `hub.key.next`; 2. the rows say so;
//! 3. it takes the name `hub.key`. A start after a crash in between does the third ([`Keys::signer`]).

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::SigningKey;
use lectern_base::{chance, disk};
use lectern_wire::rotation::{HUB, Rotation};
use lectern_wire::sign::{KeyRing, PublicKey, Signed};
use rusqlite::{Connection, params};

use super::{Store, StoreError, log, odd, unwritable};

/// The secrets as their files hold them.
#[derive(Clone)]
pub struct Keys {
    /// Signs receipts.
    pub signing: SigningKey,
    /// Keys the hash in grants.
    pub grant: [u8; 32],
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", PublicKey::of(&self.signing).id())
    }
}

/// What signs receipts and checkpoints, and what is known of it.
#[derive(Clone)]
pub struct Signer {
    /// The key of today.
    pub key: SigningKey,
    /// Name of the log: id of the hub's first key.
    pub log: String,
    /// Every key this hub signed with.
    pub ring: KeyRing,
    /// How today's key came to be, oldest change first.
    pub rotations: Vec<Signed<Rotation>>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.public().id())
    }
}

impl Signer {
    /// The public half of the key of today.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::of(&self.key)
    }
}

impl Keys {
    /// Reads both keys, making what is missing.
    ///
    /// # Errors
    /// [`StoreError::Io`] when a file cannot be read, written or understood.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            signing: SigningKey::from_bytes(&secret(&folder.join("hub.key"))?),
            grant: secret(&folder.join("grant.key"))?,
        })
    }

    /// Holds the signing key against the rows of what was signed with, and finishes a change that was cut short.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the key is not the one the rows name.
    pub fn signer(&mut self, store: &Store, folder: &Path, now: i64) -> Result<Signer, StoreError> {
        let own = PublicKey::of(&self.signing);
        let rows = store.write_now(|db| {
            if all(db)?.is_empty() {
                db.execute(
                    "INSERT INTO hub_key (key, from_ms) VALUES (?,?)",
                    params![String::from(own), now],
                )?;
            }
            all(db)
        })?;
        let Some((holds, _)) = rows.last() else { return Err(StoreError::Closing) };
        if *holds != own {
            let (next, path) = (folder.join("hub.key.next"), folder.join("hub.key"));
            let key =
                next.exists().then(|| secret(&next)).transpose()?.map(|bytes| SigningKey::from_bytes(&bytes));
            let Some(key) = key.filter(|key| PublicKey::of(key) == *holds) else {
                return Err(StoreError::io(format!("the key file {}", path.display()))(std::io::Error::new(
                    std::io::ErrorKind::InvalidData,
                    format!(
                        "it holds key {}, but receipts are signed with {}; restore it from a backup, or, if it is \
                         lost, run `lectern-hub key rotate --lost`",
                        own.id(),
                        holds.id()
                    ),
                )));
            };
            take_name(&next, &path, folder)?;
            self.signing = key;
        }
        let log = rows.first().map(|(key, _)| key.id()).unwrap_or_default();
        let ring = rows.iter().map(|(key, _)| *key).collect();
        let rotations = rows.into_iter().filter_map(|(_, rotation)| rotation).collect();
        Ok(Signer { key: self.signing.clone(), log, ring, rotations })
    }
}

type Row = (PublicKey, Option<Signed<Rotation>>);

fn all(db: &Connection) -> rusqlite::Result<Vec<Row>> {
    let mut rows = db.prepare("SELECT key, rotation FROM hub_key ORDER BY n")?;
    let rows = rows.query_map([], |row| {
        let key = PublicKey::try_from(row.get::<_, String>(0)?).map_err(|e| odd(0, e))?;
        let rotation: Option<String> = row.get(1)?;
        Ok((key, rotation.map(|t| serde_json::from_str(&t)).transpose().map_err(|e| odd(1, e))?))
    })?;
    rows.collect()
}

fn take_name(next: &Path, path: &Path, folder: &Path) -> Result<(), StoreError> {
    let what = || format!("the key file {}", path.display());
    std::fs::rename(next, path).map_err(StoreError::io(what()))?;
    disk::sync_folder(folder).map_err(StoreError::io(what()))
}

/// Changes the signing key; gives the ids of the old and the new one. The old key signs the new, unless it is
/// `lost`: then every room must be told by hand.
///
/// # Errors
/// [`StoreError`]; then the old key holds, or the next start finishes the change.
pub fn rotate(store: &Store, folder: &Path, lost: bool, now: i64) -> Result<(String, String), StoreError> {
    let mut keys = Keys::open(folder)?;
    let (next, path) = (folder.join("hub.key.next"), folder.join("hub.key"));
    let old = if lost { None } else { Some(keys.signer(store, folder, now)?) };
    if let Err(e) = std::fs::remove_file(&next)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        return Err(StoreError::io(format!("removing {}", next.display()))(e));
    }
    let key = SigningKey::from_bytes(&secret(&next)?);
    let new = PublicKey::of(&key);
    let before = store.write_now(|db| {
        let rotation = old.as_ref().map(|old| {
            let said = Rotation { v: 1, owner: HUB.into(), old: old.public(), new, wall_ms: now };
            Signed::sign(said, &old.key).map_err(unwritable)
        });
        let rotation = rotation.transpose()?;
        let text = rotation.as_ref().map(serde_json::to_string).transpose().map_err(unwritable)?;
        let rows = all(db)?;
        let log = rows.first().map_or_else(|| new.id(), |(first, _)| first.id());
        db.execute("UPDATE hub_key SET until_ms = ? WHERE until_ms IS NULL", [now])?;
        db.execute(
            "INSERT INTO hub_key (key, from_ms, rotation) VALUES (?,?,?)",
            params![String::from(new), now, text],
        )?;
        let signer = Signer { key: key.clone(), log, ring: KeyRing::default(), rotations: vec![] };
        log::sign(db, &signer, now)?;
        Ok(rows.last().map(|(key, _)| key.id()).unwrap_or_default())
    })?;
    take_name(&next, &path, folder)?;
    Ok((before, new.id()))
}

/// 32 bytes, base64, mode 0600.
fn secret(path: &Path) -> Result<[u8; 32], StoreError> {
    let what = || format!("the key file {}", path.display());
    match std::fs::read_to_string(path) {
        Ok(text) => BASE64.decode(text.trim()).ok().and_then(|b| b.try_into().ok()).ok_or_else(|| {
            StoreError::io(what())(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                "it does not hold 32 bytes in base64; restore it from a backup",
            ))
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let bytes = chance::bytes::<32>();
            disk::replace_with_mode(path, BASE64.encode(bytes).as_bytes(), 0o600)
                .map_err(StoreError::io(what()))?;
            Ok(bytes)
        }
        Err(e) => Err(StoreError::io(what())(e)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use lectern_wire::rotation;

    use super::*;

    #[test]
    fn keys_are_made_once_and_only_their_user_reads_them() {
        let folder = tempfile::tempdir().expect("folder");
        let first = Keys::open(folder.path()).expect("made");
        let again = Keys::open(folder.path()).expect("read");
        assert_eq!((first.signing.to_bytes(), first.grant), (again.signing.to_bytes(), again.grant));
        let mode = std::fs::metadata(folder.path().join("hub.key")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(folder.path().join("hub.key"), "nonsense").expect("written");
        assert!(Keys::open(folder.path()).is_err());
    }

    #[test]
    fn a_key_is_changed_with_the_word_of_the_old_one_also_when_that_was_cut_short() {
        let folder = tempfile::tempdir().expect("folder");
        let (path, next) = (folder.path().join("hub.key"), folder.path().join("hub.key.next"));
        let store = Store::open(folder.path()).expect("opens");
        let signer = |now| Keys::open(folder.path()).expect("keys").signer(&store, folder.path(), now);
        let first = signer(1).expect("known").public();
        let old = std::fs::read(&path).expect("old");
        rotate(&store, folder.path(), false, 2).expect("changed");
        let second = signer(3).expect("known");
        assert_eq!(
            rotation::follow(HUB, first, second.public(), &second.rotations).map(|keys| keys.len()),
            Ok(2)
        );
        assert_eq!(second.log, first.id(), "the log keeps its name");

        // As if the machine had died after the rows and before the name.
        std::fs::rename(&path, &next).expect("renamed");
        std::fs::write(&path, &old).expect("written");
        assert_eq!(signer(4).expect("finished").public(), second.public());
        assert!(!next.exists());

        // A key from somewhere else is refused with a sentence, and a lost one is replaced.
        std::fs::write(&path, &old).expect("written");
        let said = signer(5).expect_err("refused").to_string();
        assert!(said.contains("--lost"), "{said}");
        rotate(&store, folder.path(), true, 6).expect("replaced");
        let third = signer(7).expect("known");
        assert!(rotation::follow(HUB, first, third.public(), &third.rotations).is_err(), "nobody signed it");
    }
}
