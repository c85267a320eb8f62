//! Composes the newest picture of each source onto the canvas, tick by tick.
//!
//! The canvas keeps its content from tick to tick, so a screen that stands still costs a
//! comparison and no conversion: in a lesson most ticks are like that.

use std::sync::Arc;

use anyhow::Context as _;
use ffmpeg_next::{format::Pixel, frame};
use lectern_wire::recorder::VideoSettings;

use crate::av::{Area, ScaleSource, Scaler};
use crate::card;
use crate::source::{Picture, Stamped};

/// Rows of the screen that are compared and converted together, when it needs no scaling.
const BAND: u32 = 40;

/// What stands in an area now.
#[derive(PartialEq, Eq, Clone, Copy)]
enum Shown {
    Nothing,
    Picture,
    Plate,
}

/// The canvas and how it is filled.
pub struct Composer {
    canvas: frame::Video,
    main: Pane,
    camera: Option<Pane>,
    last_screen: Option<Arc<Stamped>>,
}

struct Pane {
    area: Area,
    /// Where inside the area the picture stands, once its shape is known.
    fitted: Area,
    scaler: Option<Scaler>,
    shown: Shown,
}

impl Pane {
    fn new(area: Area) -> Self {
        Self { area, fitted: area, scaler: None, shown: Shown::Nothing }
    }

    fn plate(&mut self, canvas: &mut frame::Video) {
        if self.shown != Shown::Plate {
            card::plate(canvas, self.area);
            self.shown = Shown::Plate;
        }
    }
}

/// The even number at or below: chroma is halved both ways.
fn even_floor(n: u32) -> u32 {
    n & !1
}

/// The largest area of the picture's proportions inside `area`, centred.
fn fit(area: Area, width: u32, height: u32) -> Area {
    let (aw, ah) = (u64::from(area.width), u64::from(area.height));
    let (w, h) = (u64::from(width.max(1)), u64::from(height.max(1)));
    let (fw, fh) = if aw * h <= ah * w { (aw, aw * h / w) } else { (ah * w / h, ah) };
    // Within two pixels of the whole side is the whole side: no hairline borders.
    let even = |v: u64, whole: u32| match u32::try_from(v & !1).unwrap_or(whole) {
        v if whole - v <= 2 => whole,
        v => v.max(2),
    };
    let (fw, fh) = (even(fw, area.width), even(fh, area.height));
    Area {
        x: area.x + (even_floor((area.width - fw) / 2)),
        y: area.y + (even_floor((area.height - fh) / 2)),
        width: fw,
        height: fh,
    }
}

impl Composer {
    pub fn new(video: VideoSettings, with_camera: bool) -> Self {
        let mut canvas = frame::Video::new(Pixel::YUV420P, video.width, video.height);
        canvas.set_color_range(ffmpeg_next::color::Range::MPEG);
        canvas.set_color_space(ffmpeg_next::color::Space::BT709);
        let main = Area { x: 0, y: 0, width: video.width, height: video.height };
        // A quarter of the picture's width in the lower right corner, a fiftieth from the edges.
        let width = even_floor(video.width / 4);
        let height = even_floor(width * 9 / 16);
        let margin = even_floor(video.width / 50);
        let camera = Area {
            x: even_floor(video.width - width - margin),
            y: even_floor(video.height.saturating_sub(height + margin)),
            width,
            height,
        };
        Self {
            canvas,
            main: Pane::new(main),
            camera: with_camera.then(|| Pane::new(camera)),
            last_screen: None,
        }
    }

    /// The composed picture.
    pub fn canvas(&mut self) -> &mut frame::Video {
        &mut self.canvas
    }

    /// Draws the test card at a time of the take.
    pub fn card(&mut self, ms: u64) {
        if self.main.shown != Shown::Picture {
            card::background(&mut self.canvas);
            self.main.shown = Shown::Picture;
        }
        card::moving(&mut self.canvas, ms);
    }

