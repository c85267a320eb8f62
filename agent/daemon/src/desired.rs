//! Goes by what the hub hands down: timetable and thresholds, signed by the hub this device knows.
//!
//! ```text
//! publish ─▶ store (as it came) ─▶ here: checked ─▶ kept ─▶ counts ─▶ reported
//!                                        └─ refused: nothing changes ─▶ reported, with why
//! ```
//!
//! What is kept counts over restarts; where nothing was handed down, the file on this machine does.

use std::sync::Arc;

use lectern_base::clock;
use lectern_wire::desired::{Desired, MAX_DESIRED, ReportState, Reported};
use lectern_wire::sign::{KeyRing, Signed};
use lectern_wire::timetable::Timetable;
use lectern_wire::topic::Topics;
use tokio_util::sync::CancellationToken;

use crate::model::alarm::Limits;
use crate::model::rules::Rules;
use crate::store::{Store, StoreError};

/// What going by it needs.
#[derive(Clone)]
pub struct Settings {
    /// Who this device is.
    pub topics: Topics,
    /// The timetable of this machine's own file.
    pub own: Option<Arc<Timetable>>,
    /// The thresholds of this machine's own settings.
    pub limits: Limits,
}

/// Lets count what is kept; to be called before anything goes by it.
///
/// # Errors
/// [`StoreError`].
pub fn begin(store: &Store, settings: &Settings) -> Result<(), StoreError> {
    let kept = match store.desired() {
        // A device that was given another name, or a hub that was forgotten: no longer ours.
        Ok(kept) => kept.filter(|d| {
            d.document.device == settings.topics.device && d.document.school == settings.topics.school
        }),
        Err(StoreError::Impossible(why)) => {
            tracing::error!("{why}; this machine goes by its own file");
            None
        }
        Err(e) => return Err(e),
    };
    let document = kept.as_ref().map(|signed| &*signed.document);
    let rules = Rules::of(settings.own.as_ref(), &settings.limits, document);
    if rules.revision > 0 {
        // The hub may have lost what it was told.
        store.report(answer(rules.revision, rules.revision, Ok(())));
    }
    store.set_rules(rules);
    Ok(())
}

/// Runs until told to stop.
pub async fn run(store: Store, settings: Settings, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = store.bells().desired.notified() => {}
        }
        let Some(bytes) = store.take_handed() else { continue };
        if bytes.is_empty() {
            // A retained message that was cleared: what was handed down goes on counting.
            continue;
        }
        match take(&store, &settings, &bytes) {
            Ok(Some(said)) => store.report(said),
            Ok(None) => store.hand_back(bytes),
            Err(e) => tracing::error!("what the hub handed down could not be kept: {e}"),
        }
    }
}

/// The answer; none while it is not known who signed it.
fn take(store: &Store, settings: &Settings, bytes: &[u8]) -> Result<Option<Reported>, StoreError> {
    let ring = store.hub_key()?;
    let running = store.rules().borrow().revision;
    let read = serde_json::from_slice::<Signed<Desired>>(bytes);
    if let Ok(signed) = &read
        && signed.verify(&ring).is_err_and(|e| store.awaits_hub_key(&e))
    {
        return Ok(None);
    }
    let (revision, verdict) = match &read {
        _ if bytes.len() > MAX_DESIRED => (0, Err(format!("it is longer than {MAX_DESIRED} bytes"))),
        Err(e) => (0, Err(format!("it could not be read: {e}"))),
        Ok(signed) => (signed.document.revision, judge(signed, &settings.topics, &ring, running)),
    };
    Ok(Some(match (verdict, read) {
        (Ok(true), Ok(signed)) => {
            store.keep_desired(&signed)?;
            let rules = Rules::of(settings.own.as_ref(), &settings.limits, Some(&signed.document));
            tracing::info!(revision, timetable = rules.from.name(), "the hub handed down what to go by");
            store.set_rules(rules);
            answer(revision, revision, Ok(()))
        }
        (Ok(_), _) => answer(revision, running, Ok(())),
        (Err(why), _) => {
            tracing::warn!(revision, running, "what the hub handed down was refused: {why}");
            answer(revision, running, Err(why))
        }
    }))
}

/// Whether a document is new and good; false when the room goes by it already.
fn judge(signed: &Signed<Desired>, own: &Topics, hub: &KeyRing, running: u64) -> Result<bool, String> {
    let document =
        signed.verify(hub).map_err(|e| format!("it is not from the hub this device knows: {e}"))?;
    if document.device != own.device || document.school != own.school {
        return Err("it is not for this device".into());
    }
    if let Some(what) = document.fault() {
        return Err(what);
    }
    if document.revision < running {
        return Err(format!("it is older than revision {running}, which counts here"));
    }
    Ok(document.revision > running)
}

