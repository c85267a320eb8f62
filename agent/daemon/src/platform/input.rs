//! Input devices: which there are, and what they say. Events are read as the kernel writes them, without a library
//! and without asking the device anything.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tokio::net::unix::pipe::Receiver;

use crate::model::key::InputEvent;

/// Most that is read at one time: a device that never stops must not keep everything else waiting.
const AT_ONCE: usize = 64 * InputEvent::BYTES;

/// The device files that a setting means: the path itself or, with a `*` in its last part, every name that fits.
#[must_use]
pub fn matching(device: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (device.parent(), device.file_name()) else { return Vec::new() };
    let name = name.to_string_lossy();
    let Some((start, end)) = name.split_once('*') else {
        return if device.exists() { vec![device.to_owned()] } else { Vec::new() };
    };
    let fits = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
    };
    // A folder that is not there, such as /dev/input of a machine without any input device, holds nothing.
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries.map(|entry| entry.path()).filter(fits).collect();
    found.sort();
    found
}

/// An open input device.
#[derive(Debug)]
pub struct Input {
    /// tokio's pipe asks of a file only what input devices do as well: that it can be waited for and read.
    file: Receiver,
    /// What came of an event so far, where a reading ended in the middle of one.
    rest: Vec<u8>,
}

/// What came of looking at a device.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Events, oldest first; none when nothing more is there.
    Events(Vec<InputEvent>),
    /// It is gone.
    Gone,
}

impl Input {
    /// Opens a device. Needs a runtime.
    ///
    /// # Errors
    /// A sentence that names it.
    pub fn open(path: &Path) -> Result<Self, String> {
        let file = plain(path)?;
        let failed = |e: std::io::Error| format!("{} cannot be watched: {e}", path.display());
        Ok(Self { file: Receiver::from_file_unchecked(file).map_err(failed)?, rest: Vec::new() })
    }

    /// Comes back when there may be something to read.
    pub async fn wait(&self) {
        // An error is met again, and told, by the reading.
        if let Err(e) = self.file.readable().await {
            tracing::debug!("an input device cannot be waited for: {e}");
        }
    }

    /// Takes what is there, without waiting.
    pub fn read(&mut self) -> Heard {
        let mut bytes = [0; AT_ONCE];
        loop {
            match self.file.try_read(&mut bytes) {
                Ok(0) => return Heard::Gone,
                Ok(n) => {
                    self.rest.extend_from_slice(bytes.get(..n).unwrap_or_default());
                    let (whole, rest) = self.rest.as_chunks::<{ InputEvent::BYTES }>();
                    let events = whole.iter().map(InputEvent::read).collect();
                    self.rest = rest.to_vec();
                    return Heard::Events(events);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Heard::Events(Vec::new()),
                // ENODEV: it was unplugged.
                Err(e) => {
                    tracing::debug!("an input device cannot be read: {e}");
                    return Heard::Gone;
                }
            }
        }
    }
}

/// Whether a device could be opened; for `lectern doctor`.
///
/// # Errors
/// A sentence that names it.
pub fn check(path: &Path) -> Result<(), String> {
    plain(path).map(drop)
}

fn plain(path: &Path) -> Result<File, String> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(|e| {
        let hint = match e.kind() {
            ErrorKind::PermissionDenied => {
                "; packaging/udev/70-lectern.rules says how Lectern gets to read it"
            }
            _ => "",
        };
        format!("{} cannot be opened: {e}{hint}", path.display())
    })?;
    let kind = file.metadata().map_err(|e| format!("{}: {e}", path.display()))?.file_type();
    // A pipe may stand in for a device: what receives a remote control often writes its events to one.
    if kind.is_char_device() || kind.is_fifo() {
        Ok(file)
    } else {
        Err(format!("{} is no input device", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text_of_a_name() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["lectern-key-event3", "lectern-key-event12", "event3", "lectern-ke"] {
            std::fs::write(folder.path().join(name), "").expect("a file");
        }
        let names = |pattern: &str| {
            let found = matching(&folder.path().join(pattern));
            let names =
                found.iter().map(|p| p.file_name().unwrap_or_default().to_string_lossy().into_owned());
            names.collect::<Vec<_>>()
        };
        assert_eq!(names("lectern-key*"), ["lectern-key-event12", "lectern-key-event3"]);
        assert_eq!(names("lectern-key*3"), ["lectern-key-event3"]);
        assert_eq!(names("event3"), ["event3"]);
        assert_eq!(names("event4"), Vec::<String>::new());
        assert!(matching(Path::new("/dev/input-of-nobody/lectern-key*")).is_empty());
    }

    #[test]
    fn what_is_no_device_is_refused_with_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        assert!(check(&file).expect_err("nothing there").contains("cannot be opened"));
        std::fs::write(&file, "").expect("a file");
        assert!(check(&file).expect_err("a file").ends_with("is no input device"));
        assert!(check(folder.path()).expect_err("a folder").ends_with("is no input device"));
        assert_eq!(check(Path::new("/dev/null")), Ok(()), "a character device may be one");
    }
}
