//! The command line: parse, call, exit code.

mod cameras;
mod clip;
mod devices;
mod doctor;
mod enrol;
mod export;
#[cfg(test)]
mod mangled;
mod remote;
mod usage;
mod verify;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use lectern_base::exit::Exit;
use lectern_wire::manifest::About;
use serde_json::json;

use crate::app::{self, StartError, first};
use crate::beside::share;
use crate::config::Config;
use crate::config::destination::Way;
use crate::evidence::device_key;
use crate::page;
use crate::platform::{memory, recorder};
use crate::session;
use crate::store::Store;

/// Lectern 讲台: one button, and the lesson is recorded, made into evidence and stored.
#[derive(Debug, Parser)]
#[command(name = "lectern", version)]
struct Arguments {
    /// The settings.
    #[arg(long, global = true, default_value = "/etc/lectern/agent.toml")]
    config: PathBuf,
    /// Answer in JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run the daemon (systemd does this).
    Run,
    /// Check the settings and name every fault.
    Check,
    /// Make this machine a room's, by the hub's address and the code on its card (设备登记 at the hub).
    Enrol(enrol::Enrol),
    /// Lists every HTTP route of the page and who may use it, as JSON.
    #[command(hide = true)]
    Routes,
    /// Check this machine: health, disk, recorder, clock, sources, hub, broker; and list what it could record with, with the
    /// lines for agent.toml. Or look for network cameras.
    Doctor(doctor::Wish),
    /// Look at every source now, as before a lesson; nothing is kept.
    Preflight,
    /// Press the button.
    #[command(subcommand)]
    Record(Press),
    /// List the lessons on this machine.
    Lessons,
    /// 使用记录: which periods of the last days were used, and for how long.
    Usage(usage::Usage),
    /// Tell the daemon, from inside a desktop session, how long ago there was input (the desktop starts this at login).
    Session {
        /// Where the daemon listens.
        #[arg(long, default_value = "/run/lectern/session.sock")]
        socket: PathBuf,
    },
    /// Mounted shares that lessons go to.
    #[command(subcommand)]
    Share(Share),
    /// Clips and renditions of finished lessons.
    #[command(subcommand)]
    Clip(clip::Clip),
    /// Check a lesson against its manifest and receipt; works offline.
    ///
    /// Ends with 0 when all that was checked is as it was signed, 4 when it is not (the sentences say what), 78 when
    /// the command line is wrong.
    Verify(verify::Verify),
    /// Export a lesson as 材料包: a BagIt folder, or a zip file, that any archive's tools can check.
    Export(export::Export),
    /// Check the state folder: every row against its file. The daemon must be stopped.
    Fsck,
    /// Forget the hub's keys and its log: its signing key was lost, or an old backup of it was restored. A hub that was set
    /// up anew is another one: `lectern enrol --again`, with its card. The daemon must be stopped.
    ForgetHub,
    /// Writes man pages and shell completions into a folder laid out as /usr/share: what packages are built with.
    #[command(hide = true)]
    Papers {
        /// The folder.
        folder: PathBuf,
    },
    /// Asks for a recorder at the socket that systemd keeps; the daemon's own way to it, see `platform::recorder`.
    #[command(hide = true)]
    Call {
        /// What the recorder is to do.
        #[arg(last = true)]
        words: Vec<String>,
    },
    /// Answers one such call on standard input: what lectern-recorder@.service runs.
    #[command(hide = true)]
    Answer {
        /// The recorder.
        #[arg(long, default_value = "/usr/bin/lectern-recorder")]
        recorder: PathBuf,
    },
    /// This device's signing key. The daemon must be stopped.
    #[command(subcommand)]
    Key(Key),
}

#[derive(Debug, Subcommand)]
enum Key {
    /// Make a new key; the old one signs it, and the hub accepts it by that with the next lesson.
    Rotate,
}

