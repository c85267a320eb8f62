//! Notices a state folder that does not keep what is written to it (磁盘还原), so that no lesson is recorded into it.
//!
//! Two looks. By itself: the file system and the kernel's words, see [`crate::platform::volume`]. With the hub: a
//! volume that was taken back cannot know it, so the hub remembers how many boots it has seen and which
//! lesson was the last; asked at start, until it answers. A lesson that is being recorded meanwhile goes on.

use std::sync::Arc;
use std::time::Duration;

use lectern_base::{chance, clock};
use lectern_wire::home::{Home, Remembered, Verdict};
use lectern_wire::id::DeviceId;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::model::home::{Doubt, Memory};
use crate::platform::{http, rest, volume};
use crate::store::{Store, StoreError};

/// A call that takes longer has come to nothing.
const CALL: Duration = Duration::from_secs(20);
/// Longest wait between tries.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The hub, as far as it is asked here.
#[derive(Debug, Clone)]
pub struct Hub {
    /// Its address.
    pub url: Url,
    /// This device.
    pub device: DeviceId,
    /// Its password.
    pub password: String,
    /// The way there.
    pub http: Arc<http::Client>,
}

/// Looks at the volume and counts this boot; before anything may be recorded.
///
/// # Errors
/// [`StoreError`] when the boot cannot be counted.
pub fn look(store: &Store, trusted: bool) -> Result<Home, StoreError> {
    let looks = || volume::doubt(store.folder()).filter(|_| !trusted);
    let doubt = if store.is_kept() { looks() } else { Some(Doubt::ReadOnly) };
    if let Some(doubt) = &doubt {
        tracing::error!(folder = %store.folder().display(), "no home for lessons: {doubt}");
    }
    store.board().update(|s| s.home = doubt);
    store.count_boot(&clock::boot_id())
}

/// Asks the hub what it remembers, until it answers; then waits for the end.
pub async fn run(store: Store, home: Home, hub: Hub, stop: CancellationToken) {
    if !store.is_kept() {
        // This boot cannot be counted: the hub would take it for one that was there before.
        return stop.cancelled().await;
    }
    let mut wait = Duration::from_secs(1);
    loop {
        let answer = tokio::select! {
            () = stop.cancelled() => return,
            answer = ask(&hub, &home) => answer,
        };
        match answer.and_then(|remembered| weigh(&store, &home, remembered).map_err(|e| e.to_string())) {
            Ok(doubt) => {
                if let Some(doubt) = doubt {
                    tracing::error!(folder = %store.folder().display(), "no home for lessons: {doubt}");
                    store.board().update(|s| s.home = Some(doubt));
                }
                return stop.cancelled().await;
            }
            Err(e) => tracing::debug!("the hub was not asked about the volume yet: {e}"),
        }
        let jitter = chance::below(u64::try_from(wait.as_millis()).unwrap_or(1000) / 4 + 1);
        tokio::select! {
            () = stop.cancelled() => return,
            () = rest::about(wait + Duration::from_millis(jitter)) => {}
        }
        wait = (wait * 2).min(MAX_WAIT);
    }
}

async fn ask(hub: &Hub, home: &Home) -> Result<Remembered, String> {
    // The address may hold a password of its own one day; it stays out of logs.
    let said = |e: reqwest::Error| e.without_url().to_string();
    let url = hub.url.join("/api/v1/home").map_err(|e| e.to_string())?;
    let call = hub.http.call(reqwest::Method::POST, url).timeout(CALL);
    let call = call.basic_auth(&hub.device, &hub.password).json(home);
    let response = call.send().await.map_err(|e| e.to_string())?.error_for_status().map_err(said)?;
    response.json().await.map_err(said)
}

/// What the hub's memory means here.
fn weigh(store: &Store, home: &Home, remembered: Remembered) -> Result<Option<Doubt>, StoreError> {
    let memory = match (remembered.verdict, remembered.last_lesson) {
        (Verdict::BootsAgain, _) => Memory::Boots(home.boots),
        (Verdict::NewAgain, _) => Memory::NewAgain,
        (Verdict::Kept, Some(id)) if store.lesson(&id)?.is_none() => Memory::Lesson(id.to_string()),
        (Verdict::Kept, _) => return Ok(None),
    };
    Ok(Some(Doubt::TakenBack(memory)))
}

#[cfg(test)]
mod tests {
    use lectern_wire::id::LessonId;

    use super::*;

    #[test]
    fn a_lesson_only_the_hub_knows_of_means_that_the_volume_was_taken_back() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path(), 1 << 20).expect("opens");
        let home = store.count_boot("x").expect("counts");
        let weigh = |verdict, last: Option<&str>| {
            let last_lesson = last.map(|id| LessonId::new(id).expect("id"));
            weigh(&store, &home, Remembered { verdict, last_lesson }).expect("weighs")
        };
        assert_eq!(weigh(Verdict::Kept, None), None);
        let taken_back = |memory| Some(Doubt::TakenBack(memory));
        assert_eq!(weigh(Verdict::Kept, Some("l-1")), taken_back(Memory::Lesson("l-1".into())));
        assert_eq!(weigh(Verdict::BootsAgain, None), taken_back(Memory::Boots(1)));
        assert_eq!(weigh(Verdict::NewAgain, None), taken_back(Memory::NewAgain));
    }
}
