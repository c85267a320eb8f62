//! 告警: what is wrong in which room, one line a problem, with what to do next.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use lectern_base::clock;
use lectern_wire::alarm::Code;
use lectern_wire::id::DeviceId;

use super::guard::Who;
use super::wish::Wish;
use super::{Console, Frame, Oops, show, words};
use crate::store::alarms::{self, Filter};
use crate::store::devices;

/// Problems on one page.
const PAGE: u32 = 50;

/// One problem as it is shown.
struct Row {
    n: i64,
    device: DeviceId,
    room: String,
    title: &'static str,
    detail: String,
    next_step: &'static str,
    /// A word and its class.
    state: (&'static str, &'static str),
    when: String,
    /// Who has taken note of it.
    known: String,
    /// The word on the button, when there is something to press.
    press: Option<&'static str>,
}

fn row(found: alarms::Row, rooms: &HashMap<DeviceId, String>, now: i64) -> Row {
    let when = match found.cleared_ms {
        None => format!("{} 起，{}", words::moment(found.raised_ms), words::lasted(now - found.raised_ms)),
        Some(end) => {
            format!("{} 起，持续 {}", words::moment(found.raised_ms), words::lasted(end - found.raised_ms))
        }
    };
    let state = match (&found.cleared_ms, &found.known) {
        (Some(_), _) => ("已恢复", "good"),
        (None, Some(_)) => ("已知道", "busy"),
        (None, None) => ("未处理", "bad"),
    };
    // A hole in the numbers is not filled by waiting: somebody has to look, and that ends it.
    let word = if found.code == Code::SequenceGap { "已查明" } else { "知道了" };
    Row {
        n: found.n,
        room: rooms.get(&found.device).cloned().unwrap_or_else(|| found.device.to_string()),
        device: found.device,
        title: found.code.title(),
        detail: found.detail,
        next_step: found.code.next_step(),
        state,
        when,
        press: (found.cleared_ms.is_none() && found.known.is_none()).then_some(word),
        known: found.known.map(|(who, at)| format!("{} {who}", words::moment(at))).unwrap_or_default(),
    }
}

#[derive(Template)]
#[template(path = "alarms.html")]
struct ListPage {
    frame: Frame,
    wish: Wish,
    part: ListPart,
}

#[derive(Template)]
#[template(path = "alarms_part.html")]
struct ListPart {
    rows: Vec<Row>,
    more: bool,
    wish: Wish,
}

/// What can be chosen; the first is shown first.
const CHOICES: [&str; 2] = ["now", "all"];

async fn part(console: &Console, wish: &Wish) -> Result<ListPart, Oops> {
    let filter =
        Filter { device: wish.device.as_ref().map(ToString::to_string), standing: wish.show == "now" };
    let page = wish.page;
    let (mut found, rooms) = console
        .store
        .read(move |db| {
            let rooms: HashMap<_, _> = devices::all(db)?.into_iter().map(|d| (d.id, d.room)).collect();
            Ok((alarms::list(db, &filter, PAGE + 1, page * PAGE)?, rooms))
        })
        .await?;
    let more = found.len() > PAGE as usize;
    found.truncate(PAGE as usize);
    let now = clock::wall_ms();
    let rows = found.into_iter().map(|found| row(found, &rooms, now)).collect();
    Ok(ListPart { rows, more, wish: wish.clone() })
}

/// 告警.
pub async fn list(
    State(console): State<Console>,
    _: Who,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Oops> {
    let wish = Wish::of(&query, CHOICES);
    let part = part(&console, &wish).await?;
    Ok(show(&ListPage { frame: console.frame("告警", "/alarms"), wish, part }))
}

/// The moving part of 告警.
pub async fn list_part(
    State(console): State<Console>,
    _: Who,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Oops> {
    Ok(show(&part(&console, &Wish::of(&query, CHOICES)).await?))
}

/// Takes note of a problem, and of who did. Pressed twice is pressed once.
pub async fn know(
    State(console): State<Console>,
    Who(who): Who,
    Path(n): Path<i64>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Oops> {
    if console.store.write(move |db| alarms::know(db, n, &who, clock::wall_ms())).await? {
        console.bell.ring();
    }
    Ok(Redirect::to(&format!("/alarms?{}", Wish::of(&query, CHOICES).here())).into_response())
}
