//! 导出材料包: a lesson as a zip file of a BagIt export, made while it is sent. See `lectern_proof::export`.

use std::collections::HashMap;
use std::io::{self, Write};

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use lectern_base::clock;
use lectern_proof::export::form::{self, Form};
use lectern_proof::export::{self, Export, Lesson};
use tokio::sync::mpsc;

use super::guard::Who;
use super::joined::{gone, papers, takes};
use super::lesson::Whole;
use super::media::{attach, note, stored};
use super::{Console, Oops, words};
use crate::store::audit;

/// Pieces that may wait for the browser.
const AHEAD: usize = 8;
/// Sent at once, bytes.
const PIECE: usize = 256 * 1024;

/// `GET /lessons/{id}/export.zip`, with `?anonymous=1` without names.
pub async fn zip(
    State(console): State<Console>,
    Who(who): Who,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Oops> {
    let anonymous = query.get("anonymous").is_some_and(|value| value == "1");
    let whole = stored(&console, &id).await?;
    let lesson = described(&console, &whole).await?;
    // All bytes are checked first, so that the report in it is true; as dear as 重新核验.
    let permit = console.inner.checking.acquire().await;
    let planned = tokio::task::spawn_blocking(move || export::plan(&lesson, anonymous, clock::wall_ms()));
    let export = planned.await?.map_err(|e| gone(&whole, &e))?;
    drop(permit);
    if !export.outcome.report.sound {
        tracing::error!(lesson = %whole.lesson.id, faults = ?export.outcome.report.faults, "an exported lesson is not sound");
    }
    note(&console, &whole, &who, "download").await?;
    let size = export::zip_size(&export);
    let (subject, now) = (whole.lesson.id.to_string(), clock::wall_ms());
    let kind = if anonymous { "匿名材料包" } else { "材料包" };
    let detail = format!("{kind}：{} 个文件，{size} 字节", export.files());
    console.store.write(move |db| audit::note(db, &who, "export", &subject, &detail, now)).await?;

    let name = format!("{}.zip", export.name);
    let mut response = ([(header::CONTENT_TYPE, "application/zip")], sent(export)).into_response();
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    attach(&mut response, &name);
    Ok(response)
}

/// All that goes into the export.
async fn described(console: &Console, whole: &Whole) -> Result<Lesson, Oops> {
    let manifest = whole.manifest.as_ref().ok_or_else(|| Oops::missing("这节课的清单"))?.document.clone();
    let form = whole.lesson.submitted.last().map_or_else(Form::default, |said| {
        form::load(&console.schemes, &said.scheme, &said.point).unwrap_or_else(|e| {
            tracing::warn!("the form of an export says only the scheme's name: {e}");
            Form { scheme: words::submission(said), ..Form::default() }
        })
    });
    Ok(Lesson {
        manifest,
        about: whole.lesson.about.clone(),
        school: console.school.clone(),
        papers: papers(console, whole).await?,
        takes: takes(console, whole).map_err(|e| gone(whole, &e))?,
        form,
        software: concat!("lectern-hub ", env!("CARGO_PKG_VERSION")),
    })
}

/// The zip file's bytes. One thread writes it and waits for a browser that is slow; how many do is bounded by the runtime.
fn sent(export: Export) -> Body {
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut pipe = Pipe { sender, piece: Vec::with_capacity(PIECE) };
        if let Err(e) = export::into_zip(&export, &mut pipe) {
            // The answer is cut short, which its length shows.
            tracing::warn!("an export was not sent to its end: {e}");
            pipe.sender.blocking_send(Err(e)).ok();
        }
    });
    Body::from_stream(stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    }))
}

struct Pipe {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads on");
        self.sender.blocking_send(Ok(Bytes::from(piece))).map_err(gone)
    }
}
