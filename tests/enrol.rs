//! Rooms enrol at a hub that speaks TLS, as people do it: `token new`, a card, `lectern enrol` or the first page.
//!
//! Pictures of the first page, the console's page and the printed cards are left in `target/pictures`, to be looked at.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use lectern_base::clock;
use lectern_tests::fake_clock::FakeClock;
use lectern_tests::planted::is_stored;
use lectern_tests::programs::Programs;
use lectern_tests::school::SCHOOL;
use lectern_tests::{Agent, Browser, Console, Folder, Hub, Impostor, Room, browser, copy_folder, eventually};
use reqwest::StatusCode;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);
/// TLS on loopback too, as everywhere else.
const TLS: &str = "[tls]\nloopback = true\n";

struct Place {
    hub: Hub,
    programs: Programs,
    folder: Folder,
}

fn place() -> Place {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, _) = Hub::start_at(&folder, &programs, "127.0.0.1", TLS).unwrap();
    assert!(hub.secure);
    Place { hub, programs, folder }
}

impl Place {
    fn agent(&self, room: &Room, name: &str) -> Agent {
        Agent::fresh(&self.folder, &self.programs, room, name).unwrap()
    }

    fn row<T: rusqlite::types::FromSql>(&self, sql: &str) -> Option<T> {
        self.hub.rows().unwrap().query_row(sql, [], |row| row.get(0)).ok()
    }

    /// Until a question to the hub's rows is answered with 1.
    fn wait(&self, what: &str, sql: &str) {
        eventually(PATIENCE, what, || self.row::<i64>(sql).filter(|n| *n > 0)).unwrap();
    }

    fn is_online(&self, device: &str) {
        let sql = format!(
            "SELECT count(*) FROM live JOIN device ON id = device WHERE id = '{device}' AND state = 'online'"
        );
        self.wait(&format!("a sample of {device}"), &sql);
    }
}

fn enrolled(agent: &mut Agent, hub: &Hub, code: &str) {
    let (said, exit) = agent.enrol(&hub.address(), code, &[]).unwrap();
    assert_eq!(exit, 0, "{said}");
    agent.wait_until_ready().unwrap();
}

