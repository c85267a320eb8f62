//! The room's display: Xvfb, and Chromium showing slides that change.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::folder::Folder;
use crate::grab::Frame;
use crate::process::{Process, eventually, free_port};
use crate::slides::Marker;

pub(crate) const SLIDES: &str = include_str!("slides.html");

/// Chromium's flags wherever the world starts one. The sandbox is off because it cannot start as root
/// or in most containers; only our own pages are opened. The rest keeps it quiet and off the network.
pub(crate) const CHROMIUM: &[&str] = &[
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--disable-breakpad",
    "--disable-features=Translate,MediaRouter,OptimizationHints",
    "--no-first-run",
    "--no-default-browser-check",
    "--password-store=basic",
];

/// A display of 1920x1080 with slides on it.
#[derive(Debug)]
pub struct Screen {
    display: String,
    slides: Option<Process>,
    server: Process,
}

impl Screen {
    /// Starts the display and the slides; [`Self::wait_until_visible`] says when they are shown.
    ///
    /// # Errors
    /// When Xvfb or Chromium cannot be started.
    pub fn start(folder: &Folder) -> anyhow::Result<Self> {
        let mut screen = Self::blank(folder)?;
        screen.show_slides(folder, 4)?;
        Ok(screen)
    }

    /// Starts the display with nothing on it: black.
    ///
    /// # Errors
    /// When Xvfb cannot be started.
    pub fn blank(folder: &Folder) -> anyhow::Result<Self> {
        // The server itself picks a free display and says which, so that two worlds cannot race for one.
        let mut server = xvfb();
        server.arg(own_number()?).args(["-displayfd", "1"]);
        let mut server = Process::start(folder, "xvfb", server)?;
        let number = number(&mut server)?;
        Ok(Self { display: format!(":{number}"), slides: None, server })
    }

    /// Starts a display with nothing on it that can change its size, as a desktop's can: see [`Self::resize`].
    ///
    /// # Errors
    /// When Xvnc cannot be started.
    pub fn resizable(folder: &Folder) -> anyhow::Result<Self> {
        let mut server = Command::new("Xvnc");
        // Watched by nobody: its socket takes the place of its port.
        server.arg(own_number()?).args([
            "-displayfd",
            "1",
            "-geometry",
            "1920x1080",
            "-depth",
            "24",
            "-nolisten",
            "tcp",
        ]);
        server
            .args(["-SecurityTypes", "None", "-rfbport", "-1", "-rfbunixpath"])
            .arg(folder.join("vnc.socket"));
        server.args(["-noreset", "-s", "0"]);
        let mut server = Process::start(folder, "xvnc", server)?;
        let number = number(&mut server)?;
        Ok(Self { display: format!(":{number}"), slides: None, server })
    }

    /// Gives the display another of its sizes, such as 1024x768 or 1920x1200.
    ///
    /// # Errors
    /// When it refuses.
    pub fn resize(&self, width: u32, height: u32) -> anyhow::Result<()> {
        let mut xrandr = Command::new("xrandr");
        xrandr.args(["--display", &self.display, "--output", "VNC-0"]);
        xrandr.args(["--mode", &format!("{width}x{height}")]);
        crate::process::output(xrandr).map(drop)
    }

    /// Shows slides that change every `seconds`, in place of earlier ones.
    ///
    /// # Errors
    /// When Chromium cannot be started.
    pub fn show_slides(&mut self, folder: &Folder, seconds: u32) -> anyhow::Result<()> {
        self.hide_slides();
        let page = folder.join("slides.html");
        std::fs::write(&page, SLIDES)?;
        let url = format!("file://{}?every={seconds}", page.display());
        let mut chromium = chromium(folder, "slides")?;
        chromium
            .env("DISPLAY", &self.display)
            // Chromium keeps a window one pixel smaller than it is asked to be.
            .args(["--kiosk", "--window-position=0,0", "--window-size=1921,1081"])
            .arg(format!("--app={url}"));
        self.slides = Some(Process::start(folder, "slides", chromium)?);
        Ok(())
    }

