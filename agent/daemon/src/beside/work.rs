//! One lesson on its way to one destination: its files, its parts, and where it goes.

use std::path::{Path, PathBuf};

use lectern_wire::PART_SIZE;
use lectern_wire::digest::Digest;
use lectern_wire::manifest::Manifest;
use lectern_wire::sign::Signed;
use serde::Serialize;

use super::Trouble;
use crate::store::Store;
use crate::store::lessons::{Lesson, PartRow};

/// Whose lessons these are: the beginning of every path and key.
#[derive(Debug, Clone)]
pub struct Place {
    /// 学校标识码
    pub school: String,
    /// The device.
    pub device: String,
}

/// What was looked at there, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Its name there.
    pub name: String,
    /// Bytes there.
    pub size: u64,
    /// The hash they must have.
    pub sha256: Digest,
    /// How it was checked: `read back` (every byte), `checksum` (the destination's own), `size`.
    pub by: &'static str,
}

/// See the module's header.
#[derive(Clone)]
pub struct Work {
    /// The store, for notes.
    pub store: Store,
    /// The destination's name.
    pub destination: String,
    /// Whose it is.
    pub place: Place,
    /// The lesson as it stood when the round began.
    pub lesson: Lesson,
    /// Its folder here.
    pub folder: PathBuf,
    /// Its parts, by take and number.
    pub parts: Vec<PartRow>,
    /// What was sealed, and the very bytes of it; nothing while it is recorded.
    pub sealed: Option<(Manifest, Vec<u8>)>,
}

impl Work {
    /// Reads what there is of a lesson.
    ///
    /// # Errors
    /// When its rows or its manifest cannot be read.
    pub fn new(
        store: &Store,
        to: &str,
        place: &Place,
        lesson: Lesson,
        sealed: bool,
    ) -> Result<Self, Trouble> {
        let folder = store.lesson_folder(&lesson.id);
        let parts = store.parts(&lesson.id)?;
        let sealed = match sealed {
            true => {
                let path = folder.join("manifest.json");
                let bytes = std::fs::read(&path).map_err(|e| Trouble::file(&path, &e))?;
                let signed: Signed<Manifest> = serde_json::from_slice(&bytes)
                    .map_err(|e| Trouble::lesson(format!("{}: {e}", path.display())))?;
                Some((signed.document.into_understood(), bytes))
            }
            false => None,
        };
        let (store, place) = (store.clone(), place.clone());
        Ok(Self { store, destination: to.to_owned(), place, lesson, folder, parts, sealed })
    }

    /// The takes that have parts.
    pub fn takes(&self) -> Vec<u32> {
        let mut takes: Vec<_> = self.parts.iter().map(|row| row.take).collect();
        takes.dedup();
        takes
    }

    /// The parts of a take, in order.
    pub fn parts_of(&self, take: u32) -> impl Iterator<Item = &PartRow> {
        self.parts.iter().filter(move |row| row.take == take)
    }

    /// The file of a take here.
    pub fn take_path(&self, take: u32) -> PathBuf {
        self.folder.join(format!("take-{take}.mp4"))
    }

    /// The bytes of a part, as they were hashed; a part that has changed on this disk goes nowhere.
    ///
    /// # Errors
    /// When it cannot be read or is no longer what was recorded.
    pub fn bytes_of(&self, row: &PartRow) -> Result<Vec<u8>, Trouble> {
        read_part(&self.take_path(row.take), row)
    }

    /// As [`Self::bytes_of`], away from the async threads.
    ///
    /// # Errors
    /// As [`Self::bytes_of`].
    pub async fn bytes_aside(&self, row: &PartRow) -> Result<Vec<u8>, Trouble> {
        let (path, row) = (self.take_path(row.take), *row);
        let read = tokio::task::spawn_blocking(move || read_part(&path, &row)).await;
        read.map_err(|e| Trouble::lesson(format!("reading broke off: {e}")))?
    }

    /// Where its files go: school, device, lesson.
    pub fn levels(&self) -> [&str; 3] {
        [&self.place.school, &self.place.device, self.lesson.id.as_str()]
    }

    /// Notes how far it has come.
    ///
    /// # Errors
    /// What the store says.
    pub fn note(&self, sent: u64, note: Option<&str>) -> Result<(), Trouble> {
        Ok(self.store.note_delivery(&self.lesson.id, &self.destination, sent, note)?)
    }

    /// What was noted last.
    ///
    /// # Errors
    /// What the store says.
    pub fn noted(&self) -> Result<Option<String>, Trouble> {
        Ok(self.store.delivery(&self.lesson.id, &self.destination)?.and_then(|d| d.note))
    }
}

fn read_part(path: &Path, row: &PartRow) -> Result<Vec<u8>, Trouble> {
    use std::os::unix::fs::FileExt as _;
    let mut bytes = vec![0; usize::try_from(row.part.size).unwrap_or(0)];
    let file = std::fs::File::open(path).map_err(|e| Trouble::file(path, &e))?;
    file.read_exact_at(&mut bytes, u64::from(row.part.n) * PART_SIZE).map_err(|e| Trouble::file(path, &e))?;
    if Digest::of(&bytes) != row.part.sha256 {
        return Err(Trouble::lesson(format!(
            "take {} part {} has changed on this disk since it was recorded; see `lectern verify`",
            row.take, row.part.n
        )));
    }
    Ok(bytes)
}
