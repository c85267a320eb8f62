//! Draws a title card with libavfilter's drawtext and whatever Chinese font fontconfig knows.

use anyhow::{Context as _, anyhow, bail};
use ffmpeg_next::{filter, format::Pixel, frame};
use lectern_wire::render::Title;

use crate::av::Area;
use crate::card;

/// Chinese fonts of the systems Lectern runs on, the best first; fontconfig finds them by name.
const FONTS: [&str; 5] =
    ["Noto Sans CJK SC", "Source Han Sans SC", "Noto Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei"];
const INK: &str = "0xf6f5f1";

/// The card as one picture.
pub fn draw(title: &Title, size: (u32, u32)) -> anyhow::Result<frame::Video> {
    let font = font()?;
    let unit = size.1 / 18;
    // Long words become smaller rather than cut off.
    let fitting = |text: &str, most: u32| {
        let letters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX).max(1);
        most.min(size.0 * 9 / 10 / letters).max(1)
    };
    let large = fitting(&title.heading, unit * 2);
    let lines = u32::try_from(title.lines.len()).unwrap_or(0);
    let height = large * 2 + lines * unit * 3 / 2;
    let mut y = size.1.saturating_sub(height) / 2;
    let mut words = vec![(title.heading.as_str(), large, y)];
    y += large * 2;
    for line in &title.lines {
        words.push((line, fitting(line, unit), y));
        y += unit * 3 / 2;
    }
    picture(font, &words, size)
}

/// The first font that has Chinese: where a name is not known, fontconfig gives another font, and one without Chinese
/// draws the same empty box for every word.
fn font() -> anyhow::Result<&'static str> {
    for font in FONTS {
        let glyph =
            |text| Ok::<_, anyhow::Error>(picture(font, &[(text, 48, 8)], (64, 64))?.data(0).to_vec());
        if glyph("课")? != glyph("题")? {
            return Ok(font);
        }
    }
    bail!("no Chinese font is installed for the title: install fonts-noto-cjk, or leave the title out")
}

/// Lines of text (words, height, upper edge) in the middle of a black picture.
fn picture(
    font: &str,
    words: &[(&str, u32, u32)],
    (width, height): (u32, u32),
) -> anyhow::Result<frame::Video> {
    let find = |name: &str| filter::find(name).with_context(|| format!("this libav has no {name}"));
    let mut graph = filter::Graph::new();
    let shape = format!("width={width}:height={height}:pix_fmt=yuv420p:time_base=1/25:pixel_aspect=1/1");
    let mut last = graph.add(&find("buffer")?, "in", &shape)?;
    for (n, (text, size, y)) in words.iter().enumerate().filter(|(_, (text, ..))| !text.is_empty()) {
        let options = format!(
            "font={font}:text={}:expansion=none:fontsize={size}:fontcolor={INK}:x=(w-text_w)/2:y={y}",
            escaped(text)
        );
        let mut next = graph
            .add(&find("drawtext")?, &format!("words-{n}"), &options)
            .context("the title could not be drawn: no font was found; install fonts-noto-cjk")?;
        last.link(0, &mut next, 0);
        last = next;
    }
    let mut sink = graph.add(&find("buffersink")?, "out", "")?;
    last.link(0, &mut sink, 0);
    graph.validate().context("the title could not be drawn")?;
    let mut canvas = frame::Video::new(Pixel::YUV420P, width, height);
    card::black(&mut canvas, Area { x: 0, y: 0, width, height });
    canvas.set_pts(Some(0));
    let gone = || anyhow!("the title lost its end");
    graph.get("in").ok_or_else(gone)?.source().add(&canvas).context("the title could not be drawn")?;
    let mut out = frame::Video::empty();
    graph.get("out").ok_or_else(gone)?.sink().frame(&mut out).context("the title could not be drawn")?;
    Ok(out)
}

/// Text as an option's value.
fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| ['\\'].into_iter().filter(move |_| "\\':".contains(c)).chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_drawn_as_it_is_written() {
        crate::av::start();
        let card = |heading: &str, line: &str| {
            let title = Title { seconds: 5, heading: heading.into(), lines: vec![line.into()] };
            draw(&title, (640, 360)).expect("draws").data(0).to_vec()
        };
        let bright = |pixels: &[u8]| pixels.iter().filter(|p| **p > 128).count();
        let plain = card("草船借箭", "语文");
        assert!(bright(&plain) > 500);
        for odd in ["it's 1:2 \\ %{pts}", "a=b,c;d[e]", "'", "\\", ":"] {
            assert_ne!(card("草船借箭", odd), plain, "{odd}");
        }
        let long = card(&"课".repeat(80), "");
        let stride = 640;
        assert!(
            long.chunks(stride).all(|row| row[..8].iter().all(|p| *p < 64)),
            "a long heading stays inside"
        );
    }
}
