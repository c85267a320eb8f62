//! A lesson's bytes for players and for downloads. Every use is noted, and shown on the lesson's page.

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use lectern_base::clock;
use lectern_wire::sign;
use lectern_wire::upload::StoreState;

use super::guard::Who;
use super::lesson::{Whole, find, not_stored};
use super::{Console, Oops, range};
use crate::model::{name, playlist};
use crate::store::lessons;

pub(super) async fn stored(console: &Console, id: &str) -> Result<Whole, Oops> {
    let whole = find(console, id).await?;
    if whole.lesson.state == StoreState::Stored && whole.manifest.is_some() {
        Ok(whole)
    } else {
        Err(not_stored(&whole.lesson))
    }
}

pub(super) async fn note(
    console: &Console,
    whole: &Whole,
    who: &str,
    kind: &'static str,
) -> Result<(), Oops> {
    let (lesson, who, now) = (whole.lesson.id.clone(), who.to_owned(), clock::wall_ms());
    console.store.write(move |db| lessons::note_view(db, &lesson, &who, kind, now)).await?;
    Ok(())
}

/// The HLS playlist.
pub async fn playlist(
    State(console): State<Console>,
    Who(who): Who,
    Path(id): Path<String>,
) -> Result<Response, Oops> {
    let whole = stored(&console, &id).await?;
    note(&console, &whole, &who, "play").await?;
    let text = whole.manifest.map(|m| playlist::hls(&m.document)).unwrap_or_default();
    Ok(([(header::CONTENT_TYPE, "application/vnd.apple.mpegurl")], text).into_response())
}

/// `manifest.json` as it was sealed.
pub async fn manifest(
    State(console): State<Console>,
    _: Who,
    Path(id): Path<String>,
) -> Result<Response, Oops> {
    let whole = find(&console, &id).await?;
    let signed = whole.manifest.as_ref().ok_or_else(|| Oops::missing("这节课的清单"))?;
    Ok(document(sign::canonical(signed).unwrap_or_default(), &format!("{id}-manifest.json")))
}

/// `receipt.json` as it was written.
pub async fn receipt(
    State(console): State<Console>,
    _: Who,
    Path(id): Path<String>,
) -> Result<Response, Oops> {
    let whole = find(&console, &id).await?;
    let signed = whole.receipt.as_ref().ok_or_else(|| Oops::missing("这节课的回执"))?;
    Ok(document(sign::canonical(signed).unwrap_or_default(), &format!("{id}-receipt.json")))
}

fn document(bytes: Vec<u8>, name: &str) -> Response {
    let mut response = ([(header::CONTENT_TYPE, "application/json")], bytes).into_response();
    attach(&mut response, name);
    response
}

/// Names a download, in UTF-8 (RFC 6266).
pub(super) fn attach(response: &mut Response, name: &str) {
    let quoted: String = name
        .bytes()
        .map(|c| {
            let plain = c.is_ascii_alphanumeric() || b"-._".contains(&c);
            if plain { char::from(c).to_string() } else { format!("%{c:02X}") }
        })
        .collect();
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename*=UTF-8''{quoted}")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
}

/// One take, whole or in part.
pub async fn take(
    State(console): State<Console>,
    Who(who): Who,
    Path((id, file)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Oops> {
    let whole = stored(&console, &id).await?;
    let n: u32 =
        file.strip_suffix(".mp4").and_then(|n| n.parse().ok()).ok_or_else(|| Oops::missing("这一段"))?;
    let takes = whole.manifest.as_ref().map(|m| &m.document.takes);
    let take = takes.and_then(|t| t.iter().find(|t| t.n == n)).ok_or_else(|| Oops::missing("这一段"))?;
    let download = query.contains_key("download");
    note(&console, &whole, &who, if download { "download" } else { "play" }).await?;

    let etag = format!("\"{}\"", take.sha256);
    let part = match range::wanted(&headers, &etag, take.size) {
        Ok(part) => part,
        Err(answer) => return Ok(*answer),
    };
    let gone = |e: std::io::Error| {
        tracing::error!(lesson = %whole.lesson.id, take = n, "a stored take cannot be read: {e}");
        Oops::new(StatusCode::SERVICE_UNAVAILABLE, "这一段现在读不出来。请核验这节课，并查看中心的日志。")
    };
    let source = console.objects.source(&whole.place(), n).map_err(gone)?;
    let stream = source.stream(part.start, part.length).await.map_err(gone)?;
    let mut response = part.answer(Body::from_stream(stream));
    if download {
        let day = clock::local(whole.lesson.started_ms).strftime("%Y%m%d").to_string();
        let part = takes.filter(|t| t.len() > 1).map(|_| n);
        attach(&mut response, &name::download(&console.school, &whole.lesson.about, &day, part));
    }
    Ok(response)
}
