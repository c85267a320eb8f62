//! What is owed to the store of a lesson's end: a full disk refuses rows too, and the reason a lesson is not
//! whole must not be lost with the space. The rows are written in their order, the first refusal ends a try.

use lectern_wire::id::LessonId;
use lectern_wire::manifest::TakeEnd;

use super::driver::Driver;
use crate::model::lesson::{CutShort, Event};

/// One row.
pub(super) enum Owed {
    /// How a take ended.
    TakeEnd(LessonId, u32, TakeEnd),
    /// Why the lesson is not whole.
    CutShort(LessonId, CutShort),
    /// The lesson's end itself.
    Ended(LessonId),
}

impl Driver {
    /// Writes a row, now or as soon as the store takes it.
    pub(super) fn owe(&mut self, row: Owed) {
        self.owed.push_back(row);
        self.settle_owed();
    }

    /// Writes what is owed.
    pub(super) fn settle_owed(&mut self) {
        while let Some(row) = self.owed.front() {
            let written = match row {
                Owed::TakeEnd(id, take, end) => self.store.end_take(id, *take, end),
                Owed::CutShort(id, reason) => self.store.set_cut_short(id, *reason),
                Owed::Ended(id) => self.ended_in_store(id),
            };
            if let Err(e) = written {
                return tracing::error!("a lesson's end could not be noted yet: {e}");
            }
            self.owed.pop_front();
        }
    }

    fn ended_in_store(&self, id: &LessonId) -> Result<(), crate::store::StoreError> {
        let state = self.store.advance(id, Event::Ended)?;
        self.store.board().update(|s| {
            if let Some(lesson) = s.lesson.as_mut().filter(|l| l.id == *id) {
                lesson.state = state;
            }
        });
        self.store.bells().evidence.notify_one();
        Ok(())
    }
}
