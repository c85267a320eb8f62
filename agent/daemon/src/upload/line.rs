//! Connections that parts go over. Ours rather than a client library's because the socket must be ours: BBR where
//! the kernel has it, a dead line noticed by the kernel, every piece let go at the pace.
//!
//! A connection is kept for the next part for a while. A stalled line is cut, not a slow one: what ends a part is
//! that no byte moves or, once all are out, that no answer comes in much more time than they took.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use lectern_base::clock;
use reqwest::header::{HeaderName, HeaderValue};
use rustix::net::RecvFlags;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_native_tls::TlsStream;
use url::Url;

use super::body::{Body, Source};
use super::error::{UploadError, chain};
use super::exchange::{Answer, exchange};
use super::manners::SAME_BUILDING;
use super::pace::Pace;
use super::turns::Turn;
use crate::platform::tls::Trust;

/// A connection that is not made in this time is not made.
const CONNECT: Duration = Duration::from_secs(10);
/// Without a byte for this long a line is dead; the kernel is told the same.
pub const STALL: Duration = Duration::from_secs(30);
/// So many bytes may wait in the kernel to be sent.
const UNSENT: u32 = 128 * 1024;
/// A connection without work is kept this long.
const KEEP: Duration = Duration::from_secs(20);

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
    line: Line,
}

/// A connection.
pub enum Line {
    /// The socket itself.
    Plain(TcpStream),
    /// Inside TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Line {
    /// Whether the other end still listens, as far as this end knows. Nothing may come that nobody asked for.
    fn stands(&self) -> bool {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().get_ref().get_ref(),
        };
        let heard = rustix::net::recv(socket, &mut [0_u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(heard, Err(rustix::io::Errno::AGAIN))
    }
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

    /// Sends a part from its file, at the pace; its turn is over when all is out.
    pub async fn put(
        &self,
        url: &Url,
        headers: &BTreeMap<String, String>,
        source: Source,
        turn: Turn,
        pace: &Pace,
    ) -> Result<Answer, UploadError> {
        let _under_way = pace.under_way();
        let mut body = Body::open(source, turn, pace).await?;
        let head = self.head("PUT", url, headers, Some(body.size()))?;
        loop {
            let (line, used) = self.line(url).await?;
            body.again();
            let answer = tokio::select! {
                answer = self.ask(url, line, &head, Some(&body)) => answer,
                why = body.progress().stalled() => Err(UploadError::Network(why)),
            };
            match answer {
                // A connection that was kept may have been closed meanwhile, which is nobody's fault.
                Err(UploadError::Network(_)) if used && body.progress().untouched(body.size()) => {}
                answer => return answer,
            }
        }
    }

    /// Asks for something small; for how long it takes.
    pub async fn get(&self, url: &Url) -> Result<Answer, UploadError> {
        let head = self.head("GET", url, &BTreeMap::new(), None)?;
        let (line, _) = self.line(url).await?;
        self.ask(url, line, &head, None).await
    }

    /// The head of a request. What came from elsewhere cannot end it early.
    fn head(
        &self,
        method: &str,
        url: &Url,
        headers: &BTreeMap<String, String>,
        length: Option<u64>,
    ) -> Result<Vec<u8>, UploadError> {
        // A proxy that does not tunnel is told the whole address.
        let whole = self.proxy.as_ref().filter(|_| url.scheme() == "http");
        let target = if whole.is_some() { url.as_str() } else { &url[url::Position::BeforePath..] };
        let target = target.split('#').next().unwrap_or(target);
        let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n");
        let mut add =
            |name: &str, value: &str| match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                (Ok(_), Ok(_)) => {
                    write!(head, "{name}: {value}\r\n").map_err(|e| UploadError::Network(chain(&e)))
                }
                _ => Err(UploadError::Network(format!("{name:?} is not a header that can be sent"))),
            };
        headers.iter().try_for_each(|(name, value)| add(name, value))?;
        if let Some(login) = whole.and_then(Proxy::authorization) {
            add("proxy-authorization", &login)?;
        }
        if let Some(length) = length {
            add("content-length", &length.to_string())?;
        }
        head.push_str("\r\n");
        Ok(head.into_bytes())
    }

