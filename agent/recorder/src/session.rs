//! One take, from the first picture to the last: the master clock and everything that hangs on it.
//!
//! ```text
//! opening ──first picture, or 2 s──▶ running ⇄ paused ──stop, signal, limit──▶ ended
//! ```
//!
//! Tick `n` stands for the instant `start + n / fps` of the take, pauses left out. The clock is
//! monotonic; the wall clock is only written down. When encoding falls behind, ticks are left out and the next
//! picture simply stands longer: sound is never dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use lectern_base::clock;
use lectern_wire::manifest::{FindingKind, MARK_MAX_CHARS};
use lectern_wire::recorder::{Command, Event, Fact, Job, SourceKind};

use crate::av::{self, Mux, RATE};
use crate::card;
use crate::compose::Composer;
use crate::encode::{Audio, Jpeg, SOUND_FRAME, Video};
use crate::link::Link;
use crate::metronome::Metronome;
use crate::sound::{Meter, Timeline, times};
use crate::source::{self, Running};
use crate::take::Take;
use crate::watch::{Change, Watchers};

/// How long after a tick's instant it is composed, so that the picture captured at that instant is there.
pub const COMPOSE_AFTER: Duration = Duration::from_millis(15);
/// How long sound may take to arrive before silence is put in its place.
pub const SOUND_LAG: Duration = Duration::from_millis(250);
/// Sound at the very start that is not waited for, so that the first fragment can be cut at once.
pub const SILENT_START: i64 = 3 * SOUND_FRAME as i64;
/// A source without anything new for this long is lost.
const STALE: Duration = Duration::from_secs(1);
/// A source that was never there may take this long to open before that is a gap.
const OPENING: Duration = Duration::from_secs(3);

static TERMINATED: AtomicBool = AtomicBool::new(false);

/// Frame position of a monotonic instant in a take that began at `start`; negative before.
pub fn position(start: Duration, at: Duration) -> i64 {
    let delta = at.as_micros() as i128 - start.as_micros() as i128;
    i64::try_from(delta * i128::from(RATE) / 1_000_000).unwrap_or(0)
}

/// Runs the job to its end.
pub fn run(job: &Job) -> anyhow::Result<()> {
    signals::watch(&TERMINATED)?;
    let hello = Event::Hello {
        lesson_id: job.lesson_id.clone(),
        take: job.take,
        pid: std::process::id(),
        recorder: env!("CARGO_PKG_VERSION").into(),
        libav: av::version(),
        paused: false,
        layout: job.capture.layout,
    };
    let link = Link::open(&job.socket_path, hello)?;
    let outcome = Session::open(job, &link).and_then(|mut session| {
        let outcome = session.record();
        session.close_sources();
        outcome
    });
    if let Err(e) = &outcome {
        link.speaker.say(&Event::Fatal { message: format!("{e:#}") });
    }
    outcome
}

struct Session<'a> {
    job: &'a Job,
    link: &'a Link,
    take: Take,
    sources: Vec<Tracked>,
    composer: Composer,
    meter: Meter,
    watchers: Watchers,
    video: Video,
    audio: Audio,
    mux: Mux,
    jpeg: Option<Jpeg>,
    preview_wanted: bool,
    /// Monotonic instant of media time 0, moved on by every pause.
    start: Duration,
    metronome: Arc<Metronome>,
    /// Next frame of sound to encode.
    sound_at: i64,
    ticks_left_out: u64,
}

struct Tracked {
    running: Running,
    /// Where its sound belongs, if it gives any, and how loud.
    timeline: Option<(Timeline, f32)>,
    gap: bool,
    /// When it last gave something; `None` before the first time.
    last: Option<Duration>,
}

