//! Disks that can be filled, copied and pulled out. They need the right to mount.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// A mounted file system, unmounted on drop.
#[derive(Debug)]
pub struct Disk {
    image: Option<PathBuf>,
    at: PathBuf,
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<bool> {
    let out = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    Ok(out.status.success())
}

impl Disk {
    /// A small disk in memory; none where nothing may be mounted, which is then said.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn small(at: &Path, mib: u32) -> anyhow::Result<Option<Self>> {
        let size = format!("size={mib}m");
        Self::mount(None, at, &["-t", "tmpfs", "-o", &size, "tmpfs"])
    }

    /// A new ext4 in an image file; none where nothing may be mounted, which is then said.
    ///
    /// # Errors
    /// When the image cannot be made.
    pub fn ext4(image: PathBuf, at: &Path) -> anyhow::Result<Option<Self>> {
        Self::ext4_of(image, 400, at)
    }

    /// The same, of so many MiB; the image takes only what is written to it.
    ///
    /// # Errors
    /// When the image cannot be made.
    pub fn ext4_of(image: PathBuf, mib: u64, at: &Path) -> anyhow::Result<Option<Self>> {
        std::fs::File::create(&image)?.set_len(mib << 20)?;
        ensure!(run("mkfs.ext4", &["-q", &image.to_string_lossy()])?, "mkfs.ext4 failed");
        Self::of_image(image, at)
    }

    /// Mounts an image; its journal is replayed, as after a power cut.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn of_image(image: PathBuf, at: &Path) -> anyhow::Result<Option<Self>> {
        let path = image.to_string_lossy().into_owned();
        Self::mount(Some(image), at, &["-o", "loop", &path])
    }

    /// A layer over an empty folder, as a restore lays over the system volume; both of its folders stand in `layers`.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub fn overlay(layers: &Path, at: &Path) -> anyhow::Result<Option<Self>> {
        for name in ["lower", "upper", "work"] {
            std::fs::create_dir_all(layers.join(name))?;
        }
        let place = layers.display();
        let options = format!("lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work");
        Self::mount(None, at, &["-t", "overlay", "-o", &options, "overlay"])
    }

    fn mount(image: Option<PathBuf>, at: &Path, options: &[&str]) -> anyhow::Result<Option<Self>> {
        std::fs::create_dir_all(at)?;
        let place = at.to_string_lossy();
        if run("mount", &[options, &[&place]].concat())? {
            return Ok(Some(Self { image, at: at.to_owned() }));
        }
        crate::skipped("no file system may be mounted here");
        Ok(None)
    }

    /// Where it is.
    #[must_use]
    pub fn at(&self) -> &Path {
        &self.at
    }

    /// Copies what an image holds at this instant; whoever writes to it stands still meanwhile.
    ///
    /// # Errors
    /// When it cannot be copied, or is no image.
    pub fn copy(&self, to: &Path, writers: &[u32]) -> anyhow::Result<()> {
        let image = self.image.as_ref().context("a disk in memory cannot be copied")?;
        let signal = |signal: Signal| {
            for pid in writers.iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)) {
                // One that ended meanwhile writes nothing any more.
                kill_process(pid, signal).ok();
            }
        };
        signal(Signal::STOP);
        let copied = run("cp", &["--sparse=always", &image.to_string_lossy(), &to.to_string_lossy()]);
        signal(Signal::CONT);
        ensure!(copied?, "{} could not be copied", image.display());
        Ok(())
    }

    /// Has everything that writes to it hang, until the guard goes.
    ///
    /// # Errors
    /// When it cannot be frozen.
    pub fn freeze(&self) -> anyhow::Result<Frozen> {
        ensure!(run("fsfreeze", &["--freeze", &self.at.to_string_lossy()])?, "fsfreeze failed");
        Ok(Frozen(self.at.clone()))
    }

    /// Has it only be read from now on, as a disk that its file system does not trust any more; or written again.
    ///
    /// # Errors
    /// When somebody still writes to it.
    pub fn only_read(&self, only: bool) -> anyhow::Result<()> {
        let how = if only { "remount,ro" } else { "remount,rw" };
        ensure!(run("mount", &["-o", how, &self.at.to_string_lossy()])?, "{how} failed");
        Ok(())
    }

    /// Fills it to its last byte with one file, and gives that file.
    ///
    /// # Errors
    /// When nothing could be written.
    pub fn fill(&self) -> anyhow::Result<PathBuf> {
        let filler = self.at.join("somebody-elses");
        let free = lectern_base::disk::free_bytes(&self.at)?;
        let file = std::fs::File::create(&filler)?;
        // At once, most of it: the file system needs a little for itself. Written, where there is no such way.
        let flags = rustix::fs::FallocateFlags::empty();
        let tries = (0..40).map(|step: u64| free - (free / 100) * step / 4);
        for bytes in tries.take_while(|bytes| *bytes > 0) {
            match rustix::fs::fallocate(&file, flags, 0, bytes) {
                Err(rustix::io::Errno::NOSPC) => {}
                _ => break,
            }
        }
        let mut rest = std::fs::File::options().append(true).open(&filler)?;
        let full = loop {
            if let Err(e) = std::io::Write::write_all(&mut rest, &[0; 65536]) {
                break e;
            }
        };
        ensure!(full.kind() == std::io::ErrorKind::StorageFull, "{}: {full}", self.at.display());
        Ok(filler)
    }
}

/// A disk that hangs while this is there.
#[derive(Debug)]
pub struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        Command::new("fsfreeze").arg("--unfreeze").arg(&self.0).status().ok();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that is just being ended may still hold a file.
        Command::new("umount").arg("-l").arg(&self.at).status().ok();
    }
}
