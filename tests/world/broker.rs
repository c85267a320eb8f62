//! Brokers beside the hub, with the rules that ship in config/broker: Mosquitto and RabbitMQ, on free ports, in folders
//! of their own.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::folder::Folder;
use crate::process::{Process, eventually, free_port, output};

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/broker");
/// The hub's user and password at every broker.
pub const HUB: (&str, &str) = ("lectern-hub", "the-hubs-own-password");

/// A broker beside the hub.
#[derive(Debug)]
pub struct Broker {
    /// The program, to be stopped.
    pub process: Process,
    /// Where it listens.
    pub port: u16,
    start: fn(&Folder, &Path) -> anyhow::Result<Process>,
    config: PathBuf,
    /// What it writes now and then, when it does not write everything at once.
    written: Option<PathBuf>,
}

/// The hub's settings for a broker at a port, and the file with its password.
///
/// # Errors
/// When the file cannot be written.
pub fn settings(folder: &Folder, port: u16, more: &str) -> anyhow::Result<String> {
    let file = folder.join("hub-at-broker.password");
    std::fs::write(&file, HUB.1)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    Ok(format!("[broker]\nurl = \"mqtt://127.0.0.1:{port}\"\npassword_file = {file:?}\n{more}"))
}

impl Broker {
    /// Mosquitto, at this port, with these users beside the hub.
    ///
    /// # Errors
    /// When it does not start, with the end of its log.
    pub fn mosquitto(folder: &Folder, port: u16, users: &[(&str, &str)]) -> anyhow::Result<Self> {
        let (passwords, data) = (folder.join("mosquitto.passwd"), folder.make("mosquitto")?);
        std::fs::write(&passwords, "")?;
        for (user, password) in users.iter().chain([&HUB]) {
            let mut add = Command::new("mosquitto_passwd");
            output({
                add.arg("-b").arg(&passwords).args([user, password]);
                add
            })?;
        }
        let shipped = std::fs::read_to_string(format!("{CONFIG}/mosquitto.conf"))?;
        let text = shipped
            .replace("/etc/mosquitto/lectern.passwd", &passwords.to_string_lossy())
            .replace("/etc/mosquitto/lectern.acl", &format!("{CONFIG}/mosquitto.acl"))
            .replace("listener 1883", &format!("listener {port} 127.0.0.1"))
            .replace("/var/lib/mosquitto/", &format!("{}/", data.display()));
        ensure!(text.contains(&format!("listener {port}")), "the shipped file names no listener");
        let config = folder.join("mosquitto.conf");
        // Started by root it would become somebody who may not read the test's folder.
        std::fs::write(&config, format!("{text}user root\n"))?;
        let start = |folder: &Folder, config: &Path| {
            let mut command = Command::new("/usr/sbin/mosquitto");
            command.arg("-c").arg(config);
            Process::start(folder, "mosquitto", command)
        };
        let broker = Self::begin(folder, port, start, config)?;
        Ok(Self { written: Some(data.join("mosquitto.db")), ..broker })
    }

