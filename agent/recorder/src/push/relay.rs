//! The recorder's side of the process that sends.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use ffmpeg_next::codec::Parameters;
use ffmpeg_next::format::{self, context};
use ffmpeg_next::{self as ffmpeg, Rational};
use lectern_base::clock;
use lectern_wire::live::LiveState;

use super::child::Said;
use super::{LAST_MOMENT, Shared, lock};
use crate::waiting::{At, Waiting};

/// One process, from its start to its end.
pub struct Relay {
    pipe: Option<context::Output>,
    bases: [Rational; 2],
    /// Time of the key frame it began with.
    origin: Option<At>,
    said: Arc<Mutex<Heard>>,
    reader: Option<JoinHandle<()>>,
}

/// What it has said.
#[derive(Default)]
struct Heard {
    connected: bool,
    failed: Option<String>,
}

impl Relay {
    /// Starts it and tells it where to, and what is coming.
    pub fn start(shared: &Shared, url: &str, parameters: &[Parameters; 2]) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program cannot find itself")?;
        let mut command = Command::new(program);
        command.arg("push").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("what sends live could not be started")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        *lock(&shared.sender) = Some(child);
        let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else { bail!("what sends live has no pipes") };
        let said = Arc::new(Mutex::new(Heard::default()));
        let heard = said.clone();
        let reader = std::thread::Builder::new().name("live reader".into()).spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(Said::Connected) => lock(&heard).connected = true,
                    Ok(Said::Failed { cause }) => lock(&heard).failed = Some(cause),
                    Err(e) => tracing::warn!("what sends live said something unknown: {e}"),
                }
            }
        })?;
        let mut line = serde_json::to_vec(url)?;
        line.push(b'\n');
        stdin.write_all(&line).context("what sends live has ended")?;
        let (pipe, bases) = pipe(stdin, parameters)?;
        Ok(Self { pipe: Some(pipe), bases, origin: None, said, reader: Some(reader) })
    }

    /// Sends what waits until it is over; an error says why it broke off.
    pub fn send_all(&mut self, shared: &Shared) -> anyhow::Result<()> {
        let mut connected = false;
        while let Some(next) = shared.next() {
            if !connected && lock(&self.said).connected {
                connected = true;
                shared.stands(LiveState::Live, "");
                // What has piled up while it connected would be late for ever.
                if lock(&shared.queue).skip() {
                    continue;
                }
            }
            *lock(&shared.given) = Some(clock::mono());
            let sent = self.send(next);
            *lock(&shared.given) = None;
            if let Err(e) = sent {
                self.end(shared, Duration::from_millis(500));
                return Err(lock(&self.said).failed.take().map_or(e, |cause| anyhow!(cause)));
            }
        }
        self.end(shared, LAST_MOMENT);
        Ok(())
    }

    fn send(&mut self, Waiting { mut packet, base, sound }: Waiting) -> anyhow::Result<()> {
        let at = At(packet.pts().unwrap_or(0), base);
        let origin = self.origin.get_or_insert(at).to(base);
        let (Some(pts), Some(dts)) = (packet.pts(), packet.dts()) else { return Ok(()) };
        // Sound lags behind its picture: what belongs before the first one is left out.
        if pts < origin || dts < origin {
            return Ok(());
        }
        packet.set_pts(Some(pts - origin));
        packet.set_dts(Some(dts - origin));
        packet.set_stream(usize::from(sound));
        packet.rescale_ts(base, self.bases[usize::from(sound)]);
        let pipe = self.pipe.as_mut().context("it has ended")?;
        packet.write(pipe).map(drop).map_err(|_| anyhow!("what sends live has ended"))
    }

    /// Closes its standard input, which ends it, and waits for that.
    fn end(&mut self, shared: &Shared, patience: Duration) {
        drop(self.pipe.take());
        let give_up = clock::mono() + patience;
        let Some(mut child) = lock(&shared.sender).take() else { return };
        while clock::mono() < give_up && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        // Of one that has ended already nothing is left to kill, only its end to be heard of.
        if let Err(e) = child.kill().and_then(|()| child.wait()) {
            tracing::warn!("what sends live could not be ended: {e}");
        }
        if self.reader.take().is_some_and(|reader| reader.join().is_err()) {
            tracing::error!("the reader of what sends live had panicked");
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.pipe.take());
    }
}

/// A muxer into the pipe: NUT says all of a packet that the other side must know.
fn pipe(stdin: ChildStdin, parameters: &[Parameters; 2]) -> anyhow::Result<(context::Output, [Rational; 2])> {
    let io = context::StreamIo::from_write(stdin).map_err(|e| anyhow!("no memory for a pipe: {e}"))?;
    let mut pipe = format::output_to_stream(io, None, Some("nut")).context("libav has no NUT muxer")?;
    for (parameters, base) in parameters.iter().zip([Rational(1, 90_000), Rational(1, 48_000)]) {
        let mut stream = pipe.add_stream(None::<ffmpeg::Codec>).context("a stream was refused")?;
        stream.set_parameters(parameters.clone());
        stream.set_time_base(base);
    }
    let mut options = ffmpeg::Dictionary::new();
    options.set("flush_packets", "1");
    pipe.write_header_with(options).context("the pipe refused its header")?;
    let base = |n: usize| pipe.stream(n).map(|s| s.time_base()).ok_or_else(|| anyhow!("a stream vanished"));
    let bases = [base(0)?, base(1)?];
    Ok((pipe, bases))
}
