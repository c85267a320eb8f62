//! A real Home Assistant, as it installs: its own program, its own login, its MQTT integration at our broker.
//!
//! `packaging/setup.sh hass` installs two: the last that runs on Debian 12's Python, which knows one discovery document for
//! each component, and a newer one in a small Debian of its own, which knows one for the whole device too.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::folder::Folder;
use crate::garage::cache;
use crate::process::{Process, eventually, free_port};

/// How long the first start may take: it compiles all of its Python.
const START: Duration = Duration::from_secs(180);
/// Where the test's folder stands in a Home Assistant that has a system of its own.
const INSIDE: &str = "/mnt";

/// One that is installed here.
#[derive(Debug, Clone)]
pub struct Installed {
    program: PathBuf,
    /// The system it lives in, where that is not this one.
    system: Option<PathBuf>,
    /// Whether it knows a document for the whole device.
    pub whole_device: bool,
}

/// A running one.
#[derive(Debug)]
pub struct HomeAssistant {
    /// The program.
    pub process: Process,
    url: String,
    token: String,
    http: reqwest::Client,
}

/// Those that are installed here, and the sentence for [`crate::skipped`] for each that is not.
#[must_use]
pub fn installed() -> (Vec<Installed>, Vec<String>) {
    let (own, system) = (cache().join("lectern/hass/bin/hass"), cache().join("lectern/hass-system"));
    let (mut found, mut skipped) = (Vec::new(), Vec::new());
    if own.is_file() {
        found.push(Installed { program: own, system: None, whole_device: false });
    } else {
        skipped.push("no Home Assistant; `packaging/setup.sh hass` installs it".to_owned());
    }
    if !system.join("opt/hass/bin/hass").is_file() {
        skipped.push("no newer Home Assistant; `packaging/setup.sh hass`, as root, installs it".into());
    } else if !rustix::process::getuid().is_root() {
        skipped.push("the newer Home Assistant has a system of its own; that needs root".into());
    } else {
        let program = "/opt/hass/bin/hass".into();
        found.push(Installed { program, system: Some(system), whole_device: true });
    }
    (found, skipped)
}

impl Installed {
    fn command(&self, folder: &Folder, config: &str) -> Command {
        let Some(system) = &self.system else {
            let mut command = Command::new(&self.program);
            command.arg("-c").arg(folder.join(config)).arg("--skip-pip");
            return command;
        };
        // In a mount namespace of its own, so that nothing stays mounted whatever happens.
        let script = "mount --bind \"$1\" \"$2$3\" && exec chroot \"$2\" \"$4\" -c \"$3/$5\" --skip-pip";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]);
        command.arg(folder.path()).arg(system).arg(INSIDE).arg(&self.program).arg(config);
        command
    }
}

impl HomeAssistant {
    /// Starts one that has never run, with a broker, and logs in as its owner.
    ///
    /// # Errors
    /// When it does not start, with the end of its log.
    pub async fn start(
        folder: &Folder,
        which: &Installed,
        broker: u16,
        (user, password): (&str, &str),
    ) -> anyhow::Result<Self> {
        let (config, port) = (folder.make("home-assistant")?, free_port()?);
        std::fs::create_dir(config.join(".storage"))?;
        let text = format!("homeassistant:\nhttp:\n  server_host: 127.0.0.1\n  server_port: {port}\napi:\n");
        std::fs::write(config.join("configuration.yaml"), text)?;
        let entry = json!({
            "entry_id": "0123456789abcdef0123456789abcdef", "version": 1, "minor_version": 1, "domain": "mqtt",
            "title": "broker", "source": "user", "unique_id": null, "disabled_by": null, "options": {},
            "pref_disable_new_entities": false, "pref_disable_polling": false,
            "data": {
                "broker": "127.0.0.1", "port": broker, "username": user, "password": password,
                "discovery": true, "discovery_prefix": "homeassistant",
            },
        });
        let entries = json!({
            "version": 1, "minor_version": 1, "key": "core.config_entries", "data": { "entries": [entry] },
        });
        std::fs::write(config.join(".storage/core.config_entries"), entries.to_string())?;
        let process = Process::start(folder, "home-assistant", which.command(folder, "home-assistant"))?;
        let url = format!("http://127.0.0.1:{port}");
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build()?;
        let mut hass = Self { process, url, token: String::new(), http };
        hass.own().await.with_context(|| hass.process.tail_of_log())?;
        Ok(hass)
    }

    /// Becomes its owner, as the first who opens its page does.
    async fn own(&mut self) -> anyhow::Result<()> {
        let (port, process) = (self.url.rsplit(':').next().unwrap_or_default().to_owned(), &mut self.process);
        let page = || {
            let mut curl = Command::new("curl");
            curl.args(["-sf", "--max-time", "5", "--noproxy", "*"]);
            curl.arg(format!("http://127.0.0.1:{port}/api/onboarding"));
            let up = curl.output().is_ok_and(|out| out.status.success());
            (up || !process.running()).then_some(())
        };
        eventually(START, "Home Assistant", page)?;
        let client = format!("{}/", self.url);
        let who = json!({
            "client_id": client, "name": "owner", "username": "owner", "password": "owner-owner", "language": "en",
        });
        let users = format!("{}/api/onboarding/users", self.url);
        let answer: Value = self.http.post(users).json(&who).send().await?.error_for_status()?.json().await?;
        let code = answer["auth_code"].as_str().context("no code")?;
        let form =
            format!("grant_type=authorization_code&code={code}&client_id=http%3A%2F%2F127.0.0.1%3A{port}%2F");
        let asked = self.http.post(format!("{}/auth/token", self.url));
        let asked = asked.header("content-type", "application/x-www-form-urlencoded").body(form);
        let answer: Value = asked.send().await?.error_for_status()?.json().await?;
        self.token = answer["access_token"].as_str().context("no token")?.to_owned();
        Ok(())
    }

    async fn ask(&self, path: &str) -> anyhow::Result<Value> {
        let asked = self.http.get(format!("{}/api/{path}", self.url)).bearer_auth(&self.token);
        Ok(asked.send().await?.error_for_status()?.json().await?)
    }

    /// Its version.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn version(&self) -> anyhow::Result<String> {
        Ok(self.ask("config").await?["version"].as_str().context("no version")?.to_owned())
    }

    /// What it shows of an entity; none while it knows no such entity.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn entity(&self, id: &str) -> anyhow::Result<Option<Value>> {
        let all = self.ask("states").await?;
        let all = all.as_array().context("no states")?;
        Ok(all.iter().find(|entity| entity["entity_id"] == id).cloned())
    }

    /// Every entity of ours that it shows.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn entities(&self) -> anyhow::Result<Vec<Value>> {
        let all = self.ask("states").await?;
        let ours = |entity: &&Value| entity["entity_id"].as_str().is_some_and(|id| id.contains(".lectern_"));
        Ok(all.as_array().context("no states")?.iter().filter(ours).cloned().collect())
    }

    /// Whatever it complains of that has to do with us or with MQTT.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn complaints(&self) -> anyhow::Result<Vec<String>> {
        let log = std::fs::read_to_string(self.process.log())?;
        ensure!(log.contains("homeassistant"), "it logs nothing");
        let bad = |line: &&str| {
            (line.contains(" ERROR ") || line.contains(" WARNING "))
                && (line.contains("mqtt") || line.contains("lectern"))
                // It says so of itself, on a slow machine.
                && !line.contains("is taking over")
        };
        Ok(log.lines().filter(bad).map(str::to_owned).collect())
    }
}
