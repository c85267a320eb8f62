//! systemd's units: which have failed, and how often our own was started again.

use std::time::Duration;

use super::Collector;
use crate::model::reading::{Found, Group};
use crate::platform::bus::{Bus, Method, Value};
use crate::platform::host::Host;

const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const PATH: &str = "/org/freedesktop/systemd1";
/// Names told of units that failed.
const NAMES: usize = 5;

/// systemd.
#[derive(Debug, Default)]
pub struct Units;

impl Collector for Units {
    fn name(&self) -> &'static str {
        "units"
    }

    fn group(&self) -> Group {
        Group::Sys
    }

    fn every(&self) -> Duration {
        Duration::from_secs(5 * 60)
    }

    fn collect(&mut self, host: &Host, _now: Duration) -> Found {
        let mut found = Found::default();
        if let Err(why) = look(host, &mut found) {
            found.lack("units_failed_count", why);
        }
        found
    }
}

fn look(host: &Host, found: &mut Found) -> Result<(), String> {
    let mut bus = Bus::connect(host)?;
    let method = |name| Method { service: SERVICE, path: PATH, interface: MANAGER, name, start: false };
    let failed = bus.call_with_list(&method("ListUnitsFiltered"), &["failed"])?;
    let names: Vec<&str> = failed.items().iter().filter_map(|unit| unit.items().first()?.text()).collect();
    found.count("units_failed_count", names.len());
    if !names.is_empty() {
        found.say("units_failed", names.iter().take(NAMES).copied().collect::<Vec<_>>().join(", "));
    }
    let own = bus.call(&method("GetUnit"), &["lectern.service"]);
    let restarts = own.and_then(|unit| {
        let unit = unit.text().ok_or("systemd names no unit")?.to_owned();
        bus.property(SERVICE, &unit, "org.freedesktop.systemd1.Service", "NRestarts", false)
    });
    let restarts =
        restarts.and_then(|n| Value::number(&n).ok_or_else(|| "systemd gives no number".to_owned()));
    found.read("agent_restarts_count", restarts);
    Ok(())
}
