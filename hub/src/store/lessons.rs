//! Lessons and their parts, as rows. The bytes are in [`super::objects`].

use lectern_wire::afterwards::Submission;
use lectern_wire::digest::Digest;
use lectern_wire::id::{DeviceId, LessonId, SchoolId};
use lectern_wire::manifest::{About, Manifest};
use lectern_wire::sign::Signed;
use lectern_wire::upload::StoreState;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::objects::Kind;
use super::{heads, log, odd};

/// One lesson.
#[derive(Debug, Clone)]
pub struct Lesson {
    /// Its id.
    pub id: LessonId,
    /// Its school.
    pub school: SchoolId,
    /// The device that recorded it.
    pub device: DeviceId,
    /// When it started, Unix milliseconds by the device's clock.
    pub started_ms: i64,
    /// What the teacher said of it, also afterwards.
    pub about: About,
    /// How far it has come.
    pub state: StoreState,
    /// Hash of its manifest, once sealed.
    pub manifest_sha256: Option<Digest>,
    /// Length of the picture, once sealed.
    pub duration_ms: Option<u64>,
    /// Bytes: stored so far, or of the sealed lesson.
    pub bytes: u64,
    /// When its stored bytes were last checked.
    pub checked_ms: Option<i64>,
    /// What that check found, as JSON.
    pub check_result: Option<String>,
    /// When the teacher said more of it after it was sealed, by the device's clock.
    pub amended_ms: Option<i64>,
    /// What it was put forward for, in that order.
    pub submitted: Vec<Submission>,
    /// When its teacher threw it away.
    pub discarded_ms: Option<i64>,
    /// What holds its bytes.
    pub kind: Kind,
}

/// One stored part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredPart {
    /// Take number.
    pub take: u32,
    /// Part number.
    pub n: u32,
    /// Bytes.
    pub size: u64,
    /// Hash.
    pub sha256: Digest,
    /// Whether it was read back from the disk since.
    pub read_back: bool,
}

const COLUMNS: &str = "id, school, device, started_ms, about, state, manifest_sha256, duration_ms,
    coalesce(bytes, (SELECT sum(size) FROM part WHERE lesson = id), 0), checked_ms, check_result,
    amended_ms, submitted, discarded_ms, kind";

fn lesson(row: &Row<'_>) -> rusqlite::Result<Lesson> {
    let text = |column: usize| row.get::<_, String>(column);
    let about: String = text(4)?;
    let digest: Option<String> = row.get(6)?;
    let duration: Option<i64> = row.get(7)?;
    let submitted: Option<String> = row.get(12)?;
    Ok(Lesson {
        id: LessonId::new(text(0)?).map_err(|e| odd(0, e))?,
        school: SchoolId::new(text(1)?).map_err(|e| odd(1, e))?,
        device: DeviceId::new(text(2)?).map_err(|e| odd(2, e))?,
        started_ms: row.get(3)?,
        about: serde_json::from_str(&about).map_err(|e| odd(4, e))?,
        state: state(&text(5)?),
        manifest_sha256: digest.map(|d| d.parse()).transpose().map_err(|e| odd(6, e))?,
        duration_ms: duration.and_then(|d| u64::try_from(d).ok()),
        bytes: row.get::<_, i64>(8)?.try_into().unwrap_or(0),
        checked_ms: row.get(9)?,
        check_result: row.get(10)?,
        amended_ms: row.get(11)?,
        submitted: submitted
            .map_or(Ok(Vec::new()), |text| serde_json::from_str(&text))
            .map_err(|e| odd(12, e))?,
        discarded_ms: row.get(13)?,
        kind: Kind::of(&text(14)?),
    })
}

fn state(word: &str) -> StoreState {
    match word {
        "stored" => StoreState::Stored,
        "verifying" => StoreState::Verifying,
        "discarded" => StoreState::Discarded,
        _ => StoreState::Receiving,
    }
}

