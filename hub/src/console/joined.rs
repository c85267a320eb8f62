//! The whole lesson as one standard MP4, made while it is sent: no second copy, no temporary file.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use lectern_base::clock;
use lectern_wire::digest::Digest;
use lectern_wire::joined::{Joined, Joiner};
use lectern_wire::manifest::Take;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_util::io::ReaderStream;

use super::guard::Who;
use super::media::{attach, note, stored};
use super::{Console, Oops, range};
use crate::model::name;

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
    let files: Vec<PathBuf> =
        signed.document.takes.iter().map(|take| console.objects.take(&place, take.n)).collect();
    let gone = |e: io::Error| {
        tracing::error!(lesson = %whole.lesson.id, "a stored lesson cannot be joined: {e}");
        Oops::new(StatusCode::SERVICE_UNAVAILABLE, "这节课现在读不出来。请核验这节课，并查看中心的日志。")
    };
    let joined = match console.inner.heads.get(manifest) {
        Some(joined) => joined,
        None => {
            let (takes, files) = (signed.document.takes.clone(), files.clone());
            let made = tokio::task::spawn_blocking(move || join(&takes, &files)).await?;
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
        if let Err(e) = send(&joined, &files, start, length, writer).await {
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
fn join(takes: &[Take], files: &[PathBuf]) -> io::Result<Joined> {
    let odd = |e: lectern_wire::joined::CannotJoin| io::Error::new(io::ErrorKind::InvalidData, e);
    let mut joiner = Joiner::default();
    for (take, path) in takes.iter().zip(files) {
        let mut file = std::fs::File::open(path)?;
        let init = take.fragments.first().map_or(0, |fragment| fragment.offset);
        joiner.take(&read(&mut file, 0, init.min(LONGEST_HEAD))?).map_err(odd)?;
        for fragment in &take.fragments {
            let mut head = read(&mut file, fragment.offset, fragment.length.min(HEAD))?;
            let moof = head.first_chunk().map_or(0, |size| u64::from(u32::from_be_bytes(*size)));
            let needed = moof.saturating_add(16).min(fragment.length);
            if needed > head.len() as u64 {
                head = read(&mut file, fragment.offset, needed.min(LONGEST_HEAD))?;
            }
            joiner.fragment(fragment.offset, fragment.length, &head).map_err(odd)?;
        }
    }
    joiner.end().map_err(odd)
}

fn read(file: &mut std::fs::File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| io::ErrorKind::InvalidData)?];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Writes a range of the joined file.
async fn send(
    joined: &Joined,
    files: &[PathBuf],
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
    let mut open: Option<(usize, tokio::fs::File)> = None;
    for run in &joined.runs {
        let (from, to) = (start.max(at), end.min(at + run.length));
        if from < to {
            let mut file = match open.take() {
                Some((take, file)) if take == run.take => file,
                _ => tokio::fs::File::open(&files[run.take]).await?,
            };
            file.seek(SeekFrom::Start(run.offset + from - at)).await?;
            let sent = tokio::io::copy(&mut (&mut file).take(to - from), &mut out).await?;
            if sent < to - from {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            open = Some((run.take, file));
        }
        at += run.length;
        if at >= end {
            break;
        }
    }
    out.shutdown().await
}
