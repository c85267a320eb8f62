//! What the agent itself takes. The recorder is a process of its own and not in it.

use std::time::Duration;

use super::Collector;
use crate::model::reading::{Found, Group};
use crate::platform::host::{Host, kib};

/// The agent's processor time.
#[derive(Debug, Default)]
pub struct Own {
    last: Option<(Duration, f64)>,
}

impl Collector for Own {
    fn name(&self) -> &'static str {
        "agent"
    }

    fn group(&self) -> Group {
        Group::Sys
    }

    fn collect(&mut self, _host: &Host, now: Duration) -> Found {
        let mut found = Found::default();
        let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let used = t.tv_sec as f64 + t.tv_nsec as f64 / 1e9;
        if let Some((then, before)) = self.last {
            let s = now.saturating_sub(then).as_secs_f64();
            if s > 0.1 {
                found.put("agent_cpu_pct", (used - before) * 100.0 / s);
            }
        }
        self.last = Some((now, used));
        found
    }
}

/// Its memory. Told with what hardly ever changes.
#[derive(Debug, Default)]
pub struct OwnMemory;

impl Collector for OwnMemory {
    fn name(&self) -> &'static str {
        "agent memory"
    }

    fn group(&self) -> Group {
        Group::Agent
    }

    fn every(&self) -> Duration {
        // The kernel walks all our pages for it.
        Duration::from_secs(5 * 60)
    }

    fn collect(&mut self, _host: &Host, _now: Duration) -> Found {
        let mut found = Found::default();
        match own_memory() {
            // A tenth of a megabyte more or less is no news.
            Some(bytes) => found.put("agent_memory_bytes", (bytes / 1e5).round() * 1e5),
            None => {
                found.lack("agent_memory_bytes", "the kernel does not tell shares of memory (smaps_rollup)");
            }
        }
        found
    }
}

/// Own memory, what is shared counted by halves (PSS). Always of this machine: it is ours.
fn own_memory() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    kib(&text, "Pss:").map(|kib| kib * 1024.0)
}
