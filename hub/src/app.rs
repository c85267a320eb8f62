//! Floor 5: wires the hub from bottom to top, and takes it down in reverse, a log line each.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use lectern_base::{chance, clock, disk};
use lectern_wire::log::Salt;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::{self, Front};
use crate::command;
use crate::config::Config;
use crate::config::tls::Kind;
use crate::console;
use crate::door::tls::{Source, Tls, TlsFault};
use crate::door::{Http, Peer, names};
use crate::enrol::{self, desk::Desk};
use crate::hand;
use crate::ingest;
use crate::model::barred::Barred;
use crate::model::bell::Bell;
use crate::model::count::Counts;
use crate::model::retention::Retention;
use crate::notify;
use crate::probe;
use crate::receive::{self, Receive};
use crate::store::authority::Authority;
use crate::store::keys::Keys;
use crate::store::objects::Objects;
use crate::store::objects::bucket::Bucket;
use crate::store::reliance::{self, Reliance};
use crate::store::{Store, StoreError, devices, log, people, usage};
use crate::watch;

/// How long each part of the hub may take to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether all of it is alive.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// Before an S3 store that did not answer is tried again.
const PROBE_AGAIN: Duration = Duration::from_secs(10);
/// Messages between broker and ingest; when it is full, devices wait for their acknowledgement.
const WAITING: usize = 1024;

/// Why the hub does not run.
#[derive(Debug)]
pub enum Fault {
    /// A certificate that was given, or TLS itself.
    Tls(String),
    /// The data folder.
    Store(StoreError),
    /// A port that somebody else has.
    Port(String),
    /// Anything else.
    Other(anyhow::Error),
}

impl From<StoreError> for Fault {
    fn from(e: StoreError) -> Self {
        Self::Store(e)
    }
}

impl From<anyhow::Error> for Fault {
    fn from(e: anyhow::Error) -> Self {
        Self::Other(e)
    }
}

/// A hub with its ports taken.
pub struct Hub {
    http: Http,
    tls: Option<Tls>,
    enrol: enrol::Enrol,
    local: (UnixListener, Desk),
    broker: Front,
    ingest: ingest::Deps,
    watch: watch::Deps,
    command: command::Deps,
    hand: hand::Deps,
    pub(crate) receive: Receive,
    retention: Retention,
    read_back: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
    upkeep: Upkeep,
    console: console::Deps,
    /// Asked whether it answers.
    watched: Store,
    /// Where the console and the API answer.
    pub http_port: u16,
    /// Where the broker answers.
    pub mqtt_port: u16,
}

