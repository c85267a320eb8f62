//! A long lesson to an S3 store, Garage, beside `rclone copy` of the same file to the same Garage: both on the loopback
//! address and the same disk, both in parts of 8 MiB.
//!
//! They do not promise the same: behind the agent the hub asks the store for every part, completes the object, reads
//! all of it back, hashes it twice and signs a receipt; rclone is done when the object is complete. So the agent's
//! time is given to the last part, which is what rclone's is, and to the receipt.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lectern_base::clock;
use lectern_tests::garage::Garage;
use lectern_tests::planted::{is_stored, plant};
use lectern_tests::{Folder, Process, Room, School, eventually};

use super::table::{Bar, Row};
use super::{figure, median, usage};

/// Size of the lesson.
const MIB: u64 = 512;
/// How often each is run, in turns.
const RUNS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(900);

/// What one upload took.
#[derive(Debug)]
struct Cost {
    /// To the last part.
    seconds: f64,
    /// To the receipt.
    proven: f64,
    processor: f64,
    peak_mib: f64,
}

/// Measures; nothing where Garage is not built, which is then said.
///
/// # Errors
/// When a lesson or a file does not arrive.
pub fn measure() -> anyhow::Result<Vec<Row>> {
    let program = match Garage::find() {
        Ok(program) => program,
        Err(why) => {
            println!("\nupload to Garage: {why}");
            return Ok(Vec::new());
        }
    };
    println!(
        "\nupload to Garage: {MIB} MiB over loopback, one node, synced; {RUNS} runs each; agent beside rclone copy \
         --s3-chunk-size 8M, four parts side by side"
    );
    let folder = Folder::new()?;
    let garage = Garage::start(&folder, &program)?;
    let mut school = School::start_with(folder, &Room::card(), &garage.settings(""))?;
    let tried = school.hub.data.join("store.json");
    eventually(PATIENCE, "what the store can be trusted with", || tried.exists().then_some(()))?;
    school.agent.press("start")?;
    school.agent.wait_for_media(2000, PATIENCE)?;
    school.agent.press("stop")?;
    let status = school.agent.wait_for(&["stored"], PATIENCE)?;
    let first = status["lesson"]["id"].as_str().context("no lesson")?.to_owned();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let id = format!("bench-s3-{run}");
        plant(&mut school.agent, &first, &id, MIB << 20)?;
        ours.push(by_the_agent(&mut school, &id)?);
        theirs.push(by_rclone(&school, &garage, &id)?);
        eprintln!("  ours {:?}\n  rclone {:?}", ours[run], theirs[run]);
    }
    let middle = |costs: &[Cost], of: fn(&Cost) -> f64| median(costs.iter().map(of));
    let row = |name: &str, of: fn(&Cost) -> f64, unit, bar| {
        let (ours, peer) = (middle(&ours, of), Some(middle(&theirs, of)));
        Row { name: name.to_owned(), ours, peer, unit, bar }
    };
    let alone = |name: &str, of: fn(&Cost) -> f64, unit, most| Row {
        name: name.into(),
        ours: middle(&ours, of),
        peer: None,
        unit,
        bar: Bar::AtMost(most),
    };
    Ok(vec![
        row("upload to Garage", |c| figure(MIB) / c.seconds, "MiB/s", Bar::AtLeast(1.5)),
        row("upload to Garage, client's processor time", |c| c.processor, "s", Bar::AtMost(0.5)),
        alone("upload to Garage, agent's peak memory", |c| c.peak_mib, "MiB", 32.0),
        row("upload to Garage, receipt included", |c| figure(MIB) / c.proven, "MiB/s", Bar::AtLeast(1.0)),
    ])
}

fn by_the_agent(school: &mut School, id: &str) -> anyhow::Result<Cost> {
    school.agent.restart(&school.folder)?;
    let began = clock::mono();
    let pid = school.agent.process.pid();
    let before = usage::processor(pid)?.seconds;
    let rows = school.hub.rows()?;
    let parts = i64::try_from((MIB << 20) / lectern_wire::PART_SIZE)?;
    eventually(PATIENCE, "the last part", || {
        let here =
            rows.query_row("SELECT count(*) FROM part WHERE lesson = ?", [id], |row| row.get::<_, i64>(0));
        (here.ok()? >= parts).then_some(())
    })?;
    let seconds = (clock::mono() - began).as_secs_f64();
    eventually(PATIENCE, "the receipt", || is_stored(&school.agent, id).ok()?.then_some(()))
        .with_context(|| school.agent.process.tail_of_log())?;
    let proven = (clock::mono() - began).as_secs_f64();
    let processor = usage::processor(pid)?.seconds - before;
    let peak = usage::peak_kib(pid).context("the agent has ended")?;
    Ok(Cost { seconds, proven, processor, peak_mib: figure(peak) / 1024.0 })
}

fn by_rclone(school: &School, garage: &Garage, id: &str) -> anyhow::Result<Cost> {
    let take = school.agent.data.join("lessons").join(id).join("take-1.mp4");
    let keys = std::fs::read_to_string(&garage.keys)?;
    let (key, secret) = keys.trim().split_once('\n').context("no keys")?;
    let mut copy = Command::new("rclone");
    copy.args(["--config", "/dev/null", "copyto"]).arg(&take).arg(format!(":s3:lessons/rclone/{id}.mp4"));
    let endpoint = format!("--s3-endpoint=http://127.0.0.1:{}", garage.port);
    copy.args(["--s3-provider=Other", &endpoint, "--s3-region=garage", "--s3-force-path-style=true"]);
    copy.args(["--s3-chunk-size=8M", "--s3-upload-concurrency=4", "--s3-no-check-bucket"]);
    copy.env("RCLONE_S3_ACCESS_KEY_ID", key).env("RCLONE_S3_SECRET_ACCESS_KEY", secret);
    copy.env_remove("AWS_CA_BUNDLE");
    let began = clock::mono();
    let mut copy = Process::start(&school.folder, "rclone-copy", copy)?;
    let (mut peak, pid) = (0, copy.pid());
    let processor = eventually(PATIENCE, "rclone", || {
        peak = usage::peak_kib(pid).unwrap_or(0).max(peak);
        usage::processor(pid).ok().filter(|used| used.ended)
    })?;
    let seconds = (clock::mono() - began).as_secs_f64();
    ensure!(copy.wait(PATIENCE)?.success(), "{}", copy.tail_of_log());
    Ok(Cost { seconds, proven: seconds, processor: processor.seconds, peak_mib: figure(peak) / 1024.0 })
}
