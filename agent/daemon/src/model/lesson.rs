//! A lesson's life.
//!
//! ```text
//!  (start) ─▶ preparing ──first durable picture──▶ recording ◀──▶ paused
//!                 │                                    │             │
//!                 │ recorder lost                      │ lost        │ lost
//!                 ▼                                    ▼             ▼
//!            interrupted ◀───────────────────────────────────────────┘
//!                 │  └──next take, first durable picture──▶ recording
//!                 │ given up, or stop
//!   stop ────────▶▼
//!            finishing ──every take durable, decoded back, signed──▶ sealed ──hub's receipt──▶ stored ──▶ reclaimed
//!                 │                                                     │                       │           │
//!                 └──nothing was recorded──▶ discarded ◀──thrown away───┴───────────────────────┴───────────┘
//! ```
//!
//! Happy path: preparing → recording → finishing → sealed → stored → reclaimed.
//! A request gets one of three answers: done, already so, no because. Uploading is not a state here:
//! parts may be stored while recording goes on; only the receipt moves a lesson on. Being put forward for
//! certification is not a state either: it changes nothing about the bytes, and they may be reclaimed after it.

/// Where a lesson stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The recorder was started; nothing is durable yet.
    Preparing,
    /// Pictures and sound are being made durable.
    Recording,
    /// The recorder stands still by the teacher's hand.
    Paused,
    /// The recorder was lost; a next take is being started.
    Interrupted,
    /// No more is recorded; takes are checked, hashed and signed.
    Finishing,
    /// The manifest is signed and durable.
    Sealed,
    /// The hub's receipt is here.
    Stored,
    /// The local bytes are gone; the receipt is kept.
    Reclaimed,
    /// Nothing was recorded, or the teacher threw it away.
    Discarded,
}

/// All states with their names in the database and on the wire.
pub const NAMES: [(State, &str); 9] = [
    (State::Preparing, "preparing"),
    (State::Recording, "recording"),
    (State::Paused, "paused"),
    (State::Interrupted, "interrupted"),
    (State::Finishing, "finishing"),
    (State::Sealed, "sealed"),
    (State::Stored, "stored"),
    (State::Reclaimed, "reclaimed"),
    (State::Discarded, "discarded"),
];

impl State {
    /// The state's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(state, _)| *state == self).map_or("", |(_, name)| name)
    }

    /// The state of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, n)| *n == name).map(|(state, _)| *state)
    }

    /// Whether a recorder works, or should work, for the lesson.
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, Self::Preparing | Self::Recording | Self::Paused | Self::Interrupted)
    }

    /// Whether the lesson still has to reach the hub.
    #[must_use]
    pub fn is_waiting(self) -> bool {
        self.is_live() || matches!(self, Self::Finishing | Self::Sealed)
    }
}

/// Why a lesson is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutShort {
    /// The power was cut or the machine restarted.
    PowerCut,
    /// The recorder was lost and the lesson could not go on.
    RecorderLost,
    /// The recorder ended by itself: the longest take was reached, or the machine was being shut down.
    EndedByItself,
    /// The disk was about to be full.
    DiskFull,
}

impl CutShort {
    const NAMES: [(Self, &'static str, &'static str); 4] = [
        (Self::PowerCut, "power_cut", "the power was cut or the machine restarted"),
        (Self::RecorderLost, "recorder_lost", "the recorder was lost and could not be kept running"),
        (
            Self::EndedByItself,
            "ended_by_itself",
            "the longest recording was reached, or the machine was being shut down",
        ),
        (
            Self::DiskFull,
            "disk_full",
            "the disk was about to be full, and the lesson was ended while all of it was safe",
        ),
    ];

    /// The reason's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(c, _, _)| *c == self).map_or("", |(_, name, _)| name)
    }

    /// The reason in a sentence.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        Self::NAMES.iter().find(|(c, _, _)| *c == self).map_or("", |(_, _, sentence)| sentence)
    }

    /// The reason of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, n, _)| *n == name).map(|(c, _, _)| *c)
    }
}

/// What happens to a lesson.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The recorder reported durable bytes.
    Durable,
    /// The recorder reported that it stands still.
    Paused,
    /// The recorder reported that it goes on.
    Resumed,
    /// The recorder is gone without having ended the take.
    RecorderLost,
    /// The take ended: by the teacher's hand or because no recorder could be kept up.
    Ended,
    /// The manifest is durable.
    Sealed,
    /// Nothing durable was found in any take.
    NothingRecorded,
    /// A receipt that fits the manifest is durable.
    Receipted,
    /// The local bytes were removed.
    Reclaimed,
    /// The teacher threw it away.
    ThrownAway,
}

/// An event that does not belong to the state it met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} cannot happen to a lesson that is {}", state.name())]
pub struct Denied {
    /// The state.
    pub state: State,
    /// The event.
    pub event: Event,
}

