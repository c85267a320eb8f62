//! The hub as a destination: its HTTP, and nothing that decides when.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lectern_base::clock;
use lectern_wire::PART_SIZE;
use lectern_wire::digest::Digest;
use lectern_wire::id::{DeviceId, LessonId};
use lectern_wire::log::{Checkpoint, Consistency};
use lectern_wire::receipt::Receipt;
use lectern_wire::rotation::{self, HUB, Rotation};
use lectern_wire::sign::{PublicKey, Signed};
use lectern_wire::upload::{Announce, Grant, GrantRequest, HubInfo, LessonStatus, Problem};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use super::body::Source;
use super::destination::{Held, Went};
use super::error::UploadError;

use super::road::Road;
use super::turns::Turns;
use super::{receipt, witness};
use crate::model::lesson::State;
use crate::platform::http;
use crate::store::lessons::{Lesson, PartRow};
use crate::store::{Store, StoreError};

/// A call without a body this long has come to nothing.
const CALL: Duration = Duration::from_secs(20);
/// How long the hub may take to read a lesson back before it is asked again.
const SEAL: Duration = Duration::from_secs(120);

/// Speaks with one hub as one device.
pub struct Hub {
    http: Arc<http::Client>,
    settings: Settings,
    store: Store,
    road: Arc<Road>,
    pinned: Pinned,
}

/// Called when a hub's key was remembered.
pub type Pinned = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Which hub, and as whom.
pub struct Settings {
    /// Its address.
    pub url: Url,
    /// This device.
    pub device: DeviceId,
    /// Its password.
    pub password: String,
    /// Its public signing key.
    pub key: PublicKey,
    /// How that came to be.
    pub rotations: Vec<Signed<Rotation>>,
    /// What this machine is known by.
    pub machine: Vec<Digest>,
}

impl Hub {
    /// Nothing is sent yet.
    pub fn new(
        settings: Settings,
        store: Store,
        road: Arc<Road>,
        http: Arc<http::Client>,
        pinned: Pinned,
    ) -> Self {
        Self { http, settings, store, road, pinned }
    }

    /// Remembers the hub's key, where none is known or somebody heard a word that is signed with another one: what it
    /// sends down is signed with it.
    pub async fn meet(&self) -> Result<(), UploadError> {
        if self.store.fact("hub_key")?.is_some() && !self.store.doubts_hub_key() {
            return Ok(());
        }
        let outcome = self.know().await;
        if !matches!(&outcome, Err(e) if e.is_network()) {
            self.store.hub_key_asked();
        }
        outcome
    }

    async fn know(&self) -> Result<(), UploadError> {
        if self.pinned_hub().await? {
            (self.pinned)().map_err(StoreError::Impossible)?;
        }
        Ok(())
    }

    /// Says that a lesson comes, to the hub this device knows; answers what is there of it already.
    pub async fn open(&self, lesson: &Lesson) -> Result<Held, UploadError> {
        self.know().await?;
        let announce = Announce {
            lesson_id: lesson.id.clone(),
            started_wall_ms: lesson.started_wall_ms,
            about: lesson.about.clone(),
            key: self.settings.key,
            rotations: self.settings.rotations.clone(),
            machine: self.settings.machine.clone(),
        };
        let request = self.call(Method::POST, "/api/v1/lessons")?.json(&announce);
        let status: LessonStatus = checked(request.send().await?).await?.json().await?;
        Ok(status.parts)
    }

