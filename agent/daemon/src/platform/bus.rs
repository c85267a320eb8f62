//! As much D-Bus as reading other services' numbers needs: call a method with texts, read the answer.
//!
//! A library for all of D-Bus keeps an executor and its buffers in memory all day for three questions in an hour.
//! This is a connection and what is asked over it; every wait ends. The wire format is that of the D-Bus specification 0.43;
//! `tests/sense.rs` and `tests/usage.rs` speak with services made with zbus.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::host::Host;

/// Where the system bus listens.
const SOCKET: &str = "run/dbus/system_bus_socket";
/// No single wait is longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// No answer is longer: what UDisks2 says of a machine with many disks is 200 KiB.
const MAX_MESSAGE: usize = 4 << 20;
/// No value is nested deeper; the specification allows 64.
const MAX_DEPTH: usize = 16;
/// Flag: do not start a service to ask it.
const NO_AUTO_START: u8 = 2;

/// What a service answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any number, and truth as 0 or 1.
    Number(f64),
    /// Text, object path or signature.
    Text(String),
    /// An array or a structure.
    List(Vec<Value>),
    /// A dictionary.
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// The number.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        if let Self::Number(n) = self { Some(*n) } else { None }
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// A dictionary's entries.
    #[must_use]
    pub fn entries(&self) -> &[(Value, Value)] {
        if let Self::Map(entries) = self { entries } else { &[] }
    }

    /// The value of a text key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries().iter().find(|(k, _)| k.text() == Some(key)).map(|(_, v)| v)
    }

    /// A list's values.
    #[must_use]
    pub fn items(&self) -> &[Value] {
        if let Self::List(items) = self { items } else { &[] }
    }
}

/// A connection to a bus.
#[derive(Debug)]
pub struct Bus {
    stream: UnixStream,
    /// Which, for sentences.
    name: String,
    serial: u32,
}

/// What is called.
#[derive(Debug, Clone, Copy)]
pub struct Method<'a> {
    /// The service's name.
    pub service: &'a str,
    /// The object.
    pub path: &'a str,
    /// The interface.
    pub interface: &'a str,
    /// The method.
    pub name: &'a str,
    /// Whether the service is started to be asked. What does not run mostly has nothing to say, and would stay in memory.
    pub start: bool,
}

impl Bus {
    /// Connects to the machine's system bus.
    ///
    /// # Errors
    /// A sentence.
    pub fn connect(host: &Host) -> Result<Self, String> {
        Self::at(&host.path(SOCKET), &format!("the system bus (/{SOCKET})"))
    }

    /// Connects to the bus of the session that this program was started in.
    ///
    /// # Errors
    /// A sentence.
    pub fn of_session() -> Result<Self, String> {
        let told = std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_default();
        let run = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let socket = session_socket(&told, run.as_deref()).ok_or_else(|| {
            format!("the session's bus: DBUS_SESSION_BUS_ADDRESS is {told:?} and names no socket")
        })?;
        Self::at(&socket, &format!("the session's bus ({})", socket.display()))
    }

    fn at(socket: &Path, name: &str) -> Result<Self, String> {
        let failed = |e: std::io::Error| format!("{name}: {e}");
        let stream = UnixStream::connect(socket).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        let mut bus = Self { stream, name: name.to_owned(), serial: 0 };
        let uid: String =
            rustix::process::getuid().as_raw().to_string().bytes().map(|b| format!("{b:02x}")).collect();
        bus.stream.write_all(format!("\0AUTH EXTERNAL {uid}\r\n").as_bytes()).map_err(failed)?;
        let mut said = Vec::new();
        while !said.ends_with(b"\r\n") && said.len() < 512 {
            let mut byte = [0];
            bus.stream.read_exact(&mut byte).map_err(failed)?;
            said.push(byte[0]);
        }
        if !said.starts_with(b"OK ") {
            return Err(format!("{name} lets us not in"));
        }
        bus.stream.write_all(b"BEGIN\r\n").map_err(failed)?;
        let own = "org.freedesktop.DBus";
        bus.call(
            &Method {
                service: own,
                path: "/org/freedesktop/DBus",
                interface: own,
                name: "Hello",
                start: false,
            },
            &[],
        )?;
        Ok(bus)
    }

