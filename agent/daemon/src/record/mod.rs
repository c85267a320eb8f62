//! The button. One task owns every change of the lesson being recorded; the page, the CLI and the
//! clock only send it requests.
//!
//! Restart policy: a recorder that is lost, or shows no durable progress for 10 s, is replaced and
//! the lesson goes on in its next take: at most [`MAX_RESTARTS`] times in [`RESTART_WINDOW`], after 0, 1, 2, 4 …
//! seconds. Then the lesson ends with what it has, and the page says so.

mod armed;
mod bell;
mod driver;
pub mod encoders;
mod hear;
mod live;
mod owed;
mod process;
mod push;
mod recover;

use std::sync::Arc;
use std::time::Duration;

use lectern_wire::capture::Layout;
use lectern_wire::manifest::About;
use tokio::sync::{mpsc, oneshot, watch};

use crate::model::answer::{Answer, no};
pub use armed::Wanted;
pub use driver::{Driver, Settings};

/// Recorders that may be lost within [`RESTART_WINDOW`] before the lesson is ended.
pub const MAX_RESTARTS: usize = 5;
/// See [`MAX_RESTARTS`].
pub const RESTART_WINDOW: Duration = Duration::from_secs(120);
/// A recorder without durable progress for this long is replaced.
pub const STUCK: Duration = Duration::from_secs(10);

/// What may be asked of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Begin a lesson; also sent live or not.
    Start(About, bool),
    /// End it.
    Stop,
    /// Stand still.
    Pause,
    /// Go on.
    Resume,
    /// Change what is said about the lesson being recorded.
    Describe(About),
    /// Note this moment, with a word that may be empty.
    Mark(String),
    /// Compose the picture in another way.
    Layout(Layout),
    /// Send the lesson live from now on, or no more.
    Live(bool),
    /// Somebody looks at the preview now.
    Look,
    /// Whether anybody answers at all.
    Alive,
    /// Go on after the bell.
    Extend,
    /// The teacher has seen how the lesson ended; the page turns to the next.
    Dismiss,
}

type Mail = (Ask, oneshot::Sender<Answer>);

/// Sends requests to the driver; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    mail: mpsc::Sender<Mail>,
    preview: watch::Receiver<Option<Arc<[u8]>>>,
}

impl Handle {
    /// Asks and waits for the answer.
    pub async fn ask(&self, ask: Ask) -> Answer {
        let (reply, answer) = oneshot::channel();
        let gone = || no("stopping", "lectern is being stopped");
        if self.mail.send((ask, reply)).await.is_err() {
            return gone();
        }
        answer.await.unwrap_or_else(|_| gone())
    }

    /// The newest preview, a JPEG; none when nothing is being recorded.
    #[must_use]
    pub fn preview(&self) -> Option<Arc<[u8]>> {
        self.preview.borrow().clone()
    }
}
