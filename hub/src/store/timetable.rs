//! 课表 of each school: every version is kept whole, the newest one counts.

use lectern_wire::id::SchoolId;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{audit, odd, unwritable};
use crate::model::timetable::SchoolTable;

/// The kind of these changes in the audit.
pub const KIND: &str = "timetable";

/// A version of a school's timetable.
#[derive(Debug, Clone, Default)]
pub struct Version {
    /// Rises with every change; 0 before the first.
    pub n: i64,
    /// The timetable.
    pub table: SchoolTable,
    /// Who made it so, and with what.
    pub who: String,
    /// What was done.
    pub what: String,
    /// When.
    pub at_ms: i64,
}

/// The newest version; an empty one before the first.
///
/// # Errors
/// What the database says.
pub fn newest(db: &Connection, school: &SchoolId) -> rusqlite::Result<Version> {
    let found = db
        .prepare_cached(
            "SELECT n, document, who, what, at_ms FROM timetable WHERE school = ? ORDER BY n DESC LIMIT 1",
        )?
        .query_row([school.as_str()], |row| {
            let document: String = row.get(1)?;
            Ok(Version {
                n: row.get(0)?,
                table: serde_json::from_str(&document).map_err(|e| odd(1, e))?,
                who: row.get(2)?,
                what: row.get(3)?,
                at_ms: row.get(4)?,
            })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// Keeps a new version, unless somebody changed the one it was made from: then it answers false.
///
/// # Errors
/// What the database says.
pub fn replace(
    db: &Connection,
    school: &SchoolId,
    from: i64,
    table: &SchoolTable,
    (who, what): (&str, &str),
    now: i64,
) -> rusqlite::Result<bool> {
    if newest(db, school)?.n != from {
        return Ok(false);
    }
    let document = serde_json::to_string(table).map_err(unwritable)?;
    db.execute(
        "INSERT INTO timetable (school, document, who, what, at_ms) VALUES (?,?,?,?,?)",
        params![school.as_str(), document, who, what, now],
    )?;
    audit::note(db, who, KIND, school.as_str(), what, now)?;
    Ok(true)
}
