//! The report: one line per figure.

use std::fmt;

/// What a figure is held against: the ratio to the peer where there is one, else the figure itself.
#[derive(Debug, Clone, Copy)]
pub enum Bar {
    /// Less is better.
    AtMost(f64),
    /// More is better.
    AtLeast(f64),
}

/// One figure.
#[derive(Debug)]
pub struct Row {
    /// What was measured, with its unit.
    pub name: String,
    /// Ours.
    pub ours: f64,
    /// The peer's, where a peer does the same.
    pub peer: Option<f64>,
    /// Unit of both.
    pub unit: &'static str,
    /// The bar.
    pub bar: Bar,
}

impl Row {
    fn measure(&self) -> f64 {
        self.peer.map_or(self.ours, |peer| self.ours / peer)
    }

    /// Whether the bar is met. What could not be computed meets none.
    fn met(&self) -> bool {
        match self.bar {
            Bar::AtMost(most) => self.measure() <= most,
            Bar::AtLeast(least) => self.measure() >= least,
        }
    }

    fn cells(&self) -> [String; 6] {
        [
            self.peer.map_or_else(|| self.name.clone(), |_| format!("{}, {}", self.name, self.unit)),
            number(self.ours),
            self.peer.map_or_else(|| "-".to_owned(), number),
            self.peer.map_or_else(|| self.unit.to_owned(), |_| format!("{:.3}", self.measure())),
            self.bar.to_string(),
            if self.met() { "ok" } else { "short" }.to_owned(),
        ]
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, limit) = match self {
            Self::AtMost(limit) => ('≤', limit),
            Self::AtLeast(limit) => ('≥', limit),
        };
        write!(f, "{sign} {}", if *limit < 10.0 { format!("{limit:.2}") } else { format!("{limit:.0}") })
    }
}

/// Three or four digits that matter.
fn number(value: f64) -> String {
    if value.abs() < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

/// Prints all rows, aligned.
pub fn print(rows: &[Row]) {
    println!("\n{}", text(rows));
}

fn text(rows: &[Row]) -> String {
    let head = ["figure", "ours", "peer", "ratio or unit", "bar", ""].map(ToOwned::to_owned);
    let lines: Vec<_> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let line = |cells: &[String; 6]| {
        let [name, ours, peer, ratio, bar, verdict] = cells;
        format!(
            "{name:<0$}  {ours:>1$}  {peer:>2$}  {ratio:>3$}  {bar:>4$}  {verdict}",
            widths[0], widths[1], widths[2], widths[3], widths[4]
        )
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: f64, peer: Option<f64>, bar: Bar) -> Row {
        Row { name: "work".into(), ours, peer, unit: "s", bar }
    }

    #[test]
    fn a_bar_holds_the_ratio_where_there_is_a_peer_and_the_figure_where_not() {
        assert!(row(9.0, Some(10.0), Bar::AtMost(1.0)).met());
        assert!(!row(11.0, Some(10.0), Bar::AtMost(1.0)).met());
        assert!(row(300.0, None, Bar::AtMost(400.0)).met());
        assert!(row(25.0, Some(25.0), Bar::AtLeast(0.99)).met());
        assert!(!row(f64::NAN, None, Bar::AtMost(1.0)).met(), "what was not measured is not met");
        assert!(!row(f64::NAN, Some(1.0), Bar::AtLeast(1.0)).met());
    }

    #[test]
    fn lines_are_aligned_and_say_their_verdict() {
        let rows = [row(9.0, Some(10.0), Bar::AtMost(1.0)), row(1234.0, None, Bar::AtMost(400.0))];
        let text = text(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "figure   ours   peer  ratio or unit     bar  ");
        assert_eq!(lines[1], "work, s  9.00  10.00          0.900  ≤ 1.00  ok");
        assert_eq!(lines[2], "work     1234      -              s   ≤ 400  short");
    }
}
