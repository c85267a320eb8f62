//! A school's network in two namespaces: in one the room's machine, in the other cameras that answer as makers build
//! them (`tests/world/onvif.py`). No packet leaves them.
//!
//! ```text
//!  desk: lectern, 10.77.0.1 ── veth ── wall: 10.77.0.11 … a camera each, 10.77.0.99 who must never be asked
//! ```

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::folder::Folder;
use crate::process::{Process, eventually};

/// The program that plays the cameras.
const CAMERAS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/world/onvif.py");
/// A user of the cameras, and the password.
pub const LOGIN: (&str, &str) = ("teacher", "tulip-of-the-back-wall");

/// The network. Fields end in the order they stand here.
#[derive(Debug)]
pub struct Network {
    cameras: Process,
    desk: Process,
    _wall: Process,
    log: PathBuf,
}

impl Network {
    /// Makes it, with all cameras at work; none where namespaces may not be made.
    ///
    /// # Errors
    /// When a part does not start.
    pub fn start(folder: &Folder) -> anyhow::Result<Option<Self>> {
        let probe = Command::new("unshare").args(["--net", "true"]).output();
        if !probe.is_ok_and(|out| out.status.success()) {
            return Ok(None);
        }
        let hold = |name: &str| {
            let mut command = Command::new("unshare");
            command.args(["--net", "sleep", "3600"]);
            Process::start(folder, name, command)
        };
        let (desk, wall) = (hold("desk")?, hold("wall")?);
        let own = std::fs::read_link("/proc/self/ns/net")?;
        for process in [&desk, &wall] {
            let there = PathBuf::from(format!("/proc/{}/ns/net", process.pid()));
            eventually(Duration::from_secs(60), "a namespace", || {
                std::fs::read_link(&there).ok().filter(|name| *name != own).map(drop)
            })?;
        }
        let wall_pid = wall.pid().to_string();
        ip(&desk, &["link", "add", "desk0", "type", "veth", "peer", "name", "wall0", "netns", &wall_pid])?;
        ip(&desk, &["address", "add", "10.77.0.1/24", "dev", "desk0"])?;
        for last in (11..=20).chain([98, 99]) {
            ip(&wall, &["address", "add", &format!("10.77.0.{last}/24"), "dev", "wall0"])?;
        }
        for (process, device) in [(&desk, "desk0"), (&desk, "lo"), (&wall, "wall0"), (&wall, "lo")] {
            ip(process, &["link", "set", device, "up"])?;
        }
        let log = folder.join("asked.log");
        let mut python = inside(&wall, "python3");
        python.arg(CAMERAS).arg(&log);
        let mut cameras = Process::start(folder, "cameras", python)?;
        let ready =
            eventually(Duration::from_secs(60), "the cameras", || {
                cameras.must_run().err().map(Err).or_else(|| {
                    std::fs::read_to_string(cameras.log()).ok()?.contains("ready").then_some(Ok(()))
                })
            });
        ready.with_context(|| cameras.tail_of_log())??;
        Ok(Some(Self { cameras, desk, _wall: wall, log }))
    }

    /// Runs a program at the desk and gives what it said.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, program: &std::path::Path, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = inside(&self.desk, &program.to_string_lossy());
        command.args(arguments).output().context("nsenter could not be started")
    }

    /// Takes every camera away.
    pub fn pull(&mut self) {
        self.cameras.kill();
    }

    /// What was asked of whom so far: maker, request, and whether with a name.
    ///
    /// # Errors
    /// When nothing was ever asked.
    pub fn asked(&self) -> anyhow::Result<String> {
        std::fs::read_to_string(&self.log).context("no request was ever made")
    }
}

/// A program in a process's network.
fn inside(process: &Process, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{}/ns/net", process.pid())).arg(program);
    command
}

fn ip(process: &Process, arguments: &[&str]) -> anyhow::Result<()> {
    let out = inside(process, "ip").args(arguments).output().context("nsenter could not be started")?;
    ensure!(out.status.success(), "ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&out.stderr));
    Ok(())
}
