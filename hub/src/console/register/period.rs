//! One period of the register: what the room saw, what people say of it, and the form to confirm or correct it.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use jiff::civil::Date;
use lectern_wire::id::DeviceId;
use lectern_wire::usage::word::{Refused, Word, open, said};
use lectern_wire::usage::{KIND, NOTE_MAX_CHARS, OPEN_DAYS, Usage};
use serde::Deserialize;

use super::super::guard::Who;
use super::super::spreadsheet::Cell;
use super::super::{Console, Frame, Oops, show, words};
use super::line;
use crate::model::register::{Entry, Verdict};
use crate::store::register::{Now, entries};
use crate::store::{audit, devices, usage};

/// The path of a period's page.
pub fn link(device: &DeviceId, date: &str, period: &str) -> String {
    let quoted: String = period.bytes().map(|c| format!("%{c:02X}")).collect();
    format!("/usage/{device}/{date}/{quoted}")
}

#[derive(Template)]
#[template(path = "usage_period.html")]
struct Page {
    frame: Frame,
    link: String,
    title: String,
    verdict: (&'static str, &'static str),
    facts: Vec<(&'static str, String)>,
    /// What the room saw, where a person says something else.
    seen: String,
    /// Seconds behind the verdict.
    sums: String,
    history: Vec<String>,
    /// Whether the form is shown.
    open: bool,
    /// Whether there is something that can be confirmed.
    can_confirm: bool,
    used: bool,
    minutes: String,
    length: i64,
    condition: String,
    note: String,
    fault: String,
    open_days: i64,
}

fn read(entry: &Entry) -> Vec<(&'static str, String)> {
    let text = |cell: Cell| match cell {
        Cell::Text(text) => text,
        Cell::Number(number) => number.to_string(),
    };
    let cells = line::cells(entry).into_iter().map(text);
    line::COLUMNS.into_iter().zip(cells).filter(|(_, text)| !text.is_empty()).collect()
}

/// What the room saw, in a sentence.
fn sums(row: &Usage) -> String {
    let length = (row.planned_end_ms - row.planned_start_ms) / 1000;
    let span = |s: i64| words::length(u64::try_from(s).unwrap_or(0) * 1000);
    let mut text = format!(
        "这节 {}，看到的有 {}：算使用 {}，有操作 {}，屏幕亮 {}，录课 {}，开机 {}。使用满 {} 才算使用。",
        span(length),
        span(row.known_s.into()),
        span(row.used_s.into()),
        span(row.active_s.into()),
        span(row.display_on_s.into()),
        span(row.recorded_s.into()),
        span(row.powered_s.into()),
        span(row.needed_s.into()),
    );
    for (category, s) in &row.categories {
        text += &format!("{category} {}。", span((*s).into()));
    }
    text
}

/// The line of a period: a row, or what was planned and has none.
async fn find(console: &Console, path: &(String, String, String), now: &Now) -> Result<Entry, Oops> {
    let (device, date, period) = path.clone();
    let gone = || Oops::missing("这一节的记录");
    let (device, day) =
        (DeviceId::new(device).map_err(|_| gone())?, date.parse::<Date>().map_err(|_| gone())?);
    let now = now.clone();
    let found = console.store.read(move |db| {
        if let Some(entry) = usage::find(db, &device, &date, &period)? {
            return Ok(Some(entry));
        }
        let Some(known) = devices::find(db, device.as_str())? else { return Ok(None) };
        let all = entries(db, &known.school, (day, day), &now)?;
        Ok(all.into_iter().find(|e| e.device == device && e.row().period == period))
    });
    found.await?.ok_or_else(gone)
}

async fn view(
    console: &Console,
    entry: &Entry,
    now: &Now,
    fault: String,
    form: Option<&Say>,
) -> Result<Response, Oops> {
    let row = entry.row();
    let subject = usage::subject(&entry.device, &row.date, &row.period);
    let history = console.store.read(move |db| audit::of(db, KIND, &subject)).await?;
    let length = (row.planned_end_ms - row.planned_start_ms) / 60_000;
    let seen = match (entry.auto(), entry.said()) {
        (Some(auto), Some(_)) => {
            let alone = Entry {
                known: crate::model::register::Known::Row { auto: Box::new(auto.clone()), said: None },
                ..entry.clone()
            };
            let used = line::used_text(&alone);
            format!(
                "自动记录：{}{}{used}",
                line::verdict(alone.verdict()).0,
                if used.is_empty() { "" } else { " " }
            )
        }
        _ => String::new(),
    };
    let page = Page {
        frame: console.frame(format!("{} {}", entry.room, row.period), "/usage"),
        link: link(&entry.device, &row.date, &row.period),
        title: format!("{} · {} {}", entry.room, row.date, row.period),
        verdict: line::verdict(entry.verdict()),
        facts: read(entry),
        seen,
        sums: entry.auto().map(sums).unwrap_or_default(),
        history: history
            .iter()
            .map(|e| format!("{} {}：{}", words::moment(e.at_ms), e.who, e.detail))
            .collect(),
        open: open(row, now.today()),
        can_confirm: matches!(entry.auto().map(|row| row.used), Some(used) if used != lectern_wire::usage::Used::Unknown),
        used: form.map_or(entry.verdict() != Verdict::Not, |f| f.used != "no"),
        minutes: form.map_or_else(
            || if row.used_s > 0 { (row.used_s / 60).to_string() } else { String::new() },
            |f| f.minutes.clone(),
        ),
        length,
        condition: form.map_or_else(|| row.condition_note.clone(), |f| f.condition.clone()),
        note: form.map_or_else(|| row.fault_note.clone(), |f| f.fault.clone()),
        fault,
        open_days: OPEN_DAYS,
    };
    Ok(show(&page))
}

/// The page of a period.
pub async fn page(
    State(console): State<Console>,
    _: Who,
    Path(path): Path<(String, String, String)>,
) -> Result<Response, Oops> {
    let now = super::now();
    let entry = find(&console, &path, &now).await?;
    view(&console, &entry, &now, String::new(), None).await
}

/// What the form sends.
#[derive(Debug, Deserialize)]
pub struct Say {
    /// `confirm`, `yes` or `no`.
    used: String,
    #[serde(default)]
    minutes: String,
    #[serde(default)]
    condition: String,
    #[serde(default)]
    fault: String,
}

/// Reads the form; the inner error says what is wrong with it.
pub(in crate::console) fn word(form: &Say, held: &Usage, who: &str) -> Result<Word, String> {
    let minutes = match form.minutes.trim() {
        "" => None,
        text => Some(text.parse().map_err(|_| format!("“{text}”不是分钟数，写成 38。"))?),
    };
    let note = |name: &str, text: &str| {
        let text = text.trim().replace(['\r', '\n'], " ");
        match text.chars().count() {
            0..=NOTE_MAX_CHARS => Ok(text),
            n => Err(format!("{name}有 {n} 个字，最多 {NOTE_MAX_CHARS} 个字。")),
        }
    };
    let used = match form.used.as_str() {
        // Who confirms says nothing of the equipment: what was said of it stands.
        "confirm" => {
            let (condition, fault) = (held.condition_note.clone(), held.fault_note.clone());
            return Ok(Word { condition, fault, by: who.to_owned(), ..Word::default() });
        }
        "yes" => Some(true),
        "no" => Some(false),
        _ => return Err("请选“使用”或“未使用”。".into()),
    };
    Ok(Word {
        used,
        minutes,
        condition: note("设备情况", &form.condition)?,
        fault: note("故障说明", &form.fault)?,
        by: who.to_owned(),
        by_id: String::new(),
    })
}

/// What was said, for the audit.
fn what(entry: &Entry, row: &Usage, word: &Word) -> String {
    let mut what = match word.used {
        None => "确认".to_owned(),
        Some(used) => {
            let to = if used { format!("使用 {} 分钟", row.used_s / 60) } else { "未使用".into() };
            format!("{} → {to}", line::verdict(entry.verdict()).0)
        }
    };
    for (name, text) in [("设备情况", &row.condition_note), ("故障说明", &row.fault_note)] {
        if !text.is_empty() {
            what += &format!("，{name}：{text}");
        }
    }
    what
}

/// 确认 and 更正, or 补录 where nothing came from the room.
pub async fn say(
    State(console): State<Console>,
    Who(who): Who,
    Path(path): Path<(String, String, String)>,
    Form(form): Form<Say>,
) -> Result<Response, Oops> {
    let now = super::now();
    let entry = find(&console, &path, &now).await?;
    // What a person says is about what the room saw; where that is nothing, about what was planned.
    let auto = entry.auto().unwrap_or_else(|| entry.row()).clone();
    let taken = word(&form, entry.row(), &who).and_then(|word| match (&word, entry.auto()) {
        (Word { used: None, .. }, None) => {
            Err("教室没有送来记录，没有可确认的，请选“使用”或“未使用”。".into())
        }
        (Word { used: Some(true), minutes: None, .. }, _) if auto.used_s == 0 => {
            Err("请写上用了多少分钟。".into())
        }
        _ => match said(&auto, &word, now.today(), now.ms) {
            Ok(row) => Ok((row, word)),
            Err(Refused::Closed) => Err(format!("过了 {OPEN_DAYS} 天，这一节不能再改。")),
            Err(Refused::NotKnown) => {
                Err("这一节是否使用还不知道，不能直接确认，请选“使用”或“未使用”。".into())
            }
            Err(Refused::Longer(minutes)) => Err(format!("这节课只有 {minutes} 分钟。")),
            Err(Refused::Wrong(why)) => Err(format!("没有保存：{why}")),
        },
    });
    let (row, word) = match taken {
        Ok(taken) => taken,
        Err(fault) => {
            let page = view(&console, &entry, &now, fault, Some(&form)).await?;
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
        }
    };
    let (device, what, ms) = (entry.device.clone(), what(&entry, &row, &word), now.ms);
    console.store.write(move |db| usage::say(db, &device, &row, (&who, &what), ms)).await?;
    console.bell.ring();
    Ok(Redirect::to(&link(&entry.device, &entry.row().date, &entry.row().period)).into_response())
}
