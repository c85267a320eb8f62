//! One bucket of an S3 store, over HTTP. Every request is a signed URL whose body is not part of the signature: the
//! form that all S3 stores understand, and the one that a classroom is handed.
//!
//! Signatures carry the time. The store's own clock counts for that, as its answers tell it, so a hub whose clock
//! is wrong stays able to store.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use jiff::Timestamp;
use lectern_base::clock;
use lectern_wire::digest::Digest;
use reqwest::{Response, StatusCode, header};
use rusty_s3::signing::sign;
use rusty_s3::{Credentials, Method, UrlStyle};
use url::Url;

use super::answers::{self, Begun, ListedPart, Objects, Parts, Uploads};

/// Nothing at all came or went for this long.
const SILENCE: Duration = Duration::from_secs(30);
/// Putting an object together may take the store a while.
const COMPLETING: Duration = Duration::from_secs(300);
/// How long a signature of the hub's own requests holds, seconds.
const SIGNED_FOR: u64 = 900;
/// Differences of the clocks below this are left alone.
const SKEW_MS: i64 = 30_000;

/// Where the bucket is and who asks.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Settings {
    /// `http` or `https`, host and port.
    pub endpoint: Url,
    /// Its name.
    pub bucket: String,
    /// Part of every signature.
    pub region: String,
    /// Whether the bucket's name stands in the path rather than in the host.
    pub path_style: bool,
    /// What all keys of this hub begin with; ends with `/` unless empty.
    pub prefix: String,
    /// Whether parts go through the hub even where the store could take them itself.
    pub through_hub: bool,
    /// The access key.
    pub key: String,
    /// Its secret.
    pub secret: String,
}

impl std::fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "S3Settings({} {} {:?} {})", self.endpoint, self.bucket, self.prefix, self.region)
    }
}

/// Why the store did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum S3Error {
    /// No answer.
    #[error("the S3 store does not answer: {0}; check its endpoint and that it runs")]
    Unreachable(String),
    /// It said no.
    #[error("the S3 store refused ({status} {code}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its word for it, empty when it has none.
        code: String,
        /// Its sentence.
        message: String,
    },
    /// It answered something else than belongs there.
    #[error("the S3 store's answer to {0} is not understood: {1}")]
    Odd(&'static str, String),
}

impl S3Error {
    /// Whether what was asked about is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether the store does not have the parts that an object was to be made of.
    pub fn lacks_parts(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "InvalidPart" || code == "InvalidPartOrder" || code == "EntityTooSmall")
    }
}

impl From<reqwest::Error> for S3Error {
    fn from(e: reqwest::Error) -> Self {
        // The URL carries a signature; it stays out of logs.
        let e = e.without_url();
        let mut said = e.to_string();
        let mut cause = std::error::Error::source(&e);
        while let Some(inner) = cause {
            said = format!("{said}: {inner}");
            cause = inner.source();
        }
        Self::Unreachable(said)
    }
}

/// The bucket.
#[derive(Debug)]
pub struct Bucket {
    http: reqwest::Client,
    settings: S3Settings,
    place: rusty_s3::Bucket,
    credentials: Credentials,
    /// The store's clock less the time since this machine's start, milliseconds; 0 while it has not answered yet.
    /// Not less the wall clock: that may be stepped at any moment.
    beside_boot_ms: AtomicI64,
}

/// One request.
struct Ask<'a> {
    method: Method,
    key: &'a str,
    /// Sorted by name.
    query: &'a [(&'a str, &'a str)],
    /// Sorted by name, in lower case; all are signed.
    headers: &'a [(&'a str, &'a str)],
    body: Bytes,
    limit: Option<Duration>,
}

impl<'a> Ask<'a> {
    fn new(method: Method, key: &'a str, query: &'a [(&'a str, &'a str)]) -> Self {
        Self { method, key, query, headers: &[], body: Bytes::new(), limit: None }
    }
}

