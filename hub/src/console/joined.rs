//! The whole lesson as one standard MP4 that proves itself, made while it is sent: no second copy, no temporary file.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures_util::stream::{self, Stream};
use lectern_base::clock;
use lectern_proof::bytes::Blob;
use lectern_proof::export::name;
use lectern_proof::joined::{self, SelfProving};
use lectern_wire::digest::Digest;
use lectern_wire::sign::{KeyRing, canonical};

use super::guard::Who;
use super::lesson::Whole;
use super::media::{attach, note, stored};
use super::{Console, Oops, range};
use crate::store::device_keys;

/// Heads kept: a player asks for many ranges of one lesson.
const KEPT: usize = 8;
/// Read and sent at once, bytes.
const PIECE: u64 = 512 * 1024;

/// The lessons asked for last, by manifest and the papers that stand in the file.
#[derive(Default)]
pub struct Heads(Mutex<VecDeque<(Digest, SelfProving)>>);

impl std::fmt::Debug for Heads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Heads")
    }
}

impl Heads {
    fn get(&self, papers: Digest) -> Option<SelfProving> {
        let heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heads.iter().find(|(of, _)| *of == papers).map(|(_, file)| file.clone())
    }

    fn keep(&self, papers: Digest, file: SelfProving) {
        let mut heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heads.len() == KEPT {
            heads.pop_front();
        }
        heads.push_back((papers, file));
    }
}

/// Why a lesson's bytes cannot be handed out.
pub fn gone(whole: &Whole, e: &io::Error) -> Oops {
    tracing::error!(lesson = %whole.lesson.id, "a stored lesson cannot be joined: {e}");
    Oops::new(StatusCode::SERVICE_UNAVAILABLE, "这节课现在读不出来。请核验这节课，并查看中心的日志。")
}

/// The papers that go with a lesson.
pub async fn papers(console: &Console, whole: &Whole) -> Result<Vec<(&'static str, Vec<u8>)>, Oops> {
    let missing = || Oops::missing("这节课的清单");
    let manifest = whole.manifest.as_ref().and_then(|signed| canonical(signed).ok()).ok_or_else(missing)?;
    let receipt = whole.receipt.as_ref().and_then(|signed| canonical(signed).ok()).ok_or_else(missing)?;
    let device = whole.lesson.device.clone();
    let device = console.store.read(move |db| device_keys::ring(db, &device)).await?;
    let ring: KeyRing = device.iter().chain(console.hub_keys.iter()).copied().collect();
    let keys = canonical(&ring).map_err(|_| missing())?;
    let mut papers = vec![("manifest.json", manifest), ("receipt.json", receipt), ("keys.json", keys)];
    // What the room signed while it recorded; older lessons have none.
    match tokio::fs::read(console.objects.folder(&whole.place()).join("heads.jsonl")).await {
        Ok(heads) => papers.push(("heads.jsonl", heads)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(gone(whole, &e)),
    }
    Ok(papers)
}

/// The bytes of all takes, in order.
pub fn takes(console: &Console, whole: &Whole) -> io::Result<Vec<Blob>> {
    let place = whole.place();
    let takes = whole.manifest.iter().flat_map(|signed| &signed.document.takes);
    takes.map(|take| Ok(console.objects.source(&place, take.n)?.blob(take.size))).collect()
}

/// `GET /lessons/{id}/lesson.mp4`
pub async fn lesson(
    State(console): State<Console>,
    Who(who): Who,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Oops> {
    let whole = stored(&console, &id).await?;
    let papers = papers(&console, &whole).await?;
    let of = Digest::of(&papers.iter().flat_map(|(_, bytes)| bytes.as_slice()).copied().collect::<Vec<_>>());
    let file = match console.inner.heads.get(of) {
        Some(file) => file,
        None => {
            let takes = takes(&console, &whole).map_err(|e| gone(&whole, &e))?;
            let described = whole.manifest.as_ref().map(|m| m.document.takes.clone()).unwrap_or_default();
            let made = tokio::task::spawn_blocking(move || {
                let sections: Vec<_> = papers.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
                joined::build(&described, &takes, &sections)
            });
            let file = made.await?.map_err(|e| gone(&whole, &e))?;
            console.inner.heads.keep(of, file.clone());
            file
        }
    };
    let download = query.contains_key("download");
    note(&console, &whole, &who, if download { "download" } else { "play" }).await?;
    let etag = format!("\"{}\"", file.digest);
    let part = match range::wanted(&headers, &etag, file.bytes.size()) {
        Ok(part) => part,
        Err(answer) => return Ok(*answer),
    };
    let mut response = part.answer(Body::from_stream(pieces(file.bytes, part.start, part.length)));
    if download {
        let day = clock::local(whole.lesson.started_ms).strftime("%Y%m%d").to_string();
        attach(&mut response, &name::download(&console.school, &whole.lesson.about, &day, None));
    }
    Ok(response)
}

/// A range, piece by piece. No thread waits for a reader that is slow. Bytes that cannot be read cut the answer short,
/// which its length shows.
fn pieces(bytes: Blob, start: u64, length: u64) -> impl Stream<Item = io::Result<Bytes>> {
    let end = start + length;
    stream::try_unfold((bytes, start), move |(bytes, at)| async move {
        if at >= end {
            return Ok(None);
        }
        let reading = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; usize::try_from((end - at).min(PIECE)).map_err(io::Error::other)?];
            let n = bytes.read_at(&mut piece, at)?;
            piece.truncate(n);
            if n == 0 { Err(io::Error::from(io::ErrorKind::UnexpectedEof)) } else { Ok((piece, bytes)) }
        });
        let (piece, bytes) = reading.await.map_err(io::Error::other)??;
        let next = at + piece.len() as u64;
        Ok(Some((Bytes::from(piece), (bytes, next))))
    })
}