impl State {
    /// The state after an event. Repeating an event that already had its effect changes nothing.
    ///
    /// # Errors
    /// [`Denied`] when the event does not belong here.
    pub fn next(self, event: Event) -> Result<Self, Denied> {
        use Event as E;
        use State as S;
        match (self, event) {
            (S::Preparing | S::Recording | S::Interrupted, E::Durable) => Ok(S::Recording),
            // The end of a paused take's last fragment.
            (S::Paused, E::Durable | E::Paused) => Ok(S::Paused),
            (S::Recording | S::Preparing | S::Interrupted, E::Paused) => Ok(S::Paused),
            (S::Paused | S::Recording, E::Resumed) => Ok(S::Recording),
            (state, E::RecorderLost) if state.is_live() => Ok(S::Interrupted),
            (state, E::Ended) if state.is_live() => Ok(S::Finishing),
            (S::Finishing, E::Ended | E::Durable | E::RecorderLost) => Ok(S::Finishing),
            (S::Finishing | S::Sealed, E::Sealed) => Ok(S::Sealed),
            (S::Finishing | S::Discarded, E::NothingRecorded) => Ok(S::Discarded),
            (S::Sealed | S::Stored, E::Receipted) => Ok(S::Stored),
            (S::Sealed | S::Stored | S::Reclaimed | S::Discarded, E::ThrownAway) => Ok(S::Discarded),
            (S::Stored | S::Reclaimed, E::Reclaimed) => Ok(S::Reclaimed),
            (state, event) => Err(Denied { state, event }),
        }
    }
}

/// What a person asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Begin a lesson.
    Start,
    /// End it.
    Stop,
    /// Stand still.
    Pause,
    /// Go on.
    Resume,
    /// Note this moment.
    Mark,
    /// Compose the picture in another way.
    Layout,
    /// Send it live, or no more.
    Live,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Do it.
    Do,
    /// It is already so.
    Already,
    /// No, because.
    No(Because),
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// Nothing is being recorded.
    NothingRecords,
    /// The recorder has only just been started, or again after a fault.
    NotReadyYet,
    /// The lesson is paused; going on is what is wanted.
    IsPaused,
}

/// Whether a request is to be carried out; `live` is the lesson that is being recorded, if any.
#[must_use]
pub fn admit(live: Option<State>, request: Request) -> Admission {
    use Admission::{Already, Do, No};
    match (request, live) {
        (Request::Start, Some(State::Paused)) => No(Because::IsPaused),
        (Request::Start, Some(state)) if state.is_live() => Already,
        (Request::Start, _) => Do,
        (Request::Stop, Some(state)) if state.is_live() => Do,
        (Request::Stop, Some(_)) => Already,
        (Request::Layout | Request::Live, Some(State::Recording | State::Paused))
        | (Request::Pause | Request::Mark, Some(State::Recording))
        | (Request::Resume, Some(State::Paused)) => Do,
        (Request::Mark, Some(State::Paused)) => No(Because::IsPaused),
        (Request::Pause, Some(State::Paused)) | (Request::Resume, Some(State::Recording)) => Already,
        (_, Some(state)) if state.is_live() => No(Because::NotReadyYet),
        _ => No(Because::NothingRecords),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EVENTS: [Event; 10] = [
        Event::Durable,
        Event::Paused,
        Event::Resumed,
        Event::RecorderLost,
        Event::Ended,
        Event::Sealed,
        Event::NothingRecorded,
        Event::Receipted,
        Event::Reclaimed,
        Event::ThrownAway,
    ];

    #[test]
    fn the_happy_path_ends_reclaimed() {
        let path = [
            Event::Durable,
            Event::Paused,
            Event::Resumed,
            Event::RecorderLost,
            Event::Durable,
            Event::Ended,
            Event::Sealed,
            Event::Receipted,
            Event::Reclaimed,
        ];
        let end = path.into_iter().try_fold(State::Preparing, State::next);
        assert_eq!(end, Ok(State::Reclaimed));
    }

    #[test]
    fn pressing_start_twice_is_one_lesson() {
        assert_eq!(admit(None, Request::Start), Admission::Do);
        assert_eq!(admit(Some(State::Preparing), Request::Start), Admission::Already);
        assert_eq!(admit(Some(State::Recording), Request::Start), Admission::Already);
        assert_eq!(admit(Some(State::Finishing), Request::Stop), Admission::Already);
        assert_eq!(admit(Some(State::Stored), Request::Start), Admission::Do);
        assert_eq!(admit(None, Request::Pause), Admission::No(Because::NothingRecords));
    }

    #[test]
    fn every_state_has_one_name() {
        for (state, name) in NAMES {
            assert_eq!(State::from_name(name), Some(state));
            assert_eq!(state.name(), name);
        }
    }

    proptest! {
        /// Whatever happens in whatever order, a lesson is never stored without having been sealed,
        /// never records again once it was finishing, and stays thrown away.
        #[test]
        fn no_order_of_events_stores_what_was_not_sealed(order in prop::collection::vec(0..EVENTS.len(), 0..60)) {
            let mut state = State::Preparing;
            let (mut sealed, mut finishing, mut thrown) = (false, false, false);
            for n in order {
                if let Ok(next) = state.next(EVENTS[n]) {
                    state = next;
                }
                sealed |= state == State::Sealed;
                finishing |= state == State::Finishing;
                thrown |= state == State::Discarded;
                prop_assert!(!thrown || state == State::Discarded);
                prop_assert!(!matches!(state, State::Stored | State::Reclaimed) || sealed);
                prop_assert!(!(finishing && state.is_live()));
            }
        }
    }
}
