//! One part arrives: checked against its grant, hashed while it is written, committed when all of it is there.
//!
//! It is not waited for the disk here: a device is not held up by that, and keeps its own bytes until the receipt. The
//! reader behind it ([`super::readback`]) makes it durable, then reads it back.

use std::collections::HashMap;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt as _;
use lectern_base::clock;
use lectern_wire::digest::Digest;
use lectern_wire::id::LessonId;
use lectern_wire::upload::StoreState;
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;

use super::Receive;
use super::discard::discarded;
use super::problem::Problem;
use crate::model::admission;
use crate::model::grant::{Granted, NotGranted};
use crate::store::StoreError;
use crate::store::lessons::{self, StoredPart};
use crate::store::objects::{Kind, PartWriter, Place};

/// Bytes gathered before they are written.
const CHUNK: usize = 256 * 1024;
/// A line that brings nothing for this long is dead; a slow one is not.
const STALL: Duration = Duration::from_secs(60);

/// Same place, other bytes.
pub fn differs(take: u32, n: u32) -> Problem {
    Problem::conflict(
        "part_differs",
        format!(
            "part {n} of take {take} is stored with other bytes; bytes of a take never change once written"
        ),
    )
}

/// Too late.
pub fn sealed() -> Problem {
    Problem::conflict("lesson_stored", "this lesson is sealed; nothing can be added to it")
}

fn granted(lesson: &str, take: &str, n: &str, query: &HashMap<String, String>) -> Option<(Granted, String)> {
    let field = |name: &str| query.get(name);
    let granted = Granted {
        lesson: LessonId::new(lesson).ok()?,
        take: take.parse().ok()?,
        n: n.parse().ok()?,
        size: field("size")?.parse().ok()?,
        sha256: field("sha256")?.parse().ok()?,
        expires_ms: field("expires")?.parse().ok()?,
    };
    Some((granted, field("sig")?.clone()))
}

/// `PUT` of a granted part.
///
/// # Errors
/// [`Problem`]; then nothing is committed.
pub async fn put_part(
    State(receive): State<Receive>,
    Path((lesson, take, n)): Path<(String, String, String)>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let deps = receive.deps();
    let (grant, sig) = granted(&lesson, &take, &n, &query)
        .ok_or_else(|| Problem::bad("bad_grant", "this is not a grant's URL; ask the hub for a grant"))?;
    grant.check(&deps.grant_key, &sig, clock::wall_ms()).map_err(|e| match e {
        NotGranted::Forged => Problem::new(
            StatusCode::FORBIDDEN,
            "grant_forged",
            "the grant does not fit what it is used for; ask for a new one",
        ),
        NotGranted::Expired => {
            Problem::new(StatusCode::FORBIDDEN, "grant_expired", "the grant has ended; ask for a new one")
        }
    })?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|h| h.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length != grant.size) {
        deps.counts.bad_parts.one();
        return Err(wrong_length(&grant));
    }
    let alone = receive.inner.part_locks.lock((grant.lesson.clone(), grant.take, grant.n)).await;
    let _place = Taken::of(&receive, &grant);
    let body = body.into_data_stream();
    let count_bad = |problem: Problem| {
        if problem.status == StatusCode::UNPROCESSABLE_ENTITY {
            deps.counts.bad_parts.one();
        }
        problem
    };
    let (place, writer) = match open(&receive, &grant).await? {
        Target::Here => return Ok(StatusCode::OK),
        Target::File(place, writer) => (place, *writer),
        Target::S3 => {
            let (_alone, _room) = (alone, receive.may_pass().await?);
            let bytes = gather(body, &grant).await.map_err(count_bad)?;
            receive.pass_on(&grant, bytes.into()).await?;
            return Ok(StatusCode::OK);
        }
    };
    let sha256 = write(writer, body, &grant, alone).await.map_err(count_bad)?;
    let (take, n) = (grant.take, grant.n);
    let (part, now) = (StoredPart { take, n, size: grant.size, sha256, read_back: false }, clock::wall_ms());
    let id = grant.lesson;
    if !deps.store.write_unsynced(move |db| lessons::add_part(db, &id, &part, now)).await? {
        return Err(discarded());
    }
    deps.counts.parts.one();
    deps.counts.bytes.add(grant.size);
    deps.bell.ring();
    if receive.inner.read_soon.try_send((place, take)).is_err() {
        tracing::debug!("the background reader is behind; this part is read at sealing");
    }
    Ok(StatusCode::OK)
}

/// The place among all parts on their way; given back on drop, however the part ends.
struct Taken<'r> {
    receive: &'r Receive,
    part: admission::Part,
}

impl<'r> Taken<'r> {
    /// Takes the place that was granted.
    fn of(receive: &'r Receive, grant: &Granted) -> Self {
        let part = (grant.lesson.clone(), grant.take, grant.n);
        receive.admission().began(&part);
        Self { receive, part }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.receive.admission().ended(&self.part);
    }
}

/// Where a granted part goes.
enum Target {
    /// Nowhere: its bytes are stored already.
    Here,
    /// Into a file.
    File(Place, Box<PartWriter>),
    /// On to the S3 store, once it is checked.
    S3,
}

