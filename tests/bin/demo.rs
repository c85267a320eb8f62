//! `lectern-demo`: a classroom in a box, a hub and an agent, started together; prints where to look.
//!
//! `--once` presses the button through the page in a real browser, records 20 s with a pause of 3 s, waits
//! for the receipt, verifies what the hub stored, prints a table and leaves the lesson in `target/demo`.
//! Never records the desktop it is started from, unless `SOURCE=screen` asks for it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser;
use lectern_base::exit::Exit;
use lectern_tests::process::output;
use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Browser, Folder, Hub, Room, World};
use lectern_wire::manifest::clock_text;
use serde_json::Value;

/// A classroom records a lesson.
#[derive(Debug, Parser)]
#[command(name = "lectern-demo")]
struct Arguments {
    /// Records one lesson of 20 s, verifies it, prints a table and ends.
    #[arg(long)]
    once: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => Exit::Done.into(),
        Err(e) => {
            eprintln!("lectern-demo: {e:#}");
            Exit::Failed.into()
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let programs = Programs::find()?;
    println!("starting a classroom in a box …");
    let folder = Folder::new()?;
    let (_world, room) = classroom()?;
    let (hub, password) = Hub::start(&folder, &programs).context("the hub did not start")?;
    let agent =
        Agent::start(&folder, &programs, &room, &hub, &password).context("the agent did not start")?;
    println!("\n  teacher's page   {}", agent.page()?);
    println!("  console          {}/", hub.url());
    println!("  login            admin   {}", hub.admin_password);
    println!("  files and logs   {}\n", folder.path().display());
    if arguments.once {
        return once(&folder, &hub, &agent).await;
    }
    println!("Ctrl-C stops everything and removes the files");
    let mut end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        ended = tokio::signal::ctrl_c() => ended?,
        _ = end.recv() => {}
    }
    println!("stopping …");
    Ok(())
}

/// The classroom in a box, or this machine's own screen when that was asked for in so many words.
fn classroom() -> anyhow::Result<(Option<World>, Room)> {
    match std::env::var("SOURCE").as_deref() {
        Err(_) => {
            let mut world = World::start()?;
            world.sound.keep_speaking(Duration::from_secs(6))?;
            let room = Room::of(&world, true);
            Ok((Some(world), room))
        }
        Ok("screen") => {
            let display = std::env::var("DISPLAY").context("SOURCE=screen needs a DISPLAY")?;
            println!("recording the real desktop {display} and the default microphone, as asked");
            let sources = format!(
                "[[source]]\nname = \"screen\"\nkind = \"screen\"\ndisplay = {display:?}\n\
                 [[source]]\nname = \"microphone\"\nkind = \"microphone\"\n"
            );
            Ok((None, Room { sources, ..Room::default() }))
        }
        Ok(other) => anyhow::bail!("SOURCE={other:?} is not known; leave it out, or say SOURCE=screen"),
    }
}

async fn once(folder: &Folder, hub: &Hub, agent: &Agent) -> anyhow::Result<()> {
    let patience = Duration::from_secs(20);
    let browser = Browser::start(folder, "teacher").await.context("the teacher's browser did not start")?;
    browser.open(&agent.page()?).await?;
    browser.wait_text("#big", "可以录课", patience).await?;
    println!("pressing 开始录课 …");
    browser.click("#do-start").await?;
    browser.wait_text("#big", "正在录课", patience).await?;
    agent.wait_for_media(10_000, Duration::from_secs(30))?;
    browser.click("#do-pause").await?;
    browser.wait_text("#big", "已暂停", patience).await?;
    println!("paused for 3 s …");
    tokio::time::sleep(Duration::from_secs(3)).await;
    browser.click("#do-resume").await?;
    browser.wait_text("#big", "正在录课", patience).await?;
    agent.wait_for_media(20_000, Duration::from_secs(30))?;
    println!("pressing 结束录课 …");
    browser.click("#do-stop").await?;
    browser.wait_text("#big", "已存入学校资源库", Duration::from_secs(60)).await?;
    browser.close().await?;

    let status = agent.status()?;
    let lesson = status["lesson"]["id"].as_str().context("no lesson")?.to_owned();
    let keep = leave(&hub.lesson_folder(&lesson), &agent.keys())?;
    let (report, code) =
        agent.lectern(&["verify", "--keys", &agent.keys().to_string_lossy(), &keep.to_string_lossy()])?;
    table(&keep, &status, &report)?;
    ensure!(code == 0, "the stored lesson is not sound: {report}");
    println!("\nleft in {}", keep.display());
    Ok(())
}

/// Copies what the hub stored to `target/demo`, with the public keys to check it by.
fn leave(stored: &Path, keys: &Path) -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let target = exe.parent().and_then(Path::parent).context("no target folder")?;
    let keep = target.join("demo");
    if keep.exists() {
        std::fs::remove_dir_all(&keep)?;
    }
    std::fs::create_dir_all(&keep)?;
    for entry in std::fs::read_dir(stored).with_context(|| stored.display().to_string())? {
        let entry = entry?;
        std::fs::copy(entry.path(), keep.join(entry.file_name()))?;
    }
    std::fs::copy(keys, keep.join("keys.json"))?;
    Ok(keep)
}

fn table(keep: &Path, status: &Value, report: &Value) -> anyhow::Result<()> {
    let take = keep.join("take-1.mp4");
    let mut probe = Command::new("ffprobe");
    probe.args("-v error -of json -show_streams".split(' ')).arg(&take);
    let probed: Value = serde_json::from_slice(&output(probe)?)?;
    let stream = |kind: &str| {
        let streams = probed["streams"].as_array();
        streams.and_then(|s| s.iter().find(|s| s["codec_type"] == kind)).cloned().unwrap_or_default()
    };
    let (video, audio) = (stream("video"), stream("audio"));
    let mean = lectern_tests::grab::loudness(&lectern_tests::grab::sound(&take)?);
    let word = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    let ms = |v: &Value| v.as_u64().map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    let rows = [
        ("lesson", word(&report["lesson_id"])),
        ("length", clock_text(report["duration_ms"].as_u64().unwrap_or(0))),
        (
            "picture",
            format!(
                "{} {}x{} {} fps",
                word(&video["codec_name"]),
                video["width"],
                video["height"],
                word(&video["avg_frame_rate"])
            ),
        ),
        (
            "sound",
            format!("{} {} Hz, {mean:.1} dBFS", word(&audio["codec_name"]), word(&audio["sample_rate"])),
        ),
        ("parts", report["parts"].to_string()),
        ("bytes", report["bytes"].to_string()),
        ("press to first durable picture", ms(&status["lesson"]["first_durable_ms"])),
        ("stop to receipt", ms(&status["lesson"]["stored_after_ms"])),
        (
            "verify",
            if report["sound"] == true { "complete, receipt fits".into() } else { "NOT SOUND".to_owned() },
        ),
    ];
    println!();
    for (name, value) in rows {
        println!("  {name:<32} {value}");
    }
    Ok(())
}
