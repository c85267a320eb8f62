//! The standard MP4 of a lesson that proves itself: `ftyp moov mdat` for players, and behind it the proof.
//!
//! Both ways: [`build`] puts takes together while they are read, [`File`] takes such a file apart again into the very
//! takes. What a player goes by, the tables in `moov`, is in no take and in no hash, so it is made anew from the takes
//! and compared byte by byte: tables that would show pictures in another order, or leave some out, are noticed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use lectern_wire::digest::Digest;
use lectern_wire::joined::{CannotJoin, Joined, Joiner};
use lectern_wire::manifest::Take;
use lectern_wire::trailer;

use crate::bytes::{Blob, Spliced, exactly};
use crate::report::Fault;

/// A fragment's head is read in one go when it is no longer than this; a second's is below 1 KiB.
const HEAD: u64 = 4096;
/// Longest first bytes of a take, and longest head of a fragment.
const LONGEST_HEAD: u64 = 4 << 20;
/// Longest head of a whole lesson.
const LONGEST_MOOV: u64 = 256 << 20;

/// A standard MP4 with its proof.
#[derive(Clone)]
pub struct SelfProving {
    /// The whole file, put together while it is read.
    pub bytes: Blob,
    /// Hash of all that is not media, which the manifest names: a name for the whole.
    pub digest: Digest,
}

/// Puts takes together. `sections` are the papers that stand behind the media.
///
/// # Errors
/// When a take cannot be read or cannot be joined to the others.
pub fn build(takes: &[Take], bytes: &[Blob], sections: &[(&str, &[u8])]) -> io::Result<SelfProving> {
    let joined = join(takes, bytes)?;
    let names: Vec<String> = takes.iter().map(|take| format!("take-{}", take.n)).collect();
    let mut all = sections.to_vec();
    all.extend(names.iter().zip(&joined.boxes).map(|(name, boxes)| (name.as_str(), boxes.as_slice())));
    let tail = trailer::write(&all).map_err(io::Error::other)?;
    let digest = Digest::of(&[joined.head.as_slice(), &tail].concat());
    let mut whole = Spliced::default();
    let memory = |bytes: Vec<u8>| -> Blob { Arc::new(bytes) };
    let (head, tail) = (memory(joined.head), memory(tail));
    whole.push(&head, 0, head.size());
    for run in &joined.runs {
        let take = bytes.get(run.take).ok_or_else(|| io::Error::other("a take is missing"))?;
        whole.push(take, run.offset, run.length);
    }
    whole.push(&tail, 0, tail.size());
    Ok(SelfProving { bytes: Arc::new(whole), digest })
}

/// Reads the heads of all fragments.
fn join(takes: &[Take], bytes: &[Blob]) -> io::Result<Joined> {
    let odd = |e: CannotJoin| io::Error::new(io::ErrorKind::InvalidData, e);
    let mut joiner = Joiner::default();
    for (take, bytes) in takes.iter().zip(bytes) {
        covers(take).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
        let init = take.fragments.first().map_or(0, |fragment| fragment.offset);
        let mut wanted = vec![(0, init.min(LONGEST_HEAD))];
        wanted.extend(take.fragments.iter().map(|fragment| (fragment.offset, fragment.length.min(HEAD))));
        let mut heads = bytes.ranges(&wanted)?.into_iter();
        joiner.take(&heads.next().unwrap_or_default()).map_err(odd)?;
        for (fragment, mut head) in take.fragments.iter().zip(heads) {
            let moof = head.first_chunk().map_or(0, |size| u64::from(u32::from_be_bytes(*size)));
            let needed = moof.saturating_add(16).min(fragment.length);
            if needed > head.len() as u64 {
                head = exactly(bytes.as_ref(), fragment.offset, needed.min(LONGEST_HEAD))?;
            }
            joiner.fragment(fragment.offset, fragment.length, &head).map_err(odd)?;
        }
    }
    joiner.end().map_err(odd)
}

/// Whether the fragments cover the take without a hole: what lies between them would be lost.
fn covers(take: &Take) -> Result<(), String> {
    let mut at = take.fragments.first().map_or(take.size, |fragment| fragment.offset);
    for fragment in &take.fragments {
        if fragment.offset != at {
            return Err(format!("the fragments of take {} do not follow each other", take.n));
        }
        at = at.checked_add(fragment.length).ok_or_else(|| format!("take {} is too long", take.n))?;
    }
    if at == take.size { Ok(()) } else { Err(format!("the fragments of take {} do not add up", take.n)) }
}

/// A standard MP4 that may have a proof behind its media.
pub struct File {
    bytes: Blob,
    media_at: u64,
    media: u64,
    /// The papers and the takes' boxes, by name.
    pub sections: BTreeMap<String, Vec<u8>>,
    /// What is wrong with the file as such.
    pub faults: Vec<Fault>,
}

