//! `lectern usage`: 使用记录, and a word about a row.

use std::path::Path;

use clap::Args;
use lectern_base::exit::Exit;
use serde_json::{Value, json};

use super::{fail, remote};

/// What is asked.
#[derive(Debug, Args)]
pub struct Usage {
    /// Only this day, as 2026-09-14; otherwise the last seven.
    #[arg(long)]
    date: Option<String>,
    /// A period of that day to confirm or correct, for example 第3节.
    #[arg(long, requires = "date", requires = "by")]
    period: Option<String>,
    /// Correct it: "yes" it was used, or "no". Without it the row is confirmed as it is.
    #[arg(long, requires = "period")]
    used: Option<String>,
    /// Minutes it was used.
    #[arg(long, requires = "used")]
    minutes: Option<u32>,
    /// 设备情况
    #[arg(long, default_value = "")]
    condition: String,
    /// 故障说明
    #[arg(long, default_value = "")]
    fault: String,
    /// 确认人: the name.
    #[arg(long)]
    by: Option<String>,
    /// 确认人's 工号.
    #[arg(long, default_value = "")]
    by_id: String,
}

/// Shows the rows, or says something of one.
pub fn run(data_dir: &Path, asked: &Usage, json: bool) -> Exit {
    let used = match asked.used.as_deref() {
        None => None,
        Some("yes") => Some(true),
        Some("no") => Some(false),
        Some(other) => {
            fail(&format!("--used {other}: it is yes or no"));
            return Exit::BadSettings;
        }
    };
    if let (Some(date), Some(period)) = (&asked.date, &asked.period) {
        let body = json!({
            "date": date, "period": period, "used": used, "minutes": asked.minutes, "condition": asked.condition,
            "fault": asked.fault, "by": asked.by, "by_id": asked.by_id,
        });
        let said = remote::ask(data_dir, "/api/usage", Some(&body));
        return remote::answer(said, json, |_| format!("{date} {period}: noted"));
    }
    let rows = remote::ask(data_dir, "/api/usage", None).map(|mut value| {
        if let (Some(date), Some(rows)) = (&asked.date, value["rows"].as_array_mut()) {
            rows.retain(|row| row["date"] == date.as_str());
        }
        value
    });
    remote::answer(rows, json, |value| {
        let rows = value["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut lines: Vec<String> = rows.iter().map(line).collect();
        if lines.is_empty() {
            lines.push("no period has ended yet that this machine knows of".into());
        }
        if let Some(why) = value["why"].as_str() {
            lines.push(format!("NOTE: {why}"));
        }
        lines.join("\n")
    })
}

fn line(row: &Value) -> String {
    let text = |key: &str| row[key].as_str().unwrap_or("");
    let used = |of: &Value| match of["used"].as_str() {
        Some("used") => "使用",
        Some("not") => "未使用",
        _ => "不明",
    };
    let minutes = |of: &Value, key: &str| of[key].as_u64().unwrap_or(0) / 60;
    let said = match row["said"]["source"].as_str() {
        None => String::new(),
        Some(source) => format!(
            "  {} {}: {} {} min",
            if source == "confirmed" { "确认" } else { "更正" },
            row["said"]["by"]
                .as_str()
                .filter(|by| !by.is_empty())
                .unwrap_or(row["said"]["by_id"].as_str().unwrap_or("")),
            used(&row["said"]),
            minutes(&row["said"], "used_s")
        ),
    };
    format!(
        "{} {}  {}  {} {} min, known {} min  {} {} {}{said}",
        text("date"),
        text("times"),
        text("period"),
        used(row),
        minutes(row, "used_s"),
        minutes(row, "known_s"),
        text("class"),
        text("subject"),
        text("teacher"),
    )
    .trim_end()
    .to_owned()
}
