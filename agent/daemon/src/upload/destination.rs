//! Where lessons go. Every destination has the same verbs; the stage knows no other.
//!
//! ```text
//! open ─▶ part · part · part … (any order, side by side) ─▶ finish
//! discard at any time
//! ```
//!
//! Each verb is safe to repeat, and an answer that was lost is asked for again by repeating it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::error::UploadError;
use super::hub::Hub;
use super::turns::Turns;
use super::witness;
use crate::store::Store;
use crate::store::lessons::{Lesson, PartRow};
use lectern_wire::id::LessonId;

/// One destination.
pub enum Destination {
    /// The school's hub.
    Hub(Hub),
}

/// What came of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Went {
    /// It was sent; how long its bytes and the answer took.
    Sent(Duration),
    /// It was there.
    There,
    /// It had no turn: something more urgent is there.
    NotNow,
}

/// The part numbers a destination has of a lesson, by take.
pub type Held = BTreeMap<u32, Vec<u32>>;

impl Destination {
    /// Gets to know the destination before there is anything to send: a hub may have something to ask.
    pub async fn meet(&self) -> Result<(), UploadError> {
        match self {
            Self::Hub(hub) => hub.meet().await,
        }
    }

    /// Says that a lesson comes; answers what is there of it already.
    pub async fn open(&self, lesson: &Lesson) -> Result<Held, UploadError> {
        match self {
            Self::Hub(hub) => hub.open(lesson).await,
        }
    }

    /// Sends one part straight from its take's file. Done means that the destination has it on its disk, or
    /// had it before. `live`: it is of the lesson that goes before all others.
    pub async fn part(
        &self,
        lesson: &LessonId,
        row: &PartRow,
        take: &Path,
        live: bool,
        turns: &Turns,
    ) -> Result<Went, UploadError> {
        match self {
            Self::Hub(hub) => hub.part(lesson, row, take, live, turns).await,
        }
    }

    /// Hands in the manifest. Done means that the destination has read the lesson back and that what proves it
    /// lies in the lesson's folder.
    pub async fn finish(&self, lesson: &Lesson, folder: &Path) -> Result<(), UploadError> {
        match self {
            Self::Hub(hub) => hub.finish(lesson, folder).await,
        }
    }

    /// Looks whether the destination is still what it showed itself as before; see [`super::witness`].
    pub async fn look(&self, store: &Store) -> Result<(), UploadError> {
        match self {
            Self::Hub(hub) => witness::look(store, hub).await,
        }
    }

    /// Has it throw a lesson away; one it never heard of is gone too.
    pub async fn discard(&self, lesson: &LessonId) -> Result<(), UploadError> {
        match self {
            Self::Hub(hub) => hub.discard(lesson).await,
        }
    }
}
