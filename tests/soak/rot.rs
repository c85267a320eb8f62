//! Disks: a bit of a lesson flips before it is uploaded, and the hub's disk is full when it comes.

use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lectern_base::clock;
use lectern_tests::{Agent, Disk, Fault, Folder, Hub, Relay, Room, School, eventually, programs::Programs};

use super::table::Row;
use super::upload::is_honest;
use super::{Dice, PATIENCE, Plan, lesson_of, record_for, stored};

/// A bit of each lesson flips on the room's disk while the hub is busy. It is told, named by `lectern verify`, and nothing
/// of the part reaches the hub; the lesson after it is stored as if nothing had been.
pub fn bits(plan: &Plan) -> anyhow::Result<Row> {
    let mut dice = Dice::new(plan.seed, "bits");
    let mut row = Row::new("a bit flips before the upload", 0);
    for _ in 0..plan.others {
        let (folder, programs) = (Folder::new()?, Programs::find()?);
        let (mut hub, password) = Hub::start(&folder, &programs)?;
        let relay = Relay::start(hub.http)?;
        hub.door = Some(format!("http://127.0.0.1:{}", relay.port));
        let agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password)?;
        let school = School { agent, hub, folder };
        relay.set(Fault::Status(503));
        school.agent.press("start")?;
        let damaged = lesson_of(&school.agent)?;
        record_for(&school.agent, 1000 + dice.below(1500))?;
        school.agent.press("stop")?;
        school.agent.wait_for(&["sealed"], PATIENCE)?;
        let folder = school.agent.data.join("lessons").join(&damaged);
        let file = std::fs::File::options().read(true).write(true).open(folder.join("take-1.mp4"))?;
        let (at, bit) = (dice.below(file.metadata()?.len()), dice.below(8));
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        file.write_all_at(&[byte[0] ^ (1 << bit)], at)?;
        file.sync_all()?;
        relay.set(Fault::None);
        let told = eventually(PATIENCE, "the sentence", || {
            let status = school.agent.status().ok()?;
            let blocked = status["upload"]["blocked"].as_str()?;
            blocked.contains("has changed on this disk").then(|| status["safe_to_switch_off"] == false)
        });
        let mut honest = told.with_context(|| school.agent.process.tail_of_log())?;
        let report = school.agent.verify(&folder)?;
        honest &= report["sound"] == false;
        let parts = "SELECT count(*) FROM part WHERE lesson = ?1";
        honest &= school.hub.rows()?.query_row(parts, [&damaged], |row| row.get::<_, i64>(0))? == 0;
        row.instant(&format!("{damaged}: bit {bit} of byte {at}: {report}"), 0, honest);

        school.agent.press("start")?;
        let next = lesson_of(&school.agent)?;
        record_for(&school.agent, 1000)?;
        school.agent.press("stop")?;
        let there = || lectern_tests::planted::is_stored(&school.agent, &next).ok()?.then_some(());
        eventually(PATIENCE, "the receipt", there).with_context(|| school.agent.process.tail_of_log())?;
        let kept = school.stored(&next)?;
        row.one.count(school.hub.lessons().iter().filter(|lesson| **lesson == next).count() == 1);
        row.stored.count(kept.verified());
        row.playable.count(kept.play().is_ok());
        println!("  bit {bit} of byte {at} of {damaged}");
    }
    Ok(row)
}

/// The hub's disk fills up at random instants of lessons, and is given back.
pub fn hubs_disk(plan: &Plan) -> anyhow::Result<Row> {
    let mut dice = Dice::new(plan.seed, "hub's disk");
    let mut row = Row::new("the hub's disk full", 0);
    let (folder, programs) = (Folder::new()?, Programs::find()?);
    let Some(disk) = Disk::small(&folder.join("hub"), 100)? else {
        row.skipped = Some("no file system may be mounted here".into());
        return Ok(row);
    };
    let (hub, password) = Hub::start_at(&folder, &programs, "127.0.0.1", "[store]\nkeep_free_mib = 0\n")?;
    let agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password)?;
    let mut school = School { agent, hub, folder };
    // Taken away before the folder it stands in.
    let disk = disk;
    for lessons in 1..=usize::try_from(plan.others)? {
        school.agent.press("start")?;
        let lesson = lesson_of(&school.agent)?;
        record_for(&school.agent, 1000)?;
        let early = dice.below(2) == 0;
        let filler = if early { Some(disk.fill()?) } else { None };
        record_for(&school.agent, 500)?;
        school.agent.press("stop")?;
        let filler = match filler {
            Some(filler) => filler,
            None => {
                // Somewhere between the first byte and the receipt.
                dice.wait(400);
                disk.fill()?
            }
        };
        let until = clock::mono() + Duration::from_millis(1500 + dice.below(2500));
        let mut honest = true;
        while clock::mono() < until {
            honest &= is_honest(&school, &lesson)?;
            std::thread::sleep(Duration::from_millis(100));
        }
        std::fs::remove_file(filler)?;
        // A hub that could not go on without its disk is started again by systemd.
        if !school.hub.process.running() {
            school.hub.restart(&school.folder)?;
        }
        stored(&school, &lesson, lessons, &mut row)?;
        row.instant(&lesson, 0, honest && is_honest(&school, &lesson)?);
        println!(
            "  lesson {lessons}: full {}",
            if early { "while it was recorded" } else { "after the press" }
        );
    }
    let left = school.hub.orphans()?;
    ensure!(left.is_empty(), "they belong to no lesson: {left:?}");
    Ok(row)
}
