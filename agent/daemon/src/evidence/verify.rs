//! `lectern verify`: is a lesson what its device signed and its hub stored? Works offline.
//!
//! A folder holds `manifest.json`, the takes it names and, once stored, `receipt.json`. Public keys come from
//! `--keys`, or from a `keys.json` in the folder itself; the latter proves that nothing was changed since
//! somebody signed, not who that was, and the report says so.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use lectern_wire::PART_SIZE;
use lectern_wire::digest::Digest;
use lectern_wire::manifest::{Manifest, Take, TakeEnd, clock_text};
use lectern_wire::receipt::Receipt;
use lectern_wire::sign::{BadDocument, Kept, KeyRing, Signed};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Largest document that is read, bytes.
const MAX_DOCUMENT: u64 = 64 * 1024 * 1024;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The lesson, once its manifest could be read.
    pub lesson_id: Option<String>,
    /// Everything is there and as it was signed.
    pub sound: bool,
    /// What is wrong, a sentence each.
    pub faults: Vec<Fault>,
    /// What is worth knowing, a sentence each.
    pub notes: Vec<String>,
    /// `trusted` when the keys were given, `folder` when they came with the lesson, `none`.
    pub keys: &'static str,
    /// Whether a receipt of the hub is there and fits.
    pub receipted: bool,
    /// One uninterrupted take, without pause or gap (不剪辑).
    pub uninterrupted: bool,
    /// Length of the picture in all takes, milliseconds.
    pub duration_ms: u64,
    /// Parts checked.
    pub parts: u64,
    /// Bytes checked.
    pub bytes: u64,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// `altered`, `missing`, `key_unknown`, `signature`, `receipt`, `document`.
    pub kind: &'static str,
    /// The take concerned.
    pub take: Option<u32>,
    /// The part concerned.
    pub part: Option<u32>,
    /// The span of the take concerned, milliseconds.
    pub span_ms: Option<(u64, u64)>,
    /// In a sentence.
    pub sentence: String,
}

impl Fault {
    fn of(kind: &'static str, sentence: impl Into<String>) -> Self {
        Self { kind, take: None, part: None, span_ms: None, sentence: sentence.into() }
    }
}

/// Where public keys are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// Given by whoever asks.
    Given(KeyRing),
    /// Whatever lies in the folder.
    FromFolder,
}

/// Reads a key file: `{"keys": {id: key}}`.
///
/// # Errors
/// A sentence when it cannot be read.
pub fn read_keys(path: &Path) -> Result<KeyRing, String> {
    document(path)
}

/// Checks a lesson's folder, or the folder of a take that is named itself.
pub fn verify(path: &Path, keys: &Keys) -> Report {
    let mut report = Report {
        lesson_id: None,
        sound: false,
        faults: Vec::new(),
        notes: Vec::new(),
        keys: "none",
        receipted: false,
        uninterrupted: false,
        duration_ms: 0,
        parts: 0,
        bytes: 0,
    };
    let (folder, only) = match (path.is_file(), path.parent()) {
        (true, Some(parent)) => {
            (parent.to_owned(), path.file_name().map(|n| n.to_string_lossy().into_owned()))
        }
        _ => (path.to_owned(), None),
    };
    let signed: Signed<Manifest> = match document(&folder.join("manifest.json")) {
        Ok(signed) => signed,
        Err(e) => {
            report.faults.push(Fault::of("document", e));
            return report;
        }
    };
    let ring = ring(&folder, keys, &mut report);
    report.lesson_id = Some(signed.document.lesson_id.to_string());
    if let Err(e) = signed.verify(&ring) {
        report.faults.push(signature_fault("the manifest", &e));
    }
    let manifest = &signed.document;
    if let Some(only) = only.as_ref().filter(|only| !manifest.takes.iter().any(|t| t.file == **only)) {
        report.faults.push(Fault::of("document", format!("{only} is not a take of this manifest")));
    }
    check_receipt(&folder, manifest, &ring, &mut report);
    for take in manifest.takes.iter().filter(|t| only.as_ref().is_none_or(|o| *o == t.file)) {
        check_take(&folder, take, &mut report);
    }
    describe(manifest, &mut report);
    report.sound = report.faults.is_empty();
    report
}

