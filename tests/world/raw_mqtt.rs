//! MQTT 3.1.1 by hand: what no client library would say can be said here, and nothing is repaired on the way.

use std::pin::Pin;
use std::time::Duration;

use anyhow::Context as _;
use openssl::pkey::PKey;
use openssl::ssl::{SslConnector, SslMethod};
use openssl::x509::X509;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_openssl::SslStream;

/// How long a broker may take to answer or to hang up: longer than its own wait for a handshake.
const PATIENCE: Duration = Duration::from_secs(30);

/// A packet: its first byte and its body.
#[must_use]
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut rest = body.len();
    loop {
        let digit = u8::try_from(rest % 128).unwrap_or(0);
        rest /= 128;
        out.push(if rest > 0 { digit | 128 } else { digit });
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

fn text(words: &[u8]) -> Vec<u8> {
    let length = u16::try_from(words.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], words].concat()
}

/// CONNECT with a clean session and a keep-alive of 20 s; `will` is a topic and a payload, retained.
#[must_use]
pub fn connect(id: &str, login: Option<(&str, &str)>, will: Option<(&str, &str)>) -> Vec<u8> {
    let flags = 2 | if login.is_some() { 0xc0 } else { 0 } | if will.is_some() { 0x2c } else { 0 };
    let mut body = [&text(b"MQTT")[..], &[4, flags, 0, 20], &text(id.as_bytes())].concat();
    if let Some((topic, payload)) = will {
        body.extend([text(topic.as_bytes()), text(payload.as_bytes())].concat());
    }
    if let Some((user, password)) = login {
        body.extend([text(user.as_bytes()), text(password.as_bytes())].concat());
    }
    packet(0x10, &body)
}

/// PUBLISH with QoS 1, packet id 7.
#[must_use]
pub fn publish(topic: &str, payload: &[u8], retain: bool) -> Vec<u8> {
    let body = [&text(topic.as_bytes())[..], &[0, 7], payload].concat();
    packet(0x32 | u8::from(retain), &body)
}

/// SUBSCRIBE to one filter with QoS 1, packet id 9.
#[must_use]
pub fn subscribe(filter: &str) -> Vec<u8> {
    packet(0x82, &[&[0, 9][..], &text(filter.as_bytes()), &[1]].concat())
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection to a broker.
pub struct RawMqtt {
    line: Box<dyn Io>,
}

/// What is shown at a broker that speaks TLS: certificate and key, PEM.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The certificate.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
}

impl RawMqtt {
    /// Opens the line; nothing is said yet.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn dial(port: u16) -> anyhow::Result<Self> {
        let line = TcpStream::connect(("127.0.0.1", port)).await.context("the broker does not listen")?;
        Ok(Self { line: Box::new(line) })
    }

    /// Opens the line by TLS, believing this authority, and shows a certificate if there is one.
    ///
    /// # Errors
    /// When nobody listens, or hands are not shaken.
    pub async fn dial_tls(port: u16, ca: &[u8], shown: Option<&Shown>) -> anyhow::Result<Self> {
        let mut connector = SslConnector::builder(SslMethod::tls_client())?;
        connector.cert_store_mut().add_cert(X509::from_pem(ca)?)?;
        if let Some(Shown { certificate, key }) = shown {
            let (certificate, key) = (X509::from_pem(certificate)?, PKey::private_key_from_pem(key)?);
            connector.set_certificate(&certificate)?;
            connector.set_private_key(&key)?;
        }
        let ssl = connector.build().configure()?.into_ssl("127.0.0.1")?;
        let line = TcpStream::connect(("127.0.0.1", port)).await.context("the broker does not listen")?;
        let mut line = SslStream::new(ssl, line)?;
        Pin::new(&mut line).connect().await?;
        Ok(Self { line: Box::new(line) })
    }

    /// Logs in by hand: the broker's word, 0 for welcome; none when it hung up.
    pub async fn log_in(&mut self, hello: &[u8]) -> Option<u8> {
        self.say(hello).await;
        match self.hear().await {
            Some((0x20, answer)) => answer.get(1).copied(),
            _ => None,
        }
    }

    /// Logs a device in; comes again while the broker still ends its connection before.
    ///
    /// # Errors
    /// When it is not let in.
    pub async fn device(port: u16, id: &str, password: &str) -> anyhow::Result<Self> {
        let mut last = None;
        for _ in 0..50 {
            let mut line = Self::dial(port).await?;
            line.say(&connect(id, Some((id, password)), None)).await;
            last = line.hear().await;
            if last == Some((0x20, vec![0, 0])) {
                return Ok(line);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::bail!("{id} was not let in: {last:?}")
    }

    /// Sends bytes. That the other side has hung up already is no fault here: see [`Self::hear`].
    pub async fn say(&mut self, bytes: &[u8]) {
        // A broker that refuses may hang up in the middle of it.
        self.line.write_all(bytes).await.ok();
    }

    /// Says that nothing more will be said.
    pub async fn hang_up_writing(&mut self) {
        self.line.shutdown().await.ok();
    }

    /// The next packet, first byte and body; `None` when the other side hangs up.
    ///
    /// # Panics
    /// When it does neither in time.
    pub async fn hear(&mut self) -> Option<(u8, Vec<u8>)> {
        let heard = timeout(PATIENCE, self.read()).await;
        heard.unwrap_or_else(|_| panic!("the broker neither answers nor hangs up within {PATIENCE:?}")).ok()
    }

    async fn read(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let first = self.line.read_u8().await?;
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let digit = self.line.read_u8().await?;
            length |= usize::from(digit & 127) << shift;
            shift += 7;
            if digit < 128 || shift > 21 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.line.read_exact(&mut body).await?;
        Ok((first, body))
    }
}
