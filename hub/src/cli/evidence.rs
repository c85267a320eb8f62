//! `lectern-hub log` and `lectern-hub key`: the log of receipts and the key that signs it.

use std::path::PathBuf;

use clap::Subcommand;
use lectern_base::clock;
use lectern_base::exit::Exit;
use lectern_wire::log::Checkpoint;
use lectern_wire::sign::Signed;

use super::{End, Settings, load, store_end};
use crate::receive::log_check;
use crate::store::keys::{self, Keys};
use crate::store::objects::Objects;
use crate::store::{Store, StoreError};

#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Holds the whole log against itself, what was signed of it, the receipts, the rows and the files. Names
    /// every entry that was changed, removed or put in; ends with 4 when there is one.
    Check {
        #[command(flatten)]
        settings: Settings,
        /// A checkpoint that was kept outside, such as a room's checkpoint.json: the log must continue it.
        #[arg(long, value_name = "FILE")]
        witness: Option<PathBuf>,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Makes a new signing key; the old one signs it, and rooms accept it by that. Old receipts stay valid.
    Rotate {
        #[command(flatten)]
        settings: Settings,
        /// The old key is lost and cannot sign the new one: every room must be told with `lectern forget-hub`. That is for a
        /// hub that has everything else; one that was set up anew gives each room a new card instead.
        #[arg(long)]
        lost: bool,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
}

fn failed(e: impl std::fmt::Display) -> End {
    (e.to_string(), Exit::Failed)
}

pub fn log(asked: LogCommand) -> Result<(), End> {
    let LogCommand::Check { settings, witness, json } = asked;
    let config = load(&settings)?;
    let witness = witness.map(|path| {
        let named = |e: String| (format!("{}: {e}", path.display()), Exit::BadSettings);
        let bytes = std::fs::read(&path).map_err(|e| named(e.to_string()))?;
        serde_json::from_slice::<Signed<Checkpoint>>(&bytes).map_err(|e| named(e.to_string()))
    });
    let witness = witness.transpose()?;
    let store = Store::open(&config.data_dir).map_err(|e| store_end(&e))?;
    let objects = Objects::open(&config.data_dir, None).map_err(failed)?;
    let signer = Keys::open(&config.data_dir)
        .and_then(|mut keys| keys.signer(&store, &config.data_dir, clock::wall_ms()))
        .map_err(|e| store_end(&e))?;
    let report = log_check::run(&store, &objects, (&signer.ring, &signer.log), witness.as_ref());
    let report = report.map_err(|e: StoreError| store_end(&e))?;
    if json {
        println!("{}", serde_json::to_string(&report).map_err(failed)?);
    } else {
        for fault in &report.faults {
            println!("{}: {}", fault.kind, fault.sentence);
        }
        for note in &report.notes {
            println!("note: {note}");
        }
    }
    let looked = format!("{} entries, {} checkpoints", report.entries, report.checkpoints);
    if report.faults.is_empty() {
        if !json {
            println!("the log is sound: {looked}");
        }
        return Ok(());
    }
    Err((format!("the log is not sound, {} faults: {looked}", report.faults.len()), Exit::NotSound))
}

pub fn key(asked: KeyCommand) -> Result<(), End> {
    let KeyCommand::Rotate { settings, lost, json } = asked;
    let config = load(&settings)?;
    let store = Store::open(&config.data_dir).map_err(|e| store_end(&e))?;
    let (old, new) =
        keys::rotate(&store, &config.data_dir, lost, clock::wall_ms()).map_err(|e| store_end(&e))?;
    if json {
        println!("{}", serde_json::json!({ "old": old, "new": new, "lost": lost }));
        return Ok(());
    }
    println!("receipts are signed with key {new} from now on; those of key {old} stay valid");
    if lost {
        println!("nobody signed the new key: run `lectern forget-hub` in every room, its daemon stopped");
    }
    Ok(())
}
