//! Whatever is done to a lesson is named, and nothing passes.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use ed25519_dalek::SigningKey;
use lectern_wire::PART_SIZE;
use lectern_wire::digest::Digest;
use lectern_wire::receipt::Receipt;
use lectern_wire::sign::{KeyRing, Signed};
use proptest::prelude::*;

use crate::blind::Commitment;
use crate::bytes::{self, Blob, ReadAt};
use crate::check::{Asked, Outcome, check};
use crate::export::form::Form;
use crate::export::{self, Export};
use crate::open;
use crate::report::{Keys, Verdict};
use crate::testkit::{self, Lesson, hub, logged};

/// The lesson most tests look at, and its MP4.
static LESSON: LazyLock<(Lesson, Vec<u8>)> = LazyLock::new(|| {
    let lesson = Lesson::two_takes("l1");
    let mp4 = lesson.mp4();
    (lesson, mp4)
});

fn trusting(ring: &KeyRing) -> Asked {
    Asked { keys: Some(ring.clone()), ..Asked::default() }
}

fn verify(path: &Path, asked: &Asked) -> Outcome {
    check(open::path(path, asked.range_ms.is_none()), asked)
}

fn kinds(outcome: &Outcome) -> Vec<&str> {
    outcome.report.faults.iter().map(|fault| fault.kind.as_str()).collect()
}

/// The lesson's folder, to be changed.
fn folder() -> (tempfile::TempDir, Asked) {
    let folder = tempfile::tempdir().expect("folder");
    LESSON.0.write(folder.path()).expect("writes");
    (folder, trusting(&LESSON.0.ring))
}

fn checked(bytes: Vec<u8>) -> Outcome {
    let blob: Blob = Arc::new(bytes);
    match open::self_proving(&blob).expect("reads") {
        Some(found) => check(found, &trusting(&LESSON.0.ring)),
        // `lectern verify` says then that there is no proof in it.
        None => Outcome::default(),
    }
}

#[test]
fn a_whole_lesson_is_complete_in_every_shape() {
    let (folder, asked) = folder();
    let outcome = verify(folder.path(), &asked);
    assert!(outcome.report.sound && outcome.report.receipted, "{:#?}", outcome.report);
    let sound = [Verdict::Complete, Verdict::GapExplained];
    assert_eq!(outcome.report.verdicts, sound);
    assert_eq!((outcome.report.parts, outcome.report.duration_ms), (4, 11_000));
    let mp4 = folder.path().join("课.mp4");
    std::fs::write(&mp4, &LESSON.1).expect("writes");
    let outcome = verify(&mp4, &asked);
    assert_eq!(outcome.report.verdicts, sound, "{:#?}", outcome.report);
    assert_eq!(outcome.report.bytes, LESSON.0.takes.iter().map(|take| take.len() as u64).sum::<u64>());
    let one = verify(&folder.path().join("take-2.mp4"), &asked);
    assert!(one.report.sound && one.report.parts == 1);
    let without = Asked::default();
    let outcome = verify(&mp4, &without);
    assert!(outcome.report.sound && outcome.report.keys == Keys::Folder);
    let outcome = verify(folder.path(), &trusting(&KeyRing::default()));
    assert_eq!(kinds(&outcome), ["key_unknown", "key_unknown"]);
    assert_eq!(outcome.report.verdicts, [Verdict::KeyUnknown, Verdict::GapExplained, Verdict::TimeUnproven]);
}

#[test]
fn one_uninterrupted_take_is_told_from_others_and_time_needs_a_receipt() {
    let lesson = Lesson::of("l2", vec![testkit::take(5, 3, 1000)]);
    let folder = tempfile::tempdir().expect("folder");
    lesson.write(folder.path()).expect("writes");
    let outcome = verify(folder.path(), &trusting(&lesson.ring));
    assert_eq!(outcome.report.verdicts, [Verdict::Complete, Verdict::Uninterrupted]);
    std::fs::remove_file(folder.path().join("receipt.json")).expect("removes");
    let outcome = verify(folder.path(), &trusting(&lesson.ring));
    assert!(outcome.report.verdicts.contains(&Verdict::TimeUnproven) && !outcome.report.receipted);
}

