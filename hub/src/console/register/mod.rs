//! 使用记录: the register of a school, a line a period, by day, room, teacher and class; its export.

mod line;
pub mod period;

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::civil::Date;
use lectern_base::clock;
use lectern_wire::id::{DeviceId, SchoolId};
use lectern_wire::usage::word::open;
use lectern_wire::usage::{OPEN_DAYS, Usage};

use super::guard::Who;
use super::spreadsheet::{Kind, Spreadsheet};
use super::{Console, Frame, Oops, show, words};
use crate::model::register::{Entry, Filter, MOST_DAYS, Verdict, day, term};
use crate::store::register::{Now, entries};
use crate::store::{devices, usage};

/// Lines on one page.
const PAGE: usize = 60;
/// Refused rows that are shown.
const REFUSED: u32 = 20;
/// What may be asked for, with its name in a link.
const VERDICTS: [(&str, Verdict); 4] = [
    ("used", Verdict::Used),
    ("not", Verdict::Not),
    ("unknown", Verdict::Unknown),
    ("none", Verdict::NoRecord),
];

/// The hub's clock and zone.
pub fn now() -> Now {
    let ms = clock::wall_ms();
    Now { ms, zone: clock::local(ms).time_zone().clone() }
}

/// The schools there are, and the one that is asked for: the first, where none is.
pub async fn schools(console: &Console, wish: Option<&str>) -> Result<(SchoolId, Vec<SchoolId>), Oops> {
    let mut all: Vec<_> = console.store.read(devices::all).await?.into_iter().map(|d| d.school).collect();
    all.dedup();
    let found = match wish.filter(|text| !text.is_empty()) {
        Some(text) => all.iter().find(|s| s.as_str() == text).ok_or_else(|| Oops::missing("这所学校"))?,
        None => all
            .first()
            .ok_or_else(|| Oops::new(StatusCode::NOT_FOUND, "还没有登记教室。请先到设备登记添加一间。"))?,
    };
    Ok((found.clone(), all))
}

/// What is asked for, checked.
#[derive(Debug, Clone)]
struct Wish {
    from: Date,
    to: Date,
    filter: Filter,
    page: usize,
    /// Why something of it could not be taken.
    fault: String,
}

impl Wish {
    fn of(query: &HashMap<String, String>, today: Date) -> Self {
        let text = |name: &str| query.get(name).map_or("", |text| text.trim());
        let (mut fault, week_ago) =
            (String::new(), today.checked_sub(jiff::Span::new().days(6)).unwrap_or(today));
        let mut date = |name: &str, otherwise: Date| match text(name) {
            "" => otherwise,
            given => given.parse().unwrap_or_else(|_| {
                fault = format!("“{given}”不是日期，写成 2026-09-14。");
                otherwise
            }),
        };
        let (mut from, to) = (date("from", week_ago), date("to", today));
        if from > to {
            fault = format!("开始的日期 {from} 在结束的日期 {to} 之后。");
            from = to;
        }
        if to.since(from).map_or(0, |span| span.get_days()) >= MOST_DAYS {
            fault = format!("一次最多看 {MOST_DAYS} 天，下面从 {to} 往前数。");
            from = to.checked_sub(jiff::Span::new().days(MOST_DAYS - 1)).unwrap_or(to);
        }
        let short = |name: &str| text(name).chars().filter(|c| !c.is_control()).take(40).collect::<String>();
        let wanted = text("show");
        Self {
            from,
            to,
            filter: Filter {
                device: DeviceId::new(text("room")).ok(),
                teacher: short("teacher"),
                class: short("class"),
                verdict: VERDICTS.iter().find(|(name, _)| *name == wanted).map(|(_, verdict)| *verdict),
            },
            page: text("page").parse().unwrap_or(0).min(1_000_000),
            fault,
        }
    }

    fn shown(&self) -> &'static str {
        VERDICTS
            .iter()
            .find(|(_, verdict)| Some(*verdict) == self.filter.verdict)
            .map_or("", |(name, _)| *name)
    }

    /// The query of a link to the same lines.
    fn query(&self, school: &SchoolId) -> String {
        let quoted = |text: &str| text.bytes().map(|c| format!("%{c:02X}")).collect::<String>();
        let room = self.filter.device.as_ref().map(ToString::to_string).unwrap_or_default();
        format!(
            "school={school}&from={}&to={}&room={room}&teacher={}&class={}&show={}",
            self.from,
            self.to,
            quoted(&self.filter.teacher),
            quoted(&self.filter.class),
            self.shown()
        )
    }
}

/// One line as it is shown.
struct Line {
    /// Its page.
    link: String,
    period: String,
    planned: String,
    actual: String,
    room: String,
    class: String,
    lesson: String,
    teacher: String,
    verdict: (&'static str, &'static str),
    used: String,
    before: String,
    after: String,
    fault: String,
    recorded: &'static str,
    origin: &'static str,
    by: String,
    /// Whether it can still be confirmed or corrected.
    open: bool,
}

/// One day.
struct Day {
    title: String,
    lines: Vec<Line>,
}

/// How many lines say what.
#[derive(Default)]
struct Tally {
    used: usize,
    not: usize,
    unknown: usize,
    none: usize,
}

#[derive(Template)]
#[template(path = "usage.html")]
struct Page {
    frame: Frame,
    school: SchoolId,
    schools: Vec<SchoolId>,
    rooms: Vec<(String, String)>,
    wish: Wish,
    query: String,
    room: String,
    days: Vec<Day>,
    tally: Tally,
    more: bool,
    refused: Vec<String>,
    open_days: i64,
}

