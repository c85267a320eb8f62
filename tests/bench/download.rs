//! The first byte of a long lesson as one MP4 over HTTP: what a player waits for. A lesson of 45 minutes that plays, made of a
//! short one over and over; the hub is started anew before each look, since it keeps what it has read of a lesson.

use anyhow::{Context as _, ensure};
use lectern_base::clock;
use lectern_tests::planted::{is_stored, plant_repeated};
use lectern_tests::{Console, Room, School, World, eventually};

use super::median;
use super::table::{Bar, Row};
use super::upload::PATIENCE;

/// Length of what is recorded, and how often it is in the lesson: 45 minutes.
const ONCE_MS: u64 = 20_000;
const TIMES: u32 = 145;
/// Looks, each at a hub that was just started.
const LOOKS: usize = 5;

/// Measures, in the classroom with camera and voice.
///
/// # Errors
/// When the lesson is not stored or not handed out.
pub fn measure(world: &World) -> anyhow::Result<Row> {
    let mut school = School::start(&Room::of(world, true))?;
    school.agent.press("start")?;
    school.agent.wait_for_media(ONCE_MS, PATIENCE)?;
    school.agent.press("stop")?;
    let status = school.agent.wait_for(&["stored"], PATIENCE)?;
    let first = status["lesson"]["id"].as_str().context("no lesson")?.to_owned();
    plant_repeated(&mut school.agent, &first, "long", TIMES)?;
    school.agent.restart(&school.folder)?;
    eventually(PATIENCE, "the receipt", || is_stored(&school.agent, "long").ok()?.then_some(()))
        .with_context(|| school.agent.process.tail_of_log())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut cold, mut warm, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..LOOKS {
        school.hub.restart(&school.folder)?;
        let console = runtime.block_on(Console::admin(&school.hub))?;
        for seen in [&mut cold, &mut warm] {
            let (ms, length) = runtime.block_on(first_byte(&console))?;
            seen.push(ms);
            bytes = length;
        }
    }
    println!(
        "\ndownload: a lesson of {:.0} minutes and {:.0} MiB as one MP4; ms to its first byte from a hub just started {cold:.0?}, \
         then {warm:.0?}",
        f64::from(TIMES) * super::figure(ONCE_MS) / 60e3,
        super::figure(bytes) / 1_048_576.0
    );
    Ok(Row {
        name: "download: first byte of a 45-minute lesson".into(),
        ours: median(cold),
        peer: None,
        unit: "ms",
        bar: Bar::AtMost(100.0),
    })
}

/// Milliseconds until the body begins, and its length.
async fn first_byte(console: &Console) -> anyhow::Result<(f64, u64)> {
    let began = clock::mono();
    let mut answer = console.get("/lessons/long/lesson.mp4").await?;
    let length = answer.content_length().context("no length")?;
    let piece = answer.chunk().await?.context("no byte")?;
    let ms = (clock::mono() - began).as_secs_f64() * 1e3;
    ensure!(answer.status().is_success() && piece.get(4..8) == Some(b"ftyp"), "{}", answer.status());
    Ok((ms, length))
}
