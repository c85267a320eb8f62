//! Everything that crosses a border, damaged in thousands of ways: it is read or refused, in proportion to its length.

use std::path::Path;

use lectern_base::mangle::{Counting, Limit, PLAIN, mangle};
use lectern_wire::afterwards::{Amendment, Repair, Submission};
use lectern_wire::enrol::{self, Code};
use lectern_wire::fmp4::Scanner;
use lectern_wire::log::{Checkpoint, tile};
use lectern_wire::manifest::Manifest;
use lectern_wire::receipt::Receipt;
use lectern_wire::rotation::Rotation;
use lectern_wire::sign::Signed;
use lectern_wire::{
    alarm, chain, command, desired, recorder, render, session, telemetry, timetable, topic, trailer, upload,
};
use serde::de::DeserializeOwned;

#[global_allocator]
static COUNTING: Counting = Counting;

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Whether it can be read is for it to say; what was read is dropped.
fn json<T: DeserializeOwned>(bytes: &[u8]) {
    drop(serde_json::from_slice::<T>(bytes));
}

/// Whether something can be read as one of the messages.
type Reads = fn(&[u8]) -> bool;

/// A seed that nothing reads would only try how quickly it is refused.
#[test]
fn every_seed_is_something_that_is_said() {
    fn is<T: DeserializeOwned>(bytes: &[u8]) -> bool {
        serde_json::from_slice::<T>(bytes).is_ok()
    }
    let all: [(&str, &[Reads]); 5] = [
        (
            "payload",
            &[
                is::<telemetry::State>,
                is::<telemetry::Info>,
                is::<telemetry::Event>,
                is::<telemetry::Sample>,
                is::<Vec<telemetry::Sample>>,
                is::<alarm::Alarm>,
                is::<command::Outcome>,
                is::<desired::Reported>,
                is::<Signed<chain::ChainHead>>,
                is::<Signed<command::Command>>,
            ],
        ),
        (
            "recorder",
            &[
                is::<recorder::Event>,
                is::<recorder::Command>,
                is::<recorder::Job>,
                is::<recorder::Armed>,
                is::<recorder::Fact>,
                is::<render::Job>,
            ],
        ),
        (
            "upload",
            &[
                is::<upload::Announce>,
                is::<upload::GrantRequest>,
                is::<upload::Grant>,
                is::<lectern_wire::home::Home>,
            ],
        ),
        (
            "enrol",
            &[
                is::<enrol::Hello>,
                is::<enrol::Wish>,
                is::<enrol::Enrolled>,
                is::<enrol::Renew>,
                is::<enrol::Renewed>,
            ],
        ),
        ("afterwards", &[is::<Signed<Amendment>>, is::<Signed<Submission>>, is::<Repair>]),
    ];
    let mut odd = Vec::new();
    for (name, types) in all {
        let seeds = std::fs::read_dir(repository().join("tests/seeds").join(name)).expect("a folder");
        for seed in seeds.flatten().map(|entry| entry.path()) {
            let bytes = std::fs::read(&seed).expect("a seed");
            if !types.iter().any(|is| is(&bytes)) {
                odd.push(seed);
            }
        }
    }
    assert!(odd.is_empty(), "nobody says these: {odd:#?}");
}

#[test]
fn a_take_that_lies_is_read_as_far_as_it_is_one() {
    mangle(repository(), "take", &[], PLAIN, |bytes| {
        // As it comes from a disk or a line: in pieces.
        let mut scanner = Scanner::default();
        for piece in bytes.chunks(1000) {
            if scanner.push(piece).is_err() {
                break;
            }
        }
        assert!(scanner.whole() <= scanner.seen() && scanner.seen() <= bytes.len() as u64);
        let fragments = scanner.fragments();
        let in_order = fragments.windows(2).all(|two| two[0].offset + two[0].length <= two[1].offset);
        assert!(
            in_order && fragments.last().is_none_or(|last| last.offset + last.length <= bytes.len() as u64)
        );
        drop(trailer::read(bytes));
    });
}

#[test]
fn signed_documents_that_lie_are_refused() {
    // Canonical form, hash and signature are made again for each.
    let limit = Limit { per_byte: 2000, at_rest: 1 << 20 };
    mangle(repository(), "manifest", &[], limit, |bytes| {
        let Ok(signed) = serde_json::from_slice::<Signed<Manifest>>(bytes) else { return };
        drop(lectern_wire::canon::canonical(&signed.document));
        for take in &signed.document.takes {
            take.fragments.first().map(|f| take.span_of(f.offset, f.length));
        }
        drop(render::pieces(&signed.document.takes, 0, u64::MAX, |_| String::new()));
    });
    mangle(repository(), "receipt", &[], limit, json::<Signed<Receipt>>);
    mangle(repository(), "checkpoint", &[], limit, json::<Signed<Checkpoint>>);
    mangle(repository(), "rotation", &[], limit, json::<Signed<Rotation>>);
}

