//! What happens after the lesson: the decode report, clips and renditions.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Browser, Folder, Hub, Room, eventually};
use lectern_wire::fmp4::Scanner;
use lectern_wire::render::{Job, Piece, Rendition, Said};
use lectern_wire::report::Report;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

/// What the ffmpeg command line says.
fn tool(program: &str, arguments: &[&str], file: &Path, after: &[&str]) -> String {
    let out =
        Command::new(program).args(["-v", "error"]).args(arguments).arg(file).args(after).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.trim().is_empty(), "{program} of {}: {said}", file.display());
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Hash of every picture and its time (ms) after the first; ffmpeg itself counts from the sound's priming.
fn pictures(file: &Path) -> Vec<(String, i64)> {
    let text = tool("ffmpeg", &["-i"], file, &["-map", "0:v", "-f", "framemd5", "-"]);
    let base: f64 =
        text.lines().find_map(|l| l.strip_prefix("#tb 0: 1/")).and_then(|n| n.trim().parse().ok()).unwrap();
    let row = |line: &str| {
        let fields: Vec<_> = line.split(',').map(str::trim).collect();
        let pts: f64 = fields[2].parse().unwrap();
        (fields[5].to_owned(), (pts * 1000.0 / base).round() as i64)
    };
    let rows: Vec<_> = text.lines().filter(|l| !l.starts_with('#')).map(row).collect();
    let first = rows.first().unwrap().1;
    rows.into_iter().map(|(hash, ms)| (hash, ms - first)).collect()
}

/// A take as a recorder writes it, of generated picture and sound.
fn take(folder: &Folder, name: &str, picture: &str, sound: &str) -> PathBuf {
    let file = folder.join(name);
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-shortest"])
        .args([
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-tune",
            "zerolatency",
            "-g",
            "50",
            "-pix_fmt",
            "yuv420p",
        ])
        .args(["-c:a", "aac", "-ac", "2", "-ar", "48000", "-video_track_timescale", "90000"])
        .args(["-movflags", "frag_keyframe+delay_moov+default_base_moof+skip_trailer"])
        .arg(&file)
        .status();
    assert!(made.unwrap().success());
    file
}

fn whole(file: &Path) -> Piece {
    let mut scanner = Scanner::default();
    scanner.push(&std::fs::read(file).unwrap()).unwrap();
    Piece {
        take: file.to_str().unwrap().to_owned(),
        init: scanner.init_length(),
        from: scanner.init_length(),
        to: scanner.whole(),
        start_ms: 0,
        end_ms: scanner.duration_ms(),
    }
}

/// Has the recorder do a job; its last word, or what it complains of.
fn render(job: &Job) -> Result<Said, String> {
    let recorder = Programs::find().unwrap().recorder;
    let mut command = Command::new(recorder);
    command.arg("render").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut orders = child.stdin.take().unwrap();
    writeln!(orders, "{}", serde_json::to_string(job).unwrap()).unwrap();
    let out = {
        // Its input stays open until it has ended: the end of it would cancel.
        let mut said = String::new();
        std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut said).unwrap();
        said
    };
    drop(orders);
    let ended = child.wait_with_output().unwrap();
    match ended.status.success() {
        true => Ok(serde_json::from_str(out.lines().last().unwrap()).unwrap()),
        false => Err(String::from_utf8_lossy(&ended.stderr).into_owned()),
    }
}

