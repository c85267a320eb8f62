//! Composes the newest picture of each source onto the canvas, tick by tick.
//!
//! The canvas keeps its content from tick to tick, so a screen that stands still costs a
//! comparison and no conversion: in a lesson most ticks are like that.

use std::sync::Arc;

use anyhow::Context as _;
use ffmpeg_next::{format::Pixel, frame};
use lectern_wire::capture::{Layout, VideoSettings};

use crate::av::{Area, Raw, ScaleSource, Scaler};
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
    layout: Layout,
    screen: Option<Pane>,
    cameras: Vec<Pane>,
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

/// Where the screen and the cameras stand in a layout.
fn areas(layout: Layout, width: u32, height: u32) -> (Option<Area>, Vec<Area>) {
    let whole = Area { x: 0, y: 0, width, height };
    // A quarter of the picture's width in the lower right corner, a fiftieth from the edges.
    let (small, margin) = (even_floor(width / 4), even_floor(width / 50));
    let small_height = even_floor(small * 9 / 16);
    let corner = Area {
        x: even_floor(width - small - margin),
        y: even_floor(height.saturating_sub(small_height + margin)),
        width: small,
        height: small_height,
    };
    let left_two_thirds = even_floor(width * 2 / 3);
    let half = even_floor(width / 2);
    let column = |x: u32, width: u32| Area { x, y: 0, width, height };
    match layout {
        Layout::Screen => (Some(whole), vec![]),
        Layout::ScreenCamera => (Some(whole), vec![corner]),
        Layout::SideBySide => (
            Some(column(0, left_two_thirds)),
            vec![column(left_two_thirds, even_floor(width - left_two_thirds))],
        ),
        Layout::Camera => (None, vec![whole]),
        Layout::TwoCameras => (None, vec![column(0, half), column(half, even_floor(width - half))]),
    }
}

impl Composer {
    pub fn new(video: VideoSettings, layout: Layout) -> Self {
        let mut canvas = frame::Video::new(Pixel::YUV420P, video.width, video.height);
        canvas.set_color_range(ffmpeg_next::color::Range::MPEG);
        canvas.set_color_space(ffmpeg_next::color::Space::BT709);
        let mut composer = Self { canvas, layout, screen: None, cameras: vec![], last_screen: None };
        composer.set_layout(layout);
        composer
    }

    /// Composes in another way from now on.
    pub fn set_layout(&mut self, layout: Layout) {
        let (width, height) = (self.canvas.width(), self.canvas.height());
        let (screen, cameras) = areas(layout, width, height);
        self.layout = layout;
        self.screen = screen.map(Pane::new);
        self.cameras = cameras.into_iter().map(Pane::new).collect();
        self.last_screen = None;
        card::black(&mut self.canvas, Area { x: 0, y: 0, width, height });
    }

    /// How the picture is composed now.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The composed picture.
    pub fn canvas(&mut self) -> &mut frame::Video {
        &mut self.canvas
    }

    /// Draws the test card at a time of the take. A card is made for the whole picture; a layout that gives it less
    /// shows what the panes beside it leave.
    pub fn card(&mut self, ms: u64) {
        let Some(pane) = &mut self.screen else { return };
        if pane.shown != Shown::Picture {
            card::background(&mut self.canvas);
            pane.shown = Shown::Picture;
        }
        card::moving(&mut self.canvas, ms);
    }

    /// Draws the screen, or its plate when there is no fresh picture.
    pub fn screen(&mut self, newest: Option<Arc<Stamped>>) -> anyhow::Result<()> {
        let Some(pane) = &mut self.screen else { return Ok(()) };
        let Some(newest) = newest else {
            self.last_screen = None;
            pane.plate(&mut self.canvas);
            return Ok(());
        };
        let Picture::Raw(packet, shape) = &*newest.picture else {
            return draw(pane, &mut self.canvas, &newest.picture);
        };
        let fresh = pane.shown != Shown::Picture;
        if !fresh && self.last_screen.as_ref().is_some_and(|last| Arc::ptr_eq(&last.picture, &newest.picture))
        {
            return Ok(());
        }
        let pixels = packet.data().context("a picture of the screen is empty")?;
        let before = self.last_screen.as_ref().filter(|_| !fresh).and_then(|last| match &*last.picture {
            Picture::Raw(packet, before) if before == shape => packet.data(),
            _ => None,
        });
        if (shape.width, shape.height) == (pane.area.width, pane.area.height) {
            draw_bands(pane, &mut self.canvas, *shape, pixels, before)?;
        } else if before != Some(pixels) {
            draw(pane, &mut self.canvas, &newest.picture)?;
        }
        self.last_screen = Some(newest);
        Ok(())
    }

