//! Files that are there after a power cut, and that belong to whom they must.
//!
//! The services are not root, and technicians often are: what root makes in a service's folder belongs to the service, or
//! `lectern key rotate` would leave a key that the agent cannot read.

use std::fs::{self, DirBuilder, File, Metadata, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::io::pread;

/// Makes the names in a folder durable.
///
/// # Errors
/// What the file system says.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Replaces a file whole or not at all: write beside it, sync, rename, sync the folder.
///
/// # Errors
/// What the file system says; the old file is then untouched.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with_mode(path, bytes, 0o644)
}

/// As [`replace`], with the file's permission bits. As root, the new file belongs to whom the old one belonged to, or, where
/// there was none, to whom the folder belongs to.
///
/// # Errors
/// As [`replace`].
pub fn replace_with_mode(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let folder =
        path.parent().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "path has no folder"))?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    // Always one of our own: what somebody else put there, such as a link to another file, is not written to, nor given away.
    gone(beside)?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(beside)?;
    if is_roots(&file.metadata()?) {
        let owner = match fs::symlink_metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => fs::metadata(holder(path))?,
            old => old?,
        };
        std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    sync_folder(folder)
}

/// Makes a folder and its parents, durably. As root, each belongs to whom the one it is in belongs to.
///
/// # Errors
/// What the file system says.
pub fn make_folder(path: &Path) -> io::Result<()> {
    make_folder_with_mode(path, 0o777)
}

/// As [`make_folder`], with the folder's permission bits; one that is there keeps its own.
///
/// # Errors
/// As [`make_folder`].
pub fn make_folder_with_mode(path: &Path, mode: u32) -> io::Result<()> {
    if !path.is_dir() {
        let parent = holder(path);
        if !parent.is_dir() {
            make_folder(parent)?;
        }
        match DirBuilder::new().mode(mode).create(path) {
            // Somebody was faster.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            made => made.and_then(|()| hand_over(path))?,
        }
    }
    sync_folder(holder(path))
}

/// Gives what root made just now, a file or a folder, to whom the folder that it is in belongs to. What is somebody's already
/// stays theirs, and whoever is not root gives nothing away.
///
/// # Errors
/// What the file system says.
pub fn hand_over(path: &Path) -> io::Result<()> {
    let about = fs::symlink_metadata(path)?;
    // A file with a second name may be one from elsewhere.
    if !is_roots(&about) || !(about.is_dir() || (about.is_file() && about.nlink() == 1)) {
        return Ok(());
    }
    let owner = fs::metadata(holder(path))?;
    if owner.uid() == 0 {
        return Ok(());
    }
    // By its name: to open a database once more, and to close it, would end the locks that are held on it.
    std::os::unix::fs::lchown(path, Some(owner.uid()), Some(owner.gid()))
}

/// Whether this is root, and the file is root's: on some shares root is somebody else, or owners are nothing that is kept.
fn is_roots(about: &Metadata) -> bool {
    rustix::process::geteuid().is_root() && about.uid() == 0
}

/// The folder a path is in.
fn holder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

