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
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use lectern_base::clock;
use lectern_wire::manifest::{FindingKind, MARK_MAX_CHARS};
use lectern_wire::recorder::{Command, Event, Fact, Job, SourceKind};

use crate::av::{self, Mux};
use crate::compose::Composer;
use crate::encode::{Jpeg, Video};
use crate::gaps::{OPENING, STALE, Tracked};
use crate::link::Link;
use crate::metronome::Metronome;
use crate::mixer::{Mixer, SOUND_LAG};
use crate::sound::{Timeline, times};
use crate::take::Take;
use crate::ticks::Ticks;
use crate::watch::{Change, Watchers};
use crate::{signals, source};

/// How long after a tick's instant it is composed, so that the picture captured at that instant is there.
const COMPOSE_AFTER: Duration = Duration::from_millis(15);

/// Runs the job to its end.
pub fn run(job: &Job) -> anyhow::Result<()> {
    signals::watch()?;
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
    watchers: Watchers,
    video: Video,
    mixer: Mixer,
    mux: Mux,
    jpeg: Option<Jpeg>,
    preview_wanted: bool,
    ticks: Ticks,
    metronome: Arc<Metronome>,
    ticks_left_out: u64,
}

impl<'a> Session<'a> {
    fn open(job: &'a Job, link: &'a Link) -> anyhow::Result<Self> {
        let capture = &job.capture;
        let metronome = Arc::new(Metronome::new(capture.video.fps));
        let now = clock::mono();
        let mut sources = Vec::new();
        for source in &capture.sources {
            let running = source::start(source, &metronome)?;
            let timeline = match source.kind {
                SourceKind::Microphone { gain_db, .. } => Some((Timeline::new()?, times(gain_db))),
                _ => None,
            };
            sources.push(Tracked::new(running, timeline));
        }
        let take = Take::create(&job.take_path, &job.journal_path, link.speaker.clone())?;
        let video = Video::new(capture.video)?;
        let mut mixer = Mixer::new(capture.audio)?;
        let mux = Mux::new(video.context(), mixer.encoder().context())?;
        let mut session = Self {
            job,
            link,
            take,
            sources,
            composer: Composer::new(capture.video, capture.layout),
            watchers: Watchers::default(),
            video,
            mixer,
            mux,
            jpeg: None,
            preview_wanted: false,
            ticks: Ticks::new(capture.video.fps, now),
            metronome,
            ticks_left_out: 0,
        };
        session.wait_for_picture();
        Ok(session)
    }

