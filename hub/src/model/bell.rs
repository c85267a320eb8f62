//! Says that something people look at has changed. A watcher asks for "newer than n".

use tokio::sync::watch;

/// The bell. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bell(watch::Sender<u64>);

impl Default for Bell {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Bell {
    /// Rings: the generation rises.
    pub fn ring(&self) {
        self.0.send_modify(|n| *n += 1);
    }

    /// Somebody who waits for the next generation.
    #[must_use]
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}
