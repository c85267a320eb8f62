//! A clap: a white flash over the whole display and a click, at one instant. Measures how far apart
//! picture and sound are in a recording.
//!
//! How exact it is, by `lectern-world --claps 30` on a machine of two cores with little else to do: the X
//! server has drawn the flash 1 to 7 ms after the instant (median 2), a listener with 5 ms blocks gets the
//! click 0 to 6 ms after it (median 2.5). So a clap's two halves are within about 5 ms of each other. On a
//! busy machine single claps were up to 40 ms off: clap several times and take [`sound_late`], a median.
//! The ffmpeg command line is no judge of this figure: libav's PulseAudio stamps are up to 50 ms early in
//! the first 150 ms of a stream (then within 0.3 ms), and ffmpeg keeps the first one's error for the whole
//! recording.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lectern_base::clock;
use x11rb::connection::Connection as _;
use x11rb::protocol::xproto::{ConnectionExt as _, CreateWindowAux, WindowClass};
use x11rb::rust_connection::RustConnection;

use crate::grab::{self, RATE};
use crate::sound::{MICROPHONE, Sound};

/// How long the flash stays: several pictures of any frame rate we record at.
const FLASH: Duration = Duration::from_millis(240);

/// Hands over a display.
pub struct Clap {
    display: RustConnection,
    window: u32,
}

/// A clap that happened.
#[derive(Debug, Clone, Copy)]
pub struct Clapped {
    /// Monotonic time of it.
    pub at: Duration,
    /// Unix milliseconds of it.
    pub wall_ms: i64,
    /// From the instant meant for it until the X server had drawn the flash. Large on a busy machine:
    /// then this clap is not to be trusted.
    pub drawn_after: Duration,
}

/// A clap found in a recording. Seconds from its start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// First picture that shows the flash.
    pub flash_s: f64,
    /// The picture before it, which does not.
    pub before_s: f64,
    /// First sample of the click.
    pub click_s: f64,
}

impl Found {
    /// How much later the sound is than the picture, seconds. The flash happened somewhere between two
    /// pictures; its middle is taken, so one clap is only known to half a picture's time.
    #[must_use]
    pub fn sound_late_s(&self) -> f64 {
        self.click_s - f64::midpoint(self.before_s, self.flash_s)
    }
}

impl Clap {
    /// Prepares a white window that covers the display.
    ///
    /// # Errors
    /// When the display does not answer.
    pub fn on(display: &str) -> anyhow::Result<Self> {
        let (connection, screen) =
            x11rb::connect(Some(display)).with_context(|| format!("no display {display}"))?;
        let root = connection.setup().roots.get(screen).context("a display without a screen")?;
        let window = connection.generate_id()?;
        // override_redirect: no window manager may move, delay or animate it.
        let look = CreateWindowAux::new().override_redirect(1).background_pixel(root.white_pixel);
        connection
            .create_window(
                x11rb::COPY_DEPTH_FROM_PARENT,
                window,
                root.root,
                0,
                0,
                root.width_in_pixels,
                root.height_in_pixels,
                0,
                WindowClass::INPUT_OUTPUT,
                x11rb::COPY_FROM_PARENT,
                &look,
            )?
            .check()?;
        Ok(Self { display: connection, window })
    }

    /// Claps once, a quarter of a second from now; returns when the flash is over.
    ///
    /// # Errors
    /// When the display does not answer.
    pub fn clap(&self, sound: &Sound) -> anyhow::Result<Clapped> {
        let heard = sound.click_at(clock::mono() + Duration::from_millis(250));
        std::thread::sleep(heard.at.saturating_sub(clock::mono()));
        self.display.map_window(self.window)?;
        // An answer to a later request: the server has drawn the window.
        self.display.get_input_focus()?.reply()?;
        let drawn_after = clock::mono().saturating_sub(heard.at);
        std::thread::sleep(FLASH);
        self.display.unmap_window(self.window)?;
        self.display.get_input_focus()?.reply()?;
        Ok(Clapped { at: heard.at, wall_ms: heard.wall_ms, drawn_after })
    }
}

/// Finds the claps in a recording, in order: each flash with the click nearest to it within half a second.
/// Nobody may speak meanwhile, and the screen must fill most of the picture.
///
/// # Errors
/// When the recording cannot be decoded or a flash has no click.
pub fn find(recording: &Path) -> anyhow::Result<Vec<Found>> {
    let (found, silent) = find_all(recording)?;
    ensure!(silent.is_empty(), "flashes without a click, at seconds {silent:.3?}");
    Ok(found)
}

