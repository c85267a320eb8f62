//! What leaves the hub and the room as files for other programs: one standard MP4 of a lesson, and 材料包.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Browser, Console, Folder, Hub, Room, process};
use reqwest::{Method, StatusCode};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(120);

/// The hash of every decoded picture or of all decoded sound, as ffmpeg sees them.
fn decoded(file: &Path, what: &str) -> Vec<String> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i"]).arg(file).args(["-map", what, "-f", "framemd5", "-"]);
    let out = String::from_utf8(process::output(ffmpeg).unwrap()).unwrap();
    let lines = out.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit(',').next().unwrap().trim().to_owned()).collect()
}

/// The sound as a player places it by its times, 48 000 values a second; what is missing is silence.
fn sound(file: &Path) -> Vec<i16> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i"]).arg(file);
    ffmpeg.args(["-map", "0:a", "-af", "aresample=async=1:first_pts=0", "-ac", "1", "-f", "s16le", "-"]);
    let bytes = process::output(ffmpeg).unwrap();
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// When each picture is shown, seconds.
fn shown(file: &Path) -> Vec<f64> {
    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-select_streams", "v", "-show_entries", "packet=pts_time", "-of", "csv=p=0"]);
    let out = String::from_utf8(
        process::output({
            probe.arg(file);
            probe
        })
        .unwrap(),
    )
    .unwrap();
    out.lines().map(|line| line.trim_end_matches(',').parse().unwrap()).collect()
}

/// By how many samples the second take's sound lies off its picture in the joined file.
fn sound_off(joined: &Path, takes: &[std::path::PathBuf; 2]) -> i64 {
    // The encoder's delay: ffmpeg leaves it in the sound of a fragmented file, and passes over it in the joined one.
    const DELAY: usize = 1024;
    let first_pictures = shown(&takes[0]).len();
    let begins = (shown(joined)[first_pictures] * 48_000.0).round() as i64;
    let (whole, own) = (sound(joined), sound(&takes[1]));
    // Two seconds from the middle of its first three: the card's tone begins anew each second.
    let (from, length) = (24_000usize, 96_000usize);
    let difference = |off: i64| -> u64 {
        let at = usize::try_from(begins + off).unwrap() + from;
        let pairs = whole[at..at + length].iter().zip(&own[from + DELAY..]);
        pairs.step_by(7).map(|(a, b)| u64::from(a.abs_diff(*b))).sum()
    };
    (-2400..=2400).min_by_key(|off| (difference(*off), off.abs())).unwrap()
}

