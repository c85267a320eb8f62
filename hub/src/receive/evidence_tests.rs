//! The log of receipts, its check and chain heads, against the real router and real files; and everything that
//! somebody with the hub's disk in his hands might do to them.

use std::path::Path;

use lectern_wire::PART_SIZE;
use lectern_wire::chain::{ChainHead, HeadLine, chain_hash};
use lectern_wire::digest::Digest;
use lectern_wire::log::proof::{check_consistency, check_inclusion};
use lectern_wire::log::{self, Checkpoint, Consistency};
use lectern_wire::manifest::Manifest;
use lectern_wire::receipt::Receipt;
use lectern_wire::sign::{KeyRing, PublicKey, Signed};
use rusqlite::Connection;
use serde_json::{Value, json};

use super::log_check::{self, Report};
use crate::store::keys::Keys;
use crate::store::objects::Objects;
use crate::store::{Store, heads};
use crate::testkit::{self, Client, TestHub};

async fn ring(room: &Client) -> KeyRing {
    let (_, hub) = room.json("GET", "/api/v1/hub", None).await;
    [serde_json::from_value::<PublicKey>(hub["key"].clone()).expect("key")].into_iter().collect()
}

#[tokio::test]
async fn every_receipt_proves_its_place_and_every_checkpoint_continues_the_one_before() {
    let hub = TestHub::start().await;
    let room = hub.device("room-1");
    let ring = ring(&room).await;
    let anybody = Client { login: None, ..hub.device("room-1") };
    let newest = || async {
        let (status, found) = anybody.json("GET", "/api/v1/log/checkpoint", None).await;
        assert_eq!(status, 200);
        serde_json::from_value::<Signed<Checkpoint>>(found).expect("a checkpoint")
    };
    let mut before = newest().await;
    assert_eq!((before.document.size, before.document.root), (0, Digest::of(b"")));
    for n in 0..5_u64 {
        let (_, receipt) = room.whole(&format!("l{n}"), &[(3, 1000)]).await;
        let receipt: Signed<Receipt> = serde_json::from_value(receipt).expect("receipt");
        let said = receipt.verify(&ring).expect("signed");
        assert_eq!(log::check_place(said, &ring).expect("proved").document.size, n + 1);

        let now = newest().await;
        log::check_checkpoint(&now, &ring).expect("signed");
        let path = format!("/api/v1/log/consistency?from={}&to={}", before.document.size, now.document.size);
        let (_, proof) = anybody.json("GET", &path, None).await;
        let proof: Consistency = serde_json::from_value(proof).expect("a proof");
        let (old, new) = (&before.document, &now.document);
        let sound = check_consistency((old.size, &old.root), (new.size, &new.root), &proof.proof);
        assert_eq!(sound, Ok(()));
        before = now;
    }
    // Anybody can make the tree from its tiles; entries tell nothing.
    let tile = |path: &str| {
        let request = anybody.http.get(format!("{}/api/v1/log/tile/{path}", hub.url));
        async move { request.send().await.expect("an answer") }
    };
    let leaves = tile("0/000.p/5").await.bytes().await.expect("bytes");
    let entries = tile("entries/000.p/5").await.bytes().await.expect("bytes");
    assert_eq!((leaves.len(), entries.len()), (5 * 32, 5 * 34));
    let leaf = log::leaf_hash(&entries[2..34]);
    assert_eq!(leaf.bytes().as_slice(), &leaves[..32]);
    assert!(check_inclusion(&leaf, 0, 5, &[], &before.document.root).is_err());
    for (path, status) in [("0/000", 404), ("0/000.p/6", 404), ("1/000.p/1", 404), ("x/../y", 404)] {
        assert_eq!(tile(path).await.status().as_u16(), status, "{path}");
    }
    for (query, status, code) in [
        ("from=3&to=6", 409, "log_smaller"),
        ("from=3&to=2", 400, "bad_sizes"),
        ("from=x", 400, "bad_sizes"),
        ("", 400, "bad_sizes"),
    ] {
        let (got, problem) = anybody.json("GET", &format!("/api/v1/log/consistency?{query}"), None).await;
        assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{query}");
    }
    let own = room.json("GET", "/api/v1/lessons/l3/receipt", None).await;
    assert_eq!((own.0, &own.1["document"]["log_index"]), (200, &json!(3)));
    assert_eq!(hub.device("room-2").json("GET", "/api/v1/lessons/l3/receipt", None).await.0, 403);
}

