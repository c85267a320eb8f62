//! 使用记录: looks at the room all day, and writes each period's row when its bell has rung.
//!
//! ```text
//! logind, helpers, display, recording ──▶ Ledger ──bell──▶ row (state.db) ──▶ event e/usage (outbox)
//! page, CLI: confirm or correct ─────────────────────────▶ word (state.db) ──▶ event e/usage (outbox)
//! ```
//!
//! The ledger is kept once a minute and when the agent ends, so a cut at the wall takes at most a minute and a half of
//! it, and that is unknown. A row is committed before its event; one that was not told is told at the next start.

mod helpers;

use std::path::PathBuf;
use std::time::Duration;

use lectern_base::clock;
use lectern_wire::alarm::{AlarmState, Code};
use lectern_wire::manifest::About;
use lectern_wire::usage::{MAX_ENTRIES, OPEN_DAYS};
use tokio_util::sync::CancellationToken;

use crate::model::lesson::State;
use crate::model::usage::{
    App, At, Beside, End, LOOK_EVERY_MS, Ledger, Moment, Period, Presence, Refused, Rule, Seen, Sums, Word,
    ended, input, row, said,
};
use crate::platform::host::Host;
use crate::platform::rest::Beat;
use crate::platform::{logind, power};
use crate::store::{Store, StoreError};
use helpers::Helpers;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(LOOK_EVERY_MS);
/// Between two questions to the login service.
const ASK_EVERY: Duration = Duration::from_secs(30);
/// Between two writes of the ledger.
const KEEP_EVERY: Duration = Duration::from_secs(60);
/// A hub that says the clock is off by more is believed instead.
const CLOCK_OFF_MS: i64 = 60_000;
/// A row that is written so long after the bell knows nothing of the alarms that came after it.
const LATE_MS: i64 = 5 * 60_000;

/// What judging needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The rule.
    pub rule: Rule,
    /// Categories of applications; empty: nobody looks at what is in the foreground.
    pub apps: Vec<App>,
    /// Where helpers in users' sessions call.
    pub socket: PathBuf,
    /// The machine.
    pub host: Host,
}

/// The stage.
struct Stage {
    store: Store,
    settings: Settings,
    helpers: Helpers,
    ledger: Ledger,
    boot_id: String,
    sessions: Result<Vec<logind::Session>, String>,
    asked: Option<Duration>,
    kept: Duration,
    /// Up to when every period has its row, Unix milliseconds of this run.
    done_ms: Option<i64>,
    /// When the next bell ends a period.
    next_ms: Option<i64>,
    /// How far the wall clock was ahead of the time since boot at the last look.
    ahead_ms: Option<i64>,
    /// Whether a row may wait for the outbox.
    untold: bool,
    /// The alarms that stood at the beginning of the period that is on.
    before: Option<(i64, Vec<Code>)>,
}

/// Runs until told to stop.
pub async fn run(store: Store, settings: Settings, stop: CancellationToken) {
    let ledger = store.ledger().unwrap_or_else(|e| {
        tracing::error!("what was seen of the room's use cannot be read: {e}");
        Ledger::default()
    });
    let helpers = Helpers::listen(&settings.socket, &settings.apps, stop.clone());
    let mut stage = Stage {
        store,
        settings,
        helpers,
        ledger,
        boot_id: clock::boot_id(),
        sessions: Err("it was not asked yet".into()),
        asked: None,
        kept: Duration::ZERO,
        done_ms: None,
        next_ms: None,
        ahead_ms: None,
        // What a crash left between the two files.
        untold: true,
        before: None,
    };
    let (mut beat, mut rules) = (Beat::every(LOOK_EVERY), stage.store.rules());
    loop {
        let bell = stage.until_bell();
        tokio::select! {
            () = stop.cancelled() => break,
            () = beat.next() => {}
            // Other bells, of which the next may be any moment.
            Ok(()) = rules.changed() => {}
            () = stage.store.bells().usage.notified() => stage.untold = true,
            () = tokio::time::sleep(bell.unwrap_or(LOOK_EVERY)), if bell.is_some() => {}
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = stage.ask() => {}
        }
        stage.look();
        if let Err(e) = stage.close() {
            tracing::error!("a period's row could not be written; it is tried again: {e}");
        }
        stage.tell();
        stage.keep_if_due();
    }
    stage.look();
    stage.ledger.end(if power::goes_off().await { End::Shutdown } else { End::Stopped });
    stage.keep();
}

impl Stage {
    /// Unix milliseconds as this machine or, where it is wrong, its hub knows them; none while neither can be believed.
    fn wall_ms(&self) -> Option<i64> {
        let ahead = self.store.line().hub_ahead_ms();
        match ahead {
            Some(ahead) if ahead.abs() > CLOCK_OFF_MS => Some(clock::wall_ms() + ahead),
            Some(_) => Some(clock::wall_ms()),
            None => clock::plausible().then(clock::wall_ms),
        }
    }

