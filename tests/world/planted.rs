//! A lesson of any size that waits for its upload, without the hours to record it: a short real one with its last
//! take made longer, sliced, hashed and signed as the agent does.

use std::fs::File;
use std::io::{BufReader, Read as _, Write as _};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::SigningKey;
use lectern_wire::PART_SIZE;
use lectern_wire::digest::Digest;
use lectern_wire::id::LessonId;
use lectern_wire::manifest::{Fragment, Manifest, Part, Take};
use lectern_wire::sign::{self, Signed};
use sha2::{Digest as _, Sha256};

use crate::school::Agent;

/// Puts a lesson of `bytes` bytes among those that wait, made from the stored lesson `from`. The agent is killed
/// for it and not started again.
///
/// # Errors
/// When the lesson it is made from is not as the agent writes lessons.
pub fn plant(agent: &mut Agent, from: &str, id: &str, bytes: u64) -> anyhow::Result<()> {
    made_of(agent, from, id, |take, path| {
        ensure!(take.size < bytes, "the lesson it is made from is longer already");
        lengthen(path, bytes - take.size)
    })
}

/// As [`plant`], but a lesson that plays: the stored one's only take over and over, this often.
///
/// # Errors
/// As [`plant`].
pub fn plant_repeated(agent: &mut Agent, from: &str, id: &str, times: u32) -> anyhow::Result<()> {
    made_of(agent, from, id, |take, path| {
        let once = std::fs::read(path)?;
        std::fs::write(path, repeated(&once, times)?)?;
        let [round @ .., last] = take.fragments.as_slice() else { bail!("a take without fragments") };
        let first = *round.first().context("a take of one fragment")?;
        let (ms, bytes) = (last.start_ms - first.start_ms, last.offset - first.offset);
        let all = (0..u64::from(times)).flat_map(|n| {
            round.iter().map(move |fragment| Fragment {
                start_ms: fragment.start_ms + n * ms,
                offset: fragment.offset + n * bytes,
                ..*fragment
            })
        });
        take.fragments = all.collect();
        take.duration_ms = first.start_ms + u64::from(times) * ms;
        Ok(())
    })
}

