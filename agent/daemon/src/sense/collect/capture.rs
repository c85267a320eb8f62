//! Cameras and microphones that are plugged in, and those that nobody registered.
//!
//! Only what the kernel shows: nothing is opened, nothing is listened to.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::Collector;
use crate::model::reading::{Found, Group};
use crate::platform::host::Host;

/// Capture devices.
#[derive(Debug)]
pub struct Capture {
    /// What is registered in this room, one id a line; made from what is plugged in the first time.
    register: PathBuf,
}

/// Something that takes pictures or sound.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// The same for the same device, whatever it is plugged into: `usb:046d:0825` or `card:PCH`.
    pub id: String,
    /// What it calls itself.
    pub name: String,
    /// Whether it takes pictures rather than sound.
    pub camera: bool,
}

impl Capture {
    /// Devices are held against this file.
    #[must_use]
    pub fn registered_in(register: PathBuf) -> Self {
        Self { register }
    }

    fn register(&self, devices: &[Device]) -> Result<BTreeSet<String>, String> {
        match std::fs::read_to_string(&self.register) {
            Ok(text) => {
                Ok(text.lines().filter_map(|l| l.split_whitespace().next()).map(str::to_owned).collect())
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                write_register(&self.register, devices)?;
                Ok(devices.iter().map(|device| device.id.clone()).collect())
            }
            Err(e) => Err(format!("{}: {e}", self.register.display())),
        }
    }
}

/// Registers these devices and no others.
///
/// # Errors
/// A sentence when the file cannot be written.
pub fn write_register(path: &std::path::Path, devices: &[Device]) -> Result<(), String> {
    let text: String = devices.iter().map(|d| format!("{} {}\n", d.id, d.name)).collect();
    lectern_base::disk::replace(path, text.as_bytes()).map_err(|e| format!("{}: {e}", path.display()))
}

/// What is plugged in.
#[must_use]
pub fn devices(host: &Host) -> Vec<Device> {
    let mut all = cameras(host);
    all.extend(microphones(host));
    all.sort_unstable();
    all.dedup_by(|a, b| a.id == b.id && a.camera == b.camera);
    all
}

fn cameras(host: &Host) -> Vec<Device> {
    let mut found = Vec::new();
    for node in host.list("sys/class/video4linux").into_iter().filter(|node| node.starts_with("video")) {
        let folder = format!("sys/class/video4linux/{node}");
        // Index 0 gives pictures; a USB camera's others give descriptions of them.
        if host.number(&format!("{folder}/index")).is_some_and(|index| index > 0.0) {
            continue;
        }
        let name = host.word(&format!("{folder}/name")).unwrap_or_else(|| node.clone());
        let usb = |what: &str| host.word(&format!("{folder}/device/../{what}"));
        let id = match usb("idVendor").zip(usb("idProduct")) {
            Some((vendor, product)) => format!("usb:{vendor}:{product}"),
            // A codec of the processor is a video device too; it has no bus behind it that is plugged.
            None if !host.has(&format!("{folder}/device/vendor")) => continue,
            None => format!("video:{}", name.replace(' ', "_")),
        };
        found.push(Device { id, name, camera: true });
    }
    found
}

fn microphones(host: &Host) -> Vec<Device> {
    // `00-00: ALC257 Analog : ALC257 Analog : playback 1 : capture 1`
    let text = host.read("proc/asound/pcm").unwrap_or_default();
    let mut cards: Vec<&str> = text.lines().filter(|line| line.contains(": capture ")).collect();
    cards.dedup_by_key(|line| line.get(..2).unwrap_or_default().to_owned());
    let mut found = Vec::new();
    for line in cards {
        let Some(card) = line.get(..2).and_then(|n| n.parse::<u8>().ok()) else { continue };
        let folder = format!("proc/asound/card{card}");
        let name = host.word(&format!("{folder}/id")).unwrap_or_else(|| format!("card {card}"));
        let id = match host.word(&format!("{folder}/usbid")) {
            Some(usb) => format!("usb:{usb}"),
            None => format!("card:{name}"),
        };
        found.push(Device { id, name, camera: false });
    }
    found
}

impl Collector for Capture {
    fn name(&self) -> &'static str {
        "capture"
    }

    fn group(&self) -> Group {
        Group::Av
    }

    fn collect(&mut self, host: &Host, _now: Duration) -> Found {
        let mut found = Found::default();
        let devices = devices(host);
        found.count("camera_count", devices.iter().filter(|d| d.camera).count());
        found.count("microphone_count", devices.iter().filter(|d| !d.camera).count());
        let named = |devices: &mut dyn Iterator<Item = &Device>| {
            devices.map(|d| format!("{} ({})", d.name, d.id)).collect::<Vec<_>>().join(", ")
        };
        if !devices.is_empty() {
            found.say("capture_devices", named(&mut devices.iter()));
        }
        match self.register(&devices) {
            Err(why) => found.lack("unknown_capture_count", why),
            Ok(known) => {
                let unknown: Vec<_> = devices.iter().filter(|d| !known.contains(&d.id)).collect();
                found.count("unknown_capture_count", unknown.len());
                if !unknown.is_empty() {
                    found.say("unknown_capture", named(&mut unknown.into_iter()));
                }
            }
        }
        found
    }
}
