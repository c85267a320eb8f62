//! What the hub handed down: what waits to be looked at, what is kept, what counts, and what the hub is told.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use lectern_wire::desired::{Desired, Reported};
use lectern_wire::sign::Signed;
use lectern_wire::timetable::Timetable;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use tokio::sync::watch;

use super::{Store, StoreError, unwritable};
use crate::model::rules::Rules;

/// The name of the fact that keeps it.
const KEPT: &str = "desired";

/// Part of the store.
pub(super) struct Handed {
    /// As it came from the broker.
    inbox: Mutex<Option<Vec<u8>>>,
    rules: watch::Sender<Rules>,
    reported: watch::Sender<Option<Reported>>,
}

impl Default for Handed {
    fn default() -> Self {
        Self {
            inbox: Mutex::default(),
            rules: watch::channel(Rules::default()).0,
            reported: watch::channel(None).0,
        }
    }
}

/// What the hub handed down to the device whose state lies in a folder, looked at beside its daemon: the revision, and
/// whether a timetable is part of it.
///
/// # Errors
/// Why it cannot be read, in a sentence.
pub fn kept_in(folder: &Path) -> Result<Option<(u64, bool)>, String> {
    let path = folder.join("state.db");
    if !path.exists() {
        return Ok(None);
    }
    let look = || -> Result<Option<String>, StoreError> {
        let db = if unwritable::can_be_written(folder) {
            Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?
        } else {
            // SQLite needs a file of its own beside it to read the last commits, even if it only reads.
            unwritable::remembered(&path)?
        };
        db.busy_timeout(std::time::Duration::from_secs(3))?;
        let sql = "SELECT value FROM facts WHERE key = ?1";
        Ok(db.query_row(sql, [KEPT], |row| row.get(0)).optional()?)
    };
    let Some(text) = look().map_err(|e| format!("{}: {e}", path.display()))? else { return Ok(None) };
    let kept: Signed<Desired> = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    Ok(Some((kept.document.revision, kept.document.timetable.is_some())))
}

impl Store {
    /// Something was handed down; the newest waits.
    pub fn hand_in(&self, document: Vec<u8>) {
        *self.0.handed.inbox.lock().unwrap_or_else(PoisonError::into_inner) = Some(document);
        self.0.bells.desired.notify_one();
    }

    /// It is to be looked at again later, unless something newer has come.
    pub fn hand_back(&self, document: Vec<u8>) {
        self.0.handed.inbox.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(document);
    }

    /// Nothing that was handed down counts from the next start on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_desired(&self) -> Result<(), StoreError> {
        self.forget(KEPT)
    }

    /// What waits to be looked at.
    pub fn take_handed(&self) -> Option<Vec<u8>> {
        self.0.handed.inbox.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Keeps a document that was found good.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_desired(&self, document: &Signed<Desired>) -> Result<(), StoreError> {
        let text = serde_json::to_string(document).map_err(|e| StoreError::Impossible(e.to_string()))?;
        self.set_fact(KEPT, &text)
    }

    /// The document that is kept; it was found good when it came.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn desired(&self) -> Result<Option<Signed<Desired>>, StoreError> {
        let text = self.fact(KEPT)?;
        text.map(|text| {
            serde_json::from_str(&text)
                .map_err(|e| StoreError::Impossible(format!("what the hub handed down: {e}")))
        })
        .transpose()
    }

    /// Follows what counts.
    #[must_use]
    pub fn rules(&self) -> watch::Receiver<Rules> {
        self.0.handed.rules.subscribe()
    }

    /// The timetable that counts now.
    #[must_use]
    pub fn timetable(&self) -> Option<Arc<Timetable>> {
        self.0.handed.rules.borrow().timetable.clone()
    }

    /// Says what counts from now on.
    pub fn set_rules(&self, rules: Rules) {
        self.0.board.update(|s| s.timetable = (rules.from, rules.revision));
        self.0.handed.rules.send_replace(rules);
    }

    /// What the hub is to be told of what it handed down.
    #[must_use]
    pub fn reported(&self) -> Option<Reported> {
        self.0.handed.reported.borrow().clone()
    }

    /// Tells the hub.
    pub fn report(&self, said: Reported) {
        self.0.handed.reported.send_replace(Some(said));
        self.0.bells.publish.notify_one();
    }
}
