//! 课表: bells, import with a preview, 调课, 停课, 补班, and which room goes by which revision.

use std::collections::VecDeque;

use askama::Template;
use axum::Form;
use axum::extract::{Multipart, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use jiff::civil::{Date, Weekday};
use lectern_base::{chance, clock};
use lectern_wire::desired::ReportState;
use lectern_wire::id::SchoolId;
use serde::Deserialize;

use super::guard::Who;
use super::{Console, Frame, Oops, show, words};
use crate::model::timetable::import::{self, Scope};
use crate::model::timetable::{self, Otherwise, SchoolTable, clash, fold, room};
use crate::store::devices::{self, Device};
use crate::store::timetable::Version;
use crate::store::{desired, timetable as rows};

/// Imports that wait for their 应用.
const DRAFTS: usize = 8;
/// Clashes that are shown; the rest are counted.
const SHOWN: usize = 80;

/// An import that was looked at and not applied yet.
#[derive(Debug)]
struct Draft {
    token: String,
    school: SchoolId,
    /// The version it was made from.
    from: i64,
    table: SchoolTable,
    what: String,
    clashes: bool,
}

/// Imports that wait; the oldest go.
#[derive(Debug, Default)]
pub struct Drafts(VecDeque<Draft>);

impl Drafts {
    fn keep(&mut self, draft: Draft) {
        if self.0.len() >= DRAFTS {
            self.0.pop_front();
        }
        self.0.push_back(draft);
    }

    fn take(&mut self, token: &str) -> Option<Draft> {
        let at = self.0.iter().position(|draft| draft.token == token)?;
        self.0.remove(at)
    }
}

/// One room's line.
struct Room {
    id: String,
    name: String,
    lessons: usize,
    /// A word and its class.
    state: (String, &'static str),
}

#[derive(Template)]
#[template(path = "timetable.html")]
struct Page {
    frame: Frame,
    school: SchoolId,
    schools: Vec<SchoolId>,
    version: String,
    monday: String,
    offset: i32,
    bells: String,
    faults: Vec<String>,
    lessons: usize,
    classes: usize,
    changes: Vec<(usize, String)>,
    rooms: Vec<Room>,
    week: String,
}

#[derive(Template)]
#[template(path = "timetable_preview.html")]
struct Preview {
    frame: Frame,
    school: SchoolId,
    file: String,
    faults: Vec<String>,
    lines: Vec<String>,
    clashes: Vec<String>,
    more: usize,
    unknown: Vec<String>,
    token: String,
}

/// The school that is asked for, or the first there is; all of them, and their devices.
async fn schools(
    console: &Console,
    wish: Option<&str>,
) -> Result<(SchoolId, Vec<SchoolId>, Vec<Device>), Oops> {
    let devices = console.store.read(devices::all).await?;
    let mut schools: Vec<_> = devices.iter().map(|d| d.school.clone()).collect();
    schools.dedup();
    let wanted = wish.filter(|text| !text.is_empty());
    let found = match wanted {
        Some(text) => schools.iter().find(|s| s.as_str() == text).ok_or_else(|| Oops::missing("这所学校"))?,
        None => schools.first().ok_or_else(|| {
            Oops::new(StatusCode::NOT_FOUND, "还没有登记教室。请先到设备登记添加一间，再导入课表。")
        })?,
    };
    let school = found.clone();
    let own = devices.into_iter().filter(|d| d.school == school).collect();
    Ok((school, schools, own))
}

async fn newest(console: &Console, school: &SchoolId) -> Result<Version, Oops> {
    let school = school.clone();
    Ok(console.store.read(move |db| rows::newest(db, &school)).await?)
}

/// The school that a form names, and its newest timetable.
async fn named(console: &Console, school: &str) -> Result<(SchoolId, Version), Oops> {
    let (school, ..) = schools(console, Some(school)).await?;
    let version = newest(console, &school).await?;
    Ok((school, version))
}

/// Bells as the form shows them.
fn bells_text(table: &SchoolTable) -> String {
    // What was typed with seconds must not lose them when it is saved again.
    let time =
        |t: jiff::civil::Time| t.strftime(if t.second() == 0 { "%H:%M" } else { "%H:%M:%S" }).to_string();
    let line = |p: &lectern_wire::timetable::Period| format!("{} {}-{}", p.name, time(p.start), time(p.end));
    table.periods.iter().map(line).collect::<Vec<_>>().join("\n")
}

async fn view(
    console: &Console,
    wish: Option<&str>,
    form: Option<&Bells>,
    faults: Vec<String>,
) -> Result<Response, Oops> {
    let (school, schools, own) = schools(console, wish).await?;
    let Version { n, table, who, what, at_ms } = newest(console, &school).await?;
    let ids: Vec<_> = own.iter().map(|d| d.id.clone()).collect();
    let handed = console
        .store
        .read(move |db| ids.iter().map(|id| desired::of(db, id)).collect::<rusqlite::Result<Vec<_>>>())
        .await?;
    let rooms =
        own.iter().zip(handed).map(|(device, handed)| line(&table, device, handed.as_ref())).collect();
    let mut classes: Vec<_> = table.lessons.iter().map(|l| fold::text(&l.about.class)).collect();
    classes.sort_unstable();
    classes.dedup();
    let today = clock::local(clock::wall_ms()).date();
    let plain = room::timetable(&table, "", "");
    let week = plain.and_then(|t| t.week(today)).map_or(String::new(), |week| match week {
        0 => "还没有开学".into(),
        n => format!("今天是第 {n} 周"),
    });
    let page = Page {
        frame: console.frame("课表", "/timetable"),
        version: if n == 0 {
            String::new()
        } else {
            format!("第 {n} 版，{} {who}：{what}", words::moment(at_ms))
        },
        monday: form.map_or_else(
            || table.first_monday.map_or(String::new(), |d| d.to_string()),
            |f| f.first_monday.clone(),
        ),
        offset: table.bell_offset_s,
        bells: form.map_or_else(|| bells_text(&table), |f| f.bells.clone()),
        lessons: table.lessons.len(),
        classes: classes.len(),
        changes: table.changes.iter().map(Otherwise::sentence).enumerate().collect(),
        school,
        schools,
        faults,
        rooms,
        week,
    };
    Ok(show(&page))
}

fn line(table: &SchoolTable, device: &Device, handed: Option<&desired::Row>) -> Room {
    let lessons =
        table.lessons.iter().filter(|l| room::means(room::of(l), device.id.as_str(), &device.room)).count();
    let wanted = room::timetable(table, device.id.as_str(), &device.room);
    let state = match handed {
        // What is shown as in use is what stands here, not what was handed down before it.
        row if row.and_then(|row| row.signed.document.timetable.as_ref()) != wanted.as_ref() => {
            match wanted.as_ref().and_then(desired::obstacle) {
                Some(what) => (format!("没有下发：{what}"), "bad"),
                None => ("正在下发".to_owned(), "busy"),
            }
        }
        _ if wanted.is_none() => ("用教室自己的课表文件".to_owned(), "idle"),
        None => ("正在下发".to_owned(), "busy"),
        Some(row) => match &row.said {
            Some((said, _)) if said.revision == row.revision && said.state == ReportState::Applied => {
                (format!("第 {} 版在用", row.revision), "good")
            }
            Some((said, _)) if said.revision == row.revision => (
                format!("没有接受第 {} 版，还在用第 {} 版：{}", row.revision, said.running, said.detail),
                "bad",
            ),
            Some((said, _)) if said.running > 0 => {
                (format!("第 {} 版已下发，教室还在用第 {} 版", row.revision, said.running), "busy")
            }
            _ => (format!("第 {} 版已下发，等教室连上", row.revision), "busy"),
        },
    };
    Room { id: device.id.to_string(), name: device.room.clone(), lessons, state }
}

/// Which school.
#[derive(Deserialize)]
pub struct Of {
    #[serde(default)]
    school: Option<String>,
}

/// 课表.
pub async fn page(State(console): State<Console>, _: Who, Query(of): Query<Of>) -> Result<Response, Oops> {
    view(&console, of.school.as_deref(), None, Vec::new()).await
}

/// What the form of bells sends.
#[derive(Deserialize)]
pub struct Bells {
    school: String,
    first_monday: String,
    offset: String,
    bells: String,
}

pub(super) fn read_bells(form: &Bells, table: &mut SchoolTable) -> Vec<String> {
    let mut faults = Vec::new();
    match form.first_monday.trim() {
        "" => table.first_monday = None,
        text => match text.parse::<Date>() {
            Ok(date) if date.weekday() == Weekday::Monday => table.first_monday = Some(date),
            Ok(date) => faults.push(format!("{date} 是{}，第一周要从星期一算起。", fold::weekday_word(date))),
            Err(_) => faults.push(format!("“{text}”不是日期，写成 2026-08-31。")),
        },
    }
    match form.offset.trim().parse::<i32>() {
        Ok(seconds) if (-3600..=3600).contains(&seconds) => table.bell_offset_s = seconds,
        _ => faults.push("铃声偏差写成秒数，铃声晚就写正数，早就写负数，最多一小时。".into()),
    }
    match timetable::bells(&form.bells) {
        Ok(periods) => table.periods = periods,
        Err(found) => faults.extend(found),
    }
    let lost = table.lessons.iter().find(|l| !table.periods.iter().any(|p| p.name == l.period));
    if let (Some(lesson), true) = (lost, faults.is_empty()) {
        let what = "课表里还有课排在这一节，请先改课表，或者保留这一节。";
        faults.push(format!("作息时间里少了“{}”：{what}", lesson.period));
    }
    faults
}

/// Takes a new version, and rooms are told.
async fn keep(
    console: &Console,
    school: SchoolId,
    from: i64,
    mut table: SchoolTable,
    who: String,
    what: String,
) -> Result<(), Oops> {
    let now = clock::wall_ms();
    // What was otherwise two months ago is of no use to a room any more.
    let today = clock::local(now).date();
    table.changes.retain(|change| change.last_day().until(today).is_ok_and(|span| span.get_days() < 60));
    let done =
        console.store.write(move |db| rows::replace(db, &school, from, &table, (&who, &what), now)).await?;
    if !done {
        return Err(Oops::new(
            StatusCode::CONFLICT,
            "课表刚被别人改过，这次没有保存。请回到课表页，看过以后再改。",
        ));
    }
    console.changed.notify_one();
    console.bell.ring();
    Ok(())
}

fn back(school: &SchoolId) -> Response {
    Redirect::to(&format!("/timetable?school={school}")).into_response()
}

/// Keeps bells, their offset and the first week.
pub async fn bells(
    State(console): State<Console>,
    Who(who): Who,
    Form(form): Form<Bells>,
) -> Result<Response, Oops> {
    let (school, Version { n, mut table, .. }) = named(&console, &form.school).await?;
    let faults = read_bells(&form, &mut table);
    if !faults.is_empty() {
        let page = view(&console, Some(&form.school), Some(&form), faults).await?;
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
    }
    keep(&console, school.clone(), n, table, who, "改了作息时间".into()).await?;
    Ok(back(&school))
}

/// Reads a file and shows what would come of it; nothing is changed.
pub async fn import(State(console): State<Console>, _: Who, mut form: Multipart) -> Result<Response, Oops> {
    let unread = |e: axum::extract::multipart::MultipartError| {
        let too_large = e.status() == StatusCode::PAYLOAD_TOO_LARGE;
        let sentence = if too_large {
            "文件超过 8 MB，课表没有这么大。"
        } else {
            "文件没有传完，请再试一次。"
        };
        Oops::new(e.status(), sentence)
    };
    let (mut name, mut bytes, mut school, mut class) =
        (String::new(), Vec::new(), String::new(), String::new());
    let mut scope = Scope::School;
    while let Some(field) = form.next_field().await.map_err(unread)? {
        let part = field.name().unwrap_or_default().to_owned();
        match part.as_str() {
            "file" => {
                name = field
                    .file_name()
                    .unwrap_or_default()
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(120)
                    .collect();
                bytes = field.bytes().await.map_err(unread)?.to_vec();
            }
            "school" => school = field.text().await.map_err(unread)?,
            "class" => class = field.text().await.map_err(unread)?.chars().take(80).collect(),
            "scope" if field.text().await.map_err(unread)? == "classes" => scope = Scope::Classes,
            _ => {}
        }
    }
    let (school, _, own) = schools(&console, Some(&school)).await?;
    let Version { n, table, .. } = newest(&console, &school).await?;
    let names: Vec<_> = own.into_iter().map(|d| (d.id.to_string(), d.room)).collect();
    let looked = tokio::task::spawn_blocking(move || {
        look(&names, &table, &name, &bytes, &class, scope).map(|l| (name, l))
    })
    .await?;
    let frame = console.frame("导入课表", "/timetable");
    let (file, looked) = match looked {
        Ok(looked) => looked,
        Err((file, faults)) => {
            let (lines, clashes, unknown) = (Vec::new(), Vec::new(), Vec::new());
            let page = Preview {
                frame,
                school,
                file,
                faults,
                lines,
                clashes,
                more: 0,
                unknown,
                token: String::new(),
            };
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, show(&page)).into_response());
        }
    };
    let Looked { table, lines, mut found } = looked;
    let token = chance::hex::<12>();
    let faults = std::mem::take(&mut found.unknown_periods);
    if faults.is_empty() {
        let what = format!("导入了 {file}");
        let clashes = !found.twice.is_empty();
        let draft = Draft { token: token.clone(), school: school.clone(), from: n, table, what, clashes };
        console.inner.drafts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).keep(draft);
    }
    let more = found.twice.len().saturating_sub(SHOWN);
    found.twice.truncate(SHOWN);
    let page = Preview {
        frame,
        school,
        file,
        faults,
        lines,
        clashes: found.twice,
        more,
        unknown: found.unknown_rooms,
        token,
    };
    Ok(show(&page))
}

