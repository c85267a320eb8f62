//! 制作片段: the page's requests for clips and renditions.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use lectern_wire::id::LessonId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Page, problem};
use crate::model::clip::Wish;
use crate::render::{Desk, Refused};
use crate::store::StoreError;

#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum Asked {
    /// Make one.
    Make { lesson: String, wish: Wish },
    /// No longer wanted.
    Cancel { id: i64 },
    /// Remove the file.
    Remove { id: i64 },
}

/// All clips, and what can be made.
pub async fn list(State(page): State<Page>) -> Response {
    let making = page.store.board().read().render;
    at_the_desk(page.clips, move |desk| {
        let clips = desk.store.clips()?.into_iter().map(|clip| {
            let now = making.filter(|m| m.clip == clip.id);
            let state = match now {
                Some(m) if m.still => "paused",
                Some(_) => "making",
                None => clip.state.name(),
            };
            json!({
                "id": clip.id,
                "lesson": clip.lesson,
                "wish": clip.wish,
                "name": clip.name,
                "path": desk.store.clips_folder().join(&clip.name),
                "state": state,
                "done_ms": now.map(|m| m.done_ms),
                "of_ms": now.map(|m| m.of_ms),
                "bytes": clip.bytes,
                "length_ms": clip.length_ms,
                "problem": clip.problem,
            })
        });
        let profiles = desk.settings.profiles.iter().map(|p| {
            let title = p.encode.is_some_and(|e| e.title);
            json!({ "id": p.id, "name": p.name, "max_minutes": p.max_minutes, "encodes": p.encode.is_some(), "title": title })
        });
        Ok(json!({ "clips": clips.collect::<Vec<_>>(), "profiles": profiles.collect::<Vec<_>>() }))
    })
    .await
}

/// Makes, cancels, removes.
pub async fn ask(State(page): State<Page>, body: Result<Json<Asked>, JsonRejection>) -> Response {
    let asked = match body {
        Ok(Json(asked)) => asked,
        Err(e) => return problem(e.status(), "bad_request", &e.body_text()),
    };
    match asked {
        Asked::Make { lesson, wish } => {
            let lesson = match LessonId::new(lesson) {
                Ok(lesson) => lesson,
                Err(e) => return problem(StatusCode::BAD_REQUEST, "bad_request", &e.to_string()),
            };
            at_the_desk(page.clips, move |desk| Ok(json!({ "id": desk.make(&lesson, &wish)? }))).await
        }
        Asked::Cancel { id } => {
            at_the_desk(page.clips, move |desk| desk.cancel(id).map(|()| json!({ "id": id }))).await
        }
        Asked::Remove { id } => {
            at_the_desk(page.clips, move |desk| desk.remove(id).map(|()| json!({ "id": id }))).await
        }
    }
}

async fn at_the_desk(
    desk: Desk,
    work: impl FnOnce(&Desk) -> Result<Value, Refused> + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(move || work(&desk)).await {
        Ok(Ok(value)) => Json(value).into_response(),
        Ok(Err(refused)) => refusal(&refused),
        Err(e) => problem(StatusCode::INTERNAL_SERVER_ERROR, "failed", &e.to_string()),
    }
}

fn refusal(refused: &Refused) -> Response {
    match refused {
        Refused::No(no) => problem(StatusCode::CONFLICT, no.code, &no.sentence),
        Refused::Failed(e) => problem(StatusCode::INTERNAL_SERVER_ERROR, "failed", &e.to_string()),
    }
}

/// A finished clip's bytes.
pub async fn file(State(page): State<Page>, Path(id): Path<i64>) -> Response {
    let desk = page.clips;
    let found = match tokio::task::spawn_blocking(move || desk.file(id)).await {
        Ok(Ok(found)) => found,
        Ok(Err(refused)) => return refusal(&refused),
        Err(e) => return problem(StatusCode::INTERNAL_SERVER_ERROR, "failed", &e.to_string()),
    };
    let (path, clip) = found;
    let file = match tokio::fs::File::open(&path).await {
        Ok(file) => file,
        Err(source) => return refusal(&StoreError::File { path, source }.into()),
    };
    let name: String = clip.name.bytes().map(|b| format!("%{b:02X}")).collect();
    let headers = [
        (header::CONTENT_TYPE, "video/mp4".to_owned()),
        (header::CONTENT_LENGTH, clip.bytes.unwrap_or(0).to_string()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"clip-{id}.mp4\"; filename*=UTF-8''{name}"),
        ),
    ];
    (headers, Body::from_stream(tokio_util::io::ReaderStream::new(file))).into_response()
}
