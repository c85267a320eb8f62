//! Floor 6: the command line. Parses, calls, turns outcomes into sentences and exit codes.

mod evidence;
mod token;

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use lectern_base::chance;
use lectern_base::clock;
use lectern_base::exit::Exit;
use lectern_wire::id::{DeviceId, SchoolId};
use lectern_wire::topic::Topics;

use crate::app;
use crate::config::tls::Kind;
use crate::config::{self, Config};
use crate::probe;
use crate::store::objects::bucket::Bucket;
use crate::store::{Store, StoreError, audit, authority, certificates, device_keys, devices};
use crate::{console, enrol, receive};

/// Lectern 讲台中心: receives rooms' health and lessons, keeps them, shows them.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the hub until it is told to stop.
    Run(Settings),
    /// Checks the settings file, says all its faults at once, then tries the store out and says what it can be
    /// trusted with. For an S3 store the hub goes by that from its next start on. Ends with 4 when the store is
    /// not fit for lessons.
    Check(Check),
    /// Looks after devices' accounts while the hub does not run.
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Writes man pages and shell completions into a folder laid out as /usr/share: what packages are built with.
    #[command(hide = true)]
    Papers {
        /// The folder.
        folder: PathBuf,
    },
    /// Cards that rooms enrol with.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Lists every HTTP route and who may use it, as JSON.
    #[command(hide = true)]
    Routes,
    /// Makes a new console password, prints it once, and ends all sessions.
    Password {
        #[command(flatten)]
        settings: Settings,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// The log of receipts, while the hub does not run.
    #[command(subcommand)]
    Log(evidence::LogCommand),
    /// The key that signs receipts, while the hub does not run.
    #[command(subcommand)]
    Key(evidence::KeyCommand),
}

#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    settings: Settings,
    /// Only the settings; the store is left alone.
    #[arg(long)]
    settings_only: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Settings {
    /// The settings file.
    #[arg(long, value_name = "FILE", default_value = "/etc/lectern/hub.toml")]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum DeviceCommand {
    /// Makes the account of a device that has no card, for agents behind a proxy or a broker of the school's, and prints its
    /// password once.
    Add(AddDevice),
}

#[derive(Debug, Args)]
struct AddDevice {
    #[command(flatten)]
    settings: Settings,
    /// The school's id, usually the 10-digit 学校标识码.
    #[arg(long)]
    school: String,
    /// The device's id: a-z, 0-9, - and _.
    #[arg(long)]
    device: String,
    /// The room's name as people say it, for example 301教室.
    #[arg(long)]
    room: String,
    /// Gives a device that is known already a new password. Not one that has enrolled: that gets a new card.
    #[arg(long)]
    replace: bool,
    /// With --replace: the machine was replaced, or its key may be in other hands; its next lesson brings a new
    /// signing key, and the chain of its lessons may begin anew.
    #[arg(long, requires = "replace")]
    new_key: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// An end that is not success: what to say, and the exit code.
type End = (String, Exit);

/// Does what the command line asks.
#[must_use]
pub fn run(cli: Cli) -> Exit {
    let outcome = match cli.command {
        Command::Run(settings) => load(&settings).and_then(run_hub),
        Command::Check(wish) => load(&wish.settings).and_then(|c| check(&c, &wish)),
        Command::Device(DeviceCommand::Add(wish)) => load(&wish.settings).and_then(|c| add_device(&c, &wish)),
        Command::Papers { folder } => {
            let written = lectern_base::papers::write(&folder, "lectern-hub", Cli::command());
            written.map_err(|e| (format!("{}: {e}", folder.display()), Exit::Failed))
        }
        Command::Token(asked) => token::run(asked),
        Command::Routes => routes(),
        Command::Password { settings, json } => load(&settings).and_then(|c| password(&c, json)),
        Command::Log(asked) => evidence::log(asked),
        Command::Key(asked) => evidence::key(asked),
    };
    match outcome {
        Ok(()) => Exit::Done,
        Err((sentence, exit)) => {
            eprintln!("lectern-hub: {sentence}");
            exit
        }
    }
}

fn load(settings: &Settings) -> Result<Config, End> {
    config::load(&settings.config).map_err(|e| (e.to_string(), Exit::BadSettings))
}

fn store_end(e: &StoreError) -> End {
    let exit = match e {
        StoreError::Locked(_) => Exit::AlreadyRunning,
        // Trying again cannot help.
        StoreError::Newer(_) => Exit::BadSettings,
        _ => Exit::Failed,
    };
    (e.to_string(), exit)
}

fn run_hub(config: Config) -> Result<(), End> {
    let failed = |e: String| (e, Exit::Failed);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| failed(format!("the program's threads cannot start: {e}")))?;
    let outcome = runtime.block_on(app::run(config));
    // What still runs here holds nothing that is not on the disk already.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome.map_err(|e| match e {
        app::Fault::Store(e) => store_end(&e),
        app::Fault::Port(e) => (e, Exit::AlreadyRunning),
        app::Fault::Tls(e) => (e, Exit::BadSettings),
        app::Fault::Other(e) => failed(format!("{e:#}")),
    })
}

