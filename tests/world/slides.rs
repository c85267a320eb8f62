//! Reads the marker of `slides.html` from a picture, also from a scaled and compressed one.

use crate::grab::Frame;

/// What the marker says. Both numbers are modulo 256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// Number of the slide: Unix seconds divided by the seconds each slide is shown.
    pub slide: u8,
    /// Unix second at which the picture was drawn.
    pub second: u8,
}

/// The marker's place in a picture 1920 wide and 1080 high.
const LEFT: f64 = 40.0;
const TOP: f64 = 40.0;
const SQUARE: f64 = 80.0;

impl Marker {
    /// The marker, when the whole picture is a slide.
    #[must_use]
    pub fn read(frame: &Frame) -> Option<Self> {
        Self::read_in(frame, (0.0, 0.0, 1.0, 1.0))
    }

    /// The marker of a slide that fills a part of the picture: left, top, width, height as fractions.
    #[must_use]
    pub fn read_in(frame: &Frame, (left, top, width, height): (f64, f64, f64, f64)) -> Option<Self> {
        let mut rows = [0_u8; 4];
        for (y, row) in (0_u8..).zip(rows.iter_mut()) {
            for x in 0..8_u8 {
                let at_x = left + width * (LEFT + SQUARE * (f64::from(x) + 0.5)) / 1920.0;
                let at_y = top + height * (TOP + SQUARE * (f64::from(y) + 0.5)) / 1080.0;
                let bit = match frame.light(at_x, at_y)? {
                    0..=80 => 0,
                    175..=255 => 1,
                    _ => return None,
                };
                *row = *row << 1 | bit;
            }
        }
        (rows[0] == !rows[1] && rows[2] == !rows[3]).then_some(Self { slide: rows[0], second: rows[2] })
    }

    /// Seconds from the marker's second to `wall_ms`: how old the picture was then. A picture drawn within
    /// the last 128 s is meant.
    #[must_use]
    pub fn age_s(self, wall_ms: i64) -> i64 {
        let now = wall_ms.div_euclid(1000);
        let age = (now - i64::from(self.second)).rem_euclid(256);
        if age < 128 { age } else { age - 256 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(width: usize, height: usize, rows: [u8; 4]) -> Frame {
        let mut gray = vec![230; width * height];
        for (i, light) in gray.iter_mut().enumerate() {
            let (x, y) = (i % width * 1920 / width, i / width * 1080 / height);
            if (40..680).contains(&x) && (40..360).contains(&y) {
                let bit = rows[(y - 40) / 80] >> (7 - (x - 40) / 80) & 1;
                *light = if bit == 1 { 235 } else { 16 };
            }
        }
        Frame { width, height, gray }
    }

    #[test]
    fn a_marker_is_read_at_any_size() {
        for (width, height) in [(1920, 1080), (1280, 720), (640, 360)] {
            let frame = drawn(width, height, [0xa5, 0x5a, 7, !7]);
            assert_eq!(Marker::read(&frame), Some(Marker { slide: 0xa5, second: 7 }), "{width}x{height}");
        }
    }

    #[test]
    fn what_is_no_slide_has_no_marker() {
        assert_eq!(Marker::read(&drawn(1920, 1080, [0xa5, 0x5b, 7, !7])), None);
        for light in [0, 128, 255] {
            assert_eq!(Marker::read(&Frame { width: 64, height: 36, gray: vec![light; 64 * 36] }), None);
        }
    }

    #[test]
    fn age_wraps_with_the_marker() {
        assert_eq!(Marker { slide: 0, second: 255 }.age_s(257_000), 2);
        assert_eq!(Marker { slide: 0, second: 2 }.age_s(257_000), -1);
    }
}
