//! Floor 3: hands each room what it is to go by: timetable and thresholds.
//!
//! The rows are the truth, what stands retained at the broker is a copy: it is said anew when the hub starts, when
//! something changed, and to a connected room that has not answered for a while.

use std::time::Duration;

use ed25519_dalek::SigningKey;
use lectern_base::clock;
use lectern_wire::desired::Thresholds;
use lectern_wire::telemetry::Presence;
use lectern_wire::topic::Leaf;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::model::arrival::Down;
use crate::model::bell::Bell;
use crate::store::{Store, StoreError, desired, devices};

/// How often it is looked whether a room was forgotten: new ones are registered, answers get lost.
const AGAIN: Duration = Duration::from_secs(20);
/// A connected room that has not answered for so long is told again.
const PATIENCE_MS: i64 = 15_000;

/// What handing down needs.
#[derive(Debug)]
pub struct Deps {
    /// Rows.
    pub store: Store,
    /// What goes down to devices.
    pub downs: mpsc::Sender<Down>,
    /// Rung when something people look at has changed.
    pub bell: Bell,
    /// Rung when a timetable changed.
    pub changed: std::sync::Arc<Notify>,
    /// Documents are signed with it.
    pub key: SigningKey,
    /// The same for every room.
    pub thresholds: Thresholds,
}

/// Hands down until told to stop.
pub async fn run(deps: Deps, stop: CancellationToken) {
    let mut again = tokio::time::interval(AGAIN);
    again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut all, mut faults) = (true, Vec::new());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = deps.changed.notified() => {}
            _ = again.tick() => {}
        }
        match hand_down(&deps, all, &mut faults).await {
            Ok(()) => all = false,
            Err(e) => tracing::error!("what rooms are to go by could not be handed down: {e}"),
        }
    }
}

/// `known`: what cannot be handed down, as it was said last; the same is said once.
async fn hand_down(deps: &Deps, all: bool, known: &mut Vec<String>) -> Result<(), StoreError> {
    let now = clock::wall_ms();
    let (key, thresholds) = (deps.key.clone(), deps.thresholds);
    let (changed, faults) = deps.store.write(move |db| desired::refresh(db, thresholds, &key, now)).await?;
    for fault in faults.iter().filter(|fault| !known.contains(fault)) {
        tracing::error!("a room keeps what it has: {fault}");
    }
    *known = faults;
    if !changed.is_empty() {
        tracing::info!(rooms = changed.len(), "rooms are handed a new timetable or new thresholds");
        deps.bell.ring();
    }
    let downs = deps
        .store
        .read(move |db| {
            let mut downs = Vec::new();
            for device in devices::all(db)? {
                let Some(row) = desired::of(db, &device.id)? else { continue };
                let forgotten = device.presence == Some(Presence::Online)
                    && !row.answered()
                    && now - row.given_ms > PATIENCE_MS;
                if all || forgotten || changed.contains(&device.id) {
                    let payload = serde_json::to_vec(&row.signed)
                        .map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
                    downs.push(Down { topics: device.topics(), leaf: Leaf::Desired, payload });
                }
            }
            Ok(downs)
        })
        .await?;
    for down in downs {
        if deps.downs.send(down).await.is_err() {
            tracing::debug!("the broker is gone; rooms are told when it is back");
            return Ok(());
        }
    }
    Ok(())
}
