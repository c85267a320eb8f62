//! Starts a recorder and talks to it over its socket.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use lectern_base::clock;
use lectern_wire::id::LessonId;
use lectern_wire::recorder::{Command as Order, Event};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::platform::recorder;

/// Longest line a recorder may say, bytes: a preview is the longest.
const MAX_LINE: usize = 1024 * 1024;

/// Whose recorder it is: a lesson's take. A recorder that comes late may be of a lesson that has ended.
pub type Whose = (LessonId, u32);

/// What is heard from a take's recorder.
#[derive(Debug)]
pub enum Heard {
    /// It can be spoken to.
    Connected(OwnedWriteHalf),
    /// It said something.
    Said(Event),
    /// Nobody answers at the socket, or the connection ended.
    Gone,
}

/// Starts a recorder with what it is told, in a process group of its own: what stops the daemon does not stop it.
pub async fn spawn(program: &Path, verb: &str, job: &impl Serialize) -> std::io::Result<Child> {
    let mut child = Command::from(recorder::command(program))
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0)
        .kill_on_drop(false)
        .spawn()?;
    let mut line = serde_json::to_vec(job)?;
    line.push(b'\n');
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(&line).await?;
    }
    Ok(child)
}

/// Waits for an ended recorder, which somebody must, and says how it ended when that was not in order: a crash is to be
/// told from a kill.
pub async fn farewell(mut recorder: Child) {
    let pid = recorder.id().unwrap_or_default();
    match recorder.wait().await {
        Ok(status) if status.success() => {}
        Ok(status) => tracing::warn!(pid, "the recorder ended with {status}"),
        Err(e) => tracing::warn!(pid, "how the recorder ended is not known: {e}"),
    }
}

/// Connects to the socket of a take and passes on what is said there; `patience` bounds the wait for
/// the socket to appear. Everything is tagged with the take, so that a late word of an
/// earlier recorder is known as such.
pub fn listen(
    socket: std::path::PathBuf,
    whose: Whose,
    patience: Duration,
    heard: mpsc::Sender<(Whose, Heard)>,
) {
    tokio::spawn(async move {
        let give_up = clock::mono() + patience;
        let stream = loop {
            match UnixStream::connect(&socket).await {
                Ok(stream) => break Some(stream),
                Err(_) if clock::mono() < give_up => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(e) => {
                    tracing::debug!(socket = %socket.display(), "no recorder answers: {e}");
                    break None;
                }
            }
        };
        if let Some(stream) = stream {
            let (read, write) = stream.into_split();
            if heard.send((whose.clone(), Heard::Connected(write))).await.is_ok() {
                pass_on(read, &whose, &heard).await;
            }
        }
        // The driver may have gone; then nobody is left to tell.
        drop(heard.send((whose, Heard::Gone)).await);
    });
}

async fn pass_on(read: tokio::net::unix::OwnedReadHalf, whose: &Whose, heard: &mpsc::Sender<(Whose, Heard)>) {
    let mut reader = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = tokio::io::AsyncReadExt::take(&mut reader, MAX_LINE as u64);
        match bounded.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        match serde_json::from_slice(&line) {
            Ok(event) => {
                if heard.send((whose.clone(), Heard::Said(event))).await.is_err() {
                    return;
                }
            }
            Err(e) => {
                tracing::warn!("the recorder said something unknown: {e}");
                return;
            }
        }
    }
}

/// Sends an order; false when the recorder no longer listens.
pub async fn order(link: &mut OwnedWriteHalf, order: &Order) -> bool {
    let Ok(mut line) = serde_json::to_vec(order) else { return false };
    line.push(b'\n');
    matches!(tokio::time::timeout(Duration::from_secs(1), link.write_all(&line)).await, Ok(Ok(())))
}

/// Ends a recorder by its process id: asked first, then made to.
pub async fn end(pid: u32) {
    use rustix::process::{Pid, Signal, kill_process, test_kill_process};
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    // A number may have been given to somebody else meanwhile; only a recorder is ended.
    let is_recorder = || {
        std::fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()))
            .is_ok_and(|name| name.trim() == "lectern-recorde")
    };
    for signal in [Signal::TERM, Signal::KILL] {
        if !is_recorder() {
            return;
        }
        if let Err(e) = kill_process(pid, signal) {
            tracing::debug!("recorder {pid:?}: {e}");
        }
        for _ in 0..50 {
            if test_kill_process(pid).is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
