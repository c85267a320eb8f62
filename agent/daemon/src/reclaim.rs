//! Frees the disk of lessons the hub has: only with a receipt that is kept, after the days set.
//!
//! Manifest and receipt stay; only the takes go. Decided first (the row), done then (the files), so
//! that a crash in between leaves nothing that looks whole and is not.

use std::time::Duration;

use lectern_base::clock;
use lectern_wire::receipt::Receipt;
use lectern_wire::sign::Signed;
use tokio_util::sync::CancellationToken;

use crate::model::lesson::{Event, State};
use crate::store::lessons::Lesson;
use crate::store::{Store, StoreError, at};

/// Runs until told to stop; looks every hour and whenever a receipt arrives.
pub async fn run(store: Store, keep_days: u32, stop: CancellationToken) {
    loop {
        let owner = store.clone();
        match tokio::task::spawn_blocking(move || reclaim(&owner, keep_days, clock::wall_ms())).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::error!("stored lessons could not be cleared away: {e}"),
            Err(e) => tracing::error!("clearing away broke off: {e}"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = store.bells().reclaim.notified() => {}
            () = tokio::time::sleep(Duration::from_secs(3600)) => {}
        }
    }
}

/// Clears away what is due.
fn reclaim(store: &Store, keep_days: u32, now_ms: i64) -> Result<(), StoreError> {
    for lesson in store.lessons()? {
        match lesson.state {
            State::Stored if due(store, &lesson, keep_days, now_ms) => {
                store.advance(&lesson.id, Event::Reclaimed)?;
                remove_takes(store, &lesson)?;
                tracing::info!(lesson = %lesson.id, "local bytes removed; the hub's receipt is kept");
            }
            // A crash between decision and deed left files behind.
            State::Reclaimed => remove_takes(store, &lesson)?,
            _ => {}
        }
    }
    Ok(())
}

/// Whether the receipt is there, fits, and is old enough.
fn due(store: &Store, lesson: &Lesson, keep_days: u32, now_ms: i64) -> bool {
    let path = store.lesson_folder(&lesson.id).join("receipt.json");
    let receipt =
        std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Signed<Receipt>>(&bytes).ok());
    receipt.is_some_and(|receipt| {
        let receipt = receipt.document;
        let age_ms = now_ms - receipt.stored_wall_ms.max(lesson.started_wall_ms);
        Some(receipt.manifest_sha256) == lesson.manifest_sha256 && age_ms > i64::from(keep_days) * 86_400_000
    })
}

fn remove_takes(store: &Store, lesson: &Lesson) -> Result<(), StoreError> {
    for take in store.takes(&lesson.id)? {
        let path = store.lesson_folder(&lesson.id).join(format!("take-{}.mp4", take.n));
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(at(&path)(e)),
            _ => {}
        }
    }
    Ok(())
}