    /// How long until a period ends, when that is before the next look.
    fn until_bell(&self) -> Option<Duration> {
        let until = self.next_ms? - self.wall_ms()?;
        let until = Duration::from_millis(u64::try_from(until).unwrap_or(0) + 50);
        (until < LOOK_EVERY).then_some(until)
    }

    /// Asks the login service, now and then. It may hang, and holds nobody.
    async fn ask(&mut self) {
        let now = clock::mono();
        if self.asked.is_some_and(|at| now.saturating_sub(at) < ASK_EVERY) {
            return;
        }
        self.asked = Some(now);
        let host = self.settings.host.clone();
        let asked = tokio::task::spawn_blocking(move || logind::sessions(&host)).await;
        self.sessions = asked.unwrap_or_else(|e| Err(format!("asking logind broke off: {e}")));
        let uids = self.sessions.as_ref().ok().map(|all| all.iter().map(|s| s.uid).collect());
        self.helpers.allow(uids);
    }

    fn look(&mut self) {
        let seen = self.seen();
        // Without bells nothing is judged, and nothing need be kept.
        if self.store.timetable().is_none() {
            return;
        }
        let (boot, awake) = (clock::boot(), clock::mono());
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let moment = Moment {
            boot_id: &self.boot_id,
            boot_ms: millis(boot),
            awake_ms: millis(awake),
            wall_ms: self.wall_ms(),
        };
        self.ledger.look(moment, seen);
        if let (Some(wall), Some(table)) = (moment.wall_ms, self.store.timetable()) {
            let slot = table.at(&clock::local(wall), jiff::SignedDuration::ZERO);
            match slot {
                Some(slot) if self.before.as_ref().is_none_or(|(start, _)| *start != slot.start_ms) => {
                    self.before = Some((slot.start_ms, self.alarms(None)));
                }
                _ => {}
            }
        }
    }

    /// What is so now.
    fn seen(&self) -> Seen {
        let status = self.store.board().read();
        let health = self.store.health().borrow().clone();
        let reports = self.helpers.reports();
        let sessions: Option<Vec<At>> = self.sessions.as_ref().ok().map(|all| {
            let at = |s: &logind::Session| At { uid: s.uid, shown: s.active && !s.locked, idle: s.idle };
            all.iter().map(at).collect()
        });
        let idles: Vec<(u32, Option<u64>)> = reports.iter().map(|(uid, r)| (*uid, r.idle_ms)).collect();
        let input = input(sessions.as_deref(), &idles, self.settings.rule.input_counts_ms);
        // Dark is dark, whoever says so: the graphics card, the desktop's power saving, the projector.
        let card = health.value("display_on_count").map(|n| n > 0.0);
        let desktop = reports.iter().filter_map(|(_, r)| r.display).reduce(|a, b| a || b);
        let projector = health.value("projector_power_code").map(|code| code != 0.0 && code != 2.0);
        let words = [card, desktop, projector];
        let display =
            if words.contains(&Some(false)) { Some(false) } else { words.into_iter().flatten().next() };
        let shown = |uid: u32| {
            sessions.as_ref().is_none_or(|all| all.iter().find(|at| at.uid == uid).is_none_or(|at| at.shown))
        };
        let category = reports.iter().filter(|(uid, _)| shown(*uid)).find_map(|(_, r)| r.category.clone());
        let app = category.and_then(|name| self.settings.apps.iter().find(|app| app.category == name));
        let live = status.lesson.as_ref().filter(|l| l.state == State::Recording);
        self.store.set_presence(Presence {
            sessions: sessions.as_ref().map(|all| u32::try_from(all.len()).unwrap_or(0)),
            unasked: self.sessions.as_ref().err().cloned(),
            helpers: u32::try_from(reports.len()).unwrap_or(0),
            idle_ms: idles.iter().filter_map(|(_, idle)| *idle).min(),
            input,
            display,
            why: self.why(sessions.is_some(), reports.is_empty()),
        });
        Seen {
            display,
            input,
            category: app.map(|app| app.category.clone()),
            teaching: app.is_some_and(|app| app.teaching),
            recording: live.map(|l| l.id.clone()),
            asleep: false,
        }
    }

    fn why(&self, asked: bool, alone: bool) -> Option<String> {
        match (asked, alone, &self.sessions) {
            (_, false, _) => None,
            (true, true, Ok(all)) if all.is_empty() => None,
            (true, true, _) => Some(
                "`lectern session` does not run in the session that is logged in; it is started at the next login".into(),
            ),
            (false, true, Err(why)) => Some(format!("no helper has called, and the login service: {why}")),
            (false, true, Ok(_)) => None,
        }
    }

    /// Alarms that stand; with a moment, Unix milliseconds, those of them that stood then. One that began by a clock of
    /// 2013 began nobody knows when, and certainly not before the machine was off.
    fn alarms(&self, at_ms: Option<i64>) -> Vec<Code> {
        let all = self.store.alarms();
        let all = all.borrow();
        let then = |since: i64| at_ms.is_none_or(|at| since <= at && clock::can_have_been(since));
        let raised = all.iter().filter(|a| a.state == AlarmState::Raised && then(a.since_ts));
        let mut codes: Vec<Code> = raised.map(|a| a.code).take(MAX_ENTRIES).collect();
        codes.sort_unstable();
        codes
    }