fn ring(folder: &Path, keys: &Keys, report: &mut Report) -> KeyRing {
    match keys {
        Keys::Given(ring) => {
            report.keys = "trusted";
            ring.clone()
        }
        Keys::FromFolder => match document::<KeyRing>(&folder.join("keys.json")) {
            Ok(ring) => {
                report.keys = "folder";
                let ids: Vec<_> = ring.iter().map(lectern_wire::sign::PublicKey::id).collect();
                let ids = ids.join(", ");
                report.notes.push(format!(
                    "the keys came with the folder: compare {ids} with what the device and the hub show"
                ));
                ring
            }
            Err(_) => KeyRing::default(),
        },
    }
}

fn signature_fault(what: &str, e: &BadDocument) -> Fault {
    let kind = if matches!(e, BadDocument::KeyUnknown(_)) { "key_unknown" } else { "signature" };
    Fault::of(kind, format!("{what}: {e}"))
}

fn document<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, String> {
    let named = |what: String| format!("{}: {what}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| named(e.to_string()))?;
    file.take(MAX_DOCUMENT).read_to_end(&mut bytes).map_err(|e| named(e.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|e| named(format!("cannot be read: {e}")))
}

fn check_receipt(folder: &Path, manifest: &Kept<Manifest>, ring: &KeyRing, report: &mut Report) {
    let path = folder.join("receipt.json");
    if !path.exists() {
        report.notes.push("no receipt: whether the hub has the lesson is not shown here".into());
        return;
    }
    let receipt: Signed<Receipt> = match document(&path) {
        Ok(receipt) => receipt,
        Err(e) => return report.faults.push(Fault::of("receipt", e)),
    };
    if let Err(e) = receipt.verify(ring) {
        return report.faults.push(signature_fault("the receipt", &e));
    }
    let fits = manifest.digest().is_ok_and(|d| d == receipt.document.manifest_sha256)
        && receipt.document.lesson_id == manifest.lesson_id;
    if fits {
        report.receipted = true;
    } else {
        report.faults.push(Fault::of("receipt", "the receipt belongs to another manifest"));
    }
}

fn check_take(folder: &Path, take: &Take, report: &mut Report) {
    // The manifest comes from outside: its file names must not lead elsewhere.
    if take.file != format!("take-{}.mp4", take.n) {
        return report
            .faults
            .push(Fault::of("document", format!("{:?} is not the name of take {}", take.file, take.n)));
    }
    let path: PathBuf = folder.join(&take.file);
    let missing = |sentence: String| Fault { take: Some(take.n), ..Fault::of("missing", sentence) };
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(e) => return report.faults.push(missing(format!("take {} is missing: {e}", take.n))),
    };
    let expected: u64 = take.parts.iter().map(|p| p.size).sum();
    let slicing = take.parts.iter().enumerate().all(|(n, p)| {
        let last = n + 1 == take.parts.len();
        p.n as usize == n && p.size > 0 && (p.size == PART_SIZE || last && p.size < PART_SIZE)
    });
    if expected != take.size || !slicing {
        return report
            .faults
            .push(Fault::of("document", format!("the parts of take {} do not add up", take.n)));
    }
    let mut whole = Sha256::new();
    let before = report.faults.len();
    let mut buffer = vec![0; 256 * 1024];
    for part in &take.parts {
        let offset = u64::from(part.n) * PART_SIZE;
        let (from, to) = take.span_of(offset, part.size);
        let at = |kind, what: &str| Fault {
            kind,
            take: Some(take.n),
            part: Some(part.n),
            span_ms: Some((from, to)),
            sentence: format!(
                "take {} part {} ({}–{}): {what}",
                take.n,
                part.n,
                clock_text(from),
                clock_text(to)
            ),
        };
        match hash(&mut file, part.size, &mut buffer, &mut whole) {
            Ok(Some(digest)) if digest == part.sha256 => {}
            Ok(Some(_)) => report.faults.push(at("altered", "the bytes are not what was recorded")),
            Ok(None) => report.faults.push(at("missing", "the bytes end too early")),
            Err(e) => report.faults.push(at("missing", &e.to_string())),
        }
        report.parts += 1;
        report.bytes += part.size;
    }
    if report.faults.len() == before {
        if Digest::finish(whole) != take.sha256 {
            report
                .faults
                .push(Fault::of("document", format!("take {}'s own hash does not fit its parts", take.n)));
        } else if file.read(&mut buffer).is_ok_and(|n| n > 0) {
            let sentence = format!("take {} has bytes behind its end that were never recorded", take.n);
            report.faults.push(Fault { take: Some(take.n), ..Fault::of("altered", sentence) });
        }
    }
}

/// Hashes exactly `size` bytes; `None` when there are fewer.
fn hash(
    file: &mut File,
    size: u64,
    buffer: &mut [u8],
    whole: &mut Sha256,
) -> std::io::Result<Option<Digest>> {
    let mut part = Sha256::new();
    let mut left = size;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let n = file.read(&mut buffer[..want])?;
        if n == 0 {
            return Ok(None);
        }
        part.update(&buffer[..n]);
        whole.update(&buffer[..n]);
        left -= n as u64;
    }
    Ok(Some(Digest::finish(part)))
}

