//! A chart as inline SVG: a few lines over time. What was not measured is a hole, never zero.

use std::fmt::Write as _;
use std::ops::Range;

use lectern_base::clock;

/// A step's start and what was measured in it.
pub type Point = (i64, Option<f64>);

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 150.0;
/// Room for labels left and below.
const LEFT: f64 = 62.0;
const BOTTOM: f64 = 20.0;
const TOP: f64 = 8.0;
/// Longer without a measurement than this is a hole even when steps are short.
const HOLE_MS: i64 = 5 * 60 * 1000;

/// What a chart shows.
#[derive(Debug)]
pub struct Chart<'a> {
    /// Read to people who cannot see it.
    pub title: &'a str,
    /// The time from left to right.
    pub span: Range<i64>,
    /// Length of a step.
    pub step_ms: i64,
    /// The top of the scale; the largest value when absent.
    pub top: Option<f64>,
    /// The lines, in the order of their classes `line0`, `line1`.
    pub lines: Vec<Vec<Point>>,
    /// A value as its label says it.
    pub label: fn(f64) -> String,
}

impl Chart<'_> {
    /// The SVG; empty when nothing was measured.
    #[must_use]
    pub fn svg(&self) -> String {
        let values = self.lines.iter().flatten().filter_map(|(_, v)| *v);
        let Some(largest) = values.reduce(f64::max) else { return String::new() };
        let top = self.top.unwrap_or_else(|| nice(largest));
        let x = |ts: i64| {
            let whole = (self.span.end - self.span.start).max(1);
            LEFT + to_f64(ts - self.span.start) / to_f64(whole) * (WIDTH - LEFT - 8.0)
        };
        let y = |v: f64| TOP + (1.0 - (v / top).clamp(0.0, 1.0)) * (HEIGHT - TOP - BOTTOM);

        let mut out = format!(
            "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            self.title
        );
        for k in 0..=2 {
            let v = top * f64::from(k) / 2.0;
            // Writing to a String cannot fail.
            write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{1:.1}\" y2=\"{1:.1}\"/>\
                 <text class=\"tick\" x=\"{2}\" y=\"{3:.1}\" text-anchor=\"end\">{4}</text>",
                WIDTH - 8.0,
                y(v),
                LEFT - 6.0,
                y(v) + 4.0,
                (self.label)(v)
            )
            .ok();
        }
        let days = self.span.end - self.span.start > 36 * 3600 * 1000;
        for k in 0..=4 {
            let ts = self.span.start + (self.span.end - self.span.start) * k / 4;
            let format = if days { "%m-%d" } else { "%H:%M" };
            let anchor = match k {
                0 => "start",
                4 => "end",
                _ => "middle",
            };
            write!(
                out,
                "<text class=\"tick\" x=\"{:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
                x(ts),
                HEIGHT - 4.0,
                clock::local(ts).strftime(format)
            )
            .ok();
        }
        for (k, line) in self.lines.iter().enumerate() {
            write!(out, "<path class=\"line{k}\" d=\"").ok();
            let mut last: Option<i64> = None;
            for (ts, value) in line {
                let Some(value) = value else { continue };
                let middle = ts + self.step_ms / 2;
                let joined = last.is_some_and(|l| middle - l <= HOLE_MS.max(3 * self.step_ms));
                let pen = if joined { 'L' } else { 'M' };
                write!(out, "{pen}{:.1} {:.1}", x(middle), y(*value)).ok();
                if !joined {
                    // A point that stands alone is a dot: a line of no length with a round end.
                    write!(out, "h0").ok();
                }
                last = Some(middle);
            }
            out.push_str("\"/>");
        }
        out.push_str("</svg>");
        out
    }
}

/// The next round number above a value.
fn nice(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let scale = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|k| k * scale).find(|&k| k >= value).unwrap_or(value)
}

/// Chart coordinates need no more than a few digits.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of a few days, drawn on 420 points")]
fn to_f64(n: i64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_in_the_measurements_is_a_hole_in_the_line() {
        let minute = 60_000;
        let line = vec![(0, Some(10.0)), (minute, Some(20.0)), (2 * minute, None), (30 * minute, Some(30.0))];
        let chart = Chart {
            title: "处理器",
            span: 0..60 * minute,
            step_ms: minute,
            top: Some(100.0),
            lines: vec![line],
            label: |v| format!("{v:.0}%"),
        };
        let svg = chart.svg();
        let path = svg.split("<path").nth(1).expect("a line");
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 1), "{path}");
        assert!(svg.contains("100%") && !svg.contains("NaN"));
        assert_eq!(Chart { lines: vec![vec![(0, None)]], ..chart }.svg(), "");
    }

    #[test]
    fn scales_end_at_round_numbers() {
        assert_eq!([0.0, 0.3, 7.0, 10.0, 42.0, 1234.0].map(nice), [1.0, 0.5, 10.0, 10.0, 50.0, 2000.0]);
    }
}
