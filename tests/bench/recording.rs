//! The recorder against the ffmpeg command line: processor time, memory, and the pictures each kept.
//!
//! They take turns (ours, ffmpeg, ours, …) so that a slow minute of the machine strikes both. Processor time
//! is that of the whole process from its start to its end, user and system, told per 500 pictures it wrote (20 s),
//! so that nobody gains by leaving pictures out. A file counts only when its slides can be read, its teacher heard, and x264 was given the same settings.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use lectern_base::clock;
use lectern_tests::grab::{self, Frame};
use lectern_tests::process::output;
use lectern_tests::programs::Programs;
use lectern_tests::slides::Marker;
use lectern_tests::sound::MICROPHONE;
use lectern_tests::{Process, World, eventually};
use serde_json::{Value, json};

use super::peer::{self, FPS, GOP_S, HEIGHT, MAX_KBPS, SOUND_KBPS, WIDTH};
use super::table::{Bar, Row};
use super::{figure, median, usage};

/// Processor time is told for so many pictures.
const TOLD_PER: f64 = 500.0;
/// ffmpeg must keep this part of the pictures for a recording to count; it gets so many tries.
const KEPT: (f64, u32) = (0.97, 3);
/// Between two recordings: the camera ends when nobody watches, the disk comes to rest.
const PAUSE: Duration = Duration::from_secs(2);

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Rounds {
    /// Recordings of each.
    pub pairs: u32,
    /// Length of each, seconds.
    pub seconds: u32,
}

/// One recording and what it took.
#[derive(Debug)]
struct Run {
    /// Processor seconds, whole life.
    cpu_s: f64,
    /// Most memory ever held.
    peak_kib: u64,
    /// Pictures in the file.
    pictures: u32,
    /// From the first picture to the end of the last.
    picture_s: f64,
    /// What x264 says it was given.
    settings: String,
}

/// What a process took in all.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    /// Processor seconds, whole life.
    pub cpu_s: f64,
    /// Most memory ever held, KiB.
    pub peak_kib: u64,
}

impl Run {
    fn of(file: &Path, Used { cpu_s, peak_kib }: Used) -> anyhow::Result<Self> {
        let path = file.to_str().context("a path that is no text")?;
        let mut probe = Command::new("ffprobe");
        probe.args("-v error -select_streams v:0 -of csv=p=0 -show_entries packet=pts_time".split(' '));
        probe.arg(path);
        let times = String::from_utf8_lossy(&output(probe)?).into_owned();
        let times: Vec<f64> = times.lines().filter_map(|t| t.trim_end_matches(',').parse().ok()).collect();
        let (first, last) = times.first().zip(times.last()).context("no picture was written")?;
        let frame = Frame::of_file(file, Duration::from_secs(3))?;
        ensure!(Marker::read(&frame).is_some(), "{path}: no slide can be read at 3 s");
        let loudness = grab::loudness(&grab::sound(file)?);
        ensure!(loudness > -45.0, "{path}: nobody can be heard ({loudness:.0} dBFS)");
        Ok(Self {
            cpu_s,
            peak_kib,
            pictures: u32::try_from(times.len())?,
            picture_s: last - first + 1.0 / f64::from(FPS),
            settings: x264_settings(&std::fs::read(file)?).context("no words of x264 in the file")?,
        })
    }

    fn cpu(&self) -> f64 {
        self.cpu_s * TOLD_PER / f64::from(self.pictures)
    }

    fn rate(&self) -> f64 {
        f64::from(self.pictures) / self.picture_s
    }
}

