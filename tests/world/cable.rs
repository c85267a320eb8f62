//! The cable between a room and its hub, that can be pulled out and put back: every connection through it ends at once,
//! and none comes about while it is out.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;

/// One port of the hub, as the room reaches it; ends with whoever holds it.
#[derive(Debug)]
pub struct Cable {
    /// Where the room connects to.
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    to: u16,
    out: AtomicBool,
    end: AtomicBool,
    /// Both ends of every connection there is or was.
    ends: Mutex<Vec<TcpStream>>,
}

impl Cable {
    /// Listens on a free port for a hub on this machine.
    ///
    /// # Errors
    /// When no port is free.
    pub fn to(hub: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port for the cable")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            to: hub,
            out: AtomicBool::default(),
            end: AtomicBool::default(),
            ends: Mutex::default(),
        });
        let all = shared.clone();
        std::thread::spawn(move || {
            for room in listener.incoming().flatten() {
                if all.end.load(Ordering::Relaxed) {
                    return;
                }
                // One that cannot be made is closed, as by a hub that is away.
                all.join(room).ok();
            }
        });
        Ok(Self { port, shared })
    }

    /// Pulls it out.
    pub fn pull(&self) {
        self.shared.out.store(true, Ordering::Relaxed);
        self.shared.cut();
    }

    /// Puts it back.
    pub fn put_back(&self) {
        self.shared.out.store(false, Ordering::Relaxed);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        self.shared.cut();
        // Wakes the one that waits for connections.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

impl Shared {
    fn cut(&self) {
        for end in self.ends.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // One side may have ended it already.
            end.shutdown(Shutdown::Both).ok();
        }
    }

    fn join(&self, room: TcpStream) -> std::io::Result<()> {
        if self.out.load(Ordering::Relaxed) {
            return room.shutdown(Shutdown::Both);
        }
        let hub = TcpStream::connect(("127.0.0.1", self.to))?;
        for end in [&room, &hub] {
            self.ends.lock().unwrap_or_else(PoisonError::into_inner).push(end.try_clone()?);
        }
        for (from, to) in [(room.try_clone()?, hub.try_clone()?), (hub, room)] {
            std::thread::spawn(move || pass(from, to));
        }
        Ok(())
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    for end in [from, to] {
        end.shutdown(Shutdown::Both).ok();
    }
}
