//! Throwing a lesson away, for its teacher. In this order:
//!
//! 1. The row says `discarded` and the parts' rows are gone, in one durable change. From here on nothing is
//!    taken in for the lesson, and whatever happens its bytes go: at the latest at the next start.
//! 2. Whoever still works in the lesson's folder comes to an end. Reading back finds no part rows and stops; a
//!    seal is waited for by its lock; a part that is opened just now by the lock of the folder. A part
//!    that is already being written goes on into a file without a name, and its row is refused.
//! 3. The folder is removed and the folder above it synced; what is at an S3 store is removed there. Only then the
//!    answer is 204. Where that store does not answer, [`super::janitor`] tries until it has.
//!
//! The lesson's row, the hash of its manifest and its entry in the log of receipts stay.

use lectern_base::clock;

use super::Receive;
use super::problem::Problem;
use crate::store::lessons::{self, Lesson};
use crate::store::objects::{Kind, Place};
use crate::store::{Store, StoreError};

/// The answer to everything but asking and discarding again.
pub fn discarded() -> Problem {
    Problem::new(
        axum::http::StatusCode::GONE,
        "discarded",
        "the teacher threw this lesson away; nothing more is taken in for it, and it need not be sent",
    )
}

/// Whether a lesson was thrown away.
///
/// # Errors
/// What the database says.
pub fn is_discarded(store: &Store, id: &lectern_wire::id::LessonId) -> Result<bool, StoreError> {
    let found = store.read_now(|db| lessons::find(db, id.as_str()))?;
    Ok(found.is_some_and(|lesson| lesson.discarded_ms.is_some()))
}

