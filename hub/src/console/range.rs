//! Range requests (RFC 9110, section 14) for bytes that never change.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

/// What is wanted of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<'a> {
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub length: u64,
    size: u64,
    etag: &'a str,
    partial: bool,
}

/// Reads the headers; an answer without a body when that is all there is to say.
pub fn wanted<'a>(headers: &HeaderMap, etag: &'a str, size: u64) -> Result<Part<'a>, Box<Response>> {
    let same = |name| headers.get(name).and_then(|h| h.to_str().ok()).is_some_and(|h| h.contains(etag));
    if same(header::IF_NONE_MATCH) {
        return Err(Box::new(StatusCode::NOT_MODIFIED.into_response()));
    }
    let may_cut = !headers.contains_key(header::IF_RANGE) || same(header::IF_RANGE);
    let asked = headers.get(header::RANGE).and_then(|h| h.to_str().ok()).filter(|_| may_cut);
    match asked.map_or(Wish::Whole, |range| wish(range, size)) {
        Wish::Whole => Ok(Part { start: 0, length: size, size, etag, partial: false }),
        Wish::Part { start, length } => Ok(Part { start, length, size, etag, partial: true }),
        Wish::Beyond => {
            let all = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            Err(Box::new((StatusCode::RANGE_NOT_SATISFIABLE, all).into_response()))
        }
    }
}

impl Part<'_> {
    /// The answer with these bytes.
    pub fn answer(&self, body: Body) -> Response {
        let status = if self.partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        let mut response = (status, body).into_response();
        let mut set = |name, value: String| {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        };
        set(header::CONTENT_TYPE, "video/mp4".into());
        set(header::ACCEPT_RANGES, "bytes".into());
        set(header::CONTENT_LENGTH, self.length.to_string());
        set(header::ETAG, self.etag.to_owned());
        set(header::CACHE_CONTROL, "private, no-cache".into());
        if self.partial {
            let last = self.start + self.length - 1;
            set(header::CONTENT_RANGE, format!("bytes {}-{last}/{}", self.start, self.size));
        }
        response
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Whole,
    Part { start: u64, length: u64 },
    Beyond,
}

/// One byte range (RFC 9110, section 14); several, or what is none, mean the whole.
fn wish(range: &str, size: u64) -> Wish {
    let Some((from, to)) = range.strip_prefix("bytes=").and_then(|r| r.split_once('-')) else {
        return Wish::Whole;
    };
    let (from, to) = (from.trim(), to.trim());
    let (start, end) = match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(start), Ok(end)) if start <= end => (start, end.saturating_add(1).min(size)),
        (Ok(start), Err(_)) if to.is_empty() => (start, size),
        (Err(_), Ok(last)) if from.is_empty() => (size.saturating_sub(last), size),
        _ => return Wish::Whole,
    };
    if start < end { Wish::Part { start, length: end - start } } else { Wish::Beyond }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_understood_as_players_write_them() {
        let part = |start, length| Wish::Part { start, length };
        for (text, want) in [
            ("bytes=0-99", part(0, 100)),
            ("bytes=100-", part(100, 900)),
            ("bytes=-10", part(990, 10)),
            ("bytes=-5000", part(0, 1000)),
            ("bytes=999-5000", part(999, 1)),
            ("bytes=1000-", Wish::Beyond),
            ("bytes=-0", Wish::Beyond),
            ("bytes=9-2", Wish::Whole),
            ("bytes=0-1,5-6", Wish::Whole),
            ("items=0-1", Wish::Whole),
            ("bytes=99999999999999999999-", Wish::Whole),
        ] {
            assert_eq!(wish(text, 1000), want, "{text}");
        }
    }
}
