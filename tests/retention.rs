//! What is kept on a room's disk: a volume that forgets is refused as a home for lessons, stored lessons make
//! room, and what waits stays.
//!
//! Needs file systems of its own; where none may be mounted the tests say so and do nothing.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Disk, Folder, Hub, Room, School, eventually};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

/// A small lesson from the press to the receipt; its id.
fn lesson(agent: &Agent) -> String {
    agent.press("start").unwrap();
    agent.wait_for_media(2000, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    let status = agent.wait_for(&["stored", "reclaimed"], PATIENCE).unwrap();
    status["lesson"]["id"].as_str().unwrap().to_owned()
}

/// Changes the agent's settings and starts it again.
fn with_settings(agent: &mut Agent, folder: &Folder, from: &str, to: &str) {
    let text = std::fs::read_to_string(&agent.config).unwrap();
    assert!(text.contains(from), "{from:?} is not in the settings");
    std::fs::write(&agent.config, text.replace(from, to)).unwrap();
    agent.restart(folder).unwrap();
}

/// The refusal of a press.
fn refusal(agent: &Agent) -> String {
    agent.lectern(&["record", "start"]).unwrap_err().to_string()
}

fn home(agent: &Agent) -> Option<String> {
    agent.status().ok()?["home"]["code"].as_str().map(str::to_owned)
}

#[test]
fn a_layer_that_a_restart_throws_away_is_refused_before_the_lesson() {
    let folder = Folder::new().unwrap();
    let Some(disk) = Disk::overlay(&folder.join("layers"), &folder.join("agent")).unwrap() else { return };
    let mut school = School::start_in(folder, &Room::card()).unwrap();
    // The technician who says that this very layer is kept is believed.
    assert_eq!(home(&school.agent), None);
    with_settings(&mut school.agent, &school.folder, "trust_volume = true\n", "");
    assert_eq!(home(&school.agent).as_deref(), Some("layer"));
    let said = refusal(&school.agent);
    assert!(
        said.contains("ended with 3") && said.contains("does not keep") && said.contains("overlay"),
        "{said}"
    );
    assert_eq!(school.agent.lectern(&["lessons"]).unwrap().0, serde_json::json!([]));
    let (doctor, code) = school.agent.lectern(&["doctor"]).unwrap();
    let line = doctor["findings"].as_array().unwrap().iter().find(|f| f["what"] == "volume").unwrap();
    assert!(
        code == 4 && line["ok"] == false && line["detail"].as_str().unwrap().contains("data_dir"),
        "{line}"
    );
    // Moved to a volume that is not restored, it records.
    let (layered, kept) = (format!("data_dir = {:?}", school.agent.data), school.folder.join("kept"));
    school.agent.data.clone_from(&kept);
    with_settings(&mut school.agent, &school.folder, &layered, &format!("data_dir = {kept:?}"));
    assert_eq!(home(&school.agent), None);
    school.agent.press("start").unwrap();
    school.agent.wait_for_media(1000, PATIENCE).unwrap();
    school.agent.press("stop").unwrap();
    // Before the folder it stands in.
    drop(disk);
    drop(school);
}

#[test]
fn a_volume_that_was_taken_back_is_found_out_by_what_the_hub_remembers() {
    let folder = Folder::new().unwrap();
    let place = folder.join("agent");
    let Some(disk) = Disk::ext4(folder.join("volume"), &place).unwrap() else { return };
    let mut school = School::start_in(folder, &Room::card()).unwrap();
    // The state that the volume goes back to: before the lesson.
    let before = school.folder.join("before");
    school.agent.process.kill();
    disk.copy(&before, &[]).unwrap();
    school.agent.restart(&school.folder).unwrap();
    assert_eq!(home(&school.agent), None);
    let id = lesson(&school.agent);
    school.agent.process.kill();
    drop(disk);
    let disk = Disk::of_image(before, &place).unwrap().unwrap();
    school.agent.restart(&school.folder).unwrap();
    eventually(PATIENCE, "the doubt", || home(&school.agent).filter(|code| code == "taken_back")).unwrap();
    let said = refusal(&school.agent);
    assert!(said.contains(&id) && said.contains("taken back"), "{said}");
    assert!(school.hub.lesson_folder(&id).join("receipt.json").exists(), "the hub still has the lesson");
    // Before the folder it stands in.
    drop(disk);
    drop(school);
}

#[test]
fn a_volume_that_is_restored_at_each_boot_is_found_out_in_the_second_boot() {
    let folder = Folder::new().unwrap();
    let mut programs = Programs::find().unwrap();
    // Each boot has an id of its own; here the kernel's is covered by a file, for the agent alone.
    let (boot, wrapper) = (folder.join("boot-id"), folder.join("lectern"));
    let covered = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
    let script =
        format!("#!/bin/sh\nexec unshare -m sh -c '{covered}' {boot:?} {:?} \"$@\"\n", programs.lectern);
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let boots = |id: &str| std::fs::write(&boot, format!("{id}\n")).unwrap();
    boots("first");
    if !Command::new(&wrapper).arg("--version").output().unwrap().status.success() {
        lectern_tests::skipped("no file may be mounted over another here");
        return;
    }
    programs.lectern = wrapper;
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let mut agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password).unwrap();
    let remembered = |id: &str| {
        let rows = hub.rows().unwrap();
        let known = || rows.query_row("SELECT boot_id FROM home", [], |row| row.get::<_, String>(0)).ok();
        eventually(PATIENCE, "the hub's memory", || known().filter(|known| known == id)).unwrap();
    };
    remembered("first");
    // An honest second boot, kept as the state that every later boot begins with.
    agent.process.kill();
    boots("second");
    agent.restart(&folder).unwrap();
    remembered("second");
    assert_eq!(home(&agent), None);
    agent.process.kill();
    let image = folder.join("image");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        std::fs::remove_dir_all(to).ok();
        assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    };
    copy(&agent.data, &image);
    for (id, found) in [("third", None), ("fourth", Some("taken_back"))] {
        boots(id);
        agent.restart(&folder).unwrap();
        remembered(id);
        if found.is_some() {
            eventually(PATIENCE, "the doubt", || home(&agent)).unwrap();
        }
        assert_eq!(home(&agent).as_deref(), found);
        agent.process.kill();
        copy(&image, &agent.data);
    }
    boots("fifth");
    agent.restart(&folder).unwrap();
    eventually(PATIENCE, "the doubt", || home(&agent)).unwrap();
    let said = refusal(&agent);
    assert!(said.contains("boot 3") && said.contains("twice"), "{said}");
}

