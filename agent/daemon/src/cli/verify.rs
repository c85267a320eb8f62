//! `lectern verify`: is a lesson what its device signed and its hub stored? Works offline.

use std::path::{Path, PathBuf};

use clap::Args;
use lectern_base::exit::Exit;
use lectern_base::{clock, disk};
use lectern_proof::check::{Asked, Outcome, check};
use lectern_proof::report::{Keys, Report};
use lectern_proof::{open, page};
use lectern_wire::manifest::clock_text;
use lectern_wire::sign::KeyRing;

use super::clip::time_ms;
use super::{fail, say};
use crate::config::Config;
use crate::evidence::known_keys;

/// What is asked.
#[derive(Debug, Args)]
pub struct Verify {
    /// A lesson's folder, one of its takes, a downloaded MP4, or an export: its folder or zip file.
    path: PathBuf,
    /// Public keys to trust; without it those of this device, else those that came with the lesson.
    #[arg(long)]
    keys: Option<PathBuf>,
    /// Only this range of the lesson, such as 12:00-14:30; nothing else is read.
    #[arg(long, value_name = "FROM-TO")]
    range: Option<String>,
    /// The manifest that an export without names is now claimed to be of.
    #[arg(long)]
    manifest: Option<PathBuf>,
    /// Write the report as one page in Chinese, to be printed.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Checks and says what was found.
pub fn run(config: &Path, asked: &Verify, json: bool) -> Exit {
    let wish = match wish(config, asked) {
        Ok(wish) => wish,
        Err((exit, sentence)) => {
            fail(&sentence);
            return exit;
        }
    };
    let outcome = check(open::path(&asked.path, wish.range_ms.is_none()), &wish);
    if let Some(file) = &asked.html {
        let html = page::html(&outcome, clock::wall_ms(), false);
        if let Err(e) =
            disk::replace(&std::path::absolute(file).unwrap_or_else(|_| file.clone()), html.as_bytes())
        {
            return fail(&format!("the report could not be written to {}: {e}", file.display()));
        }
    }
    let report = &outcome.report;
    say(json, &serde_json::to_value(report).unwrap_or_default(), &text(&outcome));
    if report.sound { Exit::Done } else { Exit::NotSound }
}

fn wish(config: &Path, asked: &Verify) -> Result<Asked, (Exit, String)> {
    let read = |path: &Path| std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
    let ring = |path: &Path| -> Result<KeyRing, String> {
        let bytes = read(path)?;
        serde_json::from_slice(&bytes)
            .map_err(|e| format!("{} is no file of public keys (keys.json): {e}", path.display()))
    };
    let failed = |sentence| (Exit::Failed, sentence);
    let keys = match &asked.keys {
        Some(file) => Some(ring(file).map_err(failed)?),
        // On the device itself its own keys are the ones to trust.
        None => Config::load(config).ok().and_then(|c| ring(&known_keys::file(&c.device.data_dir)).ok()),
    };
    let range_ms = asked.range.as_deref().map(range).transpose().map_err(|e| (Exit::BadSettings, e))?;
    let shown = asked.manifest.as_deref().map(read).transpose().map_err(failed)?;
    Ok(Asked { keys, range_ms, shown })
}

/// `12:00-14:30` in milliseconds.
fn range(text: &str) -> Result<(u64, u64), String> {
    let (from, to) =
        text.split_once('-').ok_or_else(|| format!("{text:?} is not a range such as 12:00-14:30"))?;
    let (from, to) = (time_ms(from.trim())?, time_ms(to.trim())?);
    if from < to { Ok((from, to)) } else { Err(format!("the range {text:?} ends before it begins")) }
}

fn text(outcome: &Outcome) -> String {
    let report = &outcome.report;
    let mut lines = vec![headline(report)];
    lines.extend(report.faults.iter().map(|fault| format!("  fault: {}", fault.sentence)));
    lines.extend(report.notes.iter().map(|note| format!("  note: {}", note.sentence)));
    let verdicts: Vec<_> = report.verdicts.iter().map(|verdict| verdict.words().0).collect();
    lines.push(format!("  verdict: {}", verdicts.join("; ")));
    let keys = match report.keys {
        Keys::Trusted => "trusted",
        Keys::Folder => "they came with the lesson",
        Keys::None => "none",
    };
    let hub = if report.receipted { "the hub's receipt fits" } else { "no receipt that fits" };
    lines.push(format!("  {hub}; keys: {keys}"));
    lines.join("\n")
}

fn headline(report: &Report) -> String {
    let lesson = report.lesson_id.as_deref().unwrap_or("?");
    if !report.sound {
        return format!("lesson {lesson}: NOT SOUND");
    }
    let what = match report.range_ms {
        Some((from, to)) => format!("{}–{} complete", clock_text(from), clock_text(to)),
        None => format!("complete, {}", clock_text(report.duration_ms)),
    };
    format!("lesson {lesson}: {what} in {} parts, {} bytes", report.parts, report.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_people_write_them() {
        assert_eq!(range("12:00-14:30"), Ok((720_000, 870_000)));
        assert_eq!(range("0:00 - 1:00:00"), Ok((0, 3_600_000)));
        for bad in ["", "12:00", "14:30-12:00", "5-5", "a-b", "-1-2"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }
}
