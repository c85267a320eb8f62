//! What happens by itself around a lesson, end to end: the bell although the daemon was restarted, the look at the
//! sources before a bell, the alarm that comes of it at a reader of the broker, and the voice that nobody records.
//! And what every press by command line answers.
//!
//! The reader of alarms is `mosquitto_sub` at a Mosquitto broker: the hub's own broker lets devices in and no readers.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::process::Command;
use std::time::Duration;

use lectern_base::clock;
use lectern_tests::programs::Programs;
use lectern_tests::school::{DEVICE, SCHOOL};
use lectern_tests::{Agent, Browser, Folder, Hub, Process, Room, School, World, eventually, free_port};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

/// How far the rooms' clocks are from universal time, so that it is noon there whenever the tests run: a period that
/// went over midnight would be none.
fn offset_hours() -> i64 {
    12 - clock::wall_ms().div_euclid(3_600_000).rem_euclid(24)
}

/// Gives a room that clock, and a timetable of one period, from now or later on; the bell's seconds are an offset.
fn timetable(room: &mut Room, folder: &Folder, starts_in: Duration, ends_in: Duration, more: &str) {
    let seconds = |later: Duration| {
        clock::wall_ms().div_euclid(1000) + offset_hours() * 3600 + i64::try_from(later.as_secs()).unwrap()
    };
    let time = |at: i64| {
        format!("{:02}:{:02}", at.div_euclid(3600).rem_euclid(24), at.div_euclid(60).rem_euclid(60))
    };
    // Both bells have the same seconds: the offset is one for all.
    let (start, end) = (seconds(starts_in), seconds(ends_in));
    let begins = if starts_in.is_zero() { "00:00".into() } else { time(start) };
    // 1970 began on a Thursday.
    let weekday = (end.div_euclid(86_400) + 3).rem_euclid(7) + 1;
    let text = format!(
        "bell_offset_s = {}\n[[period]]\nname = \"第3节\"\nstart = \"{begins}\"\nend = \"{}\"\n\
         [[lesson]]\nweekday = {weekday}\nperiod = \"第3节\"\nclass = \"五年级2班\"\nsubject = \"语文\"\nteacher = \"张老师\"\n",
        end.rem_euclid(60),
        time(end),
    );
    let path = folder.path().join("timetable.toml");
    std::fs::write(&path, text).unwrap();
    room.sources += &format!("[school_day]\ntimetable = {path:?}\n{more}");
    // POSIX counts the other way round.
    room.env.push(("TZ".into(), format!("<room>{:+}", -offset_hours())));
}

#[test]
fn the_bell_ends_a_lesson_although_the_daemon_was_killed_and_restarted() {
    let folder = Folder::new().unwrap();
    let mut room = Room::card();
    let ends = Duration::from_secs(60);
    timetable(&mut room, &folder, Duration::ZERO, ends, "end_after_bell_s = 8\n");
    let mut school = School::start_in(folder, &room).unwrap();
    school.agent.press("start").unwrap();
    let before = school.agent.wait_for_media(2000, PATIENCE).unwrap();
    let id = before["lesson"]["id"].as_str().unwrap().to_owned();
    let end = |status: &Value| {
        let left = status["lesson"]["bell"]["ends_in_ms"].as_u64().unwrap();
        clock::boot() + Duration::from_millis(left)
    };
    let promised = end(&school.agent.status().unwrap());
    school.agent.process.kill();
    school.agent.restart(&school.folder).unwrap();
    let kept = end(&school.agent.status().unwrap());
    assert!(promised.abs_diff(kept) < Duration::from_secs(5), "{promised:?} became {kept:?}");
    // Nobody presses anything any more.
    let status = school.agent.wait_for(&["stored"], 3 * PATIENCE).unwrap();
    assert_eq!(status["lesson"]["id"], id.as_str());
    assert_eq!(status["lesson"]["cut_short"], Value::Null, "the bell's end is an end in order");
    let stored = school.stored(&id).unwrap();
    assert_eq!(
        (stored.takes.len(), &stored.report["sound"]),
        (1, &Value::from(true)),
        "the recorder went on"
    );

    // Put off, and put off it stays.
    let folder = Folder::new().unwrap();
    let more = "end_after_bell_s = 8\n";
    room = Room::card();
    timetable(&mut room, &folder, Duration::ZERO, Duration::from_secs(600), more);
    let mut school = School::start_in(folder, &room).unwrap();
    school.agent.press("start").unwrap();
    school.agent.wait_for_media(1000, PATIENCE).unwrap();
    let promised = end(&school.agent.status().unwrap());
    school.agent.press("extend").unwrap();
    school.agent.process.kill();
    school.agent.restart(&school.folder).unwrap();
    let later = end(&school.agent.status().unwrap()).saturating_sub(promised);
    assert!(later > Duration::from_secs(9 * 60), "put off by {later:?}");
    school.agent.press("stop").unwrap();
    school.agent.wait_for(&["stored"], PATIENCE).unwrap();
}

