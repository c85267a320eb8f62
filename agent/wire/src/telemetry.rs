//! MQTT payloads. Numbers are flat, snake_case, with a unit suffix: `_pct`, `_bytes`, `_celsius`,
//! `_s`, `_ms`, `_bps` (bits), `_count`, `_rpm`, `_dbfs`, `_dbm`, `_load`, `_code` (a number a standard gives its
//! meaning). Missing is missing, never zero.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Largest payload either side accepts.
pub const MAX_PAYLOAD: usize = 16 * 1024;

/// One sample of a measurement group: `m/{group}` carries one, `h/{group}` an array of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Sample {
    /// Unix time in milliseconds.
    pub ts: i64,
    /// Name with unit suffix to value.
    pub values: BTreeMap<String, f64>,
}

impl Sample {
    /// As it is told: JSON, each number in the shortest form that is exactly it (`12`, `0.5`, `5.275e10`). A room sends
    /// thousands of them a day. What is no number is left out.
    #[must_use]
    pub fn text(&self) -> String {
        use std::fmt::Write as _;
        /// Whole numbers up to here are exact in both forms; below a thousand the short form is never shorter.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let mut text = String::with_capacity(64 + self.values.len() * 32);
        // Writing to a text cannot fail.
        write!(text, "{{\"ts\":{},\"values\":{{", self.ts).unwrap_or_default();
        for (name, value) in self.values.iter().filter(|(_, value)| value.is_finite()) {
            if !text.ends_with('{') {
                text.push(',');
            }
            if name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
                write!(text, "\"{name}\":").unwrap_or_default();
            } else {
                // No name of ours; whatever else it is, is escaped.
                write!(text, "{}:", serde_json::Value::from(name.as_str())).unwrap_or_default();
            }
            let whole = *value as i64;
            if value.fract() != 0.0 || value.abs() >= EXACT {
                write!(text, "{value}").unwrap_or_default();
            } else if whole % 1000 == 0 && whole != 0 {
                let (plain, short) = (format!("{whole}"), format!("{whole:e}"));
                text += if short.len() < plain.len() { &short } else { &plain };
            } else {
                write!(text, "{whole}").unwrap_or_default();
            }
        }
        text + "}}"
    }
}

/// Retained state of a device, and its last will.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct State {
    /// See [`Presence`].
    pub state: Presence,
    /// Why, where there is something to say: `shutdown` when the machine goes off, `stopped` when only the program
    /// was ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Unix time in milliseconds; absent in the last will, which is written before it happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<i64>,
}

/// Whether a device is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// Connected and working.
    Online,
    /// Left on purpose.
    Offline,
    /// Vanished: the broker says so by the last will.
    Lost,
}

/// Retained inventory of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Info {
    /// Unix time in milliseconds.
    pub ts: i64,
    /// The room's name as people say it.
    pub room: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Operating system as it names itself.
    pub os: String,
    /// Kernel release.
    pub kernel: String,
    /// Processor model.
    pub cpu: String,
    /// Logical processors.
    pub cpu_count: u32,
    /// Installed memory.
    pub memory_bytes: u64,
    /// The device's public signing key.
    pub key: crate::sign::PublicKey,
    /// Whether a recorder is installed beside the agent.
    pub recorder: bool,
    /// Whether the agent knows a projector that it can ask and switch.
    #[serde(default)]
    pub projector: bool,
}

/// An event: never dropped before measurements, deleted by the device only on the hub's `ack/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Event {
    /// Rises by one per device and class; the hub stores each number once.
    pub seq: u64,
    /// Unix time in milliseconds.
    pub ts: i64,
    /// Monotonic time in milliseconds since boot.
    pub mono_ms: u64,
    /// The boot this happened in.
    pub boot_id: String,
    /// Whether the wall clock was known to be right.
    pub clock_trusted: bool,
    /// What happened, by the event's type.
    pub data: serde_json::Value,
}

/// Down: all events of the class with `seq` up to this one are stored at the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Ack {
    /// Highest sequence number stored without a hole below it.
    pub seq: u64,
}

/// Whether every name in a sample is snake_case with a unit suffix and every value finite.
#[must_use]
pub fn well_formed(sample: &Sample) -> bool {
    const UNITS: [&str; 12] = [
        "_pct", "_bytes", "_celsius", "_s", "_ms", "_bps", "_count", "_dbfs", "_load", "_rpm", "_dbm",
        "_code",
    ];
    sample.values.len() <= 256
        && sample.values.iter().all(|(name, value)| {
            value.is_finite()
                && name.len() <= 48
                && name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
                && UNITS.iter().any(|unit| name.ends_with(unit))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_briefly_and_read_as_they_were() {
        let values = [
            ("a_pct", 12.0),
            ("b_pct", 0.5),
            ("c_bytes", 1e18),
            ("d_bytes", 52_750_000_000.0),
            ("e_bytes", 52_750_000_001.0),
            ("f_dbfs", -1_000_000.0),
            ("g_ms", -0.0),
        ];
        let values = values.map(|(name, value)| (name.to_owned(), value));
        let sample = Sample { ts: 1, values: values.into() };
        let text = sample.text();
        let want = r#"{"ts":1,"values":{"a_pct":12,"b_pct":0.5,"c_bytes":1000000000000000000,"d_bytes":5.275e10,"e_bytes":52750000001,"f_dbfs":-1e6,"g_ms":0}}"#;
        assert_eq!(text, want);
        assert_eq!(serde_json::from_str::<Sample>(&text).expect("json"), sample);
        let odd = Sample { ts: -5, values: [("a\"b".to_owned(), 1.0), ("n".to_owned(), f64::NAN)].into() };
        assert_eq!(odd.text(), r#"{"ts":-5,"values":{"a\"b":1}}"#);
        assert_eq!(Sample { ts: 0, values: BTreeMap::new() }.text(), r#"{"ts":0,"values":{}}"#);
    }
}
