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
}

impl Problem {
    /// A refusal.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
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
            return Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store_unreachable",
                "the hub's S3 store does not do its part just now; try again soon, and look at the hub's log",
            );
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
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE) {
            let soon = if self.code == "store_unreachable" { "5" } else { "30" };
            response.headers_mut().insert(header::RETRY_AFTER, axum::http::HeaderValue::from_static(soon));
        }
        response
    }
}
