//! Whom the price of measuring is held against: collectd, prometheus-node-exporter and two Python agents, lnxlink, which
//! measures a computer and tells it over MQTT, and pyCA, which waits for lessons to record and measures nothing.
//!
//! Each as it ships, but with what it measures kept to what Lectern measures, where that can be chosen.
//! `packaging/setup.sh bench` installs all four.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lectern_tests::garage::cache;
use lectern_tests::opencast::{self, Opencast};
use lectern_tests::{Folder, Process, eventually, free_port};
use serde_json::json;

use super::usage;
use super::wire::Relay;

/// The broker of all.
pub const MOSQUITTO: &str = "/usr/sbin/mosquitto";
const COLLECTD: &str = "/usr/sbin/collectd";
const EXPORTER: &str = "/usr/bin/prometheus-node-exporter";

/// How long a peer may take until it works.
const START: Duration = Duration::from_secs(30);
/// The topic that lnxlink tells once in every round.
const ROUND: &str = "lnxlink/bench/monitor_controls/cpu_usage";
/// pyCA's processes: its calendar, recorder, uploads and state, and the one that started them.
const PYCA_PROCESSES: usize = 5;

/// Fails at once, and not after minutes, where a program is missing.
///
/// # Errors
/// The sentence that says how to have what is missing.
pub fn must_be_installed() -> anyhow::Result<()> {
    let packaged = [MOSQUITTO, COLLECTD, EXPORTER].map(PathBuf::from);
    let missing: Vec<_> =
        packaged.into_iter().chain([lnxlink(), pyca()]).filter(|path| !path.is_file()).collect();
    let names: Vec<_> = missing.iter().map(|path| path.display().to_string()).collect();
    ensure!(
        names.is_empty(),
        "what measuring is held against is not all here; run `packaging/setup.sh bench`, which installs {}",
        names.join(" and ")
    );
    Ok(())
}

/// In an environment of its own, as `packaging/setup.sh` makes it.
fn lnxlink() -> PathBuf {
    cache().join("lectern/lnxlink/bin/lnxlink")
}

/// As [`lnxlink`].
fn pyca() -> PathBuf {
    cache().join("lectern/pyca/bin/pyca")
}

/// collectd with the collectors that Lectern has, every second.
///
/// # Errors
/// When it does not start.
pub fn collectd(folder: &Folder, mqtt: u16) -> anyhow::Result<Process> {
    let settings = folder.join("collectd.conf");
    let own = folder.make("collectd")?;
    let plugins = [
        "cpu",
        "load",
        "memory",
        "swap",
        "df",
        "disk",
        "interface",
        "sensors",
        "thermal",
        "uptime",
        "wireless",
    ];
    let plugins: String = plugins.iter().map(|plugin| format!("LoadPlugin {plugin}\n")).collect();
    let text = format!(
        "Hostname \"bench\"\nInterval 1\nBaseDir {own:?}\nPIDFile \"{}/pid\"\nLoadPlugin logfile\n\
         <Plugin logfile>\n File stderr\n</Plugin>\n{plugins}LoadPlugin mqtt\n<Plugin mqtt>\n <Publish \"bench\">\n  \
         Host \"127.0.0.1\"\n  Port {mqtt}\n  ClientId \"collectd\"\n  QoS 1\n </Publish>\n</Plugin>\n",
        own.display()
    );
    std::fs::write(&settings, text)?;
    let mut command = Command::new(COLLECTD);
    command.arg("-f").arg("-C").arg(&settings);
    Process::start(folder, "collectd", command)
}

/// prometheus-node-exporter, which measures when it is asked.
pub struct Exporter {
    /// The program.
    pub process: Process,
    port: u16,
}

impl Exporter {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start(folder: &Folder) -> anyhow::Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(EXPORTER);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let exporter = Self { process: Process::start(folder, "exporter", command)?, port };
        eventually(START, "node-exporter", || exporter.scrape().ok())?;
        Ok(exporter)
    }

    /// One scrape: its bytes.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn scrape(&self) -> anyhow::Result<usize> {
        let mut line = TcpStream::connect(("127.0.0.1", self.port))?;
        line.set_read_timeout(Some(Duration::from_secs(5)))?;
        line.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut said = Vec::new();
        line.read_to_end(&mut said)?;
        ensure!(said.starts_with(b"HTTP/1.0 200"), "node-exporter says no");
        Ok(said.len())
    }
}

