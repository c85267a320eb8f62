//! A PulseAudio source (PipeWire speaks the same protocol).

use std::time::Duration;

use anyhow::Context as _;
use ffmpeg_next::media::Type;
use lectern_base::clock;

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
    while !worker.patience.ended() {
        let packet = input
            .read(Duration::from_secs(5))
            .with_context(|| format!("the microphone {device} was lost"))?;
        let now = clock::mono();
        // libav stamps with the wall clock, which may step; only its distance from this instant counts.
        let age = packet.pts().map_or(0, |pts| clock::wall_us().saturating_sub(pts));
        let age = Duration::from_micros(u64::try_from(age).unwrap_or(0)).min(Duration::from_secs(2));
        let Some(data) = packet.data() else { continue };
        worker.outlet.push(Block { bytes: data.to_vec(), at: now.saturating_sub(age) });
    }
    Ok(())
}