fn gone(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Takes the lock of a file, which says that it is being written, for as long as `file` is open: also that of a process
/// which was killed, until its last write is over. False where another has it. Where locks do not exist, nobody is held back.
///
/// # Errors
/// What the file system says.
pub fn hold(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => Ok(true),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// So many bytes of a file from a place on. The memory is not cleared first, which takes as long as reading.
///
/// # Errors
/// What the file system says; a file that ends too early is [`io::ErrorKind::UnexpectedEof`].
pub fn read_at(file: &File, at: u64, size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    read_into(&mut bytes, file, at, size).map(|()| bytes)
}

/// As [`read_at`], into memory that was used before.
///
/// # Errors
/// As [`read_at`].
pub fn read_into(bytes: &mut Vec<u8>, file: &File, at: u64, size: usize) -> io::Result<()> {
    bytes.clear();
    bytes.reserve_exact(size);
    while bytes.len() < size {
        let from = at + bytes.len() as u64;
        let read = rustix::io::retry_on_intr(|| pread(file, spare_capacity(bytes), from))?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    bytes.truncate(size);
    Ok(())
}

/// Whether the volume that holds a folder can only be read. The folder may not be there yet: then the one it would be in.
#[must_use]
pub fn only_read(folder: &Path) -> bool {
    let volume = folder.ancestors().find_map(|place| rustix::fs::statvfs(place).ok());
    volume.is_some_and(|volume| volume.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// Bytes an unprivileged user can still write below `path`.
///
/// # Errors
/// What the file system says.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};

    use super::*;

    /// Nobody's number on Debian; any but root's would do.
    const SERVICE: u32 = 65_534;

    /// A folder of the service's, where this is root.
    fn of_the_service() -> Option<tempfile::TempDir> {
        if !rustix::process::geteuid().is_root() {
            // Not by eprintln!, which is kept from people where tests pass.
            let told = writeln!(io::stderr(), "SKIPPED: whom files belong to is tried by root alone");
            told.expect("told");
            return None;
        }
        let folder = tempfile::tempdir().expect("folder");
        chown(folder.path(), Some(SERVICE), Some(SERVICE)).expect("given");
        Some(folder)
    }

    fn owner(path: &Path) -> (u32, u32) {
        let about = fs::symlink_metadata(path).expect("there");
        (about.uid(), about.gid())
    }

    #[test]
    fn what_root_makes_in_a_services_folder_belongs_to_the_service() {
        let Some(folder) = of_the_service() else { return };
        let at = |name: &str| folder.path().join(name);
        replace_with_mode(&at("device.key"), b"secret", 0o600).expect("made");
        assert_eq!(owner(&at("device.key")), (SERVICE, SERVICE), "as the folder");
        chown(at("device.key"), Some(7), Some(8)).expect("given");
        replace_with_mode(&at("device.key"), b"another", 0o600).expect("replaced");
        assert_eq!(owner(&at("device.key")), (7, 8), "as the one before");
        let mode = fs::metadata(at("device.key")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        make_folder(&at("lessons/one")).expect("made");
        make_folder_with_mode(&at("tls"), 0o700).expect("made");
        fs::write(at("lock"), b"").expect("made");
        hand_over(&at("lock")).expect("given");
        for name in ["lessons", "lessons/one", "tls", "lock"] {
            assert_eq!(owner(&at(name)), (SERVICE, SERVICE), "{name}");
        }
    }

    #[test]
    fn nothing_of_roots_is_given_away_by_a_link_that_a_service_laid_out() {
        let Some(folder) = of_the_service() else { return };
        let own = tempfile::tempdir().expect("folder");
        let (shadow, at) = (own.path().join("shadow"), |name: &str| folder.path().join(name));
        fs::write(&shadow, b"root's").expect("written");
        symlink(&shadow, at("device.key.new")).expect("laid out");
        replace_with_mode(&at("device.key"), b"secret", 0o600).expect("made");
        symlink(&shadow, at("lock")).expect("laid out");
        hand_over(&at("lock")).expect("left alone");
        fs::hard_link(&shadow, at("second")).expect("laid out");
        hand_over(&at("second")).expect("left alone");
        assert_eq!((owner(&shadow), fs::read(&shadow).expect("read")), ((0, 0), b"root's".to_vec()));
        assert_eq!(fs::read(at("device.key")).expect("read"), b"secret");
    }

    #[test]
    fn a_piece_of_a_file_is_just_that_piece_and_one_past_its_end_is_none() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("file");
        fs::write(&path, b"0123456789").expect("written");
        let file = File::open(&path).expect("opened");
        assert_eq!(read_at(&file, 3, 4).expect("read"), b"3456");
        assert_eq!(read_at(&file, 10, 0).expect("read"), b"");
        assert_eq!(read_at(&file, 8, 3).map_err(|e| e.kind()), Err(io::ErrorKind::UnexpectedEof));
    }
}
