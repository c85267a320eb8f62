//! SIGKILL and SIGSTOP of recorder, daemon and hub, at random instants of a lesson's whole life: while it
//! starts, while it is recorded, while it ends. And a hub that is away from one end of a lesson to the other.

use std::time::Duration;

use anyhow::ensure;
use lectern_tests::{Room, School};
use rustix::process::Signal;

use super::table::Row;
use super::{Dice, PATIENCE, Plan, lesson_of, media_ms, now_ms, record_for, signal_recorders, spans, stored};

/// The open fragment of a second, and the time a fragment takes to be encoded and synced.
const FRAGMENT_MS: u64 = 1500;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Victim {
    Recorder,
    Daemon,
    Both,
    /// Hub and broker are one process.
    Hub,
}

impl Victim {
    fn ends_a_take(self) -> bool {
        matches!(self, Self::Recorder | Self::Both)
    }
}

/// One kill, on the clock of [`now_ms`].
struct Strike {
    victim: Victim,
    at_ms: u64,
}

fn strike(victim: Victim, school: &mut School) -> anyhow::Result<Strike> {
    let at_ms = now_ms();
    if victim.ends_a_take() {
        signal_recorders(school, Signal::KILL);
    }
    match victim {
        Victim::Daemon | Victim::Both => school.agent.restart(&school.folder)?,
        Victim::Hub => school.hub.restart(&school.folder)?,
        Victim::Recorder => {}
    }
    Ok(Strike { victim, at_ms })
}

/// SIGKILL at random instants; a lesson takes up to three.
pub fn sigkill(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let mut dice = Dice::new(plan.seed, "kill");
    let mut school = School::start(&Room::card())?;
    let names = ["SIGKILL recorder", "SIGKILL daemon", "SIGKILL recorder and daemon", "SIGKILL hub"];
    let mut rows = names.map(|name| Row::new(name, FRAGMENT_MS));
    let (mut done, mut lessons) = (0, 0);
    for round in 0.. {
        // Every victim gets a lesson, however few the instants.
        if done >= plan.kills && round >= rows.len() {
            break;
        }
        lessons += 1;
        let n = round % rows.len();
        let row = &mut rows[n];
        match one_lesson(&mut dice, &mut school, VICTIMS[n], lessons, row) {
            Ok(strikes) => done += strikes,
            Err(e) => {
                row.complain(format!("lesson {lessons}: {e:#}"));
                done += 1;
                match School::start(&Room::card()) {
                    Ok(next) => (school, lessons) = (next, 0),
                    Err(e) => {
                        row.complain(format!("no school could be started any more: {e:#}"));
                        return Ok(rows.into());
                    }
                }
            }
        }
    }
    school.agent.process.stop();
    let (report, _) = school.agent.lectern(&["fsck"])?;
    ensure!(report["ok"] == true, "lectern fsck: {report}");
    Ok(rows.into())
}

const VICTIMS: [Victim; 4] = [Victim::Recorder, Victim::Daemon, Victim::Both, Victim::Hub];

