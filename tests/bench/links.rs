//! Uploads over lines as schools have them: slow, long, lossy, shared. Each is a [`Link`] of its own with the
//! built programs at its ends.
//!
//! A line is emulated in user space: a machine that is busy with other things makes it worse than it says.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lectern_base::clock;
use lectern_tests::planted::{is_stored, plant};
use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Folder, Hub, Link, Noise, Room, Screen, Shape, eventually, link};

use super::table::{Bar, Row};
use super::{figure, median};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(1200);

/// A hub and a room with a line between them.
struct Line {
    agent: Agent,
    hub: Hub,
    link: Link,
    folder: Folder,
}

impl Line {
    /// None where no line can be made here.
    fn start(programs: &Programs, shape: Shape, folder: Folder, room: &Room) -> anyhow::Result<Option<Self>> {
        let Some(link) = Link::new(shape)? else { return Ok(None) };
        let wrapped = |name: &str, command: &Command| -> anyhow::Result<std::path::PathBuf> {
            let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
            let words: Vec<_> = words.iter().map(|w| format!("{w:?}")).collect();
            let path = folder.join(name);
            std::fs::write(&path, format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" ")))?;
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
            Ok(path)
        };
        let ours = Programs {
            lectern: wrapped("lectern-here", &link.in_classroom(&programs.lectern))?,
            recorder: programs.recorder.clone(),
            hub: wrapped("hub-there", &link.at_hub(&programs.hub))?,
        };
        let (hub, password) = Hub::start_at(&folder, &ours, link::HUB, "[tls]\nkind = \"proxy\"\n")?;
        let agent = Agent::start(&folder, &ours, room, &hub, &password)?;
        Ok(Some(Self { agent, hub, link, folder }))
    }

    fn record(&self, ms: u64) -> anyhow::Result<(String, f64)> {
        self.agent.press("start")?;
        self.agent.wait_for_media(ms, PATIENCE)?;
        self.agent.press("stop")?;
        let status = self.agent.wait_for(&["stored"], PATIENCE)?;
        let id = status["lesson"]["id"].as_str().context("no lesson")?.to_owned();
        let after = status["lesson"]["stored_after_ms"].as_u64().context("no time of the receipt")?;
        let bytes = status["lesson"]["bytes"].as_u64().unwrap_or(0);
        eprintln!("  a lesson of {} kb/s, stop to receipt {after} ms", bytes * 8 / ms);
        Ok((id, figure(after) / 1000.0))
    }

    /// Plants a lesson and lets it go.
    fn send(&mut self, id: &str, bytes: u64) -> anyhow::Result<()> {
        let (first, _) = self.record(2000)?;
        plant(&mut self.agent, &first, id, bytes)?;
        self.agent.restart(&self.folder)
    }

    /// Waits until so many bytes more came through; how long that took.
    fn passes(&self, bytes: u64) -> anyhow::Result<Duration> {
        let (began, before) = (clock::mono(), self.link.passed());
        eventually(PATIENCE, "the bytes", || (self.link.passed() >= before + bytes).then_some(()))?;
        Ok(clock::mono() - began)
    }

    fn arrives(&self, id: &str) -> anyhow::Result<()> {
        let stored = eventually(PATIENCE, "the receipt", || is_stored(&self.agent, id).ok()?.then_some(()));
        stored.with_context(|| self.agent.process.tail_of_log())?;
        let left = self.hub.orphans()?;
        ensure!(left.is_empty(), "left at the hub: {left:?}");
        let report = self.agent.verify(&self.hub.lesson_folder(id))?;
        // A planted lesson is longer than its fragments say; its bytes and their hashes are what counts here.
        ensure!(report["receipted"] == true, "{report:#}");
        Ok(())
    }

    /// What a bystander on the line sees, milliseconds.
    fn round_trips(&self, count: u32) -> anyhow::Result<f64> {
        let mut ping = self.link.in_classroom(Path::new("ping"));
        ping.args(["-n", "-i", "0.1", "-c", &count.to_string(), link::HUB]).stdin(Stdio::null());
        let said = ping.output().context("ping (package iputils-ping)")?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let times: Vec<f64> = said
            .lines()
            .filter_map(|line| line.split("time=").nth(1)?.split(' ').next()?.parse().ok())
            .collect();
        ensure!(times.len() as u32 > count / 2, "few answers: {said}");
        Ok(median(times))
    }
}

fn row(name: &str, ours: f64, unit: &'static str, bar: Bar) -> Row {
    Row { name: name.to_owned(), ours, peer: None, unit, bar }
}

