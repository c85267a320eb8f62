//! What this machine is known by, whatever is installed on it: hashes of its network cards' and disks' own numbers.
//!
//! A cloned disk image carries id, key and password along, but not these. One of them is enough to know the machine
//! again, so a card or a disk may be exchanged. What is plugged in by USB goes from room to room and does not count.

use std::path::Path;

use lectern_wire::digest::Digest;

/// The marks, sorted; none where the kernel shows no hardware (a container).
pub fn marks(sys: &Path) -> Vec<Digest> {
    let mut marks = Vec::new();
    for (folder, files) in [
        ("class/net", &["address"][..]),
        ("block", &["device/wwid", "wwid", "device/serial", "device/cid"][..]),
    ] {
        for entry in std::fs::read_dir(sys.join(folder)).into_iter().flatten().flatten() {
            // Virtual cards and disks have no device; one on USB stands below its bus.
            let device = std::fs::canonicalize(entry.path().join("device"));
            if !device.is_ok_and(|path| !path.to_string_lossy().contains("/usb")) {
                continue;
            }
            for file in files {
                let text = std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
                let text = text.trim();
                if text.chars().any(|c| c.is_alphanumeric() && c != '0') {
                    marks.push(Digest::of(format!("lectern machine mark v1\n{folder}\n{text}").as_bytes()));
                }
            }
        }
    }
    marks.sort_unstable_by_key(ToString::to_string);
    marks.dedup();
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_and_disks_of_the_machine_count_and_what_is_plugged_in_does_not() {
        let sys = tempfile::tempdir().expect("folder");
        let make = |name: &str, device: Option<&str>, file: &str, text: &str| {
            let folder = sys.path().join(name);
            std::fs::create_dir_all(&folder).expect("made");
            if let Some(device) = device {
                let device = sys.path().join("devices").join(device);
                std::fs::create_dir_all(&device).expect("made");
                std::os::unix::fs::symlink(device, folder.join("device")).expect("linked");
            }
            std::fs::write(folder.join(file), text).expect("written");
        };
        make("class/net/enp3s0", Some("pci0000:00/a"), "address", "3c:7c:3f:01:02:03\n");
        make("class/net/lo", None, "address", "00:00:00:00:00:00\n");
        make("class/net/docker0", None, "address", "02:42:01:02:03:04\n");
        make("class/net/enx00", Some("pci0000:00/usb1/1-1"), "address", "00:e0:4c:01:02:03\n");
        make("block/nvme0n1", Some("pci0000:00/b"), "wwid", "eui.0025385b01234567\n");
        make("block/loop0", None, "wwid", "x\n");
        let found = marks(sys.path());
        assert_eq!(found.len(), 2);
        std::fs::write(sys.path().join("block/nvme0n1/wwid"), "eui.0025385b07654321\n").expect("written");
        let other = marks(sys.path());
        assert_eq!(other.iter().filter(|mark| found.contains(mark)).count(), 1, "the card is the same");
        assert!(marks(Path::new("/nowhere")).is_empty());
    }
}
