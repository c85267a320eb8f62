//! Connections that parts go over. Ours rather than a client library's because the socket must be ours: BBR where
//! the kernel has it, a dead line noticed by the kernel, every piece let go at the pace.
//!
//! A connection is kept for the next part for a while. A stalled line is cut, not a slow one: what ends a part is
//! that no byte moves or, once all are out, that no answer comes in much more time than they took.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use futures_util::TryStreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Limited, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Uri, header};
use hyper_util::rt::TokioIo;
use lectern_base::{clock, disk};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use url::Url;

use super::error::{UploadError, chain};
use super::pace::Pace;
use crate::platform::tls::Trust;

/// A connection that is not made in this time is not made.
const CONNECT: Duration = Duration::from_secs(10);
/// Without a byte for this long a line is dead; the kernel is told the same.
pub const STALL: Duration = Duration::from_secs(30);
/// A connection without work is kept this long.
const KEEP: Duration = Duration::from_secs(20);
/// Read from a file at once.
const BLOCK: usize = 256 * 1024;
/// A proxy may answer with anything, of any length.
const MOST_ANSWER: usize = 64 * 1024;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// The school's way out, where there is no other.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// `http://host:port`.
    pub url: Url,
    /// `user:password`, if it asks for them.
    pub login: Option<String>,
}

impl Proxy {
    fn authorization(&self) -> Option<String> {
        let login = self.login.as_ref()?;
        Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(login)))
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// When to come again, if it says so.
    pub retry_after: Option<Duration>,
    /// Its body, or the beginning of it.
    pub body: Bytes,
}

/// A part's bytes in its take's file.
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// Where they begin.
    pub offset: u64,
    /// How many they are.
    pub size: u64,
}

/// Connections to whoever takes parts.
pub struct Lines {
    proxy: Option<Proxy>,
    /// The hub, and how TLS is spoken with it; others are believed by the system's certificates.
    hub: Option<(String, Arc<Trust>)>,
    /// Made when TLS is first spoken with one of those: it reads all the world's certificates.
    tls: OnceCell<tokio_native_tls::TlsConnector>,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    place: String,
    since: Duration,
    line: SendRequest<Body>,
}

impl Lines {
    /// No connection yet.
    pub fn new(proxy: Option<Proxy>, hub: Option<(Url, Arc<Trust>)>) -> Self {
        let hub = hub.map(|(url, trust)| (place(&url), trust));
        Self { proxy, hub, tls: OnceCell::new(), idle: Mutex::default() }
    }

    async fn tls(&self, url: &Url) -> Result<tokio_native_tls::TlsConnector, UploadError> {
        if let Some((_, trust)) = self.hub.as_ref().filter(|(hub, _)| *hub == place(url)) {
            let (tls, _) = trust.connector().map_err(|e| UploadError::Network(chain(&e)))?;
            return Ok(tls.into());
        }
        let make = async || tokio_native_tls::native_tls::TlsConnector::new().map(Into::into);
        self.tls.get_or_try_init(make).await.cloned().map_err(|e| UploadError::Network(chain(&e)))
    }

    /// Sends a part straight from its file, at the pace, without a copy of it in memory.
    pub async fn put(
        &self,
        url: &Url,
        headers: &BTreeMap<String, String>,
        source: Source,
        pace: &Arc<Pace>,
    ) -> Result<Answer, UploadError> {
        let _under_way = pace.under_way();
        let source = Arc::new(source);
        loop {
            let (line, used) = self.line(url).await?;
            let progress = Arc::new(Progress::new(source.size));
            let body = pieces(source.clone(), pace.clone(), progress.clone());
            let mut request = self.request(Method::PUT, url)?;
            request = request.header(header::CONTENT_LENGTH, source.size);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let request = request.body(body).map_err(|e| UploadError::Network(chain(&e)))?;
            let answer = tokio::select! {
                answer = self.ask(url, line, request) => answer,
                why = progress.stalled() => Err(UploadError::Network(why)),
            };
            match answer {
                // A connection that was kept may have been closed meanwhile, which is nobody's fault.
                Err(UploadError::Network(_)) if used && progress.left() == source.size => {}
                answer => return answer,
            }
        }
    }

