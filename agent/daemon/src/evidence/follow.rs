//! Follows a take while it grows: one pass over the bytes gives part hashes, the whole hash and
//! the fragment index.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use lectern_wire::PART_SIZE;
use lectern_wire::chain::chain_hash;
use lectern_wire::digest::Digest;
use lectern_wire::fmp4::Scanner;
use lectern_wire::manifest::Part;
use sha2::{Digest as _, Sha256};

use super::SealError;

/// Where the pass over a take stands.
pub struct Follower {
    path: PathBuf,
    offset: u64,
    scanner: Scanner,
    part: Sha256,
    whole: Sha256,
    parts: Vec<Part>,
}

/// A take read to its end.
pub struct Measured {
    /// All parts, the last one short.
    pub parts: Vec<Part>,
    /// Hash of all bytes.
    pub sha256: Digest,
    /// What the scanner saw.
    pub scanner: Scanner,
}

impl Follower {
    /// Begins at the take's first byte.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            offset: 0,
            scanner: Scanner::default(),
            part: Sha256::new(),
            whole: Sha256::new(),
            parts: Vec::new(),
        }
    }

    /// Reads on to `durable` bytes; gives the parts that became full.
    ///
    /// # Errors
    /// [`SealError`] when the file cannot be read, is shorter than said, or is not a take.
    pub fn advance(&mut self, durable: u64) -> Result<Vec<Part>, SealError> {
        let before = self.parts.len();
        if durable > self.offset {
            let file_error = |path: &PathBuf| {
                let path = path.clone();
                move |source| SealError::File { path, source }
            };
            let mut file = File::open(&self.path).map_err(file_error(&self.path))?;
            file.seek(SeekFrom::Start(self.offset)).map_err(file_error(&self.path))?;
            let mut buffer = vec![0; 256 * 1024];
            while self.offset < durable {
                let in_part = PART_SIZE - self.offset % PART_SIZE;
                let want = (durable - self.offset).min(in_part).min(buffer.len() as u64);
                let piece = &mut buffer[..usize::try_from(want).unwrap_or(0)];
                file.read_exact(piece).map_err(file_error(&self.path))?;
                self.scanner
                    .push(piece)
                    .map_err(|source| SealError::NotATake { path: self.path.clone(), source })?;
                self.part.update(&*piece);
                self.whole.update(&*piece);
                self.offset += want;
                if self.offset.is_multiple_of(PART_SIZE) {
                    self.close_part(PART_SIZE);
                }
            }
        }
        Ok(self.parts.get(before..).unwrap_or_default().to_vec())
    }

    /// Bytes so far and their chain hash, when they end with a fragment; see [`lectern_wire::chain`].
    pub fn head(&self) -> Option<(u64, Digest)> {
        if self.scanner.fragments().is_empty() || self.scanner.whole() != self.offset {
            return None;
        }
        let open = (!self.offset.is_multiple_of(PART_SIZE)).then(|| Digest::finish(self.part.clone()));
        Some((self.offset, chain_hash(self.parts.iter().map(|part| &part.sha256), open.as_ref())))
    }

    fn close_part(&mut self, size: u64) {
        let n = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
        let sha256 = Digest::finish(std::mem::take(&mut self.part));
        self.parts.push(Part { n, size, sha256 });
    }

    /// Ends the take here: the rest is its last, short part.
    pub fn end(mut self) -> Measured {
        let rest = self.offset % PART_SIZE;
        if rest > 0 {
            self.close_part(rest);
        }
        Measured { parts: self.parts, sha256: Digest::finish(self.whole), scanner: self.scanner }
    }
}
