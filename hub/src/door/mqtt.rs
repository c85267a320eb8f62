//! MQTT by TLS, in front of the broker inside the hub.
//!
//! ```text
//! room ══ TLS ══▶ gate ── 127.0.0.1, a port of its own ──▶ broker
//! ```
//!
//! The broker's library speaks TLS too, but would bring a second TLS library, and reads its certificate once. So hands are
//! shaken here, and bytes passed on to a port that only this machine can reach. Which connection there is whose is known by
//! its own port: [`Callers`]. A connection that did not come through the gate is let in by nobody.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_openssl::SslStream;
use tokio_util::sync::CancellationToken;

use super::Peer;
use super::tls::Gate;

/// Who is behind each connection that was passed on, by the address it has at the broker. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Callers(Arc<Mutex<HashMap<SocketAddr, Peer>>>);

impl Callers {
    /// Who is behind a connection.
    #[must_use]
    pub fn behind(&self, address: SocketAddr) -> Option<Peer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&address).cloned()
    }

    fn note(&self, address: SocketAddr, peer: Peer) -> Noted {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(address, peer);
        Noted { callers: self.clone(), address }
    }
}

/// Forgotten with its connection.
struct Noted {
    callers: Callers,
    address: SocketAddr,
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.callers.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.address);
    }
}

/// Passes on who comes through the gate, until told to stop.
pub async fn run(mut gate: Gate, broker: SocketAddr, callers: Callers, stop: CancellationToken) {
    let mut lines = JoinSet::new();
    loop {
        while lines.try_join_next().is_some() {}
        let (stream, peer) = tokio::select! {
            () = stop.cancelled() => return,
            next = gate.next() => next,
        };
        let callers = callers.clone();
        lines.spawn(async move {
            let from = peer.address;
            if let Err(e) = pass(stream, peer, broker, callers).await {
                tracing::debug!(%from, "an MQTT connection ended: {e}");
            }
        });
    }
}

/// After the room has hung up, for what the broker still says.
const LAST_WORDS: Duration = Duration::from_secs(5);

async fn pass(
    room: SslStream<TcpStream>,
    peer: Peer,
    broker: SocketAddr,
    callers: Callers,
) -> std::io::Result<()> {
    let inside = TcpStream::connect(broker).await?;
    inside.set_nodelay(true)?;
    // Before the first byte goes in.
    let _noted = callers.note(inside.local_addr()?, peer);
    let ((mut room_says, mut room_hears), (mut broker_says, mut broker_hears)) =
        (tokio::io::split(room), inside.into_split());
    let mut down = Box::pin(async move {
        let outcome = tokio::io::copy(&mut broker_says, &mut room_hears).await;
        room_hears.shutdown().await?;
        outcome
    });
    tokio::select! {
        // The broker ends a connection whose room has gone without a word; its line would not.
        outcome = &mut down => outcome.map(drop),
        outcome = tokio::io::copy(&mut room_says, &mut broker_hears) => {
            broker_hears.shutdown().await?;
            match tokio::time::timeout(LAST_WORDS, down).await {
                Ok(said) => outcome.and(said).map(drop),
                Err(_) => outcome.map(drop),
            }
        }
    }
}
