//! `[thingsboard]` and `[home_assistant]`: who else is told how the machine is, in their own words.

use std::path::PathBuf;

use super::reader::Section;
use crate::model::telling::{Discovery, Form};

/// A ThingsBoard that takes the place of the hub's broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThingsBoard {
    /// Its MQTT transport, `mqtt://…` or `mqtts://…`.
    pub url: url::Url,
    /// File that holds this device's access token.
    pub token_file: PathBuf,
}

/// Reads the section.
pub(super) fn thingsboard(mut s: Section<'_>) -> Option<ThingsBoard> {
    let url = s.parsed("url", |text| match url::Url::parse(text) {
        Ok(url) if ["mqtt", "mqtts"].contains(&url.scheme()) && url.host_str().is_some() => {
            let plain = url.username().is_empty() && url.password().is_none();
            if plain { Ok(url) } else { Err("must be without a password; the token has a file".to_owned()) }
        }
        _ => Err(format!("{text:?} must be mqtt:// or mqtts:// with a host")),
    });
    let token_file = s.path("token_file", "/etc/lectern/thingsboard.token");
    s.end();
    Some(ThingsBoard { url: url?, token_file })
}

/// Reads the section.
pub(super) fn home_assistant(mut s: Section<'_>) -> Discovery {
    let form = s.choice("form", "device", &[("device", Form::Device), ("components", Form::Components)]);
    let prefix = s.text("prefix", Some("homeassistant"), 60);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if !prefix.split('/').all(|level| !level.is_empty() && level.chars().all(plain)) {
        s.fault("prefix", "must be levels of letters, digits, - and _ with / between them");
    }
    s.end();
    Discovery { form, prefix }
}
