//! The way to the hub breaks, in every way lines, proxies and busy servers know, while a lesson goes over it: plain, and by
//! TLS, where what breaks a byte breaks a record, and somebody else may answer.
//!
//! Always: the lesson is stored once, with the bytes that were recorded; `stored` is never shown before the hub has
//! a receipt; when all is over nothing lies at the hub that belongs to no lesson.

use std::time::Duration;

use anyhow::Context as _;
use lectern_base::clock;
use lectern_tests::tls::certificate;
use lectern_tests::{Agent, Fault, Folder, Hub, Relay, Room, School, Tls, programs::Programs};

use super::table::Row;
use super::{Dice, Plan, lesson_of, record_for, stored};

/// What may happen to the way; each is done in turn.
const WAYS: u64 = 10;
/// By TLS somebody else may answer, too.
const TLS_WAYS: u64 = 11;

/// One lesson for each fault; what is done, when, and for how long is drawn.
pub fn faults(plan: &Plan) -> anyhow::Result<Row> {
    let mut row = Row::new("the way to the hub", 1500);
    let (folder, programs) = (Folder::new()?, Programs::find()?);
    let (hub, password) = Hub::start(&folder, &programs)?;
    let relay = Relay::start(hub.http)?;
    let way = Way { relay, stranger: None, lessons: plan.ways, ways: WAYS };
    break_it(Dice::new(plan.seed, "upload"), plan.seed, way, (folder, hub, password), &mut row)?;
    Ok(row)
}

/// As [`faults`], over TLS; among them an answer by a certificate that nobody vouches for.
pub fn tls_faults(plan: &Plan) -> anyhow::Result<Row> {
    let mut row = Row::new("the way to the hub, by TLS", 1500);
    let (folder, programs) = (Folder::new()?, Programs::find()?);
    let (hub, password) = Hub::start(&folder, &programs)?;
    for name in ["good", "stranger"] {
        certificate(&folder, name, None)?;
    }
    let (good, stranger) =
        (Tls::start(&folder, "good", hub.http)?, Tls::start(&folder, "stranger", hub.http)?);
    let relay = Relay::start(good.port)?;
    let way = Way { relay, stranger: Some(stranger.port), lessons: plan.tls, ways: TLS_WAYS };
    break_it(Dice::new(plan.seed, "tls"), plan.seed, way, (folder, hub, password), &mut row)?;
    Ok(row)
}

/// A way, and how often it is broken.
struct Way {
    relay: Relay,
    /// Where somebody else answers, when it goes by TLS.
    stranger: Option<u16>,
    lessons: u32,
    /// How many faults there are for it.
    ways: u64,
}

fn break_it(
    mut dice: Dice,
    seed: u64,
    way: Way,
    (folder, mut hub, password): (Folder, Hub, String),
    row: &mut Row,
) -> anyhow::Result<()> {
    let Way { relay, stranger, lessons, ways } = way;
    let mut room = Room::card();
    let mut scheme = "http";
    if stranger.is_some() {
        scheme = "https";
        room.env.push(("SSL_CERT_FILE".into(), folder.join("good.crt").display().to_string()));
    }
    hub.door = Some(format!("{scheme}://127.0.0.1:{}", relay.port));
    let agent = Agent::start(&folder, &Programs::find()?, &room, &hub, &password)?;
    let mut school = School { agent, hub, folder };
    for lessons in 1..=usize::try_from(lessons)? {
        let way = (lessons as u64 + seed) % ways;
        school.agent.press("start")?;
        let lesson = lesson_of(&school.agent)?;
        record_for(&school.agent, 1000)?;
        // Before or after the last press.
        let early = dice.below(2) == 0;
        if !early {
            school.agent.press("stop")?;
        }
        let said = harm(way, &mut dice, &mut school, &relay, stranger)?;
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
        stored(&school, &lesson, lessons, row)?;
        honest &= is_honest(&school, &lesson)?;
        row.instant(&format!("{lesson}: {said}"), 0, honest);
        println!("  lesson {lessons}: {said}{}", if early { ", while it was recorded" } else { "" });
    }
    for left in school.hub.orphans()? {
        row.complain(format!("{} belongs to no lesson", left.display()));
    }
    println!("  {} connections were harmed", relay.done());
    Ok(())
}

/// Ways in which what stands before a hub or a store may answer or pass bytes on.
pub const RELAYED: u64 = 7;

/// One of [`RELAYED`].
pub fn relayed(way: u64, dice: &mut Dice) -> Fault {
    match way {
        0 => Fault::Status(429),
        1 => Fault::Status(500),
        2 => Fault::Garbage,
        3 => Fault::HalfAnswer(dice.below(400)),
        4 => Fault::CutAfter(dice.below(600_000)),
        5 => Fault::Silent,
        _ => Fault::FlipAfter(1500 + dice.below(200_000)),
    }
}

/// Does it, and says what.
fn harm(
    way: u64,
    dice: &mut Dice,
    school: &mut School,
    relay: &Relay,
    stranger: Option<u16>,
) -> anyhow::Result<String> {
    let fault = match way {
        0..RELAYED => relayed(way, dice),
        RELAYED => Fault::LoginPage,
        8 => {
            school.hub.process.kill();
            return Ok("hub and broker killed".into());
        }
        9 => {
            school.hub.process.freeze();
            return Ok("hub and broker frozen".into());
        }
        _ => Fault::Elsewhere(stranger.context("nobody else is there")?),
    };
    relay.set(fault);
    Ok(format!("{fault:?}"))
}

/// Whether the page says `stored` only when the hub has a receipt.
pub fn is_honest(school: &School, lesson: &str) -> anyhow::Result<bool> {
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
