//! One take, from the first picture to the last: the master clock and everything that hangs on it.
//!
//! ```text
//! opening ──first picture, or 2 s──▶ running ⇄ paused ──stop, signal, limit──▶ ended
//!    └──when armed──▶ waiting ──start──▶ running
//! ```
//!
//! Tick `n` stands for the instant `start + n / fps` of the take, pauses left out. The clock is
//! monotonic; the wall clock is only written down. When encoding falls behind, ticks are left out and the next
//! picture simply stands longer, and when it stays behind the [`Pace`] is slowed: sound is never dropped.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use lectern_base::clock;
use lectern_wire::capture::{CaptureSettings, SourceKind};
use lectern_wire::live::LiveState;
use lectern_wire::manifest::{FindingKind, MARK_MAX_CHARS};
use lectern_wire::recorder::{Command, Event, Fact, Job};

use crate::av;
use crate::gaps::Tracked;
use crate::link::Link;
use crate::metronome::Metronome;
use crate::mixer::{Mixer, SOUND_PATIENCE};
use crate::output::Output;
use crate::pace::Pace;
use crate::picture::Picture;
use crate::sound::{Timeline, times};
use crate::source::Running;
use crate::take::Take;
use crate::ticks::Ticks;
use crate::watch::{Change, Watchers};
use crate::{signals, source};

/// How long after a tick's instant it is composed, so that the picture captured at that instant is there.
pub const COMPOSE_AFTER: Duration = Duration::from_millis(15);

/// Runs the job to its end.
pub fn run(job: &Job) -> anyhow::Result<()> {
    lectern_base::log::always("LESSON", job.lesson_id.as_str());
    tracing::info!(take = job.take, "recording");
    signals::watch()?;
    let link = Link::open(&job.socket_path, hello(job))?;
    told(&link, || {
        let mut session = Session::open(&job.capture, &link, None)?;
        session.wait_for_picture();
        let outcome = session.begin(job).and_then(|()| session.record(job));
        session.close_sources();
        session.close_live();
        outcome
    })
}

/// The greeting of a job's recorder.
pub fn hello(job: &Job) -> Event {
    Event::Hello {
        lesson_id: job.lesson_id.clone(),
        take: job.take,
        pid: std::process::id(),
        recorder: env!("CARGO_PKG_VERSION").into(),
        libav: av::version(),
        paused: false,
        layout: job.capture.layout,
        live: LiveState::Off,
    }
}

/// Does it, and says why it could not.
pub fn told(link: &Link, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let outcome = work();
    if let Err(e) = &outcome {
        link.speaker.say(&Event::Fatal { message: format!("{e:#}") });
    }
    outcome
}

/// Sources, encoders and, from the press on, the take.
pub struct Session<'a> {
    capture: &'a CaptureSettings,
    link: &'a Link,
    take: Option<Take>,
    sources: Vec<Tracked>,
    picture: Picture,
    mixer: Mixer,
    output: Output,
    watchers: Watchers,
    preview_wanted: bool,
    ticks: Ticks,
    /// The next tick to make.
    tick: i64,
    last_key: i64,
    key_due: bool,
    /// The tick before which the open fragment ends.
    cut_at: i64,
    metronome: Arc<Metronome>,
    pace: Pace,
    ticks_left_out: u64,
    /// Where the lesson can be sent live.
    live_url: Option<String>,
    /// When gaps, watchers and the preview were last looked after, in their own steps.
    looked: [i64; 3],
}

