//! Commands: what a hub asks of a device, on `cmd/req/{id}`, and what becomes of it, on `cmd/res/{id}`.
//!
//! ```text
//! received ──▶ running ──▶ successful
//!     │           └──────▶ failed
//!     ├──▶ denied     not now, not here, or not by a key this device knows
//!     └──▶ expired    it came too late
//! ```
//!
//! A command is a signed document: nobody but the hub a device knows can give one, whoever holds the broker. It
//! is carried out once, however often it arrives. There is none that starts, pauses or ends a recording, none
//! that looks or listens.

use serde::{Deserialize, Serialize};

use crate::id::{DeviceId, SchoolId};
use crate::sign::Document;

/// Longest text of a [`Verb::Message`], characters.
pub const MESSAGE_MAX_CHARS: usize = 120;
/// Longest detail of an [`Outcome`], characters.
pub const DETAIL_MAX_CHARS: usize = 4000;

/// A command v1, signed by the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Command {
    /// Always 1.
    pub v: u32,
    /// 16 hexadecimal digits; the same as the topic's last level.
    pub id: String,
    /// The school of the device it is for.
    pub school: SchoolId,
    /// The device it is for.
    pub device: DeviceId,
    /// What is asked.
    pub verb: Verb,
    /// When it was given, Unix milliseconds by the hub's clock.
    pub given_ms: i64,
    /// How long it may take to arrive, milliseconds from then.
    pub good_for_ms: u64,
    /// Who gave it, as the console knows them.
    pub who: String,
}

impl Document for Command {
    const CONTEXT: &'static str = "lectern command v1";
}

/// What can be asked of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Verb {
    /// A fresh sample of everything, now.
    Refresh,
    /// What `lectern doctor` says.
    Doctor,
    /// A look at every source, as before a lesson; nothing is kept.
    Preflight,
    /// The agent ends and is started again; a recorder at work goes on.
    RestartAgent,
    /// The machine restarts, after a countdown the teacher can put off; never while a lesson is recorded.
    Reboot,
    /// The machine goes off, likewise.
    PowerOff,
    /// Wakes another machine on the same network.
    Wake {
        /// Its hardware address, `aa:bb:cc:dd:ee:ff`.
        mac: String,
    },
    /// A line on the teacher's page.
    Message {
        /// What it says.
        text: String,
    },
    /// What the agent writes to its log, until it is started again: `info`, `debug`.
    LogLevel {
        /// How much.
        level: String,
    },
    /// Whether a newer version is to be had.
    UpdateCheck,
    /// The projector goes on or off; not off while a lesson is recorded.
    Projector {
        /// On rather than off.
        on: bool,
    },
}

impl Verb {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::Doctor => "doctor",
            Self::Preflight => "preflight",
            Self::RestartAgent => "restart_agent",
            Self::Reboot => "reboot",
            Self::PowerOff => "power_off",
            Self::Wake { .. } => "wake",
            Self::Message { .. } => "message",
            Self::LogLevel { .. } => "log_level",
            Self::UpdateCheck => "update_check",
            Self::Projector { .. } => "projector",
        }
    }

    /// What is wrong with what goes along with it, if anything.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        match self {
            Self::Wake { mac } if mac_bytes(mac).is_none() => {
                Some(format!("{mac:?} is not a hardware address such as aa:bb:cc:dd:ee:ff"))
            }
            Self::Message { text } if text.trim().is_empty() => Some("the message is empty".into()),
            Self::Message { text } if text.chars().count() > MESSAGE_MAX_CHARS => {
                Some(format!("the message is longer than {MESSAGE_MAX_CHARS} characters"))
            }
            Self::Message { text } if text.chars().any(char::is_control) => {
                Some("the message holds a control character".into())
            }
            Self::LogLevel { level } if !["info", "debug"].contains(&level.as_str()) => {
                Some(format!("{level:?} is not a log level; info and debug are"))
            }
            _ => None,
        }
    }
}

/// The six bytes of a hardware address.
#[must_use]
pub fn mac_bytes(text: &str) -> Option<[u8; 6]> {
    let mut out = [0; 6];
    let mut pairs = text.split([':', '-']);
    for byte in &mut out {
        let pair = pairs.next().filter(|pair| pair.len() == 2)?;
        *byte = hex_byte(pair)?;
    }
    pairs.next().is_none().then_some(out)
}

