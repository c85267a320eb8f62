//! One clip being made: the child process, and when it has to stand still.

use std::process::Stdio;
use std::time::Duration;

use lectern_wire::render::{Job, Order, Said};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::sync::CancellationToken;

use super::{Settings, desk};
use crate::model::lesson::State;
use crate::model::status::{Making, Status};
use crate::platform::recorder;
use crate::store::Store;
use crate::store::clips::{Clip, ClipState};

/// How a cancelled recorder may take to clear up.
const GRACE: Duration = Duration::from_secs(5);

/// How the work ended without a fault.
pub enum End {
    /// The file is there.
    Made {
        /// Its size.
        bytes: u64,
        /// Its length.
        length_ms: u64,
    },
    /// It was given up.
    Given,
}

/// Whether a lesson needs the machine for itself.
fn busy(status: &Status) -> bool {
    status.lesson.as_ref().is_some_and(|l| l.state.is_live() || l.state == State::Finishing)
}

/// Makes one clip; gives up when its row is cancelled or the daemon stops.
pub async fn run(
    store: &Store,
    settings: &Settings,
    clip: &Clip,
    stop: &CancellationToken,
) -> Result<End, String> {
    let mut board = store.board().watch();
    loop {
        if stop.is_cancelled() || !wanted(store, clip)? {
            return Ok(End::Given);
        }
        if !busy(&board.borrow_and_update()) {
            break;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = store.bells().render.notified() => {}
            _ = board.changed() => {}
        }
    }
    let (owner, how, what) = (store.clone(), settings.clone(), clip.clone());
    let job = tokio::task::spawn_blocking(move || desk::job(&owner, &how, &what));
    let job = job.await.map_err(|e| e.to_string())??;
    let (mut child, mut orders) = start(settings, &job).await?;
    let Some(out) = child.stdout.take() else { return Err("the recorder has no output".into()) };
    let mut lines = BufReader::new(out).lines();
    let mut still = false;
    let mut made = None;
    loop {
        let now = busy(&board.borrow_and_update());
        if now != still {
            still = now;
            order(&mut orders, if still { Order::Pause } else { Order::Resume }).await?;
            store.board().update(|s| s.render = s.render.map(|making| Making { still, ..making }));
        }
        tokio::select! {
            line = lines.next_line() => match line.map_err(|e| e.to_string())? {
                None => break,
                Some(line) => match serde_json::from_str(&line).map_err(|e| e.to_string())? {
                    Said::Progress { done_ms, of_ms } => {
                        store.board().update(|s| s.render = Some(Making { clip: clip.id, done_ms, of_ms, still }));
                    }
                    Said::Done { bytes, length_ms } => made = Some(End::Made { bytes, length_ms }),
                },
            },
            _ = board.changed() => {}
            () = store.bells().render.notified() => {
                if !wanted(store, clip)? {
                    give_up(child, orders).await;
                    return Ok(End::Given);
                }
            }
            () = stop.cancelled() => {
                give_up(child, orders).await;
                return Ok(End::Given);
            }
        }
    }
    drop(orders);
    let mut said = String::new();
    if let Some(errors) = child.stderr.take() {
        errors.take(64 * 1024).read_to_string(&mut said).await.map_err(|e| e.to_string())?;
    }
    child.wait().await.map_err(|e| e.to_string())?;
    made.ok_or_else(|| {
        let last = said.lines().last().unwrap_or("the recorder broke off");
        last.strip_prefix("lectern-recorder: ").unwrap_or(last).to_owned()
    })
}

fn wanted(store: &Store, clip: &Clip) -> Result<bool, String> {
    let row = store.clip(clip.id).map_err(|e| e.to_string())?;
    Ok(row.is_some_and(|row| row.state == ClipState::Waiting))
}

async fn start(settings: &Settings, job: &Job) -> Result<(Child, ChildStdin), String> {
    let failed = |e: std::io::Error| format!("{} could not be started: {e}", settings.recorder.display());
    let mut command = Command::from(recorder::command(&settings.recorder));
    command
        .arg("render")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(failed)?;
    let mut orders = child.stdin.take().ok_or("the recorder has no input")?;
    let mut line = serde_json::to_vec(job).map_err(|e| e.to_string())?;
    line.push(b'\n');
    orders.write_all(&line).await.map_err(failed)?;
    Ok((child, orders))
}

async fn order(orders: &mut ChildStdin, order: Order) -> Result<(), String> {
    let mut line = serde_json::to_vec(&order).map_err(|e| e.to_string())?;
    line.push(b'\n');
    orders.write_all(&line).await.map_err(|e| format!("the recorder no longer listens: {e}"))
}

/// The end of its input tells the recorder to clear up; what does not listen is ended.
async fn give_up(mut child: Child, orders: ChildStdin) {
    drop(orders);
    if tokio::time::timeout(GRACE, child.wait()).await.is_err()
        && let Err(e) = child.kill().await
    {
        tracing::error!("a recorder could not be ended: {e}");
    }
}
