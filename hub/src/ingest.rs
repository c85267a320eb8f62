//! Floor 3: what devices say becomes rows. Whatever arrives, everything goes on: what cannot be
//! understood is counted and dropped.
//!
//! Messages are committed in groups: everything waiting goes into one change, then whoever waits
//! is answered, then events are acknowledged down to their devices.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lectern_base::{clock, panics};
use lectern_wire::alarm::{Alarm, AlarmState, Code};
use lectern_wire::chain::ChainHead;
use lectern_wire::command::Outcome;
use lectern_wire::desired::Reported;
use lectern_wire::id::DeviceId;
use lectern_wire::sign::Signed;
use lectern_wire::telemetry::{Ack, Event, Info, MAX_PAYLOAD, Sample, State, well_formed};
use lectern_wire::topic::{Leaf, Topics};
use rusqlite::Connection;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::model::arrival::{Arrival, Down};
use crate::model::bell::Bell;
use crate::model::count::Counts;
use crate::store::{
    Store, afterwards, alarms, commands, desired, devices, events, heads, repairs, samples, usage,
};

/// Most messages in one change.
const GROUP: usize = 256;
/// Most samples in one back-filled message; 16 KiB cannot hold more that say anything.
const MOST_SAMPLES: usize = 1024;
/// How often old samples are forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
/// Rows forgotten in one change.
const PRUNE_STEP: u32 = 5000;
/// Alarms no device can raise about itself.
const HUBS_OWN: [Code; 5] =
    [Code::Offline, Code::AgentStopped, Code::SequenceGap, Code::VersionOld, Code::MachineCopied];
/// A device whose clock differs by more than this is not asked since when.
const CLOCK_MS: i64 = 10 * 60 * 1000;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// What ingest needs.
#[derive(Debug)]
pub struct Deps {
    /// Where rows go.
    pub store: Store,
    /// What arrives.
    pub arrivals: mpsc::Receiver<Arrival>,
    /// What goes back down.
    pub downs: mpsc::Sender<Down>,
    /// Rung after each change.
    pub bell: Bell,
    /// Counters.
    pub counts: Arc<Counts>,
    /// How long samples are kept, days.
    pub samples_days: u32,
}

/// Takes messages until told to stop; what has arrived by then is still stored.
pub async fn run(mut deps: Deps, stop: CancellationToken) {
    let mut prune = tokio::time::interval(PRUNE_EVERY);
    let mut group = Vec::with_capacity(GROUP);
    loop {
        tokio::select! {
            n = deps.arrivals.recv_many(&mut group, GROUP) => {
                if n == 0 {
                    return;
                }
                take(&deps, std::mem::take(&mut group)).await;
            }
            _ = prune.tick() => forget(&deps).await,
            () = stop.cancelled() => {
                deps.arrivals.close();
                while deps.arrivals.recv_many(&mut group, GROUP).await > 0 {
                    take(&deps, std::mem::take(&mut group)).await;
                }
                return;
            }
        }
    }
}

async fn take(deps: &Deps, mut group: Vec<Arrival>) {
    let waiting: Vec<_> = group.iter_mut().map(|a| a.done.take()).collect();
    let (counts, now) = (Arc::clone(&deps.counts), clock::wall_ms());
    let outcome = deps.store.write(move |db| {
        let mut highs = HashMap::new();
        for arrival in &group {
            let seen = arrival.retained.then(|| devices::seen_ms(db, &arrival.topics.device)).transpose()?;
            // A message that shows a bug must not come again for ever, and hold up what comes after it.
            let high = alone(arrival, &counts, || apply(db, arrival, &counts, now))?;
            if let Some(seen) = seen {
                devices::set_seen(db, &arrival.topics.device, seen)?;
            }
            if let Some(high) = high {
                highs.insert(arrival.topics.device.clone(), (arrival.topics.clone(), high));
            }
        }
        Ok(highs)
    });
    let outcome = outcome.await;
    if let Err(e) = &outcome {
        tracing::error!("what devices sent could not be stored, they will send it again: {e}");
    }
    for done in waiting.into_iter().flatten() {
        // A device that left meanwhile is not waiting any more; it will ask again.
        done.send(outcome.is_ok()).ok();
    }
    let highs: HashMap<DeviceId, (Topics, u64)> = outcome.unwrap_or_default();
    for (topics, seq) in highs.into_values() {
        let Ok(payload) = serde_json::to_vec(&Ack { seq }) else { continue };
        if deps.downs.send(Down { topics, leaf: Leaf::Ack("event".into()), payload }).await.is_err() {
            tracing::debug!("the broker is gone; devices are acknowledged when it is back");
        }
    }
    deps.bell.ring();
}