/// `from_str_radix` takes a sign, which is no digit.
fn hex_byte(pair: &str) -> Option<u8> {
    let digits = pair.bytes().all(|c| c.is_ascii_hexdigit());
    if digits { u8::from_str_radix(pair, 16).ok() } else { None }
}

/// What has become of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Outcome {
    /// The command's id.
    pub id: String,
    /// How far it is.
    pub state: CommandState,
    /// In a sentence, or what was asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// When, Unix milliseconds by the device's clock.
    pub ts: i64,
}

/// How far a command is; see the drawing above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CommandState {
    /// It is here.
    Received,
    /// It is being carried out, or its countdown runs.
    Running,
    /// Done.
    Successful,
    /// It could not be done.
    Failed,
    /// It came too late.
    Expired,
    /// It was refused.
    Denied,
}

impl CommandState {
    /// All states with their names.
    pub const NAMES: [(Self, &'static str); 6] = [
        (Self::Received, "received"),
        (Self::Running, "running"),
        (Self::Successful, "successful"),
        (Self::Failed, "failed"),
        (Self::Expired, "expired"),
        (Self::Denied, "denied"),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(state, _)| *state == self).map_or("", |(_, name)| name)
    }

    /// The state of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, n)| *n == name).map(|(state, _)| *state)
    }

    /// Whether nothing more comes.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Received | Self::Running)
    }

    /// Whether it may follow another: nothing goes back, and nothing follows the end.
    #[must_use]
    pub fn follows(self, before: Self) -> bool {
        match before {
            Self::Received => self != Self::Received,
            Self::Running => matches!(self, Self::Successful | Self::Failed | Self::Denied),
            _ => false,
        }
    }
}

/// Whether a text is a command's id: 16 hexadecimal digits.
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_is_written_by_its_name_and_a_stranger_is_refused() {
        let text = |verb: &Verb| serde_json::to_string(verb).expect("json");
        for verb in [
            Verb::Refresh,
            Verb::Doctor,
            Verb::Preflight,
            Verb::RestartAgent,
            Verb::Reboot,
            Verb::PowerOff,
            Verb::Wake { mac: "aa:bb:cc:dd:ee:ff".into() },
            Verb::Message { text: "请到会议室".into() },
            Verb::LogLevel { level: "debug".into() },
            Verb::UpdateCheck,
            Verb::Projector { on: true },
            Verb::Projector { on: false },
        ] {
            assert!(text(&verb).starts_with(&format!("{{\"do\":\"{}\"", verb.name())), "{}", text(&verb));
            assert_eq!(serde_json::from_str::<Verb>(&text(&verb)).expect("reads"), verb);
            assert_eq!(verb.fault(), None);
        }
        for bad in [r#"{"do":"start"}"#, r#"{"do":"record"}"#, r#"{"do":"wake"}"#, r#"{"do":"projector"}"#] {
            assert!(serde_json::from_str::<Verb>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_goes_along_is_checked() {
        for verb in [
            Verb::Wake { mac: "aa:bb:cc:dd:ee".into() },
            Verb::Wake { mac: "aa:bb:cc:dd:ee:ff:00".into() },
            Verb::Wake { mac: "+a:bb:cc:dd:ee:ff".into() },
            Verb::Message { text: "  ".into() },
            Verb::Message { text: "长".repeat(MESSAGE_MAX_CHARS + 1) },
            Verb::Message { text: "a\u{7}".into() },
            Verb::LogLevel { level: "trace".into() },
        ] {
            assert!(verb.fault().is_some(), "{verb:?}");
        }
        assert_eq!(mac_bytes("01-23-45-67-89-Ab"), Some([1, 0x23, 0x45, 0x67, 0x89, 0xab]));
    }

    #[test]
    fn a_command_never_goes_back_and_ends_once() {
        for (after, name) in CommandState::NAMES {
            assert_eq!(CommandState::from_name(name), Some(after));
            for (before, _) in CommandState::NAMES {
                if before.is_final() || after == before {
                    assert!(!after.follows(before), "{after:?} after {before:?}");
                }
            }
        }
        assert!(CommandState::Expired.follows(CommandState::Received));
        assert!(!CommandState::Expired.follows(CommandState::Running));
    }
}
