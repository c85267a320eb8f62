//! The child that turns a PipeWire node into raw pictures of the lesson's size, and reads them.
//!
//! It scales, too, so every picture has the same length and the pipe needs no format of its own, whatever the
//! screen does. A screen of the lesson's size passes unchanged.

use std::io::{ErrorKind, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use ffmpeg_next::{Packet, format::Pixel};
use lectern_wire::capture::VideoSettings;

use super::PACKAGES;
use crate::av::Raw;

/// How long to wait for a picture before looking after other things.
const STEP: Duration = Duration::from_millis(100);
/// Of the child's last words, bytes.
const MAX_WORDS: usize = 400;
/// What the child is made of; each comes with another package.
const ELEMENTS: [&str; 4] = ["pipewiresrc", "videoscale", "videoconvert", "fdsink"];

/// The open child.
pub struct Pictures {
    child: Child,
    pipe: UnixStream,
    words: UnixStream,
    last_words: Vec<u8>,
    shape: Raw,
    packet: Packet,
    filled: usize,
}

impl Pictures {
    /// Starts the child on a PipeWire socket, for one node.
    pub fn open(remote: OwnedFd, node: u32, video: VideoSettings) -> anyhow::Result<Self> {
        let (pipe, theirs) = UnixStream::pair()?;
        let (words, their_words) = UnixStream::pair()?;
        pipe.set_read_timeout(Some(STEP))?;
        words.set_nonblocking(true)?;
        // setpriv: when the recorder is killed the child must not stay behind and watch the screen.
        let mut child = Command::new("setpriv");
        child.args(["--pdeathsig", "KILL", "gst-launch-1.0", "--quiet"]).args(pipeline(node, video));
        child.stdin(remote).stdout(OwnedFd::from(theirs)).stderr(OwnedFd::from(their_words));
        let child = child.spawn().context("setpriv of util-linux could not be started")?;
        let shape = Raw { format: Pixel::BGRZ, width: video.width, height: video.height };
        let packet = Packet::new(shape.width as usize * shape.height as usize * 4);
        Ok(Self { child, pipe, words, last_words: Vec::new(), shape, packet, filled: 0 })
    }

    /// What all pictures look like.
    pub fn shape(&self) -> Raw {
        self.shape
    }

    /// The next picture; nothing when none came for a moment.
    pub fn next(&mut self) -> anyhow::Result<Option<Packet>> {
        loop {
            let length = self.packet.size();
            let free = self.packet.data_mut().and_then(|data| data.get_mut(self.filled..));
            match self.pipe.read(free.context("no memory for a picture")?) {
                Ok(0) => return Err(self.end()),
                Ok(n) => self.filled += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    self.listen();
                    return Ok(None);
                }
                Err(e) => return Err(e).context("the pictures of the screen broke off"),
            }
            if self.filled == length {
                self.filled = 0;
                return Ok(Some(std::mem::replace(&mut self.packet, Packet::new(length))));
            }
        }
    }

    /// Takes in what the child says, which must never wait for us; only its last words are kept.
    fn listen(&mut self) {
        let mut some = [0; 1024];
        while let Ok(n @ 1..) = self.words.read(&mut some) {
            self.last_words.extend_from_slice(&some[..n]);
            let old = self.last_words.len().saturating_sub(MAX_WORDS);
            self.last_words.drain(..old);
        }
    }

    fn end(&mut self) -> anyhow::Error {
        self.listen();
        let words = String::from_utf8_lossy(&self.last_words);
        match words.lines().map(str::trim).find(|line| !line.is_empty()) {
            Some(first) => anyhow::anyhow!("the pictures of the screen broke off: {first}"),
            None => anyhow::anyhow!("the pictures of the screen broke off"),
        }
    }
}

impl Drop for Pictures {
    fn drop(&mut self) {
        if let Err(e) = self.child.kill().and_then(|()| self.child.wait()) {
            tracing::warn!("the screen's child process could not be ended: {e}");
        }
    }
}

/// Words for gst-launch. The compositor itself keeps to the rate; the socket is the child's standard input.
fn pipeline(node: u32, video: VideoSettings) -> Vec<String> {
    let VideoSettings { width, height, fps, .. } = video;
    let text = format!(
        "pipewiresrc fd=0 path={node} ! video/x-raw,max-framerate={fps}/1 ! videoscale ! videoconvert ! \
         video/x-raw,format=BGRx,width={width},height={height},pixel-aspect-ratio=1/1 ! fdsink fd=1"
    );
    text.split_whitespace().map(str::to_owned).collect()
}

/// Whether everything the child needs is installed.
pub fn check() -> anyhow::Result<()> {
    for element in ELEMENTS {
        // Its own question is for version 1 or later, and PipeWire numbers its element otherwise.
        let mut inspect = Command::new("gst-inspect-1.0");
        inspect.args(["--exists", "--atleast-version=0.0", element]).stderr(Stdio::null());
        let found = inspect.status();
        match found {
            Ok(status) => ensure!(status.success(), "GStreamer has no {element} here: install {PACKAGES}"),
            Err(e) if e.kind() == ErrorKind::NotFound => bail!("GStreamer is not here: install {PACKAGES}"),
            Err(e) => return Err(e).context("gst-inspect-1.0 could not be started"),
        }
    }
    Ok(())
}