#[test]
fn every_way_to_tamper_with_a_folder_is_named() {
    let (folder, asked) = folder();
    let file = |name: &str| folder.path().join(name);
    let take = file("take-1.mp4");
    let good = LESSON.0.takes[0].clone();
    let part = PART_SIZE as usize;
    let expect = |what: &str, kind: &str, word: &str| {
        let outcome = verify(folder.path(), &asked);
        assert!(!outcome.report.sound, "{what} passes");
        let faults = &outcome.report.faults;
        let named = faults.iter().any(|f| f.kind == kind && f.sentence.contains(word) && !f.zh.is_empty());
        assert!(named, "{what}: {faults:#?}");
    };
    for (at, n) in [(0, 0), (part + 5, 1), (good.len() - 1, 2)] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&take, &bad).expect("writes");
        expect("a changed byte", "altered", &format!("take 1 part {n} (00:0"));
    }
    let mut swapped = good.clone();
    let (a, b) = swapped.split_at_mut(part);
    a.swap_with_slice(&mut b[..part]);
    std::fs::write(&take, &swapped).expect("writes");
    expect("parts in another order", "altered", "part 0 (00:00–00:08): the bytes are those of take 1 part 1");
    let other = Lesson::two_takes("another");
    std::fs::write(&take, [&other.takes[0][..part], &good[part..]].concat()).expect("writes");
    expect("a part from another lesson", "altered", "take 1 part 0");
    std::fs::write(&take, &good[..part + 7]).expect("writes");
    expect("a take cut short", "missing", "part 1");
    std::fs::write(&take, [good.as_slice(), &[0]].concat()).expect("writes");
    expect("a take made longer", "altered", "1 bytes behind its end");
    std::fs::remove_file(&take).expect("removes");
    expect("a take removed", "missing", "take 1 is missing");
    std::fs::write(&take, &good).expect("writes");

    let manifest = std::fs::read_to_string(file("manifest.json")).expect("reads");
    for (from, to) in [
        ("\"张老师\"", "\"李老师\""),
        ("301教室\"", "302教室\""),
        ("1789180900000", "1789180900001"),
        ("\"clock_trusted\":true", "\"clock_trusted\":false"),
        ("nothing new arrived for 1 s", "nothing new arrived for 2 s"),
    ] {
        std::fs::write(file("manifest.json"), manifest.replacen(from, to, 1)).expect("writes");
        expect(&format!("{from} in the manifest"), "signature", "the manifest");
    }
    let another = serde_json::to_vec(&other.manifest).expect("json");
    std::fs::write(file("manifest.json"), &another).expect("writes");
    expect("another lesson's manifest", "receipt", "belongs to another manifest");
    expect("another lesson's manifest", "altered", "take 1 part 0");
    std::fs::write(file("manifest.json"), "{").expect("writes");
    expect("a broken manifest", "document", "manifest.json");
    std::fs::remove_file(file("manifest.json")).expect("removes");
    expect("no manifest", "document", "manifest.json");
    std::fs::write(file("manifest.json"), &manifest).expect("writes");

    let receipt = std::fs::read_to_string(file("receipt.json")).expect("reads");
    std::fs::write(file("receipt.json"), receipt.replace("1789180950000", "1789180940000")).expect("writes");
    expect("a receipt's time", "signature", "the receipt");
    std::fs::write(file("receipt.json"), serde_json::to_vec(&other.receipt).expect("json")).expect("writes");
    expect("another lesson's receipt", "receipt", "belongs to another");
    let forge = |change: fn(&mut Receipt), log_too: bool| {
        let mut forged = LESSON.0.receipt.document.clone().into_understood();
        change(&mut forged);
        let forged = if log_too { logged(forged) } else { Signed::sign(forged, &hub()).expect("signs") };
        std::fs::write(file("receipt.json"), serde_json::to_vec(&forged).expect("json")).expect("writes");
    };
    forge(|receipt| receipt.store.objects[0].size += 1, true);
    expect("a receipt of other bytes", "receipt", "take 1");
    // Even the hub itself cannot say something else than its log.
    forge(|receipt| receipt.stored_wall_ms -= 1, false);
    expect("a receipt's time, signed anew by the hub", "log", "not entry 0 of the log");
    forge(|receipt| receipt.log.as_mut().expect("place").proof.push(Digest::of(b"")), false);
    expect("a log proof", "log", "not entry 0 of the log");
    forge(|receipt| receipt.log.as_mut().expect("place").checkpoint.signature.value = "x".into(), false);
    expect("a checkpoint", "signature", "the log's checkpoint");
    std::fs::write(file("receipt.json"), &receipt).expect("writes");
    let lesson = &LESSON.0;
    let heads = |lines: &[String]| std::fs::write(file("heads.jsonl"), lines.concat()).expect("writes");
    let good_heads = [PART_SIZE as usize, 12_345_678, lesson.takes[0].len()];
    let good_heads = good_heads.map(|bytes| testkit::head(lesson, 1, bytes, &testkit::device()));
    heads(&good_heads);
    assert!(verify(folder.path(), &asked).report.sound, "what was signed while recording agrees");
    heads(&[testkit::head(lesson, 1, 12_345_678, &hub())]);
    assert!(verify(folder.path(), &asked).report.sound, "a known key; whose it is, is the ring's to know");
    heads(&[testkit::head(lesson, 1, 12_345_678, &SigningKey::from_bytes(&[8; 32]))]);
    expect("a head of an unknown key", "key_unknown", "a chain head");
    heads(&[good_heads[1].replace("12345678", "12345679")]);
    expect("a changed head", "signature", "a chain head");
    heads(&[testkit::head(&other, 1, 12_345_678, &testkit::device())]);
    expect("another lesson's head", "document", "of another lesson");
    let rewritten = Lesson::of("l1", vec![testkit::take(77, 8, 2_200_000), testkit::take(78, 3, 1000)]);
    heads(&[testkit::head(&rewritten, 1, 12_345_678, &testkit::device())]);
    expect("a lesson that was rewritten after it was recorded", "chain", "first 12345678 bytes were others");
    std::fs::remove_file(file("heads.jsonl")).expect("removes");
    assert!(verify(folder.path(), &asked).report.sound, "all is back");
}

