//! Wires everything top to bottom and tears it down in reverse. A machine that is no room's yet begins with [`first`].

pub mod first;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use lectern_base::{clock, disk};
use lectern_wire::sign::PublicKey;
use lectern_wire::telemetry::Info;
use lectern_wire::topic::Topics;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::afterwards::{self, Desk};
use crate::beforehand::{preflight, reminder};
use crate::config::Config;
use crate::config::enrolled::Enrolled;
use crate::evidence::{device_key, known_keys};
use crate::model::telling::Dialect;
use crate::page::{self, Page};
use crate::platform::rest::{self, Beat};
use crate::platform::{host::Host, http, identity, machine, memory, notify, tls::Trust};
use crate::sense::collect::Scope;
use crate::store::deliveries::HUB;
use crate::store::line::Line;
use crate::store::{Store, StoreError};
use crate::{
    alarm, beside, command, desired, enrol, evidence, home, key, publish, reclaim, record, render, sense,
    upload, usage,
};

/// How long everything together may take to stop.
const GRACE: Duration = Duration::from_secs(8);

/// How often memory that is not needed is given back, first when the start is over.
const REST_EVERY: Duration = Duration::from_secs(10 * 60);

/// How often it is looked whether all stages are alive, at least.
const LOOK_EVERY: Duration = rest::STEP;

/// For what is to be told before the daemon ends by itself.
const LAST_WORD: Duration = Duration::from_secs(3);

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another daemon is running.
    #[error("{0}")]
    AlreadyRunning(String),
    /// Settings or files need a hand.
    #[error("{0}")]
    Settings(String),
    /// Anything else.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

/// The file that names the page's address, for the CLI.
pub fn address_file(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join("run").join("page.addr")
}

