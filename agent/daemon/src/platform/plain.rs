//! HTTP without TLS. The library's client sets TLS up even where none is spoken, and reads all the world's certificates
//! for it: a tenth of a second, longer than most answers take.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use reqwest::{Body, Request, Response};

/// A client that speaks no TLS and knows no proxy.
#[derive(Debug, Clone)]
pub struct Plain(Client<HttpConnector, Body>);

/// Why there is no answer, all of it in one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(String);

fn chain(e: &dyn std::error::Error) -> NoAnswer {
    let causes = std::iter::successors(Some(e), |e| e.source()).map(ToString::to_string);
    NoAnswer(causes.collect::<Vec<_>>().join(": "))
}

impl Plain {
    /// A connection that is not made in this time is not made.
    #[must_use]
    pub fn new(connect: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(connect));
        connector.set_nodelay(true);
        Self(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(2).build(connector))
    }

    /// Asks, and takes the whole answer in, within the request's time-out.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn send(&self, request: Request) -> Result<Response, NoAnswer> {
        let patience = request.timeout().copied().unwrap_or(Duration::MAX);
        let answer = async {
            let request = request.try_into().map_err(|e: reqwest::Error| chain(&e))?;
            let (head, body) = self.0.request(request).await.map_err(|e| chain(&e))?.into_parts();
            let body = body.collect().await.map_err(|e| chain(&e))?.to_bytes();
            Ok(http_response(head, body))
        };
        let timed = tokio::time::timeout(patience, answer).await;
        timed.map_err(|_| NoAnswer(format!("no answer in {} s", patience.as_secs())))?
    }
}

fn http_response(head: hyper::http::response::Parts, body: hyper::body::Bytes) -> Response {
    hyper::http::Response::from_parts(head, body).into()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn it_asks_as_it_was_told_to_and_does_not_wait_for_ever() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/a?b=c", server.local_addr().expect("an address"));
        let serve = tokio::spawn(async move {
            let (mut socket, _) = server.accept().await.expect("somebody");
            let mut said = vec![0; 4096];
            let n = socket.read(&mut said).await.expect("a request");
            socket.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok").await.expect("written");
            // Both stay open: the next question is heard, and not answered.
            (String::from_utf8_lossy(&said[..n]).into_owned(), socket, server)
        });
        let ask = |patience| {
            let mut request = Request::new(reqwest::Method::PUT, url.parse().expect("a URL"));
            *request.body_mut() = Some("hello".into());
            *request.timeout_mut() = Some(patience);
            request
        };
        let plain = Plain::new(Duration::from_secs(5));
        let answer = plain.send(ask(Duration::from_secs(20))).await.expect("an answer");
        assert_eq!((answer.status().as_u16(), answer.text().await.expect("text").as_str()), (201, "ok"));
        let silent = plain.send(ask(Duration::from_millis(50))).await;
        assert!(silent.is_err_and(|e| e.to_string().contains("no answer")));
        let (said, ..) = serve.await.expect("served");
        assert!(said.starts_with("PUT /a?b=c HTTP/1.1\r\n") && said.ends_with("hello"), "{said}");
    }
}
