//! What the helper in a user's session (`lectern session`) and the daemon say to each other over a Unix socket: JSON
//! lines, one [`Wanted`] down at the beginning, then a [`Report`] up every few seconds.
//!
//! No window title, no address, no key that was pressed: how long ago there was input, whether the display is awake, and,
//! only where the school gave a table of applications, which category is in the foreground. The name of an
//! application is compared in the helper and never leaves it.

use serde::{Deserialize, Serialize};

/// Longest line of either side, bytes.
pub const MAX_LINE: usize = 16 * 1024;

/// Down: what the daemon wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Always 1.
    pub v: u32,
    /// Between two reports, milliseconds.
    pub every_ms: u64,
    /// The categories of applications; empty: nobody wants to know what is in the foreground.
    #[serde(default)]
    pub apps: Vec<AppName>,
}

/// An application's name and what it is counted as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppName {
    /// Part of its window class or program name, in lower case.
    pub name: String,
    /// The category.
    pub category: String,
}

/// Up: how it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Milliseconds since the last input in this session; absent where the desktop does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    /// Whether the display is awake; absent where the desktop does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<bool>,
    /// The category in the foreground; absent when it is none of those that were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
}
