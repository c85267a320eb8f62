//! Between lessons: how loud it is in the room, and nothing else. For the reminder of a teacher who speaks
//! while nothing is recorded. Sound is measured and dropped.

use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lectern_base::clock;
use lectern_wire::capture::{CaptureSettings, SourceKind};
use lectern_wire::preflight::Heard;

use crate::metronome::Metronome;
use crate::sound::{Meter, times};
use crate::source::{self, Running};

/// How often a line is said.
const EVERY: Duration = Duration::from_millis(500);

/// Opens the microphones and prints a [`Heard`] every 500 ms until standard input is closed, which it also
/// is when the parent dies.
pub fn run(capture: &CaptureSettings) -> anyhow::Result<()> {
    let metronome = Arc::new(Metronome::new(capture.video.fps));
    let mut microphones = Vec::new();
    for source in &capture.sources {
        if let SourceKind::Microphone { gain_db, .. } = source.kind {
            microphones.push((source::start(source, &metronome, capture.video)?, times(gain_db)));
        }
    }
    ensure!(!microphones.is_empty(), "there is no microphone among the sources");
    let (closed, input) = channel::<()>();
    std::thread::Builder::new().name("input".into()).spawn(move || {
        let mut nothing = [0; 64];
        while std::io::stdin().lock().read(&mut nothing).is_ok_and(|n| n > 0) {}
        drop(closed);
    })?;
    let mut due = clock::mono();
    loop {
        due += EVERY;
        let wait = due.saturating_sub(clock::mono());
        if input.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
            break;
        }
        let mut line = serde_json::to_vec(&heard(&microphones))?;
        line.push(b'\n');
        let mut out = std::io::stdout().lock();
        match out.write_all(&line).and_then(|()| out.flush()) {
            Ok(()) => {}
            // Whoever asked has gone.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => break,
            Err(e) => return Err(e).context("the loudness could not be said"),
        }
    }
    for (microphone, _) in &mut microphones {
        microphone.stop();
    }
    Ok(())
}

fn heard(microphones: &[(Running, f32)]) -> Heard {
    let mut loudest: Option<Heard> = None;
    for (microphone, gain) in microphones {
        let mut meter = Meter::default();
        for block in microphone.outlet.blocks() {
            meter.hear(&block.bytes, *gain);
        }
        let Some(reading) = meter.take() else { continue };
        if loudest.as_ref().is_none_or(|l| l.rms_dbfs.is_some_and(|rms| rms < reading.rms_dbfs)) {
            let (peak_dbfs, rms_dbfs) = (Some(reading.peak_dbfs), Some(reading.rms_dbfs));
            loudest = Some(Heard { peak_dbfs, rms_dbfs, problem: None });
        }
    }
    loudest.unwrap_or_else(|| {
        let fault = microphones.iter().find_map(|(m, _)| m.outlet.fault()).map(|(_, why)| why);
        let problem = fault.or_else(|| Some("no sound came in 500 ms".into()));
        Heard { problem, ..Heard::default() }
    })
}
