//! 指标 of a school and a month: shares with numerator, denominator and what was left out; their export.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use jiff::civil::Date;
use lectern_wire::id::SchoolId;

use super::guard::Who;
use super::register::{now, schools};
use super::spreadsheet::{Cell, Kind, Spreadsheet};
use super::{Console, Frame, Oops, show, words};
use crate::model::indicators::{Indicator, Value, compute};
use crate::store::register::{Now, facts};

/// Months that can be chosen, the present one included.
const MONTHS: i32 = 13;

/// A month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Month {
    first: Date,
    last: Date,
}

impl Month {
    fn of(day: Date) -> Self {
        Self { first: day.first_of_month(), last: day.last_of_month() }
    }

    /// Reads `2026-09`.
    fn named(text: &str) -> Option<Self> {
        format!("{text}-01").parse().ok().map(Self::of)
    }

    fn name(self) -> String {
        self.first.strftime("%Y-%m").to_string()
    }
}

/// What is asked for.
struct Asked {
    school: SchoolId,
    schools: Vec<SchoolId>,
    month: Month,
    now: Now,
}

async fn asked(console: &Console, query: &HashMap<String, String>) -> Result<Asked, Oops> {
    let (school, schools) = schools(console, query.get("school").map(String::as_str)).await?;
    let now = now();
    let month = match query.get("month").map(|text| text.trim()).filter(|text| !text.is_empty()) {
        None => Month::of(now.today()),
        Some(text) => Month::named(text).ok_or_else(|| Oops::missing("这个月"))?,
    };
    Ok(Asked { school, schools, month, now })
}

async fn computed(
    console: &Console,
    school: &SchoolId,
    month: Month,
    now: &Now,
) -> Result<Vec<Indicator>, Oops> {
    let (school, now, year) = (school.clone(), now.clone(), console.year_begins(month.last));
    let found =
        console.store.read(move |db| facts(db, &school, (month.first, month.last), year, &now)).await?;
    let targets = console.targets.clone();
    Ok(tokio::task::spawn_blocking(move || compute(&found, &targets)).await?)
}

/// Tenths of a percent: `91.5%`.
fn percent(tenths: u64) -> String {
    format!("{}.{}%", tenths / 10, tenths % 10)
}

/// `1 小时 20 分`, and minutes where it is less.
fn mean(ms: i64, n: u64) -> String {
    words::lasted(ms / i64::try_from(n).unwrap_or(i64::MAX).max(1))
}

/// One indicator as it is shown.
struct Line {
    title: &'static str,
    means: &'static str,
    /// The value; empty where it cannot be computed.
    value: String,
    /// Numerator and denominator, or why it cannot be computed.
    of: String,
    left_out: Vec<String>,
    /// A word and its class.
    target: Option<(String, &'static str)>,
}

fn line(indicator: &Indicator) -> Line {
    let (value, of) = match &indicator.value {
        Value::Share { num, den } => {
            (percent(indicator.value.tenths().unwrap_or(0)), format!("{num} / {den}"))
        }
        Value::Mean { ms, n } => (mean(*ms, *n), format!("共 {} / {n} 件", words::lasted(*ms))),
        Value::Cannot(why) => (String::new(), format!("算不出来：{why}")),
    };
    let target = indicator.target.map(|tenths| {
        let (word, class) = match indicator.reached() {
            Some(true) => ("达到", "good"),
            Some(false) => ("未达到", "warn"),
            None => ("算不出来", "idle"),
        };
        (format!("目标 {}，{word}", percent(tenths)), class)
    });
    Line {
        title: indicator.code.title(),
        means: indicator.code.means(),
        value,
        of,
        left_out: indicator.left_out.iter().map(|(n, what)| format!("{n} {what}")).collect(),
        target,
    }
}

#[derive(Template)]
#[template(path = "indicators.html")]
struct Page {
    frame: Frame,
    school: SchoolId,
    schools: Vec<SchoolId>,
    month: String,
    months: Vec<String>,
    /// How far the month has come, when it is not over.
    so_far: String,
    lines: Vec<Line>,
}

/// The page.
pub async fn page(
    State(console): State<Console>,
    _: Who,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Oops> {
    let Asked { school, schools, month, now } = asked(&console, &query).await?;
    let lines = computed(&console, &school, month, &now).await?.iter().map(line).collect();
    let today = now.today();
    let back = |n: i32| today.first_of_month().checked_sub(jiff::Span::new().months(n)).ok();
    let page = Page {
        frame: console.frame("指标", "/indicators"),
        months: (0..MONTHS).filter_map(back).map(|day| Month::of(day).name()).collect(),
        so_far: if month.last >= today { format!("到 {today} 为止") } else { String::new() },
        month: month.name(),
        school,
        schools,
        lines,
    };
    Ok(show(&page))
}

const COLUMNS: [&str; 10] =
    ["学校", "月份", "指标", "数值", "分子", "分母", "单位", "目标（%）", "没有计入", "说明"];

fn cells(school: &SchoolId, month: Month, indicator: &Indicator) -> Vec<Cell> {
    // Counts and lengths lie far below what a number of a spreadsheet holds exactly.
    let number = |n: u64| Cell::Number(n as f64);
    let tenths = |n: u64| Cell::Number(n as f64 / 10.0);
    let empty = || Cell::from("");
    let minutes = |ms: i64| Cell::Number((ms as f64 / 60_000.0).round());
    let (value, num, den, unit, why) = match &indicator.value {
        Value::Share { num, den } => {
            let share = indicator.value.tenths().map_or_else(empty, tenths);
            (share, number(*num), number(*den), "%", "")
        }
        Value::Mean { ms, n } => {
            let each = ms / i64::try_from(*n).unwrap_or(i64::MAX).max(1);
            (minutes(each), minutes(*ms), number(*n), "分钟", "")
        }
        Value::Cannot(why) => (empty(), empty(), empty(), "", why.as_str()),
    };
    let left_out: Vec<_> = indicator.left_out.iter().map(|(n, what)| format!("{n} {what}")).collect();
    let note =
        if why.is_empty() { indicator.code.means().to_owned() } else { format!("算不出来：{why}") };
    vec![
        school.as_str().into(),
        month.name().into(),
        indicator.code.title().into(),
        value,
        num,
        den,
        unit.into(),
        indicator.target.map_or_else(empty, tenths),
        left_out.join("；").into(),
        note.into(),
    ]
}

/// `GET /indicators/export/indicators.csv` and `.xlsx`: the month of one school, or with `school=all` of every school, in
/// the order of their ids.
pub async fn export(
    State(console): State<Console>,
    _: Who,
    Path(file): Path<String>,
    Query(mut query): Query<HashMap<String, String>>,
) -> Result<Response, Oops> {
    let kind =
        file.strip_prefix("indicators.").and_then(Kind::named).ok_or_else(|| Oops::missing("这个文件"))?;
    let every = query.get("school").is_some_and(|school| school == "all");
    if every {
        query.remove("school");
    }
    let Asked { school, schools, month, now } = asked(&console, &query).await?;
    let mut rows = Vec::new();
    for school in if every { schools } else { vec![school] } {
        let found = computed(&console, &school, month, &now).await?;
        rows.extend(found.iter().map(|indicator| cells(&school, month, indicator)));
    }
    let name = format!("{}_指标_{}", console.school, month.name());
    Spreadsheet { name, sheet: "指标", columns: COLUMNS.to_vec(), rows }.download(kind)
}
