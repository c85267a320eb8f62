//! Decodes a take back: the proof that what is durable can be seen and heard, and the report of what is in it.
//!
//! ```text
//! take ─▶ growing (waits for durable bytes) ─▶ packets ─▶ sight: times of all, key frames decoded
//!                                                     └▶ hearing: all decoded, levels, loudness
//! ```
//!
//! Run beside the lesson (`--follow`) nothing but the last seconds is left to do when it ends. The times of all
//! pictures stand in the packets; decoded are the key frames, everything after the last of them, and the
//! whole sound. A full check decodes every picture.

mod growing;
mod hearing;
mod sight;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;
use ffmpeg_next::{Rational, codec, format, media::Type};
use lectern_wire::report::{Report, STRETCH_MS};

use growing::Growing;
use hearing::Hearing;
use sight::Sight;

/// What is inspected and how.
#[derive(Debug, Args)]
pub struct Options {
    /// The take.
    file: PathBuf,
    /// Pictures per second of the take's clock; without it the most frequent distance counts.
    #[arg(long)]
    fps: Option<u32>,
    /// Decode every picture.
    #[arg(long)]
    full: bool,
    /// The take still grows: standard input says, in JSON lines, how far it is durable and where it ends.
    #[arg(long)]
    follow: bool,
}

/// Prints the [`Report`] as one JSON line.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let file = &options.file;
    let report = inspect(options).with_context(|| format!("{} could not be decoded back", file.display()))?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

fn open(options: &Options) -> anyhow::Result<format::context::Input> {
    if !options.follow {
        return Ok(format::input(&options.file)?);
    }
    // Never at the cost of the lesson that is being recorded.
    crate::polite::yield_to_all();
    let io = format::context::StreamIo::from_read(Growing::open(&options.file)?);
    let io = io.map_err(|e| anyhow::anyhow!("no memory for the take: {e}"))?;
    Ok(format::input_from_stream(io, Some("take.mp4"), None)?)
}

fn inspect(options: &Options) -> anyhow::Result<Report> {
    ensure!(is_plain(&options.file), "the file's name is not UTF-8");
    let mut input = open(options)?;
    let video = input.streams().best(Type::Video).context("there is no picture")?;
    let audio = input.streams().best(Type::Audio).context("there is no sound")?;
    let (video_index, audio_index) = (video.index(), audio.index());
    let pictures = codec::context::Context::from_parameters(video.parameters())?.decoder().video()?;
    let sound = codec::context::Context::from_parameters(audio.parameters())?.decoder().audio()?;
    let mut sight = Sight::new(pictures, video.time_base(), options.full);
    let mut hearing = Hearing::new(sound, audio.time_base())?;
    loop {
        let mut packet = ffmpeg_next::Packet::empty();
        match packet.read(&mut input) {
            Ok(()) if packet.stream() == video_index => sight.see(packet)?,
            Ok(()) if packet.stream() == audio_index => hearing.hear(&packet)?,
            Ok(()) => {}
            Err(ffmpeg_next::Error::Eof) => break,
            Err(e) => return Err(e).context("the take breaks off"),
        }
    }
    let mut report = Report::default();
    sight.end(options.fps, &mut report)?;
    hearing.end(&mut report)?;
    report.drift_ms = report.sound_ms.cast_signed() - report.picture_ms.cast_signed();
    ensure!(report.decoded_pictures > 0, "no picture could be decoded");
    Ok(report)
}

/// Whether libav can be given this name.
fn is_plain(path: &Path) -> bool {
    path.to_str().is_some_and(|name| !name.contains('\0'))
}

/// Ticks of a time base in milliseconds.
fn ms(ticks: i64, base: Rational) -> u64 {
    let ms = i128::from(ticks) * 1000 * i128::from(base.0) / i128::from(base.1.max(1));
    u64::try_from(ms).unwrap_or(0)
}

/// Adds up the stretches, of at least [`STRETCH_MS`], in which something holds.
#[derive(Debug, Default)]
struct Stretches {
    since: Option<u64>,
    total_ms: u64,
}

impl Stretches {
    /// Whether it holds from here on.
    fn see(&mut self, holds: bool, at_ms: u64) {
        if holds {
            self.since.get_or_insert(at_ms);
        } else if let Some(length) = self.since.take().map(|since| at_ms.saturating_sub(since)) {
            self.total_ms += if length >= STRETCH_MS { length } else { 0 };
        }
    }

    /// All of them, when everything ends here.
    fn end(mut self, at_ms: u64) -> u64 {
        self.see(false, at_ms);
        self.total_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_stretches_count_and_the_last_ends_with_the_take() {
        let mut stretches = Stretches::default();
        for second in 0..60 {
            stretches.see(matches!(second, 3..12 | 20..31 | 48..), second * 1000);
        }
        assert_eq!(stretches.end(60_500), 11_000 + 12_500);
    }
}
