//! The outbox's file: how it is opened, when it counts as broken, what becomes of it then.
//!
//! A file that is broken is set aside and the next one begins, with numbers that were never used. A file that the
//! disk does not let us have (full, read-only, gone) is not broken: it is left alone and tried again.

use std::path::Path;

use lectern_base::clock;
use rusqlite::{Connection, ErrorCode, params};

use crate::store::{StoreError, at};

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
    let db = Connection::open(path)?;
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
    let mut db = open(path).map_err(|fault| match fault {
        Fault::Broken(why) => StoreError::Impossible(why),
        Fault::Disk(e) => e,
    })?;
    // Numbers must not repeat: the hub has seen some of the old ones. Milliseconds since 1970 are above any number
    // that counts events.
    let start = clock::wall_ms().max(1_000_000_000_000);
    let data = serde_json::json!({
        "class": "event", "from_seq": 1, "to_seq": start - 1, "cause": "the outbox could not be read",
    });
    let tx = db.transaction()?;
    tx.execute(
        "INSERT INTO events (seq, kind, ts, mono_ms, boot_id, clock_trusted, data) VALUES (?1, 'gap', ?2, ?3, ?4, ?5, ?6)",
        params![start, clock::wall_ms(), boot_ms(), clock::boot_id(), clock::trusted(), data.to_string()],
    )?;
    tx.commit()?;
    Ok(db)
}

/// Milliseconds since boot.
pub fn boot_ms() -> i64 {
    i64::try_from(clock::boot().as_millis()).unwrap_or(i64::MAX)
}
