//! The disk that lessons are kept on, and how busy the disks are.
//!
//! One statvfs on our own volume: asking every mount would hang on a dead network share.

use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::StatVfsMountFlags;

use super::Collector;
use crate::model::reading::{Found, Group};
use crate::platform::host::{Host, Source};

/// The kernel counts sectors of 512 bytes, whatever the disk's own are.
const SECTOR_BITS: f64 = 512.0 * 8.0;

/// The volume of a folder.
#[derive(Debug)]
pub struct Volume {
    folder: PathBuf,
}

impl Volume {
    /// The volume that holds `folder`.
    #[must_use]
    pub fn of(folder: PathBuf) -> Self {
        Self { folder }
    }
}

impl Collector for Volume {
    fn name(&self) -> &'static str {
        "volume"
    }

    fn group(&self) -> Group {
        Group::Sys
    }

    fn collect(&mut self, _host: &Host, _now: Duration) -> Found {
        let mut found = Found::default();
        match rustix::fs::statvfs(&self.folder) {
            Err(e) => found.lack("disk_used_pct", format!("{}: {e}", self.folder.display())),
            Ok(stat) => {
                let bytes = |blocks: u64| blocks as f64 * stat.f_frsize as f64;
                let (used, free) = (bytes(stat.f_blocks.saturating_sub(stat.f_bfree)), bytes(stat.f_bavail));
                // As df counts: what only root may use is neither used nor free.
                if used + free > 0.0 {
                    found.put("disk_free_bytes", free);
                    found.put("disk_used_pct", (used * 1000.0 / (used + free)).round() / 10.0);
                }
                // A sick disk's file system goes read-only by itself.
                let refused = stat.f_flag.contains(StatVfsMountFlags::RDONLY);
                found.count("disk_readonly_count", usize::from(refused));
            }
        }
        found
    }
}

/// What goes to and from the disks, from `/proc/diskstats`.
#[derive(Debug)]
pub struct Traffic {
    counts: Source,
    disks: Vec<String>,
    last: Option<(Duration, Counts)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    read: f64,
    written: f64,
    busy_ms: f64,
}

impl Default for Traffic {
    fn default() -> Self {
        Self { counts: Source::at("proc/diskstats"), disks: Vec::new(), last: None }
    }
}

/// The sum over these disks.
fn count(disks: &[String], text: &str) -> Counts {
    let mut sum = Counts::default();
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace().skip(2);
        if !fields.next().is_some_and(|name| disks.iter().any(|disk| disk == name)) {
            continue;
        }
        // Counted from the name: reads, merged, sectors, ms; the same of writes; under way, ms busy.
        let numbers: Vec<f64> = fields.map(|field| field.parse().unwrap_or(0.0)).collect();
        let number = |n: usize| numbers.get(n).copied().unwrap_or(0.0);
        sum.read += number(2);
        sum.written += number(6);
        sum.busy_ms += number(9);
    }
    sum
}

impl Collector for Traffic {
    fn name(&self) -> &'static str {
        "disk"
    }

    fn group(&self) -> Group {
        Group::Sys
    }

    fn collect(&mut self, host: &Host, now: Duration) -> Found {
        let mut found = Found::default();
        if self.disks.is_empty() {
            // Disks have a device behind them; partitions, loops, RAM disks and mappings have none.
            let disks = host.list("sys/block");
            self.disks =
                disks.into_iter().filter(|name| host.has(&format!("sys/block/{name}/device"))).collect();
        }
        if self.disks.is_empty() {
            found.lack("disk_busy_pct", "the kernel names no disk");
            return found;
        }
        let sum = match self.counts.read(host) {
            Ok(text) => count(&self.disks, text),
            Err(why) => {
                found.lack("disk_busy_pct", why);
                return found;
            }
        };
        if let Some((then, last)) = self.last {
            let s = now.saturating_sub(then).as_secs_f64();
            // Fewer than before: a disk was pulled out.
            if s > 0.1 && sum.busy_ms >= last.busy_ms {
                found.put("disk_read_bps", ((sum.read - last.read).max(0.0) * SECTOR_BITS / s).round());
                found
                    .put("disk_write_bps", ((sum.written - last.written).max(0.0) * SECTOR_BITS / s).round());
                let busy = (sum.busy_ms - last.busy_ms) / (s * 10.0);
                found.put("disk_busy_pct", ((busy * 10.0).round() / 10.0).clamp(0.0, 100.0));
            }
        }
        self.last = Some((now, sum));
        found
    }
}
