//! What is done on a mounted share, in this order for each file: a temporary name, the bytes, `fsync`, the final name,
//! the folder's `fsync`; then every byte is read back past the page cache and hashed.
//!
//! A share that is not mounted leaves an empty folder behind, on the very disk the lessons lie on. So the share holds a
//! marker, made once by `lectern share prepare`, and everything is done below the folder that was open when the marker
//! was seen: a share that is unmounted meanwhile is never mistaken for what lies below it.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use lectern_wire::PART_SIZE;
use lectern_wire::digest::Digest;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::Trouble;
use super::folder::Beat;
use super::work::{Checked, Work};

/// The file that says that a share is the share.
pub const MARKER: &str = ".lectern-share";

/// A share, open.
pub struct Share {
    path: PathBuf,
    root: File,
    beat: Beat,
}

/// Puts the marker on a share. Safe to repeat.
///
/// # Errors
/// A sentence when the folder is not there or cannot be written to.
pub fn prepare(path: &Path) -> Result<(), String> {
    let said = |e: std::io::Error| format!("{}: {e}", path.display());
    if !path.is_dir() {
        return Err(format!("{} is not a folder; mount the share first", path.display()));
    }
    let marker = path.join(MARKER);
    if marker.is_file() {
        return Ok(());
    }
    let text =
        "Lectern keeps lessons here. Without this file it takes the share for one that is not mounted.\n";
    lectern_base::disk::replace(&marker, text.as_bytes()).map_err(said)
}

/// Whether a share is mounted and prepared, and how much fits, for people. On a thread of its own: a share that hangs
/// would hold up whoever asks.
///
/// # Errors
/// A sentence.
pub fn look(path: &Path) -> Result<String, String> {
    /// A share that does not answer for so long hangs.
    const PATIENCE: Duration = Duration::from_secs(5);
    let (said, answer) = std::sync::mpsc::channel();
    let asked = path.to_owned();
    std::thread::spawn(move || {
        let found = Share::open(&asked, Beat::default()).map_err(|e| e.to_string()).and_then(|_| {
            let free = lectern_base::disk::free_bytes(&asked).map_err(|e| e.to_string())?;
            Ok(format!("is there, {:.1} GB free", free as f64 / 1e9))
        });
        // Nobody waits any more for one that hung.
        drop(said.send(found));
    });
    answer.recv_timeout(PATIENCE).unwrap_or_else(|_| Err("does not answer".into()))
}

/// Makes the names in a folder durable; some network file systems do that by themselves and know no call for it.
fn sync_names(folder: &File) -> std::io::Result<()> {
    match folder.sync_all() {
        Err(e) if [std::io::ErrorKind::InvalidInput, std::io::ErrorKind::Unsupported].contains(&e.kind()) => {
            Ok(())
        }
        outcome => outcome,
    }
}

impl Share {
    /// Opens the share, if it is mounted.
    pub fn open(path: &Path, beat: Beat) -> Result<Self, Trouble> {
        beat.fetch_add(1, Ordering::Relaxed);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let said = |e: Errno| Trouble::there(format!("the share {} cannot be opened: {e}", path.display()));
        let root = File::from(rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(said)?);
        let share = Self { path: path.to_owned(), root, beat };
        share.has_marker(&share.root)?;
        Ok(share)
    }

    fn has_marker(&self, root: &File) -> Result<(), Trouble> {
        rustix::fs::statat(root, MARKER, AtFlags::empty()).map(drop).map_err(|e| {
            let path = self.path.display();
            Trouble::there(match e {
                Errno::NOENT => format!(
                    "the share is not mounted at {path}, or was never prepared: mount it and run `lectern share prepare`"
                ),
                e => format!("the share {path}: {e}"),
            })
        })
    }

    /// Whether the path still leads to the folder that was opened.
    pub fn is_still_there(&self) -> Result<(), Trouble> {
        let now = Self::open(&self.path, self.beat.clone())?;
        let id = |file: &File| rustix::fs::fstat(file).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        match id(&now.root) == id(&self.root) {
            true => Ok(()),
            false => Err(Trouble::there(format!("another share is mounted at {} now", self.path.display()))),
        }
    }

    fn moved(&self) {
        self.beat.fetch_add(1, Ordering::Relaxed);
    }

