//! `lectern enrol`: makes this machine a room's.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use clap::Args;
use lectern_base::exit::Exit;
use lectern_wire::enrol::Code;

use super::{bad_settings, fail, say};
use crate::config::Config;
use crate::config::enrolled::{self, First};
use crate::enrol::{self, EnrolError, ask::Card, keep};
use crate::platform::{identity, machine};

/// What is on the card. What is not said is asked for.
#[derive(Debug, Args)]
pub struct Enrol {
    /// 中心地址: the hub's address, as it stands on the card: 10.0.0.5:8470
    #[arg(long)]
    hub: Option<String>,
    /// 登记码: the code on the card; hyphens and small letters do not matter.
    #[arg(long)]
    code: Option<String>,
    /// Also when this machine is enrolled: the room moved, the hub was replaced, or its certificate ran out.
    #[arg(long)]
    again: bool,
}

/// Settings that are nobody's yet, or that came with a cloned disk: they begin with the first page.
///
/// # Errors
/// All faults of the settings.
pub fn nobody_yet(path: &Path) -> Result<Option<First>, Vec<String>> {
    if let Some(first) = enrolled::first(path)? {
        return Ok(Some(first));
    }
    let config = Config::load(path)?;
    let marks = machine::marks(&config.sense.host.join("sys"));
    let cloned = config.enrolled.as_ref().filter(|enrolled| enrolled.is_elsewhere(&marks));
    Ok(cloned.map(|enrolled| First { cloned: Some(enrolled.room.clone()), ..First::of(&config) }))
}

/// One sentence in the place of those about settings that only enrolment brings.
#[must_use]
pub fn instead(path: &Path, faults: Vec<String>) -> Vec<String> {
    match enrolled::first(path) {
        Ok(Some(_)) => {
            vec!["this machine is no room's yet: enrol it with `lectern enrol`, or on its page".into()]
        }
        _ => faults,
    }
}

/// Enrols.
pub fn run(path: &Path, asked: &Enrol, json: bool) -> Exit {
    let first = match enrolled::first(path) {
        Ok(Some(first)) => first,
        Ok(None) => match enrolled::in_the_way(path).map(|keys| (keys, Config::load(path))) {
            Ok((keys, _)) if !keys.is_empty() => {
                fail(&format!(
                    "{}: says {} itself; take that out first, enrolment brings it",
                    path.display(),
                    keys.join(", ")
                ));
                return Exit::Refused;
            }
            Ok((_, Ok(config))) => First::of(&config),
            Ok((_, Err(faults))) | Err(faults) => return bad_settings(path, &faults),
        },
        Err(faults) => return bad_settings(path, &faults),
    };
    let card = match card(&first, asked) {
        Ok(card) => card,
        Err(sentence) => {
            fail(&sentence);
            return Exit::BadSettings;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return fail(&e.to_string()),
    };
    let marks = machine::marks(&first.host.join("sys"));
    match runtime.block_on(keep::enrol(&first.data_dir, &card, &marks, asked.again)) {
        Ok(done) => {
            let aside = done.aside.as_ref().map_or_else(String::new, |aside| {
                format!(
                    "\nthis disk was cloned from another machine; what came with it lies in {}",
                    aside.display()
                )
            });
            let text = format!(
                "this machine is {} ({}) now, at the hub {}{aside}\na daemon that waits for it goes on by itself; one that ran \
                 before takes it up with: systemctl restart lectern",
                done.room, done.device, done.hub
            );
            match serde_json::to_value(&done) {
                Ok(value) => say(json, &value, &text),
                Err(e) => fail(&e.to_string()),
            }
        }
        Err(e) => {
            fail(&e.to_string());
            match e {
                EnrolError::Refused { .. }
                | EnrolError::Stranger(_)
                | EnrolError::Already(_)
                | EnrolError::Waiting { .. } => Exit::Refused,
                EnrolError::Code(_) | EnrolError::Address(_) | EnrolError::Plain(_) => Exit::BadSettings,
                _ => Exit::Failed,
            }
        }
    }
}

/// What is on the card: said, or asked for.
fn card(first: &First, asked: &Enrol) -> Result<Card, String> {
    let hub = asked.hub.clone().map_or_else(|| ask("中心地址 (hub, as on the card): "), Ok)?;
    let (hub, scanned) = match enrol::scanned(&hub) {
        Some((hub, code)) => (hub.to_owned(), Some(code.to_owned())),
        None => (hub, None),
    };
    let hub = enrol::address(&hub).map_err(|e| e.to_string())?;
    let code = asked.code.clone().or(scanned).map_or_else(|| ask("登记码 (code, as on the card): "), Ok)?;
    let code = Code::read(&code).map_err(|e| e.to_string())?;
    Ok(Card { hub, code, proxy: proxy(first)? })
}

/// The school's proxy with its password.
///
/// # Errors
/// A sentence.
pub fn proxy(first: &First) -> Result<Option<(url::Url, Option<String>)>, String> {
    let Some((proxy, file)) = &first.proxy else { return Ok(None) };
    Ok(Some((proxy.clone(), file.as_deref().map(identity::password).transpose()?)))
}

#[expect(clippy::print_stdout, reason = "what a command line asks")]
fn ask(what: &str) -> Result<String, String> {
    if std::io::stdin().is_terminal() {
        print!("{what}");
        std::io::stdout().flush().map_err(|e| e.to_string())?;
    }
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line).map_err(|e| e.to_string())?;
    if read == 0 { Err("say --hub and --code, as they stand on the card".into()) } else { Ok(line) }
}
