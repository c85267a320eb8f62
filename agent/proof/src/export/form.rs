//! 材料清单: what a scheme asks for, filled with what is known, to be printed.

use std::fmt::Write as _;
use std::path::Path;

use lectern_base::clock;
use serde::Deserialize;

use super::Lesson;
use crate::check::Outcome;
use crate::page::{escape, sheet};
use crate::words::span_text;

/// What a lesson is put forward for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    /// The scheme's name; empty where none is known.
    pub scheme: String,
    /// The point: code, name, environment.
    pub point: Option<(String, String, String)>,
    /// What has to be handed in, for example 教学设计.
    pub items: Vec<String>,
    /// Longest clip, minutes; 0 where the scheme says nothing.
    pub clip_max_minutes: u32,
}

/// As much of a scheme's file as a form needs. Whether the file is right is for the settings' own check.
#[derive(Deserialize)]
struct Scheme {
    id: String,
    name: String,
    #[serde(default)]
    clip_max_minutes: u32,
    #[serde(default)]
    items: Vec<String>,
    #[serde(default)]
    point: Vec<Point>,
}

#[derive(Deserialize)]
struct Point {
    code: String,
    name: String,
    #[serde(default)]
    environment: String,
    /// Instead of the scheme's own.
    #[serde(default)]
    items: Vec<String>,
}

/// The form of a scheme and its point, from a folder of schemes. `said` is the scheme's id or name, with or without
/// the point behind it: `weinengli2`, `微能力2.0 A5`.
///
/// # Errors
/// A sentence, when there is no such scheme or point.
pub fn load(folder: &Path, said: &str, point: &str) -> Result<Form, String> {
    let unreadable = |path: &Path, e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .map_err(|e| unreadable(folder, &e))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "toml"))
        .collect();
    files.sort();
    let mut known = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|e| unreadable(&file, &e))?;
        let scheme: Scheme = toml::from_str(&text).map_err(|e| unreadable(&file, &e))?;
        let rest = [&scheme.id, &scheme.name].into_iter().find_map(|name| said.strip_prefix(name.as_str()));
        let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with(' ')) else {
            known.push(scheme.id);
            continue;
        };
        let code = if point.is_empty() { rest.trim() } else { point };
        let found = scheme.point.into_iter().find(|p| p.code == code);
        if found.is_none() && !code.is_empty() {
            return Err(format!("{} has no point {code:?}", scheme.name));
        }
        let own = found.as_ref().map(|p| p.items.clone()).filter(|items| !items.is_empty());
        return Ok(Form {
            scheme: scheme.name,
            items: own.unwrap_or(scheme.items),
            point: found.map(|p| (p.code, p.name, p.environment)),
            clip_max_minutes: scheme.clip_max_minutes,
        });
    }
    Err(format!("there is no scheme {said:?} in {}; there are: {}", folder.display(), known.join(", ")))
}

/// All that a form is filled with.
pub struct Known<'a> {
    /// The lesson.
    pub lesson: &'a Lesson,
    /// Without names.
    pub anonymous: bool,
    /// The MP4's name.
    pub video: &'a str,
    /// What the check found.
    pub outcome: &'a Outcome,
    /// Now.
    pub now_ms: i64,
}

/// Whether an item is the recording itself.
fn is_recording(item: &str) -> bool {
    item.contains("实录") || item.contains("录像") || item.contains("视频")
}

/// The page.
#[must_use]
pub fn html(known: &Known<'_>) -> String {
    let lesson = known.lesson;
    let form = &lesson.form;
    let about = &lesson.about;
    let report = &known.outcome.report;
    let mut rows = String::new();
    let mut row = |name: &str, value: &str| {
        if !value.is_empty() {
            writeln!(rows, "<tr><th>{name}</th><td>{}</td></tr>", escape(value)).ok();
        }
    };
    row("方案", &form.scheme);
    if let Some((code, name, environment)) = &form.point {
        row("能力点", &format!("{code} {name}"));
        row("环境", environment);
    }
    if !known.anonymous {
        row("学校", &lesson.school);
        row("教师", &about.teacher);
        row("工号", &about.teacher_id);
        row("班级", &about.class);
    }
    row("学科", &about.subject);
    row("课题", &about.topic);
    if !known.anonymous {
        row("节次", &about.period);
        if let Some(take) = lesson.manifest.takes.first() {
            row("录制时间", &clock::local_text(take.started_wall_ms)[..16]);
        }
    }
    row("时长", &span_text(report.duration_ms));
    let mut items = String::new();
    let asked: Vec<&str> = form.items.iter().map(String::as_str).collect();
    let asked = if asked.is_empty() { vec!["课堂实录"] } else { asked };
    for (n, item) in asked.iter().enumerate() {
        let (file, state) = match is_recording(item) {
            true => (escape(known.video), "已附"),
            false => (String::new(), "待补"),
        };
        writeln!(
            items,
            "<tr><td>{}</td><td>{}</td><td class=\"file\">{file}</td><td>{state}</td></tr>",
            n + 1,
            escape(item)
        )
        .ok();
    }
    let longest = u64::from(form.clip_max_minutes) * 60_000;
    let wants_clip = asked.iter().any(|item| item.contains("片段"));
    let clip = if wants_clip && longest > 0 && report.duration_ms > longest {
        format!(
            "<p class=\"soft\">方案要求片段不超过 {} 分钟，附上的是整节课 {}。请在讲台的页面上制作片段，一并提交。</p>",
            form.clip_max_minutes,
            span_text(report.duration_ms)
        )
    } else {
        String::new()
    };
    let unsaid = if form.scheme.is_empty() {
        "<p class=\"soft\">这节课还没有提交到任何方案。在讲台的页面上选「提交认证」后再导出，会列出方案要求的材料。</p>"
    } else {
        ""
    };
    let sign = match known.anonymous {
        true => String::new(),
        false => {
            "<table class=\"sign\"><tr><td>教师签名</td><td></td><td>学校审核</td><td></td><td>日期</td><td></td></tr></table>"
                .to_owned()
        }
    };
    let body = format!(
        "<h1>材料清单</h1>{unsaid}<table class=\"facts\">{rows}</table>\
         <h2>要提交的材料</h2><table class=\"list\"><tr><th>序号</th><th>材料</th><th>文件</th><th>状态</th></tr>{items}</table>\
         {clip}<p class=\"soft\">待补的材料放进同一个文件夹一起提交。录像的核验结果见「核验报告」。</p>{sign}"
    );
    sheet("材料清单", &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_found_by_id_or_by_what_was_put_forward() {
        let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/schemes"));
        let by_id = load(shipped, "weinengli2", "A5").expect("there");
        assert_eq!(load(shipped, "微能力2.0 A5", ""), Ok(by_id.clone()));
        assert_eq!(by_id.point.map(|(code, ..)| code).as_deref(), Some("A5"));
        assert!(by_id.items.iter().any(|item| is_recording(item)), "{:?}", by_id.items);
        assert!(load(shipped, "youke", "").is_ok_and(|form| !form.items.is_empty() && form.point.is_none()));
        assert!(load(shipped, "weinengli2", "Z9").is_err_and(|e| e.contains("no point \"Z9\"")));
        assert!(load(shipped, "nothing", "").is_err_and(|e| e.contains("weinengli2, youke")));
        assert!(load(Path::new("/nowhere"), "x", "").is_err());
    }
}
