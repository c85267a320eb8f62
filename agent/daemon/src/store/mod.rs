//! The state of this device, with one owner.
//!
//! `state.db` (SQLite) holds lessons, takes and parts; `outbox.db` what waits for MQTT; `lessons/`
//! the bytes. A lock on the folder keeps a second daemon out.
//!
//! Invariants, in the order things are done; [`fsck`] checks them:
//! 1. A lesson's folder and row exist before its recorder is started.
//! 2. A part's row is committed only when its bytes were durable and hashed.
//! 3. `manifest.json` is durable before the row says sealed.
//! 4. `receipt.json` is durable, and was checked, before the row says stored.
//! 5. A lesson's bytes are removed only after its row says reclaimed was decided with a receipt.
//!
//! A stage commits a row and rings a [`Bells`] bell; the next stage wakes, reads rows, works, commits.
//! A crash loses only the bell, and start-up rings every bell once.

mod afterwards;
mod alarms;
pub mod board;
pub mod clips;
pub mod commands;
pub mod deliveries;
pub mod fsck;
mod hub_keys;
pub mod keeping;
pub mod lessons;
pub mod line;
pub mod outbox;
pub mod rules;
mod unwritable;
pub mod usage;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use lectern_base::disk;
use lectern_wire::alarm::Alarm;
use lectern_wire::id::LessonId;
use rusqlite::Connection;
use tokio::sync::{Notify, watch};

use crate::model::reading::Health;
use crate::model::usage::Presence;

/// Why the store cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another daemon owns the folder.
    #[error("{0} is in use by another lectern; stop that one first")]
    InUse(PathBuf),
    /// The database refused.
    #[error("the state database refused: {0}")]
    Database(#[from] rusqlite::Error),
    /// The file system refused.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The database is from a newer lectern.
    #[error(
        "the state database has version {found}, this lectern knows {known}: install the newer one again"
    )]
    Newer {
        /// Version in the file.
        found: i64,
        /// Version of this program.
        known: i64,
    },
    /// A row says something impossible.
    #[error("the state database says something impossible: {0}")]
    Impossible(String),
}

/// The fact that says before which time no clock is believed, Unix milliseconds.
pub const CLOCK_FLOOR: &str = "clock_floor_ms";

/// Adds the path to a file system error.
pub fn at(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::File { path, source }
}

/// Wakes stages.
#[derive(Debug, Default)]
pub struct Bells {
    /// A lesson is to be finished, or grew.
    pub evidence: Notify,
    /// A part or a manifest waits to be sent.
    pub upload: Notify,
    /// A row waits in the outbox.
    pub publish: Notify,
    /// A receipt arrived.
    pub reclaim: Notify,
    /// A clip was asked for or is no longer wanted.
    pub render: Notify,
    /// A command arrived.
    pub command: Notify,
    /// The hub handed something down.
    pub desired: Notify,
    /// A teacher said something of a row of the use register.
    pub usage: Notify,
    /// A fresh sample is wanted now.
    pub sense: Notify,
}

/// How far the take being written is durable. Kept in memory only: the file is the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable {
    /// The lesson.
    pub lesson: LessonId,
    /// The take.
    pub take: u32,
    /// Bytes.
    pub bytes: u64,
}

/// The store; cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    db: Mutex<Connection>,
    outbox: outbox::Outbox,
    bells: Bells,
    durable: watch::Sender<Option<Durable>>,
    board: board::Board,
    alarms: watch::Sender<Vec<Alarm>>,
    health: watch::Sender<Arc<Health>>,
    presence: watch::Sender<Presence>,
    line: Arc<line::Line>,
    handed: rules::Handed,
    doubts: hub_keys::Doubts,
    required: OnceLock<Vec<String>>,
    /// There may be an outcome of a command that the broker does not have.
    untold: AtomicBool,
    kept: bool,
    _lock: Option<File>,
}

/// The database's versions, oldest first: each text takes it one further. Texts are only ever added.
const STEPS: [&str; 8] =
    [LESSONS, AFTERWARDS, ALARMS, CLIPS, RECLAIMS, DELIVERIES, commands::COMMANDS, usage::USAGE];

const LESSONS: &str = "
CREATE TABLE lessons (
    number          INTEGER PRIMARY KEY AUTOINCREMENT,  -- in the order they were started
    id              TEXT NOT NULL UNIQUE,
    state           TEXT NOT NULL,
    started_wall_ms INTEGER NOT NULL,
    boot_id         TEXT NOT NULL,
    about           TEXT NOT NULL,                      -- JSON
    capture         TEXT NOT NULL,                      -- JSON, without secrets
    cut_short       TEXT,                               -- why it is not whole
    manifest_sha256 TEXT
);
CREATE TABLE takes (
    lesson  TEXT NOT NULL REFERENCES lessons(id),
    n       INTEGER NOT NULL,
    ended   TEXT,                                       -- JSON TakeEnd, once it has ended
    PRIMARY KEY (lesson, n)
);
CREATE TABLE parts (
    lesson  TEXT NOT NULL REFERENCES lessons(id),
    take    INTEGER NOT NULL,
    n       INTEGER NOT NULL,
    size    INTEGER NOT NULL,
    sha256  TEXT NOT NULL,
    stored  INTEGER NOT NULL DEFAULT 0,                 -- the hub has it
    damaged INTEGER NOT NULL DEFAULT 0,                 -- its bytes on disk are no longer these
    PRIMARY KEY (lesson, take, n)
);
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);
";

