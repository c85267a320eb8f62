//! Changing a signing key: the old key signs the new one, and whoever knew the old knows the new.
//!
//! What the old key signed stays signed. A key that is lost, or that somebody else may have, cannot sign its
//! successor: then a person says which key holds from now on (at the hub a new card for the device, or, where rooms have no
//! cards, `lectern-hub device add --replace --new-key`; in a room `lectern forget-hub`).

use serde::{Deserialize, Serialize};

use crate::sign::{BadDocument, Document, KeyRing, PublicKey, Signed};

/// Most changes that are followed at once.
pub const MOST: usize = 1000;

/// Rotation v1, signed by the old key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Always 1.
    pub v: u32,
    /// Whose: `hub`, or `device:` and the device's id.
    pub owner: String,
    /// The key that signs this.
    pub old: PublicKey,
    /// The key that signs from now on.
    pub new: PublicKey,
    /// When, Unix milliseconds by the owner's clock.
    pub wall_ms: i64,
}

impl Document for Rotation {
    const CONTEXT: &'static str = "lectern key rotation v1";
}

/// [`Rotation::owner`] of the hub.
pub const HUB: &str = "hub";

/// [`Rotation::owner`] of a device.
#[must_use]
pub fn owner(device: &crate::id::DeviceId) -> String {
    format!("device:{device}")
}

/// Why rotations do not lead from one key to the other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRotation {
    /// They do not begin at the known key, or end elsewhere.
    #[error("no change of keys leads from {from} to {to}")]
    NoWay {
        /// Id of the key that is known.
        from: String,
        /// Id of the key that is shown.
        to: String,
    },
    /// One of them is not what its old key signed, or is somebody else's.
    #[error("the change to key {to} is not accepted: {why}")]
    Refused {
        /// Id of its new key.
        to: String,
        /// Why.
        why: String,
    },
}

/// Goes from a known key to the one that is shown; gives all keys on the way, in order, both ends too.
///
/// # Errors
/// [`BadRotation`].
pub fn follow(
    owner: &str,
    known: PublicKey,
    shown: PublicKey,
    rotations: &[Signed<Rotation>],
) -> Result<Vec<PublicKey>, BadRotation> {
    let mut keys = vec![known];
    let mut at = known;
    for signed in rotations.iter().take(MOST) {
        if at == shown {
            break;
        }
        let said = &signed.document;
        if said.old != at {
            continue;
        }
        let refused = |why: String| BadRotation::Refused { to: said.new.id(), why };
        let ring: KeyRing = [at].into_iter().collect();
        signed.verify(&ring).map_err(|e: BadDocument| refused(e.to_string()))?;
        if said.v != 1 || said.owner != owner {
            return Err(refused(format!("it is version {} and of {:?}", said.v, said.owner)));
        }
        at = said.new;
        keys.push(at);
    }
    if at == shown { Ok(keys) } else { Err(BadRotation::NoWay { from: known.id(), to: shown.id() }) }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    fn public(n: u8) -> PublicKey {
        PublicKey::of(&key(n))
    }

    fn change(old: u8, new: u8, by: u8, owner: &str) -> Signed<Rotation> {
        let said = Rotation { v: 1, owner: owner.into(), old: public(old), new: public(new), wall_ms: 1 };
        Signed::sign(said, &key(by)).expect("signs")
    }

    #[test]
    fn a_key_is_followed_through_its_successors_and_no_further() {
        let all = [change(1, 2, 1, HUB), change(2, 3, 2, HUB), change(3, 4, 3, HUB)];
        assert_eq!(follow(HUB, public(2), public(4), &all), Ok(vec![public(2), public(3), public(4)]));
        assert_eq!(follow(HUB, public(1), public(1), &[]), Ok(vec![public(1)]));
        assert!(matches!(follow(HUB, public(1), public(9), &all), Err(BadRotation::NoWay { .. })));
        assert!(
            matches!(follow(HUB, public(4), public(1), &all), Err(BadRotation::NoWay { .. })),
            "not back"
        );
    }

    #[test]
    fn only_the_old_key_names_its_successor() {
        for bad in [change(1, 2, 2, HUB), change(1, 2, 9, HUB), change(1, 2, 1, "device:room-1")] {
            let outcome = follow(HUB, public(1), public(2), std::slice::from_ref(&bad));
            assert!(matches!(outcome, Err(BadRotation::Refused { .. })), "{bad:?}");
        }
        // A circle ends.
        let circle = [change(1, 2, 1, HUB), change(2, 1, 2, HUB)];
        assert!(follow(HUB, public(1), public(9), &circle).is_err());
    }
}
