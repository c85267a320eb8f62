//! Screens, cameras and microphones, as the settings name them.

use lectern_wire::capture::{Source, SourceKind, without_userinfo};

use super::network::reach;
use super::{Finding, finding};
use crate::config::Config;
use crate::platform::input;

/// A line for each source, and one for the key.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let sources = config.recording.capture.sources.iter().map(|source| look(config, source));
    let live = config.live.iter().map(|live| {
        let server = lectern_wire::live::shown(&live.url);
        finding("live", Ok(format!("{server}: reached only when a teacher goes live")))
    });
    sources.chain(live).chain(config.key.on.then(|| finding("key", key(&config.key)))).collect()
}

/// Whether the key's device is there and may be read by whoever asks.
fn key(key: &crate::config::Key) -> Result<String, String> {
    let found = input::matching(&key.device);
    let Some(path) = found.first() else {
        return Err(format!("nothing is plugged in as {}", key.device.display()));
    };
    input::check(path).map(|()| format!("{} is there", path.display()))
}

fn look(config: &Config, source: &Source) -> Finding {
    match &source.kind {
        SourceKind::Screen { display } => screen(display),
        SourceKind::WaylandScreen { .. } => wayland_screen(&config.recording.recorder),
        SourceKind::Microphone { device, .. } => {
            finding("microphone", Ok(format!("{device}: opened when a lesson starts")))
        }
        SourceKind::Camera { device, .. } => local_camera(device),
        SourceKind::NetworkCamera { url, .. } => camera(url),
        SourceKind::Test => finding("test card", Ok("a generated picture and tone, not a classroom".into())),
    }
}

fn screen(display: &str) -> Finding {
    let number = display.trim_start_matches(':').split('.').next().unwrap_or_default();
    let there = std::path::Path::new("/tmp/.X11-unix").join(format!("X{number}")).exists();
    let hidden = std::fs::read_to_string("/proc/net/unix")
        .is_ok_and(|text| text.contains(&format!("/tmp/.X11-unix/X{number}")));
    finding(
        "screen",
        match there || hidden {
            true => Ok(format!("X display {display} is there")),
            false => Err(format!("X display {display} is not there: is anybody logged in at the screen?")),
        },
    )
}

/// The recorder alone speaks to the desktop; it says one sentence.
fn wayland_screen(program: &std::path::Path) -> Finding {
    let outcome = crate::platform::recorder::command(program).arg("portal").output();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    finding(
        "screen",
        match outcome {
            Ok(out) if out.status.success() => Ok(text(&out.stdout)),
            Ok(out) => Err(text(&out.stdout)),
            Err(e) => Err(format!("{}: {e}", program.display())),
        },
    )
}

fn local_camera(device: &str) -> Finding {
    // Where the recorder has a unit of its own, the daemon may not open cameras; the list below says what the recorder sees.
    let opened = if std::env::var_os(crate::platform::recorder::SOCKET).is_some() {
        std::fs::metadata(device).map(drop)
    } else {
        std::fs::File::options().read(true).write(true).open(device).map(drop)
    };
    finding("camera", opened.map(|()| format!("{device} is there")).map_err(|e| format!("{device}: {e}")))
}

fn camera(url: &str) -> Finding {
    let outcome = url::Url::parse(url).map_err(|e| e.to_string()).and_then(|url| reach(&url));
    finding("camera", outcome.map_err(|e| format!("{}: {e}", without_userinfo(url))))
}
