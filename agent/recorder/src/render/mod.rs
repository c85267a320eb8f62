//! Makes one file of a sealed lesson: a clip, cut on key frames and not encoded anew, or a rendition.
//!
//! ```text
//! takes ─▶ joined (pieces one after the other, one timeline) ─┬─▶ copy ────────────▶ file (MP4, moov first)
//!                                                             └─▶ rendition: decode, scale, encode ─▶ file
//! ```
//!
//! It yields to everything else, stands still while a lesson is recorded, and ends when its standard input does.
//! The file has another name until it is whole and durable, so a crash leaves nothing that looks finished.

mod control;
mod copy;
mod encode;
mod file;
mod joined;
mod rendition;
mod title;

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use lectern_wire::render::{Job, Said, TITLE_MAX_S, length_ms, video_kbps};

use control::Control;
use file::Target;

/// A file that is too large is made again with so much less.
const AGAIN_PCT: u64 = 90;
/// So often at most.
const TRIES: u32 = 3;

/// Does the job on standard input.
pub fn run() -> anyhow::Result<()> {
    crate::polite::yield_to_all();
    let (job, control) = control::start()?;
    check(&job)?;
    let out = Path::new(&job.out);
    ensure!(out.is_absolute(), "{} is not an absolute path", out.display());
    ensure!(!out.exists(), "{} is there already", out.display());
    let target = Target::new(out);
    let bytes = match &job.rendition {
        None => {
            copy::run(&job.pieces, &target, &control)?;
            target.bytes()?
        }
        Some(rendition) => encoded(&job, rendition, &target, &control)?,
    };
    target.keep()?;
    let title = job.rendition.as_ref().and_then(|r| r.title.as_ref()).map_or(0, |t| t.seconds);
    say(Said::Done { bytes, length_ms: length_ms(&job.pieces) + u64::from(title) * 1000 })
}

/// Encodes, and encodes again should the file have become too large.
fn encoded(
    job: &Job,
    rendition: &lectern_wire::render::Rendition,
    target: &Target,
    control: &Control,
) -> anyhow::Result<u64> {
    let length = length_ms(&job.pieces) + u64::from(rendition.title.as_ref().map_or(0, |t| t.seconds)) * 1000;
    let kbps = video_kbps(length, rendition.kbps, rendition.sound_kbps, rendition.max_bytes);
    let mut kbps = kbps.context("so long a lesson does not fit into the size that is allowed")?;
    for _ in 0..TRIES {
        rendition::run(&job.pieces, rendition, kbps, target, control)?;
        let bytes = target.bytes()?;
        let Some(max) = rendition.max_bytes.filter(|max| bytes > *max) else { return Ok(bytes) };
        tracing::warn!(bytes, max, kbps, "the file is too large and is made again");
        let less = u64::from(kbps).saturating_mul(max) / bytes.max(1) * AGAIN_PCT / 100;
        kbps = u32::try_from(less)?;
    }
    bail!("the file stays larger than the size that is allowed")
}

fn check(job: &Job) -> anyhow::Result<()> {
    ensure!(!job.pieces.is_empty(), "there is nothing to cut out");
    for piece in &job.pieces {
        ensure!(
            piece.init > 0
                && piece.init <= piece.from
                && piece.from < piece.to
                && piece.start_ms < piece.end_ms,
            "a piece of {} ends before it begins",
            piece.take
        );
    }
    let Some(r) = &job.rendition else { return Ok(()) };
    let usable = |n: u32| n.is_multiple_of(2) && (64..=4096).contains(&n);
    ensure!(usable(r.width) && usable(r.height), "the picture's size {}x{} is not usable", r.width, r.height);
    ensure!((1..=60).contains(&r.fps), "{} pictures per second is not usable: 1 to 60", r.fps);
    ensure!((100..=50_000).contains(&r.kbps), "{} kbit/s is not usable: 100 to 50000", r.kbps);
    ensure!((32..=320).contains(&r.sound_kbps), "{} kbit/s of sound is not usable: 32 to 320", r.sound_kbps);
    let seconds = r.title.as_ref().map_or(1, |t| t.seconds);
    ensure!((1..=TITLE_MAX_S).contains(&seconds), "a title of {seconds} s is not usable: 1 to {TITLE_MAX_S}");
    Ok(())
}

/// One line to the daemon; nobody listening is not a reason to stop, the end of standard input is.
fn say(said: Said) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, &said)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}
