//! What the daemon and a recorder say to each other.
//!
//! The daemon writes one [`Job`] line to the recorder's standard input. From then on both speak
//! JSON lines over the job's Unix socket: [`Command`] down, [`Event`] up. The recorder outlives the
//! daemon: a daemon that comes back connects again and is greeted with [`Event::Hello`].
//! Media never passes here; it goes only through the take file. Facts that belong to the take
//! (pauses, gaps, findings) also go as [`Fact`] lines into the take's journal beside it, made durable with the fragments.

use serde::{Deserialize, Serialize};

use crate::capture::{CaptureSettings, Layout};
use crate::id::LessonId;
use crate::live::{Live, LiveState};
use crate::manifest::{FindingKind, GapCode};
use crate::preflight::Preflight;

/// What one recorder process is started for: one take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The lesson.
    pub lesson_id: LessonId,
    /// Take number, from 1.
    pub take: u32,
    /// Take file to create; must not exist.
    pub take_path: String,
    /// Journal file to create; must not exist.
    pub journal_path: String,
    /// Unix socket to listen on.
    pub socket_path: String,
    /// The take ends by itself after this many minutes of picture: a recorder whose daemon never
    /// comes back must not record for ever.
    pub max_minutes: u32,
    /// What to capture and how.
    pub capture: CaptureSettings,
    /// Where it can be sent live; beside the capture settings, which stand in the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Live>,
}

/// What a recorder is to be ready for before there is a lesson.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Armed {
    /// Unix socket to listen on; it moves to the job's when a job comes.
    pub socket_path: String,
    /// How many of the newest seconds are kept in memory for the beginning of the take; 0 keeps nothing.
    pub ring_s: u32,
    /// What to capture and how: that of the job to come.
    pub capture: CaptureSettings,
}

/// Daemon to recorder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// To an armed recorder: record this now.
    Start {
        /// The take.
        job: Box<Job>,
    },
    /// To an armed recorder: say how the sources are.
    Preflight,
    /// Send the lesson live from now on, or no more.
    Live {
        /// Whether to send.
        on: bool,
    },
    /// Stand still: no picture and no sound is kept until `resume`.
    Pause,
    /// Go on in the same take.
    Resume,
    /// End the take.
    Stop,
    /// Note this moment.
    Mark {
        /// A word to find it by; may be empty.
        word: String,
    },
    /// Compose the picture in another way from now on.
    Layout {
        /// Which.
        layout: Layout,
    },
    /// Send [`Event::Preview`] once a second, or stop sending it.
    Preview {
        /// Whether to send.
        on: bool,
    },
}

/// Recorder to daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// First line on every connection: who speaks and where the take stands.
    Hello {
        /// The lesson.
        lesson_id: LessonId,
        /// Take number.
        take: u32,
        /// Process id of the recorder.
        pid: u32,
        /// Version of the recorder.
        recorder: String,
        /// libavformat version.
        libav: String,
        /// Whether the take is paused.
        paused: bool,
        /// How the picture is composed now.
        layout: Layout,
        /// Whether it is being sent live.
        #[serde(default)]
        live: LiveState,
    },
    /// First line of an armed recorder on every connection, and then once a second while it waits.
    Armed {
        /// Process id of the recorder.
        pid: u32,
    },
    /// An armed recorder's answer to how the sources are.
    Preflight {
        /// The answer.
        found: Preflight,
    },
    /// Where sending it live stands.
    Live {
        /// Where.
        state: LiveState,
        /// Why it is lost, in a sentence without secrets; else empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        cause: String,
    },
    /// Bytes that a power cut can no longer take away.
    Durable {
        /// Length of the durable prefix of the take.
        bytes: u64,
        /// Its picture's length.
        media_ms: u64,
    },
    /// Loudness of the encoded sound over the last 100 ms, in dBFS; −100 stands for digital zero.
    Level {
        /// Highest sample.
        peak_dbfs: f64,
        /// Mean power.
        rms_dbfs: f64,
    },
    /// The lesson stands still.
    Paused {
        /// Where in the take.
        at_ms: u64,
    },
    /// The lesson goes on.
    Resumed {
        /// Where in the take.
        at_ms: u64,
    },
    /// A moment was noted.
    Marked {
        /// Where in the take.
        at_ms: u64,
    },
    /// The picture is composed in another way.
    LayoutChanged {
        /// Which.
        layout: Layout,
    },
    /// A source was lost.
    GapOpened {
        /// The source's name.
        source: String,
        /// Where in the take.
        at_ms: u64,
        /// Why, for programs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<GapCode>,
        /// Why, in a sentence.
        cause: String,
    },
    /// The source is back.
    GapClosed {
        /// The source's name.
        source: String,
        /// Where in the take.
        at_ms: u64,
    },
    /// A watcher saw something begin.
    FindingOpened {
        /// What.
        kind: FindingKind,
        /// Where in the take it began.
        from_ms: u64,
    },
    /// It is over.
    FindingClosed {
        /// What.
        kind: FindingKind,
        /// Where in the take.
        at_ms: u64,
    },
    /// So many pictures are made a second from now on: fewer because the machine is too busy, or all again.
    Paced {
        /// Pictures a second.
        fps: u32,
        /// Whether that is all that the settings ask for.
        full: bool,
    },
    /// One small JPEG of the composed picture, base64.
    Preview {
        /// The picture.
        jpeg: String,
    },
    /// The take is complete and durable; the recorder ends.
    Stopped {
        /// Length of the take.
        bytes: u64,
        /// Its picture's length.
        media_ms: u64,
    },
    /// The recorder cannot go on; what is durable stays.
    Fatal {
        /// What is wrong, in a sentence.
        message: String,
    },
}

