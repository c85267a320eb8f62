//! One dead source never stops the others: a plate or silence takes its place, the gap is noted with its
//! cause, and the source is opened again when it returns.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::path::PathBuf;
use std::time::Duration;

use lectern_tests::grab::{self, Frame};
use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Camera, Folder, Hub, Recorder, Room, Screen, UsbCamera, World, eventually};
use lectern_wire::preflight::{CheckState, Heard, Preflight};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

struct Classroom {
    world: World,
    hub: Hub,
    agent: Agent,
    _folder: Folder,
}

fn classroom() -> Classroom {
    let world = World::start().unwrap();
    let room = Room::of(&world, true);
    with_room(world, &room)
}

fn with_room(world: World, room: &Room) -> Classroom {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, room, &hub, &password).unwrap();
    Classroom { world, hub, agent, _folder: folder }
}

impl Classroom {
    fn media_ms(&self) -> u64 {
        self.agent.status().unwrap()["lesson"]["media_ms"].as_u64().unwrap()
    }

    fn record_for(&self, ms: u64) {
        self.agent.wait_for_media(self.media_ms() + ms, PATIENCE).unwrap();
    }

    fn wait_for_warning(&self, kind: &str, there: bool) {
        let found = eventually(PATIENCE, &format!("warning {kind}: {there}"), || {
            let status = self.agent.status().ok()?;
            let has = status["warnings"].as_array()?.iter().any(|w| w["kind"] == kind);
            (has == there).then_some(())
        });
        found.unwrap();
    }

    /// Waits until every source has its picture; an instant of the take at which it is so.
    fn is_there(&self) -> u64 {
        // One that is late is not warned of at once.
        self.agent.wait_for_media(5000, PATIENCE).unwrap();
        self.wait_for_warning("no_picture", false);
        let there_at = self.media_ms() + 1000;
        self.record_for(2000);
        there_at
    }

    /// Stops and gives the lesson's folder at the hub with what its manifest says of the takes.
    fn stop(&self) -> (PathBuf, Vec<Value>) {
        self.agent.press("stop").unwrap();
        let status = self.agent.wait_for(&["stored"], PATIENCE).unwrap();
        let folder = self.hub.lesson_folder(status["lesson"]["id"].as_str().unwrap());
        let manifest: Value =
            serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
        assert_eq!(self.agent.verify(&folder).unwrap()["sound"], true);
        (folder, manifest["document"]["takes"].as_array().unwrap().clone())
    }

    /// Stops and gives the stored take with its part of the manifest.
    fn finish(&self) -> (PathBuf, Value) {
        let (folder, takes) = self.stop();
        let log = self.agent.process.tail_of_log();
        assert_eq!(takes.len(), 1, "a lost source does not end the take: {takes:?}\n{log}");
        (folder.join("take-1.mp4"), takes[0].clone())
    }
}

/// The last gap of a source: one that came late on a busy machine has one at the beginning too.
fn gap<'a>(take: &'a Value, source: &str) -> &'a Value {
    let gaps = take["gaps"].as_array().unwrap();
    gaps.iter().rfind(|g| g["source"] == source).unwrap_or_else(|| panic!("no gap of {source} in {gaps:?}"))
}

/// An instant of a gap at which its plate is shown: that nothing comes is known a while after the last that came.
fn late_in(gap: &Value) -> u64 {
    let (from, to) = (gap["from_ms"].as_u64().unwrap(), gap["to_ms"].as_u64().unwrap());
    from + (to - from) * 3 / 4
}

