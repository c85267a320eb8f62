//! A broker that misbehaves: a small MQTT 3.1.1 server that does what real ones do on a bad day, and says what it heard.
//!
//! It lets everybody in and keeps nothing for whoever comes (no retained messages); sessions it keeps, unless it is told
//! to lose them. What it does wrong is set by [`Manners`] and holds from then on.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

use crate::raw_mqtt::packet;

/// How it acknowledges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Acks {
    /// As it should.
    #[default]
    InTime,
    /// So much later.
    Late(Duration),
    /// Twice at once, and once more after a while.
    Twice,
    /// Four at a time, the last first.
    Backwards,
}

/// What it does wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manners {
    /// How it acknowledges.
    pub acks: Acks,
    /// It hangs up on so many connections right after letting them in.
    pub kicks: u32,
    /// It answers no ping.
    pub no_pings: bool,
    /// It hangs up on packets larger than this, bytes; 0: never.
    pub most: usize,
    /// It loses a session, and what waits in it, with the connection.
    pub forgets: bool,
    /// It delivers everything twice.
    pub twice: bool,
}

/// A message it was given.
#[derive(Debug, Clone)]
pub struct Said {
    /// By whom.
    pub client: String,
    /// About what.
    pub topic: String,
    /// The bytes.
    pub payload: Vec<u8>,
}

/// The broker; ends with whoever holds it.
#[derive(Debug)]
pub struct BadBroker {
    /// Where it listens.
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    end: AtomicBool,
    /// Connections, so that each has a number.
    calls: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    manners: Manners,
    clients: HashMap<String, Client>,
    said: Vec<Said>,
    /// How often it did each thing wrong.
    kicked: u32,
    refused: u32,
    forgot: u32,
}

#[derive(Debug, Default)]
struct Client {
    filters: Vec<String>,
    /// Number and socket of the connection that stands.
    line: Option<(u64, TcpStream)>,
    waiting: VecDeque<(String, Vec<u8>)>,
    unanswered: BTreeMap<u16, (String, Vec<u8>)>,
    id: u16,
    /// Acknowledgements it holds back.
    held: Vec<u16>,
}

impl BadBroker {
    /// Listens on a free port, with good manners.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port for the broker")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::default());
        let all = Arc::clone(&shared);
        std::thread::spawn(move || {
            for line in listener.incoming().flatten() {
                if all.end.load(Ordering::Relaxed) {
                    return;
                }
                let one = Arc::clone(&all);
                std::thread::spawn(move || one.serve(line));
            }
        });
        Ok(Self { port, shared })
    }

    /// From now on.
    pub fn set(&self, manners: Manners) {
        self.shared.lock().manners = manners;
    }

    /// Hangs up on everybody.
    pub fn hang_up(&self) {
        let state = self.shared.lock();
        for (_, line) in state.clients.values().filter_map(|client| client.line.as_ref()) {
            line.shutdown(Shutdown::Both).ok();
        }
    }

    /// Everything it was given so far, in order.
    #[must_use]
    pub fn said(&self) -> Vec<Said> {
        self.shared.lock().said.clone()
    }

    /// Connections it hung up on right after letting them in.
    #[must_use]
    pub fn kicked(&self) -> u32 {
        self.shared.lock().kicked
    }

    /// Packets it found too large.
    #[must_use]
    pub fn refused(&self) -> u32 {
        self.shared.lock().refused
    }

    /// Sessions it lost.
    #[must_use]
    pub fn forgot(&self) -> u32 {
        self.shared.lock().forgot
    }
}

impl Drop for BadBroker {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        self.hang_up();
        // Wakes the one that waits for connections.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

/// A text with its length before it, taken off the front.
fn text<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?));
    let text = rest.get(2..2 + length)?;
    *rest = &rest[2 + length..];
    Some(text)
}

