//! Takes lessons where they belong, part by part, while they are still being recorded.
//!
//! A part goes as soon as its row is there; any interruption resumes at the rows. The lesson is
//! stored when the destination has proved it (the hub: by a signed receipt that names the manifest's
//! hash), and not before. There is no end to trying: waits grow to a minute and are jittered, a stalled
//! line is cut, not a slow one.
//!
//! The lesson that is recorded now, or was last, goes before all others. What one lesson is stuck on holds no
//! other up.
//!
//! ```text
//! mod      which lesson, and whether it may go now (schedule)
//! lanes    its parts side by side (climb), one more on its way to its turn (turns)
//! destination, hub   how a part is taken there
//! road     connections (line), a request and its answer (exchange), bytes out of files (body), pace, and the question that keeps it polite (manners)
//! ```

mod body;
mod climb;
mod destination;
mod error;
mod exchange;
pub mod hub;
mod lanes;
mod line;
mod manners;
mod pace;
mod receipt;
mod road;
mod turns;
mod witness;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lectern_base::clock;
use lectern_wire::PART_SIZE;
use lectern_wire::digest::Digest;
use lectern_wire::id::LessonId;
use lectern_wire::manifest::Part;
use tokio_util::sync::CancellationToken;

use crate::model::lesson::State;
use crate::model::schedule::{Leave, Schedule};
use crate::model::status::{Hold, Status};
use crate::platform::rest;
use crate::store::deliveries::HUB;
use crate::store::lessons::{Lesson, PartRow};
use crate::store::{Store, StoreError};
use climb::Climb;
pub use destination::Destination;
use destination::Went;
pub use error::UploadError;
use lanes::{Came, jittered, jittered_a_little};
pub use line::Proxy;
pub use road::Road;
use turns::Turns;
pub use witness::forget as forget_log;

/// Longest wait between tries.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// While something waits for the night or in a queue, it is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What the stage needs.
pub struct Settings {
    /// Where lessons go.
    pub destination: Destination,
    /// The way there.
    pub road: Arc<Road>,
    /// What may go when.
    pub schedule: Schedule,
    /// Who is asked how long the way takes; nobody when good manners are switched off.
    pub ask: Option<url::Url>,
}

/// Runs until told to stop.
pub async fn run(store: Store, settings: Settings, stop: CancellationToken) {
    store.board().update(|s| s.upload.configured = true);
    let Settings { destination, road, schedule, ask } = settings;
    let uploader = Uploader {
        store: store.clone(),
        destination,
        road,
        schedule,
        climb: Mutex::default(),
        stuck: Mutex::default(),
    };
    let uploader = Arc::new(uploader);
    let manners = async {
        match &ask {
            Some(ask) => uploader.road.keep_manners(ask, &stop).await,
            None => stop.cancelled().await,
        }
    };
    if let Err(e) = witness::show(&store) {
        tracing::error!("what is known of the hub's log cannot be read: {e}");
    }
    let looking = async {
        loop {
            let wait = witness::wait(uploader.destination.look(&store).await);
            rest::about(wait).await;
        }
    };
    let looking = async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = looking => {}
        }
    };
    tokio::join!(uploader.work(&stop), manners, looking);
}

struct Uploader {
    store: Store,
    destination: Destination,
    road: Arc<Road>,
    schedule: Schedule,
    climb: Mutex<Climb>,
    /// The lesson that goes before all others can not go on before this time, on the monotonic clock.
    stuck: Mutex<Duration>,
}

