//! A small lesson of real structure for tests: fragmented MP4s made here box by box, signed, with a receipt.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use lectern_wire::PART_SIZE;
use lectern_wire::capture::{AudioSettings, CaptureSettings, Layout, VideoSettings};
use lectern_wire::chain::{ChainHead, HeadLine, chain_hash};
use lectern_wire::digest::Digest;
use lectern_wire::fmp4::Scanner;
use lectern_wire::id::{DeviceId, LessonId, SchoolId};
use lectern_wire::log::{self, Checkpoint, Place, Salt};
use lectern_wire::manifest::{About, Gap, Manifest, Part, Software, Take, TakeEnd};
use lectern_wire::receipt::{Receipt, StoreLocation, StoredObject};
use lectern_wire::sign::{Kept, KeyRing, PublicKey, Signed};

use crate::bytes::Blob;

/// A lesson with its papers and keys.
pub struct Lesson {
    /// The manifest, signed by the device.
    pub manifest: Signed<Manifest>,
    /// The hub's receipt of it.
    pub receipt: Signed<Receipt>,
    /// Both public keys.
    pub ring: KeyRing,
    /// The takes' bytes.
    pub takes: Vec<Vec<u8>>,
}

/// The device's key.
pub fn device() -> SigningKey {
    SigningKey::from_bytes(&[3; 32])
}

/// The hub's key.
pub fn hub() -> SigningKey {
    SigningKey::from_bytes(&[4; 32])
}

fn boxed(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32 + 8).to_be_bytes(), kind.as_slice(), payload].concat()
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

/// A take of a second a fragment, each with one picture of so many bytes.
pub fn take(seed: u64, seconds: u32, bytes: usize) -> Vec<u8> {
    let hdlr = [&[0; 8], b"vide".as_slice(), &[0; 13]].concat();
    let stsd = [words(&[0, 1]), boxed(b"avc1", &[0; 78])].concat();
    let stbl = boxed(b"stbl", &boxed(b"stsd", &stsd));
    let mdhd = boxed(b"mdhd", &[words(&[0, 0, 0, 1000, 0, 0])].concat());
    let mdia = boxed(b"mdia", &[mdhd, boxed(b"hdlr", &hdlr), boxed(b"minf", &stbl)].concat());
    let tkhd = boxed(b"tkhd", &[words(&[3, 0, 0, 1]), vec![0; 68]].concat());
    let trak = boxed(b"trak", &[tkhd, mdia].concat());
    let trex = boxed(b"mvex", &boxed(b"trex", &words(&[0, 1, 1, 1000, 0, 0])));
    let moov = boxed(b"moov", &[boxed(b"mvhd", &[0; 100]), trak, trex].concat());
    let mut out = [boxed(b"ftyp", b"isom\0\0\0\0"), moov].concat();
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    for n in 0..seconds {
        let tfhd = boxed(b"tfhd", &words(&[0x02_0000, 1]));
        let tfdt = boxed(b"tfdt", &words(&[0, n * 1000]));
        let trun = |offset: u32| {
            boxed(b"trun", &words(&[0x0301, 1, offset, 1000, u32::try_from(bytes).unwrap_or(0)]))
        };
        let moof =
            |offset| boxed(b"moof", &boxed(b"traf", &[tfhd.clone(), tfdt.clone(), trun(offset)].concat()));
        let head = moof(moof(0).len() as u32 + 8);
        let media: Vec<u8> = (0..bytes)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        out.extend(head);
        out.extend(boxed(b"mdat", &media));
    }
    out
}

fn describe(n: u32, bytes: &[u8]) -> Take {
    let mut scanner = Scanner::default();
    scanner.push(bytes).expect("a take");
    let parts = bytes.chunks(PART_SIZE as usize).zip(0..).map(|(chunk, n)| Part {
        n,
        size: chunk.len() as u64,
        sha256: Digest::of(chunk),
    });
    Take {
        n,
        file: format!("take-{n}.mp4"),
        size: bytes.len() as u64,
        sha256: Digest::of(bytes),
        duration_ms: scanner.duration_ms(),
        started_wall_ms: 1_789_180_200_000,
        started_mono_ms: 5,
        boot_id: "b0075".into(),
        clock_trusted: true,
        end: TakeEnd::Stopped,
        parts: parts.collect(),
        fragments: scanner.fragments().to_vec(),
        pauses: vec![],
        gaps: vec![],
        findings: vec![],
        marks: vec![],
        layouts: vec![],
        report: None,
        encoder: String::new(),
        paces: vec![],
        ring_ms: None,
        live: vec![],
    }
}

impl Lesson {
    /// A lesson of these takes.
    pub fn of(id: &str, takes: Vec<Vec<u8>>) -> Self {
        let described: Vec<Take> = takes.iter().zip(1..).map(|(bytes, n)| describe(n, bytes)).collect();
        let about = About {
            teacher: "张老师".into(),
            class: "五年级2班".into(),
            subject: "语文".into(),
            topic: "草船借箭".into(),
            period: "第3节".into(),
            ..About::default()
        };
        let video = VideoSettings { width: 64, height: 64, fps: 25, max_kbps: 100, gop_s: 2, encoder: None };
        let manifest = Manifest {
            v: 1,
            lesson_id: LessonId::new(id).expect("id"),
            school: SchoolId::new("3401000001").expect("id"),
            room: "301教室".into(),
            device: DeviceId::new("room-301").expect("id"),
            about,
            takes: described,
            capture: CaptureSettings {
                layout: Layout::Screen,
                sources: vec![],
                video,
                audio: AudioSettings { kbps: 96 },
                copy_camera: false,
            },
            software: Software { agent: "0".into(), recorder: "0".into(), libav: "0".into() },
            prev: None,
            sealed_wall_ms: 1_789_180_900_000,
        };
        Self::signed(manifest, takes)
    }

