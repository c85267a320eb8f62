//! The screen of a Wayland session: no program may look at it unasked, so the desktop's portal is asked, and
//! whoever sits there says yes once.
//!
//! ```text
//! portal (D-Bus) ─ leave, PipeWire socket ─▶ gst-launch-1.0 (child): pipewiresrc, scale ─ raw pictures ─▶ pump
//! ```
//!
//! GStreamer, which every desktop with a portal can have, speaks PipeWire for us in a process of its own: nothing
//! more is linked or needed to build, and a fault in it is a gap and no more. Nothing here is touched unless the
//! settings name such a source.
//!
//! A Wayland screen sends pictures only while it changes. One that stands still is the newest for as long as
//! child, portal and desktop all live; the end of any of them is told to us.

mod desktop;
mod pictures;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use lectern_base::{clock, disk};
use lectern_wire::manifest::GapCode;

use self::desktop::{Cast, Refused};
use self::pictures::Pictures;
use super::{Picture, Worker};

/// What the child needs, as Debian names it.
const PACKAGES: &str = "gstreamer1.0-tools, gstreamer1.0-plugins-base and gstreamer1.0-pipewire";

/// An open screen that has sent nothing for this long is opened anew.
const FIRST_PICTURE: Duration = Duration::from_secs(5);

/// The teacher's leave kept in this file, if there is one.
pub fn leave(file: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    Some(text.trim().to_owned()).filter(|token| !token.is_empty())
}

/// Asks for the screen and leaves every picture of it.
pub(super) fn pump(worker: &Worker, file: &str) -> anyhow::Result<()> {
    // Why it was lost is worth more than why it cannot be opened again just now.
    let lost = worker.outlet.fault();
    if lost.is_none() {
        worker.outlet.note(
            GapCode::CannotOpen,
            "the question on the screen, whether it may be recorded, is not answered".into(),
        );
    }
    let asked = Cast::ask(leave(file).as_deref(), &|| worker.patience.ended());
    let mut cast = match asked {
        Err(e) if e.is::<Refused>() => {
            // Asking again and again would be no question. The next take asks again.
            worker.outlet.note(GapCode::CannotOpen, e.to_string());
            tracing::warn!("{e}; not asked again in this take");
            while !worker.patience.ended() {
                std::thread::sleep(Duration::from_millis(50));
            }
            return Ok(());
        }
        Err(e) => match lost {
            Some((_, lost)) => {
                tracing::debug!("the screen cannot be opened again yet: {e:#}");
                bail!(lost)
            }
            None => return Err(e),
        },
        Ok(cast) => cast,
    };
    if let Err(e) = keep_leave(file, cast.leave.take()) {
        tracing::warn!("the desktop will ask again in the next lesson: {e:#}");
    }
    let remote = cast.remote.take().context("the portal gave no PipeWire socket")?;
    let mut pictures = Pictures::open(remote, cast.node, worker.video)?;
    tracing::info!(node = cast.node, "screen open, by the desktop portal");
    // The first picture comes even if nothing moves.
    let mut first_by = Some(clock::mono() + FIRST_PICTURE);
    while !worker.patience.ended() {
        match pictures.next()? {
            Some(packet) => {
                first_by = None;
                let shape = pictures.shape();
                worker.outlet.publish(Picture::Raw(packet, shape), clock::mono());
            }
            None if first_by.is_some_and(|by| clock::mono() > by) => {
                bail!("the desktop sends no picture of the screen")
            }
            None if first_by.is_some() => {}
            None => worker.outlet.still(clock::mono()),
        }
        cast.must_live()?;
    }
    Ok(())
}

/// Keeps the leave for the next lesson, readable by this user alone; a portal gives a new one each time. Without a
/// new one the old is of no use.
fn keep_leave(file: &str, token: Option<String>) -> anyhow::Result<()> {
    if file.is_empty() {
        return Ok(());
    }
    let outcome = match token {
        Some(token) => disk::replace_with_mode(Path::new(file), token.as_bytes(), 0o600),
        None => match std::fs::remove_file(file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        },
    };
    outcome.with_context(|| format!("{file} could not be written"))
}

/// Whether such a source can be opened here, without asking for the screen; prints one sentence.
pub fn check() -> anyhow::Result<()> {
    let found = pictures::check().and_then(|()| desktop::check());
    match &found {
        Ok(sentence) => println!("{sentence}"),
        Err(e) => println!("{e}"),
    }
    found.map(drop)
}
