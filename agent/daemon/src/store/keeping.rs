//! Rows of what is kept here and why it may go: decisions to remove a lesson's bytes, and the count of boots
//! this folder has seen.

use lectern_base::chance;
use lectern_wire::home::Home;
use lectern_wire::id::LessonId;
use rusqlite::{OptionalExtension as _, params};

use super::lessons::{Lesson, step};
use super::{Store, StoreError};
use crate::model::lesson::Event;

/// A decision to remove a lesson's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision<'a> {
    /// When, Unix milliseconds.
    pub wall_ms: i64,
    /// `rule` or `pressure`.
    pub why: &'a str,
    /// What it rests on: the receipt's and the confirmations' hashes, as JSON.
    pub proof: &'a str,
    /// Bytes that go.
    pub bytes: u64,
}

impl Store {
    /// Lessons that stand in a state, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lessons_in(&self, state: crate::model::lesson::State) -> Result<Vec<Lesson>, StoreError> {
        let mut all = self.lessons_where(&format!("state = '{}'", state.name()), u32::MAX)?;
        all.reverse();
        Ok(all)
    }

    /// Decides that a lesson's bytes go: the reason and the state in one durable change, before any file does.
    ///
    /// # Errors
    /// [`StoreError::Impossible`] when the lesson is not stored.
    pub fn decide_reclaim(&self, id: &LessonId, decision: &Decision<'_>) -> Result<(), StoreError> {
        let mut db = self.db();
        let tx = db.transaction()?;
        step(&tx, id, Event::Reclaimed)?;
        tx.execute(
            "INSERT INTO reclaims (lesson, decided_wall_ms, why, proof, bytes) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (lesson) DO NOTHING",
            params![
                id.as_str(),
                decision.wall_ms,
                decision.why,
                decision.proof,
                decision.bytes.cast_signed()
            ],
        )?;
        Ok(tx.commit()?)
    }

    /// Notes that the bytes of a decided lesson are gone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn reclaimed(&self, id: &LessonId, wall_ms: i64) -> Result<(), StoreError> {
        let sql = "UPDATE reclaims SET removed_wall_ms = coalesce(removed_wall_ms, ?2) WHERE lesson = ?1";
        self.db().execute(sql, params![id.as_str(), wall_ms])?;
        Ok(())
    }

    /// Why and when a lesson's bytes were removed, if they were.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn reclaim_of(&self, id: &LessonId) -> Result<Option<(String, i64)>, StoreError> {
        let sql = "SELECT why, decided_wall_ms FROM reclaims WHERE lesson = ?1";
        Ok(self.db().query_row(sql, [id.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    }

    /// Bytes of a lesson's takes on this disk.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn local_bytes(&self, id: &LessonId) -> Result<u64, StoreError> {
        let folder = self.lesson_folder(id);
        let size =
            |n: u32| std::fs::metadata(folder.join(format!("take-{n}.mp4"))).map_or(0, |meta| meta.len());
        Ok(self.takes(id)?.iter().map(|take| size(take.n)).sum())
    }

    /// Counts this boot, once; gives the volume as it stands.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn count_boot(&self, boot_id: &str) -> Result<Home, StoreError> {
        let volume = match self.fact("volume")? {
            Some(volume) => volume,
            None => {
                let volume = chance::hex::<16>();
                self.set_fact("volume", &volume)?;
                volume
            }
        };
        let boots = self.fact("boots")?.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        if boots > 0 && self.fact("boot")?.as_deref() == Some(boot_id) {
            return Ok(Home { volume, boots, boot_id: boot_id.to_owned() });
        }
        let mut db = self.db();
        let tx = db.transaction()?;
        let sql = "INSERT INTO facts (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2";
        tx.execute(sql, ["boots", &(boots + 1).to_string()])?;
        tx.execute(sql, ["boot", boot_id])?;
        tx.commit()?;
        Ok(Home { volume, boots: boots + 1, boot_id: boot_id.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_is_counted_once_however_often_the_daemon_starts_in_it() {
        let folder = tempfile::tempdir().expect("folder");
        let open = || Store::open(folder.path(), 1 << 20).expect("opens");
        let first = open().count_boot("x").expect("counts");
        assert_eq!((first.boots, open().count_boot("x").expect("counts").boots), (1, 1));
        let next = open().count_boot("y").expect("counts");
        assert_eq!((next.boots, next.volume), (2, first.volume));
    }
}