    /// The same with a change to the manifest before anybody signed.
    pub fn changed(self, change: impl Fn(&mut Manifest)) -> Self {
        let mut manifest = self.manifest.document.into_understood();
        change(&mut manifest);
        Self::signed(manifest, self.takes)
    }

    /// Signs a manifest of these bytes; the receipt stands alone in its hub's log.
    pub fn signed(manifest: Manifest, takes: Vec<Vec<u8>>) -> Self {
        let object =
            |t: &Take| StoredObject { take: t.n, key: format!("k/{}", t.n), size: t.size, sha256: t.sha256 };
        let receipt = Receipt {
            v: 1,
            lesson_id: manifest.lesson_id.clone(),
            manifest_sha256: Kept::new(manifest.clone()).and_then(|kept| kept.digest()).expect("digest"),
            store: StoreLocation {
                kind: "file".into(),
                objects: manifest.takes.iter().map(object).collect(),
            },
            stored_wall_ms: 1_789_180_950_000,
            log_index: 0,
            log_prev: None,
            heads: None,
            log: None,
        };
        let mut ring = KeyRing::default();
        ring.add(PublicKey::of(&device()));
        ring.add(PublicKey::of(&hub()));
        Self {
            manifest: Signed::sign(manifest, &device()).expect("signs"),
            receipt: logged(receipt),
            ring,
            takes,
        }
    }

    /// Two takes of eleven seconds in all, the first in three parts, with an explained gap.
    pub fn two_takes(id: &str) -> Self {
        let seed = id.bytes().map(u64::from).sum();
        let lesson = Self::of(id, vec![take(seed, 8, 2_200_000), take(seed + 1, 3, 1000)]);
        let mut manifest = lesson.manifest.document.into_understood();
        let first = &mut manifest.takes[0];
        first.end = TakeEnd::Interrupted("the power was cut or the machine restarted".into());
        first.gaps.push(Gap {
            source: "301教室摄像头".into(),
            from_ms: 2000,
            to_ms: Some(3000),
            code: None,
            cause: "nothing new arrived for 1 s".into(),
        });
        Self::signed(manifest, lesson.takes)
    }

    /// The papers as they stand beside a lesson.
    pub fn papers(&self) -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("manifest.json", serde_json::to_vec(&self.manifest).expect("json")),
            ("receipt.json", serde_json::to_vec(&self.receipt).expect("json")),
            ("keys.json", serde_json::to_vec(&self.ring).expect("json")),
        ]
    }

    /// The takes as shared bytes.
    pub fn blobs(&self) -> Vec<Blob> {
        self.takes.iter().map(|bytes| Arc::new(bytes.clone()) as Blob).collect()
    }

    /// Writes the lesson's folder.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        for (name, bytes) in self.papers() {
            std::fs::write(folder.join(name), bytes)?;
        }
        for (bytes, n) in self.takes.iter().zip(1..) {
            std::fs::write(folder.join(format!("take-{n}.mp4")), bytes)?;
        }
        Ok(())
    }

    /// The standard MP4 with its proof.
    pub fn mp4(&self) -> Vec<u8> {
        let papers = self.papers();
        let sections: Vec<(&str, &[u8])> = papers.iter().map(|(n, b)| (*n, b.as_slice())).collect();
        let made = crate::joined::build(&self.manifest.document.takes, &self.blobs(), &sections);
        crate::bytes::all(made.expect("joins").bytes.as_ref(), u64::MAX).expect("reads")
    }
}

/// Signs a receipt as the only entry of its hub's log.
pub fn logged(mut receipt: Receipt) -> Signed<Receipt> {
    let salt = Salt::new([9; 32]);
    let entry = Kept::new(receipt.clone()).and_then(|kept| log::entry(&salt, &kept)).expect("entry");
    let root = log::leaf_hash(entry.bytes());
    let tree = Checkpoint { v: 1, log: PublicKey::of(&hub()).id(), size: 1, root, wall_ms: 5 };
    let checkpoint = Signed::sign(tree, &hub()).expect("signs");
    receipt.log = Some(Place { salt, proof: vec![], checkpoint });
    Signed::sign(receipt, &hub()).expect("signs")
}

/// A line of `heads.jsonl`: a take's first bytes, as the device of `key` signed them.
pub fn head(lesson: &Lesson, take: u32, bytes: usize, key: &SigningKey) -> String {
    let of = &lesson.takes[take as usize - 1][..bytes];
    let full = of.chunks_exact(PART_SIZE as usize);
    let open = full.remainder();
    let open = (!open.is_empty()).then(|| Digest::of(open));
    let full: Vec<Digest> = full.map(Digest::of).collect();
    let head = ChainHead {
        v: 1,
        lesson_id: lesson.manifest.document.lesson_id.clone(),
        device: lesson.manifest.document.device.clone(),
        take,
        bytes: bytes as u64,
        chain: chain_hash(&full, open.as_ref()),
        mono_ms: 1,
        boot_id: "b0075".into(),
        wall_ms: 1,
        clock_trusted: true,
    };
    let line = HeadLine { head: Signed::sign(head, key).expect("signs"), arrived_ms: None };
    serde_json::to_string(&line).expect("json") + "\n"
}