impl Bucket {
    /// The bucket; nothing is asked yet.
    ///
    /// # Errors
    /// A sentence when the settings make no address, or TLS cannot be set up.
    pub fn new(settings: S3Settings) -> Result<Self, String> {
        let style = if settings.path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let place = rusty_s3::Bucket::new(
            settings.endpoint.clone(),
            style,
            settings.bucket.clone(),
            settings.region.clone(),
        )
        .map_err(|e| format!("endpoint and bucket make no address: {e}"))?;
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(SILENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| format!("TLS cannot be set up: {e}"))?;
        let credentials = Credentials::new(settings.key.clone(), settings.secret.clone());
        Ok(Self { http, settings, place, credentials, beside_boot_ms: AtomicI64::new(0) })
    }

    /// Where it is.
    pub fn settings(&self) -> &S3Settings {
        &self.settings
    }

    /// The store's clock less the hub's, milliseconds, as its last answer told; exact to a second.
    pub fn skew_ms(&self) -> i64 {
        match self.beside_boot_ms.load(Ordering::Relaxed) {
            0 => 0,
            beside => beside + boot_ms() - clock::wall_ms(),
        }
    }

    /// The moment a signature names.
    fn now(&self) -> Timestamp {
        let skew = self.skew_ms();
        let skew = if skew.abs() > SKEW_MS { skew } else { 0 };
        Timestamp::from_millisecond(clock::wall_ms().saturating_add(skew)).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// A signed URL. Query and headers are sorted by name.
    pub fn url(
        &self,
        method: Method,
        key: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        lasts_s: u64,
        at: Timestamp,
    ) -> Url {
        let url = if key.is_empty() { self.place.base_url().clone() } else { self.place.object_url(key) };
        let (who, secret) = (self.credentials.key(), self.credentials.secret());
        let (query, headers) = (query.iter().copied(), headers.iter().copied());
        sign(&at, method, url, who, secret, None, self.place.region(), lasts_s, query, headers)
    }

    async fn ask(&self, ask: Ask<'_>) -> Result<Response, S3Error> {
        let skew_ms = self.skew_ms();
        let first = self.try_once(&ask).await?;
        // A store that finds our clock wrong has just told us its own.
        let clock_refused = |r: &Response| {
            matches!(r.status(), StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST)
                && self.skew_ms().abs_diff(skew_ms) > SKEW_MS.unsigned_abs()
        };
        let response = if clock_refused(&first) { self.try_once(&ask).await? } else { first };
        if response.status().is_success() { Ok(response) } else { Err(refused(response).await) }
    }

    async fn try_once(&self, ask: &Ask<'_>) -> Result<Response, S3Error> {
        let Ask { method, key, query, headers, body, limit } = ask;
        let url = self.url(*method, key, query, headers, SIGNED_FOR, self.now());
        let verb = match method {
            Method::Get => reqwest::Method::GET,
            Method::Head => reqwest::Method::HEAD,
            Method::Put => reqwest::Method::PUT,
            Method::Post => reqwest::Method::POST,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut request = self.http.request(verb, url);
        for (name, value) in *headers {
            request = request.header(*name, *value);
        }
        if !body.is_empty() || matches!(method, Method::Put | Method::Post) {
            request = request.body(body.clone());
        }
        if let Some(limit) = limit {
            request = request.timeout(*limit);
        }
        let response = request.send().await?;
        self.learn_the_time(&response);
        Ok(response)
    }

    fn learn_the_time(&self, response: &Response) {
        let said = response.headers().get(header::DATE).and_then(|v| v.to_str().ok());
        let said = said.and_then(|text| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok());
        if let Some(said) = said {
            self.beside_boot_ms.store(said.as_millisecond().saturating_sub(boot_ms()), Ordering::Relaxed);
        }
    }

    /// Hears what time it is at the store, whatever else it answers.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn ask_the_time(&self) -> Result<(), S3Error> {
        self.try_once(&Ask::new(Method::Head, "", &[])).await.map(drop)
    }

    /// Begins an object that comes in parts. With `hashes` the store is asked to keep each part's hash.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn begin(&self, key: &str, hashes: bool) -> Result<String, S3Error> {
        let headers: &[_] = if hashes { &[("x-amz-checksum-algorithm", "SHA256")] } else { &[] };
        let ask = Ask { headers, ..Ask::new(Method::Post, key, &[("uploads", "")]) };
        let text = self.ask(ask).await?.text().await?;
        let begun: Begun = answers::read(&text).map_err(|e| S3Error::Odd("the beginning of an upload", e))?;
        Ok(begun.upload_id)
    }