/// The two bytes at the front, taken off.
fn number(rest: &mut &[u8]) -> Option<u16> {
    let number = u16::from_be_bytes(rest.get(..2)?.try_into().ok()?);
    *rest = &rest[2..];
    Some(number)
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether a topic is one that a filter asks for.
fn fits(filter: &str, topic: &str) -> bool {
    let (mut wanted, mut levels) = (filter.split('/'), topic.split('/'));
    loop {
        match (wanted.next(), levels.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

fn message(topic: &str, payload: &[u8], id: u16, again: bool) -> Vec<u8> {
    let length = u16::try_from(topic.len()).unwrap_or(0).to_be_bytes();
    let body = [&length[..], topic.as_bytes(), &id.to_be_bytes(), payload].concat();
    packet(0x32 | if again { 8 } else { 0 }, &body)
}

/// A packet, first byte and body; `None` at the end, or when it is larger than `most`.
fn read(line: &mut TcpStream, most: impl Fn() -> usize) -> Option<Result<(u8, Vec<u8>), ()>> {
    let mut byte = [0];
    line.read_exact(&mut byte).ok()?;
    let first = byte[0];
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        line.read_exact(&mut byte).ok()?;
        length |= usize::from(byte[0] & 127) << shift;
        shift += 7;
        if byte[0] < 128 || shift > 21 {
            break;
        }
    }
    let most = most();
    if most > 0 && length > most {
        return Some(Err(()));
    }
    let mut body = vec![0; length];
    line.read_exact(&mut body).ok()?;
    Some(Ok((first, body)))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One connection, to its end.
    fn serve(self: Arc<Self>, mut line: TcpStream) {
        let Some(Ok((0x10, hello))) = read(&mut line, || 0) else { return };
        let mut rest = &hello[..];
        let (Some(_), Some(flags)) = (text(&mut rest), rest.get(1).copied()) else { return };
        rest = rest.get(4..).unwrap_or_default();
        let Some(id) = text(&mut rest).map(string) else { return };
        let mut will =
            (flags & 4 != 0).then(|| Some((string(text(&mut rest)?), text(&mut rest)?.to_vec()))).flatten();
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if !self.let_in(&id, call, flags & 2 != 0, &mut line) {
            return;
        }
        let most = || self.lock().manners.most;
        loop {
            match read(&mut line, most) {
                Some(Ok((0xe0, _))) => {
                    will = None;
                    break;
                }
                Some(Ok((first, body))) => {
                    if self.hear(&id, call, first, &body).is_none() {
                        break;
                    }
                }
                Some(Err(())) => {
                    self.lock().refused += 1;
                    break;
                }
                None => break,
            }
        }
        line.shutdown(Shutdown::Both).ok();
        let mut state = self.lock();
        let own = |client: &mut Client| client.line.as_ref().is_some_and(|(number, _)| *number == call);
        if state.clients.get_mut(&id).is_some_and(own) {
            if state.manners.forgets {
                state.clients.remove(&id);
                state.forgot += 1;
            } else if let Some(client) = state.clients.get_mut(&id) {
                client.line = None;
            }
        }
        if let Some((topic, payload)) = will {
            state.route(&topic, &payload);
        }
    }

    /// Lets a client in; false when it is hung up on at once.
    fn let_in(&self, id: &str, call: u64, clean: bool, line: &mut TcpStream) -> bool {
        let mut state = self.lock();
        if clean {
            state.clients.remove(id);
        }
        let known = state.clients.contains_key(id);
        if line.write_all(&packet(0x20, &[u8::from(known), 0])).is_err() {
            return false;
        }
        if state.manners.kicks > 0 {
            state.manners.kicks -= 1;
            state.kicked += 1;
            line.shutdown(Shutdown::Both).ok();
            return false;
        }
        let Ok(out) = line.try_clone() else { return false };
        let client = state.clients.entry(id.to_owned()).or_default();
        if let Some((_, old)) = client.line.replace((call, out)) {
            old.shutdown(Shutdown::Both).ok();
        }
        let again: Vec<_> = client.unanswered.iter().map(|(id, (t, p))| message(t, p, *id, true)).collect();
        for bytes in again {
            client.say(&bytes);
        }
        while let Some((topic, payload)) = client.waiting.pop_front() {
            client.deliver(&topic, &payload, false);
        }
        true
    }

    /// Takes a packet; nothing when it is none.
    fn hear(self: &Arc<Self>, id: &str, call: u64, first: u8, body: &[u8]) -> Option<()> {
        let mut rest = body;
        match first & 0xf0 {
            0x30 => {
                let topic = string(text(&mut rest)?);
                let number = if first & 6 == 0 { 0 } else { number(&mut rest)? };
                let mut state = self.lock();
                state.said.push(Said { client: id.into(), topic: topic.clone(), payload: rest.to_vec() });
                state.route(&topic, rest);
                drop(state);
                if number > 0 {
                    self.acknowledge(id, call, number);
                }
            }
            0x40 => {
                let number = number(&mut rest)?;
                if let Some(client) = self.lock().clients.get_mut(id) {
                    client.unanswered.remove(&number);
                }
            }
            0x80 => {
                let number = number(&mut rest)?;
                let mut answer = number.to_be_bytes().to_vec();
                let mut state = self.lock();
                let client = state.clients.get_mut(id)?;
                while let Some(filter) = text(&mut rest).map(string) {
                    rest = rest.get(1..)?;
                    answer.push(1);
                    if !client.filters.contains(&filter) {
                        client.filters.push(filter);
                    }
                }
                client.say(&packet(0x90, &answer));
            }
            0xc0 => {
                let mut state = self.lock();
                if !state.manners.no_pings {
                    state.clients.get_mut(id)?.say(&packet(0xd0, &[]));
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn acknowledge(self: &Arc<Self>, id: &str, call: u64, number: u16) {
        let acks = self.lock().manners.acks;
        let later = |wait: Duration, what: fn(&mut Client, u16)| {
            let (all, id) = (Arc::clone(self), id.to_owned());
            std::thread::spawn(move || {
                std::thread::sleep(wait);
                if let Some(client) = all.lock().clients.get_mut(&id)
                    && client.line.as_ref().is_some_and(|(line, _)| *line == call)
                {
                    what(client, number);
                }
            });
        };
        match acks {
            Acks::Late(wait) => later(wait, Client::acknowledge),
            _ => {
                let mut state = self.lock();
                let Some(client) = state.clients.get_mut(id) else { return };
                match acks {
                    Acks::Backwards => {
                        client.held.push(number);
                        if client.held.len() >= 4 {
                            client.let_go();
                        } else {
                            later(Duration::from_millis(200), |client, _| client.let_go());
                        }
                    }
                    Acks::Twice => {
                        client.acknowledge(number);
                        client.acknowledge(number);
                        later(Duration::from_millis(300), Client::acknowledge);
                    }
                    _ => client.acknowledge(number),
                }
            }
        }
    }
}

impl State {
    /// Hands a message to everybody who asked for it.
    fn route(&mut self, topic: &str, payload: &[u8]) {
        let twice = self.manners.twice;
        for client in self.clients.values_mut() {
            if client.filters.iter().any(|filter| fits(filter, topic)) {
                client.deliver(topic, payload, twice);
            }
        }
    }
}

impl Client {
    fn say(&mut self, bytes: &[u8]) {
        if let Some((_, line)) = &mut self.line
            && line.write_all(bytes).is_err()
        {
            line.shutdown(Shutdown::Both).ok();
        }
    }

    fn deliver(&mut self, topic: &str, payload: &[u8], twice: bool) {
        if self.line.is_none() {
            self.waiting.push_back((topic.to_owned(), payload.to_vec()));
            return;
        }
        self.id = self.id.checked_add(1).unwrap_or(1);
        self.unanswered.insert(self.id, (topic.to_owned(), payload.to_vec()));
        self.say(&message(topic, payload, self.id, false));
        if twice {
            self.say(&message(topic, payload, self.id, true));
        }
    }

    fn acknowledge(&mut self, number: u16) {
        self.say(&packet(0x40, &number.to_be_bytes()));
    }

    fn let_go(&mut self) {
        while let Some(number) = self.held.pop() {
            self.acknowledge(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_ask_for_what_mqtt_says_they_do() {
        for (filter, topic, fit) in [
            ("a/+/c", "a/b/c", true),
            ("a/#", "a/b/c", true),
            ("#", "a", true),
            ("a/+", "a/b/c", false),
            ("a/b", "a", false),
            ("a", "a/b", false),
        ] {
            assert_eq!(fits(filter, topic), fit, "{filter} and {topic}");
        }
    }
}
