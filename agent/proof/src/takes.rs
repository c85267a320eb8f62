//! Reads takes and holds their bytes against the manifest's hashes.
//!
//! Each byte is hashed twice, as its part's and as the take's; the second in a thread of its own, on the buffers
//! the first has read, so that the bytes are read once and both cores work.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use lectern_wire::PART_SIZE;
use lectern_wire::digest::Digest;
use lectern_wire::manifest::{Part, Take};
use sha2::{Digest as _, Sha256};

use crate::bytes::{Blob, ReadAt};
use crate::report::{Fault, Harm};

/// Read at once, bytes.
const PIECE: u64 = 1 << 20;
/// Pieces that may wait for the second hash.
const AHEAD: usize = 4;

/// Whether parts are numbered and sized as they must be, and make up the take.
#[must_use]
pub fn adds_up(take: &Take) -> bool {
    let last = take.parts.len().wrapping_sub(1);
    let in_order = take.parts.iter().enumerate().all(|(n, p)| {
        p.n as usize == n && p.size > 0 && (p.size == PART_SIZE || n == last && p.size < PART_SIZE)
    });
    let sum = take.parts.iter().try_fold(0u64, |sum, p| sum.checked_add(p.size));
    in_order && sum == Some(take.size)
}

/// Checks all bytes of a take; gives what is wrong.
pub fn check_all(take: &Take, bytes: &Blob, all: &[Take]) -> Vec<Fault> {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        let whole = scope.spawn(move || hash_whole(&receiver));
        let mut reader = Reader { also: Some(sender), ..Reader::default() };
        let mut faults: Vec<Fault> =
            take.parts.iter().filter_map(|part| reader.check(take, part, bytes, all)).collect();
        drop(reader);
        let digest = whole.join();
        if faults.is_empty() {
            if !digest.is_ok_and(|digest| digest == take.sha256) {
                faults.push(Fault::WholeHash { take: take.n });
            } else if bytes.size() > take.size {
                faults.push(Fault::TakeTooLong { take: take.n, extra: bytes.size() - take.size });
            }
        }
        faults
    })
}

/// The part these bytes belong to.
fn another(all: &[Take], digest: Digest) -> Option<(u32, u32)> {
    let mut parts = all.iter().flat_map(|take| take.parts.iter().map(|part| (take.n, part)));
    parts.find(|(_, part)| part.sha256 == digest).map(|(take, part)| (take, part.n))
}

fn hash_whole(pieces: &Receiver<Arc<Vec<u8>>>) -> Digest {
    let mut whole = Sha256::new();
    for piece in pieces {
        whole.update(piece.as_slice());
    }
    Digest::finish(whole)
}

/// Reads and hashes, piece by piece.
#[derive(Default)]
pub struct Reader {
    /// What was read goes on to here, where there is somebody.
    also: Option<SyncSender<Arc<Vec<u8>>>>,
    /// Pieces that were used before: new ones would cost as much as half of the hashing.
    used: VecDeque<Arc<Vec<u8>>>,
}

impl Reader {
    /// Checks one part.
    pub fn check(&mut self, take: &Take, part: &Part, bytes: &Blob, all: &[Take]) -> Option<Fault> {
        let offset = u64::from(part.n) * PART_SIZE;
        let harm = match self.hash(bytes.as_ref(), offset, part.size) {
            Ok(Some(digest)) if digest == part.sha256 => return None,
            Ok(Some(digest)) => another(all, digest).map_or(Harm::Altered, |(take, n)| Harm::Is { take, n }),
            Ok(None) => Harm::Missing,
            Err(e) => Harm::Unreadable(e.to_string()),
        };
        Some(Fault::Part { take: take.n, n: part.n, span: take.span_of(offset, part.size), harm })
    }

    /// Hashes exactly `size` bytes; `None` when there are fewer.
    ///
    /// # Errors
    /// What is below says.
    pub fn hash(&mut self, bytes: &dyn ReadAt, offset: u64, size: u64) -> io::Result<Option<Digest>> {
        let mut part = Sha256::new();
        let mut done = 0;
        while done < size {
            let want = usize::try_from((size - done).min(PIECE)).unwrap_or(usize::MAX);
            let mut piece = self.piece();
            let room = Arc::get_mut(&mut piece).and_then(|piece| {
                piece.resize(want, 0);
                piece.get_mut(..want)
            });
            let room = room.ok_or_else(|| io::Error::other("a piece is in use"))?;
            let mut filled = 0;
            while filled < want {
                match bytes.read_at(&mut room[filled..], offset + done + filled as u64)? {
                    0 => return Ok(None),
                    n => filled += n,
                }
            }
            done += want as u64;
            if let Some(also) = &self.also {
                // The other end is only gone when its thread has died; then its hash is missing and tells.
                also.send(Arc::clone(&piece)).ok();
            }
            part.update(piece.as_slice());
            self.used.push_back(piece);
        }
        Ok(Some(Digest::finish(part)))
    }

    /// A piece that nobody reads any more.
    fn piece(&mut self) -> Arc<Vec<u8>> {
        let used = self.used.pop_front();
        used.filter(|piece| Arc::strong_count(piece) == 1).unwrap_or_default()
    }
}