impl<'a> Session<'a> {
    /// Opens everything; a ring length makes what is encoded before the press be kept in memory.
    pub fn open(
        capture: &'a CaptureSettings,
        link: &'a Link,
        ring: Option<Duration>,
    ) -> anyhow::Result<Self> {
        let fps = capture.video.fps;
        let metronome = Arc::new(Metronome::new(fps));
        let mut sources = Vec::new();
        for source in &capture.sources {
            let running = source::start(source, &metronome, capture.video)?;
            running.outlet.wire.want(capture.copy_camera && running.kind.is_camera());
            let timeline = match source.kind {
                SourceKind::Microphone { gain_db, .. } => Some((Timeline::new()?, times(gain_db))),
                _ => None,
            };
            sources.push(Tracked::new(running, timeline));
        }
        let picture = Picture::new(capture, &sources)?;
        let mut mixer = Mixer::new(capture.audio)?;
        let output = Output::new(picture.parameters(), mixer.encoder().parameters(), ring)?;
        Ok(Self {
            capture,
            link,
            take: None,
            sources,
            picture,
            mixer,
            output,
            watchers: Watchers::default(),
            preview_wanted: false,
            ticks: Ticks::new(fps, clock::mono()),
            tick: 0,
            last_key: 0,
            key_due: true,
            cut_at: 0,
            metronome,
            pace: Pace::new(fps),
            ticks_left_out: 0,
            live_url: None,
            looked: [-1; 3],
        })
    }