#[test]
fn stored_lessons_make_room_and_what_waits_stays_whatever_the_disk_is_like() {
    let folder = Folder::new().unwrap();
    let Some(disk) = Disk::ext4(folder.join("volume"), &folder.join("agent")).unwrap() else { return };
    let mut room = Room::card();
    // More than the disk has: pressure from the first moment on.
    room.recording += "reserve_minutes = 1\nkeep_free_mib = 100000\n";
    let mut school = School::start_in(folder, &room).unwrap();
    let first = lesson(&school.agent);
    let row = |agent: &Agent, id: &str| -> Value {
        let (list, _) = agent.lectern(&["lessons"]).unwrap();
        list.as_array().unwrap().iter().find(|l| l["id"] == id).unwrap().clone()
    };
    // The decision is written down before the bytes go.
    let gone = |agent: &Agent, id: &str| {
        let gone = |l: &Value| l["state"] == "reclaimed" && l["local_bytes"] == 0;
        eventually(PATIENCE, "the room", || Some(row(agent, id)).filter(gone)).unwrap()
    };
    let told = gone(&school.agent, &first);
    assert_eq!(told["reclaimed"]["why"], "pressure", "{told}");
    let kept = school.agent.data.join("lessons").join(&first);
    assert!(!kept.join("take-1.mp4").exists() && kept.join("receipt.json").exists());
    assert!(school.stored(&first).unwrap().verified());

    // Without the hub nothing is stored, and nothing of it goes.
    school.hub.process.kill();
    school.agent.press("start").unwrap();
    school.agent.wait_for_media(2000, PATIENCE).unwrap();
    school.agent.press("stop").unwrap();
    let status = school.agent.wait_for(&["sealed"], PATIENCE).unwrap();
    let second = status["lesson"]["id"].as_str().unwrap().to_owned();
    school.agent.restart(&school.folder).unwrap();
    let keeping = eventually(PATIENCE, "what waits", || {
        school.agent.status().ok().map(|s| s["keeping"].clone()).filter(|k| k["waiting"] == 1)
    });
    let here = row(&school.agent, &second)["local_bytes"].as_u64().unwrap();
    assert_eq!(keeping.unwrap()["waiting_bytes"].as_u64(), Some(here));
    assert!(here > 10_000, "{here}");
    school.hub.restart(&school.folder).unwrap();
    gone(&school.agent, &second);
    assert!(school.stored(&second).unwrap().verified());
    // Before the folder it stands in.
    drop(disk);
    drop(school);
}
