//! 课表: when the bell rings, and which lesson is planned then. The timetable itself crosses the wire
//! ([`lectern_wire::timetable`]); here is what a bell does to a lesson.

pub use lectern_wire::timetable::{Period, Plan, Slot, Timetable, Weeks};

/// When a lesson ends by itself, in milliseconds since boot: steps of the wall clock do not move it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bell {
    /// When the bell rings.
    pub rings_ms: u64,
    /// When the lesson ends, unless it is put off.
    pub ends_ms: u64,
}

/// How long before its end a lesson counts down.
pub const COUNTDOWN_MS: u64 = 3 * 60 * 1000;
/// How much longer one press lets it go on.
pub const EXTEND_MS: u64 = 10 * 60 * 1000;

impl Bell {
    /// The bell `until_ms` from now, and the end `grace_ms` after it.
    #[must_use]
    pub fn after(now_ms: u64, until_ms: u64, grace_ms: u64) -> Self {
        Self { rings_ms: now_ms + until_ms, ends_ms: now_ms + until_ms + grace_ms }
    }

    /// Whether the countdown is on.
    #[must_use]
    pub fn counts_down(self, now_ms: u64) -> bool {
        now_ms >= self.rings_ms && now_ms + COUNTDOWN_MS >= self.ends_ms
    }

    /// The same, put off.
    #[must_use]
    pub fn put_off(self, now_ms: u64) -> Self {
        Self { ends_ms: self.ends_ms.max(now_ms) + EXTEND_MS, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bell_counts_down_and_can_be_put_off_again_and_again() {
        let bell = Bell::after(1000, 60_000, COUNTDOWN_MS);
        assert!(!bell.counts_down(60_999) && bell.counts_down(61_000));
        let later = bell.put_off(70_000);
        assert_eq!(later.ends_ms, bell.ends_ms + EXTEND_MS);
        assert!(!later.counts_down(70_000) && later.counts_down(later.ends_ms - COUNTDOWN_MS));
        assert_eq!(later.put_off(later.ends_ms).ends_ms, later.ends_ms + EXTEND_MS);
    }
}