/// Opens everything a hub needs, bottom to top. Nothing answers yet.
///
/// # Errors
/// [`Fault`].
pub async fn open(config: &Config) -> Result<Hub, Fault> {
    let store = Store::open(&config.data_dir)?;
    let mut keys = Keys::open(&config.data_dir)?;
    let bucket = config.s3.clone().map(Bucket::new).transpose().map_err(|e| anyhow::anyhow!("s3: {e}"))?;
    let objects =
        Objects::open(&config.data_dir, bucket).map_err(StoreError::io("opening the file store"))?;
    receive::recover::run(&store, &objects)?;
    let reliance = Reliance::default();
    let probed = match &config.s3 {
        Some(settings) => reliance::load(&config.data_dir, settings)?,
        None => None,
    };
    if let Some(record) = &probed {
        reliance.set(record);
    }
    let now = clock::wall_ms();
    let signer = keys.signer(&store, &config.data_dir, now)?;
    let new = store.write_now(|db| log::catch_up(db, &signer, || Salt::new(chance::bytes()), now))?;
    if new > 0 {
        tracing::info!("{new} receipts from before were brought into the log");
    }
    let rows = store.write_now(|db| usage::catch_up(db, now))?;
    if rows > 0 {
        tracing::info!("{rows} events about use from before were brought into the register");
    }
    store.write_now(|db| devices::all_lost(db, now))?;
    if store.read_now(people::password_hash)?.is_none() {
        let password = set_admin_password(&store)?;
        println!("admin password: {password}");
    }

    let authority = Authority::open(&config.data_dir, now)?;
    let tls = speaks_tls(config).then(|| Tls::open(authority.clone(), source(config))).transpose();
    let tls = tls.map_err(|e| match e {
        TlsFault::Store(e) => Fault::Store(e),
        e => Fault::Tls(e.to_string()),
    })?;
    let ca = trusted(config, &authority)?;
    let barred = Barred::default();
    let (counts, bell) = (Arc::new(Counts::default()), Bell::default());
    let (arrivals_in, arrivals) = mpsc::channel(WAITING);
    let (downs_in, downs) = mpsc::channel(WAITING);
    let deps = broker::Deps {
        store: store.clone(),
        arrivals: arrivals_in,
        downs,
        counts: Arc::clone(&counts),
        barred: barred.clone(),
        tls: tls.clone().filter(|_| config.mqtt_tls()),
    };
    let broker = Front::open(config, deps).await.map_err(Fault::Port)?;
    let http = TcpListener::bind(config.http_listen).await.map_err(|e| {
        Fault::Port(format!("HTTP cannot listen on {}: {e}; choose another http.listen", config.http_listen))
    })?;
    let http_port = http.local_addr().context("the HTTP port is unknown")?.port();
    let http =
        Http::new(http, tls.clone().filter(|_| config.http_tls())).context("the HTTP port is unknown")?;
    let mqtt_port = broker.port();
    let fingerprint = authority.fingerprint()?;
    let called = config.clone();
    let called = move || names::on_cards(&called, http_port);
    let desk = Desk::new(store.clone(), called, fingerprint.clone());
    let local = enrol::local::open(&config.data_dir).map_err(StoreError::io("opening hub.sock"))?;
    let enrol = enrol::Enrol::new(enrol::Deps {
        store: store.clone(),
        authority: authority.clone(),
        ca,
        hub_key: signer.public(),
        broker: told(config, mqtt_port),
        barred: barred.clone(),
        bell: bell.clone(),
    });

    let ingest = ingest::Deps {
        store: store.clone(),
        arrivals,
        downs: downs_in.clone(),
        bell: bell.clone(),
        counts: Arc::clone(&counts),
        samples_days: config.samples_days,
    };
    let watch = watch::Deps { store: store.clone(), bell: bell.clone(), rules: config.watch.clone() };
    let given = Arc::new(Notify::new());
    let changed = Arc::new(Notify::new());
    let hand = hand::Deps {
        store: store.clone(),
        downs: downs_in.clone(),
        bell: bell.clone(),
        changed: Arc::clone(&changed),
        key: keys.signing.clone(),
        thresholds: config.thresholds,
    };
    let command = command::Deps {
        store: store.clone(),
        downs: downs_in,
        bell: bell.clone(),
        given: Arc::clone(&given),
    };
    let (receive, read_back) = Receive::new(receive::Deps {
        store: store.clone(),
        objects: objects.clone(),
        grant_key: keys.grant,
        signer: signer.clone(),
        bell: bell.clone(),
        counts: Arc::clone(&counts),
        keep_free_bytes: config.keep_free_bytes,
        parts_at_once: usize::try_from(config.parts_at_once).unwrap_or(usize::MAX),
        reliance: reliance.clone(),
    });
    let to_probe = objects.bucket().ok().filter(|_| probed.is_none()).map(Arc::clone);
    let upkeep = Upkeep {
        abandoned_days: config.abandoned_days,
        to_probe,
        reliance,
        data_dir: config.data_dir.clone(),
    };
    let watched = store.clone();
    let console = console::Deps {
        store,
        objects,
        hub_keys: signer.ring,
        bell,
        counts,
        school: config.school.clone(),
        schemes: config.schemes.clone(),
        mqtt_port,
        key: keys.signing.clone(),
        given,
        changed,
        targets: config.targets.clone(),
        retention: config.retention,
        desk: desk.clone(),
        barred,
        ca: authority.pem()?,
        fingerprint,
    };
    let read_back = Box::pin(read_back);
    let retention = config.retention;
    Ok(Hub {
        http,
        tls,
        enrol,
        local: (local, desk),
        broker,
        ingest,
        watch,
        command,
        hand,
        receive,
        retention,
        read_back,
        upkeep,
        console,
        watched,
        http_port,
        mqtt_port,
    })
}

fn speaks_tls(config: &Config) -> bool {
    config.http_tls() || config.mqtt_tls() && config.outside.is_none()
}

/// Where the hub's certificate comes from.
fn source(config: &Config) -> Source {
    match &config.tls.kind {
        Kind::Given { certificate, key } => Source::Given(certificate.clone(), key.clone()),
        Kind::Own | Kind::Proxy | Kind::Off => Source::Own(Box::new(config.clone())),
    }
}

/// What rooms check the hub's certificate by; none when their systems know it.
fn trusted(config: &Config, authority: &Authority) -> Result<Option<String>, Fault> {
    match (&config.tls.kind, &config.tls.ca) {
        (Kind::Own | Kind::Off, _) => Ok(Some(authority.pem()?)),
        (_, None) => Ok(None),
        (_, Some(path)) => {
            let told = |e: &dyn std::fmt::Display| Fault::Tls(format!("tls.ca: {}: {e}", path.display()));
            let text = std::fs::read_to_string(path).map_err(|e| told(&e))?;
            openssl::x509::X509::from_pem(text.as_bytes()).map_err(|e| told(&e))?;
            Ok(Some(text))
        }
    }
}

