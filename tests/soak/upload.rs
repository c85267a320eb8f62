//! The way to the hub breaks, in every way lines, proxies and busy servers know, while a lesson goes over it.
//!
//! Always: the lesson is stored once, with the bytes that were recorded; `stored` is never shown before the hub has
//! a receipt; when all is over nothing lies at the hub that belongs to no lesson.

use std::time::Duration;

use anyhow::Context as _;
use lectern_base::clock;
use lectern_tests::{Agent, Fault, Folder, Hub, Relay, Room, School, programs::Programs};

use super::table::Row;
use super::{Dice, Plan, lesson_of, record_for, stored};

/// What may happen to the way; each is done in turn.
const WAYS: u64 = 10;

/// One lesson for each fault; what is done, when, and for how long is drawn.
pub fn faults(plan: &Plan) -> anyhow::Result<Row> {
    let mut dice = Dice::new(plan.seed, "upload");
    let mut row = Row::new("the way to the hub", 1500);
    let (folder, programs) = (Folder::new()?, Programs::find()?);
    let (mut hub, password) = Hub::start(&folder, &programs)?;
    let relay = Relay::start(hub.http)?;
    hub.door = Some(format!("http://127.0.0.1:{}", relay.port));
    let agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password)?;
    let mut school = School { agent, hub, folder };
    for lessons in 1..=usize::try_from(plan.ways)? {
        let way = (lessons as u64 + plan.seed) % WAYS;
        school.agent.press("start")?;
        let lesson = lesson_of(&school.agent)?;
        record_for(&school.agent, 1000)?;
        // Before or after the last press.
        let early = dice.below(2) == 0;
        if !early {
            school.agent.press("stop")?;
        }
        let said = harm(way, &mut dice, &mut school, &relay)?;
        let until = clock::mono() + Duration::from_millis(1000 + dice.below(2500));
        if early {
            record_for(&school.agent, 500)?;
            school.agent.press("stop")?;
        }
        let mut honest = true;
        while clock::mono() < until {
            honest &= is_honest(&school, &lesson)?;
            std::thread::sleep(Duration::from_millis(100));
        }
        relay.set(Fault::None);
        school.hub.process.thaw();
        if !school.hub.process.running() {
            school.hub.restart(&school.folder)?;
        }
        stored(&school, &lesson, lessons, &mut row)?;
        honest &= is_honest(&school, &lesson)?;
        row.instant(&format!("{lesson}: {said}"), 0, honest);
        println!("  lesson {lessons}: {said}{}", if early { ", while it was recorded" } else { "" });
    }
    for left in school.hub.orphans()? {
        row.complain(format!("{} belongs to no lesson", left.display()));
    }
    println!("  {} connections were harmed", relay.done());
    Ok(row)
}

/// Does it, and says what.
fn harm(way: u64, dice: &mut Dice, school: &mut School, relay: &Relay) -> anyhow::Result<String> {
    let fault = match way {
        0 => Fault::Status(429),
        1 => Fault::Status(500),
        2 => Fault::Garbage,
        3 => Fault::HalfAnswer(dice.below(400)),
        4 => Fault::CutAfter(dice.below(600_000)),
        5 => Fault::Silent,
        6 => Fault::LoginPage,
        7 => Fault::FlipAfter(1500 + dice.below(200_000)),
        8 => {
            school.hub.process.kill();
            return Ok("hub and broker killed".into());
        }
        _ => {
            school.hub.process.freeze();
            return Ok("hub and broker frozen".into());
        }
    };
    relay.set(fault);
    Ok(format!("{fault:?}"))
}

/// Whether the page says `stored` only when the hub has a receipt.
fn is_honest(school: &School, lesson: &str) -> anyhow::Result<bool> {
    let status = school.agent.status()?;
    if status["lesson"]["id"] != lesson || status["lesson"]["state"] != "stored" {
        return Ok(status["lesson"]["id"] != lesson || status["safe_to_switch_off"] != true);
    }
    let rows = school.hub.rows()?;
    let receipts: i64 = rows
        .query_row("SELECT count(*) FROM receipt WHERE lesson = ?1", [lesson], |row| row.get(0))
        .context("the hub's receipts")?;
    Ok(receipts == 1)
}
