//! Where a lesson stands in its device's chain, and what contradicts it, in words for its page.

use rusqlite::Connection;

use super::words;
use crate::receive::witness::CONTRADICTS;
use crate::store::findings::{self, Finding};
use crate::store::lessons::Lesson;
use crate::store::succession::{self, Follows};

/// What a reviewer is told.
#[derive(Debug, Default)]
pub struct Chain {
    /// What it follows; empty while it is not sealed.
    pub follows: String,
    /// The lesson that is meant, to be opened.
    pub other: Option<String>,
    /// Whether that is as it should be.
    pub whole: bool,
    /// What contradicts it, each with when that was noticed and how it was put.
    pub contradictions: Vec<(&'static str, String, String)>,
}

impl Chain {
    /// Of a lesson.
    ///
    /// # Errors
    /// What the database says.
    pub fn of(db: &Connection, lesson: &Lesson) -> rusqlite::Result<Self> {
        let mut chain = succession::of(db, lesson)?.map_or_else(Self::default, said);
        let found = findings::of(db, lesson.id.as_str())?;
        chain.contradictions = found.into_iter().map(contradiction).collect();
        Ok(chain)
    }
}

fn said(follows: Follows) -> Chain {
    let (follows, other, whole) = match follows {
        Follows::First => ("这台设备的第一节", None, true),
        Follows::Anew => ("设备换过签名，从这节重新开始", None, true),
        Follows::Lesson(before) => ("接着", Some(before), true),
        Follows::Missing(_) => ("这台设备录的上一节没有交到这里", None, false),
        Follows::Broken => ("和这台设备以前的录课接不上，设备上的记录可能被清空过", None, false),
        Follows::Twice(twin) => ("有两节都说自己接在同一节后面，另一节是", Some(twin), false),
    };
    Chain { follows: follows.to_owned(), other, whole, contradictions: Vec::new() }
}

fn contradiction(found: Finding) -> (&'static str, String, String) {
    let what = if found.what == CONTRADICTS {
        "录制时签过名的内容和交来的不一样"
    } else {
        "证据对不上"
    };
    (what, words::moment(found.at_ms), found.detail)
}
