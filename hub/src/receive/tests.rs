//! The upload API against the real router, on a real port, with real files.

use std::os::unix::fs::FileExt as _;

use lectern_base::clock;
use lectern_wire::PART_SIZE;
use lectern_wire::digest::Digest;
use lectern_wire::id::LessonId;
use lectern_wire::receipt::Receipt;
use lectern_wire::sign::{KeyRing, PublicKey, Signed};
use serde_json::json;

use crate::model::grant::Granted;
use crate::store::keys::Keys;
use crate::testkit::{self, TestHub};

/// Two takes, the first of two parts.
fn shape() -> [(u64, u64); 2] {
    [(9, PART_SIZE / 8), (3, 1000)]
}

#[tokio::test]
async fn a_lesson_goes_from_grant_to_signed_receipt() {
    let hub = TestHub::start().await;
    let room = hub.device("room-1");
    let (manifest, bytes) = testkit::manifest("l1", &shape());
    let (status, said) = room.announce("l1").await;
    assert_eq!((status, said["state"].as_str()), (200, Some("receiving")));
    assert_eq!(room.announce("l1").await.0, 200, "announcing is idempotent");

    let (status, problem) = room.seal(&manifest).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("parts_missing")));
    assert!(problem["message"].as_str().is_some_and(|m| m.contains("1/0 1/1 2/0")), "{problem}");

    room.send("l1", &bytes).await;
    let (_, said) = room.json("GET", "/api/v1/lessons/l1", None).await;
    assert_eq!(said["parts"], json!({"1": [0, 1], "2": [0]}));
    let (status, receipt) = room.seal(&manifest).await;
    assert_eq!(status, 200, "{receipt}");

    let (_, about) = room.json("GET", "/api/v1/hub", None).await;
    let mut ring = KeyRing::default();
    ring.add(serde_json::from_value::<PublicKey>(about["key"].clone()).expect("key"));
    let receipt: Signed<Receipt> = serde_json::from_value(receipt).expect("receipt");
    let document = receipt.verify(&ring).expect("the hub's own signature");
    assert_eq!(document.manifest_sha256, testkit::digest(&manifest));
    assert_eq!((document.log_index, document.log_prev), (0, None));
    assert_eq!(document.store.objects[0].sha256, Digest::of(&bytes[0]));

    let folder = hub.lesson_folder("l1");
    assert_eq!(std::fs::read(folder.join("take-1.mp4")).expect("take"), bytes[0]);
    assert_eq!(std::fs::read(folder.join("take-2.mp4")).expect("take"), bytes[1]);
    assert!(folder.join("manifest.json").exists() && folder.join("receipt.json").exists());
    assert!(!folder.join("take-1.mp4.partial").exists());
}

#[tokio::test]
async fn sealing_again_answers_the_same_receipt_and_another_manifest_is_refused() {
    let hub = TestHub::start().await;
    let room = hub.device("room-1");
    let (manifest, receipt) = room.whole("l1", &[(3, 1000)]).await;
    assert_eq!(room.seal(&manifest).await, (200, receipt.clone()));
    let mut other = manifest.clone();
    other.sealed_wall_ms += 1;
    let (status, problem) = room.seal(&other).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("lesson_stored")));

    let (_, second) = room.whole("l2", &[(3, 1000)]).await;
    let first: Signed<Receipt> = serde_json::from_value(receipt.clone()).expect("receipt");
    assert_eq!(second["document"]["log_index"], 1);
    assert_eq!(second["document"]["log_prev"], json!(first.document.digest().expect("digest")));

    let hub = hub.restart(|_| {}).await;
    assert_eq!(hub.device("room-1").seal(&manifest).await, (200, receipt));
}

