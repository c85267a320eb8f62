//! The encoders: libx264, AAC, and JPEG for the preview.

use anyhow::{Context as _, anyhow};
use ffmpeg_next::{
    self as ffmpeg, ChannelLayout, Packet, Rational, codec, color, encoder, format, frame, picture,
};
use lectern_wire::recorder::{AudioSettings, VideoSettings};

use crate::av::{Area, Mux, RATE, ScaleSource, Scaler};

/// Frames of sound the encoder takes at a time.
pub const SOUND_FRAME: usize = 1024;

/// The picture's encoder; its time base is one tick.
pub struct Video {
    encoder: encoder::Video,
    base: Rational,
}

impl Video {
    /// libx264 as the master profile asks: capped variable rate, no B-frames, nothing held back, so that
    /// a frame is in the file as soon as it is encoded.
    pub fn new(settings: VideoSettings) -> anyhow::Result<Self> {
        let codec = encoder::find_by_name("libx264").context("this libav has no libx264")?;
        let base = Rational(1, i32::try_from(settings.fps)?);
        let mut video = codec::context::Context::new_with_codec(codec).encoder().video()?;
        video.set_width(settings.width);
        video.set_height(settings.height);
        video.set_format(format::Pixel::YUV420P);
        video.set_time_base(base);
        video.set_frame_rate(Some(base.invert()));
        video.set_colorspace(color::Space::BT709);
        video.set_color_primaries(color::Primaries::BT709);
        video.set_color_transfer_characteristic(color::TransferCharacteristic::BT709);
        video.set_color_range(color::Range::MPEG);
        video.set_max_b_frames(0);
        // Key frames are forced by the session on whole seconds; this is only the outer bound.
        video.set_gop(settings.fps * settings.gop_s * 2);
        video.set_flags(codec::Flags::GLOBAL_HEADER);
        let mut options = ffmpeg::Dictionary::new();
        for (key, value) in x264_options(settings) {
            options.set(key, &value);
        }
        let encoder = video.open_with(options).context("libx264 refused the settings")?;
        Ok(Self { encoder, base })
    }

    /// The opened context, for the muxer.
    pub fn context(&self) -> &codec::Context {
        &self.encoder
    }

    /// Encodes the canvas as tick `n` of the take and hands the packets on.
    pub fn encode(
        &mut self,
        canvas: &mut frame::Video,
        tick: i64,
        key: bool,
        mux: &mut Mux,
    ) -> anyhow::Result<()> {
        canvas.set_pts(Some(tick));
        canvas.set_kind(if key { picture::Type::I } else { picture::Type::None });
        self.encoder.send_frame(canvas).context("the picture could not be encoded")?;
        self.drain(mux)
    }

    /// Hands on what the encoder still holds.
    pub fn end(&mut self, mux: &mut Mux) -> anyhow::Result<()> {
        self.encoder.send_eof().context("the picture's encoder could not end")?;
        self.drain(mux)
    }

    fn drain(&mut self, mux: &mut Mux) -> anyhow::Result<()> {
        loop {
            let mut packet = Packet::empty();
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => {
                    packet.set_duration(1);
                    mux.video(packet, self.base)?;
                }
                Err(e) => return nothing_more(e, "the picture could not be encoded"),
            }
        }
    }
}

/// The settings a peer must be given to be compared fairly; `make bench` prints them.
pub fn x264_options(settings: VideoSettings) -> Vec<(&'static str, String)> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let preset = if cores < 4 { "ultrafast" } else { "superfast" };
    vec![
        ("preset", preset.into()),
        ("tune", "zerolatency".into()),
        ("profile", "high".into()),
        ("crf", "23".into()),
        ("maxrate", format!("{}k", settings.max_kbps)),
        ("bufsize", format!("{}k", settings.max_kbps * 2)),
        ("sc_threshold", "0".into()),
        ("forced-idr", "1".into()),
        ("threads", cores.clamp(1, 4).to_string()),
    ]
}

fn nothing_more(e: ffmpeg::Error, what: &str) -> anyhow::Result<()> {
    match e {
        ffmpeg::Error::Other { errno: ffmpeg::ffi::EAGAIN } | ffmpeg::Error::Eof => Ok(()),
        e => Err(anyhow!("{what}: {e}")),
    }
}

