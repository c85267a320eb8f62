//! A hub and one room's agent, started together, and what the hub holds of a lesson in the end.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use crate::folder::Folder;
use crate::process::output;
use crate::programs::Programs;
use crate::school::{Agent, Hub, Room};

/// A hub and a room. Fields end in the order they stand here; the folder last.
#[derive(Debug)]
pub struct School {
    /// The room's agent.
    pub agent: Agent,
    /// Its hub.
    pub hub: Hub,
    /// Where both keep everything.
    pub folder: Folder,
}

/// A lesson as the hub holds it.
#[derive(Debug)]
pub struct Stored {
    /// The hub's folder of it.
    pub folder: PathBuf,
    /// The takes of its manifest, in order.
    pub takes: Vec<Value>,
    /// What `lectern verify` says of it.
    pub report: Value,
}

impl School {
    /// Starts both in a new folder.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn start(room: &Room) -> anyhow::Result<Self> {
        Self::start_in(Folder::new()?, room)
    }

    /// Starts both in a folder that stands already: something may be mounted in it.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_in(folder: Folder, room: &Room) -> anyhow::Result<Self> {
        Self::start_with(folder, room, "")
    }

    /// As [`Self::start_in`], with more settings of the hub, such as where its store is.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(folder: Folder, room: &Room, settings: &str) -> anyhow::Result<Self> {
        let programs = Programs::find()?;
        let (hub, password) = Hub::start_at(&folder, &programs, "127.0.0.1", settings)?;
        let agent = Agent::start(&folder, &programs, room, &hub, &password)?;
        Ok(Self { agent, hub, folder })
    }

    /// The lesson as the hub holds it, verified.
    ///
    /// # Errors
    /// When the hub has no manifest of it.
    pub fn stored(&self, lesson: &str) -> anyhow::Result<Stored> {
        let folder = self.hub.lesson_folder(lesson);
        let manifest = std::fs::read(folder.join("manifest.json")).context("the hub has no manifest")?;
        let manifest: Value = serde_json::from_slice(&manifest)?;
        let takes = manifest["document"]["takes"].as_array().context("a manifest without takes")?.clone();
        let report = self.agent.verify(&folder)?;
        Ok(Stored { folder, takes, report })
    }
}

impl Stored {
    /// Whether bytes, manifest, signatures and receipt all fit.
    #[must_use]
    pub fn verified(&self) -> bool {
        self.report["sound"] == true && self.report["receipted"] == true
    }

    /// Plays every take to its end with the ffmpeg command line.
    ///
    /// # Errors
    /// Says what a player would complain about, or that a take is not as long as its manifest says.
    pub fn play(&self) -> anyhow::Result<()> {
        for take in &self.takes {
            let file = self.folder.join(take["file"].as_str().context("a take without a file")?);
            let mut ffmpeg = Command::new("ffmpeg");
            // Timestamps that do not go forward are complaints, and a complaint is an end.
            ffmpeg.args("-nostdin -v warning -xerror -err_detect explode -i".split(' ')).arg(&file);
            ffmpeg.args("-map 0 -c:a copy -fps_mode passthrough -f null -".split(' '));
            let out = ffmpeg.output().context("ffmpeg could not be started")?;
            let said = String::from_utf8_lossy(&out.stderr);
            anyhow::ensure!(out.status.success() && said.is_empty(), "{}: {}", file.display(), said.trim());
            let mut probe = Command::new("ffprobe");
            probe.args("-v error -select_streams v -show_entries stream=duration -of csv=p=0".split(' '));
            probe.arg(&file);
            let length: f64 = String::from_utf8_lossy(&output(probe)?).trim().parse()?;
            let told = take["duration_ms"].as_u64().context("a take without a length")? as f64 / 1e3;
            anyhow::ensure!(
                (length - told).abs() < 0.1,
                "{} plays for {length} s, its manifest says {told} s",
                file.display()
            );
        }
        Ok(())
    }
}