    /// Sends one part, by a grant for just these bytes, when its turn comes.
    pub async fn part(
        &self,
        lesson: &LessonId,
        row: &PartRow,
        take: &Path,
        live: bool,
        turns: &Turns,
    ) -> Result<Went, UploadError> {
        let (part, offset) = (row.part, u64::from(row.part.n) * PART_SIZE);
        let there = tokio::fs::metadata(take).await.map_err(|e| UploadError::file(take, e))?.len();
        if there < offset + part.size {
            return Err(UploadError::HashRefused);
        }
        let wish = GrantRequest { n: part.n, size: part.size, sha256: part.sha256, live };
        let mut again = false;
        let began = loop {
            let grant = self.grant(lesson, row.take, &wish).await?;
            let Some(url) = &grant.url else { return Ok(Went::There) };
            let Some(turn) = turns.next().await else { return Ok(Went::NotNow) };
            let began = clock::mono();
            let source = Source { path: take.to_owned(), offset, size: part.size };
            // A presigned address carries its own leave; the device's password goes to the hub alone.
            let answer =
                self.road.lines.put(&self.join(url)?, &grant.headers, source, turn, &self.road.pace).await?;
            match refusal(answer.status, answer.retry_after, &answer.body) {
                Ok(()) if grant.confirm => break began,
                Ok(()) => return Ok(Went::Sent(clock::mono().saturating_sub(began))),
                Err(e) if e.is_stale_grant() && !again => again = true,
                // Stores have many words for bytes that do not fit their hash; a look at our own disk settles it.
                Err(UploadError::Refused { status: 400, .. }) if grant.confirm => {
                    return Err(UploadError::HashRefused);
                }
                Err(e) => return Err(e),
            }
        };
        // A store beside the hub does not tell it: the part counts once the hub has found it there.
        let path = format!("/api/v1/lessons/{lesson}/takes/{}/parts:sent", row.take);
        checked(self.call(Method::POST, &path)?.json(&wish).send().await?).await?;
        Ok(Went::Sent(clock::mono().saturating_sub(began)))
    }

    /// Hands in the manifest, checks the receipt and keeps it.
    pub async fn finish(&self, lesson: &Lesson, folder: &Path) -> Result<(), UploadError> {
        let path = folder.join("manifest.json");
        let manifest = tokio::fs::read(&path).await.map_err(|e| UploadError::file(&path, e))?;
        let signed = self.seal(&lesson.id, manifest).await?;
        if self.store.lesson(&lesson.id)?.is_none_or(|now| now.state == State::Discarded) {
            // Thrown away meanwhile: the receipt is for nothing.
            return Ok(());
        }
        receipt::fits(&self.store, lesson, &signed)?;
        // Not stored, as long as the hub's log is refused.
        witness::check(&self.store, self, &signed).await?;
        receipt::keep(&self.store, folder, lesson, &signed)?;
        tracing::info!(lesson = %lesson.id, log_index = signed.document.log_index, "the receipt is here");
        Ok(())
    }

    fn join(&self, path: &str) -> Result<Url, UploadError> {
        self.settings
            .url
            .join(path)
            .map_err(|e| UploadError::Network(format!("{path:?} is not an address: {e}")))
    }

