//! Asks a V4L2 device which pictures it can give: formats, sizes and rates.
//!
//! libav opens such a device but only logs its formats. The kernel's three questions are structs of
//! 32-bit words; their numbers and places are those of the kernel's `linux/videodev2.h`.
#![expect(unsafe_code, reason = "ioctl")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// One way a device can give pictures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mode {
    /// The format by libav's name, `mjpeg` or a pixel format.
    pub format: &'static str,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Pictures per second; 0 when the device does not say.
    pub fps: f64,
}

impl Mode {
    /// Whether its pictures are JPEG, to be decoded.
    pub fn is_jpeg(self) -> bool {
        self.format == "mjpeg"
    }
}

/// The formats that are used, by the kernel's letters and by libav's names.
const FORMATS: [(&[u8; 4], &str); 9] = [
    (b"MJPG", "mjpeg"),
    (b"JPEG", "mjpeg"),
    (b"YUYV", "yuyv422"),
    (b"UYVY", "uyvy422"),
    (b"NV12", "nv12"),
    (b"YU12", "yuv420p"),
    (b"422P", "yuv422p"),
    (b"RGB3", "rgb24"),
    (b"BGR3", "bgr24"),
];

/// Capture of pictures in one plane, the kind of buffer libav asks for.
const VIDEO_CAPTURE: u32 = 1;
/// What a device can do, as a flag: give pictures; and that it tells of this one file of several.
const CAN_CAPTURE: u32 = 0x1;
const HAS_OWN_FLAGS: u32 = 0x8000_0000;
/// `VIDIOC_QUERYCAP`, `_IOR('V', 0, 26 words)`.
const QUERY: u64 = (2 << 30) | ((26 * 4) << 16) | ((b'V' as u64) << 8);
/// `VIDIOC_ENUM_FMT`, `VIDIOC_ENUM_FRAMESIZES`, `VIDIOC_ENUM_FRAMEINTERVALS`.
const ENUM_FORMAT: u64 = request(2, 16);
const ENUM_SIZE: u64 = request(74, 11);
const ENUM_INTERVAL: u64 = request(75, 13);
/// Sizes and intervals are listed one by one; otherwise as a range.
const DISCRETE: u32 = 1;
/// No device lists more of anything; a broken driver must not be asked for ever.
const MOST: u32 = 256;

/// `_IOWR('V', number, words)`.
const fn request(number: u64, words: u64) -> u64 {
    (3 << 30) | ((words * 4) << 16) | ((b'V' as u64) << 8) | number
}

/// A camera's name by its driver, and whether it gives pictures; none when it is no V4L2 device.
pub fn name(path: &str) -> io::Result<Option<(String, bool)>> {
    let device = File::options().read(true).write(true).open(path)?;
    // Driver and name of 16 and 32 letters, its place, a version, what all its files can do, what this one can.
    let mut words = [0u32; 26];
    if !ask(&device, QUERY, &mut words)? {
        return Ok(None);
    }
    let letters: Vec<u8> =
        words[4..12].iter().flat_map(|w| w.to_ne_bytes()).take_while(|b| *b != 0).collect();
    let flags = if words[21] & HAS_OWN_FLAGS == 0 { words[21] } else { words[22] };
    Ok(Some((String::from_utf8_lossy(&letters).trim().to_owned(), flags & CAN_CAPTURE != 0)))
}

/// The formats of a device that are not used, by the kernel's letters.
pub fn unused(path: &str) -> io::Result<Vec<String>> {
    let device = File::options().read(true).write(true).open(path)?;
    let mut all = Vec::new();
    for n in 0..MOST {
        let mut format = [0u32; 16];
        (format[0], format[1]) = (n, VIDEO_CAPTURE);
        if !ask(&device, ENUM_FORMAT, &mut format)? {
            break;
        }
        let letters = format[11].to_le_bytes();
        if !FORMATS.iter().any(|(name, _)| **name == letters) {
            all.push(String::from_utf8_lossy(&letters).trim().escape_default().to_string());
        }
    }
    Ok(all)
}