fn json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

/// Opens a lesson, or brings what is said of one still open up to date. What holds its bytes is decided once.
///
/// # Errors
/// What the database says.
pub fn announce(
    db: &Connection,
    id: &LessonId,
    topics: &lectern_wire::topic::Topics,
    started_ms: i64,
    about: &About,
    (kind, now): (Kind, i64),
) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO lesson (id, school, device, started_ms, about, state, announced_ms, kind)
         VALUES (?1,?2,?3,?4,?5,'receiving',?6,?7)
         ON CONFLICT (id) DO UPDATE SET about = ?5 WHERE state = 'receiving' AND device = ?3",
        params![
            id.as_str(),
            topics.school.as_str(),
            topics.device.as_str(),
            started_ms,
            json(about)?,
            now,
            kind.name()
        ],
    )?;
    Ok(())
}

/// The lesson with this id.
///
/// # Errors
/// What the database says.
pub fn find(db: &Connection, id: &str) -> rusqlite::Result<Option<Lesson>> {
    db.query_row(&format!("SELECT {COLUMNS} FROM lesson WHERE id = ?"), [id], lesson).optional()
}

/// What a list of lessons is limited to.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of one device.
    pub device: Option<String>,
    /// In one state: `receiving`, `verifying`, `stored`, `discarded`; absent: all but `discarded`.
    pub state: Option<String>,
    /// Whose teacher, class, subject or topic holds this text.
    pub text: Option<String>,
}

/// Lessons, newest first.
///
/// # Errors
/// What the database says.
pub fn list(db: &Connection, filter: &Filter, most: u32, skip: u32) -> rusqlite::Result<Vec<Lesson>> {
    let mut rows = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM lesson
         WHERE (?1 IS NULL OR device = ?1) AND state = coalesce(?2, nullif(state, 'discarded'))
           AND (?3 IS NULL OR instr(about, ?3) > 0 OR instr(id, ?3) > 0
                OR device IN (SELECT id FROM device WHERE instr(room, ?3) > 0))
         ORDER BY started_ms DESC, id DESC LIMIT ?4 OFFSET ?5"
    ))?;
    rows.query_map(params![filter.device, filter.state, filter.text, most, skip], lesson)?.collect()
}

/// All lessons, the discarded too: what recovery goes through at start.
///
/// # Errors
/// What the database says.
pub fn all(db: &Connection) -> rusqlite::Result<Vec<Lesson>> {
    let mut rows = db.prepare_cached(&format!("SELECT {COLUMNS} FROM lesson"))?;
    rows.query_map([], lesson)?.collect()
}

/// Stored lessons and when their receipt says they were stored, by the hub's clock; oldest first.
///
/// # Errors
/// What the database says.
pub fn kept(db: &Connection) -> rusqlite::Result<Vec<(Lesson, i64)>> {
    let mut rows = db.prepare_cached(&format!(
        "SELECT {COLUMNS}, json_extract(document, '$.document.stored_wall_ms') AS stored_ms
         FROM lesson JOIN receipt ON lesson = id WHERE state = 'stored' AND stored_ms IS NOT NULL ORDER BY stored_ms"
    ))?;
    rows.query_map([], |row| Ok((lesson(row)?, row.get("stored_ms")?)))?.collect()
}

