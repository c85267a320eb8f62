//! A temporary folder whose processes end with it, whatever happens to the process that made it.
//!
//! Every process started in a folder carries `LECTERN_WORLD=<folder>` in its environment, and so do
//! its children. That mark, never a name, decides what is ended. A guard (a small shell in a process
//! group of its own) reads from a pipe that only we hold: when we are killed the pipe closes, the
//! guard ends what carries the mark and removes the folder.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

/// The variable that marks a process.
pub const MARK: &str = "LECTERN_WORLD";

/// Ends marked processes politely, then not, then removes the folder ($1).
const GUARD: &str = r#"
read -r word
[ "$word" = done ] && exit 0
for signal in CONT TERM KILL KILL; do
    for process in /proc/[0-9]*; do
        grep -qsazxF "LECTERN_WORLD=$1" "$process/environ" && kill -$signal "${process#/proc/}"
    done
    [ "$signal" = CONT ] || sleep 1
done 2>/dev/null
rm -rf -- "$1"
"#;

/// See the module's header.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    guard: Child,
    pipe: Option<ChildStdin>,
    keep: bool,
}

impl Folder {
    /// Makes the folder. It is kept after the end when `LECTERN_KEEP` is set, for its logs.
    ///
    /// # Errors
    /// When the folder cannot be made or no shell can be started.
    pub fn new() -> anyhow::Result<Self> {
        // Short and at a fixed place: sockets in it must fit into 108 bytes.
        let path = tempfile::Builder::new()
            .prefix("lectern-")
            .tempdir_in(if Path::new("/tmp").is_dir() { PathBuf::from("/tmp") } else { std::env::temp_dir() })
            .context("no temporary folder could be made")?
            .keep();
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "lectern-guard"]).arg(&path).current_dir("/");
        guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // A guard inside a world must survive the end of that world's marked processes.
        guard.env_remove(MARK);
        std::os::unix::process::CommandExt::process_group(&mut guard, 0);
        let mut guard = guard.spawn().context("the guard's shell could not be started")?;
        let pipe = guard.stdin.take();
        let keep = std::env::var_os("LECTERN_KEEP").is_some_and(|v| !v.is_empty());
        Ok(Self { path, guard, pipe, keep })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path inside it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a folder inside it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("{} could not be made", path.display()))?;
        Ok(path)
    }

    /// Leaves the folder on disk after the end.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// All processes alive that carry this folder's mark, by id.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let mark = format!("{MARK}={}", self.path.display());
        let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
        all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| {
                std::fs::read(format!("/proc/{pid}/environ"))
                    .is_ok_and(|env| env.split(|&b| b == 0).any(|v| v == mark.as_bytes()))
            })
            .collect()
    }

    /// Ends all processes that carry this folder's mark: SIGTERM, then SIGKILL after a second.
    pub fn sweep(&self) {
        for (signals, wait) in
            [(&[Signal::CONT, Signal::TERM][..], 1000), (&[Signal::KILL], 1000), (&[Signal::KILL], 1000)]
        {
            for signal in signals {
                for pid in self.processes() {
                    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                        // It may have ended by itself since it was listed.
                        kill_process(pid, *signal).ok();
                    }
                }
            }
            let gone = super::eventually(Duration::from_millis(wait), "the end", || {
                self.processes().is_empty().then_some(())
            });
            if gone.is_ok() {
                return;
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.sweep();
        if self.keep {
            eprintln!("kept: {}", self.path.display());
        } else {
            std::fs::remove_dir_all(&self.path).ok();
        }
        if let Some(mut pipe) = self.pipe.take() {
            std::io::Write::write_all(&mut pipe, b"done\n").ok();
        }
        self.guard.wait().ok();
    }
}

/// Copies a folder as a backup does: files and folders, but no sockets of running programs.
///
/// # Errors
/// What the file system says.
pub fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to)?;
        } else if from.is_file() {
            std::fs::copy(from, to)?;
        }
    }
    Ok(())
}
