//! The wall clock steps in the middle of a lesson: an hour on, an hour back, to 2013 as a dead battery has it.
//!
//! Only recorder and daemon see it, by libfaketime, and only on CLOCK_REALTIME: the machine's own clock is
//! left alone. Claps before and after each step are found where they were made.

use std::time::Duration;

use anyhow::ensure;
use lectern_base::clock;
use lectern_tests::clap::{self, Found};
use lectern_tests::{Clap, FakeClock, Room, School, World};

use super::table::Row;
use super::{Plan, lesson_of, now_ms, record_for, spans, stored};

/// Seconds from 2013-01-01 to now.
fn since_2013() -> i64 {
    clock::wall_ms() / 1000 - 1_356_998_400
}

/// Claps after each step.
const CLAPS: u64 = 7;

fn claps(world: &World, hands: &Clap) -> anyhow::Result<()> {
    for n in 0..CLAPS {
        // Not in step with the picture clock.
        std::thread::sleep(Duration::from_millis(200 + n * 7));
        hands.clap(&world.sound)?;
    }
    Ok(())
}

/// Three steps in one lesson, then a lesson that begins in 2013.
pub fn steps(plan: &Plan) -> anyhow::Result<Row> {
    let mut row = Row::new("wall clock steps", 1000);
    let world = World::start()?;
    let fake = FakeClock::new(world.folder.path())?;
    let mut room = Room::of(&world, false);
    room.env.extend(fake.env()?);
    let school = School::start(&room)?;
    let hands = Clap::on(world.screen.display())?;
    for round in 0..usize::try_from(plan.others)? {
        in_a_lesson(&world, &hands, &fake, &school, 2 * round + 1, &mut row)?;
        in_2013(&fake, &school, 2 * round + 2, &mut row)?;
    }
    Ok(row)
}

fn in_a_lesson(
    world: &World,
    hands: &Clap,
    fake: &FakeClock,
    school: &School,
    lessons: usize,
    row: &mut Row,
) -> anyhow::Result<()> {
    fake.off_by(0)?;
    school.agent.press("start")?;
    let lesson = lesson_of(&school.agent)?;
    // The microphone's latency settles in its first second.
    record_for(&school.agent, 4000)?;
    claps(world, hands)?;
    let mut stepped = Vec::new();
    for (what, seconds) in [
        ("an hour on", 3600),
        ("an hour back", 0),
        ("an hour further back", -3600),
        ("to 2013", -since_2013()),
    ] {
        stepped.push((what, now_ms()));
        fake.off_by(seconds)?;
        claps(world, hands)?;
    }
    let stopped_ms = now_ms();
    school.agent.press("stop")?;
    let kept = stored(school, &lesson, lessons, row)?;
    let takes = spans(&kept);
    ensure!(takes.len() == 1 && kept.takes.len() == 1, "a step ended the take: {takes:?}");
    let (span, take) = (&takes[0], &kept.takes[0]);
    let quiet = take["gaps"].as_array().is_some_and(Vec::is_empty);
    let (found, silent) = clap::find_all(&kept.folder.join("take-1.mp4"))?;
    println!("  {} claps, without a click: {silent:.1?}", found.len() + silent.len());
    let second = |ms: u64| ms.saturating_sub(span.from_ms) as f64 / 1e3;
    let within = |from: f64, to: f64| -> Vec<Found> {
        found.iter().copied().filter(|clap| (from..to).contains(&clap.flash_s)).collect()
    };
    let first_s = stepped.first().map_or(0.0, |(_, ms)| second(*ms));
    let (before, _) = clap::sound_late(&within(0.0, first_s))?;
    for (n, (what, at_ms)) in stepped.iter().enumerate() {
        let until = stepped.get(n + 1).map_or(f64::INFINITY, |(_, ms)| second(*ms));
        let after = within(second(*at_ms), until);
        let (late, spread) = clap::sound_late(&after)?;
        let (moved_ms, spread_ms) = ((late - before) * 1e3, spread * 1e3);
        println!(
            "  {what}: {} claps, the sound moved {moved_ms:+.1} ms, spread {spread_ms:.1} ms",
            after.len()
        );
        // Two may be a busy room's own loss: a sound that is lost for two seconds is three or more. And on such a
        // machine nothing finer than its claps' spread can be known.
        let same = after.len() as u64 + 2 >= CLAPS && moved_ms.abs() <= (3.0 * spread_ms).max(40.0);
        row.instant(
            &format!(
                "{lesson} {what}: {} claps, the sound moved {:+.0} ms, gaps {}",
                after.len(),
                moved_ms,
                take["gaps"]
            ),
            stopped_ms.saturating_sub(span.to_ms),
            same && quiet,
        );
    }
    Ok(())
}

/// A clock nobody believes: the lesson is as good, and its manifest says so.
fn in_2013(fake: &FakeClock, school: &School, lessons: usize, row: &mut Row) -> anyhow::Result<()> {
    fake.off_by(-since_2013())?;
    school.agent.press("start")?;
    let lesson = lesson_of(&school.agent)?;
    record_for(&school.agent, 2000)?;
    // The time service has found the hub's network at last.
    fake.off_by(0)?;
    record_for(&school.agent, 2000)?;
    let stopped_ms = now_ms();
    school.agent.press("stop")?;
    let kept = stored(school, &lesson, lessons, row)?;
    let (takes, take) = (spans(&kept), &kept.takes[0]);
    let in_2013 = take["started_wall_ms"].as_i64().is_some_and(|ms| ms / 1000 < 1_356_998_400 + 86_400);
    let said = in_2013 && take["clock_trusted"] == false && takes.len() == 1;
    let lost_ms = takes.last().map_or(u64::MAX, |take| stopped_ms.saturating_sub(take.to_ms));
    row.instant(&format!("{lesson} begun in 2013"), lost_ms, said);
    Ok(())
}