#[test]
fn a_camera_that_stalls_gets_a_plate_and_comes_back() {
    let mut room = classroom();
    room.agent.press("start").unwrap();
    let there_at = room.is_there();
    room.world.camera.freeze();
    room.wait_for_warning("no_picture", true);
    room.record_for(3000);
    room.world.camera.thaw();
    room.wait_for_warning("no_picture", false);
    room.record_for(3000);
    let (file, take) = room.finish();
    let gap = gap(&take, "camera");
    assert!(gap["to_ms"].as_u64().unwrap() > gap["from_ms"].as_u64().unwrap(), "{gap}");
    // The plate is grey where the camera's board is green; the slides around it went on.
    let plate_at = late_in(gap);
    let there = Frame::of_file(&file, Duration::from_millis(there_at)).unwrap();
    let plate = Frame::of_file(&file, Duration::from_millis(plate_at)).unwrap();
    assert_ne!(there.light(0.80, 0.75), plate.light(0.80, 0.75), "no plate at {plate_at} ms");
    assert!(lectern_tests::slides::Marker::read(&plate).is_some(), "the screen went on");
}

#[test]
fn a_camera_on_this_machine_is_recorded_and_comes_back_when_it_is_plugged_in_again() {
    // What stands in for a driver here may crash the recorder, see [`UsbCamera::crashes`]: then, and only then, once more.
    for _ in 0..4 {
        let before = UsbCamera::crashes();
        if !pull_the_camera(before) {
            return;
        }
    }
    panic!("the emulation of a camera crashed four times in a row");
}

/// Pulls the camera and plugs it in again; true when its emulation crashed and nothing can be said, where the kernel has noted
/// more of its crashes than `before`.
fn pull_the_camera(before: Option<usize>) -> bool {
    let world = World::start().unwrap();
    let mut camera = UsbCamera::start(&world.folder).unwrap();
    let mut room = Room::of(&world, false);
    room.recording = "layout = \"screen+camera\"\n".into();
    room.sources += "[[source]]\nname = \"camera\"\nkind = \"camera\"\ndevice = \"/dev/video0\"\n";
    room.env.extend(camera.env());
    let room = with_room(world, &room);
    room.agent.press("start").unwrap();
    let there_at = room.is_there();
    camera.unplug();
    room.wait_for_warning("no_picture", true);
    room.record_for(3000);
    camera.plug(&room.world.folder).unwrap();
    room.wait_for_warning("no_picture", false);
    room.record_for(3000);
    let (folder, takes) = room.stop();
    if takes.len() > 1 && UsbCamera::crashes() > before {
        return true;
    }
    assert_eq!(takes.len(), 1, "a lost source does not end the take: {}", room.agent.process.tail_of_log());
    let (file, take) = (folder.join("take-1.mp4"), &takes[0]);
    let gap = gap(take, "camera");
    assert!(gap["to_ms"].as_u64().is_some(), "{gap}");
    let plate_at = late_in(gap);
    let board =
        |ms: u64| Frame::of_file(&file, Duration::from_millis(ms)).unwrap().light(0.80, 0.75).unwrap();
    let end = take["duration_ms"].as_u64().unwrap();
    let (before, plate, after) = (board(there_at), board(plate_at), board(end - 1000));
    assert!(before.abs_diff(after) < 10 && before.abs_diff(plate) > 20, "{before} {plate} {after}");
    false
}

/// Pulls the microphone, server and all, and plugs it in again.
fn pull_the_microphone(mut room: Classroom) {
    room.world.sound.keep_speaking(Duration::from_secs(1)).unwrap();
    room.agent.press("start").unwrap();
    room.agent.wait_for_media(4000, PATIENCE).unwrap();
    room.world.sound.unplug();
    room.wait_for_warning("no_sound", true);
    room.record_for(4000);
    room.world.sound.plug(&room.world.folder).unwrap();
    room.world.sound.keep_speaking(Duration::from_secs(1)).unwrap();
    room.wait_for_warning("no_sound", false);
    room.record_for(5000);
    let (file, take) = room.finish();
    let gap = gap(&take, "microphone");
    assert!(gap["to_ms"].as_u64().is_some(), "{gap}");
    let silent_from = gap["from_ms"].as_u64().unwrap() + 500;
    let sound = grab::sound(&file).unwrap();
    let loudness =
        |from: u64, to: u64| grab::loudness(grab::between(&sound, from as f64 / 1e3, to as f64 / 1e3));
    let (end, silence) = (take["duration_ms"].as_u64().unwrap(), loudness(silent_from, silent_from + 2000));
    assert!(loudness(1500, 4000) > -45.0, "the voice is there at the start");
    assert!(silence < -60.0, "{silence:.1} dBFS while the microphone was away");
    assert!(loudness(end - 4500, end) > -45.0, "the voice is back at the end");
}

