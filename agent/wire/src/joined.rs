//! One standard MP4 of a lesson's takes: `ftyp moov mdat`, every sample in tables, no media rewritten.
//!
//! A take's fragments hold their media in one run of bytes each (`mdat`). The joined file is a head made
//! here, followed by those runs as they are: whoever serves it reads ranges of the takes, and needs
//! neither a second copy nor to read the media. Boxes and tables are those of ISO/IEC 14496-12.
//!
//! What is left out of the takes (their `ftyp`, `moov`, `moof` and the headers of their media) is kept in
//! [`Joined::boxes`]: with it and the joined file the takes can be put together again byte by byte, see [`crate::trailer`].
//!
//! Takes follow each other without a gap. Each gets an edit of its own, so that what an AAC encoder puts
//! before the first sound (its delay) is passed over in every take and picture and sound stay together. Where
//! one track of a take ends before the other, its last sample lasts until both do: what comes after it in the
//! track belongs to the next take and must not be shown early.

use crate::boxes::{be32, be64, child, children};

/// Units of the file's own timeline, per second.
const TIMESCALE: u64 = 1000;
/// Samples of one track in one fragment at most: a fragment is a second.
const MOST_SAMPLES: u32 = 100_000;

/// Why takes cannot be joined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the takes cannot be joined: {0}")]
pub struct CannotJoin(&'static str);

/// A run of bytes of a take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Which take, from 0 in the order they were given.
    pub take: usize,
    /// Where in the take.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// The joined file: its head, then these runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// `ftyp`, `moov` and the header of `mdat`.
    pub head: Vec<u8>,
    /// The media, in order.
    pub runs: Vec<Run>,
    /// Bytes of the whole file, without anything that may stand behind the media.
    pub size: u64,
    /// Of each take what is in none of the runs, in its order: the first bytes, then each fragment's head.
    pub boxes: Vec<Vec<u8>>,
}

impl Joined {
    /// Bytes of all media.
    #[must_use]
    pub fn media(&self) -> u64 {
        self.size - self.head.len() as u64
    }
}

/// Collects takes.
#[derive(Debug, Default)]
pub struct Joiner {
    tracks: Vec<Track>,
    takes: usize,
    mvhd: Vec<u8>,
    runs: Vec<Run>,
    boxes: Vec<Vec<u8>>,
    /// Media bytes so far.
    media: u64,
}

#[derive(Debug)]
struct Track {
    id: u32,
    timescale: u32,
    video: bool,
    tkhd: Vec<u8>,
    mdhd: Vec<u8>,
    hdlr: Vec<u8>,
    /// `minf` without its `stbl`.
    minf: Vec<u8>,
    /// Sample descriptions that differ, each a box.
    descriptions: Vec<Vec<u8>>,
    samples: Vec<Sample>,
    chunks: Vec<Chunk>,
    takes: Vec<TakeOfTrack>,
    default: Defaults,
}

#[derive(Debug, Clone, Copy, Default)]
struct Defaults {
    duration: u32,
    size: u32,
    flags: u32,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    size: u32,
    /// Decoding time within its take.
    at: u64,
    /// Shown later than decoded by this much.
    later: i32,
    key: bool,
}

#[derive(Debug, Clone, Copy)]
struct Chunk {
    /// Within the joined media.
    offset: u64,
    samples: u32,
    description: u32,
}

#[derive(Debug, Clone, Copy)]
struct TakeOfTrack {
    first_sample: usize,
    description: u32,
    /// What the take's own edit passes over, in the track's units.
    skip: u64,
    /// Decoding time at which its last sample ends.
    end: u64,
}

type Tried<T> = Result<T, CannotJoin>;

fn or(what: &'static str) -> CannotJoin {
    CannotJoin(what)
}

impl Joiner {
    /// Begins the next take with its first bytes, `ftyp` and `moov`.
    ///
    /// # Errors
    /// [`CannotJoin`] when they cannot be read, or its tracks are not those of the takes before.
    pub fn take(&mut self, init: &[u8]) -> Tried<()> {
        let moov = child(init, b"moov").ok_or(or("a take has no moov"))?;
        let mut found = Vec::new();
        for (_, trak) in children(moov).filter(|(kind, _)| *kind == b"trak") {
            found.push(Track::read(trak, moov)?);
        }
        if found.is_empty() {
            return Err(or("a take has no tracks"));
        }
        if self.takes == 0 {
            self.mvhd = child(moov, b"mvhd").ok_or(or("a take has no mvhd"))?.to_vec();
            self.tracks = found;
        } else {
            if found.len() != self.tracks.len() {
                return Err(or("the takes have different numbers of tracks"));
            }
            for (track, new) in self.tracks.iter_mut().zip(found) {
                track.follow(new)?;
            }
        }
        self.takes += 1;
        self.boxes.push(init.to_vec());
        Ok(())
    }

