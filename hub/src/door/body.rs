//! JSON bodies.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// A JSON body, or a sentence that says why it is none.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state).await.map_err(|e| {
            let status = e.status();
            let code = if status == StatusCode::PAYLOAD_TOO_LARGE { "too_large" } else { "unreadable" };
            Problem::new(status, code, format!("the body could not be read: {}", e.body_text()))
        })?;
        let value = serde_json::from_slice(&bytes);
        value
            .map(Self)
            .map_err(|e| Problem::bad("bad_json", format!("the body is not what belongs here: {e}")))
    }
}
