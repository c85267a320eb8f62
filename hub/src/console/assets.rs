//! Styles and scripts, in the program itself.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

/// One asset by its name.
pub async fn asset(Path(file): Path<String>) -> Response {
    const JS: &str = "text/javascript; charset=utf-8";
    let (kind, text) = match file.as_str() {
        "style.css" => ("text/css; charset=utf-8", include_str!("../../assets/style.css")),
        "cards.css" => ("text/css; charset=utf-8", crate::enrol::cards::STYLE),
        "live.js" => (JS, include_str!("../../assets/live.js")),
        "player.js" => (JS, include_str!("../../assets/player.js")),
        "hls.light.min.js" => (JS, include_str!("../../assets/vendor/hls.light.min.js")),
        "icon.svg" => ("image/svg+xml", include_str!("../../assets/icon.svg")),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    // Asked again each time the page loads, so that a new hub never runs with an old script.
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text).into_response()
}
