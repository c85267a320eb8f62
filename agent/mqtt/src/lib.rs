//! One connection to an MQTT 3.1.1 broker, whatever the broker is like.
//!
//! The packets are rumqttc's (its codec); the connection is ours. rumqttc's own event loop ends a connection at
//! the first acknowledgement that comes a second time, forgets what was under way when it makes the next one, and
//! holds everything back when acknowledgements come out of order. Here a connection is only a connection: it numbers
//! what it sends, tells what it hears and answers for nothing else. Who uses it keeps what is not acknowledged.
//!
//! - Packet ids go round over all 65535, so that an acknowledgement that comes late, or twice, never speaks for
//!   another message.
//! - A message that was heard is acknowledged by [`Line::acknowledge`] and not before: delivered means stored.
//! - A line is dead when nothing at all was heard since a ping that is one keep-alive old. A broker that answers no
//!   ping but acknowledges is alive.

use std::io;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use lectern_base::clock;
use rumqttc::{Codec, Connect, Packet, PubAck, QoS, Subscribe, SubscribeFilter, mqttbytes};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
pub use tokio_native_tls::native_tls::TlsConnector;
use tokio_util::codec::Framed;
use url::Url;

/// Ports where an address names none.
const PORTS: [(&str, u16); 2] = [("mqtt", 1883), ("mqtts", 8883)];
/// A connection that is not made, or not answered, in this time is not made.
const CONNECT: Duration = Duration::from_secs(10);
/// A packet that could not be handed to the system in this time never will be.
const WRITE: Duration = Duration::from_secs(60);
/// Largest packet, both ways, bytes.
const MAX_PACKET: usize = 256 * 1024;

