//! Commands that ask the running daemon through its page.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lectern_base::clock;
use lectern_base::exit::Exit;
use lectern_wire::manifest::clock_text;
use lectern_wire::upload::Problem;
use reqwest::Method;
use reqwest::header::HeaderName;
use serde_json::{Value, json};

use super::{fail, say};
use crate::app;
use crate::model::lesson::State;
use crate::platform::http;

/// What the page asks of everybody who changes something.
const FROM: HeaderName = HeaderName::from_static("x-lectern");
/// An answer may have to wait for the recorder.
const PATIENCE: Duration = Duration::from_secs(40);

/// Asks the daemon; the answer's JSON, or how it failed.
pub fn ask(data_dir: &Path, path: &str, body: Option<&Value>) -> Result<Value, (Exit, String)> {
    let file = app::address_file(data_dir);
    let address = std::fs::read_to_string(&file)
        .map_err(|e| (Exit::Failed, format!("lectern does not run here: {}: {e}", file.display())))?;
    let url = format!("http://{}{path}", address.trim());
    let failed = |e: String| (Exit::Failed, format!("lectern does not answer at {}: {e}", address.trim()));
    let url = url.parse().map_err(|_| failed("this is not an address".into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| (Exit::Failed, e.to_string()))?;
    runtime.block_on(async {
        let client = http::Client::new(url, None, Arc::default());
        let call = match body {
            Some(body) => client.call(Method::POST, client.to()).header(FROM, "cli").json(body),
            None => client.call(Method::GET, client.to()),
        };
        let response = call.timeout(PATIENCE).send().await.map_err(|e| failed(e.to_string()))?;
        let (status, text) = (response.status(), response.bytes().await);
        let text = text.map_err(|e| failed(e.to_string()))?;
        if status.is_success() {
            return serde_json::from_slice(&text).map_err(|e| failed(e.to_string()));
        }
        let problem: Problem = serde_json::from_slice(&text).map_err(|e| failed(e.to_string()))?;
        Err((Exit::Refused, problem.message))
    })
}

/// Says what came of it.
pub fn answer(
    outcome: Result<Value, (Exit, String)>,
    json: bool,
    text: impl FnOnce(&Value) -> String,
) -> Exit {
    match outcome {
        Ok(value) => say(json, &value, &text(&value)),
        Err((exit, sentence)) => {
            fail(&sentence);
            exit
        }
    }
}

/// `lectern record start|stop|pause|resume|mark|layout|live|extend`: done, already so, or no because.
pub fn press(data_dir: &Path, body: &Value, json: bool) -> Exit {
    answer(ask(data_dir, "/api/record", Some(body)), json, |value| {
        let lesson = value["lesson_id"].as_str().unwrap_or("-");
        match value["answer"].as_str() {
            Some("already") => format!("already so: lesson {lesson}"),
            _ => format!("{}: lesson {lesson}", body["action"].as_str().unwrap_or_default()),
        }
    })
}

/// `lectern record stop --wait`: what a package does before it is removed. Ends the lesson, where one is recorded, and waits
/// until none is left that has to be checked and signed; a lesson the daemon shows no longer counts too.
pub fn stop(data_dir: &Path, most: Duration, json: bool) -> Exit {
    let give_up = clock::mono() + most;
    match ask(data_dir, "/api/record", Some(&json!({ "action": "stop" }))) {
        // Nothing is recorded: there may still be one to sign.
        Ok(_) | Err((Exit::Refused, _)) => {}
        Err((exit, sentence)) => {
            fail(&sentence);
            return exit;
        }
    }
    loop {
        let lessons = match ask(data_dir, "/api/lessons", None) {
            Ok(lessons) => lessons,
            Err((exit, sentence)) => {
                fail(&sentence);
                return exit;
            }
        };
        let state = |lesson: &Value| State::from_name(lesson["state"].as_str().unwrap_or_default());
        let unsigned = |lesson: &&Value| state(lesson).is_some_and(|s| s.is_live() || s == State::Finishing);
        let Some(open) = lessons.as_array().into_iter().flatten().find(unsigned) else {
            return say(json, &json!({ "open": null }), "nothing is recorded; every lesson is signed");
        };
        if clock::mono() >= give_up {
            let (id, state) = (open["id"].as_str().unwrap_or("-"), open["state"].as_str().unwrap_or("-"));
            return fail(&format!("lesson {id} is still {state} after {} s", most.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// `lectern record status`.
pub fn status(data_dir: &Path, json: bool) -> Exit {
    answer(ask(data_dir, "/api/status", None), json, |value| {
        let mut lines = Vec::new();
        match value["lesson"].as_object() {
            None => lines.push("nothing recorded since the daemon started".to_owned()),
            Some(lesson) => {
                let text = |key: &str| lesson.get(key).and_then(Value::as_str).unwrap_or("-");
                let ms = lesson.get("media_ms").and_then(Value::as_u64).unwrap_or(0);
                lines.push(format!("lesson {}: {}, {}", text("id"), text("state"), clock_text(ms)));
            }
        }
        for warning in value["warnings"].as_array().into_iter().flatten() {
            lines.push(format!("warning: {}", warning["kind"].as_str().unwrap_or("?")));
        }
        match value["live"]["state"].as_str() {
            None | Some("off") => {}
            Some("lost") => lines.push("live: cut off, trying again; the recording is not touched".into()),
            Some(state) => lines.push(format!("live: {state}")),
        }
        let upload = &value["upload"];
        if upload["configured"] == true {
            let mib = upload["pending_bytes"].as_u64().unwrap_or(0) as f64 / 1_048_576.0;
            lines.push(format!("waiting for the hub: {} lessons, {mib:.1} MiB", upload["waiting_lessons"]));
        }
        let keeping = &value["keeping"];
        if upload["configured"] == true && keeping["waiting"].as_u64().is_some_and(|n| n > 0) {
            let gb = keeping["waiting_bytes"].as_u64().unwrap_or(0) as f64 / 1e9;
            lines.push(format!("kept until they are stored: {} lessons, {gb:.1} GB", keeping["waiting"]));
        }
        if let Some(why) = value["home"]["detail"].as_str() {
            lines.push(format!("NO HOME FOR LESSONS: {why}"));
        }
        if let Some(blocked) = upload["blocked"].as_str() {
            lines.push(format!("upload stuck: {blocked}"));
        }
        lines.push(match value["safe_to_switch_off"] == true {
            true => "safe to switch off".into(),
            false => "not safe to switch off yet".into(),
        });
        lines.join("\n")
    })
}

/// `lectern preflight`: exit code "not sound" when a source does not give what it should.
pub fn preflight(data_dir: &Path, json: bool) -> Exit {
    let outcome = ask(data_dir, "/api/preflight", Some(&Value::Null));
    let good = outcome.as_ref().is_ok_and(|value| {
        let sources = value["sources"].as_array();
        value["problem"].is_null()
            && value["clock_plausible"] == true
            && value["encoder"]["state"] != "failed"
            && sources.is_some_and(|all| all.iter().all(|s| s["state"] == "good"))
    });
    let exit = answer(outcome, json, |value| {
        let mut lines: Vec<String> = value["problem"].as_str().map(str::to_owned).into_iter().collect();
        let minutes = value["disk_free_minutes"].as_u64().unwrap_or(0);
        lines.push(format!(
            "{} {:<11} room for {minutes} minutes",
            if minutes >= 45 { "ok  " } else { "BAD " },
            "space"
        ));
        let clock = if value["clock_plausible"] == true {
            "ok   clock"
        } else {
            "BAD  clock       the time is wrong"
        };
        lines.push(clock.to_owned());
        lines.push(match value["hub_reachable"].as_bool() {
            None => "ok   hub         none set, or not asked yet".to_owned(),
            Some(true) => "ok   hub".to_owned(),
            Some(false) => {
                "BAD  hub         cannot be reached; lessons are kept here until it can".to_owned()
            }
        });
        if let Some(encoder) = value["encoder"].as_object() {
            let text = |key: &str| encoder.get(key).and_then(Value::as_str).unwrap_or("");
            let (well, then) = match text("state") {
                "failed" => ("BAD ", ""),
                "gives_way" => ("ok  ", "; libx264 takes its place"),
                _ => ("ok  ", ""),
            };
            let why = text("problem");
            lines.push(
                format!("{well} {:<11} {:<11} {why}{then}", "encoder", text("encoder")).trim_end().to_owned(),
            );
        }
        for source in value["sources"].as_array().into_iter().flatten() {
            let text = |key: &str| source[key].as_str().unwrap_or("");
            let well = if text("state") == "good" { "ok  " } else { "BAD " };
            lines.push(
                format!("{well} {:<11} {:<11} {}", text("name"), text("state"), text("problem"))
                    .trim_end()
                    .to_owned(),
            );
        }
        lines.join("\n")
    });
    if exit == Exit::Done && !good { Exit::NotSound } else { exit }
}

/// `lectern lessons`.
pub fn lessons(data_dir: &Path, json: bool) -> Exit {
    answer(ask(data_dir, "/api/lessons", None), json, |value| {
        let rows = value.as_array().into_iter().flatten().map(|lesson| {
            let text = |key: &str| lesson[key].as_str().unwrap_or("");
            let about = ["class", "subject", "topic"].map(|key| lesson["about"][key].as_str().unwrap_or(""));
            let there = lesson["destinations"].as_array().into_iter().flatten().map(|d| {
                let name = d["name"].as_str().unwrap_or("");
                let word = match (d["confirmed"].is_string(), d["problem"].as_str()) {
                    (true, _) => "has it".to_owned(),
                    (false, Some(problem)) => problem.to_owned(),
                    (false, None) => {
                        format!("{:.1} MB sent", d["sent_bytes"].as_u64().unwrap_or(0) as f64 / 1e6)
                    }
                };
                format!("{name}: {word}")
            });
            let there: Vec<_> = there.collect();
            let here = match (lesson["local_bytes"].as_u64(), lesson["reclaimed"]["why"].as_str()) {
                (_, Some(why)) => {
                    format!("removed here by {why}, {}", lesson["reclaimed"]["at"].as_str().unwrap_or(""))
                }
                (Some(bytes), None) if bytes > 0 => format!("{:.1} MB here", bytes as f64 / 1e6),
                _ => String::new(),
            };
            format!(
                "{}  {:<11} {}  {} {} {here}  {}",
                text("started"),
                text("state"),
                text("id"),
                about.join(" ").trim(),
                text("cut_short"),
                there.join("; ")
            )
        });
        let rows: Vec<String> = rows.map(|row| row.trim_end().to_owned()).collect();
        if rows.is_empty() { "no lessons yet".into() } else { rows.join("\n") }
    })
}
