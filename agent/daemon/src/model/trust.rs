//! Whom this device believes at the hub, and what it shows of itself there.

use std::path::PathBuf;

/// Where both are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// The one authority that the hub's certificate is checked by; none: those this system knows.
    pub ca: Option<PathBuf>,
    /// This device's certificate and its key; none: it shows none.
    pub own: Option<(PathBuf, PathBuf)>,
}
