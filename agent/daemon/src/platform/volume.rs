//! Whether a folder lies on a volume that keeps what is written to it.
//!
//! Looked at are the file system the folder lies on and, where that is the system's own, the words the
//! kernel was started with. A restore card or driver below the file system leaves no trace here; it is
//! found out by what the hub remembers, see [`crate::model::home`].

use std::path::{Path, PathBuf};

use crate::model::home::Doubt;

/// File systems whose files are in memory.
const IN_MEMORY: [&str; 3] = ["tmpfs", "ramfs", "rootfs"];
/// File systems that put a layer above another.
const LAYERS: [&str; 6] = ["overlay", "overlayfs", "aufs", "unionfs", "fuse.unionfs", "fuse.unionfs-fuse"];

/// What speaks against a folder as a home, by looks alone.
#[must_use]
pub fn doubt(folder: &Path) -> Option<Doubt> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    // The folder may not be there yet: then the one it will be made in.
    let real = folder.ancestors().find_map(|place| place.canonicalize().ok())?;
    judge(&real, &read("/proc/self/mountinfo"), &read("/proc/cmdline"))
}

/// One line of mountinfo.
struct Mount {
    point: PathBuf,
    kind: String,
}

fn judge(folder: &Path, mountinfo: &str, cmdline: &str) -> Option<Doubt> {
    let mounts: Vec<Mount> = mountinfo.lines().filter_map(mount).collect();
    // Of those mounted at one place the last one is seen.
    let mount =
        mounts.iter().filter(|m| folder.starts_with(&m.point)).max_by_key(|m| m.point.as_os_str().len())?;
    let kind = mount.kind.as_str();
    if IN_MEMORY.contains(&kind) {
        return Some(Doubt::InMemory(kind.to_owned()));
    }
    if LAYERS.contains(&kind) {
        return Some(Doubt::Layer(kind.to_owned()));
    }
    let system = mount.point == Path::new("/");
    cmdline
        .split_whitespace()
        .find(|word| system && restores(word))
        .map(|word| Doubt::BootWord(word.to_owned()))
}

/// Whether a word of the kernel's command line has the system volume restored at each boot.
fn restores(word: &str) -> bool {
    match word.split_once('=').unwrap_or((word, "")) {
        ("overlayroot", how) => !["", "disabled"].contains(&how.split(':').next().unwrap_or_default()),
        ("systemd.volatile", how) => ["yes", "true", "1", "overlay", "state"].contains(&how),
        ("boot", how) => ["live", "overlay"].contains(&how),
        ("fsprotect" | "toram" | "deepfreeze", _) => true,
        _ => false,
    }
}

fn mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let point = before.split(' ').nth(4)?;
    // Spaces and the like stand as octal numbers.
    let point = point.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
    Some(Mount { point: point.into(), kind: after.split(' ').next()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw\n\
        23 22 0:21 / /run rw,nosuid - tmpfs tmpfs rw,size=10%\n\
        24 22 8:3 / /data\\040disk rw - xfs /dev/sda3 rw\n";

    #[test]
    fn a_volume_of_its_own_is_a_home_whatever_happens_to_the_system() {
        let overlaid = "22 1 0:30 / / rw - overlay overlayroot rw,lowerdir=/media/root-ro,upperdir=/media/root-rw/o\n\
            24 22 8:3 / /data rw - ext4 /dev/sda3 rw\n";
        let word = "BOOT_IMAGE=/vmlinuz ro overlayroot=tmpfs:recurse=0 quiet";
        assert_eq!(judge(Path::new("/data/lectern"), overlaid, word), None);
        assert_eq!(
            judge(Path::new("/var/lib/lectern"), overlaid, word),
            Some(Doubt::Layer("overlay".into()))
        );
    }

    #[test]
    fn a_folder_is_judged_by_the_file_system_it_really_lies_on() {
        assert_eq!(judge(Path::new("/var/lib/lectern"), PLAIN, "ro quiet"), None);
        assert_eq!(judge(Path::new("/data disk/lectern"), PLAIN, "ro fsprotect"), None);
        assert_eq!(judge(Path::new("/run/lectern"), PLAIN, ""), Some(Doubt::InMemory("tmpfs".into())));
        let over = format!("{PLAIN}30 22 0:40 / /data\\040disk rw - aufs none rw\n");
        assert_eq!(judge(Path::new("/data disk"), &over, ""), Some(Doubt::Layer("aufs".into())));
    }

    #[test]
    fn words_that_restore_the_system_are_known_and_their_opposites_too() {
        for word in [
            "overlayroot=tmpfs",
            "overlayroot=device:dev=/dev/sdb1",
            "fsprotect=1G",
            "systemd.volatile=overlay",
            "boot=live",
            "toram",
        ] {
            let found = judge(Path::new("/var/lib/lectern"), PLAIN, &format!("ro {word} quiet"));
            assert_eq!(found, Some(Doubt::BootWord(word.into())));
        }
        for word in ["overlayroot=disabled", "systemd.volatile=no", "boot=local", "root=/dev/sda2"] {
            assert_eq!(judge(Path::new("/var/lib/lectern"), PLAIN, word), None, "{word}");
        }
    }
}
