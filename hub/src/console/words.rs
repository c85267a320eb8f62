//! Numbers and states as people read them.

use lectern_base::clock;
use lectern_wire::afterwards::Submission;
use lectern_wire::manifest::GapCode;
use lectern_wire::upload::StoreState;

use crate::model::repair;

/// `3 分钟前`, or the day when it is long ago.
#[must_use]
pub fn ago(then_ms: i64, now_ms: i64) -> String {
    match (now_ms - then_ms).max(0) / 1000 {
        0..=9 => "刚刚".into(),
        s @ 10..=59 => format!("{s} 秒前"),
        s @ 60..=3599 => format!("{} 分钟前", s / 60),
        s @ 3600..=86_399 => format!("{} 小时前", s / 3600),
        _ => moment(then_ms),
    }
}

/// `2026-09-12 10:30`.
#[must_use]
pub fn moment(ms: i64) -> String {
    let mut text = clock::local_text(ms);
    text.truncate(16);
    text
}

/// `1.3 GB`, in powers of ten as disks and players count.
#[must_use]
pub fn size(bytes: u64) -> String {
    let mut value = bytes;
    let mut rest = 0;
    let mut unit = "B";
    for next in ["KB", "MB", "GB", "TB"] {
        if value < 1000 {
            break;
        }
        rest = value % 1000 / 100;
        value /= 1000;
        unit = next;
    }
    if value < 10 && unit != "B" { format!("{value}.{rest} {unit}") } else { format!("{value} {unit}") }
}

/// `41 分 05 秒`.
#[must_use]
pub fn length(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => "不到 1 秒".into(),
        1..=59 => format!("{s} 秒"),
        60..=3599 => format!("{} 分 {:02} 秒", s / 60, s % 60),
        _ => format!("{} 小时 {:02} 分", s / 3600, s / 60 % 60),
    }
}

/// Why something broke off, as people here say it. A cause that has no word yet stands as the room said it.
#[must_use]
pub fn cause(said: &str) -> &str {
    match said {
        "the recorder was lost" => "录课程序意外停止",
        "the recorder did not end when asked" => "录课程序没有按时结束",
        "the recorder was lost and could not be kept running" => "录课程序一再停止",
        "the power was cut or the machine restarted" => "断电或重启",
        "nothing new arrived for 1 s" => "没有信号",
        "the source ended" => "信号断开",
        "the desktop, or its portal, broke off" | "the desktop session ended" => "桌面会话断开",
        "the desktop sends no picture of the screen" => "桌面没有送出画面",
        "the desktop ended the sharing of the screen" => "桌面停止了共享屏幕",
        _ if said.starts_with("the question on the screen") => "等待在屏幕上同意录屏",
        _ if said.starts_with("sharing the screen was refused") => "在屏幕上拒绝了录屏",
        _ if said.starts_with("nothing became durable") => "录像写不进磁盘",
        _ => said,
    }
}

/// Why a source was away, as people here say it.
#[must_use]
pub fn gap(code: Option<GapCode>, said: &str) -> &str {
    match (cause(said), code) {
        // The sentence has no word of its own: its code has one.
        (same, Some(GapCode::NoSignal)) if same == said => "没有信号",
        (same, Some(GapCode::Lost)) if same == said => "连接断开",
        (same, Some(GapCode::CannotOpen)) if same == said => "打不开",
        (word, _) => word,
    }
}

/// `3 分钟`, `2 小时 05 分`, `4 天`: how long something lasts, no finer than anybody asks.
#[must_use]
pub fn lasted(ms: i64) -> String {
    match ms.max(0) / 60_000 {
        0 => "不到 1 分钟".into(),
        m @ 1..=59 => format!("{m} 分钟"),
        m @ 60..=1439 => format!("{} 小时 {:02} 分", m / 60, m % 60),
        m => format!("{} 天", m / 1440),
    }
}

