//! Keeps other pages' hands off the button.
//!
//! A page from elsewhere, open in the same browser, can send requests to loopback. It is told apart
//! by the name it used (`Host`: DNS rebinding makes a foreign name point here), by where it
//! comes from (`Origin`, `Sec-Fetch-Site`), and, for anything that changes something, by a header that
//! a foreign page may not set without being asked first.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

/// Every changing request carries this header, with any value.
pub const OWN: &str = "x-lectern";

/// Knows the port the page is served at.
#[derive(Debug, Clone, Copy)]
pub struct Guard {
    /// The port.
    pub port: u16,
}

impl Guard {
    fn is_own_host(self, host: &str) -> bool {
        ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| host == format!("{name}:{}", self.port))
    }

    /// Why a request is refused, if it is.
    pub fn refusal(self, method: &Method, headers: &HeaderMap) -> Option<&'static str> {
        let text = |name: &HeaderName| headers.get(name).map(|v| v.to_str().unwrap_or("?"));
        if !text(&header::HOST).is_some_and(|host| self.is_own_host(host)) {
            return Some("this page answers only to 127.0.0.1 and localhost");
        }
        let foreign =
            |origin: &str| !origin.strip_prefix("http://").is_some_and(|host| self.is_own_host(host));
        if text(&header::ORIGIN).is_some_and(foreign) {
            return Some("requests from other pages are refused");
        }
        let site = text(&HeaderName::from_static("sec-fetch-site"));
        if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
            return Some("requests from other pages are refused");
        }
        let reads = matches!(*method, Method::GET | Method::HEAD);
        if !reads && !headers.contains_key(OWN) {
            return Some("a request that changes something must carry the header X-Lectern");
        }
        None
    }
}

/// Refuses what [`Guard::refusal`] names; adds headers that keep the page to itself.
pub async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let mut response = match guard.refusal(request.method(), request.headers()) {
        Some(why) => super::problem(StatusCode::FORBIDDEN, "foreign", why),
        None => next.run(request).await,
    };
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
                  frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    );
    response
}

/// A bug in one answer is one answer: 500 and a sentence, and the page goes on.
pub async fn survive(request: Request, next: Next) -> Response {
    let answer = lectern_base::panics::survive(next.run(request)).await;
    answer.unwrap_or_else(|| {
        super::problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "bug",
            "this went wrong inside lectern; its log says where",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(method: &Method, headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        Guard { port: 8471 }.refusal(method, &headers).is_some()
    }

    #[test]
    fn only_its_own_page_presses_the_button() {
        let own = ("host", "127.0.0.1:8471");
        let hand = ("x-lectern", "page");
        assert!(!refused(&Method::GET, &[own]));
        assert!(!refused(
            &Method::POST,
            &[own, hand, ("origin", "http://127.0.0.1:8471"), ("sec-fetch-site", "same-origin")]
        ));
        assert!(!refused(&Method::POST, &[("host", "localhost:8471"), hand]));
        assert!(refused(&Method::POST, &[own]), "no header of its own");
        assert!(refused(&Method::POST, &[own, hand, ("origin", "http://evil.example")]));
        assert!(refused(&Method::POST, &[own, hand, ("origin", "null")]));
        assert!(refused(&Method::POST, &[own, hand, ("origin", "http://127.0.0.1:9999")]));
        assert!(refused(&Method::GET, &[("host", "evil.example:8471")]), "DNS rebinding");
        assert!(refused(&Method::GET, &[("host", "127.0.0.1")]), "another port");
        assert!(refused(&Method::GET, &[own, ("sec-fetch-site", "cross-site")]));
        assert!(refused(&Method::GET, &[]));
    }

    #[tokio::test]
    async fn a_bug_in_one_answer_is_answered_and_the_page_goes_on() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        async fn answer(uri: axum::http::Uri) -> &'static str {
            assert_ne!(uri.path(), "/broken", "on purpose");
            "whole"
        }
        let router = axum::Router::new().fallback(answer).layer(axum::middleware::from_fn(survive));
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
