//! What a teacher does during a lesson: marks, changes of layout, pauses, and what the page warns of.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::time::Duration;

use lectern_tests::grab::Frame;
use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Folder, Hub, Room, School, World, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

fn manifest(hub: &Hub, status: &Value) -> Value {
    let folder = hub.lesson_folder(status["lesson"]["id"].as_str().unwrap());
    serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap()
}

#[test]
fn marks_and_layouts_stand_in_the_manifest_where_they_were_set() {
    let world = World::start().unwrap();
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, &Room::of(&world, true), &hub, &password).unwrap();
    agent.press("start").unwrap();
    agent.wait_for_media(5000, PATIENCE).unwrap();
    assert_eq!(agent.lectern(&["record", "mark", "草船借箭"]).unwrap().1, 0);
    assert!(agent.lectern(&["record", "layout", "two-cameras"]).is_err(), "there is one camera");
    assert!(agent.lectern(&["record", "layout", "nonsense"]).is_err());
    assert_eq!(agent.lectern(&["record", "layout", "camera"]).unwrap().1, 0);
    agent.wait_for_media(9000, PATIENCE).unwrap();
    assert_eq!(agent.lectern(&["record", "layout", "side-by-side"]).unwrap().1, 0);
    let status = agent.wait_for_media(13_000, PATIENCE).unwrap();
    assert_eq!(
        (status["lesson"]["layout"].as_str(), status["lesson"]["marks"].as_u64()),
        (Some("side-by-side"), Some(1))
    );
    agent.press("stop").unwrap();
    let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
    let take = manifest(&hub, &status)["document"]["takes"][0].clone();
    assert_eq!(take["marks"][0]["word"], "草船借箭");
    let changed: Vec<_> = take["layouts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["layout"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(changed, ["camera", "side_by_side"]);
    let at = |n: usize| take["layouts"][n]["at_ms"].as_u64().unwrap();

    let file = hub.lesson_folder(status["lesson"]["id"].as_str().unwrap()).join("take-1.mp4");
    let frame = |ms: u64| Frame::of_file(&file, Duration::from_millis(ms)).unwrap();
    // The camera's board is one colour and fills the picture, then stands on the right beside the screen.
    let (corner, middle, right) = ((0.05, 0.05), (0.4, 0.5), (0.84, 0.5));
    let board = frame(at(0) + 2000);
    let light = |f: &Frame, (x, y): (f64, f64)| i32::from(f.light(x, y).unwrap());
    assert!((light(&board, corner) - light(&board, right)).abs() < 30, "the camera fills the picture");
    let beside = frame(at(1) + 2000);
    assert!((light(&beside, right) - light(&board, right)).abs() < 30, "the camera stands on the right");
    assert!((light(&beside, middle) - light(&board, middle)).abs() > 60, "the screen stands on the left");
    assert_eq!(agent.verify(file.parent().unwrap()).unwrap()["sound"], true);
}

#[test]
fn a_silent_microphone_is_said_cleared_and_said_again_after_a_pause() {
    let mut world = World::start().unwrap();
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, &Room::of(&world, false), &hub, &password).unwrap();
    let warned = |there: bool| {
        eventually(PATIENCE, &format!("a warning of silence: {there}"), || {
            let status = agent.status().ok()?;
            let quiet = |w: &Value| w["kind"] == "digital_zero" || w["kind"] == "silent";
            (status["warnings"].as_array()?.iter().any(quiet) == there).then_some(())
        })
        .unwrap();
    };
    agent.press("start").unwrap();
    agent.wait_for_media(1000, PATIENCE).unwrap();
    warned(true);
    world.sound.keep_speaking(Duration::from_millis(200)).unwrap();
    warned(false);
    world.sound.hush();
    warned(true);
    agent.press("pause").unwrap();
    warned(false);
    agent.press("resume").unwrap();
    warned(true);
    agent.press("stop").unwrap();
    let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
    let take = manifest(&hub, &status)["document"]["takes"][0].clone();
    let findings = take["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 3, "{findings:?}");
    assert!(findings[0]["to_ms"].as_u64().is_some() && findings[2].get("to_ms").is_none());
}

