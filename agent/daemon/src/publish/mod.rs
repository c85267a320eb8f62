//! Takes the outbox to the broker.
//!
//! The outbox is the truth; at most [`WINDOW`] messages are under way. A sample goes on the broker's PUBACK, an event
//! on the hub's own `ack/event`. Every connection begins with an empty window: what was not acknowledged is sent
//! again, whatever the broker forgot, acknowledged late, twice or out of order.
//!
//! After connecting: `state`, `info` and alarms (retained), the newest sample of each group live on `m/`, then
//! history oldest first on `h/`, a few batches a second, while new samples go live at once.

mod dialect;
mod discovery;
mod session;
mod sizes;

use std::sync::Arc;
use std::time::Duration;

use lectern_base::{chance, clock};
use lectern_wire::telemetry::{Info, Presence, State};
use lectern_wire::topic::Topics;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::model::telling::{Dialect, Discovery};
use crate::platform::power;
use crate::platform::tls::Trust;
use crate::store::Store;
use sizes::Sizes;

/// Messages under way at most.
pub const WINDOW: usize = 16;

/// What publishing needs to know.
#[derive(Clone)]
pub struct Settings {
    /// The broker.
    pub url: Url,
    /// School and device.
    pub topics: Topics,
    /// The device's password, or its token.
    pub password: String,
    /// The inventory, told on every connection.
    pub info: Info,
    /// How messages are put.
    pub dialect: Dialect,
    /// TLS with the hub.
    pub trust: Arc<Trust>,
    /// Whether Home Assistant is told what there is.
    pub discovery: Option<Discovery>,
}

/// Runs until told to stop; says goodbye then.
pub async fn run(store: Store, settings: Settings, stop: CancellationToken) {
    let mut wait = Duration::from_secs(1);
    let mut sizes = Sizes::default();
    while !stop.is_cancelled() {
        let began = clock::mono();
        let end = session::run(&store, &settings, &mut sizes, &stop).await;
        if let Err(e) = store.outbox().flush() {
            tracing::debug!("fresh samples are kept in memory: {e}");
        }
        let lasted = clock::mono().saturating_sub(began);
        // Only a connection that held for a minute shows that the broker is well again.
        if lasted > Duration::from_secs(60) {
            wait = Duration::from_secs(1);
        }
        if let Err(e) = end {
            if lasted > Duration::from_secs(5) {
                store.line().lost();
            }
            let jitter =
                Duration::from_millis(chance::below(u64::try_from(wait.as_millis()).unwrap_or(1000)));
            tracing::warn!(retry_s = (wait + jitter).as_secs(), "not connected to the broker: {e}");
            tokio::select! {
                () = stop.cancelled() => {}
                () = keeping(&store, tokio::time::sleep(wait / 2 + jitter)) => {}
            }
            wait = (wait * 2).min(Duration::from_secs(60));
        }
    }
}

/// Takes samples to the disk when it is time to, while there is no connection on which they could be told.
async fn keeping<T>(store: &Store, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        let due = store.outbox().flush_due_in();
        tokio::select! {
            done = &mut work => return done,
            // Something was left: from now on it is to be kept in time.
            () = store.bells().publish.notified() => {}
            () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => store.outbox().flush_if_due(),
        }
    }
}

/// The retained state of a device that is there.
fn online() -> State {
    State { state: Presence::Online, reason: None, ts: Some(clock::wall_ms()) }
}

/// The retained state of a device that leaves on purpose.
async fn offline() -> State {
    let reason = if power::goes_off().await { "shutdown" } else { "stopped" };
    State { state: Presence::Offline, reason: Some(reason.into()), ts: Some(clock::wall_ms()) }
}

/// The last will.
fn lost() -> State {
    State { state: Presence::Lost, reason: None, ts: None }
}

#[cfg(test)]
mod tests {
    use lectern_wire::telemetry::Sample;

    use super::*;

    #[tokio::test]
    async fn without_a_connection_samples_are_on_the_disk_before_anybody_asks_for_them() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path(), 1 << 20).expect("opens");
        let file = rusqlite::Connection::open(folder.path().join("outbox.db")).expect("opens");
        let kept = || file.query_row("SELECT count(*) FROM samples", [], |row| row.get::<_, u32>(0));
        let work = async {
            for n in 1..3 {
                store
                    .outbox()
                    .push_sample("sys", &Sample { ts: n, values: [("cpu_pct".to_owned(), 1.0)].into() });
                store.bells().publish.notify_one();
                while kept().expect("counts") < u32::try_from(n).expect("small") {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), keeping(&store, work)).await.expect("they are kept");
    }
}
