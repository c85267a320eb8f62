//! `manifest.json` v1: what was recorded, in a form that can be checked.
//!
//! All times are whole milliseconds, all sizes bytes. `at_ms`, `from_ms`, `to_ms` are positions
//! in the take's own timeline, which stands still while a lesson is paused.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{DeviceId, LessonId, SchoolId};
use crate::report::Report;
use crate::sign::Document;

/// Manifest v1, one per lesson, signed by the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always 1.
    pub v: u32,
    /// The lesson.
    pub lesson_id: LessonId,
    /// The school.
    pub school: SchoolId,
    /// The room's name as people say it.
    pub room: String,
    /// The device that recorded it.
    pub device: DeviceId,
    /// What the teacher said about the lesson.
    pub about: About,
    /// The takes, in order, from 1.
    pub takes: Vec<Take>,
    /// What was captured and how.
    pub capture: crate::capture::CaptureSettings,
    /// Versions of the programs and of libav.
    pub software: Software,
    /// Hash of this device's previous manifest; absent in its first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<Digest>,
    /// When it was sealed, Unix milliseconds by the device's clock.
    pub sealed_wall_ms: i64,
}

impl Document for Manifest {
    const CONTEXT: &'static str = "lectern manifest v1";
}

/// What a teacher says about a lesson. Every field may be empty; none names a pupil.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct About {
    /// 工号, the staff number.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub teacher_id: String,
    /// The teacher's name as shown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub teacher: String,
    /// Class, for example 五年级2班.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub class: String,
    /// Subject, for example 语文.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// 课题.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub topic: String,
    /// 节次, for example 第3节.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub period: String,
    /// Point of a certification scheme, for example A5.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scheme_point: String,
}

/// Longest text of one [`About`] field, in characters.
pub const ABOUT_MAX_CHARS: usize = 80;

impl About {
    /// The fields with their names, in the order people read them.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, &str); 7] {
        [
            ("teacher_id", &self.teacher_id),
            ("teacher", &self.teacher),
            ("class", &self.class),
            ("subject", &self.subject),
            ("topic", &self.topic),
            ("period", &self.period),
            ("scheme_point", &self.scheme_point),
        ]
    }

    /// The first field that is too long or holds a control character, if any.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.fields().into_iter().find_map(|(name, text)| {
            if text.chars().count() > ABOUT_MAX_CHARS {
                Some(format!("{name} is longer than {ABOUT_MAX_CHARS} characters"))
            } else if text.chars().any(char::is_control) {
                Some(format!("{name} holds a control character"))
            } else {
                None
            }
        })
    }
}

/// One take: an append-only fragmented MP4.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Take {
    /// Take number, from 1.
    pub n: u32,
    /// File name beside the manifest.
    pub file: String,
    /// Bytes.
    pub size: u64,
    /// Hash of the whole take.
    pub sha256: Digest,
    /// Length of the picture.
    pub duration_ms: u64,
    /// When the first frame was taken, Unix milliseconds by the device's clock.
    pub started_wall_ms: i64,
    /// The same instant in milliseconds since boot.
    pub started_mono_ms: u64,
    /// The boot it happened in.
    pub boot_id: String,
    /// Whether the wall clock was known to be right.
    pub clock_trusted: bool,
    /// How the take ended.
    pub end: TakeEnd,
    /// The slicing, contiguous from offset 0.
    pub parts: Vec<Part>,
    /// The fragments, contiguous after the initialisation boxes.
    pub fragments: Vec<Fragment>,
    /// Pauses inside the take.
    pub pauses: Vec<Pause>,
    /// Sources that were lost and when they came back.
    pub gaps: Vec<Gap>,
    /// What the watchers saw.
    pub findings: Vec<Finding>,
    /// Marks set by the teacher.
    pub marks: Vec<Mark>,
    /// Changes of layout inside the take; it begins with that of the capture settings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layouts: Vec<LayoutChange>,
    /// What came out when it was decoded back; absent in lessons sealed before there was a report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,
    /// What really encoded its picture; `copy` when a camera's own was kept; empty when it was never said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub encoder: String,
    /// Changes of the pictures made a second, because the machine was too busy, and back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paces: Vec<Pace>,
    /// How much of its beginning was kept before the press.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring_ms: Option<u64>,
    /// Whether and when it was also sent live, by the teacher's choice; empty when it never was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub live: Vec<LiveChange>,
}

/// How a take ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TakeEnd {
    /// By the teacher's hand.
    Stopped,
    /// By a fault; the reason in a sentence.
    Interrupted(String),
}

/// One part of a take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Number, from 0; offset is `n` × [`crate::PART_SIZE`].
    pub n: u32,
    /// Bytes.
    pub size: u64,
    /// Hash of the bytes.
    pub sha256: Digest,
}

/// One fragment (`moof` and `mdat`), as `[start_ms, offset, length, key]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64, u64, u8)", into = "(u64, u64, u64, u8)")]
pub struct Fragment {
    /// Start of its picture in the take.
    pub start_ms: u64,
    /// First byte in the take.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Whether its first picture can be decoded alone.
    pub key: bool,
}

impl From<(u64, u64, u64, u8)> for Fragment {
    fn from((start_ms, offset, length, key): (u64, u64, u64, u8)) -> Self {
        Self { start_ms, offset, length, key: key != 0 }
    }
}