impl<'a> Session<'a> {
    fn open(job: &'a Job, link: &'a Link) -> anyhow::Result<Self> {
        let capture = &job.capture;
        let metronome = Arc::new(Metronome::new(capture.video.fps));
        let now = clock::mono();
        let mut sources = Vec::new();
        for source in &capture.sources {
            let running = source::start(source, &metronome, capture.video)?;
            let timeline = match source.kind {
                SourceKind::Microphone { gain_db, .. } => Some((Timeline::new()?, times(gain_db))),
                _ => None,
            };
            sources.push(Tracked { running, timeline, gap: false, last: None });
        }
        let take = Take::create(&job.take_path, &job.journal_path, link.speaker.clone())?;
        let video = Video::new(capture.video)?;
        let audio = Audio::new(capture.audio)?;
        let mux = Mux::new(video.context(), audio.context())?;
        let mut session = Self {
            job,
            link,
            take,
            sources,
            composer: Composer::new(capture.video, capture.layout),
            meter: Meter::default(),
            watchers: Watchers::default(),
            video,
            audio,
            mux,
            jpeg: None,
            preview_wanted: false,
            start: now,
            metronome,
            sound_at: 0,
            ticks_left_out: 0,
        };
        session.wait_for_picture();
        Ok(session)
    }

