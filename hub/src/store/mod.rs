//! Floor 2: the hub's state, one owner. `hub.db` (SQLite) holds the rows, `objects/` the bytes.
//!
//! Two connections: every change goes through one writer behind a mutex, pages read through a
//! second one, so a chart never makes a classroom wait. Durability, in order, for a part and for
//! a lesson: bytes, `fdatasync`, names, folder sync, row. A row therefore never names bytes that
//! a power cut can take away; [`crate::receive::recover`] checks the reverse at start.

pub mod afterwards;
pub mod alarms;
pub mod at_s3;
pub mod audit;
pub mod authority;
pub mod certificates;
pub mod commands;
pub mod desired;
pub mod device_keys;
pub mod devices;
pub mod events;
pub mod findings;
pub mod heads;
pub mod home;
pub mod keys;
pub mod lessons;
pub mod log;
pub mod objects;
pub mod people;
pub mod receipts;
pub mod register;
pub mod reliance;
pub mod repairs;
pub mod samples;
pub mod succession;
pub mod timetable;
pub mod tokens;
pub mod usage;

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lectern_base::disk;
use rusqlite::Connection;

/// The database's versions, oldest first: each text takes it one further. Texts are only ever added.
const STEPS: [&str; 11] = [
    include_str!("schema.sql"),
    include_str!("afterwards.sql"),
    include_str!("s3.sql"),
    include_str!("alarms.sql"),
    include_str!("machine.sql"),
    include_str!("home.sql"),
    include_str!("evidence.sql"),
    include_str!("commands.sql"),
    include_str!("timetable.sql"),
    include_str!("enrol.sql"),
    include_str!("usage.sql"),
];

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another hub has the folder.
    #[error("the data folder {0} is in use by a running hub; stop it first, or use its console")]
    Locked(PathBuf),
    /// The database is newer than this program.
    #[error("hub.db has schema {0}, this program knows {n}; install the newer lectern-hub again", n = STEPS.len())]
    Newer(i64),
    /// The file system refuses.
    #[error("{what}: {cause}; check the folder's owner, its disk and its space")]
    Io {
        /// What was tried.
        what: String,
        /// What it said.
        cause: std::io::Error,
    },
    /// The database refuses.
    #[error("the state database failed: {0}; check the disk and its space")]
    Db(#[from] rusqlite::Error),
    /// The S3 store refuses, or is not there.
    #[error("{what}: {cause}")]
    S3 {
        /// What was tried.
        what: String,
        /// What it said.
        cause: objects::bucket::S3Error,
    },
    /// The task that did the work is gone.
    #[error("the state database is closing; try again when the hub runs")]
    Closing,
}

impl StoreError {
    /// For `map_err`: what was tried, in words.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |cause| Self::Io { what, cause }
    }

    /// For `map_err`: what was tried at the S3 store, in words.
    pub fn s3(what: impl Into<String>) -> impl FnOnce(objects::bucket::S3Error) -> Self {
        let what = what.into();
        move |cause| Self::S3 { what, cause }
    }

    /// Whether the disk is full: nothing is broken, but nothing more fits.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { cause, .. } => {
                matches!(cause.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
            }
            Self::Db(rusqlite::Error::SqliteFailure(e, _)) => e.code == rusqlite::ErrorCode::DiskFull,
            Self::S3 { cause: objects::bucket::S3Error::Refused { status, code, .. }, .. } => {
                *status == 507 || code == "QuotaExceeded"
            }
            _ => false,
        }
    }
}

/// The state database. Cheap to clone; the folder is free again when the last clone is gone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    /// Held, never read: the lock goes with the file.
    _lock: File,
}

