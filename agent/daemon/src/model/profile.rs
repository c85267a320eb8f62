//! Video profiles: what a use asks of a recording, and whether a lesson meets it.

use lectern_wire::manifest::{FindingKind, Manifest, Take, TakeEnd};
use lectern_wire::report::Report;

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
    /// Pictures per second, mean over the lesson.
    pub min_fps: Option<u32>,
    /// Kilobit per second of picture and sound, mean over the lesson.
    pub max_kbps: Option<u32>,
    /// Whole minutes.
    pub min_minutes: Option<u32>,
    /// Whole minutes.
    pub max_minutes: Option<u32>,
    /// Mebibytes of all takes.
    pub max_mib: Option<u32>,
    /// One take, no pause, no gap.
    pub uninterrupted: bool,
    /// How a rendition is encoded; without it a clip is cut out as it was recorded.
    pub encode: Option<Encode>,
}

/// How a rendition is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encode {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Kilobit per second of the picture; less when the size asks for it.
    pub kbps: u32,
    /// Kilobit per second of the sound.
    pub sound_kbps: u32,
    /// Whether it may begin with a title.
    pub title: bool,
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
    /// Fewer pictures per second.
    TooFewPictures(u32),
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
    /// So many seconds in which a camera's picture stood still.
    Frozen(u64),
    /// Picture and sound end so many milliseconds apart.
    OutOfStep(u64),
}

/// A lesson with more than this share of silence or darkness is not fit for any use.
const MAX_BAD_SHARE_PCT: u64 = 10;
/// Of the pictures per second asked for, so many must be there.
const MIN_PICTURES_PCT: u64 = 98;
/// Picture and sound of a take may end so far apart.
const MAX_APART_MS: u64 = 500;

impl Profile {
    /// Why the lesson does not meet it; empty when it does.
    #[must_use]
    pub fn judge(&self, manifest: &Manifest) -> Vec<Reason> {
        let ms: u64 = manifest.takes.iter().map(|t| t.duration_ms).sum();
        let bytes: u64 = manifest.takes.iter().map(|t| t.size).sum();
        let mut out = Vec::new();
        let minutes = |m: u32| u64::from(m) * 60_000;
        if let Some(min) = self.min_minutes.filter(|m| ms < minutes(*m)) {
            out.push(Reason::TooShort(min));
        }
        if let Some(max) = self.max_minutes.filter(|m| ms > minutes(*m)) {
            out.push(Reason::TooLong(max));
        }
        let (width, height) = (self.min_width.unwrap_or(0), self.min_height.unwrap_or(0));
        if sizes(manifest).any(|(w, h)| w < width || h < height) {
            out.push(Reason::TooSmall(width, height));
        }
        let reports = || manifest.takes.iter().filter_map(|t| t.report.as_ref());
        let slow =
            |r: &Report, fps: u32| r.pictures * 100_000 < r.picture_ms * u64::from(fps) * MIN_PICTURES_PCT;
        if let Some(fps) = self.min_fps.filter(|fps| reports().any(|r| slow(r, *fps))) {
            out.push(Reason::TooFewPictures(fps));
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
        let silent = bad_seconds(manifest, &[FindingKind::Silent, FindingKind::DigitalZero], |r| r.silent_ms);
        let black = bad_seconds(manifest, &[FindingKind::Black], |r| r.black_ms);
        // A slide is rightly still; a picture with a camera in it is not.
        let filmed = |r: &Report| if always_filmed(manifest) { r.still_ms } else { 0 };
        let frozen = bad_seconds(manifest, &[FindingKind::Frozen], filmed);
        let too_much = |seconds: u64| seconds * 100_000 > ms * MAX_BAD_SHARE_PCT;
        out.extend(too_much(silent).then_some(Reason::Silent(silent)));
        out.extend(too_much(black).then_some(Reason::Black(black)));
        out.extend(too_much(frozen).then_some(Reason::Frozen(frozen)));
        let apart = reports().map(|r| r.drift_ms.unsigned_abs()).max().unwrap_or(0);
        out.extend((apart > MAX_APART_MS).then_some(Reason::OutOfStep(apart)));
        out
    }
}

/// The picture's size in each take: what was decoded or, where there is no report, what was asked for.
fn sizes(manifest: &Manifest) -> impl Iterator<Item = (u32, u32)> {
    let asked = (manifest.capture.video.width, manifest.capture.video.height);
    manifest.takes.iter().map(move |t| t.report.as_ref().map_or(asked, |r| (r.width, r.height)))
}

/// Whether a camera stood in the picture all the time.
fn always_filmed(manifest: &Manifest) -> bool {
    let changed = manifest.takes.iter().flat_map(|t| t.layouts.iter().map(|l| l.layout));
    std::iter::once(manifest.capture.layout).chain(changed).all(|layout| layout.shows().1 > 0)
}

/// Seconds of all findings of these kinds, or those of the reports if that is more: a watcher sees a source, the
/// report what became of it.
fn bad_seconds(manifest: &Manifest, kinds: &[FindingKind], reported: impl Fn(&Report) -> u64) -> u64 {
    let found = |t: &Take| {
        let own = t.findings.iter().filter(|f| kinds.contains(&f.kind));
        own.map(|f| f.to_ms.unwrap_or(t.duration_ms).saturating_sub(f.from_ms)).sum::<u64>()
    };
    let ms = |t: &Take| found(t).max(t.report.as_ref().map_or(0, &reported));
    manifest.takes.iter().map(ms).sum::<u64>() / 1000
}

#[cfg(test)]
mod tests {
    use lectern_wire::capture::{AudioSettings, CaptureSettings, Layout, VideoSettings};
    use lectern_wire::digest::Digest;
    use lectern_wire::id::{DeviceId, LessonId, SchoolId};
    use lectern_wire::manifest::{About, Finding, Pause, Software};

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
            encoder: String::new(),
            paces: vec![],
            ring_ms: None,
            live: Vec::new(),
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
                video: VideoSettings {
                    width: 1920,
                    height: 1080,
                    fps: 25,
                    max_kbps: 4000,
                    gop_s: 2,
                    encoder: None,
                },
                audio: AudioSettings { kbps: 128 },
                copy_camera: false,
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

    #[test]
    fn what_was_decoded_counts() {
        let of = |report: Report| lesson(40, |t| t.report = Some(report));
        let good = Report {
            width: 1920,
            height: 1080,
            picture_ms: 2_400_000,
            pictures: 60_000,
            ..Report::default()
        };
        let asks =
            Profile { min_width: Some(1280), min_height: Some(720), min_fps: Some(25), ..Profile::default() };
        assert_eq!(asks.judge(&of(good.clone())), []);
        let bad = Report {
            width: 640,
            pictures: 36_000,
            silent_ms: 600_000,
            black_ms: 300_000,
            still_ms: 2_400_000,
            drift_ms: -800,
            ..good
        };
        let reasons = [
            Reason::TooSmall(1280, 720),
            Reason::TooFewPictures(25),
            Reason::Silent(600),
            Reason::Black(300),
            Reason::OutOfStep(800),
        ];
        assert_eq!(asks.judge(&of(bad)), reasons);
        let mut filmed = of(Report { still_ms: 2_400_000, ..good });
        assert_eq!(asks.judge(&filmed), [], "a screen may stand still");
        filmed.capture.layout = Layout::Camera;
        assert_eq!(asks.judge(&filmed), [Reason::Frozen(2400)]);
    }
}
