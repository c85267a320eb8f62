//! Kills at random moments of a lesson. Whatever dies, there is one lesson in the end: sealed, stored,
//! verified, with at most the open fragment missing.
//!
//! The seed is printed; `LECTERN_SEED` repeats a run, `LECTERN_KILLS` sets how many lessons are killed.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::time::Duration;

use lectern_base::{chance, clock};
use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Folder, Hub, Room};
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(90);

/// A small generator, so that a run can be repeated from its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[derive(Debug, Clone, Copy)]
enum Victim {
    Recorder,
    Daemon,
    /// Hub and broker are one process.
    Hub,
    DaemonAndRecorder,
}

const VICTIMS: [Victim; 4] = [Victim::Recorder, Victim::Daemon, Victim::Hub, Victim::DaemonAndRecorder];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn whatever_is_killed_there_is_one_lesson_whole_and_stored() {
    let seed = number("LECTERN_SEED", u64::from_le_bytes(chance::bytes()) | 1);
    let lessons = number("LECTERN_KILLS", 6);
    println!("LECTERN_SEED={seed} LECTERN_KILLS={lessons}");
    let mut dice = Dice(seed);
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (mut hub, password) = Hub::start(&folder, &programs).unwrap();
    let mut agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password).unwrap();
    let mut stored = Vec::new();
    let first = dice.below(4);
    for round in 0..lessons {
        let victim = VICTIMS[usize::try_from((first + round) % 4).unwrap()];
        let after = Duration::from_millis(200 + dice.below(6000));
        println!("lesson {round}: {victim:?} after {after:?}");
        agent.press("start").unwrap();
        std::thread::sleep(after);
        let before = strike(victim, &folder, &mut hub, &mut agent);
        if matches!(victim, Victim::Hub) {
            hub.restart(&folder).unwrap();
        }
        // The lesson goes on by itself, in this take or the next.
        let status = agent.wait_for(&["recording"], PATIENCE).unwrap();
        let lesson = status["lesson"]["id"].as_str().unwrap().to_owned();
        agent.wait_for_media(before.durable_ms + 2500, PATIENCE).unwrap();
        agent.press("stop").unwrap();
        let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
        assert_eq!(status["lesson"]["id"], lesson.as_str());

        let report = agent.verify(&hub.lesson_folder(&lesson)).unwrap();
        assert!(report["sound"] == true && report["receipted"] == true, "{report:#}");
        let kept = report["duration_ms"].as_u64().unwrap();
        assert!(
            kept >= before.durable_ms + 2000,
            "what was durable is there: {kept} ms of {} ms and more",
            before.durable_ms
        );
        stored.push(lesson);
        let (list, _) = agent.lectern(&["lessons"]).unwrap();
        assert_eq!(list.as_array().unwrap().len(), stored.len(), "one lesson each: {list}");
    }
    agent.process.stop();
    let (report, _) = agent.lectern(&["fsck"]).unwrap();
    assert_eq!(report["ok"], true, "{report}");
    let mut at_hub = hub.lessons();
    at_hub.sort();
    stored.sort();
    assert_eq!(at_hub, stored);
}

struct Before {
    durable_ms: u64,
}

/// Kills, and says how much picture was durable just before.
fn strike(victim: Victim, folder: &Folder, hub: &mut Hub, agent: &mut Agent) -> Before {
    let status = agent.status().unwrap();
    let durable_ms = status["lesson"]["media_ms"].as_u64().unwrap();
    let recorders = || {
        for pid in agent.recorders(folder) {
            let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            kill_process(pid, Signal::KILL).ok();
        }
    };
    match victim {
        Victim::Recorder => recorders(),
        Victim::Hub => hub.process.kill(),
        Victim::Daemon => agent.process.kill(),
        Victim::DaemonAndRecorder => {
            recorders();
            agent.process.kill();
        }
    }
    if matches!(victim, Victim::Daemon | Victim::DaemonAndRecorder) {
        agent.restart(folder).unwrap();
    }
    Before { durable_ms }
}

#[test]
fn after_a_kill_at_most_the_open_second_is_missing() {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password).unwrap();
    agent.press("start").unwrap();
    let status = agent.wait_for_media(5000, PATIENCE).unwrap();
    let lesson = status["lesson"]["id"].as_str().unwrap().to_owned();
    // The take's own clock started when its first fact was written.
    let journal = agent.data.join("lessons").join(&lesson).join("take-1.jsonl");
    let first: serde_json::Value =
        serde_json::from_str(std::fs::read_to_string(journal).unwrap().lines().next().unwrap()).unwrap();
    let started = first["mono_ms"].as_u64().unwrap();
    for pid in agent.recorders(&folder) {
        kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    }
    let killed = u64::try_from(clock::boot().as_millis()).unwrap();
    agent.wait_for_media(7500, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    agent.wait_for(&["stored"], PATIENCE).unwrap();
    let manifest = std::fs::read(hub.lesson_folder(&lesson).join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let takes = manifest["document"]["takes"].as_array().unwrap();
    assert_eq!(takes.len(), 2, "the lesson went on in its next take");
    let kept = takes[0]["duration_ms"].as_u64().unwrap();
    let lived = killed - started;
    // One fragment of a second, and the time a fragment takes to be encoded and synced.
    assert!(kept + 1500 >= lived, "{kept} ms of {lived} ms were kept");
    assert!(takes[0]["end"]["interrupted"].as_str().is_some(), "the manifest says how it ended");
}
