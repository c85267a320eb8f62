//! A state folder on a disk that can only be read: a mains cut at the wrong moment, a disk that dies, a mount by mistake.
//!
//! The daemon starts all the same, with what the folder remembers taken into memory, so that somebody is told: the page,
//! the alarm, doctor. What it learns meanwhile is not kept. No lesson is begun, and when the disk can be written again the
//! daemon ends, to be started anew on what is really there.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use lectern_base::{chance, disk};
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::{StoreError, at};

/// The folder as it was found.
pub(super) struct Taken {
    /// Held against a second owner; none where there is no file for it and none can be made.
    pub lock: Option<File>,
    /// Whether what is written is kept.
    pub kept: bool,
}

/// Makes the folder what it must be and becomes its owner.
pub(super) fn take(folder: &Path) -> Result<Taken, StoreError> {
    let path = folder.join("lock");
    let made = ["", "lessons", "run"].iter().try_for_each(|sub| disk::make_folder(&folder.join(sub)));
    let made = made.and_then(|()| File::create(&path));
    let (lock, kept) = match made.and_then(|lock| disk::hand_over(&path).map(|()| lock)) {
        Ok(lock) => (Some(lock), true),
        Err(e) if e.kind() == ErrorKind::ReadOnlyFilesystem && folder.is_dir() => {
            tracing::error!(folder = %folder.display(), "the disk can only be read; nothing is kept and no lesson is begun: {e}");
            (File::open(&path).ok(), false)
        }
        Err(e) => return Err(at(folder)(e)),
    };
    if lock.as_ref().is_some_and(|lock| lock.try_lock().is_err()) {
        return Err(StoreError::InUse(folder.to_owned()));
    }
    Ok(Taken { lock, kept })
}

/// Whether a folder can be written again, as far as the file system says.
pub(super) fn can_be_written(folder: &Path) -> bool {
    use rustix::fs::{Access, access};
    access(folder, Access::WRITE_OK).is_ok()
}

/// A database in memory that holds what the file held last, what was not yet merged into it included.
pub(super) fn remembered(path: &Path) -> Result<Connection, StoreError> {
    let mut memory = Connection::open_in_memory()?;
    if !path.exists() {
        return Ok(memory);
    }
    // SQLite cannot merge the log of the last commits into a file that it cannot write: it gets a copy.
    let scratch = Scratch::make()?;
    let copy = scratch.0.join("state.db");
    for tail in ["", "-wal"] {
        let with = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(tail);
            PathBuf::from(name)
        };
        let from = with(path);
        if from.exists() {
            std::fs::copy(&from, with(&copy)).map_err(at(&from))?;
        }
    }
    let file = Connection::open(&copy)?;
    let whole = Backup::new(&file, &mut memory)?.step(-1)?;
    if whole != StepResult::Done {
        return Err(StoreError::Impossible("it could not be read whole".into()));
    }
    Ok(memory)
}

/// A folder for a moment, somewhere that can be written.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Self, StoreError> {
        let places = [std::env::temp_dir(), "/run/lectern".into(), "/dev/shm".into()];
        let mut outcome = Err(StoreError::Impossible("no place for a copy".into()));
        for place in places {
            let folder = place.join(format!("lectern-{}", chance::hex::<8>()));
            match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Ok(Self(folder)),
                Err(e) => outcome = Err(at(&folder)(e)),
            }
        }
        outcome
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!("{}: {e}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_held_is_remembered_with_its_last_commits_and_the_file_is_left_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("state.db");
        let file = Connection::open(&path).expect("opens");
        file.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (7)")
            .expect("makes");
        // It is still open, so that its last commits stand in the log alone.
        assert!(std::fs::metadata(folder.path().join("state.db-wal")).expect("a log").len() > 0);
        let before = std::fs::read(&path).expect("reads");
        let memory = remembered(&path).expect("remembers");
        assert_eq!(memory.query_row("SELECT x FROM t", [], |row| row.get::<_, i64>(0)), Ok(7));
        memory.execute_batch("INSERT INTO t VALUES (8)").expect("learns");
        assert_eq!(std::fs::read(&path).expect("reads"), before);
        let nothing = remembered(&folder.path().join("none.db")).expect("begins with nothing");
        assert!(nothing.prepare("SELECT x FROM t").is_err());
    }
}