/// What would come of a file.
struct Looked {
    table: SchoolTable,
    lines: Vec<String>,
    found: clash::Clashes,
}

type Refused = (String, Vec<String>);

fn look(
    rooms: &[(String, String)],
    before: &SchoolTable,
    name: &str,
    bytes: &[u8],
    class: &str,
    scope: Scope,
) -> Result<Looked, Refused> {
    let knows = |text: &str| rooms.iter().any(|(id, room)| room::means(text, id, room));
    let found = import::read(name, bytes, &before.periods, class, &knows)
        .map_err(|faults| (name.to_owned(), faults.iter().map(ToString::to_string).collect::<Vec<_>>()))?;
    let table = import::merged(before, &found, scope);
    let mut lines = vec![format!(
        "文件里有 {} 节课；应用以后全校共 {} 节课，原来是 {} 节。",
        found.lessons.len(),
        table.lessons.len(),
        before.lessons.len()
    )];
    if let Some(periods) = &found.periods {
        let names: Vec<_> = periods.iter().map(|p| p.name.as_str()).collect();
        lines.push(format!("作息时间换成文件里的：{}。", names.join("、")));
    }
    if !found.passed.is_empty() {
        lines.push(format!("没有认出课表、跳过了的工作表：{}。", found.passed.join("、")));
    }
    let clashes = clash::find(&table, knows);
    Ok(Looked { table, lines, found: clashes })
}

