//! The picture's encoder: libx264, or what the machine has for it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use ffmpeg_next::{self as ffmpeg, Packet, Rational, codec, color, encoder, format, frame, picture};
use lectern_wire::capture::{Encoder, VideoSettings};

use super::{Packets, nothing_more};
use crate::av::{Surfaces, nv12};

/// The picture's encoder; its time base is one tick.
pub struct Video {
    encoder: encoder::Video,
    kind: Encoder,
    feed: Feed,
    base: Rational,
}

/// The form in which the encoder takes pictures.
enum Feed {
    /// As the canvas is.
    Canvas,
    /// Chroma interleaved.
    Nv12(frame::Video),
    /// As [`Feed::Nv12`], then copied into the memory of the graphics card.
    Surface(frame::Video, Surfaces),
}

impl Video {
    /// What the settings ask for; when that cannot be opened, libx264: a lesson is never lost to a driver.
    pub fn new(settings: VideoSettings) -> anyhow::Result<Self> {
        let wanted = settings.encoder.unwrap_or_default();
        match Self::open(wanted, settings) {
            Err(e) if wanted != Encoder::Libx264 => {
                tracing::warn!(encoder = wanted.name(), "libx264 takes its place: {e:#}");
                Self::open(Encoder::Libx264, settings)
            }
            outcome => outcome,
        }
    }

