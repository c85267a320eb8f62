//! A microphone by PulseAudio; PipeWire speaks the same protocol.
//!
//! Not by libav's `pulse` input: when a microphone is pulled, the server moves its listeners to another source,
//! and libav has no way to forbid that. A lesson would go on with the sound of the loudspeakers, or of another
//! room, and nobody would know.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use lectern_base::clock;
use libpulse_binding::context::{self, Context};
use libpulse_binding::def::BufferAttr;
use libpulse_binding::error::PAErr;
use libpulse_binding::mainloop::standard::Mainloop;
use libpulse_binding::sample::{Format, Spec};
use libpulse_binding::stream::{self, Latency, PeekResult, Stream};
use libpulse_binding::time::MicroSeconds;

use super::microphone::BLOCK_BYTES;
use super::stamps::Stamps;
use super::{Block, Worker};
use crate::av::RATE;

/// The server's default source, whichever that is when it is opened.
const DEFAULT: &str = "default";
/// Opening takes at most so long.
const OPENING: Duration = Duration::from_secs(5);
/// A microphone that gives nothing for so long is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens the source and leaves its sound.
pub(super) fn pump(worker: &Worker, device: &str) -> anyhow::Result<()> {
    worker.patience.renew(OPENING);
    let mut server =
        Server::connect(worker).with_context(|| format!("the microphone {device} could not be opened"))?;
    let mut stream = server
        .open(worker, device)
        .with_context(|| format!("the microphone {device} could not be opened"))?;
    let opened = stream.get_device_name().unwrap_or_default().into_owned();
    let named = device != DEFAULT && !device.starts_with('@') && device.parse::<u32>().is_err();
    // PulseAudio refuses a name it does not know; not every server that speaks its protocol does.
    ensure!(!named || opened == device, "the microphone {device} is not there; {opened} was opened instead");
    tracing::info!(device, source = opened, "microphone open");
    worker.patience.renew(PATIENCE);
    let mut stamps = Stamps::default();
    while !worker.patience.ended() {
        server.turn(worker).with_context(|| format!("the microphone {device} was lost"))?;
        match stream.get_state() {
            stream::State::Ready => {}
            _ => bail!("the microphone {device} was pulled"),
        }
        let now_at = stream.get_device_name().unwrap_or_default();
        ensure!(now_at == opened, "the microphone {device} was pulled and {now_at} put in its place");
        while let Some(block) = next(&mut stream, &mut stamps)? {
            worker.patience.renew(PATIENCE);
            worker.outlet.push(block);
        }
    }
    Ok(())
}

/// The next sound that has arrived.
fn next(stream: &mut Stream, stamps: &mut Stamps) -> anyhow::Result<Option<Block>> {
    let age = match stream.get_latency() {
        Ok(Latency::Positive(age)) => Duration::from_micros(age.0),
        // None is known yet, or a monitor that is ahead of its sink.
        _ => Duration::ZERO,
    };
    loop {
        let bytes = match stream.peek().map_err(|e| said(&e))? {
            PeekResult::Empty => return Ok(None),
            // A hole the server knows of is a hole in the timeline.
            PeekResult::Hole(_) => None,
            PeekResult::Data(bytes) => Some(bytes.to_vec()),
        };
        stream.discard().map_err(|e| said(&e))?;
        if let Some(bytes) = bytes {
            let at = stamps.stamp(clock::mono(), clock::wall_us(), age, bytes.len() / 4);
            return Ok(Some(Block { bytes, at }));
        }
    }
}

/// A connection to the sound server. Fields end in the order they stand here.
struct Server {
    context: Context,
    mainloop: Mainloop,
}

impl Server {
    fn connect(worker: &Worker) -> anyhow::Result<Self> {
        let mainloop = Mainloop::new().context("no memory for a connection to the sound server")?;
        let context = Context::new(&mainloop, "Lectern").context("no memory for a client")?;
        let mut server = Self { context, mainloop };
        // Never starts a server of its own: it would have no microphone, and say so by silence.
        let flags = context::FlagSet::NOAUTOSPAWN;
        server.context.connect(None, flags, None).map_err(|e| anyhow!("no sound server: {}", said(&e)))?;
        loop {
            match server.context.get_state() {
                context::State::Ready => return Ok(server),
                context::State::Failed | context::State::Terminated => {
                    bail!("no sound server: {}", said(&server.context.errno()));
                }
                _ => server.turn(worker)?,
            }
        }
    }

    fn open(&mut self, worker: &Worker, device: &str) -> anyhow::Result<Stream> {
        let spec = Spec { format: Format::S16le, channels: 2, rate: RATE };
        let mut stream =
            Stream::new(&mut self.context, "lesson", &spec, None).context("no memory for a stream")?;
        let unset = u32::MAX;
        let buffer = BufferAttr {
            maxlength: unset,
            tlength: unset,
            prebuf: unset,
            minreq: unset,
            fragsize: BLOCK_BYTES,
        };
        let flags = stream::FlagSet::DONT_MOVE
            | stream::FlagSet::ADJUST_LATENCY
            | stream::FlagSet::INTERPOLATE_TIMING
            | stream::FlagSet::AUTO_TIMING_UPDATE;
        let source = (device != DEFAULT).then_some(device);
        stream.connect_record(source, Some(&buffer), flags).map_err(|e| said(&e))?;
        loop {
            match stream.get_state() {
                stream::State::Ready => return Ok(stream),
                stream::State::Failed | stream::State::Terminated => {
                    return Err(said(&self.context.errno()));
                }
                _ => self.turn(worker)?,
            }
        }
    }

    /// Waits at most 20 ms for the server and takes in what it said; an error once the patience is over.
    fn turn(&mut self, worker: &Worker) -> anyhow::Result<()> {
        if worker.patience.lost() && !worker.patience.ended() {
            bail!("nothing arrived for {} s", PATIENCE.as_secs());
        }
        self.mainloop.prepare(Some(MicroSeconds(20_000))).map_err(|e| said(&e))?;
        self.mainloop.poll().map_err(|e| said(&e))?;
        self.mainloop.dispatch().map_err(|e| said(&e))?;
        match self.context.get_state() {
            context::State::Failed | context::State::Terminated => {
                bail!("the sound server has gone: {}", said(&self.context.errno()))
            }
            _ => Ok(()),
        }
    }
}

fn said(error: &PAErr) -> anyhow::Error {
    anyhow!("{}", error.to_string().unwrap_or_else(|| format!("error {}", error.0)))
}
