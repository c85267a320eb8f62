//! WS-Discovery: who in the network is a camera. Asks by multicast on every interface and takes what comes back.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use lectern_base::{chance, clock};
use url::{Host, Url};

use super::xml;

/// Where devices listen for questions.
const GROUP: (Ipv4Addr, u16) = (Ipv4Addr::new(239, 255, 255, 250), 3702);
/// The question is asked again after so long: a datagram may be lost.
const AGAIN: [Duration; 3] = [Duration::ZERO, Duration::from_millis(300), Duration::from_millis(1200)];
/// Most answers taken from one interface; a school has fewer cameras, a flood has more.
const MOST: usize = 500;
/// Longest name that is shown, characters.
const MAX_NAME: usize = 80;

/// What answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Where from.
    pub address: Ipv4Addr,
    /// As it calls itself.
    pub name: String,
    /// Its model.
    pub hardware: String,
    /// Where it takes requests, or why none can be sent there.
    pub service: Result<Url, String>,
}

/// The IPv4 addresses of this machine's interfaces, without the loopback's. By the kernel's table of routes, which is
/// that of this very process's network; the folders of `/sys` may belong to another, as in a container.
///
/// # Errors
/// A sentence when the system does not list them.
pub fn interfaces() -> Result<Vec<Ipv4Addr>, String> {
    let table = std::fs::read_to_string("/proc/self/net/fib_trie");
    let table = table.map_err(|e| format!("this machine's network addresses cannot be listed: {e}"))?;
    Ok(local(&table))
}