/// Opens a granted part for writing.
async fn open(receive: &Receive, grant: &Granted) -> Result<Target, Problem> {
    let deps = receive.deps();
    // From here on nobody removes the folder until the part has its file.
    let nobody_removes = receive.inner.folder_locks.lock(grant.lesson.clone()).await;
    let (id, take, n) = (grant.lesson.clone(), grant.take, grant.n);
    let (lesson, stored) = deps
        .store
        .read(move |db| Ok((lessons::find(db, id.as_str())?, lessons::find_part(db, &id, take, n)?)))
        .await?;
    let lesson = lesson.ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "lesson_unknown",
            "the hub does not know this lesson any more; announce it",
        )
    })?;
    match (stored, lesson.state) {
        (_, StoreState::Discarded) => return Err(discarded()),
        (Some(part), _) if (part.size, part.sha256) == (grant.size, grant.sha256) => return Ok(Target::Here),
        (Some(_), _) => return Err(differs(take, n)),
        (None, StoreState::Stored) => return Err(sealed()),
        (None, _) => {}
    }
    if lesson.kind == Kind::S3 {
        return Ok(Target::S3);
    }
    let place = Place::of(&lesson);
    let (objects, at) = (deps.objects.clone(), place.clone());
    let writer = blocking(move || {
        // Held in here: a device that hangs up ends the request, but not this.
        let _held = nobody_removes;
        objects.open_part(&at, take, n)
    });
    Ok(Target::File(place, Box::new(writer.await?)))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Problem> {
    done(tokio::task::spawn_blocking(work)).await
}

async fn done<T>(work: JoinHandle<std::io::Result<T>>) -> Result<T, Problem> {
    let done = work.await.map_err(|_| StoreError::Closing)?;
    done.map_err(|e| StoreError::io("writing a part")(e).into())
}

/// Writes the body to the disk; answers its hash when everything is as granted.
///
/// What came is written and hashed while the next pieces come, and is not copied once more. No thread waits for a slow
/// line. The part's lock goes along: a device that hangs up ends the request, but not what is being written.
async fn write(
    writer: PartWriter,
    mut body: BodyDataStream,
    grant: &Granted,
    alone: OwnedMutexGuard<()>,
) -> Result<Digest, Problem> {
    let (mut left, mut ended) = (grant.size, false);
    let mut at_work = tokio::spawn(async { Ok((writer, alone)) });
    while !ended {
        let (mut pieces, mut gathered) = (Vec::new(), 0);
        while gathered < CHUNK && !ended {
            match piece(&mut body).await? {
                Some(bytes) => {
                    left = left.checked_sub(bytes.len() as u64).ok_or_else(|| wrong_length(grant))?;
                    gathered += bytes.len();
                    pieces.push(bytes);
                }
                None => ended = true,
            }
        }
        let (mut writer, alone) = done(at_work).await?;
        at_work = tokio::task::spawn_blocking(move || {
            pieces.iter().try_for_each(|piece| writer.write(piece)).map(|()| (writer, alone))
        });
    }
    let (writer, _alone) = done(at_work).await?;
    if writer.written() != grant.size {
        return Err(wrong_length(grant));
    }
    as_granted(writer.finish(), grant)
}

/// The next piece of a body; none at its end.
async fn piece(body: &mut BodyDataStream) -> Result<Option<axum::body::Bytes>, Problem> {
    let next = tokio::time::timeout(STALL, body.next()).await.map_err(|_| {
        Problem::new(StatusCode::REQUEST_TIMEOUT, "stalled", "nothing came for a minute; send the part again")
    })?;
    next.transpose()
        .map_err(|e| Problem::bad("cut_short", format!("the body ended early ({e}); send the part again")))
}

/// Takes a whole body into memory when everything is as granted.
async fn gather(mut body: BodyDataStream, grant: &Granted) -> Result<Vec<u8>, Problem> {
    let size = usize::try_from(grant.size).map_err(|_| wrong_length(grant))?;
    let mut bytes = Vec::with_capacity(size);
    while let Some(next) = piece(&mut body).await? {
        if bytes.len() + next.len() > size {
            return Err(wrong_length(grant));
        }
        bytes.extend_from_slice(&next);
    }
    if bytes.len() != size {
        return Err(wrong_length(grant));
    }
    let (sha256, bytes) = blocking(move || Ok((Digest::of(&bytes), bytes))).await?;
    as_granted(sha256, grant).map(|_| bytes)
}

fn as_granted(sha256: Digest, grant: &Granted) -> Result<Digest, Problem> {
    if sha256 == grant.sha256 {
        Ok(sha256)
    } else {
        Err(Problem::unsound(
            "hash_mismatch",
            format!("the bytes have hash {sha256}, granted was {}; send the part again", grant.sha256),
        ))
    }
}

fn wrong_length(grant: &Granted) -> Problem {
    Problem::unsound(
        "length_mismatch",
        format!("the body does not have the {} bytes that were granted; send the part again", grant.size),
    )
}
