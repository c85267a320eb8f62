//! Before a lesson: every source is opened at once, looked at until it is known how it is, and closed again, while
//! the encoder is tried with real pictures. Nothing is kept.
//!
//! A recorder that is armed has the sources open already, and some devices open only once: then it looks itself.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use lectern_base::clock;
use lectern_wire::capture::{CaptureSettings, Source, SourceKind};
use lectern_wire::preflight::{CheckState, CheckedKind, EncoderCheck, Preflight, SourceCheck};

use crate::av::RATE;
use crate::card;
use crate::encode;
use crate::metronome::Metronome;
use crate::sound::{NOTHING_DBFS, times};
use crate::source::{self, Running};

/// After this long every source has its answer.
const LIMIT: Duration = Duration::from_secs(4);
/// A picture that has been black for so long is black: a camera opens its eye slowly.
const BLACK_FOR: Duration = Duration::from_millis(1500);
/// Sound that is listened to before it is judged: one second.
const LISTEN: u32 = RATE;
/// A second without any sample above this has no voice in it, nor a room's own noise.
const SILENT_DBFS: f64 = -60.0;

/// Opens every source, waits for their answers and prints the [`Preflight`] as one JSON line.
pub fn run(capture: &CaptureSettings) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(&check(capture)?)?);
    Ok(())
}

