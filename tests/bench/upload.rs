//! A long lesson to the hub beside `rclone copy` of the same file, both on the loopback address and the same disk:
//! here to the hub's file store and to `rclone serve webdav`, in [`super::garage`] to an S3 store.
//!
//! They do not promise the same: the hub hashes what comes, makes it durable behind that, reads everything back and signs
//! a receipt; rclone is done when all is written. So two times are given for each: until the last byte is taken in,
//! and until it is proven that what is there is what was sent: by the hub's receipt, by `rclone check --download`.
//! Both times begin with the start of the program.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lectern_base::clock;
use lectern_tests::planted::{is_stored, plant};
use lectern_tests::{Folder, Process, Room, School, eventually, free_port};

use super::table::{Bar, Row};
use super::{figure, median, usage};

/// Size of the lesson.
pub const MIB: u64 = 512;
/// How often each is run, in turns.
pub const RUNS: usize = 3;
/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(900);

/// What one upload took.
#[derive(Debug)]
pub struct Cost {
    /// To the last byte.
    seconds: f64,
    /// To the proof.
    proven: f64,
    /// The client's processor time to the last byte.
    processor: f64,
    /// The client's processor time to the proof.
    proven_processor: f64,
    peak_mib: f64,
}

/// Measures.
///
/// # Errors
/// When a lesson or a file does not arrive.
pub fn measure() -> anyhow::Result<Vec<Row>> {
    println!(
        "\nupload: {MIB} MiB over loopback, {RUNS} runs each; agent to the hub's file store, rclone copy to rclone serve webdav"
    );
    let mut school = School::start(&Room::card())?;
    let (port, store) = (free_port()?, school.folder.make("rclone")?);
    let mut serve = Command::new("rclone");
    serve
        .args(["--config", "/dev/null", "serve", "webdav", "--addr", &format!("127.0.0.1:{port}")])
        .arg(&store);
    let _server = Process::start(&school.folder, "rclone-serve", serve)?;
    eventually(PATIENCE, "rclone's server", || std::net::TcpStream::connect(("127.0.0.1", port)).ok())?;
    in_turns("upload", &mut school, |folder, take| {
        let url = format!("--webdav-url=http://127.0.0.1:{port}");
        let lesson = lesson_of(take)?;
        let cost = by_rclone(folder, take, &format!(":webdav:{lesson}"), &|rclone| {
            rclone.arg(&url);
        })?;
        let copied = std::fs::metadata(store.join(lesson).join("take-1.mp4"))?.len();
        ensure!(copied == MIB << 20, "rclone copied {copied} bytes");
        Ok(cost)
    })
}

/// The name of the lesson that a take's file belongs to.
///
/// # Errors
/// When it lies in no lesson's folder.
pub fn lesson_of(take: &Path) -> anyhow::Result<&str> {
    take.parent().and_then(|lesson| lesson.file_name()?.to_str()).context("a take in a lesson's folder")
}

/// The agent and rclone in turns, each with a lesson of its own; `peer` is given a folder for its log and the file.
///
/// # Errors
/// When a lesson or a file does not arrive.
pub fn in_turns(
    name: &str,
    school: &mut School,
    peer: impl Fn(&Folder, &Path) -> anyhow::Result<Cost>,
) -> anyhow::Result<Vec<Row>> {
    school.agent.press("start")?;
    school.agent.wait_for_media(2000, PATIENCE)?;
    school.agent.press("stop")?;
    let status = school.agent.wait_for(&["stored"], PATIENCE)?;
    let first = status["lesson"]["id"].as_str().context("no lesson")?.to_owned();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let id = format!("bench-{run}");
        plant(&mut school.agent, &first, &id, MIB << 20)?;
        ours.push(by_the_agent(school, &id)?);
        theirs.push(peer(&school.folder, &school.agent.data.join("lessons").join(id).join("take-1.mp4"))?);
        eprintln!("  ours {:?}\n  rclone {:?}", ours[run], theirs[run]);
    }
    let middle = |costs: &[Cost], of: fn(&Cost) -> f64| median(costs.iter().map(of));
    let row = |what: &str, of: fn(&Cost) -> f64, unit, bar| {
        let (ours, peer) = (middle(&ours, of), Some(middle(&theirs, of)));
        Row { name: format!("{name}{what}"), ours, peer, unit, bar }
    };
    Ok(vec![
        row("", |c| figure(MIB) / c.seconds, "MiB/s", Bar::AtLeast(1.5)),
        row(", proven", |c| figure(MIB) / c.proven, "MiB/s", Bar::AtLeast(1.5)),
        row(", client's processor time", |c| c.processor, "s", Bar::AtMost(0.5)),
        row(", proven, client's processor time", |c| c.proven_processor, "s", Bar::AtMost(0.5)),
        Row {
            name: format!("{name}, agent's peak memory"),
            ours: middle(&ours, |c| c.peak_mib),
            peer: None,
            unit: "MiB",
            bar: Bar::AtMost(32.0),
        },
    ])
}

