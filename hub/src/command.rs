//! Floor 3: hands commands to their devices, again until each is taken in or has expired.
//!
//! A command goes out at once when its device is connected, when the device connects, and every few seconds
//! after that: it carries its id, so the device carries it out once.

use std::time::Duration;

use lectern_base::clock;
use lectern_wire::telemetry::Presence;
use lectern_wire::topic::Leaf;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::model::arrival::Down;
use crate::model::bell::Bell;
use crate::store::{Store, StoreError, commands, devices};

/// How often a command nobody has taken in is said again.
const AGAIN: Duration = Duration::from_secs(5);

/// What handing out commands needs.
#[derive(Debug)]
pub struct Deps {
    /// Rows.
    pub store: Store,
    /// What goes down to devices.
    pub downs: mpsc::Sender<Down>,
    /// Rung when something people look at has changed.
    pub bell: Bell,
    /// Rung when a command was given.
    pub given: std::sync::Arc<Notify>,
}

/// Hands out commands until told to stop.
pub async fn run(deps: Deps, stop: CancellationToken) {
    let mut again = tokio::time::interval(AGAIN);
    again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = deps.given.notified() => {}
            _ = again.tick() => {}
        }
        if let Err(e) = hand_out(&deps).await {
            tracing::error!("commands could not be handed out: {e}");
        }
    }
}

async fn hand_out(deps: &Deps) -> Result<(), StoreError> {
    let now = clock::wall_ms();
    let downs = deps
        .store
        .read(move |db| {
            let mut downs = Vec::new();
            for id in commands::waiting(db, now)? {
                let Some(device) = devices::find(db, id.as_str())? else { continue };
                if device.presence != Some(Presence::Online) {
                    continue;
                }
                for (command, document) in commands::to_send(db, &id, now)? {
                    let leaf = Leaf::CommandRequest(command);
                    downs.push(Down { topics: device.topics(), leaf, payload: document.into_bytes() });
                }
            }
            Ok(downs)
        })
        .await?;
    for down in downs {
        if deps.downs.send(down).await.is_err() {
            tracing::debug!("the broker is gone; commands are handed out when it is back");
            return Ok(());
        }
    }
    if deps.store.read(move |db| commands::expired(db, now)).await?
        && deps.store.write(move |db| commands::expire(db, now)).await?
    {
        deps.bell.ring();
    }
    Ok(())
}