fn check(folder: &Path, witness: Option<&Signed<Checkpoint>>) -> Report {
    let store = Store::open(folder).expect("opens");
    let objects = Objects::open(folder, None).expect("opens");
    let signer = Keys::open(folder).expect("keys").signer(&store, folder, 1).expect("signer");
    log_check::run(&store, &objects, (&signer.ring, &signer.log), witness).expect("checked")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("read").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

#[tokio::test]
async fn whatever_is_changed_removed_or_put_in_is_named_by_the_log_check() {
    let hub = TestHub::start().await;
    let room = hub.device("room-1");
    for lesson in ["l0", "l1", "l2", "l3", "l4"] {
        room.whole(lesson, &[(3, 1000)]).await;
    }
    assert_eq!(room.json("DELETE", "/api/v1/lessons/l4", None).await.0, 204);
    let (_, checkpoint) = room.json("GET", "/api/v1/log/checkpoint", None).await;
    let witness: Signed<Checkpoint> = serde_json::from_value(checkpoint).expect("checkpoint");
    let (folder, _) = hub.stop().await;
    let sound = check(folder.path(), Some(&witness));
    assert!(sound.faults.is_empty() && sound.entries == 5, "{:#?}", sound.faults);

    let renumber = "UPDATE receipt SET log_index = log_index - 1 WHERE log_index > 1;
        UPDATE log_entry SET n = n - 1 WHERE n > 1;";
    let other = Digest::of(b"other");
    let file = |name: &'static str, text: &'static str| {
        move |at: &Path| {
            let path = at.join("objects/3401000001/room-1/l1").join(name);
            let old = std::fs::read_to_string(&path).expect("text");
            let new = old.replacen(text, "forged", 1);
            assert_ne!(old, new);
            std::fs::write(path, new).expect("written");
        }
    };
    let rows = |sql: String| {
        move |at: &Path| {
            let db = Connection::open(at.join("hub.db")).expect("db");
            db.execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}")).expect("tampered");
        }
    };
    type Deed = Box<dyn Fn(&Path)>;
    let deeds: Vec<(&str, &str, Deed)> = vec![
        ("entry_changed", "entry 1", Box::new(rows(format!("UPDATE log_entry SET entry = '{other}' WHERE n = 1")))),
        ("entry_removed", "entry 1", Box::new(rows("DELETE FROM log_entry WHERE n = 1".into()))),
        (
            "receipt_changed",
            "lesson l2",
            Box::new(rows(format!("DELETE FROM receipt WHERE log_index = 1; DELETE FROM log_entry WHERE n = 1; {renumber}"))),
        ),
        (
            "checkpoint",
            "ever signed",
            Box::new(rows(format!("INSERT INTO log_entry (n, entry) VALUES (5, '{other}')"))),
        ),
        (
            "receipt_changed",
            "lesson l1",
            Box::new(rows("UPDATE receipt SET document = replace(document, 'stored_wall_ms\":1', 'stored_wall_ms\":2') WHERE lesson = 'l1'".into())),
        ),
        ("receipt_changed", "lesson l1", Box::new(rows("UPDATE log_entry SET salt = NULL WHERE n = 1".into()))),
        ("receipt_removed", "entry 1", Box::new(rows("DELETE FROM receipt WHERE lesson = 'l1'".into()))),
        ("lesson_removed", "lesson l1", Box::new(rows("DELETE FROM lesson WHERE id = 'l1'".into()))),
        (
            "lesson_removed",
            "l1",
            Box::new(|at: &Path| std::fs::remove_dir_all(at.join("objects/3401000001/room-1/l1")).expect("removed")),
        ),
        (
            "lesson_changed",
            "lesson l1",
            Box::new(rows("UPDATE lesson SET state = 'discarded' WHERE id = 'l1'".into())),
        ),
        (
            "truncated",
            "the end was removed",
            Box::new(rows("DELETE FROM receipt WHERE log_index > 2; DELETE FROM log_entry WHERE n > 2".into())),
        ),
        (
            "witness",
            "witnessed outside",
            // The end is gone with everything that was signed of it, as in a hub from a backup.
            Box::new(rows(
                "DELETE FROM receipt WHERE log_index > 2; DELETE FROM log_entry WHERE n > 2;
                 DELETE FROM log_checkpoint WHERE size > 3;"
                    .into(),
            )),
        ),
        ("file", "manifest.json", Box::new(file("manifest.json", "草船借箭"))),
        ("file", "receipt.json", Box::new(file("receipt.json", "file"))),
        (
            "file",
            "take-1.mp4",
            Box::new(|at: &Path| {
                std::fs::write(at.join("objects/3401000001/room-1/l1/take-1.mp4"), "short").expect("written");
            }),
        ),
        ("tree", "kept hashes", Box::new(rows("DELETE FROM log_node WHERE level = 1".into()))),
    ];
    for (kind, words, deed) in deeds {
        let other = tempfile::tempdir().expect("folder");
        copy(folder.path(), other.path());
        deed(other.path());
        let report = check(other.path(), Some(&witness));
        let named = report.faults.iter().any(|fault| fault.kind == kind && fault.sentence.contains(words));
        assert!(named, "{kind}, {words}: {:#?}", report.faults);
    }
}

