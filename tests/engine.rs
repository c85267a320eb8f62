//! The recording engine under stress: encoders that cannot be had, a machine that is too busy.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lectern_tests::grab;
use lectern_tests::process::output;
use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Folder, Hub, Room, World, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

struct Line {
    hub: Hub,
    agent: Agent,
    programs: Programs,
    folder: Folder,
}

fn line(room: impl FnOnce(&Folder) -> Room, programs: impl FnOnce(&Folder, Programs) -> Programs) -> Line {
    let folder = Folder::new().unwrap();
    let room = room(&folder);
    let programs = programs(&folder, Programs::find().unwrap());
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, &room, &hub, &password).unwrap();
    Line { hub, agent, programs, folder }
}

impl Line {
    /// Stops and gives the stored manifest.
    fn finish(&self) -> Value {
        self.agent.press("stop").unwrap();
        let status = self.agent.wait_for(&["stored"], PATIENCE).unwrap();
        let folder = self.hub.lesson_folder(status["lesson"]["id"].as_str().unwrap());
        assert_eq!(self.agent.verify(&folder).unwrap()["sound"], true);
        let manifest: Value =
            serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
        manifest["document"].clone()
    }

    fn take(&self, manifest: &Value, n: usize) -> std::path::PathBuf {
        let file = manifest["takes"][n - 1]["file"].as_str().unwrap();
        self.hub.lesson_folder(manifest["lesson_id"].as_str().unwrap()).join(file)
    }
}

/// A recorder that writes down the jobs it is given.
fn noting(folder: &Folder, programs: Programs) -> Programs {
    let (script, jobs) = (folder.join("recorder.sh"), folder.join("jobs"));
    let real = programs.recorder.display();
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = record ] || exec {real} \"$@\"\nIFS= read -r job\n\
         printf '%s\\n' \"$job\" >> {}\nexec {real} record <<EOF\n$job\nEOF\n",
        jobs.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    Programs { recorder: script, ..programs }
}

fn jobs(folder: &Folder) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("jobs")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Seconds at which the packets of a stream (`v` or `a`) begin.
fn times(file: &Path, stream: &str) -> Vec<f64> {
    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-select_streams", stream, "-of", "csv=p=0"]);
    probe.args(["-show_entries", "packet=pts_time"]).arg(file);
    let text = String::from_utf8_lossy(&output(probe).unwrap()).into_owned();
    text.lines().filter_map(|t| t.trim_end_matches(',').parse().ok()).collect()
}

#[test]
fn every_encoder_is_tried_and_says_why_it_cannot_be_used() {
    let programs = Programs::find().unwrap();
    let mut command = Command::new(&programs.recorder);
    command.arg("encoders");
    let reports: Value = serde_json::from_slice(&output(command).unwrap()).unwrap();
    let reports = reports.as_array().unwrap();
    let names: Vec<_> = reports.iter().map(|r| r["encoder"].as_str().unwrap()).collect();
    assert_eq!(names, ["h264_vaapi", "h264_qsv", "h264_nvenc", "h264_v4l2m2m", "libx264"]);
    assert!(reports[4]["fault"].is_null(), "libx264 works everywhere: {reports:?}");
    for (report, device) in reports.iter().zip(["/dev/dri", "/dev/dri", "/dev/nvidiactl", "/dev/video0"]) {
        // Where the device is, the answer depends on it; where it is not, the sentence names it.
        let said = report["fault"].as_str().unwrap_or_default();
        assert!(Path::new(device).exists() || said.contains(device.trim_end_matches('0')), "{report}");
    }
    // A daemon that starts asks for less: nothing after the first that works, and never for the processor's own.
    let mut command = Command::new(&programs.recorder);
    command.args(["encoders", "--hardware"]);
    let tried: Value = serde_json::from_slice(&output(command).unwrap()).unwrap();
    let works = reports[..4].iter().position(|r| r["fault"].is_null());
    assert_eq!(tried.as_array().unwrap()[..], reports[..works.map_or(4, |at| at + 1)]);
}

