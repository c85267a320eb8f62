//! Readings of the machine, by sysinfo where it has them and by procfs where it has not.
//!
//! Only what is asked for is refreshed: refreshing everything costs a hundred times more. What cannot
//! be read is absent, never zero.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lectern_base::clock;
use sysinfo::{Components, CpuRefreshKind, MemoryRefreshKind, Networks, RefreshKind, System};

/// Readings by name, with unit suffix.
pub type Readings = BTreeMap<String, f64>;

/// The machine.
pub struct Host {
    system: Option<System>,
    networks: Option<Networks>,
    components: Option<Components>,
    data_dir: PathBuf,
    last: Option<Last>,
}

struct Last {
    at: Duration,
    own_cpu_s: f64,
}

impl Host {
    /// Opens what is read again and again.
    #[must_use]
    pub fn open(data_dir: &Path) -> Self {
        fn opened<T>(what: &str, outcome: Result<T, sysinfo::Error>) -> Option<T> {
            outcome.map_err(|e| tracing::warn!("{what} cannot be read here: {e}")).ok()
        }
        let what = RefreshKind::nothing().with_memory(MemoryRefreshKind::everything());
        let what = what.with_cpu(CpuRefreshKind::nothing().with_usage());
        Self {
            system: opened("processor and memory", System::new_with_specifics(what)),
            networks: opened("network", Networks::new_with_refreshed_list()),
            components: opened("temperatures", Components::new_with_refreshed_list()),
            data_dir: data_dir.to_owned(),
            last: None,
        }
    }

    /// Reads everything once. Rates are over the time since the last reading, absent in the first.
    pub fn read(&mut self) -> Readings {
        let now = clock::mono();
        let mut out = Readings::new();
        let mut put = |name: &str, value: f64| {
            if value.is_finite() {
                out.insert(name.to_owned(), (value * 100.0).round() / 100.0);
            }
        };
        let elapsed =
            self.last.as_ref().map(|last| (now.saturating_sub(last.at)).as_secs_f64()).filter(|s| *s > 0.1);

        if let Some(system) = &mut self.system {
            system.refresh_cpu_usage();
            system.refresh_memory();
            if elapsed.is_some() {
                put("cpu_pct", f64::from(system.global_cpu_usage()));
            }
            let (total, used) = (system.total_memory(), system.used_memory());
            if total > 0 {
                put("memory_total_bytes", total as f64);
                put("memory_used_bytes", used as f64);
                put("memory_used_pct", used as f64 * 100.0 / total as f64);
                put("swap_used_bytes", system.used_swap() as f64);
            }
        }
        if let Ok(load) = System::load_average() {
            put("load1_load", load.one);
        }

        // One statvfs on our own volume: asking every mount would hang on a dead network share.
        if let Ok(stat) = rustix::fs::statvfs(&self.data_dir) {
            let bytes = |blocks: u64| blocks as f64 * stat.f_frsize as f64;
            let (used, free) = (bytes(stat.f_blocks.saturating_sub(stat.f_bfree)), bytes(stat.f_bavail));
            // As df counts: what only root may use is neither used nor free.
            if used + free > 0.0 {
                put("disk_free_bytes", free);
                put("disk_used_pct", used * 100.0 / (used + free));
            }
        }

        if let Some(components) = &mut self.components {
            components.refresh(false);
            let hottest =
                components.iter().filter_map(sysinfo::Component::temperature).fold(f32::NAN, f32::max);
            put("temperature_celsius", f64::from(hottest));
        }

        if let Some(networks) = &mut self.networks {
            networks.refresh(true);
            let outside = || networks.iter().filter(|(name, _)| *name != "lo");
            let (rx, tx) =
                outside().fold((0, 0), |(rx, tx), (_, n)| (rx + n.received(), tx + n.transmitted()));
            if let (Some(elapsed), Some(_)) = (elapsed, outside().next()) {
                put("net_rx_bps", rx as f64 * 8.0 / elapsed);
                put("net_tx_bps", tx as f64 * 8.0 / elapsed);
            }
        }
        if let Ok(uptime) = System::uptime() {
            put("uptime_s", uptime as f64);
        }

        if let Some(memory) = own_memory() {
            put("agent_memory_bytes", memory);
        }
        if let Some(own_cpu_s) = own_cpu() {
            if let (Some(last), Some(elapsed)) = (&self.last, elapsed) {
                put("agent_cpu_pct", (own_cpu_s - last.own_cpu_s) * 100.0 / elapsed);
            }
            self.last = Some(Last { at: now, own_cpu_s });
        }
        out
    }

    /// Processor model and count, memory in bytes, system name, kernel release.
    #[must_use]
    pub fn inventory() -> (String, u32, u64, String, String) {
        let os = System::long_os_version().unwrap_or_default();
        let kernel = System::kernel_version().unwrap_or_default();
        let Ok(mut system) = System::new() else { return (String::new(), 0, 0, os, kernel) };
        system.refresh_cpu_list(CpuRefreshKind::nothing());
        system.refresh_memory();
        let cpu = system.cpus().first().map(|c| c.brand().trim().to_owned()).unwrap_or_default();
        let count = u32::try_from(system.cpus().len()).unwrap_or(0);
        (cpu, count, system.total_memory(), os, kernel)
    }
}

/// Own resident memory, proportionally shared (PSS) where the kernel says it.
fn own_memory() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| kib * 1024.0)
}

/// Own processor time so far, seconds: the recorder is a process of its own and not in it.
fn own_cpu() -> Option<f64> {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(t.tv_sec as f64 + t.tv_nsec as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_have_units_and_are_believable() {
        let mut host = Host::open(Path::new("/"));
        let first = host.read();
        assert!(!first.contains_key("cpu_pct"), "a rate needs two readings");
        std::thread::sleep(Duration::from_millis(250));
        let values = host.read();
        let sample = lectern_wire::telemetry::Sample { ts: 0, values: values.clone() };
        assert!(lectern_wire::telemetry::well_formed(&sample), "{values:?}");
        assert!((0.0..=100.0).contains(&values["cpu_pct"]));
        assert!(
            values["memory_used_bytes"] > 0.0 && values["memory_used_bytes"] < values["memory_total_bytes"]
        );
        assert!(values["uptime_s"] > 0.0 && values["agent_memory_bytes"] > 100_000.0);
    }
}
