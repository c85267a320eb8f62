//! Live servers on the loopback address, each the real thing: they take what is sent and write it into a file.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::folder::Folder;
use crate::process::{Process, eventually, free_port};

/// Stands in every address: the stream key, or what else must never be said.
pub const SECRET: &str = "s3cret";

/// How lessons are sent to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// RTMP, to ffmpeg.
    Rtmp,
    /// SRT, to ffmpeg.
    Srt,
    /// RTSP, to GStreamer.
    Rtsp,
}

/// A live server. Dropping it switches it off.
#[derive(Debug)]
pub struct LiveServer {
    way: Way,
    port: u16,
    /// The program, to be killed and frozen.
    pub process: Option<Process>,
    file: PathBuf,
}

impl LiveServer {
    /// One that is not switched on yet; an RTSP one is, for only it knows its port.
    ///
    /// # Errors
    /// When there is no free port, or the RTSP server does not start.
    pub fn new(folder: &Folder, way: Way) -> anyhow::Result<Self> {
        let mut server = Self { way, port: 0, process: None, file: folder.join(&format!("{way:?}.out")) };
        server.port = match way {
            Way::Rtmp => free_port()?,
            Way::Srt => UdpSocket::bind(("127.0.0.1", 0))?.local_addr()?.port(),
            Way::Rtsp => {
                server.switch_on(folder)?;
                let process = server.process.as_ref().context("no server")?;
                eventually(Duration::from_secs(120), "the live server's port", || {
                    let text = std::fs::read_to_string(process.log()).ok()?;
                    text.lines().find_map(|line| line.trim().parse().ok())
                })
                .with_context(|| process.tail_of_log())?
            }
        };
        Ok(server)
    }

    /// Switches it on, or off and on again; what it took before is gone.
    ///
    /// # Errors
    /// When it does not start.
    pub fn switch_on(&mut self, folder: &Folder) -> anyhow::Result<()> {
        self.process = None;
        std::fs::remove_file(&self.file).ok();
        let mut command = match self.way {
            Way::Rtsp => {
                let program = folder.join("live.py");
                std::fs::write(&program, include_str!("live.py"))?;
                let mut command = Command::new("/usr/bin/python3");
                command.arg(program).arg(&self.file).arg(self.file.with_extension("aac"));
                command.env("GST_REGISTRY", folder.join("gst-registry"));
                command
            }
            way => {
                let mut command = Command::new("ffmpeg");
                command.args(["-hide_banner", "-nostdin", "-loglevel", "error", "-y"]);
                let listen: &[&str] = if way == Way::Rtmp { &["-listen", "1"] } else { &[] };
                let address = match way {
                    Way::Srt => format!("srt://127.0.0.1:{}?mode=listener", self.port),
                    _ => self.url(),
                };
                command.args(listen).args([
                    "-i",
                    &address,
                    "-c",
                    "copy",
                    "-f",
                    "mpegts",
                    "-flush_packets",
                    "1",
                ]);
                command.arg(&self.file);
                command
            }
        };
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        self.process = Some(Process::start(folder, &format!("live-{:?}", self.way), command)?);
        Ok(())
    }

    /// Where lessons are sent.
    #[must_use]
    pub fn url(&self) -> String {
        let port = self.port;
        match self.way {
            Way::Rtmp => format!("rtmp://127.0.0.1:{port}/app/{SECRET}"),
            Way::Srt => format!("srt://127.0.0.1:{port}?streamid={SECRET}"),
            Way::Rtsp => format!("rtsp://127.0.0.1:{port}/app/{SECRET}"),
        }
    }

    /// What the picture, and what the sound it took stands in.
    #[must_use]
    pub fn files(&self) -> [PathBuf; 2] {
        let sound = if self.way == Way::Rtsp { self.file.with_extension("aac") } else { self.file.clone() };
        [self.file.clone(), sound]
    }

    /// How much it has taken, bytes.
    #[must_use]
    pub fn taken(&self) -> u64 {
        let length = |file: &Path| std::fs::metadata(file).map_or(0, |meta| meta.len());
        length(&self.file)
    }
}
