//! Converts and scales pictures straight into a rectangle of the canvas, BT.709 limited range.
#![expect(unsafe_code, reason = "libswscale into a rectangle of a larger picture has no safe wrapper")]

use std::ffi::c_int;
use std::ptr;

use anyhow::bail;
use ffmpeg_next::{ffi, format::Pixel, frame};

/// A rectangle of the canvas; all numbers even.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

/// Where pixels come from.
pub enum Source<'a> {
    /// One packed plane with its bytes per row.
    Packed(&'a [u8], usize),
    /// A decoded picture.
    Frame(&'a frame::Video),
}

/// One conversion between two fixed shapes.
pub struct Scaler {
    context: *mut ffi::SwsContext,
    from: (Pixel, u32, u32),
    to: (u32, u32),
}

// SAFETY: a context has no thread affinity; it moves with its owner and is never shared.
unsafe impl Send for Scaler {}

impl Scaler {
    /// Prepares to convert pictures of `format`, `width`×`height` to YUV 4:2:0 of `to`.
    pub fn new(format: Pixel, width: u32, height: u32, to: (u32, u32)) -> anyhow::Result<Self> {
        Self::build(format, width, height, to, false)
    }

    /// Prepares to shrink a canvas to full-range YUV 4:2:0, which JPEG wants.
    pub fn to_full_range(width: u32, height: u32, to: (u32, u32)) -> anyhow::Result<Self> {
        Self::build(Pixel::YUV420P, width, height, to, true)
    }

    fn build(format: Pixel, width: u32, height: u32, to: (u32, u32), full_out: bool) -> anyhow::Result<Self> {
        let int = |v: u32| c_int::try_from(v).unwrap_or(0);
        let flags = if (width, height) == to { ffi::SWS_POINT } else { ffi::SWS_BILINEAR };
        // SAFETY: plain numbers in, an owned context out; freed in drop.
        unsafe {
            let context = ffi::sws_getContext(
                int(width),
                int(height),
                format.into(),
                int(to.0),
                int(to.1),
                ffi::AVPixelFormat::AV_PIX_FMT_YUV420P,
                flags as c_int,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null(),
            );
            if context.is_null() {
                bail!("pictures of {format:?} {width}x{height} cannot be converted");
            }
            let table = ffi::sws_getCoefficients(ffi::SWS_CS_ITU709 as c_int);
            let full = c_int::from(matches!(format, Pixel::YUVJ420P | Pixel::YUVJ422P | Pixel::YUVJ444P));
            ffi::sws_setColorspaceDetails(
                context,
                table,
                full,
                table,
                c_int::from(full_out),
                0,
                1 << 16,
                1 << 16,
            );
            Ok(Self { context, from: (format, width, height), to })
        }
    }

    /// Whether this conversion fits these shapes.
    pub fn fits(&self, format: Pixel, width: u32, height: u32, to: (u32, u32)) -> bool {
        self.from == (format, width, height) && self.to == to
    }

    /// Converts one picture into `area` of the canvas, whose size must be the scaler's target.
    pub fn run(&mut self, source: &Source<'_>, canvas: &mut frame::Video, area: Area) -> anyhow::Result<()> {
        let fits = area.x + area.width <= canvas.width() && area.y + area.height <= canvas.height();
        let even = (area.x | area.y).is_multiple_of(2);
        if !matches!(canvas.format(), Pixel::YUV420P | Pixel::YUVJ420P)
            || (area.width, area.height) != self.to
            || !fits
            || !even
        {
            bail!("the area {area:?} is not one of this canvas");
        }
        let height = self.from.2;
        let mut from: [*const u8; 4] = [ptr::null(); 4];
        let mut from_stride: [c_int; 4] = [0; 4];
        match source {
            Source::Packed(pixels, stride) => {
                // BGR0 and its like: four bytes per pixel. The last row may end at its last pixel.
                let row = self.from.1 as usize * 4;
                if *stride < row || pixels.len() < stride * (height as usize - 1) + row {
                    bail!("a picture is shorter than it says");
                }
                from[0] = pixels.as_ptr();
                from_stride[0] = c_int::try_from(*stride)?;
            }
            Source::Frame(picture) => {
                if (picture.format(), picture.width(), picture.height()) != self.from {
                    bail!("a picture changed its shape");
                }
                // SAFETY: a decoded frame's pointers and strides, read only while it is borrowed.
                let raw = unsafe { &*picture.as_ptr() };
                for (to, data) in from.iter_mut().zip(raw.data) {
                    *to = data;
                }
                from_stride.copy_from_slice(&raw.linesize[..4]);
            }
        }
        // SAFETY: the area lies inside the canvas (checked above), whose planes are ours alone.
        unsafe {
            let raw = &mut *canvas.as_mut_ptr();
            let mut to: [*mut u8; 4] = [ptr::null_mut(); 4];
            let mut to_stride: [c_int; 4] = [0; 4];
            for plane in 0..3 {
                let shift = u32::from(plane > 0);
                let stride = raw.linesize[plane];
                let offset = (area.y >> shift) as usize * stride as usize + (area.x >> shift) as usize;
                to[plane] = raw.data[plane].add(offset);
                to_stride[plane] = stride;
            }
            let rows = ffi::sws_scale(
                self.context,
                from.as_ptr(),
                from_stride.as_ptr(),
                0,
                c_int::try_from(height)?,
                to.as_ptr(),
                to_stride.as_ptr(),
            );
            if rows <= 0 {
                bail!("libswscale gave no rows");
            }
        }
        Ok(())
    }
}

impl Drop for Scaler {
    fn drop(&mut self) {
        // SAFETY: owned since new.
        unsafe { ffi::sws_freeContext(self.context) }
    }
}