/// The sound's encoder: AAC-LC, 48 kHz, stereo.
pub struct Audio {
    encoder: encoder::Audio,
}

const SOUND_BASE: Rational = Rational(1, RATE as i32);

impl Audio {
    pub fn new(settings: AudioSettings) -> anyhow::Result<Self> {
        let codec = encoder::find(codec::Id::AAC).context("this libav has no AAC encoder")?;
        let mut audio = codec::context::Context::new_with_codec(codec).encoder().audio()?;
        audio.set_rate(i32::try_from(RATE)?);
        audio.set_channel_layout(ChannelLayout::STEREO);
        audio.set_format(format::Sample::F32(format::sample::Type::Planar));
        audio.set_bit_rate(settings.kbps as usize * 1000);
        audio.set_time_base(SOUND_BASE);
        audio.set_flags(codec::Flags::GLOBAL_HEADER);
        Ok(Self { encoder: audio.open().context("the AAC encoder refused the settings")? })
    }

    /// The opened context, for the muxer.
    pub fn context(&self) -> &codec::Context {
        &self.encoder
    }

    /// Encodes [`SOUND_FRAME`] frames that start at `position` and hands the packets on.
    pub fn encode(&mut self, position: i64, sound: &[[f32; 2]], mux: &mut Mux) -> anyhow::Result<()> {
        let planar = format::Sample::F32(format::sample::Type::Planar);
        let mut frame = frame::Audio::new(planar, sound.len(), ChannelLayout::STEREO);
        frame.set_rate(RATE);
        frame.set_pts(Some(position));
        for channel in 0..2 {
            for (to, from) in frame.plane_mut::<f32>(channel).iter_mut().zip(sound) {
                *to = from[channel];
            }
        }
        self.encoder.send_frame(&frame).context("the sound could not be encoded")?;
        self.drain(mux)
    }

    /// Hands on what the encoder still holds.
    pub fn end(&mut self, mux: &mut Mux) -> anyhow::Result<()> {
        self.encoder.send_eof().context("the sound's encoder could not end")?;
        self.drain(mux)
    }

    fn drain(&mut self, mux: &mut Mux) -> anyhow::Result<()> {
        loop {
            let mut packet = Packet::empty();
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => mux.audio(packet, SOUND_BASE)?,
                Err(e) => return nothing_more(e, "the sound could not be encoded"),
            }
        }
    }
}

/// Makes small JPEGs of the canvas.
pub struct Jpeg {
    encoder: encoder::Video,
    scaler: Scaler,
    small: frame::Video,
    count: i64,
}

const PREVIEW: (u32, u32) = (480, 270);

impl Jpeg {
    pub fn new(video: VideoSettings) -> anyhow::Result<Self> {
        let codec = encoder::find(codec::Id::MJPEG).context("this libav has no JPEG encoder")?;
        let mut jpeg = codec::context::Context::new_with_codec(codec).encoder().video()?;
        jpeg.set_width(PREVIEW.0);
        jpeg.set_height(PREVIEW.1);
        jpeg.set_format(format::Pixel::YUVJ420P);
        jpeg.set_time_base(Rational(1, 1));
        jpeg.set_flags(codec::Flags::QSCALE);
        jpeg.set_global_quality(6 * ffmpeg::ffi::FF_QP2LAMBDA);
        let encoder = jpeg.open().context("the JPEG encoder refused the settings")?;
        let scaler = Scaler::to_full_range(video.width, video.height, PREVIEW)?;
        let small = frame::Video::new(format::Pixel::YUVJ420P, PREVIEW.0, PREVIEW.1);
        Ok(Self { encoder, scaler, small, count: 0 })
    }

    /// One JPEG of the canvas, 480 pixels wide.
    pub fn encode(&mut self, canvas: &frame::Video) -> anyhow::Result<Vec<u8>> {
        let area = Area { x: 0, y: 0, width: PREVIEW.0, height: PREVIEW.1 };
        self.scaler.run(&ScaleSource::Frame(canvas), &mut self.small, area)?;
        self.count += 1;
        self.small.set_pts(Some(self.count));
        self.encoder.send_frame(&self.small).context("the preview could not be encoded")?;
        let mut packet = Packet::empty();
        self.encoder.receive_packet(&mut packet).context("the preview could not be encoded")?;
        Ok(packet.data().unwrap_or_default().to_vec())
    }
}
