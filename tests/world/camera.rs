//! The camera at the back wall: an RTSP server on the loopback address.

use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::folder::Folder;
use crate::process::{Process, eventually};

/// A network camera: H.264 1280x720 at 25 frames per second. Dropping it unplugs it.
#[derive(Debug)]
pub struct Camera {
    server: Process,
    port: u16,
}

impl Camera {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// When the RTSP server does not start.
    pub fn start(folder: &Folder) -> anyhow::Result<Self> {
        Self::run(folder, 0, &[])
    }

    /// Starts it again at the same address after [`Self::stop`].
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self, folder: &Folder) -> anyhow::Result<()> {
        self.stop();
        *self = Self::run(folder, self.port, &[])?;
        Ok(())
    }

    /// As [`Self::start`], with a Digest login; [`Self::url`] does not hold it.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn with_login(folder: &Folder, user: &str, password: &str) -> anyhow::Result<Self> {
        Self::run(folder, 0, &[user, password])
    }

    fn run(folder: &Folder, port: u16, arguments: &[&str]) -> anyhow::Result<Self> {
        let program = folder.join("camera.py");
        std::fs::write(&program, include_str!("camera.py"))?;
        // Debian's own Python: another one in the path has no GStreamer.
        let mut server = Command::new("/usr/bin/python3");
        // A registry of plugins in the folder: written once, not in the user's home.
        server
            .arg(program)
            .arg(port.to_string())
            .args(arguments)
            .env("GST_REGISTRY", folder.join("gst-registry"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let log = folder.join("camera.log");
        std::fs::remove_file(&log).ok();
        let mut server = Process::start(folder, "camera", server)?;
        let port = eventually(Duration::from_secs(120), "the camera's port", || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let port = text.lines().find_map(|line| line.trim().parse().ok());
            if port.is_some() || server.running() { port.map(Some) } else { Some(None) }
        })?;
        let port = match port {
            Some(port) => port,
            None => return Err(server.must_run().err().context("the camera ended")?),
        };
        Ok(Self { server, port })
    }

    /// Where it is watched.
    #[must_use]
    pub fn url(&self) -> String {
        format!("rtsp://127.0.0.1:{}/live", self.port)
    }

    /// Connected, but sending nothing any more: what a hung camera does.
    pub fn freeze(&mut self) {
        self.server.freeze();
    }

    /// Goes on after [`Self::freeze`].
    pub fn thaw(&mut self) {
        self.server.thaw();
    }

    /// Pulls its plug.
    pub fn stop(&mut self) {
        self.server.kill();
    }
}
