//! SIGTERM and SIGINT end the take in order. SIGHUP, which comes when whoever started the recorder is gone, ends nothing.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static TERMINATED: AtomicBool = AtomicBool::new(false);

/// Watches from now on.
pub fn watch() -> anyhow::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])
        .context("signals cannot be watched")?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for _ in signals.forever().filter(|signal| *signal != SIGHUP) {
            TERMINATED.store(true, Ordering::Relaxed);
        }
    })?;
    Ok(())
}

/// Whether one has come.
pub fn terminated() -> bool {
    TERMINATED.load(Ordering::Relaxed)
}
