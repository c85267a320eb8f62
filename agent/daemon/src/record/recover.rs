//! At start: finds the recorder of a lesson that was being recorded, or decides what becomes of it.
//!
//! A recorder that does not answer may still be starting, or may be dying with its last write under way. The lock of the
//! take decides: who writes a take holds it, and what the daemon has locked nobody begins any more.
//!
//! | recorder | boot | last durable byte | then |
//! |---|---|---|---|
//! | answers | – | – | adopted: the lesson goes on as if nothing had been |
//! | dead | this one | under 5 minutes ago | the lesson goes on in its next take; one whose end was asked for ends |
//! | dead | this one | longer ago | the lesson ends with what it has |
//! | dead while paused | this one | – | it stays paused, and goes on in its next take when the teacher says so |
//! | dead | an earlier one | – | the lesson ends with what it has: after a power cut nobody may be in the room, and only a hand starts a recording |

use std::fs::{File, OpenOptions};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use lectern_base::{clock, disk};
use lectern_wire::fmp4::Scanner;
use lectern_wire::manifest::TakeEnd;

use super::driver::{Driver, STOPPING, millis};
use super::live::Live;
use super::process;
use crate::model::lesson::{CutShort, Event, State};
use crate::model::status;
use crate::store::lessons::Lesson;

/// A lesson that stood still for longer than this is not taken up again.
const FRESH_MS: i64 = 5 * 60 * 1000;
/// How long a killed recorder is given for its last write.
const DYING: Duration = Duration::from_secs(5);

impl Driver {
    /// Takes up what an earlier daemon left.
    pub(super) fn recover(&mut self) {
        let lessons = match self.store.waiting_lessons() {
            Ok(lessons) => lessons,
            Err(e) => return tracing::error!("lessons left by an earlier run cannot be read: {e}"),
        };
        for lesson in lessons.into_iter().filter(|l| l.state.is_live()) {
            if let Err(e) = self.recover_one(&lesson) {
                tracing::error!(lesson = %lesson.id, "could not be recovered: {e}");
            }
        }
    }

    fn recover_one(&mut self, lesson: &Lesson) -> Result<(), crate::store::StoreError> {
        let takes = self.store.takes(&lesson.id)?;
        let Some(last) = takes.last() else {
            self.store.advance(&lesson.id, Event::Ended)?;
            return Ok(());
        };
        let folder = self.store.lesson_folder(&lesson.id);
        let mut live = Live::new(lesson.id.clone(), lesson.state, last.n);
        for take in takes.iter().filter(|t| t.n < last.n) {
            let (bytes, ms) = measure(&folder.join(format!("take-{}.mp4", take.n)));
            live.before_bytes += bytes;
            live.before_ms += ms;
        }
        let socket = self.store.socket(&lesson.id, last.n);
        let path = folder.join(format!("take-{}.mp4", last.n));
        let this_boot = lesson.boot_id == clock::boot_id();
        // A recorder that died before it made its take: then the folder tells when.
        let age = age_ms(&path).or_else(|| age_ms(&folder));
        let found =
            if last.ended.is_none() && this_boot { look_for(&socket, &path) } else { Found::Nobody(None) };
        let answers = matches!(found, Found::AtWork);
        if let Found::Nobody(barred) = found {
            live.barred = barred;
            (live.take_bytes, live.take_ms) = measure(&path);
        }
        live.bell = lesson.bell.filter(|_| this_boot);
        live.sent = self.settings.live.is_some() && self.was_live(&lesson.id);
        let stopping = self.store.fact(STOPPING)?.is_some_and(|id| id == lesson.id.as_str());
        let paused = lesson.state == State::Paused;
        let fresh = this_boot && !stopping && (paused || age.is_some_and(|age| age < FRESH_MS));
        let now = millis(clock::boot());
        self.store.board().update(|s| {
            s.lesson = Some(status::Lesson {
                id: lesson.id.clone(),
                state: lesson.state,
                about: lesson.about.clone(),
                media_ms: live.before_ms + live.take_ms,
                media_at_boot_ms: now,
                bytes: live.before_bytes + live.take_bytes,
                take: last.n,
                layout: lesson.capture.layout,
                marks: 0,
                cut_short: lesson.cut_short,
                bell: live.bell,
                counts_down: false,
                thrown_away: false,
                submitted: None,
                profiles: Vec::new(),
                reports: Vec::new(),
                pressed_at_boot_ms: now,
                first_durable_ms: None,
                stopped_at_boot_ms: None,
                stored_after_ms: None,
            });
        });
        if self.live.is_some() {
            // Cannot be: one press, one lesson. Whatever it was, it ends with what it has.
            self.store.end_take(
                &lesson.id,
                last.n,
                &TakeEnd::Interrupted("a second live lesson was found".into()),
            )?;
            self.store.advance(&lesson.id, Event::Ended)?;
            return Ok(());
        }
        if answers {
            tracing::info!(lesson = %lesson.id, take = last.n, "recorder found at work and adopted");
            live.stopping = stopping.then(clock::mono);
            self.live = Some(live);
            process::listen(socket, (lesson.id.clone(), last.n), Duration::from_secs(1), self.heard.clone());
            return Ok(());
        }
        let reason = if this_boot { CutShort::RecorderLost } else { CutShort::PowerCut };
        tracing::warn!(lesson = %lesson.id, take = last.n, reason = reason.name(), fresh, "a lesson was left open");
        self.store.end_take(&lesson.id, last.n, &TakeEnd::Interrupted(reason.sentence().into()))?;
        remove_stale(&socket);
        if fresh && paused {
            live.rest();
            self.live = Some(live);
        } else if fresh {
            live.state = self.store.advance(&lesson.id, Event::RecorderLost)?;
            live.lost(clock::mono());
            live.restart_at = Some(clock::mono());
            self.live = Some(live);
        } else {
            // It was lost while ending: its last second is missing at most, and the take says why.
            let cut_short = (!stopping).then_some(reason);
            if let Some(reason) = cut_short {
                self.store.set_cut_short(&lesson.id, reason)?;
            }
            let state = self.store.advance(&lesson.id, Event::Ended)?;
            self.store.board().update(|s| {
                if let Some(shown) = s.lesson.as_mut().filter(|shown| shown.id == lesson.id) {
                    shown.state = state;
                    shown.cut_short = shown.cut_short.or(cut_short);
                }
            });
            self.store.bells().evidence.notify_one();
        }
        Ok(())
    }
}

