//! The page's requests beyond the button: what is looked at before a lesson and said after it.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use lectern_base::clock;
use lectern_wire::id::LessonId;
use lectern_wire::manifest::About;
use serde::Deserialize;
use serde_json::json;

use super::{Page, answered, problem, view};
use crate::command;
use crate::model::answer::Answer;

/// How long a pre-flight may take before the page is told that it goes on.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(28);

#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum Word {
    /// 补充课题
    Amend { about: About },
    /// 提交认证
    Submit {
        scheme: String,
        #[serde(default)]
        point: String,
    },
    /// 删除这节
    Discard,
}

/// Says something of a lesson that has ended.
pub async fn lesson(
    State(page): State<Page>,
    Path(id): Path<String>,
    body: Result<Json<Word>, JsonRejection>,
) -> Response {
    let word = match body {
        Ok(Json(word)) => word,
        Err(e) => return problem(e.status(), "bad_request", &e.body_text()),
    };
    let id = match LessonId::new(id) {
        Ok(id) => id,
        Err(e) => return problem(StatusCode::BAD_REQUEST, "bad_request", &e.to_string()),
    };
    let desk = page.desk.clone();
    at_the_desk(move || match word {
        Word::Amend { about } => desk.amend(&id, &about),
        Word::Submit { scheme, point } => desk.submit(&id, &scheme, &point),
        Word::Discard => desk.throw_away(&id),
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    /// Made by whoever asks: a repeated press is one ticket.
    id: String,
    #[serde(default)]
    text: String,
}

/// 报修: the machine's condition goes along; what the lesson is about does not.
pub async fn repair(State(page): State<Page>, body: Result<Json<Ticket>, JsonRejection>) -> Response {
    let ticket = match body {
        Ok(Json(ticket)) => ticket,
        Err(e) => return problem(e.status(), "bad_request", &e.body_text()),
    };
    let mut condition = view::status(&page.store.board().read(), &page);
    if let Some(lesson) = condition["lesson"].as_object_mut() {
        lesson.remove("about");
    }
    if let Some(condition) = condition.as_object_mut() {
        condition.remove("slot");
        condition.insert("agent_version".into(), json!(env!("CARGO_PKG_VERSION")));
        condition.insert("up_s".into(), json!(clock::boot().as_secs()));
        condition.insert("clock_trusted".into(), json!(clock::trusted()));
    }
    let desk = page.desk.clone();
    at_the_desk(move || desk.repair(&ticket.id, &ticket.text, condition)).await
}

#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// 知道了
    Seen,
    /// 推迟
    PutOff,
}

/// What the teacher says to a technician's note or countdown. Said twice it is said once.
pub async fn command(State(page): State<Page>, body: Result<Json<Reply>, JsonRejection>) -> Response {
    let word = match body {
        Ok(Json(Reply::Seen)) => command::Word::Seen,
        Ok(Json(Reply::PutOff)) => command::Word::PutOff,
        Err(e) => return problem(e.status(), "bad_request", &e.body_text()),
    };
    if let Some(handle) = &page.command {
        handle.say(word);
    }
    answered(Answer::Done(None))
}

async fn at_the_desk(work: impl FnOnce() -> Answer + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answered(answer),
        Err(e) => problem(StatusCode::INTERNAL_SERVER_ERROR, "failed", &e.to_string()),
    }
}

/// What a lesson can be put forward for.
pub async fn schemes(State(page): State<Page>) -> Response {
    let schemes = page.desk.schemes.iter().map(|scheme| {
        let points = scheme
            .points
            .iter()
            .map(|point| json!({ "code": point.code, "name": point.name, "environment": point.environment }));
        json!({
            "id": scheme.id,
            "name": scheme.name,
            "points": points.collect::<Vec<_>>(),
            "points_needed": scheme.points_needed,
            "clip_max_minutes": scheme.clip_max_minutes,
            "grades": scheme.grades,
        })
    });
    Json(schemes.collect::<Vec<_>>()).into_response()
}

/// Has every source looked at now; answers with the verdict.
pub async fn preflight(State(page): State<Page>) -> Response {
    if page.store.board().read().lesson.is_some_and(|lesson| lesson.state.is_live()) {
        return problem(
            StatusCode::CONFLICT,
            "recording",
            "a lesson is being recorded; its own warnings say how the sources are",
        );
    }
    let mut watch = page.store.board().watch();
    let at = |status: &crate::model::status::Status| status.preflight.as_ref().map(|p| p.at_boot_ms);
    let before = at(&watch.borrow_and_update());
    page.preflight.now();
    let newer = tokio::time::timeout(PATIENCE, watch.wait_for(|status| at(status) > before)).await;
    match newer {
        Ok(Ok(status)) => {
            let mut verdict = view::preflight(status.preflight.as_ref());
            verdict["disk_free_minutes"] = json!(status.disk_free_minutes);
            verdict["clock_plausible"] = json!(clock::plausible());
            verdict["hub_reachable"] = json!(status.upload.reachable);
            Json(verdict).into_response()
        }
        _ => problem(
            StatusCode::GATEWAY_TIMEOUT,
            "slow",
            "the sources are still being looked at; ask for the status in a moment",
        ),
    }
}
