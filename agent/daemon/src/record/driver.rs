//! The one task that changes the lesson being recorded.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lectern_base::{chance, clock, disk};
use lectern_wire::capture::{CaptureSettings, Encoder};
use lectern_wire::id::LessonId;
use lectern_wire::manifest::{About, MARK_MAX_CHARS};
use lectern_wire::recorder::{Command as Order, Job};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::armed::{Ready, Wanted};
use super::encoders;
use super::live::Live;
use super::owed::Owed;
use super::process::{self, Heard, Whose};
use super::{Answer, Ask, Handle, Mail, STUCK, bell, no};
use crate::model::home::Doubt;
use crate::model::lesson::{Admission, Because, CutShort, Request, State, admit};
use crate::model::status::{self, Warning};
use crate::model::timetable::Bell;
use crate::platform::rest::{self, Beat};
use crate::store::Store;

/// How long a stop may take before the recorder is ended.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// The fact that names the lesson whose end was asked for.
pub(super) const STOPPING: &str = "stopping";
/// How often time is looked at while something is recorded or owed. While nothing is, only the disk and the timetable may
/// bring something about: then [`rest::STEP`] will do, and a machine at rest is left at rest.
const BUSY: Duration = Duration::from_millis(250);
/// How long after the last look previews are still made.
const LOOK: Duration = Duration::from_secs(4);

/// What the driver needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The recorder program.
    pub recorder: PathBuf,
    /// Sources, layout, picture and sound.
    pub capture: CaptureSettings,
    /// Where a lesson can be sent live.
    pub live: Option<lectern_wire::live::Live>,
    /// What is wanted before the press.
    pub before: Wanted,
    /// Longest take, minutes.
    pub max_minutes: u32,
    /// Minutes that must fit on the disk before a start.
    pub reserve_minutes: u32,
    /// Bytes a minute takes at most.
    pub bytes_per_minute: u64,
    /// How long after the bell a lesson ends by itself; `None` for never.
    pub end_after_bell: Option<Duration>,
}

