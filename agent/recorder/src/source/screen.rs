//! The screen of an X11 display, by libav's x11grab.

use std::time::Duration;

use anyhow::{Context as _, bail};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::media::Type;
use lectern_base::clock;

use super::{Picture, Worker};
use crate::av::Input;

/// Opens the display and leaves one picture per tick of the take's clock.
pub(super) fn pump(worker: &Worker, x_display: &str) -> anyhow::Result<()> {
    worker.patience.renew(Duration::from_secs(5));
    // x11grab would pace itself by its own clock; asked for more pictures than we take, it never waits.
    let options = [("framerate", "120"), ("draw_mouse", "1")];
    let mut input = Input::open(Some("x11grab"), x_display, &options, worker.patience.clone())
        .with_context(|| format!("the screen {x_display} could not be opened"))?;
    let (_, parameters) = input.stream(Type::Video).context("the screen has no picture")?;
    let shape = input.raw(&parameters);
    if !matches!(shape.format, Pixel::BGRZ | Pixel::BGRA | Pixel::RGBZ | Pixel::ZBGR | Pixel::ZRGB) {
        bail!("the screen's pixels ({:?}) are not 24 or 32 bits deep", shape.format);
    }
    tracing::info!(screen = x_display, width = shape.width, height = shape.height, "screen open");
    while !worker.patience.ended() {
        worker.metronome.wait_for_next();
        let packet =
            input.read(Duration::from_secs(2)).with_context(|| format!("the screen {x_display} was lost"))?;
        worker.outlet.publish(Picture::Raw(packet, shape), clock::mono());
    }
    Ok(())
}
