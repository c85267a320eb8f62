//! Hands a lesson in to Opencast, step by step: each answer is the mediapackage the next step begins with.
//!
//! ```text
//! createMediaPackage ─▶ addDCCatalog ─▶ addTrack (one take) or addPartialTrack (several) ─▶ look at what is there ─▶ ingest
//! ```
//!
//! The newest mediapackage is noted after each step, so an interruption goes on there; an answer that was lost leaves at most
//! a file nobody names. Before `ingest` what Opencast has of each track is looked at. An ingest counts when a workflow has a
//! number; one whose answer was lost is asked for before it is repeated.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use lectern_wire::digest::Digest;
use lectern_wire::manifest::{Manifest, Take};
use reqwest::{Body, Method, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::opencast::{CALL, Core};
use super::work::{Checked, Work};
use super::{Trouble, xml};

/// What is remembered between rounds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    /// The mediapackage as Opencast gave it back last.
    package: String,
    /// Where each take's track is.
    tracks: BTreeMap<u32, String>,
    /// The lesson was handed in, and no answer has come.
    asked: bool,
}

impl Note {
    fn of(work: &Work) -> Result<Self, Trouble> {
        Ok(work.noted()?.and_then(|note| serde_json::from_str(&note).ok()).unwrap_or_default())
    }

    fn keep(&self, work: &Work) -> Result<(), Trouble> {
        let text = serde_json::to_string(self).map_err(|e| Trouble::lesson(e.to_string()))?;
        let sent =
            work.parts.iter().filter(|row| self.tracks.contains_key(&row.take)).map(|row| row.part.size);
        work.note(sent.sum(), Some(&text))
    }

    fn package_id(&self) -> Option<String> {
        xml::all(&self.package, "mediapackage").first()?.get("@id").cloned()
    }
}

/// From the first step to the workflow's number.
pub async fn hand_in(core: &Core, work: &Work) -> Result<Vec<Checked>, Trouble> {
    let Some((manifest, _)) = &work.sealed else { return Err(Trouble::lesson("it is not sealed")) };
    let mut note = Note::of(work)?;
    let ingest = core.service("ingest").await?;
    if note.package.is_empty() {
        note.keep(work)?;
        let url = core.join(&ingest, "/createMediaPackage")?;
        let package = core.done(Method::GET, url, &[], None, Some(CALL)).await?.text().await?;
        let fields = [
            ("mediaPackage", package.as_str()),
            ("dublinCore", &catalog(work, manifest)),
            ("flavor", "dublincore/episode"),
        ];
        note.package = core.form(core.join(&ingest, "/addDCCatalog")?, &fields).await?.text().await?;
        note.package_id().ok_or_else(|| Trouble::there("Opencast made a mediapackage without an id"))?;
        note.keep(work)?;
    }
    let several = manifest.takes.len() > 1;
    for take in &manifest.takes {
        if note.tracks.contains_key(&take.n) {
            continue;
        }
        let begins_ms =
            manifest.takes.first().map_or(0, |first| take.started_wall_ms - first.started_wall_ms);
        let start = several.then(|| begins_ms.max(0));
        note.package = match add_track(core, &ingest, work, take, &note.package, start).await {
            Ok(package) => package,
            Err(e) => {
                // It may no longer know the package: the next try begins anew.
                drop_package(core, &ingest, &note).await;
                Note::default().keep(work)?;
                return Err(e);
            }
        };
        let url = xml::all(&note.package, "track").last().and_then(|track| track.get("url").cloned());
        let url = url.ok_or_else(|| Trouble::there("Opencast took a track in and does not name it"))?;
        note.tracks.insert(take.n, url);
        note.keep(work)?;
    }
    let mut checked = Vec::new();
    for take in &manifest.takes {
        let url = note.tracks.get(&take.n).map(String::as_str).unwrap_or_default();
        match look(core, take, url, &note.package).await {
            Ok(found) => checked.push(found),
            Err(e) => {
                if e.is_of_lesson() {
                    drop_package(core, &ingest, &note).await;
                    Note::default().keep(work)?;
                }
                return Err(e);
            }
        }
    }
    let number = start_workflow(core, &ingest, work, &mut note).await?;
    checked.push(Checked {
        name: format!("workflow {number}"),
        size: note.package.len() as u64,
        sha256: Digest::of(note.package.as_bytes()),
        by: "workflow",
    });
    Ok(checked)
}

