//! Temperatures and fans, from hwmon and, where a board has no hwmon, from its thermal zones.

use std::time::Duration;

use super::Collector;
use crate::model::reading::{Found, Group};
use crate::platform::host::{Host, Source};

/// Sensors are looked for again after so many readings; a module may be loaded late.
const LOOK_AGAIN: u32 = 40;

/// What warms up and what cools.
#[derive(Debug, Default)]
pub struct Heat {
    sensors: Vec<Source>,
    disks: Vec<Source>,
    fans: Vec<Source>,
    looked: Option<u32>,
    /// Fans that were seen turning: boards list connectors that nothing is plugged into, at 0.
    turned: bool,
}

impl Heat {
    fn look(&mut self, host: &Host) {
        if self.looked.is_some_and(|since| since < LOOK_AGAIN) {
            self.looked = self.looked.map(|since| since + 1);
            return;
        }
        self.looked = Some(0);
        (self.sensors, self.disks, self.fans) = (Vec::new(), Vec::new(), Vec::new());
        for chip in host.list("sys/class/hwmon") {
            let folder = format!("sys/class/hwmon/{chip}");
            let disk = matches!(host.word(&format!("{folder}/name")).as_deref(), Some("drivetemp" | "nvme"));
            for file in host.list(&folder).into_iter().filter(|file| file.ends_with("_input")) {
                let path = Source::at(format!("{folder}/{file}"));
                match (file.starts_with("temp"), file.starts_with("fan")) {
                    (true, _) if disk => self.disks.push(path),
                    (true, _) => self.sensors.push(path),
                    (_, true) => self.fans.push(path),
                    _ => {}
                }
            }
        }
        if self.sensors.is_empty() {
            let zones = host.list("sys/class/thermal").into_iter().filter(|z| z.starts_with("thermal_zone"));
            self.sensors = zones.map(|zone| Source::at(format!("sys/class/thermal/{zone}/temp"))).collect();
        }
    }
}

/// The hottest that is believable, °C: unconnected sensors give nonsense.
fn hottest(host: &Host, files: &mut [Source]) -> Option<f64> {
    let celsius = files.iter_mut().filter_map(|file| file.number(host)).map(|milli| milli / 1000.0);
    celsius.filter(|c| (-40.0..150.0).contains(c)).reduce(f64::max)
}

impl Collector for Heat {
    fn name(&self) -> &'static str {
        "heat"
    }

    fn group(&self) -> Group {
        Group::Sys
    }

    fn collect(&mut self, host: &Host, _now: Duration) -> Found {
        let mut found = Found::default();
        self.look(host);
        let tenth = |c: f64| (c * 10.0).round() / 10.0;
        match hottest(host, &mut self.sensors) {
            Some(celsius) => found.put("temperature_celsius", tenth(celsius)),
            None if self.sensors.is_empty() => {
                found.lack("temperature_celsius", "the kernel offers no temperature sensor");
            }
            None => found.lack("temperature_celsius", "no sensor gives a believable temperature"),
        }
        match hottest(host, &mut self.disks) {
            Some(celsius) => found.put("disk_temperature_celsius", tenth(celsius)),
            None => {
                found.lack("disk_temperature_celsius", "no disk tells it (kernel modules drivetemp, nvme)");
            }
        }
        let fastest = self.fans.iter_mut().filter_map(|file| file.number(host)).reduce(f64::max);
        self.turned |= fastest.is_some_and(|rpm| rpm > 0.0);
        match fastest {
            Some(rpm) if self.turned => found.put("fan_rpm", rpm.round()),
            Some(_) => found.lack("fan_rpm", "no fan has turned since Lectern started"),
            None => found.lack("fan_rpm", "the kernel offers no fan sensor"),
        }
        found
    }
}
