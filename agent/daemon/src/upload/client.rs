//! HTTP with the hub; no decisions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lectern_wire::PART_SIZE;
use lectern_wire::digest::Digest;
use lectern_wire::id::{DeviceId, LessonId};
use lectern_wire::manifest::Part;
use lectern_wire::receipt::Receipt;
use lectern_wire::sign::{PublicKey, Signed};
use lectern_wire::upload::{Announce, Grant, GrantRequest, LessonStatus, Problem};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use url::Url;

use crate::store::{Store, StoreError};

/// A call without a body this long has come to nothing.
const CALL: Duration = Duration::from_secs(20);
/// A part that moves no byte for this long has stalled; a slow line is not a dead one.
const STALL: Duration = Duration::from_secs(30);
/// How long the hub may take to read a lesson back before it is asked again.
const SEAL: Duration = Duration::from_secs(120);

/// Why something did not reach the hub.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The hub could not be reached or the line broke.
    #[error("the hub cannot be reached: {0}")]
    Network(String),
    /// The hub said no.
    #[error("the hub refused ({status}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The hub's sentence.
        message: String,
        /// When to come again, if it said so.
        retry_after: Option<Duration>,
    },
    /// The hub received other bytes than were promised.
    #[error("the hub received other bytes than were hashed")]
    HashRefused,
    /// A part's bytes have changed on this disk.
    #[error("take {take} part {part} has changed on this disk since it was recorded; see `lectern verify`")]
    Damaged {
        /// The take.
        take: u32,
        /// The part.
        part: u32,
    },
    /// The hub is still reading back.
    #[error("the hub is still reading the lesson back")]
    NotYet,
    /// The hub answers with a key that is not the one this device knows.
    #[error(
        "the hub at {url} shows key {found}, this device knows {known}: if the hub was replaced, stop lectern, run `lectern forget-hub`, start it again"
    )]
    OtherHub {
        /// Its address.
        url: String,
        /// The key it shows.
        found: String,
        /// The key this device knows.
        known: String,
    },
    /// The receipt does not fit.
    #[error("the hub's receipt is not accepted: {0}")]
    BadReceipt(String),
    /// A local file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl UploadError {
    /// A local file's error.
    pub fn file(path: &Path, source: std::io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }

    /// Whether it is the line, not the hub or this device.
    pub fn is_network(&self) -> bool {
        matches!(self, Self::Network(_))
    }

    /// When to come again, if somebody said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::NotYet => Some(Duration::from_millis(500)),
            _ => None,
        }
    }
}

impl From<reqwest::Error> for UploadError {
    fn from(e: reqwest::Error) -> Self {
        // The URL may carry a grant; it stays out of logs.
        let e = e.without_url();
        let mut said = e.to_string();
        let mut cause = std::error::Error::source(&e);
        while let Some(inner) = cause {
            said = format!("{said}: {inner}");
            cause = inner.source();
        }
        Self::Network(said)
    }
}

/// Speaks with one hub as one device.
pub struct Client {
    http: reqwest::Client,
    url: Url,
    device: DeviceId,
    password: String,
}

/// What the hub says of itself.
#[derive(Debug, Deserialize)]
struct Hub {
    key: PublicKey,
}

