//! `/metrics` for a Prometheus on this machine: what was measured last, in Prometheus' own units.
//!
//! Names are `lectern_{group}_{what}_{unit}`. Prometheus wants base units: milliseconds become seconds, percent become
//! ratios, bits become bytes, and `_count`, which means something else there, is left out.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use lectern_wire::alarm::AlarmState;

use super::Page;
use crate::model::reading::Health;

pub async fn metrics(State(page): State<Page>) -> Response {
    if !page.metrics {
        let why = "numbers for Prometheus are off; set page.metrics = true in agent.toml";
        return super::problem(StatusCode::NOT_FOUND, "off", why);
    }
    let mut out = text(&page.store.health().borrow());
    let alarms = page.store.alarms().borrow().clone();
    let raised: Vec<_> = alarms.iter().filter(|alarm| alarm.state == AlarmState::Raised).collect();
    head(&mut out, "lectern_alarm_raised", "1 for each problem that stands, by code.");
    for alarm in raised {
        // Writing to a String cannot fail.
        writeln!(out, "lectern_alarm_raised{{code=\"{}\"}} 1", alarm.code.name()).ok();
    }
    head(&mut out, "lectern_agent_panics", "Bugs since the start that were survived.");
    writeln!(out, "lectern_agent_panics {}", lectern_base::panics::count()).ok();
    head(&mut out, "lectern_info", "1, with the version of the agent.");
    writeln!(out, "lectern_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")).ok();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], out).into_response()
}

fn head(out: &mut String, name: &str, help: &str) {
    write!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n").ok();
}

/// A name of ours as Prometheus has it, and what a value is multiplied with.
fn in_base_units(name: &str) -> (String, f64) {
    const UNITS: [(&str, &str, f64); 6] = [
        ("_pct", "_ratio", 0.01),
        ("_ms", "_seconds", 0.001),
        ("_bps", "_bytes_per_second", 0.125),
        ("_s", "_seconds", 1.0),
        ("_count", "", 1.0),
        ("_load", "", 1.0),
    ];
    for (ours, theirs, factor) in UNITS {
        if let Some(what) = name.strip_suffix(ours) {
            return (format!("{what}{theirs}"), factor);
        }
    }
    (name.to_owned(), 1.0)
}

/// Every number there is.
fn text(health: &Health) -> String {
    let mut out = String::new();
    for (group, values) in &health.groups {
        for (name, value) in values {
            let (what, factor) = in_base_units(name);
            let full = format!("lectern_{}_{what}", group.name());
            head(&mut out, &full, &format!("{name} of the group {}.", group.name()));
            writeln!(out, "{full} {}", value * factor).ok();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::reading::{Found, Group};

    #[test]
    fn numbers_are_told_in_base_units_under_names_that_say_so() {
        let mut found = Found::default();
        for (name, value) in [
            ("cpu_pct", 12.5),
            ("hub_rtt_ms", 4.0),
            ("net_rx_bps", 800.0),
            ("uptime_s", 60.0),
            ("camera_count", 1.0),
        ] {
            found.put(name, value);
        }
        let mut health = Health::default();
        health.add(Group::Sys, &found);
        let text = text(&health);
        for line in [
            "lectern_sys_cpu_ratio 0.125",
            "lectern_sys_hub_rtt_seconds 0.004",
            "lectern_sys_net_rx_bytes_per_second 100",
            "lectern_sys_uptime_seconds 60",
            "lectern_sys_camera 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        assert!(text.contains("# TYPE lectern_sys_cpu_ratio gauge"));
    }
}
