//! All sources of sound together, encoded as one track without a hole.

use std::time::Duration;

use lectern_base::clock;
use lectern_wire::capture::{AudioSettings, SourceKind};

use crate::card;
use crate::encode::{Audio, Packets, SOUND_FRAME};
use crate::gaps::Tracked;
use crate::sound::{Meter, Reading};
use crate::ticks::Ticks;

/// How long sound may take to arrive before silence is put in its place.
pub const SOUND_LAG: Duration = Duration::from_millis(250);
/// A microphone that is there and late is waited for so long: on a busy machine its sound has been captured and only
/// not been handed over yet.
pub const SOUND_PATIENCE: Duration = Duration::from_millis(1500);
/// Sound at the very start that is not waited for, so that the first fragment can be cut at once.
pub const SILENT_START: i64 = 3 * SOUND_FRAME as i64;

/// Mixes, measures and encodes.
pub struct Mixer {
    audio: Audio,
    meter: Meter,
    /// Next frame of sound to encode.
    at: i64,
}

impl Mixer {
    pub fn new(settings: AudioSettings) -> anyhow::Result<Self> {
        Ok(Self { audio: Audio::new(settings)?, meter: Meter::default(), at: 0 })
    }

    /// The sound's encoder, for the muxer.
    pub fn encoder(&mut self) -> &mut Audio {
        &mut self.audio
    }

    /// Position of the next frame to encode.
    pub fn at(&self) -> i64 {
        self.at
    }

    /// Up to where sound can be encoded: where it has had its time to arrive, and every microphone that is there has
    /// come that far. Takes in what has arrived.
    pub fn due(&self, sources: &mut [Tracked], ticks: &Ticks) -> anyhow::Result<i64> {
        self.take_in(sources, ticks)?;
        let now = clock::mono();
        let before = |lag: Duration| ticks.position(now.saturating_sub(lag));
        let heard_to = sources.iter().filter_map(Tracked::heard_to);
        let due = heard_to.fold(before(SOUND_LAG), i64::min);
        Ok(due.max(before(SOUND_PATIENCE)).max(SILENT_START))
    }

    /// Takes in what has arrived and encodes up to a position; what the meter read on the way, with its time.
    pub fn run(
        &mut self,
        sources: &mut [Tracked],
        ticks: &Ticks,
        until: i64,
        to: &mut dyn Packets,
    ) -> anyhow::Result<Vec<(Reading, u64)>> {
        self.take_in(sources, ticks)?;
        let mut readings = Vec::new();
        while self.at + SOUND_FRAME as i64 <= until {
            let frames = self.mixed(sources);
            self.audio.encode(self.at, &frames, to)?;
            if let Some(reading) = self.meter.push(&frames) {
                readings.push((reading, ticks.sound_ms(self.at)));
            }
            self.at += SOUND_FRAME as i64;
        }
        Ok(readings)
    }

    fn take_in(&self, sources: &mut [Tracked], ticks: &Ticks) -> anyhow::Result<()> {
        for source in sources {
            for block in source.running.outlet.blocks() {
                source.last = Some(clock::mono());
                let position = ticks.position(block.at);
                // Sound from before the start, or from a pause, has no place in the take.
                if let (Some((timeline, _)), true) =
                    (&mut source.timeline, position + block.bytes.len() as i64 / 4 > self.at)
                {
                    timeline.push(position, &block.bytes)?;
                }
            }
        }
        Ok(())
    }

    /// The next frames of all sources of sound together.
    fn mixed(&self, sources: &mut [Tracked]) -> [[f32; 2]; SOUND_FRAME] {
        let mut frames = [[0.0; 2]; SOUND_FRAME];
        for source in sources {
            match &mut source.timeline {
                Some((timeline, gain)) => timeline.mix(self.at, *gain, &mut frames),
                None if matches!(source.running.kind, SourceKind::Test) => {
                    for (n, frame) in frames.iter_mut().enumerate() {
                        *frame = card::tone(self.at + n as i64);
                    }
                }
                None => {}
            }
        }
        for sample in frames.iter_mut().flatten() {
            *sample = sample.clamp(-1.0, 1.0);
        }
        frames
    }
}
