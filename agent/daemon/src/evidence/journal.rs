//! Reads a take's journal, the facts its recorder made durable beside the bytes.

use std::path::Path;

use lectern_wire::manifest::{Finding, Gap, LayoutChange, LiveChange, Mark, Pace, Pause};
use lectern_wire::recorder::Fact;

/// The facts of a take, put together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// When it started: wall and boot milliseconds, boot id, clock trusted.
    pub started: Option<(i64, u64, String, bool)>,
    /// Recorder and libav versions.
    pub software: (String, String),
    /// Pauses.
    pub pauses: Vec<Pause>,
    /// Lost sources.
    pub gaps: Vec<Gap>,
    /// What the watchers saw.
    pub findings: Vec<Finding>,
    /// Moments the teacher noted.
    pub marks: Vec<Mark>,
    /// Changes of layout.
    pub layouts: Vec<LayoutChange>,
    /// What encoded the picture.
    pub encoder: String,
    /// Changes of the pictures made a second.
    pub paces: Vec<Pace>,
    /// How much was kept before the press.
    pub ring_ms: Option<u64>,
    /// Whether and when it was also sent live.
    pub live: Vec<LiveChange>,
    /// Whether the teacher ended it.
    pub stopped: bool,
}

/// Reads the journal; a torn last line, the mark of a crash, ends it.
pub fn read(path: &Path, duration_ms: u64) -> Journal {
    let mut journal = Journal::default();
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) => {
            tracing::warn!(journal = %path.display(), "no journal: {e}");
            return journal;
        }
    };
    for line in text.lines() {
        match serde_json::from_str(line) {
            Ok(fact) => journal.add(fact, duration_ms),
            Err(e) => {
                tracing::warn!(journal = %path.display(), "the journal ends in a torn line: {e}");
                break;
            }
        }
    }
    journal
}

impl Journal {
    /// Facts beyond the take's durable end are held to it.
    fn add(&mut self, fact: Fact, end: u64) {
        match fact {
            Fact::Started { wall_ms, mono_ms, boot_id, clock_trusted, recorder, libav, encoder, ring_ms } => {
                (self.encoder, self.ring_ms) = (encoder, ring_ms);
                self.started = Some((wall_ms, mono_ms, boot_id, clock_trusted));
                self.software = (recorder, libav);
            }
            Fact::Paused { at_ms, wall_ms } => {
                self.pauses.push(Pause { at_ms: at_ms.min(end), wall_ms, length_ms: None });
            }
            Fact::Resumed { paused_ms, .. } => {
                if let Some(pause) = self.pauses.last_mut() {
                    pause.length_ms = Some(paused_ms);
                }
            }
            Fact::GapOpened { source, at_ms, code, cause } => {
                self.gaps.push(Gap { source, from_ms: at_ms.min(end), to_ms: None, code, cause });
            }
            Fact::GapClosed { source, at_ms } => {
                if let Some(gap) =
                    self.gaps.iter_mut().rev().find(|g| g.source == source && g.to_ms.is_none())
                {
                    gap.to_ms = Some(at_ms.min(end));
                }
            }
            Fact::FindingOpened { kind, from_ms } => {
                self.findings.push(Finding { kind, from_ms: from_ms.min(end), to_ms: None });
            }
            Fact::FindingClosed { kind, at_ms } => {
                if let Some(finding) =
                    self.findings.iter_mut().rev().find(|f| f.kind == kind && f.to_ms.is_none())
                {
                    finding.to_ms = Some(at_ms.min(end));
                }
            }
            Fact::Marked { at_ms, word } => self.marks.push(Mark { at_ms: at_ms.min(end), word }),
            Fact::LayoutChanged { at_ms, layout } => {
                self.layouts.push(LayoutChange { at_ms: at_ms.min(end), layout });
            }
            Fact::Paced { at_ms, fps } => self.paces.push(Pace { at_ms: at_ms.min(end), fps }),
            Fact::Live { at_ms, state } => self.live.push(LiveChange { at_ms: at_ms.min(end), state }),
            Fact::Stopped { .. } => self.stopped = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_put_together_and_a_torn_line_ends_them() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("take-1.jsonl");
        let text = concat!(
            r#"{"fact":"started","wall_ms":1,"mono_ms":2,"boot_id":"b","clock_trusted":true,"recorder":"0.1.0","libav":"59"}"#,
            "\n",
            r#"{"fact":"gap_opened","source":"camera","at_ms":1000,"cause":"unplugged"}"#,
            "\n",
            r#"{"fact":"paused","at_ms":2000,"wall_ms":5}"#,
            "\n",
            r#"{"fact":"resumed","at_ms":2000,"paused_ms":3000}"#,
            "\n",
            r#"{"fact":"gap_closed","source":"camera","at_ms":9000}"#,
            "\n",
            r#"{"fact":"stopp"#,
        );
        std::fs::write(&path, text).expect("writes");
        let journal = read(&path, 4000);
        assert_eq!(journal.pauses, [Pause { at_ms: 2000, wall_ms: 5, length_ms: Some(3000) }]);
        assert_eq!(journal.gaps[0].to_ms, Some(4000), "held to the durable end");
        assert!(!journal.stopped);
    }
}
