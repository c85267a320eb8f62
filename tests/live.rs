//! 录课并直播: what is recorded is also sent to a live server, by the teacher's choice alone, and whatever becomes of that
//! server the recording is the same. Against real servers on the loopback address.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lectern_tests::browser::pictures;
use lectern_tests::live::{LiveServer, SECRET, Way};
use lectern_tests::process::output;
use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Browser, Folder, Hub, Room, eventually};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

struct Line {
    hub: Hub,
    agent: Agent,
    folder: Folder,
}

fn line(folder: Folder, server: &LiveServer) -> Line {
    let mut room = Room::card();
    room.sources += &format!("[live]\nurl = \"{}\"\n", server.url());
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, &room, &hub, &password).unwrap();
    Line { hub, agent, folder }
}

impl Line {
    fn wait(&self, states: &[&str]) {
        let mut last = Value::Null;
        let found = eventually(PATIENCE, &format!("live {states:?}"), || {
            last = self.agent.status().ok()?["live"].clone();
            states.contains(&last["state"].as_str()?).then_some(())
        });
        assert!(found.is_ok(), "it stood at {last}\n{}", self.agent.process.tail_of_log());
    }

    fn record_for(&self, ms: u64) {
        let so_far = self.agent.status().unwrap()["lesson"]["media_ms"].as_u64().unwrap();
        self.agent.wait_for_media(so_far + ms, PATIENCE).unwrap();
    }

    /// Stops; the only take, whole: no gap, no hole in picture or sound. Gives the states of going live.
    fn whole(&self) -> Vec<String> {
        self.agent.press("stop").unwrap();
        let status = self.agent.wait_for(&["stored"], PATIENCE).unwrap();
        let folder = self.hub.lesson_folder(status["lesson"]["id"].as_str().unwrap());
        assert_eq!(self.agent.verify(&folder).unwrap()["sound"], true);
        let text = std::fs::read(folder.join("manifest.json")).unwrap();
        let manifest: Value = serde_json::from_slice(&text).unwrap();
        let takes = manifest["document"]["takes"].as_array().unwrap();
        assert_eq!(takes.len(), 1, "the recording went on in one take");
        assert_eq!(takes[0]["gaps"].as_array().unwrap().len(), 0, "{}", takes[0]["gaps"]);
        let file = folder.join("take-1.mp4");
        let (pictures, sound) = (times(&file, "v"), times(&file, "a"));
        let hole = |times: &[f64]| times.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max);
        assert!(hole(&sound) < 0.022, "a hole of {:.3} s in the sound", hole(&sound));
        // A busy machine leaves out single pictures; a server that holds the recorder up would cost seconds.
        assert!(hole(&pictures) < 4.0, "a hole of {:.3} s in the picture", hole(&pictures));
        assert_eq!(self.agent.status().unwrap()["live"]["state"], "off", "nothing is sent after the lesson");
        let states = takes[0]["live"].as_array().unwrap().iter();
        states.map(|change| change["state"].as_str().unwrap().to_owned()).collect()
    }

    /// Neither a log nor a file of agent or hub holds the secret part of the address.
    fn keeps_the_secret(&self) {
        let mut files = vec![self.agent.process.log().to_owned(), self.hub.process.log().to_owned()];
        let mut folders = vec![self.agent.data.clone(), self.hub.data.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    files.push(entry.path());
                }
            }
        }
        assert!(files.len() > 6, "{files:?}");
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            let said = bytes.windows(SECRET.len()).any(|w| w == SECRET.as_bytes());
            assert!(!said, "{} holds the stream key", file.display());
        }
        let status = self.agent.status().unwrap().to_string();
        assert!(!status.contains(SECRET), "{status}");
    }
}

/// Seconds at which the packets of a stream (`v` or `a`) begin.
fn times(file: &Path, stream: &str) -> Vec<f64> {
    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-select_streams", stream, "-of", "csv=p=0"]);
    probe.args(["-show_entries", "packet=pts_time"]).arg(file);
    let text = String::from_utf8_lossy(&output(probe).unwrap()).into_owned();
    text.lines().filter_map(|t| t.trim_end_matches(',').parse().ok()).collect()
}

