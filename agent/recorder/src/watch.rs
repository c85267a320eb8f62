//! Watchers: conditions that are worth saying once they have held for a while.

use lectern_wire::manifest::FindingKind;

use crate::sound::{NOTHING_DBFS, Reading};

/// A watcher speaks after this long.
const WATCH_MS: u64 = 10_000;

/// What a watcher says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It began here and has held since.
    Began(u64),
    /// It ended here.
    Ended(u64),
}

/// Follows one condition.
#[derive(Debug, Default)]
struct Watch {
    since: Option<u64>,
    told: bool,
}

impl Watch {
    /// Whether the condition holds now; speaks when it has held for [`WATCH_MS`], and when that is over.
    fn see(&mut self, holds: bool, now_ms: u64) -> Option<Change> {
        if !holds {
            self.since = None;
            return std::mem::take(&mut self.told).then_some(Change::Ended(now_ms));
        }
        let began = *self.since.get_or_insert(now_ms);
        if !self.told && now_ms.saturating_sub(began) >= WATCH_MS {
            self.told = true;
            return Some(Change::Began(began));
        }
        None
    }

    /// Stops watching; what was said is over now.
    fn end(&mut self, now_ms: u64) -> Option<Change> {
        self.see(false, now_ms)
    }
}

/// At or below this there is nothing to hear.
const SILENT_DBFS: f64 = -60.0;
/// At or above this samples are cut off.
const CLIPPING_DBFS: f64 = -0.1;
/// Clipping counts for so long after it was last heard: speech has breaks.
const CLIPPING_HOLD_MS: u64 = 2000;

/// All watchers of a take.
#[derive(Debug, Default)]
pub struct Watchers {
    silent: Watch,
    zero: Watch,
    clipping: Watch,
    clipped_ms: Option<u64>,
    black: Watch,
    frozen: Watch,
    prints: Vec<Option<u64>>,
}

/// What the watchers say at once.
type Said = Vec<(FindingKind, Change)>;

impl Watchers {
    /// Judges 100 ms of the encoded sound.
    pub fn hear(&mut self, reading: Reading, now_ms: u64) -> Said {
        let zero = reading.peak_dbfs <= NOTHING_DBFS;
        if reading.peak_dbfs >= CLIPPING_DBFS {
            self.clipped_ms = Some(now_ms);
        }
        let clipping = self.clipped_ms.is_some_and(|at| now_ms.saturating_sub(at) < CLIPPING_HOLD_MS);
        let silent = !zero && reading.rms_dbfs <= SILENT_DBFS;
        [
            (FindingKind::DigitalZero, self.zero.see(zero, now_ms)),
            (FindingKind::Silent, self.silent.see(silent, now_ms)),
            (FindingKind::Clipping, self.clipping.see(clipping, now_ms)),
        ]
        .into_iter()
        .filter_map(|(kind, change)| Some((kind, change?)))
        .collect()
    }

    /// Judges the composed picture, and the cameras by the prints of their newest pictures: a real camera's
    /// picture is never twice the same.
    pub fn look(&mut self, black: bool, prints: &[Option<u64>], now_ms: u64) -> Said {
        let same = prints.iter().zip(&self.prints).any(|(now, before)| now.is_some() && now == before);
        self.prints = prints.to_vec();
        [
            (FindingKind::Black, self.black.see(black, now_ms)),
            (FindingKind::Frozen, self.frozen.see(same, now_ms)),
        ]
        .into_iter()
        .filter_map(|(kind, change)| Some((kind, change?)))
        .collect()
    }

    /// Stops watching, as for a pause: what was said is over, and what still holds afterwards is said again.
    pub fn end(&mut self, now_ms: u64) -> Said {
        self.prints.clear();
        self.clipped_ms = None;
        [
            (FindingKind::Silent, &mut self.silent),
            (FindingKind::DigitalZero, &mut self.zero),
            (FindingKind::Clipping, &mut self.clipping),
            (FindingKind::Black, &mut self.black),
            (FindingKind::Frozen, &mut self.frozen),
        ]
        .into_iter()
        .filter_map(|(kind, watch)| Some((kind, watch.end(now_ms)?)))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_speaks_once_after_ten_seconds_and_once_when_it_is_over() {
        let mut watch = Watch::default();
        let mut said = Vec::new();
        for ms in (0..30_000).step_by(100) {
            match watch.see((5000..20_000).contains(&ms), ms) {
                Some(Change::Began(at)) => said.push(("began", at, ms)),
                Some(Change::Ended(at)) => said.push(("ended", at, ms)),
                None => {}
            }
        }
        assert_eq!(said, [("began", 5000, 15_000), ("ended", 20_000, 20_000)]);
    }

    #[test]
    fn zero_silence_and_clipping_are_told_apart() {
        let run = |reading: Reading| {
            let mut watchers = Watchers::default();
            (0..11_000)
                .step_by(100)
                .flat_map(|ms| watchers.hear(reading, ms))
                .map(|(kind, _)| kind)
                .collect::<Vec<_>>()
        };
        let reading = |peak_dbfs, rms_dbfs| Reading { peak_dbfs, rms_dbfs };
        assert_eq!(run(reading(NOTHING_DBFS, NOTHING_DBFS)), [FindingKind::DigitalZero]);
        assert_eq!(run(reading(-58.0, -71.0)), [FindingKind::Silent]);
        assert_eq!(run(reading(0.0, -6.0)), [FindingKind::Clipping]);
        assert_eq!(run(reading(-12.0, -25.0)), []);
    }

    #[test]
    fn a_camera_that_repeats_itself_is_frozen_and_one_that_is_away_is_not() {
        let mut watchers = Watchers::default();
        let mut said = Vec::new();
        for ms in (0..25_000).step_by(500) {
            let print = if ms < 12_000 { Some(7) } else { Some(ms) };
            said.extend(watchers.look(false, &[print, None], ms));
        }
        assert_eq!(
            said,
            [(FindingKind::Frozen, Change::Began(500)), (FindingKind::Frozen, Change::Ended(12_000))]
        );
    }
}
