//! 使用记录 of the last days, and what a teacher says of a row.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use lectern_base::clock;
use lectern_wire::usage::{OPEN_DAYS, Usage};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Page, problem};
use crate::model::usage::{Word, open};
use crate::store::Store;
use crate::store::usage::UsageRow;
use crate::usage::{SayError, say};

/// The rows that can still be confirmed or corrected, in order, and why nothing is seen of the room, if so.
pub async fn list(State(page): State<Page>) -> Response {
    match tokio::task::spawn_blocking(move || rows(&page.store)).await {
        Ok(Ok(rows)) => Json(rows).into_response(),
        Ok(Err(e)) => problem(StatusCode::INTERNAL_SERVER_ERROR, "failed", &e.to_string()),
        Err(e) => problem(StatusCode::INTERNAL_SERVER_ERROR, "failed", &e.to_string()),
    }
}

fn rows(store: &Store) -> Result<Value, crate::store::StoreError> {
    let today = clock::local(clock::wall_ms()).date();
    let first = today.checked_sub(jiff::Span::new().days(OPEN_DAYS)).unwrap_or(today);
    let rows = store.usages_since(&first.to_string())?;
    let rows: Vec<Value> = rows.iter().map(|row| view(row, open(&row.auto, today))).collect();
    Ok(
        json!({ "today": today.to_string(), "open_days": OPEN_DAYS, "rows": rows, "why": store.presence().why }),
    )
}

fn view(row: &UsageRow, open: bool) -> Value {
    let time = |ms| clock::local(ms).strftime("%H:%M").to_string();
    let mut value = json!(row.auto);
    value["times"] = format!("{}–{}", time(row.auto.planned_start_ms), time(row.auto.planned_end_ms)).into();
    value["open"] = open.into();
    value["said"] = row.said.as_ref().map_or(Value::Null, |said: &Usage| json!(said));
    value
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// The row's day and period.
    date: String,
    period: String,
    /// What was so; absent confirms the row as it is.
    #[serde(default)]
    used: Option<bool>,
    #[serde(default)]
    minutes: Option<u32>,
    #[serde(default)]
    condition: String,
    #[serde(default)]
    fault: String,
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    by_id: String,
}

/// 确认 or 更正.
pub async fn word(State(page): State<Page>, body: Result<Json<Said>, JsonRejection>) -> Response {
    let said = match body {
        Ok(Json(said)) => said,
        Err(e) => return problem(e.status(), "bad_request", &e.body_text()),
    };
    let taken = tokio::task::spawn_blocking(move || {
        let word = Word {
            used: said.used,
            minutes: said.minutes,
            condition: said.condition,
            fault: said.fault,
            by: said.by.unwrap_or_default(),
            by_id: said.by_id,
        };
        say(&page.store, &said.date, &said.period, &word)
    });
    match taken.await {
        Ok(Ok(())) => Json(json!({ "answer": "done" })).into_response(),
        Ok(Err(e)) => {
            let (status, code) = match &e {
                SayError::NoSuchRow => (StatusCode::NOT_FOUND, "no_such_row"),
                SayError::Closed => (StatusCode::CONFLICT, "usage_closed"),
                SayError::Wrong(_) => (StatusCode::BAD_REQUEST, "bad_request"),
                SayError::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
            };
            problem(status, code, &e.to_string())
        }
        Err(e) => problem(StatusCode::INTERNAL_SERVER_ERROR, "failed", &e.to_string()),
    }
}
