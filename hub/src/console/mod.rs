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
mod indicators;
mod joined;
mod lesson;
mod lessons;
mod live;
mod login;
#[cfg(test)]
mod mangled;
mod media;
mod metrics;
mod range;
mod register;
mod repairs;
mod room;
mod rooms;
mod spreadsheet;
#[cfg(test)]
mod tests;
mod timetable;
mod tokens;
mod wish;
mod words;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use askama::Template;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use ed25519_dalek::SigningKey;
use jiff::civil::Date;
use lectern_wire::sign::KeyRing;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::door::routes::{Routes, Who};
use crate::enrol::desk::Desk;
use crate::model::attempts::Attempts;
use crate::model::barred::Barred;
use crate::model::bell::Bell;
use crate::model::count::Counts;
use crate::model::indicators::Targets;
use crate::model::retention::Retention;
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
    /// What 指标 are held against.
    pub targets: Targets,
    /// When a school year ends.
    pub retention: Retention,
    /// Makes enrolment cards.
    pub desk: Desk,
    /// Devices that are to be cut off.
    pub barred: Barred,
    /// The hub's certificate authority, PEM, and what it is known by.
    pub ca: String,
    /// See [`Deps::ca`].
    pub fingerprint: String,
}

/// The console. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Console {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    deps: Deps,
    attempts: Mutex<Attempts>,
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
    routes()
        .router()
        .fallback(nothing_here)
        .layer(axum::middleware::from_fn(guard::headers))
        .with_state(console)
}

/// The console's routes.
pub fn routes() -> Routes<Console> {
    Routes::below("")
        .get(Who::Console, "/", rooms::overview)
        .get(Who::Console, "/rooms.part", rooms::overview_part)
        .get(Who::Console, "/rooms/{device}", room::room)
        .get(Who::Console, "/rooms/{device}/charts.part", room::charts_part)
        .post(Who::Console, "/rooms/{device}/commands", commands::give)
        .get(Who::Console, "/rooms/{device}/commands.part", commands::list_part)
        .get(Who::Console, "/lessons", lessons::list)
        .get(Who::Console, "/lessons.part", lessons::list_part)
        .get(Who::Console, "/lessons/{lesson}", lesson::page)
        .post(Who::Console, "/lessons/{lesson}/verify", lesson::verify)
        .get(Who::Console, "/lessons/{lesson}/index.m3u8", media::playlist)
        .get(Who::Console, "/lessons/{lesson}/lesson.mp4", joined::lesson)
        .get(Who::Console, "/lessons/{lesson}/export.zip", export::zip)
        .get(Who::Console, "/lessons/{lesson}/takes/{file}", media::take)
        .get(Who::Console, "/lessons/{lesson}/manifest.json", media::manifest)
        .get(Who::Console, "/lessons/{lesson}/receipt.json", media::receipt)
        .get(Who::Console, "/alarms", alarms::list)
        .get(Who::Console, "/alarms.part", alarms::list_part)
        .post(Who::Console, "/alarms/{n}", alarms::know)
        .get(Who::Console, "/repairs", repairs::list)
        .get(Who::Console, "/repairs.part", repairs::list_part)
        .post(Who::Console, "/repairs/{device}/{id}", repairs::change)
        .get(Who::Console, "/timetable", timetable::page)
        .post(Who::Console, "/timetable/bells", timetable::bells)
        .post_up_to(BODY_MAX, Who::Console, "/timetable/import", timetable::import)
        .post(Who::Console, "/timetable/apply", timetable::apply)
        .post(Who::Console, "/timetable/changes", timetable::change)
        .post(Who::Console, "/timetable/changes/{n}/remove", timetable::take_back)
        .get(Who::Console, "/usage", register::page)
        .get(Who::Console, "/usage/export/{file}", register::export)
        .get(Who::Console, "/usage/{device}/{date}/{period}", register::period::page)
        .post(Who::Console, "/usage/{device}/{date}/{period}", register::period::say)
        .get(Who::Console, "/indicators", indicators::page)
        .get(Who::Console, "/indicators/export/{file}", indicators::export)
        .get(Who::Console, "/devices", devices::page)
        .post(Who::Console, "/devices", devices::add)
        .post(Who::Console, "/devices/{device}/password", devices::new_password)
        .post(Who::Console, "/devices/{device}/retire", devices::retire)
        .post_up_to(tokens::LIST_MAX, Who::Console, "/devices/tokens", tokens::make)
        .post(Who::Console, "/devices/tokens/again", tokens::again)
        .post(Who::Console, "/devices/tokens/{token}/remove", tokens::take_back)
        .get(Who::Console, "/devices/cards", tokens::cards)
        .get(Who::Console, "/live", live::live)
        .get(Who::Everybody, "/login", login::page)
        .post(Who::Everybody, "/login", login::enter)
        .post(Who::Everybody, "/logout", login::leave)
        .get(Who::Here, "/metrics", metrics::metrics)
        .get(Who::Everybody, "/healthz", metrics::healthz)
        // What it signs is public; only its key is not.
        .get(Who::Everybody, "/ca.pem", tokens::ca)
        .get(Who::Everybody, "/assets/{file}", assets::asset)
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

    /// The first day of the school year that a day lies in.
    fn year_begins(&self, day: Date) -> Date {
        self.retention.year_begin(day).unwrap_or(day)
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