/// How many lessons are in each state.
///
/// # Errors
/// What the database says.
pub fn count_by_state(db: &Connection) -> rusqlite::Result<Vec<(String, i64)>> {
    let mut rows = db.prepare_cached("SELECT state, count(*) FROM lesson GROUP BY state")?;
    rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn part(row: &Row<'_>) -> rusqlite::Result<StoredPart> {
    let sha256: String = row.get(3)?;
    Ok(StoredPart {
        take: row.get(0)?,
        n: row.get(1)?,
        size: row.get::<_, i64>(2)?.try_into().unwrap_or(0),
        sha256: sha256.parse().map_err(|e| odd(3, e))?,
        read_back: row.get(4)?,
    })
}

/// The stored parts of a lesson, in order.
///
/// # Errors
/// What the database says.
pub fn parts(db: &Connection, id: &LessonId) -> rusqlite::Result<Vec<StoredPart>> {
    let mut rows = db.prepare_cached(
        "SELECT take, n, size, sha256, read_back FROM part WHERE lesson = ? ORDER BY take, n",
    )?;
    rows.query_map([id.as_str()], part)?.collect()
}

/// One stored part.
///
/// # Errors
/// What the database says.
pub fn find_part(db: &Connection, id: &LessonId, take: u32, n: u32) -> rusqlite::Result<Option<StoredPart>> {
    db.prepare_cached(
        "SELECT take, n, size, sha256, read_back FROM part WHERE lesson = ? AND take = ? AND n = ?",
    )?
    .query_row(params![id.as_str(), take, n], part)
    .optional()
}

/// The parts of a take from this one on, up to the first that is missing.
///
/// # Errors
/// What the database says.
pub fn parts_from(db: &Connection, id: &LessonId, take: u32, n: u32) -> rusqlite::Result<Vec<StoredPart>> {
    let found = db
        .prepare_cached(
            "SELECT take, n, size, sha256, read_back FROM part WHERE lesson = ? AND take = ? AND n >= ? ORDER BY n",
        )?
        .query_map(params![id.as_str(), take, n], part)?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(found.into_iter().zip(n..).take_while(|(part, n)| part.n == *n).map(|(part, _)| part).collect())
}

/// Commits a part whose bytes are all there; false when the lesson was thrown away meanwhile, and they
/// with it.
///
/// # Errors
/// What the database says.
pub fn add_part(db: &Connection, id: &LessonId, part: &StoredPart, now: i64) -> rusqlite::Result<bool> {
    let size = i64::try_from(part.size).unwrap_or(i64::MAX);
    let changed = db.execute(
        "INSERT INTO part (lesson, take, n, size, sha256, stored_ms)
         SELECT id, ?2, ?3, ?4, ?5, ?6 FROM lesson WHERE id = ?1 AND state <> 'discarded'",
        params![id.as_str(), part.take, part.n, size, part.sha256.to_string(), now],
    )?;
    Ok(changed == 1)
}

/// Forgets a part whose bytes are not there any more: the device will send it again. False when it was
/// forgotten already.
///
/// # Errors
/// What the database says.
pub fn drop_part(db: &Connection, id: &LessonId, take: u32, n: u32) -> rusqlite::Result<bool> {
    let changed = db
        .execute("DELETE FROM part WHERE lesson = ? AND take = ? AND n = ?", params![id.as_str(), take, n])?;
    heads::reopen(db, id, take, n)?;
    Ok(changed == 1)
}

/// Notes that a take's parts before this one were read back from the disk and are what they were.
///
/// # Errors
/// What the database says.
pub fn set_read_back(db: &Connection, id: &LessonId, take: u32, before: u32) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE part SET read_back = 1 WHERE lesson = ? AND take = ? AND n < ? AND read_back = 0",
        params![id.as_str(), take, before],
    )?;
    Ok(())
}

/// Keeps the manifest a lesson is being sealed with; false when it is not open any more.
///
/// # Errors
/// What the database says.
pub fn begin_seal(db: &Connection, manifest: &Signed<Manifest>, digest: Digest) -> rusqlite::Result<bool> {
    let doc = &manifest.document;
    let duration: u64 = doc.takes.iter().map(|t| t.duration_ms).fold(0, u64::saturating_add);
    let bytes: u64 = doc.takes.iter().map(|t| t.size).fold(0, u64::saturating_add);
    let changed = db.execute(
        "UPDATE lesson SET state = 'verifying', manifest = ?, manifest_sha256 = ?, duration_ms = ?, bytes = ?,
         about = ?, prev = ?, key_id = ? WHERE id = ? AND state IN ('receiving', 'verifying')",
        params![
            json(manifest)?,
            digest.to_string(),
            i64::try_from(duration).unwrap_or(i64::MAX),
            i64::try_from(bytes).unwrap_or(i64::MAX),
            json(&doc.about)?,
            doc.prev.map(|prev| prev.to_string()),
            manifest.signature.key_id,
            doc.lesson_id.as_str()
        ],
    )?;
    Ok(changed == 1)
}

