//! This room witnesses the hub's log of receipts: it keeps the newest checkpoint it has seen, and accepts another
//! only with a proof that one continues the other. A log that became smaller, or whose past was changed, is
//! refused: an alarm says so, parts go on being sent, but no receipt of it counts, so nothing is reclaimed.
//!
//! Looked at with every receipt, at start and several times a day.

use std::time::Duration;

use lectern_base::disk;
use lectern_wire::log::proof::{BadProof, check_consistency};
use lectern_wire::log::{self, BadPlace, Checkpoint};
use lectern_wire::receipt::Receipt;
use lectern_wire::sign::Signed;

use super::error::UploadError;
use super::hub::Hub;
use crate::store::{Store, StoreError};

/// How often the hub is asked how its log stands.
const EVERY: Duration = Duration::from_secs(6 * 3600);
/// How soon again when it could not be asked, or was refused.
const AGAIN: Duration = Duration::from_secs(60);
/// The newest checkpoint.
const KEPT: &str = "log_checkpoint";
/// Why the log is refused; absent while all is well.
const FAULT: &str = "log_fault";

/// How long until the next look.
pub fn wait(looked: Result<(), UploadError>) -> Duration {
    match looked {
        Ok(()) => EVERY,
        Err(e) => {
            tracing::debug!("the hub's log could not be looked at: {e}");
            AGAIN
        }
    }
}

/// Puts what is known of the log on the board, as after a start.
pub fn show(store: &Store) -> Result<(), StoreError> {
    let fault = store.fact(FAULT)?;
    store.board().update(|s| s.upload.log_fault = fault);
    Ok(())
}

/// Asks the hub how its log stands.
pub async fn look(store: &Store, client: &Hub) -> Result<(), UploadError> {
    // Read before asking: a receipt that comes meanwhile may bring a newer one than the answer.
    let known = kept(store)?;
    let Some(found) = client.checkpoint().await? else {
        return match known {
            None => Ok(()),
            Some(known) => refuse(store, &known, None, "中心不再提供存证日志".into()),
        };
    };
    let ring = store.hub_ring()?;
    if let Err(why) = log::check_checkpoint(&found, &ring) {
        tracing::warn!("the hub's checkpoint is not accepted: {why}");
        return match known {
            // Before the first lesson this room knows no key of the hub.
            None => Ok(()),
            Some(known) => refuse(store, &known, Some(&found), "中心的存证日志签名不对".into()),
        };
    }
    if let Some(known) = known
        && found.document.size < known.document.size
    {
        return refuse(store, &known, Some(&found), smaller(&known.document, found.document.size));
    }
    advance(store, client, &found).await
}

/// Whether a receipt proves its place in the log that this room witnesses.
///
/// # Errors
/// [`UploadError::LogRefused`] when it does not; otherwise why it could not be found out.
pub async fn check(store: &Store, client: &Hub, receipt: &Signed<Receipt>) -> Result<(), UploadError> {
    let ring = store.hub_ring()?;
    match log::check_place(&receipt.document, &ring) {
        Ok(checkpoint) => advance(store, client, checkpoint).await,
        Err(BadPlace::None) => match kept(store)? {
            // A receipt from before the hub had a log stands in it all the same, without a proof of its own.
            Some(known) if receipt.document.log_index >= known.document.size => {
                refuse(store, &known, None, "中心的回执没有存证位置".into())
            }
            _ => Ok(()),
        },
        Err(e) => {
            tracing::error!(lesson = %receipt.document.lesson_id, "{e}");
            match kept(store)? {
                Some(known) => refuse(store, &known, None, "中心的回执不在存证日志里".into()),
                None => Err(UploadError::LogRefused(e.to_string())),
            }
        }
    }
}

fn smaller(known: &Checkpoint, found: u64) -> String {
    format!("中心的存证日志变短了：本机见证过 {} 条，现在只有 {found} 条", known.size)
}

/// Holds a checkpoint against the one that is kept, and keeps it when it is newer.
async fn advance(store: &Store, client: &Hub, found: &Signed<Checkpoint>) -> Result<(), UploadError> {
    let Some(known) = kept(store)? else {
        keep(store, found)?;
        return well(store);
    };
    let (k, f) = (&known.document, &found.document);
    if k.log != f.log {
        return refuse(store, &known, Some(found), "中心换了另一本存证日志".into());
    }
    let (old, new) = if f.size < k.size { (f, k) } else { (k, f) };
    let proof = if old.size == 0 || old.size == new.size {
        Vec::new()
    } else {
        match client.consistency(old.size, new.size).await? {
            Ok(proof) => proof,
            Err(why) => {
                tracing::error!("the hub cannot prove its log: {why}");
                return refuse(store, &known, Some(found), "中心的存证日志变短了，拿不出证明".into());
            }
        }
    };
    match check_consistency((old.size, &old.root), (new.size, &new.root), &proof) {
        Ok(()) => {}
        Err(BadProof::Length | BadProof::Range | BadProof::Root) => {
            let what = format!("中心的存证日志和本机见证过的对不上（前 {} 条）", old.size);
            return refuse(store, &known, Some(found), what);
        }
    }
    if f.size > k.size {
        keep(store, found)?;
    }
    if f.size >= k.size { well(store) } else { Ok(()) }
}

fn kept(store: &Store) -> Result<Option<Signed<Checkpoint>>, StoreError> {
    let text = store.fact(KEPT)?;
    let read = |text: String| serde_json::from_str(&text);
    text.map(read).transpose().map_err(|e| StoreError::Impossible(format!("{KEPT}: {e}")))
}

fn keep(store: &Store, found: &Signed<Checkpoint>) -> Result<(), StoreError> {
    let text = serde_json::to_string(found).map_err(|e| StoreError::Impossible(e.to_string()))?;
    store.set_fact(KEPT, &text)?;
    // For `lectern-hub log check --witness`.
    let path = store.folder().join("checkpoint.json");
    disk::replace(&path, text.as_bytes()).map_err(crate::store::at(&path))
}

/// The log continues what was witnessed.
fn well(store: &Store) -> Result<(), UploadError> {
    if store.fact(FAULT)?.is_some() {
        tracing::info!("the hub's log continues what was witnessed again");
        store.forget(FAULT)?;
        store.board().update(|s| s.upload.log_fault = None);
        store.bells().upload.notify_one();
    }
    Ok(())
}

/// Refuses what the hub shows: says so, durably, and keeps both checkpoints for whoever looks into it.
fn refuse(
    store: &Store,
    known: &Signed<Checkpoint>,
    found: Option<&Signed<Checkpoint>>,
    what: String,
) -> Result<(), UploadError> {
    if store.fact(FAULT)?.as_ref() != Some(&what) {
        tracing::error!(witnessed = known.document.size, "the hub's log is refused: {what}");
        let both = serde_json::json!({ "witnessed": known, "refused": found });
        let path = store.folder().join("log-refused.json");
        disk::replace(&path, both.to_string().as_bytes()).map_err(crate::store::at(&path))?;
        store.set_fact(FAULT, &what)?;
    }
    store.board().update(|s| s.upload.log_fault = Some(what.clone()));
    Err(UploadError::LogRefused(what))
}

/// Forgets the log, with the hub it belongs to.
///
/// # Errors
/// [`StoreError`].
pub fn forget(store: &Store) -> Result<(), StoreError> {
    store.forget(KEPT)?;
    store.forget(FAULT)
}
