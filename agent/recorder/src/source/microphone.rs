//! A PulseAudio source (PipeWire speaks the same protocol).

use std::time::Duration;

use anyhow::Context as _;
use ffmpeg_next::media::Type;
use lectern_base::clock;

use super::stamps::Stamps;
use super::{Block, Worker};
use crate::av::Input;

/// Opens the microphone and leaves its sound, stamped with the monotonic clock.
pub(super) fn pump(worker: &Worker, device: &str) -> anyhow::Result<()> {
    worker.patience.renew(Duration::from_secs(5));
    let options = [
        ("name", "Lectern"),
        ("stream_name", "lesson"),
        ("sample_rate", "48000"),
        ("channels", "2"),
        ("fragment_size", "3840"), // 20 ms: how late sound may arrive
    ];
    let mut input = Input::open(Some("pulse"), device, &options, worker.patience.clone())
        .with_context(|| format!("the microphone {device} could not be opened"))?;
    input.stream(Type::Audio).context("the microphone has no sound")?;
    tracing::info!(device, "microphone open");
    let mut stamps = Stamps::default();
    while !worker.patience.ended() {
        let packet = input
            .read(Duration::from_secs(5))
            .with_context(|| format!("the microphone {device} was lost"))?;
        let Some(data) = packet.data() else { continue };
        let at = stamps.stamp(clock::mono(), clock::wall_us(), packet.pts(), data.len() / 4);
        worker.outlet.push(Block { bytes: data.to_vec(), at });
    }
    Ok(())
}
