//! Pre-flight: every source is opened for a moment before the bell and when the page is opened, and the encoder is
//! tried, so that what does not work is known while there is time. Nothing is recorded, nothing is kept but the
//! verdict. Where a recorder is kept ready it has the sources open already, and says itself how they are: a camera
//! that only one program may open would else seem to be away.

use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use lectern_base::clock;
use lectern_wire::capture::CaptureSettings;
use lectern_wire::preflight::Preflight as Found;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::child::{Looker, ask_armed, lesson_begins, records};
use crate::model::status::Preflight;
use crate::platform::rest::{self, Beat};
use crate::store::Store;

/// A verdict this old is no longer shown as news, and the page asks for another.
const STALE: Duration = Duration::from_secs(10 * 60);
/// Longest time the recorder may take to look.
const PATIENCE: Duration = Duration::from_secs(18);
/// How long a recorder that is to be ready may take until it is.
const READY: Duration = Duration::from_secs(8);

/// What pre-flight needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The recorder program.
    pub recorder: PathBuf,
    /// The sources.
    pub capture: CaptureSettings,
    /// Whether a recorder is kept ready.
    pub armed: bool,
    /// How long before a bell to look; zero for never.
    pub before_bell: SignedDuration,
}

/// Asks for a pre-flight; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle(mpsc::Sender<Wish>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// Somebody looks at the page.
    IfStale,
    /// Somebody wants to know now.
    Now,
}

impl Handle {
    /// Somebody looks at the page: an old verdict is renewed.
    pub fn looked(&self) {
        self.send(Wish::IfStale);
    }

    /// Look now.
    pub fn now(&self) {
        self.send(Wish::Now);
    }

    fn send(&self, wish: Wish) {
        if let Err(mpsc::error::TrySendError::Closed(_)) = self.0.try_send(wish) {
            tracing::debug!("pre-flight has ended");
        }
    }
}

/// The stage, before it runs.
pub struct Stage {
    store: Store,
    settings: Settings,
    wishes: mpsc::Receiver<Wish>,
    /// Bell of the period looked at last.
    bell_ms: Option<i64>,
}

impl Stage {
    /// Makes the stage and the handle to it.
    #[must_use]
    pub fn new(store: Store, settings: Settings) -> (Self, Handle) {
        let (sender, wishes) = mpsc::channel(4);
        (Self { store, settings, wishes, bell_ms: None }, Handle(sender))
    }

    /// Runs until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let by_bell = !self.settings.before_bell.is_zero();
        let mut beat = Beat::every(rest::STEP);
        loop {
            let due = tokio::select! {
                () = stop.cancelled() => return,
                Some(wish) = self.wishes.recv() => wish == Wish::Now || self.stale(),
                () = beat.next(), if by_bell => self.bell_is_near(),
            };
            if due && !records(&self.store) {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.look() => {}
                }
            }
        }
    }

    fn stale(&self) -> bool {
        let verdict = self.store.board().read().preflight;
        verdict.is_none_or(|v| clock::boot().saturating_sub(Duration::from_millis(v.at_boot_ms)) > STALE)
    }

    /// Whether a bell is near that was not looked at yet.
    fn bell_is_near(&mut self) -> bool {
        let (Some(table), true) = (self.store.timetable(), clock::plausible()) else { return false };
        if self.settings.before_bell.is_zero() {
            return false;
        }
        let now = clock::wall_ms();
        let Some(slot) = table.at(&clock::local(now), self.settings.before_bell) else { return false };
        let near = slot.start_ms > now && self.bell_ms != Some(slot.start_ms);
        if near {
            self.bell_ms = Some(slot.start_ms);
        }
        near
    }

    /// Asks the recorder that is ready or, where none is, one that looks; none when a lesson begins meanwhile.
    async fn ask(&self) -> Option<Result<Found, String>> {
        if self.settings.armed {
            let mut watch = self.store.board().watch();
            let ready = tokio::select! {
                ready = tokio::time::timeout(READY, watch.wait_for(|s| s.armed.is_some())) => ready,
                () = lesson_begins(&self.store) => return None,
            };
            let socket = ready.ok().and_then(|status| status.ok()?.armed.clone());
            if let Some(socket) = socket {
                let said = tokio::select! {
                    said = tokio::time::timeout(PATIENCE, ask_armed(&socket)) => said,
                    () = lesson_begins(&self.store) => return None,
                };
                match said {
                    Ok(Ok(found)) => return Some(Ok(found)),
                    Ok(Err(e)) => {
                        tracing::warn!("the recorder that is ready does not say how the sources are: {e}");
                    }
                    Err(_) => return Some(Err(format!("no answer in {} s", PATIENCE.as_secs()))),
                }
            }
        }
        let mut capture = self.settings.capture.clone();
        capture.video.encoder = self.store.board().read().encoder.or(capture.video.encoder);
        let mut looker = match Looker::start(&self.settings.recorder, "preflight", &capture).await {
            Ok(looker) => looker,
            Err(e) => return Some(Err(e)),
        };
        let said = tokio::select! {
            said = tokio::time::timeout(PATIENCE, looker.lines.next_line()) => Some(said),
            () = lesson_begins(&self.store) => None,
        };
        looker.end().await;
        Some(match said? {
            Ok(Ok(Some(line))) => {
                serde_json::from_str(&line).map_err(|e| format!("the answer cannot be read: {e}"))
            }
            Ok(Ok(None)) => Err("the recorder ended without an answer; see its log".into()),
            Ok(Err(e)) => Err(e.to_string()),
            Err(_) => Err(format!("no answer in {} s", PATIENCE.as_secs())),
        })
    }

    async fn look(&self) {
        // A lesson that begins: its own recorder says how the sources are.
        let Some(outcome) = self.ask().await else { return };
        let at_boot_ms = u64::try_from(clock::boot().as_millis()).unwrap_or(0);
        let verdict = match outcome {
            Ok(found) => {
                Preflight { at_boot_ms, sources: found.sources, encoder: found.encoder, problem: None }
            }
            Err(problem) => {
                tracing::error!("pre-flight: {problem}");
                Preflight { at_boot_ms, sources: Vec::new(), encoder: None, problem: Some(problem) }
            }
        };
        for source in verdict.sources.iter().filter(|s| s.problem.is_some()) {
            tracing::warn!(
                source = source.name,
                "pre-flight: {}",
                source.problem.as_deref().unwrap_or_default()
            );
        }
        if let Some(encoder) = verdict.encoder.as_ref().filter(|e| e.problem.is_some()) {
            let why = encoder.problem.as_deref().unwrap_or_default();
            tracing::warn!(encoder = encoder.encoder.name(), state = ?encoder.state, "pre-flight: {why}");
        }
        let before = self.store.board().read().preflight;
        let changed = before.is_none_or(|before| before.summary() != verdict.summary());
        if changed {
            let data = serde_json::json!({
                "sources": verdict.sources, "encoder": verdict.encoder, "problem": verdict.problem
            });
            self.store.outbox().push_event("preflight", &data);
            self.store.bells().publish.notify_one();
        }
        self.store.board().update(|s| s.preflight = Some(verdict));
    }
}