    /// This encoder and no other: capped variable rate, no B-frames, nothing held back, so that a frame is in the
    /// file as soon as it is encoded.
    pub fn open(kind: Encoder, settings: VideoSettings) -> anyhow::Result<Self> {
        let mut last = anyhow!("there is no way to open it");
        for options in variants(kind, settings) {
            match Self::open_with(kind, settings, &options) {
                Ok(video) => return Ok(video),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn open_with(
        kind: Encoder,
        settings: VideoSettings,
        options: &[(&'static str, String)],
    ) -> anyhow::Result<Self> {
        needs(kind)?;
        let name = kind.name();
        let codec = encoder::find_by_name(name).with_context(|| format!("this libav has no {name}"))?;
        let base = Rational(1, i32::try_from(settings.fps)?);
        let mut video = codec::context::Context::new_with_codec(codec).encoder().video()?;
        let (width, height) = (settings.width, settings.height);
        video.set_width(width);
        video.set_height(height);
        let staged = || frame::Video::new(format::Pixel::NV12, width, height);
        let feed = match kind {
            Encoder::Libx264 | Encoder::Nvenc | Encoder::V4l2M2m => Feed::Canvas,
            Encoder::Qsv => Feed::Nv12(staged()),
            Encoder::Vaapi => Feed::Surface(staged(), Surfaces::vaapi(&render_node()?, width, height)?),
        };
        match &feed {
            Feed::Canvas => video.set_format(format::Pixel::YUV420P),
            Feed::Nv12(_) => video.set_format(format::Pixel::NV12),
            Feed::Surface(_, surfaces) => surfaces.attach(&mut video)?,
        }
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
        let mut dictionary = ffmpeg::Dictionary::new();
        for (key, value) in options {
            dictionary.set(key, value);
        }
        let encoder = video.open_with(dictionary).with_context(|| format!("{name} refused the settings"))?;
        Ok(Self { encoder, kind, feed, base })
    }

    /// What a decoder must know.
    pub fn parameters(&self) -> codec::Parameters {
        let encoder: &encoder::video::Video = &self.encoder;
        codec::Parameters::from(encoder)
    }

    /// Which it is.
    pub fn kind(&self) -> Encoder {
        self.kind
    }

    /// Encodes the canvas as tick `n` of the take and hands the packets on.
    pub fn encode(
        &mut self,
        canvas: &mut frame::Video,
        tick: i64,
        key: bool,
        to: &mut dyn Packets,
    ) -> anyhow::Result<()> {
        let stamp = |frame: &mut frame::Video| {
            frame.set_pts(Some(tick));
            frame.set_kind(if key { picture::Type::I } else { picture::Type::None });
        };
        let sent = match &mut self.feed {
            Feed::Canvas => {
                stamp(canvas);
                self.encoder.send_frame(canvas)
            }
            Feed::Nv12(staged) => {
                nv12(canvas, staged)?;
                stamp(staged);
                self.encoder.send_frame(staged)
            }
            Feed::Surface(staged, surfaces) => {
                nv12(canvas, staged)?;
                let mut surface = surfaces.upload(staged)?;
                stamp(&mut surface);
                self.encoder.send_frame(&surface)
            }
        };
        sent.context("the picture could not be encoded")?;
        self.drain(to)
    }

    /// Hands on what the encoder still holds.
    pub fn end(&mut self, to: &mut dyn Packets) -> anyhow::Result<()> {
        self.encoder.send_eof().context("the picture's encoder could not end")?;
        self.drain(to)
    }

    fn drain(&mut self, to: &mut dyn Packets) -> anyhow::Result<()> {
        loop {
            let mut packet = Packet::empty();
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => {
                    packet.set_duration(1);
                    to.video(packet, self.base)?;
                }
                Err(e) => return nothing_more(e, "the picture could not be encoded"),
            }
        }
    }
}

/// What must be on this machine before the encoder need be tried: the reason in words people can act on.
pub(super) fn needs(kind: Encoder) -> anyhow::Result<()> {
    match kind {
        Encoder::Libx264 => {}
        Encoder::Vaapi | Encoder::Qsv => drop(render_node()?),
        Encoder::Nvenc if !Path::new("/dev/nvidiactl").exists() => {
            bail!("there is no NVIDIA card with its driver (/dev/nvidiactl)")
        }
        Encoder::V4l2M2m if devices("/dev", "video").is_empty() => {
            bail!("there is no video device at all (/dev/video*)")
        }
        Encoder::Nvenc | Encoder::V4l2M2m => {}
    }
    Ok(())
}

/// The first graphics card that computes.
fn render_node() -> anyhow::Result<PathBuf> {
    let found = devices("/dev/dri", "renderD").into_iter().next();
    found.context("there is no graphics card that encodes (/dev/dri/renderD*)")
}

fn devices(folder: &str, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> =
        entries.filter(|e| e.file_name().to_string_lossy().starts_with(prefix)).map(|e| e.path()).collect();
    found.sort();
    found
}

/// The options to try, best first. For libx264 they are what a peer must be given to be compared fairly.
fn variants(kind: Encoder, settings: VideoSettings) -> Vec<Vec<(&'static str, String)>> {
    let rate = |part: u32| format!("{}k", settings.max_kbps * part / 4);
    // Hardware has no constant quality under a cap that all drivers know: three quarters of the cap on average.
    let capped = [("b", rate(3)), ("maxrate", rate(4)), ("bufsize", rate(8))];
    let with = |more: &[(&'static str, &str)]| {
        let more = more.iter().map(|(key, value)| (*key, (*value).to_owned()));
        capped.iter().cloned().chain(more).collect::<Vec<_>>()
    };
    match kind {
        Encoder::Libx264 => vec![x264_options(settings)],
        Encoder::Vaapi => vec![
            with(&[("low_power", "1"), ("async_depth", "1"), ("profile", "high")]),
            with(&[("async_depth", "1"), ("profile", "high")]),
        ],
        Encoder::Qsv => vec![with(&[
            ("preset", "veryfast"),
            ("async_depth", "1"),
            ("forced_idr", "1"),
            ("look_ahead", "0"),
        ])],
        Encoder::Nvenc => vec![with(&[
            ("preset", "p4"),
            ("tune", "ll"),
            ("rc", "vbr"),
            ("delay", "0"),
            ("zerolatency", "1"),
            ("forced-idr", "1"),
        ])],
        Encoder::V4l2M2m => vec![with(&[])],
    }
}

fn x264_options(settings: VideoSettings) -> Vec<(&'static str, String)> {
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