#[test]
fn a_microphone_that_is_pulled_leaves_silence_and_picture_and_comes_back() {
    pull_the_microphone(classroom());
}

#[test]
fn a_microphone_by_alsa_does_the_same() {
    let world = World::start().unwrap();
    let mut room = Room::of(&world, false);
    // ALSA's own way to a sound server: no sound card is needed, and the recorder sees a PCM like any other.
    let pcm = format!("pcm.room {{ type pulse; device {} }}\n", lectern_tests::sound::MICROPHONE);
    let config = world.folder.join("asound.conf");
    std::fs::write(&config, pcm).unwrap();
    room.sources = room.sources.replace("device = \"mic.monitor\"", "system = \"alsa\"\ndevice = \"room\"");
    room.env.push(("ALSA_CONFIG_PATH".into(), config.display().to_string()));
    pull_the_microphone(with_room(world, &room));
}

#[test]
fn no_other_microphone_is_recorded_in_place_of_one_that_was_pulled() {
    let mut world = World::start().unwrap();
    let sound = &mut world.sound;
    // A desktop's sound server: what listens to a source that goes is moved to the default one, here a tone.
    sound.load("module-rescue-streams").unwrap();
    sound.load("module-null-sink sink_name=corridor rate=48000 channels=2").unwrap();
    sound.load("module-sine sink=corridor frequency=440").unwrap();
    let plug = "module-remap-source source_name=desk master=mic.monitor";
    let desk = sound.load(plug).unwrap();
    sound.pactl(&["set-default-source", "corridor.monitor"]).unwrap();
    sound.keep_speaking(Duration::from_secs(1)).unwrap();
    let mut room = Room::of(&world, false);
    room.sources = room.sources.replace("\"mic.monitor\"", "\"desk\"");
    let room = with_room(world, &room);
    room.agent.press("start").unwrap();
    room.agent.wait_for_media(4000, PATIENCE).unwrap();
    let sound = &room.world.sound;
    sound.pactl(&["unload-module", &desk]).unwrap();
    room.wait_for_warning("no_sound", true);
    room.record_for(4000);
    sound.load(plug).unwrap();
    room.wait_for_warning("no_sound", false);
    room.record_for(5000);
    let (file, take) = room.finish();
    let gap = gap(&take, "microphone");
    assert!(gap["to_ms"].as_u64().is_some() && gap["cause"].as_str().unwrap().contains("desk"), "{gap}");
    let sound = grab::sound(&file).unwrap();
    let loudness =
        |from: u64, to: u64| grab::loudness(grab::between(&sound, from as f64 / 1e3, to as f64 / 1e3));
    let from = gap["from_ms"].as_u64().unwrap() + 500;
    let away = loudness(from, from + 2000);
    assert!(away < -60.0, "{away:.1} dBFS while the microphone was away: whose voice is that?");
    let end = take["duration_ms"].as_u64().unwrap();
    assert!(loudness(end - 4500, end) > -45.0, "the voice is back at the end");
}

#[test]
fn a_display_that_dies_leaves_a_plate_and_the_sound_goes_on() {
    let mut room = classroom();
    room.world.sound.keep_speaking(Duration::from_secs(1)).unwrap();
    room.agent.press("start").unwrap();
    room.agent.wait_for_media(4000, PATIENCE).unwrap();
    room.world.screen.server().kill();
    room.wait_for_warning("no_picture", true);
    let from = room.media_ms();
    room.record_for(4000);
    let (file, take) = room.finish();
    let gap = gap(&take, "screen");
    assert!(gap.get("to_ms").is_none() && gap["cause"].as_str().unwrap().contains("screen"), "{gap}");
    let sound = grab::sound(&file).unwrap();
    let after = grab::loudness(grab::between(&sound, from as f64 / 1e3, from as f64 / 1e3 + 3.0));
    assert!(after > -45.0, "the sound went on: {after:.1} dBFS");
    let plate = Frame::of_file(&file, Duration::from_millis(from + 2000)).unwrap();
    assert!(plate.mean() < 90, "the plate is dark, the slides are light: {}", plate.mean());
}

