//! Sound on the take's timeline.
//!
//! Positions are frames (48 000 a second) from the take's start; the timeline stands still while
//! the lesson is paused. Device sound is placed by its time of capture: small deviations, the drift of two
//! crystals, are stretched away; large ones become silence or are dropped. Where nothing arrived there is silence, so
//! the track never starves.

use std::collections::VecDeque;

use crate::av::{RATE, Resampler};

/// Deviations beyond this are a hole, not drift: 100 ms.
const HOLE: i64 = RATE as i64 / 10;
/// Blocks (20 ms) after (re)opening that are not judged: PulseAudio's first stamps may be 50 ms off.
const UNSETTLED: u32 = 40;
/// The mean deviation of the blocks from [`UNSETTLED`] to here is taken out at once.
const SETTLED: u32 = 80;

/// Places device sound.
pub struct Timeline {
    resampler: Resampler,
    queue: VecDeque<[f32; 2]>,
    /// Position of the queue's first frame.
    head: i64,
    deviation: f64,
    blocks: u32,
    since_steering: i64,
}

impl Timeline {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            resampler: Resampler::new()?,
            queue: VecDeque::new(),
            head: 0,
            deviation: 0.0,
            blocks: 0,
            since_steering: 0,
        })
    }

    /// Position after the last frame that has arrived.
    pub fn end(&self) -> i64 {
        self.tail()
    }

    fn tail(&self) -> i64 {
        self.head + self.queue.len() as i64
    }

    /// Forgets what is queued; the next sound belongs at `position` or later.
    pub fn reset(&mut self, position: i64) {
        self.queue.clear();
        self.head = position;
    }

    /// Adds a block whose first frame was captured at `position`.
    pub fn push(&mut self, position: i64, bytes: &[u8]) -> anyhow::Result<()> {
        let frames = self.resampler.run(bytes)?;
        let off = position - self.tail();
        if off.abs() > HOLE {
            self.place(position, &frames);
            self.deviation = 0.0;
            self.blocks = 0;
            return Ok(());
        }
        self.blocks += 1;
        match self.blocks {
            ..=UNSETTLED => {}
            n @ ..=SETTLED => self.deviation += (off as f64 - self.deviation) / f64::from(n - UNSETTLED),
            _ => self.deviation += (off as f64 - self.deviation) * 0.02,
        }
        if self.blocks == SETTLED {
            let settled = self.deviation as i64;
            self.place(self.tail() + settled, &frames);
            self.deviation = 0.0;
            return Ok(());
        }
        self.since_steering += frames.len() as i64;
        if self.since_steering >= i64::from(RATE) && self.blocks > SETTLED {
            self.since_steering = 0;
            // Half the deviation in the next second, at most 2 ms: inaudible, and steady.
            self.resampler.stretch((self.deviation / 2.0).clamp(-96.0, 96.0) as i32)?;
        }
        self.queue.extend(frames);
        Ok(())
    }

    /// Puts frames at a position: silence before it, or what overlaps dropped.
    fn place(&mut self, position: i64, frames: &[[f32; 2]]) {
        let off = position - self.tail();
        if off >= 0 {
            // More than a minute ahead cannot be silence to keep in memory: it will be asked for
            // as silence anyway.
            let silence = off.min(60 * i64::from(RATE));
            self.queue.extend(std::iter::repeat_n([0.0; 2], usize::try_from(silence).unwrap_or(0)));
            self.queue.extend(frames);
        } else {
            let overlap = usize::try_from(-off).unwrap_or(usize::MAX);
            self.queue.extend(frames.iter().skip(overlap));
        }
    }

    /// Adds exactly `out.len()` frames from `position` on, `gain` times as loud; nothing where there are none.
    pub fn mix(&mut self, position: i64, gain: f32, out: &mut [[f32; 2]]) {
        while self.head < position && self.queue.pop_front().is_some() {
            self.head += 1;
        }
        if self.queue.is_empty() {
            self.head = position;
        }
        for (n, frame) in out.iter_mut().enumerate() {
            if self.head != position + n as i64 {
                continue;
            }
            self.head += 1;
            if let Some(sound) = self.queue.pop_front() {
                for (out, sample) in frame.iter_mut().zip(sound) {
                    *out += sample * gain;
                }
            }
        }
    }
}

