//! What the tests of several modules share: a small sealed lesson and a hub on free ports.

use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use lectern_wire::PART_SIZE;
use lectern_wire::capture::{AudioSettings, CaptureSettings, Layout, Source, SourceKind, VideoSettings};
use lectern_wire::digest::Digest;
use lectern_wire::id::{DeviceId, LessonId, SchoolId};
use lectern_wire::manifest::{About, Fragment, Manifest, Part, Software, Take, TakeEnd};
use lectern_wire::sign::{Kept, PublicKey, Signed};
use lectern_wire::topic::Topics;
use tokio_util::sync::CancellationToken;

use crate::app;
use crate::config::{self, Config};
use crate::receive::Receive;
use crate::store::keys::Signer;
use crate::store::{Store, devices};

/// The topics of a device of the test school.
pub fn topics(device: &str) -> Topics {
    Topics { school: SchoolId::new("3401000001").expect("id"), device: DeviceId::new(device).expect("id") }
}

/// A device's signing key.
pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// A hub that signs with a key.
pub fn signer(seed: u8) -> Signer {
    let key = key(seed);
    let public = PublicKey::of(&key);
    Signer { key, log: public.id(), ring: [public].into_iter().collect(), rotations: vec![] }
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
                layouts: vec![],
                report: None,
                encoder: String::new(),
                paces: vec![],
                ring_ms: None,
                live: Vec::new(),
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
            video: VideoSettings {
                width: 1920,
                height: 1080,
                fps: 25,
                max_kbps: 4000,
                gop_s: 2,
                encoder: None,
            },
            audio: AudioSettings { kbps: 128 },
            copy_camera: false,
        },
        software: Software { agent: "0.1.0".into(), recorder: "0.1.0".into(), libav: "59".into() },
        prev: None,
        sealed_wall_ms: 1_789_180_300_000,
    };
    (manifest, all)
}

/// A manifest's hash.
pub fn digest(manifest: &Manifest) -> Digest {
    Kept::new(manifest.clone()).and_then(|kept| kept.digest()).expect("a digest")
}

/// A hub on free ports, in a folder that goes with it.
pub struct TestHub {
    /// The data folder.
    pub folder: tempfile::TempDir,
    /// `http://127.0.0.1:N`.
    pub url: String,
    /// The broker's port.
    pub mqtt_port: u16,
    /// The console's password.
    pub admin: String,
    receive: Receive,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
}

/// Settings on free ports in a folder.
fn config(folder: &Path) -> Config {
    let mut config = config::parse("").expect("defaults");
    config.data_dir = folder.to_owned();
    config.http_listen = ([127, 0, 0, 1], 0).into();
    config.mqtt_listen = ([127, 0, 0, 1], 0).into();
    config
}

impl TestHub {
    /// A new hub that knows `room-1` and `room-2`; their password is `pw-` and the id.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path()).expect("opens");
        for device in ["room-1", "room-2"] {
            let password = format!("pw-{device}");
            store.write_now(|db| devices::add(db, &topics(device), "301教室", &password, 1)).expect("added");
        }
        let admin = app::set_admin_password(&store).expect("set");
        drop(store);
        Self::open(folder, admin, 0).await
    }

    async fn open(folder: tempfile::TempDir, admin: String, keep_free_bytes: u64) -> Self {
        let config = Config { keep_free_bytes, ..config(folder.path()) };
        let hub = app::open(&config).await.expect("opens");
        let url = format!("http://127.0.0.1:{}", hub.http_port);
        let (mqtt_port, stop) = (hub.mqtt_port, CancellationToken::new());
        let receive = hub.receive.clone();
        let served = tokio::spawn({
            let stop = stop.clone();
            async move { assert!(hub.serve(stop).await, "a part of the hub ended by itself") }
        });
        Self { folder, url, mqtt_port, admin, receive, stop, served }
    }

    /// Stops it; answers the folder and the password.
    pub async fn stop(self) -> (tempfile::TempDir, String) {
        // The background reader ends with the last handle.
        drop(self.receive);
        self.stop.cancel();
        self.served.await.expect("served");
        (self.folder, self.admin)
    }

    /// Stops it and starts another on the same folder, after `between` was done to the folder.
    pub async fn restart(self, between: impl FnOnce(&Path)) -> Self {
        let (folder, admin) = self.stop().await;
        between(folder.path());
        Self::open(folder, admin, 0).await
    }

    /// Stops it and starts one that must keep more space free than there is.
    pub async fn restart_full(self) -> Self {
        let (folder, admin) = self.stop().await;
        Self::open(folder, admin, u64::MAX).await
    }

    /// Where a lesson of `room-1` is kept.
    pub fn lesson_folder(&self, lesson: &str) -> PathBuf {
        self.folder.path().join("objects/3401000001/room-1").join(lesson)
    }

    /// The database, read beside the running hub.
    pub fn db(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.path().join("hub.db")).expect("opens")
    }

    /// The stage that takes lessons in.
    pub fn receive(&self) -> &Receive {
        &self.receive
    }

    /// A device's view of the upload API.
    pub fn device(&self, id: &str) -> Client {
        Client {
            http: reqwest::Client::new(),
            url: self.url.clone(),
            login: Some((id.to_owned(), format!("pw-{id}"))),
        }
    }
}

