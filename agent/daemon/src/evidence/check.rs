//! Has takes decoded back by the recorder program, beside the lesson or afterwards.
//!
//! Beside the lesson a low-priority process follows what has become durable (about half a percent of a core;
//! every picture, with `recording.full_check`: about six), so that at the stop only the last seconds remain. When it
//! was lost, or starts late because the daemon was, the whole take is decoded then.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::Duration;

use lectern_base::clock;
use lectern_wire::report::{Growth, Report};

use super::{SealError, Settings};
use crate::platform::recorder;

/// A running check is told this often how far its take has grown; shorter takes are decoded at their end.
const EVERY: Duration = Duration::from_secs(20);

/// One take's check.
#[derive(Debug)]
pub struct Check {
    told: Duration,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    process: Child,
    orders: ChildStdin,
}

impl Default for Check {
    fn default() -> Self {
        Self { told: clock::mono(), running: None }
    }
}

impl Check {
    /// The take is durable so far; starts the process when there is something to do for it.
    pub fn grow(&mut self, settings: &Settings, take: &Path, fps: u32, bytes: u64) {
        if clock::mono().saturating_sub(self.told) < EVERY {
            return;
        }
        self.told = clock::mono();
        let mut running = match self.running.take().map_or_else(|| start(settings, take, fps), Ok) {
            Ok(running) => running,
            Err(e) => return tracing::warn!(take = %take.display(), "no check beside the lesson: {e}"),
        };
        match say(&mut running.orders, Growth::Durable(bytes)) {
            Ok(()) => self.running = Some(running),
            Err(e) => {
                tracing::warn!(take = %take.display(), "the check beside the lesson was lost: {e}");
                running.end();
            }
        }
    }

    /// The take ends at so many bytes: its report.
    pub fn finish(
        mut self,
        settings: &Settings,
        take: &Path,
        n: u32,
        fps: u32,
        bytes: u64,
    ) -> Result<Report, SealError> {
        if let Some(mut running) = self.running.take() {
            let output = say(&mut running.orders, Growth::End(bytes)).and_then(|()| running.output());
            match output.map_err(|e| e.to_string()).and_then(|output| read(&output)) {
                Ok(report) => return Ok(report),
                Err(e) => tracing::warn!(take = %take.display(), "the check beside the lesson failed: {e}"),
            }
        }
        let bad = |reason: String| SealError::Undecodable { take: n, reason };
        let output = command(settings, take, fps).output();
        let output =
            output.map_err(|e| bad(format!("{} could not be started: {e}", settings.recorder.display())))?;
        read(&output).map_err(bad)
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.end();
        }
    }
}

impl Running {
    fn output(self) -> std::io::Result<Output> {
        drop(self.orders);
        self.process.wait_with_output()
    }

    /// Ends a check nobody waits for.
    fn end(mut self) {
        if let Err(e) = self.process.kill().and_then(|()| self.process.wait()) {
            tracing::debug!("a check could not be ended: {e}");
        }
    }
}

fn command(settings: &Settings, take: &Path, fps: u32) -> Command {
    let mut command = recorder::command(&settings.recorder);
    command.arg("inspect").arg(take).args(["--fps", &fps.to_string()]);
    command.args(settings.full_check.then_some("--full")).stdin(Stdio::null());
    command
}

fn start(settings: &Settings, take: &Path, fps: u32) -> std::io::Result<Running> {
    let mut command = command(settings, take, fps);
    command.arg("--follow").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn()?;
    let orders = process.stdin.take().ok_or_else(|| std::io::Error::other("it has no standard input"))?;
    Ok(Running { process, orders })
}

fn say(orders: &mut ChildStdin, growth: Growth) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(&growth)?;
    line.push(b'\n');
    orders.write_all(&line)
}

fn read(output: &Output) -> Result<Report, String> {
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(said.lines().last().unwrap_or("no reason given").to_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("the answer cannot be read: {e}"))
}
