//! Somebody at the machine, or nobody: what `lectern session` would tell the daemon, told on its socket by hand, so that a
//! school day can be played faster than a real desktop would notice that a person has left.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lectern_wire::session::Report;

/// Between two reports. A daemon that is not there is called again as often.
const EVERY: Duration = Duration::from_millis(300);
/// How long ago the last input is when nobody is there.
const LONG_AGO_MS: u64 = 3_600_000;

/// The hands; they rest when they are dropped.
#[derive(Debug)]
pub struct Hands {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether somebody works; none: nobody tells anything.
    at_work: Mutex<Option<bool>>,
    end: AtomicBool,
}

impl Hands {
    /// At a daemon's socket, which may come and go; they say nothing yet.
    #[must_use]
    pub fn at(socket: PathBuf) -> Self {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            let mut line = None::<UnixStream>;
            while !own.end.load(Ordering::Relaxed) {
                let at_work = *own.at_work.lock().unwrap_or_else(PoisonError::into_inner);
                line = at_work.and_then(|at_work| {
                    let mut line = line.take().or_else(|| UnixStream::connect(&socket).ok())?;
                    let idle_ms = Some(if at_work { 0 } else { LONG_AGO_MS });
                    let report = Report { idle_ms, display: Some(true), category: None };
                    let mut text = serde_json::to_vec(&report).ok()?;
                    text.push(b'\n');
                    line.write_all(&text).ok().map(|()| line)
                });
                std::thread::sleep(EVERY);
            }
        });
        Self { shared }
    }

    /// Somebody works, or the machine is left alone with its display on.
    pub fn work(&self, at_work: bool) {
        *self.shared.at_work.lock().unwrap_or_else(PoisonError::into_inner) = Some(at_work);
    }

    /// Nobody tells anything any more.
    pub fn rest(&self) {
        *self.shared.at_work.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
    }
}