#[test]
fn an_encoder_that_fails_gives_way_to_libx264_and_is_not_trusted_again() {
    let room = |_: &Folder| Room {
        recording: "picture = \"1280x720\"\nencoder = \"h264_nvenc\"\n".into(),
        ..Room::card()
    };
    let line = line(room, noting);
    let (doctor, _) = line.agent.lectern(&["doctor"]).unwrap();
    let rows = doctor["findings"].as_array().unwrap();
    let row = rows.iter().find(|r| r["what"] == "encoder").unwrap();
    let there = row["ok"] == true;
    assert!(there || row["detail"].as_str().unwrap().contains("gives way to libx264"), "{row}");

    let (found, code) = line.agent.lectern(&["preflight"]).unwrap();
    let state = found["encoder"]["state"].as_str().unwrap();
    assert_eq!((found["encoder"]["encoder"].as_str(), code), (Some("h264_nvenc"), 0), "{found}");
    assert_eq!(state, if there { "good" } else { "gives_way" }, "{found}");

    line.agent.press("start").unwrap();
    line.agent.wait_for_media(3000, PATIENCE).unwrap();
    // What a driver does when it crashes.
    line.agent.lose_recorder(&line.folder, 2000, PATIENCE).unwrap();
    let manifest = line.finish();
    let asked = jobs(&line.folder);
    let asked: Vec<_> = asked.iter().map(|j| j["capture"]["video"]["encoder"].as_str().unwrap()).collect();
    assert_eq!(asked, ["h264_nvenc", "libx264"], "the next take trusts only libx264");
    assert_eq!(manifest["capture"]["video"]["encoder"], "h264_nvenc");
    let used: Vec<_> =
        manifest["takes"].as_array().unwrap().iter().map(|t| t["encoder"].as_str().unwrap()).collect();
    assert_eq!(used, [if there { "h264_nvenc" } else { "libx264" }, "libx264"]);
    assert!(line.programs.recorder.is_file());
}

#[test]
fn a_machine_too_busy_makes_fewer_pictures_then_all_again_and_loses_no_sound() {
    let line = line(|_| Room::card(), |_, programs| programs);
    line.agent.press("start").unwrap();
    line.agent.wait_for_media(4000, PATIENCE).unwrap();
    let slow = |there: bool| {
        let status = line.agent.status().ok()?;
        let has = status["warnings"].as_array()?.iter().any(|w| w["kind"] == "slow");
        (has == there).then_some(())
    };
    // Three quarters of the time something else has the processor, for as long as it takes.
    let pid = line.agent.recorders(&line.folder)[0];
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let busy = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while busy.load(std::sync::atomic::Ordering::Relaxed) {
                kill_process(pid, Signal::STOP).unwrap();
                std::thread::sleep(Duration::from_millis(300));
                kill_process(pid, Signal::CONT).unwrap();
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let outcome = eventually(PATIENCE, "a slower pace", || slow(true));
        std::thread::sleep(Duration::from_secs(3));
        busy.store(false, std::sync::atomic::Ordering::Relaxed);
        outcome.unwrap();
    });
    // On a machine that has other work this takes its time: it is not too busy only when that is true.
    eventually(Duration::from_secs(240), "the full pace again", || slow(false)).unwrap();
    let media = line.agent.status().unwrap()["lesson"]["media_ms"].as_u64().unwrap();
    line.agent.wait_for_media(media + 3000, PATIENCE).unwrap();
    let manifest = line.finish();

    let take = &manifest["takes"][0];
    let paces: Vec<_> =
        take["paces"].as_array().unwrap().iter().map(|p| p["fps"].as_u64().unwrap()).collect();
    // Full again at least once; a machine with other work may be too busy again since.
    assert!(paces[0] == 15 && paces.contains(&25), "{paces:?}");
    assert!(take["gaps"].as_array().unwrap().is_empty(), "nothing was lost: {}", take["gaps"]);
    let file = line.take(&manifest, 1);
    let sound = times(&file, "a");
    let longest = sound.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max);
    assert!(longest < 0.022, "a hole of {longest:.3} s in the sound");
    // The card's tone is there each second, exactly: nothing was lost, stretched or moved.
    let (_, tones) = flashes_and_tones(&file);
    let seconds = usize::try_from(take["duration_ms"].as_u64().unwrap() / 1000).unwrap();
    assert!(tones.len() + 1 >= seconds, "{} tones in {seconds} s", tones.len());
    let off = tones.windows(2).map(|w| (w[1] - w[0] - 1.0).abs()).fold(0.0, f64::max);
    assert!(off < 0.005, "a tone is {off:.3} s off");
}

/// Seconds at which the card's flash appears and its tone begins, each second of a take.
fn flashes_and_tones(file: &Path) -> (Vec<f64>, Vec<f64>) {
    let lights = grab::lights(file).unwrap();
    let lit = lights.windows(2).filter(|w| w[1].1 - w[0].1 > 5.0).map(|w| w[1].0).collect();
    let sound = grab::sound(file).unwrap();
    let (mut tones, mut quiet) = (Vec::new(), 0_u32);
    for (n, sample) in (0_u32..).zip(&sound) {
        if sample.abs() > 0.1 {
            if quiet > grab::RATE / 2 {
                tones.push(f64::from(n) / f64::from(grab::RATE));
            }
            quiet = 0;
        } else {
            quiet += 1;
        }
    }
    (lit, tones)
}