/// All modes of the device at `path`. Where sizes or rates are a range, `wish` is fitted into it.
pub fn modes(path: &str, wish: (u32, u32, u32)) -> io::Result<Vec<Mode>> {
    let device = File::options().read(true).write(true).open(path)?;
    let mut modes = Vec::new();
    for n in 0..MOST {
        let mut format = [0u32; 16];
        (format[0], format[1]) = (n, VIDEO_CAPTURE);
        if !ask(&device, ENUM_FORMAT, &mut format)? {
            break;
        }
        let letters = format[11];
        let known = FORMATS.iter().find(|(name, _)| u32::from_le_bytes(**name) == letters);
        if let Some((_, format)) = known {
            sizes(&device, letters, wish, |width, height, fps| {
                modes.push(Mode { format, width, height, fps });
            })?;
        }
    }
    Ok(modes)
}

fn sizes(
    device: &File,
    letters: u32,
    wish: (u32, u32, u32),
    mut found: impl FnMut(u32, u32, f64),
) -> io::Result<()> {
    for n in 0..MOST {
        let mut size = [0u32; 11];
        (size[0], size[1]) = (n, letters);
        if !ask(device, ENUM_SIZE, &mut size)? {
            break;
        }
        let [kind, a, b, c, d, e, f] = [size[2], size[3], size[4], size[5], size[6], size[7], size[8]];
        let (width, height) = match kind {
            DISCRETE => (a, b),
            // Least, most and step of the width, then of the height.
            _ => (fitted(wish.0, a, b, c), fitted(wish.1, d, e, f)),
        };
        rates(device, letters, (width, height), wish.2, |fps| found(width, height, fps))?;
        if kind != DISCRETE {
            break;
        }
    }
    Ok(())
}

fn rates(
    device: &File,
    letters: u32,
    (width, height): (u32, u32),
    wish: u32,
    mut found: impl FnMut(f64),
) -> io::Result<()> {
    for n in 0..MOST {
        let mut rate = [0u32; 13];
        (rate[0], rate[1], rate[2], rate[3]) = (n, letters, width, height);
        if !ask(device, ENUM_INTERVAL, &mut rate)? {
            if n == 0 {
                found(0.0);
            }
            break;
        }
        let fps = |seconds: u32, of: u32| if seconds == 0 { 0.0 } else { f64::from(of) / f64::from(seconds) };
        if rate[4] == DISCRETE {
            found(fps(rate[5], rate[6]));
        } else {
            // The shortest interval, then the longest.
            let (most, least) = (fps(rate[5], rate[6]), fps(rate[7], rate[8]));
            found(f64::from(wish).min(most).max(least));
            break;
        }
    }
    Ok(())
}

/// The value nearest to `wish` that a range with steps allows.
fn fitted(wish: u32, least: u32, most: u32, step: u32) -> u32 {
    let wish = wish.clamp(least, most.max(least));
    wish - (wish - least) % step.max(1)
}

/// Asks one question; false when there is no such entry.
fn ask<const N: usize>(device: &File, request: u64, words: &mut [u32; N]) -> io::Result<bool> {
    // SAFETY: an open file, and room for exactly as many bytes as the request's number names.
    let code = unsafe { libc::ioctl(device.as_raw_fd(), request, words.as_mut_ptr()) };
    if code == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // Past the last entry, or a driver that does not answer this question.
        Some(libc::EINVAL | libc::ENOTTY) => Ok(false),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_questions_have_the_kernels_numbers() {
        assert_eq!(QUERY, 0x8068_5600);
        assert_eq!([ENUM_FORMAT, ENUM_SIZE, ENUM_INTERVAL], [0xc040_5602, 0xc02c_564a, 0xc034_564b]);
    }

    #[test]
    fn a_wish_is_fitted_into_a_range() {
        assert_eq!(fitted(1080, 16, 4096, 16), 1072);
        assert_eq!(fitted(1080, 16, 720, 1), 720);
        assert_eq!(fitted(10, 16, 720, 0), 16);
        assert_eq!(fitted(10, 16, 1, 1), 16, "a range that makes no sense");
    }

    #[test]
    fn what_is_no_camera_has_no_modes() {
        assert_eq!(modes("/dev/null", (1280, 720, 25)).expect("opened"), []);
        assert_eq!(name("/dev/null").expect("opened"), None);
        assert!(modes("/dev/video-of-nobody", (1280, 720, 25)).is_err());
    }
}