#[derive(Debug, Subcommand)]
enum Share {
    /// Put the marker on a share that is mounted, so that it is told from one that is not. Once.
    Prepare {
        /// The destination's name.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
enum Press {
    /// Begin a lesson.
    Start {
        /// 直播: also send it to the live server of the settings.
        #[arg(long)]
        live: bool,
        #[command(flatten)]
        words: Words,
    },
    /// End it.
    Stop {
        /// Wait at most so many seconds until it is checked and signed too; well when nothing is recorded.
        #[arg(long, value_name = "SECONDS")]
        wait: Option<u16>,
    },
    /// Stand still.
    Pause,
    /// Go on.
    Resume,
    /// Note this moment.
    Mark {
        /// A word to find it by.
        #[arg(default_value = "")]
        word: String,
    },
    /// Compose the picture in another way: screen, screen+camera, side-by-side, camera, two-cameras.
    Layout {
        /// Which.
        layout: String,
    },
    /// 直播: send the lesson to the live server of the settings from now on, or no more.
    Live {
        /// Which.
        to: Switch,
    },
    /// Go on for ten minutes more after the bell.
    Extend,
    /// Say where it stands.
    Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// What is said about a lesson.
#[derive(Debug, Args)]
struct Words {
    /// 教师
    #[arg(long, default_value = "")]
    teacher: String,
    /// 工号
    #[arg(long, default_value = "")]
    teacher_id: String,
    /// 班级
    #[arg(long, default_value = "")]
    class: String,
    /// 学科
    #[arg(long, default_value = "")]
    subject: String,
    /// 课题
    #[arg(long, default_value = "")]
    topic: String,
    /// 节次
    #[arg(long, default_value = "")]
    period: String,
    /// 认证点
    #[arg(long, default_value = "")]
    scheme_point: String,
}

impl From<Words> for About {
    fn from(w: Words) -> Self {
        Self {
            teacher_id: w.teacher_id,
            teacher: w.teacher,
            class: w.class,
            subject: w.subject,
            topic: w.topic,
            period: w.period,
            scheme_point: w.scheme_point,
        }
    }
}

/// Parses the command line, does what it says, gives the exit code.
pub fn run() -> Exit {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(e) => {
            let asked = !e.use_stderr();
            if let Err(e) = e.print() {
                tracing::debug!("nobody listens: {e}");
            }
            return if asked { Exit::Done } else { Exit::BadSettings };
        }
    };
    let json = arguments.json;
    match arguments.command {
        What::Run => daemon(&arguments.config),
        What::Check => check(&arguments.config, json),
        What::Enrol(asked) => enrol::run(&arguments.config, &asked, json),
        What::Routes => routes(),
        What::Doctor(wish) if wish.search.wanted() => wish.search.run(json),
        What::Doctor(wish) => {
            with_config(&arguments.config, |config| doctor::run(&arguments.config, &config, &wish, json))
        }
        What::Record(press) => with_config(&arguments.config, |config| {
            let body = match press {
                Press::Start { live, words } => {
                    json!({ "action": "start", "about": About::from(words), "live": live })
                }
                Press::Live { to } => json!({ "action": "live", "live": to == Switch::On }),
                Press::Stop { wait: None } => json!({ "action": "stop" }),
                Press::Stop { wait: Some(most) } => {
                    return remote::stop(&config.device.data_dir, Duration::from_secs(most.into()), json);
                }
                Press::Pause => json!({ "action": "pause" }),
                Press::Resume => json!({ "action": "resume" }),
                Press::Mark { word } => json!({ "action": "mark", "word": word }),
                Press::Layout { layout } => json!({ "action": "layout", "layout": layout }),
                Press::Extend => json!({ "action": "extend" }),
                Press::Status => return remote::status(&config.device.data_dir, json),
            };
            remote::press(&config.device.data_dir, &body, json)
        }),
        What::Preflight => {
            with_config(&arguments.config, |config| remote::preflight(&config.device.data_dir, json))
        }
        What::Lessons => {
            with_config(&arguments.config, |config| remote::lessons(&config.device.data_dir, json))
        }
        What::Usage(asked) => {
            with_config(&arguments.config, |config| usage::run(&config.device.data_dir, &asked, json))
        }
        What::Session { socket } => helper(&socket),
        What::Share(Share::Prepare { name }) => {
            with_config(&arguments.config, |config| prepare(&config, &name, json))
        }
        What::Clip(asked) => {
            with_config(&arguments.config, |config| clip::run(&config.device.data_dir, &asked, json))
        }
        What::Verify(asked) => verify::run(&arguments.config, &asked, json),
        What::Export(asked) => with_config(&arguments.config, |config| export::run(&config, &asked, json)),
        What::Papers { folder } => {
            match lectern_base::papers::write(&folder, "lectern", Arguments::command()) {
                Ok(()) => Exit::Done,
                Err(e) => fail(&format!("{}: {e}", folder.display())),
            }
        }
        What::Call { words } => for_recorder(recorder::call(words)),
        What::Answer { recorder: program } => answer(&program),
        What::Fsck => with_store(&arguments.config, |store| fsck(store, json)),
        What::Key(Key::Rotate) => with_config(&arguments.config, |config| {
            with_store(&arguments.config, |store| match device_key::rotate(store, &config.device.id) {
                Ok((old, new)) => say(
                    json,
                    &serde_json::json!({ "old": old, "new": new }),
                    &format!(
                        "this device signs with key {new} from now on; what key {old} signed stays valid"
                    ),
                ),
                Err(e) => fail(&e),
            })
        }),
        What::ForgetHub => with_store(&arguments.config, |store| match app::forget_hub(store) {
            Ok(()) => say(
                json,
                &serde_json::json!({ "forgotten": true }),
                "the hub's key is forgotten; the next hub is remembered",
            ),
            Err(e) => fail(&e.to_string()),
        }),
    }
}

/// Prints for people or for programs.
#[expect(clippy::print_stdout, reason = "what a command line says")]
fn say(json: bool, value: &serde_json::Value, text: &str) -> Exit {
    if json {
        println!("{value}");
    } else {
        println!("{text}");
    }
    Exit::Done
}

#[expect(clippy::print_stderr, reason = "what a command line says")]
fn fail(text: &str) -> Exit {
    eprintln!("lectern: {text}");
    Exit::Failed
}

fn with_config(path: &Path, work: impl FnOnce(Config) -> Exit) -> Exit {
    match Config::load(path) {
        Ok(config) => work(config),
        Err(faults) => bad_settings(path, &enrol::instead(path, faults)),
    }
}

fn bad_settings(path: &Path, faults: &[String]) -> Exit {
    for fault in faults {
        fail(&format!("{}: {fault}", path.display()));
    }
    Exit::BadSettings
}

fn with_store(path: &Path, work: impl FnOnce(&Store) -> Exit) -> Exit {
    with_config(path, |config| {
        match Store::open(&config.device.data_dir, u64::from(config.outbox.max_mib) << 20) {
            Ok(store) => work(&store),
            Err(e @ crate::store::StoreError::InUse(_)) => {
                fail(&e.to_string());
                Exit::AlreadyRunning
            }
            Err(e) => fail(&e.to_string()),
        }
    })
}

fn daemon(path: &Path) -> Exit {
    if let Err(e) = lectern_base::log::start("lectern") {
        fail(&format!("logs could not be set up: {e}"));
        return Exit::BadSettings;
    }
    lectern_base::panics::watch();
    memory::share_heap();
    // Two workers: a page that is looked at and an upload do not wait for each other.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => return fail(&format!("the runtime could not be started: {e}")),
    };
    match enrol::nobody_yet(path) {
        Ok(None) => {}
        Ok(Some(first)) => match runtime.block_on(first::run(first)) {
            Ok(first::End::Enrolled) => {}
            Ok(first::End::Stopped) => return Exit::Done,
            Err(e) => return not_started(&e),
        },
        Err(faults) => return bad_settings(path, &faults),
    }
    with_config(path, |config| {
        lectern_base::log::always("ROOM", &config.device.room);
        // On a worker: the main thread then sleeps until the end, and is not woken beside the workers.
        let file = path.to_owned();
        let daemon = runtime.spawn(async move { app::run(config, &file).await });
        let broke_off = |e| Err(StartError::Failed(anyhow::anyhow!("the daemon broke off: {e}")));
        match runtime.block_on(daemon).unwrap_or_else(broke_off) {
            Ok(()) => Exit::Done,
            Err(e) => not_started(&e),
        }
    })
}

fn not_started(e: &StartError) -> Exit {
    tracing::error!("{e}");
    fail(&e.to_string());
    match e {
        StartError::AlreadyRunning(_) => Exit::AlreadyRunning,
        StartError::Settings(_) => Exit::BadSettings,
        StartError::Failed(_) => Exit::Failed,
    }
}

fn routes() -> Exit {
    let all = json!({ "page": page::routes().list(), "first": page::first::routes().list() });
    say(true, &all, "")
}

/// The helper in a user's session: no runtime, no settings, which only the daemon may read.
fn helper(socket: &Path) -> Exit {
    if let Err(e) = lectern_base::log::start("lectern-session") {
        return fail(&format!("logs could not be set up: {e}"));
    }
    match session::run(socket) {
        Ok(()) => Exit::Done,
        Err(why) => fail(&why),
    }
}

/// One end of a call for a recorder: small, so one thread.
fn for_recorder(work: impl Future<Output = Result<Exit, String>>) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| e.to_string()).and_then(|runtime| runtime.block_on(work)).unwrap_or_else(|e| fail(&e))
}