    /// A property of an object; `start` as in [`Method`].
    ///
    /// # Errors
    /// A sentence.
    pub fn property(
        &mut self,
        service: &str,
        path: &str,
        interface: &str,
        name: &str,
        start: bool,
    ) -> Result<Value, String> {
        let get = Method { service, path, interface: "org.freedesktop.DBus.Properties", name: "Get", start };
        self.call(&get, &[interface, name])
    }

    /// Calls a method with texts and gives the first value it answers.
    ///
    /// # Errors
    /// A sentence: what the service says, or why there is no answer.
    pub fn call(&mut self, method: &Method<'_>, arguments: &[&str]) -> Result<Value, String> {
        let mut body = Writer::default();
        for argument in arguments {
            body.text(argument);
        }
        self.send(method, &"s".repeat(arguments.len()), &body.0)
    }

    /// As [`Bus::call`], with one list of texts.
    ///
    /// # Errors
    /// As [`Bus::call`].
    pub fn call_with_list(&mut self, method: &Method<'_>, list: &[&str]) -> Result<Value, String> {
        let mut items = Writer::default();
        for item in list {
            items.text(item);
        }
        let mut body = Writer::default();
        body.u32(u32::try_from(items.0.len()).unwrap_or(0));
        body.0.extend(items.0);
        self.send(method, "as", &body.0)
    }

    fn send(&mut self, method: &Method<'_>, signature: &str, body: &[u8]) -> Result<Value, String> {
        self.serial += 1;
        let mut fields = Writer::default();
        let texts = [
            (1, b'o', method.path),
            (2, b's', method.interface),
            (3, b's', method.name),
            (6, b's', method.service),
        ];
        for (code, kind, text) in texts {
            fields.align(8);
            fields.0.extend([code, 1, kind, 0]);
            fields.text(text);
        }
        if !signature.is_empty() {
            fields.align(8);
            fields.0.extend([8, 1, b'g', 0, u8::try_from(signature.len()).unwrap_or(0)]);
            fields.0.extend(signature.bytes());
            fields.0.push(0);
        }
        let mut message = Writer(vec![b'l', 1, if method.start { 0 } else { NO_AUTO_START }, 1]);
        message.u32(u32::try_from(body.len()).unwrap_or(0));
        message.u32(self.serial);
        message.u32(u32::try_from(fields.0.len()).unwrap_or(0));
        message.0.extend(fields.0);
        message.align(8);
        message.0.extend(body);
        let lost = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::WouldBlock => format!("{} does not answer", method.service),
            _ => format!("{}: {e}", self.name),
        };
        self.stream.write_all(&message.0).map_err(lost)?;
        let give_up = lectern_base::clock::mono() + PATIENCE;
        loop {
            if lectern_base::clock::mono() > give_up {
                return Err(format!("{} does not answer", method.service));
            }
            let mut head = [0; 16];
            self.stream.read_exact(&mut head).map_err(lost)?;
            let number =
                |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
            let (body, fields) = (number(4), number(12));
            let padded = fields.next_multiple_of(8);
            if head[0] != b'l' || body.saturating_add(padded) > MAX_MESSAGE {
                return Err(format!("{} says something that cannot be read", self.name));
            }
            let mut rest = vec![0; padded + body];
            self.stream.read_exact(&mut rest).map_err(lost)?;
            let broken = || format!("{} says something that cannot be read", method.service);
            let (fields, body) =
                (rest.get(..fields).ok_or_else(broken)?, rest.get(padded..).ok_or_else(broken)?);
            let fields = Fields::parse(fields).ok_or_else(broken)?;
            if fields.reply_to != Some(self.serial) {
                // Signals, and the name the bus gave us.
                continue;
            }
            let signature = fields.signature.unwrap_or_default();
            let value = if signature.is_empty() {
                Value::List(Vec::new())
            } else {
                Reader { data: body, at: 0 }.value(&mut signature.as_bytes(), 0).ok_or_else(broken)?
            };
            return match (head[1], fields.error) {
                (2, _) => Ok(value),
                (_, Some(error))
                    if error.ends_with(".ServiceUnknown") || error.ends_with(".NameHasNoOwner") =>
                {
                    Err(format!("{} does not run", method.service))
                }
                (_, error) => Err(value.text().map_or_else(|| error.unwrap_or_default(), str::to_owned)),
            };
        }
    }
}

