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

/// Its addresses that others may reach it at, sorted. From the kernel's tables: the unit file leaves the hub no socket to ask it by.
fn addresses() -> Vec<IpAddr> {
    let read = |name: &str| {
        std::fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_else(|e| {
            tracing::debug!("/proc/net/{name} cannot be read, so its addresses are not known: {e}");
            String::new()
        })
    };
    let mut found: Vec<_> = four(&read("fib_trie")).chain(six(&read("if_inet6"))).collect();
    found.sort();
    found.dedup();
    found
}

/// `|-- 10.0.0.5`, and below it `/32 host LOCAL`.
fn four(trie: &str) -> impl Iterator<Item = IpAddr> {
    let lines = trie.lines().zip(trie.lines().skip(1));
    lines.filter(|(_, below)| below.trim() == "/32 host LOCAL").filter_map(|(line, _)| {
        let ip: std::net::Ipv4Addr = line.trim().strip_prefix("|-- ")?.parse().ok()?;
        (!ip.is_loopback() && !ip.is_link_local()).then_some(ip.into())
    })
}

/// An address in hexadecimal digits, and its scope in the fourth column; 00 is everywhere.
fn six(table: &str) -> impl Iterator<Item = IpAddr> {
    table.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (address, scope) = (words.first()?, words.get(3)?);
        let ip = std::net::Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?);
        (*scope == "00").then_some(ip.into())
    })
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
    fn the_kernels_tables_name_this_machines_addresses() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n           |-- 10.0.0.0\n              \
                    /24 link UNICAST\n           |-- 10.0.0.5\n              /32 host LOCAL\n        |-- 10.0.0.255\n           \
                    /32 link BROADCAST\n";
        assert_eq!(four(trie).collect::<Vec<_>>(), [IpAddr::from([10, 0, 0, 5])]);
        let table = "fd000000000000000000000000000002 04 40 00 82     eth0\n\
                     fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n00000000000000000000000000000001 01 80 10 80       lo\n";
        assert_eq!(six(table).map(|ip| ip.to_string()).collect::<Vec<_>>(), ["fd00::2"]);
    }

    #[test]
    fn the_certificate_is_for_every_name_of_the_hub() {
        let config =
            parse("[tls]\nnames = ['hub.school']\n[http]\nlisten = '10.0.0.7:8470'\n").expect("sound");
        let names = all(&config);
        for name in ["hub.school", "localhost", "127.0.0.1", "::1", "10.0.0.7"] {
            assert!(names.iter().any(|n| n == name), "{name} in {names:?}");
        }
    }
}
