//! Bytes that stand still, wherever they are: in memory, in a file, in a piece of one, or pieces one after another.
//!
//! All that is checked or exported is read through [`ReadAt`], so a lesson's folder, a zip file, the hub's store
//! and a standard MP4 that is put together while it is read are all the same to whoever reads.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

/// Bytes that can be read at any place.
pub trait ReadAt: Send + Sync {
    /// How many there are.
    fn size(&self) -> u64;

    /// Reads some bytes at an offset; gives how many, 0 only at the end or for an empty buffer.
    ///
    /// # Errors
    /// What is below says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Reads ranges, as (offset, length), each whole. For what has a better way than one after the other.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when one reaches beyond the end; else what is below says.
    fn ranges(&self, ranges: &[(u64, u64)]) -> io::Result<Vec<Vec<u8>>> {
        ranges.iter().map(|(offset, length)| exactly(self, *offset, *length)).collect()
    }
}

/// Bytes that are shared.
pub type Blob = Arc<dyn ReadAt>;

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let n = buffer.len().min(self.len() - from);
        buffer[..n].copy_from_slice(&self[from..from + n]);
        Ok(n)
    }
}

/// A file as long as it was when it was opened.
#[derive(Debug)]
pub struct FileBytes {
    file: File,
    size: u64,
}

impl FileBytes {
    /// Opens a file. Anything else, such as a folder or a device, is refused.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(path: &Path) -> io::Result<Blob> {
        Self::of(File::open(path)?)
    }

    /// An open file.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of(file: File) -> io::Result<Blob> {
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
        }
        Ok(Arc::new(Self { file, size: meta.len() }))
    }
}

impl ReadAt for FileBytes {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
}

/// Pieces of other bytes, one after another.
#[derive(Default)]
pub struct Spliced {
    pieces: Vec<Piece>,
    size: u64,
}

struct Piece {
    /// Where it begins among all.
    at: u64,
    of: Blob,
    offset: u64,
    length: u64,
}

impl Spliced {
    /// Adds a piece behind the others.
    pub fn push(&mut self, of: &Blob, offset: u64, length: u64) {
        if length > 0 {
            self.pieces.push(Piece { at: self.size, of: Arc::clone(of), offset, length });
            self.size = self.size.saturating_add(length);
        }
    }

    /// A piece of something.
    #[must_use]
    pub fn window(of: &Blob, offset: u64, length: u64) -> Blob {
        let mut one = Self::default();
        one.push(of, offset, length);
        Arc::new(one)
    }
}

impl ReadAt for Spliced {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let after = self.pieces.partition_point(|piece| piece.at <= offset);
        let mut filled = 0;
        for piece in self.pieces.get(after.saturating_sub(1)..).unwrap_or_default() {
            let within = (offset + filled as u64).saturating_sub(piece.at);
            let left = usize::try_from(piece.length.saturating_sub(within)).unwrap_or(usize::MAX);
            let wanted = left.min(buffer.len() - filled);
            if wanted == 0 {
                break;
            }
            let n = piece.of.read_at(&mut buffer[filled..filled + wanted], piece.offset + within)?;
            filled += n;
            if n < wanted {
                // Below there was less than this: the caller asks again, and learns it when nothing comes.
                break;
            }
        }
        Ok(filled)
    }
}

/// Reads exactly so many bytes.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] when there are fewer; else what is below says.
pub fn exactly<T: ReadAt + ?Sized>(of: &T, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    if offset.checked_add(length).is_none_or(|end| end > of.size()) {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends too early"));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    let mut filled = 0;
    while filled < bytes.len() {
        match of.read_at(&mut bytes[filled..], offset + filled as u64)? {
            0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends too early")),
            n => filled += n,
        }
    }
    Ok(bytes)
}

/// Reads all of something that must be small.
///
/// # Errors
/// A sentence when it is larger than `most`; else as [`exactly`].
pub fn all(of: &dyn ReadAt, most: u64) -> io::Result<Vec<u8>> {
    if of.size() > most {
        return Err(io::Error::other(format!("it is larger than {most} bytes")));
    }
    exactly(of, 0, of.size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_read_as_one_at_every_offset_and_length() {
        let (a, b): (Blob, Blob) = (Arc::new(b"0123456789".to_vec()), Arc::new(b"abc".to_vec()));
        let mut spliced = Spliced::default();
        spliced.push(&a, 2, 3);
        spliced.push(&b, 0, 3);
        spliced.push(&a, 0, 0);
        spliced.push(&a, 9, 1);
        let want = b"234abc9";
        assert_eq!(all(&spliced, 100).expect("reads"), want);
        for from in 0..=want.len() {
            for to in from..=want.len() {
                let read = exactly(&spliced, from as u64, (to - from) as u64).expect("reads");
                assert_eq!(read, want[from..to], "{from}..{to}");
            }
        }
        assert!(exactly(&spliced, 0, 8).is_err() && exactly(&spliced, u64::MAX, 2).is_err());
    }
}
