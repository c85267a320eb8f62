//! What is captured and how: the sources, the picture, the sound. Stands in settings, in jobs and in manifests.

use serde::{Deserialize, Serialize};

/// What is captured and how. Stands in the manifest, so it must never hold a secret: a network camera's
/// password travels in [`Job`] only as part of its URL and is removed by [`CaptureSettings::without_secrets`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureSettings {
    /// How the picture is composed.
    pub layout: Layout,
    /// The sources, each with its own name.
    pub sources: Vec<Source>,
    /// The picture.
    pub video: VideoSettings,
    /// The sound.
    pub audio: AudioSettings,
    /// Whether the only picture, that of a network camera, is kept as the camera sends it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copy_camera: bool,
}

/// How the picture is composed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// The screen fills the picture.
    Screen,
    /// The screen fills the picture, the camera stands in its lower right corner.
    ScreenCamera,
    /// The screen on the left, the camera smaller on the right.
    SideBySide,
    /// The camera fills the picture.
    Camera,
    /// Two cameras, half each.
    TwoCameras,
}

impl Layout {
    /// All layouts with the names people type.
    pub const NAMES: [(Self, &'static str); 5] = [
        (Self::Screen, "screen"),
        (Self::ScreenCamera, "screen+camera"),
        (Self::SideBySide, "side-by-side"),
        (Self::Camera, "camera"),
        (Self::TwoCameras, "two-cameras"),
    ];

    /// The name people type.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(layout, _)| *layout == self).map_or("", |(_, name)| name)
    }

    /// The layout of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, n)| *n == name).map(|(layout, _)| *layout)
    }

    /// How many screens and cameras it shows.
    #[must_use]
    pub fn shows(self) -> (usize, usize) {
        match self {
            Self::Screen => (1, 0),
            Self::ScreenCamera | Self::SideBySide => (1, 1),
            Self::Camera => (0, 1),
            Self::TwoCameras => (0, 2),
        }
    }
}

/// A source and its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The name in settings, gaps and messages.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub kind: SourceKind,
}

/// What a source is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SourceKind {
    /// An X11 display.
    Screen {
        /// X display, for example `:0`.
        display: String,
    },
    /// The screen of a Wayland session, by the desktop portal.
    WaylandScreen {
        /// File in which the teacher's leave to see the screen is kept, so that the desktop asks once.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        leave: String,
    },
    /// A microphone.
    Microphone {
        /// PulseAudio source or ALSA PCM, by name; `default` is the system's default.
        device: String,
        /// What has the microphone.
        #[serde(default, skip_serializing_if = "SoundSystem::is_default")]
        system: SoundSystem,
        /// Louder or, negative, softer by this many decibels before it is mixed.
        #[serde(default)]
        gain_db: i32,
    },
    /// A camera on this machine, by V4L2.
    Camera {
        /// Device file, such as `/dev/video0` or one of `/dev/v4l/by-id`, which stays the same camera's.
        device: String,
        /// Width and height, pixels; without it as near to the lesson's picture as the camera goes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<(u32, u32)>,
        /// What it sends; without it what suits the size.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        format: Option<CameraFormat>,
    },
    /// An RTSP camera.
    NetworkCamera {
        /// `rtsp://…`, with user and password where the camera asks for them.
        url: String,
        /// What carries its pictures.
        #[serde(default, skip_serializing_if = "Transport::is_default")]
        transport: Transport,
    },
    /// A generated card with a flash and a tone each second, clearly marked. Picture and sound.
    Test,
}

/// What has a microphone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SoundSystem {
    /// PulseAudio, or PipeWire, which speaks its protocol.
    #[default]
    Pulse,
    /// The card itself, for machines without a sound server.
    Alsa,
}

impl SoundSystem {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What carries a network camera's pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// In order and whole, through firewalls.
    #[default]
    Tcp,
    /// For cameras that cannot do otherwise; what is lost on the way stays lost.
    Udp,
}

impl Transport {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How a V4L2 camera sends its pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraFormat {
    /// One JPEG each: large pictures at full rate over USB.
    Mjpeg,
    /// Pixels.
    Raw,
}

impl SourceKind {
    /// Whether the source gives the main picture.
    #[must_use]
    pub fn is_screen(&self) -> bool {
        matches!(self, Self::Screen { .. } | Self::WaylandScreen { .. } | Self::Test)
    }

