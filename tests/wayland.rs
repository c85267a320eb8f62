//! The screen of a Wayland session: the desktop's real portal, its real question, its real PipeWire.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use lectern_tests::grab::Frame;
use lectern_tests::programs::Programs;
use lectern_tests::slides::Marker;
use lectern_tests::wayland::Wayland;
use lectern_tests::{Agent, Folder, Hub, Room, eventually};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

struct Classroom {
    desktop: Wayland,
    hub: Hub,
    agent: Agent,
    folder: Folder,
}

fn room(env: Vec<(String, String)>) -> Room {
    Room {
        // Smaller than the screen: it is scaled on the way.
        recording: "picture = \"1280x720\"\n".into(),
        sources: "[[source]]\nname = \"screen\"\nkind = \"wayland_screen\"\n".into(),
        env,
        ..Room::default()
    }
}

fn classroom() -> Option<Classroom> {
    if let Some(missing) = Wayland::missing() {
        lectern_tests::skipped(&format!("{missing} is not installed; `packaging/setup.sh wayland` does it"));
        return None;
    }
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let desktop = Wayland::start(&folder).unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, &room(desktop.env()), &hub, &password).unwrap();
    Some(Classroom { desktop, hub, agent, folder })
}

impl Classroom {
    fn media_ms(&self) -> u64 {
        self.agent.status().unwrap()["lesson"]["media_ms"].as_u64().unwrap()
    }

    fn record_for(&self, ms: u64) {
        self.agent.wait_for_media(self.media_ms() + ms, PATIENCE).unwrap();
    }

    fn wait_for_picture(&self, there: bool) {
        let found = eventually(PATIENCE, &format!("picture: {there}"), || {
            let status = self.agent.status().ok()?;
            let lost = status["warnings"].as_array()?.iter().any(|w| w["kind"] == "no_picture");
            (lost != there).then_some(())
        });
        found.unwrap();
    }

    /// Stops and gives the stored lesson's folder and takes.
    fn finish(&self) -> (PathBuf, Vec<Value>) {
        self.agent.press("stop").unwrap();
        let status = self.agent.wait_for(&["stored"], PATIENCE).unwrap();
        let folder = self.hub.lesson_folder(status["lesson"]["id"].as_str().unwrap());
        let manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
        assert!(!manifest.contains("session") && !manifest.contains("leave"), "no paths of this machine");
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(self.agent.verify(&folder).unwrap()["sound"], true);
        (folder, manifest["document"]["takes"].as_array().unwrap().clone())
    }

    /// The children that look at the screen.
    fn lookers(&self) -> Vec<u32> {
        let looks = |pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.contains("pipewiresrc"))
        };
        self.folder.processes().into_iter().filter(looks).collect()
    }

    fn one_looker(&self) -> u32 {
        eventually(PATIENCE, "one child at work", || match self.lookers()[..] {
            [pid] => Some(pid),
            _ => None,
        })
        .unwrap()
    }

    fn no_looker_stays(&self) {
        eventually(PATIENCE, "the children's end", || self.lookers().is_empty().then_some(())).unwrap();
    }
}

/// The slide's marker at an instant of a take.
fn marker(folder: &std::path::Path, take: usize, at_ms: u64) -> Option<Marker> {
    let frame =
        Frame::of_file(&folder.join(format!("take-{take}.mp4")), Duration::from_millis(at_ms)).unwrap();
    Marker::read(&frame)
}

/// That the end of a take shows slides that go on.
fn shows_moving_slides(folder: &std::path::Path, take: usize, duration_ms: u64) {
    let earlier = marker(folder, take, duration_ms - 2600).expect("a slide in the take");
    let later = marker(folder, take, duration_ms - 400).expect("a slide at the end of the take");
    assert_ne!(earlier.second, later.second, "the screen stands still in the take");
}

fn duration(take: &Value) -> u64 {
    take["duration_ms"].as_u64().unwrap()
}

