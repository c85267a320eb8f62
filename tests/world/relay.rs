//! Stands between an agent and its hub, or before a store, and does what lines, proxies and busy servers do.
//!
//! It passes bytes, not requests, so that what it breaks is broken at any byte. A [`Fault`] holds for every new
//! connection and every request that begins while it is set.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

/// What it does to the next connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Passes everything.
    None,
    /// Closes the connection when so many bytes have come from the agent.
    CutAfter(u64),
    /// Closes the connection when so many bytes of answers have come from the hub.
    HalfAnswer(u64),
    /// Answers everything itself with this status, and nothing reaches the hub.
    Status(u16),
    /// Answers with what is no HTTP.
    Garbage,
    /// Answers 200 with a body that is not what belongs there, as a login page of a network would.
    LoginPage,
    /// Takes connections and says nothing.
    Silent,
    /// Changes one bit of what the agent sends, after so many bytes.
    FlipAfter(u64),
    /// Leads to another server of this machine: to somebody who is not the hub.
    Elsewhere(u16),
}

/// The relay; ends with whoever holds it.
#[derive(Debug)]
pub struct Relay {
    /// Where it listens.
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    fault: Mutex<Fault>,
    end: AtomicBool,
    /// Connections that a fault was done to.
    done: AtomicU32,
    /// The first bytes of every connection.
    heads: Mutex<Vec<u8>>,
}

impl Relay {
    /// Listens on a free port for a hub on this machine.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(hub: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port for the relay")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            to: ([127, 0, 0, 1], hub).into(),
            fault: Mutex::new(Fault::None),
            end: AtomicBool::default(),
            done: AtomicU32::default(),
            heads: Mutex::default(),
        });
        let all = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if all.end.load(Ordering::Relaxed) {
                    return;
                }
                let one = all.clone();
                std::thread::spawn(move || one.pass(client));
            }
        });
        Ok(Self { port, shared })
    }

    /// From now on.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// How often a fault was done.
    #[must_use]
    pub fn done(&self) -> u32 {
        self.shared.done.load(Ordering::Relaxed)
    }
}

impl Relay {
    /// What connections began with, as text.
    #[must_use]
    pub fn heads(&self) -> String {
        let heads = self.shared.heads.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&heads).into_owned()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        // Wakes the one that waits for connections.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

impl Shared {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn did(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// One connection, until one side ends it.
    fn pass(self: Arc<Self>, client: TcpStream) {
        let to = match self.fault() {
            Fault::Elsewhere(port) => {
                self.did();
                ([127, 0, 0, 1], port).into()
            }
            _ => self.to,
        };
        let Ok(hub) = TcpStream::connect(to) else { return };
        let (Ok(client_in), Ok(hub_in)) = (client.try_clone(), hub.try_clone()) else { return };
        let back = self.clone();
        let (up_client, up_hub) = (client_in, hub);
        let up = std::thread::spawn(move || self.up(up_client, up_hub));
        back.down(hub_in, client);
        up.join().ok();
    }

    /// What the agent sends.
    fn up(&self, mut from: TcpStream, mut to: TcpStream) {
        let (mut buffer, mut sent) = (vec![0; 64 * 1024], 0_u64);
        let begun = self.fault();
        // A connection that stands still must feel a fault that was set meanwhile at its next byte, not before.
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            if sent == 0 {
                let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
                if heads.len() < 1 << 20 {
                    heads.extend_from_slice(&buffer[..n.min(2000)]);
                }
            }
            let fault = self.fault();
            let own = match fault {
                Fault::Status(status) => Some(answer(status, b"{}")),
                Fault::Garbage => Some(b"\x16\x03\x01 this is no HTTP\r\n\r\n\0\0".to_vec()),
                Fault::LoginPage => Some(answer(200, "<html>请登录校园网</html>".as_bytes())),
                _ => None,
            };
            if let Some(own) = own {
                self.did();
                from.write_all(&own).ok();
                // What is still on its way is read, so that the answer is not lost with a reset.
                from.shutdown(Shutdown::Write).ok();
                from.set_read_timeout(Some(Duration::from_millis(300))).ok();
                while from.read(&mut buffer).is_ok_and(|n| n > 0) {}
                break;
            }
            match fault {
                Fault::Silent => {
                    self.did();
                    while self.fault() == Fault::Silent && !self.end.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    break;
                }
                Fault::CutAfter(most) if sent + n as u64 > most => {
                    self.did();
                    let left = usize::try_from(most.saturating_sub(sent)).unwrap_or(0);
                    to.write_all(&buffer[..left.min(n)]).ok();
                    break;
                }
                // What leads there was made anew; no connection changes its end.
                Fault::Elsewhere(_) if fault != begun => {
                    self.did();
                    break;
                }
                Fault::FlipAfter(at) if (sent..sent + n as u64).contains(&at) => {
                    self.did();
                    buffer[usize::try_from(at - sent).unwrap_or(0)] ^= 1;
                }
                _ => {}
            }
            sent += n as u64;
            if to.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        to.shutdown(Shutdown::Both).ok();
        from.shutdown(Shutdown::Both).ok();
    }

    /// What the hub answers.
    fn down(&self, mut from: TcpStream, mut to: TcpStream) {
        let (mut buffer, mut sent) = (vec![0; 64 * 1024], 0_u64);
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            if let Fault::HalfAnswer(most) = self.fault()
                && sent + n as u64 > most
            {
                self.did();
                let left = usize::try_from(most.saturating_sub(sent)).unwrap_or(0);
                to.write_all(&buffer[..left.min(n)]).ok();
                break;
            }
            sent += n as u64;
            if to.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        to.shutdown(Shutdown::Both).ok();
        from.shutdown(Shutdown::Both).ok();
    }
}

fn answer(status: u16, body: &[u8]) -> Vec<u8> {
    let later = if status == 429 { "retry-after: 1\r\n" } else { "" };
    let mut text =
        format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n{later}connection: close\r\n\r\n", body.len())
            .into_bytes();
    text.extend_from_slice(body);
    text
}
