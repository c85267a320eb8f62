//! CSES, the course schedule exchange schema of classroom clocks: YAML, one classroom, with its own times.

use jiff::civil::Time;
use lectern_wire::manifest::About;
use lectern_wire::timetable::{Period, Weeks};
use serde::Deserialize;

use super::{Fault, Lesson, Place, bells_fault, clock_time, fold};

#[derive(Debug, Deserialize)]
struct Document {
    #[serde(default)]
    subjects: Vec<Subject>,
    #[serde(default)]
    schedules: Vec<Schedule>,
    #[serde(default)]
    configuration: Option<Configuration>,
}

#[derive(Debug, Deserialize)]
struct Configuration {
    #[serde(default)]
    cycle: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Subject {
    name: String,
    #[serde(default)]
    teacher: Option<String>,
    #[serde(default, alias = "location")]
    room: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Schedule {
    #[serde(default)]
    name: Option<String>,
    enable_day: Days,
    #[serde(default)]
    weeks: Option<String>,
    #[serde(default)]
    classes: Vec<Class>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Days {
    One(i64),
    Named(String),
    Many(Vec<i64>),
}

#[derive(Debug, Deserialize)]
struct Class {
    subject: String,
    start_time: String,
    end_time: String,
}

/// Whether a text is meant to be CSES.
#[must_use]
pub fn is_one(text: &str) -> bool {
    let has = |key: &str| text.lines().any(|line| line.trim_start_matches('\u{feff}').starts_with(key));
    has("schedules:") && has("subjects:")
}

/// The lessons of a class, and the bells, where none were known before.
pub fn read(
    file: &str,
    text: &str,
    class: &str,
    known: &[Period],
    faults: &mut Vec<Fault>,
) -> (Vec<Lesson>, Option<Vec<Period>>) {
    let mut wrong = |what: String| {
        faults.push(Fault { at: Place { sheet: file.to_owned(), ..Place::default() }, what });
    };
    let document: Document = match serde_saphyr::from_str(text.trim_start_matches('\u{feff}')) {
        Ok(document) => document,
        Err(e) => {
            let why = e.to_string();
            let why = why.lines().next().unwrap_or_default();
            wrong(format!("不是能读的 CSES 文件（{why}）。"));
            return (Vec::new(), None);
        }
    };
    if document.configuration.is_some_and(|c| c.cycle.is_some()) {
        wrong("这是按工作日循环的 CSES 第 2 版课表，还不能导入，请导出为第 1 版。".into());
        return (Vec::new(), None);
    }
    let mut times: Vec<(Time, Time)> = Vec::new();
    let mut found = Vec::new();
    for (n, schedule) in document.schedules.iter().enumerate() {
        let title = schedule.name.clone().unwrap_or_else(|| format!("第 {} 张", n + 1));
        let days: Vec<i8> = match &schedule.enable_day {
            Days::One(day) => i8::try_from(*day).into_iter().collect(),
            Days::Named(word) => fold::weekday(word).into_iter().collect(),
            Days::Many(days) => days.iter().filter_map(|day| i8::try_from(*day).ok()).collect(),
        };
        if days.is_empty() || days.iter().any(|day| !(1..=7).contains(day)) {
            wrong(format!("课表“{title}”的 enable_day 不是 1 到 7，1 是星期一。"));
            continue;
        }
        let weeks = match schedule.weeks.as_deref().unwrap_or("all") {
            "all" => Weeks::default(),
            "odd" => Weeks::nth_of(1, 2),
            "even" => Weeks::nth_of(2, 2),
            other => {
                wrong(format!("课表“{title}”的 weeks 是“{other}”，只能是 all、odd 或 even。"));
                continue;
            }
        };
        for (k, lesson) in schedule.classes.iter().enumerate() {
            let (start, end) = (clock_time(&lesson.start_time), clock_time(&lesson.end_time));
            let (Some(start), Some(end)) = (start, end) else {
                wrong(format!(
                    "课表“{title}”第 {} 节的时间“{}”到“{}”读不出，写成 08:00:00。",
                    k + 1,
                    lesson.start_time,
                    lesson.end_time
                ));
                continue;
            };
            if !times.contains(&(start, end)) {
                times.push((start, end));
            }
            let subject = document.subjects.iter().find(|s| s.name == lesson.subject);
            let of = |text: Option<&String>| text.map(|t| fold::spaced(t)).unwrap_or_default();
            let about = About {
                class: class.to_owned(),
                subject: fold::spaced(&lesson.subject),
                teacher: of(subject.and_then(|s| s.teacher.as_ref())),
                ..About::default()
            };
            if let Some(what) = about.fault() {
                wrong(format!("课表“{title}”第 {} 节有一项太长：{what}。", k + 1));
                continue;
            }
            let room = of(subject.and_then(|s| s.room.as_ref()));
            found.push((days.clone(), weeks.clone(), (start, end), about, room, title.clone(), k + 1));
        }
    }
    times.sort_unstable();
    let bells = if known.is_empty() {
        let made: Vec<_> = times
            .iter()
            .enumerate()
            .map(|(n, (start, end))| Period { name: format!("第{}节", n + 1), start: *start, end: *end })
            .collect();
        if let Some(what) = bells_fault(&made) {
            wrong(format!("几天的上课时间不一样，排不出一张作息时间：{what}请先填好节次和铃声。"));
            return (Vec::new(), None);
        }
        made
    } else {
        known.to_vec()
    };
    let mut lessons = Vec::new();
    for (days, weeks, (start, end), about, room, title, k) in found {
        // A minute or two beside the bell is the same period.
        let near = |period: &&Period| {
            let off =
                |a: Time, b: Time| a.since(b).is_ok_and(|s| s.get_minutes().abs() <= 5 && s.get_hours() == 0);
            off(period.start, start) && off(period.end, end)
        };
        let Some(period) = bells.iter().find(near) else {
            wrong(format!("课表“{title}”第 {k} 节 {start} 到 {end} 不在作息时间里，请先改好节次和铃声。"));
            continue;
        };
        lessons.extend(days.iter().map(|weekday| Lesson {
            weekday: *weekday,
            period: period.name.clone(),
            weeks: weeks.clone(),
            about: about.clone(),
            room: room.clone(),
            at: Place { sheet: format!("{file} {title}"), row: k, column: 0 },
        }));
    }
    (lessons, known.is_empty().then_some(bells))
}