    /// Asks for something small; for how long it takes.
    pub async fn get(&self, url: &Url) -> Result<Answer, UploadError> {
        let (line, _) = self.line(url).await?;
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = self.request(Method::GET, url)?.body(body);
        self.ask(url, line, request.map_err(|e| UploadError::Network(chain(&e)))?).await
    }

    fn request(&self, method: Method, url: &Url) -> Result<hyper::http::request::Builder, UploadError> {
        // A proxy that does not tunnel is told the whole address.
        let whole = self.proxy.as_ref().filter(|_| url.scheme() == "http");
        let target = if whole.is_some() { url.as_str() } else { &url[url::Position::BeforePath..] };
        let target = target.split('#').next().unwrap_or(target);
        let target: Uri = target.parse().map_err(|e| UploadError::Network(chain(&e)))?;
        let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let request = Request::builder().method(method).uri(target).header(header::HOST, host);
        Ok(match whole.and_then(Proxy::authorization) {
            Some(login) => request.header(header::PROXY_AUTHORIZATION, login),
            None => request,
        })
    }

    async fn ask(
        &self,
        url: &Url,
        mut line: SendRequest<Body>,
        request: Request<Body>,
    ) -> Result<Answer, UploadError> {
        let broken = |e: hyper::Error| UploadError::Network(chain(&e));
        let response = line.send_request(request).await.map_err(broken)?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after =
            retry_after.and_then(|v| v.to_str().ok()?.trim().parse().ok()).map(Duration::from_secs);
        let body = Limited::new(response.into_body(), MOST_ANSWER).collect();
        let body = match tokio::time::timeout(STALL, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            // Half an answer is none: what it would have said is asked again.
            Ok(Err(e)) => return Err(UploadError::Network(format!("the answer broke off: {e}"))),
            Err(_) => return Err(UploadError::Network("the answer stalled".into())),
        };
        if !line.is_closed() {
            let idle = Idle { place: place(url), since: clock::mono(), line };
            self.idle().push(idle);
        }
        Ok(Answer { status, retry_after, body })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection, and whether it was used before.
    async fn line(&self, url: &Url) -> Result<(SendRequest<Body>, bool), UploadError> {
        let wanted = place(url);
        let now = clock::mono();
        let kept = {
            let mut idle = self.idle();
            idle.retain(|i| !i.line.is_closed() && now.saturating_sub(i.since) < KEEP);
            idle.iter().position(|i| i.place == wanted).map(|at| idle.swap_remove(at).line)
        };
        if let Some(mut line) = kept
            && line.ready().await.is_ok()
        {
            return Ok((line, true));
        }
        let made = tokio::time::timeout(CONNECT, self.connect(url)).await;
        let line = made.map_err(|_| UploadError::Network(format!("{wanted} does not answer")))?;
        Ok((line?, false))
    }

    async fn connect(&self, url: &Url) -> Result<SendRequest<Body>, UploadError> {
        let (host, port) = host_and_port(url)?;
        let next = self.proxy.as_ref().map_or(Ok((host.clone(), port)), |p| host_and_port(&p.url))?;
        let failed = |e: std::io::Error| UploadError::Network(format!("{}:{}: {e}", next.0, next.1));
        let mut stream = TcpStream::connect((next.0.as_str(), next.1)).await.map_err(failed)?;
        prepare(&stream);
        if url.scheme() != "https" {
            return over(stream).await;
        }
        if let Some(proxy) = &self.proxy {
            tunnel(&mut stream, proxy, &host, port).await?;
        }
        let stream = self.tls(url).await?.connect(&host, stream).await;
        over(stream.map_err(|e| UploadError::Network(format!("TLS with {host}: {}", chain(&e))))?).await
    }
}

fn host_and_port(url: &Url) -> Result<(String, u16), UploadError> {
    let both = url.host_str().zip(url.port_or_known_default());
    let (host, port) = both.ok_or_else(|| UploadError::Network("an address without a host".into()))?;
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}

fn place(url: &Url) -> String {
    url[..url::Position::AfterPort].to_owned()
}

/// What makes a socket fast where packets are lost, and a dead line known. Where the kernel has no such thing the
/// line works all the same.
fn prepare(stream: &TcpStream) {
    use rustix::net::sockopt;
    let stall = u32::try_from(STALL.as_millis()).unwrap_or(u32::MAX);
    let done = [
        ("bbr", sockopt::set_tcp_congestion(stream, "bbr")),
        ("no delay", sockopt::set_tcp_nodelay(stream, true)),
        ("user time-out", sockopt::set_tcp_user_timeout(stream, stall)),
    ];
    for (what, result) in done {
        if let Err(e) = result {
            tracing::debug!("a connection without {what}: {e}");
        }
    }
}

/// Has a proxy pass everything on.
async fn tunnel(stream: &mut TcpStream, proxy: &Proxy, host: &str, port: u16) -> Result<(), UploadError> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let login = proxy.authorization().map_or_else(String::new, |a| format!("Proxy-Authorization: {a}\r\n"));
    let ask = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{login}\r\n");
    let broken = |e: std::io::Error| UploadError::Network(format!("the proxy: {e}"));
    stream.write_all(ask.as_bytes()).await.map_err(broken)?;
    let mut said = Vec::new();
    // Byte by byte: what comes after the empty line belongs to TLS already.
    while !said.ends_with(b"\r\n\r\n") && said.len() < 8192 {
        said.push(stream.read_u8().await.map_err(broken)?);
    }
    let first = String::from_utf8_lossy(&said);
    let first = first.lines().next().unwrap_or_default();
    match first.split(' ').nth(1) {
        Some(status) if status.starts_with('2') => Ok(()),
        _ => Err(UploadError::Network(format!("the proxy does not connect to {host}:{port}: {first:?}"))),
    }
}

