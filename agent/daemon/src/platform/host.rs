//! The machine's own words about itself: files below a root, which is `/` except in a container and in tests.
//!
//! Read directly: a reading is a file read and split.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// As much of a file as anybody reads.
const MOST: usize = 1 << 20;
/// Room for a text at first: most of the kernel's are shorter.
const ROOM: usize = 1024;
/// The kernel fills a page of its own with lines and gives that: it gives less than half of one only at the end of a file.
const HALF_A_PAGE: usize = 2048;

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

    /// Whether it is the one this program runs on.
    fn is_this_machine(&self) -> bool {
        self.root == Path::new("/")
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
            File::open(self.path(path))?.take(MOST as u64).read_to_end(&mut bytes)?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().map_err(|e| Self::told(path, e))
    }

    /// What went wrong with a path, in a sentence.
    fn told(path: &str, what: impl std::fmt::Display) -> String {
        format!("/{}: {what}", path.trim_start_matches('/'))
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

/// A file that the kernel writes anew whenever it is read, and that is read again and again: it stays open, and so does
/// the memory for its text. Opening costs the kernel as much as most of these texts.
///
/// Only what lies in this machine's own `/proc` and `/sys` is kept open: there a file that is another one now says so
/// (a card that was pulled out), and anywhere else it does not.
#[derive(Debug)]
pub struct Source {
    path: String,
    file: Option<File>,
    bytes: Vec<u8>,
    /// How much of `bytes` is text.
    length: usize,
}

impl Source {
    /// The file at a path below `/proc` or `/sys`.
    #[must_use]
    pub fn at(path: impl Into<String>) -> Self {
        Self { path: path.into(), file: None, bytes: Vec::new(), length: 0 }
    }

    /// Its text now, at most 1 MiB of it.
    ///
    /// # Errors
    /// A sentence with the path as that machine calls it.
    pub fn read(&mut self, host: &Host) -> Result<&str, String> {
        let kept = self.file.take().filter(|_| host.is_this_machine());
        // One that is another file now is opened anew.
        self.file = match kept.map(|file| self.fill(&file).map(|()| file)) {
            Some(Ok(file)) => Some(file),
            _ => self.open(host).map_err(|e| Host::told(&self.path, e))?,
        };
        std::str::from_utf8(&self.bytes[..self.length]).map_err(|e| Host::told(&self.path, e))
    }

    /// Its one number now.
    #[must_use]
    pub fn number(&mut self, host: &Host) -> Option<f64> {
        self.read(host).ok()?.trim().parse().ok()
    }

    fn open(&mut self, host: &Host) -> std::io::Result<Option<File>> {
        let file = File::open(host.path(&self.path))?;
        self.fill(&file)?;
        Ok(host.is_this_machine().then_some(file))
    }

    /// Reads to the end of a file of the kernel's, or of any other that gives all it has.
    fn fill(&mut self, file: &File) -> std::io::Result<()> {
        self.length = 0;
        loop {
            if self.bytes.len() == self.length {
                self.bytes.resize((self.length * 2).max(ROOM), 0);
            }
            let room = self.bytes.len() - self.length;
            match file.read_at(&mut self.bytes[self.length..], self.length as u64) {
                Ok(0) => return Ok(()),
                Ok(n) => {
                    self.length += n;
                    if n < room.min(HALF_A_PAGE) {
                        return Ok(());
                    }
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
            if self.length >= MOST {
                return Ok(());
            }
        }
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
    fn a_source_is_told_anew_each_time_and_finds_its_file_again() {
        let here = Host::at(Path::new("/"));
        let mut uptime = Source::at("proc/uptime");
        let first = uptime.read(&here).expect("reads").to_owned();
        assert_eq!(first.lines().count(), 1, "{first}");
        while uptime.read(&here).expect("reads") == first {}
        // Longer than one read, and than the room there is at first.
        let mut vmstat = Source::at("proc/vmstat");
        for _ in 0..2 {
            let names =
                |text: &str| text.lines().map(|l| l.split(' ').next().map(str::to_owned)).collect::<Vec<_>>();
            let (kept, anew) =
                (names(vmstat.read(&here).expect("reads")), here.read("proc/vmstat").expect("reads"));
            assert_eq!(kept, names(&anew));
        }
        // A file of a process that ended says no more, whoever holds it open; the one in its place does.
        let sleeper = || std::process::Command::new("sleep").arg("60").spawn().expect("starts");
        let mut process = sleeper();
        let path = format!("proc/{}/stat", process.id());
        let mut source = Source::at(&*path);
        assert!(source.read(&here).is_ok());
        process.kill().and_then(|()| process.wait()).expect("ends");
        let why = source.read(&here).expect_err("it is gone");
        assert!(why.starts_with(&format!("/{path}: ")), "{why}");
        // Below another root a file may be replaced by one of the same name.
        let folder = tempfile::tempdir().expect("folder");
        let there = Host::at(folder.path());
        let mut speed = Source::at("speed");
        for mbps in [100.0, 1000.0] {
            let (fresh, file) = (folder.path().join("fresh"), folder.path().join("speed"));
            std::fs::write(&fresh, format!("{mbps}\n"))
                .and_then(|()| std::fs::rename(fresh, file))
                .expect("writes");
            assert_eq!(speed.number(&there), Some(mbps));
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_as_the_machine_calls_it() {
        let why = Host::at(Path::new("/nowhere")).read("proc/stat").expect_err("not there");
        assert!(why.starts_with("/proc/stat: "), "{why}");
    }
}