/// What 应用 sends.
#[derive(Deserialize)]
pub struct Apply {
    token: String,
    #[serde(default)]
    despite: Option<String>,
}

/// Applies an import as it was shown, whole.
pub async fn apply(
    State(console): State<Console>,
    Who(who): Who,
    Form(form): Form<Apply>,
) -> Result<Response, Oops> {
    let draft =
        console.inner.drafts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take(&form.token);
    let gone = "这次预览已经过期，没有改动课表。请重新选择文件。";
    let draft = draft.ok_or_else(|| Oops::new(StatusCode::GONE, gone))?;
    if draft.clashes && form.despite.is_none() {
        let sentence = "课表里还有冲突，没有应用。请改好文件重新导入，或者勾选“看过了，照样应用”。";
        console.inner.drafts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).keep(draft);
        return Err(Oops::new(StatusCode::CONFLICT, sentence));
    }
    let Draft { school, from, table, what, .. } = draft;
    keep(&console, school.clone(), from, table, who, what).await?;
    Ok(back(&school))
}

/// What the forms of 停课, 补班 and 调课 send.
#[derive(Deserialize)]
pub struct Wish {
    school: String,
    kind: String,
    #[serde(default)]
    class: String,
    one: String,
    #[serde(default)]
    one_period: String,
    #[serde(default)]
    other: String,
    #[serde(default)]
    other_period: String,
}

