//! Keys change and machines are replaced: what was signed before stays signed, and nobody slips in between.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use lectern_tests::programs::Programs;
use lectern_tests::school::{DEVICE, SCHOOL};
use lectern_tests::{Console, Room, School, eventually, skipped};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);

fn press(school: &School) {
    school.agent.press("start").unwrap();
    school.agent.wait_for_media(1500, PATIENCE).unwrap();
    school.agent.press("stop").unwrap();
}

fn record(school: &School) -> String {
    press(school);
    let status = school.agent.wait_for(&["stored"], PATIENCE).unwrap();
    status["lesson"]["id"].as_str().unwrap().to_owned()
}

/// Checks the log of a hub that does not run: nothing is wrong, and no lesson of the chain is missing.
fn whole_log(school: &School) {
    let programs = Programs::find().unwrap();
    let out = say(&programs.hub, &school.folder.join("hub.toml"), &["log", "check", "--json"]);
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&report["faults"], &report["notes"]), (&json!([]), &json!([])), "{report}");
}

fn say(program: &std::path::Path, config: &std::path::Path, words: &[&str]) -> Output {
    let out = Command::new(program).args(words).arg("--config").arg(config).output().unwrap();
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    out
}

/// The keys a lesson's manifest and receipt are signed with.
fn signers(school: &School, lesson: &str) -> (String, String) {
    let key = |name: &str| {
        let bytes = std::fs::read(school.hub.lesson_folder(lesson).join(name)).unwrap();
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        document["signature"]["key_id"].as_str().unwrap().to_owned()
    };
    (key("manifest.json"), key("receipt.json"))
}