/// How many times as loud a number of decibels is.
pub fn times(gain_db: i32) -> f32 {
    10f32.powf(gain_db as f32 / 20.0)
}

/// Loudness of what is about to be encoded.
#[derive(Default)]
pub struct Meter {
    peak: f32,
    power: f64,
    frames: u32,
}

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    pub peak_dbfs: f64,
    pub rms_dbfs: f64,
}

/// Stands for digital zero.
pub const NOTHING_DBFS: f64 = -100.0;

fn dbfs(value: f64) -> f64 {
    if value <= 0.0 { NOTHING_DBFS } else { (20.0 * value.log10()).max(NOTHING_DBFS) }
}

impl Meter {
    /// Adds frames; every 100 ms a reading comes out.
    pub fn push(&mut self, frames: &[[f32; 2]]) -> Option<Reading> {
        for frame in frames {
            for &sample in frame {
                self.add(sample);
            }
        }
        self.frames += frames.len() as u32;
        if self.frames < RATE / 10 { None } else { self.take() }
    }

    /// Adds a block as a source gave it, `gain` times as loud.
    pub fn hear(&mut self, bytes: &[u8], gain: f32) {
        for sample in bytes.chunks_exact(2) {
            self.add(f32::from(i16::from_le_bytes([sample[0], sample[1]])) / 32768.0 * gain);
        }
        self.frames += bytes.len() as u32 / 4;
    }

    fn add(&mut self, sample: f32) {
        self.peak = self.peak.max(sample.abs());
        self.power += f64::from(sample * sample);
    }

    /// Frames heard since the last reading.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// A reading of everything since the last one; none when that is nothing.
    pub fn take(&mut self) -> Option<Reading> {
        if self.frames == 0 {
            return None;
        }
        let rms = (self.power / f64::from(self.frames * 2)).sqrt();
        let reading = Reading { peak_dbfs: dbfs(f64::from(self.peak)), rms_dbfs: dbfs(rms) };
        *self = Self::default();
        Some(reading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(frames: usize, value: i16) -> Vec<u8> {
        std::iter::repeat_n(value.to_le_bytes(), frames * 2).flatten().collect()
    }

    #[test]
    fn sound_stands_where_it_was_captured_and_silence_fills_the_rest() {
        let mut timeline = Timeline::new().expect("resampler");
        timeline.push(9600, &block(960, 16384)).expect("push");
        let mut out = vec![[0.0; 2]; 12_000];
        timeline.mix(0, 1.0, &mut out);
        assert!(out[..9600].iter().all(|f| f[0] == 0.0));
        assert!(out[9600..10_560].iter().all(|f| (f[0] - 0.5).abs() < 1e-3));
        assert!(out[10_560..].iter().all(|f| f[0] == 0.0));
    }

    #[test]
    fn a_clock_that_runs_100_ppm_fast_is_followed() {
        let mut timeline = Timeline::new().expect("resampler");
        let mut worst = 0i64;
        // Ten minutes of 20 ms blocks from a device that delivers 100 ppm too many frames.
        for n in 0..30_000i64 {
            let position = n * 960;
            let extra = usize::from(n % 10 == 0); // one more in 9600: about 104 ppm
            timeline.push(position, &block(960 + extra, 100)).expect("push");
            if n > 3000 {
                worst = worst.max((timeline.tail() - (position + 960)).abs());
            }
            let mut out = vec![[0.0; 2]; 960];
            if n > 10 {
                timeline.mix((n - 11) * 960, 1.0, &mut out);
            }
        }
        assert!(worst < 480, "the sound ran {worst} frames away");
    }

    #[test]
    fn the_meter_reads_full_scale_as_zero_and_silence_as_nothing() {
        let mut meter = Meter::default();
        let reading = meter.push(&vec![[1.0, -1.0]; 4800]).expect("100 ms");
        assert!(reading.peak_dbfs.abs() < 0.01 && reading.rms_dbfs.abs() < 0.01);
        assert_eq!(meter.push(&vec![[0.0; 2]; 4800]).expect("100 ms").rms_dbfs, NOTHING_DBFS);
        assert_eq!(meter.take(), None);
        meter.hear(&block(480, -16384), times(6));
        assert!(meter.take().is_some_and(|r| (r.peak_dbfs + 0.02).abs() < 0.01), "half, 6 dB louder");
    }
}
