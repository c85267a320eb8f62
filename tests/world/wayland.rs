//! A Wayland desktop without a monitor: mutter with a virtual one, GNOME's portal, PipeWire, and Chromium showing the
//! slides. `packaging/setup.sh wayland` installs what it needs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::folder::Folder;
use crate::process::{Process, eventually};
use crate::screen::{SLIDES, chromium};

const DISPLAY: &str = "wayland-0";
/// Both are started by the bus when they are asked for.
const PORTALS: [&str; 2] = ["/usr/libexec/xdg-desktop-portal", "/usr/libexec/xdg-desktop-portal-gnome"];

/// Keys by their X11 names' numbers.
const SHIFT: u32 = 0xffe1;
const TAB: u32 = 0xff09;
const RETURN: u32 = 0xff0d;

/// The desktop of whoever is logged in at the screen. Fields end in the order they stand here.
#[derive(Debug)]
pub struct Wayland {
    env: Vec<(String, String)>,
    slides: Option<Process>,
    compositor: Process,
    _policy: Process,
    _pipewire: Process,
    bus: Process,
}

impl Wayland {
    /// What is not installed here; nothing when the desktop can be started.
    #[must_use]
    pub fn missing() -> Option<String> {
        let runs = |program: &str| Command::new(program).arg("--version").output().is_ok();
        let programs = ["dbus-daemon", "pipewire", "wireplumber", "mutter", "gst-launch-1.0", "chromium"];
        let mut gone: Vec<_> = programs.into_iter().filter(|program| !runs(program)).collect();
        gone.extend(PORTALS.iter().filter(|portal| !Path::new(portal).exists()));
        let mut inspect = Command::new("gst-inspect-1.0");
        inspect.args(["--exists", "--atleast-version=0.0", "pipewiresrc"]);
        let source = inspect.status().is_ok_and(|status| status.success());
        gone.extend((!source).then_some("GStreamer's pipewiresrc"));
        (!gone.is_empty()).then(|| gone.join(", "))
    }

