//! What can happen to a lesson on its way to the hub, one story each. What can happen to the line at any byte, plain and by
//! TLS, is in the soak, many times (see `soak/upload.rs`), and so are an S3 store that fails (`soak/store.rs`), bits that
//! flip and a disk that fills at the hub (`soak/rot.rs`).

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

use lectern_base::clock;
use lectern_tests::planted::{is_stored, plant};
use lectern_tests::programs::Programs;
use lectern_tests::tls::certificate;
use lectern_tests::{Agent, Disk, FakeClock, Fault, Folder, Hub, Relay, Room, School, Tls, eventually};

const PATIENCE: Duration = Duration::from_secs(120);

/// A school with a relay before its hub.
fn school(room: &Room) -> (School, Relay) {
    let (folder, programs) = (Folder::new().unwrap(), Programs::find().unwrap());
    let (mut hub, password) = Hub::start(&folder, &programs).unwrap();
    let relay = Relay::start(hub.http).unwrap();
    hub.door = Some(format!("http://127.0.0.1:{}", relay.port));
    let agent = Agent::start(&folder, &programs, room, &hub, &password).unwrap();
    (School { agent, hub, folder }, relay)
}

/// Records a lesson that does not get away; gives its id.
fn record(agent: &Agent) -> String {
    agent.press("start").unwrap();
    agent.wait_for_media(2000, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    let status = agent.wait_for(&["sealed", "stored"], PATIENCE).unwrap();
    status["lesson"]["id"].as_str().unwrap().to_owned()
}

fn stored(school: &School, lesson: &str) {
    let there = eventually(PATIENCE, "the receipt", || is_stored(&school.agent, lesson).ok()?.then_some(()));
    there.map_err(|e| format!("{e:#}\n{}", school.agent.process.tail_of_log())).unwrap();
    assert!(school.stored(lesson).unwrap().verified());
    assert_eq!(school.hub.orphans().unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn a_bit_that_flipped_on_the_disk_is_reported_once_and_holds_no_other_lesson_up() {
    let (school, relay) = school(&Room::card());
    relay.set(Fault::Status(503));
    let damaged = record(&school.agent);
    let take = school.agent.data.join("lessons").join(&damaged).join("take-1.mp4");
    let file = std::fs::File::options().read(true).write(true).open(take).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 4000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 4000).unwrap();
    relay.set(Fault::None);
    let blocked = eventually(PATIENCE, "the sentence", || {
        school.agent.status().ok()?["upload"]["blocked"].as_str().map(ToOwned::to_owned)
    });
    assert!(blocked.unwrap().contains("has changed on this disk"));
    let next = record(&school.agent);
    stored_beside(&school, &next);
    let rows = school.hub.rows().unwrap();
    let faults = || {
        let sql = "SELECT count(*) FROM event WHERE kind = 'fault' AND body LIKE '%damaged_part%'";
        rows.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    eventually(PATIENCE, "the event", || (faults() == 1).then_some(())).unwrap();
    // It is not sent again and again: what the line carries while nothing is new is asking, not parts.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(faults(), 1);
    let parts: i64 =
        rows.query_row("SELECT count(*) FROM part WHERE lesson = ?1", [&damaged], |r| r.get(0)).unwrap();
    assert_eq!(parts, 0, "the hub has none of it");
    assert_eq!(school.agent.status().unwrap()["safe_to_switch_off"], false);
}

/// As [`stored`], where another lesson is left unfinished.
fn stored_beside(school: &School, lesson: &str) {
    let there = eventually(PATIENCE, "the receipt", || {
        lectern_tests::planted::is_stored(&school.agent, lesson).ok()?.then_some(())
    });
    there.map_err(|e| format!("{e:#}\n{}", school.agent.process.tail_of_log())).unwrap();
    assert!(school.stored(lesson).unwrap().verified());
}

#[test]
fn a_full_disk_at_the_hub_keeps_the_lesson_in_the_room_until_there_is_space() {
    let (folder, programs) = (Folder::new().unwrap(), Programs::find().unwrap());
    let Some(disk) = Disk::small(&folder.join("hub"), 60).unwrap() else { return };
    let (hub, password) =
        Hub::start_at(&folder, &programs, "127.0.0.1", "[store]\nkeep_free_mib = 0\n").unwrap();
    let agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password).unwrap();
    let school = School { agent, hub, folder };
    // Taken away before the folder it stands in.
    let disk = disk;
    let filler = disk.fill().unwrap();
    let lesson = record(&school.agent);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(
        school.agent.status().unwrap()["lesson"]["state"],
        "sealed",
        "not stored where there is no space"
    );
    std::fs::remove_file(filler).unwrap();
    stored(&school, &lesson);
}

#[test]
fn a_clock_at_2013_and_rules_for_the_night_hold_nothing_back() {
    let mut room = Room::card();
    room.sources += "[upload]\nwaits_for_night = \"all\"\nnight = \"00:00-00:01\"\n";
    let battery = Folder::new().unwrap();
    let dead = FakeClock::new(battery.path()).unwrap();
    dead.off_by(1_356_998_400 - clock::wall_ms() / 1000).unwrap();
    room.env.extend(dead.env().unwrap());
    let (school, _relay) = school(&room);
    let lesson = record(&school.agent);
    stored(&school, &lesson);
}

#[test]
fn what_waits_for_the_night_waits_and_the_page_says_so() {
    let mut room = Room::card();
    // Some minute of the day that is not now.
    let hour = (clock::local(clock::wall_ms()).hour() + 12) % 24;
    room.sources += &format!("[upload]\nwaits_for_night = \"all\"\nnight = \"{hour:02}:00-{hour:02}:01\"\n");
    let (school, _relay) = school(&room);
    record(&school.agent);
    let hold = eventually(PATIENCE, "the word", || {
        school.agent.status().ok()?["upload"]["hold"].as_str().map(ToOwned::to_owned)
    });
    assert_eq!(hold.unwrap(), "night");
    assert!(school.hub.lessons().is_empty(), "nothing went");
    assert_eq!(school.agent.status().unwrap()["lesson"]["state"], "sealed");
}

#[test]
fn a_lesson_of_now_goes_before_a_long_one_and_no_part_is_called_stored_that_the_hub_has_not() {
    let mut room = Room::card();
    // 12 Mb/s all day long: a part of the long one takes six seconds, all twenty two minutes.
    let hour = (clock::local(clock::wall_ms()).hour() + 12) % 24;
    room.sources += &format!("[upload]\nday_kbps = 12000\nnight = \"{hour:02}:00-{hour:02}:01\"\n");
    let (mut school, _relay) = school(&room);
    let first = record(&school.agent);
    stored(&school, &first);
    plant(&mut school.agent, &first, "long", 160 << 20).unwrap();
    school.agent.restart(&school.folder).unwrap();
    let there = school.hub.rows().unwrap();
    let own = rusqlite::Connection::open(school.agent.data.join("state.db")).unwrap();
    let parts = |rows: &rusqlite::Connection, sql: &str| -> BTreeSet<u32> {
        let mut found = rows.prepare(sql).unwrap();
        found.query_map(["long"], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let honest = || {
        let called = parts(&own, "SELECT n FROM parts WHERE lesson = ?1 AND stored = 1");
        let here = parts(&there, "SELECT n FROM part WHERE lesson = ?1");
        assert!(called.is_subset(&here), "called stored {called:?}, at the hub {here:?}");
        here.len()
    };
    eventually(PATIENCE, "the first parts", || (honest() >= 2).then_some(())).unwrap();
    // Twice the long one gives way, with a part of it on its way and the next one waiting for its turn.
    for _ in 0..2 {
        school.agent.press("start").unwrap();
        school.agent.wait_for_media(1500, PATIENCE).unwrap();
        honest();
        school.agent.press("stop").unwrap();
        let found = eventually(PATIENCE, "the receipt of the lesson of now", || {
            let here = honest();
            (school.agent.status().ok()?["lesson"]["state"] == "stored").then_some(here)
        });
        assert!(found.unwrap() < 20, "it waited for the whole long one");
    }
    // The rest as fast as it goes.
    let text = std::fs::read_to_string(&school.agent.config).unwrap();
    std::fs::write(&school.agent.config, text.replace("day_kbps = 12000", "day_kbps = 0")).unwrap();
    school.agent.restart(&school.folder).unwrap();
    eventually(PATIENCE, "the long one", || (honest() == 20).then_some(())).unwrap();
    eventually(PATIENCE, "its receipt", || is_stored(&school.agent, "long").ok()?.then_some(())).unwrap();
    assert_eq!(school.hub.orphans().unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn where_a_proxy_is_the_only_way_out_the_lesson_goes_over_it_with_its_password() {
    let (folder, programs) = (Folder::new().unwrap(), Programs::find().unwrap());
    let (mut hub, password) = Hub::start(&folder, &programs).unwrap();
    // A name that only the proxy could find.
    hub.door = Some("http://hub.school.invalid:8470".into());
    let proxy = Relay::start(hub.http).unwrap();
    let secret = folder.join("proxy.password");
    std::fs::write(&secret, "room:sesame\n").unwrap();
    let mut room = Room::card();
    room.sources +=
        &format!("[upload]\nproxy = \"http://127.0.0.1:{}\"\nproxy_password_file = {secret:?}\n", proxy.port);
    let agent = Agent::start(&folder, &programs, &room, &hub, &password).unwrap();
    let school = School { agent, hub, folder };
    let lesson = record(&school.agent);
    stored(&school, &lesson);
    let heads = proxy.heads().to_lowercase();
    assert!(heads.contains("put http://hub.school.invalid:8470/store/v1/parts/"), "the part goes over it");
    // room:sesame
    assert!(heads.matches("proxy-authorization: basic cm9vbtpzzxnhbwu=").count() >= 2, "parts and calls");
}

#[test]
fn a_certificate_that_ended_or_is_unknown_carries_nothing_and_a_good_one_carries_the_lesson() {
    let (folder, programs) = (Folder::new().unwrap(), Programs::find().unwrap());
    let (mut hub, password) = Hub::start(&folder, &programs).unwrap();
    let good = certificate(&folder, "good", None).unwrap();
    let ended = certificate(&folder, "ended", Some(500)).unwrap();
    certificate(&folder, "unknown", None).unwrap();
    let trusted = folder.join("trusted.pem");
    std::fs::write(&trusted, [std::fs::read(&good).unwrap(), std::fs::read(&ended).unwrap()].concat())
        .unwrap();
    let mut room = Room::card();
    room.env.push(("SSL_CERT_FILE".into(), trusted.display().to_string()));

    let servers = ["ended", "unknown", "good"].map(|name| Tls::start(&folder, name, hub.http).unwrap());
    hub.door = Some(format!("https://127.0.0.1:{}", servers[0].port));
    let agent = Agent::start(&folder, &programs, &room, &hub, &password).unwrap();
    let mut school = School { agent, hub, folder };
    let lesson = record(&school.agent);
    for n in [0, 1] {
        eventually(PATIENCE, "the word that nothing is reached", || {
            (school.agent.status().ok()?["upload"]["reachable"] == false).then_some(())
        })
        .unwrap();
        assert!(school.hub.lessons().is_empty(), "nothing went over server {n}");
        let text = std::fs::read_to_string(&school.agent.config).unwrap();
        let text = text.replace(&servers[n].port.to_string(), &servers[n + 1].port.to_string());
        std::fs::write(&school.agent.config, text).unwrap();
        school.agent.restart(&school.folder).unwrap();
    }
    stored(&school, &lesson);
}