/// A named task, so that a slow end can be told by name.
struct Task(&'static str, JoinHandle<()>);

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// [`StartError`] when it cannot start; once started it ends without error.
pub async fn run(config: Config, config_file: &Path) -> Result<(), StartError> {
    let data_dir = config.device.data_dir.clone();
    let outbox_bytes = u64::from(config.outbox.max_mib) << 20;
    let store = Store::open(&data_dir, outbox_bytes).map_err(|e| match e {
        StoreError::InUse(_) => StartError::AlreadyRunning(e.to_string()),
        StoreError::Newer { .. } => StartError::Settings(e.to_string()),
        e => StartError::Failed(e.into()),
    })?;
    if let Some(enrolled) = &config.enrolled {
        take_up(&store, enrolled)?;
    }
    let key = device_key::open(&store).map_err(StartError::Settings)?;
    let rotations = device_key::rotations(&store).context("this device's keys cannot be read")?;
    let public = PublicKey::of(&key);
    let hub = match &config.hub {
        Some(hub) => {
            Some((hub.clone(), identity::password(&hub.password_file).map_err(StartError::Settings)?))
        }
        None => None,
    };
    let told = match &config.thingsboard {
        Some(to) => {
            let token = identity::password(&to.token_file).map_err(StartError::Settings)?;
            Some((to.url.clone(), token, Dialect::ThingsBoard))
        }
        None => hub.as_ref().map(|(hub, password)| (hub.mqtt.clone(), password.clone(), Dialect::Lectern)),
    };
    let files = config.hub.as_ref().map(|hub| hub.tls.clone()).unwrap_or_default();
    let trust = Arc::new(Trust::new(files));
    let proxy = match &config.upload.proxy {
        Some(url) => {
            let login = config.upload.proxy_password_file.as_deref().map(identity::password);
            Some(upload::Proxy { url: url.clone(), login: login.transpose().map_err(StartError::Settings)? })
        }
        None => None,
    };
    let faulty = |faults: Vec<String>| StartError::Settings(faults.join("; "));
    let profiles = config.profiles().map_err(faulty)?;
    let schemes = config.schemes().map_err(faulty)?;
    let timetable = config.timetable().map_err(faulty)?;
    if store.is_kept() {
        device_key::vouch_for_waiting(&store, &key).context("what waits cannot be looked at")?;
        known_keys::write(&store, public)?;
    }
    let handed = desired::Settings {
        topics: Topics { school: config.device.school.clone(), device: config.device.id.clone() },
        own: timetable.map(Arc::new),
        limits: config.alarm.clone(),
    };
    desired::begin(&store, &handed).context("what the hub handed down cannot be read")?;
    require(&config, &store).context("stored lessons cannot be told from others")?;
    let volume = home::look(&store, config.device.trust_volume).context("this boot cannot be counted")?;
    let (listener, address) =
        listen(config.page.listen, store.is_kept().then_some(data_dir.as_path())).await?;
    tracing::info!(device = %config.device.id, room = config.device.room, key = public.id(), page = %address, "lectern starts");

    // Two tokens: the stages end first, the page last, so that it can still say what is going on.
    let (stages, door) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks = Vec::new();
    let mut spawn = |name: &'static str, task: JoinHandle<()>| tasks.push(Task(name, task));

    let settings = record::Settings {
        recorder: config.recording.recorder.clone(),
        capture: config.recording.capture.clone(),
        live: config.live.clone(),
        before: record::Wanted {
            armed: config.recording.armed || config.recording.ring_s > 0,
            ring_s: config.recording.ring_s,
        },
        max_minutes: config.recording.max_minutes,
        reserve_minutes: config.recording.reserve_minutes,
        bytes_per_minute: config.bytes_per_minute(),
        end_after_bell: seconds(config.school_day.end_after_bell_s),
    };
    let (driver, handle) = record::Driver::new(store.clone(), settings);
    spawn("record", tokio::spawn(driver.run(stages.clone())));
    let settings = evidence::Settings {
        school: config.device.school.clone(),
        device: config.device.id.clone(),
        room: config.device.room.clone(),
        recorder: config.recording.recorder.clone(),
        key: key.clone(),
        full_check: config.recording.full_check,
        profiles: profiles.clone(),
    };
    spawn("evidence", tokio::spawn(evidence::run(store.clone(), settings, stages.clone())));
    let scope = scope(&config, store.line().clone());
    let settings = usage::Settings {
        rule: config.usage.rule,
        apps: config.usage.apps.clone(),
        socket: config.usage.socket.clone(),
        host: scope.host.clone(),
    };
    spawn("usage", tokio::spawn(usage::run(store.clone(), settings, stages.clone())));
    if let Some((hub, password)) = hub {
        let way = proxy.as_ref().map(|proxy| (proxy.url.clone(), proxy.login.clone()));
        let http = Arc::new(http::Client::new(hub.url.clone(), way, Arc::clone(&trust)));
        let asked = home::Hub {
            url: hub.url.clone(),
            device: config.device.id.clone(),
            password: password.clone(),
            http: Arc::clone(&http),
        };
        spawn("home", tokio::spawn(home::run(store.clone(), volume, asked, stages.clone())));
        let renewal = enrol::renew::Settings {
            url: hub.url.clone(),
            device: config.device.id.clone(),
            password: password.clone(),
            http: Arc::clone(&http),
            trust: Arc::clone(&trust),
        };
        spawn("renewal", tokio::spawn(enrol::renew::run(store.clone(), renewal, stages.clone())));
        let keys = (store.clone(), public);
        let pinned = move || known_keys::write(&keys.0, keys.1).map_err(|e| e.to_string());
        let settings = upload::hub::Settings {
            url: hub.url,
            device: config.device.id.clone(),
            password,
            key: public,
            rotations,
            machine: machine::marks(&config.sense.host.join("sys")),
        };
        let known = Some((settings.url.clone(), Arc::clone(&trust)));
        let road = Arc::new(upload::Road::new(proxy.clone(), known));
        let ask = settings.url.join("/api/v1/ping").ok().filter(|_| !config.upload.whole_line);
        let url = settings.url.clone();
        let to_hub =
            upload::hub::Hub::new(settings, store.clone(), road.clone(), Arc::clone(&http), Box::new(pinned));
        spawn("hub time", tokio::spawn(sense::hub_time(store.clone(), http, url, stages.clone())));
        let destination = upload::Destination::Hub(to_hub);
        let settings = upload::Settings { destination, road, schedule: config.upload.schedule, ask };
        spawn("upload", tokio::spawn(upload::run(store.clone(), settings, stages.clone())));
    }
    if let Some((url, password, dialect)) = told {
        let settings = publish::Settings {
            url,
            topics: Topics { school: config.device.school.clone(), device: config.device.id.clone() },
            password,
            info: inventory(&config, &scope.host, public),
            dialect,
            trust,
            discovery: config.home_assistant.clone().filter(|_| dialect == Dialect::Lectern),
        };
        spawn("publish", tokio::spawn(publish::run(store.clone(), settings, stages.clone())));
    }
    let place = beside::work::Place {
        school: config.device.school.to_string(),
        device: config.device.id.to_string(),
    };
    for settings in config.destinations.clone() {
        spawn("beside", tokio::spawn(beside::run(store.clone(), settings, place.clone(), stages.clone())));
    }
    let interval = Duration::from_secs(config.sense.interval_s.into());
    let settings = sense::Settings { interval, scope };
    spawn("sense", tokio::spawn(sense::run(store.clone(), settings, stages.clone())));
    spawn("desired", tokio::spawn(desired::run(store.clone(), handed, stages.clone())));
    spawn("alarm", tokio::spawn(alarm::run(store.clone(), stages.clone())));
    let settings = reclaim::Settings {
        keep_days: config.recording.keep_stored_days,
        keep_free_bytes: u64::from(config.recording.keep_free_mib) << 20,
    };
    spawn("reclaim", tokio::spawn(reclaim::run(store.clone(), settings, stages.clone())));
    let settings = render::Settings {
        recorder: config.recording.recorder.clone(),
        profiles: profiles.into(),
        school: config.device.school_text().into(),
        reserve_bytes: config.bytes_per_minute() * u64::from(config.recording.reserve_minutes),
    };
    spawn("render", tokio::spawn(render::run(store.clone(), settings.clone(), stages.clone())));
    let clips = render::Desk { store: store.clone(), settings };
    if let Err(e) = afterwards::resume(&store) {
        tracing::error!("a lesson that was thrown away could not be removed: {e}");
    }
    let preflight = before_lessons(&config, &store, &stages, &mut spawn);
    let restart = Arc::new(Notify::new());
    let command = (config.hub.is_some() && !config.commands.off).then(|| {
        let settings = command::Settings {
            topics: Topics { school: config.device.school.clone(), device: config.device.id.clone() },
            config: config_file.to_owned(),
            wake_address: config.commands.wake_address,
            countdown: Duration::from_secs(config.commands.countdown_s.into()),
            systemctl: "systemctl".into(),
            projector: config.projector.clone(),
            look_now: {
                let preflight = preflight.clone();
                Arc::new(move || preflight.now())
            },
            restart: Arc::clone(&restart),
        };
        let (stage, handle) = command::Stage::new(store.clone(), settings);
        spawn("command", tokio::spawn(stage.run(stages.clone())));
        handle
    });
    if config.key.on {
        let settings =
            key::Settings { device: config.key.device.clone(), code: config.key.code, hold: config.key.hold };
        spawn("key", tokio::spawn(key::run(store.clone(), handle.clone(), settings, stages.clone())));
    }
    let layouts = config.recording.capture.layouts().collect();
    let alive = handle.clone();
    let page = Page {
        layouts,
        store: store.clone(),
        driver: handle,
        desk: Desk { store: store.clone(), key, schemes: schemes.into() },
        clips,
        preflight,
        command,
        room: config.device.room.clone().into(),
        can_live: config.live.is_some(),
        metrics: config.page.metrics,
        stop: door.clone(),
    };
    let serving = tokio::spawn(async move {
        if let Err(e) = page::serve(listener, page).await {
            tracing::error!("the page ended: {e}");
        }
    });

    notify::tell("READY=1");
    tokio::select! {
        () = wait_for_end(&tasks, &store, &alive) => {}
        () = restart.notified() => tracing::info!("the hub asked for a restart; systemd starts the daemon again"),
    }
    notify::tell("STOPPING=1");
    stages.cancel();
    drain(tasks).await;
    door.cancel();
    drain(vec![Task("page", serving)]).await;
    if let Err(e) = store.outbox().flush() {
        tracing::error!("fresh samples could not be kept: {e}");
    }
    tracing::info!("lectern has ended; a recorder at work goes on and is found again");
    Ok(())
}

/// Forgets the hub this machine knows: its keys, its log, what it handed down. The next one is remembered.
///
/// # Errors
/// [`StoreError`].
pub fn forget_hub(store: &Store) -> Result<(), StoreError> {
    store.forget_hub_keys()?;
    store.forget_desired()?;
    upload::forget_log(store)
}

/// What enrolment brought, once.
fn take_up(store: &Store, enrolled: &Enrolled) -> Result<(), StartError> {
    const WHAT: &str = "what enrolment brought cannot be taken up";
    if enrol::is_taken_up(store, enrolled).context(WHAT)? {
        return Ok(());
    }
    device_key::registered(store).map_err(StartError::Settings)?;
    enrol::begin(store, enrolled, forget_hub).context(WHAT)?;
    Ok(())
}

/// Says which destinations must confirm a lesson; lessons that lack none of them any more are stored.
fn require(config: &Config, store: &Store) -> Result<(), StoreError> {
    let hub = config.hub.iter().map(|_| HUB.to_owned());
    let others = config.destinations.iter().filter(|d| d.required).map(|d| d.name.clone());
    store.require(hub.chain(others).collect());
    for id in store.settle_all()? {
        tracing::info!(lesson = %id, "stored: what was still missing is no longer required");
        store.tell_stored(&id);
    }
    Ok(())
}

/// Starts what looks at the sources between lessons.
fn before_lessons(
    config: &Config,
    store: &Store,
    stop: &CancellationToken,
    spawn: &mut impl FnMut(&'static str, JoinHandle<()>),
) -> preflight::Handle {
    let (recorder, capture) = (config.recording.recorder.clone(), config.recording.capture.clone());
    if config.school_day.speech_reminder {
        let settings = reminder::Settings { recorder: recorder.clone(), capture: capture.clone() };
        spawn("reminder", tokio::spawn(reminder::run(store.clone(), settings, stop.clone())));
    }
    let before_bell = jiff::SignedDuration::from_mins(config.school_day.preflight_before_bell_min.into());
    let armed = config.recording.armed || config.recording.ring_s > 0;
    let settings = preflight::Settings { recorder, capture, armed, before_bell };
    let (stage, handle) = preflight::Stage::new(store.clone(), settings);
    spawn("preflight", tokio::spawn(stage.run(stop.clone())));
    handle
}

/// Seconds as a setting gives them; 0 is never.
fn seconds(n: u32) -> Option<Duration> {
    (n > 0).then(|| Duration::from_secs(n.into()))
}

/// Takes the page's port, and says in a file which it is, where the data folder can be written.
async fn listen(
    address: SocketAddr,
    data_dir: Option<&Path>,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let listener = TcpListener::bind(address).await.map_err(|e| match e.kind() {
        std::io::ErrorKind::AddrInUse => {
            StartError::AlreadyRunning(format!("{address} is in use by another program"))
        }
        _ => StartError::Settings(format!("page.listen: {address}: {e}")),
    })?;
    let address = listener.local_addr().context("the page has no address")?;
    if let Some(data_dir) = data_dir {
        let file = address_file(data_dir);
        disk::replace(&file, address.to_string().as_bytes()).with_context(|| file.display().to_string())?;
    }
    Ok((listener, address))
}

/// What is measured, by the settings.
#[must_use]
pub fn scope(config: &Config, line: Arc<Line>) -> Scope {
    Scope {
        host: Host::at(&config.sense.host),
        data_dir: config.device.data_dir.clone(),
        projector: config.projector.clone(),
        line,
    }
}

fn inventory(config: &Config, host: &Host, key: PublicKey) -> Info {
    let (cpu, cpu_count, memory_bytes, os, kernel) = host.inventory();
    Info {
        ts: clock::wall_ms(),
        room: config.device.room.clone(),
        agent_version: env!("CARGO_PKG_VERSION").into(),
        os,
        kernel,
        cpu,
        cpu_count,
        memory_bytes,
        key,
        recorder: config.recording.recorder.is_file(),
        projector: config.projector.is_some(),
    }
}

/// Until a signal, or until a stage ends that should not have; meanwhile systemd is told that all is well, each time the
/// store and the recording have answered.
async fn wait_for_end(tasks: &[Task], store: &Store, driver: &record::Handle) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return tracing::error!("signals cannot be watched");
    };
    let beat = async {
        let mut beat = Beat::every(notify::watchdog().unwrap_or(LOOK_EVERY).min(LOOK_EVERY));
        let mut rest_at = clock::mono() + LOOK_EVERY / 2;
        loop {
            beat.next().await;
            if let Some(name) = ended_by_itself(tasks) {
                // A half-dead daemon helps nobody: systemd starts a whole one.
                return tracing::error!(stage = name, "a stage has ended by itself; the daemon ends");
            }
            if store.could_be_kept() {
                tracing::info!(
                    "the disk can be written again; the daemon ends, to begin anew on what is there"
                );
                alarm::take_back_read_only(store);
                return tokio::time::sleep(LAST_WORD).await;
            }
            match tokio::time::timeout(LOOK_EVERY, answers(store, driver)).await {
                Ok(true) => notify::tell("WATCHDOG=1"),
                Ok(false) => tracing::error!(
                    "the store or the recording cannot answer; systemd is not told that all is well"
                ),
                Err(_) => {
                    tracing::error!(
                        "the store or the recording did not answer in {} s",
                        LOOK_EVERY.as_secs()
                    );
                }
            }
            let live = store.board().read().lesson.is_some_and(|lesson| lesson.state.is_live());
            if !live && clock::mono() >= rest_at {
                rest_at = clock::mono() + REST_EVERY;
                memory::come_to_rest();
            }
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = beat => {}
    }
}

/// The first stage that has ended, in order or by a panic.
fn ended_by_itself(tasks: &[Task]) -> Option<&'static str> {
    tasks.iter().find(|Task(_, task)| task.is_finished()).map(|Task(name, _)| *name)
}