/// Where a session's bus listens, by the address its programs are given; without one, where it stands today.
fn session_socket(address: &str, run: Option<&Path>) -> Option<PathBuf> {
    if address.is_empty() {
        return run.map(|run| run.join("bus"));
    }
    // unix:path=/run/user/1000/bus,guid=…;tcp:…
    let unix = address.split(';').find_map(|way| way.strip_prefix("unix:"))?;
    unix.split(',').find_map(|part| part.strip_prefix("path=")).map(PathBuf::from)
}

/// The header fields that matter.
#[derive(Debug, Default)]
struct Fields {
    reply_to: Option<u32>,
    signature: Option<String>,
    error: Option<String>,
}

impl Fields {
    fn parse(data: &[u8]) -> Option<Self> {
        let mut reader = Reader { data, at: 0 };
        let mut found = Self::default();
        while reader.at < data.len() {
            reader.align(8)?;
            let code = reader.bytes(1)?[0];
            let value = reader.value(&mut &b"v"[..], 0)?;
            match (code, value) {
                (4, Value::Text(text)) => found.error = Some(text),
                (5, Value::Number(serial)) => found.reply_to = Some(serial as u32),
                (8, Value::Text(text)) => found.signature = Some(text),
                _ => {}
            }
        }
        Some(found)
    }
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, n: u32) {
        self.align(4);
        self.0.extend(n.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u32(u32::try_from(text.len()).unwrap_or(0));
        self.0.extend(text.bytes());
        self.0.push(0);
    }
}

