//! A line of the register in words: as the page shows it, and as the export has it, column by column.

use lectern_base::clock;
use lectern_wire::alarm::Code;
use lectern_wire::usage::{Source, Usage};

use super::super::spreadsheet::Cell;
use crate::model::register::{At, Entry, Verdict, day, source, term};

/// The columns of the register, in the order of the paper one.
pub const COLUMNS: [&str; 24] = [
    "学期",
    "日期",
    "周次",
    "星期",
    "节次",
    "计划开始",
    "计划结束",
    "实际开始",
    "实际结束",
    "教室",
    "班级",
    "学科",
    "课题",
    "教师",
    "工号",
    "使用情况",
    "使用时长（分钟）",
    "使用前设备情况",
    "使用后设备情况",
    "故障说明",
    "是否录课",
    "确认人",
    "确认时间",
    "来源",
];

/// `08:00`, or with seconds where there are some.
pub fn time(ms: i64) -> String {
    let form = if ms % 60_000 == 0 { "%H:%M" } else { "%H:%M:%S" };
    clock::local(ms).strftime(form).to_string()
}

/// 星期 in a word.
pub fn weekday(row: &Usage) -> &'static str {
    const WORDS: [&str; 7] = ["一", "二", "三", "四", "五", "六", "日"];
    WORDS.get(usize::from(row.weekday).saturating_sub(1)).copied().unwrap_or("")
}

/// A verdict as a word and a class.
pub fn verdict(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Used => ("使用", "good"),
        Verdict::Not => ("未使用", "idle"),
        Verdict::Unknown => ("未知", "warn"),
        Verdict::NoRecord => ("没有记录", "warn"),
    }
}

/// A moment that somebody saw, to the minute.
pub fn minute(ms: i64) -> String {
    clock::local(ms).strftime("%H:%M").to_string()
}

/// Seconds as minutes with at most one decimal: `38.5`.
fn minutes(seconds: u32) -> f64 {
    (f64::from(seconds) / 6.0).round() / 10.0
}

fn codes(codes: &[Code]) -> String {
    codes.iter().map(|code| code.title()).collect::<Vec<_>>().join("、")
}

/// How the equipment was before; empty where nobody saw it.
pub fn before(entry: &Entry) -> String {
    match entry.auto() {
        Some(row) if !row.before.is_empty() => codes(&row.before),
        Some(_) if entry.powered() == Some(true) => "没有告警".into(),
        _ => String::new(),
    }
}

/// How it was after, and what a person says of it.
pub fn after(entry: &Entry) -> String {
    let seen = match entry.auto() {
        Some(row) if !row.after.is_empty() => codes(&row.after),
        Some(_) if entry.powered() == Some(true) => "没有告警".into(),
        _ => String::new(),
    };
    let note = &entry.row().condition_note;
    match (seen.is_empty(), note.is_empty()) {
        (_, true) => seen,
        (true, false) => note.clone(),
        (false, false) => format!("{seen}；{note}"),
    }
}

/// 是否录课; empty where nobody knows.
pub fn recorded(entry: &Entry) -> &'static str {
    match entry.verdict() {
        _ if entry.recorded() => "是",
        Verdict::NoRecord => "",
        _ => "否",
    }
}

/// 确认人, with where they said it: `张老师 T1024`, `admin（中心）`.
pub fn by(entry: &Entry) -> String {
    let Some(said) = entry.said() else { return String::new() };
    let row = &said.row;
    let name = match (row.by.is_empty(), row.by_id.is_empty()) {
        (false, false) => format!("{} {}", row.by, row.by_id),
        (true, _) => row.by_id.clone(),
        (false, true) => row.by.clone(),
    };
    if said.at == At::Hub { format!("{name}（中心）") } else { name }
}

/// 来源 as the page says it: a confirmed row is still the room's own.
pub fn origin(entry: &Entry) -> &'static str {
    match entry.verdict() {
        Verdict::NoRecord => "",
        _ if entry.row().source == Source::Confirmed => "自动，已确认",
        _ => source(entry.row()),
    }
}

/// Minutes of use, and nothing where nobody knows.
fn used(entry: &Entry) -> Cell {
    match entry.verdict() {
        Verdict::Used | Verdict::Not => Cell::Number(minutes(entry.row().used_s)),
        Verdict::Unknown | Verdict::NoRecord => Cell::Text(String::new()),
    }
}

/// Minutes as the page says them: `38.5 分钟`.
pub fn used_text(entry: &Entry) -> String {
    match used(entry) {
        Cell::Number(minutes) if entry.verdict() == Verdict::Used => format!("{minutes} 分钟"),
        _ => String::new(),
    }
}

/// The line as a row of [`COLUMNS`].
pub fn cells(entry: &Entry) -> Vec<Cell> {
    let row = entry.row();
    let moment = |ms: Option<i64>| ms.map(minute).unwrap_or_default();
    // What a person says was so has no beginning and no end that somebody saw.
    let seen = entry.auto();
    vec![
        day(row).map(term).unwrap_or_default().into(),
        row.date.as_str().into(),
        row.week.map_or(Cell::from(""), |week| Cell::Number(week.into())),
        weekday(row).into(),
        row.period.as_str().into(),
        time(row.planned_start_ms).into(),
        time(row.planned_end_ms).into(),
        moment(seen.and_then(|row| row.actual_start_ms)).into(),
        moment(seen.and_then(|row| row.actual_end_ms)).into(),
        entry.room.as_str().into(),
        row.class.as_str().into(),
        row.subject.as_str().into(),
        row.topic.as_str().into(),
        row.teacher.as_str().into(),
        row.teacher_id.as_str().into(),
        verdict(entry.verdict()).0.into(),
        used(entry),
        before(entry).into(),
        after(entry).into(),
        row.fault_note.as_str().into(),
        recorded(entry).into(),
        by(entry).into(),
        entry.said().map(|said| super::super::words::moment(said.ms)).unwrap_or_default().into(),
        source_of(entry).into(),
    ]
}

fn source_of(entry: &Entry) -> &'static str {
    if entry.verdict() == Verdict::NoRecord { "" } else { source(entry.row()) }
}
