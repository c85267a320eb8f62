//! What a display, a camera or a recording shows and says, read with the ffmpeg command line: on purpose
//! not with Lectern's own code.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lectern_base::clock;

use crate::folder::Folder;
use crate::process::{Process, eventually, output};
use crate::screen::Screen;
use crate::sound::{MICROPHONE, Sound};

/// Samples per second of everything in this module.
pub const RATE: u32 = 48_000;

/// A grey picture.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Pixels from left to right.
    pub width: usize,
    /// Pixels from top to bottom.
    pub height: usize,
    /// Lightness 0..=255, row by row.
    pub gray: Vec<u8>,
}

impl Frame {
    /// One picture of an X11 display.
    ///
    /// # Errors
    /// When the display cannot be grabbed.
    pub fn of_display(display: &str) -> anyhow::Result<Self> {
        Self::of(&["-f", "x11grab", "-draw_mouse", "0", "-i", display])
    }

    /// One picture of a network camera.
    ///
    /// # Errors
    /// When the camera sends none within 10 s.
    pub fn of_camera(url: &str) -> anyhow::Result<Self> {
        Self::of(&["-rtsp_transport", "tcp", "-timeout", "10000000", "-i", url])
    }

    /// The picture of a recording that is shown `at` this time from its start.
    ///
    /// # Errors
    /// When there is none.
    pub fn of_file(path: &Path, at: Duration) -> anyhow::Result<Self> {
        let at = format!("{:.3}", at.as_secs_f64());
        let path = path.to_str().context("a path that is no text")?;
        Self::of(&["-ss", &at, "-i", path])
    }

    fn of(input: &[&str]) -> anyhow::Result<Self> {
        let mut ffmpeg = ffmpeg();
        ffmpeg.args(input).args("-frames:v 1 -pix_fmt gray -c:v pgm -f image2pipe -".split(' '));
        Self::parse(&output(ffmpeg)?)
    }

    /// A binary PGM file: `P5 width height 255` and the pixels.
    fn parse(pgm: &[u8]) -> anyhow::Result<Self> {
        let mut words = pgm.splitn(5, u8::is_ascii_whitespace);
        let mut word = || words.next().context("no picture came");
        ensure!(word()? == b"P5", "not a grey picture");
        let mut number = || anyhow::Ok(std::str::from_utf8(word()?)?.parse::<usize>()?);
        let (width, height, _most) = (number()?, number()?, number()?);
        let gray = words.next().unwrap_or_default().to_vec();
        ensure!(gray.len() == width * height && width * height > 0, "a picture cut short");
        Ok(Self { width, height, gray })
    }

    /// Lightness around a place given as fractions of width and height; none outside the picture.
    #[must_use]
    pub fn light(&self, x: f64, y: f64) -> Option<u8> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a pixel in 0..size")]
        let place = |part: f64, size: usize| {
            let size = f64::from(u32::try_from(size).ok()?);
            (0.0..1.0).contains(&part).then_some((part * size) as usize)
        };
        let (x, y) = (place(x, self.width)?, place(y, self.height)?);
        let around = |at: usize, size: usize| at.saturating_sub(1)..(at + 2).min(size);
        let mut sum = 0_usize;
        let mut count = 0_usize;
        for row in around(y, self.height) {
            for column in around(x, self.width) {
                sum += usize::from(*self.gray.get(row * self.width + column)?);
                count += 1;
            }
        }
        u8::try_from(sum / count).ok()
    }

    /// Lightness of the whole picture.
    #[must_use]
    pub fn mean(&self) -> u8 {
        let sum: u64 = self.gray.iter().map(|&light| u64::from(light)).sum();
        u8::try_from(sum / (self.gray.len() as u64).max(1)).unwrap_or(u8::MAX)
    }

    /// Whether nothing can be seen on it: one plain colour, black included.
    #[must_use]
    pub fn plain(&self) -> bool {
        let (least, most) =
            self.gray.iter().fold((u8::MAX, 0), |(least, most), &light| (light.min(least), light.max(most)));
        most.saturating_sub(least) < 16
    }
}

fn ffmpeg() -> Command {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-hide_banner", "-nostdin", "-loglevel", "error", "-y"]);
    ffmpeg
}

/// One picture of an X11 display as a PNG file.
///
/// # Errors
/// When the display cannot be grabbed or the file not written.
pub fn save_display(display: &str, png: &Path) -> anyhow::Result<()> {
    let mut ffmpeg = ffmpeg();
    ffmpeg.args(["-f", "x11grab", "-draw_mouse", "0", "-i", display, "-frames:v", "1"]).arg(png);
    output(ffmpeg).map(drop)
}

/// A recording of a display and a PulseAudio source by ffmpeg, without loss: what Lectern's own recording
/// is compared with, and how the world measures itself. Picture and sound keep the wall clock's distance.
#[derive(Debug)]
pub struct Recording {
    ffmpeg: Process,
    file: PathBuf,
}

