//! `[[destination]]`: where lessons go beside the hub.

use std::path::PathBuf;

use url::Url;

use super::reader::{Faults, Section};

/// One destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its name, in the status and in `stored-{name}.json`.
    pub name: String,
    /// Whether a lesson counts as stored only when it is there too.
    pub required: bool,
    /// How it is reached.
    pub way: Way,
}

/// How a destination is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// A mounted share.
    Folder {
        /// Its mount point, or a folder on it.
        path: PathBuf,
    },
    /// A bucket of an S3 store.
    S3(S3),
    /// An Opencast, as a capture agent.
    Opencast(Opencast),
}

/// A bucket and the right to write to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3 {
    /// The store's address.
    pub url: Url,
    /// Its region.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// Whether the bucket stands in the path or in the host's name.
    pub in_path: bool,
    /// What every key begins with.
    pub prefix: String,
    /// The access key.
    pub access_key: String,
    /// File whose first line is the secret key.
    pub secret_file: PathBuf,
}

/// An Opencast and this agent's account there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opencast {
    /// Its address.
    pub url: Url,
    /// The user.
    pub user: String,
    /// File whose first line is the password.
    pub password_file: PathBuf,
    /// The agent's name there; the device's id when it is not set.
    pub agent: String,
    /// The workflow that is started.
    pub workflow: String,
    /// What the track is: `presenter/source` or `presentation/source`.
    pub flavor: String,
}

impl Way {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "folder",
            Self::S3(_) => "s3",
            Self::Opencast(_) => "opencast",
        }
    }

    /// Where it is, without secrets.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Folder { path } => path.display().to_string(),
            Self::S3(s3) => format!("{} {}/{}", s3.url, s3.bucket, s3.prefix),
            Self::Opencast(core) => core.url.to_string(),
        }
    }
}

const KINDS: [&str; 3] = ["folder", "s3", "opencast"];

/// All destinations; without a hub at least one must be required.
pub fn all(root: &mut Section<'_>, hub: bool) -> Vec<Settings> {
    let faults = root.faults();
    let sections = root.sections("destination");
    let count = sections.len();
    let all: Vec<Settings> = sections.into_iter().filter_map(one).collect();
    if all.len() == count {
        check(faults, &all, hub);
    }
    all
}

fn check(faults: &Faults, all: &[Settings], hub: bool) {
    let mut names: Vec<_> = all.iter().map(|d| d.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() != all.len() {
        faults.add("destination", "names must differ from each other");
    }
    if !hub && !all.is_empty() && !all.iter().any(|d| d.required) {
        faults.add("destination", "without a [hub] at least one must be required, or nothing is ever stored");
    }
}

fn one(mut s: Section<'_>) -> Option<Settings> {
    let name = s.text("name", None, 20);
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.is_empty() && (!name.chars().all(plain) || name == "hub") {
        s.fault("name", "must be of a-z 0-9 -, and not \"hub\"");
    }
    let kind = s.text("kind", None, 20);
    let required = s.choice("required", "yes", &[("yes", true), ("no", false)]);
    let way = match kind.as_str() {
        "folder" => Some(Way::Folder { path: s.path("path", "/mnt/lectern") }),
        "s3" => s3(&mut s).map(Way::S3),
        "opencast" => opencast(&mut s).map(Way::Opencast),
        "" => None,
        other => {
            let kinds = KINDS.map(|kind| format!("{kind:?}")).join(", ");
            s.fault("kind", &format!("{other:?} is not one of {kinds}"));
            s.forgive_unknown();
            None
        }
    };
    s.end();
    way.map(|way| Settings { name, required, way })
}

fn address(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url)
            if ["http", "https"].contains(&url.scheme())
                && url.password().is_none()
                && url.username().is_empty() =>
        {
            Ok(url)
        }
        _ => Err(format!("{text:?} must be an http:// or https:// address without a password")),
    }
}