/// A Mosquitto broker of our own.
fn broker(folder: &Folder) -> (Process, u16) {
    let port = free_port().unwrap();
    let config = folder.join("mosquitto.conf");
    std::fs::write(&config, format!("listener {port} 127.0.0.1\nallow_anonymous true\n")).unwrap();
    let mut command = Command::new("mosquitto");
    command.arg("-c").arg(&config);
    let broker = Process::start(folder, "mosquitto", command).unwrap();
    let up = || std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(drop);
    eventually(PATIENCE, "the broker", up).unwrap();
    (broker, port)
}

/// A reader of a room's alarms; what it gets stands in its log: whether it was retained, the topic, the payload.
fn reader(folder: &Folder, name: &str, port: u16) -> Process {
    let mut command = Command::new("mosquitto_sub");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-F", "%r %t %p"]);
    command.args(["-t", &format!("lectern/v1/{SCHOOL}/{DEVICE}/a/+")]);
    Process::start(folder, name, command).unwrap()
}

/// Retained or not, state and whole payload of everything a reader got of one alarm.
fn heard(reader: &Process, code: &str) -> Vec<(bool, String, Value)> {
    let log = std::fs::read_to_string(reader.log()).unwrap();
    let parsed = log.lines().filter_map(|line| {
        let (retained, rest) = line.split_once(' ')?;
        let (topic, payload) = rest.split_once(' ')?;
        let payload: Value = serde_json::from_str(payload).ok()?;
        let state = payload["state"].as_str()?.to_owned();
        topic.ends_with(&format!("/a/{code}")).then_some((retained == "1", state, payload))
    });
    parsed.collect()
}

#[tokio::test]
async fn a_blind_camera_before_the_bell_is_one_alarm_at_the_broker_and_a_voice_without_a_recording_is_noticed()
 {
    const CODE: &str = "camera_no_picture";
    let mut world = World::start().unwrap();
    let programs = Programs::find().unwrap();
    // One room in whose period somebody talks …
    let talking = Folder::new().unwrap();
    let (hub, password) = Hub::start(&talking, &programs).unwrap();
    let mut room = Room::of(&world, false);
    let on = Duration::from_secs(900);
    timetable(&mut room, &talking, Duration::ZERO, on, "speech_reminder = true\n");
    world.sound.keep_speaking(Duration::from_millis(300)).unwrap();
    let teacher = Agent::start(&talking, &programs, &room, &hub, &password).unwrap();
    // … and one whose camera hangs before its next period.
    world.camera.freeze();
    let blind = Folder::new().unwrap();
    let (mut other_hub, password) = Hub::start(&blind, &programs).unwrap();
    let (_broker, port) = broker(&blind);
    other_hub.mqtt = port;
    let first = reader(&blind, "first-reader", port);
    let mut room = Room::card();
    room.recording += "layout = \"screen+camera\"\n";
    room.sources += &format!(
        "[[source]]\nname = \"camera\"\nkind = \"network_camera\"\nurl = \"{}\"\n",
        world.camera.url()
    );
    timetable(&mut room, &blind, Duration::from_secs(180), Duration::from_secs(780), "");
    let agent = Agent::start(&blind, &programs, &room, &other_hub, &password).unwrap();

    // Nobody looks at a page and nobody asks: the bell that is near does.
    let state = |status: &Value| {
        let sources = status["preflight"]["sources"].as_array()?.clone();
        Some(sources.iter().find(|s| s["name"] == "camera")?["state"].as_str()?.to_owned())
    };
    let found = eventually(PATIENCE, "a look at the sources", || state(&agent.status().ok()?));
    assert_ne!(found.unwrap(), "good");
    let told = |reader: &Process, want: &str| {
        let is = || heard(reader, CODE).last().filter(|(_, state, _)| state == want).map(drop);
        let told = eventually(PATIENCE * 2, want, is);
        assert!(told.is_ok(), "{want}: {:?}\n{}", heard(reader, CODE), agent.process.tail_of_log());
    };
    told(&first, "raised");
    let late = reader(&blind, "late-reader", port);
    told(&late, "raised");
    assert!(heard(&late, CODE)[0].0, "whoever comes later gets what is retained");
    // Again and again the same is no news.
    agent.lectern(&["preflight"]).unwrap();
    world.camera.thaw();
    let well = || {
        agent
            .lectern(&["preflight"])
            .ok()
            .filter(|(found, _)| found["sources"].as_array().unwrap().iter().all(|s| s["state"] == "good"))
    };
    eventually(PATIENCE, "a camera that sees", well).unwrap();
    told(&first, "cleared");
    let states: Vec<_> = heard(&first, CODE).into_iter().map(|(_, state, _)| state).collect();
    assert_eq!(states, ["raised", "cleared"], "raised once, cleared once");
    let [(_, _, raised), (_, _, cleared)] = &heard(&first, CODE)[..] else { panic!("two") };
    assert_eq!(raised["since_ts"], cleared["since_ts"]);
    assert!(raised["next_step"].as_str().unwrap().contains("摄像头"), "{raised}");
    let after = reader(&blind, "reader-after", port);
    told(&after, "cleared");
    assert!(heard(&after, CODE)[0].0, "cleared is retained too");

    // Meanwhile a minute of talking has passed in the other room.
    let browser = Browser::start(&talking, "speech").await.unwrap();
    let pictures = lectern_tests::browser::pictures().unwrap();
    browser.open(&teacher.page().unwrap()).await.unwrap();
    browser.wait_text("#big", "您在讲课，但没有在录", PATIENCE * 2).await.unwrap();
    browser.screenshot(&pictures.join("page-speech.png")).await.unwrap();
    browser.click("#do-start").await.unwrap();
    browser.wait_text("#big", "正在录课", PATIENCE).await.unwrap();
    let status = teacher.wait_for_media(2000, PATIENCE).unwrap();
    assert_eq!(status["speech"], false, "it is recorded now");
    assert_eq!(status["lesson"]["about"]["teacher"], "张老师");
    teacher.press("stop").unwrap();
    teacher.wait_for(&["stored"], PATIENCE).unwrap();
}

