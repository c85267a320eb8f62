//! Rows of lessons, takes and parts.

use lectern_wire::capture::CaptureSettings;
use lectern_wire::digest::Digest;
use lectern_wire::id::LessonId;
use lectern_wire::manifest::{About, Part, TakeEnd};
use rusqlite::{OptionalExtension as _, Row, params};

use super::{Store, StoreError};
use crate::model::lesson::{CutShort, Event, State};
use crate::model::timetable::Bell;

/// A lesson's row.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson {
    /// Its place in the order of starting.
    pub number: i64,
    /// Its id.
    pub id: LessonId,
    /// Where it stands.
    pub state: State,
    /// When the button was pressed, Unix milliseconds.
    pub started_wall_ms: i64,
    /// The boot it was started in.
    pub boot_id: String,
    /// What the teacher said about it.
    pub about: About,
    /// What was captured and how.
    pub capture: CaptureSettings,
    /// Why it is not whole.
    pub cut_short: Option<CutShort>,
    /// Hash of its manifest, once sealed.
    pub manifest_sha256: Option<Digest>,
    /// When the teacher threw it away, Unix milliseconds.
    pub discarded_wall_ms: Option<i64>,
    /// What it was put forward for: scheme and point.
    pub submitted: Option<String>,
    /// When it ends by itself, by the school's bell; counted in its boot.
    pub bell: Option<Bell>,
}

/// A take's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    /// Its number.
    pub n: u32,
    /// How it ended; `None` while it is being written.
    pub ended: Option<TakeEnd>,
}

/// A part's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartRow {
    /// The take.
    pub take: u32,
    /// Number, size and hash.
    pub part: Part,
    /// The hub has it.
    pub stored: bool,
    /// Its bytes on disk are no longer these.
    pub damaged: bool,
}

fn impossible(e: impl std::fmt::Display) -> StoreError {
    StoreError::Impossible(e.to_string())
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(impossible)
}

const COLUMNS: &str = "number, id, state, started_wall_ms, boot_id, about, capture, cut_short, manifest_sha256, \
    discarded_wall_ms, submitted, bell_rings_ms, bell_ends_ms";

fn lesson(row: &Row<'_>) -> rusqlite::Result<Result<Lesson, StoreError>> {
    let (id, state): (String, String) = (row.get(1)?, row.get(2)?);
    let (about, capture): (String, String) = (row.get(5)?, row.get(6)?);
    let manifest: Option<String> = row.get(8)?;
    let (number, started_wall_ms, boot_id) = (row.get(0)?, row.get(3)?, row.get(4)?);
    let cut_short: Option<String> = row.get(7)?;
    let (discarded_wall_ms, submitted) = (row.get(9)?, row.get(10)?);
    let bell: (Option<i64>, Option<i64>) = (row.get(11)?, row.get(12)?);
    let build = || {
        Ok(Lesson {
            number,
            id: LessonId::new(id).map_err(impossible)?,
            state: State::from_name(&state).ok_or_else(|| impossible(format!("state {state:?}")))?,
            started_wall_ms,
            boot_id,
            about: serde_json::from_str(&about).map_err(impossible)?,
            capture: serde_json::from_str(&capture).map_err(impossible)?,
            cut_short: cut_short.as_deref().and_then(CutShort::from_name),
            manifest_sha256: manifest.map(|m| m.parse().map_err(impossible)).transpose()?,
            discarded_wall_ms,
            submitted,
            bell: match bell {
                (Some(rings), Some(ends)) => {
                    Some(Bell { rings_ms: rings.cast_unsigned(), ends_ms: ends.cast_unsigned() })
                }
                _ => None,
            },
        })
    };
    Ok(build())
}

/// Moves a lesson's row on.
pub(super) fn step(db: &rusqlite::Connection, id: &LessonId, event: Event) -> Result<State, StoreError> {
    let name: String =
        db.query_row("SELECT state FROM lessons WHERE id = ?1", [id.as_str()], |row| row.get(0))?;
    let state = State::from_name(&name).ok_or_else(|| impossible(format!("state {name:?}")))?;
    let next = state.next(event).map_err(impossible)?;
    if next != state {
        db.execute("UPDATE lessons SET state = ?2 WHERE id = ?1", [id.as_str(), next.name()])?;
    }
    Ok(next)
}