fn s3(s: &mut Section<'_>) -> Option<S3> {
    let url = s.parsed("url", address);
    let read = S3 {
        region: s.text("region", Some("garage"), 60),
        bucket: s.text("bucket", None, 63),
        in_path: s.choice("bucket_in", "path", &[("path", true), ("host", false)]),
        prefix: s.maybe_parsed("prefix", prefix).unwrap_or_default(),
        access_key: s.text("access_key", None, 200),
        secret_file: s.path("secret_file", "/etc/lectern/s3.secret"),
        url: Url::parse("http://x").ok()?,
    };
    url.map(|url| S3 { url, ..read })
}

/// A prefix is a path below the bucket: `lessons/`.
fn prefix(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    match text.chars().all(plain) && !text.starts_with('/') && !text.contains("..") && text.ends_with('/') {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "{text:?} must be of letters, digits and - _ . /, begin with none and end with one /"
        )),
    }
}

fn opencast(s: &mut Section<'_>) -> Option<Opencast> {
    let url = s.parsed("url", address);
    let read = Opencast {
        user: s.text("user", Some("opencast_system_account"), 100),
        password_file: s.path("password_file", "/etc/lectern/opencast.password"),
        agent: s.maybe_parsed("agent", |text| Ok(text.to_owned())).unwrap_or_default(),
        workflow: s.text("workflow", Some("schedule-and-upload"), 100),
        flavor: s
            .choice(
                "flavor",
                "presenter/source",
                &[("presenter/source", "presenter/source"), ("presentation/source", "presentation/source")],
            )
            .to_owned(),
        url: Url::parse("http://x").ok()?,
    };
    url.map(|url| Opencast { url, ..read })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const HUBLESS: &str = "[device]\nid = \"room-301\"\nschool = \"3401000001\"\nroom = \"301教室\"\n";

    fn read(text: &str) -> Result<Vec<Settings>, Vec<String>> {
        Config::parse(&format!("{HUBLESS}{text}[[source]]\nname = \"card\"\nkind = \"test\"\n"))
            .map(|config| config.destinations)
    }

    #[test]
    fn each_kind_is_read_with_its_defaults() {
        let all = read(
            "[[destination]]\nname = \"nas\"\nkind = \"folder\"\npath = \"/mnt/nas\"\n\
             [[destination]]\nname = \"cloud\"\nkind = \"s3\"\nrequired = \"no\"\nurl = \"http://10.0.0.9:3900\"\n\
             bucket = \"lessons\"\naccess_key = \"GK1\"\nprefix = \"a/\"\n\
             [[destination]]\nname = \"oc\"\nkind = \"opencast\"\nurl = \"https://oc.example\"\n",
        )
        .expect("valid");
        assert_eq!(
            all.iter().map(|d| (d.way.kind(), d.required)).collect::<Vec<_>>(),
            [("folder", true), ("s3", false), ("opencast", true)]
        );
    }

    #[test]
    fn faults_are_told_by_their_paths() {
        for (text, path) in [
            ("[[destination]]\nname = \"hub\"\nkind = \"folder\"\n", "destination[1].name"),
            ("[[destination]]\nname = \"a\"\nkind = \"ftp\"\n", "destination[1].kind"),
            ("[[destination]]\nname = \"a\"\nkind = \"folder\"\npath = \"nas\"\n", "destination[1].path"),
            ("[[destination]]\nname = \"a\"\nkind = \"folder\"\nrequired = \"no\"\n", "destination"),
            (
                "[[destination]]\nname = \"a\"\nkind = \"s3\"\nurl = \"ftp://x\"\nbucket = \"b\"\naccess_key = \"k\"\n",
                "destination[1].url",
            ),
            (
                "[[destination]]\nname = \"a\"\nkind = \"s3\"\nurl = \"http://x\"\nbucket = \"b\"\naccess_key = \"k\"\nprefix = \"../x/\"\n",
                "destination[1].prefix",
            ),
        ] {
            let faults = read(text).expect_err(text);
            assert!(faults.len() == 1 && faults[0].starts_with(path), "{text}: {faults:?}");
        }
    }
}