#[test]
fn the_seconds_before_the_press_are_in_the_lesson_and_nowhere_before_it() {
    let room = |_: &Folder| Room { recording: "picture = \"1280x720\"\nring_s = 4\n".into(), ..Room::card() };
    let line = line(room, |_, programs| programs);
    let ring = |want: Value| {
        let what = format!("ring_s {want}");
        eventually(PATIENCE, &what, || (line.agent.status().ok()?["ring_s"] == want).then_some(())).unwrap();
    };
    ring(Value::from(4));
    // It says so before its sources are open.
    std::thread::sleep(Duration::from_secs(15));
    let kept = std::fs::read_dir(line.agent.data.join("lessons")).unwrap().count();
    assert_eq!(kept, 0, "nothing is written before the press");
    line.agent.press("start").unwrap();
    ring(Value::Null);
    line.agent.wait_for_media(9000, PATIENCE).unwrap();
    let manifest = line.finish();
    let take = &manifest["takes"][0];
    let before = take["ring_ms"].as_u64().unwrap();
    assert!((4000..8000).contains(&before), "{before} ms before the press");
    assert_eq!(manifest["takes"].as_array().unwrap().len(), 1);
    let file = line.take(&manifest, 1);
    let pictures = times(&file, "v");
    assert!(pictures[0].abs() < 0.001, "the take begins with its first picture: {}", pictures[0]);
    let sound = times(&file, "a");
    let longest = sound.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max);
    assert!(longest < 0.022, "a hole of {longest:.3} s in the sound");
    let (flashes, tones) = flashes_and_tones(&file);
    assert!(flashes.len() >= 7, "{flashes:?}");
    // The very first tone may lie before the first sample, the last after the end. A machine that is late shows a flash a
    // picture too early, now and then; what is shifted as a whole would be seen in the middle.
    let near = |flash: &f64| tones.iter().map(|tone| (tone - flash).abs()).fold(f64::MAX, f64::min);
    let mut apart: Vec<f64> = flashes.iter().filter(|flash| **flash >= 1.0).map(near).collect();
    apart.sort_by(f64::total_cmp);
    let (median, most) = (apart[apart.len() / 2], apart[apart.len() - 1]);
    assert!(median < 0.04 && most < 0.1, "flashes {flashes:?}, tones {tones:?}");
    // The next one is ready again, and none stays behind.
    ring(Value::from(4));
}

#[test]
fn a_recorder_that_is_ready_takes_the_job_and_a_dead_one_is_no_loss() {
    let room =
        |_: &Folder| Room { recording: "picture = \"1280x720\"\narmed = true\n".into(), ..Room::card() };
    let mut line = line(room, |_, programs| programs);
    let armed = |line: &Line| {
        let is_armed = |pid: &u32| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.split(|b| *b == 0).nth(1) == Some(b"arm".as_slice())
        };
        line.folder.processes().into_iter().filter(is_armed).collect::<Vec<_>>()
    };
    let wait = |line: &Line| {
        let pid = eventually(PATIENCE, "an armed recorder", || armed(line).first().copied()).unwrap();
        let ready = || {
            let mut run = std::fs::read_dir(line.agent.data.join("run")).ok()?.flatten();
            run.any(|e| e.file_name().to_string_lossy().starts_with("armed-")).then_some(())
        };
        eventually(PATIENCE, "its socket", ready).unwrap();
        let waits = || line.agent.status().ok().filter(|status| status["ready"] == true);
        eventually(PATIENCE, "one whose sources and encoders are open", waits).unwrap();
        pid
    };
    let pid = wait(&line);
    line.agent.press("start").unwrap();
    let status = line.agent.wait_for_media(2000, PATIENCE).unwrap();
    assert_eq!(armed(&line), [pid], "the one that was ready records");
    assert!(status["lesson"]["first_durable_ms"].as_u64().is_some());
    assert!(status["ring_s"].is_null(), "nothing is kept before the press");
    let manifest = line.finish();
    assert!(manifest["takes"][0].get("ring_ms").is_none());

    let pid = wait(&line);
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    line.agent.press("start").unwrap();
    line.agent.wait_for_media(2000, PATIENCE).unwrap();
    let manifest = line.finish();
    assert_eq!(manifest["takes"].as_array().unwrap().len(), 1, "another was started at once");

    let pid = wait(&line);
    line.agent.process.stop();
    let gone = || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(());
    eventually(PATIENCE, "the armed recorder's end", gone).unwrap();
}

