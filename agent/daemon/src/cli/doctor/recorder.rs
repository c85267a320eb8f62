//! The recorder and what it would encode with.

use super::{Finding, finding};
use crate::config::Config;
use crate::platform::recorder;
use crate::record::encoders;

/// Whether lessons could be recorded, and how.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    vec![program(config), encoder(config)]
}

fn program(config: &Config) -> Finding {
    let program = &config.recording.recorder;
    let outcome = recorder::command(program).arg("--version").output();
    finding(
        "recorder",
        match outcome {
            Ok(out) if out.status.success() => Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned()),
            Ok(out) => Err(format!("{} ended with {}", program.display(), out.status)),
            Err(e) => Err(format!("{}: {e}", program.display())),
        },
    )
}

/// What would encode the picture, and why nothing better can.
fn encoder(config: &Config) -> Finding {
    let outcome = encoders::report(&config.recording.recorder).and_then(|reports| {
        let wanted = config.recording.capture.video.encoder;
        let chosen = wanted.unwrap_or_else(|| encoders::best(&reports));
        let fault = |encoder| reports.iter().find(|r| r.encoder == encoder).and_then(|r| r.fault.as_deref());
        match (wanted, fault(chosen)) {
            (Some(_), Some(why)) => {
                Err(format!("{} cannot be used and gives way to libx264: {why}", chosen.name()))
            }
            (Some(_), None) => Ok(format!("{}, as the settings say", chosen.name())),
            (None, Some(why)) => Err(format!("none can be used, not even {}: {why}", chosen.name())),
            (None, None) => {
                let better = reports.iter().take_while(|r| r.encoder != chosen);
                let whys = better
                    .map(|r| format!("{}: {}", r.encoder.name(), r.fault.as_deref().unwrap_or_default()));
                let whys: Vec<_> = whys.collect();
                let because = if whys.is_empty() { String::new() } else { format!(" ({})", whys.join("; ")) };
                Ok(format!("{}{because}", chosen.name()))
            }
        }
    });
    finding("encoder", outcome)
}
