//! Who may see the console, and what a browser may do with its pages.

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use lectern_base::clock;

use super::{Console, Oops};
use crate::store::people;

/// The session cookie's name.
pub const COOKIE: &str = "lectern";

/// Somebody who is logged in.
pub struct Who(pub String);

impl FromRequestParts<Console> for Who {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Response> {
        match session(&parts.headers, console).await {
            Ok(Some(who)) => Ok(Self(who)),
            Ok(None) => {
                let page = parts.method == axum::http::Method::GET
                    && !parts.uri.path().ends_with(".part")
                    && parts.uri.path() != "/live";
                if page {
                    let next: String = urlencode(parts.uri.path());
                    Err(Redirect::to(&format!("/login?next={next}")).into_response())
                } else {
                    Err(Oops::new(StatusCode::UNAUTHORIZED, "请先登录。").into_response())
                }
            }
            Err(oops) => Err(oops.into_response()),
        }
    }
}

/// Who a request's cookie belongs to.
pub async fn session(headers: &HeaderMap, console: &Console) -> Result<Option<String>, Oops> {
    let Some(token) = token(headers) else { return Ok(None) };
    let now = clock::wall_ms();
    Ok(console.store.read(move |db| people::session(db, &token, now)).await?)
}

/// The session token a request carries.
pub fn token(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|c| c.to_str().ok());
    cookies
        .flat_map(|c| c.split(';'))
        .filter_map(|c| c.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value.to_owned())
}

fn urlencode(path: &str) -> String {
    path.bytes()
        .map(|c| match c {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => char::from(c).to_string(),
            _ => format!("%{c:02X}"),
        })
        .collect()
}

/// Refuses changes asked for by other sites, and tells the browser what these pages are made of.
pub async fn headers(request: Request, next: Next) -> Response {
    // SameSite=Strict keeps the cookie from other sites already; this is the second bolt.
    let changes = !matches!(*request.method(), axum::http::Method::GET | axum::http::Method::HEAD);
    if changes && !same_origin(request.headers()) {
        return Oops::new(StatusCode::FORBIDDEN, "这个请求来自别的网站，没有执行。").into_response();
    }
    let private = !request.uri().path().starts_with("/assets/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    // blob: is how hls.js hands media to the player and runs its worker.
    set(
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         media-src 'self' blob:; worker-src 'self' blob:; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'",
    );
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "same-origin");
    if private && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// A bug in one answer is one answer: 500 and a sentence, and the hub goes on.
pub async fn survive(request: Request, next: Next) -> Response {
    let answer = lectern_base::panics::survive(next.run(request)).await;
    answer.unwrap_or_else(|| {
        Oops::new(StatusCode::INTERNAL_SERVER_ERROR, "中心的程序出错了，这个请求没有完成。请查看中心的日志。")
            .into_response()
    })
}

fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|h| h.to_str().ok());
    let site_ok = text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    let origin_ok = text("origin").is_none_or(|origin| {
        let host = origin.split_once("://").map(|(_, host)| host);
        host.is_some() && host == text("host")
    });
    site_ok && origin_ok
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_bug_in_one_answer_is_answered_and_the_hub_goes_on() {
        async fn answer(uri: axum::http::Uri) -> &'static str {
            assert_ne!(uri.path(), "/broken", "on purpose");
            "whole"
        }
        let router = axum::Router::new().fallback(answer).layer(axum::middleware::from_fn(super::survive));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        // One connection for both: not even that is lost.
        let mut line = tokio::net::TcpStream::connect(address).await.expect("connects");
        for (path, wanted) in [("/broken", "500 Internal"), ("/whole", "200 OK")] {
            line.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.expect("asks");
            let mut answer = vec![0; 4096];
            let n = line.read(&mut answer).await.expect("answers");
            let answer = String::from_utf8_lossy(&answer[..n]);
            assert!(answer.starts_with(&format!("HTTP/1.1 {wanted}")), "{answer}");
        }
    }
}
