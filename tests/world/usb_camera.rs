//! A camera on this machine where there is none: PipeWire's emulation of V4L2, a library that is loaded before a
//! program and answers for `/dev/video0` with what a PipeWire node shows. libav, and the recorder's own
//! questions, talk to it as to a driver.
//!
//! ```text
//! GStreamer's test picture ─▶ PipeWire node ─▶ libpw-v4l2 in the recorder: open, ioctl, mmap of /dev/video0
//! ```

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::folder::Folder;
use crate::process::{Process, eventually, output};
use crate::screen::quiet_home;

/// What programs open.
pub const DEVICE: &str = "/dev/video0";

/// A camera of 1280x720 at 25 raw pictures a second. Dropping it takes everything away.
#[derive(Debug)]
pub struct UsbCamera {
    picture: Option<Process>,
    home: PathBuf,
    _manager: Process,
    _server: Process,
    _bus: Process,
}

impl UsbCamera {
    /// Starts a private PipeWire with its session manager and plugs the camera in.
    ///
    /// # Errors
    /// When a part does not start.
    pub fn start(folder: &Folder) -> anyhow::Result<Self> {
        let home = folder.make("pipewire")?;
        let command = |program: &str| {
            let mut command = Command::new(program);
            quiet_home(&mut command, &home);
            command.envs(Self::env_of(&home));
            command
        };
        // The session manager wants a bus, and ends without one.
        let bus = home.join("bus");
        let mut dbus = command("dbus-daemon");
        dbus.arg("--session").arg("--nofork").arg(format!("--address=unix:path={}", bus.display()));
        let dbus = Process::start(folder, "dbus", dbus)?;
        eventually(Duration::from_secs(60), "the bus", || bus.exists().then_some(()))?;
        let server = Process::start(folder, "pipewire", command("pipewire"))?;
        let socket = home.join("pipewire-0");
        eventually(Duration::from_secs(60), "PipeWire's socket", || socket.exists().then_some(()))
            .with_context(|| server.tail_of_log())?;
        let manager = Process::start(folder, "wireplumber", command("wireplumber"))?;
        let mut camera = Self { picture: None, home, _manager: manager, _server: server, _bus: dbus };
        camera.plug(folder)?;
        Ok(camera)
    }

    /// Plugs it in again after [`Self::unplug`].
    ///
    /// # Errors
    /// When GStreamer does not start.
    pub fn plug(&mut self, folder: &Folder) -> anyhow::Result<()> {
        let mut picture = Command::new("gst-launch-1.0");
        picture.args("-q videotestsrc is-live=true pattern=ball background-color=0xff2f6f4f".split(' '));
        picture.args("! video/x-raw,format=YUY2,width=1280,height=720,framerate=25/1".split(' '));
        picture.args(["!", "pipewiresink", "mode=provide"]);
        picture.arg("stream-properties=p,media.class=Video/Source,media.role=Camera,node.name=camera");
        quiet_home(&mut picture, &self.home);
        picture.envs(Self::env_of(&self.home)).env("GST_REGISTRY", folder.join("gst-registry"));
        let picture = Process::start(folder, "usb-camera", picture)?;
        let there = eventually(Duration::from_secs(60), "the camera in PipeWire", || {
            let mut nodes = Command::new("pw-cli");
            nodes.args(["ls", "Node"]).envs(Self::env_of(&self.home));
            let nodes = output(nodes).ok()?;
            String::from_utf8_lossy(&nodes).contains("node.name = \"camera\"").then_some(())
        });
        there.with_context(|| picture.tail_of_log())?;
        self.picture = Some(picture);
        Ok(())
    }

    /// Pulls the plug.
    pub fn unplug(&mut self) {
        if let Some(mut picture) = self.picture.take() {
            picture.kill();
        }
    }

    /// The environment in which a program has [`DEVICE`].
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        let mut env = Self::env_of(&self.home);
        // The loader itself puts the machine's library folder for $LIB.
        let library = "/usr/$LIB/pipewire-0.3/v4l2/libpw-v4l2.so";
        env.push(("LD_PRELOAD".to_owned(), library.to_owned()));
        env
    }

    /// How often so far, as the kernel noted, the emulation has taken the program it was loaded into with it: PipeWire 0.3.65
    /// looks at buffers that went with the camera when the program unmaps them. No driver can do that; what stands in for
    /// one here can, in about one unplugging of twenty. `None` where the kernel's notes may not be read.
    #[must_use]
    pub fn crashes() -> Option<usize> {
        let notes = output(Command::new("dmesg")).ok()?;
        Some(String::from_utf8_lossy(&notes).matches("in libpw-v4l2.so").count())
    }

    fn env_of(home: &std::path::Path) -> Vec<(String, String)> {
        let bus = format!("unix:path={}", home.join("bus").display());
        let home = home.display().to_string();
        [("XDG_RUNTIME_DIR", home), ("DBUS_SESSION_BUS_ADDRESS", bus)]
            .map(|(key, value)| (key.to_owned(), value))
            .to_vec()
    }
}
