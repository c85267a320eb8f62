//! Every refusal of the upload API: a status, a code a program may branch on, a sentence.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use lectern_wire::upload;

use crate::store::StoreError;

/// A refusal.
#[derive(Debug, Clone)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// Short code.
    pub code: &'static str,
    /// What is wrong and what to do.
    pub message: String,
    /// Seconds after which it may be tried again.
    pub retry_after_s: Option<u64>,
}

impl Problem {
    /// A refusal.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let later = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE);
        Self { status, code, message: message.into(), retry_after_s: later.then_some(30) }
    }

    /// The request cannot be read.
    pub fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// The request contradicts what is there.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// The request contradicts itself.
    pub fn unsound(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }

    /// Others go first.
    pub fn queued(wait: std::time::Duration, ahead: usize) -> Self {
        let message = format!("other rooms send first, {ahead} are ahead; nothing is wrong, ask again then");
        let queued = Self::new(StatusCode::TOO_MANY_REQUESTS, "queued", message);
        Self { retry_after_s: Some(wait.as_secs().max(1)), ..queued }
    }

    /// The disk is full.
    pub fn full() -> Self {
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "store_full",
            "the hub's disk is full; make room there, the room keeps the lesson meanwhile",
        )
    }
}

impl From<StoreError> for Problem {
    fn from(e: StoreError) -> Self {
        if e.is_full() {
            return Self::full();
        }
        if let StoreError::S3 { .. } = &e {
            tracing::warn!("{e}");
            let soon = Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store_unreachable",
                "the hub's S3 store does not do its part just now; try again soon, and look at the hub's log",
            );
            return Self { retry_after_s: Some(5), ..soon };
        }
        // The chain is for the log; the answer says only what the sender can do.
        tracing::error!("the hub's store failed: {e}");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store_failed",
            "the hub cannot use its store just now; try again later, and look at the hub's log",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Json(upload::Problem { code: self.code.into(), message: self.message });
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let ask = axum::http::HeaderValue::from_static("Basic realm=\"lectern\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, ask);
        }
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
