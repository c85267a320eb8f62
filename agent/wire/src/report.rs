//! The decode report of a take: what came out when its bytes were decoded back.
//!
//! Made by `lectern-recorder inspect` while the lesson runs, kept in the manifest.

use serde::{Deserialize, Serialize};

/// What a take holds, as decoded. All lengths are milliseconds of the take; all levels hundredths, because a
/// signed document holds whole numbers only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Length of the picture, by its timestamps.
    pub picture_ms: u64,
    /// Length of the sound, by its timestamps.
    pub sound_ms: u64,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Pictures in the file.
    pub pictures: u64,
    /// Pictures that were decoded: all in a full check, else the key frames and everything after the last.
    pub decoded_pictures: u64,
    /// Times of the picture clock at which there is no picture, and pictures that are damaged.
    pub dropped_pictures: u64,
    /// Pictures that share their time with another.
    pub repeated_pictures: u64,
    /// Samples of sound decoded per channel: always all.
    pub decoded_samples: u64,
    /// Holes between pieces of sound, by their timestamps, and pieces that are damaged.
    pub sound_hole_ms: u64,
    /// How much later the sound ends than the picture; negative: earlier.
    pub drift_ms: i64,
    /// Stretches of at least [`STRETCH_MS`] without light.
    pub black_ms: u64,
    /// Stretches of at least [`STRETCH_MS`] in which no pixel moved. A slide is rightly still.
    pub still_ms: u64,
    /// Stretches of at least [`STRETCH_MS`] at or below −60 dBFS.
    pub silent_ms: u64,
    /// Integrated loudness (EBU R128) in hundredths of LUFS; −7000 stands for nothing to hear.
    pub loudness_clufs: i32,
    /// Highest sample in hundredths of dBFS; −10000 stands for digital zero.
    pub peak_cdbfs: i32,
}

/// Black, still and silent stretches count from this length, as for the watchers.
pub const STRETCH_MS: u64 = 10_000;

/// What an inspection of a take that still grows is told, one JSON line each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    /// So many bytes stand for good.
    Durable(u64),
    /// The take ends at so many bytes.
    End(u64),
}