    /// Adds the next fragment of the current take: where it lies, and its bytes as far as its media's header
    /// at least.
    ///
    /// # Errors
    /// [`CannotJoin`] when it is not a fragment of this take.
    pub fn fragment(&mut self, offset: u64, length: u64, bytes: &[u8]) -> Tried<()> {
        let short = or("a fragment's head is cut off");
        let moof_size = u64::from(be32(bytes, 0).ok_or(short.clone())?);
        let moof_end = usize::try_from(moof_size).map_err(|_| short.clone())?;
        let moof = bytes.get(8..moof_end).ok_or(short.clone())?;
        if bytes.get(4..8) != Some(b"moof") || bytes.get(moof_end + 4..moof_end + 8) != Some(b"mdat") {
            return Err(or("a fragment is not moof and mdat"));
        }
        let header = if be32(bytes, moof_end) == Some(1) { 16 } else { 8 };
        let media_at = moof_size + header;
        let media = length.checked_sub(media_at).ok_or(short)?;
        for (_, traf) in children(moof).filter(|(kind, _)| *kind == b"traf") {
            let id = child(traf, b"tfhd").and_then(|tfhd| be32(tfhd, 4));
            let track = self.tracks.iter_mut().find(|track| Some(track.id) == id);
            track.ok_or(or("a fragment names an unknown track"))?.add(traf, media_at, media, self.media)?;
        }
        let take = self.takes.checked_sub(1).ok_or(or("a fragment comes before its take"))?;
        self.runs.push(Run { take, offset: offset + media_at, length: media });
        let head = usize::try_from(media_at).ok().and_then(|end| bytes.get(..end));
        self.boxes[take].extend_from_slice(head.ok_or(or("a fragment's head is cut off"))?);
        self.media = self.media.checked_add(media).ok_or(or("the lesson is too long"))?;
        Ok(())
    }

    /// The whole file.
    ///
    /// # Errors
    /// [`CannotJoin`] when a take has no media.
    pub fn end(self) -> Tried<Joined> {
        let brands = [b"isom".as_slice(), &512u32.to_be_bytes(), b"isomiso2avc1mp41"].concat();
        let ftyp = boxed(b"ftyp", &brands);
        // The offsets take the same room whatever they are: made once to be measured, once to be used.
        let size = self.moov(0)?.len();
        let base = (ftyp.len() + size + 16) as u64;
        let moov = self.moov(base)?;
        let mut head = ftyp;
        head.extend(moov);
        head.extend(1u32.to_be_bytes());
        head.extend(b"mdat");
        head.extend((self.media + 16).to_be_bytes());
        Ok(Joined { size: head.len() as u64 + self.media, head, runs: self.runs, boxes: self.boxes })
    }

    fn moov(&self, base: u64) -> Tried<Vec<u8>> {
        // A take lasts as long as its longer track shows something.
        let mut lasts = vec![0u64; self.takes];
        for track in &self.tracks {
            for (n, take) in track.takes.iter().enumerate() {
                let shown = take.end.saturating_sub(take.skip) * TIMESCALE;
                lasts[n] = lasts[n].max(shown.div_ceil(u64::from(track.timescale)));
            }
        }
        let whole: u64 = lasts.iter().sum();
        let mut mvhd = self.mvhd.clone();
        put32(&mut mvhd, 12, TIMESCALE)?;
        put32(&mut mvhd, 16, whole)?;
        let mut body = boxed(b"mvhd", &mvhd);
        for track in &self.tracks {
            body.extend(track.trak(base, &lasts, whole)?);
        }
        Ok(boxed(b"moov", &body))
    }
}

