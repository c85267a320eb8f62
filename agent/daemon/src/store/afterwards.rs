//! What is noted of a lesson beside its recording: the bell, and what people decide afterwards.

use lectern_wire::id::LessonId;
use lectern_wire::manifest::About;
use rusqlite::params;

use super::lessons::step;
use super::{Store, StoreError};
use crate::model::lesson::{Event, State};
use crate::model::timetable::Bell;

impl Store {
    /// Notes when a lesson ends by itself.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_bell(&self, id: &LessonId, bell: Bell) -> Result<(), StoreError> {
        let sql = "UPDATE lessons SET bell_rings_ms = ?2, bell_ends_ms = ?3 WHERE id = ?1";
        self.db()
            .execute(sql, params![id.as_str(), bell.rings_ms.cast_signed(), bell.ends_ms.cast_signed()])?;
        Ok(())
    }

    /// Notes that the teacher threw a lesson away: from here on it is to be removed, here and at the hub.
    ///
    /// # Errors
    /// [`StoreError::Impossible`] when the lesson is not at its end.
    pub fn throw_away(&self, id: &LessonId, wall_ms: i64) -> Result<State, StoreError> {
        let mut db = self.db();
        let tx = db.transaction()?;
        let state = step(&tx, id, Event::ThrownAway)?;
        tx.execute(
            "UPDATE lessons SET discarded_wall_ms = coalesce(discarded_wall_ms, ?2), hub_told = 0 WHERE id = ?1",
            params![id.as_str(), wall_ms],
        )?;
        tx.commit()?;
        Ok(state)
    }

    /// Lessons that are no more and that the hub may still have something of.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn discards_to_tell(&self) -> Result<Vec<LessonId>, StoreError> {
        let lessons = self.lessons_where("state = 'discarded' AND hub_told = 0", 1000)?;
        Ok(lessons.into_iter().map(|lesson| lesson.id).collect())
    }

    /// Notes that the hub has nothing of a lesson any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn discard_told(&self, id: &LessonId) -> Result<(), StoreError> {
        self.db().execute("UPDATE lessons SET hub_told = 1 WHERE id = ?1", [id.as_str()])?;
        Ok(())
    }

    /// Notes what is said of a sealed lesson now; its manifest stays as it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn amend(&self, id: &LessonId, about: &About) -> Result<(), StoreError> {
        let about = serde_json::to_string(about).map_err(|e| StoreError::Impossible(e.to_string()))?;
        self.db().execute("UPDATE lessons SET about = ?2 WHERE id = ?1", [id.as_str(), &about])?;
        Ok(())
    }

    /// Notes what a lesson was put forward for.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn submit(&self, id: &LessonId, what: &str) -> Result<(), StoreError> {
        self.db().execute("UPDATE lessons SET submitted = ?2 WHERE id = ?1", [id.as_str(), what])?;
        Ok(())
    }
}
