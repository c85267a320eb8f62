//! Rooms witness their hub: a hub that was rolled back from a backup is found out by the next lesson, whose
//! recording stays where it is, and by the log check with a room's own checkpoint.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::process::Command;
use std::time::Duration;

use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Room, School, copy_folder};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

fn record(agent: &Agent) -> String {
    agent.press("start").unwrap();
    agent.wait_for_media(3000, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    let status = agent.wait_for(&["sealed", "stored"], PATIENCE).unwrap();
    status["lesson"]["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_hub_rolled_back_from_a_backup_is_found_out_by_the_room_and_its_lesson_is_kept() {
    let School { mut hub, agent, folder } = School::start(&Room::card()).unwrap();
    let first = record(&agent);
    agent.wait_for(&["stored"], PATIENCE).unwrap();
    // The device gave out signed heads while it recorded; the receipt says that they bear the bytes out.
    let receipt = std::fs::read(hub.lesson_folder(&first).join("receipt.json")).unwrap();
    let receipt: Value = serde_json::from_slice(&receipt).unwrap();
    assert!(receipt["document"]["heads"]["count"].as_u64().unwrap() >= 1, "{receipt:#}");
    assert!(receipt["document"]["log"]["checkpoint"]["document"]["size"] == 1, "{receipt:#}");
    assert!(hub.lesson_folder(&first).join("heads.jsonl").exists());

    hub.process.kill();
    let backup = folder.join("backup");
    copy_folder(&hub.data, &backup).unwrap();
    hub.restart(&folder).unwrap();
    record(&agent);
    agent.wait_for(&["stored"], PATIENCE).unwrap();

    hub.process.kill();
    std::fs::remove_dir_all(&hub.data).unwrap();
    copy_folder(&backup, &hub.data).unwrap();
    hub.restart(&folder).unwrap();
    let third = record(&agent);
    let alarm = lectern_tests::eventually(PATIENCE, "the room's alarm", || {
        let db = rusqlite::Connection::open(agent.data.join("state.db")).ok()?;
        let find = "SELECT body FROM alarms WHERE code = 'log_mismatch'";
        db.query_row(find, [], |row| row.get::<_, String>(0)).ok()
    });
    let alarm: Value = serde_json::from_str(&alarm.unwrap()).unwrap();
    assert_eq!(alarm["state"], "raised", "{alarm}");
    assert!(alarm["detail"].as_str().unwrap().contains("存证日志"), "{alarm}");
    let status = agent.status().unwrap();
    assert_eq!(status["lesson"]["state"], "sealed", "a receipt of such a log does not count: {status}");
    assert_eq!(status["safe_to_switch_off"], false);
    assert!(agent.data.join("lessons").join(third).join("take-1.mp4").exists());

    hub.process.stop();
    let programs = Programs::find().unwrap();
    let mut check = Command::new(&programs.hub);
    check.args(["log", "check", "--json", "--config"]).arg(folder.join("hub.toml"));
    check.arg("--witness").arg(agent.data.join("checkpoint.json"));
    let out = check.output().unwrap();
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(4), "{report}");
    assert_eq!(report["faults"][0]["kind"], "witness", "{report}");
}
