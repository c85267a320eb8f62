//! Why something did not reach its destination.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::platform::http::ClientError;
use crate::store::StoreError;

/// Why something did not reach its destination.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The hub could not be reached or the line broke.
    #[error("the hub cannot be reached: {0}")]
    Network(String),
    /// The hub said no.
    #[error("the hub refused ({status}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The short word of the refusal; empty when it was none of ours.
        code: String,
        /// The hub's sentence.
        message: String,
        /// When to come again, if it said so.
        retry_after: Option<Duration>,
    },
    /// The hub received other bytes than were promised.
    #[error("the hub received other bytes than were hashed")]
    HashRefused,
    /// A part's bytes have changed on this disk.
    #[error("take {take} part {part} has changed on this disk since it was recorded; see `lectern verify`")]
    Damaged {
        /// The take.
        take: u32,
        /// The part.
        part: u32,
    },
    /// The hub is still reading back.
    #[error("the hub is still reading the lesson back")]
    NotYet,
    /// The hub answers with a key that is not the one this device knows.
    #[error(
        "the hub at {url} shows key {found}, this device knows {known}: if that key was lost at the hub, stop lectern, run `lectern forget-hub`, start it again; if it is another hub, enrol at it with its card (`lectern enrol --again`)"
    )]
    OtherHub {
        /// Its address.
        url: String,
        /// The key it shows.
        found: String,
        /// The key this device knows.
        known: String,
    },
    /// The receipt does not fit.
    #[error("the hub's receipt is not accepted: {0}")]
    BadReceipt(String),
    /// The hub's log of receipts does not continue what this room witnessed.
    #[error("the hub's log of receipts is refused: {0}")]
    LogRefused(String),
    /// The bytes are not those whose chain heads were signed while they were recorded.
    #[error("the hub refuses the lesson: {0}")]
    Contradicted(String),
    /// A local file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl UploadError {
    /// A local file's error.
    pub fn file(path: &Path, source: std::io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }

    /// Whether it is the line, not the hub or this device.
    pub fn is_network(&self) -> bool {
        matches!(self, Self::Network(_))
    }

    /// Whether the hub said that others go first.
    pub fn is_queued(&self) -> bool {
        matches!(self, Self::Refused { status: 429, .. })
    }

    /// Whether it does not go away by waiting, as far as one can tell.
    pub fn needs_a_hand(&self) -> bool {
        !(self.is_network() || self.is_queued() || matches!(self, Self::NotYet))
    }

    /// Whether a grant did not hold any more: it has ended, or was made by a hub that was set up anew since. S3
    /// stores say so with 400 or 403.
    pub fn is_stale_grant(&self) -> bool {
        matches!(self, Self::Refused { status: 400 | 403, .. })
    }

    /// When to come again, if somebody said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::NotYet => Some(Duration::from_millis(500)),
            _ => None,
        }
    }
}

/// An error with all that lies below it. The URL may carry a grant; it stays out of logs.
pub fn chain(e: &dyn std::error::Error) -> String {
    let mut said = e.to_string();
    let mut cause = e.source();
    while let Some(inner) = cause {
        said = format!("{said}: {inner}");
        cause = inner.source();
    }
    said
}

impl From<ClientError> for UploadError {
    fn from(e: ClientError) -> Self {
        match e {
            ClientError::Library(e) => e.into(),
            other => Self::Network(chain(&other)),
        }
    }
}

impl From<reqwest::Error> for UploadError {
    fn from(e: reqwest::Error) -> Self {
        Self::Network(chain(&e.without_url()))
    }
}
