//! The recorder program: a child of the daemon, or, where systemd keeps a socket for it, a unit of its own.
//!
//! The daemon's unit takes cameras, microphones, graphics and the desktop away from the daemon; the recorder has them
//! in `lectern-recorder@.service`, one unit for each call. Nobody needs a right to start units for that: systemd does it
//! for whoever may open the socket.
//!
//! ```text
//! daemon ─starts─▶ lectern call ═ socket: words, environment, its stdin, stdout, stderr ═▶ lectern answer ─starts─▶ lectern-recorder
//!                      └ ends with the recorder's exit code ◀══ that code ══════════════════════┘
//! ```
//!
//! To the daemon the caller is the recorder: what it is sent (SIGTERM, SIGKILL) reaches the recorder. With one
//! difference that is wanted: a recorder of a lesson goes on when its caller is gone without a word.

use std::ffi::OsString;
use std::io::{IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use lectern_base::exit::Exit;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};

/// Names the socket; the daemon's unit sets it.
pub const SOCKET: &str = "LECTERN_RECORDER_SOCKET";
/// The longest call, bytes: settings of a picture are among the words.
const MAX_CALL: usize = 64 * 1024;
/// What a caller says when it was told to end.
const END: u8 = b'T';
/// What of the caller's environment a recorder is given: where desktop and sound are, how much is logged, and to whom.
/// Nothing that makes a program load something else.
const ENVIRONMENT: [&str; 14] = [
    "LECTERN_LOG",
    "LECTERN_LOG_FIELDS",
    "JOURNAL_STREAM",
    "DISPLAY",
    "XAUTHORITY",
    "WAYLAND_DISPLAY",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "PULSE_SERVER",
    "PULSE_COOKIE",
    "LIBVA_DRIVER_NAME",
    "LANG",
    "TZ",
    "HOME",
];

/// What a recorder is called with.
#[derive(Debug, Serialize, Deserialize)]
struct Call {
    words: Vec<String>,
    /// Bytes, as the system has them.
    environment: Vec<(String, Vec<u8>)>,
}

/// A command that runs the recorder, one way or the other; words are added as to any command.
#[must_use]
pub fn command(recorder: &Path) -> Command {
    let mut command = if std::env::var_os(SOCKET).is_some() {
        let mut call = Command::new("/proc/self/exe");
        call.args(["call", "--"]);
        call
    } else {
        Command::new(recorder)
    };
    if let Some(fields) = lectern_base::log::fields() {
        command.env("LECTERN_LOG_FIELDS", fields);
    }
    command
}

/// The caller: asks at the socket, waits, ends as the recorder did.
///
/// # Errors
/// A sentence.
pub async fn call(words: Vec<String>) -> Result<Exit, String> {
    // What ends recorders looks at their name.
    rustix::thread::set_name(c"lectern-recorder").map_err(|e| e.to_string())?;
    let socket = std::env::var_os(SOCKET).ok_or_else(|| format!("{SOCKET} does not name a socket"))?;
    let failed = |e: std::io::Error| {
        format!(
            "the recorder cannot be asked for at {}: {e}; is lectern-recorder.socket started?",
            socket.display()
        )
    };
    let stream = UnixStream::connect(&socket).map_err(failed)?;
    let kept =
        ENVIRONMENT.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var_os(name)?.into_vec())));
    let call = Call { words, environment: kept.collect() };
    let mut line = serde_json::to_vec(&call).map_err(|e| e.to_string())?;
    line.push(b'\n');
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    send(&stream, &line, [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]).map_err(failed)?;
    stream.set_nonblocking(true).map_err(failed)?;
    let mut stream = tokio::net::UnixStream::from_std(stream).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => stream.write_all(&[END]).await.map_err(failed)?,
            code = stream.read_u8() => return match code {
                Ok(code) => Ok(Exit::from_code(code)),
                Err(_) => Err("the recorder broke off".into()),
            },
        }
    }
}

