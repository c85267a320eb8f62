//! A bucket as a destination, with this school's own credentials: a multipart upload for each take, a part of it for each
//! part of ours, while the lesson is recorded. What the store has is asked of the store (ListParts), never remembered.
//! In the end every byte is read back: stores differ in what their checksums are worth, this does not.
//!
//! Requests are signed in the address (SigV4) and carry the payload unsigned, the subset every store understands. They are
//! signed with the store's own time: a classroom's clock may stand at 2013.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use lectern_base::clock;
use lectern_wire::digest::Digest;
use reqwest::{Response, StatusCode};
use rusty_s3::signing::sign;
use rusty_s3::{Credentials, Method, UrlStyle};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::work::{Checked, Work};
use super::{Trouble, xml};
use crate::config::destination::S3;
use crate::platform::identity;

/// How long a signed address is good for, seconds; the store's clock decides.
const LIFE_S: u64 = 15 * 60;
/// A request without a body this long has come to nothing.
const CALL: Duration = Duration::from_secs(60);
/// Ending a multipart upload may make the store copy it.
const COMPLETE: Duration = Duration::from_secs(600);
/// A part may take this long: a line of 120 kbit/s is slow, not dead.
const PART: Duration = Duration::from_secs(600);
/// A clock that differs from the store's by more than this is corrected, milliseconds.
const SKEW_MS: i64 = 60_000;

/// What is remembered between rounds: the store knows the rest.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    /// Open uploads, by take.
    uploads: BTreeMap<u32, String>,
    /// Takes that are objects.
    done: BTreeSet<u32>,
}

/// See the module's header.
pub struct Bucket {
    http: reqwest::Client,
    bucket: rusty_s3::Bucket,
    credentials: Credentials,
    prefix: String,
    /// The store's time less this machine's, milliseconds.
    offset_ms: AtomicI64,
}

/// An answer that was no success.
struct Refused {
    status: StatusCode,
    code: String,
    trouble: Trouble,
}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Self {
        refused.trouble
    }
}

impl From<Trouble> for Refused {
    fn from(trouble: Trouble) -> Self {
        Self { status: StatusCode::OK, code: String::new(), trouble }
    }
}

impl From<reqwest::Error> for Refused {
    fn from(e: reqwest::Error) -> Self {
        Trouble::from(e).into()
    }
}

