//! A mounted share as a destination, on a thread of its own: a share that hangs holds up its own lessons and nothing else.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Trouble;
use super::share::Share;
use super::work::{Checked, Work};

/// A share that moves nothing for this long hangs.
const HUNG: Duration = Duration::from_secs(60);

type Task = Box<dyn FnOnce() + Send>;

/// Counts what moves, so that a hung share is told from a slow one.
pub type Beat = Arc<AtomicU64>;

/// See the module's header.
pub struct Folder {
    path: PathBuf,
    beat: Beat,
    tasks: mpsc::Sender<Task>,
    /// Tasks that were given to the thread and have not come back.
    out: Arc<AtomicU64>,
}

impl Folder {
    /// Starts the thread; the share is not touched yet.
    pub fn new(path: PathBuf) -> Self {
        let (tasks, waiting) = mpsc::channel::<Task>();
        // Never joined: a thread that hangs in the kernel cannot be ended, and must not keep the daemon from ending.
        let started = std::thread::Builder::new().name("share".into()).spawn(move || {
            for task in waiting {
                task();
            }
        });
        if let Err(e) = started {
            tracing::error!("no thread for the share: {e}");
        }
        Self { path, beat: Beat::default(), tasks, out: Arc::default() }
    }

    /// Does something with the share on its thread.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Share) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        if self.out.load(Ordering::Acquire) > 0 {
            return Err(self.hangs());
        }
        let (said, answer) = oneshot::channel();
        let (path, beat, out) = (self.path.clone(), self.beat.clone(), self.out.clone());
        out.fetch_add(1, Ordering::AcqRel);
        let task = Box::new(move || {
            let outcome = Share::open(&path, beat).and_then(|share| {
                let done = work(&share)?;
                // What was mounted when it began must be mounted still.
                share.is_still_there()?;
                Ok(done)
            });
            out.fetch_sub(1, Ordering::AcqRel);
            // Whoever asked may have given up; the next round finds what was done.
            drop(said.send(outcome));
        });
        if self.tasks.send(task).is_err() {
            return Err(Trouble::there("the share's thread has ended"));
        }
        tokio::select! {
            outcome = answer => outcome.map_err(|_| Trouble::there("the share's thread broke off"))?,
            () = self.stands_still() => Err(self.hangs()),
        }
    }

    fn hangs(&self) -> Trouble {
        let path = self.path.display();
        Trouble::there(format!("the share {path} does not answer; everything else goes on without it"))
    }

    async fn stands_still(&self) {
        let mut last = self.beat.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(HUNG).await;
            let now = self.beat.load(Ordering::Relaxed);
            if now == last {
                return;
            }
            last = now;
        }
    }

    /// Copies the parts that are ready.
    pub async fn grow(&self, work: &Work) -> Result<(), Trouble> {
        let work = work.clone();
        self.with(move |share| share.grow(&work)).await
    }

    /// Copies the rest, gives the files their names and reads them back.
    pub async fn finish(&self, work: &Work) -> Result<Vec<Checked>, Trouble> {
        let work = work.clone();
        self.with(move |share| share.finish(&work)).await
    }

    /// Removes what is there of a lesson.
    pub async fn discard(&self, work: &Work) -> Result<(), Trouble> {
        let work = work.clone();
        self.with(move |share| share.discard(&work)).await
    }
}
