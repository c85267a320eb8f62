//! A long recording in real time, with claps all along: the sound stays with the picture.

use std::time::Duration;

use anyhow::ensure;
use lectern_base::clock;
use lectern_tests::{Clap, Room, School, World, clap};

use super::table::Row;
use super::{Plan, lesson_of, now_ms, record_for, spans, stored};

/// Claps at either end that are held against each other.
const ENDS: usize = 40;

/// So many minutes; nothing where none are asked for.
pub fn claps(plan: &Plan) -> anyhow::Result<Row> {
    let mut row = Row::new(&format!("nothing, for {} minutes", plan.minutes), 1000);
    if plan.minutes == 0 {
        row.skipped = Some("no minutes were asked for".into());
        return Ok(row);
    }
    let world = World::start()?;
    // Without a camera: a flash must fill the picture.
    let school = School::start(&Room::of(&world, false))?;
    let hands = Clap::on(world.screen.display())?;
    school.agent.press("start")?;
    let lesson = lesson_of(&school.agent)?;
    record_for(&school.agent, 4000)?;
    let until = clock::mono() + Duration::from_secs(u64::from(plan.minutes) * 60);
    while clock::mono() < until {
        // Not in step with the picture clock.
        std::thread::sleep(Duration::from_millis(4013));
        hands.clap(&world.sound)?;
    }
    school.agent.press("stop")?;
    let stopped_ms = now_ms();
    let kept = stored(&school, &lesson, 1, &mut row)?;
    let takes = spans(&kept);
    ensure!(takes.len() == 1, "{} takes", takes.len());
    let gaps = &kept.takes[0]["gaps"];
    let (found, silent) = clap::find_all(&kept.folder.join("take-1.mp4"))?;
    ensure!(found.len() >= 2 * ENDS, "only {} claps were found", found.len());
    let (first, _) = clap::sound_late(&found[..ENDS])?;
    let (last, spread) = clap::sound_late(&found[found.len() - ENDS..])?;
    let told = format!(
        "{} claps, {} without a click; sound against picture {:+.1} ms at first, {:+.1} ms at the end (spread {:.1}); gaps {gaps}",
        found.len() + silent.len(),
        silent.len(),
        first * 1e3,
        last * 1e3,
        spread * 1e3
    );
    println!("  {told}");
    // A hundredth may be the busy room's.
    let heard = silent.len() * 100 <= found.len();
    let together = heard && last.abs() <= 0.040 && gaps.as_array().is_some_and(Vec::is_empty);
    row.instant(&told, stopped_ms.saturating_sub(takes[0].to_ms), together);
    Ok(row)
}
