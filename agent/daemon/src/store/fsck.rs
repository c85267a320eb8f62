//! Checks the store's invariants, row against file. Changes nothing.

use lectern_wire::manifest::Manifest;
use lectern_wire::receipt::Receipt;
use lectern_wire::sign::{Document, Signed};

use super::deliveries::HUB;
use super::{Store, StoreError};
use crate::model::lesson::State;

/// What does not hold, a sentence each; empty when all is well.
///
/// # Errors
/// [`StoreError`] when rows cannot be read.
pub fn check(store: &Store) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    let lessons = store.lessons()?;
    for lesson in &lessons {
        let folder = store.lesson_folder(&lesson.id);
        let mut complain = |what: &str| found.push(format!("lesson {}: {what}", lesson.id));
        if matches!(lesson.state, State::Reclaimed | State::Discarded) {
            continue;
        }
        if !folder.is_dir() {
            complain("its folder is missing");
            continue;
        }
        let takes = store.takes(&lesson.id)?;
        for part in store.parts(&lesson.id)? {
            let file = folder.join(format!("take-{}.mp4", part.take));
            let end = u64::from(part.part.n) * lectern_wire::PART_SIZE + part.part.size;
            match std::fs::metadata(&file) {
                Ok(meta) if meta.len() >= end => {}
                Ok(_) => complain(&format!("take {} is shorter than its part {}", part.take, part.part.n)),
                Err(e) => complain(&format!("take {}: {e}", part.take)),
            }
            if part.damaged {
                complain(&format!("take {} part {}: its bytes have changed on disk", part.take, part.part.n));
            }
            if !takes.iter().any(|t| t.n == part.take) {
                complain(&format!("part {} belongs to no take", part.part.n));
            }
        }
        if matches!(lesson.state, State::Sealed | State::Stored) {
            let manifest = read::<Manifest>(&folder.join("manifest.json"));
            let hash = manifest.as_ref().ok().and_then(|m| m.document.digest().ok());
            match (manifest, hash) {
                (Err(e), _) => complain(&format!("manifest.json: {e}")),
                (Ok(_), hash) if hash != lesson.manifest_sha256 => {
                    complain("manifest.json is not the one that was sealed");
                }
                (Ok(manifest), _) => {
                    for take in &manifest.document.takes {
                        let size = std::fs::metadata(folder.join(&take.file)).map(|m| m.len());
                        if size.as_ref().ok() != Some(&take.size) {
                            complain(&format!("{} is not {} bytes long", take.file, take.size));
                        }
                    }
                }
            }
        }
        let deliveries = store.deliveries(&lesson.id)?;
        let confirmed =
            |name: &str| deliveries.iter().any(|d| d.destination == name && d.confirmed_wall_ms.is_some());
        for d in deliveries.iter().filter(|d| d.destination != HUB && d.confirmed_wall_ms.is_some()) {
            let file = format!("stored-{}.json", d.destination);
            if !folder.join(&file).is_file() {
                complain(&format!(
                    "{file} is missing, and the row says that {} has the lesson",
                    d.destination
                ));
            }
        }
        if lesson.state == State::Stored && (confirmed(HUB) || deliveries.is_empty()) {
            match read::<Receipt>(&folder.join("receipt.json")) {
                Err(e) => complain(&format!("receipt.json: {e}")),
                Ok(receipt) if Some(receipt.document.manifest_sha256) != lesson.manifest_sha256 => {
                    complain("receipt.json belongs to another manifest");
                }
                Ok(_) => {}
            }
        }
    }
    let shelf = store.folder().join("lessons");
    for entry in std::fs::read_dir(&shelf).map_err(super::at(&shelf))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !lessons.iter().any(|l| l.id.as_str() == name) {
            found.push(format!("folder {name} belongs to no lesson in the database"));
        }
    }
    Ok(found)
}

fn read<T: Document>(path: &std::path::Path) -> Result<Signed<T>, String> {
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    serde_json::from_slice(&bytes).map_err(|e| e.to_string())
}