fn by_the_agent(school: &mut School, id: &str) -> anyhow::Result<Cost> {
    school.agent.process.kill();
    let began = clock::mono();
    school.agent.restart(&school.folder)?;
    let pid = school.agent.process.pid();
    let rows = school.hub.rows()?;
    let count = |table: &str| {
        let count = format!("SELECT count(*) FROM {table} WHERE lesson = ?");
        rows.query_row(&count, [id], |row| row.get::<_, i64>(0)).ok()
    };
    let parts = i64::try_from((MIB << 20) / lectern_wire::PART_SIZE)?;
    eventually(PATIENCE, "the last part", || count("part").filter(|here| *here >= parts))?;
    let (seconds, processor) = ((clock::mono() - began).as_secs_f64(), usage::processor(pid)?.seconds);
    eventually(PATIENCE, "the hub's receipt", || count("receipt").filter(|n| *n > 0))?;
    // Once: asking takes a process, and the machine has few processors.
    eventually(PATIENCE, "the receipt", || is_stored(&school.agent, id).ok()?.then_some(()))
        .with_context(|| school.agent.process.tail_of_log())?;
    let proven = (clock::mono() - began).as_secs_f64();
    let proven_processor = usage::processor(pid)?.seconds;
    let peak = usage::peak_kib(pid).context("the agent has ended")?;
    Ok(Cost { seconds, proven, processor, proven_processor, peak_mib: figure(peak) / 1024.0 })
}

/// `rclone copy` of one file, then `rclone check --download`; `how` adds the options of where it goes.
///
/// # Errors
/// When rclone fails.
pub fn by_rclone(folder: &Folder, take: &Path, to: &str, how: &dyn Fn(&mut Command)) -> anyhow::Result<Cost> {
    let run = |verb: &str, more: &[&str]| {
        let from = take.parent().context("a file in a folder")?;
        let mut rclone = Command::new("rclone");
        rclone.args(["--config", "/dev/null", verb]).args(more).args(["--include", "/take-1.mp4"]);
        rclone.arg(from).arg(to);
        how(&mut rclone);
        let mut rclone = Process::start(folder, &format!("rclone-{verb}"), rclone)?;
        let (mut peak, pid) = (0, rclone.pid());
        let used = eventually(PATIENCE, "rclone", || {
            peak = usage::peak_kib(pid).unwrap_or(0).max(peak);
            usage::processor(pid).ok().filter(|used| used.ended)
        })?;
        ensure!(rclone.wait(PATIENCE)?.success(), "{}", rclone.tail_of_log());
        anyhow::Ok((used.seconds, peak))
    };
    let began = clock::mono();
    let (processor, peak) = run("copy", &[])?;
    let seconds = (clock::mono() - began).as_secs_f64();
    let (checking, _) = run("check", &["--download", "--one-way"])?;
    let proven = (clock::mono() - began).as_secs_f64();
    let proven_processor = processor + checking;
    Ok(Cost { seconds, proven, processor, proven_processor, peak_mib: figure(peak) / 1024.0 })
}
