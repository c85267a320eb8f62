//! Opens a BagIt export (RFC 8493): holds its files against its lists, and finds the lesson's MP4 in it.

use std::collections::BTreeMap;
use std::io;

use lectern_wire::digest::Digest;

use super::files::Files;
use super::{MAX_DOCUMENT, self_proving};
use crate::bytes;
use crate::check::Found;
use crate::report::{Fault, Harm};
use crate::takes::Reader;

/// The lists: of payload files, and of all others.
const LISTS: [&str; 2] = ["manifest-sha256.txt", "tagmanifest-sha256.txt"];

/// Opens an export. With `whole` every file is hashed, else only those that are small.
pub fn open(files: &dyn Files, whole: bool) -> io::Result<Found> {
    let mut faults = Vec::new();
    let mut listed: BTreeMap<String, Digest> = BTreeMap::new();
    for list in LISTS {
        match read_list(files, list) {
            Ok(lines) => listed.extend(lines),
            Err(why) => faults.push(Fault::Unreadable { what: list.into(), why }),
        }
    }
    let names = files.names()?;
    for name in &names {
        // Other files may lie beside the payload without being listed (RFC 8493, section 2.2.1).
        if name.starts_with("data/") && !listed.contains_key(name) {
            faults.push(Fault::Bag { file: name.clone(), harm: Harm::Unlisted });
        }
    }
    let mut found = None;
    for name in names.iter().filter(|name| name.starts_with("data/") && name.ends_with(".mp4")) {
        if let Some(lesson) = files.open(name).and_then(|bytes| self_proving(&bytes))? {
            found.get_or_insert(lesson);
        }
    }
    for (name, digest) in &listed {
        let harm = match files.open(name) {
            Ok(bytes) if whole || bytes.size() <= MAX_DOCUMENT => {
                match Reader::default().hash(bytes.as_ref(), 0, bytes.size()) {
                    Ok(Some(found)) if found == *digest => continue,
                    Ok(Some(_)) => Harm::Altered,
                    Ok(None) => Harm::Missing,
                    Err(e) => Harm::Unreadable(e.to_string()),
                }
            }
            Ok(_) => continue,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Harm::Missing,
            Err(e) => Harm::Unreadable(e.to_string()),
        };
        faults.push(Fault::Bag { file: name.clone(), harm });
    }
    let mut found =
        found.unwrap_or_else(|| Found::nothing("data/", "there is no lesson's MP4 with its proof in it"));
    // The papers lie beside the MP4 too, for people; they must be the same.
    let beside = [("manifest.json", found.manifest.as_ref().ok()), ("receipt.json", found.receipt.as_ref())];
    for (name, inside) in beside {
        let name = format!("data/evidence/{name}");
        let outside = files.has(&name).then(|| files.open(&name)).transpose()?;
        let outside = outside.map(|blob| bytes::all(blob.as_ref(), MAX_DOCUMENT)).transpose()?;
        if outside.is_some() && outside.as_ref() != inside {
            faults.push(Fault::Bag { file: name, harm: Harm::Altered });
        }
    }
    faults.append(&mut found.faults);
    found.faults = faults;
    Ok(found)
}

/// Reads `hash  name` lines; `%0A`, `%0D` and `%25` stand for what would break a line.
fn read_list(files: &dyn Files, list: &str) -> Result<Vec<(String, Digest)>, String> {
    let blob = files.open(list).map_err(|e| e.to_string())?;
    let text = bytes::all(blob.as_ref(), MAX_DOCUMENT).map_err(|e| e.to_string())?;
    let text = String::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
    let line = |line: &str| {
        let (hash, name) = line.split_once(char::is_whitespace)?;
        let name = name.trim_start().replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%");
        Some((name, hash.to_ascii_lowercase().parse().ok()?))
    };
    let lines = text.lines().filter(|text| !text.trim().is_empty());
    lines.map(|text| line(text).ok_or_else(|| format!("{text:?} is no hash and name"))).collect()
}
