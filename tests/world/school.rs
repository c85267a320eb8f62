//! A hub and one room's agent: the built programs, with real settings, on free ports.
//!
//! The agent is spoken to through its own command line, as a technician would.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::folder::Folder;
use crate::process::{Process, eventually, free_port, output};
use crate::programs::Programs;

/// The room's ids in every test.
pub const SCHOOL: &str = "3401000001";
/// The video profiles that ship.
const PROFILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/profiles");
/// The certification schemes that ship.
const SCHEMES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/schemes");
/// See [`SCHOOL`].
pub const DEVICE: &str = "room-301";

/// A running hub.
#[derive(Debug)]
pub struct Hub {
    programs: Programs,
    /// The program, to be killed and frozen.
    pub process: Process,
    /// Its settings.
    pub config: PathBuf,
    /// Its state folder.
    pub data: PathBuf,
    /// Port of console and upload API.
    pub http: u16,
    /// Port of the broker.
    pub mqtt: u16,
    /// Password of the user admin.
    pub admin_password: String,
    /// More of its environment, from its next start on.
    pub env: Vec<(String, String)>,
    /// Its host, as agents name it.
    pub host: String,
    /// Whether it speaks TLS.
    pub secure: bool,
    /// Where agents are told that it takes uploads, when that is not the hub itself: a relay, a TLS server.
    pub door: Option<String>,
}

impl Hub {
    /// Makes a hub with one registered room and starts it; gives it and the room's password.
    ///
    /// # Errors
    /// When it does not start, with the end of its log.
    pub fn start(folder: &Folder, programs: &Programs) -> anyhow::Result<(Self, String)> {
        Self::start_at(folder, programs, "127.0.0.1", "")
    }

    /// As [`Self::start`], listening on another address and with more settings, such as a `[store]` section.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_at(
        folder: &Folder,
        programs: &Programs,
        host: &str,
        more: &str,
    ) -> anyhow::Result<(Self, String)> {
        let data = folder.join("hub");
        let config = folder.join("hub.toml");
        write_config(&config, &data, host, (0, 0), more)?;
        let mut add = Command::new(&programs.hub);
        add.args([
            "device",
            "add",
            "--school",
            SCHOOL,
            "--device",
            DEVICE,
            "--room",
            "301教室",
            "--json",
            "--config",
        ]);
        let device: Value = serde_json::from_slice(&output({
            add.arg(&config);
            add
        })?)?;
        let password = device["password"].as_str().context("no password for the room")?.to_owned();
        let process = run(folder, programs, &config, &[])?;
        let mut hub = Self {
            programs: programs.clone(),
            process,
            config,
            data,
            http: 0,
            mqtt: 0,
            admin_password: String::new(),
            env: Vec::new(),
            host: host.to_owned(),
            secure: false,
            door: None,
        };
        hub.wait_until_ready()?;
        // From now on on the same ports, so that a restarted hub is found again.
        write_config(&hub.config, &hub.data, host, (hub.http, hub.mqtt), more)?;
        let log = std::fs::read_to_string(hub.process.log())?;
        let line = log.lines().find_map(|line| line.strip_prefix("admin password: "));
        hub.admin_password = line.context("the hub printed no admin password")?.trim().to_owned();
        Ok((hub, password))
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let ports = self.data.join("ports.json");
        let (process, mut secure) = (&mut self.process, false);
        let found = eventually(Duration::from_secs(60), "the hub's ports", || {
            let log = std::fs::read_to_string(process.log()).ok()?;
            secure = log.lines().rfind(|line| line.starts_with("lectern-hub ready"))?.contains("https=");
            let text = std::fs::read_to_string(&ports).ok()?;
            serde_json::from_str::<Value>(&text).ok()
        });
        let found = found.with_context(|| process.tail_of_log())?;
        self.secure = secure;
        let port = |name: &str| found[name].as_u64().and_then(|n| u16::try_from(n).ok());
        self.http = port("http").context("no http port")?;
        self.mqtt = port("mqtt").context("no mqtt port")?;
        Ok(())
    }

    /// Starts it again after it was stopped or killed.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self, folder: &Folder) -> anyhow::Result<()> {
        self.process.kill();
        std::fs::remove_file(self.data.join("ports.json")).ok();
        self.process = run(folder, &self.programs, &self.config, &self.env)?;
        self.wait_until_ready()
    }

    /// Address of the console.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http{}://{}:{}", if self.secure { "s" } else { "" }, self.host, self.http)
    }

    /// What stands on its cards.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.http)
    }

    /// The certificate of its authority, PEM; none when it has made none.
    #[must_use]
    pub fn ca(&self) -> Option<Vec<u8>> {
        std::fs::read(self.data.join("tls/ca.pem")).ok()
    }

    /// Runs `lectern-hub … --config` beside the running hub: what it prints.
    ///
    /// # Errors
    /// When it fails; says what it said.
    pub fn lectern_hub(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.programs.hub);
        command.args(arguments).arg("--config").arg(&self.config);
        Ok(String::from_utf8(output(command)?)?)
    }

    /// As [`Self::lectern_hub`], of what needs no settings.
    ///
    /// # Errors
    /// As [`Self::lectern_hub`].
    pub fn lectern_hub_bare(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.programs.hub);
        command.args(arguments);
        Ok(String::from_utf8(output(command)?)?)
    }

    /// A token for a room: its code.
    ///
    /// # Errors
    /// As [`Self::lectern_hub`].
    pub fn token(&self, room: &str) -> anyhow::Result<String> {
        let said = self.lectern_hub(&["token", "new", "--school", SCHOOL, "--room", room, "--json"])?;
        let cards: Value = serde_json::from_str(&said)?;
        Ok(cards[0]["code"].as_str().context("no code on the card")?.to_owned())
    }

    /// Its rows, read beside the running hub.
    ///
    /// # Errors
    /// When the database cannot be opened.
    pub fn rows(&self) -> anyhow::Result<rusqlite::Connection> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let rows = rusqlite::Connection::open_with_flags(self.data.join("hub.db"), flags)?;
        rows.busy_timeout(Duration::from_secs(5))?;
        Ok(rows)
    }

    /// Where the hub keeps a lesson of the room.
    #[must_use]
    pub fn lesson_folder(&self, lesson: &str) -> PathBuf {
        self.data.join("objects").join(SCHOOL).join(DEVICE).join(lesson)
    }

    /// Files that belong to no stored lesson: what half uploads and crashes may leave behind.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn orphans(&self) -> anyhow::Result<Vec<PathBuf>> {
        let (mut folders, mut left) = (vec![self.data.join("objects")], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
                let path = entry?.path();
                let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
                let take = name.strip_prefix("take-").and_then(|n| n.strip_suffix(".mp4"));
                if path.is_dir() {
                    folders.push(path);
                } else if !["manifest.json", "receipt.json", "heads.jsonl"].contains(&name)
                    && take.is_none_or(|n| n.parse::<u32>().is_err())
                {
                    left.push(path);
                }
            }
        }
        Ok(left)
    }

    /// The lessons the hub has folders for.
    #[must_use]
    pub fn lessons(&self) -> Vec<String> {
        let folder = self.data.join("objects").join(SCHOOL).join(DEVICE);
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
    }
}

