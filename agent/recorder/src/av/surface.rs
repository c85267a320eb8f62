//! Pictures in the memory of a graphics card, for encoders that take them only there.
#![expect(unsafe_code, reason = "libav's hardware frames have no safe wrapper")]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;

use anyhow::{Context as _, anyhow, ensure};
use ffmpeg_next::{self as ffmpeg, encoder, ffi, format::Pixel, frame};

/// Pictures on the card that an encoder may hold at a time.
const POOL: i32 = 8;

/// A pool of pictures on a card.
pub struct Surfaces {
    frames: *mut ffi::AVBufferRef,
}

// SAFETY: a reference counted buffer without thread affinity; it moves with its owner and is never shared.
unsafe impl Send for Surfaces {}

fn done(code: i32, what: &'static str) -> anyhow::Result<()> {
    if code < 0 { Err(anyhow!("{}", ffmpeg::Error::from(code)).context(what)) } else { Ok(()) }
}

impl Surfaces {
    /// Pictures of a card that speaks VAAPI.
    pub fn vaapi(card: &Path, width: u32, height: u32) -> anyhow::Result<Self> {
        let name = CString::new(card.as_os_str().as_bytes()).context("a device's name holds a zero byte")?;
        let (mut device, kind) = (ptr::null_mut(), ffi::AVHWDeviceType::AV_HWDEVICE_TYPE_VAAPI);
        // SAFETY: plain arguments in; `device` is owned here, the pool takes a reference of its own, and
        // both are given back on every way out.
        unsafe {
            let code = ffi::av_hwdevice_ctx_create(&raw mut device, kind, name.as_ptr(), ptr::null_mut(), 0);
            done(code, "the graphics card cannot be used (VAAPI)")?;
            let frames = ffi::av_hwframe_ctx_alloc(device);
            ffi::av_buffer_unref(&raw mut device);
            ensure!(!frames.is_null(), "no memory for pictures on the graphics card");
            let surfaces = Self { frames };
            let context = &mut *(*frames).data.cast::<ffi::AVHWFramesContext>();
            context.format = ffi::AVPixelFormat::AV_PIX_FMT_VAAPI;
            context.sw_format = ffi::AVPixelFormat::AV_PIX_FMT_NV12;
            (context.width, context.height) = (i32::try_from(width)?, i32::try_from(height)?);
            context.initial_pool_size = POOL;
            done(ffi::av_hwframe_ctx_init(frames), "the graphics card gives no memory for pictures")?;
            Ok(surfaces)
        }
    }

    /// Tells an encoder that is not open yet that its pictures come from here.
    pub fn attach(&self, video: &mut encoder::video::Video) -> anyhow::Result<()> {
        video.set_format(Pixel::VAAPI);
        // SAFETY: the encoder's context is live and takes over the new reference.
        unsafe {
            let reference = ffi::av_buffer_ref(self.frames);
            ensure!(!reference.is_null(), "no memory for pictures on the graphics card");
            (*video.as_mut_ptr()).hw_frames_ctx = reference;
        }
        Ok(())
    }

    /// Copies a picture onto the card.
    pub fn upload(&self, picture: &frame::Video) -> anyhow::Result<frame::Video> {
        let mut surface = frame::Video::empty();
        // SAFETY: an empty frame of ours is filled from our pool, then written to by libav.
        unsafe {
            let to = surface.as_mut_ptr();
            done(ffi::av_hwframe_get_buffer(self.frames, to, 0), "the graphics card's memory is full")?;
            let code = ffi::av_hwframe_transfer_data(to, picture.as_ptr(), 0);
            done(code, "a picture cannot be copied to the graphics card")?;
        }
        Ok(surface)
    }
}

impl Drop for Surfaces {
    fn drop(&mut self) {
        // SAFETY: owned since new.
        unsafe { ffi::av_buffer_unref(&raw mut self.frames) }
    }
}

/// Writes a planar picture with its chroma interleaved, as graphics cards want it.
pub fn nv12(from: &frame::Video, to: &mut frame::Video) -> anyhow::Result<()> {
    let shape = (from.width(), from.height());
    ensure!(from.format() == Pixel::YUV420P && to.format() == Pixel::NV12, "pictures of other formats");
    ensure!(shape == (to.width(), to.height()), "pictures of different sizes");
    let (width, height) = (shape.0 as usize, shape.1 as usize);
    let (stride, out) = (from.stride(0), to.stride(0));
    let rows = from.data(0).chunks(stride).zip(to.data_mut(0).chunks_mut(out)).take(height);
    rows.for_each(|(from, to)| to[..width].copy_from_slice(&from[..width]));
    let (strides, out) = ((from.stride(1), from.stride(2)), to.stride(1));
    let chroma = from.data(1).chunks(strides.0).zip(from.data(2).chunks(strides.1));
    for ((u, v), to) in chroma.zip(to.data_mut(1).chunks_mut(out)).take(height / 2) {
        for ((pair, u), v) in to[..width].as_chunks_mut::<2>().0.iter_mut().zip(u).zip(v) {
            *pair = [*u, *v];
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chroma_is_interleaved_and_luma_kept() {
        let mut from = frame::Video::new(Pixel::YUV420P, 64, 64);
        for (plane, value) in [10, 20, 30].into_iter().enumerate() {
            from.data_mut(plane).fill(value);
        }
        let mut to = frame::Video::new(Pixel::NV12, 64, 64);
        nv12(&from, &mut to).expect("the same shape");
        assert_eq!(to.data(0)[63], 10);
        assert_eq!(to.data(1)[..4], [20, 30, 20, 30]);
        assert_eq!(to.data(1)[to.stride(1) * 31 + 62..][..2], [20, 30]);
    }
}
