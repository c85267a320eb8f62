//! The page of a machine that is no room's yet: the hub's address and the code on its card, and it is one.
//!
//! | route | |
//! |---|---|
//! | `GET /` | the page |
//! | `GET /api/enrol` | whether this machine was cloned from a room's, and which |
//! | `POST /api/enrol` | `{"hub": …, "code": …}`; a problem's code says what the page's words are for |
//! | `GET /api/status` | 409 `not_enrolled`, for the command line |

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use lectern_wire::digest::Digest;
use lectern_wire::enrol::Code;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::routes::Routes;
use super::{MAX_BODY, file, guard, problem};
use crate::enrol::ask::Card;
use crate::enrol::{self, EnrolError, keep};

/// What the page needs.
#[derive(Clone)]
pub struct First {
    /// Where the state is kept.
    pub data_dir: PathBuf,
    /// The school's way out.
    pub proxy: Option<(Url, Option<String>)>,
    /// What this machine is known by.
    pub machine: Vec<Digest>,
    /// The room that the disk was cloned from, if it was.
    pub cloned: Option<String>,
    /// Rung when this machine has become a room's.
    pub done: Arc<Notify>,
    /// One at a time.
    pub busy: Arc<Mutex<()>>,
    /// Ends open connections.
    pub stop: CancellationToken,
}

/// Its routes.
pub fn routes() -> Routes<First> {
    Routes::new()
        .get("/", || file("text/html; charset=utf-8", include_str!("assets/first.html")))
        .get("/page.css", || file("text/css; charset=utf-8", include_str!("assets/page.css")))
        .get("/first.css", || file("text/css; charset=utf-8", include_str!("assets/first.css")))
        .get("/first.js", || file("text/javascript; charset=utf-8", include_str!("assets/first.js")))
        .get("/api/enrol", look)
        .post("/api/enrol", enrol)
        .get("/api/status", status)
}

/// Serves until told to stop.
///
/// # Errors
/// What the system says of the listener.
pub async fn serve(listener: TcpListener, first: First) -> std::io::Result<()> {
    let guard = guard::Guard { port: listener.local_addr()?.port() };
    let stop = first.stop.clone();
    let router = routes()
        .router()
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn_with_state(guard, guard::check))
        .with_state(first);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn look(State(first): State<First>) -> Response {
    Json(serde_json::json!({ "cloned": first.cloned })).into_response()
}

async fn status() -> Response {
    problem(
        StatusCode::CONFLICT,
        "not_enrolled",
        "this machine is no room's yet: enrol it first, with `lectern enrol` or on its page",
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Typed {
    #[serde(default)]
    hub: String,
    code: String,
}

impl Typed {
    /// The address and the code. A scanner types everything into whichever field it finds.
    pub(super) fn card(self) -> (String, String) {
        match enrol::scanned(&self.code).or_else(|| enrol::scanned(&self.hub)) {
            Some((hub, code)) => (hub.to_owned(), code.to_owned()),
            None => (self.hub, self.code),
        }
    }
}

/// The hub and the code that were typed.
pub(super) fn read(hub: &str, code: &str) -> Result<(Url, Code), EnrolError> {
    Ok((enrol::address(hub)?, Code::read(code)?))
}

async fn enrol(
    State(first): State<First>,
    body: Result<Json<Typed>, axum::extract::rejection::JsonRejection>,
) -> Response {
    let (hub, code) = match body {
        Ok(Json(typed)) => typed.card(),
        Err(e) => return problem(e.status(), "bad_request", &e.body_text()),
    };
    let _one = first.busy.lock().await;
    match carry_out(&first, &hub, &code).await {
        Ok(done) => {
            first.done.notify_one();
            Json(done).into_response()
        }
        Err(e) => {
            tracing::warn!("this machine did not enrol: {e}");
            problem(StatusCode::UNPROCESSABLE_ENTITY, e.code(), &e.to_string())
        }
    }
}

async fn carry_out(first: &First, hub: &str, code: &str) -> Result<keep::Done, EnrolError> {
    let (hub, code) = read(hub, code)?;
    let card = Card { hub, code, proxy: first.proxy.clone() };
    keep::enrol(&first.data_dir, &card, &first.machine, false).await
}
