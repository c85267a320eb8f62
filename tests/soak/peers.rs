//! The ten faults of a lecture hall, Lectern beside pyCA 4.4, one table of both.
//!
//! Each does a lesson of the same length with a generated picture and tone of 1280x720, 25 pictures a second, and
//! the same encoder. pyCA is given what helps it, see `peers/beside.py`. pyCA records by Opencast's calendar, Lectern
//! by a press, so a start is not compared. What is stored is played; nobody's word is taken.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lectern_base::clock;
use lectern_tests::process::output;
use lectern_tests::{Disk, Folder, Room, School, Screen, Sound, eventually};
use rustix::process::Signal;
use serde_json::Value;

use super::{PATIENCE, lesson_of, record_for, signal_recorders};

const BESIDE: &str = include_str!("../peers/beside.py");
/// The stand-in that both of them talk to.
const OPENCAST: &str = include_str!("../world/opencast.py");
/// Seconds of a lesson, as in `beside.py`.
const SLOT_S: u64 = 14;
const SOAK_S: u64 = 45;

/// What came of one fault.
struct Line {
    fault: &'static str,
    asked_s: u64,
    stored_s: f64,
    said: String,
    warned: bool,
}

struct Fault {
    name: &'static str,
    run: fn(&mut School) -> anyhow::Result<()>,
}

fn half() {
    std::thread::sleep(Duration::from_secs(SLOT_S / 2));
}

fn whole() {
    std::thread::sleep(Duration::from_secs(SLOT_S));
}