/// Sends a take; gives the mediapackage with it.
async fn add_track(
    core: &Core,
    ingest: &Url,
    work: &Work,
    take: &Take,
    package: &str,
    start_ms: Option<i64>,
) -> Result<String, Trouble> {
    // A take that has changed on this disk goes nowhere; it is read once for that.
    let (checking, n) = (work.clone(), take.n);
    let checked = tokio::task::spawn_blocking(move || {
        checking.parts_of(n).try_for_each(|row| checking.bytes_of(row).map(drop))
    });
    checked.await.map_err(|e| Trouble::lesson(format!("reading broke off: {e}")))??;

    let boundary = format!("lectern-{}", lectern_base::chance::hex::<16>());
    let mut head = String::new();
    let start = start_ms.map(|ms| ms.to_string());
    let fields = [
        ("flavor", Some(core.settings.flavor.as_str())),
        ("mediaPackage", Some(package)),
        ("startTime", start.as_deref()),
    ];
    // Opencast reads no field after the first file.
    for (name, value) in fields {
        if let Some(value) = value {
            head += &format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            );
        }
    }
    head += &format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"BODY\"; filename=\"{}\"\r\nContent-Type: video/mp4\r\n\r\n",
        take.file
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    let path = work.take_path(take.n);
    let length = head.len() as u64 + take.size + tail.len() as u64;
    let make = || {
        let file = std::fs::File::open(&path).map_err(|e| Trouble::file(&path, &e))?;
        let file = tokio::io::AsyncReadExt::take(tokio::fs::File::from_std(file), take.size);
        let file = tokio_util::io::ReaderStream::with_capacity(file, 64 * 1024);
        let piece =
            |text: &str| futures_util::stream::iter([Ok::<_, std::io::Error>(text.to_owned().into())]);
        Ok((Body::wrap_stream(piece(&head).chain(file).chain(piece(&tail))), length))
    };
    let step = if start_ms.is_some() { "/addPartialTrack" } else { "/addTrack" };
    let kind = ("Content-Type", format!("multipart/form-data; boundary={boundary}"));
    // As slow as the line is: 120 kbit/s, and never less than a minute.
    let limit = CALL + std::time::Duration::from_secs(length / 15_000);
    let response =
        core.done(Method::POST, core.join(ingest, step)?, &[kind], Some(&make), Some(limit)).await?;
    let text = response.text().await?;
    match xml::all(&text, "mediapackage").is_empty() {
        true => Err(Trouble::there("Opencast answered a track with no mediapackage")),
        false => Ok(text),
    }
}

/// What Opencast has of a take: every byte where it gives them back, else the size it tells.
async fn look(core: &Core, take: &Take, url: &str, package: &str) -> Result<Checked, Trouble> {
    let is = |by| Checked { name: url.to_owned(), size: take.size, sha256: take.sha256, by };
    let other = || {
        Trouble::lesson(format!(
            "Opencast has other bytes of {} than it was sent; it is sent again",
            take.file
        ))
    };
    let address = Url::parse(url).map_err(|_| Trouble::there(format!("Opencast names a track {url:?}")))?;
    let mut response = core.send(Method::GET, address, &[], None, None).await?;
    if response.status() == StatusCode::OK {
        let (mut hasher, mut length) = (Sha256::new(), 0);
        while let Some(piece) = tokio::time::timeout(CALL, response.chunk())
            .await
            .map_err(|_| Trouble::there("Opencast stopped in the middle of a track"))??
        {
            hasher.update(&piece);
            length += piece.len() as u64;
        }
        return if (length, Digest::finish(hasher)) == (take.size, take.sha256) {
            Ok(is("read back"))
        } else {
            Err(other())
        };
    }
    if response.status().is_server_error() {
        return Err(Trouble::there(format!(
            "Opencast does not show a track ({})",
            response.status().as_u16()
        )));
    }
    // Some cores let an agent hand in and not read.
    let tracks = xml::all(package, "track");
    let track = tracks.iter().find(|track| track.get("url").is_some_and(|known| known == url));
    match track.and_then(|track| track.get("size")?.parse::<u64>().ok()) {
        Some(size) if size == take.size => Ok(is("size")),
        Some(_) => Err(other()),
        None => Err(Trouble::there("Opencast neither shows what it has of a track nor says how large it is")),
    }
}