#[test]
fn the_teacher_says_yes_once_and_every_lesson_shows_the_screen() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(room) = classroom() else { return };
    room.agent.press("start").unwrap();
    // While nobody answers the lesson goes on with a plate, and says why.
    room.wait_for_picture(false);
    room.desktop.say_yes().unwrap();
    room.wait_for_picture(true);
    room.record_for(5000);
    let (folder, takes) = room.finish();
    let gap = &takes[0]["gaps"][0];
    assert!(gap["cause"].as_str().unwrap().contains("not answered"), "{gap}");
    assert!(gap["to_ms"].as_u64().unwrap() > 0, "{gap}");
    shows_moving_slides(&folder, 1, duration(&takes[0]));
    room.no_looker_stays();
    let leave = std::fs::metadata(room.agent.data.join("wayland-screen")).unwrap();
    assert_eq!(leave.permissions().mode() & 0o777, 0o600);

    // The second lesson, whose recorder is killed in the middle: nobody is asked again.
    room.agent.press("start").unwrap();
    room.record_for(3000);
    let child = room.one_looker();
    let recorder = room.agent.recorders(&room.folder)[0];
    let pid = rustix::process::Pid::from_raw(i32::try_from(recorder).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    eventually(PATIENCE, "the next take", || {
        let status = room.agent.status().ok()?;
        (status["lesson"]["take"] == 2 && room.media_ms() > 0).then_some(())
    })
    .unwrap();
    room.record_for(5000);
    assert_ne!(room.one_looker(), child, "the killed recorder's child has gone with it");
    let (folder, takes) = room.finish();
    assert_eq!(takes.len(), 2);
    for (n, take) in takes.iter().enumerate() {
        assert!(take["gaps"].as_array().is_none_or(Vec::is_empty), "{take}");
        assert!(marker(&folder, n + 1, duration(take) - 400).is_some(), "take {}", n + 1);
    }
    assert_eq!(room.desktop.questions(), 1, "asked once");
}

#[test]
fn a_compositor_that_dies_leaves_a_plate_and_its_screen_comes_back() {
    let Some(mut room) = classroom() else { return };
    room.agent.press("start").unwrap();
    room.desktop.say_yes().unwrap();
    room.wait_for_picture(true);
    room.record_for(4000);
    room.desktop.compositor().kill();
    room.wait_for_picture(false);
    let plate_at = room.media_ms() + 500;
    room.record_for(2000);
    room.no_looker_stays();
    room.desktop.log_in_again(&room.folder).unwrap();
    room.wait_for_picture(true);
    // A browser may take its time; what counts is that the screen is seen again.
    room.record_for(10_000);
    let (folder, takes) = room.finish();
    assert_eq!(takes.len(), 1, "a lost screen does not end the take");
    let gaps = takes[0]["gaps"].as_array().unwrap();
    let gap = gaps.last().unwrap();
    assert!(gap["cause"].as_str().unwrap().contains("desktop"), "{gap}");
    assert!(gap["to_ms"].as_u64().unwrap() > plate_at, "{gap}");
    let plate = Frame::of_file(&folder.join("take-1.mp4"), Duration::from_millis(plate_at)).unwrap();
    assert!(plate.mean() < 90, "the plate is dark, the slides are light: {}", plate.mean());
    shows_moving_slides(&folder, 1, duration(&takes[0]));
    assert_eq!(room.desktop.questions(), 1, "asked once");
}

#[test]
fn without_a_portal_one_sentence_says_what_is_missing_and_the_lesson_goes_on() {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let nobody = format!("unix:path={}/no-bus", folder.path().display());
    let env = vec![("DBUS_SESSION_BUS_ADDRESS".to_owned(), nobody)];
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, &room(env.clone()), &hub, &password).unwrap();

    let mut doctor = Command::new(&programs.lectern);
    doctor.arg("--config").arg(&agent.config).args(["--json", "doctor"]).envs(env);
    let found: Value = serde_json::from_slice(&doctor.output().unwrap().stdout).unwrap();
    let screen = found["findings"].as_array().unwrap().iter().find(|f| f["what"] == "screen").unwrap();
    assert_eq!(screen["ok"], false);
    let sentence = screen["detail"].as_str().unwrap();
    assert!(
        !sentence.contains('\n') && (sentence.contains("install") || sentence.contains("must run")),
        "{sentence}"
    );

    agent.press("start").unwrap();
    agent.wait_for_media(4000, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
    let lesson = hub.lesson_folder(status["lesson"]["id"].as_str().unwrap());
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(lesson.join("manifest.json")).unwrap()).unwrap();
    let gap = &manifest["document"]["takes"][0]["gaps"][0];
    assert!(gap["cause"].as_str().unwrap().starts_with("there is no session bus here"), "{gap}");
}