impl Track {
    fn read(trak: &[u8], moov: &[u8]) -> Tried<Self> {
        let need = |body: Option<&[u8]>| body.map(<[u8]>::to_vec).ok_or(or("a track lacks a box"));
        let mdia = child(trak, b"mdia").ok_or(or("a track lacks a box"))?;
        let minf = child(mdia, b"minf").ok_or(or("a track lacks a box"))?;
        let stbl = child(minf, b"stbl").ok_or(or("a track lacks a box"))?;
        let (tkhd, mdhd) = (need(child(trak, b"tkhd"))?, need(child(mdia, b"mdhd"))?);
        if tkhd.first() != Some(&0) || mdhd.first() != Some(&0) {
            return Err(or("a track's head is of another version"));
        }
        let id = be32(&tkhd, 12).ok_or(or("a track has no number"))?;
        let timescale = be32(&mdhd, 12).filter(|t| *t > 0).ok_or(or("a track has no timescale"))?;
        let hdlr = need(child(mdia, b"hdlr"))?;
        let stsd = child(stbl, b"stsd").and_then(|b| b.get(8..)).ok_or(or("a track has no description"))?;
        let description = be32(stsd, 0).and_then(|size| stsd.get(..usize::try_from(size).ok()?));
        let description = description.ok_or(or("a track has no description"))?.to_vec();
        let mut kept = Vec::new();
        for (kind, payload) in children(minf).filter(|(kind, _)| *kind != b"stbl") {
            kept.extend(boxed(kind, payload));
        }
        let trex = child(moov, b"mvex").and_then(|mvex| {
            children(mvex).filter(|(k, _)| *k == b"trex").map(|(_, b)| b).find(|b| be32(b, 4) == Some(id))
        });
        let number = |at| trex.and_then(|b| be32(b, at)).unwrap_or(0);
        let default = Defaults { duration: number(12), size: number(16), flags: number(20) };
        let take = TakeOfTrack { first_sample: 0, description: 1, skip: skip(trak), end: 0 };
        Ok(Self {
            id,
            timescale,
            video: hdlr.get(8..12) == Some(b"vide"),
            tkhd,
            mdhd,
            hdlr,
            minf: kept,
            descriptions: vec![description],
            samples: Vec::new(),
            chunks: Vec::new(),
            takes: vec![take],
            default,
        })
    }

    /// Goes on with the same track of the next take.
    fn follow(&mut self, new: Self) -> Tried<()> {
        if (self.id, self.timescale, self.video) != (new.id, new.timescale, new.video) {
            return Err(or("the takes have different tracks"));
        }
        for description in new.descriptions {
            if !self.descriptions.contains(&description) {
                self.descriptions.push(description.clone());
            }
            let place = self.descriptions.iter().position(|d| *d == description).unwrap_or(0) as u32 + 1;
            let skip = new.takes.first().map_or(0, |take| take.skip);
            let first_sample = self.samples.len();
            self.takes.push(TakeOfTrack { first_sample, description: place, skip, end: 0 });
        }
        self.default = new.default;
        Ok(())
    }

    /// Adds a fragment's samples. `media_at` is where its media begins in the fragment, `before` where it
    /// begins in the joined media.
    fn add(&mut self, traf: &[u8], media_at: u64, media: u64, before: u64) -> Tried<()> {
        const NON_SYNC: u32 = 0x0001_0000;
        let odd = or("a fragment cannot be read");
        let tfhd = child(traf, b"tfhd").ok_or(odd.clone())?;
        let flags = be32(tfhd, 0).ok_or(odd.clone())?;
        if flags & 0x02_0000 == 0 || flags & 0x01 != 0 {
            return Err(or("a fragment does not count its media from its own start"));
        }
        let mut at = 8 + if flags & 0x02 != 0 { 4 } else { 0 };
        let mut default = |bit: u32, otherwise: u32| {
            if flags & bit == 0 {
                return Ok(otherwise);
            }
            at += 4;
            be32(tfhd, at - 4).ok_or(odd.clone())
        };
        let duration = default(0x08, self.default.duration)?;
        let size = default(0x10, self.default.size)?;
        let sample_flags = default(0x20, self.default.flags)?;
        let tfdt = child(traf, b"tfdt").ok_or(odd.clone())?;
        let start = if tfdt.first() == Some(&1) { be64(tfdt, 4) } else { be32(tfdt, 4).map(u64::from) };
        let mut time = start.ok_or(odd.clone())?;
        let take = self.takes.last_mut().ok_or(odd.clone())?;
        if time < take.end {
            return Err(or("a fragment begins before the one before it ends"));
        }
        let mut place = media_at;
        for (_, trun) in children(traf).filter(|(kind, _)| *kind == b"trun") {
            let flags = be32(trun, 0).ok_or(odd.clone())?;
            let count = be32(trun, 4).filter(|n| *n <= MOST_SAMPLES).ok_or(odd.clone())?;
            let mut at = 8;
            let mut next = |wanted: bool, otherwise: u32| {
                if !wanted {
                    return Ok(otherwise);
                }
                at += 4;
                be32(trun, at - 4).ok_or(odd.clone())
            };
            if flags & 0x01 != 0 {
                place = u64::from(next(true, 0)?);
            }
            let first_flags = next(flags & 0x04 != 0, sample_flags)?;
            let offset = place.checked_sub(media_at).ok_or(odd.clone())?;
            let mut used = 0u64;
            for n in 0..count {
                let length = next(flags & 0x100 != 0, duration)?;
                let bytes = next(flags & 0x200 != 0, size)?;
                let own = next(flags & 0x400 != 0, if n == 0 { first_flags } else { sample_flags })?;
                let later = next(flags & 0x800 != 0, 0)?.cast_signed();
                self.samples.push(Sample { size: bytes, at: time, later, key: own & NON_SYNC == 0 });
                time = time.checked_add(u64::from(length)).ok_or(odd.clone())?;
                used += u64::from(bytes);
            }
            if offset + used > media {
                return Err(or("a fragment names more media than it has"));
            }
            if count > 0 {
                let description = take.description;
                self.chunks.push(Chunk { offset: before + offset, samples: count, description });
            }
            place += used;
        }
        take.end = time;
        Ok(())
    }