/// Does the work of one message; when that shows a bug, the message is dropped and counted.
fn alone<T: Default>(
    arrival: &Arrival,
    counts: &Counts,
    work: impl FnOnce() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    panics::survived(work).unwrap_or_else(|| {
        dropped(counts, &arrival.topics.device, &arrival.leaf, "it made this program fail");
        Ok(T::default())
    })
}

/// Makes rows of one message. Answers how far the device's events are complete, when it was one.
///
/// # Errors
/// Only what the database says; a message nothing can be made of is no error.
fn apply(db: &Connection, arrival: &Arrival, counts: &Counts, now: i64) -> rusqlite::Result<Option<u64>> {
    let Arrival { topics, leaf, payload, .. } = arrival;
    let device = &topics.device;
    if payload.len() > MAX_PAYLOAD {
        dropped(counts, device, leaf, "it is longer than 16 KiB");
        return Ok(None);
    }
    match leaf {
        Leaf::State => match serde_json::from_slice::<State>(payload) {
            Ok(state) => devices::set_state(db, device, &state, now)?,
            // An empty payload clears a retained message; that is nobody's state.
            Err(_) if payload.is_empty() => {}
            Err(e) => dropped(counts, device, leaf, &e.to_string()),
        },
        Leaf::Info => match serde_json::from_slice::<Info>(payload) {
            Ok(info) => devices::set_info(db, device, &info, now)?,
            Err(_) if payload.is_empty() => {}
            Err(e) => dropped(counts, device, leaf, &e.to_string()),
        },
        Leaf::Measurement(group) | Leaf::History(group) => {
            let samples = match one_or_many(payload) {
                Ok(samples) => samples,
                Err(e) => {
                    dropped(counts, device, leaf, &e);
                    return Ok(None);
                }
            };
            let live = matches!(leaf, Leaf::Measurement(_));
            for sample in samples {
                if !well_formed(&sample) {
                    dropped(counts, device, leaf, "a name has no unit, or a value is not a number");
                    continue;
                }
                if samples::add(db, device, group, &sample)? {
                    counts.samples.one();
                }
                if live {
                    samples::set_live(db, device, group, &sample, now)?;
                }
            }
            devices::alive(db, device, now)?;
        }
        Leaf::Event(kind) => match serde_json::from_slice::<Event>(payload) {
            Ok(event) if (1..1 << 53).contains(&event.seq) => {
                let (new, high) = events::add(db, device, kind, &event, now)?;
                if new {
                    counts.events.one();
                    let heard = match kind.as_str() {
                        repairs::KIND => repairs::heard(db, device, &event, now)?,
                        lectern_wire::usage::KIND => usage::heard(db, device, &event, now)?,
                        _ => afterwards::heard(db, device, kind, &event)?,
                    };
                    // What cannot be used is stored and acknowledged all the same: its number is taken.
                    if let Err(why) = heard {
                        dropped(counts, device, leaf, &why);
                    }
                }
                return Ok(Some(high));
            }
            Ok(_) => dropped(counts, device, leaf, "seq is not between 1 and 2^53"),
            Err(e) => dropped(counts, device, leaf, &e.to_string()),
        },
        Leaf::Alarm(code) => match serde_json::from_slice::<Alarm>(payload) {
            Ok(alarm) if alarm.code == *code && !HUBS_OWN.contains(code) => {
                let holds = (alarm.state == AlarmState::Raised).then_some(alarm.detail.as_str());
                // A clock that is wrong now says nothing of when it began.
                let since = if (alarm.ts - now).abs() < CLOCK_MS { alarm.since_ts.min(now) } else { now };
                alarms::set(db, device, *code, holds, since, now)?;
                devices::seen(db, device, now)?;
            }
            Ok(_) => dropped(counts, device, leaf, "the code is not the topic's, or only the hub may say it"),
            Err(_) if payload.is_empty() => {}
            Err(e) => dropped(counts, device, leaf, &e.to_string()),
        },
        Leaf::CommandResult(id) => match serde_json::from_slice::<Outcome>(payload) {
            Ok(outcome) if outcome.id == *id => {
                if !commands::heard(db, device, &outcome, now)? {
                    dropped(counts, device, leaf, "no such command was given to it, or its end is known");
                }
                devices::seen(db, device, now)?;
            }
            Ok(_) => dropped(counts, device, leaf, "the id is not the topic's"),
            Err(e) => dropped(counts, device, leaf, &e.to_string()),
        },
        Leaf::Reported => match serde_json::from_slice::<Reported>(payload) {
            Ok(said) => {
                desired::heard(db, device, &said, now)?;
                devices::seen(db, device, now)?;
            }
            Err(_) if payload.is_empty() => {}
            Err(e) => dropped(counts, device, leaf, &e.to_string()),
        },
        Leaf::Chain => match serde_json::from_slice::<Signed<ChainHead>>(payload) {
            Ok(head) => {
                if let Err(why) = heads::add(db, device, &head, now)? {
                    dropped(counts, device, leaf, &why);
                }
                devices::seen(db, device, now)?;
            }
            Err(_) if payload.is_empty() => {}
            Err(e) => dropped(counts, device, leaf, &e.to_string()),
        },
        Leaf::Ack(_) | Leaf::CommandRequest(_) | Leaf::Desired => {
            dropped(counts, device, leaf, "this goes down only");
        }
    }
    Ok(None)
}

