//! Wi-Fi: the signal of the interface that is associated, from `/proc/net/wireless`.

use std::time::Duration;

use super::Collector;
use crate::model::reading::{Found, Group};
use crate::platform::host::{Host, Source};

/// The wireless link.
#[derive(Debug)]
pub struct Wireless {
    links: Source,
}

impl Default for Wireless {
    fn default() -> Self {
        Self { links: Source::at("proc/net/wireless") }
    }
}

impl Collector for Wireless {
    fn name(&self) -> &'static str {
        "wireless"
    }

    fn group(&self) -> Group {
        Group::Net
    }

    fn collect(&mut self, host: &Host, _now: Duration) -> Found {
        let mut found = Found::default();
        let text = match self.links.read(host) {
            Ok(text) => text,
            Err(why) => {
                found.lack(
                    "wifi_signal_dbm",
                    format!("{why} (no Wi-Fi, or a kernel without wireless extensions)"),
                );
                return found;
            }
        };
        // `wlan0: 0000   54.  -56.  -256 …`: status, link, level, noise.
        let signal = text.lines().skip(2).find_map(|line| {
            let (_, numbers) = line.split_once(':')?;
            let level = numbers.split_whitespace().nth(2)?.trim_end_matches('.');
            level.parse::<f64>().ok().filter(|dbm| (-120.0..0.0).contains(dbm))
        });
        match signal {
            Some(dbm) => found.put("wifi_signal_dbm", dbm),
            None => found.lack("wifi_signal_dbm", "no Wi-Fi is connected"),
        }
        found
    }
}