fn answer(program: &Path) -> Exit {
    use std::os::fd::AsFd as _;
    match std::io::stdin().as_fd().try_clone_to_owned() {
        Ok(connection) => for_recorder(recorder::answer(program, connection)),
        Err(e) => fail(&format!("there is no caller: {e}")),
    }
}

fn check(path: &Path, json: bool) -> Exit {
    if let Ok(Some(_)) = crate::config::enrolled::first(path) {
        let text = format!(
            "{}: ok; this machine is no room's yet: enrol it with `lectern enrol`, or on its page",
            path.display()
        );
        return say(json, &serde_json::json!({ "ok": true, "faults": [], "enrolled": false }), &text);
    }
    let whole = Config::load(path).and_then(|config| {
        let faults = [config.profiles().err(), config.schemes().err(), config.timetable().err()];
        let faults: Vec<_> = faults.into_iter().flatten().flatten().collect();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    });
    match whole {
        Ok(()) => {
            say(json, &serde_json::json!({ "ok": true, "faults": [] }), &format!("{}: ok", path.display()))
        }
        Err(faults) => {
            let text = faults.join("\n");
            say(json, &serde_json::json!({ "ok": false, "faults": faults }), &text);
            Exit::BadSettings
        }
    }
}

fn prepare(config: &Config, name: &str, json: bool) -> Exit {
    let found = config.destinations.iter().find(|d| d.name == name).map(|d| &d.way);
    let Some(Way::Folder { path }) = found else {
        return fail(&format!("the settings have no destination {name:?} of kind \"folder\""));
    };
    match share::prepare(path) {
        Ok(()) => say(
            json,
            &serde_json::json!({ "prepared": path }),
            &format!("{} is prepared: lessons go there from now on", path.display()),
        ),
        Err(e) => fail(&e),
    }
}

fn fsck(store: &Store, json: bool) -> Exit {
    match crate::store::fsck::check(store) {
        Ok(found) if found.is_empty() => {
            say(json, &serde_json::json!({ "ok": true, "found": [] }), "every row fits its file")
        }
        Ok(found) => {
            say(json, &serde_json::json!({ "ok": false, "found": found }), &found.join("\n"));
            Exit::NotSound
        }
        Err(e) => fail(&e.to_string()),
    }
}
