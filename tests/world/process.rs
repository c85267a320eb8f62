//! One real program: its own process group, a log file, ended on drop.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use lectern_base::clock;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::folder::{Folder, MARK};

/// A program at work.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`; what it prints goes to `{name}.log` in the folder (appended, so a restart
    /// keeps the earlier run's words). Its standard input is empty.
    ///
    /// # Errors
    /// When the program is missing or cannot be started.
    pub fn start(folder: &Folder, name: &str, mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::null());
        Self::spawn(folder, name, command)
    }

    /// As [`Self::start`], with an open standard input to write to.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_fed(
        folder: &Folder,
        name: &str,
        mut command: Command,
    ) -> anyhow::Result<(Self, std::process::ChildStdin)> {
        command.stdin(Stdio::piped());
        let mut process = Self::spawn(folder, name, command)?;
        let pipe = process.child.stdin.take().context("no pipe to the program")?;
        Ok((process, pipe))
    }

    fn spawn(folder: &Folder, name: &str, mut command: Command) -> anyhow::Result<Self> {
        let log = folder.join(&format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("{} could not be opened", log.display()))?;
        command.stdout(file.try_clone()?).stderr(file);
        command.env(MARK, folder.path()).process_group(0);
        let program = command.get_program().to_owned();
        let child = command.spawn().with_context(|| {
            format!(
                "{name}: {} could not be started (packaging/setup.sh installs what the world needs)",
                program.display()
            )
        })?;
        Ok(Self { name: name.to_owned(), child, log, ended: None })
    }

    /// Its process id, which is its process group's too.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its words go.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap_or(None);
        }
        self.ended.is_none()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let give_up = clock::mono() + limit;
        while self.running() {
            if clock::mono() > give_up {
                bail!("{} still runs after {limit:?}\n{}", self.name, self.tail_of_log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.ended.context("ended without a status")
    }

    /// Fails with its last words when it has ended.
    ///
    /// # Errors
    /// When it has ended.
    pub fn must_run(&mut self) -> anyhow::Result<()> {
        if self.running() {
            return Ok(());
        }
        let status = self.ended.map_or_else(String::new, |s| s.to_string());
        bail!("{} ended ({status})\n{}", self.name, self.tail_of_log())
    }

    /// SIGTERM to its group; SIGKILL when that did not help within 20 s. Returns how it ended.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        // A frozen process would keep SIGTERM for later.
        self.signal(Signal::CONT);
        self.signal(Signal::TERM);
        if self.wait(Duration::from_secs(20)).is_err() {
            self.kill();
        }
        self.ended
    }

    /// SIGKILL to its group, as a power cut would.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if self.ended.is_none() {
            self.ended = self.child.wait().ok();
        }
    }

    /// SIGSTOP: alive, but silent.
    pub fn freeze(&mut self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&mut self) {
        self.signal(Signal::CONT);
    }

    /// A signal to its group, while it runs. After its end the number may belong to someone else.
    pub fn signal(&mut self, signal: Signal) {
        if self.running()
            && let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            kill_process_group(group, signal).ok();
        }
    }

    /// The last lines of its log, for messages of failure.
    #[must_use]
    pub fn tail_of_log(&self) -> String {
        let tail = tail(&self.log, 4096).unwrap_or_default();
        format!("--- the end of {}\n{tail}---", self.log.display())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Says that something is not tried on this machine, and why. Past the test harness, which shows nothing of what a test that
/// passes has printed.
pub fn skipped(why: &str) {
    writeln!(std::io::stderr(), "SKIPPED: {why}").ok();
}

fn tail(path: &Path, bytes: i64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    if file.seek(SeekFrom::End(-bytes)).is_err() {
        file.rewind()?;
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Asks again every 20 to 100 ms until there is an answer.
///
/// # Errors
/// When there is none within `limit`; the message names `what`.
pub fn eventually<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let began = clock::mono();
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        let waited = clock::mono() - began;
        if waited > limit {
            bail!("{what}: not within {limit:?}");
        }
        // Rarer the longer it takes: to ask is often to start a program, and what is waited for needs the processor.
        std::thread::sleep((waited / 10).clamp(Duration::from_millis(20), Duration::from_millis(100)));
    }
}

/// A TCP port of the loopback address that was free a moment ago. Prefer port 0 where the program can
/// say what it got: between this answer and its use another may take the port.
///
/// # Errors
/// When the machine has no free port.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0)).context("no free port")?.local_addr()?.port())
}

/// Runs a program to its end and returns what it printed; its words of failure when it failed.
///
/// # Errors
/// When it is missing, cannot be started or ends with a failure.
pub fn output(mut command: Command) -> anyhow::Result<Vec<u8>> {
    let program = command.get_program().to_owned();
    let out = command.stdin(Stdio::null()).output().with_context(|| {
        format!("{} could not be started (packaging/setup.sh installs it)", program.display())
    })?;
    if !out.status.success() {
        bail!(
            "{} failed ({}): {}",
            program.display(),
            out.status,
            String::from_utf8_lossy(&out.stderr).trim()
        );
    }
    Ok(out.stdout)
}
