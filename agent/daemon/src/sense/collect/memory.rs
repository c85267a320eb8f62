//! Memory and swap from `/proc/meminfo`; processes the kernel killed for want of it from `/proc/vmstat`.

use std::time::Duration;

use super::Collector;
use crate::model::reading::{Found, Group};
use crate::platform::host::{Host, Source, kib};

/// The memory.
#[derive(Debug)]
pub struct Memory {
    amounts: Source,
    counts: Source,
}

impl Default for Memory {
    fn default() -> Self {
        Self { amounts: Source::at("proc/meminfo"), counts: Source::at("proc/vmstat") }
    }
}

impl Collector for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn group(&self) -> Group {
        Group::Sys
    }

    fn collect(&mut self, host: &Host, _now: Duration) -> Found {
        let mut found = Found::default();
        let text = match self.amounts.read(host) {
            Ok(text) => text,
            Err(why) => {
                found.lack("memory_used_pct", why);
                return found;
            }
        };
        // Available, not free: what the kernel keeps of files is given back when somebody asks.
        match (kib(text, "MemTotal:"), kib(text, "MemAvailable:")) {
            (Some(total), Some(available)) if total > 0.0 => {
                found.put("memory_used_bytes", (total - available) * 1024.0);
                found.put("memory_used_pct", ((total - available) * 1000.0 / total).round() / 10.0);
            }
            _ => found.lack("memory_used_pct", "/proc/meminfo is not as expected"),
        }
        match (kib(text, "SwapTotal:"), kib(text, "SwapFree:")) {
            (Some(total), Some(free)) if total > 0.0 => found.put("swap_used_bytes", (total - free) * 1024.0),
            _ => found.lack("swap_used_bytes", "there is no swap"),
        }
        if let Some(killed) = self.counts.read(host).ok().and_then(|text| kib(text, "oom_kill ")) {
            found.put("oom_kills_count", killed);
        }
        found
    }
}
