//! The guides of packaging/docs: every command in them is run, every word they quote from a page is on that page.
//!
//! A block of commands says how it is run: `sh run` with agent and hub at work, `sh stopped` after both were stopped, and
//! `sh system` by `packaging/deb/try-system.sh`, as root of a machine of its own. What a line of text or the README names is held
//! against `--help`, against the Makefile, or against a short list of what is done by hand.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lectern_tests::programs::Programs;
use lectern_tests::{Room, School};

const PATIENCE: Duration = Duration::from_secs(120);

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
    let programs = Programs::find().unwrap();
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
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(bin.path()).env("PATH", &path).env("LESSON", &lesson);
        let mut out = shell.output().unwrap();
        // A source that was late on a busy machine is looked at again, as a person would.
        if command == "lectern preflight" && !out.status.success() {
            out = shell.output().unwrap();
        }
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
    assert!(commands_run.len() > 12 && stopped.len() > 4, "the guides were read");
    assert!(commands("sh system").len() > 20, "packaging/deb/try-system.sh has something to run");
}

/// Commands that pages name in passing and that no help knows: how each begins, and what tries it.
const BY_HAND: [(&str, &str); 8] = [
    ("apt-get install", "packaging/deb/try-system.sh installs with it"),
    ("journalctl LESSON=", "packaging/deb/try-system.sh asks for a lesson's lines"),
    ("journalctl -u lectern-hub", "the same unit as in the block of the technician's guide"),
    ("systemctl edit lectern", "opens an editor"),
    (
        "xhost +si:localuser:lectern",
        "in a desktop somebody is logged in to; the README says that it is by hand",
    ),
    ("SOURCE=screen make demo", "would record the desktop of whoever runs the tests"),
    ("packaging/setup.sh hass", "`make peers` installs with it"),
    ("POST /api/v1/home", "a route, of tests/doors/main.rs"),
];

/// A command as a page names it: program and verbs, and its options.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone)]
struct Named {
    words: Vec<String>,
    options: BTreeSet<String>,
}

/// Reads `lectern clip list|cancel --json   what it is for`; options count wherever the line names them.
fn named(line: &str) -> Vec<Named> {
    let command = line.split("  ").next().unwrap_or_default();
    let plain = |word: &&str| {
        word.chars().all(|c| c.is_ascii_lowercase() || "-|".contains(c)) && !word.starts_with('-')
    };
    let words: Vec<_> = command.split_whitespace().take_while(plain).collect();
    let parts = line.split(|c: char| !(c.is_ascii_lowercase() || c == '-'));
    let options: BTreeSet<_> = parts.filter(|part| part.starts_with("--")).map(str::to_owned).collect();
    let Some((last, before)) = words.split_last() else { return vec![] };
    let each = last.split('|').map(|last| Named {
        words: before.iter().chain([&last]).map(|word| (*word).to_owned()).collect(),
        options: options.clone(),
    });
    each.collect()
}

/// Why a command of a page is none of ours, if it is not.
fn unknown(programs: &Programs, named: &Named) -> Option<String> {
    let (program, verbs) = named.words.split_first()?;
    let program = if program == "lectern-hub" { &programs.hub } else { &programs.lectern };
    let out = Command::new(program).args(verbs).arg("--help").output().unwrap();
    let help = String::from_utf8_lossy(&out.stdout).into_owned();
    let missing: Vec<_> = named.options.iter().filter(|option| !help.contains(option.as_str())).collect();
    (!out.status.success() || !missing.is_empty()).then(|| {
        let said = String::from_utf8_lossy(&out.stderr);
        format!("{named:?}: {} {missing:?}", said.lines().next().unwrap_or("its --help does not name"))
    })
}

/// What a page says outside blocks of commands, between single backticks, of more than one word.
fn in_passing(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let pieces = line.split('`').skip(1).step_by(2).filter(|piece| piece.contains(' '));
            found.extend(pieces.map(str::to_owned));
        }
    }
    found
}

/// What a page names of commands, and what is wrong with it.
fn page_faults(programs: &Programs, page: &str, text: &str, makefile: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for piece in in_passing(text) {
        let ours = ["lectern ", "lectern-hub "].iter().any(|program| piece.starts_with(program));
        let target = piece.strip_prefix("make ").and_then(|rest| rest.split(' ').next());
        let fault = match target {
            _ if ours => named(&piece).iter().find_map(|named| unknown(programs, named)),
            Some(target) => {
                (!makefile.contains(&format!("\n{target}:"))).then(|| format!("{piece}: no such target"))
            }
            None if piece.starts_with("--") => None,
            None => {
                let known = BY_HAND.iter().any(|(begins, _)| piece.starts_with(begins));
                (!known).then(|| {
                    format!("{piece}: a command that nothing tries; say how in BY_HAND, or put it in a block")
                })
            }
        };
        faults.extend(fault.map(|fault| format!("{page}: {fault}")));
    }
    faults
}

#[test]
fn what_pages_name_in_passing_is_there() {
    let programs = Programs::find().unwrap();
    let root = docs().join("../..");
    let makefile = std::fs::read_to_string(root.join("Makefile")).unwrap();
    let mut pages: Vec<_> = std::fs::read_dir(docs()).unwrap().flatten().map(|e| e.path()).collect();
    pages.retain(|path| path.extension().is_some_and(|e| e == "md"));
    pages.extend(["README.md", "README.zh-CN.md"].map(|name| root.join(name)));
    let faults: Vec<_> = pages
        .iter()
        .flat_map(|page| {
            page_faults(
                &programs,
                &page.display().to_string(),
                &std::fs::read_to_string(page).unwrap(),
                &makefile,
            )
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let bad = "`lectern dance now`, `lectern check --loud`, `rm -rf x`, `make tea`, `lectern-hub token list --loud`";
    assert_eq!(page_faults(&programs, "bad", bad, &makefile).len(), 5);
}

#[test]
fn both_readmes_name_the_same_commands_and_each_is_one() {
    let programs = Programs::find().unwrap();
    let root = docs().join("../..");
    let makefile = std::fs::read_to_string(root.join("Makefile")).unwrap();
    let read = |name: &str| {
        let text = std::fs::read_to_string(root.join(name)).unwrap();
        let mut found = BTreeSet::new();
        for block in text.split("\n```").skip(1).step_by(2) {
            for line in block.lines() {
                if line.starts_with("lectern") {
                    found.extend(named(line));
                } else if let Some(target) =
                    line.strip_prefix("make ").and_then(|rest| rest.split(' ').next())
                {
                    assert!(makefile.contains(&format!("\n{target}:")), "{name}: make {target}");
                    found.insert(Named {
                        words: vec!["make".into(), target.into()],
                        options: BTreeSet::new(),
                    });
                }
            }
        }
        found
    };
    let (english, chinese) = (read("README.md"), read("README.zh-CN.md"));
    assert_eq!(english, chinese);
    assert!(english.len() > 30, "{english:?}");
    let ours = english.iter().filter(|named| named.words[0] != "make");
    let faults: Vec<_> = ours.filter_map(|named| unknown(&programs, named)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
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
