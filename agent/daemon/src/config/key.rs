//! `[key]`: a physical key beside the page's button.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::reader::Section;
use crate::model::key;

/// A physical key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Whether one is looked for.
    pub on: bool,
    /// Its device file; its last part may hold one `*` that stands for any text.
    pub device: PathBuf,
    /// Which key of the device; `None` for any.
    pub code: Option<u16>,
    /// How long it is held to end a lesson.
    pub hold: Duration,
}

/// Reads the section.
pub fn key(root: &mut Section<'_>) -> Key {
    root.section("key", |s| {
        let device = s.path("device", "/dev/input/lectern-key*");
        if !fits(&device) {
            s.fault(
                "device",
                "may hold one * and only in its last part, such as \"/dev/input/lectern-key*\"",
            );
        }
        let code = s.maybe_parsed("code", key::code).flatten();
        let hold = s.number("hold_ms", 1000u32, 500..=5000);
        let hold = Duration::from_millis(hold.into());
        Key { on: s.choice_of_bool("on"), device, code, hold }
    })
}

fn fits(device: &Path) -> bool {
    let text = device.to_string_lossy();
    let name = device.file_name().unwrap_or_default().to_string_lossy();
    text.matches('*').count() == name.matches('*').count() && name.matches('*').count() <= 1
}

#[cfg(test)]
mod tests {
    use super::super::reader::Faults;
    use super::*;

    #[test]
    fn a_key_is_off_unless_it_is_asked_for_and_its_faults_are_named() {
        let read = |text: &str| {
            let faults = Faults::default();
            let mut root = Section::new(&faults, "", text.parse().expect("TOML"));
            let key = key(&mut root);
            root.end();
            faults.into_result(key)
        };
        let plain = read("").expect("the defaults");
        assert!(!plain.on && plain.code.is_none() && plain.hold == Duration::from_secs(1));
        let own = read(
            "[key]\non = true\ndevice = \"/dev/input/by-id/usb-x-event-kbd\"\ncode = \"KEY_F9\"\nhold_ms = 800",
        );
        assert_eq!(own.map(|key| (key.on, key.code)), Ok((true, Some(67))));
        for wrong in
            ["device = \"/dev/*/event*\"", "device = \"key\"", "code = \"F99\"", "hold_ms = 10", "on = 1"]
        {
            let faults = read(&format!("[key]\n{wrong}")).expect_err(wrong);
            let path = format!("key.{}", wrong.split(' ').next().unwrap_or_default());
            assert!(faults.len() == 1 && faults[0].starts_with(&path), "{faults:?}");
        }
    }
}
