//! What rooms tell over MQTT: believable numbers, who is there, nothing lost and nothing twice when the hub
//! was away, and no secret in any log.
//!
//! The agent's outbox numbers its events without reuse, so what it ever held can be compared with what the hub
//! has, row for row; samples are held against the room's own log, by group and time.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lectern_base::clock;
use lectern_tests::programs::Programs;
use lectern_tests::school::DEVICE;
use lectern_tests::series::telling;
use lectern_tests::{Agent, Console, Disk, Folder, Hub, Room, School, Series, eventually, free_port};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

fn school() -> School {
    School::start(&Room::card()).unwrap()
}

type Values = BTreeMap<String, f64>;

/// The samples of a group at the hub, oldest first: time and values.
fn samples(hub: &Hub, group: &str) -> Vec<(i64, Values)> {
    let rows = hub.rows().unwrap();
    let mut rows =
        rows.prepare("SELECT ts, vals FROM sample WHERE device = ? AND grp = ? ORDER BY ts").unwrap();
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, String>(1)?));
    let found = rows.query_map([DEVICE, group], read).unwrap().map(Result::unwrap);
    found.map(|(ts, text)| (ts, serde_json::from_str(&text).unwrap())).collect()
}

/// The newest value, as the hub has it.
fn newest(hub: &Hub, group: &str, name: &str) -> Option<f64> {
    samples(hub, group).last().and_then(|(_, values)| values.get(name).copied())
}

