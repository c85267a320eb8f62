//! The one door to libav: everything `unsafe` in Lectern is in this folder.
//!
//! One context belongs to one thread; contexts move by value and are never shared.

mod coded;
mod describe;
mod input;
mod mux;
mod outgoing;
mod resample;
mod scale;
mod surface;
mod v4l2;

pub use coded::{decode, header, with_shape};
pub use describe::same;
pub use input::{Input, Patience, Raw};
pub use mux::Mux;
pub use outgoing::Outgoing;
pub use resample::{RATE, Resampler};
pub use scale::{Area, Scaler, Source as ScaleSource};
pub use surface::{Surfaces, nv12};
pub use v4l2::{Mode, modes as camera_modes, name as camera_name, unused as camera_letters};

use ffmpeg_next as ffmpeg;

/// Registers devices and quiets libav down to its errors. Call once, before anything else.
pub fn start() {
    // Both only fail when called in a way this program does not.
    if let Err(e) = ffmpeg::init() {
        tracing::error!("libav could not start: {e}");
    }
    ffmpeg::device::register_all();
    ffmpeg::util::log::set_level(ffmpeg::util::log::Level::Fatal);
}

/// libavformat's version, as `59.27.100`.
pub fn version() -> String {
    let v = ffmpeg::format::version();
    format!("{}.{}.{}", v >> 16, v >> 8 & 0xff, v & 0xff)
}