/// Whether a row can be read and the driver of the recording takes a question.
async fn answers(store: &Store, driver: &record::Handle) -> bool {
    let asked = store.clone();
    let row = tokio::task::spawn_blocking(move || asked.waiting_lessons().is_ok());
    let (row, answer) = tokio::join!(row, driver.ask(record::Ask::Alive));
    row.unwrap_or(false) && matches!(answer, crate::model::answer::Answer::Done(_))
}

/// Waits for tasks, naming those that are slow; after [`GRACE`] they are cut off.
async fn drain(tasks: Vec<Task>) {
    let give_up = clock::mono() + GRACE;
    for Task(name, mut task) in tasks {
        loop {
            let left = give_up.saturating_sub(clock::mono());
            let step = left.min(Duration::from_secs(2));
            match tokio::time::timeout(step, &mut task).await {
                Ok(Ok(())) => break,
                Ok(Err(e)) => {
                    tracing::error!(stage = name, "the stage had broken off: {e}");
                    break;
                }
                Err(_) if left.is_zero() => {
                    tracing::error!(stage = name, "the stage did not end in time and is cut off");
                    task.abort();
                    break;
                }
                Err(_) => tracing::warn!(
                    stage = name,
                    left_s = left.as_secs(),
                    "still waiting for the stage to end"
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stage_that_panics_is_noticed_by_name() {
        let mut tasks = vec![Task("sense", tokio::spawn(std::future::pending()))];
        tasks.push(Task("upload", tokio::spawn(async { panic!("on purpose") })));
        tasks.push(Task("publish", tokio::spawn(std::future::pending())));
        assert_eq!(ended_by_itself(&tasks[..1]), None);
        tokio::time::timeout(Duration::from_secs(10), async {
            while ended_by_itself(&tasks) != Some("upload") {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("noticed");
    }
}
