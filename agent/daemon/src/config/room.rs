//! `[projector]` and `[alarm]`: what else stands in the room, and from where on something is wrong with it.

use std::time::Duration;

use super::reader::Section;
use crate::model::alarm::Limits;
use crate::model::projector::Projector;

pub(super) fn projector(mut s: Section<'_>) -> Projector {
    let host = s.text("host", None, 253);
    if host.contains(['/', ' ', ':']) {
        s.fault("host", &format!("{host:?} is not a host name or an IPv4 address"));
    }
    let projector = Projector {
        host,
        port: s.number("port", 4352, 1..=65535),
        password_file: s.maybe_path("password_file"),
        every: Duration::from_secs(u64::from(s.number("interval_s", 60_u32, 10..=3600))),
    };
    s.end();
    projector
}

pub(super) fn limits(s: &mut Section<'_>) -> Limits {
    Limits {
        temperature_celsius: s.number("temperature_celsius", 85, 40..=120),
        disk_minutes: s.number("disk_minutes", 45, 1..=10_000),
        disk_used_pct: s.number("disk_used_pct", 95, 50..=100),
        round_trip_ms: s.number("round_trip_ms", 800, 10..=60_000),
        resent_pct: s.number("resent_pct", 15, 1..=100),
        link_mbps: s.number("link_mbps", 100, 0..=100_000),
        clock_off_s: s.number("clock_off_s", 120, 5..=86_400),
        display: !s.choice_of_bool("no_display"),
        unknown_capture: !s.choice_of_bool("any_capture"),
    }
}
