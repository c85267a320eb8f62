//! `[usage]`: when a period counts as used. `[[application]]`: what in the foreground is what.

use std::path::PathBuf;

use super::reader::Section;
use crate::model::usage::{App, Rule};

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// When a period counts as used.
    pub rule: Rule,
    /// Where helpers in users' sessions call.
    pub socket: PathBuf,
    /// Categories of applications; empty: nobody looks at what is in the foreground.
    pub apps: Vec<App>,
}

pub(super) fn usage(root: &mut Section<'_>) -> Usage {
    let apps: Vec<App> = root.sections("application").into_iter().map(app).collect();
    if apps.len() > 200 {
        root.fault("application", "there are more than 200");
    }
    root.section("usage", |s| read(s, apps))
}

fn read(s: &mut Section<'_>, apps: Vec<App>) -> Usage {
    let rule = Rule {
        needed_s: s.number("used_after_s", 600, 10..=7200),
        input_counts_ms: s.number("input_counts_s", 120_u64, 30..=1800) * 1000,
        off_is_known: !s.choice_of_bool("other_system"),
    };
    let socket = s.path("socket", "/run/lectern/session.sock");
    // A socket's path has room for 107 bytes.
    if socket.as_os_str().len() > 107 {
        s.fault("socket", "is longer than 107 bytes; that is no path of a socket");
    }
    Usage { rule, socket, apps }
}

fn app(mut s: Section<'_>) -> App {
    let app = App {
        name: s.text("name", None, 40).to_lowercase(),
        category: s.text("category", None, 20),
        teaching: s.choice_of_bool("teaching"),
    };
    s.end();
    app
}
