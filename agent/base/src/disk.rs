//! Files that are there after a power cut.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
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

/// As [`replace`], with the file's permission bits.
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
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    sync_folder(folder)
}

/// Makes a folder and its parents, durably.
///
/// # Errors
/// What the file system says.
pub fn make_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        _ => Ok(()),
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
    use super::*;

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
