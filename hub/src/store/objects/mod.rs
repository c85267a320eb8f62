//! Where lessons' bytes are: one narrow seam, two forms.
//!
//! - `file`: `objects/{school}/{device}/{lesson}/take-{t}.mp4`, `.partial` until sealed. Parts are written at their
//!   fixed offset in any order.
//! - `s3`: one object per take, sent in parts by presigned URLs; see [`bucket`]. The documents of a lesson
//!   (`manifest.json`, `receipt.json`) are in its folder here too, and beside its takes in the bucket.
//!
//! Which form a lesson has is decided when it is announced and stands in its row: a hub that moves to an S3 store
//! goes on serving what it has as files. All paths and keys are made of checked ids and numbers, so nothing that
//! arrives can name anything elsewhere.

pub mod answers;
pub mod bucket;
pub mod source;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lectern_base::disk;
use lectern_wire::PART_SIZE;
use lectern_wire::digest::Digest;
use lectern_wire::id::LessonId;
use lectern_wire::topic::Topics;
use rustix::fs::{Advice, fadvise};
use sha2::{Digest as _, Sha256};

use super::lessons::Lesson;
use bucket::Bucket;
pub use source::Source;

/// The folder below which all files are, and the bucket where there is one.
#[derive(Debug, Clone)]
pub struct Objects {
    root: PathBuf,
    bucket: Option<Arc<Bucket>>,
}

/// What holds a lesson's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Files of this hub.
    File,
    /// An S3 store.
    S3,
}

impl Kind {
    /// The word for it, in rows, receipts and settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::S3 => "s3",
        }
    }

    /// The kind that a row names.
    #[must_use]
    pub fn of(name: &str) -> Self {
        if name == "s3" { Self::S3 } else { Self::File }
    }
}

/// Which lesson: its folder and its keys follow from it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// School and device.
    pub owner: (String, String),
    /// The lesson.
    pub lesson: LessonId,
    /// What holds its bytes.
    pub kind: Kind,
}

impl Place {
    /// The place of a device's lesson.
    #[must_use]
    pub fn new(topics: &Topics, lesson: &LessonId, kind: Kind) -> Self {
        let owner = (topics.school.as_str().to_owned(), topics.device.as_str().to_owned());
        Self { owner, lesson: lesson.clone(), kind }
    }

    /// The place of a lesson that has its row.
    #[must_use]
    pub fn of(lesson: &Lesson) -> Self {
        let owner = (lesson.school.as_str().to_owned(), lesson.device.as_str().to_owned());
        Self { owner, lesson: lesson.id.clone(), kind: lesson.kind }
    }
}

