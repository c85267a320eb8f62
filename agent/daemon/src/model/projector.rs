//! A projector in the network.

use std::path::PathBuf;
use std::time::Duration;

/// What a projector says of its power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Off.
    Standby,
    /// On.
    On,
    /// On its way off.
    Cooling,
    /// On its way on.
    Warming,
}

impl Power {
    /// The codes of the standard, as they are told on `m/av`.
    const CODES: [(Self, &'static str, u8); 4] =
        [(Self::Standby, "0", 0), (Self::On, "1", 1), (Self::Cooling, "2", 2), (Self::Warming, "3", 3)];

    /// By the word of the standard.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::CODES.iter().find(|(_, w, _)| *w == word).map(|(power, ..)| *power)
    }

    /// The number of the standard.
    #[must_use]
    pub fn code(self) -> u8 {
        Self::CODES.iter().find(|(power, ..)| *power == self).map_or(0, |(.., code)| *code)
    }

    /// Whether it is on, or will be by itself.
    #[must_use]
    pub fn goes_on(self) -> bool {
        matches!(self, Self::On | Self::Warming)
    }
}

/// How it is asked; `[projector]` in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projector {
    /// Its address.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// File with its password in the first line; none when it asks for none.
    pub password_file: Option<PathBuf>,
    /// How often it is asked.
    pub every: Duration,
}