#[test]
fn a_display_that_changes_its_size_is_shown_whole_and_ends_no_take() {
    let beside = Folder::new().unwrap();
    let display = Screen::resizable(&beside).unwrap();
    let world = World::start().unwrap();
    let mut room = Room::of(&world, false);
    room.sources = room.sources.replace(world.screen.display(), display.display());
    // White from edge to edge, whatever its size: the picture's borders say what was captured.
    let xsetroot = |colour: &str| {
        let mut xsetroot = std::process::Command::new("xsetroot");
        xsetroot.args(["-display", display.display(), "-solid", colour]);
        lectern_tests::process::output(xsetroot).unwrap();
    };
    xsetroot("white");
    let room = with_room(world, &room);
    room.agent.press("start").unwrap();
    room.agent.wait_for_media(3000, PATIENCE).unwrap();
    let mut seen = vec![room.media_ms()];
    for (width, height) in [(1024, 768), (1920, 1200), (1920, 1080)] {
        display.resize(width, height).unwrap();
        xsetroot("white");
        room.record_for(7000);
        seen.push(room.media_ms() - 1000);
    }
    let (file, take) = room.finish();
    let gaps = take["gaps"].as_array().unwrap();
    let short =
        |gap: &Value| gap["to_ms"].as_u64().is_some_and(|to| to - gap["from_ms"].as_u64().unwrap() < 6000);
    assert!(gaps.iter().all(short), "{gaps:?}");
    let picture = |n: usize| Frame::of_file(&file, Duration::from_millis(seen[n])).unwrap();
    let (lit, dark) = (|light: u8| light > 200, |light: u8| light < 60);
    for (n, edges_lit) in [(0, true), (1, false), (2, false), (3, true)] {
        let picture = picture(n);
        let light = |x: f64, y: f64| picture.light(x, y).unwrap();
        // 1024x768 and 1920x1200 are narrower than the lesson's picture: dark left and right, white in between.
        assert!(lit(light(0.15, 0.03)) && lit(light(0.85, 0.97)), "picture {n} is not whole");
        assert_eq!((lit(light(0.01, 0.5)), dark(light(0.01, 0.5))), (edges_lit, !edges_lit), "edge of {n}");
    }
}

