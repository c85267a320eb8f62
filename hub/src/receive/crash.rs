//! The hub dies at every step of a seal; however far it came, the lesson is stored once and whole.

use std::path::Path;

use lectern_base::clock;
use lectern_wire::PART_SIZE;
use lectern_wire::digest::Digest;
use lectern_wire::log::Salt;
use lectern_wire::manifest::Manifest;
use lectern_wire::receipt::{StoreLocation, StoredObject};
use lectern_wire::sign::{self, Signed};

use crate::store::keys::Keys;
use crate::store::objects::{Kind, Objects, Place};
use crate::store::{Store, lessons, receipts};
use crate::testkit::{self, TestHub};

/// The last step that was done before the end, in the order of a seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Died {
    BeforeAll,
    RowSaysVerifying,
    FirstTakeNamed,
    AllTakesNamed,
    ManifestHalfWritten,
    ManifestWritten,
    ReceiptInTheLog,
    ReceiptHalfWritten,
}

const ALL: [Died; 8] = [
    Died::BeforeAll,
    Died::RowSaysVerifying,
    Died::FirstTakeNamed,
    Died::AllTakesNamed,
    Died::ManifestHalfWritten,
    Died::ManifestWritten,
    Died::ReceiptInTheLog,
    Died::ReceiptHalfWritten,
];

/// Does the steps of a seal up to one, as the hub does them.
fn seal_until(died: Died, data: &Path, manifest: &Manifest) {
    let store = Store::open(data).expect("opens");
    let objects = Objects::open(data, None).expect("opens");
    let signed = Signed::sign(manifest.clone(), &testkit::key(7)).expect("signs");
    let digest = testkit::digest(manifest);
    let lesson = &manifest.lesson_id;
    let place = Place::new(&testkit::topics("room-1"), lesson, Kind::File);
    let folder = objects.folder(&place);
    let text = sign::canonical(&signed).expect("text");
    if died >= Died::RowSaysVerifying {
        assert!(store.write_now(|db| lessons::begin_seal(db, &signed, digest)).expect("begun"));
    }
    let named = match died {
        Died::BeforeAll | Died::RowSaysVerifying => 0,
        Died::FirstTakeNamed => 1,
        _ => manifest.takes.len(),
    };
    for take in &manifest.takes[..named] {
        objects.finish(&place, take.n, take.size).expect("named");
    }
    if died >= Died::ManifestHalfWritten {
        std::fs::write(folder.join("manifest.json.new"), &text[..text.len() / 2]).expect("written");
    }
    if died >= Died::ManifestWritten {
        std::fs::write(folder.join("manifest.json.new"), &text).expect("written");
        std::fs::rename(folder.join("manifest.json.new"), folder.join("manifest.json")).expect("named");
    }
    if died >= Died::ReceiptInTheLog {
        let signer = Keys::open(data).expect("keys").signer(&store, data, 1).expect("signer");
        let objects = manifest.takes.iter().map(|take| StoredObject {
            take: take.n,
            key: Objects::key(&place, take.n),
            size: take.size,
            sha256: take.sha256,
        });
        let facts = receipts::Facts {
            lesson,
            manifest_sha256: digest,
            store: StoreLocation { kind: "file".into(), objects: objects.collect() },
            heads: None,
            salt: Salt::new([1; 32]),
            now: clock::wall_ms(),
        };
        let receipt = store.write_now(|db| receipts::append(db, &signer, facts));
        assert!(receipt.expect("appended").is_some());
    }
    if died >= Died::ReceiptHalfWritten {
        std::fs::write(folder.join("receipt.json.new"), "{\"docu").expect("written");
    }
}

#[tokio::test]
async fn a_hub_that_dies_at_any_step_of_a_seal_stores_the_lesson_once_and_whole() {
    let (manifest, bytes) = testkit::manifest("l1", &[(9, PART_SIZE / 8), (3, 1000)]);
    for died in ALL {
        let hub = TestHub::start().await;
        let room = hub.device("room-1");
        room.announce("l1").await;
        room.send("l1", &bytes).await;
        let hub = hub.restart(|data| seal_until(died, data, &manifest)).await;
        let room = hub.device("room-1");
        let stored: bool =
            hub.db().query_row("SELECT state = 'stored' FROM lesson", [], |row| row.get(0)).expect("a row");
        assert_eq!(stored, died >= Died::ReceiptInTheLog, "{died:?}: stored is never shown early");
        let (status, receipt) = room.seal(&manifest).await;
        assert_eq!(status, 200, "{died:?}: {receipt}");
        assert_eq!(room.seal(&manifest).await, (200, receipt), "{died:?}: asked twice");
        let count: i64 =
            hub.db().query_row("SELECT count(*) FROM receipt", [], |row| row.get(0)).expect("count");
        assert_eq!(count, 1, "{died:?}");
        let folder = hub.lesson_folder("l1");
        for (take, bytes) in manifest.takes.iter().zip(&bytes) {
            let stored = std::fs::read(folder.join(&take.file)).expect("a take");
            assert_eq!(Digest::of(&stored), Digest::of(bytes), "{died:?}");
        }
        let mut names: Vec<_> = std::fs::read_dir(&folder)
            .expect("folder")
            .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["manifest.json", "receipt.json", "take-1.mp4", "take-2.mp4"], "{died:?}");
    }
}

#[tokio::test]
async fn what_a_power_cut_takes_from_the_hubs_memory_is_sent_again() {
    let (manifest, bytes) = testkit::manifest("l1", &[(9, PART_SIZE / 8), (3, 1000)]);
    let hub = TestHub::start().await;
    let room = hub.device("room-1");
    room.announce("l1").await;
    room.send("l1", &bytes).await;
    // As file systems leave it: names and lengths are there, some blocks never came; and a file that was never grown.
    let hub = hub
        .restart(|data| {
            let objects = Objects::open(data, None).expect("opens");
            let place = Place::new(&testkit::topics("room-1"), &manifest.lesson_id, Kind::File);
            let file = |take| {
                std::fs::File::options().write(true).open(objects.partial(&place, take)).expect("a take")
            };
            let (first, second) = (file(1), file(2));
            first.set_len(PART_SIZE / 2).expect("cut");
            first.set_len(manifest.takes[0].size).expect("zeros");
            second.set_len(0).expect("cut");
        })
        .await;
    let room = hub.device("room-1");
    let count =
        || -> i64 { hub.db().query_row("SELECT count(*) FROM part", [], |row| row.get(0)).expect("count") };
    assert_eq!(count(), 2, "a row without bytes is seen at the start");
    let (status, said) = room.seal(&manifest).await;
    assert_eq!((status, said["code"].as_str()), (409, Some("parts_missing")), "{said}");
    for _ in 0..3 {
        room.send("l1", &bytes).await;
        if room.seal(&manifest).await.0 == 200 {
            break;
        }
    }
    let folder = hub.lesson_folder("l1");
    for (take, bytes) in manifest.takes.iter().zip(&bytes) {
        let stored = std::fs::read(folder.join(&take.file)).expect("a take");
        assert_eq!(Digest::of(&stored), Digest::of(bytes));
    }
    assert!(folder.join("receipt.json").exists());
}