const AFTERWARDS: &str = "
ALTER TABLE lessons ADD COLUMN discarded_wall_ms INTEGER;        -- when the teacher threw it away
ALTER TABLE lessons ADD COLUMN hub_told INTEGER NOT NULL DEFAULT 0; -- the hub has thrown it away too
ALTER TABLE lessons ADD COLUMN submitted TEXT;                   -- scheme and point it was put forward for
ALTER TABLE lessons ADD COLUMN bell_rings_ms INTEGER;            -- since its boot
ALTER TABLE lessons ADD COLUMN bell_ends_ms INTEGER;             -- when it ends by itself
";

const ALARMS: &str = "
CREATE TABLE alarms (code TEXT PRIMARY KEY, body TEXT NOT NULL);  -- JSON, the newest word about each
";

const CLIPS: &str = "
CREATE TABLE clips (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    lesson        TEXT NOT NULL REFERENCES lessons(id),
    asked_wall_ms INTEGER NOT NULL,
    wish          TEXT NOT NULL,                        -- JSON
    name          TEXT NOT NULL,                        -- of its file
    state         TEXT NOT NULL,
    bytes         INTEGER,
    length_ms     INTEGER,
    problem       TEXT                                  -- why it failed
);
CREATE TABLE reports (
    lesson TEXT PRIMARY KEY REFERENCES lessons(id),
    takes  TEXT NOT NULL                                -- JSON: the decode report of each take
);
";

const RECLAIMS: &str = "
CREATE TABLE reclaims (
    lesson          TEXT PRIMARY KEY REFERENCES lessons(id),
    decided_wall_ms INTEGER NOT NULL,                   -- before any byte goes
    why             TEXT NOT NULL,                      -- rule or pressure
    proof           TEXT NOT NULL,                      -- JSON: the receipt it rests on
    bytes           INTEGER NOT NULL,
    removed_wall_ms INTEGER
);
";

const DELIVERIES: &str = "
CREATE TABLE deliveries (
    lesson            TEXT NOT NULL REFERENCES lessons(id),
    destination       TEXT NOT NULL,                    -- its name; the hub's is hub
    sent_bytes        INTEGER NOT NULL DEFAULT 0,
    note              TEXT,                             -- JSON: what the destination needs to go on
    problem           TEXT,
    confirmed_wall_ms INTEGER,                          -- its proof lies in the lesson's folder
    gone              INTEGER NOT NULL DEFAULT 0,       -- thrown away there too
    PRIMARY KEY (lesson, destination)
);
";

impl Store {
    /// Opens the folder and becomes its owner.
    ///
    /// # Errors
    /// [`StoreError`]; an outbox that is broken, or that the disk does not give, is no error, nor is a disk that can only be
    /// read.
    pub fn open(folder: &Path, outbox_limit_bytes: u64) -> Result<Self, StoreError> {
        let unwritable::Taken { lock, kept } = unwritable::take(folder)?;
        let path = folder.join("state.db");
        let db = prepared(if kept { opened(&path)? } else { unwritable::remembered(&path)? })?;
        let alarms = alarms::load(&db)?;
        let outbox = outbox::Outbox::open(&folder.join("outbox.db"), outbox_limit_bytes);
        Ok(Self(Arc::new(Inner {
            folder: folder.to_owned(),
            db: Mutex::new(db),
            outbox,
            bells: Bells::default(),
            durable: watch::channel(None).0,
            board: board::Board::default(),
            alarms: watch::channel(alarms).0,
            health: watch::channel(Arc::default()).0,
            presence: watch::channel(Presence::default()).0,
            line: Arc::default(),
            handed: rules::Handed::default(),
            doubts: hub_keys::Doubts::default(),
            required: OnceLock::new(),
            untold: AtomicBool::new(true),
            kept,
            _lock: lock,
        })))
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        self.0.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change that a power cut may undo, with all that came after it. What is durable of later changes proves that this
    /// one is too.
    fn unsynced<T>(&self, change: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let db = self.db();
        db.execute_batch("PRAGMA synchronous = NORMAL")?;
        let outcome = change(&db);
        db.execute_batch("PRAGMA synchronous = FULL")?;
        Ok(outcome?)
    }

    /// Whether what is written here is kept: not on a disk that can only be read ([`unwritable`]).
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.0.kept
    }

    /// Whether nothing was kept so far, and could be now.
    #[must_use]
    pub fn could_be_kept(&self) -> bool {
        !self.0.kept && unwritable::can_be_written(&self.0.folder)
    }