/// lnxlink with the modules that measure what Lectern measures.
///
/// It waits a second between the end of a round and the next, so its rounds are counted, not reckoned. What is not named
/// here does not run: what it ships with also asks the internet for updates and tells its maker that it is in use
/// (`update`, `statistics`), lists the packages that could be upgraded (`sys_updates`), installs packages (`docker`) and
/// switches machines off (`shutdown`). None of this is measuring.
pub struct Lnxlink {
    /// The program.
    pub process: Process,
    /// What it tells.
    pub relay: Relay,
}

impl Lnxlink {
    /// Starts it with a relay of its own before the broker, and waits until it has told a round.
    ///
    /// # Errors
    /// When it tells nothing.
    pub fn start(folder: &Folder, broker: u16) -> anyhow::Result<Self> {
        let relay = Relay::before(broker)?;
        let modules = [
            "boot_time",
            "camera_used",
            "cpu",
            "disk_io",
            "disk_usage",
            "interfaces",
            "memory",
            "microphone_used",
            "network",
            "temperature",
        ];
        // It keeps its registry and its log beside its settings. They are YAML, of which JSON is a part.
        let config = folder.make("lnxlink")?.join("lnxlink.yaml");
        let settings = json!({
            "mqtt": {
                "transport": "mqtt", "prefix": "lnxlink", "clientId": "bench",
                "server": "127.0.0.1", "port": relay.port,
                "auth": {
                    "user": "", "pass": "", "tls": false, "tls_allow_insecure": false, "keyfile": "",
                    "certfile": "", "ca_certs": "",
                },
                // Lectern's own is off too.
                "discovery": { "enabled": false, "prefix": "homeassistant" },
                "lwt": { "enabled": true, "qos": 1 },
                "clear_on_off": true,
                "homeassistant": {
                    "url": "", "token": "", "timeout": 20, "verify_ssl": true, "subscribe_commands": false,
                },
            },
            "update_interval": 1, "update_on_change": false,
            "modules": modules, "custom_modules": null, "exclude": null, "settings": {},
        });
        std::fs::write(&config, settings.to_string())?;
        let mut command = Command::new(lnxlink());
        // Without a service of systemd's, which it would ask about.
        command.arg("--ignore-systemd").arg("--config").arg(&config);
        let lnxlink = Self { process: Process::start(folder, "lnxlink", command)?, relay };
        eventually(START, "lnxlink's first round", || (lnxlink.rounds() > 0).then_some(()))
            .with_context(|| lnxlink.process.tail_of_log())?;
        Ok(lnxlink)
    }

    /// Rounds it has told.
    pub fn rounds(&self) -> u64 {
        self.relay.seen().topics.get(ROUND).copied().unwrap_or(0)
    }
}

/// pyCA with its calendar, empty, at a stand-in for Opencast; all else as it ships.
pub struct Pyca {
    process: Process,
    _opencast: Opencast,
}

impl Pyca {
    /// Starts it and waits until it has said that it is there.
    ///
    /// # Errors
    /// When it does not.
    pub fn start(folder: &Folder) -> anyhow::Result<Self> {
        let own = folder.make("pyca")?;
        let opencast = Opencast::start(folder, &[])?;
        let config = own.join("pyca.conf");
        let text = format!(
            "[agent]\nname = 'room'\n[server]\nurl = '{}'\nusername = '{}'\npassword = '{}'\n",
            opencast.url(),
            opencast::USER,
            opencast::PASSWORD
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new(pyca());
        command.arg("-c").arg(&config).arg("run").current_dir(&own).env("no_proxy", "*");
        let process = Process::start(folder, "pyca", command)?;
        eventually(START, "pyCA's word that it is there", || {
            opencast.wrote("agents.json").get("room").is_some().then_some(())
        })
        .with_context(|| process.tail_of_log())?;
        Ok(Self { process, _opencast: opencast })
    }

    /// What all its processes hold, KiB.
    ///
    /// # Errors
    /// When one of them has ended.
    pub fn share_kib(&self) -> anyhow::Result<u64> {
        let family = usage::family(self.process.pid())?;
        ensure!(
            family.len() >= PYCA_PROCESSES,
            "pyCA has {} processes left\n{}",
            family.len(),
            self.process.tail_of_log()
        );
        usage::share_with_children_kib(self.process.pid())
    }
}