#[test]
fn what_a_room_and_a_hub_say_while_it_enrols_is_read_or_refused() {
    let key = Code::new([7; 10]).key();
    mangle(repository(), "enrol", &[], PLAIN, |bytes| {
        if let Ok(hello) = serde_json::from_slice::<enrol::Hello>(bytes) {
            assert!(!key.fits("00", &hello), "sealed by a card that this is not");
        }
        if let Ok(wish) = serde_json::from_slice::<enrol::Wish>(bytes) {
            assert!(!key.proven(&wish), "proven by a card that this is not");
        }
        json::<enrol::Enrolled>(bytes);
        json::<enrol::Renew>(bytes);
        json::<enrol::Renewed>(bytes);
    });
    mangle(repository(), "code", &[], PLAIN, |bytes| match Code::read(&String::from_utf8_lossy(bytes)) {
        Ok(code) => assert!(Code::read(&code.to_string()) == Ok(code), "a code is printed as it is read"),
        Err(why) => assert!(why.to_string().ends_with("look at the card again")),
    });
}

#[test]
fn what_people_add_to_a_lesson_afterwards_is_read_or_refused() {
    // Their canonical form is made for each: a signature is over that.
    let limit = Limit { per_byte: 2000, at_rest: 1 << 20 };
    mangle(repository(), "afterwards", &[], limit, |bytes| {
        if let Ok(said) = serde_json::from_slice::<Signed<Amendment>>(bytes) {
            drop(said.document.about.fault());
            drop(lectern_wire::canon::canonical(&said.document));
        }
        if let Ok(said) = serde_json::from_slice::<Signed<Submission>>(bytes) {
            drop(lectern_wire::canon::canonical(&said.document));
        }
        json::<Repair>(bytes);
    });
}

#[test]
fn what_comes_over_mqtt_is_read_or_refused() {
    mangle(repository(), "payload", &[], PLAIN, |bytes| {
        json::<telemetry::State>(bytes);
        json::<telemetry::Info>(bytes);
        json::<telemetry::Event>(bytes);
        json::<telemetry::Ack>(bytes);
        json::<alarm::Alarm>(bytes);
        json::<command::Outcome>(bytes);
        json::<desired::Reported>(bytes);
        json::<chain::ChainHead>(bytes);
        json::<lectern_wire::usage::Usage>(bytes);
        if let Ok(sample) = serde_json::from_slice::<telemetry::Sample>(bytes) {
            std::hint::black_box(telemetry::well_formed(&sample));
        }
        if let Ok(signed) = serde_json::from_slice::<Signed<command::Command>>(bytes) {
            drop(signed.document.verb.fault());
        }
        if let Ok(signed) = serde_json::from_slice::<Signed<desired::Desired>>(bytes) {
            drop(signed.document.fault());
        }
    });
    mangle(repository(), "topic", &[], PLAIN, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Some((topics, leaf)) = topic::parse(&text) {
            assert_eq!(topics.of(&leaf), text, "a topic has one spelling");
        }
    });
}

#[test]
fn what_recorder_and_daemon_say_is_read_or_refused() {
    mangle(repository(), "recorder", &[], PLAIN, |bytes| {
        json::<recorder::Event>(bytes);
        json::<recorder::Command>(bytes);
        json::<recorder::Job>(bytes);
        json::<recorder::Armed>(bytes);
        json::<recorder::Fact>(bytes);
        json::<render::Job>(bytes);
        json::<render::Said>(bytes);
        json::<session::Report>(bytes);
        json::<lectern_wire::report::Report>(bytes);
        json::<lectern_wire::devices::Devices>(bytes);
        json::<lectern_wire::preflight::Preflight>(bytes);
    });
}

#[test]
fn what_rooms_and_hub_say_over_http_is_read_or_refused() {
    mangle(repository(), "upload", &[], PLAIN, |bytes| {
        json::<upload::Announce>(bytes);
        json::<upload::GrantRequest>(bytes);
        json::<upload::Grant>(bytes);
        json::<upload::HubInfo>(bytes);
        json::<upload::LessonStatus>(bytes);
        json::<upload::Problem>(bytes);
        json::<lectern_wire::home::Home>(bytes);
        json::<lectern_wire::home::Verdict>(bytes);
    });
    mangle(repository(), "tile", &[], PLAIN, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Some(tile) = tile::Tile::parse(&text) {
            assert_eq!(tile.path(), text, "a tile has one path");
        }
    });
}

#[test]
fn a_rooms_timetable_is_read_or_refused() {
    mangle(repository(), "room-timetable", &["config/timetable.toml"], PLAIN, |bytes| {
        json::<timetable::Timetable>(bytes);
        drop(timetable::Weeks::parse(&String::from_utf8_lossy(bytes)));
    });
}
