//! The hub's log of receipts: an append-only Merkle tree (RFC 6962, as in RFC 9162).
//!
//! ```text
//! receipt ──salt──▶ entry (32 bytes) ──▶ leaf ─┐
//!                                              ├─▶ … ─▶ root ──signed──▶ checkpoint
//! receipt ──salt──▶ entry (32 bytes) ──▶ leaf ─┘
//! ```
//!
//! An entry is the SHA-256 of the line `lectern log entry v1`, 32 bytes of salt and the canonical bytes of the
//! receipt without its member `log` ([`entry`]). Without the salt nobody can tell from an entry what it was
//! about: when a lesson is deleted its salt goes with it, the entry stays, and the tree stands as it was.
//!
//! The tree is read in tiles laid out as C2SP tlog-tiles has it ([`tile`]). A [`Checkpoint`] is what the hub
//! signs of it. Whoever keeps one sees by a consistency proof ([`proof`]) whether a later tree still holds
//! everything an earlier one held: the classrooms do, and so witness the log.

pub mod proof;
pub mod tile;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::digest::{BadDigest, Digest};
use crate::receipt::Receipt;
use crate::sign::{BadDocument, Document, Kept, KeyRing, Signed, canonical};
use proof::BadProof;

/// Hash of a leaf: SHA-256 of `0x00` and the entry (RFC 9162, 2.1.1).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Digest {
    Digest::finish(Sha256::new_with_prefix([0]).chain_update(entry))
}

/// Hash of an inner node: SHA-256 of `0x01` and both hashes below it.
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest::finish(Sha256::new_with_prefix([1]).chain_update(left.bytes()).chain_update(right.bytes()))
}

/// 32 bytes of chance that keep an entry from telling what it is about: 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Salt(Digest);

impl Salt {
    /// A salt of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Digest::from_bytes(bytes))
    }
}

impl TryFrom<String> for Salt {
    type Error = BadDigest;
    fn try_from(text: String) -> Result<Self, BadDigest> {
        text.parse().map(Self)
    }
}

impl From<Salt> for String {
    fn from(salt: Salt) -> String {
        salt.0.into()
    }
}

/// The entry of a receipt.
///
/// # Errors
/// [`BadDocument::NotCanonical`].
pub fn entry(salt: &Salt, receipt: &Kept<Receipt>) -> Result<Digest, BadDocument> {
    let mut said = receipt.json().clone();
    if let Some(fields) = said.as_object_mut() {
        fields.remove("log");
    }
    let head = Sha256::new_with_prefix("lectern log entry v1\n").chain_update(salt.0.bytes());
    Ok(Digest::finish(head.chain_update(canonical(&said)?)))
}

/// How the log stood, signed by the hub: checkpoint v1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Always 1.
    pub v: u32,
    /// Which log: id of the hub's first key. It stays when the key is changed.
    pub log: String,
    /// Entries.
    pub size: u64,
    /// Root of the tree of exactly these entries.
    pub root: Digest,
    /// When it was signed, Unix milliseconds by the hub's clock.
    pub wall_ms: i64,
}

impl Document for Checkpoint {
    const CONTEXT: &'static str = "lectern checkpoint v1";
}

/// Where a receipt stands in the log: with the hub's key it proves itself, without asking anybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// What its entry was salted with.
    pub salt: Salt,
    /// Inclusion proof in the tree of the checkpoint, from the leaf upwards.
    pub proof: Vec<Digest>,
    /// The tree.
    pub checkpoint: Signed<Checkpoint>,
}

/// Proof that the tree of `to` entries begins with that of `from`: `GET /api/v1/log/consistency?from=&to=`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consistency {
    /// Entries of the smaller tree.
    pub from: u64,
    /// Entries of the larger.
    pub to: u64,
    /// The hashes, as RFC 9162, 2.1.4.1 lists them.
    pub proof: Vec<Digest>,
}

/// Why a receipt does not prove its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPlace {
    /// It says nothing of a log.
    #[error("the receipt names no place in the log: it is from an older hub")]
    None,
    /// The checkpoint is not the hub's, or of a kind that is not known here.
    #[error("the checkpoint in the receipt: {0}")]
    Checkpoint(String),
    /// The entry is not in that tree.
    #[error("the receipt is not entry {index} of the log: {why}")]
    Proof {
        /// Its index.
        index: u64,
        /// Why.
        why: BadProof,
    },
    /// It has no canonical form.
    #[error(transparent)]
    Document(#[from] BadDocument),
}

