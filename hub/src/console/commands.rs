//! What a technician asks of a room, and what became of it. Nothing here looks, listens or records.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use lectern_base::{chance, clock};
use lectern_wire::command::{Command, CommandState, Verb};
use lectern_wire::sign::Signed;
use serde::Deserialize;

use super::guard::Who;
use super::{Console, Oops, show, words};
use crate::store::commands;
use crate::store::devices::Device;

/// Commands that are shown.
const SHOWN: u32 = 8;
/// How long most commands may take to arrive.
const GOOD_FOR_MS: u64 = 2 * 60 * 1000;
/// A message waits for the teacher through a lesson.
const MESSAGE_GOOD_FOR_MS: u64 = 60 * 60 * 1000;

/// The verbs a button stands for: name and word.
pub const BUTTONS: [(&str, &str); 9] = [
    ("refresh", "立即读取"),
    ("doctor", "设备检查"),
    ("preflight", "检查画面和声音"),
    ("update_check", "检查更新"),
    ("debug", "详细日志"),
    ("info", "恢复日志"),
    ("restart_agent", "重启程序"),
    ("reboot", "重启电脑"),
    ("power_off", "关机"),
];

/// As [`BUTTONS`], for rooms whose agent knows a projector.
pub const PROJECTOR: [(&str, &str); 2] = [("projector_on", "打开投影机"), ("projector_off", "关闭投影机")];

fn word(verb: &str) -> &str {
    match verb {
        "projector" => "开关投影机",
        "message" => "给教师留言",
        "wake" => "唤醒另一台",
        "log_level" => "调整日志",
        other => BUTTONS.iter().find(|(name, _)| *name == other).map_or(other, |(_, word)| word),
    }
}

/// One command as it is shown.
struct Row {
    what: String,
    who: String,
    when: String,
    /// A word and its class.
    state: (&'static str, &'static str),
    detail: String,
}

fn row((found, taken_in): (commands::Row, bool), now: i64) -> Row {
    let state = match found.state {
        _ if !taken_in => ("等设备连上", "idle"),
        CommandState::Received => ("已收到", "busy"),
        CommandState::Running => ("正在执行", "busy"),
        CommandState::Successful => ("完成", "good"),
        CommandState::Failed => ("没有成功", "bad"),
        CommandState::Expired => ("已过期", "warn"),
        CommandState::Denied => ("没有执行", "warn"),
    };
    Row {
        what: word(&found.verb).to_owned(),
        who: found.who,
        when: words::ago(found.given_ms, now),
        state,
        detail: found.detail,
    }
}

/// The moving part: what was asked and what became of it.
#[derive(Template)]
#[template(path = "commands_part.html")]
pub struct ListPart {
    rows: Vec<Row>,
}

/// What was asked of a device lately.
pub async fn part(console: &Console, device: &Device) -> Result<ListPart, Oops> {
    let id = device.id.clone();
    let found = console.store.read(move |db| commands::newest(db, &id, SHOWN)).await?;
    let now = clock::wall_ms();
    Ok(ListPart { rows: found.into_iter().map(|found| row(found, now)).collect() })
}

/// The list alone.
pub async fn list_part(
    State(console): State<Console>,
    _: Who,
    Path(id): Path<String>,
) -> Result<Response, Oops> {
    let device = super::room::find(&console, &id).await?;
    Ok(show(&part(&console, &device).await?))
}

/// What the form sends.
#[derive(Deserialize)]
pub struct Wish {
    verb: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    mac: String,
}

impl Wish {
    pub(super) fn verb(self) -> Option<Verb> {
        Some(match self.verb.as_str() {
            "refresh" => Verb::Refresh,
            "doctor" => Verb::Doctor,
            "preflight" => Verb::Preflight,
            "update_check" => Verb::UpdateCheck,
            level @ ("debug" | "info") => Verb::LogLevel { level: level.into() },
            "restart_agent" => Verb::RestartAgent,
            "reboot" => Verb::Reboot,
            "power_off" => Verb::PowerOff,
            "projector_on" => Verb::Projector { on: true },
            "projector_off" => Verb::Projector { on: false },
            "message" => Verb::Message { text: self.text.trim().to_owned() },
            "wake" => Verb::Wake { mac: self.mac.trim().to_owned() },
            _ => return None,
        })
    }
}

/// Gives a command, signed and noted with who gave it.
pub async fn give(
    State(console): State<Console>,
    Who(who): Who,
    Path(id): Path<String>,
    Form(wish): Form<Wish>,
) -> Result<Response, Oops> {
    let refuse = |why: &str| Oops::new(StatusCode::UNPROCESSABLE_ENTITY, why);
    let device = super::room::find(&console, &id).await?;
    let verb = wish.verb().ok_or_else(|| refuse("没有这种命令，请从教室页里点按钮。"))?;
    if verb.fault().is_some() {
        return Err(refuse(match verb {
            Verb::Message { .. } => "留言要有 1 到 120 个字，写在一行里。",
            _ => "网卡地址要写成 aa:bb:cc:dd:ee:ff 这样。",
        }));
    }
    let now = clock::wall_ms();
    let good_for_ms = if matches!(verb, Verb::Message { .. }) { MESSAGE_GOOD_FOR_MS } else { GOOD_FOR_MS };
    let (school, device) = (device.school, device.id);
    let to = format!("/rooms/{device}#commands");
    let command =
        Command { v: 1, id: chance::hex::<8>(), school, device, verb, given_ms: now, good_for_ms, who };
    let signed = Signed::sign(command, &console.key).map_err(|e| {
        tracing::error!("a command could not be signed: {e}");
        Oops::new(StatusCode::INTERNAL_SERVER_ERROR, "命令没有发出，请查看中心的日志。")
    })?;
    console.store.write(move |db| commands::add(db, &signed, now)).await?;
    console.given.notify_one();
    console.bell.ring();
    Ok(Redirect::to(&to).into_response())
}
