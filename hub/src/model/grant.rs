//! Grants: a URL that lets its holder store exactly the bytes it names, and nothing else.
//!
//! The keyed hash covers lesson, take, part, length, SHA-256 and end, each on its own line, so no
//! field can be moved into another.

use hmac::{Hmac, KeyInit as _, Mac as _};
use lectern_wire::digest::Digest;
use lectern_wire::id::LessonId;
use sha2::Sha256;

/// How long a grant holds, milliseconds.
pub const LIFE_MS: i64 = 15 * 60 * 1000;

/// The bytes a grant is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The lesson.
    pub lesson: LessonId,
    /// Take number.
    pub take: u32,
    /// Part number.
    pub n: u32,
    /// Bytes.
    pub size: u64,
    /// Their hash.
    pub sha256: Digest,
    /// When the grant ends, Unix milliseconds.
    pub expires_ms: i64,
}

/// Why a grant does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotGranted {
    /// The signature does not fit.
    Forged,
    /// It did once.
    Expired,
}

impl Granted {
    fn mac(&self, key: &[u8; 32]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
        let Self { lesson, take, n, size, sha256, expires_ms } = self;
        mac.update(
            format!("lectern part grant v1\n{lesson}\n{take}\n{n}\n{size}\n{sha256}\n{expires_ms}")
                .as_bytes(),
        );
        Some(mac)
    }

    /// The URL, relative to the hub's address.
    #[must_use]
    pub fn url(&self, key: &[u8; 32]) -> String {
        let sig = self.mac(key).map(|mac| hex::encode(mac.finalize().into_bytes())).unwrap_or_default();
        let Self { lesson, take, n, size, sha256, expires_ms } = self;
        format!(
            "/store/v1/parts/{lesson}/{take}/{n}?size={size}&sha256={sha256}&expires={expires_ms}&sig={sig}"
        )
    }

    /// Checks a signature, in constant time, then the end.
    ///
    /// # Errors
    /// [`NotGranted`].
    pub fn check(&self, key: &[u8; 32], sig: &str, now_ms: i64) -> Result<(), NotGranted> {
        let bytes = hex::decode(sig).map_err(|_| NotGranted::Forged)?;
        let mac = self.mac(key).ok_or(NotGranted::Forged)?;
        mac.verify_slice(&bytes).map_err(|_| NotGranted::Forged)?;
        if now_ms > self.expires_ms { Err(NotGranted::Expired) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_holds_for_its_bytes_and_its_time_only() {
        let granted = Granted {
            lesson: LessonId::new("l1").expect("id"),
            take: 1,
            n: 2,
            size: 3,
            sha256: Digest::of(b"abc"),
            expires_ms: 1000,
        };
        let key = [7; 32];
        let url = granted.url(&key);
        let sig = url.split("sig=").nth(1).expect("signed").to_owned();
        assert_eq!(granted.check(&key, &sig, 1000), Ok(()));
        assert_eq!(granted.check(&key, &sig, 1001), Err(NotGranted::Expired));
        assert_eq!(granted.check(&[8; 32], &sig, 0), Err(NotGranted::Forged));
        assert_eq!(granted.check(&key, "zz", 0), Err(NotGranted::Forged));
        for other in [
            Granted { take: 2, ..granted.clone() },
            Granted { n: 1, ..granted.clone() },
            Granted { size: 4, ..granted.clone() },
            Granted { sha256: Digest::of(b""), ..granted.clone() },
            Granted { expires_ms: 9999, ..granted.clone() },
            Granted { lesson: LessonId::new("l2").expect("id"), ..granted },
        ] {
            assert_eq!(other.check(&key, &sig, 0), Err(NotGranted::Forged), "{other:?}");
        }
    }
}