#[tokio::test]
async fn only_the_granted_bytes_are_stored() {
    let hub = TestHub::start().await;
    let room = hub.device("room-1");
    room.announce("l1").await;
    let good = testkit::bytes(5000, 1);
    let url = room.grant("l1", 1, 0, &good).await.1["url"].as_str().expect("url").to_owned();

    let mut wrong = good.clone();
    wrong[4999] ^= 1;
    let (status, problem) = room.put(&url, &wrong).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("hash_mismatch")));
    for length in [0, 4999] {
        let (status, problem) = room.put(&url, &good[..length]).await;
        assert_eq!((status, problem["code"].as_str()), (422, Some("length_mismatch")));
    }
    let (status, problem) = room.put(&url, &[good.as_slice(), b"x"].concat()).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("length_mismatch")));
    let (_, said) = room.json("GET", "/api/v1/lessons/l1", None).await;
    assert_eq!(said["parts"], json!({}), "nothing of it counts");

    assert_eq!(room.put(&url.replace("/1/0?", "/1/1?"), &good).await.1["code"], "grant_forged");
    assert_eq!(
        room.put(&url.replace("size=5000", "size=4999"), &good[..4999]).await.1["code"],
        "grant_forged"
    );
    assert_eq!(room.put("/store/v1/parts/l1/1/0", &good).await.0, 400);
    assert_eq!(room.put(&url, &good).await.0, 200);
    assert_eq!(room.put(&url, &good).await.0, 200, "sending it again is the same");
    assert_eq!(room.grant("l1", 1, 0, &good).await.1["url"], json!(null), "and needs no grant");
    let (status, problem) = room.grant("l1", 1, 0, &wrong).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("part_differs")));
}

#[tokio::test]
async fn an_expired_grant_is_refused_by_name() {
    let hub = TestHub::start().await;
    let room = hub.device("room-1");
    room.announce("l1").await;
    let key = Keys::open(hub.folder.path()).expect("keys").grant;
    let granted = Granted {
        lesson: LessonId::new("l1").expect("id"),
        take: 1,
        n: 0,
        size: 3,
        sha256: Digest::of(b"abc"),
        expires_ms: clock::wall_ms() - 1,
    };
    let (status, problem) = room.put(&granted.url(&key), b"abc").await;
    assert_eq!((status, problem["code"].as_str()), (403, Some("grant_expired")));
}

#[tokio::test]
async fn a_device_touches_only_its_own_lessons() {
    let hub = TestHub::start().await;
    let (room, other) = (hub.device("room-1"), hub.device("room-2"));
    let (manifest, _) = room.whole("l1", &[(3, 1000)]).await;
    assert_eq!(other.json("GET", "/api/v1/lessons/l1", None).await.0, 403);
    assert_eq!(other.announce("l1").await.0, 403);
    assert_eq!(other.grant("l1", 1, 0, b"x").await.0, 403);
    assert_eq!(other.seal(&manifest).await.0, 403);
    assert_eq!(room.json("GET", "/api/v1/lessons/nothing", None).await.0, 404);

    for login in [None, Some(("room-1".into(), "wrong".into())), Some(("nobody".into(), "pw-room-1".into()))]
    {
        let stranger = testkit::Client { login, ..hub.device("room-1") };
        for (method, path) in [
            ("GET", "/api/v1/lessons/l1"),
            ("DELETE", "/api/v1/lessons/l1"),
            ("POST", "/api/v1/lessons"),
            ("POST", "/api/v1/lessons/l1/seal"),
        ] {
            let (status, problem) = stranger.json(method, path, None).await;
            assert_eq!((status, problem["code"].as_str()), (401, Some("unauthorized")), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_device_keeps_the_key_it_came_with() {
    let hub = TestHub::start().await;
    let room = hub.device("room-1");
    room.announce("l1").await;
    let body = json!({"lesson_id": "l2", "started_wall_ms": 1, "key": PublicKey::of(&testkit::key(9))});
    let (status, problem) = room.json("POST", "/api/v1/lessons", Some(body)).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("key_differs")));

    let (manifest, bytes) = testkit::manifest("l1", &[(3, 1000)]);
    room.send("l1", &bytes).await;
    let signed = Signed::sign(manifest, &testkit::key(9)).expect("signs");
    let body = Some(serde_json::to_value(signed).expect("json"));
    let (status, problem) = room.json("POST", "/api/v1/lessons/l1/seal", body).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("bad_signature")));
}

#[tokio::test]
async fn a_copied_machine_is_refused_and_remembered_for_the_alarm() {
    let hub = TestHub::start().await;
    let room = hub.device("room-1");
    let comes = async |lesson: &str, machine: &str| {
        let body = json!({
            "lesson_id": lesson, "started_wall_ms": 1, "key": PublicKey::of(&testkit::key(7)),
            "machine": [Digest::of(machine.as_bytes())],
        });
        room.json("POST", "/api/v1/lessons", Some(body)).await
    };
    let copied = || -> bool {
        let sql = "SELECT other_ms IS NOT NULL FROM device WHERE id = 'room-1'";
        hub.db().query_row(sql, [], |row| row.get(0)).expect("reads")
    };
    assert_eq!(comes("l1", "mainboard 1").await.0, 200);
    assert!(!copied());
    let (status, problem) = comes("l2", "mainboard 2").await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("other_machine")));
    assert!(copied());
    assert_eq!(comes("l3", "mainboard 1").await.0, 200, "the first one goes on");
}

