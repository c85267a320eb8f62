//! `lectern-world`: starts the classroom in a box and says where it is, until Ctrl-C.
//!
//! `--try` records three seconds of each part with ffmpeg instead, says what was seen and heard, and
//! fails when something was not. `--claps N` measures how far apart picture and sound are here.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::Parser;
use lectern_base::clock;
use lectern_base::exit::Exit;
use lectern_tests::grab::{self, Frame, Recording};
use lectern_tests::slides::Marker;
use lectern_tests::sound::MICROPHONE;
use lectern_tests::{Clap, World, clap as claps};

/// The classroom in a box.
#[derive(Debug, Parser)]
#[command(name = "lectern-world")]
struct Arguments {
    /// Records three seconds, checks picture and sound, and ends.
    #[arg(long = "try")]
    try_it: bool,
    /// Claps this often, prints how far picture and sound are apart, and ends.
    #[arg(long, value_name = "N")]
    claps: Option<u32>,
    /// Saves a picture of the screen here.
    #[arg(long, value_name = "PNG")]
    picture: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => Exit::Done.into(),
        Err(e) => {
            eprintln!("lectern-world: {e:#}");
            Exit::Failed.into()
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut world = World::start()?;
    for (key, value) in world.env() {
        println!("{key}={value}");
    }
    println!("microphone  {MICROPHONE}\ncamera      {}", world.camera.url());
    println!("logs        {}", world.folder.path().display());
    if let Some(png) = &arguments.picture {
        world.screen.save(png)?;
    }
    if let Some(count) = arguments.claps {
        return measure(&world, count);
    }
    world.sound.keep_speaking(Duration::from_secs(6))?;
    if arguments.try_it {
        return try_parts(&world);
    }
    println!("Ctrl-C ends it");
    let mut end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        ended = tokio::signal::ctrl_c() => ended?,
        _ = end.recv() => {}
    }
    Ok(())
}

fn try_parts(world: &World) -> anyhow::Result<()> {
    let recording = Recording::start(&world.folder, &world.screen, &world.sound, 25)?;
    std::thread::sleep(Duration::from_secs(3));
    let file = recording.finish();
    let marker = Marker::read(&world.screen.picture()?);
    let loudness = grab::loudness(&grab::sound(&file)?);
    let pictures = grab::lights(&file)?.len();
    let camera = Frame::of_camera(&world.camera.url())?;
    println!("screen      {pictures} pictures, {marker:?}");
    println!("sound       {loudness:.1} dBFS");
    println!("camera      {}x{}, mean light {}", camera.width, camera.height, camera.mean());
    ensure!(marker.is_some_and(|m| (0..=2).contains(&m.age_s(clock::wall_ms()))), "no slide of this second");
    ensure!(pictures > 30, "too few pictures of the screen");
    ensure!(loudness > -40.0, "nobody speaks");
    ensure!(!camera.plain(), "the camera shows nothing");
    Ok(())
}

/// Claps, and compares with what a listener and a recording by ffmpeg make of it.
fn measure(world: &World, count: u32) -> anyhow::Result<()> {
    let clap = Clap::on(world.screen.display())?;
    let sound = &world.sound;
    let recording = Recording::start(&world.folder, &world.screen, sound, 60)?;
    let length = Duration::from_millis(u64::from(count) * 1100 + 1000);
    let (made, heard) = std::thread::scope(|scope| {
        let listening = scope.spawn(|| claps::listen(sound, length));
        std::thread::sleep(Duration::from_millis(500));
        let mut made = Vec::new();
        for n in 0..count {
            made.push(clap.clap(sound)?);
            // Not a whole number of pictures: the claps fall on all phases of the recorder's clock.
            std::thread::sleep(Duration::from_millis(500 + u64::from(n) * 37 % 60));
        }
        let heard = listening.join().map_err(|_| anyhow::anyhow!("the listener panicked"))??;
        anyhow::Ok((made, heard))
    })?;
    let file = recording.finish();
    let ms = |from: Duration, to: Duration| (to.as_secs_f64() - from.as_secs_f64()) * 1e3;
    for clap in &made {
        let click = heard.iter().map(|heard| ms(clap.at, *heard)).find(|late| late.abs() < 400.0);
        let click = click.map_or_else(|| "not heard".to_owned(), |late| format!("{late:+.1} ms"));
        println!("flash drawn {:+.1} ms   click heard {click}", ms(Duration::ZERO, clap.drawn_after));
    }
    let found = claps::find(&file)?;
    let (median, spread) = claps::sound_late(&found)?;
    println!("ffmpeg found {} of {count} claps", found.len());
    println!("sound late by ffmpeg's clocks: median {:+.1} ms, spread {:.1} ms", median * 1e3, spread * 1e3);
    Ok(())
}
