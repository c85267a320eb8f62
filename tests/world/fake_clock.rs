//! A wall clock that can be stepped, for the programs that are given it: by libfaketime, and only `CLOCK_REALTIME`.
//! The machine's own clock is left alone.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The wall clock of the programs that were started with [`FakeClock::env`].
#[derive(Debug)]
pub struct FakeClock(PathBuf);

impl FakeClock {
    /// One that goes right.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        let fake = Self(folder.join("faketime"));
        fake.off_by(0)?;
        Ok(fake)
    }

    /// Seconds beside the real one. The file is replaced at once: half a number would be another step.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn off_by(&self, seconds: i64) -> anyhow::Result<()> {
        let new = self.0.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n"))?;
        std::fs::rename(new, &self.0).context("the wall clock could not be stepped")
    }

    /// The library that does it.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn library() -> anyhow::Result<PathBuf> {
        let places = std::fs::read_dir("/usr/lib")?.flatten();
        let mut libraries = places.map(|place| place.path().join("faketime/libfaketimeMT.so.1"));
        let found = libraries.find(|path| path.is_file());
        found.context("libfaketime is not installed (packaging/setup.sh does it)")
    }

    /// What a program is started with.
    ///
    /// # Errors
    /// When the library is not installed.
    pub fn env(&self) -> anyhow::Result<Vec<(String, String)>> {
        let env = [
            ("LD_PRELOAD", Self::library()?.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.0.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ];
        Ok(env.map(|(key, value)| (key.to_owned(), value)).into())
    }
}