/// The other end, in the recorder's unit: `connection` is what systemd accepted.
///
/// # Errors
/// A sentence.
pub async fn answer(program: &Path, connection: OwnedFd) -> Result<Exit, String> {
    let failed = |e: std::io::Error| format!("the caller cannot be heard: {e}");
    let stream = UnixStream::from(connection);
    let (call, [stdin, stdout, stderr]) = receive(&stream).map_err(failed)?;
    let lesson = call.words.first().is_some_and(|verb| verb == "record" || verb == "arm");
    let environment = call.environment.into_iter().filter(|(name, _)| ENVIRONMENT.contains(&name.as_str()));
    let mut command = tokio::process::Command::new(program);
    command
        .args(&call.words)
        .env_clear()
        .envs(environment.map(|(name, value)| (name, OsString::from_vec(value))))
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    let mut child =
        command.spawn().map_err(|e| format!("{} could not be started: {e}", program.display()))?;
    // With it go this process's copies of the pipes: their ends are the recorder's alone.
    drop(command);
    let terminated = |child: &tokio::process::Child| {
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        if let Some(Err(e)) = pid.map(|pid| kill_process(pid, Signal::TERM)) {
            tracing::warn!("the recorder could not be asked to end: {e}");
        }
    };
    stream.set_nonblocking(true).map_err(failed)?;
    let mut stream = tokio::net::UnixStream::from_std(stream).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let (mut asked, mut alone) = (false, false);
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.map_err(|e| e.to_string())?,
            _ = terminate.recv() => terminated(&child),
            word = stream.read_u8(), if !alone => match word {
                Ok(END) => {
                    asked = true;
                    terminated(&child);
                }
                Ok(_) => {}
                Err(_) => {
                    alone = true;
                    // The daemon was restarted, or was killed: the next one finds this recorder by its own socket.
                    if asked || !lesson {
                        child.start_kill().map_err(|e| e.to_string())?;
                    }
                }
            },
        }
    };
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    if let Some(code) = code.filter(|_| !alone)
        && let Err(e) = stream.write_u8(code).await
    {
        tracing::debug!("nobody waits for the recorder's end: {e}");
    }
    Ok(code.map_or(Exit::Failed, Exit::from_code))
}

fn send(stream: &UnixStream, line: &[u8], pipes: [BorrowedFd<'_>; 3]) -> std::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&pipes));
    let sent = sendmsg(stream, &[IoSlice::new(line)], &mut control, SendFlags::NOSIGNAL)?;
    (&mut &*stream).write_all(line.get(sent..).unwrap_or_default())
}

fn receive(mut stream: &UnixStream) -> std::io::Result<(Call, [Stdio; 3])> {
    let bad = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut line = vec![0; MAX_CALL];
    let got = recvmsg(stream, &mut [IoSliceMut::new(&mut line)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    line.truncate(got.bytes);
    let pipes = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(pipes) => Some(pipes),
        _ => None,
    });
    let pipes: Vec<Stdio> = pipes.flatten().map(Stdio::from).collect();
    let pipes = pipes.try_into().map_err(|_| bad("it did not hand over three pipes"))?;
    // A call may come in pieces, the pipes come with the first.
    while line.last().is_some_and(|last| *last != b'\n') && line.len() < MAX_CALL {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.extend(byte);
    }
    Ok((serde_json::from_slice(&line)?, pipes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_brings_its_words_and_its_pipes() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (read, write) = std::io::pipe().expect("a pipe");
        let line = b"{\"words\":[\"record\"],\"environment\":[[\"DISPLAY\",[58,48]]]}\n";
        send(&ours, line, [read.as_fd(), write.as_fd(), write.as_fd()]).expect("sent");
        let (call, [_, stdout, _]) = receive(&theirs).expect("received");
        assert_eq!(
            (call.words, call.environment),
            (vec!["record".to_owned()], vec![("DISPLAY".into(), b":0".to_vec())])
        );
        drop(write);
        // The pipe that came over is the pipe that was sent.
        let out = Command::new("echo").arg("heard").stdout(stdout).status().expect("echo");
        assert!(out.success());
        let mut said = [0; 5];
        (&read).read_exact(&mut said).expect("read");
        assert_eq!(&said, b"heard");
    }

    #[test]
    fn a_call_without_pipes_or_without_sense_is_refused() {
        let none = UnixStream::pair().expect("a pair");
        (&none.0).write_all(b"{\"words\":[],\"environment\":[]}\n").expect("sent");
        assert!(receive(&none.1).is_err());
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let stdin = std::io::stdin();
        send(&ours, b"{}\n", [stdin.as_fd(), stdin.as_fd(), stdin.as_fd()]).expect("sent");
        assert!(receive(&theirs).is_err());
    }

    #[test]
    fn nothing_that_makes_a_program_load_another_is_handed_on() {
        assert!(!ENVIRONMENT.iter().any(|name| name.starts_with("LD_") || *name == "PATH"));
    }
}
