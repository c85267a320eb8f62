//! A stand-in for Opencast, of which there is none to be had here: `opencast.py` beside this file follows the capture-agent
//! protocol. That it is not bent to our client is shown by pyCA, an independent one, in `make peers`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::folder::Folder;
use crate::process::{Process, eventually};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/world/opencast.py");
/// Whom it lets in.
pub const USER: &str = "agent";
/// With which password.
pub const PASSWORD: &str = "secret";

/// A running stand-in.
#[derive(Debug)]
pub struct Opencast {
    /// The program, to be killed and frozen.
    pub process: Process,
    folder: PathBuf,
    port: u16,
    password_file: PathBuf,
}

impl Opencast {
    /// Starts it with events in its calendar: begin and end in Unix seconds, title.
    ///
    /// # Errors
    /// When it does not start, with the end of its log.
    pub fn start(folder: &Folder, plan: &[(i64, i64, &str)]) -> anyhow::Result<Self> {
        let own = folder.make("opencast")?;
        std::fs::write(own.join("plan.json"), serde_json::to_vec(plan)?)?;
        let password_file = folder.join("opencast.password");
        std::fs::write(&password_file, PASSWORD)?;
        let mut command = Command::new("python3");
        command.arg(PROGRAM).arg(&own).args([USER, PASSWORD]).env("PYTHONDONTWRITEBYTECODE", "1");
        let process = Process::start(folder, "opencast", command)?;
        let port = eventually(Duration::from_secs(60), "Opencast's port", || {
            std::fs::read_to_string(process.log()).ok()?.lines().next()?.trim().parse().ok()
        });
        let port = port.with_context(|| process.tail_of_log())?;
        Ok(Self { process, folder: own, port, password_file })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The agent's section for it.
    #[must_use]
    pub fn settings(&self) -> String {
        format!(
            "[[destination]]\nname = \"opencast\"\nkind = \"opencast\"\nurl = \"{}\"\n\
             user = \"{USER}\"\npassword_file = {:?}\n",
            self.url(),
            self.password_file
        )
    }

    /// Sets what goes wrong from now on; see the program's header.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn faults(&self, faults: &Value) -> anyhow::Result<()> {
        let new = self.folder.join("faults.ours");
        std::fs::write(&new, faults.to_string())?;
        Ok(std::fs::rename(new, self.folder.join("faults.json"))?)
    }

    /// What it wrote down: `agents.json`, `workflows.json`, `said.json`; null before.
    #[must_use]
    pub fn wrote(&self, name: &str) -> Value {
        let text = std::fs::read(self.folder.join(name)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// A file it was sent.
    ///
    /// # Errors
    /// When it is not there.
    pub fn file(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        std::fs::read(self.folder.join("stored").join(name)).context("Opencast has no such file")
    }
}
