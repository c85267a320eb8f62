//! Holds a lesson's papers against each other and its bytes against its papers.
//!
//! In this order: the manifest is what a known device signed; the receipt is what a known hub signed of this manifest
//! and stands in its log; what the device signed while it recorded speaks of the same bytes ([`heads`]); the bytes of every take, or of a range, are those the manifest names. Whatever fails is named, and what does not
//! depend on it is checked all the same.

use std::collections::BTreeSet;
use std::io;

use lectern_wire::PART_SIZE;
use lectern_wire::log::{self, BadPlace};
use lectern_wire::manifest::{Manifest, Take, TakeEnd, clock_text};
use lectern_wire::receipt::Receipt;
use lectern_wire::sign::{BadDocument, Kept, KeyRing, PublicKey, Signed};
use serde::de::DeserializeOwned;

use crate::blind::Commitment;
use crate::bytes::Blob;
use crate::report::{Fault, Keys, Note, Paper, Report, Verdict};
use crate::{heads, takes};

/// Opens a take by its number.
pub type OpenTake = Box<dyn Fn(u32) -> io::Result<Blob> + Send + Sync>;

/// A lesson as it was found. Papers are bytes as they stand there.
pub struct Found {
    /// `manifest.json`, or why it cannot be had.
    pub manifest: Result<Vec<u8>, String>,
    /// Instead of the manifest, in an export without names.
    pub commitment: Option<Vec<u8>>,
    /// `receipt.json`.
    pub receipt: Option<Vec<u8>>,
    /// `heads.jsonl`: what the device signed while it recorded.
    pub heads: Option<Vec<u8>>,
    /// `keys.json`.
    pub keys: Option<Vec<u8>>,
    /// The bytes.
    pub takes: OpenTake,
    /// Only this file was asked for.
    pub only: Option<String>,
    /// What was wrong before anything was checked.
    pub faults: Vec<Fault>,
}

impl Found {
    /// A lesson of which nothing was found yet but what is wrong.
    #[must_use]
    pub fn nothing(what: impl Into<String>, why: impl Into<String>) -> Self {
        let mut found = Self::without_bytes(Err(String::new()));
        found.faults.push(Fault::Unreadable { what: what.into(), why: why.into() });
        found
    }

