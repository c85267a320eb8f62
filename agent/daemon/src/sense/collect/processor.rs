//! Processor: busy, waiting for the disk, load. From `/proc/stat` and `/proc/loadavg`.

use std::time::Duration;

use super::Collector;
use crate::model::reading::{Found, Group};
use crate::platform::host::{Host, Source};

/// The processor.
#[derive(Debug)]
pub struct Processor {
    stat: Source,
    load: Source,
    last: Option<Ticks>,
}

impl Default for Processor {
    fn default() -> Self {
        Self { stat: Source::at("proc/stat"), load: Source::at("proc/loadavg"), last: None }
    }
}

/// Time since boot, in ticks of all processors together.
#[derive(Debug, Clone, Copy)]
struct Ticks {
    all: f64,
    idle: f64,
    waiting: f64,
}

impl Ticks {
    /// `cpu user nice system idle iowait irq softirq steal …`; what follows is counted in user already.
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let mut fields = [0.0; 8];
        let mut seen = 0;
        for (field, word) in fields.iter_mut().zip(line.split_ascii_whitespace()) {
            *field = word.parse().ok()?;
            seen += 1;
        }
        let [_, _, _, idle, waiting, ..] = fields;
        (seen > 4).then(|| Self { all: fields.iter().sum(), idle, waiting })
    }
}

impl Collector for Processor {
    fn name(&self) -> &'static str {
        "processor"
    }

    fn group(&self) -> Group {
        Group::Sys
    }

    fn collect(&mut self, host: &Host, _now: Duration) -> Found {
        let mut found = Found::default();
        match self.stat.read(host) {
            Err(why) => found.lack("cpu_pct", why),
            Ok(text) => match Ticks::parse(text) {
                None => found.lack("cpu_pct", "/proc/stat is not as expected"),
                Some(now) => {
                    // The first reading has nothing to compare with: a rate needs two.
                    let all = self.last.map_or(0.0, |last| now.all - last.all);
                    if let Some(last) = self.last.filter(|_| all > 0.0) {
                        let idle = now.idle - last.idle + now.waiting - last.waiting;
                        found.put("cpu_pct", tenth((100.0 - idle * 100.0 / all).clamp(0.0, 100.0)));
                        let waiting = (now.waiting - last.waiting) * 100.0 / all;
                        found.put("cpu_wait_pct", tenth(waiting.clamp(0.0, 100.0)));
                    }
                    self.last = Some(now);
                }
            },
        }
        let load = self.load.read(host).and_then(|text| {
            let first = text.split(' ').next().and_then(|word| word.parse().ok());
            first.ok_or_else(|| "/proc/loadavg is not as expected".to_owned())
        });
        found.read("load1_load", load);
        found
    }
}

/// Finer is noise.
fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
