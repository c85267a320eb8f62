//! `lectern-recorder push`: the process that speaks to the live server.
//!
//! Standard input: the address as one line of JSON, then a NUT stream of picture and sound. Standard output: a line
//! when the server takes it, a line when it does not. It ends with its standard input.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use ffmpeg_next::media::Type;
use lectern_wire::live::SCHEMES;
use serde::{Deserialize, Serialize};

use crate::av::{Input, Outgoing, Patience};

/// A server must have answered within this.
const CONNECT: Duration = Duration::from_secs(8);
/// A server must take what is sent within this.
const TAKE: Duration = Duration::from_secs(5);
/// A lesson may be paused for as long as the teacher wishes.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);
/// Longest line of an address, bytes.
const MAX_LINE: usize = 8192;

/// What it says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "snake_case")]
pub enum Said {
    /// The server takes what is sent.
    Connected,
    /// It does not.
    Failed {
        /// Why, in a sentence without secrets.
        cause: String,
    },
}

/// Sends what comes until nothing more does.
pub fn run() -> anyhow::Result<()> {
    let outcome = send();
    if let Err(e) = &outcome {
        say(&Said::Failed { cause: format!("{e:#}") })?;
    }
    // Said to the recorder, which says it to people; a second sentence helps nobody.
    Ok(())
}

fn send() -> anyhow::Result<()> {
    let url: String = serde_json::from_slice(&first_line()?).context("the first line is no address")?;
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    let found = SCHEMES.iter().find(|(known, _)| *known == scheme);
    let (_, container) = found.context("the address has no scheme that lessons can be sent by")?;
    let patience = Arc::new(Patience::default());
    patience.renew(FOR_EVER);
    let mut input = Input::open(Some("nut"), "pipe:0", &[], patience).context("nothing came to be sent")?;
    let streams = [input.stream(Type::Video), input.stream(Type::Audio)];
    let (Some((picture, video)), Some((sound, audio))) = (&streams[0], &streams[1]) else {
        bail!("what came has no picture or no sound")
    };
    ensure!((*picture, *sound) == (0, 1), "what came has its streams in another order");
    // A certificate is checked where there is one; RTSP goes the way that passes firewalls.
    let options = [
        ("tls_verify", "1"),
        // What lies in the system's buffer looks like a server that is well: seconds of it, not minutes.
        ("send_buffer_size", "65536"),
        ("rtsp_transport", "tcp"),
        ("flvflags", "no_duration_filesize"),
        ("pkt_size", "1316"),
    ];
    let wanted = |key: &str| match key {
        "tls_verify" => scheme == "rtmps",
        "rtsp_transport" => scheme == "rtsp",
        "send_buffer_size" => scheme.starts_with("rtmp"),
        "pkt_size" => scheme == "srt",
        _ => *container == "flv",
    };
    let options: Vec<_> = options.into_iter().filter(|(key, _)| wanted(key)).collect();
    let parameters = [video.clone(), audio.clone()];
    let mut server = Outgoing::open(container, &url, &options, &parameters, CONNECT)?;
    say(&Said::Connected)?;
    let bases = [input.base(0), input.base(1)];
    // Nothing more comes: the recorder has ended it, or has ended.
    while let Ok(packet) = input.read(FOR_EVER) {
        let stream = packet.stream();
        let base = *bases.get(stream).context("a third stream came")?;
        server.send(packet, stream, base, TAKE)?;
    }
    server.end(Duration::from_secs(1))
}

/// Byte by byte: what follows belongs to libav.
fn first_line() -> anyhow::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while rustix::io::read(std::io::stdin().as_fd(), &mut byte)? == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
        ensure!(line.len() < MAX_LINE, "the first line is longer than {MAX_LINE} bytes");
    }
    Ok(line)
}

fn say(said: &Said) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line).and_then(|()| out.flush()).context("the recorder does not listen")
}
