//! Reads the machine's health at an interval and leaves samples in the outbox.
//!
//! `sys` and `net` are told every time; groups that hardly ever change (`av`, `agent`, `rec` while nothing is recorded)
//! when they change, and now and then all the same.

pub mod collect;
mod hours;
mod hub_time;
mod rounds;

use std::collections::HashMap;
use std::time::Duration;

use lectern_base::clock;
use lectern_wire::telemetry::Sample;
use tokio_util::sync::CancellationToken;

pub use hub_time::run as hub_time;

use crate::model::lesson::State;
use crate::model::reading::{Group, Health, Values};
use crate::model::status::Status;
use crate::platform::logind;
use crate::platform::rest::Beat;
use crate::store::Store;
use collect::Scope;
use hours::Hours;
use rounds::Rounds;

/// What does not change is told again after this long.
const REPEAT: Duration = Duration::from_secs(10 * 60);

/// What measuring needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Between two samples.
    pub interval: Duration,
    /// What is measured.
    pub scope: Scope,
}

/// Looks once: two readings a moment apart, as a rate needs two. For `lectern doctor` when no daemon runs.
pub async fn look(scope: &Scope) -> Health {
    let mut rounds = Rounds::new(scope.host.clone(), collect::all(scope));
    rounds.round().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut health = rounds.round().await;
    match logind::sessions(&scope.host) {
        Ok(all) => {
            let agent = health.groups.entry(Group::Agent).or_default();
            agent.insert("sessions_count".into(), all.len() as f64);
        }
        Err(why) => drop(health.missing.insert("sessions_count".into(), why)),
    }
    health
}

/// Runs until told to stop.
pub async fn run(store: Store, settings: Settings, stop: CancellationToken) {
    let mut rounds = Rounds::new(settings.scope.host.clone(), collect::all(&settings.scope));
    let mut hours = Hours::open(&store);
    let mut beat = Beat::every(settings.interval);
    let mut board = store.board().watch();
    let mut shown = None;
    let mut told = Told { store: &store, last: HashMap::new(), rec_ts: 0, rings: false };
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = async {
                tokio::select! {
                    () = beat.next() => {}
                    // A technician wants to know now.
                    () = store.bells().sense.notified() => {}
                }
            } => {
                let mut health = tokio::select! {
                    () = stop.cancelled() => break,
                    health = rounds.round() => health,
                };
                complete(&store, &mut health, &mut hours);
                for (group, values) in &health.groups {
                    let always = matches!(group, Group::Sys | Group::Net);
                    told.tell(group.name(), clock::wall_ms(), values, always);
                }
                store.set_health(health);
                let status = store.board().read();
                shown = Some(phase(&status));
                told.tell_rec(&status);
                told.ring();
            }
            Ok(()) = board.changed() => {
                // A change of phase is told at once, so that the console follows the room.
                let status = board.borrow_and_update().clone();
                let now = phase(&status);
                if shown != Some(now) {
                    shown = Some(now);
                    told.tell_rec(&status);
                    told.ring();
                }
            }
        }
    }
    hours.keep(&store);
}

/// What is not read from the machine but known here.
fn complete(store: &Store, health: &mut Health, hours: &mut Hours) {
    hours.keep_if_due(store);
    match store.outbox().rows() {
        Ok(rows) => {
            let agent = health.groups.entry(Group::Agent).or_default();
            agent.insert("outbox_rows_count".into(), rows as f64);
        }
        Err(e) => drop(health.missing.insert("outbox_rows_count".into(), e.to_string())),
    }
    match store.line().round_trip_ms() {
        Some(ms) => {
            let net = health.groups.entry(Group::Net).or_default();
            net.insert("hub_rtt_ms".into(), (ms * 10.0).round() / 10.0);
        }
        None => drop(health.missing.insert(
            "hub_rtt_ms".into(),
            "the hub's broker has acknowledged nothing since the last reading".into(),
        )),
    }
    let presence = store.presence();
    let today = hours.today_s();
    if presence.input.is_none() {
        let why =
            presence.why.unwrap_or_else(|| "the desktop does not say how long ago there was input".into());
        health.missing.insert("active_count".into(), why);
    }
    if presence.sessions.is_none() {
        let why = presence.unasked.unwrap_or_else(|| "the login service was not asked yet".into());
        health.missing.insert("sessions_count".into(), why);
    }
    if today.is_none() {
        health.missing.insert("power_on_today_s".into(), "the clock cannot be believed".into());
    }
    let lacking = health.missing.len();
    let agent = health.groups.entry(Group::Agent).or_default();
    agent.insert("reconnects_count".into(), store.line().losses().into());
    agent.insert("missing_count".into(), lacking as f64);
    agent.insert("power_on_s".into(), hours.total_s());
    agent.insert("boots_count".into(), hours.boots());
    let counts = [
        ("power_on_today_s", today),
        ("sessions_count", presence.sessions.map(f64::from)),
        ("session_helpers_count", Some(presence.helpers.into())),
        ("active_count", presence.input.map(|active| f64::from(u8::from(active)))),
        ("input_idle_s", presence.idle_ms.map(|ms| (ms / 1000) as f64)),
    ];
    for (name, value) in counts {
        agent.extend(value.map(|value| (name.to_owned(), value)));
    }
}

