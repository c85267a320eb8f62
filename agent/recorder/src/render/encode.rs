//! The encoders of a rendition: libx264 with a bound that holds over the whole file, AAC.

use anyhow::{Context as _, anyhow};
use ffmpeg_next::{
    self as ffmpeg, ChannelLayout, Dictionary, Packet, Rational, codec, color, encoder, format, frame,
};
use lectern_wire::render::Rendition;

use super::file::{Track, Writer};
use crate::av::RATE;

/// Frames of sound the encoder takes at a time.
const SOUND_FRAME: usize = 1024;
/// Time base of the sound.
pub const SOUND: Rational = Rational(1, RATE as i32);

/// The picture's encoder; its time base is one picture.
pub struct Pictures {
    encoder: encoder::Video,
    base: Rational,
}

impl Pictures {
    /// libx264 with a mean rate that is also its highest: no more than rate × length and one buffer of two
    /// seconds can come out.
    pub fn new(rendition: &Rendition, kbps: u32) -> anyhow::Result<Self> {
        let codec = encoder::find_by_name("libx264").context("this libav has no libx264")?;
        let base = Rational(1, i32::try_from(rendition.fps)?);
        let mut video = codec::context::Context::new_with_codec(codec).encoder().video()?;
        video.set_width(rendition.width);
        video.set_height(rendition.height);
        video.set_format(format::Pixel::YUV420P);
        video.set_time_base(base);
        video.set_frame_rate(Some(base.invert()));
        video.set_colorspace(color::Space::BT709);
        video.set_color_primaries(color::Primaries::BT709);
        video.set_color_transfer_characteristic(color::TransferCharacteristic::BT709);
        video.set_color_range(color::Range::MPEG);
        video.set_gop(rendition.fps * 2);
        video.set_bit_rate(kbps as usize * 1000);
        video.set_flags(codec::Flags::GLOBAL_HEADER);
        let mut options = Dictionary::new();
        options.set("preset", "veryfast");
        options.set("profile", "high");
        // With a pyramid some decoders complain of a reference that was never there.
        options.set("b-pyramid", "none");
        options.set("maxrate", &format!("{kbps}k"));
        options.set("bufsize", &format!("{}k", kbps * 2));
        let encoder = video.open_with(options).context("libx264 refused the settings")?;
        Ok(Self { encoder, base })
    }

    /// What the file's header says of them.
    pub fn parameters(&self) -> codec::Parameters {
        codec::Parameters::from(&self.encoder)
    }

    /// Encodes picture number `n`.
    pub fn encode(&mut self, picture: &mut frame::Video, n: i64, writer: &mut Writer) -> anyhow::Result<()> {
        picture.set_pts(Some(n));
        self.encoder.send_frame(picture).context("the picture could not be encoded")?;
        self.drain(writer)
    }

    /// Hands on what the encoder still holds.
    pub fn end(&mut self, writer: &mut Writer) -> anyhow::Result<()> {
        self.encoder.send_eof().context("the picture's encoder could not end")?;
        self.drain(writer)
    }

    fn drain(&mut self, writer: &mut Writer) -> anyhow::Result<()> {
        loop {
            let mut packet = Packet::empty();
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => {
                    packet.set_duration(1);
                    writer.write(Track::Picture, packet, self.base)?;
                }
                Err(e) => return nothing_more(e, "the picture could not be encoded"),
            }
        }
    }
}

/// The sound's encoder: AAC-LC, 48 kHz, stereo, without a hole.
pub struct Sounds {
    encoder: encoder::Audio,
    waiting: [Vec<f32>; 2],
    /// Where what waits begins.
    at: i64,
}

impl Sounds {
    /// Starts at zero.
    pub fn new(kbps: u32) -> anyhow::Result<Self> {
        let codec = encoder::find(codec::Id::AAC).context("this libav has no AAC encoder")?;
        let mut audio = codec::context::Context::new_with_codec(codec).encoder().audio()?;
        audio.set_rate(i32::try_from(RATE)?);
        audio.set_channel_layout(ChannelLayout::STEREO);
        audio.set_format(PLANAR);
        audio.set_bit_rate(kbps as usize * 1000);
        audio.set_time_base(SOUND);
        audio.set_flags(codec::Flags::GLOBAL_HEADER);
        let encoder = audio.open().context("the AAC encoder refused the settings")?;
        Ok(Self { encoder, waiting: [Vec::new(), Vec::new()], at: 0 })
    }

    /// What the file's header says of it.
    pub fn parameters(&self) -> codec::Parameters {
        codec::Parameters::from(&self.encoder)
    }

    /// Takes sound that begins at a position; holes become silence, what overlaps or lies before zero is dropped.
    pub fn place(&mut self, position: i64, channels: [&[f32]; 2], writer: &mut Writer) -> anyhow::Result<()> {
        let off = position - (self.at + self.waiting[0].len() as i64);
        let drop = usize::try_from(-off).unwrap_or(0);
        if let Ok(hole) = usize::try_from(off) {
            self.silence(hole, writer)?;
        }
        for (waiting, samples) in self.waiting.iter_mut().zip(channels) {
            waiting.extend_from_slice(samples.get(drop..).unwrap_or_default());
        }
        self.encode(SOUND_FRAME, writer)
    }

    /// So much silence.
    pub fn silence(&mut self, mut samples: usize, writer: &mut Writer) -> anyhow::Result<()> {
        while samples > 0 {
            let piece = samples.min(SOUND_FRAME);
            self.waiting.iter_mut().for_each(|waiting| waiting.resize(waiting.len() + piece, 0.0));
            self.encode(SOUND_FRAME, writer)?;
            samples -= piece;
        }
        Ok(())
    }

    /// Encodes what waits, in frames of at least so many samples.
    fn encode(&mut self, least: usize, writer: &mut Writer) -> anyhow::Result<()> {
        while self.waiting[0].len() >= least.max(1) {
            let samples = self.waiting[0].len().min(SOUND_FRAME);
            let mut frame = frame::Audio::new(PLANAR, samples, ChannelLayout::STEREO);
            frame.set_rate(RATE);
            frame.set_pts(Some(self.at));
            for (n, waiting) in self.waiting.iter_mut().enumerate() {
                for (to, from) in frame.plane_mut::<f32>(n).iter_mut().zip(waiting.drain(..samples)) {
                    *to = from;
                }
            }
            self.at += samples as i64;
            self.encoder.send_frame(&frame).context("the sound could not be encoded")?;
            self.drain(writer)?;
        }
        Ok(())
    }

    /// Encodes the rest.
    pub fn end(&mut self, writer: &mut Writer) -> anyhow::Result<()> {
        self.encode(1, writer)?;
        self.encoder.send_eof().context("the sound's encoder could not end")?;
        self.drain(writer)
    }

    fn drain(&mut self, writer: &mut Writer) -> anyhow::Result<()> {
        loop {
            let mut packet = Packet::empty();
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => writer.write(Track::Sound, packet, SOUND)?,
                Err(e) => return nothing_more(e, "the sound could not be encoded"),
            }
        }
    }
}

/// How samples lie.
const PLANAR: format::Sample = format::Sample::F32(format::sample::Type::Planar);

fn nothing_more(e: ffmpeg::Error, what: &str) -> anyhow::Result<()> {
    match e {
        ffmpeg::Error::Other { errno: ffmpeg::ffi::EAGAIN } | ffmpeg::Error::Eof => Ok(()),
        e => Err(anyhow!("{what}: {e}")),
    }
}
