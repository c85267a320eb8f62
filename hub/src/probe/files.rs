//! Tries the file store out: the hub's own receiver, on a port of its own, with a folder of its own on the disk that
//! lessons will be on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lectern_base::{chance, clock};
use lectern_wire::digest::Digest;
use lectern_wire::id::{DeviceId, LessonId, SchoolId};
use lectern_wire::sign::PublicKey;
use lectern_wire::topic::Topics;
use serde_json::json;
use tokio::net::TcpListener;

use super::{Findings, Weight};
use crate::door::{Http, Peer};
use crate::model::bell::Bell;
use crate::model::count::Counts;
use crate::model::grant::Granted;
use crate::receive::{self, Receive};
use crate::store::keys::Keys;
use crate::store::objects::{Kind, Objects, Place, read_part};
use crate::store::reliance::Reliance;
use crate::store::{Store, StoreError, devices};

/// Bytes that are sent.
const SIZE: usize = 1 << 20;
const LESSON: &str = "check";

/// Tries everything; what it wrote is removed again.
///
/// # Errors
/// When nothing can be written below the data folder.
pub async fn run(data: &Path, keep_free_bytes: u64) -> Result<Findings, StoreError> {
    let folder = data.join(format!("check-{}", chance::hex::<8>()));
    let outcome = trial(&folder, keep_free_bytes).await;
    std::fs::remove_dir_all(&folder).map_err(StoreError::io(format!("removing {}", folder.display())))?;
    outcome
}

struct Trial {
    http: reqwest::Client,
    url: String,
    password: String,
}

impl Trial {
    async fn post(
        &self,
        path: &str,
        body: serde_json::Value,
    ) -> Result<(u16, serde_json::Value), StoreError> {
        let request = self.http.post(format!("{}{path}", self.url)).json(&body);
        answer(request.basic_auth(LESSON, Some(&self.password))).await
    }