#[test]
fn every_press_by_command_line_is_done_already_so_or_refused_with_a_reason() {
    const REFUSED: i32 = lectern_base::exit::Exit::Refused as i32;
    let folder = Folder::new().unwrap();
    let mut room = Room::card();
    // A camera that is not there: what is asked for is a layout, not a picture.
    room.sources +=
        "[[source]]\nname = \"camera\"\nkind = \"network_camera\"\nurl = \"rtsp://127.0.0.1:9/live\"\n";
    timetable(&mut room, &folder, Duration::ZERO, Duration::from_secs(900), "");
    let School { agent, hub: _hub, folder: _folder } = School::start_in(folder, &room).unwrap();
    let lectern = |arguments: &[&str]| {
        let mut command = Command::new(Programs::find().unwrap().lectern);
        command.arg("--config").arg(&agent.config).arg("--json").arg("record").args(arguments);
        let out = command.output().unwrap();
        let answer = serde_json::from_slice::<Value>(&out.stdout).unwrap_or_default();
        (
            answer["answer"].as_str().unwrap_or_default().to_owned(),
            out.status.code(),
            String::from_utf8(out.stderr).unwrap(),
        )
    };
    let done = |arguments: &[&str]| assert_eq!(lectern(arguments).0, "done", "{arguments:?}");
    // What was done may take a moment to be so.
    let already = |arguments: &[&str]| {
        let so = eventually(PATIENCE, "already", || (lectern(arguments).0 == "already").then_some(()));
        assert!(so.is_ok(), "{arguments:?}: {:?}", lectern(arguments));
    };
    let refused = |arguments: &[&str], why: &str| {
        let (_, code, said) = lectern(arguments);
        assert!(code == Some(REFUSED) && said.contains(why), "{arguments:?}: {code:?} {said}");
    };
    for press in [&["stop"][..], &["pause"], &["resume"], &["mark"], &["extend"], &["layout", "screen"]] {
        refused(press, "nothing is being recorded");
    }
    done(&["start", "--topic", "草船借箭"]);
    already(&["start"]);
    agent.wait_for_media(1000, PATIENCE).unwrap();
    done(&["mark", "重点"]);
    refused(&["mark", &"长".repeat(300)], "longer than");
    already(&["layout", "screen"]);
    done(&["layout", "screen+camera"]);
    already(&["layout", "screen+camera"]);
    refused(&["layout", "two-cameras"], "no sources");
    refused(&["layout", "upside-down"], "no layout of that name");
    // At once, as a double click does it; later it is another wish.
    let ends = || agent.status().unwrap()["lesson"]["bell"]["ends_in_ms"].as_u64().unwrap();
    let before = ends();
    let mut both = std::thread::scope(|scope| {
        [(); 2].map(|()| scope.spawn(|| lectern(&["extend"]).0)).map(|asked| asked.join().unwrap())
    });
    both.sort_unstable();
    assert_eq!(both, ["already", "done"]);
    assert!(ends() > before + 9 * 60_000 && ends() < before + 11 * 60_000, "{before} became {}", ends());
    done(&["pause"]);
    already(&["pause"]);
    refused(&["mark"], "paused");
    refused(&["start"], "paused");
    done(&["resume"]);
    already(&["resume"]);
    done(&["stop"]);
    let (answer, code, _) = lectern(&["stop"]);
    assert!(answer == "already" || code == Some(REFUSED), "a second stop does nothing: {answer} {code:?}");
    agent.wait_for(&["stored"], PATIENCE).unwrap();
    refused(&["stop"], "nothing is being recorded");
    assert_eq!(agent.lectern(&["lessons"]).unwrap().0.as_array().map(Vec::len), Some(1));
}
