//! What the daemon and `lectern-recorder render` say to each other: clips and renditions of a sealed lesson.
//!
//! The daemon writes one [`Job`] line to standard input and, after it, [`Order`] lines; the end of the input
//! cancels. The recorder answers with [`Said`] lines. The file appears under its name only when it is whole.

use serde::{Deserialize, Serialize};

use crate::manifest::{Fragment, Take};

/// One file to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The pieces, one after the other.
    pub pieces: Vec<Piece>,
    /// Encode anew; without it the packets are copied.
    pub rendition: Option<Rendition>,
    /// The file to make; must not exist. Until it is whole it is called `….part`.
    pub out: String,
}

/// A stretch of one take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// The take file.
    pub take: String,
    /// Length of its initialisation boxes.
    pub init: u64,
    /// First byte of the first fragment that is needed; it begins with a key frame.
    pub from: u64,
    /// Where the last one ends.
    pub to: u64,
    /// Where the first fragment begins in the take.
    pub start_ms: u64,
    /// Pictures from here in the take on are left out.
    pub end_ms: u64,
}

/// How to encode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rendition {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Pictures per second.
    pub fps: u32,
    /// Kilobit per second of the picture, when the size allows it.
    pub kbps: u32,
    /// Kilobit per second of the sound.
    pub sound_kbps: u32,
    /// Most bytes the file may have.
    pub max_bytes: Option<u64>,
    /// What stands before it.
    pub title: Option<Title>,
}

/// A title card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Title {
    /// How long, at most [`TITLE_MAX_S`].
    pub seconds: u32,
    /// In large letters: 课题.
    pub heading: String,
    /// Below it, a line each.
    pub lines: Vec<String>,
}

/// Longest title, seconds.
pub const TITLE_MAX_S: u32 = 5;

/// Daemon to recorder, while it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// A lesson begins: stand still.
    Pause,
    /// Go on.
    Resume,
}

/// Recorder to daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// So much of the picture is done.
    Progress {
        /// Milliseconds.
        done_ms: u64,
        /// Of so many.
        of_ms: u64,
    },
    /// The file is whole, durable and has its name.
    Done {
        /// Its size.
        bytes: u64,
        /// Its length.
        length_ms: u64,
    },
}

/// The pieces of a stretch of the lesson, whose takes follow each other without a break in its time. Each begins
/// at the last key frame at or before it; nothing when the stretch holds no picture.
#[must_use]
pub fn pieces(takes: &[Take], from_ms: u64, to_ms: u64, path_of: impl Fn(&Take) -> String) -> Vec<Piece> {
    let mut begins = 0;
    let mut out = Vec::new();
    for take in takes {
        let (from, to) = (from_ms.saturating_sub(begins), to_ms.saturating_sub(begins).min(take.duration_ms));
        let ends = begins + take.duration_ms;
        if from_ms < ends && to_ms > begins && from < to {
            let starts = |f: &&Fragment| f.start_ms <= from && f.key;
            let first = take.fragments.iter().rev().find(starts).or(take.fragments.first());
            let last = take.fragments.iter().rev().find(|f| f.start_ms < to);
            if let (Some(first), Some(last), Some(init)) = (first, last, take.fragments.first()) {
                out.push(Piece {
                    take: path_of(take),
                    init: init.offset,
                    from: first.offset,
                    to: last.offset + last.length,
                    start_ms: first.start_ms,
                    end_ms: to,
                });
            }
        }
        begins = ends;
    }
    out
}

/// Length of all pieces.
#[must_use]
pub fn length_ms(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|p| p.end_ms.saturating_sub(p.start_ms)).sum()
}

/// Of the size allowed, so much is planned for; the rest is for what the container and the encoder add.
const PLANNED_PCT: u64 = 95;
/// Less than this is no picture, kbit/s.
const LEAST_KBPS: u64 = 100;

