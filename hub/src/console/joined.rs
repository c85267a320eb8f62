//! The whole lesson as one standard MP4, made while it is sent: no second copy, no temporary file.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures_util::TryStreamExt as _;
use lectern_base::clock;
use lectern_wire::digest::Digest;
use lectern_wire::joined::{Joined, Joiner};
use lectern_wire::manifest::Take;
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio_util::io::ReaderStream;

use super::guard::Who;
use super::media::{attach, note, stored};
use super::{Console, Oops, range};
use crate::model::name;
use crate::store::objects::{Bytes, Source};

/// Heads kept: a player asks for many ranges of one lesson.
const KEPT: usize = 8;
/// A fragment's head is read in one go when it is no longer than this; a second's is below 1 KiB.
const HEAD: u64 = 4096;
/// Longest head of a fragment.
const LONGEST_HEAD: u64 = 4 << 20;

/// The heads of the lessons asked for last.
#[derive(Debug, Default)]
pub struct Heads(Mutex<VecDeque<(Digest, Arc<Joined>)>>);

impl Heads {
    fn get(&self, manifest: Digest) -> Option<Arc<Joined>> {
        let heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heads.iter().find(|(of, _)| *of == manifest).map(|(_, head)| Arc::clone(head))
    }

    fn keep(&self, manifest: Digest, head: Arc<Joined>) {
        let mut heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heads.len() == KEPT {
            heads.pop_front();
        }
        heads.push_back((manifest, head));
    }
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
    let (Some(signed), Some(receipt)) = (&whole.manifest, &whole.receipt) else {
        return Err(Oops::missing("这节课的清单"));
    };
    let manifest = receipt.document.manifest_sha256;
    let place = whole.place();
    let gone = |e: io::Error| {
        tracing::error!(lesson = %whole.lesson.id, "a stored lesson cannot be joined: {e}");
        Oops::new(StatusCode::SERVICE_UNAVAILABLE, "这节课现在读不出来。请核验这节课，并查看中心的日志。")
    };
    let sources = signed.document.takes.iter().map(|take| console.objects.source(&place, take.n));
    let sources: Vec<Source> = sources.collect::<Result<_, _>>().map_err(gone)?;
    let joined = match console.inner.heads.get(manifest) {
        Some(joined) => joined,
        None => {
            let (takes, sources) = (signed.document.takes.clone(), sources.clone());
            let made = tokio::task::spawn_blocking(move || join(&takes, &sources)).await?;
            let joined = Arc::new(made.map_err(gone)?);
            console.inner.heads.keep(manifest, Arc::clone(&joined));
            joined
        }
    };
    let download = query.contains_key("download");
    note(&console, &whole, &who, if download { "download" } else { "play" }).await?;
    // The head is made from what the manifest names, by this version of the joiner.
    let etag = format!("\"{manifest}-joined-1\"");
    let part = match range::wanted(&headers, &etag, joined.size) {
        Ok(part) => part,
        Err(answer) => return Ok(*answer),
    };
    let (reader, writer) = tokio::io::duplex(256 * 1024);
    let (start, length) = (part.start, part.length);
    tokio::spawn(async move {
        // Whoever stops reading ends it; a take that cannot be read cuts the answer short, which its length shows.
        if let Err(e) = send(&joined, &sources, start, length, writer).await {
            tracing::debug!("a joined lesson was not sent to its end: {e}");
        }
    });
    let mut response = part.answer(Body::from_stream(ReaderStream::with_capacity(reader, 128 * 1024)));
    if download {
        let day = clock::local(whole.lesson.started_ms).strftime("%Y%m%d").to_string();
        attach(&mut response, &name::download(&console.school, &whole.lesson.about, &day, None));
    }
    Ok(response)
}

