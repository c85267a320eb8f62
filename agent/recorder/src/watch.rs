//! Watchers: conditions that are worth saying once they have held for a while.

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
pub struct Watch {
    since: Option<u64>,
    told: bool,
}

impl Watch {
    /// Whether the condition holds now; speaks when it has held for [`WATCH_MS`], and when that is over.
    pub fn see(&mut self, holds: bool, now_ms: u64) -> Option<Change> {
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

    /// Begins anew, as after a pause.
    pub fn again(&mut self) {
        self.since = None;
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
}