fn one_lesson(
    dice: &mut Dice,
    school: &mut School,
    victim: Victim,
    lessons: usize,
    row: &mut Row,
) -> anyhow::Result<u32> {
    let mut strikes = Vec::new();
    school.agent.press("start")?;
    let lesson = lesson_of(&school.agent)?;
    if dice.below(4) == 0 {
        dice.wait(600);
        strikes.push(strike(victim, school)?);
    }
    for _ in 0..2 {
        // The lesson goes on by itself, in this take or the next.
        school.agent.wait_for(&["recording"], PATIENCE)?;
        record_for(&school.agent, 1000)?;
        dice.wait(3000);
        strikes.push(strike(victim, school)?);
    }
    school.agent.wait_for(&["recording"], PATIENCE)?;
    record_for(&school.agent, 1500)?;
    // What is promised is up to the press.
    let stopped_ms = now_ms();
    school.agent.press("stop")?;
    if dice.below(3) == 0 {
        dice.wait(1200);
        strikes.push(strike(victim, school)?);
    }
    let kept = stored(school, &lesson, lessons, row)?;
    let takes = spans(&kept);
    for (n, strike) in strikes.iter().enumerate() {
        // After the press of stop nothing more was to be recorded.
        let until = strike.at_ms.min(stopped_ms);
        let hit = takes.iter().rev().find(|take| take.from_ms <= strike.at_ms);
        let next = takes.iter().find(|take| take.from_ms > strike.at_ms);
        let lost_ms = hit.map_or(0, |take| until.saturating_sub(take.to_ms));
        let explained = match hit {
            // It struck before the first picture: nothing was there to lose.
            None => true,
            Some(take) if strike.victim.ends_a_take() && strike.at_ms < stopped_ms => {
                take.interrupted.as_ref().is_some_and(|why| !why.is_empty())
            }
            Some(take) if strike.at_ms >= stopped_ms => take.to_ms + FRAGMENT_MS > stopped_ms,
            // Whoever else dies, the recorder does not notice.
            Some(take) => take.interrupted.is_none(),
        };
        let what = format!("{lesson} strike {n} of {:?} at {} ms", strike.victim, strike.at_ms);
        row.instant(&what, lost_ms, explained);
        if strike.victim.ends_a_take()
            && let Some(next) = next
        {
            row.away_ms.push(next.from_ms - strike.at_ms);
        }
    }
    println!("  lesson {lessons}: {:?}, {} strikes, {} takes", victim, strikes.len(), takes.len());
    Ok(u32::try_from(strikes.len())?)
}

/// A recorder that stands still: alive, and silent.
pub fn frozen(plan: &Plan) -> anyhow::Result<Row> {
    let mut dice = Dice::new(plan.seed, "frozen");
    let school = School::start(&Room::card())?;
    let mut row = Row::new("recorder frozen (SIGSTOP)", FRAGMENT_MS);
    for lessons in 1..=usize::try_from(plan.others)? {
        school.agent.press("start")?;
        let lesson = lesson_of(&school.agent)?;
        record_for(&school.agent, 2000)?;
        dice.wait(2000);
        let at_ms = now_ms();
        signal_recorders(&school, Signal::STOP);
        school.agent.wait_for_media(media_ms(&school.agent)? + 3000, PATIENCE)?;
        school.agent.press("stop")?;
        let takes = spans(&stored(&school, &lesson, lessons, &mut row)?);
        let (Some(first), Some(second)) = (takes.first(), takes.get(1)) else {
            row.complain(format!("{lesson}: no second take"));
            continue;
        };
        let explained = first.interrupted.as_ref().is_some_and(|why| why.contains("durable"));
        row.instant(&lesson, at_ms.saturating_sub(first.to_ms), explained);
        row.away_ms.push(second.from_ms - at_ms);
    }
    Ok(row)
}

/// A hub that goes away in a lesson and comes back after it.
pub fn hub_away(plan: &Plan) -> anyhow::Result<Row> {
    let mut dice = Dice::new(plan.seed, "hub away");
    let mut school = School::start(&Room::card())?;
    let mut row = Row::new("hub away until after the lesson", FRAGMENT_MS);
    for lessons in 1..=usize::try_from(plan.others)? {
        // Every other time it is away before the lesson begins.
        let early = lessons % 2 == 0;
        if early {
            school.hub.process.kill();
        }
        school.agent.press("start")?;
        let lesson = lesson_of(&school.agent)?;
        record_for(&school.agent, 1000)?;
        dice.wait(3000);
        school.hub.process.kill();
        record_for(&school.agent, 3000)?;
        let stopped_ms = now_ms();
        school.agent.press("stop")?;
        let status = school.agent.wait_for(&["sealed"], PATIENCE)?;
        ensure!(status["safe_to_switch_off"] == false, "said to be safe while the hub was away: {status}");
        std::thread::sleep(Duration::from_secs(2));
        school.hub.restart(&school.folder)?;
        let takes = spans(&stored(&school, &lesson, lessons, &mut row)?);
        let whole = takes.len() == 1 && takes.iter().all(|take| take.interrupted.is_none());
        let lost_ms = takes.last().map_or(u64::MAX, |take| stopped_ms.saturating_sub(take.to_ms));
        row.instant(&lesson, lost_ms, whole);
    }
    Ok(row)
}
