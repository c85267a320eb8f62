//! Which encoder the picture gets: the recorder tries them with real pictures.

use std::path::{Path, PathBuf};

use lectern_wire::capture::{Encoder, EncoderReport};
use tokio::sync::mpsc;

use crate::platform::recorder;

/// What the recorder says of every encoder, best first; takes seconds where a driver hangs.
///
/// # Errors
/// A sentence, when the recorder cannot be asked.
pub fn report(program: &Path) -> Result<Vec<EncoderReport>, String> {
    ask(program, &[])
}

fn ask(program: &Path, more: &[&str]) -> Result<Vec<EncoderReport>, String> {
    let out = recorder::command(program).arg("encoders").args(more).output();
    let out = out.map_err(|e| format!("{}: {e}", program.display()))?;
    serde_json::from_slice(&out.stdout)
        .map_err(|_| format!("{} ended with {} and no answer", program.display(), out.status))
}

/// The first that can be used; libx264 works everywhere.
#[must_use]
pub fn best(reports: &[EncoderReport]) -> Encoder {
    reports.iter().find(|r| r.fault.is_none()).map_or(Encoder::Libx264, |r| r.encoder)
}

/// Asks in the background; the best is sent when it is known. Nothing is asked that would not change it: the machine
/// has just started, and has other things to do.
pub(super) fn choose(recorder: PathBuf, chosen: mpsc::Sender<Encoder>) {
    tokio::task::spawn_blocking(move || {
        let reports = ask(&recorder, &["--hardware"]).unwrap_or_else(|e| {
            tracing::warn!("the encoders could not be tried; libx264 is used: {e}");
            Vec::new()
        });
        for EncoderReport { encoder, fault } in &reports {
            let fault = fault.as_deref().unwrap_or("none");
            tracing::info!(encoder = encoder.name(), fault, "encoder tried");
        }
        if chosen.blocking_send(best(&reports)).is_err() {
            tracing::debug!("the driver has ended");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_works_is_taken() {
        let report = |encoder, fault: Option<&str>| EncoderReport { encoder, fault: fault.map(Into::into) };
        let reports = [
            report(Encoder::Vaapi, Some("no card")),
            report(Encoder::Nvenc, None),
            report(Encoder::Libx264, None),
        ];
        assert_eq!(best(&reports), Encoder::Nvenc);
        assert_eq!(best(&[]), Encoder::Libx264);
    }
}