/// A caller of the upload API.
pub struct Client {
    /// HTTP.
    pub http: reqwest::Client,
    /// The hub.
    pub url: String,
    /// Id and password.
    pub login: Option<(String, String)>,
}

/// Status and JSON body of an answer.
pub type Answer = (u16, serde_json::Value);

impl Client {
    /// A JSON request.
    pub async fn json(&self, method: &str, path: &str, body: Option<serde_json::Value>) -> Answer {
        let method = method.parse().expect("method");
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some((id, password)) = &self.login {
            request = request.basic_auth(id, Some(password));
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await.expect("a body");
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Announces a lesson.
    pub async fn announce(&self, lesson: &str) -> Answer {
        let body = serde_json::json!({
            "lesson_id": lesson, "started_wall_ms": 1_789_180_200_000_i64,
            "about": {"class": "五年级2班", "subject": "语文"}, "key": PublicKey::of(&key(7)),
        });
        self.json("POST", "/api/v1/lessons", Some(body)).await
    }

    /// Asks for a grant.
    pub async fn grant(&self, lesson: &str, take: u32, n: u32, bytes: &[u8]) -> Answer {
        let body = serde_json::json!({"n": n, "size": bytes.len(), "sha256": Digest::of(bytes)});
        self.json("POST", &format!("/api/v1/lessons/{lesson}/takes/{take}/parts:grant"), Some(body)).await
    }

    /// Sends bytes to a granted URL.
    pub async fn put(&self, url: &str, bytes: &[u8]) -> Answer {
        let request = self.http.put(format!("{}{url}", self.url)).body(bytes.to_vec());
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.expect("a body")).unwrap_or_default())
    }

    /// Sends all parts of all takes.
    pub async fn send(&self, lesson: &str, takes: &[Vec<u8>]) {
        for (k, take) in takes.iter().enumerate() {
            let t = u32::try_from(k + 1).expect("few");
            for (n, part) in take.chunks(usize::try_from(PART_SIZE).expect("small")).enumerate() {
                let (status, grant) = self.grant(lesson, t, u32::try_from(n).expect("few"), part).await;
                assert_eq!(status, 200, "{grant}");
                // What is there already is not granted.
                if let Some(url) = grant["url"].as_str() {
                    let (status, problem) = self.put(url, part).await;
                    assert_eq!(status, 200, "{problem}");
                }
            }
        }
    }

    /// Seals a lesson.
    pub async fn seal(&self, manifest: &Manifest) -> Answer {
        let signed = Signed::sign(manifest.clone(), &key(7)).expect("signs");
        let path = format!("/api/v1/lessons/{}/seal", manifest.lesson_id);
        self.json("POST", &path, Some(serde_json::to_value(signed).expect("json"))).await
    }

    /// A lesson from announcement to receipt.
    pub async fn whole(&self, lesson: &str, takes: &[(u64, u64)]) -> (Manifest, serde_json::Value) {
        let (manifest, bytes) = manifest(lesson, takes);
        assert_eq!(self.announce(lesson).await.0, 200);
        self.send(lesson, &bytes).await;
        let (status, receipt) = self.seal(&manifest).await;
        assert_eq!(status, 200, "{receipt}");
        (manifest, receipt)
    }
}