impl Bucket {
    /// Sets the bucket up; nothing is sent yet.
    pub fn new(settings: &S3) -> Result<Self, Trouble> {
        let secret = identity::password(&settings.secret_file).map_err(Trouble::there)?;
        let style = if settings.in_path { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let (url, name, region) = (settings.url.clone(), settings.bucket.clone(), settings.region.clone());
        let bucket =
            rusty_s3::Bucket::new(url, style, name, region).map_err(|e| Trouble::there(e.to_string()))?;
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let credentials = Credentials::new(settings.access_key.clone(), secret);
        Ok(Self { http, bucket, credentials, prefix: settings.prefix.clone(), offset_ms: AtomicI64::new(0) })
    }

    fn key(&self, work: &Work, name: &str) -> String {
        format!("{}{}/{name}", self.prefix, work.levels().join("/"))
    }

    /// A signed address; the query is sorted by name.
    fn signed(&self, method: Method, key: &str, query: &[(&str, &str)]) -> url::Url {
        let now = clock::wall_ms().saturating_add(self.offset_ms.load(Ordering::Relaxed));
        let now = jiff::Timestamp::from_millisecond(now).unwrap_or_default();
        let (url, who) = (self.bucket.object_url(key), &self.credentials);
        let (query, none) = (query.iter().copied(), std::iter::empty::<(&str, &str)>());
        sign(&now, method, url, who.key(), who.secret(), None, self.bucket.region(), LIFE_S, query, none)
    }

    /// Looks at the store's clock, then at what it says.
    async fn checked(&self, response: Response) -> Result<Response, Refused> {
        let date = response.headers().get(reqwest::header::DATE).and_then(|date| date.to_str().ok());
        if let Some(theirs) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) {
            let offset = theirs.timestamp().as_millisecond() - clock::wall_ms();
            self.offset_ms.store(if offset.abs() > SKEW_MS { offset } else { 0 }, Ordering::Relaxed);
        }
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let wait =
            response.headers().get(reqwest::header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        let text = response.text().await.unwrap_or_default();
        let code = xml::text(&text, "Code").unwrap_or_default();
        let said = xml::text(&text, "Message").unwrap_or_default();
        let trouble = Trouble::there(format!("the S3 store refused ({} {code}): {said}", status.as_u16()));
        Err(Refused { status, code, trouble: trouble.after(wait.map(Duration::from_secs)) })
    }

    fn noted(work: &Work) -> Result<Note, Trouble> {
        Ok(work.noted()?.and_then(|note| serde_json::from_str(&note).ok()).unwrap_or_default())
    }

    fn note(work: &Work, sent: u64, note: &Note) -> Result<(), Trouble> {
        let text = serde_json::to_string(note).map_err(|e| Trouble::lesson(e.to_string()))?;
        work.note(sent, Some(&text))
    }

    /// Sends the parts that are ready and not there.
    pub async fn grow(&self, work: &Work) -> Result<(), Trouble> {
        let mut note = Self::noted(work)?;
        let mut sent = 0;
        for take in work.takes() {
            if note.done.contains(&take) {
                sent += work.parts_of(take).map(|row| row.part.size).sum::<u64>();
            } else {
                sent += self
                    .grow_take(work, take, &mut note, sent)
                    .await?
                    .values()
                    .map(|(size, _)| size)
                    .sum::<u64>();
            }
        }
        Ok(())
    }

    /// Sends a take's parts; gives size and tag of each that is there, by number from 1.
    async fn grow_take(
        &self,
        work: &Work,
        take: u32,
        note: &mut Note,
        before: u64,
    ) -> Result<BTreeMap<u16, (u64, String)>, Trouble> {
        let key = self.key(work, &format!("take-{take}.mp4"));
        let (upload, mut there) = match note.uploads.get(&take) {
            None => (self.begin(work, take, &key, note, before).await?, BTreeMap::new()),
            Some(upload) => match self.list(&key, upload).await {
                Ok(there) => (upload.clone(), there),
                // The store cleared it away: begun anew.
                Err(e) if e.code == "NoSuchUpload" || e.status == StatusCode::NOT_FOUND => {
                    (self.begin(work, take, &key, note, before).await?, BTreeMap::new())
                }
                Err(e) => return Err(e.trouble),
            },
        };
        for row in work.parts_of(take) {
            let number =
                u16::try_from(row.part.n + 1).map_err(|_| Trouble::lesson("it has too many parts"))?;
            if there.get(&number).is_some_and(|(size, _)| *size == row.part.size) {
                continue;
            }
            let bytes = work.bytes_aside(row).await?;
            let url =
                self.signed(Method::Put, &key, &[("partNumber", &number.to_string()), ("uploadId", &upload)]);
            let response = self.checked(self.http.put(url).timeout(PART).body(bytes).send().await?).await?;
            let tag = response.headers().get(reqwest::header::ETAG).and_then(|tag| tag.to_str().ok());
            let tag = tag
                .ok_or_else(|| Trouble::there("the S3 store gave a part no tag"))?
                .trim_matches('"')
                .to_owned();
            there.insert(number, (row.part.size, tag));
            Self::note(work, before + there.values().map(|(size, _)| size).sum::<u64>(), note)?;
        }
        Ok(there)
    }

    async fn begin(
        &self,
        work: &Work,
        take: u32,
        key: &str,
        note: &mut Note,
        before: u64,
    ) -> Result<String, Trouble> {
        let url = self.signed(Method::Post, key, &[("uploads", "")]);
        let text = self.checked(self.http.post(url).timeout(CALL).send().await?).await?.text().await?;
        let id = xml::text(&text, "UploadId").filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| Trouble::there("the S3 store began an upload without naming it"))?;
        note.uploads.insert(take, id.clone());
        Self::note(work, before, note)?;
        Ok(id)
    }

    /// What the store has of an upload.
    async fn list(&self, key: &str, upload: &str) -> Result<BTreeMap<u16, (u64, String)>, Refused> {
        let (mut there, mut after) = (BTreeMap::new(), None);
        loop {
            let marker = after.map(|after: u16| after.to_string());
            let mut query: Vec<(&str, &str)> =
                marker.iter().map(|n| ("part-number-marker", n.as_str())).collect();
            query.push(("uploadId", upload));
            let url = self.signed(Method::Get, key, &query);
            let text = self.checked(self.http.get(url).timeout(CALL).send().await?).await?.text().await?;
            for part in xml::all(&text, "Part") {
                let field = |name: &str| part.get(name).map(String::as_str).unwrap_or_default();
                if let (Ok(n), Ok(size)) = (field("PartNumber").parse(), field("Size").parse()) {
                    there.insert(n, (size, field("ETag").trim_matches('"').to_owned()));
                }
            }
            let more = xml::text(&text, "IsTruncated").is_some_and(|word| word == "true");
            let next = xml::text(&text, "NextPartNumberMarker").and_then(|n| n.parse::<u16>().ok());
            match next.filter(|next| more && Some(*next) > after) {
                Some(next) => after = Some(next),
                None => return Ok(there),
            }
        }
    }