/// State and reason of the room at the hub.
fn state(hub: &Hub) -> (String, String) {
    let sql = "SELECT coalesce(state, ''), coalesce(reason, '') FROM device WHERE id = ?";
    hub.rows().unwrap().query_row(sql, [DEVICE], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

fn wait_for_state(hub: &Hub, want: &str, limit: Duration) {
    let found = eventually(limit, want, || (state(hub).0 == want).then_some(()));
    assert!(found.is_ok(), "it is {:?}, not {want:?}, after {limit:?}", state(hub));
}

/// One figure of `/metrics`.
async fn figure(console: &Console, name: &str) -> f64 {
    let text = console.page("/metrics").await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("lectern_hub_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

async fn figure_becomes(console: &Console, name: &str, want: f64) {
    let give_up = clock::mono() + PATIENCE;
    loop {
        let is = figure(console, name).await;
        if is.total_cmp(&want).is_eq() {
            return;
        }
        assert!(clock::mono() < give_up, "{name} is {is}, not {want}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn first_number(file: &str, prefix: &str) -> f64 {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(prefix)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_rooms_numbers_arrive_and_can_be_believed() {
    let School { hub, agent, folder: _folder } = school();
    let console = Console::stranger(&hub).unwrap();
    eventually(PATIENCE, "three samples", || (samples(&hub, "sys").len() >= 3).then_some(())).unwrap();
    let all = samples(&hub, "sys");
    let (ts, values) = all.last().unwrap();
    let value = |name: &str| *values.get(name).unwrap_or_else(|| panic!("no {name} in {values:?}"));
    assert!((clock::wall_ms() - ts).abs() < 60_000, "it is of now");
    assert!(all.iter().all(|(_, v)| v.values().all(|n| n.is_finite())));
    assert!((0.0..=100.0).contains(&value("cpu_pct")), "{values:?}");
    let total = first_number("/proc/meminfo", "MemTotal:") * 1024.0;
    let info: String = hub
        .rows()
        .unwrap()
        .query_row("SELECT info FROM device WHERE id = ?", [DEVICE], |row| row.get(0))
        .unwrap();
    let info: Value = serde_json::from_str(&info).unwrap();
    assert!((info["memory_bytes"].as_f64().unwrap() - total).abs() < 1.0, "{info}");
    let available = first_number("/proc/meminfo", "MemAvailable:") * 1024.0;
    let used = value("memory_used_bytes");
    assert!(
        (used - (total - available)).abs() < total * 0.1,
        "{used} used, {available} of {total} available"
    );
    assert!((value("memory_used_pct") - used * 100.0 / total).abs() < 0.1, "{values:?}");
    assert!((value("uptime_s") - first_number("/proc/uptime", "")).abs() < 60.0, "{values:?}");
    assert!((0.0..=100.0).contains(&value("disk_used_pct")) && value("disk_free_bytes") > 0.0, "{values:?}");
    let memory = newest(&hub, "agent", "agent_memory_bytes").unwrap();
    assert!((1e6..1e9).contains(&memory) && value("agent_cpu_pct") >= 0.0, "{memory}, {values:?}");
    assert!(
        value("load1_load") >= 0.0 && newest(&hub, "agent", "outbox_rows_count").unwrap() < 1000.0,
        "{values:?}"
    );
    assert_eq!(newest(&hub, "rec", "recording_count"), Some(0.0));
    figure_becomes(&console, "devices_online", 1.0).await;
    assert!(figure(&console, "samples_total").await >= 3.0);

    agent.press("start").unwrap();
    figure_becomes(&console, "devices_recording", 1.0).await;
    let grown = eventually(PATIENCE, "a lesson that grows", || {
        let told = samples(&hub, "rec");
        let mut lengths: Vec<f64> = told.iter().filter_map(|(_, v)| v.get("media_s").copied()).collect();
        lengths.dedup();
        (lengths.len() >= 3 && lengths.is_sorted() && lengths.last()? > &2.0).then_some(())
    });
    assert!(grown.is_ok(), "{:?}", samples(&hub, "rec"));
    agent.press("pause").unwrap();
    figure_becomes(&console, "devices_recording", 0.0).await;
    eventually(PATIENCE, "a pause", || (newest(&hub, "rec", "paused_count") == Some(1.0)).then_some(()))
        .unwrap();
    agent.press("stop").unwrap();
    agent.wait_for(&["stored"], PATIENCE).unwrap();
    eventually(PATIENCE, "nothing waits", || {
        (newest(&hub, "rec", "pending_upload_bytes") == Some(0.0)
            && newest(&hub, "rec", "paused_count") == Some(0.0))
        .then_some(())
    })
    .unwrap();
}

#[tokio::test]
async fn a_killed_or_frozen_room_is_lost_and_a_stopped_one_says_goodbye() {
    let School { hub, mut agent, folder } = school();
    let console = Console::admin(&hub).await.unwrap();
    wait_for_state(&hub, "online", PATIENCE);
    assert!(console.page("/").await.unwrap().contains("在线"));

    // A dead process's connection is closed by the kernel: the broker knows at once.
    agent.process.kill();
    wait_for_state(&hub, "lost", PATIENCE);
    assert!(console.page("/").await.unwrap().contains("失联"));
    figure_becomes(&console, "devices_online", 0.0).await;
    agent.restart(&folder).unwrap();
    wait_for_state(&hub, "online", PATIENCE);

    // A frozen one keeps its connection open: one and a half keep-alives of 20 s, and what a busy machine adds.
    agent.process.freeze();
    wait_for_state(&hub, "lost", PATIENCE);
    agent.process.thaw();
    wait_for_state(&hub, "online", PATIENCE);

    agent.process.stop();
    wait_for_state(&hub, "offline", PATIENCE);
    assert_eq!(state(&hub).1, "stopped", "the program was ended, not the machine");
    let page = console.page("/").await.unwrap();
    assert!(page.contains("离线") && page.contains("程序被停止"), "{page}");
    // The broker must not publish the will of a client that said goodbye.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(state(&hub).0, "offline");
}

/// The agent's outbox, read beside it.
fn outbox(agent: &Agent) -> Connection {
    let path = agent.data.join("outbox.db");
    let rows = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    rows.busy_timeout(Duration::from_secs(5)).unwrap();
    rows
}

fn count(rows: &Connection, sql: &str) -> i64 {
    rows.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Rows the outbox ever held in a table, and rows still in it.
fn ever_and_now(agent: &Agent, table: &str) -> (i64, i64) {
    let rows = outbox(agent);
    let ever = format!("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = '{table}'), 0)");
    (count(&rows, &ever), count(&rows, &format!("SELECT count(*) FROM {table}")))
}

/// The events at the hub: number, kind, data.
fn events(hub: &Hub) -> Vec<(i64, String, Value)> {
    let rows = hub.rows().unwrap();
    let mut rows =
        rows.prepare("SELECT seq, kind, body FROM event WHERE device = ? ORDER BY epoch, seq").unwrap();
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?));
    let found = rows.query_map([DEVICE], read).unwrap().map(Result::unwrap);
    let data = |text: &str| serde_json::from_str::<Value>(text).unwrap()["data"].clone();
    found.map(|(seq, kind, body)| (seq, kind, data(&body))).collect()
}

/// What the hub was told of a lesson, in order.
fn story(hub: &Hub, lesson: &str) -> Vec<String> {
    let all = events(hub).into_iter().filter(|(_, _, data)| data["lesson_id"] == lesson);
    all.map(|(_, _, data)| data["state"].as_str().unwrap_or("?").to_owned()).collect()
}

fn record(agent: &Agent, ms: u64) -> String {
    agent.press("start").unwrap();
    let status = agent.wait_for_media(ms, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    status["lesson"]["id"].as_str().unwrap().to_owned()
}

const WHOLE: [&str; 4] = ["started", "ended", "sealed", "stored"];

#[test]
fn whenever_the_hub_was_away_every_sample_and_every_event_is_there_once() {
    let School { mut hub, mut agent, folder } = School::start(&telling(Room::card())).unwrap();
    let mut series = Series::default();
    let mut lessons = vec![record(&agent, 2000)];
    agent.wait_for(&["stored"], PATIENCE).unwrap();
    eventually(PATIENCE, "samples", || (samples(&hub, "sys").len() >= 4).then_some(())).unwrap();

    // Ten seconds without a hub, in the middle of measuring.
    hub.process.kill();
    let away = clock::wall_ms();
    std::thread::sleep(Duration::from_secs(10));
    hub.restart(&folder).unwrap();
    let back = clock::wall_ms();
    eventually(PATIENCE, "the samples from between", || {
        let between = samples(&hub, "sys").into_iter().filter(|(ts, _)| (away..back).contains(ts)).count();
        (between >= 2).then_some(())
    })
    .unwrap();

    // Killed while it is being told how a lesson ended, at different moments.
    for after in [0, 120, 500] {
        lessons.push(record(&agent, 1500));
        std::thread::sleep(Duration::from_millis(after));
        hub.process.kill();
        agent.wait_for(&["sealed", "stored"], PATIENCE).unwrap();
        hub.restart(&folder).unwrap();
        agent.wait_for(&["stored"], PATIENCE).unwrap();
    }
    // And a whole lesson without it, with an agent that dies before it could tell anybody.
    hub.process.kill();
    lessons.push(record(&agent, 1500));
    agent.wait_for(&["sealed"], PATIENCE).unwrap();
    eventually(PATIENCE, "events that nobody was told", || {
        (ever_and_now(&agent, "events").1 >= 3).then_some(())
    })
    .unwrap();
    series.kill(&mut agent).unwrap();
    agent.restart(&folder).unwrap();
    hub.restart(&folder).unwrap();

    for lesson in &lessons {
        let told = eventually(PATIENCE, "the whole story", || (story(&hub, lesson) == WHOLE).then_some(()));
        assert!(told.is_ok(), "{lesson}: {:?}", story(&hub, lesson));
    }
    eventually(PATIENCE, "an empty outbox", || (ever_and_now(&agent, "events").1 == 0).then_some(()))
        .unwrap();
    eventually(PATIENCE, "history", || (ever_and_now(&agent, "samples").1 <= 2).then_some(())).unwrap();
    agent.process.stop();

    // Numbers without a hole, each once, and as many as the agent ever gave.
    let (ever, left) = ever_and_now(&agent, "events");
    assert_eq!(left, 0);
    let numbers: Vec<i64> = events(&hub).iter().map(|(seq, _, _)| *seq).collect();
    assert_eq!(numbers, (1..=ever).collect::<Vec<_>>());
    assert!(
        events(&hub).iter().all(|(_, kind, _)| kind != "gap"),
        "nothing was lost, so nothing is declared"
    );
    let high = count(&hub.rows().unwrap(), "SELECT high FROM device");
    assert_eq!(high, ever, "the hub acknowledged them all");
    series.compare(&agent, &hub).unwrap();
    let (_, left) = ever_and_now(&agent, "samples");
    assert!(left <= 12, "{left} samples were left behind");
    slots_are_filled(&hub, away, back);
}

/// While the hub was away the agent measured every two seconds: no slot is empty.
fn slots_are_filled(hub: &Hub, away: i64, back: i64) {
    for group in ["sys", "net"] {
        let times: Vec<i64> = samples(hub, group).into_iter().map(|(ts, _)| ts).collect();
        let around = times.windows(2).filter(|pair| pair[1] > away && pair[0] < back);
        for pair in around {
            // A tick may come late on a busy machine; two that are missing make six seconds.
            assert!(pair[1] - pair[0] < 5900, "{group}: nothing between {pair:?} (hub away {away}–{back})");
        }
    }
}

/// Newest time of a sample at the hub.
fn newest_ts(hub: &Hub) -> i64 {
    samples(hub, "sys").last().map_or(0, |(ts, _)| *ts)
}

#[test]
fn a_room_starts_with_a_broken_outbox_and_on_a_full_disk_and_tells_all_the_same() {
    let folder = Folder::new().unwrap();
    let Some(disk) = Disk::small(&folder.join("agent"), 48).unwrap() else { return };
    let School { hub, mut agent, folder } = School::start_in(folder, &Room::card()).unwrap();
    let fresh = |agent: &Agent, what: &str| {
        let now = clock::wall_ms();
        let told = eventually(PATIENCE, what, || (newest_ts(&hub) > now).then_some(()));
        assert!(told.is_ok(), "{what}: nothing of now is told\n{}", agent.process.tail_of_log());
    };
    fresh(&agent, "a good disk");

    for (what, cut) in [("rubbish", None), ("cut off", Some(5000)), ("emptied", Some(0))] {
        agent.process.stop();
        let path = agent.data.join("outbox.db");
        match cut {
            Some(length) => {
                std::fs::File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
            }
            None => std::fs::write(&path, vec![7; 9000]).unwrap(),
        }
        let gaps = || events(&hub).iter().filter(|(_, kind, _)| kind == "gap").count();
        let before = gaps();
        agent.restart(&folder).unwrap();
        let told = eventually(PATIENCE, "a gap", || (gaps() > before).then_some(()));
        assert!(told.is_ok(), "{what}: no gap is declared\n{}", agent.process.tail_of_log());
        fresh(&agent, what);
    }

    let filler = disk.fill().unwrap();
    fresh(&agent, "a disk that fills");
    agent.process.kill();
    agent.restart(&folder).unwrap();
    fresh(&agent, "a start on a full disk");
    std::fs::remove_file(filler).unwrap();
    fresh(&agent, "a disk with room again");
    eventually(PATIENCE, "an empty outbox", || (ever_and_now(&agent, "samples").1 <= 4).then_some(()))
        .unwrap();
    // Nobody may hold the disk when its folder goes.
    drop(agent);
    drop(disk);
}

#[test]
fn a_room_whose_disk_can_only_be_read_starts_and_says_so_and_is_itself_again_afterwards() {
    let folder = Folder::new().unwrap();
    let Some(disk) = Disk::small(&folder.join("agent"), 1500).unwrap() else { return };
    // Where the page is stands in a file that cannot be written then: it is at a known place.
    let page = format!("127.0.0.1:{}", free_port().unwrap());
    let School { hub, mut agent, folder } = School::start_in(folder, &Room::card()).unwrap();
    let lesson = record(&agent, 2000);
    // On so small a disk stored lessons make room at once.
    agent.wait_for(&["stored", "reclaimed"], PATIENCE).unwrap();
    agent.process.stop();
    let settings = std::fs::read_to_string(folder.join("agent.toml")).unwrap();
    let settings = settings.replace("listen = \"127.0.0.1:0\"", &format!("listen = {page:?}"));
    std::fs::write(folder.join("agent.toml"), settings).unwrap();
    std::fs::write(agent.data.join("run/page.addr"), &page).unwrap();
    let before = std::fs::read(agent.data.join("state.db")).unwrap();

    disk.only_read(true).unwrap();
    agent.restart(&folder).unwrap();
    let status = agent.status().unwrap();
    assert_eq!(status["home"]["code"], "read_only", "{status:#}");
    let now = clock::wall_ms();
    eventually(PATIENCE, "fresh samples", || (newest_ts(&hub) > now).then_some(())).unwrap();
    let (findings, code) = agent.lectern(&["doctor"]).unwrap();
    let data = findings["findings"].as_array().unwrap().iter().find(|f| f["what"] == "data").unwrap();
    assert!(
        code != 0 && data["ok"] == false && data["detail"].as_str().unwrap().contains("Read-only"),
        "{data}"
    );
    for (what, said) in
        [("volume", "in memory alone"), ("volume", "have the disk looked at"), ("timetable", "none")]
    {
        let found = findings["findings"].as_array().unwrap().iter().find(|f| f["what"] == what).unwrap();
        assert!(found["detail"].as_str().unwrap().contains(said), "{found}");
    }
    let refused = agent.press("start").unwrap_err().to_string();
    assert!(refused.contains("takes nothing more"), "{refused}");
    let (lessons, _) = agent.lectern(&["lessons"]).unwrap();
    assert!(lessons.to_string().contains(&lesson), "it remembers what it had: {lessons}");
    let alarm = || {
        let rows = hub.rows().unwrap();
        let sql = "SELECT detail FROM alarm WHERE code = 'disk_nearly_full' AND cleared_ms IS NULL";
        rows.query_row(sql, [], |row| row.get::<_, String>(0)).ok()
    };
    let said = eventually(PATIENCE, "an alarm", alarm).unwrap();
    assert!(said.contains("只读"), "{said}");
    let alarm_line =
        |f: &&Value| f["what"] == "alarm" && f["detail"].as_str().unwrap().contains("检查这台电脑的磁盘");
    eventually(PATIENCE, "the right advice", || {
        let (found, _) = agent.lectern(&["doctor"]).ok()?;
        found["findings"].as_array()?.iter().find(alarm_line).map(drop)
    })
    .unwrap();
    assert_eq!(std::fs::read(agent.data.join("state.db")).unwrap(), before);

    // Somebody has looked after the disk: systemd starts the daemon again, with its whole state.
    disk.only_read(false).unwrap();
    eventually(PATIENCE, "a daemon that ends to begin anew", || (!agent.process.running()).then_some(()))
        .unwrap();
    agent.restart(&folder).unwrap();
    assert!(agent.status().unwrap()["home"].is_null());
    eventually(PATIENCE, "no alarm", || alarm().is_none().then_some(())).unwrap();
    let next = record(&agent, 2000);
    let told = eventually(PATIENCE, "the whole story", || {
        story(&hub, &next).starts_with(&WHOLE.map(String::from)).then_some(())
    });
    assert!(told.is_ok(), "{:?}", story(&hub, &next));
    drop(agent);
    drop(disk);
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn no_secret_is_in_any_log_nor_in_what_leaves_the_room() {
    // The most that can be said, and a camera with a password that cannot be reached.
    let loud = ("LECTERN_LOG".to_owned(), "trace".to_owned());
    let camera = "nobody-knows-this-word";
    let room = Room {
        recording: "picture = \"1280x720\"\nlayout = \"screen+camera\"\n".into(),
        sources: format!(
            "[[source]]\nname = \"card\"\nkind = \"test\"\n[[source]]\nname = \"camera\"\n\
             kind = \"network_camera\"\nurl = \"rtsp://teacher:{camera}@127.0.0.1:9/live\"\n"
        ),
        env: vec![loud.clone()],
        ..Room::default()
    };
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (mut hub, password) = Hub::start(&folder, &programs).unwrap();
    hub.env.push(loud);
    hub.restart(&folder).unwrap();
    let mut agent = Agent::start(&folder, &programs, &room, &hub, &password).unwrap();
    let console = Console::admin(&hub).await.unwrap();
    let second = console.add_device("room-302", "302教室").await.unwrap();
    let lesson = record(&agent, 6000);
    agent.wait_for(&["stored"], PATIENCE).unwrap();
    let report = agent.verify(&hub.lesson_folder(&lesson)).unwrap();
    assert_eq!(report["sound"], true, "{report}");
    agent.process.stop();
    hub.process.stop();

    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap().trim().to_owned();
    let mut secrets = vec![
        ("the room's password", password),
        ("the second room's password", second),
        ("the administrator's password", hub.admin_password.clone()),
        ("the session's token", console.token().unwrap().to_owned()),
        ("the camera's password", camera.to_owned()),
    ];
    for file in [hub.data.join("hub.key"), hub.data.join("grant.key"), agent.data.join("device.key")] {
        secrets.push(("a key", read(file)));
    }
    assert!(secrets.iter().all(|(_, secret)| secret.len() >= 16), "all secrets were found");
    for log in [hub.process.log(), agent.process.log()] {
        assert!(std::fs::read_to_string(log).unwrap().contains("DEBUG"), "{} says all it can", log.display());
    }
    // Where they belong: the settings, the keys' own files. All else may be looked at or leaves the room.
    let own = ["agent.toml", "device.password", "hub.key", "grant.key", "device.key"];
    for file in files(folder.path()) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if own.contains(&name.as_str()) {
            continue;
        }
        let bytes = std::fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        // Shown once, when it is made, on the hub's standard output; that is no log.
        let text = text.lines().filter(|line| !line.starts_with("admin password: "));
        let text = text.collect::<Vec<_>>().join("\n");
        for (what, secret) in &secrets {
            if let Some(at) = text.find(secret) {
                let start = text.floor_char_boundary(at.saturating_sub(200));
                panic!("{what} is in {}: …{}", file.display(), &text[start..at]);
            }
        }
    }
}