/// The kind and length of the box at an offset, and of its header.
fn box_at(bytes: &Blob, offset: u64) -> io::Result<Option<([u8; 4], u64, u64)>> {
    let left = bytes.size().saturating_sub(offset);
    if left < 8 {
        return Ok(None);
    }
    let header = exactly(bytes.as_ref(), offset, left.min(16))?;
    let small = header.first_chunk().map_or(0, |b| u64::from(u32::from_be_bytes(*b)));
    let kind = header.get(4..8).and_then(|kind| kind.try_into().ok()).unwrap_or_default();
    let large = header.get(8..16).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes);
    Ok(match (small, large) {
        (1, Some(large)) if large >= 16 => Some((kind, large, 16)),
        (small, _) if small >= 8 => Some((kind, small, 8)),
        _ => None,
    })
}

impl File {
    /// Looks at a file; `None` when it is no standard MP4 as lessons are exported, or has nothing to prove itself by.
    ///
    /// # Errors
    /// When it cannot be read, or its proof cannot: a sentence.
    pub fn open(bytes: &Blob) -> io::Result<Option<Self>> {
        let mut at = 0;
        for wanted in [b"ftyp", b"moov"] {
            match box_at(bytes, at)? {
                Some((kind, size, _)) if kind == *wanted && size <= LONGEST_MOOV => at += size,
                _ => return Ok(None),
            }
        }
        let Some((kind, size, header)) = box_at(bytes, at)? else { return Ok(None) };
        if kind != *b"mdat" {
            return Ok(None);
        }
        let (media_at, media) = (at + header, size - header);
        let end = media_at.saturating_add(media);
        let mut file =
            Self { bytes: Arc::clone(bytes), media_at, media, sections: BTreeMap::new(), faults: Vec::new() };
        if end > bytes.size() {
            file.faults.push(Fault::FileShort { missing: end - bytes.size() });
            return Ok(Some(file));
        }
        let left = bytes.size() - end;
        let header = exactly(bytes.as_ref(), end, left.min(trailer::HEADER as u64))?;
        let Some(length) = trailer::length(&header).filter(|length| *length <= trailer::LARGEST) else {
            return Ok(None);
        };
        if length > left {
            file.faults.push(Fault::FileShort { missing: length - left });
            return Ok(Some(file));
        }
        if length < left {
            file.faults.push(Fault::FileLong { extra: left - length });
        }
        let payload = exactly(
            bytes.as_ref(),
            end + trailer::HEADER as u64,
            length.saturating_sub(trailer::HEADER as u64),
        )?;
        match trailer::read(&payload) {
            Ok(sections) => {
                file.sections = sections.into_iter().map(|(name, bytes)| (name, bytes.to_vec())).collect();
            }
            Err(e) => file.faults.push(Fault::Unreadable { what: "the MP4".into(), why: e.to_string() }),
        }
        Ok(Some(file))
    }

    /// The takes, put together again. Tables that do not follow from them become a fault.
    ///
    /// # Errors
    /// A sentence, when the boxes of a take are not there or are not those of these takes.
    pub fn takes(&mut self, takes: &[Take]) -> Result<BTreeMap<u32, Blob>, String> {
        let mut joiner = Joiner::default();
        let mut found = BTreeMap::new();
        let mut media = 0u64;
        for take in takes {
            covers(take)?;
            let name = format!("take-{}", take.n);
            let boxes = self.sections.get(&name).ok_or_else(|| format!("the boxes of {name} are missing"))?;
            let boxes: Blob = Arc::new(boxes.clone());
            let short = |e: io::Error| format!("the boxes of {name} cannot be read: {e}");
            let mut whole = Spliced::default();
            let init = take.fragments.first().map_or(0, |fragment| fragment.offset);
            joiner.take(&exactly(boxes.as_ref(), 0, init).map_err(short)?).map_err(|e| e.to_string())?;
            whole.push(&boxes, 0, init);
            let mut at = init;
            for fragment in &take.fragments {
                let moof = exactly(boxes.as_ref(), at, 4).map_err(short)?;
                let moof = moof.first_chunk().map_or(0, |size| u64::from(u32::from_be_bytes(*size)));
                let small = exactly(boxes.as_ref(), at + moof, 4).map_err(short)?;
                let length = moof + if small == [0, 0, 0, 1] { 16 } else { 8 };
                let head = exactly(boxes.as_ref(), at, length).map_err(short)?;
                joiner.fragment(fragment.offset, fragment.length, &head).map_err(|e| e.to_string())?;
                whole.push(&boxes, at, length);
                // The joiner has seen that the fragment is longer than its head.
                let run = fragment.length - length;
                whole.push(&self.bytes, self.media_at + media, run);
                (at, media) = (at + length, media + run);
            }
            found.insert(take.n, Arc::new(whole) as Blob);
        }
        let joined = joiner.end().map_err(|e| e.to_string())?;
        let head = joined.head.len() as u64;
        let same = head == self.media_at
            && joined.media() == self.media
            && exactly(self.bytes.as_ref(), 0, head).is_ok_and(|bytes| bytes == joined.head);
        if !same {
            self.faults.push(Fault::Tables);
        }
        Ok(found)
    }
}
