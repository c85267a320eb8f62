//! The take's picture: composed from the sources, encoded, and shown as a small preview.

use std::time::Duration;

use lectern_base::clock;
use lectern_wire::recorder::{CaptureSettings, Layout, SourceKind, VideoSettings};

use crate::compose::Composer;
use crate::encode::{Jpeg, Packets, Video};
use crate::gaps::{OPENING, STALE, Tracked};
use crate::ticks::Ticks;

/// Composes and encodes.
pub struct Picture {
    settings: VideoSettings,
    composer: Composer,
    video: Video,
    jpeg: Option<Jpeg>,
}

impl Picture {
    pub fn new(capture: &CaptureSettings) -> anyhow::Result<Self> {
        let settings = capture.video;
        let composer = Composer::new(settings, capture.layout);
        Ok(Self { settings, composer, video: Video::new(settings)?, jpeg: None })
    }

    /// The encoder.
    pub fn encoder(&self) -> &Video {
        &self.video
    }

    /// How it is composed now.
    pub fn layout(&self) -> Layout {
        self.composer.layout()
    }

    /// Composes in another way from now on.
    pub fn set_layout(&mut self, layout: Layout) {
        self.composer.set_layout(layout);
    }

    /// Whether nothing in it is brighter than near-black.
    pub fn is_black(&self) -> bool {
        self.composer.is_black()
    }

    /// Makes the picture of a tick.
    pub fn make(
        &mut self,
        sources: &[Tracked],
        ticks: &Ticks,
        tick: i64,
        key: bool,
        to: &mut dyn Packets,
    ) -> anyhow::Result<()> {
        self.compose(sources, ticks, tick)?;
        self.video.encode(self.composer.canvas(), tick, key, to)
    }

    fn compose(&mut self, sources: &[Tracked], ticks: &Ticks, tick: i64) -> anyhow::Result<()> {
        let now = clock::mono();
        let fresh = |at: Duration| now.saturating_sub(at) < STALE;
        for source in sources {
            let newest = || source.running.outlet.newest().filter(|p| fresh(p.at));
            match source.running.kind {
                SourceKind::Test => self.composer.card(ticks.clock_ms(tick)),
                SourceKind::Screen { .. } => self.composer.screen(newest())?,
                _ => {}
            }
        }
        for (n, source) in sources.iter().filter(|s| s.running.kind.is_camera()).enumerate() {
            let newest = source.running.outlet.newest();
            if newest.is_none() && now.saturating_sub(ticks.start()) < OPENING {
                continue;
            }
            self.composer.camera(n, newest.filter(|p| fresh(p.at)).as_deref())?;
        }
        Ok(())
    }

    /// Hands on what the encoder still holds.
    pub fn end(&mut self, to: &mut dyn Packets) -> anyhow::Result<()> {
        self.video.end(to)
    }

    /// A small JPEG of it.
    pub fn preview(&mut self) -> anyhow::Result<Vec<u8>> {
        let jpeg = match &mut self.jpeg {
            Some(jpeg) => jpeg,
            none => none.insert(Jpeg::new(self.settings)?),
        };
        jpeg.encode(self.composer.canvas())
    }
}
