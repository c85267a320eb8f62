//! An X11 desktop: idle time by MIT-SCREEN-SAVER, the display's power saving by DPMS, the class of the active window
//! (`_NET_ACTIVE_WINDOW`, EWMH). Titles are never asked for.

use lectern_wire::session::{AppName, Report};
use x11rb::connection::{Connection as _, RequestConnection as _};
use x11rb::errors::ReplyError;
use x11rb::protocol::xproto::{Atom, AtomEnum, ConnectionExt as _, Window};
use x11rb::protocol::{dpms, screensaver};
use x11rb::rust_connection::RustConnection;

use super::{Desktop, category};

/// Longest class that is read, in units of four bytes.
const CLASS_UNITS: u32 = 64;

/// A connection to an X server.
pub struct X11 {
    server: RustConnection,
    root: Window,
    active_window: Atom,
    idle: bool,
    dpms: bool,
}

impl X11 {
    /// Connects.
    ///
    /// # Errors
    /// A sentence.
    pub fn open(name: &str) -> Result<Self, String> {
        let failed = |e: &dyn std::fmt::Display| format!("the X display {name}: {e}");
        let (server, screen) = x11rb::connect(Some(name)).map_err(|e| failed(&e))?;
        let has = |extension| {
            server.extension_information(extension).map(|found| found.is_some()).map_err(|e| failed(&e))
        };
        let idle = has(screensaver::X11_EXTENSION_NAME)?;
        let dpms = has(dpms::X11_EXTENSION_NAME)?;
        if !idle {
            tracing::warn!(x = name, "no MIT-SCREEN-SAVER: how long ago there was input is not known");
        }
        let root = server.setup().roots.get(screen).map(|screen| screen.root).ok_or("it has no screen")?;
        let atom = server.intern_atom(false, b"_NET_ACTIVE_WINDOW").map_err(|e| failed(&e))?;
        let active_window = atom.reply().map_err(|e| failed(&e))?.atom;
        Ok(Self { server, root, active_window, idle, dpms })
    }

    fn idle_ms(&self) -> Result<u64, ReplyError> {
        Ok(screensaver::query_info(&self.server, self.root)?.reply()?.ms_since_user_input.into())
    }

    fn awake(&self) -> Result<bool, ReplyError> {
        let info = dpms::info(&self.server)?.reply()?;
        // A server that saves no power keeps it on.
        Ok(!info.state || info.power_level == dpms::DPMSMode::ON)
    }

    fn class(&self) -> Result<Vec<u8>, ReplyError> {
        let property = |window: Window, name: Atom, kind: Atom, units: u32| {
            self.server.get_property(false, window, name, kind, 0, units)?.reply()
        };
        let active = property(self.root, self.active_window, AtomEnum::WINDOW.into(), 1)?;
        let Some(window) = active.value32().and_then(|mut all| all.next()).filter(|window| *window != 0)
        else {
            return Ok(Vec::new());
        };
        Ok(property(window, AtomEnum::WM_CLASS.into(), AtomEnum::STRING.into(), CLASS_UNITS)?.value)
    }
}

/// An error the server answers leaves one thing unknown; a connection that broke is the end of the session.
fn kept<T>(outcome: Result<T, ReplyError>) -> Result<Option<T>, String> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(ReplyError::X11Error(e)) => {
            tracing::debug!("the X server: {e:?}");
            Ok(None)
        }
        Err(ReplyError::ConnectionError(e)) => Err(format!("the session has ended: {e}")),
    }
}

impl Desktop for X11 {
    fn ask(&mut self, apps: &[AppName]) -> Result<Report, String> {
        // Even a server that has neither extension is asked something: whether it is still there.
        let class = if apps.is_empty() {
            kept(self.server.get_input_focus().map_err(ReplyError::from).and_then(|asked| asked.reply()))?;
            None
        } else {
            kept(self.class())?
        };
        Ok(Report {
            idle_ms: if self.idle { kept(self.idle_ms())? } else { None },
            display: if self.dpms { kept(self.awake())? } else { None },
            category: class.and_then(|class| category(&class, apps)),
        })
    }
}
