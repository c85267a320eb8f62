//! One request and its answer over a connection, HTTP/1.1: the head and a body go out while the answer is listened for,
//! since whoever refuses a part says so before it is all there.
//!
//! What comes back is short, and may be anything: proxies answer too.

use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use super::body::{Body, Broken};
use super::error::UploadError;
use super::line::{Line, STALL};

/// A head longer than this is none.
const MOST_HEAD: usize = 16 * 1024;
/// Headers in it at most.
const MOST_HEADERS: usize = 64;
/// A proxy may answer with anything, of any length.
const MOST_ANSWER: usize = 64 * 1024;
/// How long somebody who hung up may take to be heard.
const LAST_WORD: Duration = Duration::from_secs(2);

/// What came back.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// When to come again, if it says so.
    pub retry_after: Option<Duration>,
    /// Its body.
    pub body: Vec<u8>,
}

/// Sends, and hears the answer; with it whether the connection can be used again.
pub async fn exchange(
    line: &mut Line,
    head: &[u8],
    body: Option<&Body<'_>>,
) -> Result<(Answer, bool), UploadError> {
    match line {
        Line::Plain(socket) => {
            let (read, mut write) = socket.split();
            let send = async {
                write.write_all(head).await?;
                match body {
                    Some(body) => body.straight(write.as_ref()).await,
                    None => Ok(()),
                }
            };
            both(read, send).await
        }
        Line::Tls(stream) => {
            let (read, mut write) = tokio::io::split(stream.as_mut());
            let send = async {
                write.write_all(head).await?;
                match body {
                    Some(body) => body.through(&mut write).await,
                    None => Ok(write.flush().await?),
                }
            };
            both(read, send).await
        }
    }
}

async fn both(
    read: impl AsyncRead + Unpin,
    send: impl Future<Output = Result<(), Broken>>,
) -> Result<(Answer, bool), UploadError> {
    let (mut heard, mut sent) = (pin!(answer(read)), pin!(send));
    let sent = tokio::select! {
        // Before all was sent: whatever is still on its way would be taken for the next request.
        early = &mut heard => return Ok((early.map_err(broke_off)?.0, false)),
        sent = &mut sent => sent,
    };
    match sent {
        Ok(()) => heard.await.map_err(broke_off),
        Err(Broken::File(e)) => Err(e),
        // Whoever hung up may have said why.
        Err(Broken::Line(e)) => match tokio::time::timeout(LAST_WORD, heard).await {
            Ok(Ok((answer, _))) => Ok((answer, false)),
            _ => Err(UploadError::Network(e.to_string())),
        },
    }
}

/// Half an answer is none: what it would have said is asked again.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn broke_off(e: io::Error) -> UploadError {
    UploadError::Network(format!("the answer broke off: {e}"))
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Known(usize),
    Chunked,
    ToTheEnd,
}

#[derive(Debug)]
struct Head {
    /// Its own bytes.
    bytes: usize,
    status: u16,
    retry_after: Option<Duration>,
    length: Length,
    /// Whether the connection stays.
    keep: bool,
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// A head, once it is all there.
fn parse(got: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let bytes = match response.parse(got).map_err(|e| bad(format!("this is not HTTP: {e}")))? {
        httparse::Status::Complete(bytes) => bytes,
        httparse::Status::Partial => return Ok(None),
    };
    let status = response.code.unwrap_or_default();
    let all = |name: &'static str| {
        let named = response.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name));
        named.map(|h| String::from_utf8_lossy(h.value).trim().to_ascii_lowercase())
    };
    let lengths: Vec<_> = all("content-length").map(|v| v.parse::<usize>().ok()).collect();
    let length = match (lengths.as_slice(), all("transfer-encoding").next()) {
        _ if matches!(status, 100..=199 | 204 | 304) => Length::Known(0),
        ([], None) => Length::ToTheEnd,
        ([], Some(coding)) if coding == "chunked" => Length::Chunked,
        ([Some(length), others @ ..], None) if others.iter().all(|o| *o == Some(*length)) => {
            Length::Known(*length)
        }
        _ => return Err(bad("the answer does not say how long it is")),
    };
    let keep = response.version == Some(1) && !all("connection").any(|v| v.contains("close"));
    let retry_after = all("retry-after").find_map(|v| v.parse().ok()).map(Duration::from_secs);
    Ok(Some(Head { bytes, status, retry_after, length, keep }))
}

/// Reads on; none at the end.
async fn more(read: &mut (impl AsyncRead + Unpin), got: &mut Vec<u8>, most: usize) -> io::Result<Option<()>> {
    if got.len() > most {
        return Err(bad("the answer is too long"));
    }
    Ok((read.read_buf(got).await? > 0).then_some(()))
}

