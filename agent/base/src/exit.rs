//! Exit codes, shared by all programs, the unit files and the guides.

/// How a program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Done = 0,
    /// It could not; trying again may help.
    Failed = 1,
    /// The command line or the settings are wrong: trying again cannot help. The unit files name this
    /// number in `RestartPreventExitStatus`.
    BadSettings = 78,
    /// A request was refused for a reason the answer names.
    Refused = 3,
    /// What was checked is not as it should be: altered, missing or inconsistent.
    NotSound = 4,
    /// Something else already owns the state folder or the port.
    AlreadyRunning = 5,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