    fn said(&self, name: &str) -> impl Fn(std::io::Error) -> Trouble {
        let at = format!("{}/…/{name}", self.path.display());
        move |e| match e.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Trouble::there(
                "the share is full; make room on it, lessons are kept here until it takes them",
            ),
            _ => Trouble::there(format!("{at}: {e}")),
        }
    }

    /// The lesson's folder on the share, made when it is missing.
    fn lesson(&self, work: &Work) -> Result<File, Trouble> {
        let mut folder = self.root.try_clone().map_err(self.said(""))?;
        for level in work.levels() {
            match rustix::fs::mkdirat(&folder, level, Mode::from_raw_mode(0o770)) {
                Ok(()) => sync_names(&folder).map_err(self.said(level))?,
                Err(Errno::EXIST) => {}
                Err(e) => return Err(self.said(level)(e.into())),
            }
            folder = self.open_folder(&folder, level).map_err(|e| self.said(level)(e.into()))?;
        }
        Ok(folder)
    }

    fn open_folder(&self, above: &File, name: &str) -> Result<File, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(above, name, flags, Mode::empty()).map(File::from)
    }

    fn file(&self, folder: &File, name: &str, flags: OFlags) -> std::io::Result<File> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(File::from(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o640))?))
    }

    /// Copies the parts of all takes that are ready.
    pub fn grow(&self, work: &Work) -> Result<(), Trouble> {
        let folder = self.lesson(work)?;
        let mut sent = 0;
        work.note(0, None)?;
        for take in work.takes() {
            sent += self.grow_take(work, &folder, take, sent)?;
        }
        Ok(())
    }

    /// Copies what a take's file there does not have yet; gives the take's bytes there.
    fn grow_take(&self, work: &Work, folder: &File, take: u32, before: u64) -> Result<u64, Trouble> {
        let name = format!("take-{take}.mp4");
        let said = self.said(&name);
        let size = |name: &str| {
            rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map(|s| s.st_size.cast_unsigned())
        };
        let whole = work.parts_of(take).map(|row| row.part.size).sum();
        if size(&name) == Ok(whole) {
            return Ok(whole);
        }
        let file =
            self.file(folder, &format!("{name}.part"), OFlags::RDWR | OFlags::CREATE).map_err(&said)?;
        let mut there = file.metadata().map_err(&said)?.len();
        for row in work.parts_of(take) {
            let (begin, end) =
                (u64::from(row.part.n) * PART_SIZE, u64::from(row.part.n) * PART_SIZE + row.part.size);
            if there >= end {
                continue;
            }
            file.write_all_at(&work.bytes_of(row)?, begin).map_err(&said)?;
            there = end;
            self.moved();
            work.note(before + there, None)?;
        }
        Ok(there)
    }

    /// Copies the rest, gives the files their names, and reads everything back.
    pub fn finish(&self, work: &Work) -> Result<Vec<Checked>, Trouble> {
        let Some((manifest, bytes)) = &work.sealed else { return Err(Trouble::lesson("it is not sealed")) };
        let folder = self.lesson(work)?;
        work.note(0, None)?;
        let (mut sent, mut checked) = (0, Vec::new());
        for take in &manifest.takes {
            sent += self.grow_take(work, &folder, take.n, sent)?;
            checked.push(self.settle(&folder, &take.file, take.size, take.sha256)?);
        }
        // Last of all: a folder with a manifest is whole.
        let name = "manifest.json";
        let said = self.said(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let file = self.file(&folder, &format!("{name}.part"), flags).map_err(&said)?;
        file.write_all_at(bytes, 0).map_err(&said)?;
        checked.push(self.settle(&folder, name, bytes.len() as u64, Digest::of(bytes))?);
        Ok(checked)
    }

    /// Makes a file durable under its name and reads it back.
    fn settle(&self, folder: &File, name: &str, size: u64, sha256: Digest) -> Result<Checked, Trouble> {
        let said = self.said(name);
        let part = format!("{name}.part");
        match self.file(folder, &part, OFlags::RDWR) {
            Ok(file) => {
                // Longer than the take only where an earlier try was of another length.
                file.set_len(size).map_err(&said)?;
                file.sync_all().map_err(&said)?;
                rustix::fs::renameat(folder, &part, folder, name).map_err(|e| said(e.into()))?;
                sync_names(folder).map_err(&said)?;
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(said(e)),
        }
        let file = self.file(folder, name, OFlags::RDONLY).map_err(&said)?;
        file.sync_all().map_err(&said)?;
        // What is still in memory proves nothing: it is let go, and read from where it was put.
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).map_err(|e| said(e.into()))?;
        let found = self.hash(&file).map_err(&said)?;
        if found != (size, sha256) {
            rustix::fs::unlinkat(folder, name, AtFlags::empty()).map_err(|e| said(e.into()))?;
            return Err(Trouble::lesson(format!(
                "{name} was read back from the share with other bytes than were written; it is written again"
            )));
        }
        Ok(Checked { name: name.to_owned(), size, sha256, by: "read back" })
    }

    fn hash(&self, mut file: &File) -> std::io::Result<(u64, Digest)> {
        let (mut hasher, mut buffer, mut length) = (Sha256::new(), vec![0; 1 << 20], 0);
        loop {
            let n = file.read(&mut buffer)?;
            if n == 0 {
                return Ok((length, Digest::finish(hasher)));
            }
            hasher.update(&buffer[..n]);
            length += n as u64;
            self.moved();
        }
    }

    /// Removes what is there of a lesson.
    pub fn discard(&self, work: &Work) -> Result<(), Trouble> {
        let [school, device, lesson] = work.levels();
        let gone =
            |e: Errno, name: &str| if e == Errno::NOENT { Ok(()) } else { Err(self.said(name)(e.into())) };
        let above = self.open_folder(&self.root, school).and_then(|above| self.open_folder(&above, device));
        let (above, folder) = match above.and_then(|above| Ok((self.open_folder(&above, lesson)?, above))) {
            Ok((folder, above)) => (above, folder),
            Err(e) => return gone(e, lesson),
        };
        let mut names = vec!["manifest.json".to_owned()];
        names.extend(work.takes().iter().map(|take| format!("take-{take}.mp4")));
        for name in names.iter().flat_map(|name| [name.clone(), format!("{name}.part")]) {
            rustix::fs::unlinkat(&folder, name.as_str(), AtFlags::empty()).or_else(|e| gone(e, &name))?;
        }
        rustix::fs::unlinkat(&above, lesson, AtFlags::REMOVEDIR).or_else(|e| gone(e, lesson))?;
        sync_names(&above).map_err(self.said(device))
    }
}
