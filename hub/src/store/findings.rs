//! What contradicts the evidence, as it was found. Only ever appended to; the same is said once.

use rusqlite::{Connection, params};

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// The lesson; empty when it is about none.
    pub lesson: String,
    /// A short code.
    pub what: String,
    /// In a sentence.
    pub detail: String,
}

/// Notes a finding.
///
/// # Errors
/// What the database says.
pub fn add(db: &Connection, lesson: &str, what: &str, detail: &str, now: i64) -> rusqlite::Result<()> {
    let added = db.execute(
        "INSERT OR IGNORE INTO finding (at_ms, lesson, what, detail) VALUES (?,?,?,?)",
        params![now, lesson, what, detail],
    )?;
    if added == 1 {
        tracing::error!(lesson, what, "{detail}");
    }
    Ok(())
}

/// Those of a lesson, or all with an empty id, oldest first.
///
/// # Errors
/// What the database says.
pub fn of(db: &Connection, lesson: &str) -> rusqlite::Result<Vec<Finding>> {
    let mut rows = db.prepare_cached(
        "SELECT at_ms, lesson, what, detail FROM finding WHERE ?1 = '' OR lesson = ?1 ORDER BY n",
    )?;
    let rows = rows.query_map([lesson], |row| {
        Ok(Finding { at_ms: row.get(0)?, lesson: row.get(1)?, what: row.get(2)?, detail: row.get(3)? })
    })?;
    rows.collect()
}
