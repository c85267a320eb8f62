//! The faults, one file for each kind. Each makes its own school, does the same thing at many instants, and
//! gives a row of the table.

pub mod clocks;
pub mod cut;
pub mod files;
pub mod full;
pub mod hour;
pub mod kill;
pub mod peers;
pub mod rot;
pub mod sources;
pub mod store;
pub mod system;
pub mod table;
pub mod upload;

use std::time::Duration;

use anyhow::Context as _;
use lectern_base::clock;
use lectern_tests::{Agent, School, Stored, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use table::Row;

/// How long anything may take on a busy machine before it counts as never.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Instants of SIGKILL.
    pub kills: u32,
    /// Instants of a power cut.
    pub cuts: u32,
    /// Instants of every other fault.
    pub others: u32,
    /// Faults of the way to the hub.
    pub ways: u32,
    /// Faults of that way by TLS.
    pub tls: u32,
    /// Faults of an S3 store.
    pub stores: u32,
    /// Minutes of the real-time recording; 0: none.
    pub minutes: u32,
    /// Where chance begins.
    pub seed: u64,
}

/// A small generator, so that a run can be repeated from its seed.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed; each fault has its own sequence, so that one can be repeated alone.
    pub fn new(seed: u64, fault: &str) -> Self {
        let of_fault = fault.bytes().fold(seed, |n, b| n.wrapping_mul(31).wrapping_add(b.into()));
        Self(of_fault | 1)
    }

    /// Below a bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// Waits for up to so long.
    pub fn wait(&mut self, most_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.below(most_ms)));
    }
}

/// Milliseconds since boot, the clock that takes are placed by.
pub fn now_ms() -> u64 {
    u64::try_from(clock::boot().as_millis()).unwrap_or(u64::MAX)
}

/// The shown lesson's id.
pub fn lesson_of(agent: &Agent) -> anyhow::Result<String> {
    Ok(agent.status()?["lesson"]["id"].as_str().context("no lesson is shown")?.to_owned())
}

/// Picture that is durable in the shown lesson.
pub fn media_ms(agent: &Agent) -> anyhow::Result<u64> {
    agent.status()?["lesson"]["media_ms"].as_u64().context("no lesson is shown")
}

/// Waits until so much more is durable.
pub fn record_for(agent: &Agent, ms: u64) -> anyhow::Result<()> {
    agent.wait_for_media(media_ms(agent)? + ms, PATIENCE).map(drop)
}

/// A signal to every recorder of a school.
pub fn signal_recorders(school: &School, signal: Signal) {
    for pid in school.agent.recorders(&school.folder) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            // It may just have ended by itself.
            kill_process(pid, signal).ok();
        }
    }
}

/// Waits for the receipt and counts what every lesson must be: played to its end, one, stored, verified.
pub fn stored(school: &School, lesson: &str, lessons: usize, row: &mut Row) -> anyhow::Result<Stored> {
    // By the list: a daemon that was killed after the receipt shows no lesson any more, and need not.
    let listed = eventually(PATIENCE, "the receipt", || {
        let (list, _) = school.agent.lectern(&["lessons"]).ok()?;
        let list = list.as_array()?.clone();
        let there = |l: &serde_json::Value| {
            l["id"] == lesson && (l["state"] == "stored" || l["state"] == "reclaimed")
        };
        list.iter().any(there).then_some(list.len())
    });
    let listed = listed.with_context(|| school.agent.process.tail_of_log())?;
    let at_hub = school.hub.lessons().len();
    row.one.count(listed == lessons && at_hub == lessons);
    if listed != lessons || at_hub != lessons {
        row.complain(format!("{lesson}: {listed} lessons of {lessons}, {at_hub} at the hub"));
    }
    let stored = school.stored(lesson)?;
    row.stored.count(stored.verified());
    if !stored.verified() {
        row.complain(format!("{lesson}: {}", stored.report));
    }
    let played = stored.play();
    row.playable.count(played.is_ok());
    if let Err(e) = played {
        row.complain(format!("{lesson}: {e:#}"));
    }
    Ok(stored)
}

/// A take on the clock of [`now_ms`].
#[derive(Debug)]
pub struct Span {
    /// Its first picture.
    pub from_ms: u64,
    /// The end of its last picture.
    pub to_ms: u64,
    /// Why it ended, unless by the teacher's hand.
    pub interrupted: Option<String>,
}

/// The takes that hold anything, in order. Lessons with pauses do not fit here.
pub fn spans(stored: &Stored) -> Vec<Span> {
    let span = |take: &Value| {
        let from_ms = take["started_mono_ms"].as_u64()?;
        let interrupted = take["end"]["interrupted"].as_str().map(ToOwned::to_owned);
        Some(Span { from_ms, to_ms: from_ms + take["duration_ms"].as_u64()?, interrupted })
    };
    stored.takes.iter().filter_map(span).filter(|span| span.to_ms > span.from_ms).collect()
}
