//! What may go when: a rate for the day, the night without one, and what waits for the night.

use std::str::FromStr;

/// Minutes of the day in which it is night for uploads; may pass midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Night {
    from: u32,
    to: u32,
}

impl FromStr for Night {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let minute = |text: &str| {
            let (h, m) = text.trim().split_once(':')?;
            let (h, m) = (h.parse::<u32>().ok()?, m.parse::<u32>().ok()?);
            (h < 24 && m < 60).then_some(h * 60 + m)
        };
        let night = text.split_once('-').and_then(|(a, b)| Some(Self { from: minute(a)?, to: minute(b)? }));
        match night {
            Some(night) if night.from != night.to => Ok(night),
            _ => Err(format!("{text:?} is not a span of the day such as \"22:00-06:00\"")),
        }
    }
}

impl Night {
    fn holds(self, minute: u32) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

/// What waits for the night.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// Everything goes at any time.
    Nothing,
    /// Lessons from before the one that is recorded now or was recorded last.
    Backlog,
    /// Everything.
    All,
}

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Bytes a second by day; none when the day is as free as the night.
    pub day_rate: Option<u64>,
    /// The night.
    pub night: Night,
    /// See [`Waits`].
    pub waits: Waits,
}

/// What the rules say of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave {
    /// Bytes a second at most.
    pub rate: Option<u64>,
    /// Whether the lesson that is recorded now or was recorded last may go.
    pub live: bool,
    /// Whether earlier ones may.
    pub backlog: bool,
}

impl Schedule {
    /// For a minute of the day; none when the clock cannot be believed. A clock that nobody set must not hold
    /// lessons back for ever: then nothing waits, and the day's rate holds.
    pub fn at(&self, minute: Option<u32>) -> Leave {
        let night = minute.is_some_and(|minute| self.night.holds(minute));
        let free = night || minute.is_none();
        Leave {
            rate: self.day_rate.filter(|_| !night),
            live: free || self.waits != Waits::All,
            backlog: free || self.waits == Waits::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(waits: Waits) -> Schedule {
        Schedule { day_rate: Some(500), night: "22:00-06:30".parse().unwrap(), waits }
    }

    #[test]
    fn the_night_may_pass_midnight_and_has_no_limit() {
        for (minute, night) in [(22 * 60, true), (0, true), (389, true), (390, false), (600, false)] {
            let leave = rules(Waits::All).at(Some(minute));
            assert_eq!(leave.rate.is_none(), night, "{minute}");
            assert_eq!((leave.live, leave.backlog), (night, night), "{minute}");
        }
        let noon: Night = "12:00-14:00".parse().unwrap();
        assert!(noon.holds(720) && !noon.holds(840) && !noon.holds(0));
    }

    #[test]
    fn by_day_the_backlog_waits_and_the_lesson_just_held_does_not() {
        let leave = rules(Waits::Backlog).at(Some(600));
        assert_eq!(leave, Leave { rate: Some(500), live: true, backlog: false });
        let leave = rules(Waits::Nothing).at(Some(600));
        assert!(leave.live && leave.backlog);
    }

    #[test]
    fn a_clock_that_nobody_set_holds_nothing_back() {
        let leave = rules(Waits::All).at(None);
        assert_eq!(leave, Leave { rate: Some(500), live: true, backlog: true });
    }

    #[test]
    fn what_is_no_span_of_the_day_is_refused() {
        for text in ["", "22-6", "24:00-06:00", "22:00", "22:00-22:00", "ab:cd-ef:gh"] {
            assert!(text.parse::<Night>().is_err(), "{text}");
        }
    }
}
