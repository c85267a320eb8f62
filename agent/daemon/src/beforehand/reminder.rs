//! 「您在讲课，但没有在录」: when the microphone hears speech for a while and nothing records, the page
//! says so. Off unless set; only the level is looked at, and only within the school's periods where
//! there is a timetable.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use lectern_base::clock;
use lectern_wire::capture::CaptureSettings;
use lectern_wire::preflight::Heard;
use tokio_util::sync::CancellationToken;

use super::child::{Looker, lesson_begins, records};
use crate::model::timetable::Slot;
use crate::store::Store;

/// What the reminder needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The recorder program.
    pub recorder: PathBuf,
    /// The sources.
    pub capture: CaptureSettings,
}

impl Settings {
    /// Whether a voice counts now: the break before a period is shown on the page already, and is no lesson.
    fn now(store: &Store) -> bool {
        let on = |slot: Slot| slot.start_ms <= clock::wall_ms();
        store.timetable().is_none() || store.board().read().slot.is_some_and(on)
    }
}

/// Runs until told to stop.
pub async fn run(store: Store, settings: Settings, stop: CancellationToken) {
    loop {
        let wanted = !records(&store) && Settings::now(&store);
        if wanted {
            tokio::select! {
                () = stop.cancelled() => return,
                () = listen(&store, &settings) => {}
            }
            store.board().update(|s| s.speech = false);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
        }
    }
}

/// Listens until a lesson begins, the period is over, or the recorder ends.
async fn listen(store: &Store, settings: &Settings) {
    let mut looker = match Looker::start(&settings.recorder, "listen", &settings.capture).await {
        Ok(looker) => looker,
        Err(e) => return tracing::warn!("the speech reminder does not work: {e}"),
    };
    let mut ear = Ear::default();
    loop {
        let line = tokio::select! {
            line = looker.lines.next_line() => line,
            () = lesson_begins(store) => break,
        };
        let heard = match line {
            Ok(Some(line)) => serde_json::from_str::<Heard>(&line),
            Ok(None) => break,
            Err(e) => {
                tracing::warn!("the speech reminder hears nothing: {e}");
                break;
            }
        };
        match heard {
            Ok(heard) => {
                let speech = ear.hear(heard.rms_dbfs);
                store.board().update(|s| s.speech = speech);
            }
            Err(e) => tracing::warn!("what the recorder heard cannot be read: {e}"),
        }
        if !Settings::now(store) {
            break;
        }
    }
    looker.end().await;
}

/// Decides by level alone. Speech stops for breath: half of a minute's half-seconds above the room's noise
/// is somebody talking, a fifth is not.
#[derive(Debug, Default)]
struct Ear {
    loud: VecDeque<bool>,
    speech: bool,
}

impl Ear {
    /// Mean power of a voice a microphone at the lectern picks up is above this, dBFS.
    const VOICE: f64 = -45.0;
    /// Half-seconds looked at: a minute.
    const WINDOW: usize = 120;

    fn hear(&mut self, rms_dbfs: Option<f64>) -> bool {
        self.loud.push_back(rms_dbfs.is_some_and(|db| db > Self::VOICE));
        if self.loud.len() > Self::WINDOW {
            self.loud.pop_front();
        }
        let loud = self.loud.iter().filter(|loud| **loud).count();
        let full = self.loud.len() == Self::WINDOW;
        self.speech = full && loud * if self.speech { 5 } else { 2 } >= Self::WINDOW;
        self.speech
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_of_talking_is_speech_and_a_cough_is_not() {
        let mut ear = Ear::default();
        let talk = |n: u32| Some(if n.is_multiple_of(4) { -60.0 } else { -28.0 });
        assert!((0..119).all(|n| !ear.hear(talk(n))), "not before a minute is over");
        assert!(ear.hear(talk(119)));
        assert!((0..70).all(|_| ear.hear(Some(-70.0))), "a pause for thought is still the lesson");
        assert!((0..50).filter(|_| ear.hear(Some(-70.0))).count() < 50, "a long silence is not");
        assert!(!ear.hear(Some(-70.0)));
        let mut cough = Ear::default();
        assert!(!(0..300).any(|n| cough.hear((n % 20 == 0).then_some(-10.0))));
    }
}
