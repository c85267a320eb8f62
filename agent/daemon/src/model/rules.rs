//! What a room goes by that its hub can hand down: timetable and thresholds.

use std::sync::Arc;

use lectern_wire::desired::{Desired, Thresholds};
use lectern_wire::timetable::Timetable;

use super::alarm::Limits;

/// What counts now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// The timetable, if there is one.
    pub timetable: Option<Arc<Timetable>>,
    /// From where on something is wrong with the machine.
    pub limits: Limits,
    /// Where the timetable is from.
    pub from: Origin,
    /// The revision that was handed down; 0 for none.
    pub revision: u64,
}

/// Where a timetable is from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Origin {
    /// There is none.
    #[default]
    Nowhere,
    /// A file on this machine.
    File,
    /// The hub.
    Hub,
}

impl Origin {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nowhere => "none",
            Self::File => "file",
            Self::Hub => "hub",
        }
    }
}

impl Rules {
    /// What counts, by what this machine's own settings say and what was handed down.
    #[must_use]
    pub fn of(own: Option<&Arc<Timetable>>, limits: &Limits, desired: Option<&Desired>) -> Self {
        let handed = desired.and_then(|d| d.timetable.clone()).map(Arc::new);
        let from = match (&handed, own) {
            (Some(_), _) => Origin::Hub,
            (None, Some(_)) => Origin::File,
            (None, None) => Origin::Nowhere,
        };
        Self {
            timetable: handed.or_else(|| own.cloned()),
            limits: desired.map_or_else(|| limits.clone(), |d| over(limits, &d.alarm)),
            from,
            revision: desired.map_or(0, |d| d.revision),
        }
    }
}

fn over(own: &Limits, handed: &Thresholds) -> Limits {
    Limits {
        temperature_celsius: handed.temperature_celsius.unwrap_or(own.temperature_celsius),
        disk_minutes: handed.disk_minutes.unwrap_or(own.disk_minutes),
        disk_used_pct: handed.disk_used_pct.unwrap_or(own.disk_used_pct),
        round_trip_ms: handed.round_trip_ms.unwrap_or(own.round_trip_ms),
        resent_pct: handed.resent_pct.unwrap_or(own.resent_pct),
        clock_off_s: handed.clock_off_s.unwrap_or(own.clock_off_s),
        ..own.clone()
    }
}