#[tokio::test]
async fn garbage_gets_a_sentence_and_everything_goes_on() {
    let hub = TestHub::start().await;
    let room = hub.device("room-1");
    room.announce("l1").await;
    for (method, path, body) in [
        ("POST", "/api/v1/lessons", json!({"lesson_id": "../../etc"})),
        ("POST", "/api/v1/lessons", json!([])),
        ("POST", "/api/v1/lessons", json!({"lesson_id": "l2", "started_wall_ms": 1, "key": "AA"})),
        ("POST", "/api/v1/lessons/..%2F..%2Fx/takes/1/parts:grant", json!({})),
        (
            "POST",
            "/api/v1/lessons/l1/takes/0/parts:grant",
            json!({"n": 0, "size": 1, "sha256": Digest::of(b"")}),
        ),
        (
            "POST",
            "/api/v1/lessons/l1/takes/99999999999/parts:grant",
            json!({"n": 0, "size": 1, "sha256": Digest::of(b"")}),
        ),
        (
            "POST",
            "/api/v1/lessons/l1/takes/1/parts:grant",
            json!({"n": 0, "size": PART_SIZE + 1, "sha256": Digest::of(b"")}),
        ),
        (
            "POST",
            "/api/v1/lessons/l1/takes/1/parts:grant",
            json!({"n": 4_294_967_295_u32, "size": 1, "sha256": Digest::of(b"")}),
        ),
        ("POST", "/api/v1/lessons/l1/seal", json!({"document": 5})),
        ("GET", "/api/v1/nothing", json!(null)),
        ("DELETE", "/api/v1/lessons/nothing", json!(null)),
        ("DELETE", "/api/v1/lessons/..%2F..%2Fx", json!(null)),
        ("DELETE", "/api/v1/lessons", json!(null)),
        ("POST", "/api/v1/lessons", json!({"lesson_id": "l3", "pad": "x".repeat(5 << 20)})),
    ] {
        let (status, problem) = room.json(method, path, Some(body)).await;
        assert!((400..500).contains(&status), "{method} {path}: {status}");
        assert!(problem["message"].as_str().is_some_and(|m| m.len() > 10), "{method} {path}: {problem}");
    }
    room.whole("l4", &[(3, 1000)]).await;
}

#[tokio::test]
async fn a_part_damaged_before_sealing_is_asked_for_again() {
    let hub = TestHub::start().await;
    let room = hub.device("room-1");
    let (manifest, bytes) = testkit::manifest("l1", &shape());
    room.announce("l1").await;
    room.send("l1", &bytes).await;
    // The background reader may have been here already, so damage is done while the hub is away.
    let hub = hub
        .restart(|folder| {
            let path = folder.join("objects/3401000001/room-1/l1/take-1.mp4.partial");
            let file = std::fs::File::options().write(true).open(path).expect("partial");
            file.write_all_at(&[bytes[0][9] ^ 1], 9).expect("written");
        })
        .await;
    let room = hub.device("room-1");
    let (status, problem) = room.seal(&manifest).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("parts_missing")), "{problem}");
    let part = &bytes[0][..usize::try_from(PART_SIZE).expect("small")];
    let (_, grant) = room.grant("l1", 1, 0, part).await;
    assert_eq!(room.put(grant["url"].as_str().expect("url"), part).await.0, 200);
    assert_eq!(room.seal(&manifest).await.0, 200);
}