    /// A lesson whose bytes were not found.
    #[must_use]
    pub fn without_bytes(manifest: Result<Vec<u8>, String>) -> Self {
        Self {
            manifest,
            commitment: None,
            receipt: None,
            heads: None,
            keys: None,
            takes: Box::new(|_| Err(io::Error::new(io::ErrorKind::NotFound, "it is not there"))),
            only: None,
            faults: Vec::new(),
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Public keys to trust; without them those that came with the lesson.
    pub keys: Option<KeyRing>,
    /// Only this range of the lesson, milliseconds.
    pub range_ms: Option<(u64, u64)>,
    /// The manifest an export without names commits to.
    pub shown: Option<Vec<u8>>,
}

/// A report, and what it was made from.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The report.
    pub report: Report,
    /// The manifest, also one whose signature does not fit.
    pub manifest: Option<Kept<Manifest>>,
    /// The takes: the manifest's, or those of a commitment.
    pub takes: Vec<Take>,
    /// The receipt, when it fits.
    pub receipt: Option<Kept<Receipt>>,
    /// Ids of the keys that signed manifest and receipt.
    pub signers: [Option<String>; 2],
}

/// Checks a lesson.
#[must_use]
pub fn check(found: Found, asked: &Asked) -> Outcome {
    let mut faults = found.faults;
    let mut notes = Vec::new();
    let mut outcome = Outcome::default();
    let mut heads = None;
    let (keys, ring) = ring(asked.keys.as_ref(), found.keys.as_deref(), &mut notes);
    let signed = match (&found.commitment, &asked.shown) {
        (Some(bytes), shown) => {
            notes.push(Note::Anonymous);
            blind(bytes, shown.as_deref(), &mut outcome.takes, &mut faults)
        }
        (None, _) => match found.manifest.and_then(|bytes| read::<Signed<Manifest>>(&bytes)) {
            Ok(signed) => Some(signed),
            Err(why) => {
                // What was found before says more than that there is nothing.
                if !why.is_empty() {
                    faults.push(Fault::Unreadable { what: "manifest.json".into(), why });
                }
                None
            }
        },
    };
    if let Some(signed) = signed {
        if let Err(e) = signed.verify(&ring) {
            faults.push(signature(Paper::Manifest, &e));
        }
        outcome.signers[0] = Some(signed.signature.key_id.clone());
        outcome.report.lesson_id = Some(signed.document.lesson_id.to_string());
        receipt(found.receipt.as_deref(), &signed.document, &ring, &mut outcome, &mut faults, &mut notes);
        let witness = outcome.receipt.as_ref().and_then(|receipt| receipt.heads);
        heads = found
            .heads
            .as_deref()
            .map(|lines| heads::read(lines, &signed.document, witness, &ring, &mut faults));
        outcome.takes.clone_from(&signed.document.takes);
        outcome.manifest = Some(signed.document);
    }
    let takes = &outcome.takes;
    if takes.is_empty() && faults.is_empty() {
        let why = "it names no take".to_owned();
        faults.push(Fault::Unreadable { what: "manifest.json".into(), why });
    }
    if let Some(only) = found.only.as_ref().filter(|only| !takes.iter().any(|t| t.file == **only))
        && outcome.manifest.is_some()
    {
        faults.push(Fault::NotATake { file: only.clone() });
    }
    let report = &mut outcome.report;
    report.duration_ms = takes.iter().map(|t| t.duration_ms).sum();
    let asked_range = asked.range_ms.filter(|_| !takes.is_empty());
    if let Some((from, _)) = asked_range.filter(|(from, _)| *from >= report.duration_ms) {
        let why =
            format!("{} is behind the lesson's end at {}", clock_text(from), clock_text(report.duration_ms));
        faults.push(Fault::Unreadable { what: "the range".into(), why });
    }
    let mut before = 0;
    for take in takes {
        let span = asked_range.map(|(from, to)| {
            (
                from.saturating_sub(before).min(take.duration_ms),
                to.saturating_sub(before).min(take.duration_ms),
            )
        });
        before += take.duration_ms;
        let wanted = found.only.as_ref().is_none_or(|only| *only == take.file);
        if !wanted || span.is_some_and(|(from, to)| from >= to) {
            continue;
        }
        check_take(take, &found.takes, span, takes, report, &mut faults);
        heads::check(take, heads.as_deref().unwrap_or_default(), &found.takes, span, &mut faults);
        describe(take, takes.len(), span, report, &mut notes);
    }
    report.range_ms = asked_range.map(|(from, to)| (from, to.min(report.duration_ms)));
    conclude(&mut outcome, keys, &faults, &notes);
    outcome
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|e| format!("cannot be read: {e}"))
}

/// The keys to go by.
fn ring(given: Option<&KeyRing>, along: Option<&[u8]>, notes: &mut Vec<Note>) -> (Keys, KeyRing) {
    if let Some(ring) = given {
        return (Keys::Trusted, ring.clone());
    }
    match along.map(read::<KeyRing>) {
        Some(Ok(ring)) => {
            notes.push(Note::KeysCameAlong { ids: ring.iter().map(PublicKey::id).collect() });
            (Keys::Folder, ring)
        }
        _ => (Keys::None, KeyRing::default()),
    }
}

fn signature(paper: Paper, e: &BadDocument) -> Fault {
    match e {
        BadDocument::KeyUnknown(key) => Fault::KeyUnknown { paper, key: key.clone() },
        other => Fault::Signature { paper, why: other.to_string() },
    }
}