#[test]
fn a_manifest_cannot_lead_out_of_its_folder_and_its_parts_must_add_up() {
    let lesson = || Lesson::of("l3", vec![testkit::take(5, 3, 1000)]);
    let folder = tempfile::tempdir().expect("folder");
    let again = lesson().changed(|manifest| manifest.takes[0].file = "../../etc/passwd".into());
    again.write(folder.path()).expect("writes");
    let outcome = verify(folder.path(), &trusting(&again.ring));
    assert!(outcome.report.faults[0].sentence.contains("is not the name of take 1"));
    let again = lesson().changed(|manifest| manifest.takes[0].parts[0].size = 1 << 40);
    again.write(folder.path()).expect("writes");
    let outcome = verify(folder.path(), &trusting(&again.ring));
    assert!(outcome.report.faults[0].sentence.contains("do not add up"), "{:#?}", outcome.report);
}

#[test]
fn tables_that_show_something_else_are_named() {
    let mut bad = LESSON.1.clone();
    // The sizes of the samples: a player would show other pictures, although no take has changed.
    let at = bad.windows(4).position(|w| w == b"stsz").expect("a table") + 17;
    bad[at] ^= 1;
    let outcome = checked(bad);
    assert_eq!(kinds(&outcome), ["altered"]);
    assert!(outcome.report.faults[0].sentence.contains("moov"));
    let longer = [LESSON.1.as_slice(), b"free"].concat();
    assert!(checked(longer).report.faults[0].sentence.contains("4 bytes behind its end"));
    let cut = checked(LESSON.1[..LESSON.1.len() - 100].to_vec());
    assert_eq!(kinds(&cut), ["missing"]);
    assert!(cut.report.faults[0].sentence.contains("100 bytes are missing"), "{:#?}", cut.report);
    let half = checked(LESSON.1[..LESSON.1.len() / 2].to_vec());
    assert_eq!(kinds(&half), ["missing"]);
}

/// Counts what is read.
struct Counted {
    bytes: Blob,
    read: AtomicU64,
}

