//! What the S3 store can be trusted with: what `lectern-hub check` found, kept in `store.json` beside the state.
//!
//! Until a store was probed it is trusted with nothing: parts go through the hub, which checks them itself.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lectern_base::disk;
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::objects::bucket::S3Settings;

/// The file's name in the data folder.
const FILE: &str = "store.json";

/// What was found, of which store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Always 1.
    pub v: u32,
    /// Its address.
    pub endpoint: String,
    /// Its bucket.
    pub bucket: String,
    /// When, Unix milliseconds.
    pub checked_ms: i64,
    /// Whether a link carries only the bytes it was made for, for its time only: then rooms may use it themselves.
    pub direct: bool,
    /// Whether it keeps the hash of each part, and says it.
    pub hashes: bool,
}

impl Record {
    fn is_of(&self, settings: &S3Settings) -> bool {
        (self.v, self.endpoint.as_str(), self.bucket.as_str())
            == (1, settings.endpoint.as_str(), settings.bucket.as_str())
    }
}

/// What the hub goes by. Cheap to clone; all clones change together.
#[derive(Debug, Clone, Default)]
pub struct Reliance(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    direct: AtomicBool,
    hashes: AtomicBool,
}

impl Reliance {
    /// Whether rooms may send to the store themselves.
    #[must_use]
    pub fn direct(&self) -> bool {
        self.0.direct.load(Ordering::Relaxed)
    }

    /// Whether the store is asked to keep the parts' hashes.
    #[must_use]
    pub fn hashes_kept(&self) -> bool {
        self.0.hashes.load(Ordering::Relaxed)
    }

    /// Goes by a record from now on.
    pub fn set(&self, record: &Record) {
        self.0.direct.store(record.direct, Ordering::Relaxed);
        self.0.hashes.store(record.hashes, Ordering::Relaxed);
    }
}

/// The record of this very store, if it was probed.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn load(data: &Path, settings: &S3Settings) -> Result<Option<Record>, StoreError> {
    let path = data.join(FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(StoreError::io(format!("reading {}", path.display()))(e)),
    };
    // A record that cannot be understood says nothing: the store is probed again.
    Ok(serde_json::from_slice::<Record>(&text).ok().filter(|record| record.is_of(settings)))
}

/// Keeps a record.
///
/// # Errors
/// What the file system says.
pub fn save(data: &Path, record: &Record) -> Result<(), StoreError> {
    let text = serde_json::to_vec_pretty(record).unwrap_or_default();
    disk::replace(&data.join(FILE), &text).map_err(StoreError::io("writing store.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_for_the_store_it_is_of_and_no_other() {
        let folder = tempfile::tempdir().expect("folder");
        let settings = |bucket: &str| S3Settings {
            endpoint: "http://127.0.0.1:3900".parse().expect("url"),
            bucket: bucket.into(),
            region: "garage".into(),
            path_style: true,
            prefix: String::new(),
            through_hub: false,
            key: "k".into(),
            secret: "s".into(),
        };
        assert_eq!(load(folder.path(), &settings("a")).expect("nothing"), None);
        let record = Record {
            v: 1,
            endpoint: "http://127.0.0.1:3900/".into(),
            bucket: "a".into(),
            checked_ms: 5,
            direct: true,
            hashes: false,
        };
        save(folder.path(), &record).expect("kept");
        assert_eq!(load(folder.path(), &settings("a")).expect("read"), Some(record.clone()));
        assert_eq!(load(folder.path(), &settings("b")).expect("read"), None);
        std::fs::write(folder.path().join(FILE), "{").expect("written");
        assert_eq!(load(folder.path(), &settings("a")).expect("read"), None);
        let reliance = Reliance::default();
        assert!(!reliance.direct() && !reliance.hashes_kept(), "trusted with nothing at first");
        reliance.set(&record);
        assert!(reliance.direct() && !reliance.hashes_kept());
    }
}
