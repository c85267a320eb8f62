//! Takes become evidence: parts are hashed while they grow; a finished lesson is checked, decoded
//! back, described in a manifest and signed.
//!
//! Sealing, in this order, safe to repeat after a crash at any point: 1. what lies beyond the last
//! whole fragment of each take is cut off; 2. the rest is hashed into part rows; 3. the recorder has decoded it
//! back, mostly while the lesson ran ([`check`]); 4. `manifest.json` is made durable; 5. the row says sealed.

mod check;
pub mod device_key;
mod follow;
mod heads;
mod journal;
pub mod known_keys;
mod seal;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use lectern_wire::id::{DeviceId, LessonId, SchoolId};
use tokio_util::sync::CancellationToken;

use crate::model::lesson::{Event, State};
use crate::model::profile::Profile;
use crate::store::lessons::Lesson;
use crate::store::{Durable, Store, StoreError};
use check::Check;
use follow::Follower;
use heads::Heads;

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
    /// Whether every picture is decoded, or the key frames.
    pub full_check: bool,
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
    /// A recorder has not let go of it.
    #[error("{path} is still being written by a recorder that was taken for lost")]
    StillWritten {
        /// Which.
        path: PathBuf,
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

/// What goes along with a take that grows.
type Following = (Follower, Check, Heads);

/// Runs until told to stop.
pub async fn run(store: Store, settings: Settings, stop: CancellationToken) {
    let mut durable = store.durable();
    let mut followers: HashMap<(LessonId, u32), Following> = HashMap::new();
    let mut again: Option<Duration> = None;
    loop {
        let grown = durable.borrow_and_update().clone();
        if let Some(grown) = grown {
            follow(&store, &settings, &mut followers, &grown).await;
        }
        let mut failed = false;
        let waiting = waiting(&store);
        // A lesson that was thrown away needs no check any more.
        followers.retain(|(lesson, _), _| waiting.iter().any(|l| l.id == *lesson));
        for id in waiting.into_iter().filter(|l| l.state == State::Finishing).map(|l| l.id) {
            let own = followers.extract_if(|(lesson, _), _| *lesson == id);
            let checks = own.map(|((_, take), (_, check, _))| (take, check)).collect();
            if let Err(e) = finish(&store, &settings, &id, checks).await {
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

fn waiting(store: &Store) -> Vec<Lesson> {
    store.waiting_lessons().unwrap_or_else(|e| {
        tracing::error!("lessons cannot be read: {e}");
        Vec::new()
    })
}

/// Hashes what has become durable; whatever goes wrong here is met again, and told, when sealing.
async fn follow(
    store: &Store,
    settings: &Settings,
    followers: &mut HashMap<(LessonId, u32), Following>,
    grown: &Durable,
) {
    let key = (grown.lesson.clone(), grown.take);
    let path = store.lesson_folder(&grown.lesson).join(format!("take-{}.mp4", grown.take));
    let new = || (Follower::new(path.clone()), Check::default(), Heads::default());
    let (mut follower, mut check, mut heads) = followers.remove(&key).unwrap_or_else(new);
    let (bytes, lesson, take, owner) = (grown.bytes, grown.lesson.clone(), grown.take, store.clone());
    let how = settings.clone();
    let work = tokio::task::spawn_blocking(move || {
        let parts = follower.advance(bytes)?;
        for part in &parts {
            owner.put_part(&lesson, take, part)?;
        }
        heads.grow(&owner, &how, &lesson, take, follower.head())?;
        if let Some(row) = owner.lesson(&lesson)? {
            check.grow(&how, &path, row.capture.video.fps, bytes);
        }
        Ok::<_, SealError>(((follower, check, heads), !parts.is_empty()))
    });
    match work.await {
        Ok(Ok((following, new))) => {
            followers.insert(key, following);
            if new {
                store.bells().upload.notify_one();
            }
        }
        Ok(Err(e)) => tracing::error!(lesson = %grown.lesson, "{e}"),
        Err(e) => tracing::error!(lesson = %grown.lesson, "hashing broke off: {e}"),
    }
}

async fn finish(
    store: &Store,
    settings: &Settings,
    id: &LessonId,
    mut checks: HashMap<u32, Check>,
) -> Result<(), SealError> {
    let (owner, how, lesson) = (store.clone(), settings.clone(), id.clone());
    let sealed = tokio::task::spawn_blocking(move || seal::seal(&owner, &how, &lesson, &mut checks));
    let sealed = sealed.await.map_err(|e| StoreError::Impossible(format!("sealing broke off: {e}")))??;
    let event = if sealed.is_some() { Event::Sealed } else { Event::NothingRecorded };
    let judged = sealed.as_ref().map(|manifest| {
        settings.profiles.iter().map(|profile| (profile.name.clone(), profile.judge(manifest))).collect()
    });
    let reports = sealed.iter().flat_map(|m| m.takes.iter().filter_map(|t| t.report.clone())).collect();
    let state = store.advance(id, event)?;
    tracing::info!(lesson = %id, state = state.name(), "lesson finished");
    store.board().update(|s| {
        if let Some(lesson) = s.lesson.as_mut().filter(|l| l.id == *id) {
            lesson.state = state;
            lesson.profiles = judged.unwrap_or_default();
            lesson.reports = reports;
        }
    });
    let data = serde_json::json!({ "lesson_id": id, "state": state.name() });
    store.outbox().push_event("lesson", &data);
    store.bells().publish.notify_one();
    store.bells().upload.notify_one();
    Ok(())
}
