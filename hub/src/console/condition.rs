//! A machine's condition as a room sends it along with a report, made readable.
//!
//! Two forms are understood: a list of findings with `name`, `good`, `what`, and the status the room's own
//! page is made of. Anything else is shown as it came.

use serde_json::Value;

use super::words;

/// Most findings shown, and the longest text of one, in characters.
const MOST: usize = 60;
const LONGEST: usize = 300;
/// Less than this many minutes of recording left on the disk ask for a look.
const LITTLE_MINUTES: u64 = 60;

/// What is shown.
#[derive(Debug, PartialEq, Eq)]
pub struct Condition {
    /// In one line; empty when nothing came.
    pub summary: String,
    /// Bad ones first.
    pub findings: Vec<Finding>,
    /// All that came, as indented JSON, when the findings do not say all of it.
    pub raw: String,
}

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub name: String,
    /// Whether it is as it should be; none when it is just a fact.
    pub good: Option<bool>,
    /// How it is.
    pub what: String,
}

impl Finding {
    fn new(name: &str, good: Option<bool>, what: &str) -> Self {
        Self { name: cut(name), good, what: cut(what) }
    }

    /// The word and class of its verdict.
    pub fn verdict(&self) -> (&'static str, &'static str) {
        match self.good {
            Some(true) => ("正常", "good"),
            Some(false) => ("有问题", "warn"),
            None => ("", ""),
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// Reads what came.
#[must_use]
pub fn read(value: &Value) -> Condition {
    let listed = list(value);
    let whole = listed.is_some();
    let mut findings = listed.unwrap_or_else(|| status(value));
    findings.sort_by_key(|f| f.good.map_or(2, u8::from));
    let empty = value.is_null() || [Value::Array(vec![]), Value::Object(Default::default())].contains(value);
    let raw = if empty || (whole && !findings.is_empty()) {
        String::new()
    } else {
        serde_json::to_string_pretty(value).unwrap_or_default()
    };
    let looked = findings.iter().filter(|f| f.good.is_some()).count();
    let bad: Vec<&str> = findings.iter().filter(|f| f.good == Some(false)).map(|f| f.name.as_str()).collect();
    let summary = match (looked, bad.len()) {
        _ if empty => String::new(),
        (0, _) => "设备情况".into(),
        (n, 0) => format!("{n} 项检查都正常"),
        (n, b) => cut(&format!("{n} 项检查中 {b} 项有问题：{}", bad.join("、"))),
    };
    Condition { summary, findings, raw }
}

/// Findings as such, bare or under `findings`; none when one of them is something else.
fn list(value: &Value) -> Option<Vec<Finding>> {
    let list = value.as_array().or_else(|| value.get("findings")?.as_array())?;
    let finding = |one: &Value| {
        let text = |name: &str| one.get(name).and_then(Value::as_str);
        let good = one.get("good").and_then(Value::as_bool)?;
        Some(Finding::new(text("name")?, Some(good), text("what").unwrap_or_default()))
    };
    list.iter().take(MOST).map(finding).collect()
}

/// What a technician asks first, out of the room's status.
fn status(value: &Value) -> Vec<Finding> {
    let text = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let number = |path: &str| value.pointer(path).and_then(Value::as_u64);
    let yes = |path: &str| value.pointer(path).and_then(Value::as_bool);
    let each =
        |path: &str| value.pointer(path).and_then(Value::as_array).into_iter().flatten().take(MOST / 2);
    let mut out = Vec::new();
    for source in each("/preflight/sources") {
        let word = |name: &str| source.get(name).and_then(Value::as_str).unwrap_or_default();
        let (good, what) = match word("state") {
            "good" => (true, "有信号"),
            "no_picture" => (false, "没有画面"),
            "black" => (false, "画面是黑的"),
            "silent" => (false, "没有声音"),
            "failed" => (false, "打不开"),
            other => (false, other),
        };
        let what = [what, word("problem")].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>();
        out.push(Finding::new(word("name"), Some(good), &what.join("：")));
    }
    for warning in each("/warnings") {
        let word = |name: &str| warning.get(name).and_then(Value::as_str).unwrap_or_default();
        let (name, what) = match word("kind") {
            "no_picture" => (word("source"), format!("没有画面：{}", words::cause(word("cause")))),
            "no_sound" => (word("source"), format!("没有声音：{}", words::cause(word("cause")))),
            "silent" => ("话筒", "录课时没有声音".into()),
            "digital_zero" => ("话筒", "录课时是静音".into()),
            "clipping" => ("话筒", "声音过大".into()),
            "black" => ("画面", "录课时没有画面".into()),
            "frozen" => ("摄像头", "画面不动".into()),
            // Said below, with the minutes.
            "little_space" => continue,
            other => ("提醒", other.to_owned()),
        };
        out.push(Finding::new(name, Some(false), &what));
    }
    if let Some(minutes) = number("/disk_free_minutes") {
        let what = format!("还能录约 {minutes} 分钟");
        out.push(Finding::new("存储空间", Some(minutes >= LITTLE_MINUTES), &what));
    }
    if let Some(reachable) = yes("/upload/reachable") {
        let word = if reachable { "连得上" } else { "连不上" };
        let waiting = number("/upload/waiting_lessons").unwrap_or(0);
        let blocked = text("/upload/blocked");
        let mut what = format!("{word}，{waiting} 节课待上传");
        if !blocked.is_empty() {
            what = format!("{what}，上传受阻：{blocked}");
        }
        out.push(Finding::new("到中心的网络", Some(reachable && blocked.is_empty()), &what));
    }
    if let Some(trusted) = yes("/clock_trusted") {
        out.push(Finding::new("时钟", Some(trusted), if trusted { "已校准" } else { "没有校准" }));
    }
    if !text("/lesson/state").is_empty() {
        out.push(Finding::new("最近一节课", None, words::lesson_step(text("/lesson/state"))));
    }
    if let Some(seconds) = number("/up_s") {
        out.push(Finding::new("开机时间", None, &words::length(seconds.saturating_mul(1000))));
    }
    if !text("/agent_version").is_empty() {
        out.push(Finding::new("程序版本", None, text("/agent_version")));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn findings_are_shown_bad_ones_first() {
        let list = json!([
            {"name": "磁盘", "good": true, "what": "还有 182 GB"},
            {"name": "话筒", "good": false, "what": "没有声音"},
        ]);
        for value in [list.clone(), json!({"findings": list})] {
            let read = read(&value);
            assert_eq!(read.summary, "2 项检查中 1 项有问题：话筒");
            assert_eq!(read.findings[0], Finding::new("话筒", Some(false), "没有声音"));
            assert_eq!(read.raw, "");
        }
    }

    #[test]
    fn a_rooms_status_is_told_in_words() {
        let read = read(&json!({
            "room": "301教室",
            "warnings": [{"kind": "silent"}, {"kind": "no_picture", "source": "camera", "cause": "the source ended"}],
            "preflight": {"sources": [{"name": "screen", "kind": "screen", "state": "good", "took_ms": 90}]},
            "upload": {"configured": true, "reachable": false, "waiting_lessons": 2, "blocked": null},
            "disk_free_minutes": 35, "clock_trusted": true, "up_s": 7200, "agent_version": "0.1.0",
            "lesson": {"state": "recording"},
        }));
        assert_eq!(read.summary, "6 项检查中 4 项有问题：话筒、camera、存储空间、到中心的网络");
        let told: Vec<_> = read.findings.iter().map(|f| format!("{} {}", f.name, f.what)).collect();
        for word in [
            "camera 没有画面：信号断开",
            "screen 有信号",
            "存储空间 还能录约 35 分钟",
            "到中心的网络 连不上，2 节课待上传",
            "时钟 已校准",
            "最近一节课 正在录课",
            "开机时间 2 小时 00 分",
        ] {
            assert!(told.contains(&word.to_owned()), "{word} is missing in {told:?}");
        }
        assert!(read.raw.contains("\"took_ms\": 90"), "and all that came is there to be read");
    }

    #[test]
    fn what_nobody_knows_is_shown_as_it_came_and_nothing_as_nothing() {
        for nothing in [json!(null), json!([]), json!({})] {
            assert_eq!(
                read(&nothing),
                Condition { summary: String::new(), findings: vec![], raw: String::new() }
            );
        }
        for odd in
            [json!("x"), json!(5), json!([1, 2]), json!({"findings": [{"name": 1}]}), json!({"a": {"b": 1}})]
        {
            let read = read(&odd);
            assert_eq!((read.summary.as_str(), read.findings.len()), ("设备情况", 0), "{odd}");
            assert!(!read.raw.is_empty(), "{odd}");
        }
        let many = vec![json!({"name": "长".repeat(999), "good": false, "what": "长".repeat(999)}); 500];
        let read = read(&Value::Array(many));
        assert_eq!((read.findings.len(), read.findings[0].what.chars().count()), (MOST, LONGEST));
        assert!(read.summary.chars().count() <= LONGEST);
    }
}
