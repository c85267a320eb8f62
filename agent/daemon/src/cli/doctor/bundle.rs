//! A diagnosis bundle: one tar.gz that can be sent to whoever helps, without secrets and without names of people.
//!
//! Two rules, and each alone would do for most: nothing is put in that is known to hold a secret or a name (settings are
//! put in key by key, lessons without what was said about them), and every text is searched for all
//! secrets and names this machine knows before it goes in.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use lectern_base::clock;
use serde_json::{Value, json};

use super::{Report, health};
use crate::cli::remote;
use crate::config::Config;
use crate::config::destination::Way;
use crate::store::Store;

/// Lines of the journal.
const JOURNAL_LINES: &str = "600";
/// What stands where something was taken out.
const BLANK: &str = "[removed]";
/// Settings whose values stay here. The file names of passwords are none.
const SECRET_KEYS: [&str; 5] = ["password", "secret", "token", "key", "passphrase"];

/// Packs; gives the names of the files in it.
pub fn pack(path: &Path, settings: &Path, config: &Config, report: &Report) -> Result<Vec<String>, String> {
    let lessons = lessons(config);
    let words = words(settings, config, &lessons);
    let files = [
        ("doctor.txt", report.text.clone()),
        ("doctor.json", pretty(&report.json)),
        ("health.json", pretty(&health::read(config))),
        ("settings.toml", settings_text(settings)),
        ("lessons.json", pretty(&without_about(&lessons))),
        ("versions.txt", versions(config)),
        ("journal.txt", journal()),
    ];
    let write = || -> std::io::Result<Vec<String>> {
        let packed = flate2::write::GzEncoder::new(File::create(path)?, flate2::Compression::default());
        let mut tar = tar::Builder::new(packed);
        let mut names = Vec::new();
        for (name, text) in files {
            let text = scrubbed(&text, &words);
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(u64::try_from(clock::wall_ms() / 1000).unwrap_or(0));
            tar.append_data(&mut header, format!("lectern-{}/{name}", config.device.id), text.as_bytes())?;
            names.push(name.to_owned());
        }
        let mut file = tar.into_inner()?.finish()?;
        file.flush()?;
        file.sync_all()?;
        Ok(names)
    };
    write().map_err(|e| format!("{}: {e}", path.display()))
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// The lessons, from the daemon or, when none runs, from the store.
fn lessons(config: &Config) -> Value {
    if let Ok(lessons) = remote::ask(&config.device.data_dir, "/api/lessons", None) {
        return lessons;
    }
    let rows = Store::open(&config.device.data_dir, u64::from(config.outbox.max_mib) << 20)
        .and_then(|s| s.lessons());
    match rows {
        Ok(rows) => rows
            .into_iter()
            .map(|l| json!({ "id": l.id, "state": l.state.name(), "about": l.about, "started_wall_ms": l.started_wall_ms }))
            .collect(),
        Err(e) => json!({ "problem": e.to_string() }),
    }
}

/// What is not about people.
fn without_about(lessons: &Value) -> Value {
    const KEPT: [&str; 6] = ["id", "state", "started", "started_wall_ms", "cut_short", "bytes"];
    let Some(rows) = lessons.as_array() else { return lessons.clone() };
    let kept = |row: &Value| {
        let fields = KEPT.iter().filter_map(|key| Some(((*key).to_owned(), row.get(*key)?.clone())));
        Value::Object(fields.collect())
    };
    rows.iter().map(kept).collect()
}

/// The settings without comments (people write names there), secrets, and passwords in addresses.
fn settings_text(path: &Path) -> String {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) => return format!("# {}: {e}\n", path.display()),
    };
    match text.parse::<toml::Table>() {
        Ok(mut table) => {
            // A stream key may stand anywhere in the address of a live server.
            if let Some(toml::Value::String(url)) = table.get_mut("live").and_then(|live| live.get_mut("url"))
            {
                *url = lectern_wire::live::shown(url);
            }
            table.iter_mut().for_each(|(key, value)| blank(key, value));
            toml::to_string_pretty(&table).unwrap_or_default()
        }
        // What cannot be read cannot be searched key by key.
        Err(e) => format!("# the settings are not TOML: {}\n", e.message()),
    }
}

fn blank(key: &str, value: &mut toml::Value) {
    match value {
        toml::Value::Table(table) => table.iter_mut().for_each(|(key, value)| blank(key, value)),
        toml::Value::Array(items) => items.iter_mut().for_each(|item| blank(key, item)),
        toml::Value::String(text) => {
            if SECRET_KEYS.iter().any(|secret| key == *secret || key.ends_with(&format!("_{secret}"))) {
                BLANK.clone_into(text);
            } else if text.contains("://") {
                *text = lectern_wire::capture::without_userinfo(text);
            }
        }
        _ => {}
    }
}

