//! What the hour on an installed system does to files, and reads out of them.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Dice;

/// Every take but the last says why it ended.
///
/// # Errors
/// Names the one that does not.
pub fn explained(takes: &[Value]) -> anyhow::Result<()> {
    for take in takes.iter().rev().skip(1) {
        let why = take["end"]["interrupted"].as_str().unwrap_or_default();
        ensure!(!why.is_empty(), "{} ends without a reason: {}", take["file"], take["end"]);
    }
    Ok(())
}

/// A file's hash.
///
/// # Errors
/// When it cannot be read.
pub fn hash(path: &Path) -> anyhow::Result<String> {
    Ok(hex::encode(Sha256::digest(std::fs::read(path).with_context(|| path.display().to_string())?)))
}

/// Changes bytes of a file, beginning anywhere in a range of it.
///
/// # Errors
/// When it cannot be read or written.
pub fn damage(path: &Path, range: Range<u64>, bytes: usize, dice: &mut Dice) -> anyhow::Result<()> {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::options().read(true).write(true).open(path);
    let file = file.with_context(|| path.display().to_string())?;
    let at = range.start + dice.below(range.end - range.start);
    let mut there = vec![0; bytes];
    file.read_exact_at(&mut there, at)?;
    there.iter_mut().for_each(|byte| *byte ^= 0x5a);
    file.write_all_at(&there, at)?;
    Ok(())
}

/// Whether the report of a take counts pictures or sound that are not there.
pub fn counts_lost(takes: &[Value]) -> bool {
    takes.iter().any(|take| {
        let report = &take["report"];
        report["dropped_pictures"].as_u64() > Some(0) || report["sound_hole_ms"].as_u64() > Some(0)
    })
}
