//! Upload messages (HTTP, JSON bodies).
//!
//! 1. `POST /api/v1/lessons` — [`Announce`] → [`LessonStatus`]; idempotent by lesson id.
//! 2. `POST /api/v1/lessons/{id}/takes/{t}/parts:grant` — [`GrantRequest`] → [`Grant`].
//!    429 with `Retry-After` and code `queued` when other rooms go first: nothing is wrong, ask again then.
//! 3. `PUT {grant.url}` — the part's bytes; the receiver checks length and hash while it writes. A grant with
//!    `confirm` leads to a store that does not tell the hub: then `POST /api/v1/lessons/{id}/takes/{t}/parts:sent`
//!    — the same [`GrantRequest`] again → 204 once the hub has found the part in the store's own list; 409
//!    `part_not_there` when it is to be sent again. Safe to repeat.
//! 4. `POST /api/v1/lessons/{id}/seal` — the signed manifest → the signed receipt (200) or
//!    [`LessonStatus`] while the hub still reads back (202). Safe to repeat.
//!
//! `GET /api/v1/lessons/{id}` → [`LessonStatus`]: any interruption resumes there.
//! `DELETE /api/v1/lessons/{id}` → 204: the teacher threw the lesson away; its bytes are gone, its row
//! and the manifest's hash are kept. Safe to repeat; 404 when the hub never heard of it.
//!
//! The log of receipts ([`crate::log`]) is open to everybody, it tells nothing without the salts:
//! `GET /api/v1/log/checkpoint` → the newest signed checkpoint; `…/log/consistency?from=&to=` →
//! [`crate::log::Consistency`], or 409 `log_smaller` when the log has not so many entries;
//! `…/log/tile/{level}/{n}` and `…/log/tile/entries/{n}` ([`crate::log::tile`]).
//! `GET /api/v1/lessons/{id}/receipt` → the signed receipt of one's own lesson, 404 before there is one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::LessonId;
use crate::rotation::Rotation;
use crate::sign::{PublicKey, Signed};

/// A lesson that will be uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    /// The lesson.
    pub lesson_id: LessonId,
    /// When it started, Unix milliseconds by the device's clock.
    pub started_wall_ms: i64,
    /// What the teacher said of it so far.
    #[serde(default)]
    pub about: crate::manifest::About,
    /// The device's public signing key.
    pub key: PublicKey,
    /// How it came to be, oldest change first, for a hub that knows an earlier one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rotations: Vec<Signed<Rotation>>,
    /// What the machine is known by: a hash for each of its own network cards and disks. A cloned image brings the
    /// same id and key from another machine.
    #[serde(default)]
    pub machine: Vec<Digest>,
}

/// What a hub says of itself: `GET /api/v1/hub`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubInfo {
    /// Always `lectern-hub`.
    #[serde(default)]
    pub name: String,
    /// Version of the program.
    #[serde(default)]
    pub version: String,
    /// The key that signs receipts and checkpoints now.
    pub key: PublicKey,
    /// How it came to be, oldest change first.
    #[serde(default)]
    pub rotations: Vec<Signed<Rotation>>,
    /// Unix milliseconds by the hub's clock.
    #[serde(default)]
    pub now_ms: i64,
}

/// A part somebody wants to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRequest {
    /// Part number, from 0.
    pub n: u32,
    /// Length in bytes, 1 to [`crate::PART_SIZE`].
    pub size: u64,
    /// Hash of the bytes.
    pub sha256: Digest,
    /// Whether they are of the lesson that is held now or was held last: such parts go before others.
    #[serde(default)]
    pub live: bool,
}

/// Leave to send exactly those bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Where to `PUT`, absolute or relative to the hub's address. Absent when the store already
    /// has these bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Headers to send along.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// When the grant ends, Unix milliseconds by the hub's clock.
    pub expires_ms: i64,
    /// Whether the hub is to be told that the part was sent; only then it counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confirm: bool,
}

/// What the store has of a lesson.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LessonStatus {
    /// The lesson.
    pub lesson_id: LessonId,
    /// See [`StoreState`].
    pub state: StoreState,
    /// Part numbers stored, by take number.
    pub parts: BTreeMap<u32, Vec<u32>>,
}

/// How far a lesson has come at the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreState {
    /// Parts are arriving.
    Receiving,
    /// The manifest is there; bytes are being read back.
    Verifying,
    /// Read back, receipt written.
    Stored,
    /// Thrown away by the teacher; nothing more is taken in for it.
    Discarded,
}

/// Every error answer of the hub's API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Short code a program may branch on, for example `hash_mismatch`.
    pub code: String,
    /// One sentence that says what is wrong and what to do.
    pub message: String,
}