struct Reader<'a> {
    data: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) -> Option<()> {
        self.at = self.at.next_multiple_of(to);
        (self.at <= self.data.len()).then_some(())
    }

    fn bytes(&mut self, n: usize) -> Option<&[u8]> {
        let bytes = self.data.get(self.at..self.at.checked_add(n)?)?;
        self.at += n;
        Some(bytes)
    }

    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.align(N)?;
        self.bytes(N)?.try_into().ok()
    }

    fn text(&mut self, length: usize) -> Option<Value> {
        let text = String::from_utf8_lossy(self.bytes(length)?).into_owned();
        self.bytes(1)?;
        Some(Value::Text(text))
    }

    /// One value of the first type in the signature, which is taken off it.
    fn value(&mut self, signature: &mut &[u8], depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        let (kind, rest) = signature.split_first()?;
        *signature = rest;
        Some(match kind {
            b'y' => Value::Number(f64::from(self.bytes(1)?[0])),
            b'b' | b'u' | b'h' => Value::Number(f64::from(u32::from_le_bytes(self.fixed()?))),
            b'i' => Value::Number(f64::from(i32::from_le_bytes(self.fixed()?))),
            b'n' => Value::Number(f64::from(i16::from_le_bytes(self.fixed()?))),
            b'q' => Value::Number(f64::from(u16::from_le_bytes(self.fixed()?))),
            b'x' => Value::Number(i64::from_le_bytes(self.fixed()?) as f64),
            b't' => Value::Number(u64::from_le_bytes(self.fixed()?) as f64),
            b'd' => Value::Number(f64::from_le_bytes(self.fixed()?)),
            b's' | b'o' => {
                let length = u32::from_le_bytes(self.fixed()?) as usize;
                self.text(length)?
            }
            b'g' => {
                let length = usize::from(self.bytes(1)?[0]);
                self.text(length)?
            }
            b'v' => {
                let length = usize::from(self.bytes(1)?[0]);
                let inner = self.bytes(length)?.to_vec();
                self.bytes(1)?;
                self.value(&mut &inner[..], depth + 1)?
            }
            b'(' => {
                self.align(8)?;
                let mut items = Vec::new();
                while *signature.first()? != b')' {
                    items.push(self.value(signature, depth + 1)?);
                }
                *signature = &signature[1..];
                Value::List(items)
            }
            b'a' => self.array(signature, depth)?,
            _ => return None,
        })
    }

    fn array(&mut self, signature: &mut &[u8], depth: usize) -> Option<Value> {
        let length = u32::from_le_bytes(self.fixed()?) as usize;
        let element = complete(signature)?;
        let inner = &signature[..element];
        *signature = &signature[element..];
        let entry = inner.strip_prefix(b"{").and_then(|pair| pair.strip_suffix(b"}"));
        if matches!(inner[0], b'{' | b'(' | b'x' | b't' | b'd') {
            self.align(8)?;
        }
        let end = self.at.checked_add(length).filter(|end| *end <= self.data.len())?;
        let (mut items, mut entries) = (Vec::new(), Vec::new());
        while self.at < end {
            if let Some(mut pair) = entry {
                self.align(8)?;
                let key = self.value(&mut pair, depth + 1)?;
                entries.push((key, self.value(&mut pair, depth + 1)?));
            } else {
                items.push(self.value(&mut &inner[..], depth + 1)?);
            }
        }
        Some(if entry.is_some() { Value::Map(entries) } else { Value::List(items) })
    }
}

/// How many bytes of a signature the first complete type takes.
fn complete(signature: &[u8]) -> Option<usize> {
    let mut open = 0_usize;
    for (n, kind) in signature.iter().enumerate() {
        match kind {
            b'(' | b'{' => open += 1,
            b')' | b'}' => open = open.checked_sub(1)?,
            b'a' => continue,
            _ => {}
        }
        if open == 0 {
            return Some(n + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(signature: &str, data: &[u8]) -> Option<Value> {
        Reader { data, at: 0 }.value(&mut signature.as_bytes(), 0)
    }

    #[test]
    fn a_sessions_bus_is_where_its_address_or_else_its_folder_says() {
        let run = Some(Path::new("/run/user/1000"));
        let socket = |address: &str| session_socket(address, run);
        assert_eq!(socket("unix:path=/tmp/bus,guid=5b"), Some("/tmp/bus".into()));
        assert_eq!(socket("tcp:host=a,port=1;unix:guid=5b,path=/tmp/bus"), Some("/tmp/bus".into()));
        assert_eq!(socket(""), Some("/run/user/1000/bus".into()));
        assert_eq!(socket("unix:abstract=/tmp/dbus-x"), None);
        assert_eq!(session_socket("", None), None);
    }

    #[test]
    fn nested_values_are_read_with_their_padding() {
        // a{sv}: {"n": <uint64 7>}
        let mut data = Writer::default();
        data.u32(24);
        data.align(8);
        data.text("n");
        data.0.extend([1, b't', 0]);
        data.align(8);
        data.0.extend(7_u64.to_le_bytes());
        let value = read("a{sv}", &data.0).expect("reads");
        assert_eq!(value.get("n"), Some(&Value::Number(7.0)));
        assert_eq!(complete(b"a{sa{sv}}u"), Some(9));
        assert_eq!(complete(b"aau"), Some(3));
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_service_says_is_read_or_refused(
            signature in "[ybnqiuxtdsogavh(){}]{0,12}",
            data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        ) {
            let _value = read(&signature, &data);
            let _fields = Fields::parse(&data);
        }
    }
}
