//! The recorder program in one of its modes that keep nothing.

use std::path::Path;
use std::process::Stdio;

use lectern_wire::capture::CaptureSettings;
use lectern_wire::preflight::Preflight;
use lectern_wire::recorder::{Command as Order, Event};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::platform::recorder;
use crate::store::Store;

/// A recorder that looks or listens. It ends when it is dropped.
pub struct Looker {
    child: Child,
    /// Open as long as it is to go on.
    _stdin: ChildStdin,
    /// What it says, a line of JSON each.
    pub lines: Lines<BufReader<ChildStdout>>,
}

impl Looker {
    /// Starts the recorder in a mode and hands it the settings.
    ///
    /// # Errors
    /// A sentence that names the program.
    pub async fn start(program: &Path, mode: &str, capture: &CaptureSettings) -> Result<Self, String> {
        let failed = |e: std::io::Error| format!("{} {mode} could not be started: {e}", program.display());
        let mut command = Command::from(recorder::command(program));
        command.arg(mode).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("{} {mode} has no pipes", program.display()));
        };
        let mut line = serde_json::to_vec(capture).map_err(|e| e.to_string())?;
        line.push(b'\n');
        stdin.write_all(&line).await.map_err(failed)?;
        stdin.flush().await.map_err(failed)?;
        let lines = BufReader::new(stdout).lines();
        Ok(Self { child, _stdin: stdin, lines })
    }

    /// Ends it and waits until it has let go of every device.
    pub async fn end(mut self) {
        if let Err(e) = self.child.kill().await {
            tracing::warn!("a recorder that looked could not be ended: {e}");
        }
    }
}

/// Asks a recorder that waits for a lesson how its sources are.
///
/// # Errors
/// A sentence, when it has ended or does not answer.
pub async fn ask_armed(socket: &Path) -> Result<Preflight, String> {
    let failed = |e: std::io::Error| e.to_string();
    let mut stream = UnixStream::connect(socket).await.map_err(failed)?;
    let mut line = serde_json::to_vec(&Order::Preflight).map_err(|e| e.to_string())?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(failed)?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await.map_err(failed)? {
        if let Ok(Event::Preflight { found }) = serde_json::from_str(&line) {
            return Ok(found);
        }
    }
    Err("it ended".into())
}

/// Comes back when a lesson is being recorded.
pub async fn lesson_begins(store: &Store) {
    let live = |status: &crate::model::status::Status| {
        status.lesson.as_ref().is_some_and(|lesson| lesson.state.is_live())
    };
    if store.board().watch().wait_for(live).await.is_err() {
        // The board is gone with the store, which this very call holds: cannot be.
        std::future::pending::<()>().await;
    }
}

/// Whether a lesson is being recorded now.
pub fn records(store: &Store) -> bool {
    store.board().read().lesson.is_some_and(|lesson| lesson.state.is_live())
}
