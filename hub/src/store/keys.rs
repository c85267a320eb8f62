//! The hub's own secrets, each a file only its user can read: the signing key and the grant key.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::SigningKey;
use lectern_base::{chance, disk};
use lectern_wire::sign::PublicKey;

use super::StoreError;

/// The secrets.
#[derive(Clone)]
pub struct Keys {
    /// Signs receipts.
    pub signing: SigningKey,
    /// Keys the hash in grants.
    pub grant: [u8; 32],
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.public().id())
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

    /// The public half of the signing key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::of(&self.signing)
    }
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
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn keys_are_made_once_and_only_their_user_reads_them() {
        let folder = tempfile::tempdir().expect("folder");
        let first = Keys::open(folder.path()).expect("made");
        let again = Keys::open(folder.path()).expect("read");
        assert_eq!((first.public(), first.grant), (again.public(), again.grant));
        let mode = std::fs::metadata(folder.path().join("hub.key")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(folder.path().join("hub.key"), "nonsense").expect("written");
        assert!(Keys::open(folder.path()).is_err());
    }
}