impl ReadAt for Counted {
    fn size(&self) -> u64 {
        self.bytes.size()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let n = self.bytes.read_at(buffer, offset)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

#[test]
fn of_a_range_only_what_it_needs_is_read() {
    let asked = |range| Asked { range_ms: Some(range), ..trusting(&LESSON.0.ring) };
    let look = |bytes: &[u8], range| {
        let counted = Arc::new(Counted { bytes: Arc::new(bytes.to_vec()), read: AtomicU64::new(0) });
        let blob: Blob = Arc::<Counted>::clone(&counted);
        let found = open::self_proving(&blob).expect("reads").expect("ours");
        let before = counted.read.load(Ordering::Relaxed);
        let outcome = check(found, &asked(range));
        (outcome, counted.read.load(Ordering::Relaxed) - before)
    };
    // The second take has 3 kB: the first one's 17.6 MB are not touched.
    let (outcome, read) = look(&LESSON.1, (8000, 10_000));
    assert_eq!(outcome.report.verdicts, [Verdict::RangeComplete, Verdict::Uninterrupted]);
    assert!(read < 10_000, "{read} bytes were read");
    assert_eq!((outcome.report.parts, outcome.report.range_ms), (1, Some((8000, 10_000))));
    // The first second lies in the first of three parts.
    let (outcome, read) = look(&LESSON.1, (200, 900));
    assert_eq!(outcome.report.parts, 1, "{:#?}", outcome.report);
    assert!(read < 10_000_000, "{read} bytes were read");
    let mut bad = LESSON.1.clone();
    let at = bad.len() / 2;
    bad[at] ^= 1;
    assert!(look(&bad, (8000, 10_000)).0.report.sound, "what was changed lies elsewhere");
    let (outcome, _) = look(&bad, (3000, 5000));
    assert_eq!(kinds(&outcome), ["altered"]);
    let (outcome, _) = look(&LESSON.1, (60_000, 70_000));
    assert!(outcome.report.faults[0].sentence.contains("behind the lesson's end"), "{:#?}", outcome.report);
}

fn exported(anonymous: bool) -> Export {
    let lesson = &LESSON.0;
    let wanted = export::Lesson {
        manifest: lesson.manifest.document.clone(),
        about: lesson.manifest.document.about.clone(),
        school: "示范学校".into(),
        papers: lesson.papers(),
        takes: lesson.blobs(),
        form: Form {
            scheme: "微能力2.0".into(),
            point: Some(("A5".into(), "技术支持的课堂导入".into(), "多媒体教学环境".into())),
            items: vec!["教学设计".into(), "课堂实录片段".into()],
            clip_max_minutes: 10,
        },
        software: "test",
    };
    export::plan(&wanted, anonymous, 1_789_200_000_000).expect("plans")
}

/// All files below a folder with their bytes.
fn tree(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            found.extend(tree(&entry.path()).into_iter().map(|(n, b)| (format!("{name}/{n}"), b)));
        } else {
            found.push((name, std::fs::read(entry.path()).expect("reads")));
        }
    }
    found
}

#[test]
fn an_export_is_checked_as_folder_and_as_zip_and_any_change_in_it_is_named() {
    let export = exported(false);
    assert_eq!(export.name, "示范学校_五年级2班语文_草船借箭_张老师_20260912_第3节");
    let into = tempfile::tempdir().expect("folder");
    let bag = export::into_folder(&export, into.path()).expect("writes");
    assert!(export::into_folder(&export, into.path()).is_err(), "nothing is written over");
    let asked = trusting(&LESSON.0.ring);
    let outcome = verify(&bag, &asked);
    assert!(outcome.report.sound && outcome.report.receipted, "{:#?}", outcome.report);

    let zip = into.path().join("材料包.zip");
    let mut out = std::fs::File::create(&zip).expect("creates");
    let written = export::into_zip(&export, &mut out).expect("writes");
    assert_eq!(written.bytes, export::zip_size(&export), "the length is told before");
    assert_eq!(out.metadata().expect("meta").len(), written.bytes);
    let outcome = verify(&zip, &asked);
    assert!(outcome.report.sound && outcome.report.receipted, "{:#?}", outcome.report);

    for (name, bytes) in tree(&bag) {
        let path = bag.join(&name);
        let mut bad = bytes.clone();
        let at = bad.len() / 2;
        bad[at] ^= 1;
        std::fs::write(&path, &bad).expect("writes");
        assert!(name == "tagmanifest-sha256.txt" || !verify(&bag, &asked).report.sound, "{name} was changed");
        std::fs::remove_file(&path).expect("removes");
        assert!(!verify(&bag, &asked).report.sound, "{name} was removed");
        std::fs::write(&path, &bytes).expect("writes");
    }
    std::fs::write(bag.join("data/别的.pdf"), "x").expect("writes");
    assert!(verify(&bag, &asked).report.faults[0].zh.contains("不在材料包的目录里"));
}