/// Where rooms are told to report.
fn told(config: &Config, port: u16) -> enrol::Address {
    let elsewhere = config.outside.as_ref().map(|outside| &outside.url);
    match config.mqtt_address.as_ref().or(elsewhere) {
        Some(url) => enrol::Address::At(url.to_string()),
        None if config.mqtt_tls() => enrol::Address::Tls(port),
        None => enrol::Address::Plain(port),
    }
}

/// What looks after the store beside the traffic.
struct Upkeep {
    abandoned_days: u32,
    /// An S3 store that nobody has tried yet.
    to_probe: Option<Arc<Bucket>>,
    reliance: Reliance,
    data_dir: std::path::PathBuf,
}

impl Upkeep {
    /// Tries an S3 store that nobody has tried yet, as soon as it answers.
    async fn probe(self, stop: CancellationToken) {
        let Some(bucket) = self.to_probe else { return };
        loop {
            let found = tokio::select! {
                () = stop.cancelled() => return,
                found = probe::s3::run(&bucket) => found,
            };
            match found {
                Ok(found) if found.usable() => {
                    let record = probe::s3::record(&bucket, &found);
                    self.reliance.set(&record);
                    tracing::info!(
                        direct = record.direct,
                        hashes = record.hashes,
                        "the S3 store was tried out"
                    );
                    if let Err(e) = reliance::save(&self.data_dir, &record) {
                        tracing::error!("what the S3 store can be trusted with was not kept: {e}");
                    }
                    return;
                }
                Ok(found) => tracing::error!("the S3 store is not fit for lessons:\n{}", found.table()),
                Err(e) => tracing::warn!("the S3 store cannot be tried out yet: {e}"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PROBE_AGAIN) => {}
            }
        }
    }
}

impl Hub {
    /// Answers until told to stop, then ends in order: nothing new comes in, what came in is stored.
    ///
    /// False when a part of it ended by itself: a half-dead hub helps nobody, systemd starts a whole one.
    pub async fn serve(self, stop: CancellationToken) -> bool {
        let stop_ingest = CancellationToken::new();
        let api = receive::router(self.receive.clone(), self.enrol.router());
        let app = api.merge(console::router(self.console, stop.clone()));
        let app = app.layer(axum::middleware::from_fn(console::survive));
        let app = app.into_make_service_with_connect_info::<Peer>();
        let web = axum::serve(self.http, app).with_graceful_shutdown(stop.clone().cancelled_owned());
        let keep = named("tls", {
            let (tls, stop) = (self.tls, stop.clone());
            async move {
                match tls {
                    Some(tls) => tls.keep(stop).await,
                    None => stop.cancelled_owned().await,
                }
            }
        });
        let local = named("local", {
            let ((listener, desk), stop) = (self.local, stop.clone());
            async move {
                if let Err(e) = enrol::local::serve(listener, desk, stop).await {
                    tracing::error!("the command line can ask this hub no more: {e}");
                }
            }
        });
        let ingest = named("ingest", ingest::run(self.ingest, stop_ingest.clone()));
        let command = named("command", command::run(self.command, stop.clone()));
        let hand = named("hand", hand::run(self.hand, stop.clone()));
        let watch = named("watch", watch::run(self.watch, stop.clone()));
        let read_back = named("read back", self.read_back);
        let broker = named("broker", self.broker.run(stop.clone()));
        let janitor = named("janitor", {
            let (days, stop) = (self.upkeep.abandoned_days, stop.clone());
            self.receive.clone().janitor(days, stop)
        });
        let probe = named("store probe", self.upkeep.probe(stop.clone()));
        let seals = named("seals", {
            let (receive, stop) = (self.receive.clone(), stop.clone());
            async move { receive.drain(stop).await }
        });
        let retention = named("retention", {
            let (receive, rules, stop) = (self.receive.clone(), self.retention, stop.clone());
            async move { receive.keep_to(rules, stop).await }
        });
        let web = named("http", async move {
            if let Err(e) = web.await {
                tracing::error!("the HTTP server ended: {e}");
            }
        });
        drop(self.receive);
        // Janitor and store probe end by themselves when there is nothing for them to do.
        let parts = [&command, &hand, &watch, &broker, &web, &retention, &seals, &ingest, &read_back];
        let whole = until_stopped_or_broken(&self.watched, &parts, &stop).await;
        end(command).await;
        end(hand).await;
        end(watch).await;
        end(broker).await;
        end(web).await;
        end(local).await;
        end(keep).await;
        end(retention).await;
        end(seals).await;
        end(janitor).await;
        end(probe).await;
        stop_ingest.cancel();
        end(ingest).await;
        end(read_back).await;
        whole
    }
}

