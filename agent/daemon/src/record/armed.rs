//! Keeps a recorder ready before the press, where the settings want one.
//!
//! It has its sources open and, with a ring, the newest seconds in its memory. The press hands it the job; a next
//! one is made ready after the lesson. Whatever is wrong with it, the press starts a recorder as always.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lectern_base::clock;
use lectern_wire::capture::CaptureSettings;
use lectern_wire::recorder::{Armed, Command as Order, Event, Job};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::task::JoinHandle;

use super::driver::Driver;
use super::process;

/// How long after one ended by itself the next is started.
const AGAIN: Duration = Duration::from_secs(15);

/// What is wanted before the press.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// A recorder with its sources open.
    pub armed: bool,
    /// Seconds before the press that it keeps in memory; 0 keeps nothing.
    pub ring_s: u32,
}

/// A recorder that is ready, or soon will be.
pub(super) struct Ready {
    child: Child,
    capture: CaptureSettings,
    socket: PathBuf,
    /// It has said that it waits.
    up: Arc<AtomicBool>,
    /// Stays connected: a recorder that nobody is connected to ends by itself.
    listener: JoinHandle<()>,
}

impl Driver {
    /// Makes a recorder ready when nothing is recorded, and shows whether one keeps what happens now.
    pub(super) async fn keep_ready(&mut self, now: Duration) {
        let wanted = self.settings.before;
        // Not before the encoder is known: it is opened when the recorder is.
        let encoder = self.settings.capture.video.encoder;
        if !wanted.armed || encoder.is_none() || !self.settings.recorder.is_file() {
            return;
        }
        if let Some(ready) = &mut self.ready {
            let ended = !matches!(ready.child.try_wait(), Ok(None));
            if ended || ready.capture != self.settings.capture {
                tracing::info!(ended, "the recorder that was ready is replaced");
                self.stand_down().await;
                self.arm_after = ended.then_some(now + AGAIN);
            }
        } else if self.live.is_none() && self.owed.is_empty() && self.arm_after.is_none_or(|at| now >= at) {
            self.arm().await;
        }
        let up = self.ready.as_ref().filter(|r| r.up.load(Ordering::Relaxed));
        let (ring, socket) = (up.map(|_| wanted.ring_s), up.map(|ready| ready.socket.clone()));
        self.show_ready(ring.filter(|s| *s > 0), socket);
    }

    fn show_ready(&self, ring_s: Option<u32>, armed: Option<PathBuf>) {
        let shown = self.store.board().read();
        if (shown.ring_s, &shown.armed) != (ring_s, &armed) {
            self.store.board().update(|s| (s.ring_s, s.armed) = (ring_s, armed));
        }
    }

    async fn arm(&mut self) {
        let socket = self.store.folder().join("run").join(format!("armed-{}.sock", std::process::id()));
        if let Err(e) = std::fs::remove_file(&socket)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            return tracing::warn!("{}: {e}", socket.display());
        }
        let capture = self.settings.capture.clone();
        let (ring_s, socket_path) = (self.settings.before.ring_s, socket.to_string_lossy().into_owned());
        let armed = Armed { socket_path, ring_s, capture: capture.clone() };
        match process::spawn(&self.settings.recorder, "arm", &armed).await {
            Ok(child) => {
                let up = Arc::new(AtomicBool::new(false));
                let listener = tokio::spawn(attend(socket.clone(), up.clone()));
                self.ready = Some(Ready { child, capture, socket, up, listener });
            }
            Err(e) => {
                tracing::warn!("no recorder could be made ready: {e}");
                self.arm_after = Some(clock::mono() + AGAIN);
            }
        }
    }

    /// Hands the job to the recorder that is ready; its process, unless none is or it does not listen.
    pub(super) async fn use_ready(&mut self, job: &Job) -> Option<Child> {
        let mut ready = self.ready.take()?;
        self.show_ready(None, None);
        let fits = ready.capture == job.capture
            && ready.up.load(Ordering::Relaxed)
            && matches!(ready.child.try_wait(), Ok(None));
        let told = fits && hand_over(&ready.socket, job).await;
        // From now on the driver itself listens, at the job's own socket.
        ready.listener.abort();
        if told {
            return Some(ready.child);
        }
        tracing::warn!("the recorder that was to be ready is not; another is started");
        end(ready).await;
        None
    }

    /// Ends the recorder that is ready.
    pub(super) async fn stand_down(&mut self) {
        if let Some(ready) = self.ready.take() {
            self.show_ready(None, None);
            ready.listener.abort();
            end(ready).await;
        }
    }
}

/// Devices must be free again before the next recorder opens them.
async fn end(mut ready: Ready) {
    if let Some(pid) = ready.child.id() {
        let waited = async { drop(ready.child.wait().await) };
        let ended = async { process::end(pid).await };
        tokio::join!(waited, ended);
    }
}

async fn hand_over(socket: &std::path::Path, job: &Job) -> bool {
    let Ok(stream) = UnixStream::connect(socket).await else { return false };
    let (_read, mut write) = stream.into_split();
    process::order(&mut write, &Order::Start { job: Box::new(job.clone()) }).await
}

/// Stays connected and hears whether it is ready.
async fn attend(socket: PathBuf, up: Arc<AtomicBool>) {
    let stream = loop {
        match UnixStream::connect(&socket).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(Event::Armed { .. }) => up.store(true, Ordering::Relaxed),
            Ok(Event::Fatal { message }) => tracing::warn!("the recorder that was ready gives up: {message}"),
            _ => {}
        }
    }
    up.store(false, Ordering::Relaxed);
}
