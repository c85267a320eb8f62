//! `[commands]`: what a technician may ask of this machine.

use std::net::SocketAddr;

use super::reader::Section;

/// What a technician may ask of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commands {
    /// Whether none is carried out.
    pub off: bool,
    /// Seconds before the machine restarts or goes off.
    pub countdown_s: u32,
    /// Where a packet that wakes another machine goes.
    pub wake_address: SocketAddr,
}

/// Reads the section.
pub fn commands(s: &mut Section<'_>) -> Commands {
    Commands {
        off: s.choice_of_bool("off"),
        countdown_s: s.number("countdown_s", 60, 5..=600),
        wake_address: s
            .maybe_parsed("wake_address", |text| {
                text.parse()
                    .map_err(|_| format!("{text:?} is not an address and port such as \"255.255.255.255:9\""))
            })
            .unwrap_or(SocketAddr::from(([255, 255, 255, 255], 9))),
    }
}
