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
    /// Adds a number, rounded to hundredths; one that is none is missing.
    pub fn put(&mut self, name: &str, value: f64) {
        if value.is_finite() {
            self.values.insert(name.to_owned(), (value * 100.0).round() / 100.0);
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
        self.groups.entry(group).or_default().extend(found.values.clone());
        self.missing.extend(found.missing.clone());
        self.words.extend(found.words.clone());
    }

    /// A number, whatever its group.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<f64> {
        self.groups.values().find_map(|values| values.get(name)).copied()
    }
}
