//! 总览 and the page of one room.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use lectern_base::clock;
use lectern_wire::telemetry::Presence;

use super::chart::Chart;
use super::guard::Who;
use super::lessons::{LessonRow, rows};
use super::{Console, Frame, Oops, show, words};
use crate::store::devices::{self, Device};
use crate::store::samples::{self, Live};
use crate::store::{StoreError, events, lessons};

/// A device that says nothing for this long is lost, whatever it said last.
const QUIET_MS: i64 = 3 * 60 * 1000;
/// A recording state older than this is not shown as now.
const REC_FRESH_MS: i64 = 60 * 1000;

/// How a room is, from what came from it and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mood {
    Lost,
    Troubled,
    Offline,
    Online,
    Never,
}

/// A value with its word and whether it asks for attention.
#[derive(Debug, Clone)]
pub struct Gauge {
    name: &'static str,
    text: String,
    /// 0 to 100 for the bar; absent where there is none.
    pct: Option<u8>,
    class: &'static str,
}

/// One room as it is shown.
#[derive(Debug, Clone)]
pub struct Room {
    device: Device,
    mood: Mood,
    state: &'static str,
    class: &'static str,
    reason: String,
    seen: String,
    recording: Option<String>,
    paused: bool,
    gauges: Vec<Gauge>,
    upload: Option<String>,
}

impl Room {
    /// Whether it is here and was heard of lately.
    pub fn is_online(&self) -> bool {
        matches!(self.mood, Mood::Online | Mood::Troubled)
    }

    /// Whether it records just now.
    pub fn is_recording(&self) -> bool {
        self.recording.is_some()
    }
}

/// All rooms, worst first.
pub async fn rooms(console: &Console, now: i64) -> Result<Vec<Room>, StoreError> {
    let found = console.store.read(|db| {
        let with_live = |device: Device| {
            let sys = samples::live(db, &device.id, "sys")?;
            let rec = samples::live(db, &device.id, "rec")?;
            Ok((device, sys, rec))
        };
        devices::all(db)?.into_iter().map(with_live).collect::<rusqlite::Result<Vec<_>>>()
    });
    let found = found.await?;
    let mut rooms: Vec<Room> =
        found.into_iter().map(|(device, sys, rec)| room_of(device, sys, rec, now)).collect();
    rooms.sort_by(|a, b| (a.mood, &a.device.room).cmp(&(b.mood, &b.device.room)));
    Ok(rooms)
}

fn room_of(device: Device, sys: Option<Live>, rec: Option<Live>, now: i64) -> Room {
    let quiet = device.seen_ms.is_none_or(|seen| now - seen > QUIET_MS);
    let (mut mood, mut state, mut class) = match device.presence {
        None => (Mood::Never, "还没有连接过", "idle"),
        Some(Presence::Online) if !quiet => (Mood::Online, "在线", "good"),
        Some(Presence::Online | Presence::Lost) => (Mood::Lost, "失联", "bad"),
        Some(Presence::Offline) => (Mood::Offline, "离线", "idle"),
    };
    let online = mood == Mood::Online;
    let reason = match device.reason.as_deref() {
        _ if online => String::new(),
        Some("shutdown") => "正常关机".into(),
        Some("restart") => "正在重启".into(),
        Some("hub_restart") => "中心重启后还没有连上".into(),
        Some(other) => other.to_owned(),
        None if mood == Mood::Lost => "突然断开，可能断电或断网".into(),
        None => String::new(),
    };
    // Numbers of a room that is not there are the past: they are on its page, not here.
    let gauges = sys.filter(|_| online).map(|live| gauges(&live)).unwrap_or_default();
    if online && gauges.iter().any(|g| g.class == "bad") {
        (mood, state, class) = (Mood::Troubled, "需要看看", "warn");
    }
    let rec = rec.filter(|live| online && now - live.arrived_ms < REC_FRESH_MS);
    let value = |name: &str| rec.as_ref().and_then(|live| live.values.get(name)).copied();
    let recording = value("recording_count").filter(|n| *n > 0.0).map(|_| {
        value("media_s").map_or_else(String::new, |s| {
            lectern_wire::manifest::clock_text(format!("{s:.0}").parse::<u64>().unwrap_or(0) * 1000)
        })
    });
    let waiting = value("pending_upload_bytes").filter(|b| *b > 0.0);
    Room {
        seen: device.seen_ms.map_or_else(|| "–".into(), |seen| words::ago(seen, now)),
        paused: value("paused_count").is_some_and(|n| n > 0.0),
        upload: waiting.map(words::size_of),
        device,
        mood,
        state,
        class,
        reason,
        recording,
        gauges,
    }
}

