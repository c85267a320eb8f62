//! The receipt: the hub has stored a lesson, read it back, and says so under its key.

use serde::{Deserialize, Serialize};

use crate::chain::Witness;
use crate::digest::Digest;
use crate::id::LessonId;
use crate::log::Place;
use crate::sign::Document;

/// Receipt v1. Only this makes a lesson `stored`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Always 1.
    pub v: u32,
    /// The lesson.
    pub lesson_id: LessonId,
    /// Hash of the canonical manifest that was sealed.
    pub manifest_sha256: Digest,
    /// Where the bytes are.
    pub store: StoreLocation,
    /// When, Unix milliseconds by the hub's clock.
    pub stored_wall_ms: i64,
    /// Place in the hub's log of receipts, from 0.
    pub log_index: u64,
    /// Hash of the receipt before this one in the log; absent in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_prev: Option<Digest>,
    /// How the chain heads that the device gave out while it recorded bear the bytes out; absent when none came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<Witness>,
    /// Proof of that place; absent in receipts of hubs that had no such log. See [`crate::log::check_place`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Place>,
}

/// Where a lesson's objects are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreLocation {
    /// `file`.
    pub kind: String,
    /// One object per take, in take order.
    pub objects: Vec<StoredObject>,
}

/// One stored take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredObject {
    /// Take number.
    pub take: u32,
    /// Key in the store.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Hash of the whole object as it was read back.
    pub sha256: Digest,
}

impl Document for Receipt {
    const CONTEXT: &'static str = "lectern receipt v1";
}
