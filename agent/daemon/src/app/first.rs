//! A machine that is no room's yet: nothing is measured, recorded or told; its page takes the hub's address and the code on a
//! card. It ends when the machine has become a room's, here or by `lectern enrol`; then the daemon starts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{StartError, listen};
use crate::config::enrolled::{self, First};
use crate::page::first as page;
use crate::platform::{identity, machine, notify};

/// How often it is looked whether `lectern enrol` has done it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After that the page may still say that it is done.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The machine is a room's.
    Enrolled,
    /// A signal.
    Stopped,
}

/// Serves the first page until then.
///
/// # Errors
/// [`StartError`] when the page cannot be served.
pub async fn run(first: First) -> Result<End, StartError> {
    let data = &first.data_dir;
    lectern_base::disk::make_folder(&data.join("run")).with_context(|| data.display().to_string())?;
    let before = id(data);
    let proxy = match &first.proxy {
        Some((url, file)) => {
            let login = file.as_deref().map(identity::password).transpose().map_err(StartError::Settings)?;
            Some((url.clone(), login))
        }
        None => None,
    };
    let (listener, address) = listen(first.listen, Some(data)).await?;
    match &first.cloned {
        None => {
            tracing::info!(page = %address, "this machine is no room's yet: enrol it with `lectern enrol`, or on its page");
        }
        Some(room) => tracing::error!(
            page = %address, room,
            "this disk was cloned from another machine's: enrol this one with a card of its own"
        ),
    }
    let (done, stop) = (Arc::new(Notify::new()), CancellationToken::new());
    let served = tokio::spawn(page::serve(
        listener,
        page::First {
            data_dir: data.clone(),
            proxy,
            machine: machine::marks(&first.host.join("sys")),
            cloned: first.cloned.clone(),
            done: Arc::clone(&done),
            busy: Arc::default(),
            stop: stop.clone(),
        },
    ));
    notify::tell("READY=1");
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    let mut tick = tokio::time::interval(LOOK_EVERY);
    let end = loop {
        tokio::select! {
            _ = terminate.recv() => break End::Stopped,
            _ = interrupt.recv() => break End::Stopped,
            () = done.notified() => break End::Enrolled,
            _ = tick.tick() => {
                notify::tell("WATCHDOG=1");
                // A clone's is put aside before there is another.
                if id(data).is_some_and(|now| before.as_ref() != Some(&now)) {
                    break End::Enrolled;
                }
            }
        }
    };
    if end == End::Enrolled {
        tokio::time::sleep(LAST_WORDS).await;
    }
    stop.cancel();
    match tokio::time::timeout(Duration::from_secs(5), served).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(e))) => tracing::error!("the page ended: {e}"),
        Ok(Err(e)) => tracing::error!("the page broke off: {e}"),
        Err(_) => tracing::warn!("a browser held the page open; it is left behind"),
    }
    Ok(end)
}

/// Which enrolment the folder holds; of one that cannot be read, none.
fn id(data: &Path) -> Option<String> {
    enrolled::read(data).ok().flatten().map(|enrolled| enrolled.id)
}
