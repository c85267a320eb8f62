//! A camera on this machine, by V4L2: of what it can do, the mode that suits the lesson best.

use std::cmp::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use lectern_wire::capture::CameraFormat;

use super::{Worker, decode};
use crate::av::{Input, Mode, camera_modes};

/// Up to this many pixels raw pictures fit through USB 2 at full rate and cost no decoding; above it a
/// camera that gives JPEG gives more pictures a second.
const RAW_UP_TO: u32 = 640 * 480;

/// Opens the camera and leaves every picture it sends. `wish` is width, height and rate of the lesson's picture.
pub(super) fn pump(
    worker: &Worker,
    device: &str,
    size: Option<(u32, u32)>,
    format: Option<CameraFormat>,
    wish: (u32, u32, u32),
) -> anyhow::Result<()> {
    worker.patience.renew(Duration::from_secs(5));
    let (width, height) = size.unwrap_or((wish.0, wish.1));
    let wish = (width, height, wish.2);
    let modes = camera_modes(device, wish).with_context(|| format!("the camera {device} is not there"))?;
    let mode = choose(&modes, format, wish);
    let mut options = vec![];
    let (size, rate);
    if let Some(mode) = mode {
        tracing::info!(camera = device, ?mode, "chosen of {} modes", modes.len());
        size = format!("{}x{}", mode.width, mode.height);
        options.extend([("input_format", mode.format), ("video_size", size.as_str())]);
        if mode.fps > 0.0 {
            rate = mode.fps.to_string();
            options.push(("framerate", rate.as_str()));
        }
    }
    let mut input = Input::open(Some("v4l2"), device, &options, worker.patience.clone())
        .with_context(|| format!("the camera {device} could not be opened"))?;
    decode::follow(worker, &mut input, device)
}

/// The mode that suits best: first one that is fast enough, then the size nearest to the wish (larger rather than
/// smaller), then JPEG or raw by size, then the rate nearest to the wish. None when the camera does not say.
fn choose(modes: &[Mode], format: Option<CameraFormat>, wish: (u32, u32, u32)) -> Option<Mode> {
    let wanted = |mode: &Mode| match format {
        None => true,
        Some(CameraFormat::Mjpeg) => mode.is_jpeg(),
        Some(CameraFormat::Raw) => !mode.is_jpeg(),
    };
    let best = |a: &&Mode, b: &&Mode| compare(**a, **b, wish);
    // A format the camera does not have is better replaced than refused: the lesson counts.
    modes.iter().filter(|m| wanted(m)).min_by(best).or_else(|| modes.iter().min_by(best)).copied()
}

/// Less is better.
fn compare(a: Mode, b: Mode, (width, height, fps): (u32, u32, u32)) -> Ordering {
    let fps = f64::from(fps);
    // Nine tenths: 23.98 will do for 25. At 15 movement suffers; below that it is a slide show.
    let slow = |m: Mode| match m.fps {
        f if f == 0.0 || f >= fps * 0.9 => 0,
        f if f >= fps.min(15.0) * 0.9 => 1,
        _ => 2,
    };
    let far = |m: Mode| {
        let (area, wished) = (u64::from(m.width) * u64::from(m.height), u64::from(width) * u64::from(height));
        let covers = m.width >= width && m.height >= height;
        (!covers, area.abs_diff(wished))
    };
    let clumsy = |m: Mode| m.is_jpeg() != (m.width * m.height > RAW_UP_TO);
    let off = |m: Mode| (m.fps + 0.01 < fps, (m.fps - fps).abs());
    (slow(a), far(a), clumsy(a))
        .cmp(&(slow(b), far(b), clumsy(b)))
        .then(off(a).partial_cmp(&off(b)).unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(format: &'static str, width: u32, height: u32, fps: f64) -> Mode {
        Mode { format, width, height, fps }
    }

    /// What `v4l2-ctl --list-formats-ext` says of a Logitech C920, shortened.
    fn c920() -> Vec<Mode> {
        vec![
            mode("yuyv422", 640, 480, 30.0),
            mode("yuyv422", 640, 480, 24.0),
            mode("yuyv422", 1280, 720, 10.0),
            mode("yuyv422", 1920, 1080, 5.0),
            mode("yuyv422", 2304, 1536, 2.0),
            mode("mjpeg", 640, 480, 30.0),
            mode("mjpeg", 1280, 720, 30.0),
            mode("mjpeg", 1280, 720, 24.0),
            mode("mjpeg", 1920, 1080, 30.0),
            mode("mjpeg", 1920, 1080, 24.0),
        ]
    }

    #[test]
    fn a_usb_camera_gives_jpeg_where_raw_would_be_slow() {
        let chosen = |w, h| choose(&c920(), None, (w, h, 25));
        assert_eq!(chosen(1920, 1080), Some(mode("mjpeg", 1920, 1080, 30.0)));
        assert_eq!(chosen(1280, 720), Some(mode("mjpeg", 1280, 720, 30.0)));
        assert_eq!(chosen(640, 480), Some(mode("yuyv422", 640, 480, 30.0)));
        assert_eq!(chosen(1024, 576), Some(mode("mjpeg", 1280, 720, 30.0)), "rather larger");
        assert_eq!(chosen(3840, 2160), Some(mode("mjpeg", 1920, 1080, 30.0)), "as large as it goes");
    }

    #[test]
    fn a_format_is_taken_when_it_is_asked_for_and_there() {
        let raw = choose(&c920(), Some(CameraFormat::Raw), (1920, 1080, 25));
        assert_eq!(raw, Some(mode("yuyv422", 640, 480, 30.0)), "fast before sharp");
        let only_raw = [mode("nv12", 1280, 720, 0.0)];
        assert_eq!(choose(&only_raw, Some(CameraFormat::Mjpeg), (1920, 1080, 25)), Some(only_raw[0]));
        assert_eq!(choose(&[], None, (1920, 1080, 25)), None);
    }

    #[test]
    fn the_lessons_own_rate_is_taken_where_there_is_one() {
        let hdmi = [mode("yuyv422", 1280, 720, 60.0), mode("yuyv422", 1280, 720, 25.0)];
        assert_eq!(choose(&hdmi, None, (1280, 720, 25)), Some(hdmi[1]));
        let slow = [mode("yuyv422", 1280, 720, 5.0), mode("yuyv422", 800, 600, 15.0)];
        assert_eq!(choose(&slow, None, (1280, 720, 25)), Some(slow[1]));
    }
}
