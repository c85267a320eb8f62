//! What the hub counts while it runs, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since start. One field, one Prometheus counter.
#[derive(Debug, Default)]
pub struct Counts {
    /// Samples stored.
    pub samples: Count,
    /// Events stored for the first time.
    pub events: Count,
    /// Messages that were dropped because nothing could be made of them.
    pub malformed: Count,
    /// Messages or connections the access rules refused.
    pub refused: Count,
    /// Connections after which the broker beside the hub had forgotten it: what waited there is lost.
    pub forgotten: Count,
    /// Parts committed.
    pub parts: Count,
    /// Bytes of parts committed.
    pub bytes: Count,
    /// Parts refused for their hash or length.
    pub bad_parts: Count,
    /// Parts that had to wait for others.
    pub queued: Count,
    /// Receipts written.
    pub receipts: Count,
}

/// One counter.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds one.
    pub fn one(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
