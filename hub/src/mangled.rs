//! Tests: what the hub reads from outside, damaged in thousands of ways, see `lectern_base::mangle`.

use std::path::Path;

use lectern_base::mangle::{Counting, Limit, PLAIN, mangle};

use crate::enrol::local::Ask;
use crate::model::rooms;
use crate::model::timetable::import;
use crate::store::authority::Authority;
use crate::store::objects::answers::{self, Uploads};

#[global_allocator]
static COUNTING: Counting = Counting;

/// Where the seeds are.
pub fn repository() -> &'static Path {
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

#[test]
fn a_request_for_a_certificate_is_signed_or_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let now = 1_790_000_000_000;
    let authority = Authority::open(folder.path(), now).expect("made");
    let device = lectern_wire::id::DeviceId::new("room-301").expect("id");
    mangle(repository(), "csr", &[], PLAIN, |bytes| {
        match authority.sign(&String::from_utf8_lossy(bytes), &device, now) {
            Ok(issued) => assert!(issued.pem.contains("BEGIN CERTIFICATE") && issued.ends_ms > now),
            Err(why) => assert!(why.contains("certificate") || why.contains("P-256"), "{why}"),
        }
    });
}

#[test]
fn a_list_of_rooms_is_read_or_refused() {
    // Each fault is a sentence with its place.
    let limit = Limit { per_byte: 4000, at_rest: 1 << 20 };
    mangle(repository(), "rooms", &[], limit, |bytes| match rooms::read("rooms.csv", bytes) {
        Ok(rooms) => assert!(!rooms.is_empty() && rooms.len() <= rooms::MOST),
        Err(faults) => assert!(!faults.is_empty() && faults.iter().all(|fault| !fault.is_empty())),
    });
}

#[test]
fn what_the_command_line_asks_of_a_running_hub_is_read_or_refused() {
    mangle(repository(), "ask", &[], PLAIN, |bytes| drop(serde_json::from_slice::<Ask>(bytes)));
}
