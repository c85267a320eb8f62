//! 核验报告: what a check found, as one self-contained page in Chinese that prints on A4. No script, nothing fetched.

mod timeline;

use std::fmt::Write as _;

use lectern_base::clock;
use lectern_wire::manifest::{TakeEnd, clock_text};

use crate::check::Outcome;
use crate::report::{Keys, Said, Verdict};
use crate::words::{finding, span_text};

/// What both printed pages look like.
const STYLE: &str = "\
@page{size:A4;margin:16mm 14mm}\
*{box-sizing:border-box}\
body{font:14px/1.6 'Noto Sans CJK SC','Source Han Sans SC','Microsoft YaHei',sans-serif;color:#1c2733;\
max-width:190mm;margin:24px auto;padding:0 16px;-webkit-print-color-adjust:exact;print-color-adjust:exact}\
h1{font-size:24px;margin:0 0 4px}h2{font-size:16px;margin:22px 0 8px;break-after:avoid}\
p{margin:6px 0}.soft{color:#5b6875}.small{font-size:12px}\
.verdict{font-size:22px;font-weight:700;border-left:6px solid;padding:8px 14px;margin:14px 0}\
.verdict.good{color:#176b3a;background:#e9f5ee}.verdict.bad{color:#a3241b;background:#fbecea}\
.verdict.plain{color:#1c2733;background:#eef2f6}\
.chips span{display:inline-block;border:1px solid #c7d0d9;border-radius:12px;padding:1px 10px;margin:2px 6px 2px 0}\
.chips .good{border-color:#7cbf98;color:#176b3a}.chips .bad{border-color:#dd9089;color:#a3241b}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:4px 8px;\
border-bottom:1px solid #dde3e9}tr{break-inside:avoid}\
.facts th{width:7em;font-weight:400;color:#5b6875}.list th{font-weight:600;background:#f3f6f8}\
.list td,.list th{border:1px solid #c7d0d9}code{font:12px/1.5 'DejaVu Sans Mono',monospace;word-break:break-all}\
.file{word-break:break-all}.sign{margin-top:28px}.sign td{border:1px solid #c7d0d9;height:44px;width:16%}\
.faults li{color:#a3241b}svg{width:100%;height:auto;display:block}ul{margin:6px 0;padding-left:1.4em}\
@media print{body{margin:0;padding:0;max-width:none}}";

/// Text as it stands in HTML.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A page around a body.
#[must_use]
pub fn sheet(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"zh-CN\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{}</title><style>{STYLE}</style></head>\
         <body>{body}</body></html>\n",
        escape(title)
    )
}

/// `1.3 GB`, in powers of ten as disks and players count.
fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..=999_999 => (1000, "KB"),
        1_000_000..=999_999_999 => (1_000_000, "MB"),
        _ => (1_000_000_000, "GB"),
    };
    format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit)
}

/// The page. `anonymous` leaves out all that says who, where or when.
#[must_use]
pub fn html(outcome: &Outcome, now_ms: i64, anonymous: bool) -> String {
    let report = &outcome.report;
    let mut body = String::from("<h1>录课核验报告</h1>");
    if let Some(title) = title(outcome).filter(|_| !anonymous) {
        write!(body, "<p class=\"soft\">{}</p>", escape(&title)).ok();
    }
    let main = report.verdicts.first().copied().unwrap_or(Verdict::Unreadable);
    let range = report.range_ms.map(|(from, to)| format!("（{}–{}）", clock_text(from), clock_text(to)));
    write!(body, "<p class=\"verdict {}\">{}{}</p>", main.class(), main.words().1, range.unwrap_or_default())
        .ok();
    body.push_str("<p class=\"chips\">");
    for verdict in report.verdicts.iter().skip(1) {
        write!(body, "<span class=\"{}\">{}</span>", verdict.class(), verdict.words().1).ok();
    }
    let hub =
        if report.receipted { ("good", "学校资源库的回执相符") } else { ("plain", "没有回执") };
    let keys = match report.keys {
        Keys::Trusted => ("good", "公钥由核验人提供"),
        Keys::Folder => ("plain", "公钥随课附带"),
        Keys::None => ("plain", "没有公钥"),
    };
    for (class, words) in [hub, keys].into_iter().filter(|_| !anonymous) {
        write!(body, "<span class=\"{class}\">{words}</span>").ok();
    }
    body.push_str("</p>");
    write!(
        body,
        "<p class=\"soft\">逐字节核对了 {} 个分片，{}；录像共 {}。</p>",
        report.parts,
        size(report.bytes),
        span_text(report.duration_ms)
    )
    .ok();
    if !report.faults.is_empty() {
        write!(body, "<h2>发现的问题</h2><ul class=\"faults\">{}</ul>", lines(&report.faults)).ok();
    }
    if !outcome.takes.is_empty() {
        write!(body, "<h2>时间轴</h2>{}", timeline::svg(outcome)).ok();
    }
    let happened = happened(outcome);
    let words = if happened.is_empty() {
        "<p>没有暂停，画面和声音没有断过。</p>".to_owned()
    } else {
        format!("<ul>{happened}</ul>")
    };
    write!(body, "<h2>录课中的情况</h2>{words}").ok();
    if !anonymous {
        facts(&mut body, outcome);
    }
    takes(&mut body, outcome, anonymous);
    let how = if anonymous {
        "这份材料不写姓名、学校和时间。公布身份后，请教师出示清单 manifest.json，用 lectern verify 材料包 --manifest \
         manifest.json 核对：清单有设备签名，并且只有它能得出这份承诺。"
    } else {
        "任何人都可以再核验一次：lectern verify 录像.mp4 --keys 学校公钥.json。不需要联网。"
    };
    write!(
        body,
        "<p class=\"soft small\">{how}</p><p class=\"soft small\">核验于 {} · 讲台 Lectern {}</p>",
        if anonymous { clock::local_text(now_ms)[..10].to_owned() } else { clock::local_text(now_ms) },
        env!("CARGO_PKG_VERSION")
    )
    .ok();
    sheet("录课核验报告", &body)
}