#[tokio::test]
async fn receipts_from_before_there_was_a_log_are_brought_into_it_in_their_order() {
    let hub = TestHub::start().await;
    let room = hub.device("room-1");
    for lesson in ["l0", "l1", "l2"] {
        room.whole(lesson, &[(3, 1000)]).await;
    }
    let hub = hub
        .restart(|folder| {
            let db = Connection::open(folder.join("hub.db")).expect("db");
            let empty = "DELETE FROM log_entry; DELETE FROM log_node; DELETE FROM log_checkpoint;";
            db.execute_batch(empty).expect("as before");
        })
        .await;
    let room = hub.device("room-1");
    let (_, receipt) = room.whole("l3", &[(3, 1000)]).await;
    assert_eq!(receipt["document"]["log_index"], 3);
    let receipt: Signed<Receipt> = serde_json::from_value(receipt).expect("receipt");
    log::check_place(&receipt.document, &ring(&room).await).expect("proved");
    let salts: i64 =
        hub.db().query_row("SELECT count(salt) FROM log_entry", [], |row| row.get(0)).expect("counted");
    assert_eq!(salts, 4);
}

/// A head of the first take's first bytes, as the device would sign it.
fn head(manifest: &Manifest, bytes: &[u8], seed: u8, mono_ms: u64) -> Signed<ChainHead> {
    let parts: Vec<Digest> =
        bytes.chunks(usize::try_from(PART_SIZE).expect("small")).map(Digest::of).collect();
    let said = ChainHead {
        v: 1,
        lesson_id: manifest.lesson_id.clone(),
        device: manifest.device.clone(),
        take: 1,
        bytes: bytes.len() as u64,
        chain: chain_hash(&parts, None),
        mono_ms,
        boot_id: "b".into(),
        wall_ms: 1,
        clock_trusted: false,
    };
    Signed::sign(said, &testkit::key(seed)).expect("signs")
}

fn arrive(hub: &TestHub, head: &Signed<ChainHead>, now: i64) -> Result<(), String> {
    let device = testkit::topics("room-1").device;
    heads::add(&hub.db(), &device, head, now).expect("no database fault")
}

#[tokio::test]
async fn heads_that_agree_are_told_in_the_receipt_and_a_changed_lesson_gets_none() {
    let hub = TestHub::start().await;
    let room = hub.device("room-1");
    let shape = [(9, PART_SIZE / 8)];
    let (manifest, bytes) = testkit::manifest("l1", &shape);
    let take = &bytes[0];
    // Before the device is known, while a part is open, at its end, in the next part, of the whole take.
    let part = usize::try_from(PART_SIZE).expect("small");
    for (n, length) in [1000, part, part + 9, take.len()].into_iter().enumerate() {
        let at = 1000 * n as u64;
        let late = if n == 2 { 700 } else { 0 };
        let said = head(&manifest, &take[..length], 7, at);
        assert_eq!(arrive(&hub, &said, 5000 + i64::try_from(at).expect("small") + late), Ok(()));
    }
    assert_eq!(arrive(&hub, &head(&manifest, b"other", 9, 1), 1), Ok(()), "nobody knows the key yet");
    room.announce("l1").await;
    assert!(arrive(&hub, &head(&manifest, b"others", 9, 1), 1).is_err(), "another's signature");
    room.send("l1", &bytes).await;
    let (status, receipt) = room.seal(&manifest).await;
    assert_eq!(status, 200, "{receipt}");
    let witness = &receipt["document"]["heads"];
    assert_eq!((&witness["count"], &witness["bytes"]), (&json!(4), &json!(take.len())), "{witness}");
    assert_eq!((&witness["last_late_ms"], &witness["most_late_ms"]), (&json!(0), &json!(700)), "{witness}");
    let file = std::fs::read_to_string(hub.lesson_folder("l1").join("heads.jsonl")).expect("heads.jsonl");
    assert_eq!(witness["sha256"], json!(Digest::of(file.as_bytes())));
    let lines: Vec<HeadLine> = file.lines().map(|l| serde_json::from_str(l).expect("a head")).collect();
    assert_eq!((lines.len(), lines[3].head.document.bytes), (4, take.len() as u64));

    // The same bytes in other lessons, of which the device had said something else while it recorded.
    for (n, cut) in [1000, part, take.len(), take.len() + 1].into_iter().enumerate() {
        let lesson = format!("bad{n}");
        let (manifest, bytes) = testkit::manifest(&lesson, &shape);
        let mut said = bytes[0].clone();
        said[10] ^= 1;
        said.resize(cut.max(1000), 0);
        assert_eq!(arrive(&hub, &head(&manifest, &said, 7, 1), 9), Ok(()));
        room.announce(&lesson).await;
        room.send(&lesson, &bytes).await;
        for _ in 0..2 {
            let (status, problem) = room.seal(&manifest).await;
            assert_eq!(
                (status, problem["code"].as_str()),
                (422, Some("contradicts_head")),
                "{cut}: {problem}"
            );
        }
        let found: Value = hub
            .db()
            .query_row("SELECT detail FROM finding WHERE lesson = ?", [&lesson], |row| {
                row.get::<_, String>(0)
            })
            .expect("a finding")
            .into();
        assert!(found.as_str().is_some_and(|text| text.contains("not those the device signed")), "{found}");
    }
    let (folder, _) = hub.stop().await;
    let report = check(folder.path(), None);
    let named = report.faults.iter().filter(|fault| fault.kind == "contradicts_head").count();
    assert_eq!((named, report.faults.len()), (4, 4), "{:#?}", report.faults);
}
