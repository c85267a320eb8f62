//! The status board: every stage writes its part, the page and the CLI read the whole.

use tokio::sync::watch;

use crate::model::status::Status;

/// Holds the newest [`Status`].
#[derive(Debug)]
pub struct Board {
    status: watch::Sender<Status>,
}

impl Default for Board {
    fn default() -> Self {
        Self { status: watch::channel(Status::default()).0 }
    }
}

impl Board {
    /// Changes the status; a change that changes nothing is not a new generation.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            let changed = *status != before;
            if changed {
                status.generation = before.generation + 1;
            }
            changed
        });
    }

    /// The newest status.
    #[must_use]
    pub fn read(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Follows the status.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }
}
