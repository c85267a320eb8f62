//! What is measured: by the daemon when it runs, else here and now.

use serde_json::Value;

use super::{Finding, State};
use crate::app;
use crate::cli::remote;
use crate::config::Config;
use crate::page;
use crate::sense;

/// How a number is written down.
#[derive(Clone, Copy)]
enum As {
    Pct,
    Celsius,
    Size,
    Bits,
    Hours,
    Ms,
    Plain(&'static str),
    /// What the words of this name say.
    Words(&'static str),
}

/// One line: its name, and the numbers in it with what stands before each. The first number decides whether the line
/// is known.
type Row = (&'static str, &'static [(&'static str, &'static str, As)]);

const ROWS: &[Row] = &[
    (
        "processor",
        &[
            ("", "cpu_pct", As::Pct),
            ("waits for disk", "cpu_wait_pct", As::Pct),
            ("load", "load1_load", As::Plain("")),
        ],
    ),
    (
        "memory",
        &[
            ("", "memory_used_pct", As::Pct),
            ("", "memory_used_bytes", As::Size),
            ("swap", "swap_used_bytes", As::Size),
            ("killed for want of it", "oom_kills_count", As::Plain("")),
        ],
    ),
    (
        "disk",
        &[
            ("", "disk_used_pct", As::Pct),
            ("free", "disk_free_bytes", As::Size),
            ("busy", "disk_busy_pct", As::Pct),
            ("reads", "disk_read_bps", As::Bits),
            ("writes", "disk_write_bps", As::Bits),
        ],
    ),
    (
        "disk health",
        &[
            ("failing", "smart_failing_count", As::Words("smart_failing")),
            ("on for", "disk_power_on_s", As::Hours),
            ("bad sectors", "disk_bad_sectors_count", As::Plain("")),
            ("", "disk_temperature_celsius", As::Celsius),
        ],
    ),
    ("temperature", &[("", "temperature_celsius", As::Celsius)]),
    ("fan", &[("", "fan_rpm", As::Plain("rpm"))]),
    (
        "units",
        &[
            ("failed", "units_failed_count", As::Words("units_failed")),
            ("own restarts", "agent_restarts_count", As::Plain("")),
        ],
    ),
    (
        "switched on",
        &[
            ("for", "uptime_s", As::Hours),
            ("today", "power_on_today_s", As::Hours),
            ("in all", "power_on_s", As::Hours),
            ("times", "boots_count", As::Plain("")),
        ],
    ),
    (
        "sessions",
        &[
            ("", "sessions_count", As::Plain("")),
            ("helpers", "session_helpers_count", As::Plain("")),
            ("input a moment ago", "active_count", As::Plain("")),
        ],
    ),
    ("hub's clock", &[("ahead by", "clock_hub_ms", As::Ms)]),
    (
        "network",
        &[
            ("up", "net_up_count", As::Words("net_interface")),
            ("cable", "net_link_bps", As::Bits),
            ("receives", "net_rx_bps", As::Bits),
            ("sends", "net_tx_bps", As::Bits),
            ("errors", "net_errors_count", As::Plain("")),
            ("sent again", "net_resent_pct", As::Pct),
        ],
    ),
    ("to the hub", &[("", "hub_rtt_ms", As::Ms), ("lines lost", "reconnects_count", As::Plain(""))]),
    ("wi-fi", &[("", "wifi_signal_dbm", As::Plain("dBm"))]),
    (
        "display",
        &[("connected", "display_count", As::Words("displays")), ("on", "display_on_count", As::Plain(""))],
    ),
    (
        "plugged in",
        &[
            ("cameras", "camera_count", As::Plain("")),
            ("microphones", "microphone_count", As::Words("capture_devices")),
        ],
    ),
    ("unregistered", &[("", "unknown_capture_count", As::Words("unknown_capture"))]),
    (
        "projector",
        &[
            ("power", "projector_power_code", As::Words("projector")),
            ("lamp", "projector_lamp_s", As::Hours),
            ("errors", "projector_errors_count", As::Words("projector_faults")),
            ("input", "projector_input_code", As::Plain("")),
        ],
    ),
    (
        "agent",
        &[
            ("", "agent_memory_bytes", As::Size),
            ("", "agent_cpu_pct", As::Pct),
            ("waiting rows", "outbox_rows_count", As::Plain("")),
        ],
    ),
];

/// A line for each part that is measured, and one for each alarm that stands.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let health = read(config);
    let mut found: Vec<Finding> = health["alarms"].as_array().into_iter().flatten().map(alarm).collect();
    found.extend(ROWS.iter().filter_map(|row| line(row, &health, config)));
    found
}

/// The daemon's newest reading or, when none runs, our own.
pub(super) fn read(config: &Config) -> Value {
    if let Ok(health) = remote::ask(&config.device.data_dir, "/api/health", None)
        && health["groups"].as_object().is_some_and(|groups| !groups.is_empty())
    {
        return health;
    }
    let scope = app::scope(config, std::sync::Arc::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let own = runtime.map(|runtime| {
        let health = runtime.block_on(sense::look(&scope));
        runtime.shutdown_background();
        health
    });
    own.map_or(Value::Null, |health| page::health_view(&health, &[]))
}

fn alarm(alarm: &Value) -> Finding {
    let text = |key: &str| alarm[key].as_str().unwrap_or_default();
    let detail = format!("{}：{}。{}", text("title"), text("detail"), text("next_step"));
    Finding { what: "alarm", state: State::Bad, detail }
}

fn line((what, parts): &Row, health: &Value, config: &Config) -> Option<Finding> {
    let value = |name: &str| {
        let groups = health["groups"].as_object()?;
        groups.values().find_map(|values| values.get(name)?.as_f64())
    };
    let word = |name: &str| health["words"][name].as_str();
    let why = |name: &str| health["missing"][name].as_str();
    let first = parts.first()?.1;
    if value(first).is_none() {
        if *what == "projector" && config.projector.is_none() {
            return None;
        }
        let why = why(first).unwrap_or("not measured yet: the daemon does not run, or has just started");
        return Some(Finding { what, state: State::Unknown, detail: why.to_owned() });
    }
    let said = parts.iter().filter_map(|(label, name, form)| {
        let text = write(value(name)?, *form, &word);
        Some(format!("{label} {text}").trim().to_owned())
    });
    let lacking = parts.iter().skip(1).filter_map(|(label, name, _)| {
        Some(format!("{}: {}", if label.is_empty() { name } else { label }, why(name)?))
    });
    let mut detail = said.collect::<Vec<_>>().join(", ");
    let lacking: Vec<_> = lacking.collect();
    if !lacking.is_empty() {
        detail = format!("{detail} ({})", lacking.join("; "));
    }
    // No alarm is made of these, and they will not get better by themselves.
    let bad =
        ["smart_failing_count", "units_failed_count"].iter().any(|n| *n == first && value(n) > Some(0.0));
    Some(Finding { what, state: if bad { State::Bad } else { State::Well }, detail })
}

fn write<'a>(value: f64, form: As, word: &dyn Fn(&str) -> Option<&'a str>) -> String {
    let scaled = |units: [&str; 4], step: f64| {
        let (mut value, mut unit) = (value, 0);
        while value >= step && unit < 3 {
            (value, unit) = (value / step, unit + 1);
        }
        format!("{value:.*} {}", usize::from(unit > 0 && value < 100.0), units[unit])
    };
    match form {
        As::Pct => format!("{value:.1} %"),
        As::Celsius => format!("{value:.0} °C"),
        As::Size => scaled(["B", "KiB", "MiB", "GiB"], 1024.0),
        As::Bits => scaled(["bit/s", "kbit/s", "Mbit/s", "Gbit/s"], 1000.0),
        As::Hours => format!("{:.1} h", value / 3600.0),
        As::Ms => format!("{value:.1} ms"),
        As::Plain(unit) => format!("{value} {unit}").trim().to_owned(),
        As::Words(name) => match word(name) {
            Some(words) => format!("{value} ({words})"),
            None => format!("{value}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const REFERENCE: &str = "[device]\nid = \"room-301\"\nschool = \"3401000001\"\nroom = \"301\"\n[[source]]\nname = \"card\"\nkind = \"test\"\n";

    #[test]
    fn a_line_says_its_numbers_and_why_some_are_missing() {
        let config = Config::parse(REFERENCE).expect("valid");
        let health = json!({
            "groups": { "sys": { "disk_used_pct": 63.5, "disk_free_bytes": 5_368_709_120_i64 } },
            "missing": { "disk_busy_pct": "the kernel names no disk", "fan_rpm": "no fan sensor" },
            "words": {},
        });
        let row = |name: &str| ROWS.iter().find(|row| row.0 == name).expect("a row");
        let disk = line(row("disk"), &health, &config).expect("a line");
        assert_eq!(disk.detail, "63.5 %, free 5.0 GiB (busy: the kernel names no disk)");
        let fan = line(row("fan"), &health, &config).expect("a line");
        assert_eq!((fan.state, fan.detail.as_str()), (State::Unknown, "no fan sensor"));
        assert!(line(row("projector"), &health, &config).is_none(), "none is set");
    }
}
