//! `lectern-bench`: what Lectern costs and how fast it is, each figure beside a peer's or a bar.
//!
//! One line per figure: name, ours, the peer's, their ratio or the unit, the bar, `ok` or `short`. Everything
//! is measured in this one run with real parts: the classroom in a box, a hub, an agent, and the ffmpeg command
//! line on the same sources. A figure that is short is a finding, not a failure: the exit code is 0 whenever all
//! could be measured. Close other programs first; a busy machine changes even ratios.

#[path = "../bench/mod.rs"]
mod bench;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Parser, ValueEnum};
use lectern_base::exit::Exit;
use lectern_tests::World;
use lectern_tests::programs::Programs;

use bench::table::Row;
use bench::{copy, garage, lessons, links, price, recording, upload, verify};

/// Measures Lectern beside its peers.
#[derive(Debug, Parser)]
#[command(name = "lectern-bench")]
struct Arguments {
    /// Measures only these; may be given several times.
    #[arg(long, value_enum, value_name = "FIGURES")]
    only: Vec<Figures>,
    /// How often the recorder and ffmpeg take turns.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Length of each recording, seconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(5..))]
    seconds: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figures {
    /// CPU and memory of the recorder, screen with camera and microphone.
    Camera,
    /// CPU and memory of the recorder, screen with microphone.
    Screen,
    /// What measuring a room costs, beside collectd, node-exporter, lnxlink and pyCA.
    Price,
    /// A network camera kept as it comes.
    Copy,
    /// Press to picture with a recorder ready.
    Armed,
    /// The idle daemon's memory, press to picture, stop to receipt, verify.
    Lessons,
    /// Uploads over slow, long, lossy and shared lines.
    Links,
    /// Of these the lossy one alone: only when asked for.
    Lossy,
    /// 600 MB at 2 Mb/s over twenty cuts: forty-five minutes, only when asked for.
    Slow,
    /// A long lesson to the hub's file store, beside rclone.
    Upload,
    /// A long lesson to Garage by the hub's leave, beside rclone.
    Garage,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => Exit::Done.into(),
        Err(e) => {
            eprintln!("lectern-bench: {e:#}");
            Exit::Failed.into()
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let wanted = |figures| arguments.only.is_empty() || arguments.only.contains(&figures);
    let programs = Programs::find()?;
    println!("{}", bench::machine());
    let mut rows: Vec<Row> = Vec::new();
    if wanted(Figures::Links) {
        rows.extend(links::measure(&programs)?);
    }
    if arguments.only.contains(&Figures::Lossy) {
        rows.extend(links::lossy(&programs)?);
    }
    if arguments.only.contains(&Figures::Slow) {
        rows.extend(links::slow(&programs)?);
    }
    // What a line carries does not depend on the build; everything else does.
    let only = |which: &[Figures]| {
        !arguments.only.is_empty() && arguments.only.iter().all(|figures| which.contains(figures))
    };
    ensure!(
        !cfg!(debug_assertions) || only(&[Figures::Links, Figures::Lossy, Figures::Slow]),
        "this is a debug build; `make bench` measures a release build"
    );
    if wanted(Figures::Price) {
        rows.extend(price::measure(&programs)?);
    }
    if wanted(Figures::Upload) {
        rows.extend(upload::measure()?);
    }
    if wanted(Figures::Garage) {
        rows.extend(garage::measure()?);
    }
    if only(&[
        Figures::Links,
        Figures::Lossy,
        Figures::Slow,
        Figures::Price,
        Figures::Upload,
        Figures::Garage,
    ]) {
        bench::table::print(&rows);
        return Ok(());
    }
    eprintln!("starting a classroom in a box …");
    let mut world = World::start().context("the classroom did not start")?;
    world.sound.keep_speaking(Duration::from_secs(6))?;
    for (figures, with_camera) in [(Figures::Camera, true), (Figures::Screen, false)] {
        if wanted(figures) {
            let rounds = recording::Rounds { pairs: arguments.pairs, seconds: arguments.seconds };
            rows.extend(recording::measure(&world, &programs, with_camera, rounds)?);
        }
    }
    if wanted(Figures::Copy) {
        let rounds = recording::Rounds { pairs: arguments.pairs, seconds: arguments.seconds };
        rows.extend(copy::measure(&world, &programs, rounds)?);
    }
    if wanted(Figures::Armed) {
        rows.push(lessons::School::armed(&world, &programs)?);
    }
    if wanted(Figures::Lessons) {
        let school = lessons::School::start(&world, &programs)?;
        rows.extend(school.measure()?);
        rows.push(verify::measure(&world.folder, &school.agent, &school.stored()?)?);
    }
    bench::table::print(&rows);
    Ok(())
}
