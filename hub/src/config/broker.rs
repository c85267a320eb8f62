//! `[broker]`: a broker beside the hub, instead of the one inside it.

use std::path::Path;

use url::Url;

use super::{Reader, read_lines};

/// A broker beside the hub.
#[derive(Clone, PartialEq, Eq)]
pub struct Outside {
    /// `mqtt://…` or `mqtts://…`.
    pub url: Url,
    /// The hub's client id there, which its messages wait under while it is away.
    pub id: String,
    /// User and password; absent where it asks for none.
    pub login: Option<(String, String)>,
    /// Group of hubs that share what arrives; empty when this is the only one.
    pub share: String,
}

/// The settings without the password.
impl std::fmt::Debug for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let user = self.login.as_ref().map(|(user, _)| user);
        f.debug_struct("Outside")
            .field("url", &self.url.as_str())
            .field("id", &self.id)
            .field("user", &user)
            .field("share", &self.share)
            .finish()
    }
}

impl Outside {
    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        let usual = if self.url.scheme() == "mqtts" { 8883 } else { 1883 };
        self.url.port().unwrap_or(usual)
    }
}

impl Reader<'_> {
    /// The broker beside the hub, when `broker.url` names one. The other fields are checked either way.
    pub(super) fn outside(&mut self) -> Option<Outside> {
        let address = self.maybe_text("broker.url");
        let id = self.text("broker.id", "lectern-hub", 60);
        let user = self.text("broker.user", "lectern-hub", 60);
        let file = self.maybe_text("broker.password_file");
        let share = self.maybe_text("broker.share");
        let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        if !plain(&id) {
            self.fault("broker.id", "must be letters, digits, - and _");
        }
        if !plain(&share) {
            self.fault("broker.share", "must be letters, digits, - and _, or empty");
        }
        if address.is_empty() {
            return None;
        }
        let url = self.broker_address("broker.url", &address);
        let login = if file.is_empty() {
            None
        } else {
            match read_lines::<1>(Path::new(&file), "one line, the password") {
                Ok([password]) => Some((user, password)),
                Err(e) => {
                    self.fault("broker.password_file", &e);
                    None
                }
            }
        };
        Some(Outside { url: url?, id, login, share })
    }

    /// What rooms are told to report to, where that is not this hub's own port.
    pub(super) fn mqtt_address(&mut self) -> Option<Url> {
        let address = self.maybe_text("mqtt.address");
        (!address.is_empty()).then(|| self.broker_address("mqtt.address", &address)).flatten()
    }

    fn broker_address(&mut self, path: &'static str, address: &str) -> Option<Url> {
        let url = Url::parse(address).ok().filter(|url| {
            let anonymous = url.username().is_empty() && url.password().is_none();
            ["mqtt", "mqtts"].contains(&url.scheme()) && url.host_str().is_some() && anonymous
        });
        if url.is_none() {
            let what = format!("{address:?} is not an address such as \"mqtts://broker.example.org:8883\"");
            self.fault(path, &what);
        }
        url
    }

    /// A text that may be empty.
    fn maybe_text(&mut self, path: &'static str) -> String {
        match self.value(path) {
            Some(toml::Value::String(s)) if s.is_empty() => String::new(),
            None => String::new(),
            Some(_) => self.text(path, "", 4096),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    #[test]
    fn a_broker_beside_the_hub_is_taken_whole_or_its_faults_are_all_told() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("password");
        std::fs::write(&file, "s3cret\n").expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("set");
        let text = format!(
            "[broker]\nurl = 'mqtts://b.school'\nshare = 'hubs'\npassword_file = '{}'\n",
            file.display()
        );
        let outside = parse(&text).expect("sound").outside.expect("a broker");
        assert_eq!((outside.port(), outside.id.as_str()), (8883, "lectern-hub"));
        assert_eq!(outside.login, Some(("lectern-hub".into(), "s3cret".into())));
        assert!(!format!("{outside:?}").contains("s3cret"));
        assert_eq!(parse("[broker]\nid = 'x'\n").expect("sound").outside, None);
        let faults =
            parse("[broker]\nurl = 'http://x'\nid = 'a b'\nshare = '#'\npassword_file = '/nowhere'\n");
        let faults = faults.expect_err("faults");
        for path in ["broker.url:", "broker.id:", "broker.share:", "broker.password_file:"] {
            assert!(faults.iter().any(|f| f.starts_with(path)), "{path} is missing in {faults:#?}");
        }
    }
}
