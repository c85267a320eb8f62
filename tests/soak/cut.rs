//! A power cut: the agent's folder is on ext4 in an image file; the image is copied while a lesson is being
//! recorded, which is what the disk would hold, and the copy is mounted, played and recovered.

use std::path::Path;

use anyhow::Context as _;
use lectern_tests::{Disk, Folder, Room, School};
use lectern_wire::fmp4::Scanner;
use rustix::process::Signal;
use serde_json::Value;

use super::table::Row;
use super::{Dice, PATIENCE, Plan, lesson_of, now_ms, record_for, signal_recorders, stored};

fn playable_ms(take: &Path) -> anyhow::Result<u64> {
    let mut scanner = Scanner::default();
    let bytes = std::fs::read(take).with_context(|| take.display().to_string())?;
    // Beyond what was synced a file may hold anything; what is whole before that counts.
    bytes.chunks(1 << 16).try_for_each(|chunk| scanner.push(chunk)).ok();
    Ok(scanner.duration_ms())
}

/// At random instants of one lesson; the last copy is what the machine finds when the power is back.
pub fn power(plan: &Plan) -> anyhow::Result<Row> {
    let mut dice = Dice::new(plan.seed, "power cut");
    let mut row = Row::new("power cut (copied ext4)", 2000);
    let folder = Folder::new()?;
    let Some(disk) = Disk::ext4(folder.join("disk.img"), &folder.join("agent"))? else {
        row.skipped = Some("no file system may be mounted here".into());
        return Ok(row);
    };
    let mut room = Room::card();
    room.recording += "reserve_minutes = 1\n";
    let mut school = School::start_in(folder, &room)?;
    // Taken away before the folder it stands in.
    let disk = disk;
    school.agent.press("start")?;
    let lesson = lesson_of(&school.agent)?;
    record_for(&school.agent, 1000)?;
    let take = Path::new("lessons").join(&lesson).join("take-1.mp4");
    let journal = std::fs::read_to_string(school.agent.data.join(&take).with_extension("jsonl"))?;
    let first: Value = serde_json::from_str(journal.lines().next().context("an empty journal")?)?;
    let started_ms = first["mono_ms"].as_u64().context("a take that does not say when it began")?;

    let mut writers = school.agent.recorders(&school.folder);
    writers.push(school.agent.process.pid());
    let (copy, after) = (school.folder.join("copy.img"), school.folder.join("after"));
    for cut in 0..plan.cuts {
        dice.wait(3000);
        let at_ms = now_ms();
        disk.copy(&copy, &writers)?;
        let found = Disk::of_image(copy.clone(), &after)?.context("the copy could not be mounted")?;
        let kept_ms = playable_ms(&found.at().join(&take))?;
        // What the database of that copy says is looked at below, for the last one.
        row.instant(&format!("cut {cut}"), (at_ms - started_ms).saturating_sub(kept_ms), true);
    }

    school.agent.process.kill();
    signal_recorders(&school, Signal::KILL);
    drop(disk);
    let _found =
        Disk::of_image(copy, &school.folder.join("agent"))?.context("the copy could not be mounted")?;
    let kept_ms = playable_ms(&school.agent.data.join(&take))?;
    school.agent.restart(&school.folder)?;
    school.agent.wait_for(&["recording", "stored", "reclaimed"], PATIENCE)?;
    // It may have ended already: then there is nothing to press.
    school.agent.press("stop").ok();
    let lesson = stored(&school, &lesson, 1, &mut row)?;
    if lesson.report["duration_ms"].as_u64().is_none_or(|ms| ms < kept_ms) {
        row.complain(format!("{kept_ms} ms were on the disk, stored were {}", lesson.report["duration_ms"]));
    }
    let why = lesson.takes.first().and_then(|take| take["end"]["interrupted"].as_str());
    if why.is_none_or(str::is_empty) {
        row.complain("the manifest does not say that the first take was cut off".into());
    }
    Ok(row)
}