/// Reads the heads of all fragments.
fn join(takes: &[Take], sources: &[Source]) -> io::Result<Joined> {
    let odd = |e: lectern_wire::joined::CannotJoin| io::Error::new(io::ErrorKind::InvalidData, e);
    let mut joiner = Joiner::default();
    for (take, source) in takes.iter().zip(sources) {
        let init = take.fragments.first().map_or(0, |fragment| fragment.offset);
        let mut ranges = vec![(0, init.min(LONGEST_HEAD))];
        ranges.extend(take.fragments.iter().map(|fragment| (fragment.offset, fragment.length.min(HEAD))));
        let mut heads = source.read_now(&ranges)?.into_iter();
        joiner.take(&heads.next().unwrap_or_default()).map_err(odd)?;
        for (fragment, mut head) in take.fragments.iter().zip(heads) {
            let moof = head.first_chunk().map_or(0, |size| u64::from(u32::from_be_bytes(*size)));
            let needed = moof.saturating_add(16).min(fragment.length);
            if needed > head.len() as u64 {
                let whole = source.read_now(&[(fragment.offset, needed.min(LONGEST_HEAD))])?;
                head = whole.into_iter().next().unwrap_or_default();
            }
            joiner.fragment(fragment.offset, fragment.length, &head).map_err(odd)?;
        }
    }
    joiner.end().map_err(odd)
}

/// Writes a range of the joined file.
async fn send(
    joined: &Joined,
    sources: &[Source],
    start: u64,
    length: u64,
    mut out: DuplexStream,
) -> io::Result<()> {
    let end = start + length;
    let head = joined.head.len() as u64;
    if start < head {
        let cut = |at: u64| usize::try_from(at.min(head)).unwrap_or(usize::MAX);
        out.write_all(&joined.head[cut(start)..cut(end)]).await?;
    }
    let mut at = head;
    let mut open: Option<Reading> = None;
    for run in &joined.runs {
        let (from, to) = (start.max(at), end.min(at + run.length));
        if from < to {
            let offset = run.offset + from - at;
            let mut reading = match open.take() {
                Some(reading) if reading.reaches(run.take, offset) => reading,
                _ => Reading::open(joined, sources, run.take, offset).await?,
            };
            reading.skip(offset - reading.at).await?;
            reading.copy(to - from, &mut out).await?;
            open = Some(reading);
        }
        at += run.length;
        if at >= end {
            break;
        }
    }
    out.shutdown().await
}

/// What lies between two runs of a take is read over when it is no longer than this: a fragment's head is.
const SMALL: u64 = 256 * 1024;

/// A take being read forward. At an S3 store it is one request, not one for each run.
struct Reading {
    take: usize,
    at: u64,
    stream: Bytes,
    rest: axum::body::Bytes,
}

impl Reading {
    /// Opens a take for all that is still wanted of it.
    async fn open(joined: &Joined, sources: &[Source], take: usize, offset: u64) -> io::Result<Self> {
        let ends = joined.runs.iter().filter(|run| run.take == take).map(|run| run.offset + run.length);
        let end = ends.max().unwrap_or(offset);
        let source = sources.get(take).ok_or(io::ErrorKind::NotFound)?;
        let stream = source.stream(offset, end.saturating_sub(offset)).await?;
        Ok(Self { take, at: offset, stream, rest: axum::body::Bytes::new() })
    }

    fn reaches(&self, take: usize, offset: u64) -> bool {
        self.take == take && (self.at..=self.at + SMALL).contains(&offset)
    }

    /// The next bytes, at most so many.
    async fn next(&mut self, most: u64) -> io::Result<axum::body::Bytes> {
        while self.rest.is_empty() {
            self.rest = self.stream.try_next().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(self.rest.len());
        self.at += most as u64;
        Ok(self.rest.split_to(most))
    }

    async fn skip(&mut self, mut length: u64) -> io::Result<()> {
        while length > 0 {
            length -= self.next(length).await?.len() as u64;
        }
        Ok(())
    }

    async fn copy(&mut self, mut length: u64, out: &mut DuplexStream) -> io::Result<()> {
        while length > 0 {
            let bytes = self.next(length).await?;
            out.write_all(&bytes).await?;
            length -= bytes.len() as u64;
        }
        Ok(())
    }
}
