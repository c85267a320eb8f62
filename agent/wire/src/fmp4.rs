//! Reads the structure of a take, a fragmented MP4 (ISO/IEC 14496-12): `ftyp moov (moof mdat)*`.
//!
//! [`Scanner`] is fed the bytes in order, in pieces of any size, and says after each piece how far
//! the take is whole and which fragments it holds. It looks only at box headers, `moov` and
//! `moof`; media passes through unread. Whatever it is fed, it answers or refuses with a sentence.

use crate::boxes::{be32, be64, child, children};
use crate::manifest::Fragment;

/// Largest `ftyp`, `moov` or `moof` that is read, bytes.
const MAX_META: u64 = 4 * 1024 * 1024;

/// Why bytes are not a take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a take at byte {offset}: {what}")]
pub struct BadTake {
    /// Where in the take the offending box starts.
    pub offset: u64,
    /// What is wrong there.
    pub what: &'static str,
}

/// Follows a take from its first byte.
#[derive(Debug, Default)]
pub struct Scanner {
    /// Bytes seen.
    seen: u64,
    /// Start of the box being read.
    box_start: u64,
    /// Header and, for small boxes, payload of the box being read.
    buffer: Vec<u8>,
    /// Bytes of media still to pass.
    skip: u64,
    state: Expect,
    video: Option<VideoTrack>,
    moof: Option<Timing>,
    moof_start: u64,
    whole: u64,
    duration_ms: u64,
    fragments: Vec<Fragment>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Expect {
    #[default]
    Ftyp,
    Moov,
    Moof,
    Mdat,
}

#[derive(Debug, Clone, Copy)]
struct VideoTrack {
    id: u32,
    timescale: u32,
    default_duration: u32,
    default_flags: u32,
}

#[derive(Debug, Clone, Copy)]
struct Timing {
    start_ms: u64,
    end_ms: u64,
    key: bool,
}

impl Scanner {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`BadTake`] when the bytes cannot be a take; the scanner must not be fed further.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), BadTake> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let n = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
                bytes = &bytes[n..];
                self.seen += n as u64;
                self.skip -= n as u64;
                if self.skip == 0 {
                    self.end_fragment();
                }
                continue;
            }
            let wanted = self.wanted()?;
            let n = wanted.saturating_sub(self.buffer.len()).min(bytes.len());
            self.buffer.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            self.seen += n as u64;
            if self.buffer.len() >= 8 && self.buffer.len() == self.wanted()? {
                self.end_box()?;
            }
        }
        Ok(())
    }

    /// How many bytes of the current box must be in the buffer before it can be judged.
    fn wanted(&self) -> Result<usize, BadTake> {
        let Some(small) = be32(&self.buffer, 0) else { return Ok(8) };
        let Some(kind) = self.buffer.get(4..8) else { return Ok(8) };
        let header = if small == 1 { 16 } else { 8 };
        if kind == b"mdat" {
            return Ok(header);
        }
        let size = if small == 1 {
            match be64(&self.buffer, 8) {
                Some(size) => size,
                None => return Ok(16),
            }
        } else {
            u64::from(small)
        };
        if size < header as u64 || size > MAX_META {
            return Err(self.bad("a box has an impossible length"));
        }
        usize::try_from(size).map_err(|_| self.bad("a box has an impossible length"))
    }

    fn bad(&self, what: &'static str) -> BadTake {
        BadTake { offset: self.box_start, what }
    }

    fn end_box(&mut self) -> Result<(), BadTake> {
        let buffer = std::mem::take(&mut self.buffer);
        let header = if be32(&buffer, 0) == Some(1) { 16 } else { 8 };
        let kind: [u8; 4] = buffer[4..8].try_into().map_err(|_| self.bad("a box has no kind"))?;
        let payload = buffer.get(header..).unwrap_or_default();
        match (self.state, &kind) {
            (Expect::Ftyp, b"ftyp") => self.state = Expect::Moov,
            (Expect::Moov, b"moov") => {
                self.video = Some(video_track(payload).ok_or_else(|| self.bad("moov names no video track"))?);
                self.state = Expect::Moof;
                self.whole = self.seen;
            }
            (Expect::Moof, b"moof") => {
                let track = self.video.ok_or_else(|| self.bad("moof before moov"))?;
                let timing = timing(payload, track, self.duration_ms);
                self.moof = Some(timing.ok_or_else(|| self.bad("moof cannot be read"))?);
                self.moof_start = self.box_start;
                self.state = Expect::Mdat;
            }
            (Expect::Mdat, b"mdat") => {
                let size = match (be32(&buffer, 0), be64(&buffer, 8)) {
                    (Some(1), Some(size)) => size,
                    (Some(small), _) => u64::from(small),
                    _ => 0,
                };
                self.skip = size
                    .checked_sub(header as u64)
                    .ok_or_else(|| self.bad("mdat has an impossible length"))?;
                self.state = Expect::Moof;
                if self.skip == 0 {
                    self.end_fragment();
                }
            }
            _ => return Err(self.bad("a box stands where it must not")),
        }
        self.box_start = self.seen + self.skip;
        Ok(())
    }

    fn end_fragment(&mut self) {
        if let Some(timing) = self.moof.take() {
            self.fragments.push(Fragment {
                start_ms: timing.start_ms,
                offset: self.moof_start,
                length: self.seen - self.moof_start,
                key: timing.key,
            });
            self.duration_ms = self.duration_ms.max(timing.end_ms);
            self.whole = self.seen;
        }
    }

    /// Length of the longest prefix that plays: it ends on a fragment.
    #[must_use]
    pub fn whole(&self) -> u64 {
        self.whole
    }

    /// Length of the initialisation boxes `ftyp moov`; 0 before they are whole.
    #[must_use]
    pub fn init_length(&self) -> u64 {
        match (self.video, self.fragments.first()) {
            (_, Some(first)) => first.offset,
            (Some(_), None) => self.whole,
            (None, None) => 0,
        }
    }

    /// Bytes seen.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Length of the picture in the whole prefix, milliseconds.
    #[must_use]
    pub fn duration_ms(&self) -> u64 {
        self.duration_ms
    }

    /// The whole fragments, in order.
    #[must_use]
    pub fn fragments(&self) -> &[Fragment] {
        &self.fragments
    }
}

