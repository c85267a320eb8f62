//! `[tls]`: how the hub is spoken with from other machines.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use toml::Value;

use super::{Config, Reader};

/// Names in a certificate, at most.
const MOST_NAMES: usize = 50;

/// How the hub is spoken with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Whose certificate.
    pub kind: Kind,
    /// Whether TLS is spoken on loopback too.
    pub loopback: bool,
    /// What the hub is called; the first stands on the cards.
    pub names: Vec<String>,
    /// What rooms are to check a certificate by that is not of the hub's own authority; none when their system knows it.
    pub ca: Option<PathBuf>,
}

/// Whose certificate the hub shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// One of its own authority.
    Own,
    /// One that somebody else made and looks after.
    Given {
        /// The certificate first, then those that lead to its root.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// None: a reverse proxy in front of the hub speaks TLS.
    Proxy,
    /// None: nobody comes from another machine.
    Off,
}

impl Tls {
    fn at(&self, listen: SocketAddr) -> bool {
        let speaks = matches!(self.kind, Kind::Own | Kind::Given { .. });
        speaks && (self.loopback || !listen.ip().is_loopback())
    }
}

impl Config {
    /// Whether console and API are spoken to by TLS.
    #[must_use]
    pub fn http_tls(&self) -> bool {
        self.tls.at(self.http_listen)
    }

    /// Whether the broker inside is spoken to by TLS.
    #[must_use]
    pub fn mqtt_tls(&self) -> bool {
        self.tls.at(self.mqtt_listen)
    }
}

impl Reader<'_> {
    pub(super) fn tls(&mut self, ports: [(&'static str, SocketAddr); 2]) -> Tls {
        let kind = self.text("tls.kind", "own", 10);
        let given = kind == "given";
        let certificate = self.file("tls.certificate", given);
        let key = self.file("tls.key", given);
        let ca = self.file("tls.ca", false);
        let kind = match kind.as_str() {
            "own" => Kind::Own,
            "given" => {
                Kind::Given { certificate: certificate.unwrap_or_default(), key: key.unwrap_or_default() }
            }
            "proxy" => Kind::Proxy,
            "off" => Kind::Off,
            other => {
                self.fault(
                    "tls.kind",
                    &format!("must be \"own\", \"given\", \"proxy\" or \"off\", not {other:?}"),
                );
                Kind::Own
            }
        };
        if kind == Kind::Off {
            for (path, listen) in ports.into_iter().filter(|(_, listen)| !listen.ip().is_loopback()) {
                self.fault(
                    path,
                    &format!(
                        "{listen} can be reached from other machines, and passwords and lessons would cross the network \
                         for all to read: set tls.kind to \"own\", or to \"proxy\" behind a reverse proxy that speaks TLS, \
                         or listen on 127.0.0.1"
                    ),
                );
            }
        }
        let loopback = self.flag("tls.loopback", false);
        Tls { kind, loopback, names: self.names(), ca }
    }

    fn file(&mut self, path: &'static str, needed: bool) -> Option<PathBuf> {
        let text = match self.value(path) {
            None => None,
            Some(Value::String(s)) if s.is_empty() => None,
            Some(_) => Some(self.text(path, "", 4096)),
        };
        if text.is_none() && needed {
            self.fault(path, "is needed when tls.kind is \"given\": a PEM file");
        }
        text.map(PathBuf::from)
    }

    /// Host names and addresses, without ports.
    fn names(&mut self) -> Vec<String> {
        let path = "tls.names";
        let Some(value) = self.value(path) else { return Vec::new() };
        let texts = value.as_array().and_then(|all| {
            all.iter().map(|one| one.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'.';
        let sound = |name: &String| {
            let host =
                (1..=253).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with(['.', '-']);
            host || name.parse::<IpAddr>().is_ok()
        };
        match texts {
            Some(names) if names.len() <= MOST_NAMES && names.iter().all(sound) => names,
            _ => {
                let what = "must be a list of host names and addresses such as [\"hub.school.example\", \"10.0.0.5\"]";
                self.fault(path, what);
                Vec::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn off_this_machine_everything_is_tls_unless_a_proxy_speaks_it() {
        let config = parse("").expect("defaults");
        assert!(config.http_tls() && config.mqtt_tls());
        let local = "[http]\nlisten = '127.0.0.1:1'\n[mqtt]\nlisten = '[::1]:2'\n";
        let config = parse(local).expect("sound");
        assert!(!config.http_tls() && !config.mqtt_tls());
        let config = parse(&format!("{local}[tls]\nloopback = true\n")).expect("sound");
        assert!(config.http_tls() && config.mqtt_tls());
        let config = parse("[tls]\nkind = 'proxy'\nloopback = true\n").expect("sound");
        assert!(!config.http_tls() && !config.mqtt_tls());
        assert!(parse(&format!("{local}[tls]\nkind = 'off'\n")).is_ok());
        let faults = parse("[tls]\nkind = 'off'\n").expect_err("refused");
        assert_eq!(faults.len(), 2, "{faults:#?}");
        assert!(
            faults.iter().all(|f| f.contains("other machines") && f.contains("\"proxy\"")),
            "{faults:#?}"
        );
    }

    #[test]
    fn a_given_certificate_needs_its_files_and_names_are_names() {
        let faults = parse("[tls]\nkind = 'given'\nnames = ['http://x']\n").expect_err("faults");
        for path in ["tls.certificate:", "tls.key:", "tls.names:"] {
            assert!(faults.iter().any(|f| f.starts_with(path)), "{path} is missing in {faults:#?}");
        }
        let text = "[tls]\nkind = 'given'\ncertificate = '/c'\nkey = '/k'\nnames = ['hub.school', '10.0.0.5', '::1']\n";
        let tls = parse(text).expect("sound").tls;
        assert_eq!(tls.names.len(), 3);
        assert_eq!(tls.kind, Kind::Given { certificate: "/c".into(), key: "/k".into() });
        assert!(parse("[tls]\nkind = 'https'\n").is_err());
    }
}
