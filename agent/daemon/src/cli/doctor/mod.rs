//! `lectern doctor`: what a technician wants to know before the first lesson, in one table.
//!
//! One file per area; each gives its lines, and knows nothing of the others.

mod machine;
mod network;
mod recorder;
mod sources;

use lectern_base::exit::Exit;
use serde_json::json;

use super::say;
use crate::config::Config;

/// One line of the table.
struct Finding {
    what: &'static str,
    well: bool,
    detail: String,
}

/// Looks at everything and prints it.
pub fn run(config: &Config, json: bool) -> Exit {
    let areas = [machine::findings, recorder::findings, sources::findings, network::findings];
    let findings: Vec<_> = areas.iter().flat_map(|area| area(config)).collect();
    let well = findings.iter().all(|f| f.well);
    let rows: Vec<_> =
        findings.iter().map(|f| json!({ "what": f.what, "ok": f.well, "detail": f.detail })).collect();
    let text: Vec<_> = findings
        .iter()
        .map(|f| format!("{} {:<11} {}", if f.well { "ok  " } else { "BAD " }, f.what, f.detail))
        .collect();
    say(json, &json!({ "ok": well, "findings": rows }), &text.join("\n"));
    if well { Exit::Done } else { Exit::NotSound }
}

fn finding(what: &'static str, outcome: Result<String, String>) -> Finding {
    match outcome {
        Ok(detail) => Finding { what, well: true, detail },
        Err(detail) => Finding { what, well: false, detail },
    }
}
