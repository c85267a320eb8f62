//! A network camera's own pictures kept as they come, alone and with a microphone: what of a core that takes. Beside
//! it the ffmpeg command line doing the same: `-c:v copy` of the camera, the microphone as AAC.

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
    let mut rows = Vec::new();
    for heard in [false, true] {
        rows.extend(one(world, programs, rounds, heard)?);
    }
    Ok(rows)
}

fn one(world: &World, programs: &Programs, rounds: Rounds, heard: bool) -> anyhow::Result<Vec<Row>> {
    let seconds = rounds.seconds;
    let name = if heard { "network camera copied, microphone" } else { "network camera copied" };
    println!("\n{name}, 1280x720, {FPS} pictures a second; {} pairs of {seconds} s", rounds.pairs);
    println!("ours: lectern-recorder record, with this job: {}", job(world, Path::new(""), heard));
    println!("peer: ffmpeg {}", arguments(world, seconds, heard).join(" "));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for n in 1..=rounds.pairs {
        let folder = world.folder.make(&format!("bench-copy-{heard}-{n}"))?;
        let used = recorder_process(world, programs, &job(world, &folder, heard), seconds, &folder)?;
        ours.push(per_cent("lectern", n, used, &folder.join("take.mp4"), seconds)?);
        let file = folder.join("peer.mp4");
        let used = peer_process(world, arguments(world, seconds, heard), seconds, &file)?;
        theirs.push(per_cent("ffmpeg", n, used, &file, seconds)?);
    }
    let row = |what: &str, which: fn(&(f64, f64)) -> f64, unit, bar| {
        let (ours, peer) = (median(ours.iter().map(which)), median(theirs.iter().map(which)));
        Row { name: format!("{name}: {what}"), ours, peer: Some(peer), unit, bar }
    };
    let mut rows = vec![
        row("of a core, beside ffmpeg", |v| v.0, "%", Bar::AtMost(1.0)),
        row("most memory", |v| v.1, "MiB", Bar::AtMost(1.0)),
    ];
    if !heard {
        let cpu = median(ours.iter().map(|v| v.0));
        let bar = Bar::AtMost(3.0);
        rows.push(Row { name: format!("{name}: of a core"), ours: cpu, peer: None, unit: "%", bar });
    }
    Ok(rows)
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

fn job(world: &World, folder: &Path, heard: bool) -> Value {
    let path = |name: &str| folder.join(name);
    let mut sources = vec![json!({ "name": "camera", "kind": "network_camera", "url": world.camera.url() })];
    if heard {
        sources.push(json!({ "name": "microphone", "kind": "microphone", "device": MICROPHONE }));
    }
    json!({
        "lesson_id": "20260101-000000-00", "take": 1, "max_minutes": 10,
        "take_path": path("take.mp4"), "journal_path": path("take.jsonl"), "socket_path": path("socket"),
        "capture": {
            "layout": "camera", "copy_camera": true,
            "sources": sources,
            "video": { "width": WIDTH, "height": HEIGHT, "fps": FPS, "max_kbps": MAX_KBPS, "gop_s": GOP_S },
            "audio": { "kbps": SOUND_KBPS },
        },
    })
}

fn arguments(world: &World, seconds: u32, heard: bool) -> Vec<String> {
    let (microphone, sound) = if heard {
        (
            format!(
                "-thread_queue_size 512 -f pulse -sample_rate 48000 -channels 2 -fragment_size 3840 -i {MICROPHONE}"
            ),
            format!(
                "-map 1:a -af aresample=async=1 -c:a aac -aac_coder fast -b:a {SOUND_KBPS}k -ar 48000 -ac 2"
            ),
        )
    } else {
        (String::new(), String::new())
    };
    let line = format!(
        "-hide_banner -nostdin -loglevel error -y -thread_queue_size 512 -rtsp_transport tcp -timeout 5000000 -i {} \
         {microphone} -map 0:v -c:v copy {sound} \
         -movflags +empty_moov+default_base_moof -frag_duration 1000000 -t {seconds}",
        world.camera.url()
    );
    line.split_whitespace().map(ToOwned::to_owned).collect()
}