    /// Waits for the main picture, but not for ever: a dark screen must not lose the lesson.
    fn wait_for_picture(&mut self) {
        let give_up = clock::mono() + Duration::from_secs(2);
        while clock::mono() < give_up && !TERMINATED.load(Ordering::Relaxed) {
            let screen = self.job.capture.layout.shows().0 > 0;
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

    fn record(&mut self) -> anyhow::Result<()> {
        self.start = clock::mono();
        self.metronome.set(self.start);
        self.take.fact(Fact::Started {
            wall_ms: clock::wall_ms(),
            mono_ms: u64::try_from(clock::boot().as_millis())?,
            boot_id: clock::boot_id(),
            clock_trusted: clock::trusted(),
            recorder: env!("CARGO_PKG_VERSION").into(),
            libav: av::version(),
        })?;
        let fps = i64::from(self.job.capture.video.fps);
        let gop = fps * i64::from(self.job.capture.video.gop_s);
        let limit = i64::from(self.job.max_minutes) * 60 * fps;
        let (mut tick, mut cut_at, mut key_due) = (0i64, 3i64, true);
        let mut last_key = 0i64;
        loop {
            if TERMINATED.load(Ordering::Relaxed) {
                tracing::info!("asked to end by a signal");
                return self.end(tick, None);
            }
            let mut paused = false;
            while let Ok(command) = self.link.commands.try_recv() {
                match command {
                    Command::Stop => return self.stop(tick),
                    Command::Pause => paused = true,
                    Command::Resume => {}
                    other => self.obey(other, tick)?,
                }
            }
            if paused {
                if self.pause(tick)? {
                    return self.stop(tick);
                }
                (key_due, cut_at) = (true, (tick / fps + 1) * fps);
            }
            if tick >= limit {
                tracing::warn!(minutes = self.job.max_minutes, "the longest take is reached");
                return self.end(tick, None);
            }

            let due = self.instant(tick) + COMPOSE_AFTER;
            let now = clock::mono();
            if now < due {
                std::thread::sleep(due - now);
            } else {
                let behind = i64::try_from((now - due).as_micros())? * fps / 1_000_000;
                self.ticks_left_out += u64::try_from(behind)?;
                tick += behind;
            }
            if tick >= cut_at {
                let bytes = self.mux.cut()?;
                self.take.fragment(bytes, media_ms(tick, fps))?;
                cut_at = (tick / fps + 1) * fps;
            }
            let key = key_due || tick / gop != last_key / gop;
            if key {
                (last_key, key_due) = (tick, false);
            }
            self.compose(tick)?;
            self.video.encode(self.composer.canvas(), tick, key, &mut self.mux)?;
            let sound_until = position(self.start, clock::mono().saturating_sub(SOUND_LAG)).max(SILENT_START);
            self.sound(sound_until)?;
            self.look_after(tick)?;
            tick += 1;
        }
    }

    /// Monotonic instant of a tick.
    fn instant(&self, tick: i64) -> Duration {
        let fps = u64::from(self.job.capture.video.fps);
        self.start + Duration::from_micros(u64::try_from(tick).unwrap_or(0) * 1_000_000 / fps)
    }

    fn compose(&mut self, tick: i64) -> anyhow::Result<()> {
        let now = clock::mono();
        let ms = media_ms(tick, i64::from(self.job.capture.video.fps));
        for source in &self.sources {
            let fresh = || source.running.outlet.newest().filter(|p| now.saturating_sub(p.at) < STALE);
            match source.running.kind {
                SourceKind::Test => self.composer.card(ms),
                SourceKind::Screen { .. } | SourceKind::WaylandScreen { .. } => {
                    self.composer.screen(fresh())?;
                }
                _ => {}
            }
        }
        for (n, source) in self.sources.iter().filter(|s| s.running.kind.is_camera()).enumerate() {
            let newest = source.running.outlet.newest();
            if newest.is_none() && now.saturating_sub(self.start) < OPENING {
                continue;
            }
            self.composer.camera(n, newest.filter(|p| now.saturating_sub(p.at) < STALE).as_deref())?;
        }
        Ok(())
    }

    /// Takes in what has arrived and encodes sound up to a position.
    fn sound(&mut self, until: i64) -> anyhow::Result<()> {
        let start = self.start;
        for source in &mut self.sources {
            for block in source.running.outlet.blocks() {
                source.last = Some(clock::mono());
                let position = position(start, block.at);
                // Sound from before the start, or from a pause, has no place in the take.
                if let (Some((timeline, _)), true) =
                    (&mut source.timeline, position + block.bytes.len() as i64 / 4 > self.sound_at)
                {
                    timeline.push(position, &block.bytes)?;
                }
            }
        }
        while self.sound_at + SOUND_FRAME as i64 <= until {
            let frames = self.mixed();
            self.audio.encode(self.sound_at, &frames, &mut self.mux)?;
            if let Some(reading) = self.meter.push(&frames) {
                let ms = u64::try_from(self.sound_at).unwrap_or(0) * 1000 / u64::from(RATE);
                for (kind, change) in self.watchers.hear(reading, ms) {
                    self.tell(kind, change)?;
                }
                if self.link.speaker.heard() {
                    let (peak_dbfs, rms_dbfs) = (reading.peak_dbfs, reading.rms_dbfs);
                    self.link.speaker.say(&Event::Level { peak_dbfs, rms_dbfs });
                }
            }
            self.sound_at += SOUND_FRAME as i64;
        }
        Ok(())
    }

    /// The next frames of all sources of sound together.
    fn mixed(&mut self) -> [[f32; 2]; SOUND_FRAME] {
        let mut frames = [[0.0; 2]; SOUND_FRAME];
        for source in &mut self.sources {
            match &mut source.timeline {
                Some((timeline, gain)) => timeline.mix(self.sound_at, *gain, &mut frames),
                None if matches!(source.running.kind, SourceKind::Test) => {
                    for (n, frame) in frames.iter_mut().enumerate() {
                        *frame = card::tone(self.sound_at + n as i64);
                    }
                }
                None => {}
            }
        }
        for sample in frames.iter_mut().flatten() {
            *sample = sample.clamp(-1.0, 1.0);
        }
        frames
    }

    /// Gaps, darkness and the preview; none of it every tick.
    fn look_after(&mut self, tick: i64) -> anyhow::Result<()> {
        let fps = i64::from(self.job.capture.video.fps);
        let at_ms = media_ms(tick, fps);
        if tick % (fps / 5).max(1) == 0 {
            self.gaps(at_ms)?;
        }
        if tick % (fps / 2).max(1) == 0 {
            let black = self.composer.is_black();
            let cameras = self.sources.iter().filter(|s| s.running.kind.is_camera());
            let prints: Vec<_> = cameras.map(|s| s.running.outlet.newest().and_then(|p| p.print())).collect();
            for (kind, change) in self.watchers.look(black, &prints, at_ms) {
                self.tell(kind, change)?;
            }
        }
        if tick % fps == 0 && self.preview_wanted && self.link.speaker.heard() {
            self.preview();
        }
        Ok(())
    }

    fn gaps(&mut self, at_ms: u64) -> anyhow::Result<()> {
        let now = clock::mono();
        for source in &mut self.sources {
            let name = source.running.name.clone();
            if matches!(source.running.kind, SourceKind::Test) {
                continue;
            }
            source.last = source.running.outlet.newest().map_or(source.last, |p| Some(p.at));
            let (last, patience) = source.last.map_or((self.start, OPENING), |last| (last, STALE));
            let lost = now.saturating_sub(last) > patience;
            if lost == source.gap {
                continue;
            }
            source.gap = lost;
            // One that never opened was away from the start.
            let at_ms = if source.last.is_none() { 0 } else { at_ms };
            let (fact, event) = if lost {
                let fault = source.running.outlet.fault();
                let cause = fault.unwrap_or_else(|| "nothing new arrived for 1 s".into());
                tracing::warn!(source = name, at_ms, cause, "gap opened");
                (
                    Fact::GapOpened { source: name.clone(), at_ms, cause: cause.clone() },
                    Event::GapOpened { source: name, at_ms, cause },
                )
            } else {
                tracing::info!(source = name, at_ms, "gap closed");
                (Fact::GapClosed { source: name.clone(), at_ms }, Event::GapClosed { source: name, at_ms })
            };
            self.take.fact(fact)?;
            self.link.speaker.say(&event);
        }
        Ok(())
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
        self.take.fact(fact)?;
        self.link.speaker.say(&event);
        Ok(())
    }

    /// Carries out what changes neither the clock nor the take's end.
    fn obey(&mut self, command: Command, tick: i64) -> anyhow::Result<()> {
        let at_ms = media_ms(tick, i64::from(self.job.capture.video.fps));
        match command {
            Command::Preview { on } => self.preview_wanted = on,
            Command::Mark { word } => {
                let word = word.chars().filter(|c| !c.is_control()).take(MARK_MAX_CHARS).collect();
                self.take.fact(Fact::Marked { at_ms, word })?;
                self.link.speaker.say(&Event::Marked { at_ms });
            }
            Command::Layout { layout } if self.job.capture.layouts().any(|l| l == layout) => {
                if layout != self.composer.layout() {
                    self.composer.set_layout(layout);
                    self.take.fact(Fact::LayoutChanged { at_ms, layout })?;
                }
                self.link.speaker.say(&Event::LayoutChanged { layout });
            }
            Command::Layout { layout } => {
                tracing::warn!(layout = layout.name(), "there are no sources for this layout");
            }
            Command::Pause | Command::Resume | Command::Stop => {}
        }
        Ok(())
    }

    /// A preview is a courtesy: if it fails the take goes on.
    fn preview(&mut self) {
        let made = match &mut self.jpeg {
            Some(jpeg) => jpeg.encode(self.composer.canvas()),
            None => Jpeg::new(self.job.capture.video).and_then(|mut jpeg| {
                let picture = jpeg.encode(self.composer.canvas());
                self.jpeg = Some(jpeg);
                picture
            }),
        };
        match made {
            Ok(bytes) => {
                let jpeg = base64::engine::general_purpose::STANDARD.encode(bytes);
                self.link.speaker.say(&Event::Preview { jpeg });
            }
            Err(e) => tracing::warn!("no preview: {e:#}"),
        }
    }

    /// Waits for the sound that belongs before a tick.
    fn settle(&mut self, tick: i64) -> anyhow::Result<()> {
        let fps = i64::from(self.job.capture.video.fps);
        let end = tick * i64::from(RATE) / fps;
        let give_up = self.instant(tick) + SOUND_LAG;
        while clock::mono() < give_up {
            std::thread::sleep(Duration::from_millis(10));
            self.sound(position(self.start, clock::mono().saturating_sub(SOUND_LAG)).min(end))?;
        }
        self.sound(end)
    }

    /// Stands still until told to go on; true when told to stop instead.
    fn pause(&mut self, tick: i64) -> anyhow::Result<bool> {
        let fps = i64::from(self.job.capture.video.fps);
        let at_ms = media_ms(tick, fps);
        let began = self.instant(tick).max(clock::mono());
        self.take.fact(Fact::Paused { at_ms, wall_ms: clock::wall_ms() })?;
        self.link.speaker.say(&Event::Paused { at_ms });
        self.settle(tick)?;
        for (kind, change) in self.watchers.end(at_ms) {
            self.tell(kind, change)?;
        }
        let bytes = self.mux.cut()?;
        self.take.fragment(bytes, at_ms)?;
        let stop = loop {
            if TERMINATED.load(Ordering::Relaxed) {
                break false;
            }
            match self.link.commands.recv_timeout(Duration::from_millis(20)) {
                Ok(Command::Stop) => break true,
                Ok(Command::Resume) => break false,
                Ok(Command::Pause) | Err(_) => {}
                Ok(other) => self.obey(other, tick)?,
            }
            // What is said and shown now is not kept.
            for source in &self.sources {
                drop(source.running.outlet.blocks());
            }
        };
        let now = clock::mono();
        let paused_ms = u64::try_from(now.saturating_sub(began).as_millis())?;
        // Media time goes on exactly where it stood.
        self.start += now.saturating_sub(self.instant(tick));
        self.metronome.set(self.start);
        for source in &mut self.sources {
            if let Some((timeline, _)) = &mut source.timeline {
                timeline.reset(self.sound_at);
            }
            source.last = source.last.map(|last| last.max(now));
        }
        self.take.fact(Fact::Resumed { at_ms, paused_ms })?;
        if !stop {
            self.link.speaker.say(&Event::Resumed { at_ms });
        }
        Ok(stop)
    }

    fn stop(&mut self, tick: i64) -> anyhow::Result<()> {
        let media_ms = media_ms(tick, i64::from(self.job.capture.video.fps));
        self.end(tick, Some(Fact::Stopped { media_ms }))
    }

    /// Ends the take: what is captured is encoded, written and durable, then said.
    fn end(&mut self, tick: i64, fact: Option<Fact>) -> anyhow::Result<()> {
        let fps = i64::from(self.job.capture.video.fps);
        self.settle(tick)?;
        self.video.end(&mut self.mux)?;
        self.audio.end(&mut self.mux)?;
        let bytes = self.mux.cut()?;
        self.take.fragment(bytes, media_ms(tick, fps))?;
        if let Some(fact) = fact {
            self.take.fact(fact)?;
        }
        let bytes = self.take.end().context("the end of the take is not durable")?;
        if self.ticks_left_out > 0 {
            tracing::warn!(
                ticks = self.ticks_left_out,
                "pictures were left out because encoding fell behind"
            );
        }
        self.link.speaker.say(&Event::Stopped { bytes, media_ms: media_ms(tick, fps) });
        Ok(())
    }

    fn close_sources(&mut self) {
        for source in &mut self.sources {
            source.running.stop();
        }
    }
}

fn media_ms(tick: i64, fps: i64) -> u64 {
    u64::try_from(tick * 1000 / fps).unwrap_or(0)
}

/// SIGTERM and SIGINT end the take in order.
mod signals {
    use std::sync::atomic::{AtomicBool, Ordering};

    use anyhow::Context as _;

    pub fn watch(flag: &'static AtomicBool) -> anyhow::Result<()> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        let mut signals =
            signal_hook::iterator::Signals::new([SIGTERM, SIGINT]).context("signals cannot be watched")?;
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            if signals.forever().next().is_some() {
                flag.store(true, Ordering::Relaxed);
            }
        })?;
        Ok(())
    }
}