    /// Sends the rest, makes objects of the takes, and reads everything back.
    pub async fn finish(&self, work: &Work) -> Result<Vec<Checked>, Trouble> {
        let Some((manifest, bytes)) = &work.sealed else { return Err(Trouble::lesson("it is not sealed")) };
        let mut note = Self::noted(work)?;
        let (mut sent, mut checked) = (0, Vec::new());
        for take in &manifest.takes {
            let key = self.key(work, &take.file);
            if !note.done.contains(&take.n) {
                self.complete(work, take.n, take.size, &key, &mut note, sent).await?;
            }
            sent += take.size;
            if self.read_back(&key).await? != (take.size, take.sha256) {
                note.done.remove(&take.n);
                note.uploads.remove(&take.n);
                Self::note(work, sent - take.size, &note)?;
                self.remove(&key).await?;
                return Err(Trouble::lesson(format!(
                    "the S3 store gave back other bytes of {} than it got; it is sent again",
                    take.file
                )));
            }
            checked.push(Checked { name: key, size: take.size, sha256: take.sha256, by: "read back" });
        }
        // Last of all: what has a manifest is whole.
        let key = self.key(work, "manifest.json");
        let url = self.signed(Method::Put, &key, &[]);
        self.checked(self.http.put(url).timeout(CALL).body(bytes.clone()).send().await?).await?;
        let is = (bytes.len() as u64, Digest::of(bytes));
        if self.read_back(&key).await? != is {
            return Err(Trouble::there("the S3 store gave back another manifest than it got"));
        }
        checked.push(Checked { name: key, size: is.0, sha256: is.1, by: "read back" });
        Ok(checked)
    }

    /// Makes an object of a take's parts.
    async fn complete(
        &self,
        work: &Work,
        take: u32,
        size: u64,
        key: &str,
        note: &mut Note,
        before: u64,
    ) -> Result<(), Trouble> {
        // A completion whose answer was lost: the upload is gone and the object is there.
        if note.uploads.contains_key(&take) && self.size(key).await? == Some(size) {
            note.done.insert(take);
            return Self::note(work, before + size, note);
        }
        let there = self.grow_take(work, take, note, before).await?;
        let upload = note.uploads.get(&take).ok_or_else(|| Trouble::lesson("its upload was not begun"))?;
        let parts = there.iter().map(|(n, (_, tag))| {
            format!("<Part><PartNumber>{n}</PartNumber><ETag>&quot;{}&quot;</ETag></Part>", xml::escaped(tag))
        });
        let body =
            format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", parts.collect::<String>());
        let url = self.signed(Method::Post, key, &[("uploadId", upload)]);
        let response = self.http.post(url).timeout(COMPLETE).body(body).send().await?;
        let text = self.checked(response).await?.text().await?;
        // Some stores answer 200 first and say later that it came to nothing.
        if let Some(code) = xml::text(&text, "Code") {
            return Err(Trouble::there(format!("the S3 store could not complete an upload: {code}")));
        }
        note.done.insert(take);
        Self::note(work, before + size, note)
    }

    /// An object's size, if it is there.
    async fn size(&self, key: &str) -> Result<Option<u64>, Trouble> {
        let url = self.signed(Method::Head, key, &[]);
        match self.checked(self.http.head(url).timeout(CALL).send().await?).await {
            Ok(response) => {
                let length = response.headers().get(reqwest::header::CONTENT_LENGTH);
                Ok(length.and_then(|n| n.to_str().ok()?.parse().ok()))
            }
            Err(e) if e.status == StatusCode::NOT_FOUND => Ok(None),
            Err(e) => Err(e.trouble),
        }
    }

    /// Length and hash of an object as the store gives it back.
    async fn read_back(&self, key: &str) -> Result<(u64, Digest), Trouble> {
        let url = self.signed(Method::Get, key, &[]);
        let mut response = self.checked(self.http.get(url).send().await?).await?;
        let (mut hasher, mut length) = (Sha256::new(), 0);
        loop {
            let piece = tokio::time::timeout(CALL, response.chunk()).await;
            let piece =
                piece.map_err(|_| Trouble::there("the S3 store stopped in the middle of an object"))??;
            let Some(piece) = piece else { return Ok((length, Digest::finish(hasher))) };
            hasher.update(&piece);
            length += piece.len() as u64;
        }
    }

    async fn remove(&self, key: &str) -> Result<(), Trouble> {
        let url = self.signed(Method::Delete, key, &[]);
        match self.checked(self.http.delete(url).timeout(CALL).send().await?).await {
            Err(e) if e.status != StatusCode::NOT_FOUND => Err(e.trouble),
            _ => Ok(()),
        }
    }

    /// Removes what is there of a lesson.
    pub async fn discard(&self, work: &Work) -> Result<(), Trouble> {
        for (take, upload) in Self::noted(work)?.uploads {
            let key = self.key(work, &format!("take-{take}.mp4"));
            let url = self.signed(Method::Delete, &key, &[("uploadId", &upload)]);
            match self.checked(self.http.delete(url).timeout(CALL).send().await?).await {
                Err(e) if e.status != StatusCode::NOT_FOUND && e.code != "NoSuchUpload" => {
                    return Err(e.trouble);
                }
                _ => {}
            }
            self.remove(&key).await?;
        }
        self.remove(&self.key(work, "manifest.json")).await
    }
}