/// Checks a checkpoint's signature and form.
///
/// # Errors
/// A sentence.
pub fn check_checkpoint<'c>(
    checkpoint: &'c Signed<Checkpoint>,
    hub: &KeyRing,
) -> Result<&'c Checkpoint, String> {
    let said = checkpoint.verify(hub).map_err(|e| e.to_string())?;
    if said.v == 1 {
        Ok(said)
    } else {
        Err(format!("checkpoint version {} is not known here, only 1 is", said.v))
    }
}

/// Checks that a receipt stands in the log at its index; gives the checkpoint it proves itself against.
/// The receipt's own signature is checked by its reader.
///
/// # Errors
/// [`BadPlace`].
pub fn check_place<'r>(
    receipt: &'r Kept<Receipt>,
    hub: &KeyRing,
) -> Result<&'r Signed<Checkpoint>, BadPlace> {
    let place = receipt.log.as_ref().ok_or(BadPlace::None)?;
    let tree = check_checkpoint(&place.checkpoint, hub).map_err(BadPlace::Checkpoint)?;
    let leaf = leaf_hash(entry(&place.salt, receipt)?.bytes());
    let index = receipt.log_index;
    proof::check_inclusion(&leaf, index, tree.size, &place.proof, &tree.root)
        .map_err(|why| BadPlace::Proof { index, why })?;
    Ok(&place.checkpoint)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::id::LessonId;
    use crate::receipt::StoreLocation;
    use crate::sign::PublicKey;

    /// A receipt in a log of its own, at index 0, with a change made before it was signed.
    fn receipt(change: impl Fn(&mut Receipt)) -> (Signed<Receipt>, KeyRing) {
        let key = SigningKey::from_bytes(&[4; 32]);
        let mut receipt = Receipt {
            v: 1,
            lesson_id: LessonId::new("l1").expect("id"),
            manifest_sha256: Digest::of(b"m"),
            store: StoreLocation { kind: "file".into(), objects: vec![] },
            stored_wall_ms: 5,
            log_index: 0,
            log_prev: None,
            heads: None,
            log: None,
        };
        let salt = Salt::new([9; 32]);
        let root =
            leaf_hash(entry(&salt, &Kept::new(receipt.clone()).expect("kept")).expect("entry").bytes());
        let tree = Checkpoint { v: 1, log: PublicKey::of(&key).id(), size: 1, root, wall_ms: 5 };
        let checkpoint = Signed::sign(tree, &key).expect("signs");
        receipt.log = Some(Place { salt, proof: vec![], checkpoint });
        change(&mut receipt);
        (Signed::sign(receipt, &key).expect("signs"), [PublicKey::of(&key)].into_iter().collect())
    }

    #[test]
    fn a_receipt_alone_proves_its_place_and_nothing_in_it_can_be_other() {
        let (good, ring) = receipt(|_| {});
        assert_eq!(check_place(&good.document, &ring).map(|c| c.document.size), Ok(1));
        assert!(matches!(check_place(&good.document, &KeyRing::default()), Err(BadPlace::Checkpoint(_))));
        // Signed anew by the hub itself: the log still says otherwise.
        type Change = fn(&mut Receipt);
        let changes: [Change; 5] = [
            |r| r.manifest_sha256 = Digest::of(b"other"),
            |r| r.stored_wall_ms += 1,
            |r| r.log_index = 1,
            |r| r.log.as_mut().expect("place").salt = Salt::new([8; 32]),
            |r| r.log.as_mut().expect("place").proof.push(Digest::of(b"")),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let (bad, ring) = receipt(change);
            assert!(bad.verify(&ring).is_ok());
            assert!(matches!(check_place(&bad.document, &ring), Err(BadPlace::Proof { .. })), "change {n}");
        }
        let (none, ring) = receipt(|r| r.log = None);
        assert_eq!(check_place(&none.document, &ring), Err(BadPlace::None));
    }

    #[test]
    fn a_field_a_newer_hub_adds_is_part_of_the_entry() {
        let (good, _) = receipt(|_| {});
        let salt = Salt::new([9; 32]);
        let mut json = serde_json::to_value(&good).expect("json");
        json["document"]["shelf"] = "b".into();
        let newer: Signed<Receipt> = serde_json::from_value(json).expect("reads");
        assert_ne!(entry(&salt, &good.document), entry(&salt, &newer.document));
    }
}