impl Client {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// [`UploadError::Network`] when TLS cannot be set up.
    pub fn new(url: Url, device: DeviceId, password: String) -> Result<Self, UploadError> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(2)
            .build()?;
        Ok(Self { http, url, device, password })
    }

    /// The hub's address.
    #[must_use]
    pub fn hub(&self) -> &Url {
        &self.url
    }

    /// The same connections and certificates, for other questions to the hub.
    #[must_use]
    pub fn http(&self) -> reqwest::Client {
        self.http.clone()
    }

    fn join(&self, path: &str) -> Result<Url, UploadError> {
        self.url.join(path).map_err(|e| UploadError::Network(format!("{path:?} is not an address: {e}")))
    }

    fn call(&self, method: Method, path: &str) -> Result<RequestBuilder, UploadError> {
        let request = self.http.request(method, self.join(path)?).timeout(CALL);
        Ok(request.basic_auth(&self.device, Some(&self.password)))
    }

    /// Makes sure that this is the hub this device knows; the first one is remembered, and that is true then.
    pub async fn pinned_hub(&self, store: &Store) -> Result<bool, UploadError> {
        let hub: Hub = checked(self.call(Method::GET, "/api/v1/hub")?.send().await?).await?.json().await?;
        let found = String::from(hub.key);
        match store.fact("hub_key")? {
            None => {
                tracing::info!(key = hub.key.id(), "this hub's key is remembered from now on");
                store.set_fact("hub_key", &found)?;
                Ok(true)
            }
            Some(known) if known == found => Ok(false),
            Some(known) => {
                let known = PublicKey::try_from(known.clone()).map_or(known, |key| key.id());
                Err(UploadError::OtherHub { url: self.url.to_string(), found: hub.key.id(), known })
            }
        }
    }

    /// Says that a lesson will come.
    pub async fn announce(&self, announce: &Announce) -> Result<LessonStatus, UploadError> {
        let request = self.call(Method::POST, "/api/v1/lessons")?.json(announce);
        Ok(checked(request.send().await?).await?.json().await?)
    }

    /// Asks for leave to send a part.
    pub async fn grant(
        &self,
        lesson: &LessonId,
        take: u32,
        part: &GrantRequest,
    ) -> Result<Grant, UploadError> {
        let path = format!("/api/v1/lessons/{lesson}/takes/{take}/parts:grant");
        Ok(checked(self.call(Method::POST, &path)?.json(part).send().await?).await?.json().await?)
    }

    /// Sends a part's bytes straight from the file.
    pub async fn put(
        &self,
        url: &str,
        headers: &BTreeMap<String, String>,
        path: &Path,
        offset: u64,
        size: u64,
    ) -> Result<(), UploadError> {
        let file_error = |e| UploadError::file(path, e);
        let mut file = tokio::fs::File::open(path).await.map_err(file_error)?;
        file.seek(std::io::SeekFrom::Start(offset)).await.map_err(file_error)?;
        let moved = Arc::new(AtomicU64::new(0));
        let counter = moved.clone();
        let pieces = tokio_util::io::ReaderStream::with_capacity(file.take(size), 64 * 1024);
        let pieces = futures_util::StreamExt::inspect(pieces, move |piece| {
            counter.fetch_add(piece.as_ref().map_or(0, |p| p.len() as u64), Ordering::Relaxed);
        });
        // A presigned address carries its own leave; the device's password goes to the hub alone.
        let mut request = self.http.put(self.join(url)?).body(reqwest::Body::wrap_stream(pieces));
        request = request.header(reqwest::header::CONTENT_LENGTH, size);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = tokio::select! {
            response = request.send() => response?,
            () = stalled(&moved) => {
                return Err(UploadError::Network(format!("nothing moved for {} s", STALL.as_secs())));
            }
        };
        checked(response).await.map(drop)
    }

    /// Has the hub throw a lesson away; one it never heard of is gone too.
    pub async fn discard(&self, lesson: &LessonId) -> Result<(), UploadError> {
        let response = self.call(Method::DELETE, &format!("/api/v1/lessons/{lesson}"))?.send().await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(());
        }
        checked(response).await.map(drop)
    }

    /// Hands in the manifest and gets the receipt.
    pub async fn seal(&self, lesson: &LessonId, manifest: Vec<u8>) -> Result<Signed<Receipt>, UploadError> {
        let request = self.call(Method::POST, &format!("/api/v1/lessons/{lesson}/seal"))?.timeout(SEAL);
        let request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(manifest);
        let response = checked(request.send().await?).await?;
        if response.status() == StatusCode::ACCEPTED {
            return Err(UploadError::NotYet);
        }
        Ok(response.json().await?)
    }
}

/// Comes back when no byte has moved for [`STALL`].
async fn stalled(moved: &AtomicU64) {
    let mut last = moved.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(STALL).await;
        let now = moved.load(Ordering::Relaxed);
        if now == last {
            return;
        }
        last = now;
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
    let problem: Option<Problem> = serde_json::from_slice(&body).ok();
    if problem.as_ref().is_some_and(|p| p.code == "hash_mismatch") {
        return Err(UploadError::HashRefused);
    }
    let message = problem.map_or_else(|| "no reason given".to_owned(), |p| p.message);
    Err(UploadError::Refused { status: status.as_u16(), message, retry_after })
}

/// The hash of a part's bytes as they are on disk now.
pub fn hash_part(path: &Path, part: &Part) -> std::io::Result<Digest> {
    use std::io::{Read as _, Seek as _};
    let mut file = std::fs::File::open(path)?;
    file.seek(std::io::SeekFrom::Start(u64::from(part.n) * PART_SIZE))?;
    let mut bytes = Vec::new();
    file.take(part.size).read_to_end(&mut bytes)?;
    Ok(Digest::of(&bytes))
}
