//! Rows of clips and renditions: a queue, worked off one at a time, and what came of each.

use lectern_wire::id::LessonId;
use rusqlite::{OptionalExtension as _, Row, params};

use super::{Store, StoreError};
use crate::model::clip::Wish;

/// Where a clip stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClipState {
    /// To be made, or being made: a crash in between makes it anew.
    Waiting,
    /// The file is there.
    Done,
    /// It cannot be made; the row says why.
    Failed,
    /// The teacher no longer wants it.
    Cancelled,
}

const NAMES: [(ClipState, &str); 4] = [
    (ClipState::Waiting, "waiting"),
    (ClipState::Done, "done"),
    (ClipState::Failed, "failed"),
    (ClipState::Cancelled, "cancelled"),
];

impl ClipState {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(state, _)| *state == self).map_or("", |(_, name)| name)
    }
}

/// A clip's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clip {
    /// Its number.
    pub id: i64,
    /// Of which lesson.
    pub lesson: LessonId,
    /// What was asked.
    pub wish: Wish,
    /// Name of its file in the folder of clips.
    pub name: String,
    /// Where it stands.
    pub state: ClipState,
    /// Size, once it is there.
    pub bytes: Option<u64>,
    /// Length, once it is there.
    pub length_ms: Option<u64>,
    /// Why it failed.
    pub problem: Option<String>,
}

const COLUMNS: &str = "id, lesson, wish, name, state, bytes, length_ms, problem";

fn impossible(e: impl std::fmt::Display) -> StoreError {
    StoreError::Impossible(e.to_string())
}

fn clip(row: &Row<'_>) -> rusqlite::Result<Result<Clip, StoreError>> {
    let (lesson, wish, state): (String, String, String) = (row.get(1)?, row.get(2)?, row.get(4)?);
    let number = |at: usize| row.get::<_, Option<i64>>(at).map(|n| n.map(i64::cast_unsigned));
    let (id, name, bytes, length_ms, problem) =
        (row.get(0)?, row.get(3)?, number(5)?, number(6)?, row.get(7)?);
    let build = || {
        let known = NAMES.iter().find(|(_, n)| *n == state).map(|(state, _)| *state);
        Ok(Clip {
            id,
            lesson: LessonId::new(lesson).map_err(impossible)?,
            wish: serde_json::from_str(&wish).map_err(impossible)?,
            name,
            state: known.ok_or_else(|| impossible(format!("clip state {state:?}")))?,
            bytes,
            length_ms,
            problem,
        })
    };
    Ok(build())
}

impl Store {
    /// The folder of finished clips.
    #[must_use]
    pub fn clips_folder(&self) -> std::path::PathBuf {
        self.folder().join("clips")
    }

    /// Queues a clip; gives its number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add_clip(
        &self,
        lesson: &LessonId,
        wish: &Wish,
        name: &str,
        now_ms: i64,
    ) -> Result<i64, StoreError> {
        let wish = serde_json::to_string(wish).map_err(impossible)?;
        let db = self.db();
        let sql =
            "INSERT INTO clips (lesson, asked_wall_ms, wish, name, state) VALUES (?1, ?2, ?3, ?4, 'waiting')";
        db.execute(sql, params![lesson.as_str(), now_ms, wish, name])?;
        Ok(db.last_insert_rowid())
    }

    /// All clips, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn clips(&self) -> Result<Vec<Clip>, StoreError> {
        let db = self.db();
        let mut statement =
            db.prepare_cached(&format!("SELECT {COLUMNS} FROM clips ORDER BY id DESC LIMIT 1000"))?;
        statement.query_map([], clip)?.map(|row| row?).collect()
    }

    /// One clip.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn clip(&self, id: i64) -> Result<Option<Clip>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM clips WHERE id = ?1");
        self.db().query_row(&sql, [id], clip).optional()?.transpose()
    }

    /// Says what came of a clip that waits; false when it no longer does.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn end_clip(
        &self,
        id: i64,
        state: ClipState,
        made: Option<(u64, u64)>,
        problem: Option<&str>,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE clips SET state = ?2, bytes = ?3, length_ms = ?4, problem = ?5 WHERE id = ?1 AND state = 'waiting'";
        let (bytes, length) = made.map(|(b, l)| (b.cast_signed(), l.cast_signed())).unzip();
        Ok(self.db().execute(sql, params![id, state.name(), bytes, length, problem])? == 1)
    }

    /// Forgets a clip that no longer waits; its file must be gone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_clip(&self, id: i64) -> Result<(), StoreError> {
        self.db().execute("DELETE FROM clips WHERE id = ?1 AND state <> 'waiting'", [id])?;
        Ok(())
    }

    /// Keeps the reports of a sealed lesson's takes where they can be listed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_reports(&self, lesson: &LessonId, takes: &serde_json::Value) -> Result<(), StoreError> {
        let sql = "INSERT INTO reports (lesson, takes) VALUES (?1, ?2) ON CONFLICT (lesson) DO UPDATE SET takes = ?2";
        self.db().execute(sql, [lesson.as_str(), &takes.to_string()])?;
        Ok(())
    }

    /// The reports of a lesson's takes; null when there are none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn reports(&self, lesson: &LessonId) -> Result<serde_json::Value, StoreError> {
        let sql = "SELECT takes FROM reports WHERE lesson = ?1";
        let text = self.db().query_row(sql, [lesson.as_str()], |row| row.get::<_, String>(0)).optional()?;
        Ok(text.map(|t| serde_json::from_str(&t)).transpose().map_err(impossible)?.unwrap_or_default())
    }
}
