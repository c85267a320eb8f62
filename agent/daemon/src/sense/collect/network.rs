//! The network: what goes through, whether the link is up and how fast, errors, what had to be sent again.

use std::time::Duration;

use super::Collector;
use crate::model::reading::{Found, Group};
use crate::platform::host::{Host, Source};

/// All interfaces but those of this machine alone.
#[derive(Debug)]
pub struct Network {
    traffic: Source,
    routes: Source,
    segments: Source,
    /// Of the interface with the way out.
    uplink: Option<Uplink>,
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

/// What the kernel says of one interface.
#[derive(Debug)]
struct Uplink {
    name: String,
    carrier: Source,
    speed: Source,
}

impl Uplink {
    fn of(name: String) -> Self {
        let file = |what| Source::at(format!("sys/class/net/{name}/{what}"));
        Self { carrier: file("carrier"), speed: file("speed"), name }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            traffic: Source::at("proc/net/dev"),
            routes: Source::at("proc/net/route"),
            segments: Source::at("proc/net/snmp"),
            uplink: None,
            last: None,
            resent: None,
        }
    }
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
            let mut n = [0.0; 16];
            for (n, word) in n.iter_mut().zip(numbers.split_ascii_whitespace()) {
                *n = word.parse().unwrap_or(0.0);
            }
            sum.received += n[0];
            sum.sent += n[8];
            sum.errors += n[2] + n[10];
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
fn uplink(routes: &str) -> Option<&str> {
    let routes = routes.lines().skip(1).filter_map(|line| {
        // Interface, destination, gateway, flags, references, uses, metric, mask.
        let mut fields = line.split_ascii_whitespace();
        let (name, destination) = (fields.next()?, fields.next()?);
        let (metric, mask) = (fields.nth(4)?, fields.next()?);
        let everywhere = destination == "00000000" && mask == "00000000";
        everywhere.then_some((metric.parse::<u32>().ok()?, name))
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
        match self.traffic.read(host) {
            Err(why) => found.lack("net_rx_bps", why),
            Ok(text) => {
                let sum = Counts::parse(text);
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
        let name = self.routes.read(host).ok().and_then(uplink);
        if name != self.uplink.as_ref().map(|uplink| uplink.name.as_str()) {
            self.uplink = name.map(|name| Uplink::of(name.to_owned()));
        }
        match &mut self.uplink {
            None => {
                found.count("net_up_count", 0);
                found.lack("net_link_bps", "no interface has a way out (no default route)");
            }
            Some(Uplink { name, carrier, speed }) => {
                let up = carrier.number(host) == Some(1.0);
                found.count("net_up_count", usize::from(up));
                found.say("net_interface", name.as_str());
                // Wi-Fi and virtual interfaces have no speed: the kernel answers with an error or -1.
                match speed.number(host).filter(|mbps| *mbps > 0.0) {
                    Some(mbps) => found.put("net_link_bps", mbps * 1e6),
                    None => found.lack("net_link_bps", "this interface has no fixed speed"),
                }
            }
        }
        if let Some((sent, resent)) = self.segments.read(host).ok().and_then(segments) {
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