impl Store {
    /// Writes a new lesson's row and that of its first take.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn begin_lesson(
        &self,
        id: &LessonId,
        started_wall_ms: i64,
        boot_id: &str,
        about: &About,
        capture: &CaptureSettings,
    ) -> Result<(), StoreError> {
        let mut db = self.db();
        let tx = db.transaction()?;
        tx.execute(
            "INSERT INTO lessons (id, state, started_wall_ms, boot_id, about, capture) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                id.as_str(),
                State::Preparing.name(),
                started_wall_ms,
                boot_id,
                json(about)?,
                json(&capture.without_secrets())?
            ],
        )?;
        tx.execute("INSERT INTO takes (lesson, n) VALUES (?1, 1)", [id.as_str()])?;
        Ok(tx.commit()?)
    }

    /// Writes the row of a next take.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn begin_take(&self, id: &LessonId, n: u32) -> Result<(), StoreError> {
        self.db().execute("INSERT INTO takes (lesson, n) VALUES (?1, ?2)", params![id.as_str(), n])?;
        Ok(())
    }

    /// Says how a take ended; the first saying stands.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn end_take(&self, id: &LessonId, n: u32, end: &TakeEnd) -> Result<(), StoreError> {
        let sql = "UPDATE takes SET ended = ?3 WHERE lesson = ?1 AND n = ?2 AND ended IS NULL";
        self.db().execute(sql, params![id.as_str(), n, json(end)?])?;
        Ok(())
    }

    /// Moves a lesson on; gives its new state.
    ///
    /// # Errors
    /// [`StoreError::Impossible`] when the event does not belong to the lesson's state.
    pub fn advance(&self, id: &LessonId, event: Event) -> Result<State, StoreError> {
        let mut db = self.db();
        let tx = db.transaction()?;
        let next = step(&tx, id, event)?;
        tx.commit()?;
        Ok(next)
    }

    /// Notes why a lesson is not whole; the first reason stands.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_cut_short(&self, id: &LessonId, reason: CutShort) -> Result<(), StoreError> {
        let sql = "UPDATE lessons SET cut_short = coalesce(cut_short, ?2) WHERE id = ?1";
        self.db().execute(sql, [id.as_str(), reason.name()])?;
        Ok(())
    }

    /// Changes what is said about a lesson that is not sealed yet; false when it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_about(&self, id: &LessonId, about: &About) -> Result<bool, StoreError> {
        let sql = "UPDATE lessons SET about = ?2 WHERE id = ?1
                   AND state IN ('preparing', 'recording', 'paused', 'interrupted')";
        Ok(self.db().execute(sql, [id.as_str(), &json(about)?])? == 1)
    }

    /// Notes the manifest's hash and moves the lesson on to sealed, in one transaction; the manifest
    /// becomes the device's newest.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn seal(&self, id: &LessonId, manifest: Digest) -> Result<(), StoreError> {
        let mut db = self.db();
        let tx = db.transaction()?;
        tx.execute(
            "UPDATE lessons SET state = 'sealed', manifest_sha256 = ?2 WHERE id = ?1 AND state IN ('finishing', 'sealed')",
            [id.as_str(), &manifest.to_string()],
        )?;
        tx.execute(
            "INSERT INTO facts (key, value) VALUES ('last_manifest', ?1) ON CONFLICT (key) DO UPDATE SET value = ?1",
            [manifest.to_string()],
        )?;
        Ok(tx.commit()?)
    }

    /// All lessons, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lessons(&self) -> Result<Vec<Lesson>, StoreError> {
        self.lessons_where("1", 1000)
    }

    /// Lessons that still have to reach the hub, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn waiting_lessons(&self) -> Result<Vec<Lesson>, StoreError> {
        let mut all = self.lessons_where("state NOT IN ('stored', 'reclaimed', 'discarded')", 1000)?;
        all.reverse();
        Ok(all)
    }

    pub(super) fn lessons_where(&self, condition: &str, limit: u32) -> Result<Vec<Lesson>, StoreError> {
        let db = self.db();
        let sql =
            format!("SELECT {COLUMNS} FROM lessons WHERE {condition} ORDER BY number DESC LIMIT {limit}");
        let mut statement = db.prepare_cached(&sql)?;
        statement.query_map([], lesson)?.map(|row| row?).collect()
    }

    /// One lesson.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lesson(&self, id: &LessonId) -> Result<Option<Lesson>, StoreError> {
        let db = self.db();
        let sql = format!("SELECT {COLUMNS} FROM lessons WHERE id = ?1");
        db.query_row(&sql, [id.as_str()], lesson).optional()?.transpose()
    }

    /// A lesson's takes, in order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn takes(&self, id: &LessonId) -> Result<Vec<Take>, StoreError> {
        let db = self.db();
        let mut statement = db.prepare_cached("SELECT n, ended FROM takes WHERE lesson = ?1 ORDER BY n")?;
        let rows =
            statement.query_map([id.as_str()], |row| Ok((row.get(0)?, row.get::<_, Option<String>>(1)?)))?;
        rows.map(|row| {
            let (n, ended) = row?;
            let ended = ended.map(|text| serde_json::from_str(&text).map_err(impossible)).transpose()?;
            Ok(Take { n, ended })
        })
        .collect()
    }

    /// Writes a part's row; a part that was hashed before keeps what is known of it when the hash is the same.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_part(&self, id: &LessonId, take: u32, part: &Part) -> Result<(), StoreError> {
        self.db().execute(
            "INSERT INTO parts (lesson, take, n, size, sha256) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (lesson, take, n) DO UPDATE SET size = ?4, sha256 = ?5, stored = 0 WHERE sha256 <> ?5",
            params![id.as_str(), take, part.n, part.size.cast_signed(), part.sha256.to_string()],
        )?;
        Ok(())
    }

    /// A lesson's parts, by take and number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn parts(&self, id: &LessonId) -> Result<Vec<PartRow>, StoreError> {
        let db = self.db();
        let sql =
            "SELECT take, n, size, sha256, stored, damaged FROM parts WHERE lesson = ?1 ORDER BY take, n";
        let mut statement = db.prepare_cached(sql)?;
        let rows = statement.query_map([id.as_str()], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get::<_, i64>(2)?,
                row.get::<_, String>(3)?,
                row.get(4)?,
                row.get(5)?,
            ))
        })?;
        rows.map(|row| {
            let (take, n, size, sha256, stored, damaged) = row?;
            let part = Part { n, size: size.cast_unsigned(), sha256: sha256.parse().map_err(impossible)? };
            Ok(PartRow { take, part, stored, damaged })
        })
        .collect()
    }

    /// Notes that the hub has a part.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn part_stored(&self, id: &LessonId, take: u32, n: u32) -> Result<(), StoreError> {
        let sql = "UPDATE parts SET stored = 1 WHERE lesson = ?1 AND take = ?2 AND n = ?3";
        // Not waited for the disk: what a power cut makes us forget, the hub is asked for before anything is sent.
        self.unsynced(|db| db.execute(sql, params![id.as_str(), take, n]))?;
        Ok(())
    }

    /// Notes that the hub no longer has a part.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn part_lost(&self, id: &LessonId, take: u32, n: u32) -> Result<(), StoreError> {
        let sql = "UPDATE parts SET stored = 0 WHERE lesson = ?1 AND take = ?2 AND n = ?3";
        self.db().execute(sql, params![id.as_str(), take, n])?;
        Ok(())
    }

    /// Notes that a part's bytes on disk are no longer what was hashed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn part_damaged(&self, id: &LessonId, take: u32, n: u32) -> Result<(), StoreError> {
        let sql = "UPDATE parts SET damaged = 1 WHERE lesson = ?1 AND take = ?2 AND n = ?3";
        self.db().execute(sql, params![id.as_str(), take, n])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lectern_wire::capture::{AudioSettings, Layout, VideoSettings};

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path(), 1 << 20).expect("opens");
        (folder, store)
    }

    fn begin(store: &Store, id: &str) -> LessonId {
        let id = LessonId::new(id).expect("id");
        let capture = CaptureSettings {
            layout: Layout::Screen,
            sources: vec![],
            video: VideoSettings { width: 64, height: 64, fps: 25, max_kbps: 100, gop_s: 2, encoder: None },
            audio: AudioSettings { kbps: 96 },
            copy_camera: false,
        };
        store
            .begin_lesson(&id, 5, "boot", &About { topic: "光合作用".into(), ..About::default() }, &capture)
            .expect("begins");
        id
    }

    #[test]
    fn a_lesson_is_read_back_as_it_was_written() {
        let (_folder, store) = store();
        let id = begin(&store, "a-1");
        let lesson = store.lesson(&id).expect("reads").expect("is there");
        assert_eq!((lesson.state, lesson.about.topic.as_str()), (State::Preparing, "光合作用"));
        assert_eq!(store.takes(&id).expect("takes"), [Take { n: 1, ended: None }]);
        assert_eq!(store.waiting_lessons().expect("reads").len(), 1);
    }

    #[test]
    fn an_event_that_does_not_belong_changes_nothing() {
        let (_folder, store) = store();
        let id = begin(&store, "a-1");
        assert!(store.advance(&id, Event::Receipted).is_err());
        assert_eq!(store.lesson(&id).expect("reads").expect("is there").state, State::Preparing);
        assert_eq!(store.advance(&id, Event::Durable).expect("advances"), State::Recording);
    }

    #[test]
    fn a_part_that_is_hashed_again_is_not_sent_again_unless_it_changed() {
        let (_folder, store) = store();
        let id = begin(&store, "a-1");
        let part = Part { n: 0, size: 3, sha256: Digest::of(b"abc") };
        store.put_part(&id, 1, &part).expect("puts");
        store.part_stored(&id, 1, 0).expect("stores");
        store.put_part(&id, 1, &part).expect("puts");
        assert!(store.parts(&id).expect("parts")[0].stored);
        let other = Part { sha256: Digest::of(b"abd"), ..part };
        store.put_part(&id, 1, &other).expect("puts");
        assert!(!store.parts(&id).expect("parts")[0].stored);
    }
}
