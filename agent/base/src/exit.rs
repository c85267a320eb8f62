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

impl Exit {
    /// The way a program ended, by its number; one that is none of ours is a failure.
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        let all = [Self::Done, Self::BadSettings, Self::Refused, Self::NotSound, Self::AlreadyRunning];
        all.into_iter().find(|exit| *exit as u8 == code).unwrap_or(Self::Failed)
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