/// Reads a commitment into takes; gives the manifest that was shown for it.
fn blind(
    bytes: &[u8],
    shown: Option<&[u8]>,
    takes: &mut Vec<Take>,
    faults: &mut Vec<Fault>,
) -> Option<Signed<Manifest>> {
    let unreadable = |what: &str, why| Fault::Unreadable { what: what.into(), why };
    let commitment: Commitment = match read(bytes) {
        Ok(commitment) => commitment,
        Err(why) => {
            faults.push(unreadable(crate::blind::FILE, why));
            return None;
        }
    };
    takes.clone_from(&commitment.takes);
    let signed: Signed<Manifest> = match read(shown?) {
        Ok(signed) => signed,
        Err(why) => {
            faults.push(unreadable("the manifest that was shown", why));
            return None;
        }
    };
    if commitment.is_of(&signed.document) {
        return Some(signed);
    }
    faults.push(Fault::CommitmentOfAnother);
    None
}

fn receipt(
    bytes: Option<&[u8]>,
    manifest: &Kept<Manifest>,
    ring: &KeyRing,
    outcome: &mut Outcome,
    faults: &mut Vec<Fault>,
    notes: &mut Vec<Note>,
) {
    let Some(bytes) = bytes else { return notes.push(Note::NoReceipt) };
    let signed: Signed<Receipt> = match read(bytes) {
        Ok(signed) => signed,
        Err(why) => return faults.push(Fault::Unreadable { what: "receipt.json".into(), why }),
    };
    outcome.signers[1] = Some(signed.signature.key_id.clone());
    if let Err(e) = signed.verify(ring) {
        return faults.push(signature(Paper::Receipt, &e));
    }
    let receipt = &signed.document;
    let fits = manifest.digest().is_ok_and(|d| d == receipt.manifest_sha256);
    if !fits || receipt.lesson_id != manifest.lesson_id {
        return faults.push(Fault::ReceiptOfAnother);
    }
    let before = faults.len();
    match log::check_place(receipt, ring) {
        // Receipts of hubs that had no such log prove less, but nothing else.
        Ok(_) | Err(BadPlace::None) => {}
        Err(BadPlace::Document(e)) => faults.push(signature(Paper::Receipt, &e)),
        Err(BadPlace::Checkpoint(why)) => faults.push(Fault::Signature { paper: Paper::Checkpoint, why }),
        Err(e @ BadPlace::Proof { .. }) => faults.push(Fault::Log { why: e.to_string() }),
    }
    for take in &manifest.takes {
        let object = receipt.store.objects.iter().find(|object| object.take == take.n);
        if object.is_none_or(|o| (o.size, o.sha256) != (take.size, take.sha256)) {
            faults.push(Fault::ReceiptTake { take: take.n });
        }
    }
    if faults.len() == before {
        outcome.receipt = Some(signed.document);
    }
}

fn check_take(
    take: &Take,
    open: &OpenTake,
    span: Option<(u64, u64)>,
    all: &[Take],
    report: &mut Report,
    faults: &mut Vec<Fault>,
) {
    // The manifest comes from outside: its file names must not lead elsewhere.
    if take.file != format!("take-{}.mp4", take.n) {
        return faults.push(Fault::TakeName { take: take.n, file: take.file.clone() });
    }
    if !takes::adds_up(take) {
        return faults.push(Fault::Slicing { take: take.n });
    }
    let bytes = match open(take.n) {
        Ok(bytes) => bytes,
        Err(e) => return faults.push(Fault::NoTake { take: take.n, why: e.to_string() }),
    };
    match span {
        None => {
            faults.extend(takes::check_all(take, &bytes, all));
            report.parts += take.parts.len() as u64;
            report.bytes += take.size;
        }
        Some(span) => {
            let mut reader = takes::Reader::default();
            let wanted = needed(take, span);
            for part in take.parts.iter().filter(|part| wanted.contains(&part.n)) {
                faults.extend(reader.check(take, part, &bytes, all));
                report.parts += 1;
                report.bytes += part.size;
            }
        }
    }
}

