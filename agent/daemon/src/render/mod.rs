//! Clips and renditions of sealed lessons, made one at a time by a recorder program of low priority.
//!
//! ```text
//! ask ─▶ row "waiting" ─ bell ─▶ lectern-recorder render ─▶ clips/NAME.mp4 ─▶ row "done"
//!                                   ▲ stands still while a lesson is recorded or saved
//! ```
//!
//! A crash anywhere leaves the row waiting and, at most, a `….part`, which is removed at the start. A
//! cancelled row ends the work that is being done for it.

mod desk;
mod work;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lectern_base::disk;
use tokio_util::sync::CancellationToken;

use crate::model::profile::Profile;
use crate::store::clips::{Clip, ClipState};
use crate::store::{Store, StoreError, at};

pub use desk::{Desk, Refused};

/// What making clips needs to know.
#[derive(Clone)]
pub struct Settings {
    /// The recorder program.
    pub recorder: PathBuf,
    /// What can be made.
    pub profiles: Arc<[Profile]>,
    /// The school as people call it, for titles and names.
    pub school: Arc<str>,
    /// Bytes that stay free for lessons.
    pub reserve_bytes: u64,
}

/// Runs until told to stop.
pub async fn run(store: Store, settings: Settings, stop: CancellationToken) {
    let folder = store.clips_folder();
    if let Err(e) = disk::make_folder(&folder).map_err(at(&folder)).and_then(|()| sweep(&folder)) {
        tracing::error!("clips cannot be made: {e}");
        return stop.cancelled().await;
    }
    loop {
        let next = store.clips().map(|all| all.into_iter().rfind(|c| c.state == ClipState::Waiting));
        match next {
            Ok(Some(clip)) if !stop.is_cancelled() => make(&store, &settings, &clip, &stop).await,
            Ok(_) => {}
            Err(e) => tracing::error!("clips cannot be read: {e}"),
        }
        let idle = store.clips().map_or(true, |all| all.iter().all(|c| c.state != ClipState::Waiting));
        tokio::select! {
            () = stop.cancelled() => return,
            () = store.bells().render.notified(), if idle => {}
            () = std::future::ready(()), if !idle => {}
        }
    }
}

async fn make(store: &Store, settings: &Settings, clip: &Clip, stop: &CancellationToken) {
    let outcome = work::run(store, settings, clip, stop).await;
    store.board().update(|s| s.render = None);
    let ended = match outcome {
        Ok(work::End::Made { bytes, length_ms }) => {
            tracing::info!(clip = clip.id, name = clip.name, bytes, "a clip is ready");
            let kept = store.end_clip(clip.id, ClipState::Done, Some((bytes, length_ms)), None);
            if let Ok(false) = kept {
                // Cancelled, or its lesson thrown away, in the moment it was done: nobody would ever find the file.
                let path = store.clips_folder().join(&clip.name);
                fs::remove_file(&path).map_err(at(&path)).map(|()| false)
            } else {
                kept
            }
        }
        // Cancelled, or the daemon stops: the row says which.
        Ok(work::End::Given) => Ok(true),
        Err(e) => {
            tracing::error!(clip = clip.id, "a clip could not be made: {e}");
            store.end_clip(clip.id, ClipState::Failed, None, Some(&e))
        }
    };
    if let Err(e) = ended.and_then(|_| sweep(&store.clips_folder())) {
        tracing::error!(clip = clip.id, "{e}");
    }
}

/// Removes what a crash left half.
fn sweep(folder: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(folder).map_err(at(folder))?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "part") {
            fs::remove_file(&path).map_err(at(&path))?;
            tracing::info!(file = %path.display(), "half a clip was removed");
        }
    }
    Ok(())
}
