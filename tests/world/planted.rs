//! A lesson of any size that waits for its upload, without the hours to record it: a short real one with its last
//! take made longer, sliced, hashed and signed as the agent does.

use std::fs::File;
use std::io::{BufReader, Read as _, Write as _};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::SigningKey;
use lectern_wire::PART_SIZE;
use lectern_wire::digest::Digest;
use lectern_wire::id::LessonId;
use lectern_wire::manifest::{Manifest, Part};
use lectern_wire::sign::{self, Signed};
use sha2::{Digest as _, Sha256};

use crate::school::Agent;

/// Puts a lesson of `bytes` bytes among those that wait, made from the stored lesson `from`. The agent is killed
/// for it and not started again.
///
/// # Errors
/// When the lesson it is made from is not as the agent writes lessons.
pub fn plant(agent: &mut Agent, from: &str, id: &str, bytes: u64) -> anyhow::Result<()> {
    agent.process.kill();
    let (source, folder) = (agent.data.join("lessons").join(from), agent.data.join("lessons").join(id));
    std::fs::create_dir_all(&folder)?;
    let signed: Signed<Manifest> = serde_json::from_slice(&std::fs::read(source.join("manifest.json"))?)?;
    let mut manifest = signed.document.into_understood();
    manifest.lesson_id = LessonId::new(id)?;
    manifest.prev = None;
    manifest.takes.truncate(1);
    let take = manifest.takes.first_mut().context("a lesson without a take")?;
    ensure!(take.size < bytes, "the lesson it is made from is longer already");
    let path = folder.join(&take.file);
    std::fs::copy(source.join(&take.file), &path)?;
    lengthen(&path, bytes - take.size)?;
    (take.parts, take.sha256) = slice(&path)?;
    take.size = bytes;

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

/// Appends bytes that no proxy could press together.
fn lengthen(path: &std::path::Path, bytes: u64) -> anyhow::Result<()> {
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

fn slice(path: &std::path::Path) -> anyhow::Result<(Vec<Part>, Digest)> {
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
