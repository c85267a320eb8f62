//! Destinations beside the hub: a lesson is stored when every required one was looked at and has it, one that fails holds up
//! no other, and nothing is written where it does not belong.
//!
//! Shares are file systems of their own; where none may be mounted those tests say so and do nothing.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::path::Path;
use std::time::Duration;

use lectern_base::clock;
use lectern_tests::opencast::Opencast;
use lectern_tests::school::{DEVICE, SCHOOL};
use lectern_tests::{Agent, Disk, Folder, Room, School, eventually};
use lectern_wire::digest::Digest;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);

/// From the press to the end of recording; the lesson's id.
fn record(agent: &Agent) -> String {
    agent.press("start").unwrap();
    agent.wait_for_media(2000, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    let status = agent.wait_for(&["sealed", "stored"], PATIENCE).unwrap();
    status["lesson"]["id"].as_str().unwrap().to_owned()
}

fn row(agent: &Agent, id: &str) -> Value {
    let (list, _) = agent.lectern(&["lessons"]).unwrap();
    list.as_array().unwrap().iter().find(|l| l["id"] == id).unwrap().clone()
}

/// How far a destination has come with a lesson.
fn delivery(agent: &Agent, id: &str, name: &str) -> Value {
    let row = row(agent, id);
    let all = row["destinations"].as_array().unwrap();
    all.iter().find(|d| d["name"] == name).cloned().unwrap_or_default()
}

fn wait_stored(agent: &Agent, id: &str) {
    let stored =
        eventually(PATIENCE, "the lesson everywhere", || (row(agent, id)["state"] == "stored").then_some(()));
    assert!(stored.is_ok(), "{:#}\n{}", row(agent, id), agent.process.tail_of_log());
}

/// Waits until a destination says why it does not go on.
fn wait_problem(agent: &Agent, id: &str, name: &str, word: &str) {
    let told = eventually(PATIENCE, word, || {
        delivery(agent, id, name)["problem"].as_str().filter(|p| p.contains(word)).map(drop)
    });
    assert!(told.is_ok(), "{:#}\n{}", row(agent, id), agent.process.tail_of_log());
}

/// Waits for the hub's word on a lesson whose other destinations fail.
fn wait_hub(agent: &Agent, id: &str) {
    eventually(PATIENCE, "the hub's receipt", || {
        delivery(agent, id, "hub")["confirmed"].is_string().then_some(())
    })
    .unwrap();
}

fn share_settings(at: &Path) -> String {
    format!("[[destination]]\nname = \"nas\"\nkind = \"folder\"\npath = {at:?}\n")
}

#[test]
fn a_share_that_is_missing_or_full_holds_up_nothing_else_and_gets_everything_in_the_end() {
    let folder = Folder::new().unwrap();
    let (image, share) = (folder.join("nas.img"), folder.join("nas"));
    let Some(disk) = Disk::ext4(image.clone(), &share).unwrap() else { return };
    let mut room = Room::card();
    room.sources += &share_settings(&share);
    let school = School::start_in(folder, &room).unwrap();
    let agent = &school.agent;

    // Never prepared, it might as well be an empty mount point: nothing is written, and nothing is called stored.
    let first = record(agent);
    wait_hub(agent, &first);
    wait_problem(agent, &first, "nas", "share prepare");
    let status = agent.status().unwrap();
    assert!(row(agent, &first)["state"] == "sealed" && status["safe_to_switch_off"] == false, "{status:#}");
    assert!(!share.join(SCHOOL).exists());
    let (doctor, _) = agent.lectern(&["doctor"]).unwrap();
    let line = doctor["findings"].as_array().unwrap().iter().find(|f| f["what"] == "destination").unwrap();
    assert_eq!(line["ok"], false, "{line}");
    agent.lectern(&["share", "prepare", "nas"]).unwrap();
    wait_stored(agent, &first);
    let there = share.join(SCHOOL).join(DEVICE).join(&first);
    let word: Value = {
        let file = agent.data.join("lessons").join(&first).join("stored-nas.json");
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    };
    let take = word["objects"].as_array().unwrap().iter().find(|o| o["name"] == "take-1.mp4").unwrap();
    assert_eq!(take["by"], "read back");
    assert_eq!(take["sha256"], Digest::of(&std::fs::read(there.join("take-1.mp4")).unwrap()).to_string());
    assert_eq!(agent.verify(&there).unwrap()["sound"], true, "the share's folder is a lesson of its own");
    eventually(PATIENCE, "the lamp", || agent.status().ok().filter(|s| s["safe_to_switch_off"] == true))
        .unwrap();

    // Unmounted: what lies below the mount point stays empty.
    drop(disk);
    let second = record(agent);
    wait_hub(agent, &second);
    wait_problem(agent, &second, "nas", "not mounted");
    assert_eq!(std::fs::read_dir(&share).unwrap().count(), 0);
    let disk = Disk::of_image(image, &share).unwrap().unwrap();
    wait_stored(agent, &second);

    // Full to the last byte.
    let filler = disk.fill().unwrap();
    let third = record(agent);
    wait_hub(agent, &third);
    wait_problem(agent, &third, "nas", "full");
    std::fs::remove_file(filler).unwrap();
    wait_stored(agent, &third);
    assert_eq!(agent.verify(&share.join(SCHOOL).join(DEVICE).join(&third)).unwrap()["sound"], true);

    // Frozen: every write hangs in the kernel. The hub and the page go on.
    let frozen = disk.freeze().unwrap();
    let fourth = record(agent);
    wait_hub(agent, &fourth);
    assert_eq!(row(agent, &fourth)["state"], "sealed");
    drop(frozen);
    wait_stored(agent, &fourth);
    // Before the folder it stands in.
    drop(disk);
    drop(school);
}

#[test]
fn a_school_without_a_hub_stores_its_lessons_on_a_share_and_throws_them_away_there() {
    let folder = Folder::new().unwrap();
    let share = folder.make("nas").unwrap();
    let mut room = Room::card();
    room.sources += &share_settings(&share);
    let mut school = School::start_in(folder, &room).unwrap();
    let text = std::fs::read_to_string(&school.agent.config).unwrap();
    let (before, rest) = text.split_once("[hub]").unwrap();
    let (_, after) = rest.split_once("[page]").unwrap();
    std::fs::write(&school.agent.config, format!("{before}[page]{after}")).unwrap();
    school.agent.restart(&school.folder).unwrap();
    let agent = &school.agent;
    agent.lectern(&["share", "prepare", "nas"]).unwrap();
    let id = record(agent);
    agent.wait_for(&["stored"], PATIENCE).unwrap();
    // What waits is counted when the round is over, a moment after the lesson's own word.
    let status =
        eventually(PATIENCE, "the lamp", || agent.status().ok().filter(|s| s["safe_to_switch_off"] == true))
            .unwrap();
    assert_eq!(status["upload"]["configured"], true, "{status:#}");
    assert!(!agent.data.join("lessons").join(&id).join("receipt.json").exists());
    let there = share.join(SCHOOL).join(DEVICE).join(&id);
    assert!(there.join("manifest.json").exists());
    // 删除这节: it goes from the share too.
    let url = format!("{}api/lessons/{id}", agent.page().unwrap());
    let order =
        ["-s", "-f", "--noproxy", "*", "-H", "X-Lectern: test", "-H", "Content-Type: application/json", "-d"];
    let asked = std::process::Command::new("curl")
        .args(order)
        .args([r#"{"action":"discard"}"#, &url])
        .output()
        .unwrap();
    assert!(asked.status.success(), "{asked:?}");
    eventually(PATIENCE, "the share without it", || (!there.exists()).then_some(())).unwrap();
}

#[test]
fn opencast_gets_each_lesson_once_and_whole_whatever_it_answers() {
    let folder = Folder::new().unwrap();
    let now = clock::wall_ms() / 1000;
    let opencast = Opencast::start(&folder, &[(now - 60, now + 3000, "草船借箭, 第1课时")]).unwrap();
    let mut room = Room::card();
    room.sources += &opencast.settings();
    let school = School::start_in(folder, &room).unwrap();
    let agent = &school.agent;
    // It registers, and what the calendar has is proposed; nothing starts.
    eventually(PATIENCE, "the calendar's topic", || {
        agent.status().ok().filter(|s| s["suggestion"]["topic"] == "草船借箭, 第1课时")
    })
    .unwrap();
    let told = opencast.wrote("agents.json")[DEVICE].clone();
    assert_eq!(
        (&told["state"], &told["configuration"]["capture.device.names"]),
        (&"idle".into(), &"presenter".into()),
        "{told}"
    );
    assert_eq!(agent.lectern(&["lessons"]).unwrap().0, json!([]));

    // Busy, an answer lost in the middle and one at the end, and a byte that was changed on the way.
    opencast
        .faults(&json!({ "refuse": 3, "lose": ["/addTrack", "/ingest/ingest"], "garble": true }))
        .unwrap();
    let first = record(agent);
    wait_stored(agent, &first);
    let workflows = opencast.wrote("workflows.json");
    assert_eq!(workflows.as_array().unwrap().len(), 1, "{workflows:#}");
    let elements = workflows[0]["elements"].as_array().unwrap();
    let tracks: Vec<_> = elements.iter().filter(|e| e["kind"] == "track").collect();
    assert!(tracks.len() == 1 && tracks[0]["flavor"] == "presenter/source", "{workflows:#}");
    let bytes = opencast.file(tracks[0]["file"].as_str().unwrap()).unwrap();
    let local = std::fs::read(agent.data.join("lessons").join(&first).join("take-1.mp4")).unwrap();
    assert_eq!(Digest::of(&bytes), Digest::of(&local));

    // A 200 that names no workflow is no answer; a lesson of two takes goes as partial tracks.
    opencast.faults(&json!({ "silent": true })).unwrap();
    agent.press("start").unwrap();
    agent.wait_for_media(2000, PATIENCE).unwrap();
    agent.lose_recorder(&school.folder, 2000, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    let second = agent.wait_for(&["sealed"], PATIENCE).unwrap()["lesson"]["id"].as_str().unwrap().to_owned();
    wait_hub(agent, &second);
    wait_problem(agent, &second, "opencast", "no workflow");
    assert_eq!(row(agent, &second)["state"], "sealed");
    opencast.faults(&json!({})).unwrap();
    wait_stored(agent, &second);
    let workflows = opencast.wrote("workflows.json");
    assert_eq!(workflows.as_array().unwrap().len(), 2, "{workflows:#}");
    let elements = workflows[1]["elements"].as_array().unwrap();
    let partial: Vec<_> = elements.iter().filter(|e| e["flavor"] == "presenter/source+partial").collect();
    assert!(partial.len() == 2 && partial[0]["start"] == "0" && partial[1]["start"] != "0", "{workflows:#}");
    let said = opencast.wrote("said.json");
    assert_eq!(said.as_array().unwrap().last().unwrap(), "upload_finished");
}
