//! The take's picture, copied from a network camera that already sends H.264: nothing is decoded, nothing encoded.
//!
//! A picture's time is that of its arrival, smoothed by the camera's own clock, so that jitter on the line is not seen
//! and a camera whose clock runs differently does not drift away from the sound. After a pause or a lost connection the
//! picture stands until the camera's next key frame. A camera that comes back with pictures of another form cannot be
//! joined: that ends the take, and the lesson goes on in its next one.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use ffmpeg_next::codec::Parameters;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::{Packet, Rational};
use lectern_base::clock;
use lectern_wire::capture::VideoSettings;

use crate::av;
use crate::encode::{Jpeg, Packets};
use crate::gaps::Tracked;
use crate::signals;
use crate::source::Coded;
use crate::ticks::Ticks;

/// How long the camera's first key frame is waited for: less than the daemon waits for anything durable.
const FIRST_KEY: Duration = Duration::from_secs(8);
/// A picture this far from where it is expected begins anew.
const JUMP: i64 = 500_000;
/// Time base of the copied track.
const BASE: Rational = Rational(1, 90_000);

/// Copies.
pub struct Copied {
    parameters: Parameters,
    header: Vec<u8>,
    connection: u32,
    /// Camera time and monotonic time that belong together, microseconds.
    anchor: Option<(i64, i64)>,
    last: Option<i64>,
    key_wanted: bool,
    newest_key: Option<Packet>,
    settings: VideoSettings,
    jpeg: Option<Jpeg>,
}

impl Copied {
    /// Waits for the camera's first key frame and looks at it.
    pub fn new(sources: &[Tracked], settings: VideoSettings) -> anyhow::Result<Self> {
        let wire = &camera(sources)?.running.outlet.wire;
        let give_up = clock::mono() + FIRST_KEY;
        let key = loop {
            ensure!(wire.is_h264() != Some(false), "the camera does not send H.264");
            if let Some((key, _)) = wire.first_key() {
                break key;
            }
            let late = clock::mono() > give_up || signals::terminated();
            ensure!(!late, "no key frame of the camera came within {} s", FIRST_KEY.as_secs());
            std::thread::sleep(Duration::from_millis(5));
        };
        let parameters = wire.parameters().context("the camera says nothing of its pictures")?;
        let picture = av::decode(&parameters, &key)?;
        let settings = VideoSettings { width: picture.width(), height: picture.height(), ..settings };
        Ok(Self {
            header: av::header(&parameters),
            parameters: av::with_shape(parameters, &picture)?,
            connection: 0,
            anchor: None,
            last: None,
            key_wanted: true,
            newest_key: None,
            settings,
            jpeg: None,
        })
    }

    /// What a decoder must know.
    pub fn parameters(&self) -> Parameters {
        self.parameters.clone()
    }

    /// When the key frame arrived that the take can begin with; waits for it, but not for ever.
    pub fn first_at(&self, sources: &[Tracked]) -> Duration {
        let give_up = clock::mono() + FIRST_KEY;
        while clock::mono() < give_up && !signals::terminated() {
            let key = camera(sources).ok().and_then(|source| source.running.outlet.wire.first_key());
            if let Some((_, at)) = key {
                return at;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        clock::mono()
    }

    /// Hands on what has arrived.
    pub fn make(
        &mut self,
        sources: &mut [Tracked],
        ticks: &Ticks,
        to: &mut dyn Packets,
    ) -> anyhow::Result<()> {
        let source = sources.iter_mut().find(|s| s.running.kind.is_camera());
        let source = source.context("there is no camera to copy")?;
        for coded in source.running.outlet.wire.take() {
            source.last = Some(coded.at);
            if coded.connection != self.connection {
                self.reconnected(source, coded.connection)?;
            }
            if coded.packet.is_key() {
                self.key_wanted = false;
                self.newest_key = Some(coded.packet.clone());
            }
            if !self.key_wanted {
                self.hand_on(coded, ticks, to)?;
            }
        }
        Ok(())
    }

    fn reconnected(&mut self, source: &Tracked, connection: u32) -> anyhow::Result<()> {
        let parameters = source.running.outlet.wire.parameters();
        if parameters.is_some_and(|parameters| av::header(&parameters) != self.header) {
            bail!("the camera came back with pictures of another form, which cannot follow in the same take");
        }
        (self.connection, self.anchor, self.key_wanted) = (connection, None, true);
        Ok(())
    }

    fn hand_on(&mut self, coded: Coded, ticks: &Ticks, to: &mut dyn Packets) -> anyhow::Result<()> {
        let arrived = i64::try_from(coded.at.as_micros())?;
        let base = coded.base;
        let stamp = coded.packet.dts().or(coded.packet.pts());
        let stamp = stamp.map(|t| t * 1_000_000 * i64::from(base.0) / i64::from(base.1.max(1)));
        let expected = self.anchor.zip(stamp).map(|((camera, mono), stamp)| mono + stamp - camera);
        let at = match expected.filter(|at| (arrived - at).abs() < JUMP) {
            // A fiftieth of the way towards the arrival: jitter is smoothed, drift followed.
            Some(at) => at + (arrived - at) / 50,
            None => arrived,
        };
        self.anchor = stamp.map(|stamp| (stamp, at));
        let start = i64::try_from(ticks.instant(0).as_micros())?;
        let time = (at - start) * i64::from(BASE.1) / 1_000_000;
        // The first may have arrived just before the clock began; none may stand before another.
        let time = time.max(self.last.map_or(0, |last| last + 1));
        self.last = Some(time);
        let mut packet = coded.packet;
        // Few cameras send pictures out of order; where one does, that stays as it is.
        let ahead = packet.pts().zip(packet.dts()).map_or(0, |(pts, dts)| pts - dts);
        let ahead = ahead * i64::from(base.0) * i64::from(BASE.1) / i64::from(base.1.max(1));
        packet.set_pts(Some(time + ahead));
        packet.set_dts(Some(time));
        packet.set_duration(i64::from(BASE.1) / ticks.per_second());
        to.video(packet, BASE)
    }

    /// What comes now is not kept; the next picture must be a key frame.
    pub fn forget(&mut self, sources: &[Tracked]) {
        if let Ok(source) = camera(sources) {
            drop(source.running.outlet.wire.take());
        }
        (self.key_wanted, self.anchor) = (true, None);
    }

    /// A small JPEG of the newest key frame.
    pub fn preview(&mut self) -> anyhow::Result<Vec<u8>> {
        let key = self.newest_key.as_ref().context("no key frame has come yet")?;
        let mut picture = av::decode(&self.parameters, key)?;
        // Full range or not: near enough for a preview.
        if picture.format() == Pixel::YUVJ420P {
            picture.set_format(Pixel::YUV420P);
        }
        let jpeg = match &mut self.jpeg {
            Some(jpeg) => jpeg,
            none => none.insert(Jpeg::new(self.settings)?),
        };
        jpeg.encode(&picture)
    }
}

fn camera(sources: &[Tracked]) -> anyhow::Result<&Tracked> {
    sources.iter().find(|s| s.running.kind.is_camera()).context("there is no camera to copy")
}
