//! Cleans up at the S3 store: what thrown-away lessons left there, uploads of lessons that nobody came back for, and
//! uploads that no row knows of, which a hub leaves that dies between beginning one and noting it.
//!
//! At start and every hour. A store that does not answer is asked again soon; nothing is forgotten before the store
//! has confirmed that it is gone.

use std::time::Duration;

use lectern_base::clock;
use lectern_wire::id::LessonId;
use lectern_wire::upload::StoreState;
use tokio_util::sync::CancellationToken;

use super::Receive;
use super::problem::Problem;
use crate::store::objects::Place;
use crate::store::{StoreError, at_s3, lessons};

/// Between two rounds that went well.
const EVERY: Duration = Duration::from_secs(3600);
/// After one that did not.
const AGAIN: Duration = Duration::from_secs(30);
const DAY_MS: i64 = 24 * 3600 * 1000;

impl Receive {
    /// Cleans up until told to stop.
    pub async fn janitor(self, abandoned_days: u32, stop: CancellationToken) {
        if self.deps().objects.bucket().is_err() {
            return;
        }
        loop {
            let pause = tokio::select! {
                () = stop.cancelled() => return,
                round = self.clean(abandoned_days) => match round {
                    Ok(()) => EVERY,
                    Err(problem) => {
                        tracing::warn!("cleaning up at the S3 store waits: {}", problem.message);
                        AGAIN
                    }
                },
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn clean(&self, abandoned_days: u32) -> Result<(), Problem> {
        let deps = self.deps();
        let bucket = deps.objects.bucket().map_err(StoreError::io("finding the S3 store"))?;
        let before = clock::wall_ms() - i64::from(abandoned_days) * DAY_MS;
        for object in deps.store.read(move |db| at_s3::left_behind(db, before)).await? {
            let _no_seal = self.inner.seal_locks.lock(object.lesson.clone()).await;
            let _nobody_opens = self.inner.folder_locks.lock(object.lesson.clone()).await;
            // It may have come back to life while the locks were waited for.
            let left = deps.store.read(move |db| at_s3::left_behind(db, before)).await?;
            if left.contains(&object) {
                tracing::info!(lesson = %object.lesson, take = object.take, "cleaned up at the S3 store");
                self.remove_object(bucket, object).await?;
            }
        }
        let prefix = &bucket.settings().prefix;
        let uploads = bucket.uploads(prefix).await.map_err(StoreError::s3("listing uploads"))?;
        for (key, upload) in uploads {
            let Some((lesson, take)) = ours(&key, prefix) else { continue };
            let _nobody_begins = self.inner.folder_locks.lock(lesson.clone()).await;
            let (at, name) = (key.clone(), upload.clone());
            let look = deps
                .store
                .read(move |db| Ok((lessons::find(db, lesson.as_str())?, at_s3::knows(db, &at, &name)?)));
            let (row, known) = look.await?;
            // Another hub may write into the same bucket: only lessons of this one are touched.
            let Some(row) = row.filter(|_| !known) else { continue };
            let is_its_key = deps.objects.object_key(&Place::of(&row), take).is_ok_and(|own| own == key);
            if is_its_key && row.state != StoreState::Verifying {
                tracing::info!(lesson = %row.id, take, "an upload that no row knows of is given up");
                bucket.abort(&key, &upload).await.map_err(StoreError::s3("giving up an upload"))?;
            }
        }
        Ok(())
    }
}

/// The lesson and the take of a key of ours.
fn ours(key: &str, prefix: &str) -> Option<(LessonId, u32)> {
    let mut levels = key.strip_prefix(prefix)?.split('/').skip(2);
    let lesson = LessonId::new(levels.next()?).ok()?;
    let take = levels.next()?.strip_prefix("take-")?.strip_suffix(".mp4")?.parse().ok()?;
    levels.next().is_none().then_some((lesson, take))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_of_our_form_are_ours() {
        let found = ours("hub/3401/room/l1/take-2.mp4", "hub/");
        assert_eq!(found, Some((LessonId::new("l1").expect("id"), 2)));
        for other in
            ["3401/room/l1/take-2.mp4", "hub/3401/room/l1/take-2.mp4/x", "hub/a/b/c/d.mp4", "hub/x", "hub/"]
        {
            assert_eq!(ours(other, "hub/"), None, "{other}");
        }
    }
}
