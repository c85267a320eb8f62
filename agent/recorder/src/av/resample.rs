//! Brings device sound to the take's shape and stretches it by parts per million to follow the clock.
#![expect(unsafe_code, reason = "swr_set_compensation has no safe wrapper")]

use anyhow::{Context as _, anyhow};
use ffmpeg_next::{self as ffmpeg, ChannelLayout, ffi, format::Sample, format::sample::Type, frame};

/// Frames per second of all sound in Lectern.
pub const RATE: u32 = 48_000;

/// From 16-bit stereo at [`RATE`] to float stereo at [`RATE`], stretchable.
pub struct Resampler {
    context: ffmpeg::software::resampling::Context,
}

// SAFETY: a resampling context has no thread affinity; it moves with its owner and is never shared.
unsafe impl Send for Resampler {}

const FROM: Sample = Sample::I16(Type::Packed);
const TO: Sample = Sample::F32(Type::Packed);

impl Resampler {
    pub fn new() -> anyhow::Result<Self> {
        let stereo = ChannelLayout::STEREO;
        let context = ffmpeg::software::resampling::Context::get(FROM, stereo, RATE, TO, stereo, RATE)
            .context("libswresample refused 48 kHz stereo")?;
        Ok(Self { context })
    }

    /// From now on adds (or, negative, removes) this many frames in each second.
    pub fn stretch(&mut self, frames_per_second: i32) -> anyhow::Result<()> {
        let rate = i32::try_from(RATE)?;
        // SAFETY: an open context of ours and plain numbers.
        let code = unsafe { ffi::swr_set_compensation(self.context.as_mut_ptr(), frames_per_second, rate) };
        if code < 0 {
            Err(anyhow!("sound cannot be stretched: {}", ffmpeg::Error::from(code)))
        } else {
            Ok(())
        }
    }

    /// Converts interleaved 16-bit little-endian stereo; gives stereo frames.
    pub fn run(&mut self, bytes: &[u8]) -> anyhow::Result<Vec<[f32; 2]>> {
        let frames = bytes.len() / 4;
        if frames == 0 {
            return Ok(Vec::new());
        }
        let mut input = frame::Audio::new(FROM, frames, ChannelLayout::STEREO);
        input.set_rate(RATE);
        input.data_mut(0)[..frames * 4].copy_from_slice(&bytes[..frames * 4]);
        let mut output = frame::Audio::new(TO, frames + 256, ChannelLayout::STEREO);
        output.set_rate(RATE);
        self.context.run(&input, &mut output).context("sound could not be converted")?;
        let samples = output.data(0);
        let float =
            |at: usize| f32::from_ne_bytes([samples[at], samples[at + 1], samples[at + 2], samples[at + 3]]);
        Ok((0..output.samples()).map(|n| [float(n * 8), float(n * 8 + 4)]).collect())
    }
}
