//! `[targets]`: what a school or county has set itself, and which rooms are recording rooms; and the oldest version.

use semver::Version;
use toml::Value;

use super::Reader;
use crate::model::indicators::{Code, Targets};

/// Longest list of recording rooms.
const MOST_ROOMS: usize = 500;

impl Reader<'_> {
    /// The oldest version that is not too old; the hub's own where none is named.
    pub(super) fn version(&mut self, path: &'static str) -> Version {
        let text = self.filled(path, false, "");
        let named = if text.is_empty() { env!("CARGO_PKG_VERSION") } else { &text };
        Version::parse(named).unwrap_or_else(|e| {
            self.fault(path, &format!("{named:?} is not a version such as \"0.2.0\": {e}"));
            Version::new(0, 0, 0)
        })
    }

    pub(super) fn targets(&mut self) -> Targets {
        let mut targets =
            Targets { recording_rooms: self.rooms("targets.recording_rooms"), ..Targets::default() };
        for (code, path) in [
            (Code::Coverage, "targets.coverage_pct"),
            (Code::PowerOn, "targets.power_on_pct"),
            (Code::PeriodsUsed, "targets.periods_used_pct"),
            (Code::Teachers, "targets.teachers_pct"),
            (Code::RecordingRooms, "targets.recording_rooms_pct"),
            (Code::Submitted, "targets.submitted_pct"),
            (Code::InOrder, "targets.in_order_pct"),
        ] {
            if let Some(tenths) = self.percent(path) {
                targets.tenths.insert(code, tenths);
            }
        }
        targets
    }

    /// A share to be reached, in tenths of a percent; 0 is none.
    fn percent(&mut self, path: &'static str) -> Option<u64> {
        let given = match self.value(path)? {
            Value::Integer(n) => u64::try_from(n).ok().and_then(|n| n.checked_mul(10)),
            // As it is written: 91.5, and not finer than that.
            Value::Float(n) => format!("{:.0}", n * 10.0).parse().ok(),
            _ => None,
        };
        match given {
            Some(0) => None,
            Some(tenths) if tenths <= 1000 => Some(tenths),
            _ => {
                self.fault(path, "must be a number from 0 to 100, such as 91.5; 0 is no target");
                None
            }
        }
    }

    fn rooms(&mut self, path: &'static str) -> Vec<String> {
        let Some(value) = self.value(path) else { return Vec::new() };
        let name = |value: &Value| {
            let text = value.as_str()?.trim();
            (!text.is_empty() && text.chars().count() <= 80).then(|| text.to_owned())
        };
        let names = value.as_array().map(|all| all.iter().map(name).collect::<Option<Vec<_>>>());
        match names {
            Some(Some(names)) if names.len() <= MOST_ROOMS => names,
            _ => {
                self.fault(
                    path,
                    "must be a list of names or ids of rooms, such as [\"录播教室\", \"room-501\"]",
                );
                Vec::new()
            }
        }
    }
}