fn check(config: &Config, wish: &Check) -> Result<(), End> {
    if let Kind::Given { certificate, key } = &config.tls.kind {
        authority::given(certificate, key).map_err(|e| (format!("tls: {e}"), Exit::BadSettings))?;
    }
    if wish.settings_only {
        println!("{}", if wish.json { r#"{"settings":"ok"}"# } else { "ok" });
        return Ok(());
    }
    let failed = |e: String| (e, Exit::Failed);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| failed(format!("the program's threads cannot start: {e}")))?;
    let (found, kind) = match &config.s3 {
        None => {
            let found = runtime.block_on(probe::files::run(&config.data_dir, config.keep_free_bytes));
            (found.map_err(|e| store_end(&e))?, "file")
        }
        Some(settings) => {
            let bucket =
                Bucket::new(settings.clone()).map_err(|e| (format!("s3: {e}"), Exit::BadSettings))?;
            let found = runtime.block_on(probe::s3::run(&bucket)).map_err(|e| failed(e.to_string()))?;
            if found.usable() {
                let record = probe::s3::record(&bucket, &found);
                crate::store::reliance::save(&config.data_dir, &record).map_err(|e| store_end(&e))?;
            }
            (found, "s3")
        }
    };
    let (usable, direct) = (found.usable(), found.direct());
    let verdict = match (usable, kind, direct) {
        (false, ..) => "The store is not fit for lessons: see the lines marked BAD.",
        (true, "file", _) => "ok: lessons are kept as files, each part checked before it counts.",
        (true, _, true) => {
            "ok: rooms send to the store themselves, by links that carry only their own bytes."
        }
        (true, _, false) => {
            "ok, with care: the store is weak where marked, so parts go through the hub, which checks them."
        }
    };
    if wish.json {
        let out = serde_json::json!({
            "settings": "ok", "store": kind, "usable": usable, "direct": direct, "findings": found.findings,
        });
        println!("{out}");
    } else {
        println!("{}\n{verdict}", found.table());
    }
    if usable { Ok(()) } else { Err((verdict.into(), Exit::NotSound)) }
}

fn add_device(config: &Config, wish: &AddDevice) -> Result<(), End> {
    let bad = |e: String| (e, Exit::BadSettings);
    let topics = Topics {
        school: SchoolId::new(&wish.school).map_err(|e| bad(e.to_string()))?,
        device: DeviceId::new(&wish.device).map_err(|e| bad(e.to_string()))?,
    };
    let room = crate::model::name::room(&wish.room)
        .ok_or_else(|| bad("a room's name has 1 to 40 characters on one line".into()))?;
    let store = Store::open(&config.data_dir).map_err(|e| {
        let (sentence, exit) = store_end(&e);
        let hint = if exit == Exit::AlreadyRunning { " (page 设备登记)" } else { "" };
        (sentence + hint, exit)
    })?;
    let password = chance::hex::<24>();
    // Its certificate would stay the only way in, and the password alone would open nothing.
    if wish.replace
        && store
            .read_now(|db| certificates::ends_ms(db, &topics.device))
            .map_err(|e| store_end(&e))?
            .is_some()
    {
        let sentence = format!(
            "the device {id} has enrolled with a card, and a password alone does not let it in: make it a new card, by 换设备 \
             on the page 设备登记 or by `lectern-hub token new --school {school} --room {room} --device {id}`, and enrol the \
             machine with it (`lectern enrol --again`, where it was enrolled before); nothing was changed",
            id = topics.device,
            school = topics.school,
        );
        return Err((sentence, Exit::Refused));
    }
    let done = store.write_now(|db| {
        if wish.replace && devices::set_password(db, &topics.device, &password)? {
            if wish.new_key {
                device_keys::release(db, &topics.device, clock::wall_ms())?;
                audit::note(
                    db,
                    "console",
                    "device_key",
                    topics.device.as_str(),
                    "released",
                    clock::wall_ms(),
                )?;
            }
            return Ok(true);
        }
        devices::add(db, &topics, &room, &password, clock::wall_ms())
    });
    if !done.map_err(|e| store_end(&e))? {
        let sentence =
            format!("the device {} is registered already; --replace gives it a new password", topics.device);
        return Err((sentence, Exit::Refused));
    }
    if wish.json {
        let out = serde_json::json!({
            "school": topics.school, "device": topics.device, "room": room, "password": password,
        });
        println!("{out}");
    } else {
        println!("device {} of school {} ({room})", topics.device, topics.school);
        println!("password: {password}");
        println!("It is not shown again. Put it into the agent's settings.");
    }
    Ok(())
}

fn routes() -> Result<(), End> {
    let all = [
        receive::routes().list(),
        receive::store_routes().list(),
        enrol::routes().list(),
        console::routes().list(),
    ];
    let text = serde_json::to_string(&all.concat()).map_err(|e| (e.to_string(), Exit::Failed))?;
    println!("{text}");
    Ok(())
}

fn password(config: &Config, json: bool) -> Result<(), End> {
    let store = Store::open(&config.data_dir).map_err(|e| store_end(&e))?;
    let password = app::set_admin_password(&store).map_err(|e| store_end(&e))?;
    if json {
        println!("{}", serde_json::json!({ "user": "admin", "password": password }));
    } else {
        println!("admin password: {password}");
    }
    Ok(())
}
