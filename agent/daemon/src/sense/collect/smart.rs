//! What disks say about their own health (SMART), through UDisks2: asking a disk itself takes root.

use std::time::Duration;

use super::Collector;
use crate::model::reading::{Found, Group};
use crate::platform::bus::{Bus, Method, Value};
use crate::platform::host::Host;

const SERVICE: &str = "org.freedesktop.UDisks2";

/// The disks' own words.
#[derive(Debug, Default)]
pub struct Smart;

impl Collector for Smart {
    fn name(&self) -> &'static str {
        "smart"
    }

    fn group(&self) -> Group {
        Group::Sys
    }

    fn every(&self) -> Duration {
        // UDisks2 itself looks every ten minutes.
        Duration::from_secs(30 * 60)
    }

    fn collect(&mut self, host: &Host, _now: Duration) -> Found {
        let mut found = Found::default();
        let objects = Method {
            service: SERVICE,
            path: "/org/freedesktop/UDisks2",
            interface: "org.freedesktop.DBus.ObjectManager",
            name: "GetManagedObjects",
            start: false,
        };
        match Bus::connect(host).and_then(|mut bus| bus.call(&objects, &[])) {
            Ok(all) => judge(&all, &mut found),
            Err(why) => found.lack("smart_failing_count", why),
        }
        found
    }
}

/// The greater of what is known.
fn most(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).reduce(f64::max)
}

fn judge(objects: &Value, found: &mut Found) {
    let (mut asked, mut failing, mut hours, mut bad) = (0, Vec::new(), None::<f64>, None::<f64>);
    for (_, interfaces) in objects.entries() {
        let model = interfaces.get("org.freedesktop.UDisks2.Drive").and_then(|drive| drive.get("Model"));
        let model = model.and_then(Value::text).unwrap_or("disk").to_owned();
        if let Some(ata) = interfaces.get("org.freedesktop.UDisks2.Drive.Ata") {
            let number = |name: &str| ata.get(name).and_then(Value::number);
            // Before the first look all is 0; SmartUpdated is when that was.
            if number("SmartEnabled") == Some(1.0) && number("SmartUpdated").is_some_and(|at| at > 0.0) {
                asked += 1;
                if number("SmartFailing") == Some(1.0) {
                    failing.push(model.clone());
                }
                hours = most(hours, number("SmartPowerOnSeconds").filter(|s| *s > 0.0));
                bad = most(bad, number("SmartNumBadSectors").filter(|n| *n >= 0.0));
            }
        }
        if let Some(nvme) = interfaces.get("org.freedesktop.UDisks2.NVMe.Controller") {
            let number = |name: &str| nvme.get(name).and_then(Value::number);
            if number("SmartUpdated").is_some_and(|at| at > 0.0) {
                asked += 1;
                if nvme.get("SmartCriticalWarning").is_some_and(|warnings| !warnings.items().is_empty()) {
                    failing.push(model);
                }
                hours = most(hours, number("SmartPowerOnHours").map(|h| h * 3600.0).filter(|s| *s > 0.0));
            }
        }
    }
    if asked == 0 {
        return found
            .lack("smart_failing_count", "no disk tells its health (virtual disks and eMMC have none)");
    }
    found.count("smart_failing_count", failing.len());
    if !failing.is_empty() {
        found.say("smart_failing", failing.join(", "));
    }
    if let Some(s) = hours {
        found.put("disk_power_on_s", s);
    }
    if let Some(n) = bad {
        found.put("disk_bad_sectors_count", n);
    }
}
