//! A microphone whose crystal is 100 ppm off, for a long lesson, faster than real time.
//!
//! The device is simulated, with what PulseAudio does to it: blocks of 20 ms, read late and unevenly. From there
//! on everything is the recorder's own: stamps, timeline, mixing, encoders, muxer. Flashes and clicks are made at
//! the same instants and looked for in the file with the ffmpeg command line.
//! `LECTERN_DRIFT_MINUTES` sets how long; `make soak` takes 90.

use std::io::Write as _;
use std::time::Duration;

use ffmpeg_next::{format::Pixel, frame};
use lectern_tests::clap;
use lectern_wire::capture::{AudioSettings, VideoSettings};

use crate::av::RATE;
use crate::encode::{Audio, SOUND_FRAME, Video};
use crate::mixer::{SILENT_START, SOUND_LAG};
use crate::output::Output;
use crate::session::COMPOSE_AFTER;
use crate::sound::Timeline;
use crate::source::Stamps;
use crate::ticks::Ticks;

const FPS: u32 = 25;
const BLOCK: u64 = 960;
/// Where the simulated monotonic clock begins.
const BOOT: Duration = Duration::from_secs(1000);
const WALL_US: i64 = 1_790_000_000_000_000;

/// Instants of the claps, seconds from the start: every 7 s, on all phases of the picture clock.
fn claps(minutes: u32) -> Vec<f64> {
    let count = minutes * 60 / 7;
    (1..count).map(|n| f64::from(n) * 7.0 + f64::from(n * 13 % 40) / 1e3).collect()
}

/// A crystal that is `ppm` fast hears the claps.
struct Device {
    rate: f64,
    read: u64,
}

impl Device {
    /// When a sample was captured, from the take's start.
    fn at(&self, sample: u64) -> Duration {
        Duration::from_secs_f64(sample as f64 / self.rate)
    }

    /// When the next block can be read: late, and never equally late.
    fn arrives(&self) -> Duration {
        let block = self.read / BLOCK;
        self.at(self.read + BLOCK) + Duration::from_micros(25_000 + block * 7919 % 15_000)
    }

    /// The next block: its libav stamp, which is a little wrong at the start, and its bytes.
    fn block(&mut self, claps: &[f64]) -> (Duration, Vec<u8>) {
        let from = self.at(self.read);
        let early_ms = 50u64.saturating_sub(7 * (self.read / BLOCK));
        let stamp = from.saturating_sub(Duration::from_millis(early_ms));
        let mut bytes = Vec::with_capacity(BLOCK as usize * 4);
        for sample in self.read..self.read + BLOCK {
            let t = sample as f64 / self.rate;
            // 20 ms of 1 kHz near full scale; its first sample is a clear edge.
            let since = claps.partition_point(|clap| *clap <= t).checked_sub(1).map(|n| t - claps[n]);
            let value = since.filter(|s| *s < 0.02).map_or(0.0, |s| (s * std::f64::consts::TAU * 1e3).cos());
            let value = ((value * 29_000.0) as i16).to_le_bytes();
            bytes.extend([value, value].concat());
        }
        self.read += BLOCK;
        (stamp, bytes)
    }
}

fn paint(canvas: &mut frame::Video, light: u8) {
    canvas.data_mut(0).fill(light);
    for plane in 1..3 {
        canvas.data_mut(plane).fill(128);
    }
}

/// How late the sound is against the picture in the first and in the last 40 claps, seconds.
fn sound_late(ppm: f64, minutes: u32) -> (f64, f64) {
    crate::av::start();
    let settings = VideoSettings { width: 160, height: 90, fps: FPS, max_kbps: 400, gop_s: 2, encoder: None };
    let mut video = Video::new(settings).expect("libx264");
    let mut audio = Audio::new(AudioSettings { kbps: 64 }).expect("AAC");
    let mut output = Output::new(video.parameters(), audio.parameters(), None).expect("a muxer");
    output.begin(0, FPS).expect("a take");
    let mut canvas = frame::Video::new(Pixel::YUV420P, settings.width, settings.height);
    let folder = lectern_tests::Folder::new().expect("a folder");
    let path = folder.join("take.mp4");
    let mut file = std::fs::File::create(&path).expect("a file");

    let claps = claps(minutes);
    let ticks = Ticks::new(FPS, BOOT);
    let mut device = Device { rate: f64::from(RATE) * (1.0 + ppm / 1e6), read: 0 };
    let (mut stamps, mut timeline) = (Stamps::default(), Timeline::new().expect("resampler"));
    let (mut sound_at, mut flash) = (0i64, 0);
    for tick in 0..i64::from(minutes * 60 * FPS) {
        let instant = Duration::from_micros(tick as u64 * 1_000_000 / u64::from(FPS));
        let now = instant + COMPOSE_AFTER;
        while device.arrives() <= now {
            let read = device.arrives();
            let (stamp, bytes) = device.block(&claps);
            let wall_us = |t: Duration| WALL_US + t.as_micros() as i64;
            let at = stamps.stamp(BOOT + read, wall_us(read), read.saturating_sub(stamp), BLOCK as usize);
            timeline.push(ticks.position(at), &bytes).expect("sound");
        }
        if tick % i64::from(FPS) == 3 {
            file.write_all(&output.cut().expect("a fragment")).expect("written");
        }
        let t = instant.as_secs_f64();
        flash += usize::from(claps.get(flash).is_some_and(|clap| *clap + 0.24 < t));
        let lit = claps.get(flash).is_some_and(|clap| (*clap..*clap + 0.24).contains(&t));
        paint(&mut canvas, if lit { 235 } else { 60 });
        video.encode(&mut canvas, tick, tick % 50 == 0, &mut output).expect("a picture");
        let until = ticks.position((BOOT + now).saturating_sub(SOUND_LAG)).max(SILENT_START);
        while sound_at + SOUND_FRAME as i64 <= until {
            let mut frames = [[0.0; 2]; SOUND_FRAME];
            timeline.mix(sound_at, 1.0, &mut frames);
            audio.encode(sound_at, &frames, &mut output).expect("sound");
            sound_at += SOUND_FRAME as i64;
        }
    }
    video.end(&mut output).expect("an end");
    audio.end(&mut output).expect("an end");
    file.write_all(&output.cut().expect("a fragment")).expect("written");
    drop(file);

    let found = clap::find(&path).expect("claps");
    assert!(found.len() + 1 >= claps.len(), "{} of {} claps were found", found.len(), claps.len());
    let ends = 40.min(found.len() / 2);
    let late = |claps: &[clap::Found]| clap::sound_late(claps).expect("claps").0;
    (late(&found[..ends]), late(&found[found.len() - ends..]))
}

#[test]
fn sound_and_picture_stay_together_when_their_clocks_are_100_ppm_apart() {
    let minutes = std::env::var("LECTERN_DRIFT_MINUTES").ok().and_then(|m| m.parse().ok()).unwrap_or(6);
    for ppm in [100.0, -100.0] {
        let (first, last) = sound_late(ppm, minutes);
        println!(
            "{ppm:+} ppm, {minutes} minutes: the sound is {:+.1} ms late at first, {:+.1} ms at the end; uncorrected it \
             would be {:.0} ms away",
            first * 1e3,
            last * 1e3,
            f64::from(minutes) * 60.0 * ppm / 1e3
        );
        assert!(first.abs() <= 0.040 && last.abs() <= 0.040, "{first} s, then {last} s");
    }
}
