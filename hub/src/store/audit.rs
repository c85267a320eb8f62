//! Who changed what in the console, and when. Rows are only ever added.

use rusqlite::{Connection, params};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at_ms: i64,
    /// Who.
    pub who: String,
    /// What it became.
    pub detail: String,
}

/// Notes a change of a kind (`what`) to a thing of that kind.
///
/// # Errors
/// What the database says.
pub fn note(
    db: &Connection,
    who: &str,
    what: &str,
    subject: &str,
    detail: &str,
    now: i64,
) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO audit (at_ms, who, what, subject, detail) VALUES (?,?,?,?,?)",
        params![now, who, what, subject, detail],
    )?;
    Ok(())
}

/// The changes to one thing, oldest first.
///
/// # Errors
/// What the database says.
pub fn of(db: &Connection, what: &str, subject: &str) -> rusqlite::Result<Vec<Entry>> {
    let mut rows =
        db.prepare_cached("SELECT at_ms, who, detail FROM audit WHERE what = ? AND subject = ? ORDER BY n")?;
    let rows = rows.query_map([what, subject], |row| {
        Ok(Entry { at_ms: row.get(0)?, who: row.get(1)?, detail: row.get(2)? })
    })?;
    rows.collect()
}
