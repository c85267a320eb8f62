//! The machine itself: its disk and its clock.

use lectern_base::{clock, disk};

use super::{Finding, finding};
use crate::cli::remote;
use crate::config::Config;
use crate::model::home::Doubt;
use crate::platform::volume;

/// What a technician wants to know of the machine.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    vec![data(config), volume(config), space(config), clock_state()]
}

fn data(config: &Config) -> Finding {
    let folder = &config.device.data_dir;
    let usable = disk::make_folder(folder).and_then(|()| {
        let probe = folder.join(".doctor");
        std::fs::write(&probe, b"x")?;
        std::fs::remove_file(&probe)
    });
    finding(
        "data",
        usable.map(|()| folder.display().to_string()).map_err(|e| format!("{}: {e}", folder.display())),
    )
}

/// Whether the volume keeps what is written to it: by looks, and by what the running daemon has found out.
fn volume(config: &Config) -> Finding {
    finding(
        "volume",
        doubt(config).map_or_else(
            || Ok("keeps what is written to it, as far as can be seen".to_owned()),
            |(why, advice)| Err(format!("{why}: no lesson is begun; {advice}")),
        ),
    )
}

/// What speaks against it, and what to do.
fn doubt(config: &Config) -> Option<(String, &'static str)> {
    let elsewhere = "set device.data_dir to a volume that is not restored";
    let repair = "have the disk looked at (dmesg, smartctl), repair or replace it; Lectern goes on by itself when \
                  it can be written again";
    let folder = &config.device.data_dir;
    if disk::only_read(folder) {
        return Some((Doubt::ReadOnly.to_string(), repair));
    }
    let looks = volume::doubt(folder).filter(|_| !config.device.trust_volume);
    let told = || {
        let status = remote::ask(folder, "/api/status", None).ok()?;
        let detail = status["home"]["detail"].as_str()?.to_owned();
        Some((detail, if status["home"]["code"] == Doubt::ReadOnly.code() { repair } else { elsewhere }))
    };
    looks.map(|doubt| (doubt.to_string(), elsewhere)).or_else(told)
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
