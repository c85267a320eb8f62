//! Rules of the house that no compiler checks. Each is a function from text to faults, held against the
//! repository and against a small bad sample, so that a rule that stopped looking is noticed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lectern_base::exit::Exit;

/// A source file's greatest length; at 400 lines one should think of a seam.
const MAX_LINES: usize = 600;

/// The daemon's floors. A module uses only modules on lower floors.
const FLOORS: &[(&str, u8)] = &[
    ("main", 6),
    ("cli", 6),
    // For tests alone.
    ("mangled", 1),
    ("app", 5),
    ("page", 4),
    ("key", 4),
    ("session", 4),
    ("sense", 3),
    ("publish", 3),
    ("record", 3),
    ("evidence", 3),
    ("upload", 3),
    ("reclaim", 3),
    ("render", 3),
    ("beforehand", 3),
    ("afterwards", 3),
    ("alarm", 3),
    ("command", 3),
    ("desired", 3),
    ("enrol", 3),
    ("home", 3),
    ("beside", 3),
    ("usage", 3),
    ("store", 2),
    ("platform", 2),
    ("config", 2),
    ("model", 1),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests has a parent").to_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// All files below a folder whose name fits, without what is built and what git keeps.
fn files(folder: &Path, fits: &dyn Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if path.is_dir() {
            if !["target", ".git"].contains(&name.as_str()) {
                found.extend(files(&path, fits));
            }
        } else if fits(&name) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Holds a rule against files and fails with everything it found.
fn hold(paths: &[PathBuf], rule: impl Fn(&Path, &str) -> Vec<String>) {
    assert!(!paths.is_empty(), "the rule found no file to look at");
    let shown = |path: &Path| path.strip_prefix(root()).unwrap_or(path).display().to_string();
    let faults: Vec<_> = paths
        .iter()
        .flat_map(|path| rule(path, &read(path)).into_iter().map(|fault| format!("{}: {fault}", shown(path))))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The text without `//` comments. A `//` inside a string is cut too, which hides nothing we look for.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn word(text: &str) -> &str {
    text.split(|c| !is_word(c)).next().unwrap_or_default()
}

/// The names directly below the crate's root that a file uses, through `crate::` or enough `super::`.
/// `depth` is how deep the file's module is: 1 for `app.rs` and `page/mod.rs`, 2 for `page/view.rs`.
fn used_modules(text: &str, depth: usize) -> BTreeSet<String> {
    let code = code(text);
    let mut used = BTreeSet::new();
    let mut take = |rest: &str| match rest.strip_prefix('{') {
        None => _ = used.insert(word(rest).to_owned()),
        Some(group) => {
            let mut nested = 0_usize;
            let mut start = true;
            for (at, c) in group.char_indices() {
                match c {
                    '{' => nested += 1,
                    '}' if nested == 0 => break,
                    '}' => nested -= 1,
                    ',' if nested == 0 => start = true,
                    c if start && is_word(c) => {
                        used.insert(word(group.get(at..).unwrap_or_default()).to_owned());
                        start = false;
                    }
                    _ => {}
                }
            }
        }
    };
    for (at, _) in code.match_indices("crate::") {
        if !code[..at].ends_with(is_word) {
            take(&code[at + "crate::".len()..]);
        }
    }
    for (at, _) in code.match_indices("super::") {
        if code[..at].ends_with("super::") || code[..at].ends_with(is_word) {
            continue;
        }
        let (mut rest, mut up) = (&code[at..], 0);
        while let Some(after) = rest.strip_prefix("super::") {
            (rest, up) = (after, up + 1);
        }
        if up >= depth {
            take(rest);
        }
    }
    used
}

/// Faults of one file of the daemon, given by its path below `src`.
fn floor_faults(path: &str, text: &str) -> Vec<String> {
    let floor = |name: &str| FLOORS.iter().find(|(module, _)| *module == name).map(|(_, floor)| *floor);
    let parts: Vec<_> = path.trim_end_matches(".rs").trim_end_matches("/mod").split('/').collect();
    let own = parts.first().copied().unwrap_or_default();
    let Some(own_floor) = floor(own) else {
        return vec![format!("module {own} stands on no floor; give it one in tests/tidy.rs and main.rs")];
    };
    used_modules(text, parts.len())
        .into_iter()
        .filter(|used| used != own)
        .filter_map(|used| {
            let used_floor = floor(&used)?;
            (used_floor >= own_floor)
                .then(|| format!("{own} (floor {own_floor}) uses {used} (floor {used_floor})"))
        })
        .collect()
}

#[test]
fn a_module_of_the_daemon_uses_only_lower_floors() {
    let source = root().join("agent/daemon/src");
    hold(&files(&source, &|name| name.ends_with(".rs")), |path, text| {
        floor_faults(&path.strip_prefix(&source).expect("below").to_string_lossy(), text)
    });
}

#[test]
fn the_floor_rule_notices_each_way_up() {
    for (path, text) in [
        ("store/mod.rs", "use crate::record::Handle;"),
        ("store.rs", "use crate::{model, app::App};"),
        ("store/outbox.rs", "fn f() { crate::publish::now() }"),
        ("upload/mod.rs", "use crate::{\n    store::{Store, at},\n    evidence,\n};"),
        ("upload/client.rs", "use super::super::page::Page;"),
        ("reclaim.rs", "use super::record;"),
        ("config/mod.rs", "use crate::store::Store;"),
        ("attic.rs", ""),
    ] {
        assert_eq!(floor_faults(path, text).len(), 1, "{path}: {text}");
    }
    for (path, text) in [
        ("upload/mod.rs", "use crate::{config, store::{Store, upload}};\nuse crate::upload::client;"),
        ("record/live.rs", "// crate::page is told\nuse super::driver; use super::super::model;"),
        ("cli/mod.rs", "use crate::app; use lectern_crate::cli;"),
    ] {
        assert_eq!(floor_faults(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}

fn source_faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !text.trim_start().starts_with("//!") {
        faults.push("has no //! header that says what it is for".to_owned());
    }
    let lines = text.lines().count();
    if lines >= MAX_LINES {
        faults.push(format!("has {lines} lines; split it along a seam with a name"));
    }
    for opening in ["#[", "#!["] {
        if code(text).contains(&format!("{opening}allow(")) {
            faults.push(format!("has {opening}allow(…)]; use expect with a reason"));
        }
    }
    faults
}

#[test]
fn every_source_file_says_what_it_is_for_and_is_short() {
    hold(&files(&root(), &|name| name.ends_with(".rs")), |_, text| source_faults(text));
}

#[test]
fn the_source_rule_notices_each_fault() {
    // The attribute is put together here, so that this very file holds to the rule.
    let in_a_comment = format!("//! Why.\nfn main() {{}}\n// #[{}(x)] is not used here\n", "allow");
    assert_eq!(source_faults(&in_a_comment), Vec::<String>::new());
    assert_eq!(source_faults("fn main() {}\n").len(), 1);
    assert_eq!(source_faults(&format!("//! Why.\n{}", "\n".repeat(MAX_LINES))).len(), 1);
    assert_eq!(source_faults(&format!("//! Why.\n#[{}(dead_code)]\n", "allow")).len(), 1);
    assert_eq!(source_faults(&format!("//! Why.\n#![{}(dead_code)]\n", "allow")).len(), 1);
}

/// Files a page names that do not exist. A path counts when it starts with something that stands at the
/// repository's top, or is a bare source, script or page; what a running Lectern makes does not.
fn named_file_faults(page: &Path, text: &str) -> Vec<String> {
    let root = root();
    let markdown = page.extension().is_some_and(|e| e == "md");
    let mut named: Vec<(PathBuf, String)> = Vec::new();
    let words: Vec<&str> = if markdown {
        // Inside single backticks: every second piece.
        text.lines()
            .flat_map(|line| line.split('`').skip(1).step_by(2))
            .flat_map(str::split_whitespace)
            .collect()
    } else {
        text.split_whitespace().collect()
    };
    for word in words {
        let word = word.trim_end_matches(['.', ',', ';', ':', ')', '/']).trim_start_matches(['(', '@']);
        if word.is_empty() || word.contains(|c: char| !(is_word(c) || "./-".contains(c))) {
            continue;
        }
        let top = word.split('/').next().unwrap_or_default();
        let inside =
            word.contains('/') && !["", ".", "..", "target"].contains(&top) && root.join(top).exists();
        let bare = !word.contains('/') && [".rs", ".sh", ".md"].iter().any(|end| word.ends_with(end));
        if inside || bare {
            named.push((root.join(word), word.to_owned()));
        }
    }
    if markdown {
        for link in text.split("](").skip(1) {
            let link = link.split([')', '#', ' ']).next().unwrap_or_default();
            if !link.is_empty() && !link.contains("://") && !link.starts_with("mailto:") {
                named.push((page.parent().unwrap_or(&root).join(link), link.to_owned()));
            }
        }
    }
    let missing = named.into_iter().filter(|(path, _)| !path.exists());
    missing.map(|(_, name)| format!("names {name}, which does not exist")).collect()
}

#[test]
fn every_file_that_a_page_names_exists() {
    let pages = |name: &str| name.ends_with(".md") || name == "Makefile";
    hold(&files(&root(), &pages), named_file_faults);
}

#[test]
fn the_page_rule_notices_missing_files() {
    let page = root().join("README.md");
    let bad = "See `config/nothing.toml`, `gone.rs`, [this](docs/none.md) and run `sh packaging/no.sh now`.";
    assert_eq!(named_file_faults(&page, bad).len(), 4, "{:?}", named_file_faults(&page, bad));
    let good = "`config/agent.toml`, [it](tests/tidy.rs#L1), `target/demo/`, `/etc/lectern/x.toml`, \
                `take-1.mp4`, `a/b`, `manifest.json`, [web](https://example.org/x.md)";
    assert_eq!(named_file_faults(&page, good), Vec::<String>::new());
    assert_eq!(named_file_faults(&root().join("Makefile"), "demo:\n\t@packaging/none.sh\n").len(), 1);
}

/// Tests that a page of promises names and that do not exist, and promises that name none: each row of a table ends with
/// the tests that show it.
fn promise_faults(text: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let names = |line: &str| -> Vec<String> {
        let quoted = line.split('`').skip(1).step_by(2);
        quoted.filter(|w| w.matches('_').count() > 2 && w.chars().all(is_word)).map(str::to_owned).collect()
    };
    for line in text.lines() {
        let named = names(line);
        faults.extend(
            named
                .iter()
                .filter(|n| !tests.contains(*n))
                .map(|n| format!("names the test {n}, which does not exist")),
        );
        let is_row = line.starts_with('|') && !line.starts_with("|--") && !line.contains("| 测试 |");
        if is_row && named.is_empty() && text.contains("| 测试 |") {
            faults.push(format!("promises without a test: {line}"));
        }
    }
    faults
}

/// The names of a source's tests; what merely helps them proves nothing, nor does a test that is not run.
fn tests_of(source: &str) -> Vec<String> {
    let (mut found, mut marked, mut passed_over) = (Vec::new(), false, false);
    for line in source.lines().map(str::trim_start) {
        marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        passed_over |= line.strip_prefix("#[").is_some_and(|mark| mark.starts_with("ignore"));
        let function = ["fn ", "async fn "].iter().find_map(|start| line.strip_prefix(start));
        if let Some(rest) = function {
            if marked && !passed_over {
                found.push(word(rest).to_owned());
            }
            (marked, passed_over) = (false, false);
        }
    }
    found
}

#[test]
fn every_promise_of_the_guides_names_a_test_that_exists() {
    let sources = files(&root(), &|name| name.ends_with(".rs"));
    let tests = sources.iter().flat_map(|path| tests_of(&read(path))).collect();
    hold(&files(&root().join("packaging/docs"), &|name| name.ends_with(".md")), |_, text| {
        promise_faults(text, &tests)
    });
    let marked = |marks: &[&str], function: &str| {
        marks.iter().map(|mark| format!("  #[{mark}]\n")).chain([format!("  {function}() {{}}\n")]).collect()
    };
    let source: [String; 5] = [
        marked(&["test"], "fn a_b_c_d"),
        marked(&[], "fn a_b_c_x"),
        marked(&["test", "ignore"], "fn a_b_c_y"),
        marked(&["ignore = \"slow\"", "test"], "fn a_b_c_z"),
        marked(&["tokio::test(x)"], "async fn e_f_g_h"),
    ];
    assert_eq!(tests_of(&source.concat()), ["a_b_c_d", "e_f_g_h"]);
    let known = BTreeSet::from(["a_b_c_d".to_owned()]);
    let table = "| what | 测试 |\n|---|---|\n| good | `a_b_c_d` |\n";
    assert_eq!(promise_faults(table, &known), Vec::<String>::new());
    assert_eq!(promise_faults(&format!("{table}| bad | `a_b_c_x` |\n| none | |"), &known).len(), 2);
}

#[test]
fn the_packages_changelog_is_of_this_version() {
    let manifest = read(&root().join("Cargo.toml"));
    let version = manifest.split("[workspace.package]").nth(1).and_then(|s| s.split("version = \"").nth(1));
    let version = version.and_then(|s| s.split('"').next()).expect("a version");
    let changelog = read(&root().join("packaging/deb/changelog"));
    assert!(
        changelog.starts_with(&format!("lectern ({version}) ")),
        "packaging/deb/changelog is not of {version}"
    );
}

/// The exit status a unit must not restart on is the one our programs end with.
fn unit_faults(unit: &str) -> Vec<String> {
    let wanted = format!("RestartPreventExitStatus={}", Exit::BadSettings as u8);
    let found = unit.lines().filter(|line| line.starts_with("RestartPreventExitStatus=")).collect::<Vec<_>>();
    // What is never started again needs no exception.
    let starts_again = unit.lines().any(|line| line.starts_with("Restart="));
    if found == [wanted.as_str()] || (found.is_empty() && !starts_again) {
        vec![]
    } else {
        vec![format!("has {found:?}, not {wanted}")]
    }
}

#[test]
fn bad_settings_are_not_restarted_for_ever() {
    hold(&files(&root().join("packaging"), &|name| name.ends_with(".service")), |_, text| unit_faults(text));
    assert_eq!(unit_faults("[Service]\nRestart=always\n").len(), 1);
    assert_eq!(unit_faults("Restart=always\nRestartPreventExitStatus=77\n").len(), 1);
    assert_eq!(unit_faults("Restart=always\n#RestartPreventExitStatus=78\n").len(), 1);
}

/// Folders of the machine this was built on, and of build machines in general.
fn machine_folders() -> Vec<String> {
    let mut folders: Vec<_> =
        ["home", "Users", "work", "builds"].iter().map(|folder| format!("/{folder}/")).collect();
    // A folder right below `/` may have any short name, also one that a page means otherwise.
    if root().components().count() > 2 {
        folders.push(format!("{}/", root().display()));
    }
    for variable in ["HOME", "CARGO_HOME"] {
        folders.extend(std::env::var(variable).ok().filter(|v| v.len() > 1).map(|v| format!("{v}/")));
    }
    folders
}

fn machine_faults(text: &str, folders: &[String]) -> Vec<String> {
    let stands_alone = |at: usize| !text[..at].ends_with(|c: char| is_word(c) || "./-}$".contains(c));
    folders
        .iter()
        .filter(|folder| text.match_indices(folder.as_str()).any(|(at, _)| stands_alone(at)))
        .map(|folder| format!("names {folder}, a folder of one machine"))
        .collect()
}

#[test]
fn no_file_names_a_folder_of_the_machine_it_was_made_on() {
    let listed = std::process::Command::new("git").arg("-C").arg(root()).args(["ls-files", "-z"]).output();
    // A source archive has no git: then all text there is.
    let all = match listed {
        Ok(out) if out.status.success() && !out.stdout.is_empty() => {
            let names = String::from_utf8_lossy(&out.stdout).into_owned();
            names
                .split('\0')
                .filter(|n| !n.is_empty())
                .map(|n| root().join(n))
                .filter(|p| p.is_file())
                .collect()
        }
        _ => files(&root(), &|_| true),
    };
    let text: Vec<_> = all.into_iter().filter(|path| std::fs::read_to_string(path).is_ok()).collect();
    let folders = machine_folders();
    hold(&text, |_, text| machine_faults(text, &folders));
}

#[test]
fn the_machine_rule_notices_a_folder_but_not_a_part_of_a_path() {
    let folders = [format!("/{}/", "home")];
    assert_eq!(machine_faults(&format!("at /{}/zhang/x", "home"), &folders).len(), 1);
    assert_eq!(machine_faults(&format!("\"/{}/zhang\"", "home"), &folders).len(), 1);
    assert!(machine_faults("$root/home/x and a/home/x", &folders).is_empty());
}

/// A route that no list names is a door that no test tries. Where routes may be made: the two lists, and the socket that only the
/// hub's user can open.
fn route_faults(path: &str, text: &str) -> Vec<String> {
    const LISTS: [&str; 3] =
        ["agent/daemon/src/page/routes.rs", "hub/src/door/routes.rs", "hub/src/enrol/local.rs"];
    let makes = code(text).lines().any(|line| line.contains(".route("));
    if makes && !LISTS.contains(&path) {
        vec!["makes a route by itself; use Routes, so that tests/doors/main.rs tries it".to_owned()]
    } else {
        vec![]
    }
}

#[test]
fn every_route_stands_in_a_list_that_a_test_goes_through() {
    let sources = [root().join("hub/src"), root().join("agent/daemon/src")];
    let all: Vec<_> =
        sources.iter().flat_map(|folder| files(folder, &|name| name.ends_with(".rs"))).collect();
    hold(&all, |path, text| route_faults(&path.strip_prefix(root()).expect("below").to_string_lossy(), text));
    assert_eq!(route_faults("hub/src/console/mod.rs", "Router::new().route(\"/x\", get(x))").len(), 1);
    assert!(route_faults("hub/src/door/routes.rs", "router.route(path, handler)").is_empty());
}

/// What the settings code reads: the first text of a call such as `.number("fps", …)`.
fn settings_read(source: &str) -> BTreeSet<String> {
    const NOT_SETTINGS: &[&str] =
        &["fault", "add", "none_below", "contains", "starts_with", "ends_with", "expect"];
    let code = code(source.split("#[cfg(test)]").next().unwrap_or_default());
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("(") {
        let method = code[..at].rsplit(|c| !is_word(c)).next().unwrap_or_default();
        let is_method = code[..at - method.len()].ends_with('.');
        let Some(text) = code[at + 1..].trim_start().strip_prefix('"') else { continue };
        let name = text.split('"').next().unwrap_or_default();
        let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c));
        if is_method && is_name && !NOT_SETTINGS.contains(&method) {
            found.insert(name.to_owned());
        }
    }
    found
}

/// What an annotated file shows, commented out or not: `key`, `section` and `section.key`.
fn settings_shown(toml: &str) -> BTreeSet<String> {
    let mut shown = BTreeSet::new();
    let mut section = String::new();
    for line in toml.lines() {
        let line = line.strip_prefix("# ").or(line.strip_prefix('#')).unwrap_or(line).trim();
        if let Some(name) = line.strip_prefix('[').map(|l| l.trim_start_matches('[')) {
            section = name.split(']').next().unwrap_or_default().to_owned();
            shown.insert(section.clone());
        } else if let Some((key, _)) = line.split_once('=') {
            let key = key.trim();
            if !key.is_empty() && key.chars().all(is_word) {
                shown.insert(key.to_owned());
                shown.insert(format!("{section}.{key}"));
            }
        }
    }
    shown
}

fn hold_settings(sources: &[PathBuf], references: &[&str]) {
    let read_by_code: BTreeSet<_> = sources.iter().flat_map(|path| settings_read(&read(path))).collect();
    assert!(
        read_by_code.len() > 5,
        "only {read_by_code:?} found: does the code still look as the rule thinks?"
    );
    let shown = references.iter().flat_map(|file| settings_shown(&read(&root().join(file)))).collect();
    let missing: Vec<_> = read_by_code.difference(&shown).collect();
    assert!(missing.is_empty(), "{} does not show {missing:?}", references.join(" and "));
}

#[test]
fn every_setting_of_the_daemon_stands_in_its_annotated_file() {
    let config = files(&root().join("agent/daemon/src"), &|name| name.ends_with(".rs"))
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("src/config"))
        .collect::<Vec<_>>();
    let references = [
        "config/agent.toml",
        "config/profiles/10-master.toml",
        "config/timetable.toml",
        "config/schemes/1-weinengli2.toml",
    ];
    hold_settings(&config, &references);
}

#[test]
fn every_setting_of_the_hub_stands_in_its_annotated_file() {
    let config = files(&root().join("hub/src"), &|name| name.ends_with(".rs"))
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("src/config"))
        .collect::<Vec<_>>();
    hold_settings(&config, &["config/hub.toml"]);
}

#[test]
fn the_settings_rule_sees_what_code_reads_and_what_a_file_shows() {
    let code = "fps: s.number(\"fps\", 25, 5..=30), // s.text(\"old\")\n x: r.text(\n  \"http.listen\", 1),\n\
                s.fault(\"fps\", \"is wrong\"); join(\"abc\"); y.join(\"://\")\n#[cfg(test)]\ns.text(\"tested\")";
    assert_eq!(settings_read(code).into_iter().collect::<Vec<_>>(), ["fps", "http.listen"]);
    let toml = "# Pictures.\nfps = 25\n[http]\n# listen = \"x\"\n#[[source]]\n";
    let shown = settings_shown(toml);
    for name in ["fps", "http", "http.listen", "source"] {
        assert!(shown.contains(name), "{name} in {shown:?}");
    }
    assert!(!shown.contains("Pictures."));
}
