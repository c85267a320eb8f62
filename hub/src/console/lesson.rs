//! The page of one lesson: player, proof, takes, who watched.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use lectern_base::clock;
use lectern_wire::manifest::{Manifest, Take, TakeEnd, clock_text};
use lectern_wire::receipt::Receipt;
use lectern_wire::sign::Signed;
use lectern_wire::upload::StoreState;

use super::chain::Chain;
use super::guard::Who;
use super::{Console, Frame, Oops, lessons as list, show, words};
use crate::receive::check::{self, Fault, Known, Report};
use crate::receive::retention;
use crate::store::audit;
use crate::store::device_keys;
use crate::store::devices::{self, Device};
use crate::store::lessons::{self, Lesson};
use crate::store::objects::Place;
use crate::store::receipts;

/// Everything the hub knows of a lesson.
pub struct Whole {
    /// The row.
    pub lesson: Lesson,
    /// Its device.
    pub device: Option<Device>,
    /// Its manifest, once sealed.
    pub manifest: Option<Signed<Manifest>>,
    /// Its receipt, once stored.
    pub receipt: Option<Signed<Receipt>>,
    /// Its bytes were removed because its time was over.
    pub expired: bool,
}

impl Whole {
    /// Where its bytes are.
    pub fn place(&self) -> Place {
        Place::of(&self.lesson)
    }
}

/// Finds a lesson.
pub async fn find(console: &Console, id: &str) -> Result<Whole, Oops> {
    let id = id.to_owned();
    let found = console.store.read(move |db| {
        let Some(lesson) = lessons::find(db, &id)? else { return Ok(None) };
        Ok(Some(Whole {
            device: devices::find(db, lesson.device.as_str())?,
            manifest: lessons::manifest(db, &lesson.id)?,
            receipt: receipts::find(db, &lesson.id)?,
            expired: !audit::of(db, retention::KIND, lesson.id.as_str())?.is_empty(),
            lesson,
        }))
    });
    found.await?.ok_or_else(|| Oops::missing("这节课"))
}

