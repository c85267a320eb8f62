//! Somebody between a room and its hub: speaks TLS with both, with a certificate of an authority of their own, and passes on
//! what is said, or changes it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{Ssl, SslAcceptor, SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509Name};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_openssl::SslStream;

/// The impostor; gone when it is dropped.
#[derive(Debug)]
pub struct Impostor {
    /// Where it waits.
    pub port: u16,
    passed: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Impostor {
    /// Stands before the hub at this port of 127.0.0.1. In what the hub says every `from` becomes `to`, of the same length.
    ///
    /// # Errors
    /// When it cannot listen, or make its certificate.
    pub async fn before(hub: u16, change: Option<(&'static str, &'static str)>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (certificate, key) = own()?;
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        acceptor.set_private_key(&key)?;
        acceptor.set_certificate(&certificate)?;
        let acceptor = acceptor.build();
        let passed = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&passed);
        let task = tokio::spawn(async move {
            while let Ok((room, _)) = listener.accept().await {
                let Ok(ssl) = Ssl::new(acceptor.context()) else { return };
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    // What breaks off here is the room's to tell.
                    pass(room, ssl, hub, change, &counted).await.ok();
                });
            }
        });
        Ok(Self { port, passed, task })
    }

    /// Requests that a room made to it, although it is not the hub.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }
}

async fn pass(
    room: TcpStream,
    ssl: Ssl,
    hub: u16,
    change: Option<(&str, &str)>,
    heard: &AtomicU64,
) -> anyhow::Result<()> {
    let mut room = SslStream::new(ssl, room)?;
    Pin::new(&mut room).accept().await?;
    let mut connector = SslConnector::builder(SslMethod::tls_client())?;
    connector.set_verify(SslVerifyMode::NONE);
    let ssl = connector.build().configure()?.verify_hostname(false).into_ssl("127.0.0.1")?;
    let address = SocketAddr::from(([127, 0, 0, 1], hub));
    let mut real = SslStream::new(ssl, TcpStream::connect(address).await?)?;
    Pin::new(&mut real).connect().await?;
    let (mut from_room, mut from_hub) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            read = room.read(&mut from_room) => match read? {
                0 => return Ok(()),
                n => {
                    heard.fetch_add(1, Ordering::Relaxed);
                    real.write_all(from_room.get(..n).context("a piece")?).await?;
                }
            },
            read = real.read(&mut from_hub) => match read? {
                0 => return Ok(()),
                n => {
                    let mut said = from_hub.get(..n).context("a piece")?.to_vec();
                    if let Some((from, to)) = change {
                        let text = String::from_utf8_lossy(&said).replace(from, to);
                        said = text.into_bytes();
                    }
                    room.write_all(&said).await?;
                }
            },
        }
    }
}

/// A certificate for 127.0.0.1 that nobody vouches for.
fn own() -> anyhow::Result<(X509, PKey<Private>)> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut name = X509Name::builder()?;
    name.append_entry_by_nid(Nid::COMMONNAME, "impostor")?;
    let name = name.build();
    let mut made = X509::builder()?;
    made.set_version(2)?;
    made.set_subject_name(&name)?;
    made.set_issuer_name(&name)?;
    made.set_pubkey(&key)?;
    let (begins, ends) = (Asn1Time::from_unix(946_684_800)?, Asn1Time::days_from_now(30)?);
    made.set_not_before(&begins)?;
    made.set_not_after(&ends)?;
    let names = SubjectAlternativeName::new().ip("127.0.0.1").build(&made.x509v3_context(None, None))?;
    made.append_extension(names)?;
    made.sign(&key, MessageDigest::sha256())?;
    Ok((made.build(), key))
}
