//! Little space: a lesson that would not fit is refused with the reason, one that no longer fits is ended in
//! order, and nothing of it is lost.
//!
//! Needs a small file system of its own; where none may be mounted the tests say so and do nothing.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Folder, Hub, Room};

const PATIENCE: Duration = Duration::from_secs(60);

/// A small file system, unmounted on drop.
struct Small(PathBuf);

impl Small {
    fn mount(path: &Path, mib: u32) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let size = format!("size={mib}m");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).output();
        if !done.is_ok_and(|out| out.status.success()) {
            println!("SKIPPED: no file system may be mounted here");
            return None;
        }
        Some(Self(path.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: a process that is just being ended may still hold a file.
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

fn line(folder: &Folder, reserve_minutes: u32) -> (Hub, Agent) {
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(folder, &programs).unwrap();
    let mut room = Room::card();
    room.recording += &format!("reserve_minutes = {reserve_minutes}\n");
    let agent = Agent::start(folder, &programs, &room, &hub, &password).unwrap();
    (hub, agent)
}

#[test]
fn a_lesson_that_would_not_fit_is_refused_with_the_reason() {
    let folder = Folder::new().unwrap();
    let Some(_small) = Small::mount(&folder.join("agent"), 100) else { return };
    let (_hub, agent) = line(&folder, 10);
    let said = agent.lectern(&["record", "start"]).unwrap_err().to_string();
    assert!(said.contains("ended with 3") && said.contains("minutes of recording fit"), "{said}");
    assert_eq!(agent.lectern(&["lessons"]).unwrap().0, serde_json::json!([]));
}

#[test]
fn a_lesson_is_ended_in_order_before_the_disk_is_full() {
    let folder = Folder::new().unwrap();
    let Some(_small) = Small::mount(&folder.join("agent"), 200) else { return };
    let (hub, agent) = line(&folder, 1);
    agent.press("start").unwrap();
    agent.wait_for_media(4000, PATIENCE).unwrap();
    // Somebody else fills the disk: less than two minutes are left.
    std::fs::write(folder.join("agent/somebody-elses"), vec![1; 150 << 20]).unwrap();
    let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
    assert_eq!(status["lesson"]["cut_short"], "disk_full");
    let lesson = status["lesson"]["id"].as_str().unwrap();
    let report = agent.verify(&hub.lesson_folder(lesson)).unwrap();
    assert!(report["sound"] == true && report["duration_ms"].as_u64().unwrap() >= 4000, "{report:#}");
}

#[test]
fn a_disk_that_is_full_at_once_loses_at_most_the_open_fragment() {
    let folder = Folder::new().unwrap();
    let Some(_small) = Small::mount(&folder.join("agent"), 200) else { return };
    let (hub, agent) = line(&folder, 1);
    agent.press("start").unwrap();
    let before = agent.wait_for_media(4000, PATIENCE).unwrap()["lesson"]["media_ms"].as_u64().unwrap();
    // To the last byte, between two looks at the disk.
    let filler = folder.join("agent/somebody-elses");
    Command::new("dd")
        .args(["if=/dev/zero", "bs=64k"])
        .arg(format!("of={}", filler.display()))
        .output()
        .unwrap();
    std::thread::sleep(Duration::from_secs(4));
    std::fs::remove_file(&filler).unwrap();
    agent.wait_for(&["recording", "sealed", "stored"], PATIENCE).unwrap();
    // The lesson either went on in its next take or was ended; both are whole.
    let state = agent.status().unwrap()["lesson"]["state"].as_str().unwrap().to_owned();
    if state == "recording" {
        agent.press("stop").unwrap();
    }
    let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
    let report = agent.verify(&hub.lesson_folder(status["lesson"]["id"].as_str().unwrap())).unwrap();
    assert_eq!(report["sound"], true, "{report:#}");
    assert!(report["duration_ms"].as_u64().unwrap() >= before, "{before} ms were durable: {report:#}");
}
