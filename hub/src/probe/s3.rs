//! Tries an S3 store out: does it refuse what it should, keep what it says, and find it again?

use std::time::Duration;

use axum::body::Bytes;
use jiff::Timestamp;
use lectern_base::{chance, clock};
use lectern_wire::digest::Digest;

use super::{Findings, Weight};
use crate::store::objects::bucket::{Bucket, S3Error};
use crate::store::reliance::Record;

/// The first part of two; the least that S3 takes for a part that is not the last.
const FIRST: usize = 5 << 20;
const SECOND: usize = 100_000;
/// How long the links of the trial hold.
const LASTS: Duration = Duration::from_secs(600);

/// One trial.
struct Trial<'a> {
    bucket: &'a Bucket,
    key: String,
    found: Findings,
}

/// Tries everything; what it wrote is removed again.
///
/// # Errors
/// When the store does not answer, or refuses our keys: then nothing was found out.
pub async fn run(bucket: &Bucket) -> Result<Findings, S3Error> {
    let key = format!("{}lectern-check/{}", bucket.settings().prefix, chance::hex::<8>());
    let mut trial = Trial { bucket, key, found: Findings::default() };
    let outcome = trial.all().await;
    let cleaned = trial.clean().await;
    outcome?;
    if let Err(e) = cleaned {
        trial.found.add(Weight::Needed, "clean_up", "what the check wrote is removed", false, e.to_string());
    }
    Ok(trial.found)
}

/// What the hub goes by after this.
#[must_use]
pub fn record(bucket: &Bucket, found: &Findings) -> Record {
    let settings = bucket.settings();
    Record {
        v: 1,
        endpoint: settings.endpoint.to_string(),
        bucket: settings.bucket.clone(),
        checked_ms: clock::wall_ms(),
        direct: found.direct(),
        hashes: found.well("hashes_kept"),
    }
}

fn word(status: u16, code: &str) -> String {
    format!("{status} {code}").trim_end().to_owned()
}

fn said(e: &S3Error) -> String {
    match e {
        S3Error::Refused { status, code, .. } => word(*status, code),
        other => other.to_string(),
    }
}

