//! A network camera's own pictures kept as they come: what of a core that takes. Beside it the ffmpeg command line
//! doing the same: `-c:v copy` of the camera, the microphone as AAC.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use lectern_tests::World;
use lectern_tests::process::output;
use lectern_tests::programs::Programs;
use lectern_tests::sound::MICROPHONE;
use serde_json::{Value, json};

use super::peer::{FPS, GOP_S, HEIGHT, MAX_KBPS, SOUND_KBPS, WIDTH};
use super::recording::{Rounds, Used, peer_process, recorder_process};
use super::table::{Bar, Row};
use super::{figure, median};

/// Measures; says on standard error how it goes and on standard output what was run.
///
/// # Errors
/// When either cannot record, or lost pictures.
pub fn measure(world: &World, programs: &Programs, rounds: Rounds) -> anyhow::Result<Vec<Row>> {
    let seconds = rounds.seconds;
    println!(
        "\nnetwork camera copied, 1280x720, {FPS} pictures a second; {} pairs of {seconds} s",
        rounds.pairs
    );
    println!("ours: lectern-recorder record, with this job: {}", job(world, Path::new("")));
    println!("peer: ffmpeg {}", arguments(world, seconds).join(" "));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for n in 1..=rounds.pairs {
        let folder = world.folder.make(&format!("bench-copy-{n}"))?;
        let used = recorder_process(world, programs, &job(world, &folder), seconds, &folder)?;
        ours.push(per_cent("lectern", n, used, &folder.join("take.mp4"), seconds)?);
        let file = folder.join("peer.mp4");
        let used = peer_process(world, arguments(world, seconds), seconds, &file)?;
        theirs.push(per_cent("ffmpeg", n, used, &file, seconds)?);
    }
    let row = |name: &str, values: &[(f64, f64)], which: fn(&(f64, f64)) -> f64| {
        (format!("network camera copied: {name}"), median(values.iter().map(which)))
    };
    let (name, cpu) = row("of a core", &ours, |v| v.0);
    let (peer_name, peer_cpu) = row("of a core, ffmpeg", &theirs, |v| v.0);
    println!("{peer_name}: {peer_cpu:.2} %");
    let (memory, mib) = row("most memory", &ours, |v| v.1);
    let (_, peer_mib) = row("", &theirs, |v| v.1);
    Ok(vec![
        Row { name, ours: cpu, peer: None, unit: "%", bar: Bar::AtMost(3.0) },
        Row { name: memory, ours: mib, peer: Some(peer_mib), unit: "MiB", bar: Bar::AtMost(1.0) },
    ])
}

/// Per cent of a core over the recorded time, and the most memory, MiB.
fn per_cent(who: &str, n: u32, used: Used, file: &Path, seconds: u32) -> anyhow::Result<(f64, f64)> {
    let mut probe = Command::new("ffprobe");
    probe.args(
        "-v error -select_streams v:0 -count_packets -of csv=p=0 -show_entries stream=nb_read_packets"
            .split(' '),
    );
    probe.arg(file);
    let count = String::from_utf8_lossy(&output(probe)?).into_owned();
    let pictures: u32 = count.trim().trim_end_matches(',').parse().context("no pictures were counted")?;
    ensure!(pictures >= (seconds - 2) * FPS, "{who} kept {pictures} pictures in {seconds} s");
    let length = f64::from(pictures) / f64::from(FPS);
    let (part, mib) = (used.cpu_s / length * 100.0, figure(used.peak_kib) / 1024.0);
    eprintln!("  copy {n}: {who:<7} {:.2} s for {length:.2} s: {part:.2} %, {mib:.0} MiB", used.cpu_s);
    Ok((part, mib))
}

fn job(world: &World, folder: &Path) -> Value {
    let path = |name: &str| folder.join(name);
    json!({
        "lesson_id": "20260101-000000-00", "take": 1, "max_minutes": 10,
        "take_path": path("take.mp4"), "journal_path": path("take.jsonl"), "socket_path": path("socket"),
        "capture": {
            "layout": "camera", "copy_camera": true,
            "sources": [
                { "name": "microphone", "kind": "microphone", "device": MICROPHONE },
                { "name": "camera", "kind": "network_camera", "url": world.camera.url() },
            ],
            "video": { "width": WIDTH, "height": HEIGHT, "fps": FPS, "max_kbps": MAX_KBPS, "gop_s": GOP_S },
            "audio": { "kbps": SOUND_KBPS },
        },
    })
}

fn arguments(world: &World, seconds: u32) -> Vec<String> {
    let line = format!(
        "-hide_banner -nostdin -loglevel error -y -thread_queue_size 512 -rtsp_transport tcp -timeout 5000000 -i {} \
         -thread_queue_size 512 -f pulse -sample_rate 48000 -channels 2 -fragment_size 3840 -i {MICROPHONE} \
         -map 0:v -map 1:a -af aresample=async=1 -c:v copy -c:a aac -b:a {SOUND_KBPS}k -ar 48000 -ac 2 \
         -movflags +empty_moov+default_base_moof -frag_duration 1000000 -t {seconds}",
        world.camera.url()
    );
    line.split_whitespace().map(ToOwned::to_owned).collect()
}