    async fn put(&self, url: &str, bytes: &[u8]) -> Result<(u16, serde_json::Value), StoreError> {
        answer(self.http.put(format!("{}{url}", self.url)).body(bytes.to_vec())).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<(u16, serde_json::Value), StoreError> {
    let odd = |e: reqwest::Error| {
        StoreError::io("asking the check's own receiver")(std::io::Error::other(e.without_url()))
    };
    let response = request.send().await.map_err(odd)?;
    let status = response.status().as_u16();
    let body = response.bytes().await.map_err(odd)?;
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

async fn trial(folder: &Path, keep_free_bytes: u64) -> Result<Findings, StoreError> {
    let store = Store::open(folder)?;
    let mut keys = Keys::open(folder)?;
    let signer = keys.signer(&store, folder, clock::wall_ms())?;
    let objects = Objects::open(folder, None).map_err(StoreError::io("opening the file store"))?;
    let odd = |e: lectern_wire::id::BadId| StoreError::io("naming the check")(std::io::Error::other(e));
    let topics =
        Topics { school: SchoolId::new(LESSON).map_err(odd)?, device: DeviceId::new(LESSON).map_err(odd)? };
    let place = Place::new(&topics, &LessonId::new(LESSON).map_err(odd)?, Kind::File);
    let password = chance::hex::<24>();
    store.write_now(|db| devices::add(db, &topics, LESSON, &password, clock::wall_ms()))?;
    let mut found = Findings::default();
    let free = objects.free_bytes().map_err(StoreError::io("asking for free space"))?;
    let detail = format!("{} MiB free, {} MiB stay free", free >> 20, keep_free_bytes >> 20);
    found.add(Weight::Needed, "space", "there is room", free > keep_free_bytes, detail);

    let (receive, _reader) = Receive::new(receive::Deps {
        store,
        objects: objects.clone(),
        grant_key: keys.grant,
        signer,
        bell: Bell::default(),
        counts: Arc::new(Counts::default()),
        keep_free_bytes: 0,
        parts_at_once: 16,
        reliance: Reliance::default(),
    });
    let bound = TcpListener::bind(("127.0.0.1", 0)).await.map_err(StoreError::io("opening a port"))?;
    let address = bound.local_addr().map_err(StoreError::io("opening a port"))?;
    let door = Http::new(bound, None).map_err(StoreError::io("opening a port"))?;
    let api = receive::router(receive, axum::Router::new());
    let api = api.into_make_service_with_connect_info::<Peer>();
    let serving = tokio::spawn(axum::serve(door, api).into_future());
    // A line that the receiver is about to close must not carry the next request.
    let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build();
    let http = http.map_err(|e| StoreError::io("making a client")(std::io::Error::other(e)))?;
    let trial = Trial { http, url: format!("http://{address}"), password };
    let outcome = parts(&trial, &keys, &objects, &place, &mut found).await;
    serving.abort();
    outcome.map(|()| found)
}

async fn parts(
    trial: &Trial,
    keys: &Keys,
    objects: &Objects,
    place: &Place,
    found: &mut Findings,
) -> Result<(), StoreError> {
    let good: Vec<u8> = (0..SIZE).map(|n| (n % 251) as u8).collect();
    let mut other = good.clone();
    other[4096] ^= 1;
    let announce = json!({ "lesson_id": LESSON, "started_wall_ms": clock::wall_ms(), "key": PublicKey::of(&keys.signing) });
    let (status, said) = trial.post("/api/v1/lessons", announce).await?;
    found.add(Weight::Needed, "announce", "a lesson is taken on", status == 200, word(status, &said));
    let wish = json!({ "n": 0, "size": SIZE, "sha256": Digest::of(&good) });
    let (_, grant) = trial.post(&format!("/api/v1/lessons/{LESSON}/takes/1/parts:grant"), wish).await?;
    let url = grant["url"].as_str().unwrap_or_default().to_owned();
    let elsewhere = url.replace("/1/0?", "/1/1?");
    let granted = Granted {
        lesson: place.lesson.clone(),
        take: 1,
        n: 0,
        size: SIZE as u64,
        sha256: Digest::of(&good),
        expires_ms: clock::wall_ms() - 1,
    };
    let expired = granted.url(&keys.grant);
    let tries: [(_, _, &str, &[u8]); 5] = [
        ("wrong_hash", "bytes with another hash are refused", &url, &other),
        ("longer", "more bytes than granted are refused", &url, &[good.as_slice(), b"x"].concat()),
        ("shorter", "fewer bytes than granted are refused", &url, &good[1..]),
        ("forged", "a link used for another part is refused", &elsewhere, &good),
        ("expired", "a link is refused after its time", &expired, &good),
    ];
    for (check, what, url, bytes) in tries {
        // The receiver may hang up on what it refuses, before all of it was sent.
        let hung_up = |_| (499, json!({ "code": "it hung up" }));
        let (status, said) = trial.put(url, bytes).await.unwrap_or_else(hung_up);
        found.add(Weight::Needed, check, what, (400..500).contains(&status), word(status, &said));
    }
    let (status, said) = trial.put(&url, &good).await?;
    found.add(
        Weight::Needed,
        "right_bytes",
        "a link carries the bytes it was made for",
        status == 200,
        word(status, &said),
    );
    let (status, said) = trial.put(&url, &good).await?;
    found.add(
        Weight::Needed,
        "sent_twice",
        "a part sent twice counts once",
        status == 200,
        word(status, &said),
    );

    let partial = objects.partial(place, 1);
    let same = |read: std::io::Result<Vec<u8>>| match read {
        Ok(bytes) if bytes == good => (true, String::new()),
        Ok(_) => (false, "other bytes".to_owned()),
        Err(e) => (false, e.to_string()),
    };
    let (ok, detail) = same(read_part(&partial, 0, SIZE as u64));
    found.add(Weight::Needed, "read_back", "a part reads back from the disk", ok, detail);
    let finished = objects.finish(place, 1, SIZE as u64).and_then(|()| objects.source(place, 1));
    let (ok, detail) = same(finished.and_then(|take| take.read_part_now(0, SIZE as u64)));
    found.add(Weight::Needed, "complete", "a take gets its name and reads back", ok, detail);
    let again = objects.finish(place, 1, SIZE as u64).is_err();
    let (ok, detail) = same(read_part(&objects.take(place, 1), 0, SIZE as u64));
    found.add(Weight::Needed, "completed_twice", "completing twice changes nothing", ok && again, detail);
    let listed = objects.takes(place).is_ok_and(|(whole, partial)| whole == [1] && partial.is_empty());
    found.add(Weight::Needed, "list", "takes are listed", listed, "");
    let gone =
        objects.remove(place).is_ok() && !PathBuf::from(&partial).exists() && !objects.folder(place).exists();
    found.add(Weight::Needed, "delete", "a deleted lesson is gone", gone, "");
    Ok(())
}

fn word(status: u16, said: &serde_json::Value) -> String {
    format!("{status} {}", said["code"].as_str().unwrap_or_default()).trim_end().to_owned()
}