/// The parts a span of a take needs: its own, back to the picture that can be decoded alone, and the take's head.
fn needed(take: &Take, (from, to): (u64, u64)) -> BTreeSet<u32> {
    let first = take.fragments.iter().rposition(|f| f.key && f.start_ms <= from).unwrap_or(0);
    let within = take.fragments.iter().skip(first).take_while(|f| f.start_ms < to);
    let head = take.fragments.first().map_or(take.size, |f| f.offset);
    let ranges = [(0, head)].into_iter().chain(within.map(|f| (f.offset, f.offset.saturating_add(f.length))));
    let mut parts = BTreeSet::new();
    for (from, to) in ranges {
        let number = |at: u64| u32::try_from(at / PART_SIZE).unwrap_or(u32::MAX);
        let last = number(to.min(take.size).saturating_sub(1));
        parts.extend(take.parts.iter().map(|p| p.n).filter(|n| (number(from)..=last).contains(n)));
    }
    parts
}

/// Notes what happened in a take, or in a span of it.
fn describe(take: &Take, takes: usize, span: Option<(u64, u64)>, report: &mut Report, notes: &mut Vec<Note>) {
    let n = take.n;
    let (from, to) = span.unwrap_or((0, u64::MAX));
    let touches = |a: u64, b: u64| a < to && b >= from;
    if let TakeEnd::Interrupted(why) = &take.end
        && to >= take.duration_ms
    {
        notes.push(Note::Interrupted { take: n, at: take.duration_ms, why: why.clone() });
    }
    for pause in take.pauses.iter().filter(|pause| touches(pause.at_ms, pause.at_ms)) {
        notes.push(Note::Paused { take: n, at: pause.at_ms, length: pause.length_ms });
    }
    for gap in take.gaps.iter().filter(|gap| touches(gap.from_ms, gap.to_ms.unwrap_or(u64::MAX))) {
        let (source, why) = (gap.source.clone(), gap.cause.clone());
        notes.push(Note::Gap { take: n, from: gap.from_ms, to: gap.to_ms, source, why });
    }
    if !take.clock_trusted {
        notes.push(Note::Clock { take: n });
    }
    report.uninterrupted = takes == 1 || span.is_some_and(|(from, to)| from > 0 || to < take.duration_ms);
}

/// Draws the verdicts.
fn conclude(outcome: &mut Outcome, keys: Keys, faults: &[Fault], notes: &[Note]) {
    // What the hub heard while the lesson was recorded, it heard by its own clock.
    let witnessed = outcome.receipt.as_ref().is_some_and(|receipt| receipt.heads.is_some());
    let trusted_clocks = outcome.takes.iter().all(|take| take.clock_trusted);
    let report = &mut outcome.report;
    report.keys = keys;
    report.sound = faults.is_empty();
    report.receipted = outcome.receipt.is_some();
    let mut verdicts = BTreeSet::new();
    for fault in faults {
        verdicts.insert(match fault.kind() {
            "missing" => 1,
            "key_unknown" => 2,
            "document" => 3,
            _ => 0,
        });
    }
    const BAD: [Verdict; 4] = [Verdict::Altered, Verdict::Missing, Verdict::KeyUnknown, Verdict::Unreadable];
    report.verdicts = verdicts.into_iter().filter_map(|n| BAD.get(n).copied()).collect();
    if report.sound {
        let whole = report.range_ms.map_or(Verdict::Complete, |_| Verdict::RangeComplete);
        report.verdicts.push(whole);
    }
    let mut broken = false;
    let mut explained = true;
    for note in notes {
        match note {
            Note::Interrupted { why, .. } | Note::Gap { why, .. } => {
                (broken, explained) = (true, explained && !why.is_empty());
                report.uninterrupted = false;
            }
            Note::Paused { .. } => report.uninterrupted = false,
            _ => {}
        }
    }
    report.uninterrupted &= report.sound;
    let named = outcome.manifest.is_some();
    if broken && (explained || named) {
        let verdict = if explained { Verdict::GapExplained } else { Verdict::GapUnexplained };
        report.verdicts.push(verdict);
    }
    if report.uninterrupted {
        report.verdicts.push(Verdict::Uninterrupted);
    }
    if notes.contains(&Note::Anonymous) && !named {
        report.verdicts.push(Verdict::Anonymous);
    } else if named && !(report.receipted && (trusted_clocks || witnessed)) {
        report.verdicts.push(Verdict::TimeUnproven);
    }
    report.faults = faults.iter().map(Fault::say).collect();
    report.notes = notes.iter().map(Note::say).collect();
}
