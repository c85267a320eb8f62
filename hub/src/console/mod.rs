//! Floor 4: the console. Server-rendered pages, small scripts, everything embedded: no internet needed.

mod alarms;
mod assets;
mod chain;
mod chart;
mod commands;
mod condition;
mod devices;
mod export;
mod guard;
mod joined;
mod lesson;
mod lessons;
mod live;
mod login;
mod media;
mod metrics;
mod range;
mod repairs;
mod room;
mod rooms;
#[cfg(test)]
mod tests;
mod timetable;
mod wish;
mod words;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use askama::Template;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use ed25519_dalek::SigningKey;
use lectern_wire::sign::KeyRing;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::model::bell::Bell;
use crate::model::count::Counts;
use crate::store::objects::Objects;
use crate::store::{Store, StoreError};

/// A timetable's file and what a browser wraps it in.
const BODY_MAX: usize = crate::model::timetable::sheet::MAX_FILE + 64 * 1024;

pub use guard::survive;

/// What the console shows and how it gets there.
#[derive(Debug)]
pub struct Deps {
    /// Rows.
    pub store: Store,
    /// Bytes.
    pub objects: Objects,
    /// Receipts are checked against these.
    pub hub_keys: KeyRing,
    /// Pages follow it.
    pub bell: Bell,
    /// Shown at `/metrics`.
    pub counts: Arc<Counts>,
    /// The name at the top of every page.
    pub school: String,
    /// Folder of the certification schemes, for the forms in exports.
    pub schemes: PathBuf,
    /// Told to whoever registers a device.
    pub mqtt_port: u16,
    /// Commands are signed with it.
    pub key: SigningKey,
    /// Rung when a command was given.
    pub given: Arc<Notify>,
    /// Rung when a timetable changed.
    pub changed: Arc<Notify>,
}

/// The console. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Console {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    deps: Deps,
    attempts: Mutex<login::Attempts>,
    /// Hashing a password and reading a lesson cost much: few at a time.
    hashing: Semaphore,
    checking: Semaphore,
    heads: joined::Heads,
    drafts: Mutex<timetable::Drafts>,
    stop: CancellationToken,
}

impl std::ops::Deref for Console {
    type Target = Deps;
    fn deref(&self) -> &Deps {
        &self.inner.deps
    }
}

/// The pages. Live ones end when `stop` is cancelled.
pub fn router(deps: Deps, stop: CancellationToken) -> Router {
    let inner = Inner {
        deps,
        attempts: Mutex::default(),
        hashing: Semaphore::new(2),
        checking: Semaphore::new(1),
        heads: joined::Heads::default(),
        drafts: Mutex::default(),
        stop,
    };
    let console = Console { inner: Arc::new(inner) };
    Router::new()
        .route("/", get(rooms::overview))
        .route("/rooms.part", get(rooms::overview_part))
        .route("/rooms/{device}", get(room::room))
        .route("/rooms/{device}/charts.part", get(room::charts_part))
        .route("/rooms/{device}/commands", post(commands::give))
        .route("/rooms/{device}/commands.part", get(commands::list_part))
        .route("/lessons", get(lessons::list))
        .route("/lessons.part", get(lessons::list_part))
        .route("/lessons/{lesson}", get(lesson::page))
        .route("/lessons/{lesson}/verify", post(lesson::verify))
        .route("/lessons/{lesson}/index.m3u8", get(media::playlist))
        .route("/lessons/{lesson}/lesson.mp4", get(joined::lesson))
        .route("/lessons/{lesson}/export.zip", get(export::zip))
        .route("/lessons/{lesson}/takes/{file}", get(media::take))
        .route("/lessons/{lesson}/manifest.json", get(media::manifest))
        .route("/lessons/{lesson}/receipt.json", get(media::receipt))
        .route("/alarms", get(alarms::list))
        .route("/alarms.part", get(alarms::list_part))
        .route("/alarms/{n}", post(alarms::know))
        .route("/repairs", get(repairs::list))
        .route("/repairs.part", get(repairs::list_part))
        .route("/repairs/{device}/{id}", post(repairs::change))
        .route("/timetable", get(timetable::page))
        .route("/timetable/bells", post(timetable::bells))
        .route("/timetable/import", post(timetable::import).layer(DefaultBodyLimit::max(BODY_MAX)))
        .route("/timetable/apply", post(timetable::apply))
        .route("/timetable/changes", post(timetable::change))
        .route("/timetable/changes/{n}/remove", post(timetable::take_back))
        .route("/devices", get(devices::page).post(devices::add))
        .route("/devices/{device}/password", post(devices::new_password))
        .route("/live", get(live::live))
        .route("/login", get(login::page).post(login::enter))
        .route("/logout", post(login::leave))
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(metrics::healthz))
        .route("/assets/{file}", get(assets::asset))
        .fallback(nothing_here)
        .layer(axum::middleware::from_fn(guard::headers))
        .with_state(console)
}

/// What every page needs.
#[derive(Debug, Clone)]
struct Frame {
    school: String,
    title: String,
    /// The path of the part of the console one is in.
    here: &'static str,
}

impl Console {
    fn frame(&self, title: impl Into<String>, here: &'static str) -> Frame {
        Frame { school: self.school.clone(), title: title.into(), here }
    }
}

/// A page that could not be made: a status and a sentence.
#[derive(Debug)]
struct Oops {
    status: StatusCode,
    sentence: String,
}

impl Oops {
    fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self { status, sentence: sentence.into() }
    }

    fn missing(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("没有找到{what}。可能已被移走，请从列表重新打开。"))
    }
}

impl From<StoreError> for Oops {
    fn from(e: StoreError) -> Self {
        tracing::error!("a page could not be made: {e}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "中心暂时读不到数据。请稍后再试，并查看中心的日志。")
    }
}

impl From<tokio::task::JoinError> for Oops {
    fn from(_: tokio::task::JoinError) -> Self {
        StoreError::Closing.into()
    }
}

#[derive(Template)]
#[template(path = "oops.html")]
struct OopsPage {
    sentence: String,
}

impl IntoResponse for Oops {
    fn into_response(self) -> Response {
        (self.status, show(&OopsPage { sentence: self.sentence })).into_response()
    }
}

async fn nothing_here() -> Oops {
    Oops::missing("这个页面")
}

/// A template as a response.
fn show(page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => Html(html).into_response(),
        Err(e) => {
            tracing::error!("a page could not be rendered: {e}");
            (StatusCode::INTERNAL_SERVER_ERROR, "页面没有做出来，请稍后再试。").into_response()
        }
    }
}
