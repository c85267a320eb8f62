//! What the hub has at the S3 store, as rows. A row is written before an upload takes its first part and goes when
//! the store has confirmed that the object is deleted: what a row names can always be found and cleaned up.

use lectern_wire::id::LessonId;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::lessons::StoredPart;
use super::odd;

/// One take's object, whole or still an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The lesson.
    pub lesson: LessonId,
    /// Take number.
    pub take: u32,
    /// Its key in the bucket.
    pub key: String,
    /// The store's name of the upload that makes it, or made it.
    pub upload: String,
    /// When it was begun.
    pub begun_ms: i64,
    /// Whether the store was asked to keep each part's hash.
    pub hashes: bool,
}

fn object(row: &Row<'_>) -> rusqlite::Result<Object> {
    let lesson: String = row.get(0)?;
    Ok(Object {
        lesson: LessonId::new(lesson).map_err(|e| odd(0, e))?,
        take: row.get(1)?,
        key: row.get(2)?,
        upload: row.get(3)?,
        begun_ms: row.get(4)?,
        hashes: row.get(5)?,
    })
}

const COLUMNS: &str = "lesson, take, object_key, upload, begun_ms, hashes";

/// The object of one take.
///
/// # Errors
/// What the database says.
pub fn find(db: &Connection, lesson: &LessonId, take: u32) -> rusqlite::Result<Option<Object>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM object WHERE lesson = ? AND take = ?"))?
        .query_row(params![lesson.as_str(), take], object)
        .optional()
}

/// All objects of a lesson.
///
/// # Errors
/// What the database says.
pub fn of_lesson(db: &Connection, lesson: &LessonId) -> rusqlite::Result<Vec<Object>> {
    let mut rows = db.prepare_cached(&format!("SELECT {COLUMNS} FROM object WHERE lesson = ?"))?;
    rows.query_map([lesson.as_str()], object)?.collect()
}

/// Whether an upload is one the hub knows of.
///
/// # Errors
/// What the database says.
pub fn knows(db: &Connection, key: &str, upload: &str) -> rusqlite::Result<bool> {
    db.query_row(
        "SELECT EXISTS (SELECT 1 FROM object WHERE object_key = ? AND upload = ?)",
        params![key, upload],
        |row| row.get(0),
    )
}

/// Keeps a new upload.
///
/// # Errors
/// What the database says.
pub fn add(db: &Connection, object: &Object) -> rusqlite::Result<()> {
    let Object { lesson, take, key, upload, begun_ms, hashes } = object;
    db.execute(
        "INSERT INTO object (lesson, take, object_key, upload, begun_ms, hashes) VALUES (?,?,?,?,?,?)",
        params![lesson.as_str(), take, key, upload, begun_ms, hashes],
    )?;
    Ok(())
}

/// Forgets an object that is not at the store any more, and its take's parts with it: the device sends them again.
///
/// # Errors
/// What the database says.
pub fn forget(db: &Connection, lesson: &LessonId, take: u32) -> rusqlite::Result<()> {
    db.execute("DELETE FROM part WHERE lesson = ? AND take = ?", params![lesson.as_str(), take])?;
    db.execute("DELETE FROM object WHERE lesson = ? AND take = ?", params![lesson.as_str(), take])?;
    Ok(())
}

/// Commits a part that is at the store; false when the lesson was thrown away or sealed meanwhile, or its upload is
/// another one by now. Committing it again is the same.
///
/// # Errors
/// What the database says.
pub fn add_part(
    db: &Connection,
    object: &Object,
    part: &StoredPart,
    etag: &str,
    now: i64,
) -> rusqlite::Result<bool> {
    let size = i64::try_from(part.size).unwrap_or(i64::MAX);
    let changed = db.execute(
        "INSERT INTO part (lesson, take, n, size, sha256, stored_ms, etag)
         SELECT lesson.id, ?2, ?3, ?4, ?5, ?6, ?7 FROM lesson JOIN object ON object.lesson = lesson.id
         WHERE lesson.id = ?1 AND object.take = ?2 AND object.upload = ?8 AND state IN ('receiving', 'verifying')
         ON CONFLICT (lesson, take, n) DO UPDATE SET etag = ?7 WHERE sha256 = ?5 AND size = ?4",
        params![
            object.lesson.as_str(),
            part.take,
            part.n,
            size,
            part.sha256.to_string(),
            now,
            etag,
            object.upload
        ],
    )?;
    Ok(changed == 1)
}

/// The store's names for a take's parts, in order.
///
/// # Errors
/// What the database says.
pub fn etags(db: &Connection, lesson: &LessonId, take: u32) -> rusqlite::Result<Vec<String>> {
    let mut rows =
        db.prepare_cached("SELECT coalesce(etag, '') FROM part WHERE lesson = ? AND take = ? ORDER BY n")?;
    rows.query_map(params![lesson.as_str(), take], |row| row.get(0))?.collect()
}

/// Objects of lessons that were thrown away, and of lessons nothing came for since `before`: these are cleaned up.
///
/// # Errors
/// What the database says.
pub fn left_behind(db: &Connection, before: i64) -> rusqlite::Result<Vec<Object>> {
    let mut rows = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM object WHERE lesson IN (SELECT id FROM lesson WHERE state = 'discarded'
         OR (state = 'receiving' AND max(announced_ms, begun_ms,
             coalesce((SELECT max(stored_ms) FROM part WHERE part.lesson = lesson.id), 0)) < ?))"
    ))?;
    rows.query_map([before], object)?.collect()
}
