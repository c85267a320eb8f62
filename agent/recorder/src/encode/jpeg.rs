//! The preview's encoder.

use anyhow::Context as _;
use ffmpeg_next::{self as ffmpeg, Packet, Rational, codec, encoder, format, frame};
use lectern_wire::capture::VideoSettings;

use crate::av::{Area, ScaleSource, Scaler};

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