    /// The state folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// The folder of a lesson's bytes.
    #[must_use]
    pub fn lesson_folder(&self, lesson: &LessonId) -> PathBuf {
        self.0.folder.join("lessons").join(lesson.as_str())
    }

    /// The socket of a take's recorder.
    #[must_use]
    pub fn socket(&self, lesson: &LessonId, take: u32) -> PathBuf {
        // Short: a socket's path has room for 107 bytes.
        let tail = lesson.as_str().rsplit('-').next().unwrap_or_default();
        self.0.folder.join("run").join(format!("{tail}-{take}.sock"))
    }

    /// The bells.
    #[must_use]
    pub fn bells(&self) -> &Bells {
        &self.0.bells
    }

    /// What waits for MQTT.
    #[must_use]
    pub fn outbox(&self) -> &outbox::Outbox {
        &self.0.outbox
    }

    /// The status board.
    #[must_use]
    pub fn board(&self) -> &board::Board {
        &self.0.board
    }

    /// Follows what was measured last.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Arc<Health>> {
        self.0.health.subscribe()
    }

    /// Tells what was measured.
    pub fn set_health(&self, health: Health) {
        self.0.health.send_replace(Arc::new(health));
    }

    /// Who is at the machine, as it was seen last.
    #[must_use]
    pub fn presence(&self) -> Presence {
        self.0.presence.borrow().clone()
    }

    /// Tells who is at the machine.
    pub fn set_presence(&self, presence: Presence) {
        self.0.presence.send_replace(presence);
    }

    /// How the line to the hub is.
    #[must_use]
    pub fn line(&self) -> &Arc<line::Line> {
        &self.0.line
    }

    /// Tells how far a take is durable.
    pub fn set_durable(&self, durable: Durable) {
        self.0.durable.send_replace(Some(durable));
    }

    /// Watches how far a take is durable.
    #[must_use]
    pub fn durable(&self) -> watch::Receiver<Option<Durable>> {
        self.0.durable.subscribe()
    }

    /// A small fact by its name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn fact(&self, key: &str) -> Result<Option<String>, StoreError> {
        use rusqlite::OptionalExtension as _;
        let db = self.db();
        let mut asked = db.prepare_cached("SELECT value FROM facts WHERE key = ?1")?;
        Ok(asked.query_row([key], |row| row.get(0)).optional()?)
    }

    /// Removes a small fact.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn forget(&self, key: &str) -> Result<(), StoreError> {
        self.db().execute("DELETE FROM facts WHERE key = ?1", [key]).map(drop).map_err(Into::into)
    }

    /// Writes a small fact.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn set_fact(&self, key: &str, value: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO facts (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2";
        self.db().execute(sql, [key, value]).map(drop).map_err(Into::into)
    }
}

/// A database's file, made when there is none, before anything is made beside it: what SQLite makes there belongs to whom
/// the file belongs to.
fn opened(path: &Path) -> Result<Connection, StoreError> {
    let db = Connection::open(path)?;
    disk::hand_over(path).map_err(at(path))?;
    Ok(db)
}

/// The database at this version.
fn prepared(db: Connection) -> Result<Connection, StoreError> {
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -512;")?;
    let found: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let steps = usize::try_from(found).ok().and_then(|done| STEPS.get(done..));
    let Some(steps) = steps else {
        return Err(StoreError::Newer { found, known: STEPS.len() as i64 });
    };
    for (step, version) in steps.iter().zip(found + 1..) {
        db.execute_batch(&format!("BEGIN; {step} PRAGMA user_version = {version}; COMMIT;"))?;
    }
    Ok(db)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_kept_out() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path(), 1 << 20).expect("opens");
        assert!(matches!(Store::open(folder.path(), 1 << 20), Err(StoreError::InUse(_))));
        drop(store);
        assert!(Store::open(folder.path(), 1 << 20).is_ok());
    }

    #[test]
    fn an_older_database_is_taken_to_this_version_with_its_rows() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("state.db");
        let old = Connection::open(&path).expect("opens");
        old.execute_batch(&format!("{LESSONS} PRAGMA user_version = 1;")).expect("makes");
        old.execute_batch("INSERT INTO facts VALUES ('hub_key', 'k')").expect("inserts");
        drop(old);
        let store = Store::open(folder.path(), 1 << 20).expect("opens");
        assert_eq!(store.fact("hub_key").expect("reads").as_deref(), Some("k"));
        let told: i64 =
            store.db().query_row("SELECT count(hub_told) FROM lessons", [], |r| r.get(0)).expect("reads");
        assert_eq!(told, 0);
    }

    #[test]
    fn a_newer_database_is_refused_with_a_sentence() {
        let folder = tempfile::tempdir().expect("folder");
        drop(Store::open(folder.path(), 1 << 20).expect("opens"));
        let db = Connection::open(folder.path().join("state.db")).expect("opens");
        db.execute_batch("PRAGMA user_version = 99").expect("sets");
        drop(db);
        assert!(matches!(Store::open(folder.path(), 1 << 20), Err(StoreError::Newer { found: 99, .. })));
    }
}