/// What was told last, by group.
struct Told<'a> {
    store: &'a Store,
    last: HashMap<&'static str, (Duration, Values)>,
    /// Of the newest sample of `rec`.
    rec_ts: i64,
    /// Something was left that nobody was told of yet.
    rings: bool,
}

impl Told<'_> {
    /// Leaves a sample, unless it says what was said a moment ago.
    fn tell(&mut self, group: &'static str, ts: i64, values: &Values, always: bool) {
        if values.is_empty() {
            return;
        }
        let now = clock::mono();
        let stale = self
            .last
            .get(group)
            .is_none_or(|(at, last)| now.saturating_sub(*at) >= REPEAT || !same(last, values));
        if always || stale {
            tracing::debug!(group, ts, values = values.len(), "a sample");
            self.store.outbox().push_sample(group, &Sample { ts, values: values.clone() });
            self.rings = true;
            if !always {
                self.last.insert(group, (now, values.clone()));
            }
        }
    }

    /// All groups go together.
    fn ring(&mut self) {
        if std::mem::take(&mut self.rings) {
            self.store.bells().publish.notify_one();
        }
    }

    fn tell_rec(&mut self, status: &Status) {
        let live = status.lesson.as_ref().is_some_and(|l| l.state.is_live());
        let before = self.rec_ts;
        self.rec_ts = after(before);
        self.tell("rec", self.rec_ts, &recording(status), live);
        if live {
            // What follows the lesson is told even when it is as before the lesson.
            self.last.remove("rec");
        }
    }
}

/// Whether two samples say the same. That time goes by is no news, nor that a few rows more or less wait: of those only
/// the first figure of ten and more counts, else a room that cannot tell anybody would fill its outbox with how full it is.
fn same(a: &Values, b: &Values) -> bool {
    const GOES_BY: [&str; 3] = ["power_on_s", "power_on_today_s", "input_idle_s"];
    let roughly = |rows: f64| {
        let mut step = 10.0;
        while rows >= step * 10.0 {
            step *= 10.0;
        }
        (rows / step).floor() * step
    };
    let alike = |(name, value): (&String, &f64)| match name.as_str() {
        "outbox_rows_count" => {
            b.get(name).is_some_and(|other| roughly(*other).total_cmp(&roughly(*value)).is_eq())
        }
        name => GOES_BY.contains(&name) || b.get(name) == Some(value),
    };
    a.len() == b.len() && a.iter().all(alike)
}

/// Now, but never the millisecond of the sample before: the hub keeps one sample of a group for each, and two
/// phases can change within one.
fn after(before: i64) -> i64 {
    let now = clock::wall_ms();
    if (0..1000).contains(&(before - now)) { before + 1 } else { now }
}

type Phase = (Option<State>, u64, bool);

fn phase(status: &Status) -> Phase {
    (status.lesson.as_ref().map(|l| l.state), status.upload.waiting_lessons, status.upload.pending_bytes > 0)
}

/// The group `rec`: what is being recorded and what waits.
fn recording(status: &Status) -> Values {
    let mut out = Values::new();
    let mut put = |name: &str, value: f64| {
        out.insert(name.to_owned(), value);
    };
    let live = status.lesson.as_ref().filter(|l| l.state.is_live());
    put("recording_count", f64::from(u8::from(live.is_some_and(|l| l.state != State::Paused))));
    put("paused_count", f64::from(u8::from(live.is_some_and(|l| l.state == State::Paused))));
    if let Some(lesson) = live {
        put("media_s", lesson.media_ms as f64 / 1000.0);
        put("durable_bytes", lesson.bytes as f64);
        if let Some(level) = status.level {
            put("level_peak_dbfs", (level.peak_dbfs * 10.0).round() / 10.0);
            put("level_rms_dbfs", (level.rms_dbfs * 10.0).round() / 10.0);
        }
    }
    put("warnings_count", status.warnings.len() as f64);
    if status.upload.configured {
        put("pending_upload_bytes", status.upload.pending_bytes as f64);
        put("lessons_waiting_count", status.upload.waiting_lessons as f64);
        put("lessons_waiting_bytes", status.keeping.waiting_bytes as f64);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_news_is_not_told_again() {
        let rows = |n: f64| Values::from([("outbox_rows_count".into(), n), ("power_on_s".into(), n * 30.0)]);
        for (a, b, news) in [
            (0.0, 9.0, false),
            (9.0, 10.0, true),
            (10.0, 19.0, false),
            (19.0, 20.0, true),
            (99.0, 100.0, true),
            (4000.0, 4999.0, false),
            (4000.0, 40_000.0, true),
        ] {
            assert_eq!((!same(&rows(a), &rows(b)), !same(&rows(b), &rows(a))), (news, news), "{a} and {b}");
        }
        let other = Values::from([("reconnects_count".into(), 1.0), ("power_on_s".into(), 0.0)]);
        assert!(!same(&rows(0.0), &other), "another number is there");
    }
}
