//! The take's picture: composed from the sources and encoded, or copied from a camera; and a small preview of it.

use std::time::Duration;

use ffmpeg_next::codec::Parameters;
use lectern_base::clock;
use lectern_wire::capture::{CaptureSettings, Layout, SourceKind, VideoSettings};

use crate::compose::Composer;
use crate::copy::Copied;
use crate::encode::{Jpeg, Packets, Video};
use crate::gaps::Tracked;
use crate::ticks::Ticks;

/// Where the picture comes from.
pub enum Picture {
    /// Composed of all sources and encoded.
    Composed(Box<Composed>),
    /// A camera's own, as it came.
    Copied(Box<Copied>),
}

impl Picture {
    /// As the settings ask for; a camera whose pictures cannot be copied is decoded and encoded as any other.
    pub fn new(capture: &CaptureSettings, sources: &[Tracked]) -> anyhow::Result<Self> {
        if capture.copy_camera {
            match Copied::new(sources, capture.video) {
                Ok(copied) => return Ok(Self::Copied(Box::new(copied))),
                Err(e) => tracing::warn!("the camera's pictures are encoded, not copied: {e:#}"),
            }
            sources.iter().for_each(|source| source.running.outlet.wire.want(false));
        }
        Ok(Self::Composed(Box::new(Composed::new(capture)?)))
    }

    /// What a decoder must know.
    pub fn parameters(&self) -> Parameters {
        match self {
            Self::Composed(composed) => composed.video.parameters(),
            Self::Copied(copied) => copied.parameters(),
        }
    }

    /// What encodes it.
    pub fn encoder(&self) -> &'static str {
        match self {
            Self::Composed(composed) => composed.video.kind().name(),
            Self::Copied(_) => "copy",
        }
    }

    /// How it is composed now.
    pub fn layout(&self) -> Layout {
        match self {
            Self::Composed(composed) => composed.composer.layout(),
            Self::Copied(_) => Layout::Camera,
        }
    }

    /// Composes in another way from now on; false when it cannot.
    pub fn set_layout(&mut self, layout: Layout) -> bool {
        match self {
            Self::Composed(composed) => composed.composer.set_layout(layout),
            Self::Copied(_) => return layout == Layout::Camera,
        }
        true
    }

    /// Whether nothing in it is brighter than near-black; never known of a copied one.
    pub fn is_black(&self) -> bool {
        matches!(self, Self::Composed(composed) if composed.composer.is_black())
    }

    /// When the clock of a take is to begin: now, or with the key frame that has to be its first picture.
    pub fn first_at(&self, sources: &[Tracked]) -> Duration {
        match self {
            Self::Composed(_) => clock::mono(),
            Self::Copied(copied) => copied.first_at(sources),
        }
    }

    /// Makes the picture of a tick; of a copied one, hands on what has arrived.
    pub fn make(
        &mut self,
        sources: &mut [Tracked],
        ticks: &Ticks,
        tick: i64,
        key: bool,
        to: &mut dyn Packets,
    ) -> anyhow::Result<()> {
        match self {
            Self::Composed(composed) => composed.make(sources, ticks, tick, key, to),
            Self::Copied(copied) => copied.make(sources, ticks, to),
        }
    }

    /// What is shown now is not kept.
    pub fn forget(&mut self, sources: &[Tracked]) {
        if let Self::Copied(copied) = self {
            copied.forget(sources);
        }
    }

    /// Hands on what the encoder still holds.
    pub fn end(&mut self, to: &mut dyn Packets) -> anyhow::Result<()> {
        match self {
            Self::Composed(composed) => composed.video.end(to),
            Self::Copied(_) => Ok(()),
        }
    }

    /// A small JPEG of it.
    pub fn preview(&mut self) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Composed(composed) => composed.preview(),
            Self::Copied(copied) => copied.preview(),
        }
    }
}

/// Composes and encodes.
pub struct Composed {
    settings: VideoSettings,
    composer: Composer,
    video: Video,
    jpeg: Option<Jpeg>,
}

impl Composed {
    fn new(capture: &CaptureSettings) -> anyhow::Result<Self> {
        let settings = capture.video;
        let composer = Composer::new(settings, capture.layout);
        Ok(Self { settings, composer, video: Video::new(settings)?, jpeg: None })
    }

    fn make(
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
        for source in sources {
            let newest = || source.running.outlet.newest().filter(|_| !source.lost());
            match source.running.kind {
                SourceKind::Test => self.composer.card(ticks.clock_ms(tick)),
                SourceKind::Screen { .. } | SourceKind::WaylandScreen { .. } => {
                    self.composer.screen(newest())?;
                }
                _ => {}
            }
        }
        for (n, source) in sources.iter().filter(|s| s.running.kind.is_camera()).enumerate() {
            let newest = source.running.outlet.newest();
            // Not there yet: a plate only once it is late.
            if newest.is_none() && !source.lost() {
                continue;
            }
            self.composer.camera(n, newest.filter(|_| !source.lost()).as_deref())?;
        }
        Ok(())
    }

    fn preview(&mut self) -> anyhow::Result<Vec<u8>> {
        let jpeg = match &mut self.jpeg {
            Some(jpeg) => jpeg,
            none => none.insert(Jpeg::new(self.settings)?),
        };
        jpeg.encode(self.composer.canvas())
    }
}
