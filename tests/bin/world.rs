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
use lectern_tests::grab::{self, Frame};
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
    let file = world.folder.join("try.mkv");
    let length = Duration::from_secs(3);
    grab::record(world.screen.display(), world.sound.server_address(), MICROPHONE, 25, length, &file)?;
    let marker = Marker::read(&world.screen.picture()?);
    let loudness = grab::loudness(&grab::sound(&file)?);
    let pictures = grab::lights(&file)?.len();
    let camera = Frame::of_camera(&world.camera.url())?;
    println!("screen      {pictures} pictures in 3 s, {marker:?}");
    println!("sound       {loudness:.1} dBFS");
    println!("camera      {}x{}, mean light {}", camera.width, camera.height, camera.mean());
    ensure!(marker.is_some_and(|m| (0..=2).contains(&m.age_s(clock::wall_ms()))), "no slide of this second");
    ensure!(pictures > 30, "too few pictures of the screen");
    ensure!(loudness > -40.0, "nobody speaks");
    ensure!(!camera.plain(), "the camera shows nothing");
    Ok(())
}

/// Records some claps with ffmpeg, which is not ours, and compares.
fn measure(world: &World, count: u32) -> anyhow::Result<()> {
    let file = world.folder.join("claps.mkv");
    let clap = Clap::on(world.screen.display())?;
    let (display, server) = (world.screen.display(), world.sound.server_address());
    let length = Duration::from_millis(u64::from(count) * 1100 + 3000);
    let drawn = std::thread::scope(|scope| {
        let recording = scope.spawn(|| grab::record(display, server, MICROPHONE, 60, length, &file));
        std::thread::sleep(Duration::from_secs(1));
        let mut drawn = Vec::new();
        for n in 0..count {
            drawn.push(clap.clap(&world.sound)?.drawn_after);
            // Not a whole number of pictures: the claps fall on all phases of the recorder's clock.
            std::thread::sleep(Duration::from_millis(500 + u64::from(n) * 37 % 60));
        }
        recording.join().map_err(|_| anyhow::anyhow!("the recording panicked"))??;
        anyhow::Ok(drawn)
    })?;
    let found = claps::find(&file)?;
    for clap in &found {
        println!(
            "flash {:.4}  click {:.4}  sound late {:+.1} ms",
            clap.flash_s,
            clap.click_s,
            clap.sound_late_s() * 1e3
        );
    }
    let (mean, spread) = claps::sound_late(&found)?;
    let slowest = drawn.iter().max().copied().unwrap_or_default();
    println!("{} of {count} claps found; flash drawn after at most {slowest:?}", found.len());
    println!("sound late: mean {:+.1} ms, spread {:.1} ms", mean * 1e3, spread * 1e3);
    Ok(())
}
