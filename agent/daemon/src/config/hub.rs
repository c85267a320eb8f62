//! `[hub]`: where lessons and health go, and how they are kept from others on the way.

use std::path::PathBuf;

use super::reader::Section;
use crate::model::trust::Files;

/// The central hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    /// Its address for uploads, `http://…` or `https://…`.
    pub url: url::Url,
    /// Its broker, `mqtt://…` or `mqtts://…`.
    pub mqtt: url::Url,
    /// File that holds this device's password.
    pub password_file: PathBuf,
    /// How TLS is spoken with it.
    pub tls: Files,
}

pub(super) fn hub(mut s: Section<'_>) -> Hub {
    let address = |schemes: &'static [&'static str]| {
        move |text: &str| {
            let url = url::Url::parse(text).map_err(|e| format!("{text:?} is not an address: {e}"))?;
            let plain = url.username().is_empty() && url.password().is_none();
            match url.host_str() {
                Some(_) if schemes.contains(&url.scheme()) && plain => Ok(url),
                _ => Err(format!(
                    "{text:?} must be {} with a host and without a password",
                    schemes.join(":// or ") + "://"
                )),
            }
        }
    };
    #[expect(clippy::expect_used, reason = "a constant that is a valid address")]
    let nowhere = || url::Url::parse("http://x").expect("a valid address");
    let ca = s.maybe_path("ca");
    let own = match (s.maybe_path("certificate"), s.maybe_path("key")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            s.fault("certificate", "stands with its key, hub.key, or not at all");
            None
        }
    };
    let hub = Hub {
        url: s.parsed("url", address(&["http", "https"])).unwrap_or_else(nowhere),
        mqtt: s.parsed("mqtt", address(&["mqtt", "mqtts"])).unwrap_or_else(nowhere),
        password_file: s.path("password_file", "/etc/lectern/device.password"),
        tls: Files { ca, own },
    };
    s.end();
    hub
}
