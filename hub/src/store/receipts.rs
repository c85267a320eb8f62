//! Receipts: appended to, never changed; each names the hash of the one before and stands in the [`log`].

use lectern_wire::chain::Witness;
use lectern_wire::digest::Digest;
use lectern_wire::id::LessonId;
use lectern_wire::log::{self as tree, Place, Salt};
use lectern_wire::receipt::{Receipt, StoreLocation};
use lectern_wire::sign::{Kept, Signed};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::keys::Signer;
use super::{afterwards, log, odd, unwritable};

/// What a receipt says.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The lesson.
    pub lesson: &'a LessonId,
    /// Hash of its manifest.
    pub manifest_sha256: Digest,
    /// Where its bytes are.
    pub store: StoreLocation,
    /// How chain heads bear them out.
    pub heads: Option<Witness>,
    /// Salts its entry in the log.
    pub salt: Salt,
    /// Unix milliseconds.
    pub now: i64,
}

/// Writes the receipt of a lesson that is being sealed, appends it to the log and makes the lesson stored, in one
/// change. A lesson that has a receipt keeps it. None when the lesson is not being sealed any more.
///
/// # Errors
/// What the database says.
pub fn append(
    db: &Connection,
    signer: &Signer,
    facts: Facts<'_>,
) -> rusqlite::Result<Option<Signed<Receipt>>> {
    let Facts { lesson, manifest_sha256, store, heads, salt, now } = facts;
    if let Some(receipt) = find(db, lesson)? {
        return Ok(Some(receipt));
    }
    let sealing = "UPDATE lesson SET state = 'stored' WHERE id = ? AND state = 'verifying'";
    if db.execute(sealing, [lesson.as_str()])? == 0 {
        return Ok(None);
    }
    let log_index = log::size(db)?;
    let log_prev = match log_index.checked_sub(1) {
        Some(before) => digest_at(db, before)?,
        None => None,
    };
    let mut receipt = Receipt {
        v: 1,
        lesson_id: lesson.clone(),
        manifest_sha256,
        store,
        stored_wall_ms: now,
        log_index,
        log_prev,
        heads,
        log: None,
    };
    let entry = tree::entry(&salt, &Kept::new(receipt.clone()).map_err(unwritable)?).map_err(unwritable)?;
    let size = log::append(db, entry, Some(salt))?;
    let checkpoint = log::sign(db, signer, now)?;
    receipt.log = Some(Place { salt, proof: log::inclusion(db, log_index, size)?, checkpoint });
    let signed = Signed::sign(receipt, &signer.key).map_err(unwritable)?;
    let digest = signed.document.digest().map_err(unwritable)?;
    let text = serde_json::to_string(&signed).map_err(unwritable)?;
    let index = i64::try_from(log_index).unwrap_or(i64::MAX);
    db.execute(
        "INSERT INTO receipt (log_index, lesson, digest, document) VALUES (?,?,?,?)",
        params![index, lesson.as_str(), digest.to_string(), text],
    )?;
    afterwards::settle(db, lesson)?;
    Ok(Some(signed))
}

/// The receipt of a lesson; that of a deleted one is forgotten.
///
/// # Errors
/// What the database says.
pub fn find(db: &Connection, lesson: &LessonId) -> rusqlite::Result<Option<Signed<Receipt>>> {
    let find = "SELECT document FROM receipt WHERE lesson = ? AND document <> ''";
    let text: Option<String> = db.query_row(find, [lesson.as_str()], |row| row.get(0)).optional()?;
    text.map(|t| serde_json::from_str(&t)).transpose().map_err(|e| odd(0, e))
}

/// The digest the log keeps at an index.
///
/// # Errors
/// What the database says.
pub fn digest_at(db: &Connection, index: u64) -> rusqlite::Result<Option<Digest>> {
    let index = i64::try_from(index).unwrap_or(i64::MAX);
    let text: Option<String> = db
        .query_row("SELECT digest FROM receipt WHERE log_index = ?", [index], |row| row.get(0))
        .optional()?;
    text.map(|t| t.parse()).transpose().map_err(|e| odd(0, e))
}

/// How many receipts there are.
///
/// # Errors
/// What the database says.
pub fn count(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("SELECT count(*) FROM receipt", [], |row| row.get(0))
}
