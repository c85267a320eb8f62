//! The upload API's routes (see `lectern_wire::upload`) and who may call them.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, FromRef, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use lectern_base::clock;
use lectern_wire::PART_SIZE;
use lectern_wire::home::{Home, Remembered};
use lectern_wire::id::LessonId;
use lectern_wire::manifest::Manifest;
use lectern_wire::receipt::Receipt;
use lectern_wire::sign::Signed;
use lectern_wire::upload::{Announce, Grant, GrantRequest, HubInfo, LessonStatus, StoreState};

use super::discard::discarded;
use super::problem::Problem;
use super::{Receive, log_api};
use crate::door::body::Body;
use crate::door::caller::Caller;
use crate::door::routes::{Routes, Who};
use crate::model::admission::Told;
use crate::model::grant::{Granted, LIFE_MS};
use crate::model::sound::{MAX_PARTS, MAX_TAKES};
use crate::store::devices::{self, Device};
use crate::store::lessons::{self, Lesson};
use crate::store::objects::{Kind, Place};
use crate::store::{Store, StoreError, audit, device_keys, home, receipts};

/// Largest JSON body: a manifest of a whole school day stays far below.
const MAX_JSON: usize = 4 * 1024 * 1024;
/// How long a seal is waited for before the device is told to ask again.
const SEAL_PATIENCE: Duration = Duration::from_secs(10);

/// The API's routes.
pub fn routes() -> Routes<Receive> {
    Routes::below("/api/v1")
        .get(Who::Everybody, "/hub", hub)
        .post(Who::Device, "/home", home)
        .get(Who::Everybody, "/ping", ping)
        .post(Who::Device, "/lessons", announce)
        .get(Who::Device, "/lessons/{lesson}", status)
        .delete(Who::Device, "/lessons/{lesson}", discard)
        .post(Who::Device, "/lessons/{lesson}/takes/{take}/parts:grant", grant)
        .post(Who::Device, "/lessons/{lesson}/takes/{take}/parts:sent", sent)
        .post(Who::Device, "/lessons/{lesson}/seal", seal)
        .get(Who::Device, "/lessons/{lesson}/receipt", receipt)
        // Entries are salted hashes: the log tells nothing, and is there to be looked at.
        .get(Who::Everybody, "/log/checkpoint", log_api::checkpoint)
        .get(Who::Everybody, "/log/consistency", log_api::consistency)
        .get(Who::Everybody, "/log/tile/{*path}", log_api::tile)
}

/// The file store's routes.
pub fn store_routes() -> Routes<Receive> {
    Routes::below("/store/v1").put(Who::Grant, "/parts/{lesson}/{take}/{n}", super::part::put_part)
}

/// The routers, with what else answers below `/api/v1`.
pub fn router(receive: Receive, more: Router) -> Router {
    let api = routes()
        .router()
        .with_state(receive.clone())
        .merge(more)
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_this_way)
        .layer(DefaultBodyLimit::max(MAX_JSON));
    let store = store_routes()
        .router()
        .with_state(receive)
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_this_way)
        // The grant says how long the body is; the handler reads no further.
        .layer(DefaultBodyLimit::disable());
    Router::new().nest("/api/v1", api).nest("/store/v1", store)
}

impl FromRef<Receive> for Store {
    fn from_ref(receive: &Receive) -> Self {
        receive.deps().store.clone()
    }
}

async fn nothing_here() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no_such_path",
        "the hub's API has nothing at this path; check the address",
    )
}

async fn not_this_way() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "this path is not asked with this method")
}

/// Says nothing, quickly: rooms measure the way here by it.
async fn ping() -> StatusCode {
    StatusCode::NO_CONTENT
}

async fn hub(State(receive): State<Receive>) -> Json<HubInfo> {
    let signer = &receive.deps().signer;
    Json(HubInfo {
        name: "lectern-hub".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        key: signer.public(),
        rotations: signer.rotations.clone(),
        now_ms: clock::wall_ms(),
    })
}

/// Longest texts a device may have remembered.
const HOME_TEXT: usize = 64;

async fn home(
    State(receive): State<Receive>,
    Caller { device, .. }: Caller,
    Body(said): Body<Home>,
) -> Result<Json<Remembered>, Problem> {
    let texts = [&said.volume, &said.boot_id];
    if texts.iter().any(|text| text.len() > HOME_TEXT) || i64::try_from(said.boots).is_err() {
        return Err(Problem::unsound(
            "bad_home",
            format!("volume and boot_id have at most {HOME_TEXT} bytes"),
        ));
    }
    let now = clock::wall_ms();
    let remembered = receive.deps().store.write(move |db| home::remember(db, &device.id, &said, now)).await?;
    Ok(Json(remembered))
}