fn run(
    folder: &Folder,
    programs: &Programs,
    config: &Path,
    env: &[(String, String)],
) -> anyhow::Result<Process> {
    let mut command = Command::new(&programs.hub);
    command.args(["run", "--config"]).arg(config).envs(env.iter().cloned());
    Process::start(folder, "hub", command)
}

fn write_config(
    path: &Path,
    data: &Path,
    host: &str,
    (http, mqtt): (u16, u16),
    more: &str,
) -> anyhow::Result<()> {
    let text = format!(
        "data_dir = {data:?}\nschool = \"示范学校\"\n[http]\nlisten = \"{host}:{http}\"\n\
         [mqtt]\nlisten = \"{host}:{mqtt}\"\n{more}"
    );
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

/// What an agent is set up with.
#[derive(Debug, Clone, Default)]
pub struct Room {
    /// The lines of its `[recording]` section.
    pub recording: String,
    /// Its `[[source]]` sections, and any other.
    pub sources: String,
    /// More lines of its `[sense]` section.
    pub sense: String,
    /// More lines of its `[usage]` section.
    pub usage: String,
    /// The environment of the room: display and sound server.
    pub env: Vec<(String, String)>,
}

impl Room {
    /// A room with the generated card instead of a classroom; a small picture, so that many fit on one machine.
    #[must_use]
    pub fn card() -> Self {
        Self {
            recording: "picture = \"1280x720\"\n".into(),
            sources: "[[source]]\nname = \"card\"\nkind = \"test\"\n".into(),
            ..Self::default()
        }
    }

    /// The classroom in a box: its screen, microphone and, if wanted, camera.
    #[must_use]
    pub fn of(world: &crate::World, with_camera: bool) -> Self {
        let layout = if with_camera { "screen+camera" } else { "screen" };
        let mut sources = format!(
            "[[source]]\nname = \"screen\"\nkind = \"screen\"\ndisplay = \"{}\"\n\
             [[source]]\nname = \"microphone\"\nkind = \"microphone\"\ndevice = \"{}\"\n",
            world.screen.display(),
            crate::sound::MICROPHONE
        );
        if with_camera {
            let url = world.camera.url();
            sources +=
                &format!("[[source]]\nname = \"camera\"\nkind = \"network_camera\"\nurl = \"{url}\"\n");
        }
        let recording = format!("layout = \"{layout}\"\n");
        Self { recording, sources, env: world.env(), ..Self::default() }
    }
}

/// A room's agent.
#[derive(Debug)]
pub struct Agent {
    programs: Programs,
    /// The program, to be killed and frozen.
    pub process: Process,
    env: Vec<(String, String)>,
    /// Its settings.
    pub config: PathBuf,
    /// Its state folder.
    pub data: PathBuf,
}

impl Agent {
    /// Sets an agent up for a hub and starts it.
    ///
    /// # Errors
    /// When it does not start, with the end of its log.
    pub fn start(
        folder: &Folder,
        programs: &Programs,
        room: &Room,
        hub: &Hub,
        password: &str,
    ) -> anyhow::Result<Self> {
        let (data, config, secret) =
            (folder.join("agent"), folder.join("agent.toml"), folder.join("device.password"));
        std::fs::write(&secret, password)?;
        let text = format!(
            "[device]\nid = \"{DEVICE}\"\nschool = \"{SCHOOL}\"\nroom = \"301教室\"\ndata_dir = {data:?}\n\
             trust_volume = true\n\
             [hub]\nurl = \"{}\"\nmqtt = \"mqtt://{}:{}\"\npassword_file = {secret:?}\n\
             [page]\nlisten = \"127.0.0.1:0\"\n[sense]\ninterval_s = 2\n{}\
             [usage]\nsocket = {:?}\n{}\
             [recording]\nrecorder = {:?}\nprofiles = \"{PROFILES}\"\nschemes = \"{SCHEMES}\"\n{}{}",
            hub.door.clone().unwrap_or_else(|| hub.url()),
            hub.host,
            hub.mqtt,
            room.sense,
            data.join("run/session.sock"),
            room.usage,
            programs.recorder,
            room.recording,
            room.sources
        );
        std::fs::write(&config, text)?;
        let env = room.env.clone();
        let process = daemon(folder, programs, &config, &env)?;
        let mut agent = Self { programs: programs.clone(), process, env, config, data };
        agent.wait_until_ready()?;
        Ok(agent)
    }

    /// Starts an agent on a machine that is no room's yet: its page waits for a card. `name` tells several apart.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn fresh(folder: &Folder, programs: &Programs, room: &Room, name: &str) -> anyhow::Result<Self> {
        let (data, config) = (folder.join(name), folder.join(&format!("{name}.toml")));
        // One port: a browser that looks at the first page is to find the teacher's page where it was.
        let port = free_port()?;
        let text = format!(
            "[device]\ndata_dir = {data:?}\ntrust_volume = true\n[page]\nlisten = \"127.0.0.1:{port}\"\n\
             [usage]\nsocket = {:?}\n\
             [recording]\nrecorder = {:?}\nprofiles = \"{PROFILES}\"\nschemes = \"{SCHEMES}\"\n{}{}",
            data.join("run/session.sock"),
            programs.recorder,
            room.recording,
            room.sources
        );
        std::fs::write(&config, text)?;
        let env = room.env.clone();
        let process = daemon(folder, programs, &config, &env)?;
        let agent = Self { programs: programs.clone(), process, env, config, data };
        let ready = eventually(Duration::from_secs(60), "the first page", || agent.page().ok());
        ready.with_context(|| agent.process.tail_of_log())?;
        Ok(agent)
    }

    /// `lectern enrol` as a technician types it: what it says, and its exit code.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn enrol(&self, hub: &str, code: &str, more: &[&str]) -> anyhow::Result<(String, i32)> {
        let mut command = Command::new(&self.programs.lectern);
        command.envs(self.env.iter().cloned()).arg("--config").arg(&self.config);
        command.args(["enrol", "--hub", hub, "--code", code]).args(more);
        let out = command.output().context("lectern could not be started")?;
        let said = [out.stdout, out.stderr].concat();
        Ok((String::from_utf8_lossy(&said).into_owned(), out.status.code().unwrap_or(-1)))
    }

    /// Waits until the daemon runs as a room's.
    ///
    /// # Errors
    /// When it does not, with the end of the log.
    pub fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let ready = eventually(Duration::from_secs(60), "the agent's page", || self.status().ok());
        ready.with_context(|| self.process.tail_of_log()).map(drop)
    }

    /// Starts it again after it was stopped or killed.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self, folder: &Folder) -> anyhow::Result<()> {
        self.process.kill();
        // The address of the one before must not be taken for this one's.
        std::fs::remove_file(self.data.join("run/page.addr")).ok();
        self.process = daemon(folder, &self.programs, &self.config, &self.env)?;
        self.wait_until_ready()
    }

    /// Runs `lectern --json …` and gives its answer and its exit code.
    ///
    /// # Errors
    /// When it cannot be started or says nothing that is JSON.
    pub fn lectern(&self, arguments: &[&str]) -> anyhow::Result<(Value, i32)> {
        let mut command = Command::new(&self.programs.lectern);
        command.arg("--config").arg(&self.config).arg("--json").args(arguments);
        let out = command.output().context("lectern could not be started")?;
        let code = out.status.code().unwrap_or(-1);
        let said = String::from_utf8_lossy(&out.stderr);
        match serde_json::from_slice(&out.stdout) {
            Ok(value) => Ok((value, code)),
            Err(_) => bail!("lectern {} ended with {code}: {said}", arguments.join(" ")),
        }
    }

    /// Presses: `start`, `stop`, `pause`, `resume`.
    ///
    /// # Errors
    /// When it is refused.
    pub fn press(&self, action: &str) -> anyhow::Result<Value> {
        let (value, code) = self.lectern(&["record", action])?;
        ensure!(code == 0, "{action} was refused: {value}");
        Ok(value)
    }

    /// What the page is told.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn status(&self) -> anyhow::Result<Value> {
        Ok(self.lectern(&["record", "status"])?.0)
    }

    /// Waits until the shown lesson is in one of these states; gives the status.
    ///
    /// # Errors
    /// When it is not in time; says where it stood, with the end of the log.
    pub fn wait_for(&self, states: &[&str], limit: Duration) -> anyhow::Result<Value> {
        let mut last = Value::Null;
        let found = eventually(limit, &format!("state {}", states.join(" or ")), || {
            last = self.status().ok()?;
            let state = last["lesson"]["state"].as_str()?;
            states.contains(&state).then(|| last.clone())
        });
        found.with_context(|| format!("it stood at {last}\n{}", self.process.tail_of_log()))
    }

    /// Waits until so much picture is durable in the shown lesson; gives the status.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub fn wait_for_media(&self, ms: u64, limit: Duration) -> anyhow::Result<Value> {
        let found = eventually(limit, &format!("{ms} ms of picture"), || {
            self.status().ok().filter(|s| s["lesson"]["media_ms"].as_u64().is_some_and(|m| m >= ms))
        });
        found.with_context(|| self.process.tail_of_log())
    }

    /// Kills the recorder, as a driver that crashes does, and waits until the take that follows holds so much picture;
    /// gives the status.
    ///
    /// # Errors
    /// When no take follows in time.
    pub fn lose_recorder(&self, folder: &Folder, ms: u64, limit: Duration) -> anyhow::Result<Value> {
        let take = self.status()?["lesson"]["take"].as_u64().context("no take")?;
        for pid in self.recorders(folder) {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")?;
            kill_process(pid, Signal::KILL)?;
        }
        let next = eventually(limit, "the next take", || {
            let status = self.status().ok()?;
            let lesson = &status["lesson"];
            (lesson["take"].as_u64()? > take && lesson["state"] == "recording").then_some(status)
        });
        let next = next.with_context(|| self.process.tail_of_log())?;
        // What is shown is of all takes.
        self.wait_for_media(next["lesson"]["media_ms"].as_u64().unwrap_or_default() + ms, limit)
    }

    /// Address of the teacher's page.
    ///
    /// # Errors
    /// When the agent does not run.
    pub fn page(&self) -> anyhow::Result<String> {
        let address = std::fs::read_to_string(self.data.join("run/page.addr")).context("no page")?;
        Ok(format!("http://{}/", address.trim()))
    }

    /// The public keys this agent knows.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.data.join("keys.json")
    }

    /// Process ids of the recorders at work for this agent.
    #[must_use]
    pub fn recorders(&self, folder: &Folder) -> Vec<u32> {
        let is_recorder = |pid: &u32| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.split(|b| *b == 0).nth(1) == Some(b"record".as_slice()))
        };
        folder.processes().into_iter().filter(is_recorder).collect()
    }

    /// `lectern verify` of a folder with this agent's keys: the report.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn verify(&self, lesson: &Path) -> anyhow::Result<Value> {
        let (keys, lesson) = (self.keys(), lesson.to_string_lossy().into_owned());
        Ok(self.lectern(&["verify", "--keys", &keys.to_string_lossy(), &lesson])?.0)
    }
}

fn daemon(
    folder: &Folder,
    programs: &Programs,
    config: &Path,
    env: &[(String, String)],
) -> anyhow::Result<Process> {
    let mut command = Command::new(&programs.lectern);
    command.args(["run", "--config"]).arg(config).envs(env.iter().cloned());
    Process::start(folder, "agent", command)
}
