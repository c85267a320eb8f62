//! The timeline of a lesson as a drawing: takes, pauses, gaps, findings, marks, altered spans, one row each.

use std::fmt::Write as _;

use lectern_wire::manifest::clock_text;

use super::escape;
use crate::check::Outcome;
use crate::words::finding;

/// The drawing in its own units: its width, where time begins, a row's height.
const WIDTH: u64 = 1000;
const LEFT: u64 = 96;
const ROW: u64 = 36;
/// Narrower than this nothing could be seen.
const THIN: u64 = 4;
/// Steps of the scale, seconds; the first that needs at most [`MOST_STEPS`] is taken.
const STEPS: [u64; 11] = [1, 2, 5, 10, 30, 60, 120, 300, 600, 900, 1800];
const MOST_STEPS: u64 = 10;

/// Something on a row.
struct Span {
    from: u64,
    to: u64,
    word: String,
}

struct Row {
    name: &'static str,
    colour: &'static str,
    spans: Vec<Span>,
}

/// The drawing.
pub fn svg(outcome: &Outcome) -> String {
    let total = outcome.report.duration_ms.max(1);
    let x = |ms: u64| LEFT + ms.min(total) * (WIDTH - LEFT - 10) / total;
    let rows = rows(outcome);
    let height = rows.len() as u64 * ROW + 30;
    let mut out =
        format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"时间轴\" font-size=\"15\">");
    for (n, row) in rows.iter().enumerate() {
        let y = n as u64 * ROW;
        let (middle, under, right) = (y + 23, y + ROW - 2, WIDTH - 10);
        write!(
            out,
            "<text x=\"0\" y=\"{middle}\" fill=\"#5b6875\">{}</text>\
             <line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{under}\" y2=\"{under}\" stroke=\"#dde3e9\"/>",
            row.name
        )
        .ok();
        for span in &row.spans {
            let (from, to) = (x(span.from), x(span.to));
            let width = to.saturating_sub(from).max(THIN);
            let from = from.min(right - THIN);
            write!(
                out,
                "<rect x=\"{from}\" y=\"{}\" width=\"{width}\" height=\"{}\" rx=\"2\" fill=\"{}\"><title>{}</title></rect>",
                y + 6,
                ROW - 12,
                row.colour,
                escape(&span.word)
            )
            .ok();
        }
    }
    scale(&mut out, total, height - 30, x);
    if let Some((from, to)) = outcome.report.range_ms {
        for (a, b) in [(0, from), (to, total)] {
            let (a, b) = (x(a), x(b));
            write!(
                out,
                "<rect x=\"{a}\" y=\"0\" width=\"{}\" height=\"{}\" fill=\"#fff\" fill-opacity=\".7\"/>",
                b.saturating_sub(a),
                height - 30
            )
            .ok();
        }
    }
    out.push_str("</svg>");
    out
}

fn scale(out: &mut String, total: u64, y: u64, x: impl Fn(u64) -> u64) {
    let step = STEPS.iter().find(|step| total / 1000 / **step <= MOST_STEPS).unwrap_or(&3600) * 1000;
    let mut at = 0;
    while at <= total {
        let place = x(at);
        write!(
            out,
            "<line x1=\"{place}\" x2=\"{place}\" y1=\"0\" y2=\"{y}\" stroke=\"#c7d0d9\" stroke-dasharray=\"2 4\"/>\
             <text x=\"{place}\" y=\"{}\" text-anchor=\"middle\" fill=\"#5b6875\" font-size=\"13\">{}</text>",
            y + 20,
            clock_text(at)
        )
        .ok();
        at += step;
    }
}

fn rows(outcome: &Outcome) -> Vec<Row> {
    let row = |name, colour| Row { name, colour, spans: Vec::new() };
    let mut rows = [
        row("录像", "#2f7d5b"),
        row("暂停", "#8a97a5"),
        row("中断", "#d98a1f"),
        row("画面声音", "#b9a13a"),
        row("打点", "#2c6fb5"),
        row("问题", "#c0392b"),
    ];
    let mut before = 0;
    for take in &outcome.takes {
        let end = take.duration_ms;
        let mut put = |row: usize, from: u64, to: Option<u64>, word: String| {
            let to = to.unwrap_or(end).min(end);
            rows[row].spans.push(Span { from: before + from.min(end), to: before + to, word });
        };
        // A hair less, so that takes can be told apart.
        let seam = (outcome.report.duration_ms / 400).min(end / 10);
        put(0, 0, Some(end - seam), format!("第 {} 段", take.n));
        for pause in &take.pauses {
            put(1, pause.at_ms, Some(pause.at_ms), format!("{} 暂停", clock_text(pause.at_ms)));
        }
        for gap in &take.gaps {
            put(2, gap.from_ms, gap.to_ms, format!("{} {}", clock_text(gap.from_ms), gap.source));
        }
        for f in &take.findings {
            put(3, f.from_ms, f.to_ms, format!("{} {}", clock_text(f.from_ms), finding(f.kind)));
        }
        for mark in &take.marks {
            put(4, mark.at_ms, Some(mark.at_ms), format!("{} {}", clock_text(mark.at_ms), mark.word));
        }
        for fault in outcome.report.faults.iter().filter(|fault| fault.take == Some(take.n)) {
            let (from, to) = fault.span_ms.unwrap_or((0, end));
            put(5, from, Some(to), fault.zh.clone());
        }
        if matches!(take.end, lectern_wire::manifest::TakeEnd::Interrupted(_)) {
            put(2, end, Some(end), format!("{} 中断", clock_text(end)));
        }
        before += end;
    }
    // A row that has nothing to show is left out; the first always has.
    rows.into_iter().filter(|row| !row.spans.is_empty()).collect()
}