async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Body>, UploadError> {
    let (line, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|e| UploadError::Network(chain(&e)))?;
    tokio::spawn(async move {
        // What ends a connection is told to whoever waits for its answer.
        if let Err(e) = connection.await {
            tracing::debug!("a connection ended: {}", chain(&e));
        }
    });
    Ok(line)
}

/// How far a part is.
struct Progress {
    left: AtomicU64,
    /// When it began and when the last piece went, milliseconds on the monotonic clock.
    began: u64,
    last: AtomicU64,
}

fn now_ms() -> u64 {
    u64::try_from(clock::mono().as_millis()).unwrap_or(u64::MAX)
}

impl Progress {
    fn new(size: u64) -> Self {
        let now = now_ms();
        Self { left: AtomicU64::new(size), began: now, last: AtomicU64::new(now) }
    }

    fn went(&self, bytes: usize) {
        self.left.fetch_sub(bytes as u64, Ordering::Relaxed);
        self.last.store(now_ms(), Ordering::Relaxed);
    }

    fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Comes back when nothing moves any more, with the sentence.
    async fn stalled(&self) -> String {
        let stall = u64::try_from(STALL.as_millis()).unwrap_or(u64::MAX);
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let last = self.last.load(Ordering::Relaxed);
            let still = now_ms().saturating_sub(last);
            let out = self.left() == 0;
            // What is out may still lie in buffers here, and takes no longer than what went before.
            let patience = if out { stall + 2 * last.saturating_sub(self.began) } else { stall };
            if still > patience {
                let what = if out { "no answer came" } else { "nothing moved" };
                return format!("{what} for {} s", still / 1000);
            }
        }
    }
}

/// A part's bytes as a body: read in blocks, let go in pieces.
fn pieces(source: Arc<Source>, pace: Arc<Pace>, progress: Arc<Progress>) -> Body {
    let start = (source, pace, progress, 0_u64, Bytes::new());
    let stream =
        futures_util::stream::try_unfold(start, |(source, pace, progress, mut read, mut block)| async move {
            if block.is_empty() {
                let left = source.size - read;
                if left == 0 {
                    return Ok(None);
                }
                let (from, at, size) = (source.clone(), source.offset + read, left.min(BLOCK as u64));
                block = tokio::task::spawn_blocking(move || read_block(&from.path, at, size))
                    .await
                    .map_err(std::io::Error::other)??;
                read += size;
            }
            let piece = block.split_to(block.len().min(pace.piece()));
            pace.leave(piece.len()).await;
            progress.went(piece.len());
            Ok::<_, std::io::Error>(Some((piece, (source, pace, progress, read, block))))
        });
    BodyExt::boxed_unsync(StreamBody::new(stream.map_ok(Frame::data)))
}

fn read_block(path: &Path, at: u64, size: u64) -> std::io::Result<Bytes> {
    let size = usize::try_from(size).map_err(std::io::Error::other)?;
    disk::read_at(&std::fs::File::open(path)?, at, size).map(Bytes::from)
}
