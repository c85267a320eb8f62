//! The recorder by itself, as the daemon runs it between lessons: the check before one, and listening.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use anyhow::{Context as _, ensure};
use lectern_wire::preflight::{Heard, Preflight};
use serde_json::{Value, json};

use crate::programs::Programs;

/// The built recorder with the environment of a room.
#[derive(Debug)]
pub struct Recorder {
    programs: Programs,
    env: Vec<(String, String)>,
}

impl Recorder {
    /// The recorder of a classroom.
    ///
    /// # Errors
    /// When it is not built.
    pub fn of(world: &crate::World) -> anyhow::Result<Self> {
        Ok(Self { programs: Programs::find()?, env: world.env() })
    }

    /// Checks these sources, of which one is a screen.
    ///
    /// # Errors
    /// When the recorder fails or says no [`Preflight`].
    pub fn preflight(&self, sources: &Value) -> anyhow::Result<Preflight> {
        let (child, input) = self.start("preflight", sources)?;
        drop(input);
        let out = child.wait_with_output()?;
        ensure!(out.status.success(), "preflight ended with {}", out.status);
        serde_json::from_slice(&out.stdout).context("preflight said no JSON line")
    }

    /// Listens to the microphones among these sources, of which one is a screen.
    ///
    /// # Errors
    /// When the recorder does not start.
    pub fn listen(&self, sources: &Value) -> anyhow::Result<Listening> {
        let (mut child, input) = self.start("listen", sources)?;
        let output = BufReader::new(child.stdout.take().context("no pipe from the recorder")?);
        Ok(Listening { child, input: Some(input), output })
    }

    fn start(&self, what: &str, sources: &Value) -> anyhow::Result<(Child, ChildStdin)> {
        let capture = json!({
            "layout": "screen", "sources": sources,
            "video": {"width": 1280, "height": 720, "fps": 25, "max_kbps": 2000, "gop_s": 2},
            "audio": {"kbps": 96}
        });
        let mut command = Command::new(&self.programs.recorder);
        command.arg(what).envs(self.env.iter().cloned()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("the recorder could not be started")?;
        let mut input = child.stdin.take().context("no pipe to the recorder")?;
        writeln!(input, "{capture}")?;
        Ok((child, input))
    }
}

/// A recorder that listens; killed on drop.
#[derive(Debug)]
pub struct Listening {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Listening {
    /// The next line it says.
    ///
    /// # Errors
    /// When it has ended or says something else.
    pub fn next_line(&mut self) -> anyhow::Result<Heard> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("listen said {line:?}"))
    }

    /// Closes its standard input, as the parent's death would, and waits for its end.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn close(mut self) -> anyhow::Result<ExitStatus> {
        drop(self.input.take());
        Ok(self.child.wait()?)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
