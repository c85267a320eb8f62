//! TLS as the hub speaks it: its certificate of today, and a gate that shakes hands without holding up who comes next.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lectern_base::clock;
use openssl::error::ErrorStack;
use openssl::ssl::{Ssl, SslAcceptor, SslMethod, SslOptions, SslRef, SslSessionCacheMode, SslVerifyMode};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_openssl::SslStream;
use tokio_util::sync::CancellationToken;

use super::{Peer, names};
use crate::config::Config;
use crate::store::StoreError;
use crate::store::authority::{self, Authority, Served};
use crate::store::certificates::Came;

/// Who has not shaken hands in this time never will.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at once; they cost.
const AT_ONCE: usize = 256;
/// How often it is looked whether the certificate is still good, or was changed by whoever gives it.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// How often it is looked whether the hub can be called by another name: a network may come after its start.
const LOOK_FOR_NAMES: Duration = Duration::from_secs(15);
/// After a connection that could not be taken, before the next.
const BREATH: Duration = Duration::from_millis(200);
/// The first byte of a TLS handshake.
const HANDSHAKE_BYTE: u8 = 0x16;

/// Where the hub's certificate comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The hub's own authority, for the names it has by these settings.
    Own(Box<Config>),
    /// Files that somebody else looks after: certificates, and their key.
    Given(PathBuf, PathBuf),
}

/// The hub's certificate of today. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("source", &self.inner.source).finish_non_exhaustive()
    }
}

struct Inner {
    authority: Authority,
    source: Source,
    acceptor: Mutex<SslAcceptor>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// The hub's own files.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else's.
    #[error("tls: {0}")]
    Given(String),
    /// OpenSSL.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] ErrorStack),
}

impl Source {
    /// What the hub is called just now, where that is for it to say.
    fn names(&self) -> Vec<String> {
        match self {
            Self::Own(config) => names::all(config),
            Self::Given(..) => Vec::new(),
        }
    }
}

impl Tls {
    /// Reads, or makes, the certificate.
    ///
    /// # Errors
    /// [`TlsFault`].
    pub fn open(authority: Authority, source: Source) -> Result<Self, TlsFault> {
        let acceptor = acceptor(&authority, &source)?;
        Ok(Self { inner: Arc::new(Inner { authority, source, acceptor: Mutex::new(acceptor) }) })
    }

    /// Keeps the certificate fresh until told to stop.
    pub async fn keep(self, stop: CancellationToken) {
        let (mut names, mut looked) = (self.inner.source.names(), clock::mono());
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_FOR_NAMES) => {}
            }
            let now = self.inner.source.names();
            if now == names && clock::mono().saturating_sub(looked) < LOOK_EVERY {
                continue;
            }
            (names, looked) = (now, clock::mono());
            match acceptor(&self.inner.authority, &self.inner.source) {
                Ok(new) => *self.inner.acceptor.lock().unwrap_or_else(PoisonError::into_inner) = new,
                Err(e) => tracing::error!("the hub goes on with the certificate it has: {e}"),
            }
        }
    }

    fn hello(&self) -> Result<Ssl, ErrorStack> {
        Ssl::new(self.inner.acceptor.lock().unwrap_or_else(PoisonError::into_inner).context())
    }
}

fn acceptor(authority: &Authority, source: &Source) -> Result<SslAcceptor, TlsFault> {
    let Served { chain, key } = match source {
        Source::Own(_) => authority.server(&source.names(), clock::wall_ms())?,
        Source::Given(certificate, key) => authority::given(certificate, key).map_err(TlsFault::Given)?,
    };
    let mut made = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    made.set_private_key(&key)?;
    let mut chain = chain.into_iter();
    if let Some(own) = chain.next() {
        made.set_certificate(&own)?;
    }
    for more in chain {
        made.add_extra_chain_cert(more)?;
    }
    let mut trusted = X509StoreBuilder::new()?;
    trusted.add_cert(authority.certificate().to_owned())?;
    made.set_verify_cert_store(trusted.build())?;
    // Named, so that browsers ask nobody for a certificate they do not have.
    let mut asked = Stack::new()?;
    asked.push(authority.certificate().subject_name().to_owned()?)?;
    made.set_client_ca_list(asked);
    made.set_verify(SslVerifyMode::PEER);
    // A session that is taken up again would bring back what a person was let in with then.
    made.set_session_cache_mode(SslSessionCacheMode::OFF);
    made.set_options(SslOptions::NO_TICKET);
    made.set_num_tickets(0)?;
    Ok(made.build())
}

/// A gate: who has come through it has shaken hands.
pub struct Gate {
    ready: mpsc::Receiver<(SslStream<TcpStream>, Peer)>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gate {
    /// Opens on a port that was taken. Who speaks something else than TLS hears `otherwise`.
    ///
    /// # Errors
    /// What the system says of the port.
    pub fn new(listener: TcpListener, tls: Tls, otherwise: Option<&'static [u8]>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (through, ready) = mpsc::channel(64);
        let task = tokio::spawn(watch(listener, tls, otherwise, through));
        Ok(Self { ready, address, task })
    }

    /// Where it stands.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next who has come through.
    pub async fn next(&mut self) -> (SslStream<TcpStream>, Peer) {
        match self.ready.recv().await {
            Some(next) => next,
            // The watcher ends with the gate only.
            None => std::future::pending().await,
        }
    }
}

async fn watch(
    listener: TcpListener,
    tls: Tls,
    otherwise: Option<&'static [u8]>,
    through: mpsc::Sender<(SslStream<TcpStream>, Peer)>,
) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut hands = tokio::task::JoinSet::new();
    loop {
        while hands.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let (stream, address) = match listener.accept().await {
            Ok(came) => came,
            Err(e) => {
                tracing::debug!("a connection could not be taken: {e}");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let (tls, through) = (tls.clone(), through.clone());
        hands.spawn(async move {
            let shaken = tokio::time::timeout(HANDSHAKE, shake(stream, &tls, otherwise)).await;
            drop(place);
            match shaken {
                Ok(Ok(Some((stream, came)))) => {
                    if through.send((stream, Peer { address, came })).await.is_err() {
                        tracing::debug!(%address, "somebody came while the hub was stopping");
                    }
                }
                Ok(Ok(None)) => tracing::debug!(%address, "somebody spoke no TLS"),
                Ok(Err(e)) => tracing::debug!(%address, "no TLS came about: {e}"),
                Err(_) => tracing::debug!(%address, "somebody did not shake hands in time"),
            }
        });
    }
}

type Shaken = Option<(SslStream<TcpStream>, Came)>;

async fn shake(
    mut stream: TcpStream,
    tls: &Tls,
    otherwise: Option<&'static [u8]>,
) -> Result<Shaken, Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Ok(None);
    }
    if first != [HANDSHAKE_BYTE] {
        if let Some(words) = otherwise {
            stream.write_all(words).await?;
            stream.shutdown().await?;
        }
        return Ok(None);
    }
    let mut stream = SslStream::new(tls.hello()?, stream)?;
    Pin::new(&mut stream).accept().await?;
    let came = came(stream.ssl())?;
    Ok(Some((stream, came)))
}

/// What was shown; that it is the authority's was checked in the handshake.
fn came(ssl: &SslRef) -> Result<Came, ErrorStack> {
    Ok(match ssl.peer_certificate() {
        Some(shown) => Came::With(authority::serial(&shown)?),
        None => Came::Tls,
    })
}
