//! 材料清单: what a scheme asks for, filled with what is known, to be printed.

use std::fmt::Write as _;

use lectern_base::clock;

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
