//! `lectern-hub log check`: the whole log against itself, what was signed of it, the receipts, the lessons' rows and
//! their files. Everything that is not as it should be gets a sentence that names the entry and the lesson.

use std::collections::BTreeMap;
use std::path::Path;

use lectern_wire::digest::Digest;
use lectern_wire::log::proof;
use lectern_wire::log::{self as tree, Checkpoint, Salt};
use lectern_wire::manifest::Manifest;
use lectern_wire::receipt::Receipt;
use lectern_wire::sign::{Document, KeyRing, Signed};
use lectern_wire::upload::StoreState;
use rusqlite::Connection;
use serde::Serialize;

use crate::store::lessons::{self, Lesson};
use crate::store::objects::{Objects, Place};
use crate::store::succession::{self, Follows};
use crate::store::{Store, StoreError, findings, log, odd};

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Entries of the log.
    pub entries: u64,
    /// Checkpoints that were held against it.
    pub checkpoints: u64,
    /// What is not as it should be.
    pub faults: Vec<Fault>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// One thing that is not as it should be.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// `entry_removed`, `entry_changed`, `tree`, `checkpoint`, `truncated`, `receipt_removed`, `receipt_inserted`,
    /// `receipt_changed`, `lesson_removed`, `lesson_changed`, `file`, `witness`, `contradicts_head`.
    pub kind: &'static str,
    /// The entry concerned.
    pub entry: Option<u64>,
    /// The lesson concerned.
    pub lesson: Option<String>,
    /// In a sentence.
    pub sentence: String,
}

struct Entry {
    hash: Digest,
    salt: Option<Salt>,
}

struct Row {
    index: u64,
    lesson: String,
    digest: String,
    document: String,
}

struct Check<'a> {
    hub: &'a KeyRing,
    log: &'a str,
    report: Report,
}

impl Check<'_> {
    fn fault(&mut self, kind: &'static str, entry: Option<u64>, lesson: Option<&str>, sentence: String) {
        self.report.faults.push(Fault { kind, entry, lesson: lesson.map(str::to_owned), sentence });
    }
}

/// Checks everything. `hub` are the keys of this hub, `log` is the name of its log, `witness` a checkpoint that
/// somebody outside kept.
///
/// # Errors
/// When the database cannot be read at all.
pub fn run(
    store: &Store,
    objects: &Objects,
    (hub, log): (&KeyRing, &str),
    witness: Option<&Signed<Checkpoint>>,
) -> Result<Report, StoreError> {
    let mut check = Check { hub, log, report: Report::default() };
    store.read_now(|db| {
        let entries = entries(db, &mut check)?;
        check.report.entries = entries.len() as u64;
        let roots = nodes(db, &entries, &mut check)?;
        checkpoints(db, &roots, &mut check)?;
        if let Some(witness) = witness {
            outside(witness, &roots, &mut check);
        }
        let rows = rows(db)?;
        receipts(&rows, &entries, &mut check);
        let all = lessons::all(db)?;
        rows_and_lessons(&rows, &all, &mut check);
        for lesson in all.iter().filter(|lesson| lesson.state == StoreState::Stored) {
            files(objects, lesson, rows.iter().find(|row| row.lesson == lesson.id.as_str()), &mut check);
        }
        let known: Vec<&str> = all.iter().map(|lesson| lesson.id.as_str()).collect();
        for (id, path) in objects.all() {
            if !known.contains(&id.as_str()) {
                let sentence = format!("{path} holds bytes of a lesson whose row is gone");
                check.fault("lesson_removed", None, Some(&id), sentence);
            }
        }
        for found in findings::of(db, "")? {
            let lesson = (!found.lesson.is_empty()).then_some(found.lesson.as_str());
            let kind = if found.what == super::witness::CONTRADICTS {
                "contradicts_head"
            } else {
                "receipt_removed"
            };
            check.fault(kind, None, lesson, found.detail);
        }
        for lesson in &all {
            let hole = match succession::of(db, lesson)? {
                Some(Follows::Missing(prev)) => {
                    format!("the one its device recorded before it (manifest {prev}) never came here")
                }
                Some(Follows::Broken) => "it follows nothing, though its device had recorded before".into(),
                Some(Follows::Twice(twin)) => format!("lesson {twin} says that it follows the same one"),
                Some(Follows::First | Follows::Anew | Follows::Lesson(_)) | None => continue,
            };
            check.report.notes.push(format!("lesson {}: {hole}", lesson.id));
        }
        Ok(())
    })?;
    Ok(check.report)
}