/// Kilobit per second of the picture: what is asked, or what the size leaves; nothing when that is too little.
#[must_use]
pub fn video_kbps(length_ms: u64, asked: u32, sound_kbps: u32, max_bytes: Option<u64>) -> Option<u32> {
    let Some(max) = max_bytes else { return Some(asked) };
    // Bytes × 8 bits over milliseconds is kilobit per second.
    let all = max.saturating_mul(8 * PLANNED_PCT) / 100 / length_ms.max(1);
    let left = all.checked_sub(u64::from(sound_kbps)).filter(|kbps| *kbps >= LEAST_KBPS)?;
    Some(asked.min(u32::try_from(left).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::manifest::TakeEnd;

    const MINUTE: u64 = 60_000;

    /// Whether a file of this rate and length stays below the bound, with the encoder's whole buffer on top.
    fn fits(length_ms: u64, asked: u32, max: u64) -> bool {
        let kbps = u64::from(video_kbps(length_ms, asked, 128, Some(max)).expect("fits"));
        let buffer = kbps * 2 * 1000 / 8;
        // 1.5 % for the container and what AAC may take more than asked.
        let bytes = (kbps + 128) * length_ms / 8 + buffer;
        bytes + bytes * 15 / 1000 < max
    }

    #[test]
    fn the_rate_follows_from_length_and_size() {
        const GB: u64 = 1_000_000_000;
        assert_eq!(video_kbps(10 * MINUTE, 8000, 128, Some(GB)), Some(8000), "8 Mbit/s fit in 10 minutes");
        assert_eq!(video_kbps(20 * MINUTE, 8000, 128, Some(GB)), Some(6205), "and not in 20");
        assert!(fits(20 * MINUTE, 8000, GB) && fits(16 * MINUTE, 8000, GB));
        assert_eq!(video_kbps(45 * MINUTE, 1280, 128, Some(500_000_000)), Some(1279));
        assert!(fits(45 * MINUTE, 1280, 500_000_000));
        assert!(fits(180 * MINUTE, 1280, 500_000_000));
        assert_eq!(video_kbps(45 * MINUTE, 1000, 128, None), Some(1000));
        assert_eq!(
            video_kbps(24 * 60 * MINUTE, 1280, 128, Some(500_000_000)),
            None,
            "no picture would be left"
        );
        assert_eq!(video_kbps(0, 1280, 128, Some(0)), None);
    }

    fn take(n: u32, seconds: u64) -> Take {
        let fragment = |s| Fragment { start_ms: s * 1000, offset: 100 + s * 10, length: 10, key: s % 2 == 0 };
        Take {
            n,
            file: format!("take-{n}.mp4"),
            size: 100 + seconds * 10,
            sha256: Digest::of(b""),
            duration_ms: seconds * 1000,
            started_wall_ms: 0,
            started_mono_ms: 0,
            boot_id: String::new(),
            clock_trusted: true,
            end: TakeEnd::Stopped,
            parts: vec![],
            fragments: (0..seconds).map(fragment).collect(),
            pauses: vec![],
            gaps: vec![],
            findings: vec![],
            marks: vec![],
            layouts: vec![],
            encoder: String::new(),
            paces: vec![],
            ring_ms: None,
            live: Vec::new(),
            report: None,
        }
    }

    #[test]
    fn a_stretch_begins_at_a_key_frame_and_may_reach_over_takes() {
        let takes = [take(1, 10), take(2, 20)];
        let cut = |from, to| {
            let pieces = pieces(&takes, from, to, |t| t.file.clone());
            pieces.into_iter().map(|p| (p.take, p.from, p.to, p.start_ms, p.end_ms)).collect::<Vec<_>>()
        };
        let one = |n, from, to, start, end| (format!("take-{n}.mp4"), from, to, start, end);
        assert_eq!(cut(3500, 5200), [one(1, 120, 160, 2000, 5200)]);
        assert_eq!(cut(0, 1000), [one(1, 100, 110, 0, 1000)]);
        assert_eq!(cut(9000, 13_000), [one(1, 180, 200, 8000, 10_000), one(2, 100, 130, 0, 3000)]);
        assert_eq!(cut(13_000, 99_000), [one(2, 120, 300, 2000, 20_000)]);
        assert_eq!(cut(0, 99_000).len(), 2);
        assert_eq!(cut(5000, 5000), []);
        assert_eq!(cut(30_000, 99_000), []);
        let all = pieces(&takes, 9000, 13_000, |t| t.file.clone());
        assert_eq!(length_ms(&all), 5000);
    }
}