impl Objects {
    /// Opens the store below the data folder, making it when it is missing.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(data: &Path, bucket: Option<Bucket>) -> io::Result<Self> {
        let root = data.join("objects");
        disk::make_folder(&root)?;
        Ok(Self { root, bucket: bucket.map(Arc::new) })
    }

    /// What holds the lessons that are announced from now on.
    #[must_use]
    pub fn kind(&self) -> Kind {
        if self.bucket.is_some() { Kind::S3 } else { Kind::File }
    }

    /// The bucket.
    ///
    /// # Errors
    /// When the settings name none.
    pub fn bucket(&self) -> io::Result<&Arc<Bucket>> {
        self.bucket.as_ref().ok_or_else(|| {
            io::Error::other(
                "a lesson is at an S3 store, but the settings name none: set store.kind to \"s3\" again",
            )
        })
    }

    /// A sealed take, to be read.
    ///
    /// # Errors
    /// When it is at an S3 store and the settings name none.
    pub fn source(&self, place: &Place, take: u32) -> io::Result<Source> {
        Ok(match place.kind {
            Kind::File => Source::file(self.take(place, take)),
            Kind::S3 => Source::s3(Arc::clone(self.bucket()?), self.object_key(place, take)?),
        })
    }

    /// A take's key in the bucket.
    ///
    /// # Errors
    /// When the settings name no bucket.
    pub fn object_key(&self, place: &Place, take: u32) -> io::Result<String> {
        Ok(format!("{}{}", self.bucket()?.settings().prefix, Self::key(place, take)))
    }

    /// Bytes that can still be written.
    ///
    /// # Errors
    /// What the file system says.
    pub fn free_bytes(&self) -> io::Result<u64> {
        disk::free_bytes(&self.root)
    }

    /// A lesson's folder.
    #[must_use]
    pub fn folder(&self, place: &Place) -> PathBuf {
        self.root.join(&place.owner.0).join(&place.owner.1).join(place.lesson.as_str())
    }

    /// A take that is sealed.
    #[must_use]
    pub fn take(&self, place: &Place, take: u32) -> PathBuf {
        self.folder(place).join(format!("take-{take}.mp4"))
    }

    /// A take that is still arriving.
    #[must_use]
    pub fn partial(&self, place: &Place, take: u32) -> PathBuf {
        self.folder(place).join(format!("take-{take}.mp4.partial"))
    }

    /// The key a receipt names for a take; in the bucket the prefix of the settings stands before it.
    #[must_use]
    pub fn key(place: &Place, take: u32) -> String {
        format!("{}/{}/{}/take-{take}.mp4", place.owner.0, place.owner.1, place.lesson)
    }

    /// The key of a document beside the takes.
    #[must_use]
    pub fn document_key(place: &Place, name: &str) -> String {
        format!("{}/{}/{}/{name}", place.owner.0, place.owner.1, place.lesson)
    }

    /// Makes a lesson's folder, each level durably.
    ///
    /// # Errors
    /// What the file system says.
    pub fn make_folder(&self, place: &Place) -> io::Result<()> {
        disk::make_folder(&self.root.join(&place.owner.0))?;
        disk::make_folder(&self.root.join(&place.owner.0).join(&place.owner.1))?;
        disk::make_folder(&self.folder(place))
    }

    /// Opens a take for a part, making the file and its folders, durably, when it is missing.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open_part(&self, place: &Place, take: u32, n: u32) -> io::Result<PartWriter> {
        let path = self.partial(place, take);
        let fresh = !path.exists();
        if fresh {
            self.make_folder(place)?;
        }
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        if fresh {
            disk::sync_folder(&self.folder(place))?;
        }
        Ok(PartWriter { file, start: u64::from(n) * PART_SIZE, written: 0, hasher: Sha256::new() })
    }

    /// Makes all that was written into a take durable.
    ///
    /// # Errors
    /// What the file system says; then nothing that was written since the last time can be trusted.
    pub fn sync(&self, place: &Place, take: u32) -> io::Result<()> {
        File::open(self.partial(place, take))?.sync_data()
    }

    /// Makes a take whole: cut to its size, synced, and named as what it is.
    ///
    /// # Errors
    /// What the file system says.
    pub fn finish(&self, place: &Place, take: u32, size: u64) -> io::Result<()> {
        let partial = self.partial(place, take);
        let file = File::options().write(true).open(&partial)?;
        if file.metadata()?.len() != size {
            file.set_len(size)?;
        }
        file.sync_all()?;
        fs::rename(partial, self.take(place, take))
    }

    /// Removes a lesson's folder and all that is in it, durably. A missing one is removed already.
    ///
    /// # Errors
    /// What the file system says; then some of it may be left.
    pub fn remove(&self, place: &Place) -> io::Result<()> {
        let missing_is_fine = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(e),
        };
        fs::remove_dir_all(self.folder(place)).or_else(missing_is_fine)?;
        // Also when it was missing: whoever removed it may have died before this.
        disk::sync_folder(&self.root.join(&place.owner.0).join(&place.owner.1)).or_else(missing_is_fine)
    }

    /// Every folder that is named as a lesson, with its path as it is told; unreadable ones are left out.
    #[must_use]
    pub fn all(&self) -> Vec<(String, String)> {
        let below = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
        below(self.root.clone())
            .flat_map(below)
            .flat_map(below)
            .filter_map(|path| Some((path.file_name()?.to_str()?.to_owned(), path.display().to_string())))
            .collect()
    }

    /// The takes in a lesson's folder that are named as sealed, and those that are not.
    ///
    /// # Errors
    /// What the file system says; a missing folder holds none.
    pub fn takes(&self, place: &Place) -> io::Result<(Vec<u32>, Vec<u32>)> {
        let mut found = (Vec::new(), Vec::new());
        let entries = match fs::read_dir(self.folder(place)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(e) => return Err(e),
        };
        for entry in entries {
            let name = entry?.file_name();
            let Some(rest) = name.to_str().and_then(|n| n.strip_prefix("take-")) else { continue };
            if let Some(n) = rest.strip_suffix(".mp4").and_then(|n| n.parse().ok()) {
                found.0.push(n);
            } else if let Some(n) = rest.strip_suffix(".mp4.partial").and_then(|n| n.parse().ok()) {
                found.1.push(n);
            }
        }
        Ok(found)
    }
}

/// Writes one part and hashes it on the way.
#[derive(Debug)]
pub struct PartWriter {
    file: File,
    start: u64,
    written: u64,
    hasher: Sha256,
}

impl PartWriter {
    /// Takes the next bytes. The caller keeps the total below the granted size.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.start + self.written)?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Bytes so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Ends the part; its hash. Its bytes are durable once [`Objects::sync`] was called.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest::finish(self.hasher)
    }
}

/// Reads a part from the disk, not from memory: the kernel is asked to forget it first.
///
/// # Errors
/// What the file system says; a file that ends too early is [`io::ErrorKind::UnexpectedEof`].
pub fn read_part(path: &Path, n: u32, size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    read_part_into(&mut bytes, path, n, size).map(|()| bytes)
}

/// As [`read_part`], into memory that was used before.
///
/// # Errors
/// As [`read_part`].
pub fn read_part_into(bytes: &mut Vec<u8>, path: &Path, n: u32, size: u64) -> io::Result<()> {
    let file = File::open(path)?;
    let start = u64::from(n) * PART_SIZE;
    fadvise(&file, start, std::num::NonZeroU64::new(size), Advice::DontNeed)?;
    disk::read_into(bytes, &file, start, usize::try_from(size).map_err(io::Error::other)?)
}
