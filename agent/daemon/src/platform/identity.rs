//! The device's signing key and its password for the hub.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::SigningKey;
use lectern_base::{chance, disk};

/// The device's key, and the one that is to take its place.
const KEY: &str = "device.key";
const NEXT: &str = "device.key.next";

/// The device's key, made on the first start; readable by this user alone.
///
/// # Errors
/// A sentence when the file cannot be read, is not a key, or cannot be made.
pub fn signing_key(folder: &Path) -> Result<SigningKey, String> {
    key_at(&folder.join(KEY))
}

/// A key that is to take the place of the device's, made anew.
///
/// # Errors
/// As [`signing_key`].
pub fn make_next(folder: &Path) -> Result<SigningKey, String> {
    let path = folder.join(NEXT);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {e}", path.display())),
        _ => key_at(&path),
    }
}

/// The key that was to take the place, if there is one.
///
/// # Errors
/// As [`signing_key`].
pub fn next_key(folder: &Path) -> Result<Option<SigningKey>, String> {
    let path = folder.join(NEXT);
    path.exists().then(|| key_at(&path)).transpose()
}

/// Makes the next key the device's, durably.
///
/// # Errors
/// What the file system says.
pub fn take_next(folder: &Path) -> std::io::Result<()> {
    std::fs::rename(folder.join(NEXT), folder.join(KEY))?;
    disk::sync_folder(folder)
}

fn key_at(path: &Path) -> Result<SigningKey, String> {
    let named = |what: String| format!("{}: {what}", path.display());
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let bytes = BASE64.decode(text.trim()).map_err(|_| named("is not a key".into()))?;
            let bytes: [u8; 32] = bytes.try_into().map_err(|_| named("is not a key of 32 bytes".into()))?;
            Ok(SigningKey::from_bytes(&bytes))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let bytes = chance::bytes();
            let text = BASE64.encode(bytes) + "\n";
            disk::replace_with_mode(path, text.as_bytes(), 0o600).map_err(|e| named(e.to_string()))?;
            Ok(SigningKey::from_bytes(&bytes))
        }
        Err(e) => Err(named(e.to_string())),
    }
}

/// The device's password: the first line of the file.
///
/// # Errors
/// A sentence when the file cannot be read or holds nothing.
pub fn password(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(format!("{} is empty; it must hold this device's password", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_kept_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("folder");
        let first = signing_key(folder.path()).expect("made");
        assert_eq!(signing_key(folder.path()).expect("read").to_bytes(), first.to_bytes());
        let mode = std::fs::metadata(folder.path().join("device.key")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(folder.path().join("device.key"), "rubbish").expect("writes");
        assert!(signing_key(folder.path()).is_err(), "a broken key is never silently replaced");
    }
}
