//! What the tests of several modules share: a small sealed lesson and a hub on free ports.

use ed25519_dalek::SigningKey;
use lectern_wire::PART_SIZE;
use lectern_wire::digest::Digest;
use lectern_wire::id::{DeviceId, LessonId, SchoolId};
use lectern_wire::manifest::{About, Fragment, Manifest, Part, Software, Take, TakeEnd};
use lectern_wire::recorder::{AudioSettings, CaptureSettings, Layout, Source, SourceKind, VideoSettings};
use lectern_wire::topic::Topics;

/// The topics of a device of the test school.
pub fn topics(device: &str) -> Topics {
    Topics {
        school: SchoolId::new("3401000001").expect("id"),
        device: DeviceId::new(device).expect("id"),
    }
}

/// A device's signing key.
pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// Bytes that differ everywhere.
pub fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

/// A manifest and the bytes of its takes. Each take is `(fragments, bytes of a fragment)` after 100 bytes
/// of initialisation, one second a fragment, every second one a key.
pub fn manifest(lesson: &str, takes: &[(u64, u64)]) -> (Manifest, Vec<Vec<u8>>) {
    let mut all = Vec::new();
    let takes = takes
        .iter()
        .enumerate()
        .map(|(k, &(count, length))| {
            let n = u32::try_from(k + 1).expect("few");
            let size = 100 + count * length;
            let data = bytes(usize::try_from(size).expect("small"), u64::from(n));
            let parts = data
                .chunks(usize::try_from(PART_SIZE).expect("small"))
                .enumerate()
                .map(|(p, chunk)| Part {
                    n: u32::try_from(p).expect("few"),
                    size: chunk.len() as u64,
                    sha256: Digest::of(chunk),
                })
                .collect();
            let fragments = (0..count)
                .map(|f| Fragment { start_ms: f * 1000, offset: 100 + f * length, length, key: f % 2 == 0 })
                .collect();
            let take = Take {
                n,
                file: format!("take-{n}.mp4"),
                size,
                sha256: Digest::of(&data),
                duration_ms: count * 1000,
                started_wall_ms: 1_789_180_200_000,
                started_mono_ms: 5,
                boot_id: "b".into(),
                clock_trusted: true,
                end: TakeEnd::Stopped,
                parts,
                fragments,
                pauses: vec![],
                gaps: vec![],
                findings: vec![],
                marks: vec![],
            };
            all.push(data);
            take
        })
        .collect();
    let owner = topics("room-1");
    let manifest = Manifest {
        v: 1,
        lesson_id: LessonId::new(lesson).expect("id"),
        school: owner.school,
        room: "301教室".into(),
        device: owner.device,
        about: About {
            teacher: "张老师".into(),
            class: "五年级2班".into(),
            subject: "语文".into(),
            topic: "草船借箭".into(),
            period: "第3节".into(),
            ..About::default()
        },
        takes,
        capture: CaptureSettings {
            layout: Layout::Screen,
            sources: vec![Source { name: "test".into(), kind: SourceKind::Test }],
            video: VideoSettings { width: 1920, height: 1080, fps: 25, max_kbps: 4000, gop_s: 2 },
            audio: AudioSettings { kbps: 128 },
        },
        software: Software { agent: "0.1.0".into(), recorder: "0.1.0".into(), libav: "59".into() },
        prev: None,
        sealed_wall_ms: 1_789_180_300_000,
    };
    (manifest, all)
}