#[test]
fn an_export_without_names_holds_none_and_its_manifest_proves_it_later() {
    let export = exported(true);
    let into = tempfile::tempdir().expect("folder");
    let bag = export::into_folder(&export, into.path()).expect("writes");
    let secrets = [
        "张老师",
        "示范学校",
        "3401000001",
        "301教室",
        "room-301",
        "五年级2班",
        "摄像头",
        "b0075",
        "第3节",
        "l1\"",
    ];
    for (name, bytes) in tree(&bag).into_iter().chain([(export.name, Vec::new())]) {
        for secret in secrets {
            assert!(!name.contains(secret), "{name}");
            let secret_bytes = secret.as_bytes();
            let found = bytes.windows(secret_bytes.len()).any(|w| w == secret_bytes);
            assert!(!found, "{name} holds {secret}");
        }
    }
    let outcome = verify(&bag, &Asked::default());
    assert!(outcome.report.sound, "{:#?}", outcome.report);
    assert!(outcome.report.verdicts.contains(&Verdict::Anonymous));
    let shown = |lesson: &Lesson| Asked {
        shown: Some(serde_json::to_vec(&lesson.manifest).expect("json")),
        ..trusting(&LESSON.0.ring)
    };
    let outcome = verify(&bag, &shown(&LESSON.0));
    assert!(
        outcome.report.sound && outcome.report.lesson_id.as_deref() == Some("l1"),
        "{:#?}",
        outcome.report
    );
    let outcome = verify(&bag, &shown(&Lesson::two_takes("another")));
    assert!(outcome.report.faults[0].sentence.contains("is not the one this anonymous export commits to"));
    // A manifest whose commitment is the same but for one name is another one.
    let other = Lesson::two_takes("l1").changed(|manifest| manifest.about.teacher = "李老师".into());
    let commitment = Commitment::of(&LESSON.0.manifest.document).expect("commits");
    assert!(commitment.is_of(&LESSON.0.manifest.document) && !commitment.is_of(&other.manifest.document));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_to_an_mp4_passes(at in 0.0..1.0f64, near in 0..4usize, how in 0..5u8, value in 1..=255u8) {
        let good = &LESSON.1;
        // Half of the damage is near the seams, where the boxes and papers are.
        let tail = good.len() - 30_000;
        let at = match near {
            0 => (at * 2000.0) as usize,
            1 => tail + (at * 30_000.0) as usize,
            _ => (at * good.len() as f64) as usize,
        }.min(good.len() - 2);
        let mut bad = good.clone();
        match how {
            0 | 1 => bad[at] ^= value,
            2 => bad.truncate(at),
            3 => bad.insert(at, value),
            _ => { bad.remove(at); }
        }
        prop_assume!(bad != *good);
        let outcome = checked(bad);
        prop_assert!(!outcome.report.sound, "byte {at}, {how}: {:#?}", outcome.report);
    }

    #[test]
    fn nothing_that_is_no_lesson_makes_it_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..400), zip in any::<bool>()) {
        let start: &[u8] = if zip { b"PK\x03\x04" } else { b"\0\0\0\x08ftyp\0\0\0\x08moov" };
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("x.mp4");
        std::fs::write(&file, [start, &bytes].concat()).expect("writes");
        let outcome = verify(&file, &Asked::default());
        prop_assert!(!outcome.report.sound && !outcome.report.faults.is_empty());
    }
}

#[test]
fn what_is_read_of_an_mp4_is_what_was_taken_apart() {
    let whole: Blob = Arc::new(LESSON.1.clone());
    let found = open::self_proving(&whole).expect("reads").expect("ours");
    for (n, take) in (1..).zip(&LESSON.0.takes) {
        let read = bytes::all((found.takes)(n).expect("opens").as_ref(), u64::MAX).expect("reads");
        assert!(read == *take, "take {n} is put together again byte by byte");
    }
}

/// Leaves pages to be looked at where `LECTERN_PAGES` says.
#[test]
fn the_pages_are_whole_and_speak_as_they_should() {
    let mut bad = LESSON.1.clone();
    let at = bad.len() / 2;
    bad[at] ^= 1;
    let html = crate::page::html(&checked(bad), 1_789_200_000_000, false);
    assert!(
        html.contains("和录制时不一致") && html.contains("的数据被改动（分片 1）") && html.contains("<svg")
    );
    let good = crate::page::html(&checked(LESSON.1.clone()), 1_789_200_000_000, false);
    assert!(
        good.contains("完整，没有改动")
            && good.contains("301教室摄像头中断：没有信号")
            && good.contains("张老师")
    );
    let form = exported(false);
    let form = form.file("data/材料清单.html").expect("a form");
    let form = String::from_utf8(bytes::all(form.as_ref(), 1 << 20).expect("reads")).expect("text");
    assert!(form.contains("A5 技术支持的课堂导入") && form.contains("待补"));
    for page in [&html, &good, &form] {
        for word in ["监控", "监视", "强制", "排名", "！", "<script", "http://", "https://"] {
            assert!(!page.contains(word), "a page says {word}");
        }
    }
    if let Some(folder) = std::env::var_os("LECTERN_PAGES") {
        for (name, page) in [("bad", &html), ("good", &good), ("form", &form)] {
            std::fs::write(Path::new(&folder).join(format!("{name}.html")), page).expect("writes");
        }
    }
}
