//! The socket: events up to whoever is connected, commands down.
//!
//! The recorder listens, so a daemon that was restarted finds it again by the socket's name.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use lectern_wire::recorder::{Command, Event};

/// Longest command line, bytes: a job for an armed recorder is the longest.
const MAX_LINE: u64 = 64 * 1024;

/// Sends events; cheap to clone.
#[derive(Clone)]
pub struct Speaker(Arc<Mutex<Listeners>>);

struct Listeners {
    streams: Vec<UnixStream>,
    hello: Event,
    durable: Option<Event>,
}

impl Speaker {
    fn lock(&self) -> std::sync::MutexGuard<'_, Listeners> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says it to everybody connected; who does not listen within 200 ms is let go.
    pub fn say(&self, event: &Event) {
        let mut listeners = self.lock();
        match (event, &mut listeners.hello) {
            (Event::Durable { .. }, _) => listeners.durable = Some(event.clone()),
            (Event::Paused { .. }, Event::Hello { paused, .. }) => *paused = true,
            (Event::Resumed { .. }, Event::Hello { paused, .. }) => *paused = false,
            (Event::LayoutChanged { layout: now }, Event::Hello { layout, .. }) => *layout = *now,
            (Event::Live { state, .. }, Event::Hello { live, .. }) => *live = *state,
            _ => {}
        }
        let Some(line) = line(event) else { return };
        listeners.streams.retain_mut(|stream| stream.write_all(&line).is_ok());
    }

    /// Whether anybody is connected.
    pub fn heard(&self) -> bool {
        !self.lock().streams.is_empty()
    }

    fn greet(&self, mut stream: UnixStream) -> std::io::Result<()> {
        stream.set_write_timeout(Some(Duration::from_millis(200)))?;
        let mut listeners = self.lock();
        for event in [Some(&listeners.hello), listeners.durable.as_ref()].into_iter().flatten() {
            stream.write_all(&line(event).unwrap_or_default())?;
        }
        listeners.streams.push(stream);
        Ok(())
    }
}

fn line(event: &Event) -> Option<Vec<u8>> {
    let mut line = serde_json::to_vec(event).ok()?;
    line.push(b'\n');
    Some(line)
}

/// The open socket.
pub struct Link {
    pub speaker: Speaker,
    pub commands: Receiver<Command>,
    path: RefCell<String>,
}

impl Link {
    /// Listens at `path`, readable by this user alone.
    pub fn open(path: &str, hello: Event) -> anyhow::Result<Self> {
        let listener =
            UnixListener::bind(path).with_context(|| format!("the socket {path} could not be made"))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let speaker = Speaker(Arc::new(Mutex::new(Listeners { streams: Vec::new(), hello, durable: None })));
        let (sender, commands) = channel();
        let greeter = speaker.clone();
        std::thread::Builder::new().name("link".into()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                let greeted = stream.try_clone().and_then(|copy| greeter.greet(copy));
                let spawned = std::thread::Builder::new()
                    .name("link reader".into())
                    .spawn(move || listen(stream, &sender));
                if greeted.is_err() || spawned.is_err() {
                    tracing::warn!("a connection to the recorder's socket was lost at once");
                }
            }
        })?;
        Ok(Self { speaker, commands, path: RefCell::new(path.to_owned()) })
    }

    /// From now on the socket is found at another path, and greets in another way.
    pub fn moves_to(&self, path: &str, hello: Event) -> anyhow::Result<()> {
        self.speaker.lock().hello = hello;
        let before = self.path.replace(path.to_owned());
        std::fs::rename(&before, path).with_context(|| format!("the socket could not be moved to {path}"))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let path = self.path.borrow();
        if let Err(e) = std::fs::remove_file(path.as_str()) {
            tracing::warn!(path = *path, "the socket could not be removed: {e}");
        }
    }
}

fn listen(stream: UnixStream, sender: &Sender<Command>) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(n) if n > 0 => {}
            _ => return,
        }
        match serde_json::from_slice(&line) {
            Ok(command) => {
                if sender.send(command).is_err() {
                    return;
                }
            }
            // The next line counts again: an unknown word must not take away the power to stop.
            Err(e) if line.ends_with(b"\n") => tracing::warn!("a line that is no command was ignored: {e}"),
            Err(_) => {
                tracing::warn!(
                    "a line longer than {MAX_LINE} bytes ends a connection to the recorder's socket"
                );
                // The copy that is spoken to ends too, so that the other side notices.
                if let Err(e) = reader.get_ref().shutdown(std::net::Shutdown::Both) {
                    tracing::debug!("it had ended already: {e}");
                }
                return;
            }
        }
    }
}
