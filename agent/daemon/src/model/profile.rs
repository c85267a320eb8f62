//! Video profiles: what a use asks of a recording, and whether a lesson meets it.

use lectern_wire::manifest::{FindingKind, Manifest, TakeEnd};

/// What one use asks for; what it does not ask for is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Short name for programs.
    pub id: String,
    /// Name as people say it.
    pub name: String,
    /// What it is for.
    pub purpose: String,
    /// Pixels.
    pub min_width: Option<u32>,
    /// Pixels.
    pub min_height: Option<u32>,
    /// Kilobit per second, mean over the lesson.
    pub max_kbps: Option<u32>,
    /// Whole minutes.
    pub min_minutes: Option<u32>,
    /// Whole minutes.
    pub max_minutes: Option<u32>,
    /// Mebibytes of all takes.
    pub max_mib: Option<u32>,
    /// One take, no pause, no gap.
    pub uninterrupted: bool,
}

/// Why a lesson does not meet a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Shorter than so many minutes.
    TooShort(u32),
    /// Longer than so many minutes.
    TooLong(u32),
    /// Fewer pixels than width and height.
    TooSmall(u32, u32),
    /// More than so many kilobit per second.
    TooManyKbps(u32),
    /// More than so many mebibytes.
    TooLarge(u32),
    /// More than one take, or one that broke off.
    Interrupted,
    /// It was paused.
    Paused,
    /// A source was away.
    Gap,
    /// So many seconds without sound.
    Silent(u64),
    /// So many seconds without picture.
    Black(u64),
}

/// A lesson with more than this share of silence or darkness is not fit for any use.
const MAX_BAD_SHARE_PCT: u64 = 10;

impl Profile {
    /// Why the lesson does not meet it; empty when it does.
    #[must_use]
    pub fn judge(&self, manifest: &Manifest) -> Vec<Reason> {
        let ms: u64 = manifest.takes.iter().map(|t| t.duration_ms).sum();
        let bytes: u64 = manifest.takes.iter().map(|t| t.size).sum();
        let video = manifest.capture.video;
        let mut out = Vec::new();
        let minutes = |m: u32| u64::from(m) * 60_000;
        if let Some(min) = self.min_minutes.filter(|m| ms < minutes(*m)) {
            out.push(Reason::TooShort(min));
        }
        if let Some(max) = self.max_minutes.filter(|m| ms > minutes(*m)) {
            out.push(Reason::TooLong(max));
        }
        let (width, height) = (self.min_width.unwrap_or(0), self.min_height.unwrap_or(0));
        if video.width < width || video.height < height {
            out.push(Reason::TooSmall(width, height));
        }
        let kbps = (bytes * 8).checked_div(ms).unwrap_or(0);
        if let Some(max) = self.max_kbps.filter(|max| kbps > u64::from(*max)) {
            out.push(Reason::TooManyKbps(max));
        }
        if let Some(max) = self.max_mib.filter(|max| bytes > u64::from(*max) << 20) {
            out.push(Reason::TooLarge(max));
        }
        if self.uninterrupted {
            let whole = manifest.takes.len() == 1 && manifest.takes.iter().all(|t| t.end == TakeEnd::Stopped);
            out.extend((!whole).then_some(Reason::Interrupted));
            out.extend(manifest.takes.iter().any(|t| !t.pauses.is_empty()).then_some(Reason::Paused));
            out.extend(manifest.takes.iter().any(|t| !t.gaps.is_empty()).then_some(Reason::Gap));
        }
        let silent = seconds(manifest, &[FindingKind::Silent, FindingKind::DigitalZero]);
        let black = seconds(manifest, &[FindingKind::Black]);
        out.extend((silent * 100_000 > ms * MAX_BAD_SHARE_PCT).then_some(Reason::Silent(silent)));
        out.extend((black * 100_000 > ms * MAX_BAD_SHARE_PCT).then_some(Reason::Black(black)));
        out
    }
}

/// Seconds of all findings of these kinds.
fn seconds(manifest: &Manifest, kinds: &[FindingKind]) -> u64 {
    let of_take = manifest.takes.iter().flat_map(|t| t.findings.iter().map(move |f| (t, f)));
    let found = of_take.filter(|(_, f)| kinds.contains(&f.kind));
    found.map(|(t, f)| f.to_ms.unwrap_or(t.duration_ms).saturating_sub(f.from_ms)).sum::<u64>() / 1000
}

#[cfg(test)]
mod tests {
    use lectern_wire::digest::Digest;
    use lectern_wire::id::{DeviceId, LessonId, SchoolId};
    use lectern_wire::manifest::{About, Finding, Pause, Software, Take};
    use lectern_wire::recorder::{AudioSettings, CaptureSettings, Layout, VideoSettings};

    use super::*;

    fn lesson(minutes: u64, edit: impl FnOnce(&mut Take)) -> Manifest {
        let mut take = Take {
            n: 1,
            file: "take-1.mp4".into(),
            size: minutes * 60 * 500_000,
            sha256: Digest::of(b""),
            duration_ms: minutes * 60_000,
            started_wall_ms: 0,
            started_mono_ms: 0,
            boot_id: String::new(),
            clock_trusted: true,
            end: TakeEnd::Stopped,
            parts: vec![],
            fragments: vec![],
            pauses: vec![],
            gaps: vec![],
            findings: vec![],
            marks: vec![],
            layouts: vec![],
            report: None,
        };
        edit(&mut take);
        Manifest {
            v: 1,
            lesson_id: LessonId::new("l").expect("id"),
            school: SchoolId::new("s").expect("id"),
            room: String::new(),
            device: DeviceId::new("d").expect("id"),
            about: About::default(),
            takes: vec![take],
            capture: CaptureSettings {
                layout: Layout::Screen,
                sources: vec![],
                video: VideoSettings { width: 1920, height: 1080, fps: 25, max_kbps: 4000, gop_s: 2 },
                audio: AudioSettings { kbps: 128 },
            },
            software: Software { agent: String::new(), recorder: String::new(), libav: String::new() },
            prev: None,
            sealed_wall_ms: 0,
        }
    }

    #[test]
    fn a_lesson_is_told_what_it_is_fit_for_and_why_not() {
        let youke = Profile { min_minutes: Some(30), max_minutes: Some(45), ..Profile::default() };
        assert_eq!(youke.judge(&lesson(40, |_| {})), []);
        assert_eq!(youke.judge(&lesson(18, |_| {})), [Reason::TooShort(30)]);
        let noedit = Profile { uninterrupted: true, ..Profile::default() };
        let pause = |t: &mut Take| t.pauses.push(Pause { at_ms: 1, wall_ms: 0, length_ms: Some(5) });
        assert_eq!(noedit.judge(&lesson(40, pause)), [Reason::Paused]);
        let small = Profile { max_mib: Some(500), max_kbps: Some(3000), ..Profile::default() };
        assert_eq!(small.judge(&lesson(40, |_| {})), [Reason::TooManyKbps(3000), Reason::TooLarge(500)]);
        let silent = |t: &mut Take| {
            t.findings.push(Finding { kind: FindingKind::DigitalZero, from_ms: 60_000, to_ms: None });
        };
        assert_eq!(Profile::default().judge(&lesson(40, silent)), [Reason::Silent(39 * 60)]);
    }
}