    /// A URL that carries one part's bytes and no others, and the headers it must be sent with.
    pub fn grant(
        &self,
        key: &str,
        upload: &str,
        n: u32,
        size: u64,
        sha256: Digest,
        lasts: Duration,
    ) -> (Url, [(&'static str, String); 2]) {
        let headers =
            [("content-length", size.to_string()), ("x-amz-checksum-sha256", answers::base64_of(sha256))];
        let number = (n + 1).to_string();
        let url = {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let query = [("partNumber", number.as_str()), ("uploadId", upload)];
            self.url(Method::Put, key, &query, &headers, lasts.as_secs(), self.now())
        };
        (url, headers)
    }

    /// Sends a part from here; answers the store's name for its bytes.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn put_part(
        &self,
        key: &str,
        upload: &str,
        n: u32,
        body: Bytes,
        sha256: Option<Digest>,
    ) -> Result<String, S3Error> {
        let hash = sha256.map(answers::base64_of);
        let headers: Vec<_> = hash.iter().map(|hash| ("x-amz-checksum-sha256", hash.as_str())).collect();
        let number = (n + 1).to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", upload)];
        let ask = Ask { headers: &headers, body, ..Ask::new(Method::Put, key, &query) };
        let response = self.ask(ask).await?;
        let etag = response.headers().get(header::ETAG).and_then(|v| v.to_str().ok());
        etag.map(ToOwned::to_owned).ok_or(S3Error::Odd("a part", "it names no ETag".into()))
    }

    /// One part as the store has it; parts are counted from 0.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn part(&self, key: &str, upload: &str, n: u32) -> Result<Option<ListedPart>, S3Error> {
        let before = n.to_string();
        let query = [("max-parts", "1"), ("part-number-marker", before.as_str()), ("uploadId", upload)];
        // Some stores refuse a marker of nought.
        let query = if n == 0 { &[query[0], query[2]] as &[_] } else { &query };
        let text = self.ask(Ask::new(Method::Get, key, query)).await?.text().await?;
        let listed: Parts = answers::read(&text).map_err(|e| S3Error::Odd("a list of parts", e))?;
        Ok(listed.parts.into_iter().find(|part| part.number == n + 1))
    }

