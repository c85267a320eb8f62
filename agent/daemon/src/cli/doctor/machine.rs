//! The machine itself: its disk and its clock.

use lectern_base::{clock, disk};

use super::{Finding, finding};
use crate::config::Config;

/// What a technician wants to know of the machine.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    vec![data(config), space(config), clock_state()]
}

fn data(config: &Config) -> Finding {
    let folder = &config.device.data_dir;
    let usable = std::fs::create_dir_all(folder).and_then(|()| {
        let probe = folder.join(".doctor");
        std::fs::write(&probe, b"x")?;
        std::fs::remove_file(&probe)
    });
    finding(
        "data",
        usable.map(|()| folder.display().to_string()).map_err(|e| format!("{}: {e}", folder.display())),
    )
}

fn space(config: &Config) -> Finding {
    let outcome = disk::free_bytes(&config.device.data_dir).map_err(|e| e.to_string()).and_then(|free| {
        let minutes = free / config.bytes_per_minute().max(1);
        let text = format!("room for {minutes} minutes of recording");
        if minutes < u64::from(config.recording.reserve_minutes) { Err(text) } else { Ok(text) }
    });
    finding("space", outcome)
}

fn clock_state() -> Finding {
    let now = clock::local_text(clock::wall_ms());
    // An untrusted clock is not a fault of the machine, but it stands in every manifest.
    let trust = if clock::trusted() {
        "a time service keeps it"
    } else {
        "no time service keeps it: lessons will say so"
    };
    finding("clock", Ok(format!("{now}, {trust}")))
}
