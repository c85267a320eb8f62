//! The page of one room: charts, inventory, lessons, events.

use std::collections::{BTreeMap, HashMap};

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use lectern_base::clock;

use super::chart::Chart;
use super::commands;
use super::guard::Who;
use super::lessons::{LessonRow, rows};
use super::rooms::{Room, room_of};
use super::{Console, Frame, Oops, show, words};
use crate::store::devices::{self, Device};
use crate::store::samples;
use crate::store::{alarms, events, lessons, repairs};

/// What a room's charts look back on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    name: &'static str,
    word: &'static str,
    length_ms: i64,
    step_ms: i64,
}

const SPANS: [Span; 3] = [
    Span { name: "1h", word: "1 小时", length_ms: 3_600_000, step_ms: 20_000 },
    Span { name: "24h", word: "24 小时", length_ms: 86_400_000, step_ms: 300_000 },
    Span { name: "7d", word: "7 天", length_ms: 7 * 86_400_000, step_ms: 1_800_000 },
];

fn span(query: &HashMap<String, String>) -> Span {
    let wish = query.get("span").map(String::as_str);
    SPANS.into_iter().find(|s| Some(s.name) == wish).unwrap_or(SPANS[0])
}

#[derive(Template)]
#[template(path = "room.html")]
struct RoomPage {
    frame: Frame,
    room: Room,
    span: Span,
    charts: ChartsPart,
    facts: Vec<(&'static str, String)>,
    lessons: Vec<LessonRow>,
    events: Vec<EventRow>,
    commands: commands::ListPart,
    /// Its agent knows a projector.
    projector: bool,
}

struct EventRow {
    kind: String,
    at: String,
    text: String,
}

#[derive(Template)]
#[template(path = "charts_part.html")]
struct ChartsPart {
    room: Room,
    charts: Vec<(&'static str, String)>,
    now: Vec<(&'static str, String)>,
}

pub(super) async fn find(console: &Console, id: &str) -> Result<Device, Oops> {
    let id = id.to_owned();
    let found = console.store.read(move |db| devices::find(db, &id)).await?;
    found.ok_or_else(|| Oops::missing("这间教室"))
}

/// One chart of a room.
struct Drawn {
    title: &'static str,
    group: &'static str,
    names: &'static [&'static str],
    top: Option<f64>,
    label: fn(f64) -> String,
}

const fn percent(title: &'static str, names: &'static [&'static str]) -> Drawn {
    Drawn { title, group: "sys", names, top: Some(100.0), label: |v| format!("{v:.0}%") }
}

const CHARTS: [Drawn; 5] = [
    percent("处理器", &["cpu_pct"]),
    percent("内存", &["memory_used_pct"]),
    percent("磁盘已用", &["disk_used_pct"]),
    Drawn {
        title: "温度",
        group: "sys",
        names: &["temperature_celsius"],
        top: None,
        label: |v| format!("{v:.0}℃"),
    },
    Drawn {
        title: "网络",
        group: "net",
        names: &["net_rx_bps", "net_tx_bps"],
        top: None,
        label: |v| words::size_of(v / 8.0) + "/s",
    },
];

async fn charts(console: &Console, device: &Device, span: Span) -> Result<ChartsPart, Oops> {
    let now = clock::wall_ms();
    let of = now - span.length_ms..now;
    let (id, over) = (device.id.clone(), of.clone());
    let (series, [sys, net, av, agent, rec], repairs, alarms) = console
        .store
        .read(move |db| {
            let series = |chart: &Drawn| {
                samples::series(db, &id, chart.group, chart.names, over.clone(), span.step_ms)
            };
            let series = CHARTS.iter().map(series).collect::<rusqlite::Result<Vec<_>>>()?;
            let live = |group| samples::live(db, &id, group);
            let live = [live("sys")?, live("net")?, live("av")?, live("agent")?, live("rec")?];
            let repairs = repairs::pending(db)?.get(id.as_str()).copied().unwrap_or(0);
            Ok((series, live, repairs, alarms::standing(db)?.remove(&id).unwrap_or_default()))
        })
        .await?;
    let mut out = Vec::new();
    for (Drawn { title, names, top, label, .. }, series) in CHARTS.into_iter().zip(series) {
        let lines = (0..names.len())
            .map(|k| series.iter().map(|(ts, values)| (*ts, values.get(k).copied().flatten())).collect())
            .collect();
        let chart = Chart { title, span: of.clone(), step_ms: span.step_ms, top, lines, label };
        let svg = chart.svg();
        if !svg.is_empty() {
            out.push((title, svg));
        }
    }
    let values = [&sys, &net, &av, &agent].into_iter().flatten().flat_map(|live| live.values.clone());
    let facts = now_facts(&values.collect());
    let room = room_of(device.clone(), sys, rec, now).with(repairs, alarms);
    Ok(ChartsPart { room, charts: out, now: facts })
}

/// Measured values that have no chart.
fn now_facts(values: &BTreeMap<String, f64>) -> Vec<(&'static str, String)> {
    let value = |name: &str| values.get(name).copied();
    let bytes = |name: &str| value(name).map(words::size_of);
    let mut out = Vec::new();
    let mut fact = |name, text: Option<String>| out.extend(text.map(|t| (name, t)));
    fact(
        "开机时间",
        value("uptime_s").map(|s| words::length(format!("{:.0}", s * 1000.0).parse().unwrap_or(0))),
    );
    fact("平均负载", value("load1_load").map(|v| format!("{v:.2}")));
    fact("内存已用", bytes("memory_used_bytes"));
    fact("磁盘剩余", bytes("disk_free_bytes"));
    fact("交换区已用", bytes("swap_used_bytes"));
    fact(
        "采集程序占用",
        bytes("agent_memory_bytes").map(|m| match value("agent_cpu_pct") {
            Some(cpu) => format!("{m}，处理器 {}%", words::number(cpu)),
            None => m,
        }),
    );
    fact("风扇", value("fan_rpm").map(|v| format!("{v:.0} 转/分")));
    fact("网口速率", value("net_link_bps").map(|v| format!("{:.0} Mb/s", v / 1e6)));
    fact("到中心往返", value("hub_rtt_ms").map(|v| format!("{} 毫秒", words::number(v))));
    fact("摄像头", value("camera_count").map(|n| format!("{n:.0} 个")));
    fact("话筒", value("microphone_count").map(|n| format!("{n:.0} 个")));
    fact("投影机灯泡", value("projector_lamp_s").map(|s| format!("已用 {:.0} 小时", s / 3600.0)));
    fact("待发送记录", value("outbox_rows_count").map(|n| format!("{n:.0} 条")));
    out
}

/// The page of one room.
pub async fn room(
    State(console): State<Console>,
    _: Who,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Oops> {
    let device = find(&console, &id).await?;
    let span = span(&query);
    let charts = charts(&console, &device, span).await?;
    let of = device.id.clone();
    let (found, events) = console
        .store
        .read(move |db| {
            let filter = lessons::Filter { device: Some(of.as_str().to_owned()), ..Default::default() };
            Ok((lessons::list(db, &filter, 20, 0)?, events::newest(db, &of, 12)?))
        })
        .await?;
    let facts = facts(&device);
    let projector = device.info.as_ref().is_some_and(|info| info.projector);
    let commands = commands::part(&console, &device).await?;
    let now = clock::wall_ms();
    let page = RoomPage {
        commands,
        projector,
        frame: console.frame(device.room.clone(), "/"),
        room: charts.room.clone(),
        span,
        charts,
        facts,
        lessons: rows(found, &HashMap::from([(device.id.clone(), device.room.clone())])),
        events: events.into_iter().map(|(kind, event, at)| event_row(&kind, &event.data, at, now)).collect(),
    };
    Ok(show(&page))
}

fn event_row(kind: &str, data: &serde_json::Value, at: i64, now: i64) -> EventRow {
    let word = |name: &str| data.pointer(name).and_then(serde_json::Value::as_str);
    let text = match (kind, word("/lesson_id").or_else(|| word("/document/lesson_id"))) {
        ("lesson", Some(lesson)) => {
            format!("{lesson}：{}", words::lesson_step(word("/state").unwrap_or_default()))
        }
        ("amended", Some(lesson)) => format!("{lesson}：教师补充了这节课的说明"),
        ("submitted", Some(lesson)) => format!("{lesson}：教师提交了这节课"),
        ("repair", _) => match word("/text").map(str::trim) {
            Some(text) if !text.is_empty() => text.chars().take(120).collect(),
            _ => "教师报告设备有问题".into(),
        },
        _ => data.to_string().chars().take(120).collect(),
    };
    let kind = match kind {
        "lesson" => "录课",
        "fault" => "故障",
        "gap" => "记录缺失",
        "usage" => "使用",
        "amended" => "课后补充",
        "submitted" => "提交",
        "repair" => "报修",
        other => other,
    };
    EventRow { kind: kind.to_owned(), at: words::ago(at, now), text }
}

fn facts(device: &Device) -> Vec<(&'static str, String)> {
    let mut out = vec![("设备编号", device.id.to_string()), ("学校标识码", device.school.to_string())];
    if let Some(info) = &device.info {
        out.push(("系统", info.os.clone()));
        out.push(("内核", info.kernel.clone()));
        out.push(("处理器", format!("{}，{} 线程", info.cpu, info.cpu_count)));
        out.push(("内存", words::size(info.memory_bytes)));
        out.push(("程序版本", info.agent_version.clone()));
        out.push(("录课组件", if info.recorder { "已安装" } else { "没有安装" }.into()));
    }
    if let Some(key) = &device.key {
        out.push(("签名钥", key.id()));
    }
    out
}

/// The moving part of a room's page.
pub async fn charts_part(
    State(console): State<Console>,
    _: Who,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Oops> {
    let device = find(&console, &id).await?;
    Ok(show(&charts(&console, &device, span(&query)).await?))
}