/// Hands the package in; gives the workflow's number.
async fn start_workflow(core: &Core, ingest: &Url, work: &Work, note: &mut Note) -> Result<String, Trouble> {
    if note.asked
        && let Some(number) = workflow_of(core, note).await?
    {
        return Ok(number);
    }
    note.asked = true;
    note.keep(work)?;
    let fields =
        [("mediaPackage", note.package.as_str()), ("workflowDefinitionId", core.settings.workflow.as_str())];
    let text = core.form(core.join(ingest, "/ingest")?, &fields).await?.text().await?;
    let number =
        xml::all(&text, "workflow").first().and_then(|w| w.get("@id").cloned()).filter(|id| !id.is_empty());
    number.ok_or_else(|| {
        Trouble::there("Opencast took the lesson in and started no workflow; it is asked again")
    })
}

/// The workflow that has the package, if there is one.
async fn workflow_of(core: &Core, note: &Note) -> Result<Option<String>, Trouble> {
    let Some(id) = note.package_id() else { return Ok(None) };
    let workflow = core.service("workflow").await?;
    let url = core.join(&workflow, &format!("/mediaPackage/{id}/instances.json"))?;
    let response = core.send(Method::GET, url, &[], None, Some(CALL)).await?;
    match response.status() {
        StatusCode::NOT_FOUND => Ok(None),
        status if status.is_success() => {
            let found: serde_json::Value = response.json().await?;
            let list = found.as_array().cloned().unwrap_or_default();
            Ok(list.iter().find_map(|w| match &w["id"] {
                serde_json::Value::String(id) if !id.is_empty() => Some(id.clone()),
                serde_json::Value::Number(id) => Some(id.to_string()),
                _ => None,
            }))
        }
        status => Err(Trouble::there(format!(
            "Opencast does not say whether it has the lesson ({})",
            status.as_u16()
        ))),
    }
}

/// Has a package dropped that will not be handed in; where it is not, Opencast clears it away in time.
async fn drop_package(core: &Core, ingest: &Url, note: &Note) {
    let dropped = async {
        core.form(core.join(ingest, "/discardMediaPackage")?, &[("mediaPackage", note.package.as_str())])
            .await
    };
    if let Err(e) = dropped.await {
        tracing::debug!("a mediapackage was not dropped: {e}");
    }
}

/// Drops what was begun for a lesson that is thrown away.
pub async fn drop_begun(core: &Core, work: &Work) -> Result<(), Trouble> {
    let note = Note::of(work)?;
    if note.package.is_empty() || note.asked {
        return Ok(());
    }
    let ingest = core.service("ingest").await?;
    core.form(core.join(&ingest, "/discardMediaPackage")?, &[("mediaPackage", &note.package)]).await.map(drop)
}

/// The lesson in Dublin Core, by Opencast's own fields.
fn catalog(work: &Work, manifest: &Manifest) -> String {
    let about = &work.lesson.about;
    let title = [about.topic.as_str(), about.subject.as_str(), manifest.lesson_id.as_str()];
    let title = title.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
    let utc = |ms: i64| {
        jiff::Timestamp::from_millisecond(ms).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    let begins = manifest.takes.first().map_or(work.lesson.started_wall_ms, |take| take.started_wall_ms);
    let ends = manifest.takes.last().map_or(begins, |take| {
        take.started_wall_ms.saturating_add(i64::try_from(take.duration_ms).unwrap_or(0))
    });
    let fields = [
        ("title", "", title.to_owned()),
        ("creator", "", about.teacher.clone()),
        ("subject", "", about.subject.clone()),
        ("description", "", [about.class.as_str(), about.period.as_str()].join(" ").trim().to_owned()),
        ("spatial", "", manifest.room.clone()),
        ("source", "", manifest.lesson_id.to_string()),
        ("created", " xsi:type=\"dcterms:W3CDTF\"", utc(begins)),
        (
            "temporal",
            " xsi:type=\"dcterms:Period\"",
            format!("start={}; end={}; scheme=W3C-DTF;", utc(begins), utc(ends)),
        ),
    ];
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><dublincore \
         xmlns=\"http://www.opencastproject.org/xsd/1.0/dublincore/\" xmlns:dcterms=\"http://purl.org/dc/terms/\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">",
    );
    for (name, kind, value) in fields.into_iter().filter(|(.., value)| !value.is_empty()) {
        text += &format!("<dcterms:{name}{kind}>{}</dcterms:{name}>", xml::escaped(&value));
    }
    text + "</dublincore>"
}
