//! A physical key where there is none: a pipe that carries what the kernel writes for one. To whoever reads it, it
//! differs from a real device only in that it cannot be asked what it is.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lectern_base::clock;
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// A key of the kernel's numbers that tests press.
pub const F9: u16 = 67;

const SYN: (u16, u16) = (0, 0);
const KEY: u16 = 1;
const SCAN: (u16, u16) = (4, 4);

/// A key that is plugged in. Dropping it pulls it.
#[derive(Debug)]
pub struct Key {
    path: PathBuf,
    device: File,
}

impl Key {
    /// Plugs it in as a file of a folder.
    ///
    /// # Errors
    /// When the pipe cannot be made.
    pub fn plug(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let path = folder.join(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).context("a pipe")?;
        // For reading too, or opening it would wait for a reader.
        let device = File::options().read(true).write(true).open(&path).context("a pipe")?;
        Ok(Self { path, device })
    }

    /// Sends changes of a key, all at once: milliseconds from now on the device's own clock, and 1 for down, 0 for up,
    /// 2 for a repetition. Each comes with its scan code and its report, as a keyboard sends them.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn send(&mut self, code: u16, changes: &[(i64, i32)]) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        for (later_ms, value) in changes {
            let at = clock::wall_us() + later_ms * 1000;
            for (kind, code, value) in [(SCAN.0, SCAN.1, 0x7_0042), (KEY, code, *value), (SYN.0, SYN.1, 0)] {
                bytes.extend(at.div_euclid(1_000_000).to_ne_bytes());
                bytes.extend(at.rem_euclid(1_000_000).to_ne_bytes());
                bytes.extend(kind.to_ne_bytes());
                bytes.extend(code.to_ne_bytes());
                bytes.extend(value.to_ne_bytes());
            }
        }
        self.device.write_all(&bytes).context("the key cannot be pressed")
    }

    /// A press of a tenth of a second.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn press(&mut self, code: u16) -> anyhow::Result<()> {
        self.send(code, &[(0, 1), (100, 0)])
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).ok();
    }
}