fn answer(revision: u64, running: u64, outcome: Result<(), String>) -> Reported {
    let state = if outcome.is_ok() { ReportState::Applied } else { ReportState::Refused };
    let detail: String =
        outcome.err().unwrap_or_default().chars().take(lectern_wire::desired::REPORTED_MAX_CHARS).collect();
    Reported { revision, state, detail, running, ts: clock::wall_ms() }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use lectern_wire::desired::Thresholds;
    use lectern_wire::id::{DeviceId, SchoolId};
    use lectern_wire::sign::PublicKey;

    use super::*;
    use crate::model::rules::Origin;

    fn topics(device: &str) -> Topics {
        Topics { school: SchoolId::new("s").expect("id"), device: DeviceId::new(device).expect("id") }
    }

    fn limits() -> Limits {
        Limits { disk_used_pct: 95, clock_off_s: 120, ..Limits::default() }
    }

    fn settings() -> Settings {
        Settings { topics: topics("d"), own: Some(Arc::default()), limits: limits() }
    }

    fn desired(revision: u64) -> Desired {
        Desired {
            v: 1,
            school: topics("d").school,
            device: topics("d").device,
            revision,
            given_ms: 1,
            timetable: Some(Timetable { bell_offset_s: 7, ..Timetable::default() }),
            alarm: Thresholds { disk_used_pct: Some(80), ..Thresholds::default() },
        }
    }

    #[test]
    fn what_is_good_counts_at_once_and_over_restarts_and_what_is_bad_changes_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path(), 1 << 20).expect("opens");
        let hub = SigningKey::from_bytes(&[1; 32]);
        store.set_fact("hub_key", &String::from(PublicKey::of(&hub))).expect("sets");
        begin(&store, &settings()).expect("begins");
        assert_eq!((store.rules().borrow().from, store.reported()), (Origin::File, None));
        let hand = |document: &Desired, key: &SigningKey| {
            let signed = Signed::sign(document.clone(), key).expect("signs");
            let bytes = serde_json::to_vec(&signed).expect("json");
            let said = take(&store, &settings(), &bytes).expect("no fault").expect("an answer");
            (said.state == ReportState::Applied, said.revision, said.running)
        };
        assert_eq!(hand(&desired(3), &hub), (true, 3, 3));
        let counts = || {
            let rules = store.rules().borrow().clone();
            let bell = rules.timetable.map(|t| t.bell_offset_s);
            (rules.from, bell, rules.limits.disk_used_pct, rules.limits.clock_off_s)
        };
        let handed = (Origin::Hub, Some(7), 80, 120);
        assert_eq!(counts(), handed);
        let forger = SigningKey::from_bytes(&[2; 32]);
        let forged = serde_json::to_vec(&Signed::sign(desired(4), &forger).expect("signs")).expect("json");
        for _ in 0..2 {
            assert_eq!(take(&store, &settings(), &forged).expect("no fault"), None, "the hub is asked first");
        }
        assert!(store.doubts_hub_key());
        store.hub_key_asked();
        assert_eq!(hand(&desired(4), &forger), (false, 4, 3), "another key");
        assert_eq!(hand(&desired(2), &hub), (false, 2, 3), "an older one that comes again");
        assert_eq!(hand(&desired(3), &hub), (true, 3, 3), "said twice");
        assert_eq!(hand(&Desired { device: topics("e").device, ..desired(5) }, &hub), (false, 5, 3));
        let odd = Thresholds { disk_used_pct: Some(1), ..Thresholds::default() };
        assert_eq!(hand(&Desired { alarm: odd, ..desired(5) }, &hub), (false, 5, 3));
        let said = take(&store, &settings(), b"{\"document\":").expect("no fault").expect("an answer");
        assert!(said.state == ReportState::Refused && said.detail.contains("could not be read"), "{said:?}");
        assert_eq!(counts(), handed, "nothing of that changed anything");
        drop(store);
        let store = Store::open(folder.path(), 1 << 20).expect("opens again");
        begin(&store, &settings()).expect("begins");
        assert_eq!((store.rules().borrow().revision, store.rules().borrow().from), (3, Origin::Hub));
        assert_eq!(store.reported().map(|said| said.running), Some(3));
        let elsewhere = Settings { topics: topics("e"), ..settings() };
        begin(&store, &elsewhere).expect("begins");
        assert_eq!(store.rules().borrow().from, Origin::File, "another device's is not ours");
    }

    #[test]
    fn a_hub_that_takes_its_timetable_back_leaves_the_file() {
        let own = Some(Arc::default());
        let without = Desired { timetable: None, ..desired(4) };
        let rules = Rules::of(own.as_ref(), &limits(), Some(&without));
        assert_eq!((rules.from, rules.revision, rules.limits.disk_used_pct), (Origin::File, 4, 80));
        assert_eq!(Rules::of(None, &limits(), None).from, Origin::Nowhere);
    }
}
