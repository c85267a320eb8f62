//! What this hub is called: in its certificate, and on the cards.

use std::net::IpAddr;

use crate::config::Config;
use crate::config::tls::Kind;

/// Addresses of a machine that a certificate names at most: containers bring many.
const MOST: usize = 30;

/// Every name and address a room may call the hub by.
#[must_use]
pub fn all(config: &Config) -> Vec<String> {
    let mut names = config.tls.names.clone();
    names.extend(host());
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    let listens = [config.http_listen.ip(), config.mqtt_listen.ip()];
    names.extend(listens.iter().filter(|ip| !ip.is_unspecified()).map(ToString::to_string));
    if listens.iter().any(IpAddr::is_unspecified) {
        names.extend(addresses().into_iter().take(MOST).map(|ip| ip.to_string()));
    }
    names.sort();
    names.dedup();
    names
}

/// What stands on a card: host and port, or a whole address where a proxy is in front.
#[must_use]
pub fn on_cards(config: &Config, port: u16) -> String {
    let listens = config.http_listen.ip();
    let name = config.tls.names.first().cloned().unwrap_or_else(|| {
        if !listens.is_unspecified() {
            return listens.to_string();
        }
        let first = addresses().into_iter().find(IpAddr::is_ipv4).map(|ip| ip.to_string());
        first.or_else(host).unwrap_or_else(|| "localhost".into())
    });
    let bracketed = if name.contains(':') { format!("[{name}]") } else { name };
    match config.tls.kind {
        Kind::Proxy => format!("https://{bracketed}"),
        _ if config.http_tls() => format!("{bracketed}:{port}"),
        _ => format!("http://{bracketed}:{port}"),
    }
}

/// This machine's name.
fn host() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = text.trim().to_ascii_lowercase();
    let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'.';
    (!name.is_empty() && name.len() <= 253 && name.bytes().all(plain)).then_some(name)
}

/// Its addresses that others may reach it at, sorted.
fn addresses() -> Vec<IpAddr> {
    let reachable = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        // Neither loopback nor link-local, which nobody can call without naming the interface.
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    };
    let networks = sysinfo::Networks::new_with_refreshed_list();
    let all = networks.iter().flat_map(|(_, network)| network.ip_networks().iter().map(|n| n.addr));
    let mut found: Vec<_> = all.filter(reachable).collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn a_card_says_what_a_room_is_to_call() {
        let card = |text: &str| on_cards(&parse(text).expect("sound"), 8470);
        assert_eq!(card("[tls]\nnames = ['hub.school', '10.0.0.5']\n"), "hub.school:8470");
        assert_eq!(card("[tls]\nnames = ['fd00::5']\n"), "[fd00::5]:8470");
        assert_eq!(card("[tls]\nkind = 'proxy'\nnames = ['hub.school']\n"), "https://hub.school");
        assert_eq!(card("[http]\nlisten = '10.0.0.7:8470'\n"), "10.0.0.7:8470");
        assert_eq!(card("[http]\nlisten = '127.0.0.1:8470'\n"), "http://127.0.0.1:8470");
        assert!(card("").ends_with(":8470"));
    }

    #[test]
    fn the_certificate_is_for_every_name_of_the_hub() {
        let config = parse("[tls]\nnames = ['hub.school']\n[http]\nlisten = '10.0.0.7:8470'\n").expect("sound");
        let names = all(&config);
        for name in ["hub.school", "localhost", "127.0.0.1", "::1", "10.0.0.7"] {
            assert!(names.iter().any(|n| n == name), "{name} in {names:?}");
        }
    }
}
