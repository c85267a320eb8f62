//! A long lesson to the hub's file store beside `rclone copy` of the same file to `rclone serve webdav`, both on
//! the loopback address and the same disk.
//!
//! They do not promise the same: the hub hashes what comes, syncs every part, reads everything back and signs a
//! receipt; rclone's server writes. Time is to the receipt for the one, to the end of the copy for the other.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lectern_base::clock;
use lectern_tests::planted::{is_stored, plant};
use lectern_tests::{Process, Room, School, eventually, free_port};

use super::table::{Bar, Row};
use super::{figure, median, usage};

/// Size of the lesson.
const MIB: u64 = 512;
/// How often each is run, in turns.
const RUNS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(600);

/// What one upload took.
#[derive(Debug)]
struct Cost {
    seconds: f64,
    processor: f64,
    peak_mib: f64,
}

/// Measures.
///
/// # Errors
/// When a lesson or a file does not arrive.
pub fn measure() -> anyhow::Result<Vec<Row>> {
    println!(
        "\nupload: {MIB} MiB over loopback, {RUNS} runs each; agent to the hub's receipt, rclone copy to rclone serve webdav"
    );
    let mut school = School::start(&Room::card())?;
    school.agent.press("start")?;
    school.agent.wait_for_media(2000, PATIENCE)?;
    school.agent.press("stop")?;
    let status = school.agent.wait_for(&["stored"], PATIENCE)?;
    let first = status["lesson"]["id"].as_str().context("no lesson")?.to_owned();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let id = format!("bench-{run}");
        plant(&mut school.agent, &first, &id, MIB << 20)?;
        ours.push(to_the_hub(&mut school, &id)?);
        theirs.push(by_rclone(&school, &id)?);
        eprintln!("  ours {:?}\n  rclone {:?}", ours[run], theirs[run]);
    }
    let middle = |costs: &[Cost], of: fn(&Cost) -> f64| median(costs.iter().map(of));
    let row = |name: &str, of: fn(&Cost) -> f64, unit, bar| {
        let (ours, peer) = (middle(&ours, of), Some(middle(&theirs, of)));
        Row { name: name.to_owned(), ours, peer, unit, bar }
    };
    let mib = |cost: &Cost| figure(MIB) / cost.seconds;
    Ok(vec![
        row("upload", mib, "MiB/s", Bar::AtLeast(1.5)),
        row("upload, client's processor time", |c| c.processor, "s", Bar::AtMost(0.5)),
        Row {
            name: "upload, agent's peak memory".into(),
            ours: middle(&ours, |c| c.peak_mib),
            peer: None,
            unit: "MiB",
            bar: Bar::AtMost(32.0),
        },
    ])
}

fn to_the_hub(school: &mut School, id: &str) -> anyhow::Result<Cost> {
    school.agent.restart(&school.folder)?;
    let began = clock::mono();
    let pid = school.agent.process.pid();
    let before = usage::processor(pid)?.seconds;
    eventually(PATIENCE, "the receipt", || is_stored(&school.agent, id).ok()?.then_some(()))
        .with_context(|| school.agent.process.tail_of_log())?;
    let seconds = (clock::mono() - began).as_secs_f64();
    let processor = usage::processor(pid)?.seconds - before;
    let peak = usage::peak_kib(pid).context("the agent has ended")?;
    Ok(Cost { seconds, processor, peak_mib: figure(peak) / 1024.0 })
}

fn by_rclone(school: &School, id: &str) -> anyhow::Result<Cost> {
    let (port, store) = (free_port()?, school.folder.make("rclone")?);
    let mut serve = Command::new("rclone");
    serve
        .args(["--config", "/dev/null", "serve", "webdav", "--addr", &format!("127.0.0.1:{port}")])
        .arg(&store);
    let _server = Process::start(&school.folder, "rclone-serve", serve)?;
    eventually(PATIENCE, "rclone's server", || std::net::TcpStream::connect(("127.0.0.1", port)).ok())?;
    let take = school.agent.data.join("lessons").join(id).join("take-1.mp4");
    let url = format!("--webdav-url=http://127.0.0.1:{port}");
    let mut copy = Command::new("rclone");
    copy.args(["--config", "/dev/null", "copy"]).arg(&take).args([":webdav:", &url]);
    let began = clock::mono();
    let mut copy = Process::start(&school.folder, "rclone-copy", copy)?;
    let (mut peak, pid) = (0, copy.pid());
    let processor = eventually(PATIENCE, "rclone", || {
        peak = usage::peak_kib(pid).unwrap_or(0).max(peak);
        usage::processor(pid).ok().filter(|used| used.ended)
    })?;
    let seconds = (clock::mono() - began).as_secs_f64();
    ensure!(copy.wait(PATIENCE)?.success(), "{}", copy.tail_of_log());
    let copied = std::fs::metadata(store.join("take-1.mp4"))?.len();
    ensure!(copied == MIB << 20, "rclone copied {copied} bytes");
    std::fs::remove_dir_all(&store)?;
    Ok(Cost { seconds, processor: processor.seconds, peak_mib: figure(peak) / 1024.0 })
}
