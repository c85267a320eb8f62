//! A projector in the network.

use std::path::PathBuf;
use std::time::Duration;

/// How it is asked; `[projector]` in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projector {
    /// Its address.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// File with its password in the first line; none when it asks for none.
    pub password_file: Option<PathBuf>,
    /// How often it is asked.
    pub every: Duration,
}
