//! The teacher's page: one button, one status, on loopback alone.
//!
//! | route | |
//! |---|---|
//! | `GET /` | the page |
//! | `GET /api/status?after=n` | the status; with `after`, once it is newer (long poll) |
//! | `GET /api/live` | the status whenever it changes (server-sent events) |
//! | `GET /api/health` | what was measured last, why some of it is missing, the alarms that stand |
//! | `GET /metrics` | the same numbers for Prometheus, where the settings allow it |
//! | `GET /api/preview.jpg` | the newest preview; asking keeps previews coming |
//! | `GET /api/lessons` | the lessons on this machine |
//! | `POST /api/record` | `{"action": "start" \| "stop" \| "pause" \| "resume" \| "describe" \| "mark" \| "layout" \| "live" \| "extend" \| "dismiss", "about": …, "word": …, "layout": …, "live": …}` |
//! | `POST /api/lessons/{id}` | `{"action": "amend", "about": …}`, `{"action": "submit", "scheme": …, "point": …}`, `{"action": "discard"}` |
//! | `GET /api/schemes` | what a lesson can be put forward for |
//! | `POST /api/preflight` | looks at every source now |
//! | `GET /api/clips`, `GET /api/clips/{id}/file` | clips and what can be made; the file of one |
//! | `POST /api/clips` | `{"action": "make", "lesson": …, "wish": …}`, `{"action": "cancel" \| "remove", "id": …}` |
//! | `POST /api/command` | `{"action": "seen"}`: the note was read; `{"action": "put_off"}`: not now |
//! | `GET /api/usage`, `POST /api/usage` | 使用记录 of the last days; `{"date": …, "period": …, "used": …, "minutes": …, "by": …}` confirms or corrects a row |
//! | `POST /api/repair` | `{"id": 16 hexadecimal digits, "text": …}` |

mod beyond;
mod clips;
pub mod first;
mod guard;
#[cfg(test)]
mod mangled;
mod metrics;
mod routes;
mod usage;
mod view;

pub use view::health as health_view;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use lectern_wire::capture::Layout;
use lectern_wire::manifest::About;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use routes::Routes;

use crate::afterwards::Desk;
use crate::beforehand::preflight;
use crate::model::answer::Answer;
use crate::record::{Ask, Handle};
use crate::store::Store;

/// Longest request body, bytes.
const MAX_BODY: usize = 16 * 1024;

/// What the page needs.
#[derive(Clone)]
pub struct Page {
    /// The store, to read.
    pub store: Store,
    /// The driver, to ask.
    pub driver: Handle,
    /// Takes what people say after a lesson.
    pub desk: Desk,
    /// Takes what is asked to be made of a lesson.
    pub clips: crate::render::Desk,
    /// Asks for a look at the sources.
    pub preflight: preflight::Handle,
    /// Takes the teacher's word about what a technician asked; absent without a hub.
    pub command: Option<crate::command::Handle>,
    /// The room as people call it.
    pub room: Arc<str>,
    /// The layouts that can be chosen.
    pub layouts: Arc<[Layout]>,
    /// Whether there is a live server.
    pub can_live: bool,
    /// Whether Prometheus may read the numbers.
    pub metrics: bool,
    /// Ends open connections when the daemon stops.
    pub stop: CancellationToken,
}

/// Its routes.
pub fn routes() -> Routes<Page> {
    Routes::new()
        .get("/", || file("text/html; charset=utf-8", include_str!("assets/index.html")))
        .get("/page.css", || file("text/css; charset=utf-8", include_str!("assets/page.css")))
        .get("/page.js", || file("text/javascript; charset=utf-8", include_str!("assets/page.js")))
        .get("/panels.js", || file("text/javascript; charset=utf-8", include_str!("assets/panels.js")))
        .get("/clip.js", || file("text/javascript; charset=utf-8", include_str!("assets/clip.js")))
        .get("/clip.css", || file("text/css; charset=utf-8", include_str!("assets/clip.css")))
        .get("/usage.js", || file("text/javascript; charset=utf-8", include_str!("assets/usage.js")))
        .get("/usage.css", || file("text/css; charset=utf-8", include_str!("assets/usage.css")))
        .get("/words.js", || file("text/javascript; charset=utf-8", include_str!("assets/words.js")))
        .get("/api/status", status)
        .get("/api/live", live)
        .get("/api/health", health)
        .get("/metrics", metrics::metrics)
        .get("/api/preview.jpg", preview)
        .get("/api/lessons", lessons)
        .post("/api/record", record)
        .post("/api/lessons/{id}", beyond::lesson)
        .get("/api/schemes", beyond::schemes)
        .get("/api/clips", clips::list)
        .post("/api/clips", clips::ask)
        .get("/api/clips/{id}/file", clips::file)
        .post("/api/preflight", beyond::preflight)
        .post("/api/repair", beyond::repair)
        .get("/api/usage", usage::list)
        .post("/api/usage", usage::word)
        .post("/api/command", beyond::command)
}

