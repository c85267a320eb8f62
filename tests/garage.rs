//! Lessons at a real S3 store: Garage, the built hub and the built agent, and a store that believes everything.
//! Skipped, loudly, where Garage is not built.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lectern_tests::console::Console;
use lectern_tests::garage::{Garage, settings};
use lectern_tests::moto::Moto;
use lectern_tests::planted::{is_stored, plant};
use lectern_tests::programs::Programs;
use lectern_tests::school::{DEVICE, SCHOOL};
use lectern_tests::{Fault, Folder, Relay, Room, School, eventually};
use lectern_wire::digest::Digest;
use reqwest::StatusCode;
use rusty_s3::Method;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);

/// A school whose hub keeps lessons at Garage; nothing, and a loud word, where Garage is not built.
struct AtGarage {
    school: School,
    garage: Garage,
}

impl AtGarage {
    fn start(more: &str) -> Option<Self> {
        Self::with(Garage::start, more)
    }

    fn with(start: fn(&Folder, &Path) -> anyhow::Result<Garage>, more: &str) -> Option<Self> {
        let program = Garage::find().map_err(|why| lectern_tests::skipped(&why)).ok()?;
        let folder = Folder::new().unwrap();
        let garage = start(&folder, &program).unwrap();
        let school = School::start_with(folder, &Room::card(), &garage.settings(more)).unwrap();
        let started = Self { school, garage };
        eventually(PATIENCE, "what the store can be trusted with", || started.trust()).unwrap();
        Some(started)
    }