    /// Where each take's media ends, in the take's own time, when the takes are shown for `lasts`.
    fn ends(&self, lasts: &[u64]) -> Vec<u64> {
        let until = |take: &TakeOfTrack, last: u64| {
            take.end.max(take.skip + (last * u64::from(self.timescale)).div_ceil(TIMESCALE))
        };
        self.takes.iter().zip(lasts).map(|(take, last)| until(take, *last)).collect()
    }

    /// How long each sample lasts: until the next of its take, the last one until the take's end.
    fn durations(&self, ends: &[u64]) -> Vec<u64> {
        let mut out = Vec::with_capacity(self.samples.len());
        for (n, take) in self.takes.iter().enumerate() {
            let to = self.takes.get(n + 1).map_or(self.samples.len(), |next| next.first_sample);
            let of_take = &self.samples[take.first_sample..to];
            let until = of_take.iter().skip(1).map(|sample| sample.at).chain([ends[n]]);
            out.extend(of_take.iter().zip(until).map(|(sample, end)| end - sample.at));
        }
        out
    }

    fn trak(&self, base: u64, lasts: &[u64], whole: u64) -> Tried<Vec<u8>> {
        let ends = self.ends(lasts);
        let durations = self.durations(&ends);
        let mut tkhd = self.tkhd.clone();
        put32(&mut tkhd, 20, whole)?;
        let mut mdhd = self.mdhd.clone();
        put32(&mut mdhd, 16, durations.iter().sum())?;
        let stbl = boxed(b"stbl", &self.tables(base, &durations)?);
        let minf = boxed(b"minf", &[self.minf.as_slice(), &stbl].concat());
        let mdia = boxed(b"mdia", &[boxed(b"mdhd", &mdhd), boxed(b"hdlr", &self.hdlr), minf].concat());
        let edts = boxed(b"edts", &full(b"elst", &self.edits(lasts, &ends)?));
        Ok(boxed(b"trak", &[boxed(b"tkhd", &tkhd), edts, mdia].concat()))
    }

    /// One edit a take: how long it is shown, and from where in the track's media.
    fn edits(&self, lasts: &[u64], ends: &[u64]) -> Tried<Vec<u8>> {
        let mut entries = Vec::new();
        let mut count = 0u32;
        let mut entry = |lasts: u64, from: i64| -> Tried<()> {
            let (lasts, from) = (u32::try_from(lasts), i32::try_from(from));
            let (Ok(lasts), Ok(from)) = (lasts, from) else { return Err(or("the lesson is too long")) };
            entries.extend(lasts.to_be_bytes());
            entries.extend(from.to_be_bytes());
            entries.extend(0x0001_0000u32.to_be_bytes());
            count += 1;
            Ok(())
        };
        let mut media = 0u64;
        for (n, take) in self.takes.iter().enumerate() {
            let to = self.takes.get(n + 1).map_or(self.samples.len(), |next| next.first_sample);
            let Some(first) = self.samples[take.first_sample..to].first() else {
                // Nothing of this track in the take.
                entry(lasts[n], -1)?;
                continue;
            };
            // A track that begins later than its take is preceded by nothing.
            let late = first.at * TIMESCALE / u64::from(self.timescale);
            if late > 0 {
                entry(late, -1)?;
            }
            let from = i64::try_from(media + take.skip).map_err(|_| or("the lesson is too long"))?;
            entry(lasts[n].saturating_sub(late), from)?;
            media += ends[n] - first.at;
        }
        Ok([count.to_be_bytes().as_slice(), &entries].concat())
    }