fn title(outcome: &Outcome) -> Option<String> {
    let manifest = outcome.manifest.as_ref()?;
    let about = &manifest.about;
    let said = [&about.class, &about.subject, &about.topic, &about.teacher, &about.period];
    let said: Vec<_> = said.into_iter().filter(|s| !s.is_empty()).map(String::as_str).collect();
    Some(if said.is_empty() { manifest.room.clone() } else { said.join(" · ") })
}

fn lines(said: &[Said]) -> String {
    said.iter().map(|said| format!("<li>{}</li>", escape(&said.zh))).collect()
}

/// Notes, findings and marks of all takes.
fn happened(outcome: &Outcome) -> String {
    let mut out = lines(&outcome.report.notes);
    for take in &outcome.takes {
        for f in &take.findings {
            let to = f.to_ms.map_or_else(|| "结束".to_owned(), clock_text);
            let what = finding(f.kind);
            write!(out, "<li>第 {} 段 {}–{to} {what}</li>", take.n, clock_text(f.from_ms)).ok();
        }
        for mark in &take.marks {
            let word =
                if mark.word.is_empty() { String::new() } else { format!("：{}", escape(&mark.word)) };
            write!(out, "<li>第 {} 段 {} 打点{word}</li>", take.n, clock_text(mark.at_ms)).ok();
        }
    }
    out
}

fn facts(body: &mut String, outcome: &Outcome) {
    let Some(manifest) = &outcome.manifest else { return };
    let about = &manifest.about;
    let mut rows = String::new();
    let mut row = |name: &str, value: &str| {
        if !value.is_empty() {
            write!(rows, "<tr><th>{name}</th><td>{value}</td></tr>").ok();
        }
    };
    let plain = |text: &str| escape(text);
    let code = |text: &str| format!("<code>{}</code>", escape(text));
    row("学校标识码", &plain(manifest.school.as_str()));
    row("教室", &plain(&manifest.room));
    row("设备", &plain(manifest.device.as_str()));
    for (name, value) in [
        ("教师", &about.teacher),
        ("工号", &about.teacher_id),
        ("班级", &about.class),
        ("学科", &about.subject),
        ("课题", &about.topic),
        ("节次", &about.period),
        ("认证点", &about.scheme_point),
    ] {
        row(name, &plain(value));
    }
    if let Some(take) = manifest.takes.first() {
        row("录制时间", &clock::local_text(take.started_wall_ms));
    }
    row("课的编号", &code(manifest.lesson_id.as_str()));
    row("清单摘要", &code(&manifest.digest().map(|d| d.to_string()).unwrap_or_default()));
    let [device, hub] = &outcome.signers;
    row("设备签名", &device.as_deref().map(code).unwrap_or_default());
    if let Some(receipt) = &outcome.receipt {
        row("存入时间", &clock::local_text(receipt.stored_wall_ms));
        row("回执序号", &receipt.log_index.to_string());
        row("中心签名", &hub.as_deref().map(code).unwrap_or_default());
    }
    row("录课程序", &plain(&format!("{} / {}", manifest.software.agent, manifest.software.recorder)));
    write!(body, "<h2>这节课</h2><table class=\"facts\">{rows}</table>").ok();
}

fn takes(body: &mut String, outcome: &Outcome, anonymous: bool) {
    let mut rows = String::new();
    for take in &outcome.takes {
        let end = match &take.end {
            TakeEnd::Stopped => "正常结束".to_owned(),
            TakeEnd::Interrupted(why) if why.is_empty() => "中断".to_owned(),
            TakeEnd::Interrupted(why) => format!("中断：{}", escape(crate::words::cause(why))),
        };
        let when = if anonymous || take.started_wall_ms == 0 {
            "—".to_owned()
        } else {
            clock::local_text(take.started_wall_ms)
        };
        write!(
            rows,
            "<tr><td>{}</td><td>{when}</td><td>{}</td><td>{}</td><td>{end}</td><td><code>{}</code></td></tr>",
            take.n,
            span_text(take.duration_ms),
            size(take.size),
            take.sha256
        )
        .ok();
    }
    if !rows.is_empty() {
        write!(
            body,
            "<h2>录像各段</h2><table class=\"list\"><tr><th>段</th><th>开始</th><th>时长</th><th>大小</th><th>结束</th>\
             <th>SHA-256</th></tr>{rows}</table>"
        )
        .ok();
    }
}
