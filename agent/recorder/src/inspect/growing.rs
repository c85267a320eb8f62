//! A take that is still being written, read no further than it is durable.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use lectern_wire::report::Growth;

/// Blocks until more is durable; ends where the take ends.
pub struct Growing {
    file: File,
    at: u64,
    durable: u64,
    ended: bool,
}

impl Growing {
    /// Opens the take. What standard input says is heard only when more bytes are wanted.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, at: 0, durable: 0, ended: false })
    }

    fn listen(&mut self) -> io::Result<()> {
        let mut line = String::new();
        if io::stdin().read_line(&mut line)? == 0 {
            return Err(io::Error::other("nobody says any more how far the take has grown"));
        }
        match serde_json::from_str(&line)? {
            Growth::Durable(bytes) => self.durable = self.durable.max(bytes),
            Growth::End(bytes) => (self.durable, self.ended) = (bytes, true),
        }
        Ok(())
    }
}

impl Read for Growing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.durable {
            if self.ended {
                return Ok(0);
            }
            self.listen()?;
        }
        let left = usize::try_from(self.durable - self.at).unwrap_or(usize::MAX);
        let want = left.min(buffer.len());
        let n = self.file.read(&mut buffer[..want])?;
        if n == 0 && want > 0 {
            return Err(io::Error::other("the take is shorter than it was said to be"));
        }
        self.at += n as u64;
        Ok(n)
    }
}