    /// RabbitMQ with its MQTT plugin, at this port, with these users beside the hub: a node of its own.
    ///
    /// # Errors
    /// When it does not start, with the end of its log.
    pub fn rabbitmq(folder: &Folder, port: u16, users: &[(&str, &str)]) -> anyhow::Result<Self> {
        let home = folder.make("rabbitmq")?;
        let shipped = std::fs::read_to_string(format!("{CONFIG}/rabbitmq.conf"))?;
        std::fs::write(home.join("definitions.json"), definitions(&shipped, users)?)?;
        std::fs::write(home.join("plugins"), "[rabbitmq_mqtt].\n")?;
        let config = home.join("rabbitmq.conf");
        let text = format!(
            "{shipped}\nlisteners.tcp = none\nmqtt.listeners.tcp.1 = 127.0.0.1:{port}\n\
             load_definitions = {}\nlog.console = true\nlog.file = false\n",
            home.join("definitions.json").display()
        );
        std::fs::write(&config, text)?;
        std::fs::write(home.join("ports"), format!("{} {}", free_port()?, free_port()?))?;
        let start = |folder: &Folder, config: &Path| {
            let home = config.parent().context("a file without a folder")?;
            let ports = std::fs::read_to_string(home.join("ports"))?;
            let (names, nodes) = ports.split_once(' ').context("two ports")?;
            // The packaged program itself: the one in /usr/sbin becomes another user, without our environment.
            let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
            command.env("HOME", home).env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
            command.env("RABBITMQ_NODENAME", format!("lectern-{nodes}@localhost"));
            command.env("RABBITMQ_CONFIG_FILE", config);
            command.env("RABBITMQ_ENABLED_PLUGINS_FILE", home.join("plugins"));
            command.env("RABBITMQ_MNESIA_BASE", home.join("data"));
            command.env("RABBITMQ_LOG_BASE", home.join("log")).env("RABBITMQ_LOGS", "-");
            command.env("RABBITMQ_PID_FILE", home.join("pid")).env("RABBITMQ_DIST_PORT", nodes);
            // Its name server too is one of its own, and ends with the folder.
            command.env("ERL_EPMD_PORT", names).env("ERL_EPMD_ADDRESS", "127.0.0.1");
            command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1:1");
            Process::start(folder, "rabbitmq", command)
        };
        Self::begin(folder, port, start, config)
    }

    fn begin(
        folder: &Folder,
        port: u16,
        start: fn(&Folder, &Path) -> anyhow::Result<Process>,
        config: PathBuf,
    ) -> anyhow::Result<Self> {
        let process = start(folder, &config)?;
        let mut broker = Self { process, port, start, config, written: None };
        broker.wait_until_ready()?;
        Ok(broker)
    }

    /// Waits until it has written down who its clients are: one that is killed before has never heard of them.
    ///
    /// # Errors
    /// When it does not.
    pub fn wait_until_written(&self) -> anyhow::Result<()> {
        let Some(path) = &self.written else { return Ok(()) };
        eventually(Duration::from_secs(60), "what the broker writes", || path.exists().then_some(()))
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let (process, port) = (&mut self.process, self.port);
        let ready = eventually(Duration::from_secs(120), "the broker", || {
            // One that has ended will never answer: no use to wait.
            if !process.running() {
                return Some(false);
            }
            std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(|_| true)
        });
        process.must_run()?;
        ready.with_context(|| process.tail_of_log()).map(drop)
    }

    /// Starts it again after it was stopped, with what it holds.
    ///
    /// # Errors
    /// As the first time.
    pub fn restart(&mut self, folder: &Folder) -> anyhow::Result<()> {
        self.process.stop();
        self.process = (self.start)(folder, &self.config)?;
        self.wait_until_ready()
    }
}

/// RabbitMQ's users and rights, as the commands in the shipped file would make them.
fn definitions(shipped: &str, users: &[(&str, &str)]) -> anyhow::Result<String> {
    let quoted: Vec<&str> = shipped.split('\'').skip(1).step_by(2).collect();
    ensure!(
        quoted.len() == 10,
        "the shipped file names {} rights, not a room's five and the hub's",
        quoted.len()
    );
    let (room, hub) = quoted.split_at(5);
    let all = users.iter().map(|user| (*user, room)).chain([(HUB, hub)]);
    let (mut people, mut rights, mut topics) = (vec![], vec![], vec![]);
    for ((user, password), allowed) in all {
        let own = |n: usize| allowed[n].replace("room-301", user);
        people.push(json!({ "name": user, "password": password, "tags": "" }));
        rights.push(json!({
            "user": user, "vhost": "/", "configure": own(0), "write": own(1), "read": own(2)
        }));
        topics.push(json!({
            "user": user, "vhost": "/", "exchange": "amq.topic", "write": own(3), "read": own(4)
        }));
    }
    let whole = json!({
        "users": people, "vhosts": [{ "name": "/" }], "permissions": rights, "topic_permissions": topics
    });
    Ok(whole.to_string())
}
