//! The machine's own words about itself: files below a root, which is `/` except in a container and in tests.
//!
//! Read directly: a reading is a file opened, read and split.

use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A machine: its `/proc`, `/sys`, `/run` and `/etc`.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
}

impl Host {
    /// The machine below a root.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Where a path of that machine is here.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A file's text, at most 1 MiB of it.
    ///
    /// # Errors
    /// A sentence with the path as that machine calls it.
    pub fn read(&self, path: &str) -> Result<String, String> {
        let read = || {
            let mut bytes = Vec::with_capacity(4096);
            std::fs::File::open(self.path(path))?.take(1 << 20).read_to_end(&mut bytes)?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().map_err(|e| format!("/{}: {e}", path.trim_start_matches('/')))
    }

    /// A file's text without the space around it; none when it cannot be read.
    #[must_use]
    pub fn word(&self, path: &str) -> Option<String> {
        self.read(path).ok().map(|text| text.trim().to_owned())
    }

    /// A file's one number.
    #[must_use]
    pub fn number(&self, path: &str) -> Option<f64> {
        self.word(path)?.parse().ok()
    }

    /// Whether a path is there.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// Names in a folder, sorted; empty when there is none.
    #[must_use]
    pub fn list(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort_unstable();
        names
    }

    /// Processor model and count, memory in bytes, system name, kernel release.
    #[must_use]
    pub fn inventory(&self) -> (String, u32, u64, String, String) {
        let processors = self.read("proc/cpuinfo").unwrap_or_default();
        let field = |line: &str, name: &str| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        };
        let named = |name| processors.lines().find_map(|line| field(line, name));
        // ARM names the board, or nothing.
        let model = named("model name").or_else(|| named("Model")).or_else(|| named("Hardware"));
        let count = processors.lines().filter(|line| field(line, "processor").is_some()).count();
        let memory = self.read("proc/meminfo").ok().and_then(|text| kib(&text, "MemTotal:"));
        let system = self.read("etc/os-release").or_else(|_| self.read("usr/lib/os-release"));
        let system = system.unwrap_or_default();
        let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        let system = system.unwrap_or("Linux").trim_matches('"').to_owned();
        let kernel = self.word("proc/sys/kernel/osrelease").unwrap_or_default();
        let memory = memory.map_or(0, |kib| kib as u64 * 1024);
        (model.unwrap_or_default(), u32::try_from(count).unwrap_or(0), memory, system, kernel)
    }
}

/// The number of a line such as `MemTotal:  16314428 kB`.
#[must_use]
pub fn kib(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inventory_of_this_machine_names_its_parts() {
        let (_, count, memory, system, kernel) = Host::at(Path::new("/")).inventory();
        assert!(count > 0 && memory > 1 << 20 && !system.is_empty() && !kernel.is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_named_as_the_machine_calls_it() {
        let why = Host::at(Path::new("/nowhere")).read("proc/stat").expect_err("not there");
        assert!(why.starts_with("/proc/stat: "), "{why}");
    }
}
