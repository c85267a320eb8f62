//! Floor 3: the doors that the network comes in by. Off this machine everything is TLS: HTTP here, MQTT in [`mqtt`].
//!
//! Whoever comes may show a certificate; it must be of the hub's own authority, or the door stays shut. Whether it is one
//! that still counts, and whose, the rows say: [`crate::store::certificates::enter`].

pub mod body;
pub mod caller;
pub mod mqtt;
pub mod names;
pub mod problem;
pub mod routes;
pub mod tls;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use crate::store::certificates::Came;
use tls::{Gate, Tls};

/// After a connection that could not be taken, before the next.
const BREATH: Duration = Duration::from_millis(200);

/// Who is calling: an address, and how they came.
#[derive(Debug, Clone)]
pub struct Peer {
    /// From where.
    pub address: SocketAddr,
    /// How.
    pub came: Came,
}

impl Connected<IncomingStream<'_, Http>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Http>) -> Self {
        stream.remote_addr().clone()
    }
}

/// A connection of either kind.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The door of console and API.
pub enum Http {
    /// Without TLS: on this machine, or behind a proxy that speaks it.
    Plain(TcpListener),
    /// By TLS.
    Tls(Gate),
}

impl Http {
    /// The door on a port that was taken.
    ///
    /// # Errors
    /// What the system says of the port.
    pub fn new(listener: TcpListener, tls: Option<Tls>) -> io::Result<Self> {
        Ok(match tls {
            Some(tls) => Self::Tls(Gate::new(listener, tls, Some(NOT_PLAIN))?),
            None => Self::Plain(listener),
        })
    }
}

/// What somebody hears who speaks plain HTTP here, which browsers do when nobody tells them otherwise.
const NOT_PLAIN: &[u8] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\
    这里只用加密的连接，请把地址开头改成 https://\nThis hub speaks TLS alone: begin the address with https://\n"
    .as_bytes();

impl Listener for Http {
    type Io = Box<dyn Io>;
    type Addr = Peer;

    async fn accept(&mut self) -> (Self::Io, Peer) {
        match self {
            Self::Plain(listener) => loop {
                // The system's, not axum's, which gives no address of ours.
                match TcpListener::accept(listener).await {
                    Ok((stream, address)) => return (Box::new(stream), Peer { address, came: Came::Plain }),
                    Err(e) => {
                        tracing::debug!("a connection could not be taken: {e}");
                        tokio::time::sleep(BREATH).await;
                    }
                }
            },
            Self::Tls(gate) => {
                let (stream, peer) = gate.next().await;
                (Box::new(stream), peer)
            }
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        let address = match self {
            Self::Plain(listener) => TcpListener::local_addr(listener)?,
            Self::Tls(gate) => gate.address(),
        };
        Ok(Peer { address, came: Came::Plain })
    }
}
