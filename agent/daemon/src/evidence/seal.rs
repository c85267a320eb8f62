//! Makes the manifest of a finished lesson.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::path::Path;

use lectern_base::{clock, disk};
use lectern_wire::id::LessonId;
use lectern_wire::manifest::{Manifest, Software, Take, TakeEnd};
use lectern_wire::sign::Signed;

use super::check::Check;
use super::follow::Follower;
use super::{SealError, Settings, heads, journal};
use crate::store::lessons::Lesson;
use crate::store::{Store, StoreError};

/// Seals a lesson; gives its manifest, or nothing when nothing in it was ever durable.
/// `checks` are those that ran beside the lesson, by take.
pub fn seal(
    store: &Store,
    settings: &Settings,
    id: &LessonId,
    checks: &mut HashMap<u32, Check>,
) -> Result<Option<Manifest>, SealError> {
    let lesson =
        store.lesson(id)?.ok_or_else(|| StoreError::Impossible(format!("lesson {id} has no row")))?;
    let folder = store.lesson_folder(id);
    let mut takes = Vec::new();
    let mut software =
        Software { agent: env!("CARGO_PKG_VERSION").into(), recorder: String::new(), libav: String::new() };
    for row in store.takes(id)? {
        let ended = row.ended.unwrap_or_else(|| TakeEnd::Interrupted("the recorder was lost".into()));
        let check = checks.remove(&row.n).unwrap_or_default();
        if let Some((take, versions)) = finish_take(store, settings, &lesson, &folder, row.n, ended, check)? {
            takes.push(take);
            (software.recorder, software.libav) = versions;
        }
    }
    if takes.is_empty() {
        return Ok(None);
    }
    let prev = store.fact("last_manifest")?;
    let prev =
        prev.map(|text| text.parse().map_err(|_| StoreError::Impossible(format!("last_manifest {text:?}"))));
    let manifest = Manifest {
        v: 1,
        lesson_id: id.clone(),
        school: settings.school.clone(),
        room: settings.room.clone(),
        device: settings.device.clone(),
        about: lesson.about,
        takes,
        capture: lesson.capture,
        software,
        prev: prev.transpose()?,
        sealed_wall_ms: clock::wall_ms(),
    };
    let signed = Signed::sign(manifest, &settings.key)?;
    let digest = signed.document.digest()?;
    let path = folder.join("manifest.json");
    let bytes = serde_json::to_vec_pretty(&signed).map_err(|e| StoreError::Impossible(e.to_string()))?;
    disk::replace(&path, &bytes).map_err(|source| SealError::File { path, source })?;
    let reports: Vec<_> = signed.document.takes.iter().map(|t| &t.report).collect();
    let reports = serde_json::to_value(reports).map_err(|e| StoreError::Impossible(e.to_string()))?;
    store.put_reports(id, &reports)?;
    store.seal(id, digest)?;
    Ok(Some(signed.document.into_understood()))
}

type Versions = (String, String);

fn finish_take(
    store: &Store,
    settings: &Settings,
    lesson: &Lesson,
    folder: &Path,
    n: u32,
    ended: TakeEnd,
    check: Check,
) -> Result<Option<(Take, Versions)>, SealError> {
    let file = format!("take-{n}.mp4");
    let path = folder.join(&file);
    let io = |source| SealError::File { path: path.clone(), source };
    let take = match OpenOptions::new().write(true).open(&path) {
        Ok(take) => take,
        // The recorder was lost before it made the file.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io(e)),
    };
    // What is signed does not grow any more.
    if !disk::hold(&take).map_err(io)? {
        return Err(SealError::StillWritten { path });
    }
    let length = take.metadata().map_err(io)?.len();
    let whole = whole_prefix(&path, length)?;
    if whole == 0 {
        return Ok(None);
    }
    if whole < length {
        tracing::warn!(lesson = %lesson.id, take = n, whole, length, "the open fragment of an interrupted take is cut off");
        take.set_len(whole).map_err(io)?;
        take.sync_all().map_err(io)?;
    }
    let mut follower = Follower::new(path.clone());
    follower.advance(whole)?;
    if let Some(head) = follower.head() {
        heads::give_out(store, settings, &lesson.id, n, head)?;
    }
    let measured = follower.end();
    for part in &measured.parts {
        store.put_part(&lesson.id, n, part)?;
    }
    if measured.scanner.fragments().is_empty() {
        return Ok(None);
    }
    store.bells().upload.notify_one();
    let report = check.finish(settings, &path, n, lesson.capture.video.fps, whole)?;

    let duration_ms = measured.scanner.duration_ms();
    let journal = journal::read(&folder.join(format!("take-{n}.jsonl")), duration_ms);
    // What the daemon did not live to hear, the journal knows.
    let end = if journal.stopped { TakeEnd::Stopped } else { ended };
    let (started_wall_ms, started_mono_ms, boot_id, clock_trusted) = journal.started.unwrap_or_default();
    let take = Take {
        n,
        file,
        size: whole,
        sha256: measured.sha256,
        duration_ms,
        started_wall_ms,
        started_mono_ms,
        boot_id,
        clock_trusted,
        end,
        parts: measured.parts,
        fragments: measured.scanner.fragments().to_vec(),
        pauses: journal.pauses,
        gaps: journal.gaps,
        findings: journal.findings,
        marks: journal.marks,
        layouts: journal.layouts,
        report: Some(report),
        encoder: journal.encoder,
        paces: journal.paces,
        ring_ms: journal.ring_ms,
        live: journal.live,
    };
    Ok(Some((take, journal.software)))
}

/// Length of the prefix that ends on a fragment.
fn whole_prefix(path: &Path, length: u64) -> Result<u64, SealError> {
    use std::io::Read as _;
    if length == 0 {
        return Ok(0);
    }
    let io = |source| SealError::File { path: path.to_owned(), source };
    let mut scanner = lectern_wire::fmp4::Scanner::default();
    let mut file = std::fs::File::open(path).map_err(io)?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let n = file.read(&mut buffer).map_err(io)?;
        if n == 0 {
            break;
        }
        if let Err(e) = scanner.push(&buffer[..n]) {
            // After a power cut the tail may be zeros or old blocks: what was whole before stays whole.
            tracing::warn!(take = %path.display(), "{e}");
            break;
        }
    }
    Ok(if scanner.fragments().is_empty() { 0 } else { scanner.whole() })
}