impl Receive {
    /// Throws a lesson away. Safe to repeat.
    ///
    /// # Errors
    /// When the database or the file system refuses; what is left goes at the next try or start.
    pub(super) async fn discard(&self, lesson: Lesson) -> Result<(), Problem> {
        let deps = self.deps();
        let (id, now) = (lesson.id.clone(), clock::wall_ms());
        deps.store.write(move |db| lessons::discard(db, &id, now)).await?;
        deps.bell.ring();

        let _no_seal = self.inner.seal_locks.lock(lesson.id.clone()).await;
        let _nobody_opens = self.inner.folder_locks.lock(lesson.id.clone()).await;
        let place = Place::of(&lesson);
        if place.kind == Kind::S3 {
            self.remove_at_s3(&place).await?;
        }
        let objects = deps.objects.clone();
        let removed = tokio::task::spawn_blocking(move || objects.remove(&place)).await;
        removed.map_err(|_| StoreError::Closing)?.map_err(StoreError::io("removing a discarded lesson"))?;
        self.inner.readback.forget(&lesson.id);
        tracing::info!(lesson = %lesson.id, "lesson discarded by its teacher");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lectern_wire::PART_SIZE;
    use lectern_wire::receipt::Receipt;
    use lectern_wire::sign::Signed;
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use crate::testkit::{self, Answer, Client, TestHub};

    const GONE: (u16, Option<&str>) = (410, Some("discarded"));

    async fn throw_away(room: &Client, lesson: &str) -> Answer {
        room.json("DELETE", &format!("/api/v1/lessons/{lesson}"), None).await
    }

    fn said(answer: &Answer) -> (u16, Option<&str>) {
        (answer.0, answer.1["code"].as_str())
    }

    #[tokio::test]
    async fn a_stored_lesson_loses_its_bytes_and_keeps_its_row_its_hash_and_its_place_in_the_log() {
        let hub = TestHub::start().await;
        let room = hub.device("room-1");
        let (manifest, first) = room.whole("l1", &[(9, PART_SIZE / 8), (3, 1000)]).await;
        let (_, bytes) = testkit::manifest("l1", &[(9, PART_SIZE / 8), (3, 1000)]);
        let (_, second) = room.whole("l2", &[(3, 1000)]).await;
        let grant = room.grant("l1", 1, 0, &bytes[0][..9]).await;
        assert_eq!(grant.0, 409, "stored with other bytes");

        assert_eq!(said(&throw_away(&hub.device("room-2"), "l1").await), (403, Some("not_your_lesson")));
        assert_eq!(said(&throw_away(&room, "nothing").await), (404, Some("lesson_unknown")));
        for _ in 0..3 {
            assert_eq!(throw_away(&room, "l1").await.0, 204, "as often as it is asked");
        }
        assert!(!hub.lesson_folder("l1").exists() && hub.lesson_folder("l2").exists());
        let (_, status) = room.json("GET", "/api/v1/lessons/l1", None).await;
        assert_eq!(status, json!({"lesson_id": "l1", "state": "discarded", "parts": {}}));

        assert_eq!(said(&room.announce("l1").await), GONE);
        assert_eq!(said(&room.grant("l1", 1, 0, &bytes[0][..9]).await), GONE);
        assert_eq!(said(&room.seal(&manifest).await), GONE);
        assert!(!hub.lesson_folder("l1").exists(), "none of them brought the folder back");

        // The log goes on from the last receipt; what the discarded lesson's said is forgotten, its hash stays.
        let (_, third) = room.whole("l3", &[(3, 1000)]).await;
        let digest = |receipt: &serde_json::Value| {
            let signed: Signed<Receipt> = serde_json::from_value(receipt.clone()).expect("receipt");
            json!(signed.document.digest().expect("digest"))
        };
        assert_eq!(second["document"]["log_prev"], digest(&first));
        assert_eq!(third["document"]["log_prev"], digest(&second));
        let kept: (String, String) = hub
            .db()
            .query_row(
                "SELECT receipt.document, manifest_sha256 FROM receipt JOIN lesson ON lesson.id = lesson
                 WHERE lesson = 'l1' AND manifest IS NULL AND discarded_ms > 0",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .expect("the rows are there");
        assert_eq!(kept.0, "");
        let salts: i64 =
            hub.db().query_row("SELECT count(salt) FROM log_entry", [], |row| row.get(0)).expect("counted");
        assert_eq!(salts, 2, "of the two that are left");
        assert_eq!(kept.1, testkit::digest(&manifest).to_string());

        let hub = hub.restart(|_| {}).await;
        assert_eq!(said(&hub.device("room-1").seal(&manifest).await), GONE, "also tomorrow");
    }

    #[tokio::test]
    async fn a_part_that_is_on_its_way_when_its_lesson_is_thrown_away_is_refused_and_leaves_nothing() {
        let hub = TestHub::start().await;
        let room = hub.device("room-1");
        room.announce("l1").await;
        let bytes = testkit::bytes(600_000, 1);
        let url = room.grant("l1", 1, 0, &bytes).await.1["url"].as_str().expect("url").to_owned();
        let late = room.grant("l1", 2, 0, &bytes).await.1["url"].as_str().expect("url").to_owned();
        let mut line =
            tokio::net::TcpStream::connect(hub.url.trim_start_matches("http://")).await.expect("connects");
        let head = format!(
            "PUT {url} HTTP/1.1\r\nhost: hub\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            bytes.len()
        );
        line.write_all(head.as_bytes()).await.expect("sent");
        line.write_all(&bytes[..500_000]).await.expect("sent");
        let file = hub.lesson_folder("l1").join("take-1.mp4.partial");
        for _ in 0..3000 {
            if std::fs::metadata(&file).is_ok_and(|m| m.len() > 0) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(std::fs::metadata(&file).is_ok_and(|m| m.len() > 0), "the part is being written");

        assert_eq!(throw_away(&room, "l1").await.0, 204, "it does not wait for the slow sender");
        assert!(!hub.lesson_folder("l1").exists());
        line.write_all(&bytes[500_000..]).await.expect("sent");
        let mut answer = String::new();
        line.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 410") && answer.contains("\"discarded\""), "{answer}");
        assert_eq!(said(&room.put(&late, &bytes).await), GONE, "a grant from before opens nothing");
        assert!(!hub.lesson_folder("l1").exists(), "nothing came back");
        let rows: i64 = hub.db().query_row("SELECT count(*) FROM part", [], |r| r.get(0)).expect("count");
        assert_eq!(rows, 0);
    }

    /// Everything that touches a lesson's folder, at the same moment as its end, many times.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn whatever_goes_on_when_a_lesson_is_thrown_away_brings_nothing_back() {
        let hub = TestHub::start().await;
        let shape = [(9, PART_SIZE / 8), (5, 100_000)];
        for round in 0..12_u64 {
            let lesson = format!("l{round}");
            let room = hub.device("room-1");
            let (manifest, bytes) = testkit::manifest(&lesson, &shape);
            room.announce(&lesson).await;
            room.send(&lesson, &bytes).await;
            let extra = testkit::bytes(400_000, round);
            let url = room.grant(&lesson, 3, 0, &extra).await.1["url"].as_str().expect("url").to_owned();

            let (a, b, c, d) = tokio::join!(
                async {
                    tokio::time::sleep(Duration::from_millis(round * 8)).await;
                    throw_away(&room, &lesson).await
                },
                room.seal(&manifest),
                room.put(&url, &extra),
                async {
                    for _ in 0..20 {
                        let (status, answer) = room.announce(&lesson).await;
                        assert!(status == 200 || (status, answer["code"].as_str()) == GONE, "{answer}");
                    }
                },
            );
            let () = d;
            assert_eq!(a.0, 204, "{}", a.1);
            assert!(b.0 == 200 || said(&b) == GONE, "{} {}", b.0, b.1);
            // Its part may also have come too late for the seal.
            assert!(c.0 == 200 || c.0 == 409 || said(&c) == GONE, "{} {}", c.0, c.1);
            assert!(!hub.lesson_folder(&lesson).exists(), "round {round}: the folder is back");
            let (_, status) = room.json("GET", &format!("/api/v1/lessons/{lesson}"), None).await;
            assert_eq!((status["state"].as_str(), &status["parts"]), (Some("discarded"), &json!({})));
        }
        let (_, receipt) = hub.device("room-1").whole("after", &[(3, 1000)]).await;
        let receipts: i64 =
            hub.db().query_row("SELECT count(*) FROM receipt", [], |r| r.get(0)).expect("count");
        assert_eq!(receipt["document"]["log_index"], receipts - 1, "the log has no hole");
    }

    #[tokio::test]
    async fn a_crash_between_the_row_and_the_bytes_is_put_right_at_start() {
        let hub = TestHub::start().await;
        let room = hub.device("room-1");
        room.whole("l1", &[(3, 1000)]).await;
        room.announce("l2").await;
        room.send("l2", &testkit::manifest("l2", &[(3, 1000)]).1).await;
        room.whole("l3", &[(3, 1000)]).await;
        let (one, two) = (hub.lesson_folder("l1"), hub.lesson_folder("l2"));
        let hub = hub
            .restart(|folder| {
                let db = rusqlite::Connection::open(folder.join("hub.db")).expect("db");
                for lesson in ["l1", "l2"] {
                    let id = lectern_wire::id::LessonId::new(lesson).expect("id");
                    crate::store::lessons::discard(&db, &id, 5).expect("said");
                }
                assert!(one.exists() && two.exists());
            })
            .await;
        assert!(!hub.lesson_folder("l1").exists() && !hub.lesson_folder("l2").exists());
        assert!(hub.lesson_folder("l3").join("take-1.mp4").exists());
        assert_eq!(throw_away(&hub.device("room-1"), "l1").await.0, 204);
    }
}
