//! Exports and takes that are handed to `lectern verify`, damaged in thousands of ways.

use std::path::Path;

use lectern_base::mangle::{Counting, Limit, mangle};

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn an_export_that_lies_is_looked_at_and_called_what_it_is() {
    let repository = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("lesson.zip");
    // Names, lists and documents are read whole, and each is hashed through a buffer.
    let limit = Limit { per_byte: 2000, at_rest: 4 << 20 };
    let beside = ["tests/seeds/take/short.mp4"];
    mangle(repository, "export", &beside, limit, |bytes| {
        std::fs::write(&file, bytes).expect("written");
        drop(lectern_proof::open::path(&file, true));
    });
}