fn gauges(live: &Live) -> Vec<Gauge> {
    let value = |name: &str| live.values.get(name).copied();
    let class = |v: f64, warn: f64, bad: f64| match v {
        v if v >= bad => "bad",
        v if v >= warn => "warn",
        _ => "good",
    };
    let pct = |name: &'static str, field: &str, warn, bad| {
        value(field).map(|v| Gauge {
            name,
            text: format!("{v:.0}%"),
            pct: format!("{:.0}", v.clamp(0.0, 100.0)).parse().ok(),
            class: class(v, warn, bad),
        })
    };
    let heat = value("temperature_celsius").map(|v| Gauge {
        name: "温度",
        text: format!("{v:.0}℃"),
        pct: format!("{:.0}", v.clamp(0.0, 100.0)).parse().ok(),
        class: class(v, 75.0, 88.0),
    });
    [
        // A busy processor is what a recording needs; only a full one asks for a look.
        pct("处理器", "cpu_pct", 90.0, 101.0),
        pct("内存", "memory_used_pct", 85.0, 95.0),
        pct("磁盘", "disk_used_pct", 85.0, 95.0),
        heat,
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[derive(Template)]
#[template(path = "rooms.html")]
struct OverviewPage {
    frame: Frame,
    part: RoomsPart,
}

#[derive(Template)]
#[template(path = "rooms_part.html")]
struct RoomsPart {
    rooms: Vec<Room>,
    online: usize,
    recording: usize,
    lost: usize,
}

async fn part(console: &Console) -> Result<RoomsPart, Oops> {
    let rooms = rooms(console, clock::wall_ms()).await?;
    Ok(RoomsPart {
        online: rooms.iter().filter(|r| r.is_online()).count(),
        recording: rooms.iter().filter(|r| r.is_recording()).count(),
        lost: rooms.iter().filter(|r| r.mood == Mood::Lost).count(),
        rooms,
    })
}

/// 总览.
pub async fn overview(State(console): State<Console>, _: Who) -> Result<Response, Oops> {
    Ok(show(&OverviewPage { frame: console.frame("总览", "/"), part: part(&console).await? }))
}

/// The moving part of 总览.
pub async fn overview_part(State(console): State<Console>, _: Who) -> Result<Response, Oops> {
    Ok(show(&part(&console).await?))
}

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

async fn find(console: &Console, id: &str) -> Result<Device, Oops> {
    let id = id.to_owned();
    let found = console.store.read(move |db| devices::find(db, &id)).await?;
    found.ok_or_else(|| Oops::missing("这间教室"))
}

type Label = fn(f64) -> String;
/// Title, values, top of the scale, label.
const CHARTS: [(&str, &[&str], Option<f64>, Label); 5] = [
    ("处理器", &["cpu_pct"], Some(100.0), |v| format!("{v:.0}%")),
    ("内存", &["memory_used_pct"], Some(100.0), |v| format!("{v:.0}%")),
    ("磁盘已用", &["disk_used_pct"], Some(100.0), |v| format!("{v:.0}%")),
    ("温度", &["temperature_celsius"], None, |v| format!("{v:.0}℃")),
    ("网络", &["net_rx_bps", "net_tx_bps"], None, |v| words::size_of(v / 8.0) + "/s"),
];

async fn charts(console: &Console, device: &Device, span: Span) -> Result<ChartsPart, Oops> {
    let now = clock::wall_ms();
    let id = device.id.clone();
    let (series, sys, rec) = console
        .store
        .read(move |db| {
            let names: Vec<&str> = CHARTS.iter().flat_map(|c| c.1).copied().collect();
            let series = samples::series(db, &id, "sys", &names, now - span.length_ms..now, span.step_ms)?;
            Ok((series, samples::live(db, &id, "sys")?, samples::live(db, &id, "rec")?))
        })
        .await?;
    let mut column = 0;
    let mut out = Vec::new();
    for (title, names, top, label) in CHARTS {
        let lines: Vec<Vec<_>> = (column..column + names.len())
            .map(|k| series.iter().map(|(ts, values)| (*ts, values.get(k).copied().flatten())).collect())
            .collect();
        column += names.len();
        let chart =
            Chart { title, span: now - span.length_ms..now, step_ms: span.step_ms, top, lines, label };
        let svg = chart.svg();
        if !svg.is_empty() {
            out.push((title, svg));
        }
    }
    let facts = sys.as_ref().map(now_facts).unwrap_or_default();
    Ok(ChartsPart { room: room_of(device.clone(), sys, rec, now), charts: out, now: facts })
}

/// Measured values that have no chart.
fn now_facts(live: &Live) -> Vec<(&'static str, String)> {
    let value = |name: &str| live.values.get(name).copied();
    let bytes = |name: &str| value(name).map(words::size_of);
    let mut out = Vec::new();
    let mut fact = |name, text: Option<String>| out.extend(text.map(|t| (name, t)));
    fact(
        "开机时间",
        value("uptime_s").map(|s| words::length(format!("{:.0}", s * 1000.0).parse().unwrap_or(0))),
    );
    fact("平均负载", value("load1_load").map(|v| format!("{v:.2}")));
    fact(
        "内存",
        bytes("memory_used_bytes").zip(bytes("memory_total_bytes")).map(|(u, t)| format!("{u} / {t}")),
    );
    fact("磁盘剩余", bytes("disk_free_bytes"));
    fact("交换区已用", bytes("swap_used_bytes"));
    fact(
        "采集程序占用",
        bytes("agent_memory_bytes").map(|m| match value("agent_cpu_pct") {
            Some(cpu) => format!("{m}，处理器 {}%", words::number(cpu)),
            None => m,
        }),
    );
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
    let now = clock::wall_ms();
    let page = RoomPage {
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
    let word = |name: &str| data.get(name).and_then(serde_json::Value::as_str);
    let text = match (kind, word("lesson_id"), word("state")) {
        ("lesson", Some(lesson), Some(state)) => format!("{lesson}：{}", lesson_word(state)),
        _ => data.to_string().chars().take(120).collect(),
    };
    let kind = match kind {
        "lesson" => "录课",
        "fault" => "故障",
        "gap" => "记录缺失",
        "usage" => "使用",
        other => other,
    };
    EventRow { kind: kind.to_owned(), at: words::ago(at, now), text }
}

fn lesson_word(state: &str) -> &str {
    match state {
        "preparing" => "正在准备",
        "recording" => "正在录课",
        "paused" => "已暂停",
        "interrupted" => "中断",
        "finishing" => "正在收尾",
        "sealed" => "录好了",
        "stored" => "已存入",
        "discarded" => "已删除",
        "reclaimed" => "本机已清理",
        other => other,
    }
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