impl Trial<'_> {
    async fn all(&mut self) -> Result<(), S3Error> {
        self.small_object().await?;
        let Some((upload, hashes)) = self.begin().await else { return Ok(()) };
        let (first, second) = (Bytes::from(bytes(FIRST, 1)), Bytes::from(bytes(SECOND, 2)));
        self.refusals(&upload, &first).await?;
        self.parts(&upload, &first, &second, hashes).await?;
        self.whole(&upload, &first, &second, hashes).await?;
        self.given_up().await
    }

    async fn small_object(&mut self) -> Result<(), S3Error> {
        let key = format!("{}/small", self.key);
        let (one, two) = (Bytes::from_static(b"one"), Bytes::from_static(b"two"));
        self.bucket.put(&key, one.clone(), &[]).await?;
        let read = self.bucket.read(&key, 0, 3).await;
        let ok = read.as_ref().is_ok_and(|bytes| *bytes == one);
        let detail = read.err().map_or(String::new(), |e| said(&e));
        self.found.add(
            Weight::Needed,
            "read_after_write",
            "an object can be read as soon as it is written",
            ok,
            detail,
        );

        let skew = self.bucket.skew_ms();
        let detail = format!("its clock differs by {:.0} s", skew as f64 / 1000.0);
        self.found.add(
            Weight::Noted,
            "clock",
            "its clock agrees with the hub's",
            skew.abs() < 60_000,
            detail,
        );

        let tried = self.bucket.put(&key, two, &[("if-none-match", "*")]).await;
        let detail = tried
            .as_ref()
            .err()
            .map_or("200, overwritten: the hub's log is what shows a change".into(), said);
        let what = "a conditional write is refused";
        self.found.add(Weight::Noted, "conditional_write", what, tried.is_err(), detail);

        let listed = self.bucket.list(&self.key).await;
        let ok = listed.as_ref().is_ok_and(|keys| *keys == [key.clone()]);
        let detail = listed.map_or_else(|e| said(&e), |keys| format!("{} listed", keys.len()));
        self.found.add(Weight::Noted, "list", "objects are listed", ok, detail);

        let gone = match self.bucket.delete(&key).await {
            Ok(()) => self.bucket.size(&key).await.map(|size| size.is_none()),
            Err(e) => Err(e),
        };
        let detail = gone.as_ref().err().map_or(String::new(), said);
        self.found.add(
            Weight::Needed,
            "delete",
            "a deleted object is gone",
            gone.is_ok_and(|gone| gone),
            detail,
        );
        Ok(())
    }

    /// Begins an upload; whether the store keeps hashes is seen later.
    async fn begin(&mut self) -> Option<(String, bool)> {
        let key = self.key.clone();
        let (begun, hashes) = match self.bucket.begin(&key, true).await {
            Ok(upload) => (Ok(upload), true),
            Err(_) => (self.bucket.begin(&key, false).await, false),
        };
        let detail = begun.as_ref().err().map_or(String::new(), said);
        self.found.add(Weight::Needed, "begin", "an object can come in parts", begun.is_ok(), detail);
        Some((begun.ok()?, hashes))
    }

    /// What a link must not be good for.
    async fn refusals(&mut self, upload: &str, good: &Bytes) -> Result<(), S3Error> {
        let hash = Digest::of(good);
        let mut other = good.to_vec();
        other[4096] ^= 1;
        let other = Bytes::from(other);
        let (url, headers) = self.bucket.grant(&self.key, upload, 0, good.len() as u64, hash, LASTS);
        let signed = headers[1].1.clone();
        let own = crate::store::objects::answers::base64_of(Digest::of(&other));
        let name = "x-amz-checksum-sha256";
        let (longer, shorter) = (Bytes::from([good, &b"x"[..]].concat()), good.slice(..good.len() - 1));
        let tries: [(_, _, &[(&str, &str)], Bytes); 5] = [
            ("wrong_hash", "bytes with another hash are refused", &[(name, &signed)], other.clone()),
            ("hash_left_out", "a link used without its hash is refused", &[], other.clone()),
            ("hash_exchanged", "a link used with another hash is refused", &[(name, &own)], other),
            ("longer", "more bytes than signed are refused", &[(name, &signed)], longer),
            ("shorter", "fewer bytes than signed are refused", &[(name, &signed)], shorter),
        ];
        for (check, what, headers, body) in tries {
            // A store may hang up on what it refuses, before all of it was sent.
            let answer = self.bucket.send(url.clone(), headers, body).await;
            let (status, code) = answer.unwrap_or((499, "it hung up".into()));
            self.found.add(Weight::Direct, check, what, status >= 400, word(status, &code));
        }
        let long_ago = Timestamp::from_millisecond(clock::wall_ms() + self.bucket.skew_ms() - 3_600_000);
        let long_ago = long_ago.unwrap_or(Timestamp::UNIX_EPOCH);
        let size = good.len().to_string();
        let query = [("partNumber", "1"), ("uploadId", upload)];
        let headers = [("content-length", size.as_str()), (name, signed.as_str())];
        let expired = self.bucket.url(rusty_s3::Method::Put, &self.key, &query, &headers, 60, long_ago);
        let answer = self.bucket.send(expired, &[(name, &signed)], good.clone()).await;
        let (status, code) = answer.unwrap_or((499, "it hung up".into()));
        self.found.add(
            Weight::Direct,
            "expired",
            "a link is refused after its time",
            status >= 400,
            word(status, &code),
        );
        Ok(())
    }

    async fn parts(
        &mut self,
        upload: &str,
        first: &Bytes,
        second: &Bytes,
        asked: bool,
    ) -> Result<(), S3Error> {
        // The second first: parts come in any order.
        for (n, part) in [(1, second), (0, first)] {
            let (url, headers) =
                self.bucket.grant(&self.key, upload, n, part.len() as u64, Digest::of(part), LASTS);
            let headers = [(headers[1].0, headers[1].1.as_str())];
            let (status, code) = self.bucket.send(url.clone(), &headers, part.clone()).await?;
            let (check, what) = match n {
                0 => ("right_bytes", "a link carries the bytes it was made for"),
                _ => ("any_order", "parts may come in any order"),
            };
            self.found.add(Weight::Direct, check, what, status == 200, word(status, &code));
            if n == 0 {
                let (status, code) = self.bucket.send(url, &headers, part.clone()).await?;
                let listed = self.bucket.part(&self.key, upload, 0).await;
                let ok = status == 200
                    && listed.as_ref().is_ok_and(|l| l.as_ref().is_some_and(|l| l.size == FIRST as u64));
                self.found.add(
                    Weight::Direct,
                    "sent_twice",
                    "a part sent twice counts once",
                    ok,
                    word(status, &code),
                );
                let detail = listed.as_ref().err().map_or(String::new(), said);
                let there = listed.as_ref().is_ok_and(Option::is_some);
                self.found.add(Weight::Direct, "parts_listed", "what has arrived is listed", there, detail);
                let kept = listed.ok().flatten().and_then(|l| l.digest()) == Some(Digest::of(first));
                let detail = if kept { "" } else { "the read-back at sealing is what proves them" };
                let what = "it keeps the parts' hashes and says them";
                self.found.add(Weight::Noted, "hashes_kept", what, kept && asked, detail);
            }
        }
        let uploads = self.bucket.uploads(&self.key).await;
        let ok = uploads.as_ref().is_ok_and(|all| all.iter().any(|(_, name)| name == upload));
        let detail = uploads.err().map_or(String::new(), |e| said(&e));
        let what = "unfinished uploads are listed";
        self.found.add(Weight::Noted, "uploads_listed", what, ok, detail);
        Ok(())
    }

    async fn whole(
        &mut self,
        upload: &str,
        first: &Bytes,
        second: &Bytes,
        asked: bool,
    ) -> Result<(), S3Error> {
        // What was refused as a link is sent by the hub, as it will do with parts of rooms too.
        let hashes = asked && self.found.well("hashes_kept");
        let mut named = Vec::new();
        for (n, part) in [(0, first), (1, second)] {
            let hash = Some(Digest::of(part)).filter(|_| hashes);
            match self.bucket.put_part(&self.key, upload, n, part.clone(), hash).await {
                Ok(etag) => named.push((etag, hash)),
                Err(e) => {
                    self.found.add(Weight::Needed, "part", "a part is taken from the hub", false, said(&e));
                    return Ok(());
                }
            }
        }
        let done = self.bucket.complete(&self.key, upload, &named).await;
        let detail = done.as_ref().err().map_or(String::new(), said);
        self.found.add(Weight::Needed, "complete", "parts become one object", done.is_ok(), detail);
        let size = (FIRST + SECOND) as u64;
        let whole = [first.as_ref(), second.as_ref()].concat();
        let read = self.bucket.read(&self.key, 0, size).await;
        let ok = read.as_ref().is_ok_and(|bytes| *bytes == whole);
        let detail = read.err().map_or(String::new(), |e| said(&e));
        self.found.add(Weight::Needed, "read_back", "the object reads back as it was sent", ok, detail);
        let range = self.bucket.read(&self.key, FIRST as u64 - 10, 20).await;
        let ok = range.as_ref().is_ok_and(|bytes| bytes[..] == whole[FIRST - 10..FIRST + 10]);
        let detail = range.err().map_or(String::new(), |e| said(&e));
        self.found.add(Weight::Needed, "range", "ranges are read, also across parts", ok, detail);

        let again = self.bucket.complete(&self.key, upload, &named).await;
        let detail = again.as_ref().err().map_or("200".into(), said);
        let (url, headers) = self.bucket.grant(&self.key, upload, 0, FIRST as u64, Digest::of(first), LASTS);
        let headers = [(headers[1].0, headers[1].1.as_str())];
        let (status, code) =
            self.bucket.send(url, &headers, first.clone()).await.unwrap_or((499, "it hung up".into()));
        // A store that hung up a moment ago may have taken the connection along that this would go by.
        let read = match self.bucket.read(&self.key, 0, size).await {
            Err(S3Error::Unreachable(_)) => self.bucket.read(&self.key, 0, size).await,
            read => read,
        };
        let unchanged = match read {
            Err(e @ S3Error::Unreachable(_)) => return Err(e),
            read => read.is_ok_and(|bytes| bytes == whole),
        };
        let what = "completing twice changes nothing";
        self.found.add(Weight::Needed, "completed_twice", what, unchanged, detail);
        let what = "a part that comes too late changes nothing";
        self.found.add(Weight::Needed, "too_late", what, unchanged, word(status, &code));
        Ok(())
    }

    async fn given_up(&mut self) -> Result<(), S3Error> {
        let key = format!("{}/given-up", self.key);
        let upload = self.bucket.begin(&key, false).await?;
        self.bucket.put_part(&key, &upload, 0, Bytes::from_static(b"x"), None).await?;
        self.bucket.abort(&key, &upload).await?;
        let left = self.bucket.part(&key, &upload, 0).await;
        let ok = left.as_ref().map_or_else(S3Error::is_missing, Option::is_none);
        let detail = left.map_or_else(
            |e| said(&e),
            |part| if part.is_some() { "it is still there".into() } else { String::new() },
        );
        self.found.add(Weight::Noted, "given_up", "an upload that is given up is gone", ok, detail);
        Ok(())
    }

    async fn clean(&self) -> Result<(), S3Error> {
        for (key, upload) in self.bucket.uploads(&self.key).await.unwrap_or_default() {
            self.bucket.abort(&key, &upload).await?;
        }
        for key in [self.key.clone(), format!("{}/small", self.key), format!("{}/given-up", self.key)] {
            self.bucket.delete(&key).await?;
        }
        Ok(())
    }
}

/// Bytes that differ everywhere.
fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}