    /// Draws camera `n`, or its plate when there is no fresh picture; nothing where the layout has no place for it.
    /// After the screen: it may stand on top.
    pub fn camera(&mut self, n: usize, newest: Option<&Stamped>) -> anyhow::Result<()> {
        let Some(pane) = self.cameras.get_mut(n) else { return Ok(()) };
        // The screen may have drawn over this corner: always draw again.
        if self.layout == Layout::ScreenCamera {
            pane.shown = Shown::Nothing;
        }
        match newest {
            Some(newest) => draw(pane, &mut self.canvas, &newest.picture),
            None => {
                pane.plate(&mut self.canvas);
                Ok(())
            }
        }
    }

    /// Whether the picture is near-black but for a few points, such as a mouse pointer's: looks at every eighth
    /// pixel of every eighth row.
    pub fn is_black(&self) -> bool {
        let (width, height, stride) =
            (self.canvas.width() as usize, self.canvas.height() as usize, self.canvas.stride(0));
        let luma = self.canvas.data(0);
        let rows = || (0..height).step_by(8).map(|y| luma[y * stride..y * stride + width].iter().step_by(8));
        let lit = rows().flatten().filter(|&&l| l >= 32).count();
        lit <= rows().flatten().count() / 1000
    }
}

/// Converts only the bands of rows that differ from the picture before, which has the same shape.
fn draw_bands(
    pane: &mut Pane,
    canvas: &mut frame::Video,
    shape: Raw,
    pixels: &[u8],
    before: Option<&[u8]>,
) -> anyhow::Result<()> {
    let row = shape.width as usize * 4;
    for top in (0..shape.height).step_by(BAND as usize) {
        let height = BAND.min(shape.height - top);
        let bytes = top as usize * row..(top + height) as usize * row;
        let band = pixels.get(bytes.clone()).context("a picture of the screen is cut short")?;
        if before.and_then(|b| b.get(bytes)) == Some(band) {
            continue;
        }
        let to = (shape.width, height);
        if !pane.scaler.as_ref().is_some_and(|s| s.fits(shape.format, shape.width, height, to)) {
            pane.scaler = Some(Scaler::new(shape.format, shape.width, height, to)?);
        }
        let area = Area { x: pane.area.x, y: pane.area.y + top, width: shape.width, height };
        if let Some(scaler) = &mut pane.scaler {
            scaler.run(&ScaleSource::Packed(band, row), canvas, area)?;
        }
    }
    pane.shown = Shown::Picture;
    Ok(())
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
    fn every_layout_stays_inside_the_picture_on_even_edges() {
        for (width, height) in [(1920, 1080), (1280, 720), (640, 480)] {
            for (layout, name) in Layout::NAMES {
                let (screen, cameras) = areas(layout, width, height);
                assert_eq!((usize::from(screen.is_some()), cameras.len()), layout.shows(), "{name}");
                for a in screen.iter().chain(&cameras) {
                    assert!(a.x + a.width <= width && a.y + a.height <= height, "{name}: {a:?}");
                    assert_eq!((a.x | a.y | a.width | a.height) % 2, 0, "{name}: {a:?}");
                }
            }
        }
    }

    #[test]
    fn a_black_picture_with_a_pointer_is_black_and_one_with_a_line_of_text_is_not() {
        crate::av::start();
        let settings =
            VideoSettings { width: 1280, height: 720, fps: 25, max_kbps: 400, gop_s: 2, encoder: None };
        let mut composer = Composer::new(settings, Layout::Screen);
        let stride = composer.canvas.stride(0);
        composer.canvas.data_mut(0).fill(16);
        let mut light = |width: usize, height: usize| {
            for y in 0..height {
                composer.canvas.data_mut(0)[y * stride..y * stride + width].fill(235);
            }
            composer.is_black()
        };
        assert!(light(0, 0));
        assert!(light(24, 24), "a pointer");
        assert!(!light(1280, 24), "a line of text");
    }

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