async fn announce(
    State(receive): State<Receive>,
    Caller { device, .. }: Caller,
    Body(said): Body<Announce>,
) -> Result<Json<LessonStatus>, Problem> {
    if let Some(fault) = said.about.fault() {
        return Err(Problem::unsound("bad_about", format!("about: {fault}")));
    }
    let id = said.lesson_id.clone();
    let topics = device.topics();
    let objects = receive.deps().objects.clone();
    let kind = objects.kind();
    let place = Place::new(&topics, &id, kind);
    let now = clock::wall_ms();
    let nobody_removes = receive.inner.folder_locks.lock(id.clone()).await;
    let outcome = receive.deps().store.write(move |db| {
        if let Err(why) = device_keys::show(db, &topics.device, said.key, &said.rotations, now)? {
            return Ok(Err(key_differs(&why)));
        }
        if !devices::pin_machine(db, &topics.device, &said.machine, now)? {
            let id = topics.device.as_str();
            // It comes back every minute; once a day is enough to be seen.
            let seen = audit::of(db, "other_machine", id)?;
            if seen.last().is_none_or(|entry| now - entry.at_ms > 86_400_000) {
                tracing::error!(
                    device = id,
                    "the id of this device is used on another machine; its lessons are refused"
                );
                audit::note(db, "hub", "other_machine", id, "refused", now)?;
            }
            return Ok(Err(other_machine()));
        }
        match lessons::find(db, said.lesson_id.as_str())? {
            Some(lesson) if lesson.device != topics.device => return Ok(Err(not_yours())),
            Some(lesson) if lesson.state == StoreState::Discarded => return Ok(Err(discarded())),
            _ => {}
        }
        lessons::announce(db, &said.lesson_id, &topics, said.started_wall_ms, &said.about, (kind, now))?;
        Ok(Ok(()))
    });
    outcome.await??;
    let made = tokio::task::spawn_blocking(move || {
        let _held = nobody_removes;
        objects.make_folder(&place)
    });
    let made = made.await;
    made.map_err(|_| StoreError::Closing)?.map_err(StoreError::io("making the lesson's folder"))?;
    receive.deps().bell.ring();
    Ok(Json(receive.status(id).await?))
}

fn key_differs(why: &str) -> Problem {
    Problem::conflict(
        "key_differs",
        format!(
            "this device was known with another signing key ({why}); if the machine was replaced, enrol it with a new card \
             (换设备 on the page 设备登记), or, where rooms have no cards, let its new key come with `lectern-hub device add \
             --replace --new-key`"
        ),
    )
}

fn other_machine() -> Problem {
    Problem::conflict(
        "other_machine",
        "this device's id, key and password came from another machine (a cloned disk?): register this one under an id of its own; if its hardware was exchanged, enrol it with a new card (换设备 on the page 设备登记), or, where rooms have no cards, give the device a new password at the hub",
    )
}

fn not_yours() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "not_your_lesson", "this lesson belongs to another device")
}

/// A lesson of the caller.
async fn own_lesson(receive: &Receive, device: &Device, id: &str) -> Result<Lesson, Problem> {
    let lesson = LessonId::new(id).map_err(|e| Problem::bad("bad_lesson_id", e.to_string()))?;
    let found = receive.deps().store.read(move |db| lessons::find(db, lesson.as_str())).await?;
    let lesson = found.ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "lesson_unknown",
            "the hub does not know this lesson; announce it before anything is done with it",
        )
    })?;
    if lesson.device == device.id { Ok(lesson) } else { Err(not_yours()) }
}

/// A lesson of the caller that was not thrown away.
async fn kept_lesson(receive: &Receive, device: &Device, id: &str) -> Result<Lesson, Problem> {
    let lesson = own_lesson(receive, device, id).await?;
    if lesson.state == StoreState::Discarded { Err(discarded()) } else { Ok(lesson) }
}

async fn discard(
    State(receive): State<Receive>,
    Caller { device, .. }: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let lesson = own_lesson(&receive, &device, &id).await?;
    let discarding = receive.clone();
    // A task of its own: a device that hangs up does not leave half a lesson behind.
    let task = receive.inner.seals.spawn(async move { discarding.discard(lesson).await });
    task.await.map_err(|_| StoreError::Closing)??;
    Ok(StatusCode::NO_CONTENT)
}

async fn status(
    State(receive): State<Receive>,
    Caller { device, .. }: Caller,
    Path(id): Path<String>,
) -> Result<Json<LessonStatus>, Problem> {
    let lesson = own_lesson(&receive, &device, &id).await?;
    Ok(Json(receive.status(lesson.id).await?))
}

/// The receipt of one's own lesson, as it was written.
async fn receipt(
    State(receive): State<Receive>,
    Caller { device, .. }: Caller,
    Path(id): Path<String>,
) -> Result<Json<Signed<Receipt>>, Problem> {
    let lesson = kept_lesson(&receive, &device, &id).await?;
    let found = receive.deps().store.read(move |db| receipts::find(db, &lesson.id)).await?;
    found.map(Json).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "not_stored", "this lesson has no receipt yet; seal it first")
    })
}

