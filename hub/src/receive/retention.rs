//! Removes the bytes of lessons whose time is over, see [`crate::model::retention`]. In this order: the reason
//! is written to the record of changes together with the lesson's state, in one durable change; then the bytes
//! go as in [`super::discard`]. A crash in between is made up for at the next start.

use std::time::Duration;

use lectern_base::clock;
use tokio_util::sync::CancellationToken;

use super::Receive;
use crate::model::retention::Retention;
use crate::store::{StoreError, audit, lessons};

/// The kind in the record of changes.
pub const KIND: &str = "retention";
/// How often lessons are looked through.
const EVERY: Duration = Duration::from_secs(3600);

impl Receive {
    /// Looks every hour, until told to stop; does nothing where no rule is set.
    pub async fn keep_to(&self, rules: Retention, stop: CancellationToken) {
        while rules.is_on() {
            if let Err(e) = self.remove_due(&rules, clock::wall_ms()).await {
                tracing::error!("lessons whose time is over could not be removed: {e}");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
        stop.cancelled().await;
    }

    /// Removes what is due now; how many lessons.
    ///
    /// # Errors
    /// What the database or the file system says.
    pub(super) async fn remove_due(&self, rules: &Retention, now_ms: i64) -> Result<usize, StoreError> {
        let store = self.deps().store.clone();
        let rules = *rules;
        let day = move |ms: i64| clock::local(ms).date();
        let all = store.read(lessons::kept).await?;
        let mut removed = 0;
        for (lesson, stored_ms) in all {
            let Some(why) = rules.due(day(stored_ms), !lesson.submitted.is_empty(), day(now_ms)) else {
                continue;
            };
            let (id, reason) = (lesson.id.clone(), why.clone());
            let decided = store.write(move |db| {
                // It may have been put forward in this very moment.
                let now = lessons::find(db, id.as_str())?;
                let still = now.is_some_and(|l| {
                    rules.due(day(stored_ms), !l.submitted.is_empty(), day(now_ms)).is_some()
                });
                if still {
                    audit::note(db, KIND, KIND, id.as_str(), &reason, now_ms)?;
                    lessons::discard(db, &id, now_ms)?;
                }
                Ok(still)
            });
            if !decided.await? {
                continue;
            }
            tracing::info!(lesson = %lesson.id, why, "its time is over: its bytes are removed");
            let id = lesson.id.clone();
            if self.discard(lesson).await.is_err() {
                tracing::error!(lesson = %id, "its bytes could not be removed; they go at the next start");
            }
            removed += 1;
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::receipts;
    use crate::testkit::TestHub;

    #[tokio::test]
    async fn what_is_due_loses_its_bytes_and_keeps_its_row_and_hashes_and_the_reason_is_recorded() {
        let hub = TestHub::start().await;
        let room = hub.device("room-1");
        room.whole("l1", &[(3, 1000)]).await;
        room.whole("l2", &[(3, 1000)]).await;
        hub.db().execute(r#"UPDATE lesson SET submitted = '[]' WHERE id = 'l2'"#, []).expect("updates");
        let rules = Retention { draft_days: Some(30), submitted_days: None, year_ends: (8, 31) };
        let now = clock::wall_ms();
        let day = 86_400_000;
        assert_eq!(hub.receive().remove_due(&rules, now + 29 * day).await.expect("removes"), 0);
        assert!(hub.lesson_folder("l1").exists());
        assert_eq!(hub.receive().remove_due(&rules, now + 32 * day).await.expect("removes"), 2);
        assert_eq!(
            hub.receive().remove_due(&rules, now + 33 * day).await.expect("removes"),
            0,
            "once is enough"
        );
        assert!(!hub.lesson_folder("l1").exists() && !hub.lesson_folder("l2").exists());
        let db = hub.db();
        let l1 = lessons::find(&db, "l1").expect("reads").expect("is there");
        assert!(l1.manifest_sha256.is_some() && l1.discarded_ms == Some(now + 32 * day));
        assert!(receipts::find(&db, &l1.id).expect("reads").is_none(), "what it says is forgotten");
        let hash: i64 = db
            .query_row("SELECT count(*) FROM receipt WHERE lesson = 'l1' AND length(digest) = 64", [], |r| {
                r.get(0)
            })
            .expect("reads");
        assert_eq!(hash, 1, "its hash and its place in the log are not");
        let noted = audit::of(&db, KIND, "l1").expect("reads");
        assert!(noted.len() == 1 && noted[0].detail.starts_with("draft, stored"), "{noted:?}");
    }
}
