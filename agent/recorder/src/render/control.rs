//! Reads the job, then hears orders: stand still, go on, and, when the input ends or SIGTERM comes, give up.

use std::io::{BufRead as _, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use lectern_base::clock;
use lectern_wire::render::{Job, Order, Said};

/// Longest job line, bytes.
const MAX_LINE: u64 = 64 * 1024;
/// Progress is told at most this often.
const TELL: Duration = Duration::from_millis(500);

/// What the work asks between two pictures.
pub struct Control {
    over: Arc<AtomicBool>,
    still: Arc<AtomicBool>,
    told: std::cell::Cell<Duration>,
}

/// The job, and the control of its work.
pub fn start() -> anyhow::Result<(Job, Control)> {
    let mut line = String::new();
    let input = std::io::stdin();
    // Through the same buffer as the orders: nothing that was read ahead is lost.
    input
        .lock()
        .take(MAX_LINE)
        .read_line(&mut line)
        .context("the job could not be read from standard input")?;
    let job = serde_json::from_str(&line).context("the job is not a JSON line of the expected shape")?;
    let (over, still) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&over))?;
    let control =
        Control { over: Arc::clone(&over), still: Arc::clone(&still), told: std::cell::Cell::default() };
    std::thread::Builder::new().name("orders".into()).spawn(move || {
        for line in input.lock().lines().map_while(Result::ok) {
            match serde_json::from_str::<Order>(&line) {
                Ok(order) => still.store(order == Order::Pause, Ordering::Relaxed),
                Err(e) => tracing::warn!("an order that is not understood: {e}"),
            }
        }
        over.store(true, Ordering::Relaxed);
    })?;
    Ok((job, control))
}

impl Control {
    /// Waits while the work is to stand still.
    ///
    /// # Errors
    /// When it is to end.
    pub fn check(&self) -> anyhow::Result<()> {
        loop {
            if self.over.load(Ordering::Relaxed) {
                bail!("cancelled");
            }
            if !self.still.load(Ordering::Relaxed) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// As [`Self::check`]; tells now and then how far the work is.
    pub fn progress(&self, done_ms: u64, of_ms: u64) -> anyhow::Result<()> {
        let now = clock::mono();
        if now.saturating_sub(self.told.get()) >= TELL {
            self.told.set(now);
            super::say(Said::Progress { done_ms: done_ms.min(of_ms), of_ms })?;
        }
        self.check()
    }
}
