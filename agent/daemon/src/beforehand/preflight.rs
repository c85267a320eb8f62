//! Pre-flight: every source is opened for a moment before the bell and when the page is opened, so that
//! what does not work is known while there is time. Nothing is recorded, nothing is kept but the verdict.

use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use lectern_base::clock;
use lectern_wire::capture::CaptureSettings;
use lectern_wire::preflight::Preflight as Found;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::child::{Looker, lesson_begins, records};
use crate::model::status::Preflight;
use crate::model::timetable::Timetable;
use crate::store::Store;

/// A verdict this old is no longer shown as news, and the page asks for another.
const STALE: Duration = Duration::from_secs(10 * 60);
/// Longest time the recorder may take to look.
const PATIENCE: Duration = Duration::from_secs(10);

/// What pre-flight needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The recorder program.
    pub recorder: PathBuf,
    /// The sources.
    pub capture: CaptureSettings,
    /// The school's bells.
    pub timetable: Option<Timetable>,
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
        let by_bell = self.settings.timetable.is_some() && !self.settings.before_bell.is_zero();
        let mut tick = tokio::time::interval(Duration::from_secs(10));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let due = tokio::select! {
                () = stop.cancelled() => return,
                Some(wish) = self.wishes.recv() => wish == Wish::Now || self.stale(),
                _ = tick.tick(), if by_bell => self.bell_is_near(),
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
        let (Some(table), true) = (&self.settings.timetable, clock::plausible()) else { return false };
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

    async fn look(&self) {
        let outcome = match Looker::start(&self.settings.recorder, "preflight", &self.settings.capture).await
        {
            Err(e) => Err(e),
            Ok(mut looker) => {
                let said = tokio::select! {
                    said = tokio::time::timeout(PATIENCE, looker.lines.next_line()) => Some(said),
                    () = lesson_begins(&self.store) => None,
                };
                looker.end().await;
                match said {
                    // The lesson's own recorder says how the sources are.
                    None => return,
                    Some(Ok(Ok(Some(line)))) => serde_json::from_str::<Found>(&line)
                        .map_err(|e| format!("the answer cannot be read: {e}")),
                    Some(Ok(Ok(None))) => Err("the recorder ended without an answer; see its log".into()),
                    Some(Ok(Err(e))) => Err(e.to_string()),
                    Some(Err(_)) => Err(format!("no answer in {} s", PATIENCE.as_secs())),
                }
            }
        };
        let at_boot_ms = u64::try_from(clock::boot().as_millis()).unwrap_or(0);
        let verdict = match outcome {
            Ok(found) => Preflight { at_boot_ms, sources: found.sources, problem: None },
            Err(problem) => {
                tracing::error!("pre-flight: {problem}");
                Preflight { at_boot_ms, sources: Vec::new(), problem: Some(problem) }
            }
        };
        for source in verdict.sources.iter().filter(|s| s.problem.is_some()) {
            tracing::warn!(
                source = source.name,
                "pre-flight: {}",
                source.problem.as_deref().unwrap_or_default()
            );
        }
        let before = self.store.board().read().preflight;
        let changed = before.is_none_or(|before| before.summary() != verdict.summary());
        if changed {
            let data = serde_json::json!({ "sources": verdict.sources, "problem": verdict.problem });
            match self.store.outbox().push_event("preflight", &data) {
                Ok(_) => self.store.bells().publish.notify_one(),
                Err(e) => tracing::error!("an event could not be kept: {e}"),
            }
        }
        self.store.board().update(|s| s.preflight = Some(verdict));
    }
}