fn entries(db: &Connection, check: &mut Check<'_>) -> rusqlite::Result<Vec<Entry>> {
    let mut rows = db.prepare("SELECT n, entry, salt FROM log_entry ORDER BY n")?;
    let mut rows = rows.query([])?;
    let mut out: Vec<Entry> = Vec::new();
    while let Some(row) = rows.next()? {
        let n = row.get::<_, i64>(0)?.unsigned_abs();
        let text: String = row.get(1)?;
        while (out.len() as u64) < n {
            let at = out.len() as u64;
            check.fault("entry_removed", Some(at), None, format!("entry {at} of the log was removed"));
            // Something stands in its place, so that what comes after keeps its own.
            out.push(Entry { hash: Digest::of(b"removed"), salt: None });
        }
        let hash = text.parse().unwrap_or_else(|_| {
            check.fault(
                "entry_changed",
                Some(n),
                None,
                format!("entry {n} of the log is not a hash any more"),
            );
            Digest::of(b"unreadable")
        });
        let salt: Option<String> = row.get(2)?;
        out.push(Entry { hash, salt: salt.and_then(|text| text.try_into().ok()) });
    }
    Ok(out)
}

/// Grows the tree anew from its entries; holds the kept nodes against it. Gives the root of every size.
fn nodes(db: &Connection, entries: &[Entry], check: &mut Check<'_>) -> rusqlite::Result<Vec<Digest>> {
    let mut kept: BTreeMap<(u32, u64), Digest> = BTreeMap::new();
    let mut rows = db.prepare("SELECT level, n, hash FROM log_node")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let hash: Vec<u8> = row.get(2)?;
        let hash = <[u8; 32]>::try_from(hash).map_err(|_| odd(2, Odd))?;
        kept.insert((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()), Digest::from_bytes(hash));
    }
    let (mut roots, mut peaks) = (vec![Digest::of(b"")], Vec::new());
    let mut made: BTreeMap<(u32, u64), Digest> = BTreeMap::new();
    for (index, entry) in (0..).zip(entries) {
        let leaf = tree::leaf_hash(entry.hash.bytes());
        let grown: Result<_, std::convert::Infallible> =
            proof::grow(index, leaf, |at| Ok(made.get(&(at.level, at.index)).copied().unwrap_or(leaf)));
        let Ok(grown) = grown;
        made.extend(grown.into_iter().map(|(at, hash)| ((at.level, at.index), hash)));
        log::push(&mut peaks, leaf);
        roots.push(log::fold(&peaks));
    }
    for ((level, n), hash) in &made {
        if *level == 0 && kept.get(&(0, *n)).is_some_and(|was| was != hash) {
            let sentence = format!("entry {n} of the log is not the one that the tree was grown with");
            check.fault("entry_changed", Some(*n), None, sentence);
        }
    }
    let same = kept == made;
    if !same && !check.report.faults.iter().any(|f| f.kind.starts_with("entry")) {
        check.fault("tree", None, None, "the tree's kept hashes are not those of its entries".into());
    }
    Ok(roots)
}

#[derive(Debug, thiserror::Error)]
#[error("a hash of the log's tree has not 32 bytes")]
struct Odd;

fn checkpoints(db: &Connection, roots: &[Digest], check: &mut Check<'_>) -> rusqlite::Result<()> {
    let mut rows = db.prepare("SELECT size, document FROM log_checkpoint ORDER BY size")?;
    let mut rows = rows.query([])?;
    let (mut first_bad, mut largest) = (None, None);
    while let Some(row) = rows.next()? {
        check.report.checkpoints += 1;
        let (size, text): (i64, String) = (row.get(0)?, row.get(1)?);
        let signed: Result<Signed<Checkpoint>, _> = serde_json::from_str(&text);
        let said =
            signed.as_ref().map_err(ToString::to_string).and_then(|s| tree::check_checkpoint(s, check.hub));
        let said = match said {
            Ok(said) if said.log == check.log && said.size == size.unsigned_abs() => said,
            Ok(_) => {
                check.fault(
                    "checkpoint",
                    None,
                    None,
                    format!("the checkpoint of {size} entries is of another log"),
                );
                continue;
            }
            Err(why) => {
                check.fault("checkpoint", None, None, format!("the checkpoint of {size} entries: {why}"));
                continue;
            }
        };
        largest = Some(said.size);
        let root = usize::try_from(said.size).ok().and_then(|n| roots.get(n));
        if root.is_some_and(|root| *root != said.root) {
            first_bad = first_bad.or(Some(said.size));
        }
    }
    let size = roots.len() as u64 - 1;
    if let Some(bad) = first_bad {
        let sentence = format!(
            "the first {bad} entries are not those that were signed: entry {} or one before it was changed, \
             removed or put in",
            bad.saturating_sub(1)
        );
        check.fault("checkpoint", bad.checked_sub(1), None, sentence);
    }
    match largest {
        Some(largest) if largest > size => {
            let sentence = format!("{largest} entries were signed, {size} are left: the end was removed");
            check.fault("truncated", Some(size), None, sentence);
        }
        Some(largest) if largest < size => {
            let sentence =
                format!("{size} entries stand here, only {largest} were ever signed: the rest was put in");
            check.fault("checkpoint", Some(largest), None, sentence);
        }
        Some(_) => {}
        None => {
            check.fault(
                "checkpoint",
                None,
                None,
                "no checkpoint was ever signed, or all were removed".into(),
            );
        }
    }
    Ok(())
}

