//! `lectern session`: the helper inside a user's session. The daemon is another user and cannot see a desktop; this tells
//! it how long ago there was input and whether the display is awake, and nothing of what was done.
//!
//! One thread, one question to the desktop and one line to the daemon every few seconds. It ends with the session.

mod gnome;
mod wayland;
mod x11;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use lectern_wire::session::{AppName, MAX_LINE, Report, Wanted};

/// Between two tries while no daemon listens.
const RETRY: Duration = Duration::from_secs(30);
/// No answer to a line is waited for longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A desktop that can be asked.
trait Desktop {
    /// How it is now.
    ///
    /// # Errors
    /// A sentence: the desktop is gone.
    fn ask(&mut self, apps: &[AppName]) -> Result<Report, String>;
}

/// Runs until the session ends.
///
/// # Errors
/// A sentence: there is no desktop that can be asked.
pub fn run(socket: &Path) -> Result<(), String> {
    let mut desktop = find()?;
    let mut said = false;
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => {
                said = false;
                if let Told::DesktopGone(why) = tell(&stream, desktop.as_mut()) {
                    // The session has ended, and with it this.
                    tracing::info!("{why}");
                    return Ok(());
                }
            }
            Err(e) if !said => {
                tracing::info!("{}: {e}; trying again", socket.display());
                said = true;
            }
            Err(_) => {}
        }
        // Also notices a desktop that went meanwhile.
        std::thread::sleep(RETRY);
        if let Err(why) = desktop.ask(&[]) {
            tracing::info!("{why}");
            return Ok(());
        }
    }
}

fn find() -> Result<Box<dyn Desktop>, String> {
    // First: an X server below a Wayland desktop sees only the input of its own windows.
    if std::env::var_os("WAYLAND_DISPLAY").is_some() {
        return match wayland::Wayland::open() {
            Ok(wayland) => Ok(Box::new(wayland)),
            Err(why) => match gnome::Gnome::open() {
                Ok(gnome) => Ok(Box::new(gnome)),
                Err(and) => Err(format!("{why} ({and})")),
            },
        };
    }
    match std::env::var("DISPLAY") {
        Ok(display) if !display.is_empty() => Ok(Box::new(x11::X11::open(&display)?)),
        _ => Err("there is no desktop here: neither WAYLAND_DISPLAY nor DISPLAY is set. \
                  `lectern session` is started by the desktop at login"
            .into()),
    }
}

/// How telling ended.
enum Told {
    DaemonGone,
    DesktopGone(String),
}

fn tell(stream: &UnixStream, desktop: &mut dyn Desktop) -> Told {
    let gone = |e: &dyn std::fmt::Display| {
        tracing::debug!("the daemon is gone: {e}");
        Told::DaemonGone
    };
    let wanted = match greet(stream) {
        Ok(wanted) => wanted,
        Err(e) => return gone(&e),
    };
    let mut to = stream;
    // Bounds on what the daemon asks for: neither a busy loop nor silence.
    let every = Duration::from_millis(wanted.every_ms.clamp(1_000, 60_000));
    loop {
        let report = match desktop.ask(&wanted.apps) {
            Ok(report) => report,
            Err(why) => return Told::DesktopGone(why),
        };
        let line = serde_json::to_vec(&report).map_err(std::io::Error::other);
        let sent = line.and_then(|mut line| {
            line.push(b'\n');
            to.write_all(&line)
        });
        if let Err(e) = sent {
            return gone(&e);
        }
        std::thread::sleep(every);
    }
}

fn greet(stream: &UnixStream) -> std::io::Result<Wanted> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = Vec::new();
    BufReader::with_capacity(512, stream)
        .take(u64::try_from(MAX_LINE).unwrap_or(u64::MAX))
        .read_until(b'\n', &mut line)?;
    serde_json::from_slice(&line).map_err(std::io::Error::other)
}

/// The category of an application by the names its window gives itself.
fn category(names: &[u8], apps: &[AppName]) -> Option<String> {
    let names = String::from_utf8_lossy(names).to_lowercase();
    apps.iter().find(|app| names.contains(&app.name)).map(|app| app.category.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_is_told_by_its_class_and_others_are_nobodys_business() {
        let app = |name: &str, category: &str| AppName { name: name.into(), category: category.into() };
        let apps = [app("wpp", "演示"), app("wps", "文档")];
        assert_eq!(category(b"wpp\0WPP\0", &apps).as_deref(), Some("演示"));
        assert_eq!(category(b"Wps\0", &apps).as_deref(), Some("文档"));
        assert_eq!(category(b"game\0Game\0", &apps), None);
        assert_eq!(category(b"wpp", &[]), None);
    }
}