fn check(capture: &CaptureSettings) -> anyhow::Result<Preflight> {
    let metronome = Arc::new(Metronome::new(capture.video.fps));
    metronome.set(clock::mono());
    let mut running = Vec::new();
    for source in &capture.sources {
        let open = not_yet_allowed(source).is_none();
        running.push(if open { Some(source::start(source, &metronome, capture.video)?) } else { None });
    }
    let mut looking = Looking::begin(capture, running.iter().map(Option::as_ref))?;
    let found = loop {
        if let Some(found) = looking.step(capture, running.iter().map(Option::as_ref))? {
            break found;
        }
        for (n, source) in running.iter().enumerate() {
            if let (Some(source), true) = (source, looking.answered(n)) {
                source.end();
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    for source in running.iter_mut().flatten() {
        source.stop();
    }
    Ok(found)
}

/// A look that is under way at sources that are open.
pub struct Looking {
    started: Duration,
    looks: Vec<(Look, Option<SourceCheck>)>,
    encoder: Option<JoinHandle<EncoderCheck>>,
}

impl Looking {
    /// Begins; the sources stand in the order of the settings, without those that must not be opened.
    pub fn begin<'a>(
        capture: &CaptureSettings,
        running: impl Iterator<Item = Option<&'a Running>>,
    ) -> anyhow::Result<Self> {
        for running in running.flatten() {
            if let SourceKind::Microphone { gain_db, .. } = running.kind {
                running.outlet.listen(times(gain_db));
            }
        }
        let looks = capture.sources.iter().map(|source| (Look::default(), not_yet_allowed(source)));
        let video = capture.video;
        let trial = std::thread::Builder::new().name("encoder trial".into());
        let trial = (!capture.copy_camera).then(|| trial.spawn(move || encode::probe_before_lesson(video)));
        Ok(Self { started: clock::mono(), looks: looks.collect(), encoder: trial.transpose()? })
    }

    /// Whether the `n`th source has its answer.
    pub fn answered(&self, n: usize) -> bool {
        self.looks.get(n).is_some_and(|(_, answer)| answer.is_some())
    }

    /// Looks once more; the verdict when all is known.
    pub fn step<'a>(
        &mut self,
        capture: &CaptureSettings,
        running: impl Iterator<Item = Option<&'a Running>>,
    ) -> anyhow::Result<Option<Preflight>> {
        let age = clock::mono().saturating_sub(self.started);
        for (source, (look, answer)) in running.zip(&mut self.looks) {
            if let (None, Some(source)) = (&answer, source) {
                look.look(source, self.started);
                let verdict = look.verdict(source, capture, age);
                *answer = verdict.map(|v| v.of(source, look, age));
            }
        }
        let trying = self.encoder.as_ref().is_some_and(|trial| !trial.is_finished());
        if trying || self.looks.iter().any(|(_, answer)| answer.is_none()) {
            return Ok(None);
        }
        let encoder =
            self.encoder.take().map(|trial| trial.join().ok().context("the encoder's trial broke off"));
        let sources = self.looks.iter_mut().filter_map(|(_, answer)| answer.take()).collect();
        Ok(Some(Preflight { sources, encoder: encoder.transpose()? }))
    }
}

/// A screen that the desktop asks about first is not opened: a question that vanishes after a moment is worse than
/// none.
fn not_yet_allowed(source: &Source) -> Option<SourceCheck> {
    let SourceKind::WaylandScreen { leave } = &source.kind else { return None };
    source::portal_leave(leave).is_none().then(|| SourceCheck {
        name: source.name.clone(),
        kind: CheckedKind::Screen,
        state: CheckState::NoPicture,
        picture: None,
        peak_dbfs: None,
        problem: Some(
            "the desktop asks once, when the lesson starts, whether the screen may be recorded".into(),
        ),
        took_ms: 0,
    })
}

/// What a source has given so far.
#[derive(Default)]
struct Look {
    picture: Option<(u32, u32)>,
    /// A picture came that is kept as it is, and not decoded.
    coded: bool,
    black_since: Option<Duration>,
    peak_dbfs: Option<f64>,
}

struct Verdict {
    state: CheckState,
    problem: Option<String>,
}

impl Look {
    /// Takes in what the source has given since then.
    fn look(&mut self, source: &Running, since: Duration) {
        if let Some(newest) = source.outlet.newest().filter(|newest| newest.at >= since) {
            self.picture = Some(newest.size());
            self.black_since = newest.is_black().then(|| self.black_since.unwrap_or(newest.at));
        }
        self.coded = source.outlet.wire.last().is_some_and(|at| at >= since);
    }

    /// How the source is, once that is known; at the latest after [`LIMIT`].
    fn verdict(&mut self, source: &Running, capture: &CaptureSettings, age: Duration) -> Option<Verdict> {
        let over = age >= LIMIT;
        let fault = source.outlet.fault().map(|(_, why)| why);
        let limit = LIMIT.as_secs();
        match source.kind {
            SourceKind::Test => {
                self.picture = Some((capture.video.width, capture.video.height));
                self.peak_dbfs = Some(card::TONE_DBFS);
                Some(Verdict::good())
            }
            SourceKind::Microphone { .. } => {
                let heard = source.outlet.heard();
                if heard >= LISTEN || over && heard > 0 {
                    let peak = source.outlet.loudness().map_or(NOTHING_DBFS, |r| r.peak_dbfs);
                    self.peak_dbfs = Some(peak);
                    return Some(if peak > SILENT_DBFS {
                        Verdict::good()
                    } else {
                        let what = if peak <= NOTHING_DBFS { "digital zero" } else { "hardly anything" };
                        Verdict::bad(CheckState::Silent, format!("a second of listening gave {what}"))
                    });
                }
                let nothing = || over.then(|| format!("no sound came in {limit} s"));
                fault.or_else(nothing).map(|why| Verdict::bad(CheckState::Failed, why))
            }
            _ => match (self.picture, self.black_since) {
                (Some(_), None) => Some(Verdict::good()),
                (Some(_), Some(since)) => (over || clock::mono().saturating_sub(since) >= BLACK_FOR)
                    .then(|| Verdict::bad(CheckState::Black, "the picture is black".into())),
                (None, _) if self.coded => Some(Verdict::good()),
                (None, _) => match fault {
                    Some(why) => Some(Verdict::bad(CheckState::Failed, why)),
                    None => over.then(|| {
                        Verdict::bad(CheckState::NoPicture, format!("no picture came in {limit} s"))
                    }),
                },
            },
        }
    }
}

impl Verdict {
    fn good() -> Self {
        Self { state: CheckState::Good, problem: None }
    }

    fn bad(state: CheckState, problem: String) -> Self {
        Self { state, problem: Some(problem) }
    }

    fn of(self, source: &Running, look: &Look, age: Duration) -> SourceCheck {
        SourceCheck {
            name: source.name.clone(),
            kind: match source.kind {
                SourceKind::Screen { .. } | SourceKind::WaylandScreen { .. } => CheckedKind::Screen,
                SourceKind::Camera { .. } | SourceKind::NetworkCamera { .. } => CheckedKind::Camera,
                SourceKind::Microphone { .. } => CheckedKind::Microphone,
                SourceKind::Test => CheckedKind::Test,
            },
            state: self.state,
            picture: look.picture,
            peak_dbfs: look.peak_dbfs,
            problem: self.problem,
            took_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lectern_wire::capture::{AudioSettings, Encoder, Layout, Source, Transport, VideoSettings};

    #[test]
    fn each_source_gets_its_own_answer() {
        crate::av::start();
        let source = |name: &str, kind| Source { name: name.into(), kind };
        let url = "rtsp://u:secret@127.0.0.1:1/live".into();
        let camera = SourceKind::NetworkCamera { url, transport: Transport::Tcp };
        let capture = CaptureSettings {
            layout: Layout::Screen,
            sources: vec![source("card", SourceKind::Test), source("nobody", camera)],
            video: VideoSettings { width: 320, height: 180, fps: 25, max_kbps: 400, gop_s: 2, encoder: None },
            audio: AudioSettings { kbps: 96 },
            copy_camera: false,
        };
        let Preflight { sources: found, encoder } = check(&capture).expect("a check");
        assert_eq!(encoder.map(|e| e.encoder), Some(Encoder::Libx264));
        let state = |n: usize| (found[n].name.as_str(), found[n].kind, found[n].state);
        assert_eq!(state(0), ("card", CheckedKind::Test, CheckState::Good));
        assert_eq!((found[0].picture, found[0].problem.as_ref()), (Some((320, 180)), None));
        assert_eq!(state(1), ("nobody", CheckedKind::Camera, CheckState::Failed));
        let problem = found[1].problem.as_ref().expect("a problem");
        assert!(problem.contains("127.0.0.1:1") && !problem.contains("secret"), "{problem}");
    }
}
