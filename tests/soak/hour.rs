//! A long recording in real time, with claps all along: the sound stays with the picture. A second listener
//! beside the recorder says whether a click that is not in the take was ever to be heard.

use std::time::Duration;

use anyhow::{anyhow, ensure};
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
    let length = Duration::from_secs(u64::from(plan.minutes) * 60);
    let (claps, heard) = std::thread::scope(|scope| {
        let ear = scope.spawn(|| clap::listen(&world.sound, length + Duration::from_secs(5)));
        let claps = clap_for(&hands, &world, length)?;
        let heard = ear.join().map_err(|_| anyhow!("the second listener fell over"))??;
        anyhow::Ok((claps, heard))
    })?;
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
    let first_flash = found.first().map(|f| f.flash_s).into_iter().chain(silent.first().copied());
    let first_flash = first_flash.fold(f64::INFINITY, f64::min);
    let lost = silent.iter().filter(|s| was_heard(&claps, &heard, **s - first_flash)).count();
    let told = format!(
        "{} claps, {} without a click of which the other listener heard {lost}; sound against picture {:+.1} ms at first, {:+.1} ms at the end (spread {:.1}); gaps {gaps}",
        found.len() + silent.len(),
        silent.len(),
        first * 1e3,
        last * 1e3,
        spread * 1e3
    );
    println!("  {told}");
    // What nobody heard is the busy room's, but then it proves little.
    let heard = lost == 0 && silent.len() * 20 <= found.len();
    let together = heard && last.abs() <= 0.040 && gaps.as_array().is_some_and(Vec::is_empty);
    row.instant(&told, stopped_ms.saturating_sub(takes[0].to_ms), together);
    Ok(row)
}

/// Claps until the time is over; when each was, in monotonic time.
fn clap_for(hands: &Clap, world: &World, length: Duration) -> anyhow::Result<Vec<Duration>> {
    let until = clock::mono() + length;
    let mut claps = Vec::new();
    while clock::mono() < until {
        // Not in step with the picture clock.
        std::thread::sleep(Duration::from_millis(4013));
        claps.push(hands.clap(&world.sound)?.at);
    }
    Ok(claps)
}

/// Whether the click of the clap that flashed so many seconds after the first one was heard in the room.
fn was_heard(claps: &[Duration], heard: &[Duration], after_first_s: f64) -> bool {
    let nearest = |of: &[Duration], at: Duration| of.iter().copied().min_by_key(|one| one.abs_diff(at));
    let Some(flashed) = claps.first().map(|first| *first + Duration::from_secs_f64(after_first_s.max(0.0)))
    else {
        return false;
    };
    let Some(clap) = nearest(claps, flashed) else { return false };
    nearest(heard, clap).is_some_and(|click| click.abs_diff(clap) < Duration::from_millis(500))
}