/// A line of the take's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// The first frame was taken.
    Started {
        /// Unix milliseconds by the device's clock.
        wall_ms: i64,
        /// Milliseconds since boot.
        mono_ms: u64,
        /// The boot.
        boot_id: String,
        /// Whether the wall clock was known to be right.
        clock_trusted: bool,
        /// Version of the recorder.
        recorder: String,
        /// libavformat version.
        libav: String,
        /// What encodes the picture; `copy` when a camera's own is kept.
        #[serde(default)]
        encoder: String,
        /// How much was kept before the press; the wall and monotonic times are those of the first picture.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ring_ms: Option<u64>,
    },
    /// The lesson stood still.
    Paused {
        /// Where in the take.
        at_ms: u64,
        /// Unix milliseconds.
        wall_ms: i64,
    },
    /// The lesson went on.
    Resumed {
        /// Where in the take.
        at_ms: u64,
        /// How long it stood still, by the monotonic clock.
        paused_ms: u64,
    },
    /// A source was lost.
    GapOpened {
        /// The source's name.
        source: String,
        /// Where in the take.
        at_ms: u64,
        /// Why, for programs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<GapCode>,
        /// Why.
        cause: String,
    },
    /// The source came back.
    GapClosed {
        /// The source's name.
        source: String,
        /// Where in the take.
        at_ms: u64,
    },
    /// A watcher saw something begin.
    FindingOpened {
        /// What.
        kind: FindingKind,
        /// Where in the take it began.
        from_ms: u64,
    },
    /// It was over.
    FindingClosed {
        /// What.
        kind: FindingKind,
        /// Where in the take.
        at_ms: u64,
    },
    /// The teacher noted a moment.
    Marked {
        /// Where in the take.
        at_ms: u64,
        /// A word to find it by; may be empty.
        word: String,
    },
    /// The picture was composed in another way from here.
    LayoutChanged {
        /// Where in the take.
        at_ms: u64,
        /// Which.
        layout: Layout,
    },
    /// From here so many pictures are made a second: fewer because the machine is too busy, or all again.
    Paced {
        /// Where in the take.
        at_ms: u64,
        /// Pictures a second.
        fps: u32,
    },
    /// From here sending it live stood so.
    Live {
        /// Where in the take.
        at_ms: u64,
        /// How.
        state: LiveState,
    },
    /// The take ended by the teacher's hand.
    Stopped {
        /// Length of the picture.
        media_ms: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Source, SourceKind, Transport};

    #[test]
    fn messages_read_as_they_are_written_down() {
        let line = serde_json::to_string(&Command::Preview { on: true }).expect("json");
        assert_eq!(line, r#"{"command":"preview","on":true}"#);
        let kind = SourceKind::NetworkCamera { url: "rtsp://c".into(), transport: Transport::default() };
        let source = Source { name: "camera".into(), kind };
        assert_eq!(
            serde_json::to_string(&source).expect("json"),
            r#"{"name":"camera","kind":"network_camera","url":"rtsp://c"}"#
        );
    }
}
