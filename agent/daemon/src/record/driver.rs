//! The one task that changes the lesson being recorded.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lectern_base::{chance, clock, disk};
use lectern_wire::id::LessonId;
use lectern_wire::manifest::{About, TakeEnd};
use lectern_wire::recorder::{CaptureSettings, Command as Order, Event as Said, Job};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::live::Live;
use super::process::{self, Heard};
use super::{Answer, Ask, Handle, Mail, Refusal, STUCK};
use crate::model::lesson::{Admission, Because, CutShort, Event, Request, State, admit};
use crate::model::status::{self, Level, Warning};
use crate::store::{Durable, Store};

/// How long a stop may take before the recorder is ended.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How long after the last look previews are still made.
const LOOK: Duration = Duration::from_secs(4);

/// What the driver needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The recorder program.
    pub recorder: PathBuf,
    /// Sources, layout, picture and sound.
    pub capture: CaptureSettings,
    /// Longest take, minutes.
    pub max_minutes: u32,
    /// Minutes that must fit on the disk before a start.
    pub reserve_minutes: u32,
    /// Bytes a minute takes at most.
    pub bytes_per_minute: u64,
}

/// The driver, before it runs.
pub struct Driver {
    pub(super) store: Store,
    pub(super) settings: Settings,
    pub(super) live: Option<Live>,
    pub(super) heard: mpsc::Sender<(u32, Heard)>,
    words: mpsc::Receiver<(u32, Heard)>,
    mail: mpsc::Receiver<Mail>,
    preview: watch::Sender<Option<Arc<[u8]>>>,
    looked: Option<Duration>,
    disk_checked: Option<Duration>,
}

impl Driver {
    /// Makes a driver and the handle to it.
    #[must_use]
    pub fn new(store: Store, settings: Settings) -> (Self, Handle) {
        let (mail_in, mail) = mpsc::channel(16);
        let (heard, words) = mpsc::channel(64);
        let (preview, newest) = watch::channel(None);
        let handle = Handle { mail: mail_in, preview: newest };
        let driver = Self {
            store,
            settings,
            live: None,
            heard,
            words,
            mail,
            preview,
            looked: None,
            disk_checked: None,
        };
        (driver, handle)
    }