/// As [`find`], with the seconds of the flashes that have no click beside them: on a machine that is so busy
/// that the room's own sound is late, a click may be missing that no recorder lost.
///
/// # Errors
/// When the recording cannot be decoded.
pub fn find_all(recording: &Path) -> anyhow::Result<(Vec<Found>, Vec<f64>)> {
    let clicks = clicks(&grab::sound(recording)?);
    let (mut found, mut silent) = (Vec::new(), Vec::new());
    for (before_s, flash_s) in flashes(&grab::lights(recording)?) {
        let distance = |click: f64| (click - flash_s).abs();
        let nearest = clicks.iter().copied().min_by(|a, b| distance(*a).total_cmp(&distance(*b)));
        match nearest.filter(|click| distance(*click) < 0.5) {
            Some(click_s) => found.push(Found { flash_s, before_s, click_s }),
            None => silent.push(flash_s),
        }
    }
    Ok((found, silent))
}

/// The median of [`Found::sound_late_s`] and the median distance from it, seconds. One clap is known to half
/// a picture's time; the median of n that fall on all phases of the picture clock to about its nth part.
///
/// # Errors
/// When there are fewer than three claps.
pub fn sound_late(claps: &[Found]) -> anyhow::Result<(f64, f64)> {
    ensure!(claps.len() > 2, "{} claps were found", claps.len());
    let late = median(claps.iter().map(Found::sound_late_s).collect());
    Ok((late, median(claps.iter().map(|clap| (clap.sound_late_s() - late).abs()).collect())))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Listens to the microphone with 5 ms blocks and says when clicks arrived, in monotonic time: a second
/// opinion on when a click is heard, without any recorder's clock. A little late by its nature, never early.
///
/// # Errors
/// When the microphone cannot be opened.
pub fn listen(sound: &Sound, length: Duration) -> anyhow::Result<Vec<Duration>> {
    let mut parec = Command::new("parec");
    let options = "--raw --rate=48000 --channels=1 --format=s16le --latency-msec=5 --device";
    parec.args(options.split(' ')).arg(MICROPHONE).envs(sound.env());
    let mut parec = parec.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut pipe = parec.stdout.take().context("no pipe")?;
    let (until, mut block) = (clock::mono() + length, [0; 4096]);
    let mut heard: Vec<Duration> = Vec::new();
    while clock::mono() < until {
        let bytes = pipe.read(&mut block)?;
        let now = clock::mono();
        let samples = grab::samples(block.get(..bytes).unwrap_or_default());
        if samples.is_empty() {
            break;
        }
        if let Some(loud) = samples.iter().position(|s| s.abs() > 0.45) {
            let at = now.saturating_sub(Duration::from_secs((samples.len() - loud) as u64) / RATE);
            if heard.last().is_none_or(|last| at > *last + Duration::from_millis(100)) {
                heard.push(at);
            }
        }
    }
    parec.kill().ok();
    parec.wait()?;
    Ok(heard)
}

/// Pictures that are white after one that is not: both times.
fn flashes(lights: &[(f64, f64)]) -> Vec<(f64, f64)> {
    lights
        .array_windows()
        .filter(|[(_, before), (_, light)]| *light > 247.0 && *before <= 247.0)
        .map(|[(before_s, _), (flash_s, _)]| (*before_s, *flash_s))
        .collect()
}

/// Loud samples after a tenth of a second without any.
fn clicks(sound: &[f32]) -> Vec<f64> {
    let mut last = f64::NEG_INFINITY;
    let mut found = Vec::new();
    for (n, _) in sound.iter().enumerate().filter(|(_, s)| s.abs() > 0.45) {
        let at = n as f64 / f64::from(RATE);
        if at - last > 0.1 {
            found.push(at);
        }
        last = at;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flash_is_the_first_white_picture_only() {
        let lights = [(0.0, 200.0), (0.04, 255.0), (0.08, 255.0), (0.12, 200.0), (0.16, 254.0)];
        assert_eq!(flashes(&lights), [(0.0, 0.04), (0.12, 0.16)]);
        assert!(flashes(&[]).is_empty());
    }

    #[test]
    fn a_click_is_its_first_loud_sample_and_a_word_is_none() {
        let mut sound = vec![0.3_f32; 48_000];
        for sample in &mut sound[24_000..24_960] {
            *sample = -0.9;
        }
        assert_eq!(clicks(&sound), [0.5]);
    }
}
