//! Reads certification schemes.

use super::reader::Section;
use crate::model::scheme::{Point, Scheme};

/// One scheme.
pub fn scheme(s: &mut Section<'_>) -> Scheme {
    // Only checked here, below too: the form of an export reads them (lectern_proof::export::form).
    s.texts("items", 20);
    Scheme {
        id: s.text("id", None, 20),
        name: s.text("name", None, 40),
        points_needed: s.number("points_needed", 1, 1..=100),
        clip_max_minutes: s.number("clip_max_minutes", 10, 1..=180),
        grades: s.texts("grades", 20),
        points: s.sections("point").into_iter().map(point).collect(),
    }
}

fn point(mut s: Section<'_>) -> Point {
    let point = Point {
        code: s.text("code", None, 10),
        name: s.text("name", None, 40),
        environment: s.text("environment", None, 40),
    };
    s.texts("items", 20);
    s.end();
    point
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::folder;

    #[test]
    fn the_schemes_that_ship_are_valid() {
        let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/schemes"));
        let schemes = folder::load(shipped, scheme).expect("valid");
        let ids: Vec<_> = schemes.iter().map(|s| s.id.as_str()).collect();
        assert_eq!(ids, ["weinengli2", "youke", "jingpin", "xiaoben"]);
        assert_eq!(schemes[0].points.len(), 30);
        assert!(
            schemes[0].takes("A5")
                && !schemes[0].takes("")
                && schemes[1].takes("")
                && !schemes[1].takes("A5")
        );
    }

    #[test]
    fn a_wrong_scheme_names_its_faults() {
        let text = "id = \"x\"\ngrades = [1]\n[[point]]\ncode = \"A1\"\n";
        let faults = folder::parse(text, scheme).expect_err("faults");
        for path in ["name", "grades", "point[1].name", "point[1].environment"] {
            assert!(faults.iter().any(|f| f.starts_with(path)), "{path} is missing in {faults:#?}");
        }
    }
}
