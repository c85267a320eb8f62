//! 总览: all rooms, worst first.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use lectern_base::clock;
use lectern_wire::telemetry::Presence;

use super::guard::Who;
use super::{Console, Frame, Oops, show, words};
use crate::model::watch::QUIET_MS;
use crate::store::devices::{self, Device};
use crate::store::samples::{self, Live};
use crate::store::{StoreError, alarms, repairs};

/// A recording state older than this is not shown as now.
const REC_FRESH_MS: i64 = 60 * 1000;
/// What waits is told when it changes, and every ten minutes: older than this it is not shown as now.
const WAITING_FRESH_MS: i64 = 15 * 60 * 1000;

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
    /// The device in it.
    pub device: Device,
    /// How it is.
    mood: Mood,
    /// That in a word.
    pub state: &'static str,
    /// The word's class.
    pub class: &'static str,
    /// Why it is so, where that is known.
    pub reason: String,
    /// When anything came from it last.
    pub seen: String,
    /// How far the lesson is, when one goes on; also while it is paused.
    pub recording: Option<String>,
    /// Whether it is paused.
    pub paused: bool,
    /// Measured values with a bar.
    pub gauges: Vec<Gauge>,
    /// What waits to be uploaded.
    pub upload: Option<String>,
    /// Reported faults that are not repaired yet.
    pub repairs: u32,
    /// Problems that stand, as people call them.
    pub alarms: Vec<&'static str>,
}

impl Room {
    /// With what is known beside its measurements: reported faults, and problems that stand.
    pub fn with(mut self, repairs: u32, alarms: Vec<alarms::Row>) -> Self {
        self.repairs = repairs;
        self.alarms = alarms.into_iter().map(|row| row.code.title()).collect();
        if self.mood == Mood::Online && !self.alarms.is_empty() {
            (self.mood, self.state, self.class) = (Mood::Troubled, "需要看看", "warn");
        }
        self
    }

    /// Whether it is here and was heard of lately.
    pub fn is_online(&self) -> bool {
        matches!(self.mood, Mood::Online | Mood::Troubled)
    }

    /// Whether it records just now: a paused lesson does not.
    pub fn is_recording(&self) -> bool {
        self.recording.is_some() && !self.paused
    }
}

/// All rooms in use, worst first. One whose device is out of use is found at 设备登记.
pub async fn rooms(console: &Console, now: i64) -> Result<Vec<Room>, StoreError> {
    let found = console.store.read(|db| {
        let (repairs, mut alarms) = (repairs::pending(db)?, alarms::standing(db)?);
        let mut with_live = |device: Device| {
            let sys = samples::live(db, &device.id, "sys")?;
            let rec = samples::live(db, &device.id, "rec")?;
            let repairs = repairs.get(device.id.as_str()).copied().unwrap_or(0);
            let alarms = alarms.remove(&device.id).unwrap_or_default();
            Ok((device, sys, rec, repairs, alarms))
        };
        let in_use = devices::all(db)?.into_iter().filter(|device| device.retired_ms.is_none());
        in_use.map(&mut with_live).collect::<rusqlite::Result<Vec<_>>>()
    });
    let room = |(device, sys, rec, repairs, alarms)| room_of(device, sys, rec, now).with(repairs, alarms);
    let mut rooms: Vec<Room> = found.await?.into_iter().map(room).collect();
    rooms.sort_by(|a, b| {
        let order = |r: &Room| (r.mood, std::cmp::Reverse(r.alarms.len()));
        order(a).cmp(&order(b)).then_with(|| a.device.room.cmp(&b.device.room))
    });
    Ok(rooms)
}

/// A room from its device and its newest measurements; [`Room::with`] adds the rest.
pub fn room_of(device: Device, sys: Option<Live>, rec: Option<Live>, now: i64) -> Room {
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
        Some("stopped") => "程序被停止".into(),
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
    let rec = rec.filter(|_| online);
    let told = |name: &str, within_ms: i64| {
        rec.as_ref().filter(|live| now - live.arrived_ms < within_ms)?.values.get(name).copied()
    };
    let value = |name: &str| told(name, REC_FRESH_MS);
    let waits = |name: &str| told(name, WAITING_FRESH_MS);
    let counts = |name: &str| value(name).is_some_and(|n| n > 0.0);
    // A room says either that it records or that it is paused, never both.
    let paused = counts("paused_count");
    let recording = (paused || counts("recording_count")).then(|| {
        value("media_s").map_or_else(String::new, |s| {
            // Any number may come from a device; one that is no length of a lesson is shown as nothing.
            let whole: u64 = format!("{s:.0}").parse().unwrap_or(0);
            lectern_wire::manifest::clock_text(whole.saturating_mul(1000))
        })
    });
    let waiting = waits("pending_upload_bytes").filter(|b| *b > 0.0);
    Room {
        seen: device.seen_ms.map_or_else(|| "–".into(), |seen| words::ago(seen, now)),
        paused,
        upload: waiting.map(|bytes| match waits("lessons_waiting_count").filter(|n| *n > 0.0) {
            Some(n) => format!("{} 节 {}", words::number(n), words::size_of(bytes)),
            None => words::size_of(bytes),
        }),
        device,
        mood,
        state,
        class,
        reason,
        recording,
        gauges,
        repairs: 0,
        alarms: Vec::new(),
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
    alarms: usize,
    repairs: u32,
    retired: u32,
}

async fn part(console: &Console) -> Result<RoomsPart, Oops> {
    let rooms = rooms(console, clock::wall_ms()).await?;
    Ok(RoomsPart {
        online: rooms.iter().filter(|r| r.is_online()).count(),
        recording: rooms.iter().filter(|r| r.is_recording()).count(),
        lost: rooms.iter().filter(|r| r.mood == Mood::Lost).count(),
        alarms: rooms.iter().map(|r| r.alarms.len()).sum(),
        repairs: rooms.iter().map(|r| r.repairs).sum(),
        retired: console.store.read(devices::retired).await?,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit;

    #[test]
    fn what_waits_stays_shown_between_two_words_about_it_and_a_recording_does_not() {
        let topics = testkit::topics("room-1");
        let now = 100 * 60_000;
        let device = Device {
            id: topics.device,
            school: topics.school,
            room: "301教室".into(),
            key: None,
            presence: Some(Presence::Online),
            reason: None,
            seen_ms: Some(now),
            info: None,
            retired_ms: None,
        };
        let shown = |age_ms: i64| {
            let values =
                [("recording_count", 1.0), ("pending_upload_bytes", 5e6), ("lessons_waiting_count", 2.0)];
            let values = values.map(|(name, value)| (name.to_owned(), value)).into();
            let rec = Live { values, arrived_ms: now - age_ms };
            let room = room_of(device.clone(), None, Some(rec), now);
            (room.recording.is_some(), room.upload.is_some())
        };
        assert_eq!(shown(30_000), (true, true));
        assert_eq!(shown(9 * 60_000), (false, true), "told every ten minutes while nothing changes");
        assert_eq!(shown(20 * 60_000), (false, false));
    }
}
