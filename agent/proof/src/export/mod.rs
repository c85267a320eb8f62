//! 导出材料包: a lesson as a BagIt export (RFC 8493) that any archive's tools can check, with what a training platform
//! or a contest asks for.
//!
//! ```text
//! 学校_年级学科_课题_教师_20260912_第3节/
//!   bagit.txt  bag-info.txt  manifest-sha256.txt  tagmanifest-sha256.txt
//!   data/学校_年级学科_课题_教师_20260912_第3节.mp4     standard MP4 with its proof behind the media
//!   data/材料清单.html  data/核验报告.html             to be printed
//!   data/evidence/manifest.json  receipt.json  heads.jsonl  keys.json
//! ```
//!
//! Without names (匿名) the papers are replaced by `commitment.json`, see [`crate::blind`]; no text and no file name then
//! says who, where or when.

mod bag;
pub mod form;
pub mod name;
mod zip;

use std::io;
use std::sync::Arc;

use lectern_base::clock;
use lectern_wire::manifest::{About, Manifest};
use lectern_wire::sign::Kept;

use crate::blind::{self, Commitment};
use crate::bytes::Blob;
use crate::check::{self, Asked, Outcome};
use crate::{joined, open, page};
pub use bag::{into_folder, zip_size};
use form::{Form, Known};
pub use zip::Written;

/// A lesson to be exported.
pub struct Lesson {
    /// What the device signed.
    pub manifest: Kept<Manifest>,
    /// What is said of it now.
    pub about: About,
    /// The school as people call it.
    pub school: String,
    /// `manifest.json`, `receipt.json` and `heads.jsonl` where there are any, `keys.json`: as they stand beside it.
    pub papers: Vec<(&'static str, Vec<u8>)>,
    /// The bytes of the takes, in order.
    pub takes: Vec<Blob>,
    /// What it is put forward for.
    pub form: Form,
    /// The program that exports.
    pub software: &'static str,
}

/// A file of an export.
pub struct File {
    /// Below the export's own folder, such as `data/lesson.mp4`.
    pub path: String,
    /// What is in it.
    pub bytes: Blob,
}

/// An export: a folder's name and what is in it, but for the lists, which are made while it is written.
pub struct Export {
    /// The folder.
    pub name: String,
    /// Lines of `bag-info.txt` that are known beforehand.
    info: Vec<(&'static str, String)>,
    payload: Vec<File>,
    /// What the check of the lesson found.
    pub outcome: Outcome,
}

/// Checks a lesson, all its bytes, and lays out its export.
///
/// # Errors
/// When a take cannot be read or the takes cannot be joined.
pub fn plan(lesson: &Lesson, anonymous: bool, now_ms: i64) -> io::Result<Export> {
    let memory = |bytes: Vec<u8>| -> Blob { Arc::new(bytes) };
    let odd = |e: lectern_wire::sign::BadDocument| io::Error::other(e.to_string());
    let takes = &lesson.manifest.takes;
    let papers = if anonymous {
        let commitment = Commitment::of(&lesson.manifest).map_err(odd)?;
        vec![(blind::FILE, lectern_wire::sign::canonical(&commitment).map_err(odd)?)]
    } else {
        lesson.papers.clone()
    };
    let sections: Vec<(&str, &[u8])> = papers.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let video = joined::build(takes, &lesson.takes, &sections)?;
    // Checked as whoever receives it will: from the very bytes that are handed out.
    let found = open::self_proving(&video.bytes)?.ok_or_else(|| io::Error::other("the MP4 has no proof"))?;
    let outcome = check::check(found, &Asked::default());
    let day =
        clock::local(takes.first().map_or(0, |take| take.started_wall_ms)).strftime("%Y%m%d").to_string();
    let digest = video.digest.to_string();
    let name = if anonymous {
        name::anonymous(&lesson.about, &digest)
    } else {
        name::download(&lesson.school, &lesson.about, &day, None)
    };
    let known = Known { lesson, anonymous, video: &name, outcome: &outcome, now_ms };
    let mut payload = vec![
        File { path: format!("data/{name}"), bytes: video.bytes },
        File { path: "data/材料清单.html".into(), bytes: memory(form::html(&known).into_bytes()) },
        File {
            path: "data/核验报告.html".into(),
            bytes: memory(page::html(&outcome, now_ms, anonymous).into_bytes()),
        },
    ];
    payload.extend(
        papers
            .into_iter()
            .map(|(name, bytes)| File { path: format!("data/evidence/{name}"), bytes: memory(bytes) }),
    );
    let folder = name.trim_end_matches(".mp4").to_owned();
    Ok(Export { info: info(lesson, anonymous, now_ms), name: folder, payload, outcome })
}

fn info(lesson: &Lesson, anonymous: bool, now_ms: i64) -> Vec<(&'static str, String)> {
    let day = clock::local(now_ms).strftime("%Y-%m-%d").to_string();
    let mut info = vec![("Bag-Software-Agent", lesson.software.to_owned()), ("Bagging-Date", day)];
    if !anonymous {
        let said = [&lesson.about.class, &lesson.about.subject, &lesson.about.topic, &lesson.about.teacher];
        let said: Vec<_> = said.into_iter().filter(|s| !s.is_empty()).map(String::as_str).collect();
        info.push(("Source-Organization", lesson.school.clone()));
        info.push(("External-Identifier", lesson.manifest.lesson_id.to_string()));
        info.push(("External-Description", said.join(" ")));
    }
    info.retain(|(_, value)| !value.is_empty());
    info
}

impl Export {
    /// A file of the payload.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&Blob> {
        self.payload.iter().find(|file| file.path == path).map(|file| &file.bytes)
    }

    /// Files of the payload.
    #[must_use]
    pub fn files(&self) -> usize {
        self.payload.len()
    }

    /// Bytes of the payload.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.payload.iter().map(|file| file.bytes.size()).sum()
    }
}

/// Writes an export as a zip file, in order, without going back.
///
/// # Errors
/// What reading or writing says.
pub fn into_zip(export: &Export, out: &mut dyn io::Write) -> io::Result<Written> {
    bag::into_zip(export, out)
}
