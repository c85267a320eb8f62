//! The guides of packaging/docs: every command in them is run, every word they quote from a page is on that page.
//!
//! A block of commands says how it is run: `sh run` with agent and hub at work, `sh stopped` after both were stopped, and
//! `sh system` by `packaging/deb/try-system.sh`, as root of a machine of its own.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lectern_tests::{Room, School};

const PATIENCE: Duration = Duration::from_secs(60);

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("packaging/docs")
}

/// The commands of a guide's blocks of one kind, in order: file and command.
fn commands(kind: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut paths: Vec<_> = std::fs::read_dir(docs()).unwrap().flatten().map(|e| e.path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|e| e == "md")) {
        let text = std::fs::read_to_string(path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut block: Option<String> = None;
        for line in text.lines() {
            match (line.strip_prefix("```"), &block) {
                (Some(_), Some(_)) => block = None,
                (Some(how), None) => {
                    let known = ["sh run", "sh stopped", "sh system"].contains(&how);
                    assert!(known, "{name}: a block ```{how} does not say how it is run");
                    block = Some(how.to_owned());
                }
                (None, Some(how)) if how == kind && !line.trim().is_empty() => {
                    found.push((name.clone(), line.to_owned()));
                }
                _ => {}
            }
        }
        assert!(block.is_none(), "{name}: a block does not end");
    }
    found
}

/// `lectern` and `lectern-hub` as they are called on a machine, with this test's settings instead of the machine's.
fn path_of(school: &School, folder: &Path) -> String {
    let programs = lectern_tests::programs::Programs::find().unwrap();
    for (name, line) in [
        ("lectern", format!("exec {:?} --config {:?} \"$@\"", programs.lectern, school.agent.config)),
        ("lectern-hub", format!("exec {:?} \"$@\" --config {:?}", programs.hub, school.hub.config)),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{line}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

#[test]
fn every_command_in_the_guides_does_what_the_guide_says() {
    let mut school = School::start(&Room::card()).unwrap();
    let bin = tempfile::tempdir().unwrap();
    let path = path_of(&school, bin.path());
    // A lesson to be verified, as `operations` has it.
    school.agent.press("start").unwrap();
    school.agent.wait_for_media(1500, PATIENCE).unwrap();
    school.agent.press("stop").unwrap();
    let status = school.agent.wait_for(&["stored"], PATIENCE).unwrap();
    let lesson = school.agent.data.join("lessons").join(status["lesson"]["id"].as_str().unwrap());
    let run = |guide: &str, command: &str| {
        let out = Command::new("sh")
            .args(["-c", command])
            .current_dir(bin.path())
            .env("PATH", &path)
            .env("LESSON", &lesson)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        // A doctor may find fault with the machine it is on: then it says so, and that is what it is for.
        let fine = out.status.success() || (command.starts_with("lectern doctor") && said.contains("disk"));
        assert!(fine, "{guide}: {command}: {}\n{said}", out.status);
    };
    let commands_run = commands("sh run");
    for (guide, command) in &commands_run {
        // Before a recording can be stopped something has to be recorded.
        if command == "lectern record mark 重点" {
            school.agent.wait_for_media(1500, PATIENCE).unwrap();
        }
        run(guide, command);
    }
    school.agent.wait_for(&["stored"], PATIENCE).unwrap();
    school.agent.process.stop();
    school.hub.process.stop();
    let stopped = commands("sh stopped");
    for (guide, command) in &stopped {
        run(guide, command);
    }
    assert!(commands_run.len() > 12 && stopped.len() > 6, "the guides were read");
    assert!(commands("sh system").len() > 8, "packaging/deb/try-system.sh has something to run");
}

#[test]
fn the_teachers_card_says_what_the_page_says() {
    let card = std::fs::read_to_string(docs().join("teacher-card.html")).unwrap();
    let assets = docs().join("../../agent/daemon/src/page/assets");
    let page: String = ["words.js", "index.html", "page.js", "panels.js"]
        .iter()
        .map(|file| std::fs::read_to_string(assets.join(file)).unwrap())
        .collect();
    let desktop = std::fs::read_to_string(docs().join("../lectern.desktop")).unwrap();
    let body = card.split("</style>").nth(1).unwrap();
    let quoted: Vec<_> = body.split('「').skip(1).filter_map(|rest| rest.split('」').next()).collect();
    assert!(quoted.len() > 6, "{quoted:?}");
    for word in quoted {
        assert!(page.contains(word) || desktop.contains(word), "「{word}」 is on no page");
    }
}
