//! Screen, microphone and camera taken away and given back, at random instants of one lesson for each fault.
//! The take goes on; the gap stands in the manifest with its cause; the other sources notice nothing.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use lectern_tests::{Room, School, World, eventually, grab};
use serde_json::Value;

use super::table::Row;
use super::{Dice, PATIENCE, Plan, lesson_of, now_ms, record_for, spans, stored};

/// One way to lose a source.
struct Loss {
    name: &'static str,
    /// The source that is lost; none where it goes on.
    source: Option<&'static str>,
    take: fn(&mut World) -> anyhow::Result<()>,
    give: fn(&mut World) -> anyhow::Result<()>,
}

const LOSSES: [Loss; 5] = [
    Loss {
        name: "X server killed",
        source: Some("screen"),
        take: |world| {
            world.screen.server().kill();
            Ok(())
        },
        give: |world| world.screen.revive(&world.folder),
    },
    Loss {
        name: "PulseAudio killed",
        source: Some("microphone"),
        take: |world| {
            world.sound.unplug();
            Ok(())
        },
        give: |world| world.sound.plug(&world.folder),
    },
    Loss {
        name: "another microphone put in place",
        source: None,
        take: |world| world.sound.try_to_move_recorders(),
        give: |_| Ok(()),
    },
    Loss {
        name: "RTSP camera stalls",
        source: Some("camera"),
        take: |world| {
            world.camera.freeze();
            Ok(())
        },
        give: |world| {
            world.camera.thaw();
            Ok(())
        },
    },
    Loss {
        name: "RTSP camera gone",
        source: Some("camera"),
        take: |world| {
            world.camera.stop();
            Ok(())
        },
        give: |world| world.camera.restart(&world.folder),
    },
];

/// All of them.
pub fn all(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let mut dice = Dice::new(plan.seed, "sources");
    let mut world = World::start()?;
    let school = School::start(&Room::of(&world, true))?;
    let mut rows = Vec::new();
    for (lessons, loss) in (1..).zip(&LOSSES) {
        // Nothing of the take may be missing: what is lost is only a source.
        let mut row = Row::new(loss.name, 1000);
        if let Err(e) = one_lesson(&mut dice, plan, &mut world, &school, lessons, loss, &mut row) {
            row.complain(format!("{e:#}"));
            rows.push(row);
            return Ok(rows);
        }
        rows.push(row);
    }
    Ok(rows)
}

fn wait_for_warnings(school: &School, there: bool) -> anyhow::Result<()> {
    let lost = |w: &Value| w["kind"] == "no_picture" || w["kind"] == "no_sound";
    eventually(PATIENCE, if there { "a lost source" } else { "all sources" }, || {
        let status = school.agent.status().ok()?;
        (status["warnings"].as_array()?.iter().any(lost) == there).then_some(())
    })
    .with_context(|| school.agent.process.tail_of_log())
}

fn one_lesson(
    dice: &mut Dice,
    plan: &Plan,
    world: &mut World,
    school: &School,
    lessons: usize,
    loss: &Loss,
    row: &mut Row,
) -> anyhow::Result<()> {
    let agent = &school.agent;
    world.sound.keep_speaking(Duration::from_secs(1))?;
    agent.press("start")?;
    let lesson = lesson_of(agent)?;
    // The microphone's latency settles in its first second.
    record_for(agent, 3000)?;
    let mut away = Vec::new();
    for _ in 0..plan.others {
        dice.wait(2000);
        let from_ms = now_ms();
        (loss.take)(world)?;
        if loss.source.is_some() {
            wait_for_warnings(school, true)?;
        }
        record_for(agent, 2000)?;
        let to_ms = now_ms();
        (loss.give)(world)?;
        wait_for_warnings(school, false)?;
        record_for(agent, 2000)?;
        away.push((from_ms, to_ms, now_ms()));
    }
    // Long enough that the teacher says something.
    record_for(agent, 4000)?;
    agent.press("stop")?;
    let stopped_ms = now_ms();
    let kept = stored(school, &lesson, lessons, row)?;
    let takes = spans(&kept);
    ensure!(takes.len() == 1 && kept.takes.len() == 1, "a lost source ended the take: {takes:?}");
    let (span, take) = (&takes[0], &kept.takes[0]);
    let gaps = take["gaps"].as_array().context("a take without gaps")?;
    for (from_ms, to_ms, back_ms) in away {
        let (from, to, back) = (from_ms - span.from_ms, to_ms - span.from_ms, back_ms - span.from_ms);
        let within: Vec<_> = gaps
            .iter()
            .filter(|gap| gap["from_ms"].as_u64().is_some_and(|ms| (from..back).contains(&ms)))
            .collect();
        let explained = match loss.source {
            None => within.is_empty(),
            Some(source) => {
                let right = |gap: &&Value| {
                    gap["source"] == source
                        && gap["cause"].as_str().is_some_and(|why| !why.is_empty())
                        && gap["to_ms"].as_u64().is_some_and(|ms| (to..back).contains(&ms))
                };
                within.len() == 1 && within.iter().all(right)
            }
        };
        if let Some(end) = within.last().and_then(|gap| gap["to_ms"].as_u64()) {
            row.away_ms.push(end.saturating_sub(to));
        }
        row.instant(
            &format!("{lesson} at {from} ms, back at {to} ms, gaps {within:?}"),
            stopped_ms.saturating_sub(span.to_ms),
            explained,
        );
    }
    let sound = grab::sound(&kept.folder.join("take-1.mp4"))?;
    let end_s = (span.to_ms - span.from_ms) as f64 / 1e3;
    let voice = grab::loudness(grab::between(&sound, end_s - 4.0, end_s));
    if voice < -45.0 {
        row.complain(format!("{lesson}: {voice:.1} dBFS at its end, where the teacher speaks"));
    }
    Ok(())
}
