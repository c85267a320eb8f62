//! 报修: what teachers reported, with the machine's condition at that time, and how far each is.

use std::collections::HashMap;

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use lectern_base::clock;
use lectern_wire::id::DeviceId;
use serde::Deserialize;

use super::condition::{self, Condition};
use super::guard::Who;
use super::wish::Wish;
use super::{Console, Frame, Oops, show, words};
use crate::model::repair::{self, Answer};
use crate::store::devices;
use crate::store::repairs::{self, Filter, Ticket};

/// Tickets on one page.
const PAGE: u32 = 30;
/// One ticket as it is shown.
struct Row {
    device: DeviceId,
    id: String,
    room: String,
    when: String,
    text: String,
    state: &'static str,
    class: &'static str,
    condition: Condition,
    /// What was done, as sentences.
    history: Vec<String>,
    /// What can be done next: a state's name and the button's word.
    next: (&'static str, &'static str),
}

fn row(ticket: Ticket, rooms: &HashMap<DeviceId, String>) -> Row {
    let (state, class) = words::repair_state(ticket.state);
    let said = |name: &str| match repair::State::named(name) {
        Some(repair::State::Doing) => "开始处理",
        Some(repair::State::Done) => "标为已完成",
        _ => "改动",
    };
    Row {
        room: rooms.get(&ticket.device).cloned().unwrap_or_else(|| ticket.device.to_string()),
        when: words::moment(ticket.asked_ms),
        condition: condition::read(&ticket.condition),
        history: ticket
            .history
            .iter()
            .map(|e| format!("{} {} {}", words::moment(e.at_ms), e.who, said(&e.detail)))
            .collect(),
        next: match ticket.state {
            repair::State::Open => ("doing", "开始处理"),
            repair::State::Doing => ("done", "已修好"),
            repair::State::Done => ("doing", "还没修好"),
        },
        device: ticket.device,
        id: ticket.id,
        text: ticket.text,
        state,
        class,
    }
}

#[derive(Template)]
#[template(path = "repairs.html")]
struct ListPage {
    frame: Frame,
    wish: Wish,
    /// The room's name, when the list is of one room.
    room: String,
    part: ListPart,
}

#[derive(Template)]
#[template(path = "repairs_part.html")]
struct ListPart {
    rows: Vec<Row>,
    more: bool,
    wish: Wish,
}

/// What can be chosen; the first is shown first.
const CHOICES: [&str; 3] = ["pending", "done", "all"];

async fn part(console: &Console, wish: &Wish) -> Result<(ListPart, String), Oops> {
    let done = match wish.show {
        "pending" => Some(false),
        "done" => Some(true),
        _ => None,
    };
    let filter = Filter { device: wish.device.as_ref().map(ToString::to_string), done };
    let page = wish.page;
    let (mut found, rooms) = console
        .store
        .read(move |db| {
            let rooms: HashMap<_, _> = devices::all(db)?.into_iter().map(|d| (d.id, d.room)).collect();
            Ok((repairs::list(db, &filter, PAGE + 1, page * PAGE)?, rooms))
        })
        .await?;
    let more = found.len() > PAGE as usize;
    found.truncate(PAGE as usize);
    let room = wish.device.as_ref().map(|d| rooms.get(d).cloned().unwrap_or_else(|| d.to_string()));
    let rows = found.into_iter().map(|ticket| row(ticket, &rooms)).collect();
    Ok((ListPart { rows, more, wish: wish.clone() }, room.unwrap_or_default()))
}

/// 报修.
pub async fn list(
    State(console): State<Console>,
    _: Who,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Oops> {
    let wish = Wish::of(&query, CHOICES);
    let (part, room) = part(&console, &wish).await?;
    Ok(show(&ListPage { frame: console.frame("报修", "/repairs"), wish, room, part }))
}

/// The moving part of 报修.
pub async fn list_part(
    State(console): State<Console>,
    _: Who,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Oops> {
    Ok(show(&part(&console, &Wish::of(&query, CHOICES)).await?.0))
}

/// What a button sends.
#[derive(Deserialize)]
pub struct Press {
    state: String,
}

/// Takes a ticket one step further, and notes who did.
pub async fn change(
    State(console): State<Console>,
    Who(who): Who,
    Path((device, id)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
    Form(press): Form<Press>,
) -> Result<Response, Oops> {
    let to = repair::State::named(&press.state)
        .ok_or_else(|| Oops::new(StatusCode::UNPROCESSABLE_ENTITY, "报修没有这种状态，请从列表里点按钮。"))?;
    let answer = console
        .store
        .write(move |db| repairs::change(db, &device, &id, to, &who, clock::wall_ms()))
        .await?
        .ok_or_else(|| Oops::missing("这条报修"))?;
    match answer {
        Answer::Changed => console.bell.ring(),
        // Somebody else pressed the same a moment before.
        Answer::AlreadySo => {}
        Answer::Denied => {
            let sentence = "这条报修刚被别人改过，现在不能这样改。请回到报修页看看。";
            return Err(Oops::new(StatusCode::CONFLICT, sentence));
        }
    }
    let wish = Wish::of(&query, CHOICES);
    Ok(Redirect::to(&format!("/repairs?{}", wish.here())).into_response())
}