    /// Takes the slides away: the display is black.
    pub fn hide_slides(&mut self) {
        self.slides = None;
    }

    /// The X11 display, such as `:7`.
    #[must_use]
    pub fn display(&self) -> &str {
        &self.display
    }

    /// One picture of the display.
    ///
    /// # Errors
    /// When the display cannot be grabbed.
    pub fn picture(&self) -> anyhow::Result<Frame> {
        Frame::of_display(&self.display)
    }

    /// One picture of the display, as a PNG file.
    ///
    /// # Errors
    /// When the display cannot be grabbed or the file not written.
    pub fn save(&self, png: &Path) -> anyhow::Result<()> {
        crate::grab::save_display(&self.display, png)
    }

    /// Returns once a grabbed picture shows a slide; says which.
    ///
    /// # Errors
    /// When none is shown within 40 s.
    pub fn wait_until_visible(&self) -> anyhow::Result<Marker> {
        eventually(Duration::from_secs(120), "a slide on the screen", || Marker::read(&self.picture().ok()?))
            .with_context(|| {
                self.slides.as_ref().map_or_else(|| "no slides were started".to_owned(), Process::tail_of_log)
            })
    }

    /// Starts the X server again on the same display after it was killed, with its slides.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn revive(&mut self, folder: &Folder) -> anyhow::Result<()> {
        self.hide_slides();
        self.server.kill();
        let mut server = xvfb();
        server.arg(&self.display);
        self.server = Process::start(folder, "xvfb", server)?;
        self.show_slides(folder, 4)?;
        self.wait_until_visible().map(drop)
    }

    /// The slides' browser, to freeze or kill.
    pub fn slides(&mut self) -> Option<&mut Process> {
        self.slides.as_mut()
    }

    /// The X server, to freeze or kill.
    pub fn server(&mut self) -> &mut Process {
        &mut self.server
    }
}

/// No TCP; no screen saver, which would blank a long lesson; no reset when a client leaves.
fn xvfb() -> Command {
    let mut server = Command::new("Xvfb");
    server.args("-screen 0 1920x1080x24 -nolisten tcp -noreset -s 0 -dpms".split(' '));
    server
}

/// A display's number that nobody else takes: the lowest that is free, which a server picks by itself, is given to another
/// test's screen as soon as this one is gone, and who looked at this one would look at that.
fn own_number() -> anyhow::Result<String> {
    // As random as a port, and low enough to be a port's with 6000 more, as X wants it.
    Ok(format!(":{}", free_port()?.saturating_sub(10_000)))
}

/// The number of the display, once a server says that it is ready.
fn number(server: &mut Process) -> anyhow::Result<u32> {
    let number = eventually(Duration::from_secs(60), "the display's number", || {
        if !server.running() {
            return Some(None);
        }
        let text = std::fs::read_to_string(server.log()).ok()?;
        text.lines().find_map(|line| line.trim().parse::<u32>().ok()).map(Some)
    })?;
    match number {
        Some(number) => Ok(number),
        None => Err(server.must_run().err().context("the X server ended")?),
    }
}

/// Chromium with a profile of its own inside the folder, so that it neither reads nor leaves anything in
/// the user's home.
pub(crate) fn chromium(folder: &Folder, profile: &str) -> anyhow::Result<Command> {
    let home = folder.make(&format!("{profile}-profile"))?;
    let mut command = Command::new("chromium");
    command.args(CHROMIUM).arg(format!("--user-data-dir={}", home.display()));
    quiet_home(&mut command, &home);
    Ok(command)
}

/// A home of its own, in Chinese, and no desktop session of ours to talk to.
pub(crate) fn quiet_home(command: &mut Command, home: &Path) {
    command.env("LANGUAGE", "zh_CN");
    command.env("HOME", home).env("XDG_CONFIG_HOME", home).env("XDG_CACHE_HOME", home);
    command.env_remove("DBUS_SESSION_BUS_ADDRESS").env_remove("WAYLAND_DISPLAY").env_remove("XAUTHORITY");
}
