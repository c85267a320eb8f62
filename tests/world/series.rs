//! Which samples a room took and which of them the hub has, held against each other one by one: by group and time.
//!
//! What the room took stands in its log ([`telling`]). Only samples that it never committed may be missing, and only
//! those: when the room dies, the ones of the last seconds that were not in its outbox yet.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use lectern_base::clock;
use rusqlite::{Connection, OpenFlags};

use crate::school::{Agent, DEVICE, Hub, Room};

/// How long a sample may wait for its commit, with what a busy machine adds, milliseconds.
const UNCOMMITTED_MS: i64 = 15_000;

/// A sample's group and time.
pub type Sample = (String, i64);

/// What befell a room's samples.
#[derive(Debug, Default)]
pub struct Series {
    /// When the room died, and what was in its outbox then.
    deaths: Vec<(i64, BTreeSet<Sample>)>,
    /// What a test put into its outbox.
    planted: BTreeSet<Sample>,
}

/// A room whose log names every sample it takes.
#[must_use]
pub fn telling(mut room: Room) -> Room {
    room.env.push(("LECTERN_LOG".into(), "info,lectern::sense=trace".into()));
    room
}

impl Series {
    /// Kills the room, and notes what it had committed.
    ///
    /// # Errors
    /// When its outbox cannot be read.
    pub fn kill(&mut self, agent: &mut Agent) -> anyhow::Result<()> {
        agent.process.kill();
        self.deaths.push((clock::wall_ms(), committed(agent)?));
        Ok(())
    }

    /// Notes a sample that a test wrote into the outbox.
    pub fn plant(&mut self, group: &str, ts: i64) {
        self.planted.insert((group.to_owned(), ts));
    }

    /// Holds the hub's samples against the room's.
    ///
    /// # Errors
    /// What is missing, and what the hub has that the room never took.
    pub fn compare(&self, agent: &Agent, hub: &Hub) -> anyhow::Result<()> {
        let mut taken = taken(agent)?;
        ensure!(!taken.is_empty(), "the room's log names no sample");
        taken.extend(self.planted.iter().cloned());
        let stored = stored(hub)?;
        let invented: Vec<_> = stored.difference(&taken).collect();
        ensure!(invented.is_empty(), "the hub has what the room never took: {invented:?}");
        let waiting = committed(agent)?;
        let uncommitted = |sample: &Sample| {
            self.deaths
                .iter()
                .any(|(at, kept)| (at - UNCOMMITTED_MS..*at).contains(&sample.1) && !kept.contains(sample))
        };
        let lost: Vec<_> = taken
            .iter()
            .filter(|s| !stored.contains(*s) && !waiting.contains(*s) && !uncommitted(s))
            .collect();
        ensure!(
            lost.is_empty(),
            "of {} samples {} are lost: {lost:?}; the room died at {:?}",
            taken.len(),
            lost.len(),
            self.deaths.iter().map(|(at, _)| at).collect::<Vec<_>>()
        );
        Ok(())
    }
}

/// What the room's log names; each sample once.
fn taken(agent: &Agent) -> anyhow::Result<BTreeSet<Sample>> {
    let log = std::fs::read_to_string(agent.process.log())?;
    let mut all = BTreeSet::new();
    for line in log.lines().filter_map(|line| Some(line.split_once("lectern::sense: a sample ")?.1)) {
        let field = |name: &str| {
            let (_, rest) = line.split_once(name)?;
            rest.split_whitespace().next().map(|word| word.trim_matches('"').to_owned())
        };
        let group = field("group=").with_context(|| line.to_owned())?;
        let ts = field("ts=").and_then(|ts| ts.parse().ok()).with_context(|| line.to_owned())?;
        ensure!(all.insert((group, ts)), "the room took it twice: {line}");
    }
    Ok(all)
}

fn committed(agent: &Agent) -> anyhow::Result<BTreeSet<Sample>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let rows = Connection::open_with_flags(agent.data.join("outbox.db"), flags)?;
    rows.busy_timeout(std::time::Duration::from_secs(5))?;
    read(&rows, "SELECT grp, ts FROM samples", &[])
}

fn stored(hub: &Hub) -> anyhow::Result<BTreeSet<Sample>> {
    read(&hub.rows()?, "SELECT grp, ts FROM sample WHERE device = ?", &[DEVICE])
}

fn read(rows: &Connection, sql: &str, of: &[&str]) -> anyhow::Result<BTreeSet<Sample>> {
    let mut asked = rows.prepare(sql)?;
    let mut found = asked.query(rusqlite::params_from_iter(of))?;
    let mut all = BTreeSet::new();
    while let Some(row) = found.next()? {
        let sample: Sample = (row.get(0)?, row.get(1)?);
        ensure!(all.insert(sample.clone()), "it is there twice: {sample:?}");
    }
    Ok(all)
}
