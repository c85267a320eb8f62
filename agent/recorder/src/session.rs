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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use lectern_base::clock;
use lectern_wire::manifest::FindingKind;
use lectern_wire::recorder::{Command, Event, Fact, Job, SourceKind};

use crate::av::{self, Mux, RATE};
use crate::card;
use crate::compose::Composer;
use crate::encode::{Audio, Jpeg, SOUND_FRAME, Video};
use crate::link::Link;
use crate::sound::{Meter, Timeline};
use crate::source::{self, Running};
use crate::take::Take;

/// How long after a tick's instant it is composed, so that the picture captured at that instant is there.
const COMPOSE_AFTER: Duration = Duration::from_millis(15);
/// How long sound may take to arrive before silence is put in its place.
const SOUND_LAG: Duration = Duration::from_millis(250);
/// Sound at the very start that is not waited for, so that the first fragment can be cut at once.
const SILENT_START: i64 = 3 * SOUND_FRAME as i64;
/// A source without anything new for this long is lost.
const STALE: Duration = Duration::from_secs(1);
/// A watcher speaks after this long.
const WATCH_MS: u64 = 10_000;
/// At or below this there is nothing to hear.
const SILENT_DBFS: f64 = -60.0;

/// Tells the screen's thread when to capture, so that pictures are taken on the ticks.
pub struct Metronome {
    start_us: AtomicU64,
    step_us: u64,
}

impl Metronome {
    fn new(fps: u32) -> Self {
        Self { start_us: AtomicU64::new(0), step_us: 1_000_000 / u64::from(fps) }
    }

    fn set(&self, start: Duration) {
        self.start_us.store(micros(start), Ordering::Relaxed);
    }

    /// Sleeps until the next tick.
    pub fn wait_for_next(&self) {
        let start = self.start_us.load(Ordering::Relaxed);
        if start == 0 {
            return;
        }
        let now = micros(clock::mono());
        let into = now.saturating_sub(start) % self.step_us;
        std::thread::sleep(Duration::from_micros(self.step_us - into));
    }
}

fn micros(t: Duration) -> u64 {
    u64::try_from(t.as_micros()).unwrap_or(u64::MAX)
}

static TERMINATED: AtomicBool = AtomicBool::new(false);

