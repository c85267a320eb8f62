//! Finds out what lies at a path and makes a [`Found`] of it: a lesson's folder, one of its takes, a standard MP4 with
//! its proof, a BagIt export as folder or zip.
//!
//! ```text
//! path ─┬─ folder ──────────┬─ bagit.txt ──▶ bag ─▶ its MP4, and every file against the lists
//!       ├─ zip ─────────────┘
//!       │                   └─ manifest.json ─▶ lesson: papers and takes beside each other
//!       └─ MP4 ─┬─ proof behind the media ─▶ joined: papers and takes in one file
//!               └─ none ─▶ a take: its lesson's folder
//! ```

mod bag;
mod files;
pub mod zip;

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::blind;
use crate::bytes::{self, Blob, FileBytes};
use crate::check::Found;
use crate::joined;
pub use files::Files;
use files::Folder;
use lectern_wire::manifest::Manifest;
use lectern_wire::sign::Signed;

/// Largest document that is read, bytes.
pub const MAX_DOCUMENT: u64 = 64 * 1024 * 1024;

/// Looks at a path. Whatever is there, a [`Found`] comes of it, with what is wrong in it. `whole` is whether all bytes
/// of an export will be held against its lists, or the papers alone.
#[must_use]
pub fn path(path: &Path, whole: bool) -> Found {
    let name = path.display().to_string();
    match tried(path, whole) {
        Ok(found) => found,
        Err(e) => Found::nothing(name, e.to_string()),
    }
}

fn tried(path: &Path, whole: bool) -> io::Result<Found> {
    if path.is_dir() {
        return container(Arc::new(Folder(path.to_owned())), whole);
    }
    let bytes = FileBytes::open(path)?;
    let mut start = [0; 4];
    let n = bytes.read_at(&mut start, 0)?;
    if start[..n] == *b"PK\x03\x04" {
        let files = zip::Archive::open(&bytes).map_err(io::Error::other)?;
        return container(Arc::new(files), whole);
    }
    if let Some(found) = self_proving(&bytes)? {
        return Ok(found);
    }
    // One take, beside its manifest.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.join("manifest.json").is_file() {
        return Err(io::Error::other(
            "there is no proof in this file and no manifest.json beside it: it cannot be checked",
        ));
    }
    let mut found = container(Arc::new(Folder(folder.to_owned())), whole)?;
    found.only = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(found)
}

fn container(files: Arc<dyn Files>, whole: bool) -> io::Result<Found> {
    if files.has("bagit.txt") { bag::open(files.as_ref(), whole) } else { Ok(lesson(files)) }
}

/// A lesson's papers and takes beside each other.
fn lesson(files: Arc<dyn Files>) -> Found {
    let document = |name: &str| -> Result<Vec<u8>, String> {
        let blob = files.open(name).map_err(|e| e.to_string())?;
        bytes::all(blob.as_ref(), MAX_DOCUMENT).map_err(|e| e.to_string())
    };
    let paper = |name: &str| files.has(name).then(|| document(name).unwrap_or_default());
    Found {
        manifest: document("manifest.json"),
        commitment: None,
        receipt: paper("receipt.json"),
        heads: paper("heads.jsonl"),
        keys: paper("keys.json"),
        only: None,
        faults: Vec::new(),
        takes: Box::new(move |n| files.open(&format!("take-{n}.mp4"))),
    }
}

/// A standard MP4 with its proof; `None` when it has none.
///
/// # Errors
/// When it cannot be read.
pub fn self_proving(bytes: &Blob) -> io::Result<Option<Found>> {
    let Some(mut file) = joined::File::open(bytes)? else { return Ok(None) };
    let section = |name: &str| file.sections.get(name).cloned();
    let manifest = section("manifest.json");
    let mut found = Found::without_bytes(match (&manifest, file.faults.is_empty()) {
        (Some(bytes), _) => Ok(bytes.clone()),
        (None, true) => Err("it is not in the proof".into()),
        // What is wrong with the file says it already.
        (None, false) => Err(String::new()),
    });
    found.commitment = section(blind::FILE).filter(|_| manifest.is_none());
    found.receipt = section("receipt.json");
    found.heads = section("heads.jsonl");
    found.keys = section("keys.json");
    let takes = match (&manifest, &found.commitment) {
        (Some(bytes), _) => {
            serde_json::from_slice::<Signed<Manifest>>(bytes).ok().map(|signed| signed.document.takes.clone())
        }
        (None, Some(bytes)) => {
            serde_json::from_slice::<blind::Commitment>(bytes).ok().map(|commitment| commitment.takes)
        }
        (None, None) => None,
    };
    // Papers that cannot be read are told of by the check.
    let opened = takes.map_or_else(|| Err("the takes are not known".into()), |takes| file.takes(&takes));
    found.faults = file.faults;
    found.takes = match opened {
        Ok(opened) => {
            Box::new(move |n| opened.get(&n).cloned().ok_or_else(|| io::ErrorKind::NotFound.into()))
        }
        Err(why) => Box::new(move |_| Err(io::Error::other(why.clone()))),
    };
    Ok(Some(found))
}
