//! A physical key beside the page's button, for a teacher who has no hand free for a mouse.
//!
//! ```text
//! /dev/input/lectern-key*  ─▶ events ─▶ presses ─▶ the driver's requests     nothing records: a press begins a lesson
//!  (looked for every second,                                                 recording: short marks, held for a second ends
//!   so that it may be pulled and plugged in again)                           paused: short goes on, held for a second ends
//! ```
//!
//! The driver answers the key as it answers the page: whoever presses second hears "already so". Which key was
//! pressed is never written down; of a keyboard every key but the one of the settings is passed over.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use lectern_base::clock;
use lectern_wire::manifest::About;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::model::answer::Answer;
use crate::model::key::{Act, Key};
use crate::model::lesson::State;
use crate::model::status;
use crate::platform::input::{self, Heard, Input};
use crate::record::{Ask, Handle};
use crate::store::Store;

/// How often devices are looked for.
const EVERY: Duration = Duration::from_secs(1);
/// After a lesson was ended by the key, a press begins none for so long: whoever was not sure presses once more.
const QUIET: Duration = Duration::from_secs(3);

/// What the key needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its device file; its last part may hold one `*`.
    pub device: PathBuf,
    /// Which key of the device; `None` for any.
    pub code: Option<u16>,
    /// How long it is held to end a lesson.
    pub hold: Duration,
}

/// Runs until told to stop.
pub async fn run(store: Store, driver: Handle, settings: Settings, stop: CancellationToken) {
    let finger = Finger { store, driver, settings };
    finger.show(|key| key.there = false);
    let mut open = JoinSet::new();
    let mut paths: BTreeMap<tokio::task::Id, PathBuf> = BTreeMap::new();
    let mut complaints = BTreeMap::new();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = open.join_next_with_id() => {
                let id = match &ended {
                    Ok((id, ())) => *id,
                    Err(e) => {
                        tracing::error!("watching a key broke off: {e}");
                        e.id()
                    }
                };
                if let Some(path) = paths.remove(&id) {
                    tracing::warn!(device = %path.display(), "the key is gone");
                }
            }
            _ = tick.tick() => {
                for path in input::matching(&finger.settings.device) {
                    if paths.values().any(|p| *p == path) {
                        continue;
                    }
                    match Input::open(&path) {
                        Ok(device) => {
                            complaints.remove(&path);
                            tracing::info!(device = %path.display(), "the key is there");
                            let watching = open.spawn(finger.clone().watch(device));
                            paths.insert(watching.id(), path);
                        }
                        // Said once, not every second.
                        Err(e) => if complaints.get(&path) != Some(&e) {
                            tracing::error!("the key does not work: {e}");
                            complaints.insert(path, e);
                        }
                    }
                }
            }
        }
        let there = !paths.is_empty();
        finger.show(|key| key.there = there);
    }
    open.shutdown().await;
}

/// What presses come to.
#[derive(Clone)]
struct Finger {
    store: Store,
    driver: Handle,
    settings: Settings,
}

impl Finger {
    /// Watches a device until it is gone.
    async fn watch(self, mut device: Input) {
        let mut key = Key::new(self.settings.code, self.settings.hold);
        let mut ended = None;
        loop {
            let due = async {
                match key.due() {
                    Some(at) => tokio::time::sleep(at.saturating_sub(clock::mono())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = device.wait() => {}
                () = due => {}
            }
            // Everything that was sent first: the end of a short press may wait behind a hold-up of ours.
            loop {
                match device.read() {
                    Heard::Gone => return,
                    Heard::Events(events) if events.is_empty() => break,
                    Heard::Events(events) => {
                        for event in events {
                            for act in key.hear(event, clock::mono()) {
                                self.act(act, &mut key, &mut ended).await;
                            }
                        }
                    }
                }
                tokio::task::yield_now().await;
            }
            if let Some(act) = key.tick(clock::mono()) {
                self.act(act, &mut key, &mut ended).await;
            }
        }
    }

    /// Turns a press into a request. `ended` is when the key last ended a lesson.
    async fn act(&self, act: Act, key: &mut Key, ended: &mut Option<Duration>) {
        let state = self.store.board().read().lesson.map(|lesson| lesson.state);
        let live = state.filter(|state| state.is_live());
        let ask = match (act, live) {
            (Act::Down, None) => {
                key.spend();
                if ended.is_some_and(|at| clock::mono().saturating_sub(at) < QUIET) {
                    return;
                }
                Ask::Start(About::default(), false)
            }
            (Act::Down, Some(_)) => return,
            (Act::Short, Some(State::Paused)) => Ask::Resume,
            // Nothing is there to be marked yet; the page says that it is starting.
            (Act::Short, Some(State::Preparing | State::Interrupted)) => return,
            (Act::Short, Some(_)) => Ask::Mark(String::new()),
            (Act::Long, Some(_)) => {
                *ended = Some(clock::mono());
                Ask::Stop
            }
            // It was ended elsewhere while the key was down.
            (Act::Short | Act::Long, None) => return,
        };
        tracing::info!(?ask, "the key was pressed");
        let refusal = match self.driver.ask(ask).await {
            Answer::Done(_) | Answer::Already(_) => None,
            Answer::No(refusal) => {
                tracing::warn!("the key's press was refused: {}", refusal.sentence);
                Some((refusal, u64::try_from(clock::boot().as_millis()).unwrap_or(0)))
            }
        };
        self.show(|key| key.refusal = refusal);
    }

    /// Changes what the page shows of the key.
    fn show(&self, change: impl FnOnce(&mut status::Key)) {
        let hold_ms = u64::try_from(self.settings.hold.as_millis()).unwrap_or(u64::MAX);
        self.store.board().update(|s| {
            change(s.key.get_or_insert(status::Key { there: false, hold_ms, refusal: None }));
        });
    }
}
