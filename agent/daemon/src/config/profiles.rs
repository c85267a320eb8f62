//! Reads video profiles.

use super::reader::Section;
use crate::model::profile::{Encode, Profile};

/// One profile.
pub fn profile(s: &mut Section<'_>) -> Profile {
    Profile {
        id: s.text("id", None, 20),
        name: s.text("name", None, 20),
        purpose: s.text("for", None, 60),
        min_width: s.maybe_number("min_width", 16..=8192),
        min_height: s.maybe_number("min_height", 16..=8192),
        min_fps: s.maybe_number("min_fps", 1..=60),
        max_kbps: s.maybe_number("max_kbps", 1..=100_000),
        min_minutes: s.maybe_number("min_minutes", 0..=600),
        max_minutes: s.maybe_number("max_minutes", 1..=600),
        max_mib: s.maybe_number("max_mib", 1..=100_000),
        uninterrupted: s.choice_of_bool("uninterrupted"),
        encode: s.optional_section("encode").map(encode),
    }
}

fn encode(mut s: Section<'_>) -> Encode {
    let (width, height) =
        s.choice("picture", "1280x720", &[("1280x720", (1280, 720)), ("1920x1080", (1920, 1080))]);
    let encode = Encode {
        width,
        height,
        kbps: s.number("kbps", 1000, 200..=20_000),
        sound_kbps: s.number("sound_kbps", 128, 64..=256),
        title: s.choice_of_bool("title"),
    };
    s.end();
    encode
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::folder::load;

    #[test]
    fn the_profiles_that_ship_are_valid_and_a_wrong_one_names_its_faults() {
        let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/profiles"));
        let profiles = load(shipped, profile).expect("valid");
        assert_eq!(
            profiles.iter().map(|p| p.id.as_str()).collect::<Vec<_>>(),
            ["master", "youke", "jingpin", "anhui2018", "noedit", "clip"]
        );
        assert!(profiles[4].uninterrupted && profiles[5].max_minutes == Some(10));
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(
            folder.path().join("a.toml"),
            "id = \"a\"\nname = \"a\"\nmax_minutes = 0\nsurprise = 1\n",
        )
        .expect("writes");
        let faults = load(folder.path(), profile).expect_err("faults");
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(load(Path::new("/nowhere"), profile).expect("none").is_empty());
    }
}