/// A number with at most one decimal.
#[must_use]
pub fn number(value: f64) -> String {
    if value.abs() < 10.0 && value.fract().abs() > 0.05 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// How far a lesson is: a word and a class.
#[must_use]
pub fn lesson_state(state: StoreState) -> (&'static str, &'static str) {
    match state {
        StoreState::Receiving => ("正在接收", "busy"),
        StoreState::Verifying => ("正在核验", "busy"),
        StoreState::Stored => ("已存入", "good"),
        StoreState::Discarded => ("已删除", "idle"),
    }
}

/// What a lesson was put forward for: 「微能力2.0 A5」. A scheme that has no name here stands by its id.
#[must_use]
pub fn submission(said: &Submission) -> String {
    let scheme = match said.scheme.as_str() {
        "weinengli2" => "微能力2.0",
        "youke" => "一师一优课",
        "jingpin" => "基础教育精品课",
        "xiaoben" => "校本自定义",
        other => other,
    };
    if said.point.is_empty() { scheme.to_owned() } else { format!("{scheme} {}", said.point) }
}

/// How far a ticket is: a word and a class.
#[must_use]
pub fn repair_state(state: repair::State) -> (&'static str, &'static str) {
    match state {
        repair::State::Open => ("待受理", "warn"),
        repair::State::Doing => ("处理中", "busy"),
        repair::State::Done => ("已完成", "good"),
    }
}

/// A lesson's step as the room names it. One that has no word here stands as it came.
#[must_use]
pub fn lesson_step(state: &str) -> &str {
    match state {
        "started" => "开始录课",
        "preparing" => "正在准备",
        "recording" => "正在录课",
        "paused" => "已暂停",
        "interrupted" => "中断",
        "ended" => "结束录课",
        "finishing" => "正在收尾",
        "sealed" => "录好了",
        "stored" => "已存入",
        "discarded" => "已删除",
        "reclaimed" => "本机已清理",
        other => other,
    }
}

/// A count of bytes from a measurement, which is a number of any kind.
#[must_use]
pub fn size_of(value: f64) -> String {
    // Measurements are whole and far below 2^53; what is not is shown as nothing stored.
    format!("{value:.0}").parse().map_or_else(|_| "0 B".to_owned(), size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheme_that_ships_has_its_name_here() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/schemes");
        let mut known = 0;
        for file in std::fs::read_dir(folder).expect("schemes") {
            let text = std::fs::read_to_string(file.expect("file").path()).expect("text");
            let scheme: toml::Table = text.parse().expect("toml");
            let word = |name: &str| scheme[name].as_str().expect("text").to_owned();
            let said = |scheme, point: &str| Submission {
                v: 1,
                lesson_id: lectern_wire::id::LessonId::new("l1").expect("id"),
                manifest_sha256: lectern_wire::digest::Digest::of(b""),
                scheme,
                point: point.into(),
                wall_ms: 1,
            };
            assert_eq!(submission(&said(word("id"), "")), word("name"));
            assert_eq!(submission(&said(word("id"), "A5")), word("name") + " A5");
            known += 1;
        }
        assert!(known > 0);
    }

    #[test]
    fn numbers_read_as_people_say_them() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(1_300_000_000), "1.3 GB");
        assert_eq!(size(42_700_000), "42 MB");
        assert_eq!(length(2_465_000), "41 分 05 秒");
        assert_eq!(length(400), "不到 1 秒");
        assert_eq!(ago(0, 125_000), "2 分钟前");
        assert_eq!(
            ["不到 1 分钟", "59 分钟", "1 小时 05 分", "2 天"],
            [9, 3_599_999, 3_900_000, 180_000_000].map(lasted)
        );
        assert_eq!(number(7.26), "7.3");
        assert_eq!(number(7.0), "7");
        assert_eq!(number(87.6), "88");
        assert_eq!(size_of(-5.0), "0 B");
    }
}
