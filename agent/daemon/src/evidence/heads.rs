//! Gives the head of a take's part chain out of this machine's hands while the lesson runs: signed, into the
//! outbox, from there retained over MQTT; see [`lectern_wire::chain`]. A copy goes into `heads.jsonl`.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use lectern_base::clock;
use lectern_wire::chain::{ChainHead, HeadLine};
use lectern_wire::digest::Digest;
use lectern_wire::id::LessonId;
use lectern_wire::sign::Signed;

use super::{SealError, Settings};
use crate::store::{Store, StoreError};

/// As often as this while a take grows.
const EVERY: Duration = Duration::from_secs(10);

/// When a take's last head was made, and how far it reached.
#[derive(Debug, Default)]
pub struct Heads {
    made: Option<(Duration, u64)>,
}

impl Heads {
    /// A take is durable up to here, and this is its chain: gives out a head when one is due.
    pub fn grow(
        &mut self,
        store: &Store,
        settings: &Settings,
        lesson: &LessonId,
        take: u32,
        head: Option<(u64, Digest)>,
    ) -> Result<(), SealError> {
        let Some((bytes, chain)) = head else { return Ok(()) };
        let now = clock::mono();
        if self.made.is_some_and(|(at, reached)| now.saturating_sub(at) < EVERY || reached == bytes) {
            return Ok(());
        }
        give_out(store, settings, lesson, take, (bytes, chain))?;
        self.made = Some((now, bytes));
        Ok(())
    }
}

/// Signs a head and gives it out.
pub fn give_out(
    store: &Store,
    settings: &Settings,
    lesson: &LessonId,
    take: u32,
    (bytes, chain): (u64, Digest),
) -> Result<(), SealError> {
    let head = ChainHead {
        v: 1,
        lesson_id: lesson.clone(),
        device: settings.device.clone(),
        take,
        bytes,
        chain,
        mono_ms: u64::try_from(clock::boot().as_millis()).unwrap_or(u64::MAX),
        boot_id: clock::boot_id(),
        wall_ms: clock::wall_ms(),
        clock_trusted: clock::trusted(),
    };
    let head = Signed::sign(head, &settings.key)?;
    let text = |e: serde_json::Error| StoreError::Impossible(e.to_string());
    store.outbox().push_head(&serde_json::to_string(&head).map_err(text)?)?;
    store.bells().publish.notify_one();
    let mut line = serde_json::to_vec(&HeadLine { head, arrived_ms: None }).map_err(text)?;
    line.push(b'\n');
    let path = store.lesson_folder(lesson).join("heads.jsonl");
    let written = File::options().create(true).append(true).open(&path);
    written.and_then(|mut file| file.write_all(&line)).map_err(|source| SealError::File { path, source })
}
