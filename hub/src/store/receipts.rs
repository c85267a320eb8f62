//! The log of receipts: appended to, never changed; each names the hash of the one before.

use ed25519_dalek::SigningKey;
use lectern_wire::digest::Digest;
use lectern_wire::id::LessonId;
use lectern_wire::receipt::{Receipt, StoreLocation};
use lectern_wire::sign::Signed;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{afterwards, odd};

/// Writes the receipt of a lesson that is being sealed and makes it stored, in one change. A lesson that has
/// a receipt keeps it. None when the lesson is not being sealed any more.
///
/// # Errors
/// What the database says.
pub fn append(
    db: &Connection,
    key: &SigningKey,
    lesson: &LessonId,
    manifest_sha256: Digest,
    store: StoreLocation,
    now: i64,
) -> rusqlite::Result<Option<Signed<Receipt>>> {
    if let Some(receipt) = find(db, lesson)? {
        return Ok(Some(receipt));
    }
    let sealing = "UPDATE lesson SET state = 'stored' WHERE id = ? AND state = 'verifying'";
    if db.execute(sealing, [lesson.as_str()])? == 0 {
        return Ok(None);
    }
    let newest: Option<(i64, String)> = db
        .query_row("SELECT log_index, digest FROM receipt ORDER BY log_index DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let (log_index, log_prev) = match newest {
        Some((index, digest)) => (index + 1, Some(digest.parse().map_err(|e| odd(1, e))?)),
        None => (0, None),
    };
    let receipt = Receipt {
        v: 1,
        lesson_id: lesson.clone(),
        manifest_sha256,
        store,
        stored_wall_ms: now,
        log_index: u64::try_from(log_index).unwrap_or(0),
        log_prev,
        heads: None,
        log: None,
    };
    let fail = |e| rusqlite::Error::ToSqlConversionFailure(Box::new(e));
    let signed = Signed::sign(receipt, key).map_err(fail)?;
    let digest = signed.document.digest().map_err(fail)?;
    let text =
        serde_json::to_string(&signed).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
    db.execute(
        "INSERT INTO receipt (log_index, lesson, digest, document) VALUES (?,?,?,?)",
        params![log_index, lesson.as_str(), digest.to_string(), text],
    )?;
    afterwards::settle(db, lesson)?;
    Ok(Some(signed))
}

/// The receipt of a lesson.
///
/// # Errors
/// What the database says.
pub fn find(db: &Connection, lesson: &LessonId) -> rusqlite::Result<Option<Signed<Receipt>>> {
    let text: Option<String> = db
        .query_row("SELECT document FROM receipt WHERE lesson = ?", [lesson.as_str()], |row| row.get(0))
        .optional()?;
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
