//! 直播: a lesson that is also sent to a live server while it is recorded, because the teacher chose so.
//!
//! The recording knows nothing of it: whatever becomes of the server or the line, the take is the same.
//!
//! ```text
//! off ──chosen──▶ connecting ──the server takes pictures──▶ live ⇄ slow (the line is too thin: parts are left out)
//!                     └──refused, gone, stalled──▶ lost ◀──┘
//!                                                   └──tried again after 1 … 30 s──▶ live
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a lesson can be sent live, and whether it is from its first picture on.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Live {
    /// The whole address. A secret: user, password and stream key stand in it.
    pub url: String,
    /// Whether it is sent there from the beginning.
    pub on: bool,
}

/// The address without what must not be said.
impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("url", &shown(&self.url)).field("on", &self.on).finish()
    }
}

/// Where it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveState {
    /// Nothing is sent.
    #[default]
    Off,
    /// The server is being reached for the first time.
    Connecting,
    /// The server takes what is sent.
    Live,
    /// It does, but not fast enough: whole groups of pictures are left out.
    Slow,
    /// It does not; it is tried again and again.
    Lost,
}

impl LiveState {
    /// The word of it in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::Slow => "slow",
            Self::Lost => "lost",
        }
    }
}

/// The schemes an address may have, with libav's name for what goes over each.
pub const SCHEMES: [(&str, &str); 4] =
    [("rtmp", "flv"), ("rtmps", "flv"), ("srt", "mpegts"), ("rtsp", "rtsp")];

/// What may be said of an address: scheme, host and port. What follows may be a stream key.
#[must_use]
pub fn shown(url: &str) -> String {
    let clean = crate::capture::without_userinfo(url);
    let Some((scheme, rest)) = clean.split_once("://") else { return "an address".into() };
    let host = rest.find(['/', '?', '#']).map_or(rest, |end| rest.get(..end).unwrap_or_default());
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_password_nor_stream_key_is_ever_said() {
        for url in [
            "rtmp://u:s3cret@live.school:1935/app/s3cret?k=s3cret",
            "srt://live.school:9000?passphrase=s3cret",
        ] {
            let live = Live { url: url.into(), on: true };
            let said = format!("{live:?}");
            assert!(said.contains("live.school:") && !said.contains("s3cret"), "{said}");
        }
        assert_eq!(shown("rtsp://u:a@b@host/x"), "rtsp://host");
        assert_eq!(shown("s3cret"), "an address");
    }

    #[test]
    fn a_state_is_called_what_it_is_written_as() {
        use LiveState::{Connecting, Live, Lost, Off, Slow};
        for state in [Off, Connecting, Live, Slow, Lost] {
            assert_eq!(serde_json::to_value(state).expect("json"), state.name());
        }
    }
}
