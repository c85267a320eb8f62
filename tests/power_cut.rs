//! A power cut: the agent's folder is on ext4 in an image file; the image is copied while a lesson is being
//! recorded, which is what the disk would hold, and the copy is mounted and recovered.
//!
//! Needs to mount; where that is not allowed the tests say so and do nothing. `LECTERN_CUTS` sets how often.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lectern_base::{chance, clock};
use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Folder, Hub, Room};
use lectern_wire::fmp4::Scanner;
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(60);

/// A mounted image, unmounted on drop.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

fn done(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|out| out.status.success())
}

impl Disk {
    fn new(image: PathBuf, at: PathBuf) -> Option<Self> {
        std::fs::File::create(&image).unwrap().set_len(400 << 20).unwrap();
        assert!(done("mkfs.ext4", &["-q", &image.to_string_lossy()]), "mkfs.ext4 failed");
        Self::mount(image, at)
    }

    fn mount(image: PathBuf, at: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        if done("mount", &["-o", "loop", &image.to_string_lossy(), &at.to_string_lossy()]) {
            return Some(Self { image, at });
        }
        println!("SKIPPED: no image may be mounted here");
        None
    }

    /// What the disk holds at this instant; whoever writes to it stands still meanwhile.
    fn copy(&self, to: &Path, writers: &[u32]) {
        let signal = |signal: Signal| {
            for pid in writers {
                kill_process(Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap(), signal).unwrap();
            }
        };
        signal(Signal::STOP);
        let copied = done("cp", &["--sparse=always", &self.image.to_string_lossy(), &to.to_string_lossy()]);
        signal(Signal::CONT);
        assert!(copied);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.at).status().ok();
    }
}

fn playable_ms(take: &Path) -> u64 {
    let mut scanner = Scanner::default();
    let bytes = std::fs::read(take).unwrap_or_default();
    // Beyond what was synced a file may hold anything; what is whole before that counts.
    bytes.chunks(1 << 16).try_for_each(|chunk| scanner.push(chunk)).ok();
    scanner.duration_ms()
}

#[test]
fn a_power_cut_at_any_instant_takes_at_most_two_seconds() {
    let cuts: u32 = std::env::var("LECTERN_CUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let folder = Folder::new().unwrap();
    let Some(disk) = Disk::new(folder.join("disk.img"), folder.join("agent")) else { return };
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let mut room = Room::card();
    room.recording += "reserve_minutes = 1\n";
    let mut agent = Agent::start(&folder, &programs, &room, &hub, &password).unwrap();
    agent.press("start").unwrap();
    let status = agent.wait_for_media(1000, PATIENCE).unwrap();
    let lesson = status["lesson"]["id"].as_str().unwrap().to_owned();
    let journal = agent.data.join("lessons").join(&lesson).join("take-1.jsonl");
    let first = std::fs::read_to_string(journal).unwrap();
    let first: serde_json::Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    let started = first["mono_ms"].as_u64().unwrap();

    let mut writers = agent.recorders(&folder);
    writers.push(agent.process.pid());
    let copy = folder.join("copy.img");
    for cut in 0..cuts {
        std::thread::sleep(Duration::from_millis(1500 + chance::below(2500)));
        let lived = u64::try_from(clock::boot().as_millis()).unwrap() - started;
        disk.copy(&copy, &writers);
        let after = Disk::mount(copy.clone(), folder.join("after")).unwrap();
        let kept = playable_ms(&after.at.join("lessons").join(&lesson).join("take-1.mp4"));
        println!("cut {cut}: {lived} ms recorded, {kept} ms kept");
        assert!(kept + 2000 >= lived, "{kept} ms of {lived} ms survived");
    }

    // The last copy is what the machine finds when the power is back.
    agent.process.kill();
    for pid in agent.recorders(&folder) {
        kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).ok();
    }
    drop(disk);
    let _after = Disk::mount(copy, folder.join("agent")).unwrap();
    let kept = playable_ms(&agent.data.join("lessons").join(&lesson).join("take-1.mp4"));
    agent.restart(&folder).unwrap();
    agent.wait_for(&["recording", "stored"], PATIENCE).unwrap();
    agent.press("stop").ok();
    let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
    assert_eq!(status["lesson"]["id"], lesson.as_str(), "the same lesson, not another");
    let report = agent.verify(&hub.lesson_folder(&lesson)).unwrap();
    assert!(report["sound"] == true && report["duration_ms"].as_u64().unwrap() >= kept, "{report:#}");
}
