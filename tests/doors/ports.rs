//! What listens, held against the README's table: nothing that it does not list.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{PATIENCE, house};

/// Something that listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listening {
    /// `tcp`, `udp`, `unix`.
    kind: &'static str,
    /// Where, of TCP and UDP.
    address: Option<IpAddr>,
    /// Of TCP and UDP.
    pub port: u16,
    /// Of Unix sockets: their file's name.
    name: String,
}

impl Listening {
    /// A TCP port that is none of these.
    pub fn is_tcp_but(&self, ports: &[u16]) -> bool {
        self.kind == "tcp" && !ports.contains(&self.port)
    }
}

/// What a process listens at, as the kernel has it.
pub fn listening(pid: u32) -> BTreeSet<Listening> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let links = files.filter_map(|file| std::fs::read_link(file.path()).ok());
    let own: BTreeSet<String> = links
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let table = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    let mut found = BTreeSet::new();
    // A TCP socket listens in state 0A, a UDP socket that is bound to a port and connected to nobody in 07.
    for (name, kind, state) in
        [("tcp", "tcp", "0A"), ("tcp6", "tcp", "0A"), ("udp", "udp", "07"), ("udp6", "udp", "07")]
    {
        for line in table(name).lines().skip(1) {
            let words: Vec<_> = line.split_whitespace().collect();
            if words[3] == state && own.contains(words[9]) {
                let (address, port) = words[1].split_once(':').unwrap();
                let port = u16::from_str_radix(port, 16).unwrap();
                found.insert(Listening { kind, address: Some(ip(address)), port, name: String::new() });
            }
        }
    }
    for line in table("unix").lines().skip(1) {
        let words: Vec<_> = line.split_whitespace().collect();
        // The flag of a socket that accepts connections.
        if words[3] == "00010000" && own.contains(words[6]) {
            let path = words.get(7).copied().unwrap_or_default();
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            found.insert(Listening { kind: "unix", address: None, port: 0, name });
        }
    }
    found
}

/// An address as `/proc` writes it: words of four bytes, the lowest first.
fn ip(hex: &str) -> IpAddr {
    let words: Vec<[u8; 4]> = (0..hex.len() / 8)
        .map(|n| u32::from_str_radix(&hex[n * 8..n * 8 + 8], 16).unwrap().swap_bytes().to_be_bytes())
        .collect();
    match words.as_slice() {
        [one] => Ipv4Addr::from(*one).into(),
        all => Ipv6Addr::from(<[u8; 16]>::try_from(all.concat()).unwrap()).into(),
    }
}

/// Rows of the README's table: program, what listens, and where.
fn documented(page: &str) -> Vec<(String, String)> {
    let rows = page.lines().filter(|line| line.starts_with("| `lectern"));
    let rows = rows.filter_map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let program = cells.first()?.trim_matches('`').to_owned();
        let place = cells.get(1)?.to_string();
        (place.contains("TCP") || place.contains(".sock")).then_some((program, place))
    });
    rows.collect()
}

#[test]
fn nothing_listens_that_the_readme_does_not_list() {
    let house = house();
    house.room.press("start").unwrap();
    house.room.wait_for_media(1000, PATIENCE).unwrap();
    let recorder = *house.room.recorders(&house.folder).first().unwrap();
    let programs = [
        ("lectern-hub", house.hub.process.pid()),
        ("lectern", house.room.process.pid()),
        ("lectern-recorder", recorder),
    ];
    let page = house.room.page().unwrap();
    let page: u16 = page.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
    // The ports of the settings that ship, in the place of this test's free ones.
    let shipped = |port: u16| match port {
        port if port == house.hub.http => "8470".to_owned(),
        port if port == house.hub.mqtt => "8883".to_owned(),
        port if port == page => "8471".to_owned(),
        _ => "free".to_owned(),
    };
    let readmes = [include_str!("../../README.md"), include_str!("../../README.zh-CN.md")].map(documented);
    for readme in &readmes {
        let mut listed = readme.clone();
        for (program, pid) in programs {
            for found in listening(pid) {
                let fits = |(of, place): &(String, String)| {
                    of == program
                        && match found.kind {
                            "tcp" => {
                                let port = shipped(found.port);
                                let port = port == "free" && !place.contains("84") && !place.contains("88")
                                    || place.contains(&port);
                                // Beyond loopback only what is said so; here everything listens on loopback.
                                place.contains("TCP") && port
                            }
                            "unix" => {
                                place.contains(".sock")
                                    && (place.contains(&format!("/{}", found.name))
                                        || place.contains("*.sock")
                                        || place.contains(&format!("`{}`", found.name)))
                            }
                            _ => false,
                        }
                };
                let at = listed.iter().position(fits);
                println!("{program:18}{found:?}: {}", at.map_or("NOT LISTED", |at| listed[at].1.as_str()));
                listed.remove(
                    at.unwrap_or_else(|| panic!("{program} listens at {found:?}, which no README lists")),
                );
            }
        }
        assert!(listed.is_empty(), "listed, and nobody listens: {listed:?}");
    }
    house.room.press("stop").unwrap();
    let inner = listening(house.hub.process.pid())
        .into_iter()
        .find(|l| l.is_tcp_but(&[house.hub.http, house.hub.mqtt]))
        .unwrap();
    assert!(inner.address.unwrap().is_loopback(), "the broker's own port is this machine's alone");
}
