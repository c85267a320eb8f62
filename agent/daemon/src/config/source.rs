//! `[[source]]`: screens, cameras and microphones.

use lectern_wire::capture::{CameraFormat, SoundSystem, Source, SourceKind, Transport};

use super::reader::Section;

/// What a source may be.
const KINDS: [&str; 6] = ["screen", "wayland_screen", "microphone", "camera", "network_camera", "test"];

fn transport(s: &mut Section<'_>) -> Transport {
    s.choice("transport", "tcp", &[("tcp", Transport::Tcp), ("udp", Transport::Udp)])
}

/// Width and height as people write them.
fn size(text: &str) -> Result<(u32, u32), String> {
    let side = |text: &str| text.parse::<u32>().ok().filter(|side| (16..=7680).contains(side));
    let size = text.split_once('x').and_then(|(width, height)| Some((side(width)?, side(height)?)));
    size.ok_or_else(|| format!("{text:?} is not a size such as \"1280x720\""))
}

pub(super) fn source(mut s: Section<'_>) -> Option<Source> {
    let kind = s.text("kind", None, 40);
    let kind = match kind.as_str() {
        "screen" => Some(SourceKind::Screen { display: s.text("display", Some(":0"), 100) }),
        "wayland_screen" => Some(SourceKind::WaylandScreen { leave: String::new() }),
        "microphone" => Some(SourceKind::Microphone {
            device: s.text("device", Some("default"), 200),
            system: s.choice(
                "system",
                "pulse",
                &[("pulse", SoundSystem::Pulse), ("alsa", SoundSystem::Alsa)],
            ),
            gain_db: s.number("gain_db", 0, -40..=40),
        }),
        "camera" => {
            let device = s.path("device", "/dev/video0").to_string_lossy().into_owned();
            let size = s.maybe_parsed("size", size);
            let format = s.maybe_parsed("format", |text| match text {
                "mjpeg" => Ok(CameraFormat::Mjpeg),
                "raw" => Ok(CameraFormat::Raw),
                other => Err(format!("{other:?} is not one of \"mjpeg\", \"raw\"")),
            });
            Some(SourceKind::Camera { device, size, format })
        }
        "network_camera" => s
            .parsed("url", |text| match url::Url::parse(text) {
                Ok(url) if url.scheme() == "rtsp" && url.host_str().is_some() => Ok(text.to_owned()),
                _ => Err("must be an rtsp:// address with a host".to_owned()),
            })
            .map(|url| SourceKind::NetworkCamera { url, transport: transport(&mut s) }),
        "test" => Some(SourceKind::Test),
        "" => None,
        other => {
            s.fault(
                "kind",
                &format!("{other:?} is not one of {}", KINDS.map(|kind| format!("{kind:?}")).join(", ")),
            );
            s.forgive_unknown();
            None
        }
    };
    let name = s.text("name", None, 40);
    s.end();
    kind.map(|kind| Source { name, kind })
}
