//! A relay between an MQTT client and its broker that counts what the client publishes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use lectern_base::clock;

/// What went by.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Bytes of PUBLISH packets, whole.
    pub bytes: u64,
    /// PUBLISH packets.
    pub messages: u64,
    /// PUBLISH packets whose topic ends with `m/sys`: samples of ours.
    pub samples: u64,
    /// PUBLISH packets of each topic.
    pub topics: BTreeMap<String, u64>,
    /// Values of our own samples.
    pub values: u64,
    /// Names of values, with their group.
    pub names: BTreeSet<String>,
    /// Whole packets of our samples, by group: how many bytes in all, how many packets, and the largest.
    pub groups: BTreeMap<String, (u64, u64, u64)>,
    /// When the first came, monotonic.
    pub first: Option<Duration>,
}

/// The relay; it ends with the process.
pub struct Relay {
    /// Where clients connect.
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
}

impl Relay {
    /// Stands before a broker on the loopback address.
    ///
    /// # Errors
    /// When no port is free.
    pub fn before(broker: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port for a relay")?;
        let port = listener.local_addr()?.port();
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let counter = seen.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", broker)) else { continue };
                let (Ok(from), Ok(to)) = (server.try_clone(), client.try_clone()) else { continue };
                std::thread::spawn(move || pass(from, to, |_| {}));
                let counter = counter.clone();
                let mut held = Vec::new();
                std::thread::spawn(move || {
                    pass(client, server, |bytes| {
                        held.extend_from_slice(bytes);
                        count(&mut held, &mut counter.lock().unwrap_or_else(PoisonError::into_inner));
                    });
                });
            }
        });
        Ok(Self { port, seen })
    }

    /// What has gone by so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut look: impl FnMut(&[u8])) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        look(&buffer[..n]);
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    // The other direction may have ended first.
    to.shutdown(Shutdown::Both).unwrap_or_default();
}

/// Takes whole packets off the front: type and flags, length in sevens of bits, the rest.
fn count(held: &mut Vec<u8>, seen: &mut Seen) {
    loop {
        let (mut length, mut at) = (0_usize, 1);
        loop {
            let Some(byte) = held.get(at) else { return };
            length |= usize::from(byte & 127) << (7 * (at - 1));
            at += 1;
            if byte & 128 == 0 || at > 4 {
                break;
            }
        }
        if held.len() < at + length {
            return;
        }
        let packet: Vec<u8> = held.drain(..at + length).collect();
        if packet[0] >> 4 == 3 {
            seen.bytes += packet.len() as u64;
            seen.messages += 1;
            seen.first.get_or_insert_with(clock::mono);
            note(&packet[at..], packet.len() as u64, packet[0] & 6 != 0, seen);
        }
    }
}

/// The topic, and names of values of our own samples.
fn note(body: &[u8], bytes: u64, acknowledged: bool, seen: &mut Seen) -> Option<()> {
    let length = usize::from(*body.first()?) << 8 | usize::from(*body.get(1)?);
    let topic = String::from_utf8_lossy(body.get(2..2 + length)?).into_owned();
    *seen.topics.entry(topic.clone()).or_default() += 1;
    let payload = body.get(2 + length + if acknowledged { 2 } else { 0 }..)?;
    let group = topic.split_once("/m/")?.1.to_owned();
    seen.samples += u64::from(group == "sys");
    let (all, packets, largest) = seen.groups.entry(group.clone()).or_default();
    (*all, *packets, *largest) = (*all + bytes, *packets + 1, bytes.max(*largest));
    let sample: serde_json::Value = serde_json::from_slice(payload).ok()?;
    let values = sample["values"].as_object()?;
    seen.values += values.len() as u64;
    seen.names.extend(values.keys().map(|name| format!("{group}.{name}")));
    Some(())
}