/// The driver, before it runs.
pub struct Driver {
    pub(super) store: Store,
    pub(super) settings: Settings,
    pub(super) live: Option<Live>,
    pub(super) heard: mpsc::Sender<(Whose, Heard)>,
    words: mpsc::Receiver<(Whose, Heard)>,
    mail: mpsc::Receiver<Mail>,
    pub(super) preview: watch::Sender<Option<Arc<[u8]>>>,
    /// Rows the store has not taken yet.
    pub(super) owed: VecDeque<Owed>,
    looked: Option<Duration>,
    disk_checked: Option<Duration>,
    pub(super) slot_shown: Option<Duration>,
    /// The period shown may be another before the next look at rest.
    pub(super) slot_turns: bool,
    pub(super) ready: Option<Ready>,
    /// When a recorder may be made ready again after one ended by itself.
    pub(super) arm_after: Option<Duration>,
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
            owed: VecDeque::new(),
            looked: None,
            disk_checked: None,
            slot_shown: None,
            slot_turns: false,
            ready: None,
            arm_after: None,
        };
        (driver, handle)
    }

    /// Runs until told to stop. A recorder at work is left at work: the next daemon finds it again.
    pub async fn run(mut self, stop: CancellationToken) {
        self.recover();
        self.show_encoder();
        let (chosen, mut encoder) = mpsc::channel(1);
        if self.settings.capture.video.encoder.is_none() && self.settings.recorder.is_file() {
            encoders::choose(self.settings.recorder.clone(), chosen);
        }
        let mut tick = tokio::time::interval(BUSY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut beat, mut rules) = (Beat::every(rest::STEP), self.store.rules());
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.stand_down().await,
                Some((ask, reply)) = self.mail.recv() => {
                    let before = self.at_rest();
                    self.answer(ask, reply).await;
                    if before && !self.at_rest() {
                        tick.reset_after(BUSY);
                    }
                }
                Some((whose, heard)) = self.words.recv() => self.hear(&whose, heard).await,
                // Only the first word counts: a driver that has failed meanwhile is not trusted again.
                Some(best) = encoder.recv() => {
                    self.settings.capture.video.encoder.get_or_insert(best);
                    self.show_encoder();
                    tick.reset_immediately();
                }
                // Another timetable: the period on is another one now.
                Ok(()) = rules.changed() => {
                    self.slot_shown = None;
                    self.look_after().await;
                }
                _ = tick.tick(), if !self.at_rest() => self.look_after().await,
                () = beat.next(), if self.at_rest() => self.look_after().await,
                () = tokio::time::sleep(bell::EVERY), if self.at_rest() && self.slot_turns => self.look_after().await,
            }
        }
    }

    /// Whether nothing is recorded, kept ready or still to be written down.
    fn at_rest(&self) -> bool {
        self.live.is_none() && self.owed.is_empty() && !self.settings.before.armed
    }

    async fn answer(&mut self, ask: Ask, reply: oneshot::Sender<Answer>) {
        let answer = match ask {
            Ask::Start(_, true) if self.settings.live.is_none() => Self::nowhere(),
            Ask::Start(about, live) => self.start(about, live).await,
            Ask::Live(on) => self.send_live(on).await,
            Ask::Stop => self.request(Request::Stop, Order::Stop).await,
            Ask::Pause => self.request(Request::Pause, Order::Pause).await,
            Ask::Resume => self.request(Request::Resume, Order::Resume).await,
            Ask::Mark(word) if word.chars().count() > MARK_MAX_CHARS => {
                no("mark", format!("the word is longer than {MARK_MAX_CHARS} characters"))
            }
            Ask::Mark(word) => self.request(Request::Mark, Order::Mark { word }).await,
            Ask::Layout(layout) if !self.settings.capture.layouts().any(|l| l == layout) => {
                no("layout", format!("there are no sources for the layout {}", layout.name()))
            }
            Ask::Layout(layout) if self.is_composed(layout) => {
                Answer::Already(self.live.as_ref().map(|live| live.id.clone()))
            }
            Ask::Layout(layout) => self.request(Request::Layout, Order::Layout { layout }).await,
            Ask::Describe(about) => self.describe(&about),
            Ask::Extend => self.extend(),
            Ask::Dismiss => self.dismiss(),
            Ask::Alive => Answer::Done(None),
            Ask::Look => {
                self.looked = Some(clock::mono());
                Answer::Done(None)
            }
        };
        if reply.send(answer).is_err() {
            tracing::debug!("whoever asked has gone");
        }
    }

    pub(super) fn show_encoder(&self) {
        let encoder = self.settings.capture.video.encoder;
        self.store.board().update(|s| s.encoder = encoder);
    }

    pub(super) fn live_state(&self) -> Option<State> {
        // Finishing begins with the press: from then on a second press is "already so". So do pausing and going on.
        self.live.as_ref().map(|live| match live.state {
            _ if live.stopping.is_some() => State::Finishing,
            State::Recording | State::Paused if live.still => State::Paused,
            State::Recording | State::Paused => State::Recording,
            other => other,
        })
    }

    async fn start(&mut self, about: About, live: bool) -> Answer {
        let id = || self.live.as_ref().map(|live| live.id.clone());
        if self.live.as_ref().is_some_and(|live| live.stopping.is_some()) || !self.owed.is_empty() {
            return no("finishing", "the last recording is just being ended; press again in a moment");
        }
        match admit(self.live_state(), Request::Start) {
            Admission::Already => return Answer::Already(id()),
            Admission::No(because) => return refuse(because),
            Admission::Do => {}
        }
        if let Some(fault) = about.fault() {
            return no("about", fault);
        }
        if !self.settings.recorder.is_file() {
            let path = self.settings.recorder.display();
            return no("no_recorder", format!("the recorder {path} is not installed"));
        }
        if let Some(doubt) = self.store.board().read().home {
            let folder = self.store.folder().display().to_string();
            if doubt == Doubt::ReadOnly {
                let why = "has to be looked at, or mounted so that it can be written";
                return no("read_only", format!("{folder}: the disk takes nothing more and {why}"));
            }
            return no(
                "restored",
                format!(
                    "{folder} does not keep what is written to it: {doubt}; a lesson would be lost. \
                     Set device.data_dir to a volume that is not restored"
                ),
            );
        }
        match disk::free_bytes(self.store.folder()) {
            Ok(free) => {
                let minutes = free / self.settings.bytes_per_minute.max(1);
                if minutes < u64::from(self.settings.reserve_minutes) {
                    return no("no_space", self.no_space(minutes));
                }
            }
            Err(e) => return no("disk", format!("the disk for lessons cannot be read: {e}")),
        }
        let slot = self.slot();
        let about = bell::completed(about, slot.as_ref().map(|slot| &slot.about));
        let bell = self.bell_of(slot.as_ref());
        match self.begin(&about, bell, live).await {
            Ok(id) => Answer::Done(Some(id)),
            Err(e) => {
                tracing::error!("a lesson could not be started: {e:#}");
                no("failed", format!("the recording could not be started: {e:#}"))
            }
        }
    }

    /// Names what takes the space: nothing unsent is ever removed to make room.
    fn no_space(&self, minutes: u64) -> String {
        let lessons = self.store.waiting_lessons().unwrap_or_default();
        let bytes: u64 = lessons.iter().map(|l| self.store.local_bytes(&l.id).unwrap_or(0)).sum();
        let waiting = lessons.len();
        let blocks = if waiting > 0 {
            format!(
                "; {waiting} recorded lessons ({:.1} GB) wait to be stored elsewhere and are kept until they are",
                bytes as f64 / 1e9
            )
        } else {
            "; other files fill the disk".into()
        };
        format!(
            "only {minutes} minutes of recording fit on the disk, {} are needed{blocks}",
            self.settings.reserve_minutes
        )
    }

    async fn begin(&mut self, about: &About, bell: Option<Bell>, sent: bool) -> anyhow::Result<LessonId> {
        let pressed = clock::boot();
        let wall = clock::wall_ms();
        let stamp = clock::local(wall).strftime("%Y%m%d-%H%M%S");
        let id = LessonId::new(format!("{stamp}-{}", chance::hex::<6>()))?;
        // Invariant 1: folder and row, durable, before anything records.
        disk::make_folder(&self.store.lesson_folder(&id))?;
        let mut capture = self.settings.capture.clone();
        capture.video.encoder.get_or_insert(Encoder::Libx264);
        self.store.begin_lesson(&id, wall, &clock::boot_id(), about, &capture)?;
        if let Some(bell) = bell {
            self.store.set_bell(&id, bell)?;
        }
        tracing::info!(lesson = %id, "lesson started");
        self.remember_live(sent.then_some(&id));
        self.live = Some(Live { bell, sent, ..Live::new(id.clone(), State::Preparing, 1) });
        let lesson = status::Lesson {
            id: id.clone(),
            state: State::Preparing,
            about: about.clone(),
            media_ms: 0,
            media_at_boot_ms: millis(pressed),
            bytes: 0,
            take: 1,
            layout: self.settings.capture.layout,
            marks: 0,
            cut_short: None,
            bell,
            counts_down: false,
            thrown_away: false,
            submitted: None,
            profiles: Vec::new(),
            reports: Vec::new(),
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

    /// An event for the hub; a full or broken disk never stops a lesson.
    pub(super) fn report(&self, state: &str) {
        let Some(live) = &self.live else { return };
        let data = serde_json::json!({ "lesson_id": live.id, "state": state, "take": live.take });
        self.store.outbox().push_event("lesson", &data);
        self.store.bells().publish.notify_one();
    }

    /// Starts the recorder of the current take and listens to it.
    pub(super) async fn start_recorder(&mut self) {
        let target = self.live_target(self.live.as_ref().is_some_and(|live| live.sent));
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
            live: target,
        };
        live.progress = clock::mono();
        let take = live.take;
        let started = match self.use_ready(&job).await {
            Some(child) => Ok(child),
            None => process::spawn(&self.settings.recorder, "record", &job).await,
        };
        let Some(live) = &mut self.live else { return };
        match started {
            Ok(child) => {
                live.pid = child.id();
                live.child = Some(child);
                process::listen(socket, (live.id.clone(), take), Duration::from_secs(5), self.heard.clone());
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
            return no("about", fault);
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
            Ok(false) => no("sealed", "the lesson is already sealed; its description can no longer change"),
            Err(e) => no("failed", e.to_string()),
        }
    }

    fn dismiss(&mut self) -> Answer {
        if self.live.is_some() {
            return no("recording", "the lesson is still being recorded");
        }
        self.store.board().update(|s| s.lesson = None);
        Answer::Done(None)
    }

    pub(super) async fn request(&mut self, request: Request, order: Order) -> Answer {
        let id = self.live.as_ref().map(|live| live.id.clone());
        match admit(self.live_state(), request) {
            Admission::Already => return Answer::Already(id),
            Admission::No(because) => return refuse(because),
            Admission::Do => {}
        }
        let rests = self.live.as_ref().is_some_and(|live| live.rests);
        if request == Request::Stop {
            self.stop(&order, rests).await;
        } else if !rests {
            // A recorder that is not heard yet, or no more, has not been told.
            if !self.order(&order).await {
                return refuse(Because::NotReadyYet);
            }
            if let (Request::Pause | Request::Resume, Some(live)) = (request, &mut self.live) {
                live.still = request == Request::Pause;
            }
        } else if request == Request::Resume {
            self.go_on().await;
        } else {
            return refuse(Because::IsPaused);
        }
        Answer::Done(id)
    }

    async fn stop(&mut self, order: &Order, rests: bool) {
        self.mark_stopping();
        self.order(order).await;
        // Where there is no recorder to stop, the lesson ends with what it has.
        if rests {
            self.finish(self.live.as_ref().and_then(|live| live.cut_short)).await;
        } else if self.live.as_ref().is_some_and(|live| live.restart_at.is_some()) {
            self.finish(Some(CutShort::RecorderLost)).await;
        }
    }

    pub(super) fn mark_stopping(&mut self) {
        let Some(live) = &mut self.live else { return };
        live.stopping = Some(clock::mono());
        // Before the recorder hears of it: a lesson that was ended by hand must not go on after a crash.
        if let Err(e) = self.store.set_fact(STOPPING, live.id.as_str()) {
            tracing::error!("the press of stop could not be noted: {e}");
        }
        let now = millis(clock::boot());
        self.store.board().update(|s| {
            if let Some(lesson) = &mut s.lesson {
                lesson.stopped_at_boot_ms.get_or_insert(now);
                lesson.state = State::Finishing;
            }
        });
    }

    /// Tells the recorder; false where none is heard.
    pub(super) async fn order(&mut self, order: &Order) -> bool {
        let Some(link) = self.live.as_mut().and_then(|live| live.link.as_mut()) else { return false };
        let told = process::order(link, order).await;
        if !told {
            tracing::warn!("the recorder does not listen");
        }
        told
    }

    /// What time alone brings about.
    async fn look_after(&mut self) {
        let now = clock::mono();
        self.settle_owed();
        self.keep_ready(now).await;
        self.check_disk(now).await;
        self.show_slot(now);
        self.ring().await;
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

    async fn check_disk(&mut self, now: Duration) {
        const WARN_MINUTES: u64 = 45;
        /// Enough to end in order: the open fragment, the manifest and the database's last pages.
        const LAST_MINUTES: u64 = 2;
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
        let recording =
            self.live.as_ref().is_some_and(|live| live.state.is_live() && live.stopping.is_none());
        if recording && minutes < LAST_MINUTES {
            tracing::error!(
                free,
                "the disk is about to be full; the lesson is ended while all of it is safe"
            );
            if let Some(live) = &mut self.live {
                live.cut_short = Some(CutShort::DiskFull);
            }
            self.request(Request::Stop, Order::Stop).await;
        }
    }
}

pub(super) fn refuse(because: Because) -> Answer {
    match because {
        Because::NothingRecords => no("nothing_records", "nothing is being recorded"),
        Because::NotReadyYet => no("not_ready", "the recording is only just starting; try again in a second"),
        Because::IsPaused => no("paused", "the lesson is paused; resume it, or stop it first"),
    }
}

/// Milliseconds of a duration.
pub(super) fn millis(t: Duration) -> u64 {
    u64::try_from(t.as_millis()).unwrap_or(u64::MAX)
}
