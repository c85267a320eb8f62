//! A fault that a teacher reported, on its way to being repaired.
//!
//! ```text
//! open 待受理 ──▶ doing 处理中 ──▶ done 已完成
//!                      ▲──────────────┘  it was not repaired after all
//! ```

/// How far a ticket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nobody has taken it up.
    Open,
    /// Somebody is at it.
    Doing,
    /// It works again.
    Done,
}

/// The answer to a wish to change a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is now.
    Changed,
    /// It was already.
    AlreadySo,
    /// From here one cannot get there.
    Denied,
}

impl State {
    /// The name it is kept under.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Doing => "doing",
            Self::Done => "done",
        }
    }

    /// The state of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Open, Self::Doing, Self::Done].into_iter().find(|state| state.name() == name)
    }

    /// What becomes of a wish to go to another state.
    #[must_use]
    pub fn go(self, to: Self) -> Answer {
        match (self, to) {
            (Self::Open, Self::Doing) | (Self::Doing, Self::Done) | (Self::Done, Self::Doing) => {
                Answer::Changed
            }
            (a, b) if a == b => Answer::AlreadySo,
            _ => Answer::Denied,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_goes_step_by_step_and_may_be_taken_up_again() {
        for from in [State::Open, State::Doing, State::Done] {
            assert_eq!(State::named(from.name()), Some(from));
            assert_eq!(from.go(from), Answer::AlreadySo);
        }
        assert_eq!(State::named("opened"), None);
        assert_eq!(State::Open.go(State::Doing), Answer::Changed);
        assert_eq!(State::Doing.go(State::Done), Answer::Changed);
        assert_eq!(State::Done.go(State::Doing), Answer::Changed);
        for (from, to) in
            [(State::Open, State::Done), (State::Doing, State::Open), (State::Done, State::Open)]
        {
            assert_eq!(from.go(to), Answer::Denied);
        }
    }
}