impl Uploader {
    async fn work(self: &Arc<Self>, stop: &CancellationToken) {
        let mut wait = Duration::ZERO;
        loop {
            let round = tokio::select! {
                () = stop.cancelled() => return,
                round = self.round() => round,
            };
            let mut hurry = true;
            let pause = match &round {
                Ok(()) => {
                    wait = Duration::ZERO;
                    LOOK_AGAIN
                }
                Err(e) => {
                    tracing::warn!("uploading waits: {e}");
                    wait = (wait * 2).clamp(Duration::from_secs(1), MAX_WAIT);
                    // While the line is down, or somebody said when to come again, the bell does not hurry: it
                    // rings with every part.
                    hurry = !e.is_network() && e.retry_after().is_none();
                    e.retry_after().map_or_else(|| jittered(wait / 2), jittered_a_little)
                }
            };
            let unreachable = matches!(&round, Err(e) if e.is_network());
            self.tell(
                Some(!unreachable),
                round.err().filter(UploadError::needs_a_hand).map(|e| e.to_string()),
            );
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.store.bells().upload.notified(), if hurry => {}
                () = rest::about(pause) => {}
            }
        }
    }

    fn climb(&self) -> MutexGuard<'_, Climb> {
        self.climb.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the rules say of this moment; the pace is set by them.
    fn leave(&self) -> Leave {
        let now = clock::plausible().then(|| clock::local(clock::wall_ms()));
        let minute =
            |now: jiff::Zoned| (i32::from(now.hour()) * 60 + i32::from(now.minute())).cast_unsigned();
        let leave = self.schedule.at(now.map(minute));
        self.road.pace.set_rules(leave.rate);
        leave
    }

    /// The lesson that is recorded now or was recorded last.
    fn live(&self) -> Option<LessonId> {
        self.store.board().read().lesson.map(|lesson| lesson.id)
    }

    /// Whether the lesson that goes before all others has something to send.
    fn live_waits(&self) -> Result<bool, StoreError> {
        let stuck = *self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(live) = self.live().filter(|_| clock::mono() >= stuck) else { return Ok(false) };
        let sealed = self.store.lesson(&live)?.is_some_and(|lesson| lesson.state == State::Sealed);
        Ok(sealed || self.store.parts(&live)?.iter().any(|row| !row.stored && !row.damaged))
    }

    /// Sends everything there is to send now.
    async fn round(self: &Arc<Self>) -> Result<(), UploadError> {
        self.destination.meet().await?;
        loop {
            self.hold(None);
            for lesson in self.store.discards_to_tell()? {
                self.destination.discard(&lesson).await?;
                tracing::info!(%lesson, "the hub has nothing of the lesson any more");
                self.store.discard_told(&lesson)?;
            }
            let live = self.live();
            let mut lessons = self.store.waiting_for(HUB)?;
            lessons.sort_by_key(|lesson| Some(&lesson.id) != live.as_ref());
            let (mut more, mut stuck) = (false, None);
            for lesson in lessons {
                let (leave, is_live) = (self.leave(), Some(&lesson.id) == live.as_ref());
                if !(if is_live { leave.live } else { leave.backlog }) {
                    self.hold(Some(Hold::Night));
                    continue;
                }
                match self.lesson(&lesson, is_live).await {
                    Ok(Came::Nothing) => {}
                    Ok(Came::Sent) => more = true,
                    Ok(Came::GaveWay) => {
                        more = true;
                        break;
                    }
                    // Nothing else would get through either.
                    Err(e) if e.is_network() || matches!(e, UploadError::OtherHub { .. }) => return Err(e),
                    Err(e) => {
                        if is_live {
                            let until = clock::mono() + e.retry_after().unwrap_or(LOOK_AGAIN);
                            *self.stuck.lock().unwrap_or_else(PoisonError::into_inner) = until;
                        }
                        stuck = stuck.or(Some(e));
                    }
                }
            }
            if let Some(e) = stuck {
                return Err(e);
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Sends what a lesson has ready.
    async fn lesson(self: &Arc<Self>, lesson: &Lesson, live: bool) -> Result<Came, UploadError> {
        let rows = self.store.parts(&lesson.id)?;
        let sealable = lesson.state == State::Sealed;
        if !sealable && rows.iter().all(|row| row.stored || row.damaged) {
            return Ok(Came::Nothing);
        }
        let held = self.destination.open(lesson).await?;
        let mut pending = Vec::new();
        for row in rows.into_iter().filter(|row| !row.damaged) {
            let there = held.get(&row.take).is_some_and(|parts| parts.contains(&row.part.n));
            if row.stored && !there {
                // What counts is what the hub has, not what it once said.
                tracing::warn!(lesson = %lesson.id, take = row.take, part = row.part.n, "the hub no longer has this part");
                self.store.part_lost(&lesson.id, row.take, row.part.n)?;
            }
            // Where the hub has this number, the grant settles whether it has these bytes.
            if !(row.stored && there) {
                pending.push(row);
            }
        }
        let mut came = self.parts(&lesson.id, pending, live).await?;
        if sealable && came != Came::GaveWay && self.seal(lesson).await? {
            came = Came::Sent;
        }
        Ok(came)
    }

    /// Notes what came of a part.
    async fn settle(
        &self,
        lesson: &LessonId,
        row: &PartRow,
        outcome: Result<Went, UploadError>,
    ) -> Result<Went, UploadError> {
        let (take, n) = (row.take, row.part.n);
        match outcome {
            Ok(Went::NotNow) => Ok(Went::NotNow),
            Ok(went) => {
                self.store.part_stored(lesson, take, n)?;
                self.tell(Some(true), None);
                Ok(went)
            }
            Err(UploadError::HashRefused) => {
                // Other bytes than were hashed came there: was it the line, or this disk?
                let (path, part) = (self.take_path(lesson, take), row.part);
                let now = tokio::task::spawn_blocking(move || hash_part(&path, &part)).await;
                let now = now.map_err(|e| StoreError::Impossible(format!("hashing broke off: {e}")))?;
                if now.is_ok_and(|now| now == part.sha256) {
                    return Err(UploadError::HashRefused);
                }
                tracing::error!(%lesson, take, part = n, "the part's bytes have changed on this disk");
                self.store.part_damaged(lesson, take, n)?;
                let data = serde_json::json!({ "lesson_id": lesson, "take": take, "part": n, "what": "damaged_part" });
                self.store.outbox().push_event("fault", &data);
                self.store.bells().publish.notify_one();
                Err(UploadError::Damaged { take, part: n })
            }
            Err(e) => Err(e),
        }
    }

    /// Sends one part when its turn comes.
    async fn part(
        &self,
        lesson: &LessonId,
        row: &PartRow,
        live: bool,
        turns: &Turns,
    ) -> Result<Went, UploadError> {
        let path = self.take_path(lesson, row.take);
        let went = self.destination.part(lesson, row, &path, live, turns).await?;
        if let Went::Sent(took) = went {
            let rate =
                (row.part.size as f64 * self.climb().lanes() as f64 / took.as_secs_f64().max(0.001)) as u64;
            self.store
                .board()
                .update(|s| s.upload.rate = Some(s.upload.rate.map_or(rate, |old| (old * 3 + rate) / 4)));
        }
        Ok(went)
    }

    fn take_path(&self, lesson: &LessonId, take: u32) -> PathBuf {
        self.store.lesson_folder(lesson).join(format!("take-{take}.mp4"))
    }

    /// Hands in the manifest; true when the lesson is stored by that. What is refused because of what the hub or
    /// this lesson's bytes are does not hold other lessons up: an alarm says so, and it is tried again.
    async fn seal(&self, lesson: &Lesson) -> Result<bool, UploadError> {
        let parts = self.store.parts(&lesson.id)?;
        if let Some(bad) = parts.iter().find(|p| p.damaged) {
            return Err(UploadError::Damaged { take: bad.take, part: bad.part.n });
        }
        let folder = self.store.lesson_folder(&lesson.id);
        match self.destination.finish(lesson, &folder).await {
            Err(UploadError::Contradicted(why)) => {
                tracing::error!(lesson = %lesson.id, "no receipt: {why}");
                let what = format!("{} 的数据和录制时的存证不符", lesson.id);
                self.store.board().update(|s| s.upload.evidence_fault = Some(what));
                return Ok(false);
            }
            Err(e @ UploadError::LogRefused(_)) => {
                tracing::error!(lesson = %lesson.id, "not stored: {e}");
                return Ok(false);
            }
            outcome => outcome?,
        }
        if self.store.lesson(&lesson.id)?.is_none_or(|now| now.state == State::Discarded) {
            return Ok(false);
        }
        let state = self.store.confirm(&lesson.id, HUB, clock::wall_ms())?;
        tracing::info!(lesson = %lesson.id, "the hub has it");
        if state == State::Stored {
            self.store.tell_stored(&lesson.id);
        }
        self.store.board().update(|s| {
            if s.upload.evidence_fault.as_ref().is_some_and(|what| what.starts_with(lesson.id.as_str())) {
                s.upload.evidence_fault = None;
            }
        });
        Ok(true)
    }

    /// Puts on the board what waits although the line is there.
    fn hold(&self, hold: Option<Hold>) {
        self.store.board().update(|s| s.upload.hold = hold);
    }

    /// Puts the upload's part of the status on the board.
    fn tell(&self, reachable: Option<bool>, blocked: Option<String>) {
        if let Err(e) = self.count(reachable, blocked) {
            tracing::error!("the upload's progress cannot be read: {e}");
        }
    }

    fn count(&self, reachable: Option<bool>, blocked: Option<String>) -> Result<(), StoreError> {
        let waiting = self.store.waiting_for(HUB)?;
        let shown = self.store.board().read().lesson.map(|l| l.id);
        let (mut pending, mut sent) = (0, 0);
        for lesson in &waiting {
            for row in self.store.parts(&lesson.id)? {
                match (row.stored, Some(&lesson.id) == shown.as_ref()) {
                    (true, true) => sent += row.part.size,
                    (true, false) => {}
                    (false, _) => pending += row.part.size,
                }
            }
        }
        let waiting = waiting.len() as u64;
        self.store.board().update(|s: &mut Status| {
            s.upload.waiting_lessons = waiting;
            s.upload.pending_bytes = pending;
            s.upload.sent_bytes = sent;
            s.upload.reachable = reachable;
            s.upload.blocked = blocked;
        });
        Ok(())
    }
}

/// The hash of a part's bytes as they are on disk now.
fn hash_part(path: &Path, part: &Part) -> std::io::Result<Digest> {
    use std::io::{Read as _, Seek as _};

    use sha2::Digest as _;
    let mut file = std::fs::File::open(path)?;
    file.seek(std::io::SeekFrom::Start(u64::from(part.n) * PART_SIZE))?;
    let (mut bytes, mut hasher) = (file.take(part.size), sha2::Sha256::new());
    let mut block = vec![0; 64 * 1024];
    loop {
        match bytes.read(&mut block)? {
            0 => return Ok(Digest::finish(hasher)),
            n => hasher.update(&block[..n]),
        }
    }
}