/// Runs the job to its end.
pub fn run(job: Job) -> anyhow::Result<()> {
    signals::watch(&TERMINATED)?;
    let hello = Event::Hello {
        lesson_id: job.lesson_id.clone(),
        take: job.take,
        pid: std::process::id(),
        recorder: env!("CARGO_PKG_VERSION").into(),
        libav: av::version(),
        paused: false,
    };
    let link = Link::open(&job.socket_path, hello)?;
    let outcome = Session::open(&job, &link).and_then(|mut session| {
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
    timeline: Timeline,
    meter: Meter,
    watch: Watch,
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
    gap: bool,
    last_heard: Duration,
}

/// Silence and darkness, by the time they began.
#[derive(Default)]
struct Watch {
    silent_since: Option<u64>,
    silent: bool,
    black_since: Option<u64>,
    black: bool,
}

impl<'a> Session<'a> {
    fn open(job: &'a Job, link: &'a Link) -> anyhow::Result<Self> {
        let capture = &job.capture;
        let metronome = Arc::new(Metronome::new(capture.video.fps));
        let now = clock::mono();
        let mut sources = Vec::new();
        for source in &capture.sources {
            let running = source::start(source, &metronome)?;
            sources.push(Tracked { running, gap: false, last_heard: now });
        }
        let take = Take::create(&job.take_path, &job.journal_path, link.speaker.clone())?;
        let video = Video::new(capture.video)?;
        let audio = Audio::new(capture.audio)?;
        let mux = Mux::new(video.context(), audio.context())?;
        let with_camera = capture.sources.iter().any(|s| s.kind.is_camera());
        let mut session = Self {
            job,
            link,
            take,
            sources,
            composer: Composer::new(capture.video, with_camera),
            timeline: Timeline::new()?,
            meter: Meter::default(),
            watch: Watch::default(),
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
            let there =
                self.sources.iter().filter(|s| s.running.kind.is_screen()).all(|s| {
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
        for source in &mut self.sources {
            source.last_heard = self.start;
        }
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
                    Command::Preview { on } => self.preview_wanted = on,
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
            let sound_until = self.position(clock::mono().saturating_sub(SOUND_LAG)).max(SILENT_START);
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

    /// Frame position of a monotonic instant; negative before the start.
    fn position(&self, at: Duration) -> i64 {
        let rate = i128::from(RATE);
        let delta = at.as_micros() as i128 - self.start.as_micros() as i128;
        i64::try_from(delta * rate / 1_000_000).unwrap_or(0)
    }

    fn compose(&mut self, tick: i64) -> anyhow::Result<()> {
        let now = clock::mono();
        let ms = media_ms(tick, i64::from(self.job.capture.video.fps));
        for source in &self.sources {
            let fresh = || source.running.outlet.newest().filter(|p| now.saturating_sub(p.at) < STALE);
            match source.running.kind {
                SourceKind::Test => self.composer.card(ms),
                SourceKind::Screen { .. } => self.composer.screen(fresh())?,
                _ => {}
            }
        }
        for source in self.sources.iter().filter(|s| s.running.kind.is_camera()) {
            let fresh = source.running.outlet.newest().filter(|p| now.saturating_sub(p.at) < STALE);
            self.composer.camera(fresh.as_deref())?;
        }
        Ok(())
    }

    /// Takes in what has arrived and encodes sound up to a position.
    fn sound(&mut self, until: i64) -> anyhow::Result<()> {
        let mut test = false;
        for n in 0..self.sources.len() {
            test |= matches!(self.sources[n].running.kind, SourceKind::Test);
            for block in self.sources[n].running.outlet.blocks() {
                self.sources[n].last_heard = clock::mono();
                let position = self.position(block.at);
                // Sound from before the start, or from a pause, has no place in the take.
                if position + block.bytes.len() as i64 / 4 > self.sound_at {
                    self.timeline.push(position, &block.bytes)?;
                }
            }
        }
        let mut frames = [[0.0f32; 2]; SOUND_FRAME];
        while self.sound_at + SOUND_FRAME as i64 <= until {
            if test {
                for (n, frame) in frames.iter_mut().enumerate() {
                    *frame = card::tone(self.sound_at + n as i64);
                }
            } else {
                self.timeline.take(self.sound_at, &mut frames);
            }
            self.audio.encode(self.sound_at, &frames, &mut self.mux)?;
            if let Some(reading) = self.meter.push(&frames) {
                let ms = u64::try_from(self.sound_at).unwrap_or(0) * 1000 / u64::from(RATE);
                let silent = reading.rms_dbfs <= SILENT_DBFS;
                let change = notice(&mut self.watch.silent_since, &mut self.watch.silent, silent, ms);
                self.tell(FindingKind::Silent, change)?;
                if self.link.speaker.heard() {
                    let (peak_dbfs, rms_dbfs) = (reading.peak_dbfs, reading.rms_dbfs);
                    self.link.speaker.say(&Event::Level { peak_dbfs, rms_dbfs });
                }
            }
            self.sound_at += SOUND_FRAME as i64;
        }
        Ok(())
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
            let change = notice(&mut self.watch.black_since, &mut self.watch.black, black, at_ms);
            self.tell(FindingKind::Black, change)?;
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
            let last = match source.running.kind {
                SourceKind::Test => continue,
                SourceKind::Microphone { .. } => source.last_heard,
                _ => source.running.outlet.newest().map_or(source.last_heard, |p| p.at),
            };
            let lost = now.saturating_sub(last) > STALE;
            if lost == source.gap {
                continue;
            }
            source.gap = lost;
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

    fn tell(&mut self, kind: FindingKind, change: Option<Change>) -> anyhow::Result<()> {
        let (fact, event) = match change {
            None => return Ok(()),
            Some(Change::Began(from_ms)) => {
                (Fact::FindingOpened { kind, from_ms }, Event::FindingOpened { kind, from_ms })
            }
            Some(Change::Ended(at_ms)) => {
                (Fact::FindingClosed { kind, at_ms }, Event::FindingClosed { kind, at_ms })
            }
        };
        self.take.fact(fact)?;
        self.link.speaker.say(&event);
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
            self.sound(self.position(clock::mono().saturating_sub(SOUND_LAG)).min(end))?;
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
        let bytes = self.mux.cut()?;
        self.take.fragment(bytes, at_ms)?;
        let stop = loop {
            if TERMINATED.load(Ordering::Relaxed) {
                break false;
            }
            match self.link.commands.recv_timeout(Duration::from_millis(20)) {
                Ok(Command::Stop) => break true,
                Ok(Command::Resume) => break false,
                Ok(Command::Preview { on }) => self.preview_wanted = on,
                Ok(Command::Pause) | Err(_) => {}
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
        self.timeline.reset(self.sound_at);
        for source in &mut self.sources {
            source.last_heard = source.last_heard.max(now);
        }
        self.watch.silent_since = None;
        self.watch.black_since = None;
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

enum Change {
    Began(u64),
    Ended(u64),
}

/// Follows one condition; speaks when it has held for [`WATCH_MS`], and when that is over.
fn notice(since: &mut Option<u64>, told: &mut bool, holds: bool, now_ms: u64) -> Option<Change> {
    if !holds {
        *since = None;
        return std::mem::take(told).then_some(Change::Ended(now_ms));
    }
    let began = *since.get_or_insert(now_ms);
    if !*told && now_ms.saturating_sub(began) >= WATCH_MS {
        *told = true;
        return Some(Change::Began(began));
    }
    None
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_speaks_once_after_ten_seconds_and_once_when_it_is_over() {
        let (mut since, mut told) = (None, false);
        let mut said = Vec::new();
        for ms in (0..30_000).step_by(100) {
            match notice(&mut since, &mut told, (5000..20_000).contains(&ms), ms) {
                Some(Change::Began(at)) => said.push(("began", at, ms)),
                Some(Change::Ended(at)) => said.push(("ended", at, ms)),
                None => {}
            }
        }
        assert_eq!(said, [("began", 5000, 15_000), ("ended", 20_000, 20_000)]);
    }
}
