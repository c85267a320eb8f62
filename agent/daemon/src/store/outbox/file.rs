//! The outbox's file: how it is opened, when it counts as broken, what becomes of it then.
//!
//! A file that is broken is set aside and the next one begins, with numbers that were never used. A file that the
//! disk does not let us have (full, read-only, gone) is not broken: it is left alone and tried again.
//!
//! SQLite's log beside the file may lose its end, and nothing in it says so: what is left is whole. So the number of the
//! newest event is noted in a third file ([`note`]), and a file that knows less has lost some ([`declare_cut`]).

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use lectern_base::{clock, disk};
use rusqlite::{Connection, ErrorCode, params};

use crate::store::{StoreError, at, opened};

const SCHEMA: &str = "
BEGIN;
CREATE TABLE IF NOT EXISTS events (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    kind          TEXT NOT NULL,
    ts            INTEGER NOT NULL,
    mono_ms       INTEGER NOT NULL,
    boot_id       TEXT NOT NULL,
    clock_trusted INTEGER NOT NULL,
    data          TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS samples (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    grp    TEXT NOT NULL,
    ts     INTEGER NOT NULL,
    sample TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS heads (seq INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL);
COMMIT;
";

/// Every column there must be.
const COLUMNS: [&str; 3] = [
    "SELECT seq, kind, ts, mono_ms, boot_id, clock_trusted, data FROM events LIMIT 0",
    "SELECT seq, grp, ts, sample FROM samples LIMIT 0",
    "SELECT seq, body FROM heads LIMIT 0",
];

/// Why a file cannot be had.
#[derive(Debug)]
pub enum Fault {
    /// What it holds cannot be read.
    Broken(String),
    /// The disk does not give it.
    Disk(StoreError),
}

impl From<rusqlite::Error> for Fault {
    fn from(e: rusqlite::Error) -> Self {
        if is_disk(&e) { Self::Disk(e.into()) } else { Self::Broken(e.to_string()) }
    }
}

impl From<StoreError> for Fault {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::Database(e) => e.into(),
            other => Self::Disk(other),
        }
    }
}

/// Whether it is the disk's fault and not the file's.
fn is_disk(e: &rusqlite::Error) -> bool {
    let code = e.sqlite_error_code();
    code.is_some_and(|code| {
        matches!(
            code,
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory
        )
    })
}

/// Whether an error says that the file itself can no longer be used.
pub fn is_broken(e: &StoreError) -> bool {
    let StoreError::Database(e) = e else { return false };
    matches!(e.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Opens the file, or makes it.
pub fn open(path: &Path) -> Result<Connection, Fault> {
    let before = std::fs::metadata(path).ok().map(|about| about.len());
    if before == Some(0) {
        // SQLite would take it for a new one, and its numbers would begin anew without a word.
        return Err(Fault::Broken("it is empty".into()));
    }
    let db = opened(path)?;
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -512;")?;
    if before.is_none() {
        db.execute_batch(SCHEMA)?;
    }
    let check: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if check != "ok" {
        return Err(Fault::Broken(check));
    }
    for columns in COLUMNS {
        db.prepare(columns)?;
    }
    Ok(db)
}

/// Where the number of the newest event is noted.
fn note_of(path: &Path) -> PathBuf {
    path.with_extension("last")
}

/// Notes how far events are numbered. Not synced: the events are; what this guards against happens later.
pub fn note(path: &Path, db: &Connection) {
    let note = || {
        let note = note_of(path);
        let file = std::fs::File::options().write(true).create(true).truncate(false).open(&note)?;
        disk::hand_over(&note)?;
        // Always as long, so that it is never half an older one.
        file.write_all_at(format!("{:020}\n", newest_event(db)?).as_bytes(), 0)?;
        Ok::<_, anyhow::Error>(())
    };
    if let Err(e) = note() {
        tracing::warn!("how far events are numbered could not be noted: {e}");
    }
}

/// The highest number an event ever had, as the file knows it.
fn newest_event(db: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)";
    db.query_row(sql, [], |row| row.get(0))
}

/// Declares the events that were numbered once and that the file knows nothing of; their numbers are not used again.
pub fn declare_cut(path: &Path, db: &Connection) -> rusqlite::Result<()> {
    let noted = std::fs::read_to_string(note_of(path)).ok().and_then(|text| text.trim().parse::<i64>().ok());
    let known = newest_event(db)?;
    let Some(noted) = noted.filter(|noted| *noted > known) else { return Ok(()) };
    tracing::error!(from = known + 1, to = noted, "the end of the outbox's log is gone, and events with it");
    let data = serde_json::json!({
        "class": "event", "from_seq": known + 1, "to_seq": noted, "cause": "the end of the outbox's log was lost",
    });
    insert_gap(db, noted + 1, &data)
}

/// A gap with a number of its own.
fn insert_gap(db: &Connection, seq: i64, data: &serde_json::Value) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO events (seq, kind, ts, mono_ms, boot_id, clock_trusted, data) VALUES (?1, 'gap', ?2, ?3, ?4, ?5, ?6)",
        params![seq, clock::wall_ms(), boot_ms(), clock::boot_id(), clock::trusted(), data.to_string()],
    )?;
    Ok(())
}

/// Sets a broken file aside and begins the next one; what was in the old one is declared lost.
pub fn begin_anew(path: &Path, why: &str) -> Result<Connection, StoreError> {
    let aside = path.with_extension(format!("broken-{}", clock::wall_ms()));
    tracing::error!(path = %path.display(), "the outbox cannot be read and is set aside: {why}");
    std::fs::rename(path, &aside).map_err(at(path))?;
    for tail in ["-wal", "-shm"] {
        let mut side = path.as_os_str().to_owned();
        side.push(tail);
        if let Err(e) = std::fs::remove_file(&side) {
            tracing::debug!("{}: {e}", Path::new(&side).display());
        }
    }
    let db = open(path).map_err(|fault| match fault {
        Fault::Broken(why) => StoreError::Impossible(why),
        Fault::Disk(e) => e,
    })?;
    // Numbers must not repeat: the hub has seen some of the old ones. Milliseconds since 1970 are above any number
    // that counts events.
    let start = clock::wall_ms().max(1_000_000_000_000);
    let data = serde_json::json!({
        "class": "event", "from_seq": 1, "to_seq": start - 1, "cause": "the outbox could not be read",
    });
    insert_gap(&db, start, &data)?;
    Ok(db)
}

/// Milliseconds since boot.
pub fn boot_ms() -> i64 {
    i64::try_from(clock::boot().as_millis()).unwrap_or(i64::MAX)
}
