//! The table at the end: one line per fault.

/// So many of so many.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    good: u32,
    of: u32,
}

impl Tally {
    /// Counts one.
    pub fn count(&mut self, good: bool) {
        self.of += 1;
        self.good += u32::from(good);
    }

    fn whole(self) -> bool {
        self.of > 0 && self.good == self.of
    }

    fn text(self) -> String {
        format!("{}/{}", self.good, self.of)
    }
}

/// What came of one fault.
#[derive(Debug, Default)]
pub struct Row {
    /// What was done.
    pub fault: String,
    /// How often.
    pub instants: u32,
    /// Recorded before the fault and not kept, milliseconds, one for each instant.
    pub lost_ms: Vec<u64>,
    /// More than this is wrong.
    pub may_lose_ms: u64,
    /// From the fault until the lesson was recorded again, milliseconds; empty where recording never ended.
    pub away_ms: Vec<u64>,
    /// Lessons whose takes play to their end.
    pub playable: Tally,
    /// Instants the manifest explains: which source or take, when, and why; and nothing else is noted.
    pub gaps: Tally,
    /// Lessons that stayed one lesson.
    pub one: Tally,
    /// Lessons that the hub has and `lectern verify` finds sound.
    pub stored: Tally,
    /// What was wrong, in sentences.
    pub wrong: Vec<String>,
    /// Left out, with the reason.
    pub skipped: Option<String>,
}

impl Row {
    /// A row without results.
    pub fn new(fault: &str, may_lose_ms: u64) -> Self {
        Self { fault: fault.to_owned(), may_lose_ms, ..Self::default() }
    }

    /// Notes what is wrong, at once and for the end.
    pub fn complain(&mut self, what: String) {
        println!("  WRONG: {what}");
        self.wrong.push(what);
    }

    /// Counts one instant: what was lost, and whether the manifest explains it.
    pub fn instant(&mut self, what: &str, lost_ms: u64, explained: bool) {
        self.instants += 1;
        self.lost_ms.push(lost_ms);
        self.gaps.count(explained);
        if lost_ms > self.may_lose_ms {
            self.complain(format!("{what}: {lost_ms} ms are lost"));
        }
        if !explained {
            self.complain(format!("{what}: the manifest does not explain it"));
        }
    }

    /// Whether everything held.
    pub fn good(&self) -> bool {
        self.skipped.is_some()
            || self.wrong.is_empty()
                && [self.playable, self.gaps, self.one, self.stored].into_iter().all(Tally::whole)
    }

    fn cells(&self) -> [String; 10] {
        if let Some(why) = &self.skipped {
            let mut cells = [const { String::new() }; 10];
            cells[0].clone_from(&self.fault);
            cells[9] = format!("left out: {why}");
            return cells;
        }
        [
            self.fault.clone(),
            self.instants.to_string(),
            seconds(median(&self.lost_ms)),
            seconds(self.lost_ms.iter().max().copied()),
            seconds(median(&self.away_ms)),
            self.playable.text(),
            self.gaps.text(),
            self.one.text(),
            self.stored.text(),
            if self.good() { "ok".into() } else { "WRONG".into() },
        ]
    }
}

fn median(values: &[u64]) -> Option<u64> {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

fn seconds(ms: Option<u64>) -> String {
    ms.map_or_else(|| "-".into(), |ms| format!("{:.2}", ms as f64 / 1e3))
}

/// The rows, aligned, with everything that was wrong below them.
pub fn text(rows: &[Row]) -> String {
    let head = [
        "fault",
        "instants",
        "lost s, median",
        "most",
        "back after s",
        "playable",
        "gaps",
        "one lesson",
        "stored",
        "",
    ];
    let lines: Vec<_> =
        std::iter::once(head.map(ToOwned::to_owned)).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 10] = std::array::from_fn(width);
    let line = |cells: &[String; 10]| {
        let texts = cells.iter().zip(widths).enumerate().map(|(n, (cell, width))| match n {
            0 | 9 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        texts.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut text = lines.iter().map(line).collect::<Vec<_>>().join("\n");
    for row in rows {
        for wrong in &row.wrong {
            text += &format!("\nWRONG {}: {wrong}", row.fault);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let mut row = Row::new("kill", 1500);
        row.instant("first", 300, true);
        row.instant("second", 900, true);
        for tally in [&mut row.playable, &mut row.one, &mut row.stored] {
            tally.count(true);
        }
        row
    }

    #[test]
    fn a_row_is_good_only_when_everything_was_seen_and_held() {
        assert!(row().good());
        let mut lost = row();
        lost.instant("third", 1501, true);
        assert!(!lost.good() && text(&[lost]).contains("WRONG kill: third: 1501 ms are lost"));
        let mut unexplained = row();
        unexplained.instant("third", 0, false);
        assert!(!unexplained.good());
        assert!(!Row::new("never tried", 0).good(), "what was not tried did not hold");
    }

    #[test]
    fn median_and_most_are_in_seconds() {
        let text = text(&[row()]);
        assert!(
            text.lines().nth(1).is_some_and(|line| line.contains("0.90  0.90") && line.ends_with("ok")),
            "{text}"
        );
    }
}