    fn tables(&self, base: u64, durations: &[u64]) -> Tried<Vec<u8>> {
        let stsd: Vec<u8> = self.descriptions.concat();
        let mut out =
            full(b"stsd", &[(self.descriptions.len() as u32).to_be_bytes().as_slice(), &stsd].concat());

        let mut lengths = Vec::with_capacity(durations.len());
        for duration in durations {
            lengths.push(u32::try_from(*duration).map_err(|_| or("a sample lasts too long"))?);
        }
        out.extend(full(b"stts", &runs(lengths.into_iter())));
        if self.samples.iter().any(|sample| sample.later != 0) {
            let later = runs(self.samples.iter().map(|sample| sample.later.cast_unsigned()));
            // Version 1: offsets with a sign.
            out.extend(boxed(b"ctts", &[[1, 0, 0, 0].as_slice(), &later].concat()));
        }
        if self.video && self.samples.iter().any(|sample| !sample.key) {
            let keys = self.samples.iter().zip(1u32..).filter(|(sample, _)| sample.key).map(|(_, n)| n);
            out.extend(full(b"stss", &list(keys.collect::<Vec<_>>().as_slice())));
        }
        let mut stsc: Vec<[u32; 3]> = Vec::new();
        for (chunk, n) in self.chunks.iter().zip(1u32..) {
            if stsc.last().is_none_or(|last| [last[1], last[2]] != [chunk.samples, chunk.description]) {
                stsc.push([n, chunk.samples, chunk.description]);
            }
        }
        let entries = stsc.concat();
        out.extend(full(b"stsc", &[list_head(stsc.len()).as_slice(), &words(&entries)].concat()));
        let sizes: Vec<u32> = self.samples.iter().map(|sample| sample.size).collect();
        out.extend(full(b"stsz", &[0u32.to_be_bytes().as_slice(), &list(&sizes)].concat()));
        let mut co64 = list_head(self.chunks.len()).to_vec();
        for chunk in &self.chunks {
            co64.extend((base + chunk.offset).to_be_bytes());
        }
        out.extend(full(b"co64", &co64));
        Ok(out)
    }
}

/// What a take's own edit passes over at its start.
fn skip(trak: &[u8]) -> u64 {
    let elst = child(trak, b"edts").and_then(|edts| child(edts, b"elst"));
    let from = elst.filter(|elst| elst.first() == Some(&0) && be32(elst, 4) == Some(1));
    from.and_then(|elst| be32(elst, 12)).map_or(0, |from| u64::try_from(from.cast_signed()).unwrap_or(0))
}

fn boxed(kind: &[u8], payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len() + 8).unwrap_or(u32::MAX);
    [size.to_be_bytes().as_slice(), kind, payload].concat()
}

/// A box with version and flags, both 0.
fn full(kind: &[u8], payload: &[u8]) -> Vec<u8> {
    boxed(kind, &[[0; 4].as_slice(), payload].concat())
}

fn put32(bytes: &mut [u8], at: usize, value: u64) -> Tried<()> {
    let value = u32::try_from(value).map_err(|_| or("the lesson is too long"))?;
    let place = bytes.get_mut(at..at + 4).ok_or(or("a head is too short"))?;
    place.copy_from_slice(&value.to_be_bytes());
    Ok(())
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

fn list_head(count: usize) -> [u8; 4] {
    u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes()
}

fn list(values: &[u32]) -> Vec<u8> {
    [list_head(values.len()).as_slice(), &words(values)].concat()
}

/// A table of (how many, value) for values that repeat.
fn runs(values: impl Iterator<Item = u32>) -> Vec<u8> {
    let mut table: Vec<[u32; 2]> = Vec::new();
    for value in values {
        match table.last_mut() {
            Some(last) if last[1] == value => last[0] += 1,
            _ => table.push([1, value]),
        }
    }
    [list_head(table.len()).as_slice(), &words(&table.concat())].concat()
}
