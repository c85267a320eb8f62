//! The file being made: under another name until it is whole and durable.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, ensure};
use ffmpeg_next::{self as ffmpeg, Packet, Rational, codec, encoder, format};
use lectern_base::disk;

/// Time base of the picture.
pub const PICTURE: Rational = Rational(1, 90_000);

/// Where the file goes. Dropped without [`Target::keep`], nothing is left.
pub struct Target {
    name: PathBuf,
    part: PathBuf,
}

impl Target {
    /// A file of this name, and `….part` until it is kept.
    pub fn new(name: &Path) -> Self {
        let mut part = name.as_os_str().to_owned();
        part.push(".part");
        Self { name: name.to_owned(), part: part.into() }
    }

    /// Bytes so far.
    pub fn bytes(&self) -> anyhow::Result<u64> {
        Ok(fs::metadata(&self.part).with_context(|| self.part.display().to_string())?.len())
    }

    /// Makes it durable and gives it its name.
    pub fn keep(&self) -> anyhow::Result<()> {
        let folder = self.name.parent().context("the file has no folder")?;
        File::open(&self.part)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&self.part, &self.name))
            .and_then(|()| disk::sync_folder(folder))
            .with_context(|| self.name.display().to_string())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        match fs::remove_file(&self.part) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                tracing::error!("{} could not be removed: {e}", self.part.display());
            }
            _ => {}
        }
    }
}

/// The MP4 being written: one picture and one sound track, the tables in front.
pub struct Writer {
    output: format::context::Output,
    bases: [Rational; 2],
}

/// A track of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Track {
    /// The picture.
    Picture = 0,
    /// The sound.
    Sound = 1,
}

impl Writer {
    /// Begins the file.
    pub fn new(
        target: &Target,
        picture: codec::Parameters,
        sound: codec::Parameters,
        sound_base: Rational,
    ) -> anyhow::Result<Self> {
        ensure!(
            target.part.to_str().is_some_and(|name| !name.contains('\0')),
            "the file's name is not UTF-8"
        );
        let mut output =
            format::output_as(&target.part, "mp4").with_context(|| target.part.display().to_string())?;
        for (parameters, base) in [(picture, PICTURE), (sound, sound_base)] {
            let mut stream =
                output.add_stream(encoder::find(codec::Id::None)).context("a track was refused")?;
            stream.set_parameters(parameters);
            stream.set_time_base(base);
        }
        let mut options = ffmpeg::Dictionary::new();
        options.set("movflags", "faststart");
        options.set("video_track_timescale", "90000");
        output.write_header_with(options).context("the file's header was refused")?;
        let base =
            |n: usize| output.stream(n).map(|s| s.time_base()).ok_or_else(|| anyhow!("a track vanished"));
        let bases = [base(0)?, base(1)?];
        Ok(Self { output, bases })
    }

    /// Adds a packet whose times are in `base`.
    pub fn write(&mut self, track: Track, mut packet: Packet, base: Rational) -> anyhow::Result<()> {
        packet.set_stream(track as usize);
        packet.set_position(-1);
        packet.rescale_ts(base, self.bases[track as usize]);
        packet.write_interleaved(&mut self.output).context("the file refused a packet")
    }

    /// Ends the file: the tables are written and moved to the front.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.output.write_trailer().context("the file could not be ended")
    }
}