/// How many pictures, or frames of sound, of a file can be decoded; nothing may be damaged.
fn decoded(file: &Path, stream: &str) -> u64 {
    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-select_streams", stream, "-count_frames", "-of", "csv=p=0"]);
    probe.args(["-show_entries", "stream=nb_read_frames"]).arg(file);
    let out = probe.output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    said.trim().trim_end_matches(',').lines().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[test]
fn rtmp_srt_and_rtsp_servers_are_sent_the_lesson_and_the_stream_key_is_never_said() {
    for way in [Way::Rtmp, Way::Srt, Way::Rtsp] {
        let folder = Folder::new().unwrap();
        let mut server = LiveServer::new(&folder, way).unwrap();
        if way != Way::Rtsp {
            server.switch_on(&folder).unwrap();
        }
        let line = line(folder, &server);
        let press = |words: &[&str]| {
            let (said, code) = line.agent.lectern(&[&["record"], words].concat()).unwrap();
            assert_eq!(code, 0, "{words:?}: {said}");
        };
        press(&["start"]);
        line.agent.wait_for_media(1000, PATIENCE).unwrap();
        press(&["live", "on"]);
        line.wait(&["live", "slow"]);
        line.record_for(5000);
        press(&["live", "off"]);
        line.wait(&["off"]);
        let states = line.whole();
        assert_eq!(states[0], "connecting", "{way:?}: {states:?}");
        // A machine that is late is slow from the first moment on.
        assert!(states.iter().any(|s| s == "live" || s == "slow"), "{way:?}: {states:?}");
        // Its end is the server's end too; what it took is picture and sound that can be decoded.
        let [picture, sound] = server.files();
        let (pictures, frames) = eventually(PATIENCE, "what the server took", || {
            let (pictures, frames) = (decoded(&picture, "v"), decoded(&sound, "a"));
            (pictures >= 25 && frames >= 45).then_some((pictures, frames))
        })
        .unwrap_or_else(|e| {
            panic!(
                "{way:?}: {e:#}: {} bytes, {} pictures, {} frames",
                server.taken(),
                decoded(&picture, "v"),
                decoded(&sound, "a")
            )
        });
        println!("{way:?}: {pictures} pictures and {frames} frames of sound taken; {states:?}");
        line.keeps_the_secret();
    }
}

#[test]
fn a_live_server_that_is_late_frozen_or_killed_does_not_touch_the_take() {
    let folder = Folder::new().unwrap();
    let mut server = LiveServer::new(&folder, Way::Rtmp).unwrap();
    let line = line(folder, &server);
    // Never there so far.
    line.agent.lectern(&["record", "start", "--live"]).unwrap();
    line.wait(&["lost"]);
    line.record_for(2000);
    server.switch_on(&line.folder).unwrap();
    line.wait(&["live", "slow"]);
    line.record_for(3000);
    eventually(PATIENCE, "something that the server took", || (server.taken() > 0).then_some(())).unwrap();
    // Connected, but taking nothing any more.
    server.process.as_mut().unwrap().freeze();
    line.wait(&["lost"]);
    line.record_for(2000);
    server.process.as_mut().unwrap().thaw();
    server.switch_on(&line.folder).unwrap();
    line.wait(&["live", "slow"]);
    line.record_for(2000);
    server.process.as_mut().unwrap().kill();
    line.wait(&["lost"]);
    // It stays away to the end; so does nothing of the take.
    line.record_for(3000);
    let states = line.whole();
    assert!(states.iter().filter(|s| *s == "lost").count() >= 3, "{states:?}");
    let back = states.windows(2).filter(|pair| pair[0] != "slow" && (pair[1] == "live" || pair[1] == "slow"));
    assert!(back.count() >= 2, "{states:?}");
    line.keeps_the_secret();
}

#[tokio::test]
async fn a_teacher_chooses_to_go_live_sees_it_and_ends_it_while_the_lesson_goes_on() {
    let folder = Folder::new().unwrap();
    let mut server = LiveServer::new(&folder, Way::Rtmp).unwrap();
    server.switch_on(&folder).unwrap();
    let line = line(folder, &server);
    let browser = Browser::start(&line.folder, "live").await.unwrap();
    browser.open(&line.agent.page().unwrap()).await.unwrap();
    browser.wait_text("#do-startLive", "录课并直播", PATIENCE).await.unwrap();
    browser.screenshot(&pictures().unwrap().join("page-can-go-live.png")).await.unwrap();
    browser.click("#do-startLive").await.unwrap();
    browser.wait_text("#big", "正在录课", PATIENCE).await.unwrap();
    browser.wait_text("#live", "直播中", PATIENCE).await.unwrap();
    browser.screenshot(&pictures().unwrap().join("page-live.png")).await.unwrap();
    server.process.as_mut().unwrap().kill();
    browser.wait_text("#live", "直播断开，正在重连，录课不受影响", PATIENCE).await.unwrap();
    browser.screenshot(&pictures().unwrap().join("page-live-lost.png")).await.unwrap();
    browser.click("#do-liveOff").await.unwrap();
    line.wait(&["off"]);
    browser.wait_text("#do-liveOn", "开始直播", PATIENCE).await.unwrap();
    let shown = browser.run("return document.querySelector('#live').textContent").await.unwrap();
    assert_eq!(shown, "", "its sign is gone with it");
    line.record_for(1500);
    let states = line.whole();
    assert_eq!(states.last().map(String::as_str), Some("off"), "{states:?}");
    assert!(states.iter().any(|s| s == "lost"), "{states:?}");
    // Without the choice nothing is ever sent.
    server.switch_on(&line.folder).unwrap();
    line.agent.press("start").unwrap();
    line.agent.wait_for_media(3000, PATIENCE).unwrap();
    assert_eq!(line.agent.status().unwrap()["live"]["state"], "off");
    line.agent.press("stop").unwrap();
    line.agent.wait_for(&["stored"], PATIENCE).unwrap();
    assert_eq!(server.taken(), 0);
}
