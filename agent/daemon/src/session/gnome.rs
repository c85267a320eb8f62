//! GNOME's Wayland desktop. It has neither protocol of `wayland.rs`, but says on the session's bus how long ago there was input
//! (`org.gnome.Mutter.IdleMonitor`) and whether its screens are asleep (`org.gnome.Mutter.DisplayConfig`). It says nothing of
//! windows, so there are no categories.

use lectern_wire::session::{AppName, Report};

use super::Desktop;
use crate::platform::bus::{Bus, Method};

const IDLE: &str = "org.gnome.Mutter.IdleMonitor";
const SCREENS: &str = "org.gnome.Mutter.DisplayConfig";

/// A connection to the session's bus.
pub struct Gnome(Bus);

impl Gnome {
    /// Connects to the bus of this session.
    ///
    /// # Errors
    /// A sentence; also when no GNOME desktop is on that bus.
    pub fn open() -> Result<Self, String> {
        let mut gnome = Self(Bus::of_session()?);
        gnome.idle_ms()?;
        Ok(gnome)
    }

    fn idle_ms(&mut self) -> Result<u64, String> {
        let ask = Method {
            service: IDLE,
            path: "/org/gnome/Mutter/IdleMonitor/Core",
            interface: IDLE,
            name: "GetIdletime",
            start: false,
        };
        let ms = self.0.call(&ask, &[])?.number().ok_or_else(|| format!("{IDLE} gives no number"))?;
        Ok(ms as u64)
    }

    /// Whether the screens are awake; none where nobody can say, as with a screen that cannot be put to sleep.
    fn awake(&mut self) -> Option<bool> {
        let mode =
            self.0.property(SCREENS, "/org/gnome/Mutter/DisplayConfig", SCREENS, "PowerSaveMode", false);
        // 0: on; 1 to 3: standby, suspended, off; −1: nobody knows.
        mode.ok()?.number().filter(|mode| *mode >= 0.0).map(|mode| mode == 0.0)
    }

    fn runs(&mut self) -> Result<bool, String> {
        let own = "org.freedesktop.DBus";
        let path = "/org/freedesktop/DBus";
        let ask = Method { service: own, path, interface: own, name: "NameHasOwner", start: false };
        Ok(self.0.call(&ask, &[IDLE])?.number() == Some(1.0))
    }
}

impl Desktop for Gnome {
    fn ask(&mut self, _apps: &[AppName]) -> Result<Report, String> {
        match self.idle_ms() {
            Ok(ms) => Ok(Report { idle_ms: Some(ms), display: self.awake(), category: None }),
            Err(why) => {
                let ended = |e: String| format!("the session has ended: {e}");
                // An answer that comes too late must not be read as the next one's.
                self.0 = Bus::of_session().map_err(ended)?;
                if !self.runs().map_err(ended)? {
                    return Err(ended(why));
                }
                // A desktop that is busy is not gone: for now nobody knows.
                tracing::debug!("{why}");
                Ok(Report::default())
            }
        }
    }
}
