//! Reads a TOML section key by key, collecting every fault with its path; keys nobody asked for
//! are faults too.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use toml::{Table, Value};

/// The faults found so far.
#[derive(Debug, Default)]
pub struct Faults(RefCell<Vec<String>>);

impl Faults {
    /// Adds a fault of a path.
    pub fn add(&self, path: &str, what: &str) {
        self.0.borrow_mut().push(format!("{path}: {what}"));
    }

    /// Whether nothing is wrong below a path.
    pub fn none_below(&self, path: &str) -> bool {
        !self.0.borrow().iter().any(|fault| fault.starts_with(path))
    }

    /// The value, if there was no fault.
    pub fn into_result<T>(self, value: T) -> Result<T, Vec<String>> {
        let faults = self.0.into_inner();
        if faults.is_empty() { Ok(value) } else { Err(faults) }
    }
}

/// A table being read.
pub struct Section<'f> {
    faults: &'f Faults,
    path: String,
    table: Table,
}

impl<'f> Section<'f> {
    /// A section at a path; the root's is empty.
    pub fn new(faults: &'f Faults, path: &str, table: Table) -> Self {
        Self { faults, path: path.to_owned(), table }
    }

    /// Where faults are collected.
    pub fn faults(&self) -> &'f Faults {
        self.faults
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Adds a fault of a key here.
    pub fn fault(&self, key: &str, what: &str) {
        self.faults.add(&self.path_of(key), what);
    }

    fn sub(&self, key: &str, value: Option<Value>) -> Section<'f> {
        let table = match value {
            Some(Value::Table(table)) => table,
            Some(_) => {
                self.fault(key, "must be a section");
                Table::new()
            }
            None => Table::new(),
        };
        Section { faults: self.faults, path: self.path_of(key), table }
    }

    /// Reads a section, present or not.
    pub fn section<T>(&mut self, key: &str, read: impl FnOnce(&mut Section<'f>) -> T) -> T {
        let value = self.table.remove(key);
        let mut section = self.sub(key, value);
        let out = read(&mut section);
        section.end();
        out
    }

    /// A section, if it is there; to be ended by the caller.
    pub fn optional_section(&mut self, key: &str) -> Option<Section<'f>> {
        let value = self.table.remove(key)?;
        Some(self.sub(key, Some(value)))
    }

    /// A list of sections, numbered from 1; each to be ended by the caller.
    pub fn sections(&mut self, key: &str) -> Vec<Section<'f>> {
        match self.table.remove(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => items
                .into_iter()
                .enumerate()
                .map(|(n, item)| self.sub(&format!("{key}[{}]", n + 1), Some(item)))
                .collect(),
            Some(_) => {
                self.fault(key, "must be a list of sections, [[…]]");
                Vec::new()
            }
        }
    }

    /// Text of at most `max` characters; without a default it must be there.
    pub fn text(&mut self, key: &str, default: Option<&str>, max: usize) -> String {
        match (self.table.remove(key), default) {
            (Some(Value::String(text)), _) => {
                if text.trim().is_empty() {
                    self.fault(key, "must not be empty");
                } else if text.chars().count() > max {
                    self.fault(key, &format!("is longer than {max} characters"));
                } else if text.chars().any(char::is_control) {
                    self.fault(key, "holds a control character");
                }
                text
            }
            (Some(_), _) => {
                self.fault(key, "must be text in quotes");
                String::new()
            }
            (None, Some(default)) => default.to_owned(),
            (None, None) => {
                self.fault(key, "is missing");
                String::new()
            }
        }
    }

    /// Text that must be there and is turned into something.
    pub fn parsed<T>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let there = self.table.contains_key(key);
        let text = self.text(key, None, 1000);
        if !there || text.is_empty() {
            return None;
        }
        parse(&text).map_err(|what| self.fault(key, &what)).ok()
    }

    /// Text that is turned into something, if it is there.
    pub fn maybe_parsed<T>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        if self.table.contains_key(key) { self.parsed(key, parse) } else { None }
    }

    /// A list of texts of at most `max` characters each; empty when absent.
    pub fn texts(&mut self, key: &str, max: usize) -> Vec<String> {
        let Some(value) = self.table.remove(key) else { return Vec::new() };
        let texts = value.as_array().and_then(|items| {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>()
        });
        match texts {
            Some(texts) if texts.iter().all(|t| !t.is_empty() && t.chars().count() <= max) => texts,
            _ => {
                self.fault(key, &format!("must be a list of texts of 1 to {max} characters"));
                Vec::new()
            }
        }
    }

    /// An absolute path.
    pub fn path(&mut self, key: &str, default: &str) -> PathBuf {
        let path = PathBuf::from(self.text(key, Some(default), 1000));
        if !path.as_os_str().is_empty() && !path.is_absolute() {
            self.fault(key, "must be an absolute path");
        }
        path
    }

    /// An absolute path, if it is there.
    pub fn maybe_path(&mut self, key: &str) -> Option<PathBuf> {
        self.table.contains_key(key).then(|| self.path(key, "/"))
    }

    /// A whole number within bounds.
    pub fn number<T>(&mut self, key: &str, default: T, bounds: RangeInclusive<T>) -> T
    where
        T: TryFrom<i64> + PartialOrd + std::fmt::Display,
    {
        let what = || format!("must be a whole number from {} to {}", bounds.start(), bounds.end());
        match self.table.remove(key) {
            None => default,
            Some(Value::Integer(n)) => match T::try_from(n) {
                Ok(n) if bounds.contains(&n) => n,
                _ => {
                    self.fault(key, &format!("{}, not {n}", what()));
                    default
                }
            },
            Some(_) => {
                self.fault(key, &what());
                default
            }
        }
    }

    /// A whole number within bounds, if it is there.
    pub fn maybe_number(&mut self, key: &str, bounds: RangeInclusive<u32>) -> Option<u32> {
        let there = self.table.contains_key(key);
        let number = self.number(key, *bounds.start(), bounds);
        there.then_some(number)
    }

    /// `true` or `false`; false when it is absent.
    pub fn choice_of_bool(&mut self, key: &str) -> bool {
        match self.table.remove(key) {
            None => false,
            Some(Value::Boolean(value)) => value,
            Some(_) => {
                self.fault(key, "must be true or false");
                false
            }
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, key: &str, default: &str, choices: &[(&str, T)]) -> T {
        let word = self.text(key, Some(default), 100);
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == word) {
            return *value;
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
        if !word.is_empty() {
            self.fault(key, &format!("{word:?} is not one of {}", names.join(", ")));
        }
        choices[0].1
    }

    /// Keys that depend on something unreadable are not called unknown.
    pub fn forgive_unknown(&mut self) {
        self.table.retain(|key, _| key == "name");
    }

    /// Calls every key that nobody asked for a fault.
    pub fn end(&mut self) {
        for key in std::mem::take(&mut self.table).keys() {
            self.fault(key, "is not a setting; check the spelling against the annotated agent.toml");
        }
    }
}
