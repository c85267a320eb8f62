//! Tries the encoders with real pictures, each in a process of its own: a driver that hangs or crashes takes
//! nothing with it.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use ffmpeg_next::{Packet, Rational, codec, format, frame};
use lectern_base::clock;
use lectern_wire::capture::{Encoder, EncoderReport, VideoSettings};
use lectern_wire::preflight::{EncoderCheck, EncoderState};

use super::picture::needs;
use super::{Packets, Video, nothing_more};
use crate::av::Area;
use crate::card;

/// How long one encoder may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Pictures sent to each; the second half begins with a key frame that was asked for.
const PICTURES: i64 = 20;
/// What is asked for: the master profile.
const SETTINGS: VideoSettings =
    VideoSettings { width: 1920, height: 1080, fps: 25, max_kbps: 4000, gop_s: 2, encoder: None };

/// How long the processor's own may take before a lesson: a busy machine is no broken driver.
const PATIENCE: Duration = Duration::from_secs(9);

/// Tries all, best first.
pub fn all() -> anyhow::Result<Vec<EncoderReport>> {
    Ok(each(&Encoder::NAMES)?.collect())
}

/// Tries those that are hardware, best first, as far as the first that works. The processor's own takes their place
/// whatever would be found out of it, and to try it costs a slow machine seconds just when it starts.
pub fn hardware() -> anyhow::Result<Vec<EncoderReport>> {
    let [hardware @ .., (Encoder::Libx264, _)] = &Encoder::NAMES else { bail!("libx264 is not the last") };
    let mut tried = Vec::new();
    for report in each(hardware)? {
        let works = report.fault.is_none();
        tried.push(report);
        if works {
            break;
        }
    }
    Ok(tried)
}

fn each(named: &[(Encoder, &'static str)]) -> anyhow::Result<impl Iterator<Item = EncoderReport>> {
    let program = std::env::current_exe().context("this program cannot find itself")?;
    Ok(named.iter().map(move |(encoder, name)| {
        let mut command = Command::new(&program);
        command.args(["encoders", "--only", name]);
        // Without its device no process need be started.
        let fault = match needs(*encoder) {
            Ok(()) => within(command, LIMIT).err(),
            Err(e) => Some(e.to_string()),
        };
        EncoderReport { encoder: *encoder, fault }
    }))
}

/// Tries what a lesson is to be encoded with, by its own settings; where that fails, libx264 takes its place.
pub fn before_lesson(video: VideoSettings) -> EncoderCheck {
    let began = clock::mono();
    let encoder = video.encoder.unwrap_or_default();
    let fault = in_child(encoder, video).err();
    let state = match &fault {
        None => EncoderState::Good,
        Some(_) if encoder != Encoder::Libx264 && in_child(Encoder::Libx264, video).is_ok() => {
            EncoderState::GivesWay
        }
        Some(_) => EncoderState::Failed,
    };
    let took_ms = u64::try_from((clock::mono() - began).as_millis()).unwrap_or(u64::MAX);
    EncoderCheck { encoder, state, problem: fault, took_ms }
}

fn in_child(encoder: Encoder, video: VideoSettings) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|e| format!("this program cannot find itself: {e}"))?;
    let video = serde_json::to_string(&video).map_err(|e| e.to_string())?;
    let mut command = Command::new(program);
    command.args(["encoders", "--only", encoder.name(), "--video", &video]);
    within(command, if encoder == Encoder::Libx264 { PATIENCE } else { LIMIT })
}

/// Runs a program that says nothing when all is well, and one sentence when it is not.
fn within(mut command: Command, limit: Duration) -> Result<(), String> {
    let start = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = start.map_err(|e| format!("it could not be tried: {e}"))?;
    let give_up = clock::mono() + limit;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if clock::mono() < give_up => std::thread::sleep(Duration::from_millis(10)),
            Ok(None) => {
                // Not waited for: a process inside a hung driver may never end.
                return match child.kill() {
                    Ok(()) => Err(format!("its driver did not answer within {} s", limit.as_secs_f32())),
                    Err(e) => Err(format!("its driver did not answer and could not be ended: {e}")),
                };
            }
            Err(e) => return Err(format!("it could not be tried: {e}")),
        }
    };
    let mut said = String::new();
    if let Some(mut pipe) = child.stdout.take()
        && let Err(e) = pipe.read_to_string(&mut said)
    {
        return Err(format!("what it said could not be read: {e}"));
    }
    match said.trim() {
        "" if status.success() => Ok(()),
        "" => Err(format!("its driver broke off: {status}")),
        said => Err(said.to_owned()),
    }
}