fn video_track(moov: &[u8]) -> Option<VideoTrack> {
    let trak = children(moov).filter(|(k, _)| *k == b"trak").map(|(_, b)| b).find(|trak| {
        child(trak, b"mdia").and_then(|m| child(m, b"hdlr")).and_then(|h| h.get(8..12)) == Some(b"vide")
    })?;
    let tkhd = child(trak, b"tkhd")?;
    let id = be32(tkhd, if tkhd.first() == Some(&1) { 20 } else { 12 })?;
    let mdhd = child(child(trak, b"mdia")?, b"mdhd")?;
    let timescale = be32(mdhd, if mdhd.first() == Some(&1) { 20 } else { 12 })?;
    let trex = child(moov, b"mvex").and_then(|mvex| {
        children(mvex).filter(|(k, _)| *k == b"trex").map(|(_, b)| b).find(|b| be32(b, 4) == Some(id))
    });
    let default = |at| trex.and_then(|t| be32(t, at)).unwrap_or(0);
    (timescale > 0).then(|| VideoTrack {
        id,
        timescale,
        default_duration: default(12),
        default_flags: default(20),
    })
}

/// When a fragment's picture starts and ends; a fragment without picture stands at `at_ms`.
fn timing(moof: &[u8], track: VideoTrack, at_ms: u64) -> Option<Timing> {
    const NON_SYNC: u32 = 0x0001_0000;
    let ms = |ticks: u64| ticks.checked_mul(1000).map(|t| t / u64::from(track.timescale));
    let traf = children(moof)
        .filter(|(k, _)| *k == b"traf")
        .map(|(_, b)| b)
        .find(|traf| child(traf, b"tfhd").and_then(|t| be32(t, 4)) == Some(track.id));
    let Some(traf) = traf else { return Some(Timing { start_ms: at_ms, end_ms: at_ms, key: false }) };

    let tfhd = child(traf, b"tfhd")?;
    let flags = be32(tfhd, 0)? & 0x00ff_ffff;
    let mut at = 8;
    let mut field = |bit: u32, width: usize| {
        let here = at;
        (flags & bit != 0).then(|| at += width).map(|()| here)
    };
    field(0x01, 8);
    field(0x02, 4);
    let duration = field(0x08, 4).and_then(|at| be32(tfhd, at)).unwrap_or(track.default_duration);
    field(0x10, 4);
    let default_flags = field(0x20, 4).and_then(|at| be32(tfhd, at)).unwrap_or(track.default_flags);

    let tfdt = child(traf, b"tfdt")?;
    let start = if tfdt.first() == Some(&1) { be64(tfdt, 4)? } else { u64::from(be32(tfdt, 4)?) };
    let mut end = start;
    let mut key = None;
    for (_, trun) in children(traf).filter(|(k, _)| *k == b"trun") {
        let flags = be32(trun, 0)? & 0x00ff_ffff;
        let count = be32(trun, 4)?;
        let mut at = 8 + if flags & 0x01 != 0 { 4 } else { 0 };
        let first = if flags & 0x04 != 0 {
            at += 4;
            be32(trun, at - 4)
        } else {
            None
        };
        for n in 0..count {
            let mut take = |bit: u32| {
                (flags & bit != 0).then(|| {
                    at += 4;
                    be32(trun, at - 4)
                })
            };
            let length = take(0x100).map_or(Some(duration), |v| v)?;
            if let Some(size) = take(0x200) {
                size?;
            }
            let own = take(0x400).map_or(Some(default_flags), |v| v)?;
            if let Some(offset) = take(0x800) {
                offset?;
            }
            if n == 0 && key.is_none() {
                key = Some(first.unwrap_or(own) & NON_SYNC == 0);
            }
            end = end.checked_add(u64::from(length))?;
            if flags & 0xf00 == 0 {
                // Nothing is stored per sample: the rest is arithmetic, however large `count` is.
                end = end.checked_add(u64::from(duration).checked_mul(u64::from(count - 1))?)?;
                break;
            }
        }
    }
    Some(Timing { start_ms: ms(start)?, end_ms: ms(end)?, key: key.unwrap_or(false) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bx(kind: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut out = u32::try_from(payload.len() + 8).expect("small").to_be_bytes().to_vec();
        out.extend(kind);
        out.extend(payload);
        out
    }

    /// A take with one video track of timescale 1000 and `n` fragments of one second.
    fn take(n: u32) -> Vec<u8> {
        let u = |v: u32| v.to_be_bytes();
        let tkhd = bx(b"tkhd", &[u(0), u(0), u(0), u(1)].concat());
        let mdhd = bx(b"mdhd", &[u(0), u(0), u(0), u(1000)].concat());
        let hdlr = bx(b"hdlr", &[u(0).as_slice(), &u(0), b"vide"].concat());
        let mdia = bx(b"mdia", &[mdhd, hdlr].concat());
        let trak = bx(b"trak", &[tkhd, mdia].concat());
        let trex = bx(b"trex", &[u(0), u(1), u(1), u(40), u(0), u(0x0101_0000)].concat());
        let moov = bx(b"moov", &[trak, bx(b"mvex", &trex)].concat());
        let mut out = [bx(b"ftyp", b"iso5"), moov].concat();
        for k in 0..n {
            let tfhd = bx(b"tfhd", &[u(0x02_0000), u(1)].concat());
            let tfdt = bx(b"tfdt", &[u(0), u(k * 1000)].concat());
            let first: u32 = if k % 2 == 0 { 0x0200_0000 } else { 0x0101_0000 };
            let trun = bx(b"trun", &[u(0x04), u(25), u(first)].concat());
            out.extend(bx(b"moof", &bx(b"traf", &[tfhd, tfdt, trun].concat())));
            out.extend(bx(b"mdat", &[7; 50]));
        }
        out
    }

    #[test]
    fn fragments_are_found_whatever_the_pieces() {
        let bytes = take(4);
        for piece in [1, 3, 8, 17, 64, bytes.len()] {
            let mut scanner = Scanner::default();
            for chunk in bytes.chunks(piece) {
                scanner.push(chunk).expect("a take");
            }
            assert_eq!(scanner.whole(), bytes.len() as u64);
            assert_eq!(scanner.duration_ms(), 4000);
            let starts: Vec<_> = scanner.fragments().iter().map(|f| (f.start_ms, f.key)).collect();
            assert_eq!(starts, [(0, true), (1000, false), (2000, true), (3000, false)]);
            let mut at = scanner.init_length();
            for f in scanner.fragments() {
                assert_eq!(f.offset, at);
                at += f.length;
            }
            assert_eq!(at, bytes.len() as u64);
        }
    }

    #[test]
    fn a_torn_take_is_whole_up_to_its_last_fragment() {
        let bytes = take(3);
        let two = {
            let mut s = Scanner::default();
            s.push(&bytes).expect("a take");
            s.fragments()[2].offset
        };
        for cut in two..bytes.len() as u64 {
            let mut scanner = Scanner::default();
            scanner.push(&bytes[..usize::try_from(cut).expect("small")]).expect("a prefix");
            assert_eq!((scanner.whole(), scanner.duration_ms()), (two, 2000), "cut at {cut}");
        }
    }

    #[test]
    fn garbage_is_refused_or_ignored_but_never_crashes() {
        let mut seed = 1u64;
        for round in 0..2000 {
            let mut bytes = take(2);
            for _ in 0..=round % 5 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = usize::try_from(seed >> 33).expect("fits") % bytes.len();
                bytes[at] = (seed >> 24) as u8;
            }
            let mut scanner = Scanner::default();
            let outcome = bytes.chunks(13).try_for_each(|c| scanner.push(c));
            assert!(scanner.whole() <= bytes.len() as u64, "{outcome:?}");
        }
        assert!(Scanner::default().push(b"<!DOCTYPE html><html>").is_err());
    }
}