fn whole(school: &School, lesson: &str) {
    let report = school.agent.verify(&school.hub.lesson_folder(lesson)).unwrap();
    assert!(report["sound"] == true && report["receipted"] == true, "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn device_and_hub_change_their_keys_and_every_lesson_stays_whole() {
    let mut school = School::start(&Room::card()).unwrap();
    let programs = Programs::find().unwrap();
    let first = record(&school);

    school.agent.process.stop();
    say(&programs.lectern, &school.agent.config, &["key", "rotate"]);
    school.agent.restart(&school.folder).unwrap();
    let second = record(&school);
    assert_ne!(signers(&school, &first).0, signers(&school, &second).0, "the device signs with its new key");

    school.hub.process.stop();
    say(&programs.hub, &school.folder.join("hub.toml"), &["key", "rotate"]);
    school.hub.restart(&school.folder).unwrap();
    // Before any lesson: what the hub says with its new key is heard, since the old key vouches for it.
    let console = Console::admin(&school.hub).await.unwrap();
    let asked = console.post(&format!("/rooms/{DEVICE}/commands"), &[("verb", "refresh")]).await.unwrap();
    assert!(asked.status().is_redirection() || asked.status().is_success(), "{}", asked.status());
    let carried_out = || {
        let rows = school.hub.rows().ok()?;
        let state = "SELECT state FROM command ORDER BY rowid DESC LIMIT 1";
        let state: String = rows.query_row(state, [], |row| row.get(0)).ok()?;
        assert_ne!(state, "denied");
        (state == "successful").then_some(())
    };
    eventually(PATIENCE, "the command", carried_out).unwrap();
    let third = record(&school);
    assert_ne!(signers(&school, &second).1, signers(&school, &third).1, "the hub signs with its new key");
    for lesson in [&first, &second, &third] {
        whole(&school, lesson);
    }

    school.hub.process.stop();
    whole_log(&school);
}

/// Everything at and below a place.
fn below(place: &Path) -> Vec<PathBuf> {
    let mut all = vec![place.to_owned()];
    let mut at = 0;
    while let Some(path) = all.get(at).cloned() {
        at += 1;
        if path.symlink_metadata().unwrap().is_dir() {
            all.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    all
}

#[test]
fn what_root_does_to_services_that_are_stopped_leaves_nothing_of_roots() {
    const SERVICE: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        return skipped("what root leaves behind is tried by root alone");
    }
    let mut school = School::start(&Room::card()).unwrap();
    let programs = Programs::find().unwrap();
    record(&school);
    school.agent.process.stop();
    school.hub.process.stop();
    let (agent, hub) = (&school.agent.config, &school.hub.config);
    let add = ["device", "add", "--school", SCHOOL, "--device", "room-9", "--room", "九"];
    let again = [&add[..], &["--replace", "--new-key"]].concat();
    let token = ["token", "new", "--school", SCHOOL, "--room", "十"];
    let hubs: [&[&str]; 8] = [
        &token,
        &add,
        &again,
        &["key", "rotate"],
        &["key", "rotate", "--lost"],
        &["password", "--json"],
        &["log", "check"],
        &["check"],
    ];
    let agents: [&[&str]; 5] =
        [&["fsck"], &["key", "rotate"], &["forget-hub"], &["key", "rotate"], &["check"]];
    // The folders as they are after work, and as they are before the first start.
    for fresh in [false, true] {
        for data in [&school.agent.data, &school.hub.data] {
            if fresh {
                std::fs::remove_dir_all(data).unwrap();
                std::fs::create_dir(data).unwrap();
            }
            for path in below(data) {
                lchown(path, Some(SERVICE), Some(SERVICE)).unwrap();
            }
        }
        let words = hubs.iter().map(|words| (&programs.hub, hub, *words));
        for (program, config, words) in
            words.chain(agents.iter().map(|words| (&programs.lectern, agent, *words)))
        {
            say(program, config, words);
            let all = [below(&school.agent.data), below(&school.hub.data)].concat();
            let of_root: Vec<_> =
                all.iter().filter(|path| path.symlink_metadata().unwrap().uid() != SERVICE).collect();
            assert!(of_root.is_empty(), "after {words:?}: {of_root:?}");
        }
    }
}

#[test]
fn a_hub_whose_key_is_lost_is_believed_again_by_hand() {
    let mut school = School::start(&Room::card()).unwrap();
    let programs = Programs::find().unwrap();
    let first = record(&school);
    school.hub.process.stop();
    std::fs::remove_file(school.hub.data.join("hub.key")).unwrap();
    let out = say(&programs.hub, &school.hub.config, &["key", "rotate", "--lost", "--json"]);
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(said["lost"] == true && said["old"] != said["new"], "{said}");
    school.hub.restart(&school.folder).unwrap();
    press(&school);
    let log = school.agent.process.log().to_owned();
    eventually(PATIENCE, "the refusal", || {
        std::fs::read_to_string(&log).ok()?.contains("if that key was lost at the hub").then_some(())
    })
    .unwrap();
    school.agent.process.stop();
    say(&programs.lectern, &school.agent.config, &["forget-hub"]);
    school.agent.restart(&school.folder).unwrap();
    eventually(PATIENCE, "what waited is stored", || {
        let upload = &school.agent.status().ok()?["upload"];
        (upload["reachable"] == true && upload["waiting_lessons"] == 0).then_some(())
    })
    .unwrap();
    let last = record(&school);
    for lesson in [&first, &last] {
        whole(&school, lesson);
    }
    school.hub.process.stop();
    whole_log(&school);
}

#[test]
fn a_replaced_machine_is_let_in_by_a_person_only_and_what_the_old_one_recorded_stays() {
    let mut school = School::start(&Room::card()).unwrap();
    let programs = Programs::find().unwrap();
    let first = record(&school);

    // Another machine with the device's name and password: its key is another one.
    school.agent.process.stop();
    let old = school.agent.data.with_extension("old");
    std::fs::rename(&school.agent.data, &old).unwrap();
    school.agent.restart(&school.folder).unwrap();
    press(&school);
    let blocked = eventually(PATIENCE, "the refusal", || {
        let status = school.agent.status().ok()?;
        status["upload"]["blocked"].as_str().map(ToOwned::to_owned)
    });
    let blocked = blocked.unwrap();
    assert!(blocked.contains("key"), "{blocked}");
    assert_ne!(school.agent.status().unwrap()["safe_to_switch_off"], true);

    school.hub.process.stop();
    let add = ["device", "add", "--school", SCHOOL, "--device", DEVICE, "--room", "301教室"];
    let more = ["--replace", "--new-key", "--json"];
    let out = say(&programs.hub, &school.folder.join("hub.toml"), &[&add[..], &more[..]].concat());
    let device: Value = serde_json::from_slice(&out.stdout).unwrap();
    std::fs::write(school.folder.join("device.password"), device["password"].as_str().unwrap()).unwrap();
    school.hub.restart(&school.folder).unwrap();
    school.agent.restart(&school.folder).unwrap();
    let there = eventually(PATIENCE, "the receipt", || {
        let (list, _) = school.agent.lectern(&["lessons"]).ok()?;
        list.as_array()?.iter().find(|lesson| lesson["state"] == "stored")?["id"]
            .as_str()
            .map(ToOwned::to_owned)
    });
    let second = there.unwrap();
    let (old_key, new_key) = (signers(&school, &first).0, signers(&school, &second).0);
    assert_ne!(old_key, new_key);
    whole(&school, &second);
    let keys = old.join("keys.json");
    let mut verify = Command::new(&programs.lectern);
    verify.args(["verify", "--keys"]).arg(keys).arg(school.hub.lesson_folder(&first));
    let out = verify.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));

    school.hub.process.stop();
    whole_log(&school);
}
