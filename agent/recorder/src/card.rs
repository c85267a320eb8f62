//! The test source: a card and a tone, both pure functions of the take's time, so that picture
//! and sound can be checked against each other in the file. Also the plate for a lost source.

use ffmpeg_next::frame;

use crate::av::{Area, RATE};

/// The flash and the tone last this long at the start of each second.
const BEEP_MS: u64 = 100;
/// How loud the tone is: a quarter of full scale.
pub const TONE_DBFS: f64 = -12.04;

/// Luma and chroma of eight 75 % bars, BT.709 limited range.
const BARS: [(u8, u8, u8); 8] = [
    (180, 128, 128),
    (168, 44, 136),
    (145, 147, 44),
    (134, 63, 52),
    (63, 193, 204),
    (51, 109, 212),
    (28, 212, 120),
    (16, 128, 128),
];

/// Draws the card's still part.
pub fn background(canvas: &mut frame::Video) {
    let (width, height) = (canvas.width(), canvas.height());
    for (n, (y, u, v)) in BARS.iter().enumerate() {
        let x = (width * n as u32 / 8) & !1;
        let end = (width * (n as u32 + 1) / 8) & !1;
        fill(canvas, Area { x, y: 0, width: end - x, height }, (*y, *u, *v));
    }
    let size = height / 90 * 2;
    text(canvas, width / 16, height / 8, size, "TEST", (16, 235));
}

/// Draws what moves: the running time, and the flash in the upper right corner.
pub fn moving(canvas: &mut frame::Video, ms: u64) {
    let (width, height) = (canvas.width(), canvas.height());
    let lit = ms % 1000 < BEEP_MS;
    let side = (height / 4) & !1;
    let area = Area { x: width - side, y: 0, width: side, height: side };
    fill(canvas, area, (if lit { 235 } else { 16 }, 128, 128));
    let s = ms / 1000;
    let time = format!("{:02}:{:02}:{:02}", s / 3600 % 100, s / 60 % 60, s % 60);
    text(canvas, width / 16, height / 2, height / 90 * 2, &time, (16, 235));
}

/// The tone at a frame position of the take.
pub fn tone(position: i64) -> [f32; 2] {
    let in_second = position.rem_euclid(i64::from(RATE));
    if in_second >= i64::from(RATE) * BEEP_MS as i64 / 1000 {
        return [0.0; 2];
    }
    let phase = std::f64::consts::TAU * 1000.0 * in_second as f64 / f64::from(RATE);
    [(phase.sin() * 0.25) as f32; 2]
}

/// Draws the plate that stands where a source is lost.
pub fn plate(canvas: &mut frame::Video, area: Area) {
    fill(canvas, area, (40, 128, 128));
    let size = (area.height / 40).max(2);
    let words = "NO SIGNAL";
    let width = words.len() as u32 * 6 * size;
    let x = area.x + area.width.saturating_sub(width) / 2;
    text(canvas, x, area.y + area.height / 2 - 4 * size, size, words, (40, 200));
}

/// Blackens an area, for the borders of a picture of other proportions.
pub fn black(canvas: &mut frame::Video, area: Area) {
    fill(canvas, area, (16, 128, 128));
}

/// Fills an area with one colour.
fn fill(canvas: &mut frame::Video, area: Area, (y, u, v): (u8, u8, u8)) {
    for (plane, value) in [y, u, v].into_iter().enumerate() {
        let shift = u32::from(plane > 0);
        let stride = canvas.stride(plane);
        let data = canvas.data_mut(plane);
        let (x, width) = ((area.x >> shift) as usize, (area.width >> shift) as usize);
        for row in (area.y >> shift)..((area.y + area.height) >> shift) {
            let start = row as usize * stride + x;
            data[start..start + width].fill(value);
        }
    }
}

/// Writes text in a 5×7 face, `size` pixels to a dot, in the two lumas (paper, ink).
fn text(canvas: &mut frame::Video, x: u32, y: u32, size: u32, words: &str, (paper, ink): (u8, u8)) {
    for (n, letter) in words.chars().enumerate() {
        for (row, bits) in glyph(letter).into_iter().enumerate() {
            for column in 0..6u32 {
                let lit = column < 5 && bits >> (4 - column) & 1 == 1;
                let (dx, dy) = (x + (n as u32 * 6 + column) * size, y + row as u32 * size);
                if dx + size > canvas.width() || dy + size > canvas.height() {
                    continue;
                }
                let stride = canvas.stride(0);
                let data = canvas.data_mut(0);
                for line in dy..dy + size {
                    let start = line as usize * stride + dx as usize;
                    data[start..start + size as usize].fill(if lit { ink } else { paper });
                }
                let stride = canvas.stride(1);
                for plane in 1..3 {
                    let data = canvas.data_mut(plane);
                    for line in dy / 2..(dy + size) / 2 {
                        let start = line as usize * stride + dx as usize / 2;
                        data[start..start + (size as usize).div_ceil(2)].fill(128);
                    }
                }
            }
        }
    }
}

/// Seven rows of five dots.
fn glyph(letter: char) -> [u8; 7] {
    match letter {
        '0' => [14, 17, 19, 21, 25, 17, 14],
        '1' => [4, 12, 4, 4, 4, 4, 14],
        '2' => [14, 17, 1, 2, 4, 8, 31],
        '3' => [31, 2, 4, 2, 1, 17, 14],
        '4' => [2, 6, 10, 18, 31, 2, 2],
        '5' => [31, 16, 30, 1, 1, 17, 14],
        '6' => [6, 8, 16, 30, 17, 17, 14],
        '7' => [31, 1, 2, 4, 8, 8, 8],
        '8' => [14, 17, 17, 14, 17, 17, 14],
        '9' => [14, 17, 17, 15, 1, 2, 12],
        ':' => [0, 12, 12, 0, 12, 12, 0],
        'A' => [14, 17, 17, 31, 17, 17, 17],
        'E' => [31, 16, 16, 30, 16, 16, 31],
        'G' => [14, 17, 16, 23, 17, 17, 15],
        'I' => [14, 4, 4, 4, 4, 4, 14],
        'L' => [16, 16, 16, 16, 16, 16, 31],
        'N' => [17, 25, 21, 19, 17, 17, 17],
        'O' => [14, 17, 17, 17, 17, 17, 14],
        'S' => [15, 16, 16, 14, 1, 1, 30],
        'T' => [31, 4, 4, 4, 4, 4, 4],
        _ => [0; 7],
    }
}
