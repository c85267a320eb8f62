//! A disk that somebody else fills to its last byte in the middle of a lesson, and gives back.

use std::time::Duration;

use lectern_tests::{Disk, Folder, Room, School};

use super::table::Row;
use super::{Dice, PATIENCE, Plan, lesson_of, now_ms, record_for, spans, stored};

/// At random instants, a lesson for each.
pub fn disk(plan: &Plan) -> anyhow::Result<Row> {
    let mut dice = Dice::new(plan.seed, "disk full");
    // The open fragment and the one whose sync the full disk refuses.
    let mut row = Row::new("disk full", 2000);
    let folder = Folder::new()?;
    let Some(disk) = Disk::small(&folder.join("agent"), 400)? else {
        row.skipped = Some("no file system may be mounted here".into());
        return Ok(row);
    };
    let mut room = Room::card();
    room.recording += "reserve_minutes = 1\n";
    let school = School::start_in(folder, &room)?;
    // Taken away before the folder it stands in.
    let disk = disk;
    for lessons in 1..=usize::try_from(plan.others)? {
        school.agent.press("start")?;
        let lesson = lesson_of(&school.agent)?;
        record_for(&school.agent, 2000)?;
        dice.wait(3000);
        let at_ms = now_ms();
        let filler = disk.fill()?;
        std::thread::sleep(Duration::from_secs(4));
        std::fs::remove_file(filler)?;
        // The lesson either goes on in its next take or was ended; both are right.
        let status = school.agent.wait_for(&["recording", "sealed", "stored", "reclaimed"], PATIENCE)?;
        if status["lesson"]["state"] == "recording" {
            record_for(&school.agent, 2000)?;
            school.agent.press("stop")?;
        }
        let takes = spans(&stored(&school, &lesson, lessons, &mut row)?);
        let Some(hit) = takes.iter().rev().find(|take| take.from_ms <= at_ms) else {
            row.complain(format!("{lesson}: no take from before the disk was full"));
            continue;
        };
        let explained =
            hit.interrupted.as_ref().is_some_and(|why| why.contains("space") || why.contains("full"));
        row.instant(&format!("{lesson} ({:?})", hit.interrupted), at_ms.saturating_sub(hit.to_ms), explained);
        if let Some(next) = takes.iter().find(|take| take.from_ms > at_ms) {
            row.away_ms.push(next.from_ms - at_ms);
        }
    }
    Ok(row)
}
