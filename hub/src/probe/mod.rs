//! Floor 5: tries a store out before it is trusted, and says what it can be trusted with: `lectern-hub check`, and the
//! hub itself when it starts on an S3 store that nobody has tried yet.
//!
//! Everything is done as rooms and the hub do it, with bytes of its own that are removed again.

pub mod files;
pub mod s3;

use serde::Serialize;

/// What a check weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Without it the hub cannot use the store.
    Needed,
    /// Without it rooms do not send to the store themselves: their parts go through the hub, which checks them.
    Direct,
    /// Good to have; the hub does without.
    Noted,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A short name for programs.
    pub check: &'static str,
    /// What was tried, in words.
    pub what: &'static str,
    /// Whether the store does as it should.
    pub ok: bool,
    /// See [`Weight`].
    pub weight: Weight,
    /// What it did.
    pub detail: String,
}

/// Everything that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// In the order they were tried.
    pub findings: Vec<Finding>,
}

impl Findings {
    fn add(
        &mut self,
        weight: Weight,
        check: &'static str,
        what: &'static str,
        ok: bool,
        detail: impl Into<String>,
    ) {
        self.findings.push(Finding { check, what, ok, weight, detail: detail.into() });
    }

    fn all(&self, weight: Weight) -> bool {
        self.findings.iter().filter(|f| f.weight == weight).all(|f| f.ok)
    }

    /// Whether the hub can use the store at all.
    pub fn usable(&self) -> bool {
        !self.findings.is_empty() && self.all(Weight::Needed)
    }

    /// Whether rooms may send to it themselves.
    pub fn direct(&self) -> bool {
        self.usable() && self.all(Weight::Direct)
    }

    /// Whether a check went well.
    pub fn well(&self, check: &str) -> bool {
        self.findings.iter().any(|f| f.check == check && f.ok)
    }

    /// The table, a line for each check.
    pub fn table(&self) -> String {
        let width = self.findings.iter().map(|f| f.what.chars().count()).max().unwrap_or(0);
        let mark = |f: &Finding| match (f.ok, f.weight) {
            (true, _) => "ok  ",
            (false, Weight::Needed) => "BAD ",
            (false, Weight::Direct) => "weak",
            (false, Weight::Noted) => "note",
        };
        let line =
            |f: &Finding| format!("{} {:<width$}  {}", mark(f), f.what, f.detail).trim_end().to_owned();
        self.findings.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_weak_is_worked_around_and_what_is_needed_is_not() {
        let mut found = Findings::default();
        assert!(!found.usable(), "what was not tried is not trusted");
        found.add(Weight::Needed, "a", "reads back", true, "");
        found.add(Weight::Noted, "b", "conditional writes", false, "overwritten");
        assert!(found.direct() && found.usable() && found.well("a") && !found.well("b"));
        found.add(Weight::Direct, "c", "wrong hash refused", false, "200");
        assert!(!found.direct() && found.usable());
        assert!(found.table().contains("weak wrong hash refused  200"), "{}", found.table());
        found.add(Weight::Needed, "d", "x", false, "");
        assert!(!found.usable());
    }
}
