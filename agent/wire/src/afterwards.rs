//! What a person adds to a lesson once it was recorded. Each goes to the hub as an event (`e/{kind}`)
//! and is signed by the device where it says something about the evidence. The manifest itself never changes.
//!
//! | event | data |
//! |---|---|
//! | `amended` | [`Signed`](crate::sign::Signed)`<`[`Amendment`]`>`: 补充课题, the newest stands |
//! | `submitted` | [`Signed`](crate::sign::Signed)`<`[`Submission`]`>`: 提交认证 |
//! | `repair` | [`Repair`]: 报修, with the machine's condition |
//!
//! Throwing a lesson away is not an event: `DELETE /api/v1/lessons/{id}` is asked until the hub
//! says that the bytes are gone (204). The hub keeps the lesson's row and the manifest's hash.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::LessonId;
use crate::manifest::About;
use crate::sign::Document;

/// A teacher's later word about a sealed lesson.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amendment {
    /// Always 1.
    pub v: u32,
    /// The lesson.
    pub lesson_id: LessonId,
    /// Hash of the manifest it adds to.
    pub manifest_sha256: Digest,
    /// What is said of the lesson now; takes the place of what the manifest says.
    pub about: About,
    /// When, Unix milliseconds by the device's clock.
    pub wall_ms: i64,
}

impl Document for Amendment {
    const CONTEXT: &'static str = "lectern amendment v1";
}

/// A lesson is put forward for a point of a certification scheme.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Always 1.
    pub v: u32,
    /// The lesson.
    pub lesson_id: LessonId,
    /// Hash of the manifest of what is put forward.
    pub manifest_sha256: Digest,
    /// Id of the scheme, for example `weinengli2`.
    pub scheme: String,
    /// Its point, for example `A5`; empty where the scheme has none.
    pub point: String,
    /// When, Unix milliseconds by the device's clock.
    pub wall_ms: i64,
}

impl Document for Submission {
    const CONTEXT: &'static str = "lectern submission v1";
}

/// Longest [`Repair::text`], in characters.
pub const REPAIR_MAX_CHARS: usize = 400;

/// A teacher says that something in the room does not work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repair {
    /// 16 hexadecimal digits; a repeated press with the same id is one ticket.
    pub id: String,
    /// What the teacher says; may be empty, at most [`REPAIR_MAX_CHARS`].
    pub text: String,
    /// The machine's condition: what its own page is told (see `GET /api/status`), without the lesson's description.
    pub condition: serde_json::Value,
}