#[test]
fn a_report_says_what_is_black_silent_still_and_missing() {
    let folder = Folder::new().unwrap();
    // 12 s of nothing, then 12 s of picture and tone, in which a fifth of the pictures is missing.
    let picture =
        "color=c=black:s=320x180:r=25:d=12[a];testsrc2=s=320x180:r=25:d=12,select=mod(n\\,5)[b];[a][b]concat";
    let sound = "anullsrc=r=48000:cl=stereo:d=12[a];sine=f=440:r=48000:d=12,volume=0dB,aformat=cl=stereo[b];[a][b]concat=v=0:a=1";
    let made = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-filter_complex",
            &format!("{picture}[v];{sound}[s]"),
            "-map",
            "[v]",
            "-map",
            "[s]",
        ])
        .args([
            "-fps_mode",
            "passthrough",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-tune",
            "zerolatency",
            "-g",
            "25",
        ])
        .args(["-pix_fmt", "yuv420p", "-c:a", "aac", "-video_track_timescale", "90000"])
        .args(["-movflags", "frag_keyframe+delay_moov+default_base_moof"])
        .arg(folder.join("take.mp4"))
        .status();
    assert!(made.unwrap().success());
    let inspect = |more: &[&str]| -> Report {
        let recorder = Programs::find().unwrap().recorder;
        let out =
            Command::new(recorder).arg("inspect").arg(folder.join("take.mp4")).args(more).output().unwrap();
        serde_json::from_slice(&out.stdout).unwrap()
    };
    let report = inspect(&["--fps", "25"]);
    assert!((23_500..=24_500).contains(&report.picture_ms), "{report:?}");
    assert!((11_000..=13_000).contains(&report.black_ms), "{report:?}");
    assert!((11_500..=12_500).contains(&report.silent_ms), "{report:?}");
    assert!(report.still_ms >= 10_000 && report.still_ms <= 13_000, "{report:?}");
    assert!((55..=61).contains(&report.dropped_pictures), "{report:?}");
    assert!(
        report.drift_ms.abs() < 200 && report.repeated_pictures == 0 && report.sound_hole_ms < 5,
        "{report:?}"
    );
    // libav's own tone has an eighth of full scale, and 3 dB less on each of two channels.
    assert!((-2300..=-2050).contains(&report.loudness_clufs), "{report:?}");
    assert!((-2150..=-2050).contains(&report.peak_cdbfs), "{report:?}");
    assert!(report.decoded_pictures < report.pictures);
    let full = inspect(&["--fps", "25", "--full"]);
    assert_eq!(full.decoded_pictures, full.pictures);
    assert_eq!((full.decoded_samples, full.loudness_clufs), (report.decoded_samples, report.loudness_clufs));
}

#[test]
fn a_rendition_stays_below_its_size_and_takes_of_different_kinds_are_joined() {
    let folder = Folder::new().unwrap();
    let noise = "nullsrc=s=640x360:r=25:d=20,geq=random(1)*255:128:128";
    let one = take(&folder, "one.mp4", noise, "sine=f=440:r=48000:d=20");
    let two = take(&folder, "two.mp4", "testsrc2=s=320x240:r=25:d=6", "sine=f=880:r=48000:d=6");
    let rendition = |max_bytes| Rendition {
        width: 640,
        height: 360,
        fps: 25,
        kbps: 8000,
        sound_kbps: 64,
        max_bytes: Some(max_bytes),
        title: None,
    };
    let out = folder.join("small.mp4");
    let mut job = Job {
        pieces: vec![whole(&one), whole(&two)],
        rendition: Some(rendition(2_000_000)),
        out: out.to_str().unwrap().to_owned(),
    };
    let Said::Done { bytes, length_ms } = render(&job).unwrap() else { panic!("no end") };
    assert_eq!(bytes, std::fs::metadata(&out).unwrap().len());
    assert!((1_000_000..=2_000_000).contains(&bytes), "{bytes} bytes");
    assert!((25_900..=26_100).contains(&length_ms));
    let times: Vec<_> = pictures(&out).into_iter().map(|(_, ms)| ms).collect();
    assert_eq!(times.len(), 650);
    assert!(times.iter().enumerate().all(|(n, ms)| *ms == n as i64 * 40), "no picture is missing or late");
    assert!(!folder.join("small.mp4.part").exists());

    let again = render(&job).unwrap_err();
    assert!(again.contains("is there already"), "{again}");
    job.out = folder.join("other.mp4").to_str().unwrap().to_owned();
    job.rendition = Some(rendition(100_000));
    let too_small = render(&job).unwrap_err();
    assert!(too_small.contains("does not fit"), "{too_small}");
    job.rendition = None;
    let different = render(&job).unwrap_err();
    assert!(different.contains("cannot be joined as they are"), "{different}");
    assert!(!folder.join("other.mp4").exists() && !folder.join("other.mp4.part").exists());
}

