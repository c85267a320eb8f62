//! Files by name, in a folder or in an archive.

use std::io;
use std::path::{Path, PathBuf};

use crate::bytes::{Blob, FileBytes};

/// Files with names such as `data/lesson.mp4`, always with `/`.
pub trait Files: Send + Sync {
    /// All names.
    ///
    /// # Errors
    /// What is below says.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Opens a file.
    ///
    /// # Errors
    /// When it is not there, or what is below says.
    fn open(&self, name: &str) -> io::Result<Blob>;

    /// Whether there is such a file.
    fn has(&self, name: &str) -> bool;
}

/// Deepest folder that is looked into, and most files.
const LIMITS: (usize, usize) = (8, 100_000);

/// A folder.
pub struct Folder(pub PathBuf);

impl Folder {
    /// A name from a list must not lead out of the folder.
    fn path(&self, name: &str) -> io::Result<PathBuf> {
        let plain = !name.is_empty()
            && name.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains('\\'));
        if plain { Ok(self.0.join(name)) } else { Err(io::Error::other("its name leads out of the folder")) }
    }
}

impl Files for Folder {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        walk(&self.0, "", 0, &mut names)?;
        names.sort();
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Blob> {
        FileBytes::open(&self.path(name)?)
    }

    fn has(&self, name: &str) -> bool {
        self.path(name).is_ok_and(|path| path.exists())
    }
}

fn walk(folder: &Path, before: &str, depth: usize, names: &mut Vec<String>) -> io::Result<()> {
    if depth > LIMITS.0 || names.len() > LIMITS.1 {
        return Err(io::Error::other("there are too many files"));
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{before}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &format!("{name}/"), depth + 1, names)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}
