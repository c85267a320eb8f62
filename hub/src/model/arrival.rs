//! What the broker hands to ingest, and what ingest hands back: the seam between two stages.

use lectern_wire::topic::{Leaf, Topics};
use tokio::sync::oneshot;

/// A message of a device, already checked to be its own.
#[derive(Debug)]
pub struct Arrival {
    /// Whose it is.
    pub topics: Topics,
    /// What it is about.
    pub leaf: Leaf,
    /// The bytes as they came.
    pub payload: Vec<u8>,
    /// The broker had kept it for whoever comes: it is no sign of life, and nothing new.
    pub retained: bool,
    /// Answered when the message is committed (`true`) or could not be (`false`). Absent when
    /// nobody waits: then the sender asked for no acknowledgement.
    pub done: Option<oneshot::Sender<bool>>,
}

/// What is to be published down to a device: an acknowledgement of its events, a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Down {
    /// Whose.
    pub topics: Topics,
    /// On which of its topics.
    pub leaf: Leaf,
    /// What it says.
    pub payload: Vec<u8>,
}
