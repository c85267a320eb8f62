//! The picture of a take: the times of all pictures, and what the decoded ones show.

use std::collections::BTreeMap;

use anyhow::Context as _;
use ffmpeg_next::{self as ffmpeg, Packet, Rational, decoder, frame};
use lectern_wire::report::Report;

use super::{Stretches, ms};

/// Below this luma there is no light: the watchers' bound.
const DARK: u8 = 32;
/// Mean difference of luma, in thousandths of its range, up to which two pictures are the same: the default of
/// ffmpeg's freezedetect (−60 dB).
const SAME_PERMILLE: u64 = 1;
/// Every so many pixels are looked at, both ways.
const STEP: usize = 8;

/// Looks at a take's picture.
pub struct Sight {
    decoder: decoder::Video,
    base: Rational,
    full: bool,
    /// How often each distance between two pictures occurs.
    distances: BTreeMap<i64, u64>,
    last: Option<i64>,
    end: i64,
    packets: u64,
    decoded: u64,
    /// Pictures that are damaged: they count as missing.
    damaged: u64,
    /// Whether the last key frame is among them.
    key_damaged: bool,
    /// Without a full check: what came since the last key frame, to be decoded should nothing follow.
    run: Vec<Packet>,
    before: Vec<u8>,
    black: Stretches,
    still: Stretches,
    shown_ms: u64,
    height: u32,
    width: u32,
}

impl Sight {
    /// Starts with nothing seen; `full`: decodes every picture.
    pub fn new(decoder: decoder::Video, base: Rational, full: bool) -> Self {
        let (width, height) = (decoder.width(), decoder.height());
        Self {
            decoder,
            base,
            full,
            distances: BTreeMap::new(),
            last: None,
            end: 0,
            packets: 0,
            decoded: 0,
            damaged: 0,
            key_damaged: false,
            run: Vec::new(),
            before: Vec::new(),
            black: Stretches::default(),
            still: Stretches::default(),
            shown_ms: 0,
            height,
            width,
        }
    }

    /// Takes the next packet.
    pub fn see(&mut self, packet: Packet) -> anyhow::Result<()> {
        let dts = packet.dts().context("a picture has no time")?;
        if let Some(last) = self.last.replace(dts) {
            *self.distances.entry(dts - last).or_default() += 1;
        }
        self.end = self.end.max(dts + packet.duration());
        self.packets += 1;
        if self.full {
            return self.decode(&packet);
        }
        if packet.is_key() {
            self.run.clear();
            let before = self.damaged;
            self.decode(&packet)?;
            self.key_damaged = self.damaged > before;
            // A key frame alone stays in the decoder until it is told that no more comes.
            self.decoder.send_eof()?;
            self.receive();
            self.decoder.flush();
        }
        self.run.push(packet);
        Ok(())
    }

    fn decode(&mut self, packet: &Packet) -> anyhow::Result<()> {
        match self.decoder.send_packet(packet) {
            Ok(()) => {}
            // One picture less, and no reason to keep the lesson from its store.
            Err(e) if is_damage(e) => self.damaged += 1,
            Err(e) => return Err(e).context("a picture cannot be decoded"),
        }
        self.receive();
        Ok(())
    }

    fn receive(&mut self) {
        let mut picture = frame::Video::empty();
        while self.decoder.receive_frame(&mut picture).is_ok() {
            self.decoded += 1;
            self.look(&picture);
        }
    }

    fn look(&mut self, picture: &frame::Video) {
        self.shown_ms = picture.timestamp().map_or(self.shown_ms, |pts| ms(pts, self.base));
        let (width, stride) = (picture.width() as usize, picture.stride(0));
        let luma = picture.data(0);
        let rows = (0..picture.height() as usize).step_by(STEP);
        let now: Vec<u8> = rows
            .filter_map(|y| luma.get(y * stride..y * stride + width))
            .flat_map(|row| row.iter().step_by(STEP).copied())
            .collect();
        let apart: u64 = now.iter().zip(&self.before).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let same = now.len() == self.before.len() && apart * 1000 <= SAME_PERMILLE * 255 * now.len() as u64;
        self.black.see(now.iter().all(|luma| *luma < DARK), self.shown_ms);
        self.still.see(same, self.shown_ms);
        self.before = now;
    }

    /// Ends the take here.
    pub fn end(mut self, fps: Option<u32>, report: &mut Report) -> anyhow::Result<()> {
        // Its key frame was counted before.
        let run = std::mem::take(&mut self.run);
        if !run.is_empty() {
            self.decoded -= u64::from(!self.key_damaged);
            self.damaged -= u64::from(self.key_damaged);
        }
        for packet in &run {
            self.decode(packet)?;
        }
        self.decoder.send_eof()?;
        self.receive();
        report.picture_ms = ms(self.end, self.base);
        (report.width, report.height) = (self.width, self.height);
        (report.pictures, report.decoded_pictures) = (self.packets, self.decoded);
        (report.dropped_pictures, report.repeated_pictures) = count(&self.distances, self.base, fps);
        report.dropped_pictures += self.damaged;
        report.black_ms = self.black.end(report.picture_ms);
        report.still_ms = self.still.end(report.picture_ms);
        Ok(())
    }
}

/// Times without a picture, and pictures without a time of their own.
fn count(distances: &BTreeMap<i64, u64>, base: Rational, fps: Option<u32>) -> (u64, u64) {
    let second = i64::from(base.1) / i64::from(base.0.max(1));
    let usual = distances.iter().max_by_key(|(_, often)| **often).map_or(0, |(distance, _)| *distance);
    let tick = fps.map_or(usual, |fps| second / i64::from(fps.max(1))).max(1);
    let dropped = |distance: i64| u64::try_from((distance + tick / 2) / tick - 1).unwrap_or(0);
    distances.iter().fold((0, 0), |(lost, twice), (distance, often)| match *distance {
        ..=0 => (lost, twice + often),
        distance => (lost + dropped(distance) * often, twice),
    })
}

/// Whether what a decoder complains of is what it was given: it has many words for that, and one for its own need.
pub fn is_damage(e: ffmpeg::Error) -> bool {
    !matches!(e, ffmpeg::Error::Other { errno: ffmpeg::ffi::ENOMEM })
}

/// Whether libav says only that it wants more.
pub fn wants_more(e: ffmpeg::Error) -> bool {
    matches!(e, ffmpeg::Error::Other { errno: ffmpeg::ffi::EAGAIN } | ffmpeg::Error::Eof)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_in_the_clock_are_counted_and_jitter_is_not() {
        let base = Rational(1, 90_000);
        let seen = |distances: &[(i64, u64)], fps| count(&distances.iter().copied().collect(), base, fps);
        assert_eq!(seen(&[(3600, 100)], None), (0, 0));
        assert_eq!(seen(&[(3600, 100), (7200, 2), (36_000, 1)], Some(25)), (2 + 9, 0));
        assert_eq!(seen(&[(3400, 50), (3800, 50)], Some(25)), (0, 0), "a camera's jitter");
        assert_eq!(seen(&[(7200, 100)], Some(25)), (100, 0), "half the rate");
        assert_eq!(seen(&[(3600, 10), (0, 3)], None), (0, 3));
        assert_eq!(seen(&[], None), (0, 0));
    }
}
