//! A long lesson to an S3 store, Garage, beside `rclone copy` of the same file to the same Garage: both on the loopback
//! address and the same disk, both in parts of 8 MiB. See [`super::upload`].

use anyhow::Context as _;
use lectern_tests::garage::Garage;
use lectern_tests::{Folder, Room, School, eventually};

use super::table::Row;
use super::upload::{MIB, PATIENCE, RUNS, by_rclone, in_turns, lesson_of};

/// Measures; nothing where Garage is not built, which is then said.
///
/// # Errors
/// When a lesson or a file does not arrive.
pub fn measure() -> anyhow::Result<Vec<Row>> {
    let program = match Garage::find() {
        Ok(program) => program,
        Err(why) => {
            lectern_tests::skipped(&format!("upload to Garage: {why}"));
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
    let keys = std::fs::read_to_string(&garage.keys)?;
    let (key, secret) = keys.trim().split_once('\n').context("no keys")?;
    let endpoint = format!("--s3-endpoint=http://127.0.0.1:{}", garage.port);
    in_turns("upload to Garage", &mut school, |folder, take| {
        by_rclone(folder, take, &format!(":s3:lessons/rclone/{}", lesson_of(take)?), &|rclone| {
            rclone.args([
                "--s3-provider=Other",
                &endpoint,
                "--s3-region=garage",
                "--s3-force-path-style=true",
            ]);
            rclone.args(["--s3-chunk-size=8M", "--s3-upload-concurrency=4", "--s3-no-check-bucket"]);
            rclone.env("RCLONE_S3_ACCESS_KEY_ID", key).env("RCLONE_S3_SECRET_ACCESS_KEY", secret);
            rclone.env_remove("AWS_CA_BUNDLE");
        })
    })
}
