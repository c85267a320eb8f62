//! 设备登记: accounts of devices. A password is shown once, when it is made.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use lectern_base::{chance, clock};
use lectern_wire::id::{DeviceId, SchoolId};
use lectern_wire::topic::Topics;
use serde::Deserialize;

use super::guard::Who;
use super::{Console, Frame, Oops, show, words};
use crate::store::devices;

#[derive(Template)]
#[template(path = "devices.html")]
struct DevicesPage {
    frame: Frame,
    devices: Vec<Row>,
    form: Wish,
    fault: String,
    made: Option<Made>,
    mqtt_port: u16,
}

struct Row {
    id: String,
    school: String,
    room: String,
    seen: String,
    key: String,
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
    let known = console.store.read(devices::all).await?;
    let mut form = form;
    if form.school.is_empty()
        && let Some(first) = known.first()
    {
        first.school.as_str().clone_into(&mut form.school);
    }
    let devices = known
        .into_iter()
        .map(|d| Row {
            seen: d.seen_ms.map_or_else(|| "还没有连接过".into(), |seen| words::ago(seen, now)),
            key: d.key.map(|k| k.id()).unwrap_or_default(),
            id: d.id.to_string(),
            school: d.school.to_string(),
            room: d.room,
        })
        .collect();
    let frame = console.frame("设备登记", "/devices");
    Ok(show(&DevicesPage { frame, devices, form, fault, made, mqtt_port: console.mqtt_port }))
}

/// The page.
pub async fn page(State(console): State<Console>, _: Who) -> Result<Response, Oops> {
    view(&console, Wish::default(), String::new(), None).await
}

fn checked(wish: &Wish) -> Result<(Topics, String), String> {
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
    tracing::info!(device = %device.id, %who, "device password renewed");
    let made = Made { topics: device.topics(), room: device.room, password };
    view(&console, Wish::default(), String::new(), Some(made)).await
}
