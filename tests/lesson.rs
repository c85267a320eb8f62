//! One press, recorded, stored, checked: the whole line with the built programs and the generated card.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use lectern_tests::grab;
use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Folder, Hub, Room, School, eventually};

const PATIENCE: Duration = Duration::from_secs(120);

fn school() -> School {
    School::start(&Room::card()).unwrap()
}

fn record(agent: &Agent, ms: u64) -> String {
    agent.press("start").unwrap();
    agent.wait_for_media(ms, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
    status["lesson"]["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_lesson_with_a_pause_is_recorded_stored_and_verified() {
    let School { hub, agent, folder: _folder } = school();
    agent.press("start").unwrap();
    assert_eq!(agent.press("start").unwrap()["answer"], "already", "a second press is the same lesson");
    agent.wait_for_media(4000, PATIENCE).unwrap();
    agent.press("pause").unwrap();
    agent.wait_for(&["paused"], PATIENCE).unwrap();
    // The fragment that was open at the press is still being made durable.
    eventually(PATIENCE, "a pause that keeps nothing", || {
        let paused = agent.status().ok()?;
        std::thread::sleep(Duration::from_secs(2));
        (paused["lesson"]["media_ms"] == agent.status().ok()?["lesson"]["media_ms"]).then_some(())
    })
    .unwrap();
    agent.press("resume").unwrap();
    agent.wait_for_media(8000, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
    let safe = || (agent.status().ok()?["safe_to_switch_off"] == true).then_some(());
    eventually(PATIENCE, "the lamp", safe).unwrap();
    let lesson = status["lesson"]["id"].as_str().unwrap();

    let (list, _) = agent.lectern(&["lessons"]).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1, "one lesson, not two: {list}");
    for folder in [agent.data.join("lessons").join(lesson), hub.lesson_folder(lesson)] {
        let report = agent.verify(&folder).unwrap();
        assert!(report["sound"] == true && report["receipted"] == true, "{report:#}");
        assert_eq!(report["uninterrupted"], false, "there was a pause");
    }
    let take = hub.lesson_folder(lesson).join("take-1.mp4");
    assert_eq!(
        std::fs::read(&take).unwrap(),
        std::fs::read(agent.data.join("lessons").join(lesson).join("take-1.mp4")).unwrap()
    );

    // The card flashes and beeps at the start of each second of the take; across the pause too.
    let sound = grab::sound(&take).unwrap();
    for second in 1..7 {
        let at = f64::from(second);
        let beep = grab::loudness(grab::between(&sound, at + 0.01, at + 0.09));
        let rest = grab::loudness(grab::between(&sound, at + 0.2, at + 0.9));
        assert!(beep > -20.0 && rest < -50.0, "second {second}: beep {beep:.1} dBFS, rest {rest:.1} dBFS");
    }
}

#[test]
fn lessons_are_chained_and_one_changed_byte_is_named_with_its_time() {
    let School { hub, agent, folder: _folder } = school();
    let first = record(&agent, 3000);
    let second = record(&agent, 3000);
    let manifest = |lesson: &str| -> serde_json::Value {
        let bytes = std::fs::read(hub.lesson_folder(lesson).join("manifest.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    let (list, _) = agent.lectern(&["lessons"]).unwrap();
    let row = list.as_array().unwrap().iter().find(|l| l["id"] == first.as_str()).unwrap();
    assert_eq!(
        manifest(&second)["document"]["prev"],
        row["manifest_sha256"],
        "each manifest names the one before"
    );
    assert!(manifest(&first)["document"].get("prev").is_none());

    for folder in [agent.data.join("lessons").join(&second), hub.lesson_folder(&second)] {
        let take = folder.join("take-1.mp4");
        let good = std::fs::read(&take).unwrap();
        let mut bad = good.clone();
        let at = bad.len() / 2;
        bad[at] ^= 1;
        std::fs::write(&take, &bad).unwrap();
        let report = agent.verify(&folder).unwrap();
        assert_eq!(report["sound"], false);
        let fault = &report["faults"][0];
        assert_eq!(
            (fault["kind"].as_str(), fault["take"].as_u64(), fault["part"].as_u64()),
            (Some("altered"), Some(1), Some(0))
        );
        assert!(
            fault["span_ms"][1].as_u64().unwrap() >= 3000,
            "the span is told in the take's time: {fault}"
        );
        std::fs::write(&take, &good).unwrap();
        assert_eq!(agent.verify(&folder).unwrap()["sound"], true);
    }
}

#[test]
fn the_hub_away_for_the_whole_lesson_and_back_later_changes_nothing() {
    let School { mut hub, agent, folder } = school();
    hub.process.kill();
    agent.press("start").unwrap();
    agent.wait_for_media(4000, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    let sealed = agent.wait_for(&["sealed"], PATIENCE).unwrap();
    assert_eq!(sealed["safe_to_switch_off"], false, "queued is never shown as done");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(agent.status().unwrap()["lesson"]["state"], "sealed");
    hub.restart(&folder).unwrap();
    let status = agent.wait_for(&["stored"], Duration::from_secs(120)).unwrap();
    let lesson = status["lesson"]["id"].as_str().unwrap();
    assert_eq!(agent.verify(&hub.lesson_folder(lesson)).unwrap()["sound"], true);
    assert_eq!(hub.lessons(), [lesson]);
}

#[test]
fn the_command_line_tells_programs_how_it_ended() {
    let School { hub: _hub, mut agent, folder: _folder } = school();
    let code = |agent: &Agent, arguments: &[&str]| {
        agent.lectern(arguments).map_or_else(|e| e.to_string(), |(_, code)| code.to_string())
    };
    assert!(code(&agent, &["record", "stop"]).contains("ended with 3"), "refused: nothing is being recorded");
    assert!(code(&agent, &["fsck"]).contains("ended with 5"), "the daemon owns the folder");
    assert!(code(&agent, &["nonsense"]).contains("ended with 78"));
    let lesson = record(&agent, 2000);
    agent.process.stop();
    let (report, ended) = agent.lectern(&["fsck"]).unwrap();
    assert_eq!((report["ok"].as_bool(), ended), (Some(true), 0), "{report}");
    let take = agent.data.join("lessons").join(&lesson).join("take-1.mp4");
    std::fs::write(&take, b"short").unwrap();
    let (report, ended) = agent.lectern(&["fsck"]).unwrap();
    assert!(ended == 4 && report["found"].to_string().contains(&lesson), "{report}");
    assert!(code(&agent, &["record", "status"]).contains("ended with 1"), "no daemon runs");
}

/// On a busy machine a recorder takes seconds to start; a daemon that is killed meanwhile and started anew finds nobody.
#[test]
fn a_recorder_that_comes_after_its_take_was_given_up_does_not_record_beside_the_next() {
    let folder = Folder::new().unwrap();
    let mut programs = Programs::find().unwrap();
    let (late, began, go) = (folder.join("late.sh"), folder.join("began"), folder.join("go"));
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = record ] && [ ! -e {began} ] && touch {began} && \
         while [ ! -e {go} ]; do sleep 0.1; done\nexec {real} \"$@\"\n",
        began = began.display(),
        go = go.display(),
        real = programs.recorder.display()
    );
    std::fs::write(&late, text).unwrap();
    std::fs::set_permissions(&late, std::fs::Permissions::from_mode(0o755)).unwrap();
    programs.recorder = late;
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let mut agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password).unwrap();

    agent.press("start").unwrap();
    eventually(PATIENCE, "the late recorder", || began.exists().then_some(())).unwrap();
    agent.restart(&folder).unwrap();
    agent.wait_for_media(1000, PATIENCE).unwrap();
    // Now the first one comes.
    std::fs::write(&go, "").unwrap();
    agent.wait_for_media(7000, PATIENCE).unwrap();
    let alone = || (agent.recorders(&folder).len() == 1).then_some(());
    eventually(PATIENCE, "one recorder", alone)
        .unwrap_or_else(|e| panic!("{e}\n{}", agent.process.tail_of_log()));
    agent.press("stop").unwrap();
    let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
    assert_eq!(status["lesson"]["take"], 2);
    let lesson = status["lesson"]["id"].as_str().unwrap();
    let manifest = std::fs::read(hub.lesson_folder(lesson).join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let takes: Vec<_> = manifest["document"]["takes"].as_array().unwrap().iter().map(|t| &t["n"]).collect();
    assert_eq!(takes, [2], "the first was never begun");
    eventually(PATIENCE, "the last recorder's end", || agent.recorders(&folder).is_empty().then_some(()))
        .unwrap();
    agent.process.stop();
    let (report, _) = agent.lectern(&["fsck"]).unwrap();
    assert_eq!(report["ok"], true, "{report}");
}