/// Tries one here and now: pictures in, packets out, and the packets decoded back must show those pictures. By the
/// settings of a lesson or, without them, by those of the master profile.
pub fn one(encoder: Encoder, settings: Option<VideoSettings>) -> anyhow::Result<()> {
    let settings = settings.unwrap_or(SETTINGS);
    let mut video = Video::open(encoder, settings)?;
    let mut canvas = frame::Video::new(format::Pixel::YUV420P, settings.width, settings.height);
    card::black(&mut canvas, Area { x: 0, y: 0, width: settings.width, height: settings.height });
    card::background(&mut canvas);
    let mut kept = Kept(Vec::new());
    for tick in 0..PICTURES {
        card::moving(&mut canvas, u64::try_from(tick)? * 1000);
        video.encode(&mut canvas, tick, tick % (PICTURES / 2) == 0, &mut kept)?;
    }
    let before_the_end = kept.0.len();
    video.end(&mut kept)?;
    let count = i64::try_from(kept.0.len())?;
    ensure!(count == PICTURES, "{PICTURES} pictures went in and {count} came out");
    ensure!(before_the_end > 0, "it gives nothing before its end, which a recording cannot wait for");
    let keys: Vec<_> = kept.0.iter().filter(|p| p.is_key()).filter_map(Packet::pts).collect();
    ensure!(keys.contains(&0) && keys.contains(&(PICTURES / 2)), "it makes no key frame when asked to");
    seen(&video, &kept.0, &canvas)
}

/// Decodes the packets; the last picture must be as light as the last canvas, place by place.
fn seen(video: &Video, packets: &[Packet], canvas: &frame::Video) -> anyhow::Result<()> {
    let mut decoder = codec::context::Context::from_parameters(video.parameters())?.decoder().video()?;
    let (mut picture, mut count) = (frame::Video::empty(), 0);
    for packet in packets.iter().map(Some).chain([None]) {
        let sent = match packet {
            Some(packet) => decoder.send_packet(packet),
            None => decoder.send_eof(),
        };
        sent.context("a picture it made cannot be decoded")?;
        loop {
            let mut next = frame::Video::empty();
            match decoder.receive_frame(&mut next) {
                Ok(()) => (picture, count) = (next, count + 1),
                Err(e) => break nothing_more(e, "a picture it made cannot be decoded")?,
            }
        }
    }
    ensure!(count == PICTURES, "of {PICTURES} pictures it made {count} can be decoded");
    let shape = (picture.width(), picture.height());
    ensure!(shape == (canvas.width(), canvas.height()), "its pictures are {}x{}", shape.0, shape.1);
    let light = |frame: &frame::Video, x: u32, y: u32| {
        let (x, y) = (frame.width() * (2 * x + 1) / 16, frame.height() * (2 * y + 1) / 16);
        let row = frame.data(0).get(y as usize * frame.stride(0) + x as usize..).unwrap_or_default();
        row.iter().take(8).map(|&l| i32::from(l)).sum::<i32>() / 8
    };
    for (x, y) in (0..8).flat_map(|x| (0..8).map(move |y| (x, y))) {
        let (is, was) = (light(&picture, x, y), light(canvas, x, y));
        ensure!((is - was).abs() <= 24, "its pictures are not those it was given");
    }
    Ok(())
}

/// Keeps packets.
struct Kept(Vec<Packet>);

impl Packets for Kept {
    fn video(&mut self, packet: Packet, _base: Rational) -> anyhow::Result<()> {
        self.0.push(packet);
        Ok(())
    }
    fn audio(&mut self, _packet: Packet, _base: Rational) -> anyhow::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_hangs_crashes_or_complains_is_told_apart() {
        let run = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            within(command, Duration::from_secs(5))
        };
        assert_eq!(run("exit 0"), Ok(()));
        assert_eq!(run("echo no card; exit 1"), Err("no card".into()));
        assert!(run("kill -SEGV $$").expect_err("crash").starts_with("its driver broke off: signal"));
        assert_eq!(run("exec sleep 60"), Err("its driver did not answer within 5 s".into()));
    }

    #[test]
    fn libx264_passes_its_own_trial() {
        crate::av::start();
        one(Encoder::Libx264, None).expect("libx264 works everywhere");
    }
}