fn line(entry: &Entry, today: Date) -> Line {
    let row = entry.row();
    let seen = |row: &Usage| match (row.actual_start_ms, row.actual_end_ms) {
        (Some(from), Some(to)) => format!("{}–{}", line::minute(from), line::minute(to)),
        _ => String::new(),
    };
    let joined =
        |texts: [&str; 2]| texts.into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>().join(" · ");
    Line {
        link: period::link(&entry.device, &row.date, &row.period),
        period: row.period.clone(),
        planned: format!("{}–{}", line::time(row.planned_start_ms), line::time(row.planned_end_ms)),
        actual: entry.auto().map(seen).unwrap_or_default(),
        room: entry.room.clone(),
        class: if row.class.is_empty() && !row.planned { "没有排课".into() } else { row.class.clone() },
        lesson: joined([&row.subject, &row.topic]),
        teacher: row.teacher.clone(),
        verdict: line::verdict(entry.verdict()),
        used: line::used_text(entry),
        before: line::before(entry),
        after: line::after(entry),
        fault: row.fault_note.clone(),
        recorded: line::recorded(entry),
        origin: line::origin(entry),
        by: line::by(entry),
        open: open(row, today),
    }
}

fn title(entry: &Entry) -> String {
    let row = entry.row();
    let week = row.week.map(|week| format!("第 {week} 周 · ")).unwrap_or_default();
    let term = day(row).map(term).unwrap_or_default();
    format!("{} 星期{} · {week}{term}", row.date, line::weekday(row))
}

fn days(shown: &[Entry], today: Date) -> Vec<Day> {
    shown
        .chunk_by(|a, b| a.row().date == b.row().date)
        .map(|day| {
            // A room that knows no first week says none; another of the same day may.
            let named = day.iter().find(|e| e.row().week.is_some()).or(day.first());
            let lines = day.iter().map(|entry| line(entry, today)).collect();
            Day { title: named.map(title).unwrap_or_default(), lines }
        })
        .collect()
}

async fn found(console: &Console, school: &SchoolId, wish: &Wish, now: &Now) -> Result<Vec<Entry>, Oops> {
    let (school, span, filter, now) =
        (school.clone(), (wish.from, wish.to), wish.filter.clone(), now.clone());
    let all = console.store.read(move |db| {
        Ok(entries(db, &school, span, &now)?.into_iter().filter(|e| filter.takes(e)).collect::<Vec<_>>())
    });
    Ok(all.await?)
}

/// The page.
pub async fn page(
    State(console): State<Console>,
    _: Who,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Oops> {
    let (school, schools) = schools(&console, query.get("school").map(String::as_str)).await?;
    let now = now();
    let wish = Wish::of(&query, now.today());
    let all = found(&console, &school, &wish, &now).await?;
    let mut tally = Tally::default();
    for entry in &all {
        match entry.verdict() {
            Verdict::Used => tally.used += 1,
            Verdict::Not => tally.not += 1,
            Verdict::Unknown => tally.unknown += 1,
            Verdict::NoRecord => tally.none += 1,
        }
    }
    let skip = wish.page * PAGE;
    let shown: Vec<_> = all.iter().skip(skip).take(PAGE).cloned().collect();
    let (own, span) = (school.clone(), now.begins_ms(wish.from)..now.begins_ms(wish.to) + 86_400_000);
    let (rooms, refused) = console
        .store
        .read(move |db| Ok((usage::places(db, &own)?, usage::refused(db, &own, span, REFUSED)?)))
        .await?;
    let page = Page {
        frame: console.frame("使用记录", "/usage"),
        query: wish.query(&school),
        room: wish.filter.device.as_ref().map(ToString::to_string).unwrap_or_default(),
        rooms: rooms.into_iter().map(|p| (p.device.to_string(), p.room)).collect(),
        days: days(&shown, now.today()),
        more: all.len() > skip + PAGE,
        refused: refused
            .into_iter()
            .map(|(room, at, why)| format!("{} {room}：{why}", words::moment(at)))
            .collect(),
        school,
        schools,
        wish,
        tally,
        open_days: OPEN_DAYS,
    };
    Ok(show(&page))
}

/// `GET /usage/export/usage.csv` and `.xlsx`: every line of what is asked for.
pub async fn export(
    State(console): State<Console>,
    _: Who,
    Path(file): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Oops> {
    let kind = file.strip_prefix("usage.").and_then(Kind::named).ok_or_else(|| Oops::missing("这个文件"))?;
    let (school, _) = schools(&console, query.get("school").map(String::as_str)).await?;
    let now = now();
    let wish = Wish::of(&query, now.today());
    if !wish.fault.is_empty() {
        return Err(Oops::new(StatusCode::UNPROCESSABLE_ENTITY, wish.fault));
    }
    let mut all = found(&console, &school, &wish, &now).await?;
    // On paper the register begins with the first day.
    all.sort_by(|a, b| a.row().date.cmp(&b.row().date));
    let name = format!("{}_使用记录_{}_{}", console.school, wish.from, wish.to);
    let rows = tokio::task::spawn_blocking(move || all.iter().map(line::cells).collect()).await?;
    Spreadsheet { name, sheet: "使用记录", columns: line::COLUMNS.to_vec(), rows }.download(kind)
}
