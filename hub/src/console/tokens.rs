//! 设备登记: enrolment tokens and their cards.

use axum::Form;
use axum::extract::{Multipart, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use lectern_base::clock;
use lectern_wire::id::SchoolId;
use serde::Deserialize;

use super::guard::Who;
use super::{Console, Oops, devices, words};
use crate::enrol::cards;
use crate::enrol::desk::{Card, MOST_DAYS, Wish};
use crate::model::rooms::{self, Room};

/// A list of rooms is no longer, bytes.
pub const LIST_MAX: usize = 2 << 20;

/// A token as the page shows it.
pub struct Row {
    /// What it is.
    pub card: Card,
    /// A class for its colour.
    pub tone: &'static str,
    /// 未使用, 已使用, 已过期.
    pub standing: &'static str,
    /// Until when, or since when.
    pub when: String,
}

impl Row {
    fn of(card: Card, now: i64) -> Self {
        let (tone, standing) = match card.standing.as_str() {
            "unused" => ("good", "未使用"),
            "used" => ("", "已使用"),
            _ => ("warn", "已过期"),
        };
        let when = match (card.standing.as_str(), card.used_ms) {
            ("used", Some(used)) => words::ago(used, now),
            _ => format!("到 {}", clock::local(card.expires_ms).strftime("%m-%d %H:%M")),
        };
        Self { card, tone, standing, when }
    }
}

/// All tokens, for the page.
pub async fn rows(console: &Console) -> Result<Vec<Row>, Oops> {
    let now = clock::wall_ms();
    Ok(console.desk.cards().await?.into_iter().map(|card| Row::of(card, now)).collect())
}

/// What the form sends.
#[derive(Debug, Default)]
pub(super) struct Asked {
    school: String,
    rooms: String,
    days: String,
    list: Option<(String, Vec<u8>)>,
}

pub(super) async fn asked(mut form: Multipart) -> Result<Asked, String> {
    let odd = |_| "表单没有收全，请再试一次。".to_owned();
    let mut asked = Asked::default();
    while let Some(field) = form.next_field().await.map_err(odd)? {
        let name = field.name().unwrap_or_default().to_owned();
        let file = field.file_name().map(str::to_owned);
        let bytes = field.bytes().await.map_err(odd)?;
        let text = || String::from_utf8(bytes.to_vec()).map_err(|_| "表单里有认不出的字。".to_owned());
        match (name.as_str(), file) {
            ("school", _) => asked.school = text()?,
            ("rooms", _) => asked.rooms = text()?,
            ("days", _) => asked.days = text()?,
            ("list", Some(file)) if !bytes.is_empty() => asked.list = Some((file, bytes.to_vec())),
            _ => {}
        }
    }
    Ok(asked)
}

impl Asked {
    pub(super) fn wish(self, who: String) -> Result<Wish, String> {
        let school = SchoolId::new(self.school.trim())
            .map_err(|_| "学校标识码只用小写字母、数字、- 和 _，最多 32 个字。")?;
        let days = self.days.trim().parse().ok().filter(|days| (1..=MOST_DAYS).contains(days));
        let days = days.ok_or_else(|| format!("有效天数是 1 到 {MOST_DAYS} 的整数。"))?;
        let rooms: Vec<Room> = match &self.list {
            Some((name, bytes)) => rooms::read(name, bytes).map_err(|faults| faults.join("\n"))?,
            None => rooms::read("教室", self.rooms.as_bytes()).map_err(|faults| faults.join("\n"))?,
        };
        Ok(Wish { school, rooms, uses: 1, days, who })
    }
}

/// Makes tokens and shows their cards.
pub async fn make(State(console): State<Console>, Who(who): Who, form: Multipart) -> Result<Response, Oops> {
    let wish = match asked(form).await.and_then(|asked| asked.wish(who)) {
        Ok(wish) => wish,
        Err(fault) => {
            let page = devices::refused(&console, fault).await?;
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
        }
    };
    console.desk.make(wish).await?;
    Ok(Redirect::to("/devices#tokens").into_response())
}

/// Takes a token back.
pub async fn take_back(
    State(console): State<Console>,
    Who(who): Who,
    Path(token): Path<String>,
) -> Result<Response, Oops> {
    if !console.desk.take_back(token, who).await? {
        return Err(Oops::missing("这张还能用的登记卡"));
    }
    Ok(Redirect::to("/devices#tokens").into_response())
}

/// A token for a device that is there: another machine takes its place.
#[derive(Debug, Deserialize)]
pub struct Again {
    school: String,
    room: String,
    device: String,
}

/// Makes a token for a room that has a device.
pub async fn again(
    State(console): State<Console>,
    Who(who): Who,
    Form(asked): Form<Again>,
) -> Result<Response, Oops> {
    let odd = || Oops::missing("这台设备");
    let school = SchoolId::new(asked.school).map_err(|_| odd())?;
    let device = lectern_wire::id::DeviceId::new(asked.device).map_err(|_| odd())?;
    let name = crate::model::name::room(&asked.room).ok_or_else(odd)?;
    let rooms = vec![Room { name, device: Some(device) }];
    console.desk.make(Wish { school, rooms, uses: 1, days: crate::enrol::desk::DAYS, who }).await?;
    Ok(Redirect::to("/devices#tokens").into_response())
}

/// Which cards.
#[derive(Debug, Deserialize)]
pub struct Which {
    token: Option<String>,
}

/// The cards that are good, to print; or one of them.
pub async fn cards(
    State(console): State<Console>,
    _: Who,
    Query(which): Query<Which>,
) -> Result<Response, Oops> {
    let all = console.desk.cards().await?.into_iter();
    let wanted = |card: &Card| which.token.as_ref().is_none_or(|token| *token == card.token);
    let good: Vec<_> = all.filter(|card| card.standing == "unused" && wanted(card)).collect();
    let page = cards::page(&console.school, &good, false).map_err(|e| {
        tracing::error!("cards could not be drawn: {e}");
        Oops::new(StatusCode::INTERNAL_SERVER_ERROR, "登记卡没有做出来，请稍后再试。")
    })?;
    Ok(Html(page).into_response())
}

/// The hub's certificate authority, for browsers.
pub async fn ca(State(console): State<Console>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/x-pem-file"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"lectern-ca.pem\""),
    ];
    (headers, console.ca.clone()).into_response()
}
