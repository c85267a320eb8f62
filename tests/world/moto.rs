//! An S3 store that believes everything: moto's server, which checks neither hashes nor signatures.
//! `packaging/setup.sh garage` installs it beside Garage.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::folder::Folder;
use crate::process::{Process, eventually, free_port};

/// A running moto with our bucket.
#[derive(Debug)]
pub struct Moto {
    _process: Process,
    port: u16,
    /// The file with its keys, as the hub wants it; moto takes any.
    pub keys: PathBuf,
}

impl Moto {
    /// Its server program.
    ///
    /// # Errors
    /// The sentence for [`crate::skipped`] when it is not installed.
    pub fn find() -> Result<PathBuf, String> {
        let program = crate::garage::cache().join("lectern/moto/bin/moto_server");
        if program.is_file() {
            Ok(program)
        } else {
            Err("moto is not installed here; `packaging/setup.sh garage` installs it".into())
        }
    }

    /// Starts it with an empty bucket.
    ///
    /// # Errors
    /// When it does not start, with the end of its log.
    pub fn start(folder: &Folder, program: &Path) -> anyhow::Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let (port, keys) = (free_port()?, folder.join("moto.keys"));
        std::fs::write(&keys, "moto\nmoto\n")?;
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600))?;
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let mut process = Process::start(folder, "moto", command)?;
        let url = format!("http://127.0.0.1:{port}/lessons");
        let made = eventually(Duration::from_secs(60), "moto", || {
            let mut curl = Command::new("curl");
            curl.args([
                "-s",
                "-f",
                "-o",
                "/dev/null",
                "-X",
                "PUT",
                "--max-time",
                "5",
                "--noproxy",
                "*",
                &url,
            ]);
            (curl.output().ok()?.status.success() || !process.running()).then_some(())
        });
        process.must_run()?;
        made.with_context(|| process.tail_of_log())?;
        Ok(Self { _process: process, port, keys })
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