/// Whom to call, and as whom.
#[derive(Clone)]
pub struct Options {
    /// `mqtt://host[:port]`, or `mqtts://` for TLS.
    pub url: Url,
    /// How TLS is spoken there; absent: by the system's certificates.
    pub tls: Option<TlsConnector>,
    /// Client id.
    pub id: String,
    /// User and password; absent where the broker asks for none.
    pub login: Option<(String, String)>,
    /// Topic and payload of the last will: retained, QoS 1.
    pub will: Option<(String, Vec<u8>)>,
    /// Whether the broker is to forget this client between two connections.
    pub clean: bool,
    /// Longest silence before the line is looked after.
    pub keep_alive: Duration,
}

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The address has no host.
    #[error("the broker's address has no host")]
    NoHost,
    /// The network.
    #[error("{0}")]
    Network(#[from] io::Error),
    /// TLS.
    #[error("TLS: {0}")]
    Tls(#[from] tokio_native_tls::native_tls::Error),
    /// Nobody answers.
    #[error("the broker did not answer in {} s", CONNECT.as_secs())]
    NoAnswer,
    /// The broker does not let this client in.
    #[error("the broker refused: {0}")]
    Refused(String),
    /// What came is no MQTT, or not what belongs here.
    #[error("the broker said what cannot be understood: {0}")]
    Garbage(String),
    /// The broker hung up.
    #[error("the broker closed the connection")]
    Closed,
    /// Nothing was heard for long.
    #[error("the broker has been silent for too long")]
    Silent,
    /// A packet could not be sent for long.
    #[error("nothing could be sent for {} s", WRITE.as_secs())]
    Stuck,
    /// A message is larger than any broker is asked to take.
    #[error("a message of {0} bytes is too large")]
    TooLarge(usize),
}

impl From<mqttbytes::Error> for LineError {
    fn from(e: mqttbytes::Error) -> Self {
        match e {
            mqttbytes::Error::Io(e) => Self::Network(e),
            mqttbytes::Error::OutgoingPacketTooLarge { pkt_size, .. } => Self::TooLarge(pkt_size),
            e => Self::Garbage(e.to_string()),
        }
    }
}

/// What came from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It has the message of this packet id. May come late, twice, and in any order.
    Acknowledged(u16),
    /// A message for us; to be acknowledged by its id, unless that is 0.
    Message {
        /// What it is about.
        topic: String,
        /// What it says.
        payload: Vec<u8>,
        /// Whether it had been kept for whoever comes.
        retained: bool,
        /// For [`Line::acknowledge`]; 0 when nobody waits for that.
        id: u16,
    },
    /// The answer to [`Line::subscribe`]: whether every filter was granted.
    Subscribed(bool),
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection that stands.
pub struct Line {
    packets: Framed<Box<dyn Io>, Codec>,
    keep_alive: Duration,
    /// Packet id of the message sent last.
    id: u16,
    /// When anything was heard last, when anything was said last, when the last ping went out; monotonic.
    heard: Duration,
    wrote: Duration,
    pinged: Duration,
    /// The broker remembered this client.
    pub remembered: bool,
}

impl Line {
    /// Connects and logs in.
    ///
    /// # Errors
    /// [`LineError`].
    pub async fn connect(options: &Options) -> Result<Self, LineError> {
        tokio::time::timeout(CONNECT, Self::call(options)).await.map_err(|_| LineError::NoAnswer)?
    }

    async fn call(options: &Options) -> Result<Self, LineError> {
        let host = options.url.host_str().ok_or(LineError::NoHost)?;
        let usual = PORTS.iter().find(|(scheme, _)| *scheme == options.url.scheme());
        let (scheme, usual) = usual.copied().unwrap_or(PORTS[0]);
        // An IPv6 address stands in brackets in a URL, and nowhere else.
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let socket = TcpStream::connect((bare, options.url.port().unwrap_or(usual))).await?;
        socket.set_nodelay(true)?;
        let socket: Box<dyn Io> = if scheme == "mqtts" {
            let tls = options.tls.clone().map_or_else(TlsConnector::new, Ok)?;
            Box::new(tokio_native_tls::TlsConnector::from(tls).connect(bare, socket).await?)
        } else {
            Box::new(socket)
        };
        let codec = Codec { max_incoming_size: MAX_PACKET, max_outgoing_size: MAX_PACKET };
        let now = clock::mono();
        let mut line = Self {
            packets: Framed::new(socket, codec),
            keep_alive: options.keep_alive,
            id: 0,
            heard: now,
            wrote: now,
            pinged: Duration::ZERO,
            remembered: false,
        };
        let mut hello = Connect::new(options.id.as_str());
        hello.keep_alive = u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX);
        hello.clean_session = options.clean;
        if let Some((user, password)) = &options.login {
            hello.set_login(user.as_str(), password.as_str());
        }
        hello.last_will = options.will.as_ref().map(|(topic, payload)| {
            rumqttc::LastWill::new(topic.as_str(), payload.clone(), QoS::AtLeastOnce, true)
        });
        line.packets.send(Packet::Connect(hello)).await?;
        match line.packets.next().await.ok_or(LineError::Closed)?? {
            Packet::ConnAck(answer) if answer.code == rumqttc::ConnectReturnCode::Success => {
                line.remembered = answer.session_present;
                line.heard = clock::mono();
                Ok(line)
            }
            Packet::ConnAck(answer) => Err(LineError::Refused(format!("{:?}", answer.code))),
            other => Err(LineError::Garbage(format!("{other:?} instead of CONNACK"))),
        }
    }

    /// The next thing heard; keeps the connection alive meanwhile. May be dropped while waiting.
    ///
    /// # Errors
    /// [`LineError`], after which the connection is over.
    pub async fn next(&mut self) -> Result<Heard, LineError> {
        loop {
            let due = self.due();
            let packet = tokio::select! {
                packet = self.packets.next() => packet.ok_or(LineError::Closed)??,
                () = tokio::time::sleep(due.saturating_sub(clock::mono())) => {
                    if self.is_asked() {
                        return Err(LineError::Silent);
                    }
                    self.ping().await?;
                    continue;
                }
            };
            self.heard = clock::mono();
            return Ok(match packet {
                Packet::PubAck(ack) => Heard::Acknowledged(ack.pkid),
                Packet::Publish(message) => Heard::Message {
                    topic: message.topic,
                    payload: message.payload.into(),
                    retained: message.retain,
                    id: message.pkid,
                },
                Packet::SubAck(answer) => {
                    let granted = |code: &rumqttc::SubscribeReasonCode| {
                        matches!(code, rumqttc::SubscribeReasonCode::Success(_))
                    };
                    Heard::Subscribed(answer.return_codes.iter().all(granted))
                }
                Packet::PingResp | Packet::UnsubAck(_) => continue,
                other => return Err(LineError::Garbage(format!("{other:?}, which only a client says"))),
            });
        }
    }

    /// Pings before it must be, if a ping will be due before long: for whoever is awake anyway.
    ///
    /// # Errors
    /// [`LineError`].
    pub async fn ping_early(&mut self) -> Result<(), LineError> {
        if self.is_asked() || self.due().saturating_sub(clock::mono()) > self.keep_alive / 2 {
            return Ok(());
        }
        self.ping().await
    }

    async fn ping(&mut self) -> Result<(), LineError> {
        self.pinged = clock::mono();
        self.write(Packet::PingReq).await?;
        self.flush().await
    }

    /// Whether nothing was heard since the last ping.
    fn is_asked(&self) -> bool {
        self.heard < self.pinged
    }

    /// When the line is to be looked after: the broker wants to hear us now and then, and we it.
    fn due(&self) -> Duration {
        let since = if self.is_asked() { self.pinged } else { self.heard.min(self.wrote) };
        since + self.keep_alive
    }

    /// Queues a message, QoS 1, and gives its packet id; [`Line::flush`] sends it.
    ///
    /// # Errors
    /// [`LineError`].
    pub async fn publish(&mut self, topic: String, retain: bool, payload: Vec<u8>) -> Result<u16, LineError> {
        self.id = self.id.checked_add(1).unwrap_or(1);
        let mut message = rumqttc::Publish::new(topic, QoS::AtLeastOnce, payload);
        (message.retain, message.pkid) = (retain, self.id);
        self.write(Packet::Publish(message)).await?;
        Ok(self.id)
    }

    /// Asks for what is sent to these filters, QoS 1.
    ///
    /// # Errors
    /// [`LineError`].
    pub async fn subscribe(&mut self, filters: impl IntoIterator<Item = String>) -> Result<(), LineError> {
        self.id = self.id.checked_add(1).unwrap_or(1);
        let wishes = filters.into_iter().map(|path| SubscribeFilter::new(path, QoS::AtLeastOnce));
        let mut wish = Subscribe::new_many(wishes);
        wish.pkid = self.id;
        self.write(Packet::Subscribe(wish)).await?;
        self.flush().await
    }

    /// Says that a message is stored: the broker may forget it.
    ///
    /// # Errors
    /// [`LineError`].
    pub async fn acknowledge(&mut self, id: u16) -> Result<(), LineError> {
        self.write(Packet::PubAck(PubAck::new(id))).await
    }

    /// Sends what is queued.
    ///
    /// # Errors
    /// [`LineError`].
    pub async fn flush(&mut self) -> Result<(), LineError> {
        tokio::time::timeout(WRITE, self.packets.flush()).await.map_err(|_| LineError::Stuck)??;
        Ok(())
    }

    /// Says goodbye: no last will is told.
    ///
    /// # Errors
    /// [`LineError`].
    pub async fn disconnect(mut self) -> Result<(), LineError> {
        self.write(Packet::Disconnect).await?;
        self.flush().await
    }

    async fn write(&mut self, packet: Packet) -> Result<(), LineError> {
        self.wrote = clock::mono();
        tokio::time::timeout(WRITE, self.packets.feed(packet)).await.map_err(|_| LineError::Stuck)??;
        Ok(())
    }
}