pub(super) fn otherwise(wish: &Wish, table: &SchoolTable) -> Result<Otherwise, String> {
    let date = |text: &str| {
        text.trim().parse::<Date>().map_err(|_| format!("“{}”不是日期，写成 2026-10-01。", text.trim()))
    };
    let period = |text: &str| match fold::periods(text, &table.periods)?.as_slice() {
        [one] => Ok(one.clone()),
        _ => Err(format!("“{text}”不是一节课。")),
    };
    let class = wish.class.trim().to_owned();
    if class.is_empty() && matches!(wish.kind.as_str(), "swap" | "cancel") {
        return Err("请写上是哪个班。".into());
    }
    Ok(match wish.kind.as_str() {
        "off" => {
            let from = date(&wish.one)?;
            Otherwise::Off { from, to: if wish.other.trim().is_empty() { from } else { date(&wish.other)? } }
        }
        "goes_by" => Otherwise::GoesBy { date: date(&wish.one)?, goes_by: date(&wish.other)? },
        "swap" => Otherwise::Swap {
            class,
            one: (date(&wish.one)?, period(&wish.one_period)?),
            other: (date(&wish.other)?, period(&wish.other_period)?),
        },
        "cancel" => Otherwise::Cancel { class, at: (date(&wish.one)?, period(&wish.one_period)?) },
        _ => return Err("没有这种调整，请从课表页里填。".into()),
    })
}

