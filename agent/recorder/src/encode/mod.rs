//! The encoders: the picture's (libx264 or the machine's own), the sound's (AAC), and JPEG for the preview.

mod jpeg;
mod picture;
mod probe;
mod sound;

use anyhow::anyhow;
use ffmpeg_next::{self as ffmpeg, Packet, Rational};

pub use jpeg::Jpeg;
pub use picture::Video;
pub use probe::{
    all as probe_all, before_lesson as probe_before_lesson, hardware as probe_hardware, one as probe_one,
};
pub use sound::{Audio, SOUND_FRAME};

/// Takes encoded packets; their times are in `base`.
pub trait Packets {
    /// A picture.
    fn video(&mut self, packet: Packet, base: Rational) -> anyhow::Result<()>;
    /// Sound.
    fn audio(&mut self, packet: Packet, base: Rational) -> anyhow::Result<()>;
}

fn nothing_more(e: ffmpeg::Error, what: &str) -> anyhow::Result<()> {
    match e {
        ffmpeg::Error::Other { errno: ffmpeg::ffi::EAGAIN } | ffmpeg::Error::Eof => Ok(()),
        e => Err(anyhow!("{what}: {e}")),
    }
}
