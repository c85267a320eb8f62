//! Tests: what the hub reads from outside, damaged in thousands of ways, see `lectern_base::mangle`.

use std::path::Path;

use lectern_base::mangle::{Counting, Limit, PLAIN, mangle};

use crate::model::timetable::import;
use crate::store::objects::answers::{self, Uploads};

#[global_allocator]
static COUNTING: Counting = Counting;

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn settings_are_read_or_refused() {
    let limit = Limit { per_byte: 4000, at_rest: 1 << 20 };
    mangle(repository(), "hub-toml", &["config/hub.toml"], limit, |bytes| {
        drop(crate::config::parse(&String::from_utf8_lossy(bytes)));
    });
}

#[test]
fn timetables_of_every_shape_are_read_or_refused() {
    // A workbook is unpacked; faults of every cell are told in sentences.
    let limit = Limit { per_byte: 20_000, at_rest: 16 << 20 };
    mangle(repository(), "timetable", &[], limit, |bytes| {
        for name in ["a.csv", "a.xlsx", "a.yaml"] {
            drop(import::read(name, bytes, &[], "", &|room| room.contains("301")));
        }
    });
}

#[test]
fn what_a_store_answers_is_read_or_refused() {
    mangle(repository(), "s3", &[], PLAIN, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        drop(answers::read::<Uploads>(&text));
        answers::refusal(&text);
    });
}
