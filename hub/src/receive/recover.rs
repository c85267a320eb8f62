//! What a crash may leave behind is put right at start, before any port opens.

use lectern_base::disk;
use lectern_wire::PART_SIZE;
use lectern_wire::sign;
use lectern_wire::upload::StoreState;

use crate::store::lessons::Lesson;
use crate::store::objects::{Kind, Objects, Place};
use crate::store::{Store, StoreError, lessons, receipts};

/// Restores the invariants of [`super`].
///
/// # Errors
/// When the database or a folder cannot be used at all.
pub fn run(store: &Store, objects: &Objects) -> Result<(), StoreError> {
    for lesson in store.read_now(lessons::all)? {
        let place = Place::of(&lesson);
        match lesson.state {
            StoreState::Stored => keep_sealed(store, objects, &lesson, &place)?,
            StoreState::Discarded if !objects.folder(&place).exists() => {}
            StoreState::Discarded => {
                let io = StoreError::io(format!("removing the discarded lesson {}", lesson.id));
                objects.remove(&place).map_err(io)?;
            }
            StoreState::Receiving | StoreState::Verifying => reopen(store, objects, &lesson, &place)?,
        }
    }
    Ok(())
}

/// A stored lesson: its documents stand beside it, and nothing unfinished does.
fn keep_sealed(store: &Store, objects: &Objects, lesson: &Lesson, place: &Place) -> Result<(), StoreError> {
    let folder = objects.folder(place);
    let io = || StoreError::io(format!("recovering {}", folder.display()));
    if !folder.join("receipt.json").exists()
        && let Some(receipt) = store.read_now(|db| receipts::find(db, &lesson.id))?
    {
        let text = sign::canonical(&receipt).unwrap_or_default();
        disk::replace(&folder.join("receipt.json"), &text).map_err(io())?;
    }
    for take in objects.takes(place).map_err(io())?.1 {
        std::fs::remove_file(objects.partial(place, take)).map_err(io())?;
    }
    Ok(())
}

/// A lesson without a receipt: back to receiving, with the parts whose bytes are really there.
fn reopen(store: &Store, objects: &Objects, lesson: &Lesson, place: &Place) -> Result<(), StoreError> {
    let folder = objects.folder(place);
    let io = || StoreError::io(format!("recovering {}", folder.display()));
    let (sealed, _) = objects.takes(place).map_err(io())?;
    for take in &sealed {
        std::fs::rename(objects.take(place, *take), objects.partial(place, *take)).map_err(io())?;
    }
    if !sealed.is_empty() {
        disk::sync_folder(&folder).map_err(io())?;
    }
    if lesson.state == StoreState::Verifying {
        store.write_now(|db| lessons::abandon_seal(db, &lesson.id))?;
    }
    if place.kind == Kind::S3 {
        // What is at the store shows when the take is completed.
        return Ok(());
    }
    for part in store.read_now(|db| lessons::parts(db, &lesson.id))? {
        let length = std::fs::metadata(objects.partial(place, part.take)).map_or(0, |m| m.len());
        if length < u64::from(part.n) * PART_SIZE + part.size {
            tracing::warn!(lesson = %lesson.id, take = part.take, part = part.n, "a part's bytes are gone; it will be asked for again");
            store.write_now(|db| lessons::drop_part(db, &lesson.id, part.take, part.n))?;
        }
    }
    Ok(())
}