/// Serves until told to stop.
///
/// # Errors
/// What the system says of the listener.
pub async fn serve(listener: TcpListener, page: Page) -> std::io::Result<()> {
    let guard = guard::Guard { port: listener.local_addr()?.port() };
    let stop = page.stop.clone();
    let router = routes()
        .router()
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn_with_state(guard, guard::check))
        .layer(axum::middleware::from_fn(guard::survive))
        .with_state(page);
    axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await }).await
}

async fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    after: Option<u64>,
}

async fn status(State(page): State<Page>, Query(query): Query<After>) -> Response {
    let mut watch = page.store.board().watch();
    if let Some(after) = query.after {
        let newer = watch.wait_for(|status| status.generation > after);
        // After 25 s the old one is answered: no proxy, and no patience, lasts for ever.
        tokio::select! {
            _ = tokio::time::timeout(Duration::from_secs(25), newer) => {}
            () = page.stop.cancelled() => {}
        }
    }
    Json(view::status(&page.store.board().read(), &page)).into_response()
}

async fn health(State(page): State<Page>) -> Response {
    let alarms = page.store.alarms().borrow().clone();
    Json(view::health(&page.store.health().borrow(), &alarms)).into_response()
}

async fn live(State(page): State<Page>) -> Sse<impl stream::Stream<Item = Result<sse::Event, Infallible>>> {
    /// At most this often: the meter moves smoothly enough.
    const EVERY: Duration = Duration::from_millis(150);
    page.preflight.looked();
    let watch = page.store.board().watch();
    let stream = stream::unfold((watch, page, true), |(mut watch, page, first)| async move {
        if !first {
            tokio::select! {
                changed = watch.changed() => changed.ok()?,
                () = page.stop.cancelled() => return None,
            }
            tokio::time::sleep(EVERY).await;
        }
        let status = watch.borrow_and_update().clone();
        let event = sse::Event::default().json_data(view::status(&status, &page)).ok()?;
        Some((Ok(event), (watch, page, false)))
    });
    Sse::new(stream).keep_alive(sse::KeepAlive::default())
}

async fn preview(State(page): State<Page>) -> Response {
    page.driver.ask(Ask::Look).await;
    match page.driver.preview() {
        Some(jpeg) => {
            let headers = [(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "no-store")];
            (headers, axum::body::Bytes::from_owner(jpeg)).into_response()
        }
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

async fn lessons(State(page): State<Page>) -> Response {
    let rows = page.store.lessons().and_then(|lessons| {
        let row = |lesson: &crate::store::lessons::Lesson| {
            let kept = view::Kept {
                bytes: page.store.local_bytes(&lesson.id)?,
                reclaimed: page.store.reclaim_of(&lesson.id)?,
                deliveries: page.store.deliveries(&lesson.id)?,
            };
            Ok(view::lesson_row(lesson, &page.store.reports(&lesson.id)?, &kept))
        };
        lessons.iter().map(row).collect::<Result<Vec<_>, crate::store::StoreError>>()
    });
    match rows {
        Ok(rows) => Json(rows).into_response(),
        Err(e) => problem(StatusCode::INTERNAL_SERVER_ERROR, "failed", &e.to_string()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    action: Action,
    #[serde(default)]
    about: About,
    /// Of a mark.
    #[serde(default)]
    word: String,
    /// Of a layout: its name.
    #[serde(default)]
    layout: String,
    /// Of a start, and of `live`: whether the lesson is also sent live.
    #[serde(default)]
    live: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Start,
    Stop,
    Pause,
    Resume,
    Describe,
    Mark,
    Layout,
    Live,
    Extend,
    Dismiss,
}

async fn record(
    State(page): State<Page>,
    body: Result<Json<Order>, axum::extract::rejection::JsonRejection>,
) -> Response {
    let order = match body {
        Ok(Json(order)) => order,
        Err(e) => return problem(e.status(), "bad_request", &e.body_text()),
    };
    let ask = match order.action {
        Action::Start => Ask::Start(order.about, order.live),
        Action::Live => Ask::Live(order.live),
        Action::Stop => Ask::Stop,
        Action::Pause => Ask::Pause,
        Action::Resume => Ask::Resume,
        Action::Describe => Ask::Describe(order.about),
        Action::Mark => Ask::Mark(order.word),
        Action::Extend => Ask::Extend,
        Action::Dismiss => Ask::Dismiss,
        Action::Layout => match Layout::from_name(&order.layout) {
            Some(layout) => Ask::Layout(layout),
            None => return problem(StatusCode::BAD_REQUEST, "layout", "there is no layout of that name"),
        },
    };
    answered(page.driver.ask(ask).await)
}

fn answered(answer: Answer) -> Response {
    let (answer, lesson) = match answer {
        Answer::Done(lesson) => ("done", lesson),
        Answer::Already(lesson) => ("already", lesson),
        Answer::No(refusal) => return problem(StatusCode::CONFLICT, refusal.code, &refusal.sentence),
    };
    Json(serde_json::json!({ "answer": answer, "lesson_id": lesson })).into_response()
}

fn problem(status: StatusCode, code: &str, message: &str) -> Response {
    let body = lectern_wire::upload::Problem { code: code.to_owned(), message: message.to_owned() };
    (status, Json(body)).into_response()
}
