//! A real S3 store: Garage, one node or three on the loopback address with a bucket of its own. `packaging/setup.sh garage`
//! builds it once into a cache outside the checkout.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lectern_base::clock;
use rusty_s3::signing::sign;
use rusty_s3::{Credentials, Method, UrlStyle};

use crate::fake_clock::FakeClock;
use crate::folder::Folder;
use crate::process::{Process, eventually, free_port, output};

/// Where the version stands that is built.
const SETUP: &str = include_str!("../../packaging/setup.sh");
const BUCKET: &str = "lessons";
const REGION: &str = "garage";
const KEY: &str = "GK0123456789abcdef01234567";
const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A running Garage.
#[derive(Debug)]
pub struct Garage {
    /// The program, to be killed and frozen; of three nodes the one that is talked to.
    pub process: Process,
    /// The other nodes.
    pub others: Vec<Process>,
    program: PathBuf,
    node: Node,
    /// Its port.
    pub port: u16,
    /// The file with its keys, as the hub wants it.
    pub keys: PathBuf,
    /// Its wall clock, where that is not the machine's.
    pub clock: Option<FakeClock>,
}

impl Garage {
    /// Where it is installed; the sentence for [`crate::skipped`] when it is not.
    ///
    /// # Errors
    /// When it is not.
    pub fn find() -> Result<PathBuf, String> {
        let version = SETUP.lines().find_map(|line| line.strip_prefix("garage_version=")).unwrap_or("?");
        let program = cache().join("lectern/garage").join(version).join("bin/garage");
        if program.is_file() {
            Ok(program)
        } else {
            Err(format!("Garage {version} is not built here; `packaging/setup.sh garage` builds it, once"))
        }
    }

    /// Starts a node with an empty bucket.
    ///
    /// # Errors
    /// When it does not start, with the end of its log.
    pub fn start(folder: &Folder, program: &Path) -> anyhow::Result<Self> {
        let node = Node::new(folder, "garage", 1)?;
        let process = node.serve(folder, program, true)?;
        Self::ready(folder, program, node, process)
    }

    /// As [`Self::start`], with a clock of its own that goes right and can be stepped.
    ///
    /// # Errors
    /// As [`Self::start`], and where there is no such clock.
    pub fn with_clock(folder: &Folder, program: &Path) -> anyhow::Result<Self> {
        let clock = FakeClock::named(folder.path(), "garage-clock")?;
        let mut node = Node::new(folder, "garage", 1)?;
        node.env = clock.env()?;
        let process = node.serve(folder, program, true)?;
        Ok(Self { clock: Some(clock), ..Self::ready(folder, program, node, process)? })
    }

    /// Starts three nodes that each hold everything, with an empty bucket; any two of them are the store.
    ///
    /// # Errors
    /// When they do not start or do not find each other.
    pub fn three(folder: &Folder, program: &Path) -> anyhow::Result<Self> {
        let nodes = ["garage-1", "garage-2", "garage-3"].map(|name| Node::new(folder, name, 3));
        let nodes = nodes.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        let serve = |node: &Node| node.serve(folder, program, false);
        let mut processes = nodes.iter().map(serve).collect::<anyhow::Result<Vec<_>>>()?;
        let say = |node: &Node, words: &[&str]| {
            let mut command = Command::new(program);
            command.arg("-c").arg(&node.config).args(words);
            output(command).map(|said| String::from_utf8_lossy(&said).into_owned())
        };
        let mut ids = Vec::new();
        for node in &nodes {
            let id = || say(node, &["node", "id", "--quiet"]).ok().filter(|_| say(node, &["status"]).is_ok());
            ids.push(eventually(Duration::from_secs(60), "a node of Garage", id)?.trim().to_owned());
        }
        let node = nodes.into_iter().next().context("a node")?;
        for id in &ids {
            say(&node, &["node", "connect", id])?;
            let id = id.split('@').next().unwrap_or_default();
            say(&node, &["layout", "assign", "-z", "school", "-c", "10GB", id])?;
        }
        say(&node, &["layout", "apply", "--version", "1"])?;
        let made = || say(&node, &["bucket", "create", BUCKET]).ok();
        eventually(Duration::from_secs(60), "the bucket", made)?;
        say(&node, &["key", "import", "--yes", KEY, SECRET])?;
        say(&node, &["bucket", "allow", "--read", "--write", "--owner", BUCKET, "--key", KEY])?;
        let others = processes.split_off(1);
        let first = processes.pop().context("a node")?;
        Ok(Self { others, ..Self::ready(folder, program, node, first)? })
    }