    /// Whether the source gives the camera picture.
    #[must_use]
    pub fn is_camera(&self) -> bool {
        matches!(self, Self::Camera { .. } | Self::NetworkCamera { .. })
    }

    /// Whether the source gives sound.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        matches!(self, Self::Microphone { .. } | Self::Test)
    }
}

/// The encoded picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoSettings {
    /// Pixels, even.
    pub width: u32,
    /// Pixels, even.
    pub height: u32,
    /// Frames per second of the master clock.
    pub fps: u32,
    /// Cap of the variable bit rate, kilobit per second.
    pub max_kbps: u32,
    /// Seconds between key frames.
    pub gop_s: u32,
    /// What encodes it; libx264 where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<Encoder>,
}

/// What encodes the picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoder {
    /// Intel and AMD graphics cards, by VAAPI.
    #[serde(rename = "h264_vaapi")]
    Vaapi,
    /// Intel Quick Sync Video.
    #[serde(rename = "h264_qsv")]
    Qsv,
    /// NVIDIA graphics cards.
    #[serde(rename = "h264_nvenc")]
    Nvenc,
    /// Boards whose chip encodes, by V4L2.
    #[serde(rename = "h264_v4l2m2m")]
    V4l2M2m,
    /// The processor; works everywhere.
    #[default]
    #[serde(rename = "libx264")]
    Libx264,
}

impl Encoder {
    /// All, best first, with libav's names for them.
    pub const NAMES: [(Self, &'static str); 5] = [
        (Self::Vaapi, "h264_vaapi"),
        (Self::Qsv, "h264_qsv"),
        (Self::Nvenc, "h264_nvenc"),
        (Self::V4l2M2m, "h264_v4l2m2m"),
        (Self::Libx264, "libx264"),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(encoder, _)| *encoder == self).map_or("", |(_, name)| name)
    }

    /// The encoder of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, n)| *n == name).map(|(encoder, _)| *encoder)
    }
}

/// What `lectern-recorder encoders` says of one encoder; it prints a list of them, best first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncoderReport {
    /// Which.
    pub encoder: Encoder,
    /// Why it cannot be used, in a sentence; absent when it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// The encoded sound: AAC-LC, 48 kHz, stereo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioSettings {
    /// Kilobit per second.
    pub kbps: u32,
}

impl CaptureSettings {
    /// The layouts these sources can fill.
    pub fn layouts(&self) -> impl Iterator<Item = Layout> {
        let count = |is: fn(&SourceKind) -> bool| self.sources.iter().filter(|s| is(&s.kind)).count();
        let (screens, cameras) = (count(SourceKind::is_screen), count(SourceKind::is_camera));
        Layout::NAMES.into_iter().map(|(layout, _)| layout).filter(move |layout| {
            let (screen, camera) = layout.shows();
            screen <= screens && camera <= cameras
        })
    }

    /// The same settings with user and password taken out of every URL, and without paths of this machine.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let mut clean = self.clone();
        for source in &mut clean.sources {
            match &mut source.kind {
                SourceKind::NetworkCamera { url, .. } => *url = without_userinfo(url),
                SourceKind::WaylandScreen { leave } => leave.clear(),
                _ => {}
            }
        }
        clean
    }
}

/// A URL without its user and password.
#[must_use]
pub fn without_userinfo(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest.get(..authority).and_then(|a| a.rfind('@')) {
        Some(at) => format!("{scheme}://{}", rest.get(at + 1..).unwrap_or_default()),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cameras_password_never_reaches_the_manifest() {
        assert_eq!(without_userinfo("rtsp://u:p@10.0.0.1:554/live"), "rtsp://10.0.0.1:554/live");
        assert_eq!(without_userinfo("rtsp://u:p@ss@cam/x@y"), "rtsp://cam/x@y");
        assert_eq!(without_userinfo("rtsp://cam/x@y"), "rtsp://cam/x@y");
        assert_eq!(without_userinfo("nonsense"), "nonsense");
    }
}
