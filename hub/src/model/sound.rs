//! Whether a manifest agrees with itself, before anything on disk is compared with it.

use lectern_wire::PART_SIZE;
use lectern_wire::manifest::{Manifest, Take};

/// Most takes a lesson may have: a room that loses power every minute of a lesson stays below.
pub const MAX_TAKES: u32 = 1000;
/// Most parts of a take: 512 GiB.
pub const MAX_PARTS: u32 = 65_536;

/// The first thing in a manifest that contradicts the rest, in a sentence.
///
/// # Errors
/// The sentence.
pub fn check(manifest: &Manifest) -> Result<(), String> {
    if manifest.v != 1 {
        return Err(format!("manifest version {} is not known here, only 1 is", manifest.v));
    }
    if let Some(fault) = manifest.about.fault() {
        return Err(format!("about: {fault}"));
    }
    if manifest.takes.is_empty() {
        return Err("the manifest names no take".into());
    }
    let mut last = 0;
    for take in &manifest.takes {
        if take.n <= last || take.n > MAX_TAKES {
            return Err(format!("take {} stands after take {last}", take.n));
        }
        last = take.n;
        check_take(take).map_err(|fault| format!("take {}: {fault}", take.n))?;
    }
    Ok(())
}

fn check_take(take: &Take) -> Result<(), String> {
    if take.file != format!("take-{}.mp4", take.n) {
        return Err(format!("its file is called {:?}", take.file));
    }
    let mut at = 0u64;
    for (k, part) in take.parts.iter().enumerate() {
        let whole = k + 1 < take.parts.len();
        if usize::try_from(part.n) != Ok(k) || part.n >= MAX_PARTS {
            return Err(format!("part {} stands where part {k} belongs", part.n));
        }
        if part.size == 0 || part.size > PART_SIZE || (whole && part.size != PART_SIZE) {
            return Err(format!("part {k} has {} bytes", part.size));
        }
        at += part.size;
    }
    if at != take.size || at == 0 {
        return Err(format!("its parts add up to {at} bytes, its size is {}", take.size));
    }
    let mut at = take.fragments.first().map_or(0, |f| f.offset);
    let mut time = 0;
    for f in &take.fragments {
        if f.offset != at || f.length == 0 || f.start_ms < time {
            return Err(format!("the fragment at byte {} does not follow the one before", f.offset));
        }
        at = at.checked_add(f.length).ok_or("a fragment is longer than any file")?;
        time = f.start_ms;
    }
    if at > take.size {
        return Err("its fragments reach past its end".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit;

    #[test]
    fn a_manifest_that_contradicts_itself_is_named() {
        let (good, _) = testkit::manifest("l1", &[(4, 50)]);
        assert_eq!(check(&good), Ok(()));
        type Change = fn(&mut Manifest);
        let changes: [Change; 9] = [
            |m| m.v = 2,
            |m| m.takes.clear(),
            |m| m.takes[0].n = 0,
            |m| m.takes[0].file = "../x.mp4".into(),
            |m| m.takes[0].parts[0].n = 1,
            |m| m.takes[0].parts[0].size += 1,
            |m| m.takes[0].size = u64::MAX,
            |m| m.takes[0].fragments[1].offset += 1,
            |m| m.takes[0].fragments[3].length = u64::MAX,
        ];
        for (k, change) in changes.iter().enumerate() {
            let mut bad = good.clone();
            change(&mut bad);
            assert!(check(&bad).is_err(), "change {k} was not seen");
        }
    }
}
