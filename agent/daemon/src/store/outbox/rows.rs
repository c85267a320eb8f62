//! What stands in the outbox, in its file and in memory.

use lectern_wire::telemetry::{Event, Sample, well_formed};
use serde_json::Value;

/// An event without a number.
pub struct Held {
    pub kind: String,
    pub ts: i64,
    pub mono_ms: i64,
    pub clock_trusted: bool,
    pub data: String,
}

/// What was dropped from memory and is to be declared.
#[derive(Default)]
pub struct Lost {
    pub events: u64,
    pub samples: u64,
    pub from_ts: i64,
    pub to_ts: i64,
}

/// A stored event with its type.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// The event's type, a topic level.
    pub kind: String,
    /// The event.
    pub event: Event,
}

/// A sample that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleRow {
    /// Its number.
    pub seq: i64,
    /// Its group, a topic level.
    pub group: String,
    /// The sample as it is told, JSON.
    pub text: String,
    /// Whether it comes from the file.
    pub kept: bool,
}

/// How many rows the file holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub samples: u64,
    pub events: u64,
    pub heads: u64,
}

impl SampleRow {
    /// Whether it is what it was: a disk may give back other bytes than it took.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.kept || serde_json::from_str::<Sample>(&self.text).is_ok_and(|sample| well_formed(&sample))
    }
}

impl Lost {
    /// What is to be said of it.
    pub fn told(&self) -> impl Iterator<Item = Value> {
        let cause = "the disk could not be written and memory was full";
        let samples = (self.samples > 0).then(|| {
            serde_json::json!({
                "class": "sample", "count": self.samples, "from_ts": self.from_ts, "to_ts": self.to_ts,
                "cause": cause,
            })
        });
        let events = (self.events > 0)
            .then(|| serde_json::json!({ "class": "event", "count": self.events, "cause": cause }));
        samples.into_iter().chain(events)
    }
}
