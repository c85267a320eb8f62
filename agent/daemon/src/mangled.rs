//! For tests of what the daemon reads from outside, damaged in thousands of ways, see `lectern_base::mangle`: each is handed
//! over beside what reads it.

use std::path::Path;

use lectern_base::mangle::Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Where the seeds are.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
