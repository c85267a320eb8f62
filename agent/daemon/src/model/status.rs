//! What is true right now, as the page and the CLI show it.
//!
//! Every change gets a new generation, so a watcher can ask for "newer than n".

use std::path::PathBuf;

use lectern_wire::capture::{Encoder, Layout};
use lectern_wire::id::LessonId;
use lectern_wire::live::LiveState;
use lectern_wire::manifest::{About, FindingKind, GapCode};
use lectern_wire::preflight::{CheckState, EncoderCheck, EncoderState, SourceCheck};
use lectern_wire::report::Report;

use super::answer::Refusal;
use super::home::Doubt;
use super::lesson::{CutShort, State};
use super::profile::Reason;
use super::rules::Origin;
use super::timetable::{Bell, Slot};

/// The whole status.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Status {
    /// Rises by one with every change.
    pub generation: u64,
    /// The lesson being recorded or, when none is, the latest one of this boot.
    pub lesson: Option<Lesson>,
    /// What the teacher should know, by kind; each is there while it holds.
    pub warnings: Vec<Warning>,
    /// Seconds before a press that are being kept in memory now.
    pub ring_s: Option<u32>,
    /// Socket of the recorder that is ready before the press, once it is.
    pub armed: Option<PathBuf>,
    /// What encodes the picture, once it was chosen.
    pub encoder: Option<Encoder>,
    /// Where sending the lesson live stands.
    pub live: LiveState,
    /// Loudness of the sound being recorded.
    pub level: Option<Level>,
    /// Sending to the hub.
    pub upload: Upload,
    /// Bytes free for lessons.
    pub disk_free_bytes: Option<u64>,
    /// How many minutes of lesson fit in them.
    pub disk_free_minutes: Option<u64>,
    /// The period that is on or about to begin, by the timetable.
    pub slot: Option<Slot>,
    /// Where the timetable is from, and the revision that the hub handed down; 0 for none.
    pub timetable: (Origin, u64),
    /// How the sources were found before the lesson, last time somebody looked.
    pub preflight: Option<Preflight>,
    /// Somebody talks at the lectern and nothing records.
    pub speech: bool,
    /// The clip that is being made.
    pub render: Option<Making>,
    /// What a technician wants the teacher to read.
    pub note: Option<Note>,
    /// The machine is about to restart or go off.
    pub power: Option<Power>,
    /// Where lessons go beside the hub.
    pub destinations: Vec<Destination>,
    /// What somebody's calendar has for now; it suggests, and starts nothing.
    pub suggestion: Option<Suggestion>,
    /// What is kept here, and whether it waits.
    pub keeping: Keeping,
    /// Why the state folder is no home for lessons, if it is none.
    pub home: Option<Doubt>,
    /// A physical key, where the settings name one.
    pub key: Option<Key>,
}

/// A physical key beside the page's button.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Whether its device is there and can be read.
    pub there: bool,
    /// How long it is held to end a lesson, milliseconds.
    pub hold_ms: u64,
    /// Why its last press was refused, and when, milliseconds since boot.
    pub refusal: Option<(Refusal, u64)>,
}

/// A line for the teacher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What it says.
    pub text: String,
    /// Whose it is.
    pub from: String,
}

/// A countdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Power {
    /// Off, or off and on again.
    pub off: bool,
    /// When, milliseconds since boot.
    pub at_boot_ms: u64,
}

/// What a calendar has for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// 课题
    pub topic: String,
}

/// A destination beside the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Its name.
    pub name: String,
    /// `folder`, `s3` or `opencast`.
    pub kind: &'static str,
    /// Whether a lesson is stored only when it is there too.
    pub required: bool,
    /// Whether it went well last time; nothing before the first.
    pub reachable: Option<bool>,
    /// Lessons it has not confirmed.
    pub waiting: u64,
    /// Bytes of them that are not there.
    pub pending_bytes: u64,
    /// Why it does not go on, in a sentence.
    pub problem: Option<String>,
}

/// Finished lessons on this disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keeping {
    /// Lessons that are not stored yet; their bytes stay whatever happens.
    pub waiting: u64,
    /// Bytes of them.
    pub waiting_bytes: u64,
    /// Lessons that are stored and still here; their bytes may go.
    pub stored: u64,
    /// Bytes of them.
    pub stored_bytes: u64,
}

/// A clip that is being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Making {
    /// Its number.
    pub clip: i64,
    /// Milliseconds of it that are done.
    pub done_ms: u64,
    /// Of so many.
    pub of_ms: u64,
    /// It stands still while a lesson is recorded.
    pub still: bool,
}

/// How the sources were found before a lesson.
#[derive(Debug, Clone, PartialEq)]
pub struct Preflight {
    /// When, milliseconds since boot.
    pub at_boot_ms: u64,
    /// The sources.
    pub sources: Vec<SourceCheck>,
    /// The picture's encoder.
    pub encoder: Option<EncoderCheck>,
    /// Why they could not be looked at, in a sentence.
    pub problem: Option<String>,
}