    /// Draws the screen, or its plate when there is no fresh picture.
    pub fn screen(&mut self, newest: Option<Arc<Stamped>>) -> anyhow::Result<()> {
        let Some(newest) = newest else {
            self.last_screen = None;
            self.main.plate(&mut self.canvas);
            return Ok(());
        };
        let Picture::Raw(packet, shape) = &newest.picture else {
            return draw(&mut self.main, &mut self.canvas, &newest.picture);
        };
        let pixels = packet.data().context("a picture of the screen is empty")?;
        let row = shape.width as usize * 4;
        let fresh = self.main.shown != Shown::Picture;
        let before = self.last_screen.as_ref().filter(|_| !fresh).and_then(|last| match &last.picture {
            Picture::Raw(packet, before) if before == shape => packet.data(),
            _ => None,
        });
        let whole = (shape.width, shape.height) == (self.main.area.width, self.main.area.height);
        if !whole {
            if before != Some(pixels) {
                draw(&mut self.main, &mut self.canvas, &newest.picture)?;
            }
        } else {
            for top in (0..shape.height).step_by(BAND as usize) {
                let height = BAND.min(shape.height - top);
                let bytes = top as usize * row..(top + height) as usize * row;
                let band = pixels.get(bytes.clone()).context("a picture of the screen is cut short")?;
                if before.and_then(|b| b.get(bytes)) == Some(band) {
                    continue;
                }
                let to = (shape.width, height);
                if !self.main.scaler.as_ref().is_some_and(|s| s.fits(shape.format, shape.width, height, to)) {
                    self.main.scaler = Some(Scaler::new(shape.format, shape.width, height, to)?);
                }
                let area = Area { x: 0, y: top, width: shape.width, height };
                if let Some(scaler) = &mut self.main.scaler {
                    scaler.run(&ScaleSource::Packed(band, row), &mut self.canvas, area)?;
                }
            }
            self.main.shown = Shown::Picture;
        }
        self.last_screen = Some(newest);
        Ok(())
    }

    /// Draws the camera, or its plate when there is no fresh picture. After the screen: it stands on top.
    pub fn camera(&mut self, newest: Option<&Stamped>) -> anyhow::Result<()> {
        let Some(pane) = &mut self.camera else { return Ok(()) };
        // The screen may have drawn over this corner: always draw again.
        pane.shown = Shown::Nothing;
        match newest {
            Some(newest) => draw(pane, &mut self.canvas, &newest.picture),
            None => {
                pane.plate(&mut self.canvas);
                Ok(())
            }
        }
    }

    /// Whether nothing in the picture is brighter than near-black.
    pub fn is_black(&self) -> bool {
        let (width, height, stride) =
            (self.canvas.width() as usize, self.canvas.height() as usize, self.canvas.stride(0));
        let luma = self.canvas.data(0);
        (0..height)
            .step_by(8)
            .all(|y| luma[y * stride..y * stride + width].iter().step_by(8).all(|&l| l < 32))
    }
}

fn draw(pane: &mut Pane, canvas: &mut frame::Video, picture: &Picture) -> anyhow::Result<()> {
    let (format, width, height) = match picture {
        Picture::Raw(_, shape) => (shape.format, shape.width, shape.height),
        Picture::Frame(frame) => (frame.format(), frame.width(), frame.height()),
    };
    let fitted = fit(pane.area, width, height);
    let to = (fitted.width, fitted.height);
    if !pane.scaler.as_ref().is_some_and(|s| s.fits(format, width, height, to)) {
        pane.scaler = Some(Scaler::new(format, width, height, to)?);
        pane.shown = Shown::Nothing;
    }
    if pane.shown != Shown::Picture && fitted != pane.area {
        card::black(canvas, pane.area);
    }
    pane.fitted = fitted;
    if let Some(scaler) = &mut pane.scaler {
        match picture {
            Picture::Raw(packet, shape) => {
                let pixels = packet.data().context("a picture is empty")?;
                scaler.run(&ScaleSource::Packed(pixels, shape.width as usize * 4), canvas, fitted)?;
            }
            Picture::Frame(frame) => scaler.run(&ScaleSource::Frame(frame), canvas, fitted)?,
        }
    }
    pane.shown = Shown::Picture;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_keeps_its_proportions_inside_its_area() {
        let area = Area { x: 0, y: 0, width: 1920, height: 1080 };
        assert_eq!(fit(area, 1920, 1080), area);
        assert_eq!(fit(area, 1366, 768), area, "within two pixels of 16:9");
        assert_eq!(fit(area, 1024, 768), Area { x: 240, y: 0, width: 1440, height: 1080 });
        assert_eq!(fit(area, 1280, 1024).height, 1080);
        assert_eq!(fit(area, 4000, 1000), Area { x: 0, y: 300, width: 1920, height: 480 });
    }
}