/// Runs the hub until SIGTERM or SIGINT.
///
/// # Errors
/// [`Fault`] when it cannot start.
pub async fn run(config: Config) -> Result<(), Fault> {
    let mut term = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut int = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    let hub = open(&config).await?;
    let ports = serde_json::json!({ "http": hub.http_port, "mqtt": hub.mqtt_port });
    disk::replace(&config.data_dir.join("ports.json"), ports.to_string().as_bytes())
        .map_err(StoreError::io("writing ports.json"))?;
    tracing::info!(http = hub.http_port, mqtt = hub.mqtt_port, data = %config.data_dir.display(), "the hub runs");
    let (at, way) = (|tls: bool, plain, secure| if tls { secure } else { plain }, config.http_tls());
    println!(
        "lectern-hub ready {}=127.0.0.1:{} {}=127.0.0.1:{}",
        at(way, "http", "https"),
        hub.http_port,
        at(config.mqtt_tls(), "mqtt", "mqtts"),
        hub.mqtt_port
    );
    notify::systemd("READY=1");

    let stop = CancellationToken::new();
    let served = tokio::spawn(hub.serve(stop.clone()));
    let mut served = served;
    let whole = tokio::select! {
        _ = term.recv() => None,
        _ = int.recv() => None,
        ended = &mut served => Some(ended),
    };
    notify::systemd("STOPPING=1");
    stop.cancel();
    let whole = match whole {
        Some(ended) => ended,
        None => served.await,
    };
    if !whole.context("stopping ended early")? {
        return Err(Fault::Other(anyhow::anyhow!("a part of the hub ended by itself; see the log")));
    }
    tracing::info!("stopped");
    Ok(())
}

/// Makes, stores and answers a new console password.
///
/// # Errors
/// What the database says.
pub fn set_admin_password(store: &Store) -> Result<String, StoreError> {
    let password = chance::hex::<9>();
    let hash = people::hash(&password).ok_or(StoreError::Closing)?;
    store.write_now(|db| people::set_password_hash(db, &hash))?;
    Ok(password)
}

/// Until the hub is told to stop, true; or until one of its parts has ended by itself. Meanwhile systemd is told that the
/// hub is well, each time its store has answered.
async fn until_stopped_or_broken(store: &Store, parts: &[&Named], stop: &CancellationToken) -> bool {
    let mut tick = tokio::time::interval(notify::watchdog().unwrap_or(LOOK_EVERY).min(LOOK_EVERY));
    loop {
        tokio::select! {
            () = stop.cancelled() => return true,
            _ = tick.tick() => {}
        }
        // Some end with the stop that may just have come.
        if let Some(part) = parts.iter().find(|part| part.task.is_finished() && !stop.is_cancelled()) {
            tracing::error!(part = part.name, "a part of the hub has ended by itself; the hub ends");
            stop.cancel();
            return false;
        }
        match tokio::time::timeout(LOOK_EVERY, store.write(|db| people::get(db, "watchdog"))).await {
            Ok(Ok(_)) => notify::systemd("WATCHDOG=1"),
            Ok(Err(e)) => tracing::error!("the store does not answer: {e}"),
            Err(_) => tracing::error!("the store does not answer within {} s", LOOK_EVERY.as_secs()),
        }
    }
}

struct Named {
    name: &'static str,
    task: JoinHandle<()>,
}

fn named(name: &'static str, work: impl Future<Output = ()> + Send + 'static) -> Named {
    tracing::debug!("{name} runs");
    Named { name, task: tokio::spawn(work) }
}

/// Waits for one part of the hub, but not for ever.
async fn end(part: Named) {
    let Named { name, mut task } = part;
    match tokio::time::timeout(PATIENCE, &mut task).await {
        Ok(Ok(())) => tracing::debug!("{name} ended"),
        Ok(Err(e)) => tracing::error!("{name} ended early: {e}"),
        Err(_) => {
            tracing::warn!("{name} still runs after {} s and is left behind", PATIENCE.as_secs());
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_panics_ends_the_hub_and_a_stop_is_no_fault() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path()).expect("opens");
        let (well, broken) =
            (named("well", std::future::pending()), named("broken", async { panic!("on purpose") }));
        let stop = CancellationToken::new();
        assert!(!until_stopped_or_broken(&store, &[&well, &broken], &stop).await);
        assert!(stop.is_cancelled(), "the others end too");
        assert!(until_stopped_or_broken(&store, &[&well, &broken], &stop).await);
    }
}
