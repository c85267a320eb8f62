//! A bucket of the school's own as a destination, against a real S3 store: Garage, which checks signatures, and moto, which
//! believes everything. `packaging/setup.sh garage` installs both; without them the tests say so and do nothing.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use lectern_tests::garage::Garage;
use lectern_tests::{Agent, Folder, Room, School, eventually};
use lectern_wire::PART_SIZE;
use lectern_wire::digest::Digest;
use rustix::process::Signal;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);
/// Five whole parts and a rest.
const SIZE: usize = 45_000_000;

/// The agent's section for a bucket.
fn settings(port: u16, secret: &Path, key: &str) -> String {
    format!(
        "[[destination]]\nname = \"cloud\"\nkind = \"s3\"\nurl = \"http://127.0.0.1:{port}\"\nbucket = \"lessons\"\n\
         prefix = \"rooms/\"\naccess_key = \"{key}\"\nsecret_file = {secret:?}\n"
    )
}

fn row(agent: &Agent, id: &str) -> Value {
    let (list, _) = agent.lectern(&["lessons"]).unwrap();
    list.as_array().unwrap().iter().find(|l| l["id"] == id).unwrap().clone()
}

fn cloud(agent: &Agent, id: &str) -> Value {
    let row = row(agent, id);
    row["destinations"].as_array().unwrap().iter().find(|d| d["name"] == "cloud").cloned().unwrap_or_default()
}

/// A lesson as large as a real one is made of a small one: its take's bytes are replaced by others, and the rows and the
/// manifest say so. The hub has the small one already; only the bucket is owed the large one.
fn grow(agent: &Agent, id: &str) -> Digest {
    let folder = agent.data.join("lessons").join(id);
    let mut state = 7_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(SIZE)
    .collect();
    std::fs::write(folder.join("take-1.mp4"), &bytes).unwrap();
    let path = folder.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let rows = rusqlite::Connection::open(agent.data.join("state.db")).unwrap();
    rows.execute("DELETE FROM parts WHERE lesson = ?1", [id]).unwrap();
    let mut parts = Vec::new();
    for (n, part) in bytes.chunks(usize::try_from(PART_SIZE).unwrap()).enumerate() {
        let sha256 = Digest::of(part).to_string();
        parts.push(json!({ "n": n, "size": part.len(), "sha256": sha256 }));
        let sql = "INSERT INTO parts (lesson, take, n, size, sha256, stored) VALUES (?1, 1, ?2, ?3, ?4, 1)";
        rows.execute(sql, rusqlite::params![id, n as i64, part.len() as i64, sha256]).unwrap();
    }
    let whole = Digest::of(&bytes);
    let take = &mut manifest["document"]["takes"][0];
    (take["size"], take["sha256"], take["parts"]) = (SIZE.into(), whole.to_string().into(), parts.into());
    std::fs::write(&path, manifest.to_string()).unwrap();
    rows.execute("DELETE FROM deliveries WHERE lesson = ?1 AND destination = 'cloud'", [id]).unwrap();
    whole
}

#[test]
fn a_bucket_gets_every_part_once_over_a_kill_and_a_store_that_goes_away() {
    let program = match Garage::find() {
        Ok(program) => program,
        Err(why) => return lectern_tests::skipped(&why),
    };
    let folder = Folder::new().unwrap();
    let mut garage = Garage::start(&folder, &program).unwrap();
    let keys = std::fs::read_to_string(&garage.keys).unwrap();
    let (key, secret) = keys.trim().split_once('\n').unwrap();
    let secret_file = folder.join("bucket.secret");
    std::fs::write(&secret_file, secret).unwrap();
    let mut room = Room::card();
    room.sources += &settings(garage.port, &secret_file, key);
    let mut school = School::start_in(folder, &room).unwrap();
    let id = {
        let agent = &school.agent;
        agent.press("start").unwrap();
        agent.wait_for_media(2000, PATIENCE).unwrap();
        agent.press("stop").unwrap();
        agent.wait_for(&["stored"], PATIENCE).unwrap()["lesson"]["id"].as_str().unwrap().to_owned()
    };
    let word = school.agent.data.join("lessons").join(&id).join("stored-cloud.json");
    let word: Value = serde_json::from_slice(&std::fs::read(word).unwrap()).unwrap();
    let by: BTreeSet<_> =
        word["objects"].as_array().unwrap().iter().map(|o| o["by"].as_str().unwrap()).collect();
    assert_eq!(by, BTreeSet::from(["read back"]));

    school.agent.process.kill();
    let whole = grow(&school.agent, &id);
    school.agent.restart(&school.folder).unwrap();
    // In the middle of it the agent is killed, then the store.
    let sent = |agent: &Agent| cloud(agent, &id)["sent_bytes"].as_u64().unwrap_or(0);
    eventually(PATIENCE, "the first parts", || (sent(&school.agent) >= PART_SIZE).then_some(())).unwrap();
    school.agent.process.kill();
    school.agent.restart(&school.folder).unwrap();
    assert!(sent(&school.agent) >= PART_SIZE, "what was sent is remembered");
    garage.process.signal(Signal::STOP);
    garage.process.signal(Signal::CONT);
    garage.restart(&school.folder).unwrap();
    let there = eventually(PATIENCE, "the lesson in the bucket", || {
        cloud(&school.agent, &id)["confirmed"].is_string().then_some(())
    });
    assert!(there.is_ok(), "{:#}\n{}", row(&school.agent, &id), school.agent.process.tail_of_log());
    let word = school.agent.data.join("lessons").join(&id).join("stored-cloud.json");
    let word: Value = serde_json::from_slice(&std::fs::read(word).unwrap()).unwrap();
    assert_eq!(word["objects"][0]["sha256"], whole.to_string());
    assert_eq!(word["objects"][0]["size"], SIZE);
}
