//! Writes a zip file in one pass: entries stored as they are, sizes known beforehand, checksums behind the bytes.
//!
//! APPNOTE 6.3: bit 3 (checksum in a descriptor behind the entry) and bit 11 (names in UTF-8); zip64 for what does not
//! fit into four bytes. The whole length is known before the first byte, so a browser can show how far it is.

use std::io::{self, Write};

use crc32fast::Hasher;

use crate::bytes::ReadAt;

/// Read and written at once, bytes.
const PIECE: usize = 256 * 1024;
/// From here on a number does not fit into its four bytes.
const WIDE: u64 = 0xffff_ffff;
/// Descriptor behind the bytes; names in UTF-8.
const FLAGS: u16 = 0x0808;
/// 1980-01-01 00:00: the papers say when it was recorded, and an export without names must not say more.
const WHEN: u32 = 0x0021_0000;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Entries.
    pub files: usize,
    /// Bytes of the whole file.
    pub bytes: u64,
}

/// A zip file being written.
pub struct Writer<'a> {
    out: &'a mut dyn Write,
    at: u64,
    entries: Vec<Entry>,
}

/// Four bytes of a number; what does not fit is said elsewhere.
fn four(n: u64) -> [u8; 4] {
    u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes()
}

fn two(n: usize) -> [u8; 2] {
    u16::try_from(n).unwrap_or(u16::MAX).to_le_bytes()
}

struct Entry {
    name: String,
    size: u64,
    crc: u32,
    header_at: u64,
}

impl Entry {
    fn is_wide(&self) -> bool {
        self.size >= WIDE
    }

    /// What header and directory say alike. In the header checksum and sizes are left to the descriptor.
    fn said(&self, crc: u32, size: [u8; 4], extra: usize) -> Vec<u8> {
        let version: u16 = if self.is_wide() || self.header_at >= WIDE { 45 } else { 20 };
        let mut said = Vec::from(version.to_le_bytes());
        said.extend(FLAGS.to_le_bytes());
        said.extend([0; 2]);
        said.extend(WHEN.to_le_bytes());
        said.extend(crc.to_le_bytes());
        said.extend([size, size].concat());
        said.extend(two(self.name.len()));
        said.extend(two(extra));
        said
    }

    fn header(&self) -> Vec<u8> {
        // An empty zip64 field says that the descriptor's sizes take eight bytes.
        let (size, extra) = match self.is_wide() {
            true => ([0xff; 4], [[1, 0, 16, 0].as_slice(), &[0; 16]].concat()),
            false => ([0; 4], Vec::new()),
        };
        [b"PK\x03\x04", self.said(0, size, extra.len()).as_slice(), self.name.as_bytes(), &extra].concat()
    }

    fn descriptor(&self) -> Vec<u8> {
        let size = if self.is_wide() { self.size.to_le_bytes().to_vec() } else { four(self.size).to_vec() };
        [b"PK\x07\x08".as_slice(), &self.crc.to_le_bytes(), &size, &size].concat()
    }

    fn directory(&self) -> Vec<u8> {
        let mut large = Vec::new();
        if self.is_wide() {
            large.extend([self.size.to_le_bytes(), self.size.to_le_bytes()].concat());
        }
        if self.header_at >= WIDE {
            large.extend(self.header_at.to_le_bytes());
        }
        let field = if large.is_empty() { large } else { [&[1, 0], &two(large.len())[..], &large].concat() };
        // Made by UNIX, so that a file gets its permissions: rw-r--r--.
        let mut entry = Vec::from(b"PK\x01\x02\x2d\x03");
        entry.extend(self.said(self.crc, four(self.size), field.len()));
        entry.extend([0; 6]);
        entry.extend((0o100_644_u32 << 16).to_le_bytes());
        entry.extend(four(self.header_at));
        entry.extend(self.name.as_bytes());
        entry.extend(field);
        entry
    }
}

/// The end of a zip file whose directory begins at an offset.
fn end(entries: usize, at: u64, size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    if at >= WIDE || size >= WIDE || entries >= 0xffff {
        let count = (entries as u64).to_le_bytes();
        out.extend(b"PK\x06\x06");
        out.extend(44u64.to_le_bytes());
        out.extend([0x2d, 3, 0x2d, 0]);
        out.extend([0; 8]);
        out.extend([count, count, size.to_le_bytes(), at.to_le_bytes()].concat());
        out.extend(b"PK\x06\x07");
        out.extend([0; 4]);
        out.extend((at + size).to_le_bytes());
        out.extend(1u32.to_le_bytes());
    }
    out.extend(b"PK\x05\x06");
    out.extend([0; 4]);
    out.extend([two(entries), two(entries)].concat());
    out.extend([four(size), four(at)].concat());
    out.extend([0; 2]);
    out
}

