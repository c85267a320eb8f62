//! A wall clock that can be stepped, for the programs that are given it: by libfaketime, and only `CLOCK_REALTIME`.
//! The machine's own clock is left alone.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lectern_base::clock;

/// The wall clock of the programs that were started with [`FakeClock::env`].
#[derive(Debug)]
pub struct FakeClock(PathBuf);

impl FakeClock {
    /// One that goes right.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        Self::named(folder, "faketime")
    }

    /// As [`Self::new`], where there are several.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn named(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let fake = Self(folder.join(name));
        fake.off_by(0)?;
        Ok(fake)
    }

    /// Seconds beside the real one.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn off_by(&self, seconds: i64) -> anyhow::Result<()> {
        self.off_by_ms(seconds * 1000)
    }

    /// Says that it is this moment now, Unix milliseconds.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn set(&self, wall_ms: i64) -> anyhow::Result<()> {
        self.off_by_ms(wall_ms - clock::wall_ms())
    }

    /// The file is replaced at once: half a number would be another step.
    fn off_by_ms(&self, ms: i64) -> anyhow::Result<()> {
        let new = self.0.with_extension("new");
        let (sign, ms) = (if ms < 0 { '-' } else { '+' }, ms.unsigned_abs());
        std::fs::write(&new, format!("{sign}{}.{:03}\n", ms / 1000, ms % 1000))?;
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
