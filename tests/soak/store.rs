//! The S3 store behind the hub fails, in every way lines and busy stores know, while lessons go to it: a real Garage, a
//! relay before it that hub and room go through, kills and freezes.
//!
//! Always, as in `upload.rs`: stored once, with the bytes that were recorded, and never said to be before. Left out, which
//! the table says, where Garage is not built.

use std::time::Duration;

use anyhow::Context as _;
use lectern_base::clock;
use lectern_tests::garage::{Garage, settings};
use lectern_tests::school::{DEVICE, SCHOOL};
use lectern_tests::{Fault, Folder, Relay, Room, School, eventually};

use super::table::Row;
use super::upload::{RELAYED, is_honest, relayed};
use super::{Dice, PATIENCE, Plan, lesson_of, record_for};

/// What may happen to the store; each is done in turn.
const WAYS: u64 = 9;

/// One lesson for each fault; what is done, when, and for how long is drawn.
pub fn faults(plan: &Plan) -> anyhow::Result<Row> {
    let mut dice = Dice::new(plan.seed, "store");
    let mut row = Row::new("an S3 store that fails", 0);
    let program = match Garage::find() {
        Ok(program) => program,
        Err(why) => {
            row.skipped = Some(why);
            return Ok(row);
        }
    };
    let folder = Folder::new()?;
    let mut garage = Garage::start(&folder, &program)?;
    let relay = Relay::start(garage.port)?;
    let store = settings(&format!("http://127.0.0.1:{}", relay.port), &garage.keys, "");
    let mut school = School::start_with(folder, &Room::card(), &store)?;
    eventually(PATIENCE, "what the store can be trusted with", || {
        school.hub.data.join("store.json").exists().then_some(())
    })?;
    let runtime = tokio::runtime::Runtime::new()?;
    for lessons in 1..=u64::from(plan.stores) {
        let way = (lessons + plan.seed) % WAYS;
        school.agent.press("start")?;
        let lesson = lesson_of(&school.agent)?;
        record_for(&school.agent, 1000 + dice.below(1000))?;
        // Before the first word to the store, or somewhere between it and the receipt.
        let early = dice.below(2) == 0;
        let mut said = String::new();
        if early {
            said = harm(way, &mut dice, &mut garage, &relay);
        }
        school.agent.press("stop")?;
        if !early {
            dice.wait(900);
            said = harm(way, &mut dice, &mut garage, &relay);
        }
        let until = clock::mono() + Duration::from_millis(1500 + dice.below(2500));
        let mut honest = true;
        while clock::mono() < until {
            honest &= is_honest(&school, &lesson)?;
            std::thread::sleep(Duration::from_millis(100));
        }
        relay.set(Fault::None);
        garage.process.thaw();
        if !garage.process.running() {
            garage.restart(&school.folder)?;
        }
        let there = || lectern_tests::planted::is_stored(&school.agent, &lesson).ok()?.then_some(());
        eventually(PATIENCE, "the receipt", there).with_context(|| {
            format!("{said}\n{}{}", school.hub.process.tail_of_log(), school.agent.process.tail_of_log())
        })?;
        honest &= is_honest(&school, &lesson)?;
        row.instant(&format!("{lesson}: {said}"), 0, honest);
        row.one.count(school.hub.lessons().len() as u64 == lessons);
        let whole = runtime.block_on(is_whole(&school, &garage, &lesson))?;
        row.stored.count(whole);
        // The bytes are the take's, which the room has found to play.
        row.playable.count(whole);
        if !whole {
            row.complain(format!("{lesson}: the store has other bytes, after {said}"));
        }
        println!("  lesson {lessons}: {said}{}", if early { ", before the press" } else { "" });
        let rows = school.hub.rows()?;
        let receipts: i64 =
            rows.query_row("SELECT count(*) FROM receipt WHERE lesson = ?1", [&lesson], |row| row.get(0))?;
        if receipts != 1 {
            row.complain(format!("{lesson}: {receipts} receipts"));
        }
    }
    // An upload that was begun twice because the answer was lost is ended by the janitor.
    school.hub.restart(&school.folder)?;
    let open = || runtime.block_on(garage.uploads()).ok().filter(Vec::is_empty);
    if eventually(PATIENCE, "the janitor", open).is_err() {
        row.complain(format!("uploads are left open: {:?}", runtime.block_on(garage.uploads())?));
    }
    let objects = runtime.block_on(garage.objects())?;
    let takes = objects.iter().filter(|key| key.ends_with("/take-1.mp4")).count() as u64;
    let known = ["/take-1.mp4", "/manifest.json", "/receipt.json", "/heads.jsonl"];
    let odd: Vec<_> = objects.iter().filter(|key| !known.iter().any(|name| key.ends_with(name))).collect();
    if takes != u64::from(plan.stores) || !odd.is_empty() {
        row.complain(format!("{takes} takes for {} lessons, and beside them {odd:?}", plan.stores));
    }
    println!("  {} connections were harmed", relay.done());
    Ok(row)
}

/// Does it, and says what.
fn harm(way: u64, dice: &mut Dice, garage: &mut Garage, relay: &Relay) -> String {
    let fault = match way {
        0..RELAYED => relayed(way, dice),
        RELAYED => {
            garage.process.kill();
            return "Garage killed".into();
        }
        _ => {
            garage.process.freeze();
            return "Garage frozen".into();
        }
    };
    relay.set(fault);
    format!("{fault:?}")
}

/// Whether the store itself gives out what the room recorded.
async fn is_whole(school: &School, garage: &Garage, lesson: &str) -> anyhow::Result<bool> {
    let url = garage.url(rusty_s3::Method::Get, &format!("{SCHOOL}/{DEVICE}/{lesson}/take-1.mp4"), &[]);
    let http = reqwest::Client::builder().no_proxy().build()?;
    let there = http.get(url).send().await?.error_for_status()?.bytes().await?;
    Ok(there == std::fs::read(school.agent.data.join("lessons").join(lesson).join("take-1.mp4"))?)
}
