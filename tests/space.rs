//! Little space: a lesson that would not fit is refused with the reason, one that no longer fits is ended in
//! order, and nothing of it is lost. A disk that is full at once is in `soak/full.rs`.
//!
//! Needs a small file system of its own; where none may be mounted the tests say so and do nothing.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::time::Duration;

use lectern_tests::browser::pictures;
use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Browser, Disk, Folder, Hub, Room, School, eventually};

const PATIENCE: Duration = Duration::from_secs(120);

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
    let Some(_disk) = Disk::small(&folder.join("agent"), 100).unwrap() else { return };
    let (_hub, agent) = line(&folder, 10);
    let said = agent.lectern(&["record", "start"]).unwrap_err().to_string();
    assert!(said.contains("ended with 3") && said.contains("minutes of recording fit"), "{said}");
    assert_eq!(agent.lectern(&["lessons"]).unwrap().0, serde_json::json!([]));
}

#[tokio::test]
async fn a_lesson_is_ended_in_order_before_the_disk_is_full() {
    let folder = Folder::new().unwrap();
    let Some(_disk) = Disk::small(&folder.join("agent"), 200).unwrap() else { return };
    let (hub, agent) = line(&folder, 1);
    agent.press("start").unwrap();
    agent.wait_for_media(4000, PATIENCE).unwrap();
    // Somebody else fills the disk: less than two minutes are left.
    std::fs::write(folder.join("agent/somebody-elses"), vec![1; 150 << 20]).unwrap();
    // On a disk this full the bytes may go as soon as the hub's receipt is here.
    let status = agent.wait_for(&["stored", "reclaimed"], PATIENCE).unwrap();
    assert_eq!(status["lesson"]["cut_short"], "disk_full");
    let lesson = status["lesson"]["id"].as_str().unwrap();
    let report = agent.verify(&hub.lesson_folder(lesson)).unwrap();
    assert!(report["sound"] == true && report["duration_ms"].as_u64().unwrap() >= 4000, "{report:#}");
    // Its bytes here may be gone already; the teacher is told what counts.
    let page = std::fs::read_to_string(agent.data.join("run/page.addr")).unwrap();
    let browser = Browser::start(&folder, "teacher").await.unwrap();
    browser.open(&format!("http://{page}/")).await.unwrap();
    browser.wait_text("#small", "已存入学校资源库", PATIENCE).await.unwrap();
    browser.wait_text("#lamp", "可以关机", PATIENCE).await.unwrap();
    let color = "return [...document.querySelectorAll('#big, #lamp')].map(e => getComputedStyle(e).color)";
    let colors = browser.run(color).await.unwrap();
    assert_ne!(colors[0], colors[1], "what was cut short is not as green as what is safe");
    browser.screenshot(&pictures().unwrap().join("page-cleared.png")).await.unwrap();
}

#[test]
fn a_hub_whose_disk_is_full_says_so_and_stores_the_lesson_when_there_is_room_again() {
    let folder = Folder::new().unwrap();
    let Some(disk) = Disk::small(&folder.join("hub"), 100).unwrap() else { return };
    let school = School::start_with(folder, &Room::card(), "[store]\nkeep_free_mib = 1\n").unwrap();
    school.agent.press("start").unwrap();
    school.agent.wait_for_media(2000, PATIENCE).unwrap();
    let filler = disk.fill().unwrap();
    school.agent.press("stop").unwrap();
    let status = school.agent.wait_for(&["sealed"], PATIENCE).unwrap();
    let lesson = status["lesson"]["id"].as_str().unwrap().to_owned();
    let told = || {
        let status = school.agent.status().ok()?;
        status["upload"]["blocked"].as_str().filter(|said| said.contains("disk is full")).map(drop)
    };
    eventually(PATIENCE, "the hub's word that its disk is full", told).unwrap();
    std::fs::remove_file(filler).unwrap();
    school.agent.wait_for(&["stored"], PATIENCE).unwrap();
    let stored = school.stored(&lesson).unwrap();
    assert!(stored.verified(), "{:#}", stored.report);
}