impl Preflight {
    /// What must change for the verdict to be news.
    #[must_use]
    pub fn summary(&self) -> (Vec<(&str, CheckState)>, Option<EncoderState>, bool) {
        let sources = self.sources.iter().map(|s| (s.name.as_str(), s.state)).collect();
        (sources, self.encoder.as_ref().map(|e| e.state), self.problem.is_some())
    }

    /// Why no picture can be encoded, when none can.
    #[must_use]
    pub fn no_encoder(&self) -> Option<&str> {
        let failed = self.encoder.as_ref().filter(|e| e.state == EncoderState::Failed)?;
        Some(failed.problem.as_deref().unwrap_or_default())
    }
}

/// The lesson the page shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson {
    /// Its id.
    pub id: LessonId,
    /// Where it stands.
    pub state: State,
    /// What the teacher said about it.
    pub about: About,
    /// Durable picture in all takes so far, milliseconds.
    pub media_ms: u64,
    /// Monotonic time at which `media_ms` was reported, milliseconds since boot.
    pub media_at_boot_ms: u64,
    /// Durable bytes in all takes so far.
    pub bytes: u64,
    /// The take being written.
    pub take: u32,
    /// How its picture is composed now.
    pub layout: Layout,
    /// Moments noted so far.
    pub marks: u32,
    /// Why the lesson is not whole.
    pub cut_short: Option<CutShort>,
    /// When it ends by itself, by the school's bell.
    pub bell: Option<Bell>,
    /// The bell has rung and the end is near.
    pub counts_down: bool,
    /// The teacher threw it away; discarded without it means that nothing was recorded.
    pub thrown_away: bool,
    /// What it was put forward for: scheme and point.
    pub submitted: Option<String>,
    /// Per profile, by name: why the lesson does not meet it; nothing when it does. Empty until it is sealed.
    pub profiles: Vec<(String, Vec<Reason>)>,
    /// What came out when its takes were decoded back. Empty until it is sealed.
    pub reports: Vec<Report>,
    /// When the button was pressed, milliseconds since boot.
    pub pressed_at_boot_ms: u64,
    /// How long from the press to the first durable picture.
    pub first_durable_ms: Option<u64>,
    /// When it was stopped, milliseconds since boot.
    pub stopped_at_boot_ms: Option<u64>,
    /// How long from the stop to the receipt.
    pub stored_after_ms: Option<u64>,
}

/// Loudness in dBFS.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// Highest sample of the last 100 ms.
    pub peak_dbfs: f64,
    /// Mean power of the last 100 ms.
    pub rms_dbfs: f64,
}

/// What the teacher should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A source is away: its name and why.
    SourceLost {
        /// The source's name in the settings.
        source: String,
        /// Whether it gives sound rather than picture.
        sound: bool,
        /// Why, for programs.
        code: Option<GapCode>,
        /// Why, in a sentence.
        cause: String,
    },
    /// What a watcher sees or hears.
    Finding(FindingKind),
    /// The machine is too busy: fewer pictures are made a second.
    Slow {
        /// Pictures a second.
        fps: u32,
    },
    /// Less than this many minutes fit.
    LittleSpace {
        /// Minutes.
        minutes: u64,
    },
}

/// Sending to the hub.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Upload {
    /// Whether a hub is set at all.
    pub configured: bool,
    /// Whether the hub answered last time.
    pub reachable: Option<bool>,
    /// Lessons that still have to reach the hub.
    pub waiting_lessons: u64,
    /// Bytes of them that are not there yet.
    pub pending_bytes: u64,
    /// Bytes of the shown lesson that are there.
    pub sent_bytes: u64,
    /// What cannot be sent, and why, in a sentence.
    pub blocked: Option<String>,
    /// Why the hub's log of receipts is refused, in a sentence.
    pub log_fault: Option<String>,
    /// Which lesson's bytes are not those that were signed while they were recorded, in a sentence.
    pub evidence_fault: Option<String>,
    /// Bytes per second, lately.
    pub rate: Option<u64>,
    /// Why something waits although the hub can be reached.
    pub hold: Option<Hold>,
}

/// Why something waits that could be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// By the rules it waits for the night.
    Night,
    /// Other rooms go first.
    Queue,
}

impl Status {
    /// Whether the machine can be switched off without anything left to do.
    #[must_use]
    pub fn safe_to_switch_off(&self) -> bool {
        let idle = self.lesson.as_ref().is_none_or(|l| !l.state.is_waiting());
        idle && self.upload.waiting_lessons == 0
            && self.destinations.iter().all(|d| !d.required || d.waiting == 0)
    }
}