/// Every secret and every name this machine knows.
fn words(settings: &Path, config: &Config, lessons: &Value) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let files = config.hub.iter().map(|hub| hub.password_file.clone());
    let files = files.chain(config.projector.iter().filter_map(|projector| projector.password_file.clone()));
    let beside = config.destinations.iter().filter_map(|destination| match &destination.way {
        Way::Folder { .. } => None,
        Way::S3(bucket) => Some(bucket.secret_file.clone()),
        Way::Opencast(core) => Some(core.password_file.clone()),
    });
    for file in files.chain(beside).chain([config.device.data_dir.join("device.key")]) {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        words.extend(text.lines().map(|line| line.trim().to_owned()));
    }
    let text = std::fs::read_to_string(settings).unwrap_or_default();
    // Also of addresses that are commented out.
    for address in text.split(['"', '\'', ' ', '\n']).filter(|word| word.contains("://")) {
        if let Some((info, _)) = address.split_once("://").and_then(|(_, rest)| rest.split_once('@')) {
            words.extend(info.split_once(':').map(|(_, password)| password.to_owned()));
        }
    }
    if let Some(live) = &config.live {
        // Its server may be shown, nothing behind it.
        let path = live.url.strip_prefix(&lectern_wire::live::shown(&live.url)).unwrap_or(&live.url);
        words.extend(path.split(['/', '?', '&', '=']).filter(|word| word.len() >= 6).map(str::to_owned));
    }
    for lesson in lessons.as_array().into_iter().flatten() {
        let about = lesson["about"].as_object().into_iter().flatten();
        let names = about.filter(|(key, _)| ["teacher", "teacher_id", "topic"].contains(&key.as_str()));
        words.extend(names.filter_map(|(_, name)| name.as_str()).map(str::to_owned));
    }
    if let Ok(timetable) = std::fs::read_to_string(&config.school_day.timetable) {
        words.extend(teachers(&timetable));
    }
    // One character is in every text.
    words.retain(|word| word.chars().count() >= 2);
    words
}

/// Teachers a timetable names, whatever its shape: every text of a key that says so.
fn teachers(timetable: &str) -> Vec<String> {
    fn find(value: &toml::Value, key: &str, found: &mut Vec<String>) {
        match value {
            toml::Value::Table(table) => table.iter().for_each(|(key, value)| find(value, key, found)),
            toml::Value::Array(items) => items.iter().for_each(|item| find(item, key, found)),
            toml::Value::String(text) if key.starts_with("teacher") => found.push(text.clone()),
            _ => {}
        }
    }
    let mut found = Vec::new();
    if let Ok(table) = timetable.parse::<toml::Table>() {
        find(&toml::Value::Table(table), "", &mut found);
    }
    found
}

/// The longest word first: a short one may be a part of it.
fn scrubbed(text: &str, words: &BTreeSet<String>) -> String {
    let mut words: Vec<_> = words.iter().collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    words.iter().fold(text.to_owned(), |text, word| text.replace(word.as_str(), BLANK))
}

fn said(command: &mut Command) -> String {
    match command.stdin(Stdio::null()).output() {
        Ok(out) => String::from_utf8_lossy(&out.stdout).trim().to_owned(),
        Err(e) => format!("cannot be asked: {e}"),
    }
}

fn versions(config: &Config) -> String {
    let host = crate::platform::host::Host::at(&config.sense.host);
    let (cpu, count, memory, system, kernel) = host.inventory();
    let recorder = said(crate::platform::recorder::command(&config.recording.recorder).arg("--version"));
    format!(
        "lectern {}\nrecorder: {recorder}\nsystem: {system}\nkernel: {kernel}\nprocessor: {count} x {cpu}\nmemory: {} MiB\npacked: {}\n",
        env!("CARGO_PKG_VERSION"),
        memory >> 20,
        clock::local_text(clock::wall_ms()),
    )
}

/// The last lines of the room's services. Not the hub's, where it is on the same machine: its words are of other rooms too, and
/// its first ones hold the administrator's password. Whoever packs must be allowed to read the journal.
fn journal() -> String {
    let mut journalctl = Command::new("journalctl");
    journalctl.args(["--unit=lectern.service", "--unit=lectern-recorder@*", "--no-pager", "--quiet"]);
    journalctl.args(["--output=short-iso", "--no-hostname", "--lines", JOURNAL_LINES]);
    let text = said(&mut journalctl);
    if text.is_empty() {
        "the journal says nothing of lectern, or may not be read by this user\n".into()
    } else {
        text + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_keep_what_helps_and_lose_what_is_secret() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("agent.toml");
        let text = "[hub]\nurl = \"https://hub.example\" # ask 李老师\npassword_file = \"/etc/x\"\n\
                    [live]\nurl = \"rtmp://live.example/app/stream-key-1\"\n[[source]]\nurl = \"rtsp://admin:s3cret@10.0.0.2/live\"\napi_token = \"t0ken\"\n";
        std::fs::write(&path, text).expect("writes");
        let kept = settings_text(&path);
        assert!(
            kept.contains("https://hub.example") && kept.contains("/etc/x") && kept.contains("10.0.0.2"),
            "{kept}"
        );
        for secret in ["s3cret", "admin", "t0ken", "李老师", "stream-key-1"] {
            assert!(!kept.contains(secret), "{kept}");
        }
    }

    #[test]
    fn a_longer_name_is_taken_out_whole() {
        let words = ["王芳".to_owned(), "王芳芳".to_owned()].into();
        assert_eq!(scrubbed("王芳芳 and 王芳", &words), "[removed] and [removed]");
        assert_eq!(teachers("[[lesson]]\nteacher = \"王芳\"\nroom = \"301\"\n"), ["王芳"]);
    }
}
