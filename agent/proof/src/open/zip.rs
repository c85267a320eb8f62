//! Reads a zip file whose entries are stored as they are (APPNOTE 6.3, with zip64), as exports are.
//!
//! Only the directory at its end counts. When all entries lie in one folder, its name is left out: the export is what
//! is in it. Compressed entries are refused with a sentence: video does not become smaller, so ours never are.

use std::collections::BTreeMap;
use std::io;

use super::files::Files;
use crate::bytes::{Blob, Spliced, exactly};

/// Largest directory that is read, bytes.
const MAX_DIRECTORY: u64 = 64 << 20;
/// The end record: its length without a comment, and the longest comment.
const END: (u64, u64) = (22, 65_535);

/// An archive.
pub struct Archive {
    bytes: Blob,
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    method: u16,
    stored: u64,
    size: u64,
    header_at: u64,
}

/// A number of two, four or eight bytes, little end first.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
}

impl Archive {
    /// Reads the directory.
    ///
    /// # Errors
    /// A sentence.
    pub fn open(bytes: &Blob) -> Result<Self, String> {
        let (at, size) = directory(bytes).map_err(|e| e.to_string())?.ok_or("the zip file is cut off")?;
        if size > MAX_DIRECTORY {
            return Err("the zip file's directory is too large".into());
        }
        let directory = exactly(bytes.as_ref(), at, size).map_err(|e| e.to_string())?;
        let mut entries = BTreeMap::new();
        let mut rest = directory.as_slice();
        while !rest.is_empty() {
            let (name, entry, length) = entry(rest).ok_or("the zip file's directory cannot be read")?;
            rest = rest.get(length..).unwrap_or_default();
            if !name.ends_with('/') && entries.insert(name.clone(), entry).is_some() {
                return Err(format!("the zip file holds {name} twice"));
            }
        }
        Ok(Self { bytes: Blob::clone(bytes), entries: without_folder(entries) })
    }
}

/// Where the directory begins, and its length.
fn directory(bytes: &Blob) -> io::Result<Option<(u64, u64)>> {
    let tail_at = bytes.size().saturating_sub(END.0 + END.1);
    let tail = exactly(bytes.as_ref(), tail_at, bytes.size() - tail_at)?;
    let Some(end) = tail.windows(4).rposition(|w| w == b"PK\x05\x06") else { return Ok(None) };
    let small = number(&tail, end + 16, 4).zip(number(&tail, end + 12, 4));
    let count = number(&tail, end + 10, 2);
    let is_large = count == Some(0xffff) || small.is_some_and(|(a, b)| a.max(b) == 0xffff_ffff);
    if !is_large {
        return Ok(small);
    }
    let locator = end.checked_sub(20).and_then(|at| tail.get(at..end));
    let locator = locator.filter(|l| l.starts_with(b"PK\x06\x07"));
    let Some(record_at) = locator.and_then(|l| number(l, 8, 8)) else { return Ok(None) };
    let record = exactly(bytes.as_ref(), record_at, 56)?;
    let large = number(&record, 48, 8).zip(number(&record, 40, 8));
    Ok(large.filter(|_| record.starts_with(b"PK\x06\x06")))
}

/// The first entry of a directory: name, where it is, length in the directory.
fn entry(directory: &[u8]) -> Option<(String, Entry, usize)> {
    if !directory.starts_with(b"PK\x01\x02") {
        return None;
    }
    let length = |at| number(directory, at, 2).and_then(|n| usize::try_from(n).ok());
    let (name_length, extra_length, comment_length) = (length(28)?, length(30)?, length(32)?);
    let extra_at = 46 + name_length;
    let name = String::from_utf8(directory.get(46..extra_at)?.to_vec()).ok()?;
    let extra = directory.get(extra_at..extra_at + extra_length)?;
    // What does not fit into four bytes stands in the zip64 field, in this order.
    let mut large = field(extra, 1).unwrap_or_default();
    let mut wide = |at| {
        let small = number(directory, at, 4)?;
        if small != 0xffff_ffff {
            return Some(small);
        }
        let value = number(large, 0, 8)?;
        large = large.get(8..)?;
        Some(value)
    };
    let (size, stored, header_at) = (wide(24)?, wide(20)?, wide(42)?);
    let method = u16::try_from(number(directory, 10, 2)?).ok()?;
    let whole = extra_at + extra_length + comment_length;
    Some((name, Entry { method, stored, size, header_at }, whole))
}

/// An extra field by its number.
fn field(mut extra: &[u8], wanted: u64) -> Option<&[u8]> {
    loop {
        let length = usize::try_from(number(extra, 2, 2)?).ok()?;
        let body = extra.get(4..4 + length)?;
        if number(extra, 0, 2)? == wanted {
            return Some(body);
        }
        extra = extra.get(4 + length..)?;
    }
}

/// Names without the one folder all are in.
fn without_folder(entries: BTreeMap<String, Entry>) -> BTreeMap<String, Entry> {
    let top = entries.keys().next().and_then(|name| name.split_once('/')).map(|(top, _)| format!("{top}/"));
    match top.filter(|top| top != "data/" && entries.keys().all(|name| name.starts_with(top.as_str()))) {
        Some(top) => entries.into_iter().map(|(name, entry)| (name[top.len()..].to_owned(), entry)).collect(),
        None => entries,
    }
}

impl Files for Archive {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.entries.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Blob> {
        let entry = self.entries.get(name).ok_or(io::ErrorKind::NotFound)?;
        if entry.method != 0 || entry.stored != entry.size {
            return Err(io::Error::other("it is compressed: unpack the zip file and check the folder"));
        }
        let header = exactly(self.bytes.as_ref(), entry.header_at, 30)?;
        let odd = || io::Error::other("its place in the zip file is wrong");
        let skip = number(&header, 26, 2).zip(number(&header, 28, 2)).map(|(name, extra)| 30 + name + extra);
        let at = skip.filter(|_| header.starts_with(b"PK\x03\x04")).ok_or_else(odd)?;
        let at = entry.header_at.checked_add(at).ok_or_else(odd)?;
        if at.checked_add(entry.size).is_none_or(|end| end > self.bytes.size()) {
            return Err(odd());
        }
        Ok(Spliced::window(&self.bytes, at, entry.size))
    }

    fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }
}