/// A checkpoint that a classroom, or anybody, kept.
fn outside(witness: &Signed<Checkpoint>, roots: &[Digest], check: &mut Check<'_>) {
    let said = match tree::check_checkpoint(witness, check.hub) {
        Ok(said) if said.log == check.log => said,
        Ok(said) => {
            let sentence =
                format!("the checkpoint that was kept outside is of log {}, this is {}", said.log, check.log);
            return check.fault("witness", None, None, sentence);
        }
        Err(why) => {
            return check.fault(
                "witness",
                None,
                None,
                format!("the checkpoint that was kept outside: {why}"),
            );
        }
    };
    match usize::try_from(said.size).ok().and_then(|n| roots.get(n)) {
        None => check.fault(
            "witness",
            None,
            None,
            format!("{} entries were witnessed outside, {} are here", said.size, roots.len() - 1),
        ),
        Some(root) if *root != said.root => {
            check.fault(
                "witness",
                None,
                None,
                format!("the first {} entries are not those that were witnessed", said.size),
            );
        }
        Some(_) => {}
    }
}

fn rows(db: &Connection) -> rusqlite::Result<Vec<Row>> {
    let mut rows =
        db.prepare("SELECT log_index, lesson, digest, document FROM receipt ORDER BY log_index")?;
    let rows = rows.query_map([], |row| {
        Ok(Row {
            index: row.get::<_, i64>(0)?.unsigned_abs(),
            lesson: row.get(1)?,
            digest: row.get(2)?,
            document: row.get(3)?,
        })
    })?;
    rows.collect()
}

fn receipts(rows: &[Row], entries: &[Entry], check: &mut Check<'_>) {
    for index in 0..entries.len() as u64 {
        if !rows.iter().any(|row| row.index == index) {
            check.fault(
                "receipt_removed",
                Some(index),
                None,
                format!("the receipt of entry {index} was removed"),
            );
        }
    }
    let mut before: Option<&Row> = None;
    for row in rows {
        let at = Some(row.index);
        let entry = usize::try_from(row.index).ok().and_then(|n| entries.get(n));
        if entry.is_none() {
            let sentence = format!(
                "the receipt of lesson {} stands at {}, where the log has no entry",
                row.lesson, row.index
            );
            check.fault("receipt_inserted", at, Some(&row.lesson), sentence);
        }
        if let Some(why) = receipt_fault(row, entry, before, check) {
            let sentence = format!("entry {}, lesson {}: {why}", row.index, row.lesson);
            check.fault("receipt_changed", at, Some(&row.lesson), sentence);
        }
        before = Some(row);
    }
}

/// What is wrong with a receipt's row, in a sentence. That of a deleted lesson is only its hash.
fn receipt_fault(
    row: &Row,
    entry: Option<&Entry>,
    before: Option<&Row>,
    check: &Check<'_>,
) -> Option<String> {
    if row.document.is_empty() {
        return entry
            .is_some_and(|e| e.salt.is_some())
            .then(|| "its receipt is gone, its salt is not".into());
    }
    let signed: Signed<Receipt> = match serde_json::from_str(&row.document) {
        Ok(signed) => signed,
        Err(e) => return Some(format!("its receipt cannot be read: {e}")),
    };
    let said = match signed.verify(check.hub) {
        Ok(said) => said,
        Err(e) => return Some(format!("its receipt: {e}")),
    };
    if said.lesson_id.as_str() != row.lesson {
        return Some(format!("its receipt is that of lesson {}", said.lesson_id));
    }
    if said.log_index != row.index {
        return Some(format!(
            "its receipt says entry {}: an entry before it was removed or put in",
            said.log_index
        ));
    }
    if said.digest().map(|d| d.to_string()) != Ok(row.digest.clone()) {
        return Some("the hash kept of its receipt is another".into());
    }
    let prev = before.filter(|b| b.index + 1 == row.index).map(|b| b.digest.clone());
    if said.log_prev.map(String::from) != prev {
        return Some("its receipt does not continue from the one before it".into());
    }
    if said.log.is_some()
        && let Err(e) = tree::check_place(said, check.hub)
    {
        return Some(e.to_string());
    }
    let entry = entry?;
    let Some(salt) = entry.salt else { return Some("its salt is gone, though the lesson is not".into()) };
    match tree::entry(&salt, said) {
        Ok(hash) if hash == entry.hash => None,
        _ => Some("the entry in the log is not that of its receipt".into()),
    }
}