    /// Makes the object of its parts, in order: the store's name for each and, where it keeps them, their hashes.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn complete(
        &self,
        key: &str,
        upload: &str,
        parts: &[(String, Option<Digest>)],
    ) -> Result<(), S3Error> {
        let query = [("uploadId", upload)];
        let body = Bytes::from(answers::complete_body(parts));
        let ask = Ask { body, limit: Some(COMPLETING), ..Ask::new(Method::Post, key, &query) };
        let response = self.ask(ask).await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        match answers::refusal(&text) {
            Some(said) => Err(S3Error::Refused { status, code: said.code, message: said.message }),
            None if text.contains("CompleteMultipartUploadResult") => Ok(()),
            None => Err(S3Error::Odd("the end of an upload", text.chars().take(200).collect())),
        }
    }

    /// Gives up an upload and its parts; one that is gone is given up.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn abort(&self, key: &str, upload: &str) -> Result<(), S3Error> {
        missing_is_fine(self.ask(Ask::new(Method::Delete, key, &[("uploadId", upload)])).await)
    }

    /// The size of an object, if there is one.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn size(&self, key: &str) -> Result<Option<u64>, S3Error> {
        match self.ask(Ask::new(Method::Head, key, &[])).await {
            Ok(response) => {
                let size = response.headers().get(header::CONTENT_LENGTH);
                let size = size.and_then(|v| v.to_str().ok()?.parse().ok());
                size.map(Some).ok_or(S3Error::Odd("a look at an object", "it names no length".into()))
            }
            Err(e) if e.is_missing() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Bytes of an object, as they come. Ends early only with an error.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn get(
        &self,
        key: &str,
        start: u64,
        length: u64,
    ) -> Result<impl Stream<Item = Result<Bytes, S3Error>> + Send + 'static, S3Error> {
        let range = format!("bytes={start}-{}", start.saturating_add(length).saturating_sub(1));
        let headers = [("range", range.as_str())];
        let response = self.ask(Ask { headers: &headers, ..Ask::new(Method::Get, key, &[]) }).await?;
        let says = response.content_length();
        if says.is_some_and(|says| says != length) {
            return Err(S3Error::Odd("a range", format!("{length} bytes were asked for, {says:?} come")));
        }
        Ok(response.bytes_stream().map_err(S3Error::from))
    }

    /// A range of an object, whole.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn read(&self, key: &str, start: u64, length: u64) -> Result<Vec<u8>, S3Error> {
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        if length == 0 {
            return Ok(bytes);
        }
        let mut stream = std::pin::pin!(self.get(key, start, length).await?);
        while let Some(piece) = stream.try_next().await? {
            bytes.extend_from_slice(&piece);
        }
        if bytes.len() as u64 == length {
            Ok(bytes)
        } else {
            Err(S3Error::Odd("a range", format!("{} of {length} bytes came", bytes.len())))
        }
    }

    /// Writes a small object.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn put(&self, key: &str, body: Bytes, headers: &[(&str, &str)]) -> Result<(), S3Error> {
        self.ask(Ask { headers, body, ..Ask::new(Method::Put, key, &[]) }).await.map(drop)
    }

    /// Removes an object; one that is gone is removed.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn delete(&self, key: &str) -> Result<(), S3Error> {
        missing_is_fine(self.ask(Ask::new(Method::Delete, key, &[])).await)
    }

    /// All keys that begin so.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, S3Error> {
        let (mut keys, mut marker) = (Vec::new(), String::new());
        loop {
            // The first version of the listing: every store has it.
            let query = [("marker", marker.as_str()), ("prefix", prefix)];
            let query = if marker.is_empty() { &query[1..] } else { &query };
            let text = self.ask(Ask::new(Method::Get, "", query)).await?.text().await?;
            let listed: Objects = answers::read(&text).map_err(|e| S3Error::Odd("a list of objects", e))?;
            keys.extend(listed.contents.into_iter().map(|object| object.key));
            match keys.last() {
                Some(last) if listed.truncated && *last > marker => marker.clone_from(last),
                _ => return Ok(keys),
            }
        }
    }

    /// Keys and names of the uploads under way whose keys begin so.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn uploads(&self, prefix: &str) -> Result<Vec<(String, String)>, S3Error> {
        let mut found = Vec::new();
        let mut after: Option<(String, String)> = None;
        loop {
            let mut query = Vec::new();
            if let Some((key, upload)) = &after {
                query.extend([
                    ("key-marker", key.as_str()),
                    ("prefix", prefix),
                    ("upload-id-marker", upload.as_str()),
                ]);
            } else {
                query.push(("prefix", prefix));
            }
            query.push(("uploads", ""));
            let text = self.ask(Ask::new(Method::Get, "", &query)).await?.text().await?;
            let listed: Uploads = answers::read(&text).map_err(|e| S3Error::Odd("a list of uploads", e))?;
            found.extend(listed.uploads.into_iter().map(|upload| (upload.key, upload.upload_id)));
            let next = listed.next_key.zip(listed.next_upload).filter(|_| listed.truncated);
            if next.is_none() || next == after {
                return Ok(found);
            }
            after = next;
        }
    }

    /// Sends bytes to a granted URL as a classroom does; answers the status and what was said.
    ///
    /// # Errors
    /// [`S3Error::Unreachable`].
    pub async fn send(
        &self,
        url: Url,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<(u16, String), S3Error> {
        let mut request = self.http.put(url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        Ok((status, answers::refusal(&text).map_or(String::new(), |said| said.code)))
    }
}

fn missing_is_fine(outcome: Result<Response, S3Error>) -> Result<(), S3Error> {
    match outcome {
        Err(e) if !e.is_missing() => Err(e),
        _ => Ok(()),
    }
}

fn boot_ms() -> i64 {
    i64::try_from(clock::boot().as_millis()).unwrap_or(i64::MAX)
}

async fn refused(response: Response) -> S3Error {
    let status = response.status().as_u16();
    let said = response.text().await.ok().and_then(|text| answers::refusal(&text)).unwrap_or_default();
    S3Error::Refused { status, code: said.code, message: said.message }
}
