//! lectern-recorder: captures, composes, encodes and writes one take.
//!
//! The only program that links libav, and a fresh process for every recording, so that a fault in a codec
//! or a driver ends this process and nothing else.
//!
//! ```text
//! sources (a thread each) ─▶ session: compose, mix, encode, cut ─▶ take writer (thread): write, fdatasync
//!                                  ▲ commands                            │ durable
//!                                  └────────── link (Unix socket) ◀──────┘ events
//! ```
//!
//! All `unsafe` lives in [`av`].

mod armed;
mod av;
mod card;
mod compose;
mod copy;
mod devices;
#[cfg(test)]
mod drift;
mod encode;
mod gaps;
mod inspect;
mod job;
mod link;
mod listen;
mod metronome;
mod mixer;
mod output;
mod pace;
mod picture;
mod polite;
mod preflight;
mod push;
mod render;
mod session;
mod signals;
mod sound;
mod source;
mod take;
mod ticks;
mod waiting;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use lectern_base::exit::Exit;
use lectern_wire::capture::Encoder;

/// Records one take of a lesson; started by the lectern daemon.
#[derive(Debug, Parser)]
#[command(name = "lectern-recorder", version)]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Record the take described by the JSON line on standard input.
    Record,
    /// Be ready for a take with the sources and settings of the JSON line on standard input.
    Arm,
    /// Try every encoder of the picture with real pictures and print which can be used, and why others cannot, as JSON.
    Encoders {
        /// Try only this one: prints nothing when it works, else the reason.
        #[arg(long)]
        only: Option<String>,
        /// Try only what is hardware, as far as the first that works.
        #[arg(long, conflicts_with = "only")]
        hardware: bool,
        /// Settings of the picture as JSON; without them those of the master profile.
        #[arg(long, requires = "only")]
        video: Option<String>,
    },
    /// Open every source of the settings on standard input for a moment and print how each was found.
    Preflight,
    /// Open the microphones of the settings on standard input and print how loud it is, until that is closed.
    Listen,
    /// Decode a take back and print what is in it as JSON.
    Inspect(inspect::Options),
    /// Make the clip or rendition described by the JSON line on standard input; its end cancels.
    Render,
    /// Send what comes by standard input to the live server that its first line names.
    Push,
    /// Print everything on this machine that a lesson could be recorded with, as JSON.
    Devices {
        /// Device files of cameras to look at beside those that are found.
        #[arg(long = "camera")]
        cameras: Vec<PathBuf>,
    },
    /// Writes man pages and shell completions into a folder laid out as /usr/share: what packages are built with.
    #[command(hide = true)]
    Papers {
        /// The folder.
        folder: PathBuf,
    },
    /// Say in one sentence whether the screen of a Wayland session can be recorded here, or what is missing.
    Portal,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(e) = lectern_base::log::start("lectern-recorder") {
        eprintln!("lectern-recorder: logs could not be set up: {e}");
        return Exit::BadSettings.into();
    }
    // What a panic says may hold an address with its password; a core would hold more.
    lectern_base::panics::watch();
    av::start();
    let outcome = match arguments.command {
        What::Record => job::read(std::io::stdin().lock()).and_then(|job| session::run(&job)),
        What::Preflight => job::read_capture(std::io::stdin().lock()).and_then(|c| preflight::run(&c)),
        What::Listen => job::read_capture(std::io::stdin().lock()).and_then(|c| listen::run(&c)),
        What::Inspect(options) => inspect::run(&options),
        What::Render => render::run(),
        What::Push => push::run(),
        What::Devices { cameras } => devices::run(cameras),
        What::Portal => source::check_portal(),
        What::Papers { folder } => {
            let written = lectern_base::papers::write(&folder, "lectern-recorder", Arguments::command());
            written.with_context(|| folder.display().to_string())
        }
        What::Arm => job::read_armed(std::io::stdin().lock()).and_then(|armed| armed::run(&armed)),
        What::Encoders { only: None, hardware, .. } => encoders(hardware),
        What::Encoders { only: Some(name), video, .. } => return encoder(&name, video.as_deref()),
    };
    match outcome {
        Ok(()) => Exit::Done.into(),
        Err(e) => {
            tracing::error!("{e:#}");
            eprintln!("lectern-recorder: {e:#}");
            Exit::Failed.into()
        }
    }
}

/// Prints what became of trying them.
fn encoders(hardware: bool) -> anyhow::Result<()> {
    let tried = if hardware { encode::probe_hardware() } else { encode::probe_all() }?;
    println!("{}", serde_json::to_string(&tried)?);
    Ok(())
}

/// Tries one; the reason goes to whoever started this process.
fn encoder(name: &str, video: Option<&str>) -> ExitCode {
    let settings = video.map(serde_json::from_str).transpose().context("these are no settings of a picture");
    let outcome = match Encoder::from_name(name) {
        Some(encoder) => settings.and_then(|settings| encode::probe_one(encoder, settings)),
        None => Err(anyhow::anyhow!("no encoder is called {name:?}")),
    };
    match outcome {
        Ok(()) => Exit::Done.into(),
        Err(e) => {
            println!("{e:#}");
            Exit::Failed.into()
        }
    }
}
