//! What the recorder finds on a machine that a lesson could be recorded with, and how each is named in the settings.
//!
//! `lectern-recorder devices` prints one [`Devices`].

use serde::{Deserialize, Serialize};

use crate::capture::SoundSystem;

/// Everything that was found, and what could not be looked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Devices {
    /// Cameras on this machine, by V4L2.
    pub cameras: Vec<Camera>,
    /// Microphones, by every sound system.
    pub microphones: Vec<Microphone>,
    /// Screens.
    pub screens: Vec<Screen>,
    /// What could not be listed.
    pub unlisted: Vec<Unlisted>,
}

/// Why something could not be listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlisted {
    /// What was looked for, such as `PulseAudio`.
    pub what: String,
    /// Why nothing is known of it, in a sentence.
    pub why: String,
}

/// A camera.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Camera {
    /// As its driver calls it.
    pub name: String,
    /// Its device file for the settings: a name that stays the same camera's, where there is one.
    pub device: String,
    /// Its device file now, such as `/dev/video0`.
    pub path: String,
    /// The pictures it gives that can be recorded.
    pub modes: Vec<Mode>,
    /// Formats it gives too, by the kernel's four letters, that are not used.
    pub unused: Vec<String>,
    /// Why it cannot be asked, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One size of a camera's pictures in one format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mode {
    /// `mjpeg`, or the name of a raw format.
    pub format: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Pictures per second, most first; empty when the camera does not say.
    pub fps: Vec<f64>,
}

/// A microphone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Microphone {
    /// As people know it.
    pub name: String,
    /// Who has it.
    pub system: SoundSystem,
    /// Its name for the settings.
    pub device: String,
    /// Whether it is the one `default` means now.
    pub default: bool,
    /// It gives what the loudspeakers play, and is no microphone.
    pub monitor: bool,
    /// Channels; 0 when it does not say.
    pub channels: u32,
    /// Samples per second; 0 when it does not say.
    pub rate: u32,
    /// Why it cannot be used, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A screen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Screen {
    /// An X11 display.
    X11 {
        /// Its name for the settings, such as `:0`.
        display: String,
        /// Width and height, pixels.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<(u32, u32)>,
        /// Why it cannot be opened, in a sentence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<String>,
    },
    /// The screen of a Wayland session, by the desktop portal.
    Wayland {
        /// What the portal says of itself.
        said: String,
    },
}

impl Camera {
    /// Its lines for the settings.
    #[must_use]
    pub fn settings(&self) -> String {
        format!("[[source]]\nname = \"camera\"\nkind = \"camera\"\ndevice = {}\n", text(&self.device))
    }
}

impl Microphone {
    /// Its lines for the settings.
    #[must_use]
    pub fn settings(&self) -> String {
        let system = match self.system {
            SoundSystem::Pulse => "pulse",
            SoundSystem::Alsa => "alsa",
        };
        format!(
            "[[source]]\nname = \"microphone\"\nkind = \"microphone\"\nsystem = \"{system}\"\ndevice = {}\n",
            text(&self.device)
        )
    }
}

impl Screen {
    /// Its lines for the settings.
    #[must_use]
    pub fn settings(&self) -> String {
        match self {
            Self::X11 { display, .. } => {
                format!("[[source]]\nname = \"screen\"\nkind = \"screen\"\ndisplay = {}\n", text(display))
            }
            Self::Wayland { .. } => "[[source]]\nname = \"screen\"\nkind = \"wayland_screen\"\n".into(),
        }
    }
}

/// A text as TOML writes it.
#[must_use]
pub fn text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04X}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_quoted_as_toml_wants_it() {
        assert_eq!(text("alsa_input.usb-讲台-00.mono"), "\"alsa_input.usb-讲台-00.mono\"");
        assert_eq!(text("a\"b\\c\u{1b}"), "\"a\\\"b\\\\c\\u001B\"");
    }
}
