//! On the machine itself: settings with mistakes, a recorder that is spoken to by strangers.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use lectern_base::clock;
use lectern_tests::eventually;
use lectern_tests::programs::Programs;
use serde_json::{Value, json};

use super::{PATIENCE, line};

/// Runs a program with words on its standard input.
fn run(program: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that refuses the first bytes does not wait for the rest.
    child.stdin.take().unwrap().write_all(input).ok();
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[test]
fn five_mistakes_in_the_settings_are_five_sentences_and_exit_78() {
    let programs = Programs::find().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    let agent = "
        surprise = 1
        [device]\nid = \"Room 301\"\nschool = \"3401000001\"\nroom = \"301\"
        [page]\nlisten = \"0.0.0.0:8471\"
        [recording]\nfps = 500
        [[source]]\nname = \"screen\"\nkind = \"scren\"
    ";
    let hub = "
        data_dir = 5
        colour = \"red\"
        [http]\nlisten = \"everywhere\"
        [mqtt]\nport = 1883
        [store]\nsamples_days = 0
    ";
    let agents = ["surprise", "device.id", "page.listen", "recording.fps", "source[1].kind"];
    let hubs = ["data_dir", "colour", "http.listen", "mqtt.port", "store.samples_days"];
    for (program, text, paths) in [(&programs.lectern, agent, agents), (&programs.hub, hub, hubs)] {
        std::fs::write(&file, text).unwrap();
        let output = run(program, &["check", "--config", &file.to_string_lossy()], b"");
        let said = said(&output);
        assert_eq!(output.status.code(), Some(78), "{said}");
        for path in paths {
            let named = said.lines().filter(|line| line.trim().starts_with(path)).count();
            assert_eq!(named, 1, "{path} in {said}");
        }
        // What cannot be checked at all is refused too, and what cannot be run does not start.
        for text in ["[device", "\u{0}", "= 5"] {
            std::fs::write(&file, text).unwrap();
            for command in ["check", "run"] {
                let output = run(program, &[command, "--config", &file.to_string_lossy()], b"");
                assert_eq!(output.status.code(), Some(78), "{command} with {text:?}");
            }
        }
        std::fs::remove_file(&file).unwrap();
        let output = run(program, &["check", "--config", &file.to_string_lossy()], b"");
        assert_eq!(output.status.code(), Some(78), "no file at all");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}

/// The socket of the take that is recorded; the daemon's own for desktops lies elsewhere.
fn socket(data: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(data.join("run")).ok()?.flatten().map(|e| e.path());
    entries.into_iter().find(|path| {
        let take = path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("-1.sock"));
        take && path.metadata().is_ok_and(|meta| meta.file_type().is_socket())
    })
}

/// What the recorder says until a line pleases, or until it hangs up.
fn hear(stream: &UnixStream, pleases: impl Fn(&str) -> bool) -> String {
    let give_up = clock::mono() + PATIENCE;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut heard = String::new();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        heard += &line;
        if pleases(&line) {
            break;
        }
        assert!(clock::mono() < give_up, "it goes on and on: {heard:.300}");
    }
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_that_hears_garbage_goes_on_recording() {
    let mut line = line().await;
    let lesson = line.record();
    line.agent.press("start").unwrap();
    line.agent.wait_for_media(1000, PATIENCE).unwrap();
    let recorders = line.agent.recorders(&line.folder);
    let path = eventually(PATIENCE, "the recorder's socket", || socket(&line.agent.data)).unwrap();
    let mut silent = Vec::new();
    for words in [
        &b"\n"[..],
        b"{\n",
        b"null\n",
        b"[]\n",
        b"{\"command\":\"fly\"}\n",
        b"stop\n",
        b"\0\n",
        b"\xff\xfe\n",
    ] {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(words).unwrap();
        // What it does not understand does not make it deaf: the next word counts.
        stream.write_all(b"{\"command\":\"mark\",\"word\":\"\"}\n").unwrap();
        let heard = hear(&stream, |line| line.contains("\"event\":\"marked\""));
        assert!(heard.starts_with("{\"event\":\"hello\""), "{heard}");
        // And somebody who never listens.
        silent.push(UnixStream::connect(&path).unwrap());
    }
    for words in [vec![b'x'; 1 << 20], b"[".repeat(100_000)] {
        let mut stream = UnixStream::connect(&path).unwrap();
        // It hangs up on a line without an end, perhaps in the middle of it.
        stream.write_all(&words).ok();
        hear(&stream, |_| false);
    }
    let at = line.agent.status().unwrap()["lesson"]["media_ms"].as_u64().unwrap();
    let status = line.agent.wait_for_media(at + 4000, PATIENCE).unwrap();
    assert_eq!(status["lesson"]["take"], 1, "{status}");
    assert_eq!(line.agent.recorders(&line.folder), recorders, "the same recorder all the time");
    line.agent.press("stop").unwrap();
    let status = line.agent.wait_for(&["stored"], PATIENCE).unwrap();
    let second = status["lesson"]["id"].as_str().unwrap();
    let report = line.agent.verify(&line.hub.lesson_folder(second)).unwrap();
    assert!(report["sound"] == true && report["uninterrupted"] == true, "{report:#}");
    line.all_is_well(&[&lesson, second]).await;
}

#[test]
fn a_recorder_refuses_a_job_it_cannot_do_with_a_sentence_and_touches_nothing() {
    let programs = Programs::find().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let job = |edit: fn(&mut Value)| {
        let mut job = json!({
            "lesson_id": "20260101-000000-00", "take": 1, "take_path": at("t.mp4"), "journal_path": at("t.jsonl"),
            "socket_path": at("s"), "max_minutes": 1,
            "capture": {
                "layout": "screen", "sources": [{"name": "card", "kind": "test"}],
                "video": {"width": 320, "height": 180, "fps": 25, "max_kbps": 400, "gop_s": 2},
                "audio": {"kbps": 96}
            }
        });
        edit(&mut job);
        format!("{job}\n").into_bytes()
    };
    let mut inputs: Vec<Vec<u8>> =
        vec![b"".to_vec(), b"\n".to_vec(), b"stop\n".to_vec(), b"{}\n".to_vec(), vec![0xff; 100]];
    inputs.extend([b"[".repeat(100_000), vec![b'x'; 1 << 20]]);
    inputs.extend([
        job(|j| j["lesson_id"] = "../../x".into()),
        job(|j| j["surprise"] = 1.into()),
        job(|j| j["take"] = 0.into()),
        job(|j| j["max_minutes"] = u64::MAX.into()),
        job(|j| j["capture"]["video"]["width"] = u32::MAX.into()),
        job(|j| j["capture"]["sources"] = json!([{"name": "x", "kind": "telepathy"}])),
        job(|j| j["socket_path"] = "x".repeat(300).into()),
        job(|j| j["take_path"] = "/nowhere/at/all/t.mp4".into()),
    ]);
    for input in inputs {
        let output = run(&programs.recorder, &["record"], &input);
        let (said, shown) =
            (said(&output), String::from_utf8_lossy(&input[..input.len().min(80)]).into_owned());
        assert_eq!(output.status.code(), Some(1), "{shown}: {said}");
        assert!(said.contains("lectern-recorder: ") && !said.contains("panicked"), "{shown}: {said}");
    }
    // A take that is there already is never written over.
    std::fs::write(at("t.mp4"), b"a lesson").unwrap();
    let output = run(&programs.recorder, &["record"], &job(|_| {}));
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_eq!(std::fs::read(at("t.mp4")).unwrap(), b"a lesson");
    std::thread::sleep(Duration::from_millis(10));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["t.mp4"], "sockets and journals of refused jobs are gone");
}