impl Recording {
    /// Starts it; returns when both picture and sound arrive.
    ///
    /// # Errors
    /// When either cannot be opened.
    pub fn start(folder: &Folder, screen: &Screen, sound: &Sound, fps: u32) -> anyhow::Result<Self> {
        let file = folder.join(&format!("recording-{}.mkv", clock::wall_us()));
        let mut ffmpeg = ffmpeg();
        // Both devices stamp with the wall clock; -copyts keeps that. Without it ffmpeg starts each input at
        // zero, and sound and picture are as far apart as their devices took to open: up to half a second.
        ffmpeg
            .args(["-copyts", "-thread_queue_size", "512", "-f", "pulse"])
            .args(["-server", sound.server_address(), "-fragment_size", "1920", "-i", MICROPHONE])
            .args(["-thread_queue_size", "512", "-f", "x11grab", "-draw_mouse", "0"])
            .args(["-framerate", &fps.to_string(), "-i", screen.display(), "-map", "1:v", "-map", "0:a"])
            .args(["-vf", "scale=320:180:flags=area", "-pix_fmt", "gray", "-fps_mode", "passthrough"])
            .args(["-c:v", "ffv1", "-c:a", "pcm_s16le", "-flush_packets", "1"])
            .args(["-output_ts_offset", &format!("{}us", -clock::wall_us())])
            .arg(&file);
        let mut ffmpeg = Process::start(folder, "recording", ffmpeg)?;
        // The header alone is far smaller.
        let begun = || std::fs::metadata(&file).is_ok_and(|meta| meta.len() > 100_000);
        eventually(Duration::from_secs(60), "the recording", || match ffmpeg.must_run() {
            Ok(()) => begun().then_some(Ok(())),
            Err(e) => Some(Err(e)),
        })??;
        Ok(Self { ffmpeg, file })
    }

    /// Ends it and returns the file.
    #[must_use]
    pub fn finish(mut self) -> PathBuf {
        // The last blocks are still on their way through ffmpeg's queues.
        std::thread::sleep(Duration::from_millis(500));
        self.ffmpeg.stop();
        self.file
    }
}

/// A recording's pictures: the second each is shown and how light it is, 0 to 255.
///
/// # Errors
/// When it cannot be decoded.
pub fn lights(path: &Path) -> anyhow::Result<Vec<(f64, f64)>> {
    let mut ffmpeg = ffmpeg();
    ffmpeg.arg("-copyts").arg("-i").arg(path).args([
        "-map",
        "0:v:0",
        "-vf",
        "scale=32:18:flags=area,format=gray,signalstats,metadata=print:key=lavfi.signalstats.YAVG:file=-",
        "-fps_mode",
        "passthrough",
        "-f",
        "null",
        "/dev/null",
    ]);
    let text = String::from_utf8_lossy(&output(ffmpeg)?).into_owned();
    let after =
        |line: &str, key: &str| line.split(key).nth(1)?.split_whitespace().next()?.parse::<f64>().ok();
    let mut lights = Vec::new();
    let mut time = None;
    for line in text.lines() {
        time = after(line, "pts_time:").or(time);
        if let (Some(light), Some(time)) = (after(line, "YAVG="), time) {
            lights.push((time, light));
        }
    }
    Ok(lights)
}

/// A recording's sound: one channel, [`RATE`] samples a second, −1 to 1; sample 0 is at second 0, holes are
/// silent.
///
/// # Errors
/// When it cannot be decoded.
pub fn sound(path: &Path) -> anyhow::Result<Vec<f32>> {
    let mut ffmpeg = ffmpeg();
    ffmpeg
        .arg("-copyts")
        .arg("-i")
        .arg(path)
        .args(["-map", "0:a:0", "-af", "aresample=48000:async=1:first_pts=0", "-ac", "1"])
        .args(["-f", "s16le", "-c:a", "pcm_s16le", "-"]);
    Ok(samples(&output(ffmpeg)?))
}

/// Signed 16-bit little-endian samples as numbers from −1 to 1.
#[must_use]
pub fn samples(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<2>().0.iter().map(|pair| f32::from(i16::from_le_bytes(*pair)) / 32768.0).collect()
}

/// The part of [`sound`] between two seconds; what lies outside is left out.
#[must_use]
pub fn between(sound: &[f32], from_s: f64, to_s: f64) -> &[f32] {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped by min")]
    let index = |s: f64| ((s.max(0.0) * f64::from(RATE)) as usize).min(sound.len());
    sound.get(index(from_s)..index(to_s)).unwrap_or_default()
}

/// Root mean square in dB below full scale; −120 for digital silence.
#[must_use]
pub fn loudness(sound: &[f32]) -> f64 {
    let square: f64 = sound.iter().map(|&s| f64::from(s).powi(2)).sum();
    let mean = square / f64::from(u32::try_from(sound.len()).unwrap_or(u32::MAX).max(1));
    (10.0 * mean.max(1e-12).log10()).max(-120.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grey_picture_is_parsed_even_when_its_pixels_look_like_spaces() {
        let frame = Frame::parse(b"P5\n2 3\n255\n\n \n ab").unwrap();
        assert_eq!((frame.width, frame.height), (2, 3));
        assert_eq!(frame.gray, b"\n \n ab");
        assert!(Frame::parse(b"P5\n2 3\n255\nab").is_err());
        assert!(Frame::parse(b"").is_err());
    }

    #[test]
    fn loudness_is_in_decibels_below_full_scale() {
        assert!((loudness(&[1.0, -1.0]) - 0.0).abs() < 0.01);
        assert!((loudness(&[0.1, -0.1]) + 20.0).abs() < 0.01);
        assert!((loudness(&[0.0; 10]) + 120.0).abs() < 0.01);
        assert!((loudness(&[]) + 120.0).abs() < 0.01);
    }

    #[test]
    fn a_stretch_outside_the_sound_is_empty() {
        let sound = vec![0.5; 480];
        assert_eq!(between(&sound, 0.0, 0.005).len(), 240);
        assert_eq!(between(&sound, 5.0, 6.0).len(), 0);
    }
}