/// 停课, 补班, 调课 and 停一节.
pub async fn change(
    State(console): State<Console>,
    Who(who): Who,
    Form(wish): Form<Wish>,
) -> Result<Response, Oops> {
    let (school, Version { n, mut table, .. }) = named(&console, &wish.school).await?;
    let made = otherwise(&wish, &table).and_then(|made| match room::change_fault(&table, &made) {
        Some(what) => Err(what),
        None => Ok(made),
    });
    match made {
        Ok(made) => {
            let what = made.sentence();
            table.changes.push(made);
            keep(&console, school.clone(), n, table, who, what).await?;
            Ok(back(&school))
        }
        Err(what) => {
            let page = view(&console, Some(&wish.school), None, vec![what]).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
    }
}

/// What taking back sends: the sentence that was shown, so that nobody takes back another one.
#[derive(Deserialize)]
pub struct TakeBack {
    school: String,
    what: String,
}

/// Takes a change back.
pub async fn take_back(
    State(console): State<Console>,
    Who(who): Who,
    Path(k): Path<usize>,
    Form(wish): Form<TakeBack>,
) -> Result<Response, Oops> {
    let (school, Version { n, mut table, .. }) = named(&console, &wish.school).await?;
    if table.changes.get(k).is_none_or(|change| change.sentence() != wish.what) {
        return Err(Oops::new(
            StatusCode::CONFLICT,
            "这条调整已经不在了，课表刚被别人改过。请回到课表页看看。",
        ));
    }
    table.changes.remove(k);
    keep(&console, school.clone(), n, table, who, format!("撤销：{}", wish.what)).await?;
    Ok(back(&school))
}
