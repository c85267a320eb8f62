//! `lectern doctor`: what a technician wants to know before the first lesson, in one table.
//!
//! One file per area; each gives its lines, and knows nothing of the others. `--bundle` packs them with all else
//! that helps somebody far away ([`bundle`]).

mod bundle;
mod health;
mod machine;
mod network;
mod recorder;
mod sources;

use std::path::{Path, PathBuf};

use clap::Args;
use lectern_base::exit::Exit;
use serde_json::{Value, json};

use super::{cameras, devices, fail, say};
use crate::config::Config;

/// What doctor is asked for.
#[derive(Debug, Args)]
pub struct Wish {
    /// Pack a diagnosis bundle (tar.gz) without secrets or names of people: to send to whoever can help.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Register the cameras and microphones that are plugged in now: no others belong to this room.
    #[arg(long, conflicts_with = "bundle")]
    register: bool,
    /// Or the network cameras.
    #[command(flatten)]
    pub search: cameras::Search,
}

/// How something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Well,
    Bad,
    /// It cannot be known here; the detail says why.
    Unknown,
}

/// One line of the table.
#[derive(Debug)]
struct Finding {
    what: &'static str,
    state: State,
    detail: String,
}

/// Looks at everything and prints it.
pub fn run(file: &Path, config: &Config, wish: &Wish, json: bool) -> Exit {
    if wish.register {
        return register(config, json);
    }
    let report = look(config);
    if let Some(path) = &wish.bundle {
        return match bundle::pack(path, file, config, &report) {
            Ok(names) => say(
                json,
                &json!({ "bundle": path, "files": names }),
                &format!("{}: {}\nLook through it before you send it.", path.display(), names.join(", ")),
            ),
            Err(why) => fail(&why),
        };
    }
    say(json, &report.json, &report.text);
    if report.well { Exit::Done } else { Exit::NotSound }
}

/// The table, for people and for programs.
struct Report {
    well: bool,
    json: Value,
    text: String,
}

fn look(config: &Config) -> Report {
    let areas =
        [health::findings, machine::findings, recorder::findings, sources::findings, network::findings];
    let mut findings: Vec<_> = areas.iter().flat_map(|area| area(config)).collect();
    let listed = devices::list(&config.recording.recorder, &config.recording.capture);
    let listed = listed.map_err(|e| findings.push(finding("devices", Err(e)))).ok();
    let well = findings.iter().all(|f| f.state != State::Bad);
    let chosen = findings.iter().find(|f| f.what == "encoder").map_or("", |f| f.detail.as_str());
    let rows: Vec<_> = findings
        .iter()
        .map(|f| {
            let known = f.state != State::Unknown;
            json!({ "what": f.what, "ok": f.state != State::Bad, "known": known, "detail": f.detail })
        })
        .collect();
    let mark = |state| match state {
        State::Well => "ok  ",
        State::Bad => "BAD ",
        State::Unknown => "--  ",
    };
    let text: Vec<_> =
        findings.iter().map(|f| format!("{} {:<11} {}", mark(f.state), f.what, f.detail)).collect();
    let table = listed.as_ref().map_or_else(String::new, |l| format!("\n\n{}", devices::table(l, chosen)));
    let listed = listed.as_ref().map(|l| devices::value(l, chosen));
    Report {
        well,
        json: json!({ "ok": well, "findings": rows, "devices": listed }),
        text: text.join("\n") + &table,
    }
}

fn finding(what: &'static str, outcome: Result<String, String>) -> Finding {
    match outcome {
        Ok(detail) => Finding { what, state: State::Well, detail },
        Err(detail) => Finding { what, state: State::Bad, detail },
    }
}

fn register(config: &Config, json: bool) -> Exit {
    use crate::sense::collect;
    let devices = collect::devices(&crate::platform::host::Host::at(&config.sense.host));
    match collect::write_register(&collect::register(&config.device.data_dir), &devices) {
        Ok(()) => {
            let ids: Vec<_> = devices.iter().map(|device| device.id.as_str()).collect();
            let names: Vec<_> = devices.iter().map(|d| format!("{} ({})", d.name, d.id)).collect();
            let text = if names.is_empty() { "none is plugged in".to_owned() } else { names.join("\n") };
            say(json, &json!({ "registered": ids }), &text)
        }
        Err(why) => fail(&why),
    }
}