#[tokio::test]
async fn what_a_crash_left_behind_is_put_right_at_start() {
    let hub = TestHub::start().await;
    let room = hub.device("room-1");
    let (manifest, bytes) = testkit::manifest("l1", &shape());
    room.announce("l1").await;
    room.send("l1", &bytes).await;
    room.whole("l2", &[(3, 1000)]).await;
    let hub = hub
        .restart(|folder| {
            // As if the hub had died between the final names and the receipt …
            let lessons = folder.join("objects/3401000001/room-1");
            std::fs::rename(lessons.join("l1/take-1.mp4.partial"), lessons.join("l1/take-1.mp4"))
                .expect("renamed");
            let db = rusqlite::Connection::open(folder.join("hub.db")).expect("db");
            db.execute("UPDATE lesson SET state = 'verifying' WHERE id = 'l1'", []).expect("set");
            // … a file had lost its end, and a receipt had not been written beside its lesson.
            std::fs::File::options()
                .write(true)
                .open(lessons.join("l1/take-2.mp4.partial"))
                .and_then(|f| f.set_len(10))
                .expect("cut");
            std::fs::remove_file(lessons.join("l2/receipt.json")).expect("removed");
        })
        .await;
    let room = hub.device("room-1");
    let (_, said) = room.json("GET", "/api/v1/lessons/l1", None).await;
    assert_eq!((said["state"].as_str(), &said["parts"]), (Some("receiving"), &json!({"1": [0, 1]})));
    assert!(hub.lesson_folder("l2").join("receipt.json").exists());
    let (_, grant) = room.grant("l1", 2, 0, &bytes[1]).await;
    assert_eq!(room.put(grant["url"].as_str().expect("url"), &bytes[1]).await.0, 200);
    assert_eq!(room.seal(&manifest).await.0, 200);
    assert_eq!(std::fs::read(hub.lesson_folder("l1").join("take-1.mp4")).expect("take"), bytes[0]);
}

#[tokio::test]
async fn a_manifest_that_the_bytes_do_not_bear_out_gets_no_receipt() {
    let hub = TestHub::start().await;
    let room = hub.device("room-1");
    let (mut manifest, bytes) = testkit::manifest("l1", &[(3, 1000)]);
    room.announce("l1").await;
    room.send("l1", &bytes).await;
    let right = manifest.clone();
    manifest.takes[0].sha256 = Digest::of(b"something else");
    let (status, problem) = room.seal(&manifest).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("take_mismatch")));
    let (_, said) = room.json("GET", "/api/v1/lessons/l1", None).await;
    assert_eq!(said["state"], "receiving");
    assert_eq!(room.seal(&right).await.0, 200, "the right one is still taken");
}

#[tokio::test]
async fn a_full_disk_is_said_and_what_is_stored_stays_reachable() {
    let hub = TestHub::start().await;
    let (manifest, receipt) = hub.device("room-1").whole("l1", &[(3, 1000)]).await;
    let hub = hub.restart_full().await;
    let room = hub.device("room-1");
    room.announce("l2").await;
    let (status, problem) = room.grant("l2", 1, 0, b"abc").await;
    assert_eq!((status, problem["code"].as_str()), (507, Some("store_full")));
    assert_eq!(room.seal(&manifest).await, (200, receipt));
}

#[tokio::test]
async fn a_room_that_others_go_before_is_told_when_to_come_again_and_comes_in_when_there_is_a_place() {
    let hub = TestHub::start().await;
    let (first, second) = (hub.device("room-1"), hub.device("room-2"));
    first.announce("l1").await;
    second.announce("l2").await;
    let part = testkit::bytes(1000, 7);
    let mut urls = Vec::new();
    for n in 0..16 {
        let (status, grant) = first.grant("l1", 1, n, &part).await;
        assert_eq!(status, 200, "{grant}");
        urls.push(grant["url"].as_str().expect("url").to_owned());
    }
    let (status, told) = second.grant("l2", 1, 0, &part).await;
    assert_eq!((status, told["code"].as_str()), (429, Some("queued")), "{told}");
    // Asked for again, a grant takes no second place; used, it gives its place back.
    assert_eq!(first.grant("l1", 1, 3, &part).await.0, 200);
    // Who does not come again in time waits no longer: on a slow machine it would be away by now.
    assert_eq!(second.grant("l2", 1, 0, &part).await.0, 429);
    assert_eq!(first.put(&urls[3], &part).await.0, 200);
    assert_eq!(first.grant("l1", 1, 16, &part).await.0, 429, "somebody else waits");
    let (status, grant) = second.grant("l2", 1, 0, &part).await;
    assert_eq!(status, 200, "{grant}");
    assert_eq!(second.put(grant["url"].as_str().expect("url"), &part).await.0, 200);
}