/// x264 writes its settings as text into the first picture.
fn x264_settings(file: &[u8]) -> Option<String> {
    let start = file.windows(9).position(|w| w == b"options: ")? + 9;
    let text = file.get(start..)?.split(|&b| b == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// Measures one layout; says on standard error how it goes and on standard output what was run.
///
/// # Errors
/// When either cannot record, or they did not do the same work.
pub fn measure(
    world: &World,
    programs: &Programs,
    with_camera: bool,
    rounds: Rounds,
) -> anyhow::Result<Vec<Row>> {
    let scene = if with_camera { "screen+camera" } else { "screen only" };
    println!(
        "\n{scene} {WIDTH}x{HEIGHT}, {FPS} pictures a second, sound {SOUND_KBPS} kbit/s; {} pairs of {} s",
        rounds.pairs, rounds.seconds
    );
    println!("ours: lectern-recorder record, with this job: {}", job(world, with_camera, Path::new("")));
    println!("peer: ffmpeg {}", peer::arguments(world, with_camera, rounds.seconds).join(" "));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for n in 1..=rounds.pairs {
        let folder =
            world.folder.make(&format!("bench-{}-{n}", if with_camera { "camera" } else { "screen" }))?;
        let tell = |who: &str, run: &Run| {
            let (cpu, s) = (run.cpu_s, run.picture_s);
            let (pictures, mib) = (run.pictures, run.peak_kib / 1024);
            eprintln!("  {scene} {n}: {who:<7} {cpu:.2} s for {s:.2} s, {pictures} pictures, {mib} MiB");
        };
        let run =
            ours_once(world, programs, with_camera, rounds.seconds, &folder).context("lectern-recorder")?;
        tell("lectern", &run);
        ours.push(run);
        std::thread::sleep(PAUSE);
        let run = peer_with_all_pictures(world, with_camera, rounds.seconds, &folder).context("ffmpeg")?;
        tell("ffmpeg", &run);
        theirs.push(run);
        std::thread::sleep(PAUSE);
    }
    if let (Some(a), Some(b)) = (ours.first(), theirs.first()) {
        println!("x264: {}", a.settings);
        ensure!(a.settings == b.settings, "ffmpeg's x264 was given other settings: {}", b.settings);
    }
    let row = |name: &str, unit, bar, of: fn(&Run) -> f64| Row {
        name: format!("{scene}: {name}"),
        ours: median(ours.iter().map(of)),
        peer: Some(median(theirs.iter().map(of))),
        unit,
        bar,
    };
    Ok(vec![
        row("processor time per 500 pictures", "s", Bar::AtMost(1.0), Run::cpu),
        row("most memory", "MiB", Bar::AtMost(1.0), |run| figure(run.peak_kib) / 1024.0),
        row("pictures kept per second", "1/s", Bar::AtLeast(0.99), Run::rate),
    ])
}

fn job(world: &World, with_camera: bool, folder: &Path) -> Value {
    let path = |name: &str| folder.join(name);
    let mut sources = vec![
        json!({ "name": "screen", "kind": "screen", "display": world.screen.display() }),
        json!({ "name": "microphone", "kind": "microphone", "device": MICROPHONE }),
    ];
    if with_camera {
        sources.push(json!({ "name": "camera", "kind": "network_camera", "url": world.camera.url() }));
    }
    json!({
        "lesson_id": "20260101-000000-00", "take": 1, "max_minutes": 10,
        "take_path": path("take.mp4"), "journal_path": path("take.jsonl"), "socket_path": path("socket"),
        "capture": {
            "layout": if with_camera { "screen_camera" } else { "screen" },
            "sources": sources,
            "video": { "width": WIDTH, "height": HEIGHT, "fps": FPS, "max_kbps": MAX_KBPS, "gop_s": GOP_S },
            "audio": { "kbps": SOUND_KBPS },
        },
    })
}

/// Records with the recorder as the daemon does: listens to everything it says, then tells it to stop.
fn ours_once(
    world: &World,
    programs: &Programs,
    with_camera: bool,
    seconds: u32,
    folder: &Path,
) -> anyhow::Result<Run> {
    let used = recorder_process(world, programs, &job(world, with_camera, folder), seconds, folder)?;
    Run::of(&folder.join("take.mp4"), used)
}

/// Does a job whose files and socket are in the folder, as the daemon has it done.
///
/// # Errors
/// When the recorder fails or a source is lost.
pub fn recorder_process(
    world: &World,
    programs: &Programs,
    job: &Value,
    seconds: u32,
    folder: &Path,
) -> anyhow::Result<Used> {
    let mut command = Command::new(&programs.recorder);
    command.arg("record").envs(world.env());
    let (mut process, mut pipe) = Process::start_fed(&world.folder, "bench-recorder", command)?;
    writeln!(pipe, "{job}")?;
    drop(pipe);
    let socket = folder.join("socket");
    let link =
        eventually(Duration::from_secs(10), "the recorder's socket", || UnixStream::connect(&socket).ok());
    let link = link.with_context(|| process.tail_of_log())?;
    link.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (mut peak, mut told) = (0, false);
    for line in BufReader::new(&link).lines() {
        let event: Value = serde_json::from_str(&line.with_context(|| process.tail_of_log())?)?;
        // Its loudness comes ten times a second, so the peak is seen as often as ffmpeg's.
        peak = usage::peak_kib(process.pid()).unwrap_or(peak);
        match event["event"].as_str() {
            Some("durable") if !told && event["media_ms"].as_u64() >= Some(u64::from(seconds) * 1000) => {
                writeln!(&link, r#"{{"command":"stop"}}"#)?;
                told = true;
            }
            Some("gap_opened" | "fatal") => bail!("{event}"),
            Some("stopped") => break,
            _ => {}
        }
    }
    until_ended(&mut process, peak)
}

/// Tries again when ffmpeg lost pictures: per picture its fixed costs would then weigh too much.
fn peer_with_all_pictures(
    world: &World,
    with_camera: bool,
    seconds: u32,
    folder: &Path,
) -> anyhow::Result<Run> {
    let (part, tries) = KEPT;
    for _ in 0..tries {
        let run = peer_once(world, with_camera, seconds, folder)?;
        if run.rate() >= part * f64::from(FPS) {
            return Ok(run);
        }
        eprintln!("  ffmpeg lost pictures ({:.1} a second); again", run.rate());
        std::thread::sleep(PAUSE);
    }
    bail!("lost pictures {tries} times: the machine is too busy to compare on")
}

fn peer_once(world: &World, with_camera: bool, seconds: u32, folder: &Path) -> anyhow::Result<Run> {
    let file: PathBuf = folder.join("peer.mp4");
    let used = peer_process(world, peer::arguments(world, with_camera, seconds), seconds, &file)?;
    Run::of(&file, used)
}

/// Runs ffmpeg with these arguments into a file.
///
/// # Errors
/// When it fails or does not end.
pub fn peer_process(
    world: &World,
    arguments: Vec<String>,
    seconds: u32,
    file: &Path,
) -> anyhow::Result<Used> {
    let mut command = Command::new("ffmpeg");
    command.args(arguments).arg(file).envs(world.env());
    let mut process = Process::start(&world.folder, "bench-ffmpeg", command)?;
    let give_up = clock::mono() + Duration::from_secs(u64::from(seconds) + 30);
    let mut peak = 0;
    while !usage::processor(process.pid())?.ended {
        ensure!(clock::mono() < give_up, "still runs\n{}", process.tail_of_log());
        peak = usage::peak_kib(process.pid()).unwrap_or(peak);
        std::thread::sleep(Duration::from_millis(100));
    }
    until_ended(&mut process, peak)
}

/// Waits for the end, reads what the kernel counted, and only then asks how it ended.
fn until_ended(process: &mut Process, mut peak_kib: u64) -> anyhow::Result<Used> {
    let give_up = clock::mono() + Duration::from_secs(10);
    loop {
        peak_kib = usage::peak_kib(process.pid()).unwrap_or(peak_kib);
        let used = usage::processor(process.pid())?;
        if used.ended {
            let status = process.wait(Duration::from_secs(1))?;
            ensure!(status.success() && peak_kib > 0, "ended with {status}\n{}", process.tail_of_log());
            return Ok(Used { cpu_s: used.seconds, peak_kib });
        }
        ensure!(clock::mono() < give_up, "does not end\n{}", process.tail_of_log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_found_in_the_first_picture() {
        let file = b"moov\x05x264 - core 164 - options: cabac=0 ref=1 crf=23.0\x00\x80 options: no";
        assert_eq!(x264_settings(file).as_deref(), Some("cabac=0 ref=1 crf=23.0"));
        assert_eq!(x264_settings(b"nothing"), None);
    }
}
