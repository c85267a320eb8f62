//! The network: what goes through, whether the link is up and how fast, errors, what had to be sent again.

use std::time::Duration;

use super::Collector;
use crate::model::reading::{Found, Group};
use crate::platform::host::Host;

/// All interfaces but those of this machine alone.
#[derive(Debug, Default)]
pub struct Network {
    last: Option<(Duration, Counts)>,
    resent: Option<(f64, f64)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    received: f64,
    sent: f64,
    errors: f64,
    interfaces: usize,
}

impl Counts {
    /// Lines of `/proc/net/dev`: name, then 8 numbers received and 8 sent.
    fn parse(text: &str) -> Self {
        let mut sum = Self::default();
        for line in text.lines().skip(2) {
            let Some((name, numbers)) = line.split_once(':') else { continue };
            if inside(name.trim()) {
                continue;
            }
            let n: Vec<f64> = numbers.split_whitespace().filter_map(|n| n.parse().ok()).collect();
            let at = |i: usize| n.get(i).copied().unwrap_or(0.0);
            sum.received += at(0);
            sum.sent += at(8);
            sum.errors += at(2) + at(10);
            sum.interfaces += 1;
        }
        sum
    }
}

/// Interfaces that lead nowhere outside, or that repeat what another one counts.
fn inside(name: &str) -> bool {
    name == "lo"
        || ["veth", "docker", "br-", "virbr", "ifb", "tun", "tap"].iter().any(|p| name.starts_with(p))
}

/// The interface of the default route with the lowest metric.
pub fn uplink(host: &Host) -> Option<String> {
    let text = host.read("proc/net/route").ok()?;
    let routes = text.lines().skip(1).filter_map(|line| {
        let f: Vec<&str> = line.split_whitespace().collect();
        let everywhere = *f.get(1)? == "00000000" && *f.get(7)? == "00000000";
        everywhere.then_some((f.get(6)?.parse::<u32>().ok()?, (*f.first()?).to_owned()))
    });
    routes.min().map(|(_, name)| name)
}

impl Collector for Network {
    fn name(&self) -> &'static str {
        "network"
    }

    fn group(&self) -> Group {
        Group::Net
    }

    fn collect(&mut self, host: &Host, now: Duration) -> Found {
        let mut found = Found::default();
        match host.read("proc/net/dev") {
            Err(why) => found.lack("net_rx_bps", why),
            Ok(text) => {
                let sum = Counts::parse(&text);
                if sum.interfaces == 0 {
                    found.lack("net_rx_bps", "there is no network interface");
                } else if let Some((then, last)) = self.last {
                    let s = now.saturating_sub(then).as_secs_f64();
                    // Fewer than before: an interface is gone, or was reset.
                    if s > 0.1 && sum.received >= last.received && sum.sent >= last.sent {
                        found.put("net_rx_bps", ((sum.received - last.received) * 8.0 / s).round());
                        found.put("net_tx_bps", ((sum.sent - last.sent) * 8.0 / s).round());
                    }
                }
                found.put("net_errors_count", sum.errors);
                self.last = Some((now, sum));
            }
        }
        match uplink(host) {
            None => {
                found.count("net_up_count", 0);
                found.lack("net_link_bps", "no interface has a way out (no default route)");
            }
            Some(name) => {
                let folder = format!("sys/class/net/{name}");
                let up = host.number(&format!("{folder}/carrier")) == Some(1.0);
                found.count("net_up_count", usize::from(up));
                found.say("net_interface", name);
                // Wi-Fi and virtual interfaces have no speed: the kernel answers with an error or -1.
                match host.number(&format!("{folder}/speed")).filter(|mbps| *mbps > 0.0) {
                    Some(mbps) => found.put("net_link_bps", mbps * 1e6),
                    None => found.lack("net_link_bps", "this interface has no fixed speed"),
                }
            }
        }
        if let Some((sent, resent)) = host.read("proc/net/snmp").ok().as_deref().and_then(segments) {
            if let Some((sent_before, resent_before)) = self.resent
                && sent > sent_before + 50.0
            {
                let part = (resent - resent_before) * 100.0 / (sent - sent_before);
                found.put("net_resent_pct", part.clamp(0.0, 100.0));
            }
            self.resent = Some((sent, resent));
        }
        found
    }
}

/// TCP segments sent and sent again since boot: the second line that begins with `Tcp:`, by the names in the first.
fn segments(snmp: &str) -> Option<(f64, f64)> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let of = |wanted: &str| {
        let at = names.split(' ').position(|name| name == wanted)?;
        numbers.split(' ').nth(at)?.parse::<f64>().ok()
    };
    Some((of("OutSegs")?, of("RetransSegs")?))
}
