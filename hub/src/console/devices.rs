//! 设备登记: devices, how they come in and how they go. A password is shown once, when it is made; see [`tokens`] for cards.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use lectern_base::{chance, clock};
use lectern_wire::id::{DeviceId, SchoolId};
use lectern_wire::topic::Topics;
use serde::Deserialize;

use super::guard::Who;
use super::{Console, Frame, Oops, show, tokens, words};
use crate::store::devices::{self, Device};
use crate::store::{alarms, audit, certificates};

#[derive(Template)]
#[template(path = "devices.html")]
struct DevicesPage {
    frame: Frame,
    devices: Vec<Row>,
    form: Wish,
    fault: String,
    made: Option<Made>,
    mqtt_port: u16,
    tokens: Vec<tokens::Row>,
    /// Whether one of them can be used.
    any_good: bool,
    fingerprint: String,
}

struct Row {
    id: String,
    school: String,
    room: String,
    seen: String,
    key: String,
    /// Until when its certificate holds; empty when it has none.
    certificate: String,
    retired: bool,
}

/// An account just made.
struct Made {
    topics: Topics,
    room: String,
    password: String,
}

/// What the form sends.
#[derive(Debug, Default, Deserialize)]
pub struct Wish {
    school: String,
    device: String,
    room: String,
}

async fn view(console: &Console, form: Wish, fault: String, made: Option<Made>) -> Result<Response, Oops> {
    let now = clock::wall_ms();
    let known = console
        .store
        .read(|db| {
            let with_end = |d: Device| Ok((certificates::ends_ms(db, &d.id)?, d));
            devices::all(db)?.into_iter().map(with_end).collect::<rusqlite::Result<Vec<_>>>()
        })
        .await?;
    let mut form = form;
    if form.school.is_empty()
        && let Some((_, first)) = known.first()
    {
        first.school.as_str().clone_into(&mut form.school);
    }
    let devices = known
        .into_iter()
        .map(|(ends, d)| Row {
            certificate: ends
                .map_or_else(String::new, |ends| clock::local(ends).strftime("%Y-%m-%d").to_string()),
            retired: d.retired_ms.is_some(),
            seen: d.seen_ms.map_or_else(|| "还没有连接过".into(), |seen| words::ago(seen, now)),
            key: d.key.map(|k| k.id()).unwrap_or_default(),
            id: d.id.to_string(),
            school: d.school.to_string(),
            room: d.room,
        })
        .collect();
    let frame = console.frame("设备登记", "/devices");
    let tokens = tokens::rows(console).await?;
    let any_good = tokens.iter().any(|t| t.card.standing == "unused");
    let (mqtt_port, fingerprint) = (console.mqtt_port, console.fingerprint.clone());
    Ok(show(&DevicesPage { frame, devices, form, fault, made, mqtt_port, tokens, any_good, fingerprint }))
}

/// The page, with why something was not done.
pub async fn refused(console: &Console, fault: String) -> Result<Response, Oops> {
    view(console, Wish::default(), fault, None).await
}

/// The page.
pub async fn page(State(console): State<Console>, _: Who) -> Result<Response, Oops> {
    view(&console, Wish::default(), String::new(), None).await
}

pub(super) fn checked(wish: &Wish) -> Result<(Topics, String), String> {
    let school = SchoolId::new(wish.school.trim())
        .map_err(|_| "学校标识码只用小写字母、数字、- 和 _，最多 32 个字。")?;
    let device = DeviceId::new(wish.device.trim())
        .map_err(|_| "设备编号只用小写字母、数字、- 和 _，以字母或数字开头，最多 40 个字。")?;
    let room = crate::model::name::room(&wish.room).ok_or("教室名称要 1 到 40 个字。")?;
    Ok((Topics { school, device }, room))
}

/// Makes an account.
pub async fn add(
    State(console): State<Console>,
    Who(who): Who,
    Form(wish): Form<Wish>,
) -> Result<Response, Oops> {
    let refuse = axum::http::StatusCode::UNPROCESSABLE_ENTITY;
    let (topics, room) = match checked(&wish) {
        Ok(checked) => checked,
        Err(fault) => return Ok((refuse, view(&console, wish, fault, None).await?).into_response()),
    };
    let password = chance::hex::<24>();
    let (new, name, secret) = (topics.clone(), room.clone(), password.clone());
    let done =
        console.store.write(move |db| devices::add(db, &new, &name, &secret, clock::wall_ms())).await?;
    if !done {
        let fault = format!("设备 {} 已经登记过，可以在下面重设它的密码。", topics.device);
        return Ok((refuse, view(&console, wish, fault, None).await?).into_response());
    }
    tracing::info!(device = %topics.device, school = %topics.school, %who, "device registered");
    console.bell.ring();
    view(&console, Wish::default(), String::new(), Some(Made { topics, room, password })).await
}

/// Gives a device a new password.
pub async fn new_password(
    State(console): State<Console>,
    Who(who): Who,
    Path(id): Path<String>,
) -> Result<Response, Oops> {
    let password = chance::hex::<24>();
    let secret = password.clone();
    let found = console.store.write(move |db| {
        let device = devices::find(db, &id)?;
        if let Some(device) = &device {
            devices::set_password(db, &device.id, &secret)?;
        }
        Ok(device)
    });
    let device = found.await?.ok_or_else(|| Oops::missing("这台设备"))?;
    console.barred.bar(device.id.clone());
    tracing::info!(device = %device.id, %who, "device password renewed");
    let made = Made { topics: device.topics(), room: device.room, password };
    view(&console, Wish::default(), String::new(), Some(made)).await
}

/// Takes a device out of use: its password and its certificate open nothing from now on, and what is connected is cut off.
pub async fn retire(
    State(console): State<Console>,
    Who(who): Who,
    Path(id): Path<String>,
) -> Result<Response, Oops> {
    let (now, by) = (clock::wall_ms(), who.clone());
    let found = console.store.write(move |db| {
        let Some(device) = devices::find(db, &id)? else { return Ok(None) };
        if devices::retire(db, &device.id, now)? {
            certificates::retire(db, &device.id, None, "retired", now)?;
            alarms::end_all(db, &device.id, now)?;
            audit::note(db, &by, "device", device.id.as_str(), "retired", now)?;
        }
        Ok(Some(device))
    });
    let device = found.await?.ok_or_else(|| Oops::missing("这台设备"))?;
    console.barred.bar(device.id.clone());
    console.bell.ring();
    tracing::info!(device = %device.id, %who, "device retired");
    Ok(Redirect::to("/devices").into_response())
}
