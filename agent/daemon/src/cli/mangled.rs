//! Settings and what other stores answer, damaged in thousands of ways.

use lectern_base::mangle::{Limit, PLAIN, mangle};

use crate::beside::{calendar, xml};
use crate::config::Config;
use crate::mangled::repository;

#[test]
fn settings_are_read_or_refused() {
    // All faults are told at once, each in a sentence.
    let limit = Limit { per_byte: 4000, at_rest: 1 << 20 };
    mangle(repository(), "agent-toml", &["config/agent.toml"], limit, |bytes| {
        drop(Config::parse(&String::from_utf8_lossy(bytes)));
    });
}

#[test]
fn what_other_stores_and_calendars_answer_is_read_or_refused() {
    mangle(repository(), "s3", &[], PLAIN, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        xml::text(&text, "Code");
        xml::all(&text, "Part");
    });
    mangle(repository(), "calendar", &[], PLAIN, |bytes| {
        let events = calendar::events(&String::from_utf8_lossy(bytes));
        calendar::current(&events, 0);
    });
}