#[tokio::test]
async fn a_lesson_of_two_takes_is_one_standard_mp4_with_every_picture_of_both() {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password).unwrap();
    agent.press("start").unwrap();
    agent.wait_for_media(5000, PATIENCE).unwrap();
    agent.lose_recorder(&folder, 4000, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
    let lesson = status["lesson"]["id"].as_str().unwrap().to_owned();
    let takes = [1, 2].map(|n| hub.lesson_folder(&lesson).join(format!("take-{n}.mp4")));

    let console = Console::admin(&hub).await.unwrap();
    let path = format!("/lessons/{lesson}/lesson.mp4");
    let answer = console.get(&format!("{path}?download=1")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let told: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
    let etag = answer.headers()["etag"].to_str().unwrap().to_owned();
    let whole = answer.bytes().await.unwrap();
    assert_eq!(whole.len(), told);
    let file = folder.join("lesson.mp4");
    std::fs::write(&file, &whole).unwrap();

    let mut probe = Command::new("ffprobe");
    let entries = ["-show_entries", "format=duration,format_name:stream=codec_name,nb_frames,start_time"];
    probe
        .args(["-v", "warning", "-of", "json"])
        .args(entries)
        .arg(&file)
        .stderr(std::process::Stdio::piped());
    let out = probe.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stderr), "", "ffprobe has nothing to complain of");
    let said: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let seconds: f64 = said["format"]["duration"].as_str().unwrap().parse().unwrap();
    assert!((10.0..40.0).contains(&seconds), "{said}");
    let pictures: Vec<String> = takes.iter().flat_map(|take| decoded(take, "0:v")).collect();
    assert_eq!(decoded(&file, "0:v"), pictures, "every decoded picture is the takes'");
    assert_eq!(said["streams"][0]["nb_frames"], pictures.len().to_string());

    let off = sound_off(&file, &takes);
    assert!(off.abs() <= 96, "the second take's sound is {off} samples off its picture, more than 2 ms");

    // In ranges it is the same file, with a name that proves it.
    for (from, to) in
        [(0, 99), (whole.len() / 2, whole.len() / 2 + 7000), (whole.len() - 10, whole.len() - 1)]
    {
        let request = console.request(Method::GET, &path).header("range", format!("bytes={from}-{to}"));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(answer.headers()["etag"].to_str().unwrap(), etag);
        assert_eq!(answer.bytes().await.unwrap(), whole[from..=to]);
    }
    let request = console.request(Method::GET, &path).header("if-none-match", &etag);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::NOT_MODIFIED);

    // Chromium plays it and seeks in it, as a plain file.
    let browser = Browser::start(&folder, "export").await.unwrap();
    browser.open(&hub.url()).await.unwrap();
    let login = format!("document.cookie = 'lectern={}'; return 1", console.token().unwrap());
    browser.run(&login).await.unwrap();
    let play = format!(
        "window.v = document.createElement('video'); v.muted = true; v.src = '{path}'; document.body.append(v); \
         v.play().catch(e => window.trouble = String(e)); return 1"
    );
    browser.run(&play).await.unwrap();
    let ask = async |script: &str| browser.run(&format!("return {script}")).await.unwrap();
    let mut at = 0.0;
    for _ in 0..100 {
        at = ask("v.currentTime").await.as_f64().unwrap_or(0.0);
        if at > 1.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(
        at > 1.0,
        "it plays: {}",
        ask("String(window.trouble) + ' ' + (v.error && v.error.message)").await
    );
    browser.run(&format!("v.currentTime = {}; return 1", seconds - 2.0)).await.unwrap();
    let mut seeked = json!(null);
    for _ in 0..100 {
        seeked = ask(&format!("!v.seeking && v.readyState >= 2 && v.currentTime >= {}", seconds - 2.1)).await;
        if seeked == json!(true) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(seeked, json!(true), "it seeks into the second take");
}

/// Runs `lectern` without asking for JSON; its exit code and what it said.
fn lectern(programs: &Programs, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(&programs.lectern);
    let out = command.args(arguments).output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    (out.status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// The Library of Congress' own checker of BagIt folders.
fn bagit(folder: &Path) {
    let cache = std::env::var("XDG_CACHE_HOME").unwrap_or(std::env::var("HOME").unwrap() + "/.cache");
    let mut command = Command::new(Path::new(&cache).join("lectern/bagit/bin/python"));
    command.args(["-m", "bagit", "--validate"]).arg(folder);
    process::output(command).unwrap();
}

/// The only folder in a folder.
fn only(folder: &Path) -> std::path::PathBuf {
    let mut inside = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let first = inside.next().unwrap();
    assert_eq!(inside.next(), None, "one folder holds all");
    first
}

/// Whether any file below a folder holds these words.
fn holds(folder: &Path, words: &str) -> bool {
    let mut grep = Command::new("grep");
    grep.args(["-rqaF", "--", words]).arg(folder);
    grep.status().unwrap().success() || folder.display().to_string().contains(words)
}

/// A zip file that other programs find sound; what is in it.
fn unpacked(zip: &Path, into: &Path) -> std::path::PathBuf {
    let mut test = Command::new("unzip");
    test.arg("-tqq").arg(zip);
    assert_eq!(process::output(test).unwrap(), b"", "unzip has nothing to complain of");
    let mut python = Command::new("python3");
    let script = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; z.extractall(sys.argv[2])";
    python.args(["-c", script]).arg(zip).arg(into);
    process::output(python).unwrap();
    only(into)
}

#[tokio::test]
async fn what_leaves_the_hub_is_checked_by_others_programs_and_by_ours_without_names_too() {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password).unwrap();
    let words = ["--class", "五年级2班", "--subject", "语文", "--topic", "草船/借箭", "--teacher", "张老师"];
    let (answer, code) = agent.lectern(&[&["record", "start"], &words[..]].concat()).unwrap();
    assert_eq!(code, 0, "{answer}");
    agent.wait_for_media(5000, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
    let lesson = status["lesson"]["id"].as_str().unwrap().to_owned();
    let keys = agent.keys().display().to_string();
    let text = |path: &Path| path.display().to_string();
    let verify = |path: &Path, more: &[&str]| {
        lectern(&programs, &[&["verify", "--keys", &keys, &text(path)], more].concat())
    };
    let console = Console::admin(&hub).await.unwrap();

    // One file proves itself.
    let path = format!("/lessons/{lesson}/lesson.mp4");
    let whole = console.get(&path).await.unwrap().bytes().await.unwrap();
    let mp4 = folder.join("lesson.mp4");
    std::fs::write(&mp4, &whole).unwrap();
    let page = folder.join("report.html");
    let (code, said) = verify(&mp4, &["--html", &text(&page)]);
    assert!(code == 0 && said.contains("one uninterrupted take") && said.contains("receipt fits"), "{said}");
    let (code, said) = verify(&mp4, &["--range", "0:01-0:03"]);
    assert!(code == 0 && said.contains("00:01–00:03 complete"), "{said}");
    assert_eq!(verify(&mp4, &["--range", "0:03-0:01"]).0, 78);
    let mut bad = whole.to_vec();
    bad[whole.len() / 2] ^= 1;
    std::fs::write(&mp4, &bad).unwrap();
    let (code, said) = verify(&mp4, &[]);
    assert!(code == 4 && said.contains("the bytes are not what was recorded"), "{said}");
    std::fs::write(&mp4, b"no video").unwrap();
    let (code, said) = verify(&mp4, &[]);
    assert!(code == 4 && said.contains("there is no proof in this file"), "{said}");

    // 材料包 from the console, as whoever receives it looks at it.
    assert!(console.page(&format!("/lessons/{lesson}")).await.unwrap().contains("导出材料包"));
    for (query, name, anonymous) in [("", "open", false), ("?anonymous=1", "blind", true)] {
        let answer = console.get(&format!("/lessons/{lesson}/export.zip{query}")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let told: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
        let bytes = answer.bytes().await.unwrap();
        assert_eq!(bytes.len(), told, "the length is told before");
        let zip = folder.join(&format!("{name}.zip"));
        std::fs::write(&zip, &bytes).unwrap();
        let bag = unpacked(&zip, &folder.make(name).unwrap());
        bagit(&bag);
        assert_eq!(holds(&bag, "张老师") || holds(&bag, "示范学校"), !anonymous);
        for path in [&zip, &bag] {
            let (code, said) = verify(path, &[]);
            assert!(
                code == 0 && said.contains("complete") && said.contains("without names") == anonymous,
                "{said}"
            );
        }
        if anonymous {
            for secret in ["301教室", "3401000001", "room-301", "五年级2班", lesson.as_str()] {
                assert!(!holds(&bag, secret), "it says {secret}");
            }
            let manifest = hub.lesson_folder(&lesson).join("manifest.json");
            let (code, said) = verify(&bag, &["--manifest", &text(&manifest)]);
            assert!(code == 0 && said.contains(&lesson) && !said.contains("without names"), "{said}");
        }
        let video = std::fs::read_dir(bag.join("data")).unwrap().map(|entry| entry.unwrap().path());
        let video = video.into_iter().find(|path| path.extension().is_some_and(|e| e == "mp4")).unwrap();
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-v", "warning", "-xerror", "-i"]).arg(&video).args(["-f", "null", "-"]);
        assert_eq!(ffmpeg.output().unwrap().stderr, b"", "it plays");
    }
    let noted: Vec<String> = {
        let rows = hub.rows().unwrap();
        let mut noted = rows.prepare("SELECT detail FROM audit WHERE what = 'export' ORDER BY n").unwrap();
        noted.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert!(noted[0].starts_with("材料包：") && noted[1].starts_with("匿名材料包："), "{noted:?}");

    // And from the room's own command line, with the form of a scheme.
    let into = folder.make("room").unwrap();
    let scheme = ["export", &lesson, &text(&into), "--scheme", "weinengli2", "--point", "A5"];
    let (said, code) = agent.lectern(&scheme).unwrap();
    assert_eq!(code, 0, "{said}");
    let bag = only(&into);
    bagit(&bag);
    assert!(bag.file_name().unwrap().to_str().unwrap().contains("五年级2班语文_草船_借箭_张老师"));
    assert_eq!(verify(&bag, &[]).0, 0);
    let form = std::fs::read_to_string(bag.join("data/材料清单.html")).unwrap();
    assert!(
        form.contains("A5 技术支持的课堂导入") && form.contains("待补") && form.contains("张老师"),
        "{form}"
    );
    let (said, code) = agent.lectern(&[&scheme[..], &["--zip"]].concat()).unwrap();
    assert_eq!(code, 0, "{said}");
    unpacked(Path::new(said["path"].as_str().unwrap()), &folder.make("room-unpacked").unwrap());

    // The report as a browser shows it.
    let browser = Browser::start(&folder, "report").await.unwrap();
    browser.open(&format!("file://{}", text(&page))).await.unwrap();
    assert!(browser.text(".verdict").await.unwrap().contains("完整，没有改动"));
    browser.screenshot(&lectern_tests::browser::pictures().unwrap().join("verify-report.png")).await.unwrap();
}
