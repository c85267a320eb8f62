//! The head of a take's part chain: while a lesson is recorded its device signs, every ten seconds, what the
//! bytes recorded so far are, and gives that out of its hands (`chain`, retained, over MQTT). From then on
//! not even the machine's owner can make those bytes others.
//!
//! The chain hash is the SHA-256 of the line `lectern part chain v1` and the 32-byte hashes of all full parts
//! in order, and behind them, when the bytes do not end with a part, the hash of what there is of the open one.
//! It can be made again from a manifest's part hashes and one part's bytes.
//!
//! `heads.jsonl` lies beside a manifest: one [`HeadLine`] a line, oldest first. A device writes its own heads
//! into it; the hub those that it received, and when.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::PART_SIZE;
use crate::digest::Digest;
use crate::id::{DeviceId, LessonId};
use crate::manifest::Part;
use crate::sign::{Document, Signed};

/// Head v1: what a take's first bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChainHead {
    /// Always 1.
    pub v: u32,
    /// The lesson.
    pub lesson_id: LessonId,
    /// The device.
    pub device: DeviceId,
    /// Take number, from 1.
    pub take: u32,
    /// Bytes of the take it speaks for; they were durable.
    pub bytes: u64,
    /// Their chain hash.
    pub chain: Digest,
    /// When, milliseconds since boot.
    pub mono_ms: u64,
    /// The boot.
    pub boot_id: String,
    /// When, Unix milliseconds by the device's clock.
    pub wall_ms: i64,
    /// Whether the wall clock was known to be right.
    pub clock_trusted: bool,
}

impl Document for ChainHead {
    const CONTEXT: &'static str = "lectern chain head v1";
}

/// A line of `heads.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadLine {
    /// The head as the device signed it.
    pub head: Signed<ChainHead>,
    /// When the hub received it, Unix milliseconds by its clock; absent in the device's own file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrived_ms: Option<i64>,
}

/// How the heads of a lesson bear its bytes out, as the hub found it when it wrote the receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// Heads that had reached the hub; all of them agree with the bytes.
    pub count: u64,
    /// When the first of them arrived, Unix milliseconds by the hub's clock.
    pub first_ms: i64,
    /// When the last of them arrived.
    pub last_ms: i64,
    /// Bytes of the lesson, all takes, that they speak for.
    pub bytes: u64,
    /// How late the last one was: how much longer it took than the quickest of its boot, milliseconds.
    pub last_late_ms: u64,
    /// How late the latest was.
    pub most_late_ms: u64,
    /// SHA-256 of the hub's `heads.jsonl`.
    pub sha256: Digest,
}

/// The chain hash of full parts and, where the bytes do not end with a part, of the open one.
pub fn chain_hash<'p>(full: impl IntoIterator<Item = &'p Digest>, open: Option<&Digest>) -> Digest {
    let mut hasher = Sha256::new_with_prefix("lectern part chain v1\n");
    for part in full {
        hasher.update(part.bytes());
    }
    if let Some(open) = open {
        hasher.update(open.bytes());
    }
    Digest::finish(hasher)
}

/// How a head stands to a take's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It agrees.
    Agrees,
    /// It speaks of other bytes, or of more than there are.
    Contradicts,
    /// That is decided by the hash of the first so many bytes of this part.
    Ask {
        /// The part.
        part: u32,
        /// Bytes.
        length: u64,
    },
}

impl ChainHead {
    /// How it stands to a take's parts; `open` is the hash that was asked for, once it is known.
    #[must_use]
    pub fn standing(&self, parts: &[Part], open: Option<&Digest>) -> Standing {
        let (full, length) = (self.bytes / PART_SIZE, self.bytes % PART_SIZE);
        let Some(before) = usize::try_from(full).ok().and_then(|n| parts.get(..n)) else {
            return Standing::Contradicts;
        };
        if before.iter().any(|part| part.size != PART_SIZE) {
            return Standing::Contradicts;
        }
        let next = parts.get(before.len());
        let open = match (length, next) {
            (0, _) => None,
            (_, None) => return Standing::Contradicts,
            (_, Some(part)) if part.size < length => return Standing::Contradicts,
            (_, Some(part)) if part.size == length => Some(&part.sha256),
            (_, Some(part)) => match open {
                None => return Standing::Ask { part: part.n, length },
                known => known,
            },
        };
        let same = chain_hash(before.iter().map(|part| &part.sha256), open) == self.chain;
        if same { Standing::Agrees } else { Standing::Contradicts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes: u64, chain: Digest) -> ChainHead {
        ChainHead {
            v: 1,
            lesson_id: LessonId::new("l").expect("id"),
            device: DeviceId::new("d").expect("id"),
            take: 1,
            bytes,
            chain,
            mono_ms: 1,
            boot_id: "b".into(),
            wall_ms: 1,
            clock_trusted: true,
        }
    }

    #[test]
    fn a_head_agrees_with_its_own_bytes_and_with_no_others() {
        let part = |n: u32, size| Part { n, size, sha256: Digest::of(&n.to_be_bytes()) };
        let parts = [part(0, PART_SIZE), part(1, PART_SIZE), part(2, 1000)];
        let hashes: Vec<_> = parts.iter().map(|p| p.sha256).collect();
        let open = Digest::of(b"first bytes");
        let standing = |bytes, chain, open| head(bytes, chain).standing(&parts, open);

        assert_eq!(standing(PART_SIZE, chain_hash(&hashes[..1], None), None), Standing::Agrees);
        assert_eq!(standing(2 * PART_SIZE + 1000, chain_hash(&hashes, None), None), Standing::Agrees);
        let within = chain_hash(&hashes[..1], Some(&open));
        assert_eq!(standing(PART_SIZE + 9, within, None), Standing::Ask { part: 1, length: 9 });
        assert_eq!(standing(PART_SIZE + 9, within, Some(&open)), Standing::Agrees);
        assert_eq!(standing(PART_SIZE + 9, within, Some(&hashes[1])), Standing::Contradicts);
        let swapped = chain_hash([&hashes[1], &hashes[0]], None);
        assert_eq!(standing(2 * PART_SIZE, swapped, None), Standing::Contradicts);
        for more in [2 * PART_SIZE + 1001, 3 * PART_SIZE, 3 * PART_SIZE + 1, u64::MAX] {
            assert_eq!(standing(more, chain_hash(&hashes, None), None), Standing::Contradicts, "{more}");
        }
    }
}