#[test]
fn a_recorder_that_is_ready_says_itself_how_its_sources_are() {
    let mut world = World::start().unwrap();
    world.sound.keep_speaking(Duration::from_millis(200)).unwrap();
    let room = Room::of(&world, true);
    let room = Room { recording: format!("{}armed = true\n", room.recording), ..room };
    // Opening a device a second time would fail for many; here it fails for all.
    let once = |folder: &Folder, programs: Programs| {
        let script = folder.join("recorder.sh");
        let real = programs.recorder.display();
        let text = format!("#!/bin/sh\n[ \"$1\" = preflight ] && exit 9\nexec {real} \"$@\"\n");
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        Programs { recorder: script, ..programs }
    };
    let line = line(|_| room, once);
    let found = |want: &str| {
        let mut last = Value::Null;
        let outcome = eventually(PATIENCE, &format!("a camera that is {want}"), || {
            let (found, _) = line.agent.lectern(&["preflight"]).ok()?;
            last = found.clone();
            let camera = found["sources"].as_array()?.iter().find(|s| s["kind"] == "camera")?;
            let others = found["sources"].as_array()?.iter().filter(|s| s["kind"] != "camera");
            let well = camera["state"].as_str()? == "good";
            (well == (want == "there") && others.into_iter().all(|s| s["state"] == "good")).then_some(found)
        });
        outcome.unwrap_or_else(|e| panic!("{e}: {last}"))
    };
    let well = found("there");
    assert_eq!((well["problem"].as_str(), well["encoder"]["state"].as_str()), (None, Some("good")), "{well}");
    world.camera.stop();
    let away = found("away");
    assert!(away["problem"].is_null(), "{away}");
    world.camera.restart(&world.folder).unwrap();
    found("there");
    // Nobody else opened anything, and the one that was asked records.
    line.agent.press("start").unwrap();
    line.agent.wait_for_media(3000, PATIENCE).unwrap();
    line.finish();
}

#[test]
fn a_cameras_own_pictures_are_kept_through_its_loss_and_return() {
    let mut world = World::start().unwrap();
    world.sound.keep_speaking(Duration::from_secs(1)).unwrap();
    let url = world.camera.url();
    let room = Room::of(&world, false);
    let sources = room.sources.split("[[source]]").find(|s| s.contains("microphone")).unwrap();
    let room = Room {
        recording: "layout = \"camera\"\ncopy_camera = true\n".into(),
        sources: format!(
            "[[source]]{sources}[[source]]\nname = \"camera\"\nkind = \"network_camera\"\nurl = \"{url}\"\n"
        ),
        ..room
    };
    let line = line(|_| room, |_, programs| programs);
    let warned = |there: bool| {
        eventually(PATIENCE, &format!("no_picture: {there}"), || {
            let status = line.agent.status().ok()?;
            let has = status["warnings"].as_array()?.iter().any(|w| w["kind"] == "no_picture");
            (has == there).then(|| status["lesson"]["media_ms"].as_u64())?
        })
        .unwrap()
    };
    line.agent.press("start").unwrap();
    let take = line.agent.wait_for_media(6000, PATIENCE).unwrap()["lesson"]["take"].as_u64().unwrap();
    assert_eq!(take, 1);
    world.camera.stop();
    let lost = warned(true);
    line.agent.wait_for_media(lost + 4000, PATIENCE).unwrap();
    world.camera.restart(&world.folder).unwrap();
    let back = warned(false);
    line.agent.wait_for_media(back + 5000, PATIENCE).unwrap();
    line.agent.press("pause").unwrap();
    line.agent.wait_for(&["paused"], PATIENCE).unwrap();
    line.agent.press("resume").unwrap();
    line.agent.wait_for_media(back + 10_000, PATIENCE).unwrap();
    let manifest = line.finish();
    let takes = manifest["takes"].as_array().unwrap();
    assert_eq!(takes.len(), 1, "the same camera goes on in the same take");
    assert_eq!(takes[0]["encoder"], "copy");
    let gaps = takes[0]["gaps"].as_array().unwrap();
    assert!(gaps.iter().any(|g| g["source"] == "camera" && g["to_ms"].is_u64()), "{gaps:?}");
    let file = line.take(&manifest, 1);
    let (pictures, sound) = (times(&file, "v"), times(&file, "a"));
    let longest = |times: &[f64]| times.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max);
    assert!(pictures.windows(2).all(|w| w[1] > w[0]), "pictures stand in order");
    assert!(longest(&pictures) > 3.0, "the picture stands while the camera is away");
    assert!(longest(&sound) < 0.022, "the sound does not notice: {:.3} s", longest(&sound));
    assert!((pictures.last().unwrap() - sound.last().unwrap()).abs() < 1.0, "both go to the end");
    // 1280x720 as the camera sends it, and every picture decodes.
    let mut decode = Command::new("ffmpeg");
    decode.args(["-v", "error", "-i"]).arg(&file).args([
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        "1:90000",
        "-f",
        "null",
        "-",
    ]);
    let out = decode.output().unwrap();
    assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    let picture = grab::Frame::of_file(&file, Duration::from_secs(2)).unwrap();
    assert_eq!((picture.width, picture.height), (1280, 720));
    assert!(!picture.plain());
}