    async fn ask(
        &self,
        url: &Url,
        mut line: Line,
        head: &[u8],
        body: Option<&Body<'_>>,
    ) -> Result<Answer, UploadError> {
        let (answer, keep) = exchange(&mut line, head, body).await?;
        if keep {
            self.idle().push(Idle { place: place(url), since: clock::mono(), line });
        }
        Ok(answer)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection, and whether it was used before.
    async fn line(&self, url: &Url) -> Result<(Line, bool), UploadError> {
        let wanted = place(url);
        let now = clock::mono();
        let kept = {
            let mut idle = self.idle();
            idle.retain(|i| now.saturating_sub(i.since) < KEEP && i.line.stands());
            idle.iter().position(|i| i.place == wanted).map(|at| idle.swap_remove(at).line)
        };
        if let Some(line) = kept {
            return Ok((line, true));
        }
        let made = tokio::time::timeout(CONNECT, self.connect(url)).await;
        let line = made.map_err(|_| UploadError::Network(format!("{wanted} does not answer")))?;
        Ok((line?, false))
    }

    async fn connect(&self, url: &Url) -> Result<Line, UploadError> {
        let (host, port) = host_and_port(url)?;
        let next = self.proxy.as_ref().map_or(Ok((host.clone(), port)), |p| host_and_port(&p.url))?;
        let failed = |e: std::io::Error| UploadError::Network(format!("{}:{}: {e}", next.0, next.1));
        let there = tokio::net::lookup_host((next.0.as_str(), next.1)).await.map_err(failed)?;
        let (there, asked) = (there.collect::<Vec<_>>(), clock::mono());
        let mut stream = TcpStream::connect(there.as_slice()).await.map_err(failed)?;
        prepare(&stream, clock::mono().saturating_sub(asked));
        if url.scheme() != "https" {
            return Ok(Line::Plain(stream));
        }
        if let Some(proxy) = &self.proxy {
            tunnel(&mut stream, proxy, &host, port).await?;
        }
        let stream = self.tls(url).await?.connect(&host, stream).await;
        let stream = stream.map_err(|e| UploadError::Network(format!("TLS with {host}: {}", chain(&e))))?;
        Ok(Line::Tls(Box::new(stream)))
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
/// line works all the same. `rtt` is how long the other end took to answer the call.
fn prepare(stream: &TcpStream, rtt: Duration) {
    use rustix::net::sockopt;
    let stall = u32::try_from(STALL.as_millis()).unwrap_or(u32::MAX);
    let done = [
        ("bbr", sockopt::set_tcp_congestion(stream, "bbr")),
        ("no delay", sockopt::set_tcp_nodelay(stream, true)),
        ("user time-out", sockopt::set_tcp_user_timeout(stream, stall)),
    ];
    // What lies in the kernel and was never sent is let go by nobody's pace: it would go on filling the line's queue after a cut.
    // Where there is no pace it would only cost the processor.
    if rtt >= SAME_BUILDING
        && let Err(e) = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT)
    {
        tracing::debug!("a connection whose kernel takes more than it sends: {e}");
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_what_it_must_and_nothing_can_end_it_early() {
        let url: Url = "http://hub.school:8080/a/b?sig=x%0D%0AX:y#z".parse().expect("a URL");
        let headers = BTreeMap::from([("content-md5".to_owned(), "abc=".to_owned())]);
        let head = Lines::new(None, None).head("PUT", &url, &headers, Some(7)).expect("a head");
        let wanted = "PUT /a/b?sig=x%0D%0AX:y HTTP/1.1\r\nhost: hub.school:8080\r\ncontent-md5: abc=\r\n\
                      content-length: 7\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&head), wanted);

        let proxy = Proxy { url: "http://proxy:3128".parse().expect("a URL"), login: Some("a:b".into()) };
        let head = Lines::new(Some(proxy), None).head("GET", &url, &BTreeMap::new(), None).expect("a head");
        let wanted = "GET http://hub.school:8080/a/b?sig=x%0D%0AX:y HTTP/1.1\r\nhost: hub.school:8080\r\n\
                      proxy-authorization: Basic YTpi\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&head), wanted);

        for (name, value) in [("x", "a\r\ny: z"), ("x y", "a"), ("", "a")] {
            let headers = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            assert!(Lines::new(None, None).head("PUT", &url, &headers, None).is_err(), "{name:?} {value:?}");
        }
    }
}