/// A lesson whose take `change` has made longer.
fn made_of(
    agent: &mut Agent,
    from: &str,
    id: &str,
    change: impl FnOnce(&mut Take, &Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    agent.process.kill();
    let (source, folder) = (agent.data.join("lessons").join(from), agent.data.join("lessons").join(id));
    std::fs::create_dir_all(&folder)?;
    let signed: Signed<Manifest> = serde_json::from_slice(&std::fs::read(source.join("manifest.json"))?)?;
    let mut manifest = signed.document.into_understood();
    manifest.lesson_id = LessonId::new(id)?;
    manifest.prev = None;
    manifest.takes.truncate(1);
    let take = manifest.takes.first_mut().context("a lesson without a take")?;
    let path = folder.join(&take.file);
    std::fs::copy(source.join(&take.file), &path)?;
    change(take, &path)?;
    (take.parts, take.sha256) = slice(&path)?;
    take.size = take.parts.iter().map(|part| part.size).sum();

    let key = std::fs::read_to_string(agent.data.join("device.key"))?;
    let key: [u8; 32] = BASE64.decode(key.trim())?.try_into().ok().context("a key of another length")?;
    let parts = manifest.takes[0].parts.clone();
    let signed = Signed::sign(manifest, &SigningKey::from_bytes(&key))?;
    let digest = signed.document.digest().context("the manifest cannot be hashed")?;
    std::fs::write(folder.join("manifest.json"), sign::canonical(&signed)?)?;

    let db = rusqlite::Connection::open(agent.data.join("state.db"))?;
    db.execute(
        "INSERT INTO lessons (id, state, started_wall_ms, boot_id, about, capture, manifest_sha256)
         SELECT ?1, 'sealed', started_wall_ms, boot_id, about, capture, ?2 FROM lessons WHERE id = ?3",
        [id, &digest.to_string(), from],
    )?;
    db.execute(
        "INSERT INTO takes (lesson, n, ended) SELECT ?1, 1, ended FROM takes WHERE lesson = ?2 AND n = 1",
        [id, from],
    )?;
    for part in parts {
        db.execute(
            "INSERT INTO parts (lesson, take, n, size, sha256) VALUES (?1, 1, ?2, ?3, ?4)",
            rusqlite::params![id, part.n, part.size.cast_signed(), part.sha256.to_string()],
        )?;
    }
    Ok(())
}

/// A take's fragments over and over, each time later by what lies between its first fragment and its last, which is left out.
fn repeated(once: &[u8], times: u32) -> anyhow::Result<Vec<u8>> {
    let top = boxes(once)?;
    let first = top.iter().position(|(kind, _)| kind == b"moof").context("a take without fragments")?;
    let last = top.iter().rposition(|(kind, _)| kind == b"moof").context("a take without fragments")?;
    ensure!(first < last, "a take of one fragment");
    let moofs = |at: usize| times_of(once, top[at].1.clone());
    let (begin, end) = (moofs(first)?, moofs(last)?);
    let (from, until) = (top[first].1.start - 8, top[last].1.start - 8);
    let mut whole = once[..from].to_vec();
    for n in 0..u64::from(times) {
        let start = whole.len();
        whole.extend_from_slice(&once[from..until]);
        for (_, moof) in top[first..last].iter().filter(|(kind, _)| kind == b"moof") {
            for Time { track, at, wide, time } in times_of(once, moof.clone())? {
                let of = |all: &[Time]| all.iter().find(|t| t.track == track).map(|t| t.time);
                let once = of(&end).zip(of(&begin)).context("a track that is not in every fragment")?;
                let (time, at) = (time + n * (once.0 - once.1), start + at - from);
                if wide {
                    whole[at..at + 8].copy_from_slice(&time.to_be_bytes());
                } else {
                    whole[at..at + 4].copy_from_slice(&u32::try_from(time)?.to_be_bytes());
                }
            }
        }
    }
    Ok(whole)
}

/// When a fragment's track begins, and where that stands.
struct Time {
    track: u32,
    at: usize,
    wide: bool,
    time: u64,
}

/// The `tfdt` of each `traf` of a `moof` with this content.
fn times_of(bytes: &[u8], moof: Range<usize>) -> anyhow::Result<Vec<Time>> {
    let mut found = Vec::new();
    for (_, traf) in boxes_in(bytes, moof)?.into_iter().filter(|(kind, _)| kind == b"traf") {
        let inside = boxes_in(bytes, traf)?;
        let one = |kind: &[u8; 4]| {
            let place = inside.iter().find(|(k, _)| k == kind).map(|(_, place)| place.start);
            place.context("a fragment without its time")
        };
        let four = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        let (header, time) = (one(b"tfhd")?, one(b"tfdt")?);
        let wide = bytes.get(time) == Some(&1);
        let (track, high, low) = (four(header + 4), four(time + 4), four(time + 8));
        let (track, high, low) = (track.context("cut")?, high.context("cut")?, low.context("cut")?);
        let value = if wide { u64::from(high) << 32 | u64::from(low) } else { u64::from(high) };
        found.push(Time { track, at: time + 4, wide, time: value });
    }
    Ok(found)
}

type Boxes = Vec<([u8; 4], Range<usize>)>;

fn boxes(bytes: &[u8]) -> anyhow::Result<Boxes> {
    boxes_in(bytes, 0..bytes.len())
}

/// The boxes in a place: kind and content. A take's boxes have sizes of four bytes.
fn boxes_in(bytes: &[u8], place: Range<usize>) -> anyhow::Result<Boxes> {
    let (mut found, mut at) = (Vec::new(), place.start);
    while at < place.end {
        let head: [u8; 8] = bytes.get(at..at + 8).context("a box that is cut")?.try_into()?;
        let [a, b, c, d, kind @ ..] = head;
        let size = usize::try_from(u32::from_be_bytes([a, b, c, d]))?;
        ensure!(size >= 8 && at + size <= place.end, "a box of {size} bytes at {at}");
        found.push((kind, at + 8..at + size));
        at += size;
    }
    Ok(found)
}

/// Appends bytes that no proxy could press together.
fn lengthen(path: &Path, bytes: u64) -> anyhow::Result<()> {
    let mut file = File::options().append(true).open(path)?;
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut block = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        for eight in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            eight.copy_from_slice(&state.to_le_bytes());
        }
        let now = usize::try_from(left.min(block.len() as u64))?;
        file.write_all(&block[..now])?;
        left -= now as u64;
    }
    file.sync_all()?;
    Ok(())
}

fn slice(path: &Path) -> anyhow::Result<(Vec<Part>, Digest)> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let (mut whole, mut parts) = (Sha256::new(), Vec::new());
    loop {
        let mut bytes = Vec::new();
        (&mut file).take(PART_SIZE).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok((parts, Digest::finish(whole)));
        }
        whole.update(&bytes);
        let n = u32::try_from(parts.len())?;
        parts.push(Part { n, size: bytes.len() as u64, sha256: Digest::of(&bytes) });
    }
}

/// Whether an agent's lesson waits no more.
///
/// # Errors
/// When the agent does not answer.
pub fn is_stored(agent: &Agent, id: &str) -> anyhow::Result<bool> {
    let (list, _) = agent.lectern(&["lessons"])?;
    Ok(list.as_array().is_some_and(|list| list.iter().any(|l| l["id"] == id && l["state"] == "stored")))
}