fn describe(manifest: &Manifest, report: &mut Report) {
    report.duration_ms = manifest.takes.iter().map(|t| t.duration_ms).sum();
    let mut whole = manifest.takes.len() == 1;
    for take in &manifest.takes {
        if let TakeEnd::Interrupted(reason) = &take.end {
            whole = false;
            report.notes.push(format!(
                "take {} was interrupted at {}: {reason}",
                take.n,
                clock_text(take.duration_ms)
            ));
        }
        for pause in &take.pauses {
            whole = false;
            let length =
                pause.length_ms.map_or_else(|| "to the end".to_owned(), |ms| format!("for {} s", ms / 1000));
            report.notes.push(format!("take {} was paused at {} {length}", take.n, clock_text(pause.at_ms)));
        }
        for gap in &take.gaps {
            whole = false;
            let to = gap.to_ms.map_or_else(|| "the end".to_owned(), clock_text);
            report.notes.push(format!(
                "take {}: {} away {}–{to}: {}",
                take.n,
                gap.source,
                clock_text(gap.from_ms),
                gap.cause
            ));
        }
        if !take.clock_trusted {
            report.notes.push(format!("take {}: the device's clock was not known to be right", take.n));
        }
    }
    report.uninterrupted = whole;
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use lectern_wire::capture::{AudioSettings, CaptureSettings, Layout, VideoSettings};
    use lectern_wire::id::{DeviceId, LessonId, SchoolId};
    use lectern_wire::manifest::{About, Fragment, Part, Software};
    use lectern_wire::sign::PublicKey;

    use super::*;

    /// A signed lesson of three parts, each of ten seconds.
    fn lesson(folder: &Path) -> KeyRing {
        let size = 2 * PART_SIZE + 1000;
        let bytes: Vec<u8> = (0..size).map(|n| (n * 31 % 251) as u8).collect();
        std::fs::write(folder.join("take-1.mp4"), &bytes).expect("writes");
        let parts = bytes.chunks(PART_SIZE as usize).zip(0..).map(|(chunk, n)| Part {
            n,
            size: chunk.len() as u64,
            sha256: Digest::of(chunk),
        });
        let fragments = (0..3).map(|n| Fragment {
            start_ms: n * 10_000,
            offset: n * PART_SIZE,
            length: PART_SIZE.min(size - n * PART_SIZE),
            key: true,
        });
        let take = Take {
            n: 1,
            file: "take-1.mp4".into(),
            size,
            sha256: Digest::of(&bytes),
            duration_ms: 30_000,
            started_wall_ms: 0,
            started_mono_ms: 0,
            boot_id: "b".into(),
            clock_trusted: true,
            end: TakeEnd::Stopped,
            parts: parts.collect(),
            fragments: fragments.collect(),
            pauses: vec![],
            gaps: vec![],
            findings: vec![],
            marks: vec![],
            layouts: vec![],
            report: None,
            encoder: String::new(),
            paces: vec![],
            ring_ms: None,
            live: Vec::new(),
        };
        let manifest = Manifest {
            v: 1,
            lesson_id: LessonId::new("l").expect("id"),
            school: SchoolId::new("s").expect("id"),
            room: "301".into(),
            device: DeviceId::new("d").expect("id"),
            about: About::default(),
            takes: vec![take],
            capture: CaptureSettings {
                layout: Layout::Screen,
                sources: vec![],
                video: VideoSettings {
                    width: 64,
                    height: 64,
                    fps: 25,
                    max_kbps: 100,
                    gop_s: 2,
                    encoder: None,
                },
                audio: AudioSettings { kbps: 96 },
                copy_camera: false,
            },
            software: Software { agent: "0".into(), recorder: "0".into(), libav: "0".into() },
            prev: None,
            sealed_wall_ms: 0,
        };
        let key = SigningKey::from_bytes(&[3; 32]);
        let signed = Signed::sign(manifest, &key).expect("signs");
        std::fs::write(folder.join("manifest.json"), serde_json::to_vec(&signed).expect("json"))
            .expect("writes");
        let mut ring = KeyRing::default();
        ring.add(PublicKey::of(&key));
        ring
    }

    #[test]
    fn one_changed_byte_is_named_by_part_and_time() {
        let folder = tempfile::tempdir().expect("folder");
        let keys = Keys::Given(lesson(folder.path()));
        let report = verify(folder.path(), &keys);
        assert!(report.sound && report.uninterrupted, "{report:#?}");
        let path = folder.path().join("take-1.mp4");
        let good = std::fs::read(&path).expect("reads");
        for (at, part, span) in [
            (0, 0, (0, 10_000)),
            (PART_SIZE + 5, 1, (10_000, 20_000)),
            (2 * PART_SIZE + 999, 2, (20_000, 30_000)),
        ] {
            let mut bad = good.clone();
            bad[at as usize] ^= 1;
            std::fs::write(&path, &bad).expect("writes");
            let report = verify(folder.path(), &keys);
            assert!(!report.sound);
            assert_eq!(report.faults.len(), 1);
            assert_eq!((report.faults[0].part, report.faults[0].span_ms), (Some(part), Some(span)));
        }
        std::fs::write(&path, &good[..good.len() - 1]).expect("writes");
        assert_eq!(verify(folder.path(), &keys).faults[0].kind, "missing");
        std::fs::write(&path, [good.as_slice(), &[0]].concat()).expect("writes");
        assert_eq!(verify(folder.path(), &keys).faults[0].kind, "altered");
    }

    #[test]
    fn a_changed_manifest_and_an_unknown_key_are_told_apart() {
        let folder = tempfile::tempdir().expect("folder");
        let ring = lesson(folder.path());
        assert_eq!(verify(folder.path(), &Keys::FromFolder).faults[0].kind, "key_unknown");
        let path = folder.path().join("manifest.json");
        let text =
            std::fs::read_to_string(&path).expect("reads").replace("\"room\":\"301\"", "\"room\":\"302\"");
        std::fs::write(&path, text).expect("writes");
        assert_eq!(verify(folder.path(), &Keys::Given(ring)).faults[0].kind, "signature");
    }
}