    /// Waits for the main picture, but not for ever: a dark screen must not lose the lesson.
    pub fn wait_for_picture(&mut self) {
        let give_up = clock::mono() + Duration::from_secs(2);
        while clock::mono() < give_up && !signals::terminated() {
            let screen = self.capture.layout.shows().0 > 0;
            let main = |kind: &SourceKind| if screen { kind.is_screen() } else { kind.is_camera() };
            let there =
                self.sources.iter().filter(|s| main(&s.running.kind)).all(|s| {
                    matches!(s.running.kind, SourceKind::Test) || s.running.outlet.newest().is_some()
                });
            if there {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Starts the clock at tick 0 now.
    pub fn start_clock(&mut self) {
        self.ticks = Ticks::new(self.capture.video.fps, self.picture.first_at(&self.sources));
        self.metronome.set(self.ticks.start());
        self.metronome.slow(self.pace.fps());
    }

    /// Captures the screen only so often a second, while nothing is encoded.
    pub fn idle(&mut self, pace: u32) {
        self.metronome.set(clock::mono());
        self.metronome.slow(pace);
    }

    /// What is said and shown now is not kept.
    pub fn forget(&mut self) {
        for source in &self.sources {
            drop(source.running.outlet.blocks());
        }
        self.picture.forget(&self.sources);
    }

    /// The take begins: with what was kept before, if anything was, else now.
    pub fn begin(&mut self, job: &Job) -> anyhow::Result<()> {
        if !self.output.keeps() {
            self.start_clock();
        }
        let take = Take::create(&job.take_path, &job.journal_path, self.link.speaker.clone())?;
        let kept = self.output.begin(self.tick, self.capture.video.fps)?;
        let origin = kept.as_ref().map_or(self.tick, |kept| kept.origin);
        self.ticks.set_origin(origin);
        let age = clock::mono().saturating_sub(self.ticks.start());
        let age_ms = u64::try_from(age.as_millis())?;
        take.fact(Fact::Started {
            wall_ms: clock::wall_ms() - i64::try_from(age_ms)?,
            mono_ms: u64::try_from(clock::boot().saturating_sub(age).as_millis())?,
            boot_id: clock::boot_id(),
            clock_trusted: clock::trusted(),
            recorder: env!("CARGO_PKG_VERSION").into(),
            libav: av::version(),
            encoder: self.picture.encoder().into(),
            ring_ms: kept.as_ref().map(|_| age_ms),
        })?;
        for (bytes, end_ms) in kept.into_iter().flat_map(|kept| kept.fragments) {
            take.fragment(bytes, end_ms)?;
        }
        self.sources.iter_mut().for_each(Tracked::begin);
        self.watchers = Watchers::default();
        // Without anything before it the take needs a key frame first; the ring began with one.
        self.key_due |= origin == self.tick;
        self.cut_at = i64::MAX;
        self.take = Some(take);
        if let Some(live) = &job.live {
            self.live_url = Some(live.url.clone());
            self.send_live(live.on);
        }
        Ok(())
    }

    /// Sends the lesson live or no more. Whatever is wrong with that is no trouble of the recording.
    fn send_live(&mut self, on: bool) {
        if on == self.output.is_live() {
            return;
        }
        let url = self.live_url.clone().filter(|_| on);
        if on && url.is_none() {
            return tracing::warn!("there is no address to send the lesson live to");
        }
        if let Err(e) = self.output.send_live(url.as_deref()) {
            tracing::error!("the lesson cannot be sent live: {e:#}");
        }
    }

    /// Notes where sending it live stands, when that has changed.
    fn note_live(&mut self) -> anyhow::Result<()> {
        let Some((state, cause)) = self.output.live_change() else { return Ok(()) };
        let at_ms = self.ticks.ms(self.tick);
        self.note(Fact::Live { at_ms, state }, &Event::Live { state, cause })
    }

    /// Records until the take's end.
    pub fn record(&mut self, job: &Job) -> anyhow::Result<()> {
        let limit = i64::from(job.max_minutes) * 60 * self.ticks.per_second();
        loop {
            if signals::terminated() {
                tracing::info!("asked to end by a signal");
                return self.end(None);
            }
            let mut paused = false;
            while let Ok(command) = self.link.commands.try_recv() {
                match command {
                    Command::Stop => return self.stop(),
                    Command::Pause => paused = true,
                    // A teacher who thought better of it at once.
                    Command::Resume => paused = false,
                    other => self.obey(other)?,
                }
            }
            if paused && self.pause()? {
                return self.stop();
            }
            if self.ticks.taken(self.tick) >= limit {
                tracing::warn!(minutes = job.max_minutes, "the longest take is reached");
                return self.end(None);
            }
            self.turn()?;
            // The first fragment is cut at once: from then on something is durable.
            if self.cut_at == i64::MAX {
                self.cut()?;
            }
        }
    }

    /// Waits for the tick that is due, and makes its picture and the sound that belongs to it.
    pub fn turn(&mut self) -> anyhow::Result<()> {
        let due = self.ticks.instant(self.tick) + COMPOSE_AFTER;
        let now = clock::mono();
        let mut left_out = 0;
        if now < due {
            std::thread::sleep(due - now);
        } else {
            left_out = self.ticks.between(due, now);
            self.tick += left_out;
            self.ticks_left_out += u64::try_from(left_out)?;
        }
        let (tick, began) = (self.tick, clock::mono());
        if self.take.is_some() && tick >= self.cut_at {
            self.cut()?;
        }
        let gop = self.ticks.per_second() * i64::from(self.capture.video.gop_s);
        let key = self.key_due || tick / gop != self.last_key / gop;
        if key {
            (self.last_key, self.key_due) = (tick, false);
        }
        self.picture.make(&mut self.sources, &self.ticks, tick, key, &mut self.output)?;
        let due = self.mixer.due(&mut self.sources, &self.ticks)?;
        self.sound(due)?;
        self.look_after()?;
        let ended = clock::mono();
        if self.pace.worked(ended, left_out, ended.saturating_sub(began)) {
            self.paced()?;
        }
        self.tick = self.pace.next(tick + 1);
        Ok(())
    }

    /// Ends the open fragment before the next tick.
    fn cut(&mut self) -> anyhow::Result<()> {
        let bytes = self.output.cut()?;
        let at_ms = self.ticks.ms(self.tick);
        self.cut_at = self.ticks.next_second(self.tick);
        match &self.take {
            Some(take) => take.fragment(bytes, at_ms),
            None => Ok(()),
        }
    }

    /// Writes a fact down, if there is a take to write it into, and says it.
    fn note(&self, fact: Fact, event: &Event) -> anyhow::Result<()> {
        let Some(take) = &self.take else { return Ok(()) };
        take.fact(fact)?;
        self.link.speaker.say(event);
        Ok(())
    }

    /// Encodes sound up to a position, and says how loud it is.
    fn sound(&mut self, until: i64) -> anyhow::Result<()> {
        let readings = self.mixer.run(&mut self.sources, &self.ticks, until, &mut self.output)?;
        if self.take.is_none() {
            return Ok(());
        }
        for (reading, ms) in readings {
            for (kind, change) in self.watchers.hear(reading, ms) {
                self.tell(kind, change)?;
            }
            if self.link.speaker.heard() {
                let (peak_dbfs, rms_dbfs) = (reading.peak_dbfs, reading.rms_dbfs);
                self.link.speaker.say(&Event::Level { peak_dbfs, rms_dbfs });
            }
        }
        Ok(())
    }

    /// Gaps, darkness and the preview; none of it every tick.
    fn look_after(&mut self) -> anyhow::Result<()> {
        let (fps, at_ms) = (self.ticks.per_second(), self.ticks.ms(self.tick));
        let every = [fps / 5, fps / 2, fps].map(|every| self.tick / every.max(1));
        let [gaps, watch, preview] = std::array::from_fn(|n| every[n] != self.looked[n]);
        self.looked = every;
        if gaps {
            self.sources.iter_mut().for_each(Tracked::watch);
        }
        if self.take.is_none() {
            return Ok(());
        }
        if gaps {
            let changed: Vec<_> = self.sources.iter_mut().filter_map(|s| s.change(at_ms)).collect();
            for (fact, event) in changed {
                self.note(fact, &event)?;
            }
            self.note_live()?;
        }
        if watch {
            let black = self.picture.is_black();
            let cameras = self.sources.iter().filter(|s| s.running.kind.is_camera());
            let prints: Vec<_> = cameras.map(|s| s.running.outlet.newest().and_then(|p| p.print())).collect();
            for (kind, change) in self.watchers.look(black, &prints, at_ms) {
                self.tell(kind, change)?;
            }
        }
        if preview && self.preview_wanted && self.link.speaker.heard() {
            // A preview is a courtesy: if it fails the take goes on.
            match self.picture.preview() {
                Ok(bytes) => {
                    let jpeg = base64::engine::general_purpose::STANDARD.encode(bytes);
                    self.link.speaker.say(&Event::Preview { jpeg });
                }
                Err(e) => tracing::warn!("no preview: {e:#}"),
            }
        }
        Ok(())
    }

    /// The pace has changed.
    fn paced(&mut self) -> anyhow::Result<()> {
        let (fps, full, at_ms) = (self.pace.fps(), self.pace.full(), self.ticks.ms(self.tick));
        tracing::warn!(fps, at_ms, "the pace changes: the machine is too busy, or no longer");
        self.metronome.slow(fps);
        self.note(Fact::Paced { at_ms, fps }, &Event::Paced { fps, full })
    }

    fn tell(&mut self, kind: FindingKind, change: Change) -> anyhow::Result<()> {
        let (fact, event) = match change {
            Change::Began(from_ms) => {
                (Fact::FindingOpened { kind, from_ms }, Event::FindingOpened { kind, from_ms })
            }
            Change::Ended(at_ms) => {
                (Fact::FindingClosed { kind, at_ms }, Event::FindingClosed { kind, at_ms })
            }
        };
        self.note(fact, &event)
    }

    /// Carries out what changes neither the clock nor the take's end.
    fn obey(&mut self, command: Command) -> anyhow::Result<()> {
        let at_ms = self.ticks.ms(self.tick);
        match command {
            Command::Preview { on } => self.preview_wanted = on,
            Command::Mark { word } => {
                let word = word.chars().filter(|c| !c.is_control()).take(MARK_MAX_CHARS).collect();
                self.note(Fact::Marked { at_ms, word }, &Event::Marked { at_ms })?;
            }
            Command::Layout { layout } if self.capture.layouts().any(|l| l == layout) => {
                if layout == self.picture.layout() {
                    self.link.speaker.say(&Event::LayoutChanged { layout });
                } else if self.picture.set_layout(layout) {
                    self.note(Fact::LayoutChanged { at_ms, layout }, &Event::LayoutChanged { layout })?;
                }
            }
            Command::Live { on } => {
                self.send_live(on);
                self.note_live()?;
            }
            Command::Layout { layout } => {
                tracing::warn!(layout = layout.name(), "there are no sources for this layout");
            }
            // The last two are for a recorder that waits.
            Command::Pause | Command::Resume | Command::Stop | Command::Start { .. } | Command::Preflight => {
            }
        }
        Ok(())
    }

    /// Waits for the sound that belongs before the next tick.
    fn settle(&mut self) -> anyhow::Result<()> {
        let end = self.ticks.sound(self.tick);
        let give_up = self.ticks.instant(self.tick) + SOUND_PATIENCE;
        while clock::mono() < give_up {
            std::thread::sleep(Duration::from_millis(10));
            let due = self.mixer.due(&mut self.sources, &self.ticks)?;
            self.sound(due.min(end))?;
            if due >= end {
                break;
            }
        }
        self.sound(end)
    }

    /// Stands still until told to go on; true when told to stop instead.
    fn pause(&mut self) -> anyhow::Result<bool> {
        let at_ms = self.ticks.ms(self.tick);
        let began = self.ticks.instant(self.tick).max(clock::mono());
        self.note(Fact::Paused { at_ms, wall_ms: clock::wall_ms() }, &Event::Paused { at_ms })?;
        self.settle()?;
        for (kind, change) in self.watchers.end(at_ms) {
            self.tell(kind, change)?;
        }
        self.cut()?;
        let stop = loop {
            if signals::terminated() {
                break false;
            }
            match self.link.commands.recv_timeout(Duration::from_millis(20)) {
                Ok(Command::Stop) => break true,
                Ok(Command::Resume) => break false,
                Ok(Command::Pause) | Err(_) => {}
                Ok(other) => self.obey(other)?,
            }
            self.forget();
            self.note_live()?;
        };
        let now = clock::mono();
        let paused_ms = u64::try_from(now.saturating_sub(began).as_millis())?;
        // Media time goes on exactly where it stood.
        self.ticks.resume(self.tick, now);
        self.metronome.set(self.ticks.instant(0));
        for source in &mut self.sources {
            source.resume(now, self.mixer.at());
        }
        self.pace.rest();
        self.key_due = true;
        if let Some(take) = &self.take {
            take.fact(Fact::Resumed { at_ms, paused_ms })?;
        }
        if !stop {
            self.link.speaker.say(&Event::Resumed { at_ms });
        }
        Ok(stop)
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        let media_ms = self.ticks.ms(self.tick);
        self.end(Some(Fact::Stopped { media_ms }))
    }

    /// Ends the take: what is captured is encoded, written and durable, then said.
    fn end(&mut self, fact: Option<Fact>) -> anyhow::Result<()> {
        self.settle()?;
        self.picture.end(&mut self.output)?;
        self.mixer.encoder().end(&mut self.output)?;
        self.cut()?;
        let mut take = self.take.take().context("there is no take to end")?;
        if let Some(fact) = fact {
            take.fact(fact)?;
        }
        let bytes = take.end().context("the end of the take is not durable")?;
        if self.ticks_left_out > 0 {
            let ticks = self.ticks_left_out;
            tracing::warn!(ticks, "pictures were left out because encoding fell behind");
        }
        self.link.speaker.say(&Event::Stopped { bytes, media_ms: self.ticks.ms(self.tick) });
        Ok(())
    }

    /// The sources, open.
    pub fn running(&self) -> impl Iterator<Item = &Running> {
        self.sources.iter().map(|source| &source.running)
    }

    /// Ends sending it live; after everything else, for it may take a moment.
    pub fn close_live(&mut self) {
        self.output.close_live();
    }

    /// Closes what was opened.
    pub fn close_sources(&mut self) {
        for source in &mut self.sources {
            source.running.stop();
        }
    }
}
