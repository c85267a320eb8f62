//! What leaves the hub as a file for other programs: one standard MP4 of a lesson of two takes.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Browser, Console, Folder, Hub, Room, process};
use reqwest::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);

/// The hash of every decoded picture or of all decoded sound, as ffmpeg sees them.
fn decoded(file: &Path, what: &str) -> Vec<String> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i"]).arg(file).args(["-map", what, "-f", "framemd5", "-"]);
    let out = String::from_utf8(process::output(ffmpeg).unwrap()).unwrap();
    let lines = out.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit(',').next().unwrap().trim().to_owned()).collect()
}

/// The sound as a player places it by its times, 48 000 values a second; what is missing is silence.
fn sound(file: &Path) -> Vec<i16> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i"]).arg(file);
    ffmpeg.args(["-map", "0:a", "-af", "aresample=async=1:first_pts=0", "-ac", "1", "-f", "s16le", "-"]);
    let bytes = process::output(ffmpeg).unwrap();
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// When each picture is shown, seconds.
fn shown(file: &Path) -> Vec<f64> {
    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-select_streams", "v", "-show_entries", "packet=pts_time", "-of", "csv=p=0"]);
    let out = String::from_utf8(
        process::output({
            probe.arg(file);
            probe
        })
        .unwrap(),
    )
    .unwrap();
    out.lines().map(|line| line.trim_end_matches(',').parse().unwrap()).collect()
}

/// By how many samples the second take's sound lies off its picture in the joined file.
fn sound_off(joined: &Path, takes: &[std::path::PathBuf; 2]) -> i64 {
    // The encoder's delay: ffmpeg leaves it in the sound of a fragmented file, and passes over it in the joined one.
    const DELAY: usize = 1024;
    let first_pictures = shown(&takes[0]).len();
    let begins = (shown(joined)[first_pictures] * 48_000.0).round() as i64;
    let (whole, own) = (sound(joined), sound(&takes[1]));
    // Two seconds from the middle of its first three: the card's tone begins anew each second.
    let (from, length) = (24_000usize, 96_000usize);
    let difference = |off: i64| -> u64 {
        let at = usize::try_from(begins + off).unwrap() + from;
        let pairs = whole[at..at + length].iter().zip(&own[from + DELAY..]);
        pairs.step_by(7).map(|(a, b)| u64::from(a.abs_diff(*b))).sum()
    };
    (-2400..=2400).min_by_key(|off| (difference(*off), off.abs())).unwrap()
}

#[tokio::test]
async fn a_lesson_of_two_takes_is_one_standard_mp4_with_every_picture_of_both() {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password).unwrap();
    agent.press("start").unwrap();
    agent.wait_for_media(5000, PATIENCE).unwrap();
    for pid in agent.recorders(&folder) {
        kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    }
    agent.wait_for_media(10_000, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
    let lesson = status["lesson"]["id"].as_str().unwrap().to_owned();
    let takes = [1, 2].map(|n| hub.lesson_folder(&lesson).join(format!("take-{n}.mp4")));

    let console = Console::admin(&hub).await.unwrap();
    let path = format!("/lessons/{lesson}/lesson.mp4");
    let answer = console.get(&format!("{path}?download=1")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let told: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
    let etag = answer.headers()["etag"].to_str().unwrap().to_owned();
    let whole = answer.bytes().await.unwrap();
    assert_eq!(whole.len(), told);
    let file = folder.join("lesson.mp4");
    std::fs::write(&file, &whole).unwrap();

    let mut probe = Command::new("ffprobe");
    let entries = ["-show_entries", "format=duration,format_name:stream=codec_name,nb_frames,start_time"];
    probe
        .args(["-v", "warning", "-of", "json"])
        .args(entries)
        .arg(&file)
        .stderr(std::process::Stdio::piped());
    let out = probe.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stderr), "", "ffprobe has nothing to complain of");
    let said: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let seconds: f64 = said["format"]["duration"].as_str().unwrap().parse().unwrap();
    assert!((10.0..40.0).contains(&seconds), "{said}");
    let pictures: Vec<String> = takes.iter().flat_map(|take| decoded(take, "0:v")).collect();
    assert_eq!(decoded(&file, "0:v"), pictures, "every decoded picture is the takes'");
    assert_eq!(said["streams"][0]["nb_frames"], pictures.len().to_string());

    let off = sound_off(&file, &takes);
    assert!(off.abs() <= 96, "the second take's sound is {off} samples off its picture, more than 2 ms");

    // In ranges it is the same file, with a name that proves it.
    for (from, to) in
        [(0, 99), (whole.len() / 2, whole.len() / 2 + 7000), (whole.len() - 10, whole.len() - 1)]
    {
        let request = console.request(Method::GET, &path).header("range", format!("bytes={from}-{to}"));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(answer.headers()["etag"].to_str().unwrap(), etag);
        assert_eq!(answer.bytes().await.unwrap(), whole[from..=to]);
    }
    let request = console.request(Method::GET, &path).header("if-none-match", &etag);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::NOT_MODIFIED);

    // Chromium plays it and seeks in it, as a plain file.
    let browser = Browser::start(&folder, "export").await.unwrap();
    browser.open(&hub.url()).await.unwrap();
    let login = format!("document.cookie = 'lectern={}'; return 1", console.token().unwrap());
    browser.run(&login).await.unwrap();
    let play = format!(
        "window.v = document.createElement('video'); v.muted = true; v.src = '{path}'; document.body.append(v); \
         v.play().catch(e => window.trouble = String(e)); return 1"
    );
    browser.run(&play).await.unwrap();
    let ask = async |script: &str| browser.run(&format!("return {script}")).await.unwrap();
    let mut at = 0.0;
    for _ in 0..100 {
        at = ask("v.currentTime").await.as_f64().unwrap_or(0.0);
        if at > 1.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(
        at > 1.0,
        "it plays: {}",
        ask("String(window.trouble) + ' ' + (v.error && v.error.message)").await
    );
    browser.run(&format!("v.currentTime = {}; return 1", seconds - 2.0)).await.unwrap();
    let mut seeked = json!(null);
    for _ in 0..100 {
        seeked = ask(&format!("!v.seeking && v.readyState >= 2 && v.currentTime >= {}", seconds - 2.1)).await;
        if seeked == json!(true) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(seeked, json!(true), "it seeks into the second take");
}
