//! `lectern-soak`: every fault a classroom knows, at random instants, and a table of what came of it.
//!
//! Ends with a failure when anything was lost beyond its bound, does not play, is not explained by the
//! manifest, became two lessons, or is not stored and verified. The seed is printed; `--seed` repeats a run.

#[path = "../soak/mod.rs"]
mod soak;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use lectern_base::exit::Exit;
use lectern_base::{chance, clock};

use soak::table::{self, Row};
use soak::{Plan, clocks, cut, full, hour, kill, peers, rot, sources, store, system, upload};

/// Tries every fault and prints a table.
#[derive(Debug, Parser)]
#[command(name = "lectern-soak")]
struct Arguments {
    /// A few instants of each fault that needs no waiting, in a minute.
    #[arg(long)]
    short: bool,
    /// Tries only these; may be given several times.
    #[arg(long, value_enum, value_name = "FAULT")]
    only: Vec<Fault>,
    /// The ten faults with pyCA beside, and nothing else.
    #[arg(long)]
    peers: bool,
    /// Instants of SIGKILL.
    #[arg(long)]
    kills: Option<u32>,
    /// Instants of a power cut.
    #[arg(long)]
    cuts: Option<u32>,
    /// Instants of every other fault.
    #[arg(long)]
    others: Option<u32>,
    /// Faults of the way to the hub.
    #[arg(long)]
    ways: Option<u32>,
    /// Faults of that way by TLS.
    #[arg(long)]
    tls: Option<u32>,
    /// Faults of an S3 store.
    #[arg(long)]
    stores: Option<u32>,
    /// Minutes of one recording in real time, with claps.
    #[arg(long)]
    minutes: Option<u32>,
    /// Only on the machine in this folder, as packaging/deb/try-system.sh --install leaves it: everything at once, for the
    /// minutes asked for. Needs root.
    #[arg(long, value_name = "FOLDER")]
    system: Option<PathBuf>,
    /// Where chance begins.
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// SIGKILL of recorder, daemon, both, hub.
    Kill,
    /// A recorder that stands still.
    Frozen,
    /// A hub that is away.
    Hub,
    /// A way to the hub that breaks in ten ways, and by TLS in eleven.
    Way,
    /// An S3 store that breaks in nine ways.
    Store,
    /// The power is cut.
    Power,
    /// The room's disk is full, or the hub's.
    Disk,
    /// A bit flips on the room's disk.
    Rot,
    /// Screen, microphone and camera are taken away and given back.
    Sources,
    /// The wall clock steps.
    Clock,
    /// An hour with claps.
    Hour,
}

/// The short form; what needs half a minute for each instant is left to the long one.
const SHORT: [Fault; 8] =
    [Fault::Kill, Fault::Hub, Fault::Way, Fault::Store, Fault::Power, Fault::Disk, Fault::Rot, Fault::Clock];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.peers {
        return match peers::beside() {
            Ok((table, good)) => {
                println!("\n{table}");
                if good { Exit::Done.into() } else { Exit::Failed.into() }
            }
            Err(e) => {
                eprintln!("lectern-soak: {e:#}");
                Exit::Failed.into()
            }
        };
    }
    let pick = |asked: Option<u32>, short, long| asked.unwrap_or(if arguments.short { short } else { long });
    let plan = Plan {
        kills: pick(arguments.kills, 4, 200),
        cuts: pick(arguments.cuts, 2, 20),
        others: pick(arguments.others, 1, 5),
        ways: pick(arguments.ways, 5, 200),
        tls: pick(arguments.tls, 2, 40),
        stores: pick(arguments.stores, 3, 60),
        minutes: pick(arguments.minutes, 0, 60),
        seed: arguments.seed.unwrap_or_else(|| u64::from(u32::from_le_bytes(chance::bytes()))),
    };
    println!("seed {}: {plan:?}", plan.seed);
    if let Some(root) = &arguments.system {
        let rows = system::hour(root, plan.minutes, plan.seed).unwrap_or_else(|e| {
            let mut row = Row::new("the machine as installed", 0);
            row.complain(format!("{e:#}"));
            vec![row]
        });
        return end(&plan, &rows);
    }
    let wanted = |fault: &Fault| match arguments.only.as_slice() {
        [] => !arguments.short || SHORT.contains(fault),
        only => only.contains(fault),
    };
    let faults = Fault::value_variants().iter().copied().filter(wanted);
    // The short form is in a hurry: what only waits for itself goes side by side. Claps need the machine.
    let (together, alone): (Vec<_>, Vec<_>) = faults.partition(|f| arguments.short && *f != Fault::Clock);
    let mut rows = std::thread::scope(|scope| {
        let threads: Vec<_> = together.into_iter().map(|f| scope.spawn(move || attempt(f, &plan))).collect();
        threads.into_iter().flat_map(|t| t.join().unwrap_or_else(|_| vec![broken()])).collect::<Vec<_>>()
    });
    rows.extend(alone.into_iter().flat_map(|fault| attempt(fault, &plan)));
    end(&plan, &rows)
}

/// The table, and whether all of it held.
fn end(plan: &Plan, rows: &[Row]) -> ExitCode {
    println!("\nseed {}\n{}", plan.seed, table::text(rows));
    if rows.iter().all(Row::good) { Exit::Done.into() } else { Exit::Failed.into() }
}

/// A fault that could not be tried is wrong too.
fn attempt(fault: Fault, plan: &Plan) -> Vec<Row> {
    println!("{fault:?} …");
    let began = clock::mono();
    let one = |row: anyhow::Result<Row>| row.map(|row| vec![row]);
    let both = |row: anyhow::Result<Row>, more: anyhow::Result<Row>| Ok(vec![row?, more?]);
    let rows = match fault {
        Fault::Kill => kill::sigkill(plan),
        Fault::Frozen => one(kill::frozen(plan)),
        Fault::Hub => one(kill::hub_away(plan)),
        Fault::Way => both(upload::faults(plan), upload::tls_faults(plan)),
        Fault::Store => one(store::faults(plan)),
        Fault::Power => one(cut::power(plan)),
        Fault::Disk => both(full::disk(plan), rot::hubs_disk(plan)),
        Fault::Rot => one(rot::bits(plan)),
        Fault::Sources => sources::all(plan),
        Fault::Clock => one(clocks::steps(plan)),
        Fault::Hour => one(hour::claps(plan)),
    };
    println!("{fault:?}: {} s", (clock::mono() - began).as_secs());
    rows.unwrap_or_else(|e| {
        let mut row = Row::new(&format!("{fault:?}"), 0);
        row.complain(format!("{e:#}"));
        vec![row]
    })
}

fn broken() -> Row {
    let mut row = Row::new("the suite itself", 0);
    row.complain("a fault's thread panicked; see above".into());
    row
}
