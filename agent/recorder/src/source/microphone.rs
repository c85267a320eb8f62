//! A microphone, by the sound system that has it.

use lectern_wire::capture::SoundSystem;

use super::{Worker, alsa, pulse};

/// One block of sound: 20 ms. How late sound may arrive, and what the timeline judges drift by.
pub(super) const BLOCK_BYTES: u32 = 3840;

/// Opens the microphone and leaves its sound, stamped with the monotonic clock.
pub(super) fn pump(worker: &Worker, system: SoundSystem, device: &str) -> anyhow::Result<()> {
    match system {
        SoundSystem::Pulse => pulse::pump(worker, device),
        SoundSystem::Alsa => alsa::pump(worker, device),
    }
}