struct Class {
    agent: Agent,
    _hub: Hub,
    folder: Folder,
}

impl Class {
    fn start() -> Self {
        let folder = Folder::new().unwrap();
        let programs = Programs::find().unwrap();
        let (hub, password) = Hub::start(&folder, &programs).unwrap();
        let agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password).unwrap();
        Self { agent, _hub: hub, folder }
    }

    fn lesson(&self, ms: u64) -> String {
        self.agent.press("start").unwrap();
        self.agent.wait_for_media(ms, PATIENCE).unwrap();
        self.agent.press("stop").unwrap();
        let status = self.agent.wait_for(&["sealed", "stored"], PATIENCE).unwrap();
        status["lesson"]["id"].as_str().unwrap().to_owned()
    }

    fn make(&self, lesson: &str, more: &[&str]) -> i64 {
        let (answer, code) = self.agent.lectern(&[&["clip", "make", lesson], more].concat()).unwrap();
        assert_eq!(code, 0, "{answer}");
        answer["id"].as_i64().unwrap()
    }

    fn clip(&self, id: i64) -> Value {
        let all = self.agent.lectern(&["clip", "list"]).unwrap().0;
        all["clips"].as_array().unwrap().iter().find(|c| c["id"] == id).cloned().unwrap_or_default()
    }

    fn wait(&self, id: i64, states: &[&str]) -> Value {
        let mut last = Value::Null;
        eventually(PATIENCE, &format!("clip {id} {}", states.join(" or ")), || {
            last = self.clip(id);
            states.contains(&last["state"].as_str()?).then(|| last.clone())
        })
        .unwrap_or_else(|e| panic!("{e}: {last}\n{}", self.agent.process.tail_of_log()))
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.agent.data.join("clips")).unwrap();
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    fn renderers(&self) -> Vec<u32> {
        let renders = |pid: &u32| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.split(|b| *b == 0).nth(1) == Some(b"render".as_slice()))
        };
        self.folder.processes().into_iter().filter(renders).collect()
    }
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn what_is_damaged_in_a_take_is_missing_in_its_report_and_the_rest_is_decoded() {
    let folder = Folder::new().unwrap();
    let file =
        take(&folder, "take.mp4", "testsrc2=s=320x180:r=25:d=8", "sine=f=440:r=48000:d=8,aformat=cl=stereo");
    let probe = ["-show_entries", "packet=codec_type,pos,size", "-of", "csv=p=0"];
    let packets = tool("ffprobe", &probe, &file, &[]);
    let of = |kind: &str| -> Vec<(usize, usize)> {
        let rows = packets.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let rows = rows.filter(|row| row[0] == kind);
        rows.map(|row| (row[2].parse().unwrap(), row[1].parse().unwrap())).collect()
    };
    let mut bytes = std::fs::read(&file).unwrap();
    // A key frame, the picture before the last, and two pieces of sound.
    let (pictures, sound) = (of("video"), of("audio"));
    for (at, size) in [pictures[50], pictures[pictures.len() - 2], sound[40], sound[41]] {
        bytes[at..at + size].fill(0xff);
    }
    std::fs::write(&file, bytes).unwrap();
    for (more, damaged) in [(&["--full"][..], 2..=2), (&[][..], 1..=2)] {
        let recorder = Programs::find().unwrap().recorder;
        let out = Command::new(recorder)
            .arg("inspect")
            .arg(&file)
            .args(["--fps", "25"])
            .args(more)
            .output()
            .unwrap();
        let report: Report = serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)));
        assert!(damaged.contains(&report.dropped_pictures), "{more:?}: {report:?}");
        assert!((40..=46).contains(&report.sound_hole_ms), "{more:?}: {report:?}");
        assert_eq!(report.pictures, 200, "{more:?}: {report:?}");
    }
}