/// An answer, and whether the connection can be used again after it.
async fn answer(mut read: impl AsyncRead + Unpin) -> io::Result<(Answer, bool)> {
    let mut got = Vec::with_capacity(1024);
    let head = loop {
        match parse(&got)? {
            // Only on the way; the answer follows.
            Some(head) if head.status < 200 => drop(got.drain(..head.bytes)),
            Some(head) => break head,
            None => more(&mut read, &mut got, MOST_HEAD).await?.ok_or(io::ErrorKind::UnexpectedEof)?,
        }
    };
    got.drain(..head.bytes);
    let body = tokio::time::timeout(STALL, body(&mut read, got, head.length)).await;
    let (body, exact) = body.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok((Answer { status: head.status, retry_after: head.retry_after, body }, head.keep && exact))
}

/// A body, and whether nothing came after it; `got` is what came with the head.
async fn body(
    read: &mut (impl AsyncRead + Unpin),
    mut got: Vec<u8>,
    length: Length,
) -> io::Result<(Vec<u8>, bool)> {
    match length {
        Length::Known(length) => {
            if length > MOST_ANSWER {
                return Err(bad("the answer is too long"));
            }
            while got.len() < length {
                more(read, &mut got, MOST_ANSWER).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            }
            let exact = got.len() == length;
            got.truncate(length);
            Ok((got, exact))
        }
        Length::ToTheEnd => {
            while more(read, &mut got, MOST_ANSWER).await?.is_some() {}
            Ok((got, false))
        }
        Length::Chunked => loop {
            if let Some((body, ends)) = dechunked(&got)? {
                return Ok((body, ends == got.len()));
            }
            more(read, &mut got, MOST_ANSWER).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        },
    }
}

/// A body out of its chunks once all are there, and where they end. Trailers are not looked at, and end a connection.
fn dechunked(got: &[u8]) -> io::Result<Option<(Vec<u8>, usize)>> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let size = httparse::parse_chunk_size(&got[at..]).map_err(|_| bad("a chunk without a size"))?;
        let httparse::Status::Complete((line, size)) = size else { return Ok(None) };
        let size = usize::try_from(size).ok().filter(|size| *size <= MOST_ANSWER);
        let (from, size) = (at + line, size.ok_or_else(|| bad("the answer is too long"))?);
        let Some(chunk) = got.get(from..from + size + 2) else { return Ok(None) };
        if size == 0 {
            return Ok(Some((body, from + 2)));
        }
        if !chunk.ends_with(b"\r\n") {
            return Err(bad("a chunk without an end"));
        }
        body.extend_from_slice(&chunk[..size]);
        at = from + size + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn heard(said: &[u8], piece: usize) -> io::Result<(Answer, bool)> {
        let (mut near, far) = tokio::io::duplex(piece);
        let said = said.to_vec();
        let say = tokio::spawn(async move {
            for piece in said.chunks(piece) {
                if near.write_all(piece).await.is_err() {
                    return;
                }
            }
        });
        let heard = answer(far).await;
        say.abort();
        heard
    }

    #[tokio::test]
    async fn answers_are_understood_however_they_come() {
        let known = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        let chunked = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                       2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n";
        let old = "HTTP/1.0 200 OK\r\n\r\nhello";
        let closing = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
        for piece in [1, 3, 1000] {
            for (said, keep) in [(known, true), (chunked, true), (old, false), (closing, false)] {
                let (answer, kept) = heard(said.as_bytes(), piece).await.expect(said);
                assert_eq!(
                    (answer.status, answer.body.as_slice(), kept),
                    (200, &b"hello"[..], keep),
                    "{said}"
                );
            }
        }
        let busy = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n";
        let (answer, kept) = heard(busy.as_bytes(), 1000).await.expect("an answer");
        assert_eq!((answer.status, answer.retry_after, kept), (429, Some(Duration::from_secs(7)), true));
        // No body, whatever it says; and something that nobody asked for ends the connection.
        let nothing = "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
        let (answer, kept) = heard(nothing.as_bytes(), 1000).await.expect("an answer");
        assert_eq!((answer.status, answer.body.len(), kept), (204, 0, false));
    }

    #[tokio::test]
    async fn half_an_answer_is_none() {
        let known = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        for said in [known, chunked] {
            for end in 0..said.len() {
                assert!(heard(&said.as_bytes()[..end], 1000).await.is_err(), "{:?}", &said[..end]);
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_refused_and_so_is_one_without_end() {
        for said in [
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nhello\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhello\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nhello\r\n",
        ] {
            assert!(heard(said.as_bytes(), 1000).await.is_err(), "{said}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(2 * MOST_ANSWER));
        assert!(heard(endless.as_bytes(), 1000).await.is_err());
        let headless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(2 * MOST_HEAD));
        assert!(heard(headless.as_bytes(), 1000).await.is_err());
    }

    #[test]
    fn whatever_a_proxy_answers_is_read_or_refused() {
        use lectern_base::mangle::{Limit, mangle};
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // Read into a buffer that grows, and taken apart again with each piece.
        let limit = Limit { per_byte: 4000, at_rest: 1 << 20 };
        mangle(crate::mangled::repository(), "answer", &[], limit, |bytes| {
            drop(runtime.block_on(answer(bytes)));
        });
    }
}
