//! `lectern export`: 导出材料包 from this machine's lessons.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use clap::Args;
use lectern_base::clock;
use lectern_base::exit::Exit;
use lectern_proof::bytes::{Blob, FileBytes};
use lectern_proof::export::form::{self, Form};
use lectern_proof::export::{self, Lesson};
use lectern_wire::id::LessonId;
use lectern_wire::manifest::{About, Manifest};
use lectern_wire::sign::Signed;
use serde_json::{Value, json};

use super::remote::ask;
use super::{fail, say};
use crate::config::Config;
use crate::evidence::known_keys;

/// What is asked.
#[derive(Debug, Args)]
pub struct Export {
    /// The lesson's id (`lectern lessons`), or a folder with its manifest and takes.
    lesson: String,
    /// Where the export is made: a folder of its own below this one.
    folder: PathBuf,
    /// One zip file instead of a folder.
    #[arg(long)]
    zip: bool,
    /// For contests that forbid names: without teacher, school, room, class and date.
    #[arg(long)]
    anonymous: bool,
    /// The scheme whose form is filled in, by id; without it the one the lesson was put forward for.
    #[arg(long, default_value = "")]
    scheme: String,
    /// Its point, such as A5.
    #[arg(long, default_value = "")]
    point: String,
}

/// Exports and says where it is.
pub fn run(config: &Config, asked: &Export, json: bool) -> Exit {
    match tried(config, asked) {
        Ok((path, export)) => {
            let report = &export.outcome.report;
            let value = json!({
                "path": path, "name": export.name, "files": export.files(), "bytes": export.bytes(),
                "sound": report.sound, "report": report,
            });
            let state =
                if report.sound { "complete, as recorded" } else { "NOT SOUND, see the report in it" };
            say(json, &value, &format!("{}: {} files, {state}", path.display(), export.files()));
            if report.sound { Exit::Done } else { Exit::NotSound }
        }
        Err(sentence) => fail(&sentence),
    }
}

fn tried(config: &Config, asked: &Export) -> Result<(PathBuf, export::Export), String> {
    let lesson = lesson(config, asked)?;
    let odd = |e: std::io::Error| format!("the lesson could not be exported: {e}");
    let export = export::plan(&lesson, asked.anonymous, clock::wall_ms()).map_err(odd)?;
    if !asked.zip {
        let folder = export::into_folder(&export, &asked.folder).map_err(odd)?;
        return Ok((folder, export));
    }
    let path = asked.folder.join(format!("{}.zip", export.name));
    let growing = asked.folder.join(format!(".{}.zip.partial", export.name));
    if path.exists() {
        return Err(format!("{} is there already: choose another folder or remove it", path.display()));
    }
    std::fs::create_dir_all(&asked.folder).map_err(odd)?;
    let mut out = BufWriter::new(File::create(&growing).map_err(odd)?);
    export::into_zip(&export, &mut out).map_err(odd)?;
    out.get_ref().sync_all().map_err(odd)?;
    std::fs::rename(&growing, &path).map_err(odd)?;
    Ok((path, export))
}

fn lesson(config: &Config, asked: &Export) -> Result<Lesson, String> {
    let data = &config.device.data_dir;
    let folder = match LessonId::new(asked.lesson.as_str()) {
        Ok(id) if !Path::new(&asked.lesson).is_dir() => data.join("lessons").join(id.as_str()),
        _ => PathBuf::from(&asked.lesson),
    };
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))
    };
    let manifest = read("manifest.json")
        .map_err(|e| format!("{e}: the lesson is not on this machine, or is not finished yet"))?;
    let signed: Signed<Manifest> = serde_json::from_slice(&manifest)
        .map_err(|e| format!("{}: cannot be read: {e}", folder.join("manifest.json").display()))?;
    let mut papers = vec![("manifest.json", manifest)];
    for name in ["receipt.json", "heads.jsonl"] {
        if folder.join(name).exists() {
            papers.push((name, read(name)?));
        }
    }
    let beside = folder.join("keys.json");
    let keys = if beside.exists() { beside } else { known_keys::file(data) };
    papers.push(("keys.json", std::fs::read(&keys).map_err(|e| format!("{}: {e}", keys.display()))?));
    let open = |n: u32| -> Result<Blob, String> {
        let path = folder.join(format!("take-{n}.mp4"));
        FileBytes::open(&path).map_err(|e| {
            format!("{}: {e}: export the lesson from the hub's console, which keeps it", path.display())
        })
    };
    let takes = signed.document.takes.iter().map(|take| open(take.n)).collect::<Result<_, _>>()?;
    let (about, submitted) = said_since(config, &signed.document);
    let scheme = if asked.scheme.is_empty() { submitted } else { asked.scheme.clone() };
    let form = match scheme.as_str() {
        "" => Form::default(),
        scheme => form::load(&config.recording.schemes, scheme, &asked.point)?,
    };
    let software = concat!("lectern ", env!("CARGO_PKG_VERSION"));
    let school = config.device.school_text().to_owned();
    Ok(Lesson { manifest: signed.document, about, school, papers, takes, form, software })
}

/// What was said of the lesson after it was sealed, as far as the daemon runs and knows: the words, and what it was put
/// forward for.
fn said_since(config: &Config, manifest: &Manifest) -> (About, String) {
    let known = ask(&config.device.data_dir, "/api/lessons", None).ok();
    let rows = known.as_ref().and_then(Value::as_array);
    let row = rows.into_iter().flatten().find(|row| row["id"] == manifest.lesson_id.as_str());
    let about = row.and_then(|row| serde_json::from_value(row["about"].clone()).ok());
    let submitted = row.and_then(|row| row["submitted"].as_str()).unwrap_or_default();
    (about.unwrap_or_else(|| manifest.about.clone()), submitted.to_owned())
}
