//! Rows of where lessons go: one for each lesson and destination, the hub among them by the name [`HUB`].
//!
//! A lesson is stored once every required destination has confirmed that it has it whole. Whose confirmation comes
//! last moves the lesson on, in the same durable change.

use lectern_base::clock;
use lectern_wire::id::LessonId;
use rusqlite::{OptionalExtension as _, params};

use super::lessons::{Lesson, step};
use super::{Store, StoreError};
use crate::model::lesson::{Event, State};

/// The name the hub has among the destinations.
pub const HUB: &str = "hub";

/// How far a destination has come with a lesson.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The destination's name.
    pub destination: String,
    /// Bytes that are there.
    pub sent_bytes: u64,
    /// What the destination needs to go on from here, as JSON.
    pub note: Option<String>,
    /// Why it does not go on.
    pub problem: Option<String>,
    /// When it confirmed, Unix milliseconds.
    pub confirmed_wall_ms: Option<i64>,
}

impl Store {
    /// Says once, before any stage runs, which destinations must confirm a lesson.
    pub fn require(&self, names: Vec<String>) {
        if self.0.required.set(names).is_err() {
            tracing::error!("the destinations are already set");
        }
    }

    /// The destinations that must confirm a lesson; the hub alone where nothing was said.
    #[must_use]
    pub fn required(&self) -> Vec<String> {
        self.0.required.get().cloned().unwrap_or_else(|| vec![HUB.to_owned()])
    }

    /// Lessons that a destination has not confirmed and that are still here, oldest first. An optional destination
    /// may still be owed lessons that are stored.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn waiting_for(&self, destination: &str) -> Result<Vec<Lesson>, StoreError> {
        let done = self.confirmed_by(destination)?;
        let mut all = self.lessons_where("state NOT IN ('reclaimed', 'discarded')", 1000)?;
        // What the hub stored before destinations were counted is not sent to it again.
        let has =
            |l: &Lesson| done.contains(l.id.as_str()) || (destination == HUB && l.state == State::Stored);
        all.retain(|l| !has(l));
        all.reverse();
        Ok(all)
    }

    fn confirmed_by(&self, destination: &str) -> Result<std::collections::HashSet<String>, StoreError> {
        let db = self.db();
        let sql = "SELECT lesson FROM deliveries WHERE destination = ?1 AND confirmed_wall_ms IS NOT NULL";
        let mut statement = db.prepare_cached(sql)?;
        Ok(statement.query_map([destination], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }

    /// How far a destination has come with a lesson; nothing when it has not begun.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn delivery(&self, id: &LessonId, destination: &str) -> Result<Option<Delivery>, StoreError> {
        Ok(self.deliveries(id)?.into_iter().find(|d| d.destination == destination))
    }

    /// All deliveries of a lesson, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn deliveries(&self, id: &LessonId) -> Result<Vec<Delivery>, StoreError> {
        let db = self.db();
        let mut statement = db.prepare_cached(
            "SELECT destination, sent_bytes, note, problem, confirmed_wall_ms FROM deliveries
             WHERE lesson = ?1 ORDER BY destination",
        )?;
        let rows = statement.query_map([id.as_str()], |row| {
            Ok(Delivery {
                destination: row.get(0)?,
                sent_bytes: row.get::<_, i64>(1)?.cast_unsigned(),
                note: row.get(2)?,
                problem: row.get(3)?,
                confirmed_wall_ms: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Notes how far a destination has come; from the first note on it is told when the lesson is thrown away.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_delivery(
        &self,
        id: &LessonId,
        to: &str,
        sent: u64,
        note: Option<&str>,
    ) -> Result<(), StoreError> {
        self.db().execute(
            "INSERT INTO deliveries (lesson, destination, sent_bytes, note) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (lesson, destination) DO UPDATE SET sent_bytes = ?3, note = ?4",
            params![id.as_str(), to, sent.cast_signed(), note],
        )?;
        Ok(())
    }

    /// Notes why a destination does not go on with a lesson, or that it does.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn delivery_problem(&self, id: &LessonId, to: &str, problem: Option<&str>) -> Result<(), StoreError> {
        self.db().execute(
            "INSERT INTO deliveries (lesson, destination, problem) VALUES (?1, ?2, ?3)
             ON CONFLICT (lesson, destination) DO UPDATE SET problem = ?3",
            params![id.as_str(), to, problem],
        )?;
        Ok(())
    }

    /// Notes that a destination has confirmed a lesson: its proof lies in the lesson's folder. Moves the lesson on to
    /// stored when that was the last one required; gives the lesson's state.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn confirm(&self, id: &LessonId, destination: &str, wall_ms: i64) -> Result<State, StoreError> {
        let required = self.required();
        let mut db = self.db();
        let tx = db.transaction()?;
        tx.execute(
            "INSERT INTO deliveries (lesson, destination, confirmed_wall_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT (lesson, destination)
             DO UPDATE SET confirmed_wall_ms = coalesce(confirmed_wall_ms, ?3), problem = NULL",
            params![id.as_str(), destination, wall_ms],
        )?;
        let state = settle(&tx, id, &required)?;
        tx.commit()?;
        Ok(state)
    }

    /// At start: lessons whose last missing destination is no longer required move on. Gives which.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn settle_all(&self) -> Result<Vec<LessonId>, StoreError> {
        let required = self.required();
        let sealed = self.lessons_in(State::Sealed)?;
        let mut db = self.db();
        let tx = db.transaction()?;
        let mut moved = Vec::new();
        for lesson in sealed {
            if settle(&tx, &lesson.id, &required)? == State::Stored {
                moved.push(lesson.id);
            }
        }
        tx.commit()?;
        Ok(moved)
    }

    /// Tells everybody that a lesson is stored now: page, hub, and who makes room.
    pub fn tell_stored(&self, id: &LessonId) {
        let now = u64::try_from(clock::boot().as_millis()).unwrap_or(0);
        self.board().update(|s| {
            if let Some(shown) = s.lesson.as_mut().filter(|l| l.id == *id) {
                shown.state = State::Stored;
                shown.stored_after_ms = shown.stopped_at_boot_ms.map(|at| now.saturating_sub(at));
            }
        });
        let data = serde_json::json!({ "lesson_id": id, "state": State::Stored.name() });
        self.outbox().push_event("lesson", &data);
        self.bells().publish.notify_one();
        self.bells().reclaim.notify_one();
    }

    /// Lessons that are no more and that a destination may still have something of.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn discards_for(&self, destination: &str) -> Result<Vec<LessonId>, StoreError> {
        let db = self.db();
        let mut statement = db.prepare_cached(
            "SELECT id FROM lessons JOIN deliveries ON lesson = id
             WHERE state = 'discarded' AND destination = ?1 AND gone = 0",
        )?;
        let rows = statement.query_map([destination], |row| row.get::<_, String>(0))?;
        rows.map(|id| LessonId::new(id?).map_err(|e| StoreError::Impossible(e.to_string()))).collect()
    }

    /// Notes that a destination has nothing of a lesson any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn delivery_gone(&self, id: &LessonId, destination: &str) -> Result<(), StoreError> {
        let sql = "UPDATE deliveries SET gone = 1 WHERE lesson = ?1 AND destination = ?2";
        self.db().execute(sql, [id.as_str(), destination])?;
        Ok(())
    }
}