/// The addresses that are this machine's own in `/proc/net/fib_trie`: a line `|-- 10.0.0.2`, then `/32 host LOCAL`.
fn local(table: &str) -> Vec<Ipv4Addr> {
    let (mut last, mut found) = (None, Vec::new());
    for line in table.lines() {
        match line.split_once("|-- ") {
            Some((_, address)) => last = address.trim().parse::<Ipv4Addr>().ok(),
            None if line.trim() == "/32 host LOCAL" => found.extend(last.filter(|a| !a.is_loopback())),
            None => {}
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Asks on all interfaces at once; gives what answered, by address, and what went wrong.
pub fn probe(interfaces: &[Ipv4Addr], wait: Duration) -> (Vec<Answer>, Vec<String>) {
    let asked: Vec<_> =
        interfaces.iter().map(|&address| (address, std::thread::spawn(move || ask(address, wait)))).collect();
    let (mut answers, mut problems) = (BTreeMap::new(), Vec::new());
    for (address, thread) in asked {
        match thread.join() {
            Ok(Ok((found, mut refused))) => {
                problems.append(&mut refused);
                for answer in found {
                    // A machine that is reached by two interfaces answers twice; what can be used counts.
                    let usable = answer.service.is_ok();
                    let known = answers.entry(answer.address).or_insert_with(|| answer.clone());
                    if known.service.is_err() && usable {
                        *known = answer;
                    }
                }
            }
            Ok(Err(e)) => problems.push(format!("the interface {address} cannot be asked: {e}")),
            Err(_) => problems.push(format!("asking on the interface {address} broke off")),
        }
    }
    problems.sort();
    problems.dedup();
    (answers.into_values().collect(), problems)
}

/// Asks on one interface. Bound to its address, a question leaves by it and by no other.
fn ask(interface: Ipv4Addr, wait: Duration) -> std::io::Result<(Vec<Answer>, Vec<String>)> {
    let socket = UdpSocket::bind((interface, 0))?;
    let question = question(&chance::hex::<16>());
    let start = clock::mono();
    let (mut sent, mut heard) = (0, 0);
    let (mut answers, mut problems) = (Vec::new(), Vec::new());
    let mut bytes = vec![0; 64 * 1024];
    while clock::mono() - start < wait {
        if AGAIN.get(sent).is_some_and(|after| clock::mono() - start >= *after) {
            socket.send_to(question.as_bytes(), GROUP)?;
            sent += 1;
        }
        let next = AGAIN.get(sent).map_or(wait, |after| (*after).min(wait));
        let left = (start + next).saturating_sub(clock::mono()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left))?;
        match socket.recv_from(&mut bytes) {
            Ok((n, SocketAddr::V4(from))) => {
                heard += 1;
                if heard > MOST {
                    problems
                        .push(format!("more than {MOST} answers came on {interface}; the rest is not read"));
                    break;
                }
                match read(bytes.get(..n).unwrap_or_default(), *from.ip()) {
                    Ok(answer) => answers.extend(answer),
                    Err(e) => problems.push(format!("{} answered something that is refused: {e}", from.ip())),
                }
            }
            Ok(_) => {}
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(e) => return Err(e),
        }
    }
    Ok((answers, problems))
}

fn question(id: &str) -> String {
    let part = |range: std::ops::Range<usize>| id.get(range).unwrap_or_default();
    let uuid = [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-");
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" \
         xmlns:d=\"http://schemas.xmlsoap.org/ws/2005/04/discovery\" \
         xmlns:dn=\"http://www.onvif.org/ver10/network/wsdl\">\
         <s:Header><a:Action s:mustUnderstand=\"1\">http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</a:Action>\
         <a:MessageID>uuid:{uuid}</a:MessageID>\
         <a:ReplyTo><a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address></a:ReplyTo>\
         <a:To s:mustUnderstand=\"1\">urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To></s:Header>\
         <s:Body><d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types></d:Probe></s:Body></s:Envelope>"
    )
}

/// Reads an answer: the cameras in it; printers and the like answer too, and are none.
fn read(bytes: &[u8], from: Ipv4Addr) -> Result<Vec<Answer>, String> {
    xml::read(bytes, |root| {
        let matches = xml::all(root, "ProbeMatch");
        let cameras = matches.filter(|m| xml::text(*m, "Types").contains("NetworkVideoTransmitter"));
        cameras
            .take(1)
            .map(|camera| {
                let long = |name| xml::first(camera, name).and_then(|n| n.text()).unwrap_or_default();
                let (name, hardware) = (scope(long("Scopes"), "name"), scope(long("Scopes"), "hardware"));
                Answer { address: from, name, hardware, service: service(long("XAddrs"), from) }
            })
            .collect()
    })
}

/// What a camera says of itself in one of its scopes: `onvif://www.onvif.org/name/Front%20door`.
fn scope(scopes: &str, kind: &str) -> String {
    let start = format!("onvif://www.onvif.org/{kind}/");
    let value = scopes.split_whitespace().find_map(|scope| {
        let same = scope.get(..start.len()).is_some_and(|s| s.eq_ignore_ascii_case(&start));
        same.then(|| scope.get(start.len()..).unwrap_or_default())
    });
    xml::plain(&decoded(value.unwrap_or_default())).chars().take(MAX_NAME).collect()
}

/// A text with `%20` and the like.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digit = |n: usize| after.get(n).and_then(|b| char::from(*b).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The address for requests: of those named, one of the machine that answered. Another machine is never asked: it
/// would get the digest of a password that was meant for this one.
fn service(named: &str, from: Ipv4Addr) -> Result<Url, String> {
    let all: Vec<Url> = named.split_whitespace().take(16).filter_map(|text| Url::parse(text).ok()).collect();
    let own: Vec<_> = all.iter().filter(|url| url.host() == Some(Host::Ipv4(from))).collect();
    if let Some(url) = own.iter().find(|url| url.scheme() == "http") {
        return Ok((*url).clone());
    }
    if let Some(url) = own.first() {
        return Err(format!(
            "it takes requests only by {}, which Lectern does not speak to cameras",
            url.scheme()
        ));
    }
    Err(match all.iter().find_map(Url::host_str) {
        Some(host) => format!("it answered from {from} and names {host} for requests, which is not asked"),
        None => "it names no address for requests".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 64);

    /// Three makers' shapes, shortened where they repeat themselves.
    const HIKVISION: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<env:Envelope xmlns:env="http://www.w3.org/2003/05/soap-envelope" xmlns:wsadis="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:dn="http://www.onvif.org/ver10/network/wsdl" xmlns:tds="http://www.onvif.org/ver10/device/wsdl"><env:Header><wsadis:MessageID>urn:uuid:1</wsadis:MessageID></env:Header><env:Body><d:ProbeMatches><d:ProbeMatch><wsadis:EndpointReference><wsadis:Address>urn:uuid:2</wsadis:Address></wsadis:EndpointReference><d:Types>dn:NetworkVideoTransmitter tds:Device</d:Types><d:Scopes>onvif://www.onvif.org/type/video_encoder onvif://www.onvif.org/hardware/DS-2CD2143G0-I onvif://www.onvif.org/name/HIKVISION%20DS-2CD2143G0-I onvif://www.onvif.org/location/city/hangzhou</d:Scopes><d:XAddrs>http://192.168.1.64/onvif/device_service http://[fe80::c256:e3ff:fe00:1]/onvif/device_service</d:XAddrs><d:MetadataVersion>10</d:MetadataVersion></d:ProbeMatch></d:ProbeMatches></env:Body></env:Envelope>"#;

    fn one(text: &str) -> Answer {
        let mut all = read(text.as_bytes(), FROM).expect("an answer");
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    #[test]
    fn a_cameras_answer_is_read_in_its_makers_shape() {
        let answer = one(HIKVISION);
        assert_eq!(
            (answer.name.as_str(), answer.hardware.as_str()),
            ("HIKVISION DS-2CD2143G0-I", "DS-2CD2143G0-I")
        );
        assert_eq!(answer.service.map(String::from), Ok("http://192.168.1.64/onvif/device_service".into()));
        // Default namespaces, line breaks between scopes, a port of its own, a name in Chinese.
        let other = HIKVISION
            .replace(
                "onvif://www.onvif.org/name/HIKVISION%20DS-2CD2143G0-I",
                "\n ONVIF://www.onvif.org/Name/%E5%90%8E%E5%A2%99",
            )
            .replace("http://192.168.1.64/", "http://192.168.1.64:2020/");
        let answer = one(&other);
        assert_eq!(answer.name, "后墙");
        assert_eq!(
            answer.service.map(String::from),
            Ok("http://192.168.1.64:2020/onvif/device_service".into())
        );
    }

    #[test]
    fn what_is_no_camera_is_passed_over_and_what_is_no_answer_refused() {
        let printer =
            HIKVISION.replace("dn:NetworkVideoTransmitter tds:Device", "wsdp:Device pri:PrintDeviceType");
        assert_eq!(read(printer.as_bytes(), FROM), Ok(Vec::new()));
        assert_eq!(read(b"<a/>", FROM), Ok(Vec::new()));
        for rubbish in ["", "hello", "<a>", "\u{0}\u{1}"] {
            assert!(read(rubbish.as_bytes(), FROM).is_err(), "{rubbish:?}");
        }
    }

    #[test]
    fn another_machine_than_the_one_that_answered_is_never_asked() {
        let named = |text: &str| service(text, FROM).map(String::from);
        let fault = named("http://10.0.0.1/onvif http://evil.example/onvif").expect_err("refused");
        assert!(fault.contains("192.168.1.64") && fault.contains("10.0.0.1"), "{fault}");
        assert!(named("http://192.168.1.64.evil.example/").is_err());
        assert!(named("http://192.168.1.64@evil.example/").is_err());
        assert!(named("file:///etc/passwd").is_err() && named("").is_err());
        assert!(named("https://192.168.1.64/onvif").expect_err("no https").contains("https"));
        assert!(
            named("http://10.0.0.1/a http://192.168.1.64/b").is_ok(),
            "the one of several that is its own"
        );
    }

    #[test]
    fn names_cannot_move_the_cursor_nor_fill_the_screen() {
        let scopes = format!("onvif://www.onvif.org/name/%1B%5B2J{}", "x".repeat(900));
        let name = scope(&scopes, "name");
        assert!(name.starts_with("[2Jx") && name.chars().count() == MAX_NAME, "{name}");
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%zz%4"), "%zz%4");
    }

    #[test]
    fn own_addresses_are_told_from_networks_and_broadcasts() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
                     +-- 10.77.0.0/24 2 0 2\n        |-- 10.77.0.0\n           /24 link UNICAST\n\
                     |-- 10.77.0.1\n           /32 host LOCAL\n        |-- 10.77.0.255\n           /32 link BROADCAST\n\
                     |-- 127.0.0.1\n           /32 host LOCAL\nLocal:\n        |-- 10.77.0.1\n           /32 host LOCAL\n";
        assert_eq!(local(table), [Ipv4Addr::new(10, 77, 0, 1)]);
        assert_eq!(local(""), Vec::<Ipv4Addr>::new());
    }

    #[test]
    fn two_questions_differ() {
        let id = "00112233445566778899aabbccddeeff";
        assert!(question(id).contains("uuid:00112233-4455-6677-8899-aabbccddeeff"));
    }

    #[test]
    fn whatever_answers_a_search_is_read_or_refused() {
        use lectern_base::mangle::{PLAIN, mangle};
        mangle(crate::mangled::repository(), "onvif", &[], PLAIN, |bytes| {
            drop(read(bytes, Ipv4Addr::LOCALHOST));
        });
    }
}