fn rows_and_lessons(rows: &[Row], all: &[Lesson], check: &mut Check<'_>) {
    let by_id: BTreeMap<&str, &Lesson> = all.iter().map(|lesson| (lesson.id.as_str(), lesson)).collect();
    for row in rows {
        let (at, id) = (Some(row.index), Some(row.lesson.as_str()));
        let Some(lesson) = by_id.get(row.lesson.as_str()) else {
            check.fault("lesson_removed", at, id, format!("lesson {} has a receipt and no row", row.lesson));
            continue;
        };
        let forgotten = row.document.is_empty();
        let manifest = serde_json::from_str::<Signed<Receipt>>(&row.document).ok();
        let manifest = manifest.map(|receipt| receipt.document.manifest_sha256);
        let why = match lesson.state {
            StoreState::Discarded if forgotten => continue,
            StoreState::Discarded => "is deleted, and its receipt is still here",
            StoreState::Stored if forgotten => "lost its receipt though nobody deleted it",
            StoreState::Stored if manifest != lesson.manifest_sha256 => {
                "names another manifest than its receipt"
            }
            StoreState::Stored => continue,
            _ => "has a receipt and is not stored",
        };
        check.fault("lesson_changed", at, id, format!("lesson {} {why}", row.lesson));
    }
    for lesson in all.iter().filter(|lesson| lesson.state == StoreState::Stored) {
        if !rows.iter().any(|row| row.lesson == lesson.id.as_str()) {
            let sentence =
                format!("lesson {} counts as stored and never had a receipt, or lost it", lesson.id);
            check.fault("receipt_removed", None, Some(lesson.id.as_str()), sentence);
        }
    }
}

/// The documents beside a stored lesson's bytes, and whether these are there.
fn files(objects: &Objects, lesson: &Lesson, row: Option<&Row>, check: &mut Check<'_>) {
    let place = Place::of(lesson);
    let folder = objects.folder(&place);
    let (at, id) = (row.map(|row| row.index), Some(lesson.id.as_str()));
    if !folder.exists() {
        let sentence = format!("lesson {} is stored and {} is gone", lesson.id, folder.display());
        return check.fault("lesson_removed", at, id, sentence);
    }
    match document::<Manifest>(&folder.join("manifest.json")) {
        Err(e) => check.fault("file", at, id, format!("lesson {}: {e}", lesson.id)),
        Ok(manifest) => {
            if manifest.document.digest().ok() != lesson.manifest_sha256 {
                let sentence = format!("lesson {}: manifest.json is not the one that was sealed", lesson.id);
                check.fault("file", at, id, sentence);
            }
        }
    }
    let kept = row.and_then(|row| serde_json::from_str::<Signed<Receipt>>(&row.document).ok());
    match document::<Receipt>(&folder.join("receipt.json")) {
        Err(e) => check.fault("file", at, id, format!("lesson {}: {e}", lesson.id)),
        Ok(receipt) if Some(&receipt) != kept.as_ref() => {
            let sentence = format!("lesson {}: receipt.json is not the receipt in the log", lesson.id);
            check.fault("file", at, id, sentence);
        }
        Ok(receipt) if receipt.document.store.kind == "file" => {
            for object in &receipt.document.store.objects {
                let path = objects.take(&place, object.take);
                if !std::fs::metadata(&path).is_ok_and(|meta| meta.len() == object.size) {
                    let sentence =
                        format!("lesson {}: {} has not {} bytes", lesson.id, path.display(), object.size);
                    check.fault("file", at, id, sentence);
                }
            }
        }
        Ok(_) => {}
    }
}

fn document<T: Document>(path: &Path) -> Result<Signed<T>, String> {
    let named = |e: String| format!("{}: {e}", path.display());
    let bytes = std::fs::read(path).map_err(|e| named(e.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|e| named(e.to_string()))
}