    fn call(&self, method: Method, path: &str) -> Result<http::Call<'_>, UploadError> {
        let call = self.http.call(method, self.join(path)?).timeout(CALL);
        Ok(call.basic_auth(&self.settings.device, &self.settings.password))
    }

    /// Makes sure that this is the hub this device knows; the first one is remembered, and that is true then.
    async fn pinned_hub(&self) -> Result<bool, UploadError> {
        let hub: HubInfo =
            checked(self.call(Method::GET, "/api/v1/hub")?.send().await?).await?.json().await?;
        let found = String::from(hub.key);
        match self.store.fact("hub_key")? {
            None => {
                tracing::info!(key = hub.key.id(), "this hub's key is remembered from now on");
                self.store.set_fact("hub_key", &found)?;
                Ok(true)
            }
            Some(known) if known == found => Ok(false),
            Some(known) => {
                let known = PublicKey::try_from(known)
                    .map_err(|e| StoreError::Impossible(format!("the remembered hub key: {e}")))?;
                let Ok(way) = rotation::follow(HUB, known, hub.key, &hub.rotations) else {
                    return Err(UploadError::OtherHub {
                        url: self.settings.url.to_string(),
                        found: hub.key.id(),
                        known: known.id(),
                    });
                };
                tracing::info!(
                    from = known.id(),
                    to = hub.key.id(),
                    "the hub has changed its key; the old one says so"
                );
                let mut all = self.store.hub_ring()?;
                way.into_iter().for_each(|key| all.add(key));
                let all: Vec<_> = all.iter().collect();
                let text = serde_json::to_string(&all).map_err(|e| StoreError::Impossible(e.to_string()))?;
                self.store.set_fact("hub_keys", &text)?;
                self.store.set_fact("hub_key", &found)?;
                Ok(true)
            }
        }
    }

    /// How the hub's log of receipts stands; none from a hub that has none.
    pub async fn checkpoint(&self) -> Result<Option<Signed<Checkpoint>>, UploadError> {
        if self.store.fact("hub_key")?.is_some() && self.pinned_hub().await? {
            (self.pinned)().map_err(StoreError::Impossible)?;
        }
        let response = self.call(Method::GET, "/api/v1/log/checkpoint")?.send().await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(checked(response).await?.json().await?))
    }

    /// Proof that the log of `to` entries continues that of `from`; the inner error is the hub's sentence why there
    /// is none.
    pub async fn consistency(&self, from: u64, to: u64) -> Result<Result<Vec<Digest>, String>, UploadError> {
        let path = format!("/api/v1/log/consistency?from={from}&to={to}");
        match checked(self.call(Method::GET, &path)?.send().await?).await {
            Ok(response) => Ok(Ok(response.json::<Consistency>().await?.proof)),
            Err(UploadError::Refused { code, message, .. }) if code == "log_smaller" => Ok(Err(message)),
            Err(e) => Err(e),
        }
    }

    /// Asks for leave to send a part.
    async fn grant(&self, lesson: &LessonId, take: u32, part: &GrantRequest) -> Result<Grant, UploadError> {
        let path = format!("/api/v1/lessons/{lesson}/takes/{take}/parts:grant");
        Ok(checked(self.call(Method::POST, &path)?.json(part).send().await?).await?.json().await?)
    }

    /// Has the hub throw a lesson away; one it never heard of is gone too.
    pub async fn discard(&self, lesson: &LessonId) -> Result<(), UploadError> {
        let response = self.call(Method::DELETE, &format!("/api/v1/lessons/{lesson}"))?.send().await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(());
        }
        checked(response).await.map(drop)
    }

    async fn seal(&self, lesson: &LessonId, manifest: Vec<u8>) -> Result<Signed<Receipt>, UploadError> {
        let request = self.call(Method::POST, &format!("/api/v1/lessons/{lesson}/seal"))?.timeout(SEAL);
        let request = request.body("application/json", manifest);
        let response = checked(request.send().await?).await?;
        if response.status() == StatusCode::ACCEPTED {
            return Err(UploadError::NotYet);
        }
        Ok(response.json().await?)
    }
}

async fn checked(response: Response) -> Result<Response, UploadError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = response.headers().get(reqwest::header::RETRY_AFTER);
    let retry_after =
        retry_after.and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok()).map(Duration::from_secs);
    // A proxy may answer with anything, of any length.
    let body = response.bytes().await.unwrap_or_default();
    refusal(status.as_u16(), retry_after, &body)?;
    Err(UploadError::Network(format!("an answer {status} that is none")))
}

/// What an answer means.
fn refusal(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Result<(), UploadError> {
    if (200..300).contains(&status) {
        return Ok(());
    }
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    let Some(Problem { code, message }) = problem else {
        // Not the hub's word: a proxy or a gateway before it is in trouble, or the hub is.
        if status >= 500 && retry_after.is_none() {
            return Err(UploadError::Network(format!("an answer {status} without a reason")));
        }
        let message = "no reason given".to_owned();
        return Err(UploadError::Refused { status, code: String::new(), message, retry_after });
    };
    match code.as_str() {
        "hash_mismatch" => Err(UploadError::HashRefused),
        "contradicts_head" => Err(UploadError::Contradicted(message)),
        // The line brought less than was sent, or nothing for too long.
        "cut_short" | "length_mismatch" | "stalled" => Err(UploadError::Network(message)),
        _ => Err(UploadError::Refused { status, code, message, retry_after }),
    }
}
