//! What may go wrong on the way to a destination: whose fault it is, a sentence, and when to come again.

use std::path::Path;
use std::time::Duration;

use crate::store::StoreError;

/// Why a lesson is not there yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{said}")]
pub struct Trouble {
    said: String,
    /// It is this lesson alone; the others may go on.
    of_lesson: bool,
    retry_after: Option<Duration>,
}

impl Trouble {
    /// The destination does not answer, refuses or is full.
    pub fn there(said: impl Into<String>) -> Self {
        Self { said: said.into(), of_lesson: false, retry_after: None }
    }

    /// It is this lesson alone.
    pub fn lesson(said: impl Into<String>) -> Self {
        Self { said: said.into(), of_lesson: true, retry_after: None }
    }

    /// A file on this machine.
    pub fn file(path: &Path, e: &std::io::Error) -> Self {
        Self::lesson(format!("{}: {e}", path.display()))
    }

    /// With the time the other side wants to be left alone.
    pub fn after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// Whether others may go on.
    pub fn is_of_lesson(&self) -> bool {
        self.of_lesson
    }

    /// When to come again, if somebody said so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl From<StoreError> for Trouble {
    fn from(e: StoreError) -> Self {
        Self::there(e.to_string())
    }
}

impl From<reqwest::Error> for Trouble {
    fn from(e: reqwest::Error) -> Self {
        // The address may carry a signature; it stays out of logs.
        let e = e.without_url();
        let mut said = format!("it cannot be reached: {e}");
        let mut cause = std::error::Error::source(&e);
        while let Some(inner) = cause {
            said = format!("{said}: {inner}");
            cause = inner.source();
        }
        Self::there(said)
    }
}
