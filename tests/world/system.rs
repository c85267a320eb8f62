//! A Debian of its own in a folder with the packages installed, booted by its own systemd: what
//! `packaging/deb/try-system.sh --install FOLDER` leaves. Needs root.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Where room and hub meet in it; see `packaging/deb/system.sh`.
const HUB_ADDRESS: &str = "10.77.0.1/32";

/// The machine. Dropping it ends it at once, as a power cut does.
#[derive(Debug)]
pub struct System {
    root: PathBuf,
    booted: Option<Booted>,
}

#[derive(Debug)]
struct Booted {
    holder: Child,
    leader: u32,
}

impl System {
    /// Boots the machine in a folder.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn boot(root: &Path) -> anyhow::Result<Self> {
        let mut system = Self { root: root.to_owned(), booted: None };
        system.power_on()?;
        Ok(system)
    }

    /// Boots it again after [`Self::cut_power`].
    ///
    /// # Errors
    /// When it does not come up.
    pub fn power_on(&mut self) -> anyhow::Result<()> {
        let workspace =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a crate without a workspace")?;
        // It ends with its standard input: also when whoever booted it was killed.
        let script = ". packaging/deb/system.sh && trap system_end EXIT && system_boot \"$1\" && echo \"leader $leader\" && cat";
        let mut holder = Command::new("bash")
            .args(["-c", script, "bash"])
            .arg(&self.root)
            .current_dir(workspace)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("bash could not be started")?;
        let said = BufReader::new(holder.stdout.take().context("no pipe")?);
        let leader =
            said.lines().map_while(Result::ok).find_map(|line| line.strip_prefix("leader ")?.parse().ok());
        let Some(leader) = leader else {
            holder.wait()?;
            let log = std::fs::read_to_string(self.root.with_extension("log")).unwrap_or_default();
            anyhow::bail!("{} did not boot: {log}", self.root.display());
        };
        self.booted = Some(Booted { holder, leader });
        Ok(())
    }

    /// Everything in it is gone from one moment to the next. What was written stays; what only a disk's cache held is
    /// `lectern-soak --only power`'s to lose.
    pub fn cut_power(&mut self) {
        let Some(mut booted) = self.booted.take() else { return };
        kill(booted.leader, Signal::KILL);
        drop(booted.holder.stdin.take());
        booted.holder.wait().ok();
    }

    fn command(&self, spaces: &[&str], words: &[&str]) -> anyhow::Result<Command> {
        let booted = self.booted.as_ref().context("the machine is off")?;
        let mut command = Command::new("nsenter");
        command.args(["-t", &booted.leader.to_string()]).args(spaces).args(["--"]);
        command.args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/run", "LC_ALL=C.UTF-8"]);
        command.args(words).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs a command in it as root.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, words: &[&str]) -> anyhow::Result<Output> {
        self.command(&["-m", "-u", "-i", "-n", "-p", "-C"], words)?
            .output()
            .context("nsenter could not be started")
    }

    /// What a command in it prints; it must end well.
    ///
    /// # Errors
    /// When it does not.
    pub fn say(&self, words: &[&str]) -> anyhow::Result<String> {
        let out = self.run(words)?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        ensure!(out.status.success(), "{words:?}: {}{}", text, String::from_utf8_lossy(&out.stderr));
        Ok(text)
    }

    /// A command of Lectern's that answers in JSON, whatever its exit code.
    ///
    /// # Errors
    /// When it answers nothing that is JSON.
    pub fn ask(&self, words: &[&str]) -> anyhow::Result<Value> {
        let out = self.run(&[words, &["--json"]].concat())?;
        serde_json::from_slice(&out.stdout)
            .with_context(|| format!("{words:?}: {}", String::from_utf8_lossy(&out.stderr)))
    }

    /// The main process of a unit, as the machine counts; 0: none.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub fn main_pid(&self, unit: &str) -> anyhow::Result<u32> {
        Ok(self.say(&["systemctl", "show", "-p", "MainPID", "--value", unit])?.trim().parse()?)
    }

    /// The recorder at work on a lesson, as the machine counts.
    #[must_use]
    pub fn recorder(&self) -> Option<u32> {
        let found = self.say(&["pgrep", "-f", "^/usr/bin/lectern-recorder record"]).ok()?;
        found.lines().next()?.parse().ok()
    }

    /// Signals a process of the machine.
    ///
    /// # Errors
    /// When there is none.
    pub fn signal(&self, pid: u32, signal: &str) -> anyhow::Result<()> {
        self.say(&["kill", &format!("-{signal}"), &pid.to_string()]).map(drop)
    }

    /// Pulls the line between room and hub out, or puts it back.
    ///
    /// # Errors
    /// When it is so already.
    pub fn plug(&self, into: bool) -> anyhow::Result<()> {
        let booted = self.booted.as_ref().context("the machine is off")?;
        let mut command = Command::new("nsenter");
        command.args(["-t", &booted.leader.to_string(), "-n", "ip", "address"]);
        command.args([if into { "replace" } else { "del" }, HUB_ADDRESS, "dev", "lo"]);
        let out = command.output().context("nsenter could not be started")?;
        ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        Ok(())
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.cut_power();
    }
}

fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may just have ended by itself.
        kill_process(pid, signal).ok();
    }
}