#[test]
fn a_preflight_says_how_every_source_is_and_keeps_nothing() {
    let mut world = World::start().unwrap();
    let recorder = Recorder::of(&world).unwrap();
    world.sound.keep_speaking(Duration::from_secs(1)).unwrap();
    // A source that is late on a busy machine is looked at again.
    let check = |sources: &Value, states: &[CheckState]| -> Preflight {
        let mut last = None;
        let found = eventually(PATIENCE, "these states", || {
            let found = recorder.preflight(sources).unwrap();
            let fits = found.sources.iter().map(|s| s.state).eq(states.iter().copied());
            last = Some(found.clone());
            fits.then_some(found)
        });
        found.unwrap_or_else(|e| panic!("{e}: {last:#?}"))
    };
    let screen = |display: &str| serde_json::json!({"name": "screen", "kind": "screen", "display": display});
    let microphone =
        |device: &str| serde_json::json!({"name": device, "kind": "microphone", "device": device});
    let camera = |url: &str| serde_json::json!({"name": "camera", "kind": "network_camera", "url": url});
    let url = world.camera.url();
    let well = serde_json::json!([screen(world.screen.display()), microphone("mic.monitor"), camera(&url)]);
    let found = check(&well, &[CheckState::Good; 3]).sources;
    assert!(found.iter().all(|s| s.problem.is_none()), "{found:#?}");
    assert_eq!((found[0].picture, found[2].picture), (Some((1920, 1080)), Some((1280, 720))));
    assert!(found[1].peak_dbfs.unwrap() > -40.0, "{found:#?}");

    world.sound.hush();
    world.camera.freeze();
    // In a folder of its own: a log that is already there names the other display.
    let beside = Folder::new().unwrap();
    let dark = Screen::blank(&beside).unwrap();
    let ill = serde_json::json!([
        screen(dark.display()),
        microphone("mic.monitor"),
        microphone("nobody"),
        camera(&url)
    ]);
    let states = [CheckState::Black, CheckState::Silent, CheckState::Failed, CheckState::NoPicture];
    let found = check(&ill, &states).sources;
    assert!(found.iter().all(|s| s.problem.is_some()), "{found:#?}");
    drop(dark);
    let nowhere = [screen(":7654321"), microphone("nobody"), camera("rtsp://127.0.0.1:1/live")];
    let gone = check(&serde_json::json!(nowhere), &[CheckState::Failed; 3]).sources;
    assert!(gone.iter().all(|s| s.took_ms < 4000), "{gone:#?}");
}

#[test]
fn a_camera_with_a_login_opens_over_tcp_and_udp_and_its_password_is_never_said() {
    let world = World::start().unwrap();
    let recorder = Recorder::of(&world).unwrap();
    let beside = Folder::new().unwrap();
    let camera = Camera::with_login(&beside, "viewer", "plum-blossom").unwrap();
    let check = |login: &str, transport: &str| {
        let url = camera.url().replace("rtsp://", &format!("rtsp://{login}"));
        let sources = serde_json::json!([
            {"name": "screen", "kind": "screen", "display": world.screen.display()},
            {"name": "camera", "kind": "network_camera", "url": url, "transport": transport}
        ]);
        recorder.preflight(&sources).unwrap().sources.remove(1)
    };
    for transport in ["tcp", "udp"] {
        let opens = || Some(check("viewer:plum-blossom@", transport)).filter(|s| s.state == CheckState::Good);
        let found = eventually(PATIENCE, transport, opens).unwrap();
        assert_eq!(found.picture, Some((1280, 720)), "{found:?}");
    }
    for wrong in ["viewer:plum-blossoms@", ""] {
        let found = check(wrong, "tcp");
        let said = found.problem.unwrap();
        assert!(found.state == CheckState::Failed && !said.contains("plum"), "{said}");
    }
}

#[test]
fn listening_says_how_loud_it_is_until_nobody_asks_any_more() {
    let mut world = World::start().unwrap();
    let recorder = Recorder::of(&world).unwrap();
    let sources = serde_json::json!([
        {"name": "screen", "kind": "screen", "display": world.screen.display()},
        {"name": "microphone", "kind": "microphone", "device": "mic.monitor"}
    ]);
    let mut listening = recorder.listen(&sources).unwrap();
    let mut until = |what: &str, fits: &dyn Fn(&Heard) -> bool| {
        let found = (0..200).find_map(|_| Some(listening.next_line().unwrap()).filter(|heard| fits(heard)));
        found.unwrap_or_else(|| panic!("100 s without {what}"));
    };
    until("digital zero", &|h| h.peak_dbfs == Some(-100.0));
    world.sound.keep_speaking(Duration::from_secs(1)).unwrap();
    until("a voice", &|h| h.peak_dbfs.is_some_and(|p| p > -40.0) && h.rms_dbfs < h.peak_dbfs);
    world.sound.unplug();
    until("a problem", &|h| h.problem.is_some() && h.peak_dbfs.is_none() && h.rms_dbfs.is_none());
    world.sound.plug(&world.folder).unwrap();
    until("the microphone again", &|h| h.peak_dbfs.is_some());
    assert!(listening.close().unwrap().success());
}