fn one_or_many(payload: &[u8]) -> Result<Vec<Sample>, String> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(Sample),
        Many(Vec<Sample>),
    }
    match serde_json::from_slice(payload).map_err(|e| e.to_string())? {
        OneOrMany::One(sample) => Ok(vec![sample]),
        OneOrMany::Many(samples) if samples.len() <= MOST_SAMPLES => Ok(samples),
        OneOrMany::Many(_) => Err(format!("it holds more than {MOST_SAMPLES} samples")),
    }
}

fn dropped(counts: &Counts, device: &DeviceId, leaf: &Leaf, why: &str) {
    counts.malformed.one();
    tracing::debug!(%device, ?leaf, "a message was dropped: {why}");
}

async fn forget(deps: &Deps) {
    let now = clock::wall_ms();
    let before = now - i64::from(deps.samples_days) * DAY_MS;
    loop {
        match deps.store.write(move |db| samples::prune(db, before, now + DAY_MS, PRUNE_STEP)).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(e) => return tracing::warn!("old samples could not be forgotten: {e}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit;

    fn store() -> (tempfile::TempDir, Store, Topics) {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path()).expect("opens");
        let topics = testkit::topics("room-1");
        store.write_now(|db| devices::add(db, &topics, "301教室", "pw", 1)).expect("added");
        (folder, store, topics)
    }

    fn feed(store: &Store, counts: &Counts, topics: &Topics, leaf: Leaf, payload: &[u8]) -> Option<u64> {
        let arrival =
            Arrival { topics: topics.clone(), leaf, payload: payload.to_vec(), retained: false, done: None };
        store.write_now(|db| apply(db, &arrival, counts, 1000)).expect("no database fault")
    }

    #[test]
    fn garbage_is_counted_and_everything_goes_on() {
        let (_folder, store, topics) = store();
        let counts = Counts::default();
        let leaves = [
            Leaf::State,
            Leaf::Info,
            Leaf::Measurement("sys".into()),
            Leaf::History("sys".into()),
            Leaf::Event("lesson".into()),
            Leaf::Chain,
            Leaf::Ack("event".into()),
            Leaf::Alarm(Code::Hot),
        ];
        let garbage: [&[u8]; 8] = [
            b"\xff\xfe",
            b"{",
            b"null",
            b"[1,2]",
            b"{\"ts\":1}",
            b"{\"ts\":1,\"values\":{\"cpu\":1}}",
            b"{\"seq\":0,\"ts\":1,\"mono_ms\":1,\"boot_id\":\"\",\"clock_trusted\":true,\"data\":0}",
            &[b'['; 20_000],
        ];
        for leaf in leaves {
            for bytes in garbage {
                assert_eq!(feed(&store, &counts, &topics, leaf.clone(), bytes), None);
            }
        }
        assert_eq!(counts.malformed.get(), 8 * 8);
        let good = br#"{"ts":5,"values":{"cpu_pct":1.5}}"#;
        feed(&store, &counts, &topics, Leaf::Measurement("sys".into()), good);
        feed(&store, &counts, &topics, Leaf::Measurement("sys".into()), good);
        assert_eq!((counts.samples.get(), store.read_now(samples::count).expect("read")), (1, 1));
    }

    #[test]
    fn a_device_raises_its_own_alarms_and_nobody_elses() {
        let (_folder, store, topics) = store();
        let counts = Counts::default();
        let say = |topic: Code, code: Code, state: AlarmState, ts: i64| {
            let alarm =
                Alarm { code, state, since_ts: ts - 5, ts, detail: "91℃".into(), next_step: String::new() };
            let bytes = serde_json::to_vec(&alarm).expect("json");
            feed(&store, &counts, &topics, Leaf::Alarm(topic), &bytes);
        };
        let standing =
            || store.read_now(alarms::standing).expect("read").remove(&topics.device).unwrap_or_default();
        say(Code::Hot, Code::Hot, AlarmState::Raised, 900);
        say(Code::ClockWrong, Code::ClockWrong, AlarmState::Raised, -5_000_000);
        let told: Vec<_> = standing().iter().map(|row| (row.code, row.raised_ms)).collect();
        assert_eq!(told, [(Code::ClockWrong, 1000), (Code::Hot, 895)], "a wrong clock is not believed");
        say(Code::Hot, Code::Hot, AlarmState::Cleared, 950);
        assert_eq!(standing().len(), 1);
        say(Code::Hot, Code::ClockWrong, AlarmState::Cleared, 950);
        say(Code::Offline, Code::Offline, AlarmState::Raised, 950);
        assert_eq!((standing().len(), counts.malformed.get()), (1, 2));
    }

    #[test]
    fn old_samples_and_those_of_a_wrong_clock_are_forgotten() {
        let (_folder, store, topics) = store();
        let counts = Counts::default();
        let many = br#"[{"ts":1,"values":{"cpu_pct":1}},{"ts":500,"values":{"cpu_pct":2}},{"ts":99999,"values":{"cpu_pct":3}}]"#;
        feed(&store, &counts, &topics, Leaf::History("sys".into()), many);
        assert!(store.write_now(|db| samples::prune(db, 100, 1000, 1)).expect("pruned"));
        assert!(!store.write_now(|db| samples::prune(db, 100, 1000, 9)).expect("pruned"));
        let left = store
            .read_now(|db| samples::series(db, &topics.device, "sys", &["cpu_pct"], 0..1_000_000, 100))
            .expect("read");
        assert_eq!(left, [(500, vec![Some(2.0)])]);
        assert!(store.read_now(|db| samples::live(db, &topics.device, "sys")).expect("read").is_none());
    }

    #[test]
    fn a_message_that_shows_a_bug_is_dropped_alone() {
        let counts = Counts::default();
        let arrival = Arrival {
            topics: crate::testkit::topics("room-301"),
            leaf: Leaf::State,
            payload: Vec::new(),
            retained: false,
            done: None,
        };
        let before = panics::count();
        panics::watch();
        assert_eq!(alone(&arrival, &counts, || Ok(Some(1))), Ok(Some(1)));
        assert_eq!(alone::<Option<u64>>(&arrival, &counts, || panic!("on purpose")), Ok(None));
        assert_eq!((counts.malformed.get(), panics::count() > before), (1, true));
    }
}