#[test]
fn a_clip_holds_the_pictures_of_its_takes_and_joins_them_without_a_hole() {
    let class = Class::start();
    class.agent.press("start").unwrap();
    class.agent.wait_for_media(6000, PATIENCE).unwrap();
    let status = class.agent.lose_recorder(&class.folder, 4000, PATIENCE).unwrap();
    let lesson = status["lesson"]["id"].as_str().unwrap().to_owned();
    class.agent.press("stop").unwrap();
    class.agent.wait_for(&["sealed", "stored"], PATIENCE).unwrap();
    let folder = class.agent.data.join("lessons").join(&lesson);
    let takes = [folder.join("take-1.mp4"), folder.join("take-2.mp4")].map(|file| pictures(&file));

    let rows = class.agent.lectern(&["lessons"]).unwrap().0;
    let reports: Vec<Report> = serde_json::from_value(rows[0]["reports"].clone()).unwrap();
    assert_eq!(reports.len(), 2);
    for (report, take) in reports.iter().zip(&takes) {
        assert_eq!(report.pictures, take.len() as u64);
        // A busy machine leaves pictures out; the report must say so, whoever counts.
        let holes: i64 = take.windows(2).map(|w| (w[1].1 - w[0].1) / 40 - 1).sum();
        assert_eq!(report.dropped_pictures, holes as u64, "{report:?}");
        assert_eq!((report.width, report.height), (1280, 720));
    }

    // From the third second: the key frame before it is at two.
    let id = class.make(&lesson, &["--from", "3"]);
    let clip = class.wait(id, &["done"]);
    let file = PathBuf::from(clip["path"].as_str().unwrap());
    let name = clip["name"].as_str().unwrap();
    assert!(name.starts_with("3401000001_") && name.ends_with("_片段.mp4"), "{name}");
    let shown = pictures(&file);
    let first = takes[0].iter().skip_while(|(_, ms)| *ms < 2000).map(|(hash, ms)| (hash.clone(), ms - 2000));
    let joined_at = reports[0].picture_ms as i64 - 2000;
    let second = takes[1].iter().map(|(hash, ms)| (hash.clone(), ms + joined_at));
    assert!(shown == first.chain(second).collect::<Vec<_>>(), "not the same pictures at the same times");
    let bytes = std::fs::read(&file).unwrap();
    let at = |kind: &[u8]| bytes.windows(4).position(|w| w == kind).unwrap();
    assert!(at(b"moov") < at(b"mdat"), "its tables stand in front");
    let lengths = tool("ffprobe", &["-show_entries", "stream=duration", "-of", "csv=p=0"], &file, &[]);
    let lengths: Vec<f64> = lengths.lines().map(|l| l.trim_matches(',').parse().unwrap()).collect();
    let all = (reports[0].picture_ms - 2000 + reports[1].picture_ms) as f64 / 1000.0;
    assert!((lengths[0] - all).abs() < 0.001, "{lengths:?} are not {all} s");
    assert!((lengths[1] - lengths[0]).abs() < 0.5, "{lengths:?}");
    assert_eq!(class.agent.verify(&folder).unwrap()["sound"], true, "the evidence is as it was");

    for (more, why) in [
        (["--from", "90"].as_slice(), "no picture"),
        (&["--from", "5", "--to", "4"], "behind the beginning"),
        (&["--profile", "nonsense"], "no profile"),
        (&["--title"], "allows no title"),
    ] {
        let said = class.agent.lectern(&[&["clip", "make", &lesson], more].concat()).unwrap_err().to_string();
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(class.agent.lectern(&["clip", "remove", &id.to_string()]).unwrap().1, 0);
    assert_eq!(class.files(), Vec::<String>::new());
}

#[test]
fn making_stands_still_during_a_lesson_and_goes_on_after_it() {
    let class = Class::start();
    let lesson = class.lesson(8000);
    let id = class.make(&lesson, &["--profile", "jingpin", "--title", "--edition", "人教版"]);
    class.wait(id, &["making"]);
    class.agent.press("start").unwrap();
    class.wait(id, &["paused"]);
    class.agent.wait_for_media(3000, PATIENCE).unwrap();
    // The order is shown before the renderer has finished the picture it is at.
    let still = class.clip(id);
    let ticks = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let renderer = class.renderers()[0];
    let before = ticks(renderer);
    class.agent.wait_for_media(6000, PATIENCE).unwrap();
    // Three seconds of work would be hundreds of ticks.
    assert!(ticks(renderer) - before <= 10, "it works during a lesson");
    assert_eq!(class.clip(id)["done_ms"], still["done_ms"]);
    let second = class.make(&lesson, &["--to", "4"]);
    assert_eq!(class.clip(second)["state"], "waiting");
    class.agent.press("stop").unwrap();
    let made = class.wait(id, &["done"]);
    let shape = tool(
        "ffprobe",
        &["-select_streams", "v", "-show_entries", "stream=width,height", "-of", "csv=p=0"],
        Path::new(made["path"].as_str().unwrap()),
        &[],
    );
    assert_eq!(shape.trim(), "1920,1080");
    class.wait(second, &["done"]);
}

#[test]
fn cancelled_killed_or_cut_off_nothing_half_is_left() {
    let mut class = Class::start();
    let lesson = class.lesson(8000);
    let slow = ["--profile", "jingpin", "--title"];
    let id = class.make(&lesson, &slow);
    class.wait(id, &["making"]);
    assert_eq!(class.agent.lectern(&["clip", "cancel", &id.to_string()]).unwrap().1, 0);
    class.wait(id, &["cancelled"]);
    eventually(PATIENCE, "an empty folder", || class.files().is_empty().then_some(())).unwrap();

    let id = class.make(&lesson, &slow);
    class.wait(id, &["making"]);
    kill(class.renderers()[0]);
    class.wait(id, &["failed"]);
    eventually(PATIENCE, "an empty folder", || class.files().is_empty().then_some(())).unwrap();

    let id = class.make(&lesson, &slow);
    class.wait(id, &["making"]);
    let renderer = class.renderers()[0];
    // The daemon first: otherwise it would say that the recorder broke off.
    class.agent.process.kill();
    if class.renderers().contains(&renderer) {
        kill(renderer);
    }
    class.agent.restart(&class.folder).unwrap();
    let made = class.wait(id, &["done"]);
    assert_eq!(class.files(), [made["name"].as_str().unwrap()], "and no part of it");
}

#[tokio::test]
async fn a_teacher_makes_a_clip_on_the_page_and_takes_it_along() {
    let class = Class::start();
    let lesson = class.lesson(6000);
    let browser = Browser::start(&class.folder, "teacher").await.unwrap();
    let page = class.agent.page().unwrap();
    browser.open(&page).await.unwrap();
    browser.wait_text("#report", "画面 00:00:", PATIENCE).await.unwrap();
    browser.click("#clip-name").await.unwrap();
    // The profiles come with the first look.
    browser.wait_text("#clip select", "精品课", PATIENCE).await.unwrap();
    browser.type_into("#clip input[name=from]", "0:03").await.unwrap();
    browser.type_into("#clip input[name=to]", "3").await.unwrap();
    browser.click("#clip-make").await.unwrap();
    browser.wait_text("#clip-problem", "behind the beginning", PATIENCE).await.unwrap();
    browser.type_into("#clip input[name=to]", ":00").await.unwrap();
    browser.click("#clip-make").await.unwrap();
    browser.wait_text("#clips", "做好了", PATIENCE).await.unwrap();
    browser.screenshot(&lectern_tests::browser::pictures().unwrap().join("clip.png")).await.unwrap();
    let link = browser.run("return document.querySelector('#clips a').href").await.unwrap();
    let bytes = reqwest::get(link.as_str().unwrap()).await.unwrap().bytes().await.unwrap();
    let all = class.agent.lectern(&["clip", "list"]).unwrap().0;
    let clip = &all["clips"][0];
    assert_eq!(
        (clip["lesson"].as_str(), clip["bytes"].as_u64()),
        (Some(lesson.as_str()), Some(bytes.len() as u64))
    );
    assert_eq!(bytes, std::fs::read(clip["path"].as_str().unwrap()).unwrap());
    browser.click("#clips button").await.unwrap();
    let gone = || class.files().is_empty().then_some(());
    eventually(PATIENCE, "the file to be removed", gone).unwrap();
    browser.close().await.unwrap();
}
