//! What is measured: numbers by group, why some are missing, and words that belong to them.

use std::collections::BTreeMap;

/// Numbers by name, with unit suffix.
pub type Values = BTreeMap<String, f64>;

/// A topic level that measurements are told on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// The machine.
    Sys,
    /// Its network.
    Net,
    /// What is plugged in for picture and sound.
    Av,
    /// The agent itself.
    Agent,
}

impl Group {
    /// Its topic level.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sys => "sys",
            Self::Net => "net",
            Self::Av => "av",
            Self::Agent => "agent",
        }
    }
}

/// What one collector found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// Numbers.
    pub values: Values,
    /// What could not be read: a name (with unit suffix where it is one number) and why, in a sentence.
    pub missing: BTreeMap<String, String>,
    /// Words: names of units that failed, of devices nobody registered. Never a person's.
    pub words: BTreeMap<String, String>,
}

impl Found {
    /// Adds a number, rounded to hundredths, bytes to four figures and bits a second to three: finer is noise. One that is
    /// none is missing.
    pub fn put(&mut self, name: &str, value: f64) {
        if value.is_finite() {
            let rounded = if name.ends_with("_bytes") {
                to_figures(value, 1e4)
            } else if name.ends_with("_bps") {
                to_figures(value, 1e3)
            } else {
                // Divided, so that 0.1 stays 0.1.
                (value * 100.0).round() / 100.0
            };
            self.values.insert(name.to_owned(), rounded);
        }
    }

    /// Adds a whole number.
    pub fn count(&mut self, name: &str, n: usize) {
        self.values.insert(name.to_owned(), n as f64);
    }

    /// Adds a number that was read, or why it was not.
    pub fn read(&mut self, name: &str, outcome: Result<f64, String>) {
        match outcome {
            Ok(value) => self.put(name, value),
            Err(why) => self.lack(name, why),
        }
    }

    /// Says why something is missing.
    pub fn lack(&mut self, name: &str, why: impl Into<String>) {
        self.missing.insert(name.to_owned(), why.into());
    }

    /// Adds words.
    pub fn say(&mut self, name: &str, words: impl Into<String>) {
        self.words.insert(name.to_owned(), words.into());
    }
}

/// The first figures of a number, as many as `below` has zeros; no more than the whole of a small one.
fn to_figures(value: f64, below: f64) -> f64 {
    let mut step = 1.0;
    while value.abs() >= step * below {
        step *= 10.0;
    }
    (value / step).round() * step
}

/// Everything measured last, as the alarms, the page and doctor see it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Health {
    /// Numbers by group.
    pub groups: BTreeMap<Group, Values>,
    /// What could not be read, and why.
    pub missing: BTreeMap<String, String>,
    /// Words.
    pub words: BTreeMap<String, String>,
}

impl Health {
    /// Takes in what a collector found.
    pub fn add(&mut self, group: Group, found: &Found) {
        let values = found.values.iter().map(|(name, value)| (name.clone(), *value));
        self.groups.entry(group).or_default().extend(values);
        self.missing.extend(found.missing.clone());
        self.words.extend(found.words.clone());
    }

    /// A number, whatever its group.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<f64> {
        self.groups.values().find_map(|values| values.get(name)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_fine_as_they_mean_something() {
        let mut found = Found::default();
        for (name, value, told) in [
            ("cpu_pct", 12.345, Some(12.35)),
            ("used_bytes", 52_749_615_104.0, Some(52_750_000_000.0)),
            ("edge_bytes", 99_999.0, Some(100_000.0)),
            ("few_bytes", 999.6, Some(1000.0)),
            ("none_bytes", 0.0, Some(0.0)),
            ("rx_bps", 164_253.0, Some(164_000.0)),
            ("link_bps", 1e9, Some(1e9)),
            ("load1_load", 0.1, Some(0.1)),
            ("uptime_s", 123_456.0, Some(123_456.0)),
            ("odd_pct", f64::NAN, None),
        ] {
            found.put(name, value);
            assert_eq!(found.values.get(name).copied(), told, "{name}");
        }
    }
}