#[derive(Template)]
#[template(path = "lesson.html")]
struct LessonPage {
    frame: Frame,
    id: String,
    title: String,
    detail: String,
    room: String,
    device: String,
    when: String,
    length: String,
    size: String,
    state: &'static str,
    class: &'static str,
    stored: bool,
    /// When its teacher threw it away.
    discarded: Option<String>,
    /// Its time was over, rather than its teacher wanting it away.
    expired: bool,
    /// When more was said of it afterwards, and what the manifest says.
    amended: Option<(String, String)>,
    submitted: String,
    uncut: bool,
    proof: Proof,
    chain: Chain,
    takes: Vec<TakeView>,
    views: Vec<(String, &'static str, String)>,
}

/// What can be said of a lesson's soundness.
#[derive(Default)]
struct Proof {
    checked: Option<String>,
    sound: bool,
    parts: u64,
    bytes: String,
    faults: Vec<String>,
    manifest: String,
    key: String,
    receipt: Option<ReceiptView>,
}

struct ReceiptView {
    when: String,
    index: u64,
    key: String,
}

/// A take as it is listed.
struct TakeView {
    n: u32,
    when: String,
    length: String,
    size: String,
    parts: usize,
    end: String,
    clock_trusted: bool,
    notes: Vec<Note>,
}

/// Something that happened in a take.
struct Note {
    /// Seconds in the player's timeline.
    seek: u64,
    at: String,
    class: &'static str,
    text: String,
}

fn take_view(take: &Take, before_ms: u64) -> TakeView {
    let note = |at_ms: u64, class, text| Note {
        seek: (before_ms + at_ms) / 1000,
        at: clock_text(at_ms),
        class,
        text,
    };
    let until = |from: u64, to: Option<u64>| match to {
        Some(to) => format!("，{} 秒", to.saturating_sub(from) / 1000),
        None => "，直到结束".into(),
    };
    let mut notes: Vec<(u64, Note)> = Vec::new();
    for mark in &take.marks {
        notes.push((mark.at_ms, note(mark.at_ms, "mark", format!("打点：{}", mark.word))));
    }
    for pause in &take.pauses {
        let text = match pause.length_ms {
            Some(ms) => format!("暂停 {}", words::length(ms)),
            None => "暂停后没有继续".into(),
        };
        notes.push((pause.at_ms, note(pause.at_ms, "pause", text)));
    }
    for gap in &take.gaps {
        let cause = words::gap(gap.code, &gap.cause);
        let text = format!("{} 中断{}：{cause}", gap.source, until(gap.from_ms, gap.to_ms));
        notes.push((gap.from_ms, note(gap.from_ms, "gap", text)));
    }
    for finding in &take.findings {
        let what = lectern_proof::words::finding(finding.kind);
        let text = format!("{what}{}", until(finding.from_ms, finding.to_ms));
        notes.push((finding.from_ms, note(finding.from_ms, "gap", text)));
    }
    notes.sort_by_key(|(at, _)| *at);
    TakeView {
        n: take.n,
        when: words::moment(take.started_wall_ms),
        length: words::length(take.duration_ms),
        size: words::size(take.size),
        parts: take.parts.len(),
        end: match &take.end {
            TakeEnd::Stopped => "正常结束".into(),
            TakeEnd::Interrupted(why) => format!("中断：{}", words::cause(why)),
        },
        clock_trusted: take.clock_trusted,
        notes: notes.into_iter().map(|(_, note)| note).collect(),
    }
}

fn fault_text(fault: &Fault) -> String {
    match fault {
        Fault::Part { take, n, from, to, missing } => {
            let what = if *missing { "缺失" } else { "被改动" };
            format!("第 {take} 段 {from}–{to} 的数据{what}（分片 {n}）")
        }
        Fault::Take { take } => format!("第 {take} 段的整体校验不符"),
        Fault::Manifest { why } => format!("清单不可信：{why}"),
        Fault::Receipt { why } => format!("回执不可信：{why}"),
    }
}

fn proof(whole: &Whole, now: i64) -> Proof {
    let report = whole.lesson.check_result.as_deref().and_then(|r| serde_json::from_str::<Report>(r).ok());
    let mut proof = Proof {
        manifest: whole.lesson.manifest_sha256.map(|d| d.to_string()).unwrap_or_default(),
        key: whole.manifest.as_ref().map(|m| m.signature.key_id.clone()).unwrap_or_default(),
        receipt: whole.receipt.as_ref().map(|r| ReceiptView {
            when: words::moment(r.document.stored_wall_ms),
            index: r.document.log_index,
            key: r.signature.key_id.clone(),
        }),
        ..Proof::default()
    };
    if let (Some(report), Some(at)) = (report, whole.lesson.checked_ms) {
        proof.checked = Some(words::ago(at, now));
        proof.sound = report.faults.is_empty();
        proof.parts = report.parts;
        proof.bytes = words::size(report.bytes);
        proof.faults = report.faults.iter().map(fault_text).collect();
    }
    proof
}

/// What the manifest says of a lesson, which no later word changes.
fn recorded_as(manifest: Option<&Signed<Manifest>>) -> String {
    let Some(about) = manifest.map(|m| &m.document.about) else { return String::new() };
    let said = [list::title(about), list::detail(about)];
    said.into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join(" · ")
}

/// The page.
pub async fn page(State(console): State<Console>, _: Who, Path(id): Path<String>) -> Result<Response, Oops> {
    let whole = find(&console, &id).await?;
    let row = whole.lesson.clone();
    let (views, chain) =
        console.store.read(move |db| Ok((lessons::views(db, &row.id, 50)?, Chain::of(db, &row)?))).await?;
    let now = clock::wall_ms();
    let mut before = 0;
    let takes: Vec<&Take> = whole.manifest.iter().flat_map(|m| &m.document.takes).collect();
    let uncut = takes.len() == 1 && takes.iter().all(|t| t.pauses.is_empty() && t.gaps.is_empty());
    let takes = takes.into_iter().map(|take| {
        let view = take_view(take, before);
        before += take.duration_ms;
        view
    });
    let takes: Vec<TakeView> = takes.collect();
    let lesson = &whole.lesson;
    let (state, class) = words::lesson_state(lesson.state);
    let page = LessonPage {
        frame: console.frame(list::title(&lesson.about), "/lessons"),
        id: lesson.id.to_string(),
        title: list::title(&lesson.about),
        detail: list::detail(&lesson.about),
        room: whole.device.as_ref().map_or_else(|| lesson.device.to_string(), |d| d.room.clone()),
        device: lesson.device.to_string(),
        when: words::moment(lesson.started_ms),
        length: lesson.duration_ms.map(words::length).unwrap_or_default(),
        size: words::size(lesson.bytes),
        state,
        class,
        stored: lesson.state == StoreState::Stored,
        discarded: lesson.discarded_ms.map(words::moment),
        expired: whole.expired,
        amended: lesson.amended_ms.map(|at| (words::moment(at), recorded_as(whole.manifest.as_ref()))),
        submitted: list::submitted(lesson),
        uncut,
        proof: proof(&whole, now),
        chain,
        takes,
        views: views
            .into_iter()
            .map(|v| (v.who, if v.kind == "download" { "下载" } else { "播放" }, words::moment(v.at_ms)))
            .collect(),
    };
    Ok(show(&page))
}

/// Why a lesson's bytes cannot be had.
pub fn not_stored(lesson: &Lesson) -> Oops {
    if lesson.state == StoreState::Discarded {
        return Oops::new(StatusCode::GONE, "教师已经删除这节录课，画面和声音都不在了。");
    }
    Oops::new(StatusCode::CONFLICT, "这节课还没有存好，存好后就能看，也能核验。")
}

/// 核验: reads all stored bytes again and keeps what was found.
pub async fn verify(
    State(console): State<Console>,
    _: Who,
    Path(id): Path<String>,
) -> Result<Response, Oops> {
    let whole = find(&console, &id).await?;
    if whole.lesson.state != StoreState::Stored {
        return Err(not_stored(&whole.lesson));
    }
    let place = whole.place();
    let index = whole.receipt.as_ref().map(|r| r.document.log_index);
    let log_prev = match index.and_then(|i| i.checked_sub(1)) {
        Some(before) => console.store.read(move |db| receipts::digest_at(db, before)).await?,
        None => None,
    };
    let device = whole.lesson.device.clone();
    let known = Known {
        device: console.store.read(move |db| device_keys::ring(db, &device)).await?,
        hub: console.hub_keys.clone(),
        log_prev,
        receipt: whole.receipt,
    };
    let permit = console.inner.checking.acquire().await;
    let objects = console.objects.clone();
    let report = tokio::task::spawn_blocking(move || check::run(&objects, &place, &known)).await?;
    drop(permit);
    if !report.faults.is_empty() {
        tracing::error!(lesson = %whole.lesson.id, faults = ?report.faults, "a stored lesson is not sound");
    }
    let text = serde_json::to_string(&report).unwrap_or_default();
    let (lesson, now) = (whole.lesson.id.clone(), clock::wall_ms());
    console.store.write(move |db| lessons::set_check(db, &lesson, &text, now)).await?;
    Ok(Redirect::to(&format!("/lessons/{}#proof", whole.lesson.id)).into_response())
}