/// Goes back from sealing to receiving: something was missing after all.
///
/// # Errors
/// What the database says.
pub fn abandon_seal(db: &Connection, id: &LessonId) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE lesson SET state = 'receiving', manifest = NULL, manifest_sha256 = NULL, duration_ms = NULL,
         bytes = NULL, prev = NULL, key_id = NULL WHERE id = ? AND state = 'verifying'",
        [id.as_str()],
    )?;
    Ok(())
}

/// Notes that a lesson was thrown away. Its parts are forgotten here, before their bytes are removed;
/// the row, the manifest's hash and the entry in the log stay, the salt of the latter does not. Done again it changes nothing.
///
/// # Errors
/// What the database says.
pub fn discard(db: &Connection, id: &LessonId, now: i64) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE lesson SET state = 'discarded', discarded_ms = ?, manifest = NULL, checked_ms = NULL,
         check_result = NULL WHERE id = ? AND state <> 'discarded'",
        params![now, id.as_str()],
    )?;
    db.execute("DELETE FROM part WHERE lesson = ?", [id.as_str()])?;
    heads::forget(db, id)?;
    log::forget(db, id)
}

/// The manifest a lesson was sealed with.
///
/// # Errors
/// What the database says.
pub fn manifest(db: &Connection, id: &LessonId) -> rusqlite::Result<Option<Signed<Manifest>>> {
    let text: Option<Option<String>> = db
        .query_row("SELECT manifest FROM lesson WHERE id = ?", [id.as_str()], |row| row.get(0))
        .optional()?;
    text.flatten().map(|t| serde_json::from_str(&t)).transpose().map_err(|e| odd(0, e))
}

/// Keeps what a check of the stored bytes found.
///
/// # Errors
/// What the database says.
pub fn set_check(db: &Connection, id: &LessonId, result: &str, now: i64) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE lesson SET checked_ms = ?, check_result = ? WHERE id = ? AND state = 'stored'",
        params![now, result, id.as_str()],
    )?;
    Ok(())
}

/// One row of who watched a lesson.
#[derive(Debug, Clone)]
pub struct View {
    /// Who.
    pub who: String,
    /// `play` or `download`.
    pub kind: String,
    /// When.
    pub at_ms: i64,
}

/// Notes that somebody watched or took a lesson. A player asks for many ranges: within ten minutes
/// they are one view.
///
/// # Errors
/// What the database says.
pub fn note_view(db: &Connection, id: &LessonId, who: &str, kind: &str, now: i64) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO view (lesson, who, kind, at_ms) SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS
         (SELECT 1 FROM view WHERE lesson = ?1 AND who = ?2 AND kind = ?3 AND at_ms > ?4 - 600000)",
        params![id.as_str(), who, kind, now],
    )?;
    Ok(())
}

/// Who watched a lesson, newest first.
///
/// # Errors
/// What the database says.
pub fn views(db: &Connection, id: &LessonId, most: u32) -> rusqlite::Result<Vec<View>> {
    let mut rows =
        db.prepare_cached("SELECT who, kind, at_ms FROM view WHERE lesson = ? ORDER BY n DESC LIMIT ?")?;
    let rows = rows.query_map(params![id.as_str(), most], |row| {
        Ok(View { who: row.get(0)?, kind: row.get(1)?, at_ms: row.get(2)? })
    })?;
    rows.collect()
}
