//! Whether the clock can be believed, who keeps it, and how far it is from the hub's.

use std::sync::Arc;
use std::time::Duration;

use lectern_base::clock;

use super::Collector;
use crate::model::reading::{Found, Group};
use crate::platform::bus::Bus;
use crate::platform::host::{Host, Source};
use crate::store::line::Line;

/// How long what the kernel says holds.
const ASK_AGAIN: Duration = Duration::from_secs(15 * 60);

/// The wall clock and how long the machine has been on.
#[derive(Debug)]
pub struct Time {
    line: Arc<Line>,
    uptime: Source,
    asked: Option<Duration>,
}

impl Time {
    /// With what is known of the hub's clock.
    #[must_use]
    pub fn new(line: Arc<Line>) -> Self {
        Self { line, uptime: Source::at("proc/uptime"), asked: None }
    }

    /// Who keeps the clock; none when nobody does.
    fn keeper(&mut self, host: &Host, now: Duration) -> Option<&'static str> {
        if host.has("run/systemd/timesync/synchronized") {
            return Some("systemd-timesyncd");
        }
        let services =
            [("run/chrony/chronyd.pid", "chrony"), ("run/chronyd.pid", "chrony"), ("run/ntpd.pid", "ntpd")];
        let (_, service) = services.into_iter().find(|(pid, _)| host.has(pid))?;
        // That it runs does not mean that it has found the time: timedated reads the kernel's word on it.
        if self.asked.is_none_or(|at| now.saturating_sub(at) > ASK_AGAIN) {
            let said = Bus::connect(host).and_then(|mut bus| {
                let (name, path) = ("org.freedesktop.timedate1", "/org/freedesktop/timedate1");
                // It ends by itself after half a minute.
                bus.property(name, path, name, "NTPSynchronized", true)
            });
            clock::kernel_says(said.ok().and_then(|value| value.number()).map(|n| n > 0.0));
            self.asked = Some(now);
        }
        Some(service)
    }
}

impl Collector for Time {
    fn name(&self) -> &'static str {
        "clock"
    }

    fn group(&self) -> Group {
        Group::Sys
    }

    fn collect(&mut self, host: &Host, now: Duration) -> Found {
        let mut found = Found::default();
        match self.keeper(host, now) {
            Some(service) => found.say("clock_keeper", service),
            None => found.lack("clock_keeper", "no time service keeps the clock"),
        }
        found.count("clock_trusted_count", usize::from(clock::trusted()));
        match self.line.hub_ahead_ms() {
            Some(ms) => found.put("clock_hub_ms", ms as f64),
            None => found.lack("clock_hub_ms", "the hub has not told its time yet"),
        }
        let uptime = self.uptime.read(host).and_then(|text| {
            let first = text.split(' ').next().and_then(|word| word.parse::<f64>().ok());
            first.map(f64::round).ok_or_else(|| "/proc/uptime is not as expected".to_owned())
        });
        found.read("uptime_s", uptime);
        found
    }
}
