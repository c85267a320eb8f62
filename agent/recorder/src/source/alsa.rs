//! A microphone by ALSA, for machines without a sound server.

use std::time::Duration;

use anyhow::Context as _;
use ffmpeg_next::media::Type;
use lectern_base::clock;

use super::microphone::BLOCK_BYTES;
use super::{Block, Worker};
use crate::av::{Input, RATE};

/// Opens the PCM and leaves its sound.
pub(super) fn pump(worker: &Worker, device: &str) -> anyhow::Result<()> {
    worker.patience.renew(Duration::from_secs(5));
    let options = [("sample_rate", "48000"), ("channels", "2")];
    let mut input = Input::open(Some("alsa"), device, &options, worker.patience.clone())
        .with_context(|| format!("the microphone {device} could not be opened"))?;
    input.stream(Type::Audio).context("the microphone has no sound")?;
    tracing::info!(device, "microphone open");
    let mut bytes = Vec::new();
    while !worker.patience.ended() {
        let packet = input
            .read(Duration::from_secs(5))
            .with_context(|| format!("the microphone {device} was lost"))?;
        bytes.extend_from_slice(packet.data().unwrap_or_default());
        // A card's periods may be as short as a millisecond.
        if bytes.len() < BLOCK_BYTES as usize {
            continue;
        }
        // libav's stamps are the wall clock's, smoothed: a step of it would bend them for minutes. What was
        // just read ended just now.
        let length = Duration::from_secs(bytes.len() as u64 / 4) / RATE;
        let at = clock::mono().saturating_sub(length);
        worker.outlet.push(Block { bytes: std::mem::take(&mut bytes), at });
    }
    Ok(())
}
