//! 录课: the list of lessons.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use lectern_wire::id::DeviceId;
use lectern_wire::manifest::About;

use super::guard::Who;
use super::{Console, Frame, Oops, show, words};
use crate::receive::check::Report;
use crate::store::devices;
use crate::store::lessons::{self, Filter, Lesson};

/// Lessons on one page.
const PAGE: u32 = 50;

/// One lesson in a list.
#[derive(Debug, Clone)]
pub struct LessonRow {
    /// Its id.
    pub id: String,
    /// When it began.
    pub when: String,
    /// Class and subject, or what there is.
    pub title: String,
    /// Topic, teacher, period.
    pub detail: String,
    /// The room's name.
    pub room: String,
    /// Length, once known.
    pub length: String,
    /// Size.
    pub size: String,
    /// Word of its state.
    pub state: &'static str,
    /// Its class.
    pub class: &'static str,
    /// What the last check said.
    pub check: Option<bool>,
    /// When its teacher said more of it afterwards.
    pub amended: String,
    /// What it was put forward for.
    pub submitted: String,
}

/// Lessons as rows.
pub fn rows(found: Vec<Lesson>, rooms: &HashMap<DeviceId, String>) -> Vec<LessonRow> {
    found
        .into_iter()
        .map(|lesson| {
            let (state, class) = words::lesson_state(lesson.state);
            let report = lesson.check_result.as_deref().and_then(|r| serde_json::from_str::<Report>(r).ok());
            LessonRow {
                when: words::moment(lesson.started_ms),
                title: title(&lesson.about),
                detail: detail(&lesson.about),
                room: rooms.get(&lesson.device).cloned().unwrap_or_else(|| lesson.device.to_string()),
                length: lesson.duration_ms.map(words::length).unwrap_or_default(),
                // What was thrown away takes no room.
                size: if lesson.discarded_ms.is_some() { String::new() } else { words::size(lesson.bytes) },
                state,
                class,
                check: report.map(|r| r.faults.is_empty()),
                amended: lesson.amended_ms.map(words::moment).unwrap_or_default(),
                submitted: submitted(&lesson),
                id: lesson.id.to_string(),
            }
        })
        .collect()
}

/// What a lesson was put forward for: `微能力2.0 A5、校本`; empty when for nothing.
pub fn submitted(lesson: &Lesson) -> String {
    lesson.submitted.iter().map(words::submission).collect::<Vec<_>>().join("、")
}

/// What a lesson is called: class and subject, else its topic, else its id.
pub fn title(about: &About) -> String {
    let said: Vec<&str> =
        [about.class.as_str(), about.subject.as_str()].into_iter().filter(|s| !s.is_empty()).collect();
    match (said.is_empty(), about.topic.is_empty()) {
        (false, _) => said.join(" · "),
        (true, false) => about.topic.clone(),
        (true, true) => "没有填写课程".into(),
    }
}

/// The rest of what the teacher said.
pub fn detail(about: &About) -> String {
    let has_title = !about.class.is_empty() || !about.subject.is_empty();
    let topic = if has_title { about.topic.as_str() } else { "" };
    let said: Vec<&str> = [about.period.as_str(), topic, about.teacher.as_str()]
        .into_iter()
        .filter(|s| !s.is_empty())
        .collect();
    said.join(" · ")
}

#[derive(Template)]
#[template(path = "lessons.html")]
struct ListPage {
    frame: Frame,
    text: String,
    state: String,
    query: String,
    part: ListPart,
}

#[derive(Template)]
#[template(path = "lessons_part.html")]
struct ListPart {
    lessons: Vec<LessonRow>,
    page: u32,
    more: bool,
    query: String,
}

struct Wish {
    filter: Filter,
    page: u32,
    text: String,
    state: String,
    query: String,
}

fn wish(query: &HashMap<String, String>) -> Wish {
    let text: String = query.get("q").map_or("", String::as_str).trim().chars().take(60).collect();
    let state = query.get("state").map_or("", String::as_str);
    let state = if ["receiving", "verifying", "stored", "discarded"].contains(&state) { state } else { "" };
    let some = |s: &str| (!s.is_empty()).then(|| s.to_owned());
    let quoted: String = text
        .bytes()
        .map(|c| if c.is_ascii_alphanumeric() { char::from(c).to_string() } else { format!("%{c:02X}") })
        .collect();
    Wish {
        filter: Filter { device: None, state: some(state), text: some(&text) },
        page: query.get("page").and_then(|p| p.parse().ok()).unwrap_or(0).min(100_000),
        query: format!("q={quoted}&state={state}"),
        state: state.to_owned(),
        text,
    }
}

async fn part(console: &Console, wish: &Wish) -> Result<ListPart, Oops> {
    let (filter, page) = (wish.filter.clone(), wish.page);
    let (mut found, rooms) = console
        .store
        .read(move |db| {
            let rooms: HashMap<_, _> = devices::all(db)?.into_iter().map(|d| (d.id, d.room)).collect();
            Ok((lessons::list(db, &filter, PAGE + 1, page * PAGE)?, rooms))
        })
        .await?;
    let more = found.len() > PAGE as usize;
    found.truncate(PAGE as usize);
    Ok(ListPart { lessons: rows(found, &rooms), page, more, query: wish.query.clone() })
}

/// 录课.
pub async fn list(
    State(console): State<Console>,
    _: Who,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Oops> {
    let wish = wish(&query);
    let part = part(&console, &wish).await?;
    let frame = console.frame("录课", "/lessons");
    Ok(show(&ListPage { frame, text: wish.text, state: wish.state, query: wish.query, part }))
}

/// The moving part of 录课.
pub async fn list_part(
    State(console): State<Console>,
    _: Who,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Oops> {
    Ok(show(&part(&console, &wish(&query)).await?))
}