fn lesson(agent: &Agent) -> String {
    agent.press("start").unwrap();
    agent.wait_for_media(2000, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    agent.wait_for(&["stored"], PATIENCE).unwrap()["lesson"]["id"].as_str().unwrap().to_owned()
}

/// The environment of programs whose clock is so far beside the real one.
fn off_by(folder: &Folder, seconds: i64) -> Vec<(String, String)> {
    let clock = FakeClock::new(folder.path()).unwrap();
    clock.off_by(seconds).unwrap();
    clock.env().unwrap()
}

#[test]
fn a_room_whose_clock_stands_at_2013_enrols_by_a_card_tells_how_it_is_and_stores_a_lesson() {
    let place = place();
    let hub = &place.hub;
    let list = place.folder.join("rooms.csv");
    std::fs::write(&list, "教室,设备编号\n302教室,\n录播室,studio\n").unwrap();
    let html = place.folder.join("cards.html");
    let [list, html_path] = [&list, &html].map(|p| p.to_str().unwrap());
    let said =
        hub.lectern_hub(&["token", "new", "--school", SCHOOL, "--rooms", list, "--html", html_path]).unwrap();
    for word in ["302教室（room-302）", "录播室（studio）", &hub.address(), "█"] {
        assert!(said.contains(word), "{word} in {said}");
    }
    let code = said.lines().find_map(|line| line.trim().strip_prefix("登记码")).unwrap().trim().to_owned();
    assert!(std::fs::read_to_string(&html).unwrap().contains(&code));

    let mut room = Room::card();
    room.env = off_by(&place.folder, 1_356_998_400 - clock::wall_ms() / 1000);
    let mut agent = place.agent(&room, "room");
    let (said, exit) = agent.enrol("http://10.0.0.5:8470", &code, &[]).unwrap();
    assert!(exit == 78 && said.contains("leave http:// out"), "{exit} {said}");
    // Small letters, no hyphens, as people type.
    let typed = code.replace('-', "").to_lowercase();
    let (said, exit) = agent.enrol(&hub.address(), &typed, &[]).unwrap();
    assert!(exit == 0 && said.contains("302教室"), "{exit} {said}");
    agent.wait_until_ready().unwrap();
    place.is_online("room-302");
    let id = lesson(&agent);
    place.wait("the receipt", &format!("SELECT count(*) FROM receipt WHERE lesson = '{id}'"));
    place.wait(
        "the device's key",
        "SELECT count(*) FROM device WHERE id = 'room-302' AND key IS NOT NULL AND certified = 1",
    );
    // A clock that is far behind is told as such, and believed by nobody.
    eventually(PATIENCE, "the alarm", || {
        place
            .row::<i64>("SELECT count(*) FROM alarm WHERE device = 'room-302' AND code = 'clock_wrong'")
            .filter(|n| *n > 0)
    })
    .unwrap();
    let floor = rusqlite::Connection::open(agent.data.join("state.db"))
        .unwrap()
        .query_row("SELECT value FROM facts WHERE key = 'clock_floor_ms'", [], |row| row.get::<_, String>(0))
        .unwrap();
    assert!((clock::wall_ms() - floor.parse::<i64>().unwrap()).abs() < 600_000, "{floor}");
    // Nothing of it is readable by others, and the log names no secret.
    let log = std::fs::read_to_string(agent.process.log()).unwrap();
    let hub_log = std::fs::read_to_string(hub.process.log()).unwrap();
    for secret in [&code, &typed] {
        assert!(!log.contains(secret.as_str()) && !hub_log.contains(secret.as_str()));
    }
}

#[test]
fn a_card_that_is_wrong_used_or_expired_is_refused_with_a_sentence() {
    let place = place();
    let hub = &place.hub;
    let code = hub.token("302教室").unwrap();
    let mut first = place.agent(&Room::card(), "first");
    let second = place.agent(&Room::card(), "second");
    let refused = |code: &str, exit: i32, words: &str| {
        let (said, found) = second.enrol(&hub.address(), code, &[]).unwrap();
        assert!(found == exit && said.contains(words), "{found} {said}");
        assert!(!second.data.join("enrolled.toml").exists());
    };
    let mut mistyped = code.clone();
    mistyped.replace_range(0..1, if code.starts_with('7') { "8" } else { "7" });
    refused(&mistyped, 78, "mistyped");
    refused(&code[..9], 78, "has 8");
    // One that is sound, but of another hub.
    refused(&lectern_wire::enrol::Code::new([9; 10]).to_string(), 3, "no card with that code");
    enrolled(&mut first, hub, &code);
    refused(&code, 3, "used already");
    let expired = hub.token("303教室").unwrap();
    let db = rusqlite::Connection::open(hub.data.join("hub.db")).unwrap();
    db.busy_timeout(Duration::from_secs(5)).unwrap();
    db.execute("UPDATE token SET expires_ms = 1 WHERE device = 'room-303'", []).unwrap();
    refused(&expired, 3, "has expired");
    let list = hub.lectern_hub(&["token", "list"]).unwrap();
    assert!(list.contains("used     room-302"), "{list}");
    // Who guesses waits, and is told so.
    for n in 0..9 {
        second.enrol(&hub.address(), &lectern_wire::enrol::Code::new([n; 10]).to_string(), &[]).unwrap();
    }
    refused(&lectern_wire::enrol::Code::new([99; 10]).to_string(), 3, "wait five minutes");
    // A machine that is a room's is not enrolled by accident.
    let (said, exit) = first.enrol(&hub.address(), &code, &[]).unwrap();
    assert!(exit == 3 && said.contains("enrolled already, as 302教室"), "{exit} {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sits_between_a_room_and_its_hub_learns_nothing_and_is_noticed() {
    let place = place();
    let code = place.hub.token("302教室").unwrap();
    let mut agent = place.agent(&Room::card(), "room");
    // Passes everything on: its certificate is not of the hub's authority.
    let silent = Impostor::before(place.hub.http, None).await.unwrap();
    let (said, exit) = agent.enrol(&format!("127.0.0.1:{}", silent.port), &code, &[]).unwrap();
    assert!(exit == 3 && said.contains("not the hub this card is from"), "{exit} {said}");
    assert_eq!(silent.heard(), 1, "the first question came, which tells nothing, and no other");
    // Changes what the hub says.
    let forger = Impostor::before(place.hub.http, Some(("\"now_ms\":1", "\"now_ms\":2"))).await.unwrap();
    let (said, exit) = agent.enrol(&format!("127.0.0.1:{}", forger.port), &code, &[]).unwrap();
    assert!(exit == 3 && said.contains("not the hub this card is from"), "{exit} {said}");
    assert!(!agent.data.join("enrolled.toml").exists());
    // The card is as good as before.
    enrolled(&mut agent, &place.hub, &code);
    // And a hub with another authority is not this room's hub, from now on.
    place.is_online("room-302");
    let toml = std::fs::read_to_string(agent.data.join("enrolled.toml")).unwrap();
    let moved = toml.replace(&format!(":{}", place.hub.http), &format!(":{}", silent.port));
    std::fs::write(agent.data.join("enrolled.toml"), moved).unwrap();
    agent.restart(&place.folder).unwrap();
    let before = silent.heard();
    agent.press("start").unwrap();
    agent.wait_for_media(2000, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    agent.wait_for(&["sealed"], PATIENCE).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(silent.heard(), before, "nothing is told to it");
}

/// A machine with one network card of this address.
fn machine(folder: &Folder, name: &str, address: &str) -> String {
    let root = folder.join(&format!("machine-{name}"));
    let card = root.join("sys/class/net/eth0");
    std::fs::create_dir_all(root.join("sys/devices/pci0")).unwrap();
    std::fs::create_dir_all(&card).unwrap();
    std::os::unix::fs::symlink(root.join("sys/devices/pci0"), card.join("device")).unwrap();
    std::fs::write(card.join("address"), address).unwrap();
    format!("[sense]\nhost = {root:?}\n")
}

#[test]
fn a_cloned_disk_enrols_anew_and_the_room_it_came_from_goes_on() {
    let place = place();
    let mut room = Room::card();
    room.sources += &machine(&place.folder, "a", "3c:7c:3f:01:02:03");
    let mut original = place.agent(&room, "original");
    enrolled(&mut original, &place.hub, &place.hub.token("302教室").unwrap());
    lesson(&original);
    original.process.stop();
    copy_folder(&original.data, &place.folder.join("clone")).unwrap();
    original.restart(&place.folder).unwrap();

    let mut other = Room::card();
    other.sources += &machine(&place.folder, "b", "3c:7c:3f:09:09:09");
    // What names the folder moves with it, as it would on a disk that is the same folder elsewhere.
    let toml = place.folder.join("clone/enrolled.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    std::fs::write(&toml, text.replace("/original/", "/clone/")).unwrap();
    std::fs::remove_file(place.folder.join("clone/run/page.addr")).unwrap();
    let mut clone = place.agent(&other, "clone");
    // Its page stands before the log says why.
    let log = || std::fs::read_to_string(clone.process.log()).unwrap();
    eventually(PATIENCE, "the log says it", || log().contains("cloned from another machine").then_some(()))
        .unwrap();
    let (said, exit) = clone.enrol(&place.hub.address(), &place.hub.token("303教室").unwrap(), &[]).unwrap();
    assert!(exit == 0 && said.contains("303教室") && said.contains("set-aside-"), "{exit} {said}");
    clone.wait_until_ready().unwrap();
    place.is_online("room-303");
    lesson(&clone);
    lesson(&original);
    let keys: i64 =
        place.row("SELECT count(DISTINCT key) FROM device WHERE id IN ('room-302', 'room-303')").unwrap();
    assert_eq!(keys, 2, "each signs with its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_taken_out_of_use_is_cut_off_and_another_machine_takes_its_place() {
    let place = place();
    let console = Console::admin(&place.hub).await.unwrap();
    let mut old = place.agent(&Room::card(), "old");
    enrolled(&mut old, &place.hub, &place.hub.token("302教室").unwrap());
    place.is_online("room-302");
    let kept = lesson(&old);
    let answer = console.post("/devices/room-302/retire", &[]).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    old.press("start").unwrap();
    old.wait_for_media(2000, PATIENCE).unwrap();
    old.press("stop").unwrap();
    old.wait_for(&["sealed"], PATIENCE).unwrap();
    let path = old.process.log().to_owned();
    let log = || std::fs::read_to_string(&path).unwrap();
    eventually(PATIENCE, "a refusal over MQTT", || log().contains("the broker refused").then_some(()))
        .unwrap();
    place.wait("the room is away", "SELECT count(*) FROM device WHERE id = 'room-302' AND state = 'lost'");
    assert!(console.page("/devices").await.unwrap().contains("已停用"));
    // Out of the way of those that are in use, and still to be found.
    let rooms = console.page("/").await.unwrap();
    assert!(rooms.contains("另有 1 台设备已停用") && !rooms.contains("href=\"/rooms/room-302\""), "{rooms}");
    assert!(console.page("/rooms/room-302").await.unwrap().contains("302教室"));
    place.wait(
        "the certificate is refused",
        "SELECT count(*) FROM certificate WHERE device = 'room-302' AND why = 'retired'",
    );

    // Another machine for the same room: the lessons of the one before stay where they are.
    let form = [("school", SCHOOL), ("room", "302教室"), ("device", "room-302")];
    let answer = console.post("/devices/tokens/again", &form).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let page = console.page("/devices").await.unwrap();
    assert!(page.contains("未使用") && page.contains("已使用"), "{page}");
    let listed: Value =
        serde_json::from_str(&place.hub.lectern_hub(&["token", "list", "--json"]).unwrap()).unwrap();
    let card = listed.as_array().unwrap().iter().find(|card| card["standing"] == "unused").unwrap();
    let mut new = place.agent(&Room::card(), "new");
    enrolled(&mut new, &place.hub, card["code"].as_str().unwrap());
    place.is_online("room-302");
    let next = lesson(&new);
    for id in [&kept, &next] {
        assert_eq!(console.get(&format!("/lessons/{id}")).await.unwrap().status(), StatusCode::OK);
    }
    let page = console.page("/devices").await.unwrap();
    assert!(!page.contains("已停用"), "{page}");
    // The old machine has another password, another certificate, and another key: it is nobody now.
    old.restart(&place.folder).unwrap();
    eventually(PATIENCE, "a refusal", || {
        let log = log();
        let words = ["the broker refused", "does not know this device", "unauthorized"];
        words
            .iter()
            .any(|word| log.rsplit("lectern starts").next().is_some_and(|now| now.contains(word)))
            .then_some(())
    })
    .unwrap();
}

#[test]
fn a_machine_that_moves_to_another_room_enrols_again_and_its_lessons_stay_where_they_were() {
    let place = place();
    let hub = &place.hub;
    let mut agent = place.agent(&Room::card(), "room");
    enrolled(&mut agent, hub, &hub.token("302教室").unwrap());
    let kept = lesson(&agent);
    let card = hub.token("303教室").unwrap();
    let (said, exit) = agent.enrol(&hub.address(), &card, &[]).unwrap();
    assert!(exit == 3 && said.contains("enrolled already, as 302教室"), "{exit} {said}");
    // A lesson that the hub does not have yet is room-302's, and nobody else's.
    agent.press("start").unwrap();
    agent.wait_for_media(2000, PATIENCE).unwrap();
    let again = |code: &str| agent.enrol(&hub.address(), code, &["--again"]).unwrap();
    let (said, exit) = again(&card);
    assert!(
        exit == 3 && said.contains("1 lessons are not stored") && said.contains("room-302"),
        "{exit} {said}"
    );
    agent.press("stop").unwrap();
    let open = agent.wait_for(&["stored"], PATIENCE).unwrap()["lesson"]["id"].as_str().unwrap().to_owned();
    let (said, exit) = again(&card);
    assert!(exit == 0 && said.contains("303教室"), "{exit} {said}");
    agent.restart(&place.folder).unwrap();
    place.is_online("room-303");
    let next = lesson(&agent);
    assert_eq!(agent.status().unwrap()["room"], json!("303教室"));
    let whose =
        |id: &str| place.row::<String>(&format!("SELECT device FROM lesson WHERE id = '{id}'")).unwrap();
    assert_eq!([&kept, &open, &next].map(|id| whose(id)), ["room-302", "room-302", "room-303"]);
    for id in [&kept, &open, &next] {
        let report = agent.verify(&agent.data.join("lessons").join(id)).unwrap();
        assert!(report["sound"] == true && report["receipted"] == true, "{report:#}");
    }
    // The wrong card, and back: nothing is missing of what it told, and nothing counts as lost.
    let (said, exit) = agent.enrol(&hub.address(), &hub.token("302教室").unwrap(), &["--again"]).unwrap();
    assert_eq!(exit, 0, "{said}");
    agent.restart(&place.folder).unwrap();
    let back = lesson(&agent);
    assert_eq!(whose(&back), "room-302");
    place.wait(
        "what the lesson told is acknowledged",
        "SELECT count(*) FROM event JOIN device ON id = event.device AND event.epoch = device.epoch
         WHERE id = 'room-302' AND seq = high AND kind = 'lesson'",
    );
    let lost = "SELECT count(*) FROM device WHERE anew_ms IS NOT NULL OR EXISTS
         (SELECT 1 FROM event WHERE event.device = device.id AND event.epoch = device.epoch AND seq > high)";
    assert_eq!(place.row::<i64>(lost), Some(0));
}

#[test]
fn a_room_enrols_again_at_a_hub_that_was_set_up_anew_and_hands_in_what_waited() {
    let mut old = place();
    let mut agent = old.agent(&Room::card(), "room");
    enrolled(&mut agent, &old.hub, &old.hub.token("302教室").unwrap());
    let first = lesson(&agent);
    agent.press("start").unwrap();
    agent.wait_for_media(2000, PATIENCE).unwrap();
    old.hub.process.kill();
    agent.press("stop").unwrap();
    let waits = agent.wait_for(&["sealed"], PATIENCE).unwrap()["lesson"]["id"].as_str().unwrap().to_owned();
    // Another hub, with another authority, another key and another log.
    let new = place();
    let (said, exit) =
        agent.enrol(&new.hub.address(), &new.hub.token("302教室").unwrap(), &["--again"]).unwrap();
    assert!(exit == 0 && said.contains("302教室"), "{exit} {said}");
    agent.restart(&old.folder).unwrap();
    new.is_online("room-302");
    new.wait("what waited", &format!("SELECT count(*) FROM receipt WHERE lesson = '{waits}'"));
    let next = lesson(&agent);
    for id in [&first, &waits, &next] {
        let report = agent.verify(&agent.data.join("lessons").join(id)).unwrap();
        assert!(report["sound"] == true && report["receipted"] == true, "{report:#}");
    }
    let log = std::fs::read_to_string(agent.process.log()).unwrap();
    assert!(log.contains("enrolled at another hub"), "{log}");
}

#[test]
fn an_enrolled_device_gets_a_card_and_not_a_password_from_a_person() {
    let mut place = place();
    let mut agent = place.agent(&Room::card(), "room");
    enrolled(&mut agent, &place.hub, &place.hub.token("302教室").unwrap());
    place.is_online("room-302");
    place.hub.process.stop();
    let words =
        ["device", "add", "--school", SCHOOL, "--device", "room-302", "--room", "302教室", "--replace"];
    let said = place.hub.lectern_hub(&words).unwrap_err().to_string();
    assert!(
        said.contains("换设备") && said.contains("token new") && said.contains("nothing was changed"),
        "{said}"
    );
    place.hub.restart(&place.folder).unwrap();
    lesson(&agent);
    // A leaked password: the same machine, by a new card. What leaked opens nothing from then on.
    let secret = |agent: &Agent| {
        let toml = std::fs::read_to_string(agent.data.join("enrolled.toml")).unwrap();
        let toml: toml::Table = toml.parse().unwrap();
        std::fs::read_to_string(toml["hub"]["password_file"].as_str().unwrap()).unwrap()
    };
    let leaked = secret(&agent);
    let code = place.hub.token("302教室").unwrap();
    let (said, exit) = agent.enrol(&place.hub.address(), &code, &["--again"]).unwrap();
    assert_eq!(exit, 0, "{said}");
    assert_ne!(secret(&agent), leaked);
    agent.restart(&place.folder).unwrap();
    lesson(&agent);
    place.wait(
        "one certificate that counts",
        "SELECT count(*) = 1 FROM certificate WHERE device = 'room-302' AND retired_ms IS NULL",
    );
    // A lost signing key, after it was changed once: a card again, and the lessons before stay whole, also the one
    // that was signed and not yet stored.
    let stored = lesson(&agent);
    agent.process.stop();
    let (said, exit) = agent.lectern(&["key", "rotate"]).unwrap();
    assert_eq!(exit, 0, "{said}");
    place.hub.process.stop();
    agent.restart(&place.folder).unwrap();
    agent.press("start").unwrap();
    agent.wait_for_media(2000, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    let waits = agent.wait_for(&["sealed"], PATIENCE).unwrap()["lesson"]["id"].as_str().unwrap().to_owned();
    agent.process.stop();
    place.hub.restart(&place.folder).unwrap();
    std::fs::remove_file(agent.data.join("device.key")).unwrap();
    let (said, exit) =
        agent.enrol(&place.hub.address(), &place.hub.token("302教室").unwrap(), &["--again"]).unwrap();
    assert_eq!(exit, 0, "{said}");
    agent.restart(&place.folder).unwrap();
    let next = lesson(&agent);
    place.wait("what waited", &format!("SELECT count(*) FROM receipt WHERE lesson = '{waits}'"));
    eventually(PATIENCE, "its receipt", || is_stored(&agent, &waits).ok()?.then_some(())).unwrap();
    for id in [&stored, &waits, &next] {
        let report = agent.verify(&agent.data.join("lessons").join(id)).unwrap();
        assert!(report["sound"] == true && report["receipted"] == true, "{report:#}");
    }
    let how =
        "SELECT group_concat(how) FROM (SELECT how FROM device_key WHERE device = 'room-302' ORDER BY n)";
    assert_eq!(place.row::<String>(how).as_deref(), Some("first,registered"));
    let hashed = lectern_wire::digest::Digest::of(leaked.trim().as_bytes()).to_string();
    let leaked = format!("SELECT count(*) FROM device WHERE password_sha256 = '{hashed}'");
    assert_eq!(place.row::<i64>(&leaked), Some(0));
}

#[test]
fn a_certificate_is_renewed_before_it_ends_and_the_one_before_opens_nothing_more() {
    let mut place = place();
    // The hub gives a certificate 300 days ago; 97 days are left of it.
    place.hub.env = off_by(&place.folder, -300 * 86_400);
    place.hub.restart(&place.folder).unwrap();
    let code = place.hub.token("302教室").unwrap();
    let mut agent = place.agent(&Room::card(), "room");
    enrolled(&mut agent, &place.hub, &code);
    place.hub.env.clear();
    place.hub.restart(&place.folder).unwrap();
    place.is_online("room-302");
    place.wait("a second certificate", "SELECT count(*) = 2 FROM certificate WHERE device = 'room-302'");
    agent.restart(&place.folder).unwrap();
    place.is_online("room-302");
    lesson(&agent);
    let ends: i64 = place.row("SELECT max(ends_ms) FROM certificate WHERE device = 'room-302'").unwrap();
    assert!(ends - clock::wall_ms() > 390 * 86_400_000);
}

#[test]
fn a_certificate_of_somebody_elses_is_believed_by_its_ca_and_without_tls_no_hub_starts() {
    let other = place();
    let folder = Folder::new().unwrap();
    let tls = other.hub.data.join("tls");
    let (pem, ca) = (tls.join("server.pem"), tls.join("ca.pem"));
    let more = format!("{TLS}kind = \"given\"\ncertificate = {pem:?}\nkey = {pem:?}\nca = {ca:?}\n");
    let (hub, _) = Hub::start_at(&folder, &other.programs, "127.0.0.1", &more).unwrap();
    let Place { programs, hub: _other, folder: _kept } = other;
    let place = Place { hub, programs, folder };
    let mut agent = place.agent(&Room::card(), "room");
    enrolled(&mut agent, &place.hub, &place.hub.token("302教室").unwrap());
    place.is_online("room-302");
    lesson(&agent);
    let own = std::fs::read(place.folder.join("hub/tls/ca.pem")).unwrap();
    assert_ne!(own, std::fs::read(&ca).unwrap(), "devices' certificates are of the hub's own authority");

    // Reachable from other machines, without TLS: one sentence, and no port was opened.
    let settings = place.folder.join("open.toml");
    let data = place.folder.join("open");
    std::fs::write(
        &settings,
        format!("data_dir = {data:?}\n[mqtt]\nlisten = \"127.0.0.1:0\"\n[tls]\nkind = \"off\"\n"),
    )
    .unwrap();
    let said =
        place.hub.lectern_hub_bare(&["run", "--config", settings.to_str().unwrap()]).unwrap_err().to_string();
    assert!(said.contains("http.listen: 0.0.0.0:8470 can be reached from other machines"), "{said}");
    assert!(!data.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_page_takes_what_is_on_the_card_and_becomes_the_teachers_page() {
    let place = place();
    let pictures = browser::pictures().unwrap();
    let console = Console::admin(&place.hub).await.unwrap();
    let parts: [(&str, Option<&str>, &[u8]); 3] = [
        ("school", None, SCHOOL.as_bytes()),
        ("rooms", None, "302教室\n303教室\n录播室\n音乐教室".as_bytes()),
        ("days", None, b"7"),
    ];
    let answer = console.post_parts("/devices/tokens", &parts).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let bad = [parts[0], ("rooms", None, "302教室\n302教室".as_bytes()), parts[2]];
    let answer = console.post_parts("/devices/tokens", &bad).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.text().await.unwrap().contains("写了两次"));
    let listed: Value =
        serde_json::from_str(&place.hub.lectern_hub(&["token", "list", "--json"]).unwrap()).unwrap();
    let code = |device: &str| {
        let mut cards = listed.as_array().unwrap().iter();
        cards.find(|card| card["device"] == device).unwrap()["code"].as_str().unwrap().to_owned()
    };
    let page = console.page("/devices/cards").await.unwrap();
    assert!(page.contains(&code("room-302")) && page.matches("<svg").count() == 4, "{page}");
    let sheet = place.folder.join("cards.html");
    std::fs::write(
        &sheet,
        page.replace(
            "<link rel=\"stylesheet\" href=\"/assets/cards.css\">",
            &format!("<style>{}</style>", console.page("/assets/cards.css").await.unwrap()),
        ),
    )
    .unwrap();

    let mut agent = place.agent(&Room::card(), "room");
    let browser = Browser::start(&place.folder, "first").await.unwrap();
    browser.open(&agent.page().unwrap()).await.unwrap();
    browser.wait_text("#big", "还没有登记", PATIENCE).await.unwrap();
    browser.screenshot(&pictures.join("first.png")).await.unwrap();
    browser.type_into("#hub", &place.hub.address()).await.unwrap();
    browser.type_into("#code", "7K2M-9QXR-0TBC-WD40").await.unwrap();
    browser.click("#go").await.unwrap();
    browser.wait_text("#problem", "登记码不对", PATIENCE).await.unwrap();
    browser.screenshot(&pictures.join("first-wrong.png")).await.unwrap();
    browser.set_window(390, 844).await.unwrap();
    browser.screenshot(&pictures.join("first-phone.png")).await.unwrap();
    browser.set_window(1280, 800).await.unwrap();
    // As a scanner does: everything into one field.
    browser
        .run("document.querySelector('#code').value = ''; document.querySelector('#hub').value = '';")
        .await
        .unwrap();
    let scanned = format!("LECTERN {} {}", place.hub.address(), code("room-302"));
    browser.type_into("#code", &scanned).await.unwrap();
    browser.click("#go").await.unwrap();
    browser.wait_text("#big", "可以录课", PATIENCE).await.unwrap();
    browser.wait_text("#room", "302教室", PATIENCE).await.unwrap();
    agent.wait_until_ready().unwrap();
    place.is_online("room-302");
    browser.open(&format!("file://{}", sheet.display())).await.unwrap();
    browser.set_window(900, 1200).await.unwrap();
    browser.screenshot(&pictures.join("cards.png")).await.unwrap();
    browser.close().await.unwrap();
    let status = agent.status().unwrap();
    assert_eq!(status["room"], json!("302教室"));
    keep_page(&console, &place.folder, &pictures).await;
}

/// The console's page as a file, with its style, to be looked at.
async fn keep_page(console: &Console, folder: &Folder, pictures: &Path) -> PathBuf {
    let style = console.page("/assets/style.css").await.unwrap();
    let page = console.page("/devices").await.unwrap();
    let page = page
        .replace("<link rel=\"stylesheet\" href=\"/assets/style.css\">", &format!("<style>{style}</style>"));
    let file = folder.join("devices.html");
    std::fs::write(&file, page).unwrap();
    let browser = Browser::start(folder, "console").await.unwrap();
    browser.open(&format!("file://{}", file.display())).await.unwrap();
    browser.set_window(1280, 1100).await.unwrap();
    browser.screenshot(&pictures.join("console-devices.png")).await.unwrap();
    browser.close().await.unwrap();
    file
}
