//! What a hub wants a room to go by, retained on `cfg/desired`, and the room's answer on `cfg/reported`.
//!
//! ```text
//! hub: revision n ──▶ room: checks ──▶ kept, then applied ──▶ reported: n, applied
//!                                 └──▶ nothing changes     ──▶ reported: n, refused, why
//! ```
//!
//! A signed document, as commands are: whoever holds the broker cannot hand anything down. It is whole, not a
//! change to what was before, and its revision only grows: an old one that comes again is refused.

use serde::{Deserialize, Serialize};

use crate::id::{DeviceId, SchoolId};
use crate::sign::Document;
use crate::timetable::Timetable;

/// Longest document, bytes of its JSON: the hub's broker takes packets of 64 KiB.
pub const MAX_DESIRED: usize = 48 * 1024;
/// Longest sentence of a [`Reported`], characters.
pub const REPORTED_MAX_CHARS: usize = 400;

/// What a room is to go by, v1, signed by the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Desired {
    /// Always 1.
    pub v: u32,
    /// The school of the device it is for.
    pub school: SchoolId,
    /// The device it is for.
    pub device: DeviceId,
    /// From 1; only ever grows.
    pub revision: u64,
    /// When it was handed down, Unix milliseconds by the hub's clock.
    pub given_ms: i64,
    /// The timetable; absent: the room goes by a file of its own, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timetable: Option<Timetable>,
    /// From where on something is wrong with the machine.
    #[serde(default, skip_serializing_if = "Thresholds::none")]
    pub alarm: Thresholds,
}

impl Document for Desired {
    const CONTEXT: &'static str = "lectern desired v1";
}

impl Desired {
    /// What is wrong with it, if anything, in a sentence.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        if self.v != 1 {
            return Some(format!("it has version {}, this program knows 1", self.v));
        }
        if !(1..1 << 53).contains(&self.revision) {
            return Some(format!("{} is not a revision", self.revision));
        }
        self.alarm.fault().or_else(|| self.timetable.as_ref().and_then(Timetable::fault))
    }
}

/// Thresholds of alarms, as `[alarm]` in the room's settings; what is absent stays as the room has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Thresholds {
    /// Hottest sensor, °C.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_celsius: Option<u32>,
    /// Minutes of lesson that fit on the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_minutes: Option<u32>,
    /// How full the disk is, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_used_pct: Option<u32>,
    /// Shortest round trip to the hub, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<u32>,
    /// TCP segments that had to be sent again, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resent_pct: Option<u32>,
    /// How far the clock is from the hub's, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_off_s: Option<u32>,
}

impl Thresholds {
    /// Name, lowest and highest value of each, in the order of [`Self::values`].
    pub const BOUNDS: [(&'static str, u32, u32); 6] = [
        ("temperature_celsius", 40, 120),
        ("disk_minutes", 1, 10_000),
        ("disk_used_pct", 50, 100),
        ("round_trip_ms", 10, 60_000),
        ("resent_pct", 1, 100),
        ("clock_off_s", 5, 86_400),
    ];

    /// The values, in the order of [`Self::BOUNDS`].
    #[must_use]
    pub fn values(&self) -> [Option<u32>; 6] {
        [
            self.temperature_celsius,
            self.disk_minutes,
            self.disk_used_pct,
            self.round_trip_ms,
            self.resent_pct,
            self.clock_off_s,
        ]
    }

    /// Whether there is none.
    #[must_use]
    pub fn none(&self) -> bool {
        *self == Self::default()
    }

    /// Which is out of bounds, if one is, in a sentence.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let all = Self::BOUNDS.into_iter().zip(self.values());
        all.into_iter().find_map(|((name, low, high), value)| {
            let value = value.filter(|value| !(low..=high).contains(value))?;
            Some(format!("{name} is {value}; it must be from {low} to {high}"))
        })
    }
}

/// What a room made of a [`Desired`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reported {
    /// The revision this answers; 0 when it could not be read.
    pub revision: u64,
    /// What became of it.
    pub state: ReportState,
    /// Why it was refused, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The revision the room goes by now; 0 for none: by its own file.
    pub running: u64,
    /// When, Unix milliseconds by the device's clock.
    pub ts: i64,
}

/// What became of a [`Desired`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReportState {
    /// The room goes by it.
    Applied,
    /// Nothing was changed.
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired() -> Desired {
        Desired {
            v: 1,
            school: SchoolId::new("s").expect("id"),
            device: DeviceId::new("d").expect("id"),
            revision: 3,
            given_ms: 5,
            timetable: None,
            alarm: Thresholds { disk_used_pct: Some(90), ..Thresholds::default() },
        }
    }

    #[test]
    fn what_is_absent_is_not_written_and_reads_as_absent() {
        let text = serde_json::to_string(&desired()).expect("json");
        assert!(text.contains(r#""alarm":{"disk_used_pct":90}"#) && !text.contains("timetable"), "{text}");
        assert_eq!(serde_json::from_str::<Desired>(&text).expect("reads"), desired());
    }

    #[test]
    fn a_document_that_cannot_be_gone_by_is_named() {
        let broken = |change: fn(&mut Desired)| {
            let mut desired = desired();
            change(&mut desired);
            desired.fault().unwrap_or_default()
        };
        assert_eq!(broken(|_| {}), "");
        assert!(broken(|d| d.v = 2).contains("version 2"));
        assert!(broken(|d| d.revision = 0).contains("not a revision"));
        assert!(broken(|d| d.alarm.disk_used_pct = Some(10)).contains("disk_used_pct is 10"));
        assert!(
            broken(|d| d.timetable = Some(Timetable { bell_offset_s: 9999, ..Timetable::default() }))
                .contains("9999")
        );
    }
}