    /// Writes the rows of the periods that ended.
    fn close(&mut self) -> Result<(), StoreError> {
        let Some(table) = self.store.timetable() else { return Ok(()) };
        let (Some(now_ms), Some(since)) = (self.wall_ms(), self.ledger.since_ms()) else { return Ok(()) };
        let ahead = now_ms - i64::try_from(clock::boot().as_millis()).unwrap_or(0);
        let stepped = self.ahead_ms.is_some_and(|before| (before - ahead).abs() > 2000);
        self.ahead_ms = Some(ahead);
        if stepped {
            self.done_ms = None;
        }
        if self.done_ms.is_some() && self.next_ms.is_some_and(|next| now_ms < next) {
            return Ok(());
        }
        let (periods, next) = ended(&table, self.done_ms.unwrap_or(0).max(since), &clock::local(now_ms));
        for period in &periods {
            self.untold |= self.write(period, now_ms)?;
        }
        self.next_ms = next;
        self.done_ms = Some(now_ms);
        // What lies before the longest period was judged; an hour more, for a clock that is set back.
        let length = |p: &crate::model::timetable::Period| {
            p.start.until(p.end).map_or(0, |l| i64::from(l.get_hours()))
        };
        let hours = table.periods.iter().map(length).max().unwrap_or(0) + 2;
        self.ledger.forget_before(now_ms - hours * 3_600_000);
        Ok(())
    }

    /// Writes one period's row, if it has none.
    fn write(&self, period: &Period, now_ms: i64) -> Result<bool, StoreError> {
        let slot = &period.slot;
        if self.store.has_usage(&period.date.to_string(), &slot.about.period)? {
            return Ok(false);
        }
        let sums = self.ledger.sums(slot.start_ms, slot.end_ms, self.settings.rule.off_is_known);
        let late = now_ms - slot.end_ms > LATE_MS;
        let before = self.before.as_ref().filter(|(start, _)| *start == slot.start_ms);
        let beside = Beside {
            said: self.said(&sums, &slot.about.period)?,
            before: before.map(|(_, codes)| codes.clone()).unwrap_or_default(),
            after: self.alarms(late.then_some(slot.end_ms)),
            now_ms,
        };
        let Some(row) = row(period, &sums, self.settings.rule, beside) else { return Ok(false) };
        let first = self.store.put_usage(&row)?;
        if first {
            tracing::info!(date = row.date, period = row.period, used = ?row.used, used_s = row.used_s, known_s = row.known_s, "a period's row is written");
        }
        Ok(first)
    }

    /// What the longest recording of the period says about it, unless that was begun in another.
    fn said(&self, sums: &Sums, period: &str) -> Result<Option<About>, StoreError> {
        for (id, _) in sums.lessons.iter().rev() {
            let about = self.store.lesson(id)?.map(|lesson| lesson.about);
            if let Some(about) = about.filter(|about| about.period.is_empty() || about.period == period) {
                return Ok(Some(about));
            }
        }
        Ok(None)
    }

    /// Hands rows over to the outbox, until it has them.
    fn tell(&mut self) {
        if !self.untold {
            return;
        }
        match self.store.tell_usage() {
            Ok(()) => self.untold = false,
            Err(e) => tracing::error!("rows of the use register wait, the outbox does not take them: {e}"),
        }
    }

    fn keep_if_due(&mut self) {
        if self.kept.is_zero() || clock::mono().saturating_sub(self.kept) >= KEEP_EVERY {
            self.keep();
        }
    }

    fn keep(&mut self) {
        self.kept = clock::mono();
        if self.store.timetable().is_none() {
            return;
        }
        if let Err(e) = self.store.keep_ledger(&self.ledger) {
            tracing::error!("what was seen of the room's use could not be kept: {e}");
        }
    }
}

/// Why a teacher's word is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SayError {
    /// There is no such row.
    #[error("there is no row of that day and period")]
    NoSuchRow,
    /// It is too late.
    #[error(
        "a row can be confirmed or corrected for {OPEN_DAYS} days; this one is closed: ask the technician"
    )]
    Closed,
    /// Something about it is wrong.
    #[error("{0}")]
    Wrong(String),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes a teacher's word about a period.
///
/// # Errors
/// [`SayError`].
pub fn say(store: &Store, date: &str, period: &str, word: &Word) -> Result<(), SayError> {
    let row = store.usage(date, period)?.ok_or(SayError::NoSuchRow)?;
    let now_ms = clock::wall_ms();
    let row =
        said(&row.auto, word, clock::local(now_ms).date(), now_ms).map_err(|refused| match refused {
            Refused::Closed => SayError::Closed,
            other => SayError::Wrong(other.to_string()),
        })?;
    if !store.say_usage(&row)? {
        return Err(SayError::NoSuchRow);
    }
    // It is kept; the stage tells it, as soon as the outbox takes it.
    store.bells().usage.notify_one();
    Ok(())
}
