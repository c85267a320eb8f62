//! Test vectors for everything that crosses a border, in files that another implementation can use:
//! `tests/vectors/*.json`. They are made here and must not change; `tests/vectors/check.py` makes them anew without
//! any of our code. With `LECTERN_WRITE_VECTORS=1` the files are written instead.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::Command;

use ed25519_dalek::SigningKey;
use lectern_wire::PART_SIZE;
use lectern_wire::chain::{ChainHead, chain_hash};
use lectern_wire::digest::Digest;
use lectern_wire::id::{DeviceId, LessonId};
use lectern_wire::log::proof::{self, Node};
use lectern_wire::log::{self, Checkpoint, Place, Salt};
use lectern_wire::manifest::Manifest;
use lectern_wire::receipt::{Receipt, StoreLocation, StoredObject};
use lectern_wire::rotation::{HUB, Rotation};
use lectern_wire::sign::{Document, Kept, KeyRing, PublicKey, Signed, canonical};
use lectern_wire::usage::{Usage, Used};
use serde_json::{Value, json};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// Holds a vector against its file.
fn hold(name: &str, vector: &Value) {
    let path = folder().join(name);
    let text = serde_json::to_string_pretty(vector).expect("json") + "\n";
    if std::env::var_os("LECTERN_WRITE_VECTORS").is_some() {
        std::fs::write(&path, text).expect("written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let kept: Value = serde_json::from_str(&kept).expect("json");
    assert_eq!(kept, *vector, "{name} is not what this version makes: what is signed must not change");
}

/// A signed document with all that leads to its signature.
fn signed<T: Document>(seed: u8, document: &Signed<T>) -> Value {
    let bytes = canonical(&document.document).expect("canonical");
    let ring: KeyRing = [PublicKey::of(&key(seed))].into_iter().collect();
    document.verify(&ring).expect("verifies");
    json!({
        "seed_hex": hex::encode([seed; 32]),
        "public_key": PublicKey::of(&key(seed)),
        "context": T::CONTEXT,
        "canonical_utf8": String::from_utf8(bytes).expect("text"),
        "sha256": document.document.digest().expect("digest"),
        "signed": document,
    })
}

#[test]
fn canonical_json_and_digests() {
    let cases = [
        r#"{"b":2,"a":[1,true,null]}"#,
        r#"{"\u20ac":"\u20ac","\r":1,"\ufb33":2,"1":3,"\ud83d\ude00":4,"\u0080":5,"\u00f6":6}"#,
        r#"{"text":"第3节 \"引号\" \\ \u0001 \n","n":[0,-1,9007199254740991,1.5,1e21,1e-7,-0.0,333333333.33333329]}"#,
        "[]",
        r#"{"":{"":""}}"#,
    ];
    let cases = cases.map(|text| {
        let value: Value = serde_json::from_str(text).expect("json");
        let bytes = canonical(&value).expect("canonical");
        json!({
            "json": text,
            "canonical_utf8": String::from_utf8(bytes.clone()).expect("text"),
            "sha256": Digest::of(&bytes),
        })
    });
    hold("canonical.json", &json!({ "cases": cases }));
}

/// A manifest as an agent of today writes it, and the same with fields of tomorrow.
fn manifests() -> [Signed<Manifest>; 2] {
    let mut document = json!({
        "v": 1, "lesson_id": "20261122-093000-0a1b2c3d4e5f", "school": "3401000001", "room": "301教室",
        "device": "room-301", "about": {"class": "五年级2班", "subject": "语文", "topic": "草船借箭"},
        "takes": [{
            "n": 1, "file": "take-1.mp4", "size": 300, "sha256": Digest::of(b"take"), "duration_ms": 2000,
            "started_wall_ms": 1_789_180_200_000_i64, "started_mono_ms": 5, "boot_id": "b", "clock_trusted": true,
            "end": "stopped", "parts": [{"n": 0, "size": 300, "sha256": Digest::of(b"take")}],
            "fragments": [[0, 100, 100, 1], [1000, 200, 100, 0]],
            "pauses": [], "gaps": [], "findings": [], "marks": [{"at_ms": 500, "word": "重点"}],
        }],
        "capture": {"layout": "screen", "sources": [],
            "video": {"width": 1280, "height": 720, "fps": 25, "max_kbps": 4000, "gop_s": 2},
            "audio": {"kbps": 128}},
        "software": {"agent": "0.1.0", "recorder": "0.1.0", "libav": "59"},
        "prev": Digest::of(b"before"), "sealed_wall_ms": 1_789_180_300_000_i64,
    });
    let today: Manifest = serde_json::from_value(document.clone()).expect("reads");
    document["mood"] = json!({"light": 0.25, "windows": [true, null]});
    document["about"]["seat"] = "靠窗".into();
    document["takes"][0]["lens"] = json!({"mm": 35});
    // Signed as its writer would: over its own canonical bytes.
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Newer(Value);
    impl Document for Newer {
        const CONTEXT: &'static str = Manifest::CONTEXT;
    }
    let newer = Signed::sign(Newer(document), &key(1)).expect("signs");
    let newer = serde_json::from_value(serde_json::to_value(newer).expect("json")).expect("reads");
    [Signed::sign(today, &key(1)).expect("signs"), newer]
}

#[test]
fn manifests_of_today_and_of_a_newer_writer() {
    let [today, newer] = manifests();
    hold("manifest.json", &json!({ "cases": [signed(1, &today), signed(1, &newer)] }));
}

#[test]
fn part_chain_and_heads() {
    let part = usize::try_from(PART_SIZE).expect("small");
    // Byte k of the take is (k × 31 mod 251).
    let bytes: Vec<u8> = (0..part * 2 + 1000).map(|k| (k * 31 % 251) as u8).collect();
    let cases = [1000, part, part + 9, 2 * part + 1000].map(|length| {
        let hashes: Vec<Digest> = bytes[..length].chunks(part).map(Digest::of).collect();
        let head = ChainHead {
            v: 1,
            lesson_id: LessonId::new("20261122-093000-0a1b2c3d4e5f").expect("id"),
            device: DeviceId::new("room-301").expect("id"),
            take: 1,
            bytes: length as u64,
            chain: chain_hash(&hashes, None),
            mono_ms: 12_345,
            boot_id: "b".into(),
            wall_ms: 1_789_180_210_000,
            clock_trusted: true,
        };
        json!({ "part_hashes": hashes, "head": signed(1, &Signed::sign(head, &key(1)).expect("signs")) })
    });
    hold("chain.json", &json!({ "part_size": PART_SIZE, "byte_k": "k * 31 mod 251", "cases": cases }));
}

#[test]
fn changes_of_keys() {
    let change = |owner: &str, old: u8, new: u8| {
        let (old_key, new) = (PublicKey::of(&key(old)), PublicKey::of(&key(new)));
        let said = Rotation { v: 1, owner: owner.into(), old: old_key, new, wall_ms: 7 };
        signed(old, &Signed::sign(said, &key(old)).expect("signs"))
    };
    hold("rotation.json", &json!({ "cases": [change(HUB, 2, 3), change("device:room-301", 1, 4)] }));
}

#[test]
fn rows_of_the_use_register() {
    let automatic = json!({
        "v": 1, "date": "2026-09-14", "week": 3, "weekday": 1, "period": "第3节", "ordinal": 3,
        "planned_start_ms": 1_789_353_000_000_i64, "planned_end_ms": 1_789_355_400_000_i64,
        "actual_start_ms": 1_789_353_060_000_i64, "actual_end_ms": 1_789_355_340_000_i64,
        "class": "五年级2班", "subject": "语文", "topic": "草船借箭", "teacher": "张老师", "teacher_id": "T1024",
        "planned": true, "used": "used", "needed_s": 600, "used_s": 2280, "active_s": 1500, "display_on_s": 2400,
        "recorded_s": 2100, "known_s": 2400, "powered_s": 2400, "categories": {"演示": 1800, "浏览": 300},
        "lessons": ["20260914-103000-0a1b2c3d4e5f"], "before": ["hot"], "after": ["hot", "network_slow"],
        "source": "auto", "said_ms": 1_789_355_400_500_i64,
    });
    // The mains was cut before the bell: what was not seen could have made the difference.
    let unknown = json!({
        "v": 1, "date": "2026-09-14", "weekday": 1, "period": "第4节", "ordinal": 4,
        "planned_start_ms": 1_789_356_000_000_i64, "planned_end_ms": 1_789_358_400_000_i64,
        "planned": false, "used": "unknown", "needed_s": 600, "used_s": 60, "active_s": 60, "display_on_s": 600,
        "recorded_s": 0, "known_s": 600, "powered_s": 600, "source": "auto", "said_ms": 1_789_380_000_000_i64,
    });
    let mut corrected = unknown.clone();
    for (name, value) in [
        ("used", json!("used")),
        ("used_s", json!(2100)),
        ("source", json!("corrected")),
        ("by", json!("李老师")),
        ("by_id", json!("T2048")),
        ("condition_note", json!("投影仪偏暗")),
        ("fault_note", json!("上课中停电一次")),
        ("said_ms", json!(1_789_440_000_000_i64)),
    ] {
        corrected[name] = value;
    }
    let cases = [automatic, unknown, corrected].map(|document| {
        let row: Usage = serde_json::from_value(document.clone()).expect("reads");
        assert_eq!(row.check(), Ok(()));
        assert_eq!(serde_json::to_value(&row).expect("json"), document, "nothing is added and nothing lost");
        assert_eq!(row.used == Used::Used, row.used_s >= row.needed_s);
        let bytes = canonical(&row).expect("canonical");
        json!({
            "row": row,
            "canonical_utf8": String::from_utf8(bytes.clone()).expect("text"),
            "sha256": Digest::of(&bytes),
        })
    });
    hold("usage.json", &json!({ "cases": cases }));
}

#[test]
fn log_receipts_checkpoints_and_proofs() {
    let [manifest, _] = manifests();
    let mut nodes: BTreeMap<Node, Digest> = BTreeMap::new();
    let log = PublicKey::of(&key(2)).id();
    let mut receipts = Vec::new();
    let mut checkpoints = Vec::new();
    let mut entries = Vec::new();
    let mut log_prev = None;
    for n in 0..7_u8 {
        let mut receipt = Receipt {
            v: 1,
            lesson_id: LessonId::new(format!("lesson-{n}")).expect("id"),
            manifest_sha256: manifest.document.digest().expect("digest"),
            store: StoreLocation {
                kind: "file".into(),
                objects: vec![StoredObject {
                    take: 1,
                    key: format!("s/d/lesson-{n}/take-1.mp4"),
                    size: 300,
                    sha256: Digest::of(b"take"),
                }],
            },
            stored_wall_ms: 1_789_180_400_000 + i64::from(n),
            log_index: n.into(),
            log_prev,
            heads: None,
            log: None,
        };
        let salt = Salt::new([n; 32]);
        let entry = log::entry(&salt, &Kept::new(receipt.clone()).expect("kept")).expect("entry");
        let get = |at: Node| Ok::<_, Infallible>(nodes[&at]);
        let Ok(grown) = proof::grow(n.into(), log::leaf_hash(entry.bytes()), get);
        nodes.extend(grown);
        let size = u64::from(n) + 1;
        let get = |at: Node| Ok::<_, Infallible>(nodes[&at]);
        let Ok(root) = proof::root(size, get);
        let said = Checkpoint { v: 1, log: log.clone(), size, root, wall_ms: 1_789_180_400_000 };
        let checkpoint = Signed::sign(said, &key(2)).expect("signs");
        let Ok(proof) = proof::inclusion(n.into(), size, get);
        receipt.log = Some(Place { salt, proof, checkpoint: checkpoint.clone() });
        let receipt = Signed::sign(receipt, &key(2)).expect("signs");
        let ring: KeyRing = [PublicKey::of(&key(2))].into_iter().collect();
        log::check_place(&receipt.document, &ring).expect("proved");
        log_prev = Some(receipt.document.digest().expect("digest"));
        receipts.push(signed(2, &receipt));
        checkpoints.push(signed(2, &checkpoint));
        entries.push(entry);
    }
    let get = |at: Node| Ok::<_, Infallible>(nodes[&at]);
    let inclusion =
        (1..=7_u64).flat_map(|size| (0..size).map(move |index| (index, size))).map(|(index, size)| {
            let Ok(proof) = proof::inclusion(index, size, get);
            json!({ "index": index, "size": size, "proof": proof })
        });
    let consistency = (1..=7_u64).flat_map(|to| (1..=to).map(move |from| (from, to))).map(|(from, to)| {
        let Ok(proof) = proof::consistency(from, to, get);
        json!({ "from": from, "to": to, "proof": proof })
    });
    hold(
        "log.json",
        &json!({
            "entries": entries,
            "receipts": receipts,
            "checkpoints": checkpoints,
            "inclusion": inclusion.collect::<Vec<_>>(),
            "consistency": consistency.collect::<Vec<_>>(),
        }),
    );
}

#[test]
fn somebody_elses_code_comes_to_the_same() {
    let check = folder().join("check.py");
    let out = Command::new("python3").arg(&check).output().expect("python3 is there");
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    assert!(said.contains("all vectors hold"), "{said}");
}