    /// Runs until told to stop. A recorder at work is left at work: the next daemon finds it again.
    pub async fn run(mut self, stop: CancellationToken) {
        self.recover();
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some((ask, reply)) = self.mail.recv() => self.answer(ask, reply).await,
                Some((take, heard)) = self.words.recv() => self.hear(take, heard).await,
                _ = tick.tick() => self.look_after().await,
            }
        }
    }

    async fn answer(&mut self, ask: Ask, reply: oneshot::Sender<Answer>) {
        let answer = match ask {
            Ask::Start(about) => self.start(about).await,
            Ask::Stop => self.request(Request::Stop).await,
            Ask::Pause => self.request(Request::Pause).await,
            Ask::Resume => self.request(Request::Resume).await,
            Ask::Describe(about) => self.describe(&about),
            Ask::Look => {
                self.looked = Some(clock::mono());
                Answer::Done(None)
            }
        };
        if reply.send(answer).is_err() {
            tracing::debug!("whoever asked has gone");
        }
    }

    fn live_state(&self) -> Option<State> {
        // Finishing begins with the press: from then on a second press is "already so".
        self.live.as_ref().map(|live| if live.stopping.is_some() { State::Finishing } else { live.state })
    }

    async fn start(&mut self, about: About) -> Answer {
        let id = || self.live.as_ref().map(|live| live.id.clone());
        if self.live.as_ref().is_some_and(|live| live.stopping.is_some()) {
            return Refusal::new(
                "finishing",
                "the last recording is just being ended; press again in a moment",
            );
        }
        match admit(self.live_state(), Request::Start) {
            Admission::Already => return Answer::Already(id()),
            Admission::No(because) => return refuse(because),
            Admission::Do => {}
        }
        if let Some(fault) = about.fault() {
            return Refusal::new("about", fault);
        }
        if !self.settings.recorder.is_file() {
            let path = self.settings.recorder.display();
            return Refusal::new("no_recorder", format!("the recorder {path} is not installed"));
        }
        match disk::free_bytes(self.store.folder()) {
            Ok(free) => {
                let minutes = free / self.settings.bytes_per_minute.max(1);
                if minutes < u64::from(self.settings.reserve_minutes) {
                    return Refusal::new("no_space", self.no_space(minutes));
                }
            }
            Err(e) => return Refusal::new("disk", format!("the disk for lessons cannot be read: {e}")),
        }
        match self.begin(&about).await {
            Ok(id) => Answer::Done(Some(id)),
            Err(e) => {
                tracing::error!("a lesson could not be started: {e:#}");
                Refusal::new("failed", format!("the recording could not be started: {e:#}"))
            }
        }
    }

    /// Names what takes the space: nothing unsent is ever removed to make room.
    fn no_space(&self, minutes: u64) -> String {
        let waiting = self.store.waiting_lessons().map_or(0, |lessons| lessons.len());
        let blocks = if waiting > 0 {
            format!(
                "; {waiting} recorded lessons wait to be sent to the hub and are kept until they are there"
            )
        } else {
            "; other files fill the disk".into()
        };
        format!(
            "only {minutes} minutes of recording fit on the disk, {} are needed{blocks}",
            self.settings.reserve_minutes
        )
    }

    async fn begin(&mut self, about: &About) -> anyhow::Result<LessonId> {
        let pressed = clock::boot();
        let wall = clock::wall_ms();
        let stamp = clock::local(wall).strftime("%Y%m%d-%H%M%S");
        let id = LessonId::new(format!("{stamp}-{}", chance::hex::<6>()))?;
        // Invariant 1: folder and row, durable, before anything records.
        disk::make_folder(&self.store.lesson_folder(&id))?;
        self.store.begin_lesson(&id, wall, &clock::boot_id(), about, &self.settings.capture)?;
        tracing::info!(lesson = %id, "lesson started");
        let live = Live::new(id.clone(), State::Preparing, 1);
        self.live = Some(live);
        let lesson = status::Lesson {
            id: id.clone(),
            state: State::Preparing,
            about: about.clone(),
            media_ms: 0,
            media_at_boot_ms: millis(pressed),
            bytes: 0,
            take: 1,
            cut_short: None,
            pressed_at_boot_ms: millis(pressed),
            first_durable_ms: None,
            stopped_at_boot_ms: None,
            stored_after_ms: None,
        };
        self.store.board().update(|s| {
            s.lesson = Some(lesson);
            s.warnings.retain(|w| matches!(w, Warning::LittleSpace { .. }));
            s.level = None;
        });
        self.report("started");
        self.start_recorder().await;
        self.store.bells().upload.notify_one();
        Ok(id)
    }

    /// An event for the hub; a full or broken outbox never stops a lesson.
    pub(super) fn report(&self, state: &str) {
        let Some(live) = &self.live else { return };
        let data = serde_json::json!({ "lesson_id": live.id, "state": state, "take": live.take });
        match self.store.outbox().push_event("lesson", &data) {
            Ok(_) => self.store.bells().publish.notify_one(),
            Err(e) => tracing::error!("an event could not be kept: {e}"),
        }
    }

    /// Starts the recorder of the current take and listens to it.
    pub(super) async fn start_recorder(&mut self) {
        let Some(live) = &mut self.live else { return };
        let folder = self.store.lesson_folder(&live.id);
        let socket = self.store.socket(&live.id, live.take);
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let job = Job {
            lesson_id: live.id.clone(),
            take: live.take,
            take_path: text(folder.join(format!("take-{}.mp4", live.take))),
            journal_path: text(folder.join(format!("take-{}.jsonl", live.take))),
            socket_path: text(socket.clone()),
            max_minutes: self.settings.max_minutes,
            capture: self.settings.capture.clone(),
        };
        live.progress = clock::mono();
        match process::spawn(&self.settings.recorder, &job).await {
            Ok(child) => {
                live.pid = child.id();
                live.child = Some(child);
                process::listen(socket, live.take, Duration::from_secs(5), self.heard.clone());
            }
            Err(e) => {
                let reason =
                    format!("the recorder {} could not be started: {e}", self.settings.recorder.display());
                live.complaint = Some(reason);
                self.lose().await;
            }
        }
    }

    fn describe(&mut self, about: &About) -> Answer {
        if let Some(fault) = about.fault() {
            return Refusal::new("about", fault);
        }
        let Some(live) = &self.live else { return refuse(Because::NothingRecords) };
        match self.store.set_about(&live.id, about) {
            Ok(true) => {
                let id = live.id.clone();
                self.store.board().update(|s| {
                    if let Some(lesson) = &mut s.lesson {
                        lesson.about = about.clone();
                    }
                });
                Answer::Done(Some(id))
            }
            Ok(false) => {
                Refusal::new("sealed", "the lesson is already sealed; its description can no longer change")
            }
            Err(e) => Refusal::new("failed", e.to_string()),
        }
    }

    async fn request(&mut self, request: Request) -> Answer {
        let id = self.live.as_ref().map(|live| live.id.clone());
        match admit(self.live_state(), request) {
            Admission::Already => return Answer::Already(id),
            Admission::No(because) => return refuse(because),
            Admission::Do => {}
        }
        let order = match request {
            Request::Stop => {
                self.mark_stopping();
                Order::Stop
            }
            Request::Pause => Order::Pause,
            _ => Order::Resume,
        };
        self.order(&order).await;
        if request == Request::Stop && self.live.as_ref().is_some_and(|l| l.restart_at.is_some()) {
            // No recorder to stop: the lesson ends with what it has.
            self.finish(Some(CutShort::RecorderLost)).await;
        }
        Answer::Done(id)
    }

    fn mark_stopping(&mut self) {
        let Some(live) = &mut self.live else { return };
        live.stopping = Some(clock::mono());
        let now = millis(clock::boot());
        self.store.board().update(|s| {
            if let Some(lesson) = &mut s.lesson {
                lesson.stopped_at_boot_ms.get_or_insert(now);
                lesson.state = State::Finishing;
            }
        });
    }

    async fn order(&mut self, order: &Order) {
        if let Some(link) = self.live.as_mut().and_then(|live| live.link.as_mut()) {
            if !process::order(link, order).await {
                tracing::warn!("the recorder does not listen");
            }
        }
    }

    async fn hear(&mut self, take: u32, heard: Heard) {
        if self.live.as_ref().is_none_or(|live| live.take != take) {
            return;
        }
        match heard {
            Heard::Connected(link) => {
                let stopping = self.live.as_mut().is_some_and(|live| {
                    live.link = Some(link);
                    live.stopping.is_some()
                });
                if stopping {
                    self.order(&Order::Stop).await;
                }
            }
            Heard::Gone => self.lose().await,
            Heard::Said(event) => self.said(event).await,
        }
    }

    async fn said(&mut self, event: Said) {
        let Some(live) = &mut self.live else { return };
        match event {
            Said::Hello { lesson_id, take, pid, .. } => {
                if lesson_id != live.id || take != live.take {
                    tracing::error!(%lesson_id, take, "another lesson's recorder answered");
                    return self.lose().await;
                }
                live.pid = Some(pid);
            }
            Said::Durable { bytes, media_ms } => self.grew(bytes, media_ms),
            Said::Paused { .. } => self.advance(Event::Paused),
            Said::Resumed { .. } => {
                live.progress = clock::mono();
                self.advance(Event::Resumed);
            }
            Said::Level { peak_dbfs, rms_dbfs } => {
                self.store.board().update(|s| s.level = Some(Level { peak_dbfs, rms_dbfs }));
            }
            Said::GapOpened { source, cause, .. } => {
                let named = self.settings.capture.sources.iter().find(|s| s.name == source);
                let sound = named.is_some_and(|s| s.kind.is_sound());
                self.warn(Warning::SourceLost { source, sound, cause });
            }
            Said::GapClosed { source, .. } => {
                self.clear(|w| matches!(w, Warning::SourceLost { source: s, .. } if *s == source));
            }
            Said::FindingOpened { kind, .. } => self.warn(warning(kind)),
            Said::FindingClosed { kind, .. } => self.clear(|w| *w == warning(kind)),
            Said::Preview { jpeg } => {
                use base64::Engine as _;
                match base64::engine::general_purpose::STANDARD.decode(jpeg) {
                    Ok(bytes) => drop(self.preview.send_replace(Some(bytes.into()))),
                    Err(e) => tracing::warn!("a preview could not be read: {e}"),
                }
            }
            Said::Stopped { bytes, media_ms } => {
                self.grew(bytes, media_ms);
                self.ended().await;
            }
            Said::Fatal { message } => {
                tracing::error!(lesson = %live.id, take = live.take, "the recorder gives up: {message}");
                live.complaint = Some(message);
            }
        }
    }

    fn warn(&self, warning: Warning) {
        self.store.board().update(|s| {
            if !s.warnings.contains(&warning) {
                s.warnings.push(warning);
            }
        });
    }

    fn clear(&self, over: impl Fn(&Warning) -> bool) {
        self.store.board().update(|s| s.warnings.retain(|w| !over(w)));
    }

    fn grew(&mut self, bytes: u64, media_ms: u64) {
        let Some(live) = &mut self.live else { return };
        (live.take_bytes, live.take_ms) = (bytes, media_ms);
        live.progress = clock::mono();
        let (total_ms, total_bytes) = (live.before_ms + media_ms, live.before_bytes + bytes);
        let durable = Durable { lesson: live.id.clone(), take: live.take, bytes };
        let now = millis(clock::boot());
        self.store.board().update(|s| {
            if let Some(lesson) = &mut s.lesson {
                (lesson.media_ms, lesson.bytes, lesson.media_at_boot_ms) = (total_ms, total_bytes, now);
                lesson.first_durable_ms.get_or_insert(now.saturating_sub(lesson.pressed_at_boot_ms));
            }
        });
        self.advance(Event::Durable);
        self.store.set_durable(durable);
    }

    /// Moves the lesson on in the store, then here and on the board.
    pub(super) fn advance(&mut self, event: Event) {
        let Some(live) = &mut self.live else { return };
        if live.state.next(event) == Ok(live.state) {
            return;
        }
        match self.store.advance(&live.id, event) {
            Ok(state) => {
                live.state = state;
                let stopping = live.stopping.is_some() && state.is_live();
                self.store.board().update(|s| {
                    if let Some(lesson) = &mut s.lesson {
                        lesson.state = if stopping { State::Finishing } else { state };
                    }
                });
            }
            Err(e) => tracing::error!(lesson = %live.id, "the lesson could not be moved on: {e}"),
        }
    }

    /// The recorder ended the take in order.
    async fn ended(&mut self) {
        let Some(live) = &self.live else { return };
        if live.stopping.is_some() {
            self.end_take(TakeEnd::Stopped);
            self.finish(None).await;
        } else {
            let reason = CutShort::EndedByItself;
            self.end_take(TakeEnd::Interrupted(reason.sentence().into()));
            self.finish(Some(reason)).await;
        }
    }

    fn end_take(&self, end: TakeEnd) {
        let Some(live) = &self.live else { return };
        if let Err(e) = self.store.end_take(&live.id, live.take, &end) {
            tracing::error!(lesson = %live.id, "the take's end could not be noted: {e}");
        }
    }

    /// The lesson ends; a reason says why it is not whole.
    pub(super) async fn finish(&mut self, reason: Option<CutShort>) {
        if self.live.as_ref().is_some_and(|live| live.stopping.is_none()) {
            self.mark_stopping();
        }
        let Some(live) = &self.live else { return };
        if let Some(reason) = reason {
            if let Err(e) = self.store.set_cut_short(&live.id, reason) {
                tracing::error!(lesson = %live.id, "the reason could not be noted: {e}");
            }
            self.store.board().update(|s| {
                if let Some(lesson) = &mut s.lesson {
                    lesson.cut_short.get_or_insert(reason);
                }
            });
        }
        tracing::info!(lesson = %live.id, takes = live.take, media_ms = live.before_ms + live.take_ms, "recording ended");
        self.advance(Event::Ended);
        self.report("ended");
        self.store.board().update(|s| {
            s.level = None;
            s.warnings.retain(|w| matches!(w, Warning::LittleSpace { .. }));
        });
        self.preview.send_replace(None);
        if let Some(mut child) = self.live.take().and_then(|live| live.child) {
            // Nobody else will: an ended child must be waited for.
            tokio::spawn(async move { drop(child.wait().await) });
        }
        self.store.bells().evidence.notify_one();
    }

    /// The recorder is gone and the take had not ended.
    pub(super) async fn lose(&mut self) {
        let Some(live) = &mut self.live else { return };
        if live.restart_at.is_some() {
            return;
        }
        let reason = live.complaint.take().unwrap_or_else(|| "the recorder was lost".into());
        tracing::warn!(lesson = %live.id, take = live.take, reason, "take interrupted");
        if let Some(pid) = live.pid {
            process::end(pid).await;
        }
        if let Some(mut child) = live.child.take() {
            tokio::spawn(async move { drop(child.wait().await) });
        }
        let stopping = live.stopping.is_some();
        let wait = live.lost(clock::mono());
        self.end_take(TakeEnd::Interrupted(reason.clone()));
        self.advance(Event::RecorderLost);
        self.report("interrupted");
        match wait {
            // It was lost while ending: its last second is missing at most, and the take says why.
            _ if stopping => self.finish(None).await,
            None => self.finish(Some(CutShort::RecorderLost)).await,
            Some(wait) => {
                if let Some(live) = &mut self.live {
                    live.restart_at = Some(clock::mono() + wait);
                }
                if wait.is_zero() {
                    Box::pin(self.next_take()).await;
                }
            }
        }
    }

    async fn next_take(&mut self) {
        let Some(live) = &mut self.live else { return };
        live.restart_at = None;
        live.next_take();
        let (id, take) = (live.id.clone(), live.take);
        tracing::info!(lesson = %id, take, "the lesson goes on in its next take");
        if let Err(e) = self.store.begin_take(&id, take) {
            tracing::error!(lesson = %id, "the next take could not be begun: {e}");
            return self.finish(Some(CutShort::RecorderLost)).await;
        }
        self.store.board().update(|s| {
            if let Some(lesson) = &mut s.lesson {
                lesson.take = take;
            }
            s.warnings.retain(|w| matches!(w, Warning::LittleSpace { .. }));
        });
        self.store.bells().evidence.notify_one();
        Box::pin(self.start_recorder()).await;
    }

    /// What time alone brings about.
    async fn look_after(&mut self) {
        let now = clock::mono();
        self.check_disk(now);
        let Some(live) = &mut self.live else { return };
        if live.restart_at.is_some_and(|at| now >= at) {
            return self.next_take().await;
        }
        let exited = live.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))));
        if exited && live.link.is_none() && live.restart_at.is_none() {
            live.complaint.get_or_insert_with(|| "the recorder ended before it could be reached".into());
            return self.lose().await;
        }
        let waited = now.saturating_sub(live.progress);
        if live.state != State::Paused
            && live.restart_at.is_none()
            && live.stopping.is_none()
            && waited > STUCK
        {
            live.complaint = Some(format!("nothing became durable for {} s", STUCK.as_secs()));
            return self.lose().await;
        }
        if live.stopping.is_some_and(|since| now.saturating_sub(since) > STOP_PATIENCE) {
            live.complaint = Some("the recorder did not end when asked".into());
            return self.lose().await;
        }
        let wanted = self.looked.is_some_and(|at| now.saturating_sub(at) < LOOK);
        if live.preview != wanted && live.link.is_some() {
            live.preview = wanted;
            self.order(&Order::Preview { on: wanted }).await;
            if !wanted {
                self.preview.send_replace(None);
            }
        }
    }

    fn check_disk(&mut self, now: Duration) {
        const WARN_MINUTES: u64 = 45;
        if self.disk_checked.is_some_and(|at| now.saturating_sub(at) < Duration::from_secs(5)) {
            return;
        }
        self.disk_checked = Some(now);
        let free = match disk::free_bytes(self.store.folder()) {
            Ok(free) => free,
            Err(e) => return tracing::warn!("the disk for lessons cannot be read: {e}"),
        };
        let minutes = free / self.settings.bytes_per_minute.max(1);
        self.store.board().update(|s| {
            // Rounded, so that a lesson being written is not a new status every few seconds.
            s.disk_free_bytes = Some(free / 100_000_000 * 100_000_000);
            s.disk_free_minutes = Some(minutes);
            s.warnings.retain(|w| !matches!(w, Warning::LittleSpace { .. }));
            if minutes < WARN_MINUTES {
                s.warnings.push(Warning::LittleSpace { minutes });
            }
        });
    }
}

fn warning(kind: lectern_wire::manifest::FindingKind) -> Warning {
    match kind {
        lectern_wire::manifest::FindingKind::Silent => Warning::Silent,
        lectern_wire::manifest::FindingKind::Black => Warning::Black,
    }
}

fn refuse(because: Because) -> Answer {
    match because {
        Because::NothingRecords => Refusal::new("nothing_records", "nothing is being recorded"),
        Because::NotReadyYet => {
            Refusal::new("not_ready", "the recording is only just starting; try again in a second")
        }
        Because::IsPaused => Refusal::new("paused", "the lesson is paused; resume it, or stop it first"),
    }
}

/// Milliseconds of a duration.
pub(super) fn millis(t: Duration) -> u64 {
    u64::try_from(t.as_millis()).unwrap_or(u64::MAX)
}
