//! Where the built programs are.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// The three programs of Lectern, built.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The daemon and its command line.
    pub lectern: PathBuf,
    /// The worker that records.
    pub recorder: PathBuf,
    /// Broker, store and console.
    pub hub: PathBuf,
}

impl Programs {
    /// Finds them beside the running test or demo, or in the folder `LECTERN_BIN_DIR` names (installed
    /// programs, another build).
    ///
    /// # Errors
    /// Names each program that is missing and how to build it.
    pub fn find() -> anyhow::Result<Self> {
        match std::env::var_os("LECTERN_BIN_DIR") {
            Some(folder) => Self::in_folder(Path::new(&folder)),
            None => Self::in_folder(&beside(&std::env::current_exe().context("where am I?")?)?),
        }
    }

    /// Finds them in a folder.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn in_folder(folder: &Path) -> anyhow::Result<Self> {
        let missing: Vec<_> = ["lectern", "lectern-recorder", "lectern-hub"]
            .into_iter()
            .filter(|name| !folder.join(name).is_file())
            .collect();
        ensure!(
            missing.is_empty(),
            "not built in {}: {}; run `cargo build --workspace` with the same profile first",
            folder.display(),
            missing.join(", ")
        );
        Ok(Self {
            lectern: folder.join("lectern"),
            recorder: folder.join("lectern-recorder"),
            hub: folder.join("lectern-hub"),
        })
    }
}

/// The profile's folder: tests lie one deeper, in `deps`.
fn beside(exe: &Path) -> anyhow::Result<PathBuf> {
    let folder = exe.parent().context("a program without a folder")?;
    Ok(if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder }.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_programs_are_all_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("lectern"), "").unwrap();
        let said = Programs::in_folder(folder.path()).unwrap_err().to_string();
        assert!(said.contains("lectern-recorder, lectern-hub") && said.contains("cargo build"), "{said}");
    }

    #[test]
    fn a_test_looks_beside_its_deps_folder() {
        assert_eq!(beside(Path::new("/t/debug/deps/e2e-1")).unwrap(), Path::new("/t/debug"));
        assert_eq!(beside(Path::new("/t/debug/lectern-demo")).unwrap(), Path::new("/t/debug"));
    }
}