impl From<Fragment> for (u64, u64, u64, u8) {
    fn from(f: Fragment) -> Self {
        (f.start_ms, f.offset, f.length, u8::from(f.key))
    }
}

/// A pause inside a take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Where in the take.
    pub at_ms: u64,
    /// When it began, Unix milliseconds.
    pub wall_ms: i64,
    /// How long the lesson stood still; absent when the take ended paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_ms: Option<u64>,
}

/// A source that was away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The source's name in the settings.
    pub source: String,
    /// From here in the take.
    pub from_ms: u64,
    /// To here; absent when it never came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_ms: Option<u64>,
    /// Why, for programs; absent in lessons recorded before there were codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<GapCode>,
    /// Why, in a sentence.
    pub cause: String,
}

/// Why a source was away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapCode {
    /// It is open and gives nothing new.
    NoSignal,
    /// It was there and broke off: unplugged, switched off, its server gone.
    Lost,
    /// It could not be opened.
    CannotOpen,
    /// Something that this version has no word for.
    #[serde(other)]
    Other,
}

/// Something a watcher saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// From here in the take.
    pub from_ms: u64,
    /// To here; absent when it lasted to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_ms: Option<u64>,
}

/// What a watcher can see or hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Between digital zero and −60 dBFS for 10 s: a microphone that hears nothing.
    Silent,
    /// Exactly zero for 10 s: a microphone that is muted or not there.
    DigitalZero,
    /// Again and again at full scale for 10 s: too loud to be clear.
    Clipping,
    /// A picture without light for 10 s.
    Black,
    /// A camera whose picture has not changed at all for 10 s.
    Frozen,
}

/// A mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Where in the take.
    pub at_ms: u64,
    /// A word to find it by.
    pub word: String,
}

/// A change of layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutChange {
    /// From here in the take.
    pub at_ms: u64,
    /// Which.
    pub layout: crate::capture::Layout,
}

/// A change of how many pictures are made a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// From here in the take.
    pub at_ms: u64,
    /// Pictures a second.
    pub fps: u32,
}

/// A change of how sending the lesson live stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveChange {
    /// From here in the take.
    pub at_ms: u64,
    /// How.
    pub state: crate::live::LiveState,
}

/// Longest word of a mark, in characters.
pub const MARK_MAX_CHARS: usize = 40;

/// Versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Software {
    /// The agent.
    pub agent: String,
    /// The recorder; empty when it never said.
    pub recorder: String,
    /// libavformat as the recorder reports it; empty when it never said.
    pub libav: String,
}

/// A time of a take as people read it: `12:31` or `1:02:03`.
#[must_use]
pub fn clock_text(ms: u64) -> String {
    let s = ms / 1000;
    if s >= 3600 {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    } else {
        format!("{:02}:{:02}", s / 60, s % 60)
    }
}

impl Take {
    /// The time span, in milliseconds of the take, whose picture or sound lies in a byte range.
    /// Bytes before the first fragment concern the whole take.
    #[must_use]
    pub fn span_of(&self, offset: u64, length: u64) -> (u64, u64) {
        let end = offset.saturating_add(length);
        let Some(first) = self.fragments.first() else { return (0, self.duration_ms) };
        if offset < first.offset {
            return (0, self.duration_ms);
        }
        let touched = |f: &&Fragment| f.offset < end && f.offset + f.length > offset;
        let from = self.fragments.iter().find(touched).map_or(self.duration_ms, |f| f.start_ms);
        let after = self.fragments.iter().find(|f| f.offset >= end);
        (from, after.map_or(self.duration_ms, |f| f.start_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_range_is_told_as_the_time_people_can_look_at() {
        let fragments = (0..10).map(|n| Fragment {
            start_ms: n * 1000,
            offset: 100 + n * 50,
            length: 50,
            key: n % 2 == 0,
        });
        let take = Take {
            n: 1,
            file: "take-1.mp4".into(),
            size: 600,
            sha256: Digest::of(b""),
            duration_ms: 10_000,
            started_wall_ms: 0,
            started_mono_ms: 0,
            boot_id: String::new(),
            clock_trusted: true,
            end: TakeEnd::Stopped,
            parts: vec![],
            fragments: fragments.collect(),
            pauses: vec![],
            gaps: vec![],
            findings: vec![],
            marks: vec![],
            layouts: vec![],
            report: None,
            encoder: String::new(),
            paces: vec![],
            ring_ms: None,
            live: Vec::new(),
        };
        assert_eq!(take.span_of(0, 10), (0, 10_000));
        assert_eq!(take.span_of(150, 1), (1000, 2000));
        assert_eq!(take.span_of(199, 52), (1000, 4000));
        assert_eq!(take.span_of(590, 1000), (9000, 10_000));
        assert_eq!(clock_text(3_723_000), "1:02:03");
        assert_eq!(clock_text(751_000), "12:31");
    }

    #[test]
    fn a_fragment_is_a_short_array_in_json() {
        let f = Fragment { start_ms: 1000, offset: 5, length: 7, key: true };
        assert_eq!(serde_json::to_string(&f).expect("json"), "[1000,5,7,1]");
        assert_eq!(serde_json::from_str::<Fragment>("[1000,5,7,1]").expect("json"), f);
    }
}