impl<'a> Writer<'a> {
    /// Begins.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, at: 0, entries: Vec::new() }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Writes an entry; every piece of it goes to `seen` too.
    ///
    /// # Errors
    /// What reading or writing says; bytes that end too early are [`io::ErrorKind::UnexpectedEof`].
    pub fn entry(&mut self, name: &str, bytes: &dyn ReadAt, mut seen: impl FnMut(&[u8])) -> io::Result<()> {
        let mut entry = Entry { name: name.to_owned(), size: bytes.size(), crc: 0, header_at: self.at };
        self.put(&entry.header())?;
        let (mut done, mut crc, mut piece) = (0, Hasher::new(), vec![0; PIECE]);
        while done < entry.size {
            let want = usize::try_from(entry.size - done).unwrap_or(PIECE).min(PIECE);
            let n = bytes.read_at(&mut piece[..want], done)?;
            if n == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{name} ends too early")));
            }
            crc.update(&piece[..n]);
            seen(&piece[..n]);
            self.put(&piece[..n])?;
            done += n as u64;
        }
        entry.crc = crc.finalize();
        self.put(&entry.descriptor())?;
        self.entries.push(entry);
        Ok(())
    }

    /// Writes the directory.
    ///
    /// # Errors
    /// What writing says.
    pub fn end(mut self) -> io::Result<Written> {
        let directory: Vec<u8> = self.entries.iter().flat_map(Entry::directory).collect();
        let end = end(self.entries.len(), self.at, directory.len() as u64);
        self.put(&directory)?;
        self.put(&end)?;
        self.out.flush()?;
        Ok(Written { files: self.entries.len(), bytes: self.at })
    }
}

/// Length of the zip file that holds these entries, as (name, bytes).
#[must_use]
pub fn size(entries: &[(String, u64)]) -> u64 {
    let (mut at, mut directory) = (0, 0);
    for (name, size) in entries {
        let entry = Entry { name: name.clone(), size: *size, crc: 0, header_at: at };
        directory += entry.directory().len() as u64;
        at += (entry.header().len() + entry.descriptor().len()) as u64 + size;
    }
    at + directory + end(entries.len(), at, directory).len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Blob;
    use crate::open::zip::Archive;
    use std::sync::Arc;

    /// More bytes than four bytes can count, all zero.
    struct Zeros(u64);

    impl ReadAt for Zeros {
        fn size(&self) -> u64 {
            self.0
        }
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let n = usize::try_from(self.0 - offset).unwrap_or(usize::MAX).min(buffer.len());
            buffer[..n].fill(0);
            Ok(n)
        }
    }

    #[test]
    fn the_length_is_known_beforehand_and_the_entries_are_found_again() {
        let mut out = Vec::new();
        let mut zip = Writer::new(&mut out);
        let files = [("a/课.mp4".to_owned(), vec![7u8; 300_000]), ("a/b/empty".to_owned(), vec![])];
        for (name, bytes) in &files {
            zip.entry(name, bytes, |_| {}).expect("writes");
        }
        let written = zip.end().expect("writes");
        assert_eq!((written.files, written.bytes), (2, out.len() as u64));
        let sizes: Vec<_> = files.iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect();
        assert_eq!(size(&sizes), out.len() as u64);
        let blob: Blob = Arc::new(out);
        let archive = Archive::open(&blob).expect("reads");
        use crate::open::Files as _;
        assert_eq!(archive.names().expect("names"), ["b/empty", "课.mp4"], "without the one folder");
        let read = crate::bytes::all(archive.open("课.mp4").expect("opens").as_ref(), 1 << 20);
        assert_eq!(read.expect("reads"), files[0].1);
    }

    #[test]
    fn entries_beyond_four_gibibytes_are_placed_by_zip64() {
        let sizes = [("a".to_owned(), WIDE), ("b".to_owned(), 10)];
        let parts: u64 = sizes.iter().map(|(_, size)| size).sum();
        let second = Entry { name: "b".into(), size: 10, crc: 0, header_at: WIDE + 100 };
        assert_eq!(second.directory().len(), 46 + 1 + 4 + 8, "where it is takes eight bytes more");
        let first = Entry { name: "a".into(), size: WIDE, crc: 0, header_at: 0 };
        assert_eq!(first.header().len() + first.descriptor().len(), 30 + 1 + 20 + 24);
        assert_eq!(
            size(&sizes) - parts,
            (30 + 1 + 20 + 24) + (30 + 1 + 16) + (46 + 1 + 20) + (46 + 1 + 12) + 98
        );
        assert!(exact(&Zeros(3)).is_ok());
    }

    fn exact(bytes: &Zeros) -> io::Result<Written> {
        let mut sink = io::sink();
        let mut zip = Writer::new(&mut sink);
        zip.entry("z", bytes, |_| {})?;
        zip.end()
    }
}