    fn trust(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.school.hub.data.join("store.json")).ok()?).ok()
    }

    /// Records a short lesson; its id.
    fn record(&self) -> String {
        let agent = &self.school.agent;
        agent.press("start").unwrap();
        agent.wait_for_media(2500, PATIENCE).unwrap();
        agent.press("stop").unwrap();
        let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
        status["lesson"]["id"].as_str().expect("an id").to_owned()
    }

    /// How many parts of a lesson the hub knows to be at the store.
    fn arrived(&self, lesson: &str) -> Option<i64> {
        let count = "SELECT count(*) FROM part WHERE lesson = ?1";
        self.school.hub.rows().ok()?.query_row(count, [lesson], |row| row.get(0)).ok()
    }

    fn key(lesson: &str, name: &str) -> String {
        format!("{SCHOOL}/{DEVICE}/{lesson}/{name}")
    }

    /// The manifest of a lesson as the hub has it.
    fn manifest(&self, lesson: &str) -> Value {
        let path = self.school.hub.lesson_folder(lesson).join("manifest.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    /// Checks a lesson by what the store itself gives out, without the hub.
    async fn assert_sound(&self, lesson: &str) {
        self.assert_whole(lesson).await;
        assert_eq!(self.garage.uploads().await.unwrap(), Vec::<String>::new(), "no upload is left open");
    }

    async fn assert_whole(&self, lesson: &str) {
        let manifest = self.manifest(lesson);
        for take in manifest["document"]["takes"].as_array().expect("takes") {
            let key = Self::key(lesson, take["file"].as_str().expect("a file"));
            let url = self.garage.url(Method::Get, &key, &[]);
            let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
            let bytes =
                http.get(url).send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
            assert_eq!(json!(Digest::of(&bytes)), take["sha256"], "{key}");
        }
    }

    fn device(&self) -> Device {
        let password = std::fs::read_to_string(self.school.folder.join("device.password")).unwrap();
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        Device { http, url: self.school.hub.url(), password }
    }
}

/// The room's device, by hand.
struct Device {
    http: reqwest::Client,
    url: String,
    password: String,
}

impl Device {
    async fn ask(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.http.request(method, format!("{}/api/v1/lessons{path}", self.url));
        request = request.basic_auth(DEVICE, Some(&self.password));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    async fn put(&self, grant: &Value, bytes: &[u8]) -> StatusCode {
        self.try_put(grant, bytes).await.unwrap()
    }

    async fn try_put(&self, grant: &Value, bytes: &[u8]) -> reqwest::Result<StatusCode> {
        let mut request = self.http.put(grant["url"].as_str().expect("a url")).body(bytes.to_vec());
        for (name, value) in grant["headers"].as_object().into_iter().flatten() {
            request = request.header(name, value.as_str().expect("a value"));
        }
        Ok(request.send().await?.status())
    }
}

fn check(programs: &Programs, config: &Path) -> (Option<i32>, Value) {
    let mut command = Command::new(&programs.hub);
    let out = command.args(["check", "--json", "--config"]).arg(config).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    (out.status.code(), serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{said}")))
}

fn not_ok(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().expect("findings").iter();
    findings.filter(|f| f["ok"] == false).map(|f| f["check"].as_str().expect("a name")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lesson_goes_straight_to_garage_plays_from_there_and_is_thrown_away_there() {
    let Some(at) = AtGarage::start("prefix = \"\"\n") else { return };
    let trust = at.trust().expect("it was tried out");
    assert_eq!((&trust["direct"], &trust["hashes"]), (&json!(true), &json!(true)), "{trust}");
    let lesson = at.record();
    at.assert_sound(&lesson).await;
    let objects = at.garage.objects().await.unwrap();
    let mut expected: Vec<_> = ["heads.jsonl", "manifest.json", "receipt.json", "take-1.mp4"]
        .map(|n| AtGarage::key(&lesson, n))
        .into();
    expected.sort();
    assert_eq!(objects, expected, "and nothing of the trial is left");
    let hub = &at.school.hub;
    assert!(!hub.lesson_folder(&lesson).join("take-1.mp4").exists(), "the hub itself holds no picture");

    // Played by ranges, downloaded whole, joined, verified.
    let manifest = at.manifest(&lesson);
    let take = &manifest["document"]["takes"][0];
    let size = take["size"].as_u64().expect("a size");
    let console = Console::admin(hub).await.unwrap();
    let path = format!("/lessons/{lesson}/takes/1.mp4");
    let whole = console.get(&path).await.unwrap();
    assert_eq!(whole.status(), StatusCode::OK);
    let whole = whole.bytes().await.unwrap();
    assert_eq!(json!(Digest::of(&whole)), take["sha256"]);
    for (from, to) in [(0, 99), (1000, 1000), (size - 10, size - 1)] {
        let request =
            console.request(reqwest::Method::GET, &path).header("range", format!("bytes={from}-{to}"));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
        let range = usize::try_from(from).unwrap()..=usize::try_from(to).unwrap();
        assert_eq!(answer.bytes().await.unwrap(), whole[range], "{from}-{to}");
    }
    let joined = console.get(&format!("/lessons/{lesson}/lesson.mp4")).await.unwrap();
    assert_eq!(joined.status(), StatusCode::OK);
    let copy = at.school.folder.join("joined.mp4");
    std::fs::write(&copy, joined.bytes().await.unwrap()).unwrap();
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args("-nostdin -v warning -xerror -err_detect explode -i".split(' ')).arg(&copy);
    let out = ffmpeg.args("-map 0 -f null -".split(' ')).output().unwrap();
    assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    console.post(&format!("/lessons/{lesson}/verify"), &[]).await.unwrap();
    let checked: Option<String> =
        hub.rows().unwrap().query_row("SELECT check_result FROM lesson", [], |row| row.get(0)).unwrap();
    let checked: Value = serde_json::from_str(&checked.expect("checked")).unwrap();
    assert_eq!((&checked["faults"], &checked["bytes"]), (&json!([]), &json!(size)), "{checked}");
    let folder = at.school.folder.make("copy").unwrap();
    for name in ["manifest.json", "receipt.json"] {
        std::fs::copy(hub.lesson_folder(&lesson).join(name), folder.join(name)).unwrap();
    }
    std::fs::write(folder.join("take-1.mp4"), &whole).unwrap();
    let report = at.school.agent.verify(&folder).unwrap();
    assert!(report["sound"] == true && report["receipted"] == true, "{report}");
    let zip = at.school.folder.join("export.zip");
    let export = console.get(&format!("/lessons/{lesson}/export.zip")).await.unwrap();
    assert_eq!(export.status(), StatusCode::OK);
    std::fs::write(&zip, export.bytes().await.unwrap()).unwrap();
    let report = at.school.agent.verify(&zip).unwrap();
    assert!(report["sound"] == true && report["receipted"] == true, "{report}");

    let (status, said) = at.device().ask(reqwest::Method::DELETE, &format!("/{lesson}"), None).await;
    assert_eq!(status, 204, "{said}");
    assert_eq!(at.garage.objects().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn store_and_hub_die_in_mid_upload_and_every_lesson_is_stored_once_and_whole() {
    let Some(mut at) = AtGarage::start("") else { return };
    let first = at.record();
    plant(&mut at.school.agent, &first, "long-1", 80 << 20).unwrap();
    at.school.agent.restart(&at.school.folder).unwrap();
    eventually(PATIENCE, "the first part", || at.arrived("long-1").filter(|n| *n > 0)).unwrap();
    at.garage.process.kill();
    std::thread::sleep(Duration::from_secs(1));
    at.garage.restart(&at.school.folder).unwrap();
    at.garage.process.freeze();
    at.school.hub.restart(&at.school.folder).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    at.garage.process.thaw();
    at.school.hub.restart(&at.school.folder).unwrap();
    eventually(PATIENCE, "the receipt", || is_stored(&at.school.agent, "long-1").ok()?.then_some(()))
        .unwrap_or_else(|e| {
            panic!("{e}\n{}{}", at.school.hub.process.tail_of_log(), at.school.agent.process.tail_of_log())
        });
    at.assert_sound("long-1").await;
    let receipts = "SELECT count(*) FROM receipt WHERE lesson = 'long-1'";
    let receipts: i64 = at.school.hub.rows().unwrap().query_row(receipts, [], |row| row.get(0)).unwrap();
    assert_eq!(receipts, 1);

    // The hub dies between completing the object and writing the receipt: as its rows stand then.
    at.school.hub.process.kill();
    let db = rusqlite::Connection::open(at.school.hub.data.join("hub.db")).unwrap();
    db.execute("DELETE FROM receipt WHERE lesson = 'long-1'", []).unwrap();
    db.execute("UPDATE lesson SET state = 'verifying' WHERE id = 'long-1'", []).unwrap();
    drop(db);
    // Two uploads that no row knows of: of a lesson of this hub, and of somebody else.
    let orphan = at.garage.begin(&AtGarage::key("long-1", "take-9.mp4")).await.unwrap();
    let other = at.garage.begin("somebody/else/here/take-1.mp4").await.unwrap();
    at.school.hub.restart(&at.school.folder).unwrap();
    let manifest = std::fs::read(at.school.agent.data.join("lessons/long-1/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let device = at.device();
    let (status, receipt) = device.ask(reqwest::Method::POST, "/long-1/seal", Some(manifest.clone())).await;
    assert_eq!(status, 200, "{receipt}");
    let again = device.ask(reqwest::Method::POST, "/long-1/seal", Some(manifest)).await;
    assert_eq!(again, (200, receipt), "sealing twice answers the same receipt");
    let left = || {
        let uploads =
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(at.garage.uploads()));
        uploads.ok().filter(|uploads| !uploads.contains(&orphan))
    };
    assert_eq!(eventually(PATIENCE, "the janitor", left).unwrap(), [other]);
}

/// Kills and freezes at random instants, and these too, are in the soak, many times (see `soak/store.rs`).
#[tokio::test(flavor = "multi_thread")]
async fn while_a_store_answers_wrongly_nothing_is_called_stored_and_then_it_is() {
    let Ok(program) = Garage::find().map_err(|why| lectern_tests::skipped(&why)) else { return };
    let folder = Folder::new().unwrap();
    let garage = Garage::start(&folder, &program).unwrap();
    let relay = Relay::start(garage.port).unwrap();
    let there = settings(&format!("http://127.0.0.1:{}", relay.port), &garage.keys, "");
    let school = School::start_with(folder, &Room::card(), &there).unwrap();
    let mut at = AtGarage { school, garage };
    eventually(PATIENCE, "what the store can be trusted with", || at.trust()).unwrap();
    let lessons = [
        [Fault::Status(429), Fault::Status(500), Fault::Garbage],
        // Of every answer; of what is sent, less than a part; 200 for everything.
        [Fault::HalfAnswer(100), Fault::CutAfter(3000), Fault::LoginPage],
    ];
    for faults in lessons {
        let agent = &at.school.agent;
        agent.press("start").unwrap();
        agent.wait_for_media(1500, PATIENCE).unwrap();
        relay.set(faults[0]);
        agent.press("stop").unwrap();
        let mut lesson = String::new();
        for fault in faults {
            let before = relay.done();
            relay.set(fault);
            eventually(PATIENCE, "somebody at the store", || (relay.done() > before).then_some(())).unwrap();
            std::thread::sleep(Duration::from_millis(300));
            let status = agent.wait_for(&["sealed", "stored"], PATIENCE).unwrap();
            let (state, safe) = (&status["lesson"]["state"], &status["safe_to_switch_off"]);
            assert_eq!((state, safe), (&json!("sealed"), &json!(false)), "{fault:?}");
            status["lesson"]["id"].as_str().expect("an id").clone_into(&mut lesson);
        }
        relay.set(Fault::None);
        agent.wait_for(&["stored"], PATIENCE).unwrap();
        at.assert_whole(&lesson).await;
    }
    // An upload whose beginning was not answered was begun again; the janitor ends the first.
    at.school.hub.restart(&at.school.folder).unwrap();
    let open = || {
        let uploads =
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(at.garage.uploads()));
        uploads.ok().filter(Vec::is_empty)
    };
    eventually(PATIENCE, "the janitor", open).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_nodes_one_dies_in_mid_upload_and_nobody_notices() {
    let Some(mut at) = AtGarage::with(Garage::three, "") else { return };
    let first = at.record();
    plant(&mut at.school.agent, &first, "long-1", 60 << 20).unwrap();
    at.school.agent.restart(&at.school.folder).unwrap();
    eventually(PATIENCE, "the first part", || at.arrived("long-1").filter(|n| *n > 0)).unwrap();
    at.garage.others.pop().expect("a third node").kill();
    eventually(PATIENCE, "the receipt", || is_stored(&at.school.agent, "long-1").ok()?.then_some(()))
        .unwrap();
    at.assert_sound("long-1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_damaged_on_its_way_or_at_the_store_counts_for_nothing_and_comes_again() {
    let Some(mut at) = AtGarage::start("") else { return };
    let first = at.record();
    let device = at.device();
    plant(&mut at.school.agent, &first, "long-2", 20 << 20).unwrap();
    let take = std::fs::read(at.school.agent.data.join("lessons/long-2/take-1.mp4")).unwrap();
    let manifest = announce(&at, &device, "long-2").await;
    let parts = manifest["document"]["takes"][0]["parts"].as_array().expect("parts").clone();
    for (n, part) in parts.iter().enumerate() {
        let bytes = take.chunks(8 << 20).nth(n).expect("a part");
        let mut damaged = bytes.to_vec();
        damaged[77] ^= 4;
        let (status, grant) =
            device.ask(reqwest::Method::POST, "/long-2/takes/1/parts:grant", Some(part.clone())).await;
        assert_eq!((status, &grant["confirm"]), (200, &json!(true)), "{grant}");
        assert!(device.put(&grant, &damaged).await.is_client_error(), "damaged on its way");
        let sent = "/long-2/takes/1/parts:sent";
        let (status, said) = device.ask(reqwest::Method::POST, sent, Some(part.clone())).await;
        assert_eq!((status, said["code"].as_str()), (409, Some("part_not_there")));
        assert_eq!(device.put(&grant, bytes).await, StatusCode::OK);
        if n == 0 {
            // Its word was lost: asking again finds it there, and nothing is sent twice.
            let (_, grant) =
                device.ask(reqwest::Method::POST, "/long-2/takes/1/parts:grant", Some(part.clone())).await;
            assert_eq!(grant["url"], json!(null));
        }
        for _ in 0..2 {
            assert_eq!(device.ask(reqwest::Method::POST, sent, Some(part.clone())).await.0, 204);
        }
    }
    // At the store somebody puts other bytes in the place of the take: the hub does not take them for it.
    let upload = at.garage.uploads().await.unwrap().pop().expect("an upload");
    let key = AtGarage::key("long-2", "take-1.mp4");
    let (status, _) = at.garage.ask(Method::Delete, &key, &[("uploadId", &upload)]).await.unwrap();
    assert_eq!(status, 204);
    let mut other = take.clone();
    other[9 << 20] ^= 1;
    let put = device.http.put(at.garage.url(Method::Put, &key, &[])).body(other).send().await.unwrap();
    assert_eq!(put.status(), StatusCode::OK);
    let (status, said) = device.ask(reqwest::Method::POST, "/long-2/seal", Some(manifest)).await;
    assert_eq!((status, said["code"].as_str()), (409, Some("parts_missing")), "{said}");
    assert!(!at.garage.objects().await.unwrap().contains(&key), "the damaged object is gone");

    // The agent brings it again, and finds a byte that has changed on its own disk.
    at.school.agent.restart(&at.school.folder).unwrap();
    eventually(PATIENCE, "the receipt", || is_stored(&at.school.agent, "long-2").ok()?.then_some(()))
        .unwrap();
    at.assert_sound("long-2").await;
    plant(&mut at.school.agent, &first, "long-3", 20 << 20).unwrap();
    let path = at.school.agent.data.join("lessons/long-3/take-1.mp4");
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 9 << 20).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 9 << 20).unwrap();
    at.school.agent.restart(&at.school.folder).unwrap();
    let log = at.school.agent.process.log().to_owned();
    let noticed = || std::fs::read_to_string(&log).ok()?.contains("changed on this disk").then_some(());
    eventually(PATIENCE, "the damage", noticed).unwrap();
    assert!(!is_stored(&at.school.agent, "long-3").unwrap());
}

/// Says by hand that a planted lesson comes; its manifest, as the agent has it.
async fn announce(at: &AtGarage, device: &Device, lesson: &str) -> Value {
    let path = at.school.agent.data.join("lessons").join(lesson).join("manifest.json");
    let manifest = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let word = json!({ "lesson_id": lesson, "started_wall_ms": 1, "key": device_key(at) });
    let (status, said) = device.ask(reqwest::Method::POST, "", Some(word)).await;
    assert_eq!(status, 200, "{said}");
    manifest
}

/// The room's public signing key, as its agent shows it.
fn device_key(at: &AtGarage) -> Value {
    let key: String =
        at.school.hub.rows().unwrap().query_row("SELECT key FROM device", [], |row| row.get(0)).unwrap();
    json!(key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_ended_before_it_was_used_is_refused_and_asked_for_again() {
    let Some(mut at) = AtGarage::with(Garage::with_clock, "") else { return };
    let first = at.record();
    let device = at.device();
    plant(&mut at.school.agent, &first, "long-4", 62 << 20).unwrap();
    let folder = at.school.agent.data.join("lessons/long-4");
    let manifest = announce(&at, &device, "long-4").await;
    let parts = manifest["document"]["takes"][0]["parts"].as_array().expect("parts").clone();
    let ask = async |verb: &str, n: usize| {
        let path = format!("/long-4/takes/1/parts:{verb}");
        device.ask(reqwest::Method::POST, &path, Some(parts[n].clone())).await
    };
    let bytes = std::fs::read(folder.join("take-1.mp4")).unwrap();
    let (part, other) = (&bytes[..8 << 20], &bytes[48 << 20..56 << 20]);
    assert_eq!(device.put(&ask("grant", 0).await.1, part).await, StatusCode::OK);
    assert_eq!(ask("sent", 0).await.0, 204);
    // Late in the lesson: what the hub looks up for it tells the hub the time.
    let held = ask("grant", 6).await.1;
    // An hour goes by at the store, which is four times as long as a grant holds.
    let clock = at.garage.clock.take().expect("its own clock");
    clock.off_by(3600).unwrap();
    // A store may hang up on what it refuses before it has all of it.
    let refused = device.try_put(&held, other).await;
    assert!(refused.as_ref().map_or(true, StatusCode::is_client_error), "{refused:?}");
    assert_eq!(at.arrived("long-4"), Some(1));

    // The hub has not heard of that hour: what the agent is granted first has ended already.
    at.school.agent.restart(&at.school.folder).unwrap();
    eventually(PATIENCE, "the receipt", || is_stored(&at.school.agent, "long-4").ok()?.then_some(()))
        .unwrap_or_else(|e| panic!("{e}\n{}", at.school.agent.process.tail_of_log()));
    let log = std::fs::read_to_string(at.garage.process.log()).unwrap();
    let refused = |n: usize| {
        let part = format!("partNumber={n}&");
        log.lines().filter(|line| line.contains("too old in response to") && line.contains(&part)).count()
    };
    let refused: Vec<_> = (2..=8).map(refused).collect();
    assert_eq!(refused[0], 1, "refused once, then one that holds: {refused:?}\n{log}");
    assert!(refused.iter().all(|n| *n <= 1), "none is refused twice: {refused:?}\n{log}");
    clock.off_by(0).unwrap();
    at.assert_sound("long-4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_say_what_it_has_is_asked_the_time_before_a_part_is_granted_anew() {
    let Some(mut at) = AtGarage::with(Garage::with_clock, "") else { return };
    // As a store is found that checks each part's hash and forgets it.
    let mut trust = at.trust().unwrap();
    assert_eq!((&trust["direct"], &trust["hashes"]), (&json!(true), &json!(true)));
    trust["hashes"] = json!(false);
    std::fs::write(at.school.hub.data.join("store.json"), trust.to_string()).unwrap();
    at.school.hub.process.stop();
    at.school.hub.restart(&at.school.folder).unwrap();
    let first = at.record();
    let device = at.device();
    plant(&mut at.school.agent, &first, "long-5", 30 << 20).unwrap();
    let manifest = announce(&at, &device, "long-5").await;
    let parts = manifest["document"]["takes"][0]["parts"].as_array().expect("parts").clone();
    let grant = async |n: usize| {
        device.ask(reqwest::Method::POST, "/long-5/takes/1/parts:grant", Some(parts[n].clone())).await.1
    };
    let bytes = std::fs::read(at.school.agent.data.join("lessons/long-5/take-1.mp4")).unwrap();
    assert_eq!(device.put(&grant(0).await, &bytes[..8 << 20]).await, StatusCode::OK);
    let clock = at.garage.clock.take().expect("its own clock");
    clock.off_by(3600).unwrap();
    // Nothing has told the hub: what it grants has ended already. Asked once more, it asks the store.
    let next = &bytes[8 << 20..16 << 20];
    let refused = device.try_put(&grant(1).await, next).await;
    assert!(refused.as_ref().map_or(true, StatusCode::is_client_error), "{refused:?}");
    assert_eq!(device.put(&grant(1).await, next).await, StatusCode::OK);
    at.school.agent.restart(&at.school.folder).unwrap();
    eventually(PATIENCE, "the receipt", || is_stored(&at.school.agent, "long-5").ok()?.then_some(()))
        .unwrap_or_else(|e| panic!("{e}\n{}", at.school.agent.process.tail_of_log()));
    clock.off_by(0).unwrap();
    at.assert_sound("long-5").await;
}

#[test]
fn the_check_says_what_garage_and_a_file_store_can_be_trusted_with() {
    let programs = Programs::find().unwrap();
    let folder = Folder::new().unwrap();
    let config = folder.join("hub.toml");
    let data = folder.join("hub");
    std::fs::write(&config, format!("data_dir = {data:?}\n[store]\nkeep_free_mib = 1\n")).unwrap();
    let (code, report) = check(&programs, &config);
    assert_eq!((code, not_ok(&report)), (Some(0), Vec::new()), "{report}");
    assert_eq!(report["store"], "file");
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0, "nothing of the trial is left");

    let Ok(program) = Garage::find().map_err(|why| lectern_tests::skipped(&why)) else { return };
    let mut garage = Garage::start(&folder, &program).unwrap();
    std::fs::write(&config, format!("data_dir = {data:?}\n{}", garage.settings(""))).unwrap();
    let (code, report) = check(&programs, &config);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!((&report["usable"], &report["direct"]), (&json!(true), &json!(true)), "{report}");
    assert_eq!(not_ok(&report), ["conditional_write"], "Garage has no conditional writes");
    assert!(data.join("store.json").exists());
    garage.process.kill();
    let mut command = Command::new(&programs.hub);
    let out = command.args(["check", "--config"]).arg(&config).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && said.contains("does not answer"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_believes_everything_is_found_out_and_gets_its_parts_from_the_hub() {
    let Ok(python) = Moto::find().map_err(|why| lectern_tests::skipped(&why)) else { return };
    let programs = Programs::find().unwrap();
    let folder = Folder::new().unwrap();
    let moto = Moto::start(&folder, &python).unwrap();
    let (config, data) = (folder.join("check.toml"), folder.join("checked"));
    std::fs::write(&config, format!("data_dir = {data:?}\n{}", settings(&moto.url(), &moto.keys, "")))
        .unwrap();
    std::fs::create_dir(&data).unwrap();
    let (code, report) = check(&programs, &config);
    assert_eq!(
        (code, &report["usable"], &report["direct"]),
        (Some(0), &json!(true), &json!(false)),
        "{report}"
    );
    let weak = not_ok(&report);
    for lie in ["wrong_hash", "hash_left_out", "longer", "expired"] {
        assert!(weak.contains(&lie), "{lie} in {weak:?}");
    }

    let school = School::start_with(folder, &Room::card(), &settings(&moto.url(), &moto.keys, "")).unwrap();
    school.agent.press("start").unwrap();
    school.agent.wait_for_media(2500, PATIENCE).unwrap();
    school.agent.press("stop").unwrap();
    let status = school.agent.wait_for(&["stored"], PATIENCE).unwrap();
    let lesson = status["lesson"]["id"].as_str().expect("an id");
    let console = Console::admin(&school.hub).await.unwrap();
    let bytes = console.get(&format!("/lessons/{lesson}/takes/1.mp4")).await.unwrap().bytes().await.unwrap();
    let local = std::fs::read(school.agent.data.join("lessons").join(lesson).join("take-1.mp4")).unwrap();
    assert!(bytes == local, "what plays is what was recorded");
}