/// Answers 503 at a port for so long; how often.
fn refuse_for(port: u16, length: Duration) -> anyhow::Result<u32> {
    let listener = TcpListener::bind(("127.0.0.1", port)).context("the hub's port is not free")?;
    listener.set_nonblocking(true)?;
    let (until, mut refused) = (clock::mono() + length, 0);
    while clock::mono() < until {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_read_timeout(Some(Duration::from_millis(200))).ok();
                // What was asked does not matter, and whoever hangs up first has heard enough.
                if stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {
                    let later = b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                    stream.write_all(later).ok();
                }
                refused += 1;
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    Ok(refused)
}

/// The order and the names of `beside.py`. Each begins with the press and ends before the stop.
const FAULTS: [Fault; 10] = [
    Fault {
        name: "recorder killed",
        run: |school| {
            half();
            signal_recorders(school, Signal::KILL);
            half();
            Ok(())
        },
    },
    Fault {
        name: "503 on upload, then well",
        run: |school| {
            whole();
            school.hub.process.kill();
            school.agent.press("stop")?;
            let refused = refuse_for(school.hub.http, Duration::from_secs(5))?;
            ensure!(refused > 0, "nobody asked to be refused");
            school.hub.restart(&school.folder)
        },
    },
    Fault {
        name: "network away at start",
        run: |school| {
            whole();
            school.hub.restart(&school.folder)
        },
    },
    Fault {
        name: "reboot in mid-slot",
        run: |school| {
            half();
            signal_recorders(school, Signal::KILL);
            school.agent.restart(&school.folder)?;
            half();
            Ok(())
        },
    },
    Fault {
        name: "disk full",
        run: |school| {
            half();
            let filler = school.agent.data.join("other");
            let of = format!("of={}", filler.display());
            // It ends when the disk is full, which dd calls a failure.
            Command::new("dd").args(["if=/dev/zero", "bs=64k", &of]).output()?;
            std::thread::sleep(Duration::from_secs(4));
            std::fs::remove_file(filler)?;
            std::thread::sleep(Duration::from_secs(SLOT_S / 2 - 4));
            Ok(())
        },
    },
    Fault {
        name: "silent microphone",
        run: |_| {
            whole();
            Ok(())
        },
    },
    Fault {
        name: "black source",
        run: |_| {
            whole();
            Ok(())
        },
    },
    Fault {
        name: "back-to-back lessons",
        run: |school| {
            whole();
            school.agent.press("stop")?;
            // The next press is taken as soon as the last lesson has ended.
            eventually(PATIENCE, "the next lesson", || school.agent.press("start").ok())?;
            whole();
            Ok(())
        },
    },
    Fault {
        name: "double click",
        run: |school| {
            school.agent.press("start")?;
            whole();
            Ok(())
        },
    },
    Fault {
        name: "long soak",
        run: |_| {
            std::thread::sleep(Duration::from_secs(SOAK_S));
            Ok(())
        },
    },
];

/// Tries all ten with both and gives the table; every fault of Lectern's must leave its lesson stored.
pub fn beside() -> anyhow::Result<(String, bool)> {
    let python = std::env::var_os("LECTERN_PYCA").context(
        "LECTERN_PYCA is not set: the Python of a virtual environment with pyca 4.4; `make peers` makes one",
    )?;
    let folder = Folder::new()?;
    let script = folder.join("beside.py");
    std::fs::write(&script, BESIDE)?;
    std::fs::write(folder.join("opencast.py"), OPENCAST)?;
    let mut text = format!(
        "{:<26}{:>7}  {:<46}{}\n",
        "fault", "asked s", "Lectern: stored s, what it says", "pyCA: stored s, what it says"
    );
    let mut good = true;
    for fault in &FAULTS {
        println!("  {} …", fault.name);
        let ours = ours(fault).with_context(|| fault.name)?;
        let mut peer = Command::new(&python);
        peer.args([&script, &folder.join("pyca")]).arg(fault.name);
        let peer: Value = serde_json::from_slice(&output(peer)?)?;
        let told = |warned| if warned { ", warned" } else { "" };
        let line = format!(
            "{:<26}{:>7}  {:<46}{}",
            ours.fault,
            ours.asked_s,
            format!("{:.1} {}{}", ours.stored_s, ours.said, told(ours.warned)),
            format_args!(
                "{} {}{} ({} on its disk)",
                peer["stored_s"],
                peer["said"].as_str().unwrap_or_default(),
                told(peer["warned"] == true),
                peer["on_disk_s"]
            )
        );
        println!("  {line}");
        text += &line;
        text.push('\n');
        good &= ours.said.starts_with("stored");
    }
    Ok((text, good))
}

fn ours(fault: &Fault) -> anyhow::Result<Line> {
    let folder = Folder::new()?;
    let data = folder.join("agent");
    let disk = match fault.name {
        "disk full" => Disk::small(&data, 400)?,
        _ => None,
    };
    let mut room = Room::card();
    room.recording += "reserve_minutes = 1\n";
    // A room whose microphone hears nothing, or whose screen shows nothing.
    let sound = match fault.name {
        "silent microphone" => Some(Sound::start(&folder)?),
        _ => None,
    };
    let screen = match fault.name {
        "black source" => Some(Screen::blank(&folder)?),
        "silent microphone" => Some(Screen::start(&folder)?),
        _ => None,
    };
    if let Some(screen) = &screen {
        let display = screen.display();
        room.sources = format!("[[source]]\nname = \"screen\"\nkind = \"screen\"\ndisplay = \"{display}\"\n");
    }
    if let Some(sound) = &sound {
        room.env = sound.env();
        let device = lectern_tests::sound::MICROPHONE;
        room.sources +=
            &format!("[[source]]\nname = \"microphone\"\nkind = \"microphone\"\ndevice = \"{device}\"\n");
    }
    let mut school = School::start_in(folder, &room)?;
    // Taken away before the folder it stands in.
    let _disk = disk;
    if fault.name == "network away at start" {
        school.hub.process.kill();
        school.agent.restart(&school.folder)?;
    }
    school.agent.press("start")?;
    let first = lesson_of(&school.agent)?;
    school.agent.wait_for(&["recording"], PATIENCE)?;
    (fault.run)(&mut school)?;
    let status = school.agent.status()?;
    let heard = ["silent", "digital_zero", "black"];
    let tells = |w: &Value| w["kind"].as_str().is_some_and(|kind| heard.contains(&kind));
    let warned = status["warnings"].as_array().is_some_and(|all| all.iter().any(tells));
    if status["lesson"]["state"] == "recording" {
        record_for(&school.agent, 500)?;
    }
    // A disk that was full may have ended the lesson in order: then there is nothing to stop.
    school.agent.press("stop").ok();
    let lessons = eventually(PATIENCE, "the receipts", || {
        let (list, _) = school.agent.lectern(&["lessons"]).ok()?;
        let list = list.as_array()?.clone();
        list.iter().all(|lesson| lesson["state"] == "stored").then_some(list)
    })
    .with_context(|| school.agent.process.tail_of_log())?;
    ensure!(lessons.iter().any(|lesson| lesson["id"] == first.as_str()), "another lesson was stored");
    let mut stored_s = 0.0;
    let mut verified = true;
    for lesson in &lessons {
        let kept = school.stored(lesson["id"].as_str().context("a lesson without an id")?)?;
        verified &= kept.verified();
        kept.play()?;
        stored_s += kept.report["duration_ms"].as_u64().unwrap_or(0) as f64 / 1e3;
    }
    let asked_s = match fault.name {
        "long soak" => SOAK_S,
        "back-to-back lessons" => 2 * SLOT_S,
        _ => SLOT_S,
    };
    let said = format!(
        "{}, {}",
        if verified { "stored and verified" } else { "NOT VERIFIED" },
        match lessons.len() {
            1 => "1 lesson".to_owned(),
            n => format!("{n} lessons"),
        }
    );
    Ok(Line { fault: fault.name, asked_s, stored_s, said, warned })
}