/// Moves a sealed lesson on when all required have confirmed.
fn settle(db: &rusqlite::Connection, id: &LessonId, required: &[String]) -> Result<State, StoreError> {
    let sql =
        "SELECT 1 FROM deliveries WHERE lesson = ?1 AND destination = ?2 AND confirmed_wall_ms IS NOT NULL";
    let mut all = !required.is_empty();
    for name in required {
        all &= db.query_row(sql, [id.as_str(), name], |_| Ok(())).optional()?.is_some();
    }
    let sql = "SELECT state FROM lessons WHERE id = ?1";
    let name: String = db.query_row(sql, [id.as_str()], |row| row.get(0))?;
    let state = State::from_name(&name).ok_or_else(|| StoreError::Impossible(format!("state {name:?}")))?;
    // Thrown away or reclaimed meanwhile, it stays so.
    if all && matches!(state, State::Sealed | State::Stored) {
        step(db, id, Event::Receipted)
    } else {
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use lectern_wire::capture::{AudioSettings, CaptureSettings, Layout, VideoSettings};
    use lectern_wire::digest::Digest;
    use lectern_wire::manifest::About;

    use super::*;

    fn sealed(store: &Store, id: &str) -> LessonId {
        let id = LessonId::new(id).expect("id");
        let capture = CaptureSettings {
            layout: Layout::Screen,
            sources: vec![],
            video: VideoSettings { width: 64, height: 64, fps: 25, max_kbps: 100, gop_s: 2, encoder: None },
            audio: AudioSettings { kbps: 96 },
            copy_camera: false,
        };
        store.begin_lesson(&id, 5, "boot", &About::default(), &capture).expect("begins");
        for event in [Event::Durable, Event::Ended] {
            store.advance(&id, event).expect("advances");
        }
        store.seal(&id, Digest::of(b"manifest")).expect("seals");
        id
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path(), 1 << 20).expect("opens");
        (folder, store)
    }

    #[test]
    fn a_lesson_is_stored_when_the_last_required_destination_has_confirmed_in_whatever_order() {
        for order in [["hub", "nas"], ["nas", "hub"]] {
            let (_folder, store) = store();
            store.require(vec!["hub".into(), "nas".into()]);
            let id = sealed(&store, "l");
            assert_eq!(store.confirm(&id, "attic", 1).expect("confirms"), State::Sealed, "not required");
            assert_eq!(store.confirm(&id, order[0], 2).expect("confirms"), State::Sealed);
            assert!(store.waiting_for(order[0]).expect("reads").is_empty());
            assert_eq!(store.waiting_for(order[1]).expect("reads").len(), 1);
            assert_eq!(store.confirm(&id, order[1], 3).expect("confirms"), State::Stored);
            assert_eq!(store.confirm(&id, order[1], 4).expect("again"), State::Stored);
            assert_eq!(
                store.delivery(&id, order[1]).expect("reads").expect("is there").confirmed_wall_ms,
                Some(3)
            );
        }
    }

    #[test]
    fn a_destination_that_is_no_longer_required_holds_nothing_back() {
        let (folder, store) = store();
        store.require(vec!["hub".into(), "nas".into()]);
        let id = sealed(&store, "l");
        store.confirm(&id, "hub", 1).expect("confirms");
        drop(store);
        let store = Store::open(folder.path(), 1 << 20).expect("opens");
        assert_eq!(store.settle_all().expect("settles"), [id]);
    }

    #[test]
    fn a_lesson_that_is_thrown_away_is_told_to_whoever_has_something_of_it() {
        let (_folder, store) = store();
        let id = sealed(&store, "l");
        store.note_delivery(&id, "nas", 10, None).expect("notes");
        store.throw_away(&id, 5).expect("throws away");
        assert_eq!(store.discards_for("nas").expect("reads").len(), 1);
        assert!(store.discards_for("attic").expect("reads").is_empty());
        store.delivery_gone(&id, "nas").expect("notes");
        assert!(store.discards_for("nas").expect("reads").is_empty());
    }
}