    fn ready(folder: &Folder, program: &Path, node: Node, process: Process) -> anyhow::Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let keys = folder.join("garage.keys");
        std::fs::write(&keys, format!("{KEY}\n{SECRET}\n"))?;
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600))?;
        let (program, port) = (program.to_owned(), node.port);
        let mut garage = Self { process, others: Vec::new(), program, node, port, keys, clock: None };
        garage.wait_until_ready()?;
        Ok(garage)
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let url = self.url(Method::Get, "", &[]);
        let answers = |url: &url::Url| {
            let mut curl = Command::new("curl");
            curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "2", "--noproxy", "*"]);
            let out = curl.arg(url.as_str()).output().ok()?;
            (out.stdout == b"200").then_some(())
        };
        let process = &mut self.process;
        let ready = eventually(Duration::from_secs(60), "Garage", || {
            if process.running() { answers(&url) } else { Some(()) }
        });
        process.must_run()?;
        ready.with_context(|| process.tail_of_log())
    }

    /// Starts it again after it was stopped or killed, with what it holds.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self, folder: &Folder) -> anyhow::Result<()> {
        self.process.kill();
        self.process = self.node.serve(folder, &self.program, self.others.is_empty())?;
        self.wait_until_ready()
    }

    /// The hub's settings for it; `more` goes into its section.
    #[must_use]
    pub fn settings(&self, more: &str) -> String {
        settings(&format!("http://127.0.0.1:{}", self.port), &self.keys, more)
    }

    /// A signed URL of its bucket; the query is sorted by name.
    ///
    /// # Panics
    /// Never: the address is made of a number.
    #[must_use]
    pub fn url(&self, method: Method, key: &str, query: &[(&str, &str)]) -> url::Url {
        let address = url::Url::parse(&format!("http://127.0.0.1:{}", self.port));
        let bucket =
            address.ok().and_then(|url| rusty_s3::Bucket::new(url, UrlStyle::Path, BUCKET, REGION).ok());
        let bucket = bucket.expect("an address");
        let who = Credentials::new(KEY, SECRET);
        let at = jiff::Timestamp::from_millisecond(clock::wall_ms()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let url = if key.is_empty() { bucket.base_url().clone() } else { bucket.object_url(key) };
        let (query, none) = (query.iter().copied(), std::iter::empty::<(&str, &str)>());
        sign(&at, method, url, who.key(), who.secret(), None, REGION, 600, query, none)
    }

    /// Asks it; status and answer.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ask(
        &self,
        method: Method,
        key: &str,
        query: &[(&str, &str)],
    ) -> anyhow::Result<(u16, String)> {
        let verb = match method {
            Method::Head => reqwest::Method::HEAD,
            Method::Get => reqwest::Method::GET,
            Method::Put => reqwest::Method::PUT,
            Method::Post => reqwest::Method::POST,
            Method::Delete => reqwest::Method::DELETE,
        };
        let http = reqwest::Client::builder().no_proxy().build()?;
        let answer = http.request(verb, self.url(method, key, query)).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// The keys of all objects in the bucket.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn objects(&self) -> anyhow::Result<Vec<String>> {
        let (status, text) = self.ask(Method::Get, "", &[]).await?;
        ensure!(status == 200, "the list was answered with {status}: {text}");
        Ok(between(&text, "<Key>", "</Key>"))
    }

    /// The uploads under way in the bucket, by name.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn uploads(&self) -> anyhow::Result<Vec<String>> {
        let (status, text) = self.ask(Method::Get, "", &[("uploads", "")]).await?;
        ensure!(status == 200, "the list was answered with {status}: {text}");
        Ok(between(&text, "<UploadId>", "</UploadId>"))
    }

    /// Begins an upload that nobody will end; its name.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn begin(&self, key: &str) -> anyhow::Result<String> {
        let (status, text) = self.ask(Method::Post, key, &[("uploads", "")]).await?;
        let name = between(&text, "<UploadId>", "</UploadId>").pop();
        name.with_context(|| format!("beginning an upload was answered with {status}: {text}"))
    }
}

/// Where `packaging/setup.sh` keeps what it builds outside the checkout.
#[must_use]
pub fn cache() -> PathBuf {
    let set = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    set.or_else(home).unwrap_or_default()
}

/// The hub's settings for an S3 store with our bucket.
#[must_use]
pub fn settings(endpoint: &str, keys: &Path, more: &str) -> String {
    format!(
        "[store]\nkind = \"s3\"\n[s3]\nendpoint = \"{endpoint}\"\nbucket = \"{BUCKET}\"\nregion = \"{REGION}\"\n\
         keys_file = {keys:?}\n{more}"
    )
}

fn between(text: &str, from: &str, to: &str) -> Vec<String> {
    text.split(from).skip(1).filter_map(|rest| Some(rest.split_once(to)?.0.to_owned())).collect()
}

/// One of Garage's machines.
#[derive(Debug)]
struct Node {
    name: &'static str,
    config: PathBuf,
    port: u16,
    env: Vec<(String, String)>,
}

impl Node {
    fn new(folder: &Folder, name: &'static str, copies: u8) -> anyhow::Result<Self> {
        let (meta, data) = (folder.make(&format!("{name}-meta"))?, folder.make(&format!("{name}-data"))?);
        let config = folder.join(&format!("{name}.toml"));
        let (port, rpc) = (free_port()?, free_port()?);
        let text = format!(
            "metadata_dir = {meta:?}\ndata_dir = {data:?}\ndb_engine = \"lmdb\"\nreplication_factor = {copies}\n\
             metadata_fsync = true\ndata_fsync = true\nrpc_bind_addr = \"127.0.0.1:{rpc}\"\n\
             rpc_public_addr = \"127.0.0.1:{rpc}\"\nrpc_secret = \"{SECRET}\"\n\
             [s3_api]\ns3_region = \"{REGION}\"\napi_bind_addr = \"127.0.0.1:{port}\"\n"
        );
        std::fs::write(&config, text)?;
        Ok(Self { name, config, port, env: Vec::new() })
    }

    fn serve(&self, folder: &Folder, program: &Path, alone: bool) -> anyhow::Result<Process> {
        let mut command = Command::new(program);
        command.arg("-c").arg(&self.config).arg("server");
        if alone {
            command.args(["--single-node", "--default-bucket"]);
            command.env("GARAGE_DEFAULT_BUCKET", BUCKET).env("GARAGE_DEFAULT_ACCESS_KEY", KEY);
            command.env("GARAGE_DEFAULT_SECRET_KEY", SECRET);
        }
        command.env("RUST_LOG", "garage=info").envs(self.env.iter().cloned());
        Process::start(folder, self.name, command)
    }
}