async fn grant(
    State(receive): State<Receive>,
    Caller { device, .. }: Caller,
    Path((id, take)): Path<(String, String)>,
    Body(wish): Body<GrantRequest>,
) -> Result<Json<Grant>, Problem> {
    let lesson = kept_lesson(&receive, &device, &id).await?;
    let take = sound_part(&take, &wish)?;
    let (deps, expires_ms) = (receive.deps(), clock::wall_ms() + LIFE_MS);
    let id = lesson.id.clone();
    match deps.store.read(move |db| lessons::find_part(db, &id, take, wish.n)).await? {
        Some(part) if (part.size, part.sha256) == (wish.size, wish.sha256) => {
            return Ok(Json(Grant { url: None, headers: Default::default(), expires_ms, confirm: false }));
        }
        Some(_) => return Err(super::part::differs(take, wish.n)),
        None if lesson.state == StoreState::Stored => return Err(super::part::sealed()),
        None => {}
    }
    let part = (lesson.id.clone(), take, wish.n);
    let told = receive.admission().ask(&device.id, &part, wish.live, clock::mono());
    if let Told::Wait(wait, ahead) = told {
        deps.counts.queued.one();
        return Err(Problem::queued(wait, ahead));
    }
    if lesson.kind == Kind::S3 {
        let grant = receive.grant_at_s3(lesson, take, wish).await;
        if !grant.as_ref().is_ok_and(|grant| grant.url.is_some()) {
            receive.admission().ended(&part);
        }
        return Ok(Json(grant?));
    }
    let objects = deps.objects.clone();
    let free = tokio::task::spawn_blocking(move || objects.free_bytes()).await;
    let free = free.map_err(|_| StoreError::Closing)?.map_err(StoreError::io("asking for free space"))?;
    if free < deps.keep_free_bytes.saturating_add(wish.size) {
        return Err(Problem::full());
    }
    let granted =
        Granted { lesson: lesson.id, take, n: wish.n, size: wish.size, sha256: wish.sha256, expires_ms };
    let url = Some(granted.url(&deps.grant_key));
    Ok(Json(Grant { url, headers: Default::default(), expires_ms, confirm: false }))
}

/// The take's number, when it and the part can be.
fn sound_part(take: &str, part: &GrantRequest) -> Result<u32, Problem> {
    let take = take.parse().ok().filter(|t| (1..=MAX_TAKES).contains(t)).ok_or_else(|| {
        Problem::bad("bad_take", format!("a take is numbered 1 to {MAX_TAKES}, this one {take:?}"))
    })?;
    if part.n >= MAX_PARTS || part.size == 0 || part.size > PART_SIZE {
        return Err(Problem::unsound(
            "bad_part",
            format!("a part is numbered below {MAX_PARTS} and has 1 to {PART_SIZE} bytes"),
        ));
    }
    Ok(take)
}

async fn sent(
    State(receive): State<Receive>,
    Caller { device, .. }: Caller,
    Path((id, take)): Path<(String, String)>,
    Body(said): Body<GrantRequest>,
) -> Result<StatusCode, Problem> {
    let lesson = kept_lesson(&receive, &device, &id).await?;
    let take = sound_part(&take, &said)?;
    let part = (lesson.id.clone(), take, said.n);
    let outcome = receive.sent(&lesson, take, said).await;
    receive.admission().ended(&part);
    outcome?;
    Ok(StatusCode::NO_CONTENT)
}

async fn seal(
    State(receive): State<Receive>,
    Caller { device, .. }: Caller,
    Path(id): Path<String>,
    Body(manifest): Body<Signed<Manifest>>,
) -> Result<Response, Problem> {
    let lesson = kept_lesson(&receive, &device, &id).await?;
    let id = lesson.id.clone();
    let sealing = receive.clone();
    // A task of its own: a device that hangs up does not stop the reading of its lesson.
    let task = receive.inner.seals.spawn(async move { sealing.seal(device, lesson.id, manifest).await });
    match tokio::time::timeout(SEAL_PATIENCE, task).await {
        Ok(Ok(outcome)) => {
            let receipt = outcome?;
            Ok(Json(receipt).into_response())
        }
        Ok(Err(_)) => Err(StoreError::Closing.into()),
        Err(_) => {
            let find = id.clone();
            // It may have ended in this very moment.
            let (lesson, receipt) = receive
                .deps()
                .store
                .read(move |db| Ok((lessons::find(db, find.as_str())?, receipts::find(db, &find)?)))
                .await?;
            match receipt {
                _ if lesson.is_some_and(|l| l.state == StoreState::Discarded) => return Err(discarded()),
                Some(receipt) => return Ok(Json(receipt).into_response()),
                None => {}
            }
            Ok((StatusCode::ACCEPTED, Json(receive.status(id).await?)).into_response())
        }
    }
}
