//! `lectern verify` against sha256sum on the same large take.
//!
//! A take of 300 MiB would have to be recorded for ten minutes. Instead a stored lesson's manifest is made to
//! describe a made-up one. So its signature does not fit, which must be the only fault; all hashing is done.
//! verify computes two hashes of every byte (its part's and the take's), sha256sum one.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use lectern_base::clock;
use lectern_tests::process::output;
use lectern_tests::{Agent, Folder};
use lectern_wire::PART_SIZE;
use lectern_wire::digest::Digest;
use lectern_wire::manifest::{Manifest, Part};
use lectern_wire::sign::Signed;
use sha2::{Digest as _, Sha256};

use super::table::{Bar, Row};
use super::{figure, median};

/// Size of the take.
const MIB: u64 = 300;
/// How often each is run, in turns; one more comes first, so that the file is in memory for both.
const RUNS: usize = 5;

/// Measures, with the manifest of `stored` as the pattern.
///
/// # Errors
/// When either fails or finds something else than expected.
pub fn measure(folder: &Folder, agent: &Agent, stored: &Path) -> anyhow::Result<Row> {
    eprintln!("hashing {MIB} MiB …");
    println!(
        "\nverify: lectern verify --keys KEYS FOLDER, sha256sum take-1.mp4; {MIB} MiB in memory, {RUNS} runs each"
    );
    let lesson = folder.make("bench-verify")?;
    let size = make(&lesson, stored)?;
    let take = lesson.join("take-1.mp4");
    let rate = |seconds: f64| figure(size) / 1e6 / seconds;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for n in 0..=RUNS {
        let from = clock::mono();
        let report = agent.verify(&lesson)?;
        let our_time = (clock::mono() - from).as_secs_f64();
        let faults = report["faults"].as_array().context("no list of faults")?;
        let only = faults.len() == 1 && faults.iter().all(|fault| fault["kind"] == "signature");
        ensure!(only && report["bytes"].as_u64() == Some(size), "verify says {report}");
        let from = clock::mono();
        output({
            let mut command = Command::new("sha256sum");
            command.arg(&take);
            command
        })?;
        let their_time = (clock::mono() - from).as_secs_f64();
        if n > 0 {
            ours.push(rate(our_time));
            theirs.push(rate(their_time));
        }
    }
    std::fs::remove_file(&take)?;
    Ok(Row {
        name: "verify".to_owned(),
        ours: median(ours),
        peer: Some(median(theirs)),
        unit: "MB/s",
        bar: Bar::AtLeast(1.0),
    })
}

/// Makes the lesson; gives the take's size.
fn make(lesson: &Path, stored: &Path) -> anyhow::Result<u64> {
    let manifest = std::fs::read(stored.join("manifest.json")).context("no manifest is stored")?;
    let signed: Signed<Manifest> = serde_json::from_slice(&manifest)?;
    let mut manifest = signed.document.into_understood();
    let take = manifest.takes.first_mut().context("a lesson without a take")?;
    let block: Vec<u8> = (0..PART_SIZE).map(|n| u8::try_from(n * 31 % 251).unwrap_or(0)).collect();
    let (count, digest) = (u32::try_from((MIB << 20) / PART_SIZE)?, Digest::of(&block));
    let mut whole = Sha256::new();
    let mut file = std::fs::File::create(lesson.join("take-1.mp4"))?;
    for _ in 0..count {
        whole.update(&block);
        std::io::Write::write_all(&mut file, &block)?;
    }
    take.parts = (0..count).map(|n| Part { n, size: PART_SIZE, sha256: digest }).collect();
    take.size = u64::from(count) * PART_SIZE;
    take.sha256 = Digest::finish(whole);
    let size = take.size;
    manifest.takes.truncate(1);
    let text = serde_json::json!({ "document": manifest, "signature": signed.signature }).to_string();
    std::fs::write(lesson.join("manifest.json"), text)?;
    Ok(size)
}