/// Measures all lines; nothing where none can be made.
///
/// # Errors
/// When a lesson does not arrive.
pub fn measure(programs: &Programs) -> anyhow::Result<Vec<Row>> {
    println!("\nlinks: hub and agent in two network namespaces, the line emulated between them");
    let mut rows = Vec::new();
    let shape = Shape { megabit: 20.0, round_trip_ms: 40.0, loss_percent: 0.0, queue_ms: 200.0 };
    // A display outside the namespace is reached by its socket's file.
    let folder = Folder::new()?;
    let screen = Screen::blank(&folder)?;
    let noise = Noise::on(screen.display())?;
    let sources =
        format!("[[source]]\nname = \"s\"\nkind = \"screen\"\ndisplay = \"{}\"\n", screen.display());
    let room = Room { sources, ..Room::card() };
    let Some(mut line) = Line::start(programs, shape, folder, &room)? else { return Ok(rows) };
    let (_, seconds) = line.record(60_000)?;
    rows.push(row("20 Mb/s, 40 ms: stop to receipt", seconds, "s", Bar::AtMost(8.0)));
    drop(noise);

    let idle = line.round_trips(100)?;
    line.send("bystander", 100 << 20)?;
    line.passes(4 << 20)?;
    let (began, before) = (clock::mono(), line.link.passed());
    let beside = line.round_trips(200)?;
    let took = (clock::mono() - began).as_secs_f64();
    let share = figure(line.link.passed() - before) * 8.0 / took / 20e6;
    eprintln!("  round trip {idle:.1} ms idle, {beside:.1} ms beside an upload");
    rows.push(row(
        "20 Mb/s, 40 ms: bystander's median round trip / idle",
        beside / idle,
        "",
        Bar::AtMost(1.5),
    ));
    rows.push(row("20 Mb/s, 40 ms: share of the line meanwhile", share, "", Bar::AtLeast(0.8)));
    line.arrives("bystander")?;
    drop((line, screen));

    rows.extend(lossy(programs)?);
    // The same parts and the same cuts as [`slow`], with everything twenty times as fast.
    rows.extend(over_cuts(programs, 40.0)?);
    Ok(rows)
}

/// A long line that loses packets.
///
/// # Errors
/// When the lesson does not arrive.
pub fn lossy(programs: &Programs) -> anyhow::Result<Vec<Row>> {
    let shape = Shape { megabit: 50.0, round_trip_ms: 60.0, loss_percent: 1.0, queue_ms: 100.0 };
    let Some(mut line) = Line::start(programs, shape, Folder::new()?, &Room::card())? else {
        return Ok(Vec::new());
    };
    let bytes = 200 << 20;
    line.send("lossy", bytes)?;
    line.passes(1 << 20)?;
    let began = clock::mono();
    line.arrives("lossy")?;
    let took = (clock::mono() - began).as_secs_f64();
    let share = figure(bytes) * 8.0 / took / 50e6;
    let name = "50 Mb/s, 60 ms, 1 % loss: share of the line to the receipt";
    Ok(vec![row(name, share, "", Bar::AtLeast(0.8))])
}

/// 600 MB at 2 Mb/s over twenty cuts: about forty-five minutes.
///
/// # Errors
/// When the lesson does not arrive.
pub fn slow(programs: &Programs) -> anyhow::Result<Vec<Row>> {
    over_cuts(programs, 2.0)
}

fn over_cuts(programs: &Programs, megabit: f64) -> anyhow::Result<Vec<Row>> {
    let shape = Shape { megabit, round_trip_ms: 40.0, loss_percent: 0.0, queue_ms: 200.0 };
    let Some(mut line) = Line::start(programs, shape, Folder::new()?, &Room::card())? else {
        return Ok(Vec::new());
    };
    let bytes = 600_000_000;
    line.send("slow", bytes)?;
    line.passes(1 << 20)?;
    let before = line.link.passed();
    for cut in 1..=20 {
        line.passes(bytes / 25)?;
        line.link.cut(true);
        std::thread::sleep(Duration::from_secs(2));
        line.link.cut(false);
        eprintln!("  cut {cut} of 20");
    }
    line.arrives("slow")?;
    let sent = figure(line.link.passed() - before) / figure(bytes);
    let name = format!("600 MB at {megabit:.0} Mb/s over 20 cuts: bytes on the line / bytes of the lesson");
    Ok(vec![row(&name, sent, "", Bar::AtMost(1.15))])
}