    /// Waits for the main picture, but not for ever: a dark screen must not lose the lesson.
    fn wait_for_picture(&mut self) {
        let give_up = clock::mono() + Duration::from_secs(2);
        while clock::mono() < give_up && !signals::terminated() {
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
        self.ticks = Ticks::new(self.job.capture.video.fps, clock::mono());
        self.metronome.set(self.ticks.start());
        self.take.fact(Fact::Started {
            wall_ms: clock::wall_ms(),
            mono_ms: u64::try_from(clock::boot().as_millis())?,
            boot_id: clock::boot_id(),
            clock_trusted: clock::trusted(),
            recorder: env!("CARGO_PKG_VERSION").into(),
            libav: av::version(),
        })?;
        let fps = self.ticks.per_second();
        let gop = fps * i64::from(self.job.capture.video.gop_s);
        let limit = i64::from(self.job.max_minutes) * 60 * fps;
        let (mut tick, mut cut_at, mut key_due) = (0i64, 3i64, true);
        let mut last_key = 0i64;
        loop {
            if signals::terminated() {
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
                (key_due, cut_at) = (true, self.ticks.next_second(tick));
            }
            if tick >= limit {
                tracing::warn!(minutes = self.job.max_minutes, "the longest take is reached");
                return self.end(tick, None);
            }

            let due = self.ticks.instant(tick) + COMPOSE_AFTER;
            let now = clock::mono();
            if now < due {
                std::thread::sleep(due - now);
            } else {
                let behind = self.ticks.between(due, now);
                self.ticks_left_out += u64::try_from(behind)?;
                tick += behind;
            }
            if tick >= cut_at {
                let bytes = self.mux.cut()?;
                self.take.fragment(bytes, self.ticks.ms(tick))?;
                cut_at = self.ticks.next_second(tick);
            }
            let key = key_due || tick / gop != last_key / gop;
            if key {
                (last_key, key_due) = (tick, false);
            }
            self.compose(tick)?;
            self.video.encode(self.composer.canvas(), tick, key, &mut self.mux)?;
            self.sound(Mixer::due(&self.ticks))?;
            self.look_after(tick)?;
            tick += 1;
        }
    }

    fn compose(&mut self, tick: i64) -> anyhow::Result<()> {
        let now = clock::mono();
        let ms = self.ticks.ms(tick);
        for source in &self.sources {
            let fresh = || source.running.outlet.newest().filter(|p| now.saturating_sub(p.at) < STALE);
            match source.running.kind {
                SourceKind::Test => self.composer.card(ms),
                SourceKind::Screen { .. } => self.composer.screen(fresh())?,
                _ => {}
            }
        }
        for (n, source) in self.sources.iter().filter(|s| s.running.kind.is_camera()).enumerate() {
            let newest = source.running.outlet.newest();
            if newest.is_none() && now.saturating_sub(self.ticks.start()) < OPENING {
                continue;
            }
            self.composer.camera(n, newest.filter(|p| now.saturating_sub(p.at) < STALE).as_deref())?;
        }
        Ok(())
    }

    /// Encodes sound up to a position, and says how loud it is.
    fn sound(&mut self, until: i64) -> anyhow::Result<()> {
        let readings = self.mixer.run(&mut self.sources, &self.ticks, until, &mut self.mux)?;
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
    fn look_after(&mut self, tick: i64) -> anyhow::Result<()> {
        let (fps, at_ms) = (self.ticks.per_second(), self.ticks.ms(tick));
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
        for source in &mut self.sources {
            if let Some((fact, event)) = source.look(self.ticks.start(), at_ms) {
                self.take.fact(fact)?;
                self.link.speaker.say(&event);
            }
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
        let at_ms = self.ticks.ms(tick);
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
        let end = self.ticks.sound(tick);
        let give_up = self.ticks.instant(tick) + SOUND_LAG;
        while clock::mono() < give_up {
            std::thread::sleep(Duration::from_millis(10));
            self.sound(Mixer::due(&self.ticks).min(end))?;
        }
        self.sound(end)
    }

    /// Stands still until told to go on; true when told to stop instead.
    fn pause(&mut self, tick: i64) -> anyhow::Result<bool> {
        let at_ms = self.ticks.ms(tick);
        let began = self.ticks.instant(tick).max(clock::mono());
        self.take.fact(Fact::Paused { at_ms, wall_ms: clock::wall_ms() })?;
        self.link.speaker.say(&Event::Paused { at_ms });
        self.settle(tick)?;
        for (kind, change) in self.watchers.end(at_ms) {
            self.tell(kind, change)?;
        }
        let bytes = self.mux.cut()?;
        self.take.fragment(bytes, at_ms)?;
        let stop = loop {
            if signals::terminated() {
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
        self.ticks.resume(tick, now);
        self.metronome.set(self.ticks.start());
        for source in &mut self.sources {
            source.resume(now, self.mixer.at());
        }
        self.take.fact(Fact::Resumed { at_ms, paused_ms })?;
        if !stop {
            self.link.speaker.say(&Event::Resumed { at_ms });
        }
        Ok(stop)
    }

    fn stop(&mut self, tick: i64) -> anyhow::Result<()> {
        let media_ms = self.ticks.ms(tick);
        self.end(tick, Some(Fact::Stopped { media_ms }))
    }

    /// Ends the take: what is captured is encoded, written and durable, then said.
    fn end(&mut self, tick: i64, fact: Option<Fact>) -> anyhow::Result<()> {
        self.settle(tick)?;
        self.video.end(&mut self.mux)?;
        self.mixer.encoder().end(&mut self.mux)?;
        let bytes = self.mux.cut()?;
        self.take.fragment(bytes, self.ticks.ms(tick))?;
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
        self.link.speaker.say(&Event::Stopped { bytes, media_ms: self.ticks.ms(tick) });
        Ok(())
    }

    fn close_sources(&mut self) {
        for source in &mut self.sources {
            source.running.stop();
        }
    }
}
