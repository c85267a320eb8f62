//! A hub and an agent on the loopback address, pressed as a teacher presses: memory at rest, press to the first
//! durable picture, stop to the hub's receipt. The agent's own clock tells the two times.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Folder, Hub, Room, World, eventually};
use serde_json::Value;

use super::table::{Bar, Row};
use super::{figure, median, usage};

/// The idle daemon is looked at after this long.
const REST: Duration = Duration::from_secs(10);
/// Lessons for press to picture, and how long each is.
const PRESSES: (usize, u64) = (5, 3000);
/// Lessons for stop to receipt, and how long each is.
const STOPS: (usize, u64) = (3, 15_000);
/// A recorder that is ready waits for so long before the press.
const SETTLED: Duration = Duration::from_secs(5);
/// Between two lessons.
const PAUSE: Duration = Duration::from_secs(1);

/// The school that lessons are recorded in.
pub struct School {
    /// The room's agent.
    pub agent: Agent,
    hub: Hub,
}

impl School {
    /// Starts hub and agent in the classroom, with its camera.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn start(world: &World, programs: &Programs) -> anyhow::Result<Self> {
        eprintln!("starting a hub and an agent …");
        let (hub, password) = Hub::start(&world.folder, programs).context("the hub did not start")?;
        let room = Room::of(world, true);
        let agent = Agent::start(&world.folder, programs, &room, &hub, &password)
            .context("the agent did not start")?;
        Ok(Self { agent, hub })
    }

    /// Measures; records eight lessons.
    ///
    /// # Errors
    /// When a lesson is not recorded or not stored.
    pub fn measure(&self) -> anyhow::Result<Vec<Row>> {
        println!(
            "\nlessons: screen+camera, hub on 127.0.0.1; idle daemon after {REST:?}; press to picture over {} \
             lessons of {} ms, a fresh recorder each; stop to receipt over {} of {} ms",
            PRESSES.0, PRESSES.1, STOPS.0, STOPS.1
        );
        std::thread::sleep(REST);
        let idle = figure(usage::share_kib(self.agent.process.pid())?) / 1024.0;
        let press = self.lessons(PRESSES, "first_durable_ms")?;
        let stop = self.lessons(STOPS, "stored_after_ms")?;
        let row = |name: &str, ours, unit, most| {
            let (name, bar) = (name.to_owned(), Bar::AtMost(most));
            Row { name, ours, peer: None, unit, bar }
        };
        Ok(vec![
            row("idle daemon, PSS", idle, "MiB", 10.0),
            row("press to first durable picture, cold", press, "ms", 400.0),
            row("stop to receipt, 15 s lesson", stop, "ms", 8000.0),
        ])
    }

    /// The same press where a recorder is ready before it: a room of its own in the same classroom.
    ///
    /// # Errors
    /// As [`Self::measure`].
    pub fn armed(world: &World, programs: &Programs) -> anyhow::Result<Row> {
        let folder = Folder::new()?;
        let (hub, password) = Hub::start(&folder, programs).context("the hub did not start")?;
        let room = Room::of(world, true);
        let room = Room { recording: format!("{}armed = true\n", room.recording), ..room };
        let agent = Agent::start(&folder, programs, &room, &hub, &password)?;
        let school = Self { agent, hub };
        println!("\npress with a recorder ready: screen+camera, armed = true, {} lessons", PRESSES.0);
        let mut seen = Vec::new();
        for _ in 0..PRESSES.0 {
            eventually(Duration::from_secs(60), "a recorder that is ready", || {
                (school.agent.status().ok()?["ready"] == true).then_some(())
            })?;
            // As between two lessons: its sources have settled.
            std::thread::sleep(SETTLED);
            let status = school.lesson(PRESSES.1)?;
            seen.push(status["lesson"]["first_durable_ms"].as_u64().context("no first_durable_ms")?);
        }
        eprintln!("  first_durable_ms, armed: {seen:?}");
        Ok(Row {
            name: "press to first durable picture, recorder ready".into(),
            ours: median(seen.into_iter().map(figure)),
            peer: None,
            unit: "ms",
            bar: Bar::AtMost(100.0),
        })
    }

    /// Records lessons; the median of one field of their status.
    fn lessons(&self, (count, length_ms): (usize, u64), field: &str) -> anyhow::Result<f64> {
        let mut seen = Vec::new();
        for _ in 0..count {
            let status = self.lesson(length_ms)?;
            let ms = status["lesson"][field].as_u64();
            seen.push(ms.with_context(|| format!("no {field} in {status}"))?);
            std::thread::sleep(PAUSE);
        }
        eprintln!("  {field}: {seen:?}");
        Ok(median(seen.into_iter().map(figure)))
    }

    fn lesson(&self, length_ms: u64) -> anyhow::Result<Value> {
        let patience = Duration::from_secs(60);
        self.agent.press("start")?;
        self.agent.wait_for_media(length_ms, patience)?;
        self.agent.press("stop")?;
        self.agent.wait_for(&["stored"], patience)
    }

    /// The folder of a lesson that the hub has.
    ///
    /// # Errors
    /// When it has none.
    pub fn stored(&self) -> anyhow::Result<PathBuf> {
        let lessons = self.hub.lessons();
        ensure!(!lessons.is_empty(), "the hub has no lesson");
        Ok(self.hub.lesson_folder(lessons.iter().max().map_or("", String::as_str)))
    }
}