    /// Starts the desktop with the slides on it.
    ///
    /// # Errors
    /// Names the part that did not start, with the end of its log.
    pub fn start(folder: &Folder) -> anyhow::Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let (run, home) = (folder.make("session")?, folder.make("session-home")?);
        std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o700))?;
        let address = format!("unix:path={}/bus", run.display());
        let env: Vec<_> = [
            ("HOME", home.display().to_string()),
            ("XDG_RUNTIME_DIR", run.display().to_string()),
            ("DBUS_SESSION_BUS_ADDRESS", address.clone()),
            ("XDG_CURRENT_DESKTOP", "GNOME".into()),
            ("XDG_SESSION_TYPE", "wayland".into()),
            ("WAYLAND_DISPLAY", DISPLAY.into()),
            ("GDK_BACKEND", "wayland".into()),
            ("LANGUAGE", "C".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let start = |name: &str, arguments: &[&str], socket: &str| {
            let mut process = Process::start(folder, name, command(&env, name, arguments))?;
            let there = eventually(Duration::from_secs(60), socket, || {
                (!process.running() || run.join(socket).exists()).then_some(())
            });
            process.must_run()?;
            there.with_context(|| process.tail_of_log())?;
            anyhow::Ok(process)
        };
        let bus = start("dbus-daemon", &["--session", "--nofork", "--address", &address], "bus")?;
        let pipewire = start("pipewire", &[], "pipewire-0")?;
        let policy = start("wireplumber", &[], "pipewire-0")?;
        let compositor = start("mutter", &MUTTER, DISPLAY)?;
        let mut desktop = Self { env, slides: None, compositor, _policy: policy, _pipewire: pipewire, bus };
        desktop.show_slides(folder)?;
        Ok(desktop)
    }

    fn show_slides(&mut self, folder: &Folder) -> anyhow::Result<()> {
        let page = folder.join("slides.html");
        std::fs::write(&page, SLIDES)?;
        let mut chromium = chromium(folder, "slides")?;
        let session = |name: &str| self.env.iter().find(|(n, _)| n == name).cloned();
        chromium
            .envs(["XDG_RUNTIME_DIR", "WAYLAND_DISPLAY"].into_iter().filter_map(session))
            .env_remove("DISPLAY")
            .args(["--ozone-platform=wayland", "--kiosk"])
            .arg(format!("--app=file://{}?every=4", page.display()));
        self.slides = Some(Process::start(folder, "slides", chromium)?);
        Ok(())
    }

    /// The environment of programs in this session.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        self.env.clone()
    }

    /// How often the desktop has asked so far whether the screen may be shared. Its portal grumbles each time that
    /// the question belongs to no window.
    #[must_use]
    pub fn questions(&self) -> usize {
        let log = std::fs::read_to_string(self.bus.log()).unwrap_or_default();
        log.matches("Failed to associate portal window with parent window").count()
    }

    /// Waits for the first question and answers it as a person does, by keys: choose the screen, then Share.
    ///
    /// # Errors
    /// When nobody asks, or the compositor takes no keys.
    pub fn say_yes(&self) -> anyhow::Result<()> {
        eventually(Duration::from_secs(30), "the question", || (self.questions() > 0).then_some(()))?;
        // Until it has been drawn and has the keyboard, keys would go elsewhere.
        std::thread::sleep(Duration::from_secs(2));
        zbus::block_on(self.press(&[SHIFT, TAB, TAB, TAB, RETURN])).context("the compositor took no keys")
    }

    /// Presses a key that changes nothing, as a hand on the keyboard does.
    ///
    /// # Errors
    /// When the compositor takes no keys.
    pub fn touch(&self) -> anyhow::Result<()> {
        zbus::block_on(self.press(&[SHIFT])).context("the compositor took no keys")
    }

    /// Presses keys, by the compositor's own remote control.
    async fn press(&self, keys: &[u32]) -> zbus::Result<()> {
        const NAME: &str = "org.gnome.Mutter.RemoteDesktop";
        let address = self.env.iter().find(|(name, _)| name == "DBUS_SESSION_BUS_ADDRESS");
        let address = address.map_or("", |(_, value)| value.as_str());
        let bus = zbus::conn::Builder::address(address).build().await?;
        let remote = zbus::Proxy::new(&bus, NAME, "/org/gnome/Mutter/RemoteDesktop", NAME).await?;
        let session: zbus::OwnedObjectPath = remote.call("CreateSession", &()).await?;
        let session = zbus::Proxy::new(&bus, NAME, session, "org.gnome.Mutter.RemoteDesktop.Session").await?;
        session.call::<_, _, ()>("Start", &()).await?;
        for key in keys {
            for down in [true, false] {
                session.call::<_, _, ()>("NotifyKeyboardKeysym", &(key, down)).await?;
            }
            std::thread::sleep(Duration::from_millis(400));
        }
        session.call::<_, _, ()>("Stop", &()).await
    }

    /// The compositor, to be killed: all windows and the portal's backend end with it.
    pub fn compositor(&mut self) -> &mut Process {
        &mut self.compositor
    }

    /// Starts it again, and the slides, as a new login would.
    ///
    /// # Errors
    /// When one does not start.
    pub fn log_in_again(&mut self, folder: &Folder) -> anyhow::Result<()> {
        self.slides = None;
        self.compositor.kill();
        std::fs::remove_file(folder.join("session").join(DISPLAY)).ok();
        self.compositor = Process::start(folder, "mutter", command(&self.env, "mutter", &MUTTER))?;
        eventually(Duration::from_secs(60), "the compositor", || {
            folder.join("session").join(DISPLAY).exists().then_some(())
        })?;
        self.show_slides(folder)
    }
}

const MUTTER: [&str; 7] =
    ["--wayland", "--headless", "--no-x11", "--wayland-display", DISPLAY, "--virtual-monitor", "1920x1080"];

fn command(env: &[(String, String)], program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).envs(env.iter().cloned()).env_remove("DISPLAY");
    command
}