/// Who is at a take.
enum Found {
    /// A recorder that answers.
    AtWork,
    /// Nobody, and while this is open nobody comes.
    Nobody(Option<File>),
}

/// Looks for the recorder of a take: waits for one that is dying, and shuts out one that comes too late.
fn look_for(socket: &Path, take: &Path) -> Found {
    let give_up = clock::mono() + DYING;
    loop {
        if UnixStream::connect(socket).is_ok() {
            return Found::AtWork;
        }
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(take);
        match file.and_then(|file| disk::hold(&file).map(|held| held.then_some(file))) {
            Ok(Some(barred)) => return Found::Nobody(Some(barred)),
            Ok(None) if clock::mono() < give_up => std::thread::sleep(Duration::from_millis(20)),
            // It is not sealed before that is over.
            Ok(None) => {
                tracing::error!(take = %take.display(), "somebody still writes it and does not answer");
                return Found::Nobody(None);
            }
            Err(e) => {
                tracing::error!(take = %take.display(), "it cannot be locked: {e}");
                return Found::Nobody(None);
            }
        }
    }
}

/// Bytes and milliseconds of a take that play.
fn measure(path: &Path) -> (u64, u64) {
    let mut scanner = Scanner::default();
    let scanned = File::open(path).map_err(|e| e.to_string()).and_then(|mut file| {
        let mut buffer = vec![0; 1 << 20];
        loop {
            match std::io::Read::read(&mut file, &mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => scanner.push(&buffer[..n]).map_err(|e| e.to_string())?,
                Err(e) => return Err(e.to_string()),
            }
        }
    });
    if let Err(e) = scanned {
        tracing::warn!(take = %path.display(), "{e}");
    }
    (scanner.whole(), scanner.duration_ms())
}

/// How long ago a file last grew, by the same clock that stamped it.
fn age_ms(path: &Path) -> Option<i64> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = std::fs::metadata(path).ok()?;
    Some(clock::wall_ms() - (meta.mtime() * 1000 + meta.mtime_nsec() / 1_000_000))
}

fn remove_stale(socket: &Path) {
    match std::fs::remove_file(socket) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => tracing::warn!("{}: {e}", socket.display()),
        _ => {}
    }
}