impl Store {
    /// Takes the folder, makes it when it is missing, and opens the database.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when a hub runs on it; otherwise what failed.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        private_folder(folder).map_err(StoreError::io(format!("making {}", folder.display())))?;
        let path = folder.join("hub.lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .and_then(|lock| disk::hand_over(&path).map(|()| lock))
            .map_err(StoreError::io(format!("opening {}", path.display())))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(StoreError::Locked(folder.to_owned())),
            Err(std::fs::TryLockError::Error(e)) => return Err(StoreError::io("locking hub.lock")(e)),
        }
        let path = folder.join("hub.db");
        // Made before SQLite makes it, so that it and the files beside it are its owner's alone.
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .and_then(|_| disk::hand_over(&path))
            .map_err(StoreError::io("opening hub.db"))?;
        let writer = Connection::open(&path)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        writer.pragma_update(None, "synchronous", "FULL")?;
        writer.pragma_update(None, "foreign_keys", true)?;
        // What is deleted is gone from the file too: salts, above all.
        writer.pragma_update(None, "secure_delete", true)?;
        let found: i64 = writer.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let steps = usize::try_from(found).ok().and_then(|done| STEPS.get(done..));
        for (step, version) in steps.ok_or(StoreError::Newer(found))?.iter().zip(found + 1..) {
            writer.execute_batch(&format!("BEGIN; {step} PRAGMA user_version = {version}; COMMIT;"))?;
        }
        let reader = Connection::open(&path)?;
        reader.pragma_update(None, "query_only", true)?;
        reader.busy_timeout(std::time::Duration::from_secs(5))?;
        let inner = Inner { writer: Mutex::new(writer), reader: Mutex::new(reader), _lock: lock };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Changes rows, all or none.
    ///
    /// # Errors
    /// What the database says; then nothing is changed.
    pub async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        tokio::task::spawn_blocking(move || store.write_now(change)).await.map_err(|_| StoreError::Closing)?
    }

    /// As [`Store::write`], on this thread.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn write_now<T>(
        &self,
        change: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.transact("FULL", change)
    }

    /// As [`Store::write`], but not waited for the disk: a power cut may undo it, with all that came after it. What is
    /// durable of later changes proves that this one is too.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn write_unsynced<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        tokio::task::spawn_blocking(move || store.write_now_unsynced(change))
            .await
            .map_err(|_| StoreError::Closing)?
    }

    /// As [`Store::write_unsynced`], on this thread.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn write_now_unsynced<T>(
        &self,
        change: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.transact("NORMAL", change)
    }

    fn transact<T>(
        &self,
        synchronous: &str,
        change: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        // A panic elsewhere rolled its transaction back: the connection is as good as before.
        let mut writer = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.pragma_update(None, "synchronous", synchronous)?;
        let change_set = writer.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let out = change(&change_set)?;
        change_set.commit()?;
        Ok(out)
    }

    /// Reads rows.
    ///
    /// # Errors
    /// What the database says.
    pub async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        tokio::task::spawn_blocking(move || store.read_now(look)).await.map_err(|_| StoreError::Closing)?
    }

    /// As [`Store::read`], on this thread.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn read_now<T>(
        &self,
        look: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let reader = self.inner.reader.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(look(&reader)?)
    }
}

/// Makes the data folder, if it is missing, for its owner alone: it holds keys, and pictures of pupils.
fn private_folder(folder: &Path) -> std::io::Result<()> {
    disk::make_folder_with_mode(folder, 0o700)
}

/// Something of ours that has no text.
fn unwritable(cause: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(cause))
}

/// A column that holds something this program did not write.
pub(crate) fn odd(column: usize, cause: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().expect("folder");
        let first = Store::open(folder.path()).expect("opens");
        assert!(matches!(Store::open(folder.path()), Err(StoreError::Locked(_))));
        drop(first);
        Store::open(folder.path()).expect("opens again");
    }

    #[test]
    fn a_change_that_fails_changes_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path()).expect("opens");
        let outcome = store.write_now(|db| {
            people::set(db, "a", "1")?;
            Err::<(), _>(rusqlite::Error::InvalidQuery)
        });
        assert!(outcome.is_err());
        assert_eq!(store.read_now(|db| people::get(db, "a")).expect("reads"), None);
    }

    #[test]
    fn an_older_database_is_taken_to_this_version_with_its_rows() {
        let folder = tempfile::tempdir().expect("folder");
        let old = Connection::open(folder.path().join("hub.db")).expect("opens");
        old.execute_batch(&format!("{} PRAGMA user_version = 1;", STEPS[0])).expect("makes");
        old.execute_batch(
            "INSERT INTO lesson (id, school, device, started_ms, about, state, announced_ms)
             VALUES ('l1', 's', 'd', 1, '{}', 'receiving', 1)",
        )
        .expect("inserts");
        drop(old);
        let store = Store::open(folder.path()).expect("opens");
        let lesson = store.read_now(|db| lessons::find(db, "l1")).expect("reads").expect("is there");
        assert!(lesson.discarded_ms.is_none() && lesson.submitted.is_empty());
    }

    #[test]
    fn a_newer_database_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().expect("folder");
        drop(Store::open(folder.path()).expect("opens"));
        let db = Connection::open(folder.path().join("hub.db")).expect("opens");
        db.pragma_update(None, "user_version", 99).expect("set");
        drop(db);
        assert!(matches!(Store::open(folder.path()), Err(StoreError::Newer(99))));
    }
}
