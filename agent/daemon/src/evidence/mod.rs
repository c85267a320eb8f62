//! Takes become evidence: parts are hashed while they grow; a finished lesson is checked, decoded
//! back, described in a manifest and signed.
//!
//! Sealing, in this order, safe to repeat after a crash at any point: 1. what lies beyond the last
//! whole fragment of each take is cut off; 2. the rest is hashed into part rows; 3. the recorder decodes it
//! back; 4. `manifest.json` is made durable; 5. the row says sealed.

mod follow;
mod journal;
mod seal;
pub mod verify;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use lectern_wire::id::{DeviceId, LessonId, SchoolId};
use tokio_util::sync::CancellationToken;

use crate::model::lesson::{Event, State};
use crate::model::profile::Profile;
use crate::store::{Durable, Store, StoreError};
use follow::Follower;

/// What evidence needs to know.
#[derive(Clone)]
pub struct Settings {
    /// The school.
    pub school: SchoolId,
    /// The device.
    pub device: DeviceId,
    /// The room as people call it.
    pub room: String,
    /// The recorder program, which decodes takes back.
    pub recorder: PathBuf,
    /// The device's key.
    pub key: SigningKey,
    /// What a finished lesson is held against.
    pub profiles: Vec<Profile>,
}

/// Why a lesson could not be sealed now.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The bytes are not a take.
    #[error("{path}: {source}")]
    NotATake {
        /// Which.
        path: PathBuf,
        /// What is wrong in it.
        source: lectern_wire::fmp4::BadTake,
    },
    /// It could not be decoded back.
    #[error("take {take} could not be decoded back: {reason}")]
    Undecodable {
        /// Which take.
        take: u32,
        /// What the recorder says.
        reason: String,
    },
    /// The manifest has no canonical form.
    #[error(transparent)]
    Document(#[from] lectern_wire::sign::BadDocument),
}

/// Runs until told to stop.
pub async fn run(store: Store, settings: Settings, stop: CancellationToken) {
    let mut durable = store.durable();
    let mut followers: HashMap<(LessonId, u32), Follower> = HashMap::new();
    let mut again: Option<Duration> = None;
    loop {
        let grown = durable.borrow_and_update().clone();
        if let Some(grown) = grown {
            follow(&store, &mut followers, &grown).await;
        }
        let mut failed = false;
        for id in finishing(&store) {
            followers.retain(|(lesson, _), _| *lesson != id);
            if let Err(e) = finish(&store, &settings, &id).await {
                failed = true;
                let why = e.to_string();
                store.board().update(|s| s.upload.blocked = Some(why));
                tracing::error!(lesson = %id, "the lesson could not be sealed yet: {e}");
            }
        }
        again = failed
            .then(|| again.map_or(Duration::from_secs(1), |wait| (wait * 2).min(Duration::from_secs(60))));
        let retry = async {
            match again {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = store.bells().evidence.notified() => {}
            Ok(()) = durable.changed() => {}
            () = retry => {}
        }
    }
}

fn finishing(store: &Store) -> Vec<LessonId> {
    match store.waiting_lessons() {
        Ok(lessons) => lessons.into_iter().filter(|l| l.state == State::Finishing).map(|l| l.id).collect(),
        Err(e) => {
            tracing::error!("lessons cannot be read: {e}");
            Vec::new()
        }
    }
}

/// Hashes what has become durable; whatever goes wrong here is met again, and told, when sealing.
async fn follow(store: &Store, followers: &mut HashMap<(LessonId, u32), Follower>, grown: &Durable) {
    let key = (grown.lesson.clone(), grown.take);
    let path = store.lesson_folder(&grown.lesson).join(format!("take-{}.mp4", grown.take));
    let mut follower = followers.remove(&key).unwrap_or_else(|| Follower::new(path));
    let (bytes, lesson, take, owner) = (grown.bytes, grown.lesson.clone(), grown.take, store.clone());
    let work = tokio::task::spawn_blocking(move || {
        let parts = follower.advance(bytes)?;
        for part in &parts {
            owner.put_part(&lesson, take, part)?;
        }
        Ok::<_, SealError>((follower, !parts.is_empty()))
    });
    match work.await {
        Ok(Ok((follower, new))) => {
            followers.insert(key, follower);
            if new {
                store.bells().upload.notify_one();
            }
        }
        Ok(Err(e)) => tracing::error!(lesson = %grown.lesson, "{e}"),
        Err(e) => tracing::error!(lesson = %grown.lesson, "hashing broke off: {e}"),
    }
}

async fn finish(store: &Store, settings: &Settings, id: &LessonId) -> Result<(), SealError> {
    let (owner, how, lesson) = (store.clone(), settings.clone(), id.clone());
    let sealed = tokio::task::spawn_blocking(move || seal::seal(&owner, &how, &lesson));
    let sealed = sealed.await.map_err(|e| StoreError::Impossible(format!("sealing broke off: {e}")))??;
    let event = if sealed.is_some() { Event::Sealed } else { Event::NothingRecorded };
    let judged = sealed.as_ref().map(|manifest| {
        settings.profiles.iter().map(|profile| (profile.name.clone(), profile.judge(manifest))).collect()
    });
    let state = store.advance(id, event)?;
    tracing::info!(lesson = %id, state = state.name(), "lesson finished");
    store.board().update(|s| {
        if let Some(lesson) = s.lesson.as_mut().filter(|l| l.id == *id) {
            lesson.state = state;
            lesson.profiles = judged.unwrap_or_default();
        }
    });
    let data = serde_json::json!({ "lesson_id": id, "state": state.name() });
    store.outbox().push_event("lesson", &data)?;
    store.bells().publish.notify_one();
    store.bells().upload.notify_one();
    Ok(())
}