/// The one recorder at work; it gets the signal.
fn signal_recorder(school: &School, signal: Signal) {
    let found = school.agent.recorders(&school.folder);
    let [pid] = found[..] else { panic!("recorders at work: {found:?}") };
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

/// Until a lesson that is paused has not grown for three seconds, which nothing that records does; it is in the take that
/// it was in.
fn stands_still(school: &School, take: u64) {
    let look = || school.agent.wait_for(&["paused"], PATIENCE).unwrap()["lesson"].clone();
    // What was recorded until then may still be on its way.
    eventually(PATIENCE, "a lesson that stands still", || {
        let before = look();
        std::thread::sleep(Duration::from_secs(3));
        let after = look();
        assert_eq!((&after["take"], &after["state"]), (&take.into(), &"paused".into()));
        ((&before["bytes"], &before["media_ms"]) == (&after["bytes"], &after["media_ms"])).then_some(())
    })
    .unwrap();
}

#[test]
fn the_last_word_counts_however_fast_a_teacher_changes_their_mind() {
    let mut school = School::start(&Room::card()).unwrap();
    school.agent.press("start").unwrap();
    school.agent.wait_for_media(1500, PATIENCE).unwrap();
    // A recorder that is busy hears both at once.
    signal_recorder(&school, Signal::STOP);
    school.agent.press("pause").unwrap();
    school.agent.press("resume").unwrap();
    signal_recorder(&school, Signal::CONT);
    let media = school.agent.status().unwrap()["lesson"]["media_ms"].as_u64().unwrap();
    let status = school.agent.wait_for_media(media + 3000, PATIENCE).unwrap();
    assert_eq!(status["lesson"]["state"], "recording");
    school.agent.press("pause").unwrap();
    school.agent.wait_for(&["paused"], PATIENCE).unwrap();
    signal_recorder(&school, Signal::STOP);
    school.agent.press("resume").unwrap();
    school.agent.press("pause").unwrap();
    assert_eq!(school.agent.press("pause").unwrap()["answer"], "already");
    signal_recorder(&school, Signal::CONT);
    stands_still(&school, 1);
    // And one whose word the daemon did not live to hear.
    signal_recorder(&school, Signal::STOP);
    school.agent.press("resume").unwrap();
    school.agent.process.kill();
    signal_recorder(&school, Signal::CONT);
    school.agent.restart(&school.folder).unwrap();
    let status = school.agent.wait_for_media(media + 6000, PATIENCE).unwrap();
    assert_eq!((&status["lesson"]["state"], &status["lesson"]["take"]), (&"recording".into(), &1.into()));
    school.agent.press("stop").unwrap();
    let status = school.agent.wait_for(&["stored"], PATIENCE).unwrap();
    let stored = manifest(&school.hub, &status);
    assert_eq!(stored["document"]["takes"].as_array().unwrap().len(), 1);
    assert!(school.stored(status["lesson"]["id"].as_str().unwrap()).unwrap().verified());
}

/// Pauses, until the pause stands in the take's journal: what a recorder has only said is lost with it.
fn pause(school: &School) {
    school.agent.press("pause").unwrap();
    let lesson = school.agent.wait_for(&["paused"], PATIENCE).unwrap()["lesson"].clone();
    let folder = school.agent.data.join("lessons").join(lesson["id"].as_str().unwrap());
    let journal = folder.join(format!("take-{}.jsonl", lesson["take"]));
    eventually(PATIENCE, "a pause in the journal", || {
        std::fs::read_to_string(&journal).ok().filter(|text| text.contains("pause"))
    })
    .unwrap();
}

#[test]
fn while_it_is_paused_nothing_is_recorded_whoever_is_lost_until_the_teacher_goes_on() {
    let mut school = School::start(&Room::card()).unwrap();
    school.agent.press("start").unwrap();
    school.agent.wait_for_media(1500, PATIENCE).unwrap();
    pause(&school);
    signal_recorder(&school, Signal::KILL);
    stands_still(&school, 1);
    assert!(school.agent.recorders(&school.folder).is_empty());
    let nobody = || school.agent.status().ok().filter(|status| status["level"].is_null());
    eventually(PATIENCE, "a meter without a level: nobody listens", nobody).unwrap();
    let said = school.agent.lectern(&["record", "mark", "草船借箭"]).unwrap_err().to_string();
    assert!(said.contains("paused"), "{said}");
    // The daemon too: what it finds is a lesson that is paused.
    school.agent.restart(&school.folder).unwrap();
    stands_still(&school, 1);
    school.agent.press("resume").unwrap();
    let status = school.agent.wait_for_media(4000, PATIENCE).unwrap();
    assert_eq!((&status["lesson"]["state"], &status["lesson"]["take"]), (&"recording".into(), &2.into()));
    // Recorder and daemon at once.
    pause(&school);
    signal_recorder(&school, Signal::KILL);
    school.agent.process.kill();
    school.agent.restart(&school.folder).unwrap();
    stands_still(&school, 2);
    assert!(school.agent.recorders(&school.folder).is_empty());
    school.agent.press("stop").unwrap();
    let status = school.agent.wait_for(&["stored"], PATIENCE).unwrap();
    assert_eq!(status["lesson"]["cut_short"], Value::Null);
    let id = status["lesson"]["id"].as_str().unwrap();
    assert!(school.stored(id).unwrap().verified());
    let stored = manifest(&school.hub, &status);
    let takes = stored["document"]["takes"].as_array().unwrap();
    assert_eq!(takes.len(), 2);
    assert!(takes.iter().all(|take| take["pauses"].as_array().unwrap().len() == 1), "{takes:?}");
}
