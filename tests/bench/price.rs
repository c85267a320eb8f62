//! What measuring a room costs, beside collectd with its mqtt plugin, prometheus-node-exporter and lnxlink, a Python agent, all
//! four at once; and what waiting costs, beside pyCA, a Python agent that only waits. [`super::agents`] says how they are set.
//!
//! Every second each of them measures processor, memory, disk, network and the rest it knows, and tells it: Lectern,
//! collectd and lnxlink to the same mosquitto, each through a relay that counts, the exporter to somebody who asks. Processor
//! time is the whole process's, children too, over three minutes, for each sample, second, scrape or round that there was;
//! memory is read of all at the end of these three minutes, children too. Then Lectern waits at its own pace beside pyCA, with
//! TLS and without, one after the other since two would share their program's pages: memory and wake-ups. Its first publish is
//! timed from the start of the program.
//!
//! What this pace hides: Lectern does every 30 s in a room what it does every second here, so what it does by the clock
//! weighs less here per sample (systemd's units and its own memory every five minutes, disks' health every half hour,
//! alarms at most every three seconds), and groups that hardly ever change are told every ten minutes. The bytes are
//! therefore reckoned for the shipped pace too. What hides nothing: beside measuring, the agent does here all that it does
//! in a room (its page, its outbox, its alarms, a hub that is called again and again and does not answer); collectd and
//! lnxlink only measure and tell. They tell each number or group with a message of its own, collectd of all processors,
//! disks and mounts; Lectern sums up what a technician asks. Lectern and the exporter do all that they ship with; collectd and
//! lnxlink run what measures what Lectern does. pyCA's processes and lnxlink never run at once, whose Python would be shared.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lectern_base::clock;
use lectern_tests::programs::Programs;
use lectern_tests::{Folder, Process, eventually, free_port};

use super::agents::{self, Exporter, Lnxlink, Pyca};
use super::table::{Bar, Row};
use super::wire::{Relay, Seen};
use super::{figure, usage};

/// How long all measure every second. The kernel counts processor time in hundredths of a second: of Lectern's there is one in
/// ten samples.
const BUSY: Duration = Duration::from_secs(180);
/// How long Lectern is at rest, with TLS and then without, at its own pace of a sample every 30 s.
const REST: Duration = Duration::from_secs(90);
/// Before each: what a start costs is not what running costs.
const SETTLE: Duration = Duration::from_secs(8);
/// Seconds between two samples as Lectern ships, and until what has not changed is told again.
const PACE: (f64, f64) = (30.0, 600.0);
/// Starts that the time to the first publish is taken from.
const STARTS: usize = 5;

/// What one of them took over [`BUSY`]: per sample of its own processor time and bytes, and of memory at its end.
struct Taken {
    cpu_ms: f64,
    bytes: f64,
    /// Its children's too.
    share_kib: u64,
}

/// All that told at once.
struct Busy {
    ours: Taken,
    collectd: Taken,
    exporter: Taken,
    lnxlink: Taken,
    /// Rounds of lnxlink's in a second.
    lnxlink_pace: f64,
    /// What Lectern told.
    seen: Seen,
}

/// Measures.
///
/// # Errors
/// When something does not start: `packaging/setup.sh bench` installs the peers.
pub fn measure(programs: &Programs) -> anyhow::Result<Vec<Row>> {
    agents::must_be_installed()?;
    eprintln!("the price of measuring, beside collectd, node-exporter, lnxlink and pyCA …");
    let folder = Folder::new()?;
    let broker_port = free_port()?;
    let settings = folder.join("mosquitto.conf");
    let (tls, trusted) = (free_port()?, certificate(&folder)?);
    let (key, own) = (folder.join("key.pem"), trusted.join("own.pem"));
    std::fs::write(
        &settings,
        format!(
            "user root\nlistener {broker_port} 127.0.0.1\nallow_anonymous true\nlistener {tls} 127.0.0.1\n\
             certfile {}\nkeyfile {}\n",
            own.display(),
            key.display()
        ),
    )?;
    let mut mosquitto = Command::new(agents::MOSQUITTO);
    mosquitto.arg("-c").arg(&settings);
    let _broker = Process::start(&folder, "mosquitto", mosquitto)?;
    eventually(Duration::from_secs(10), "mosquitto", || TcpStream::connect(("127.0.0.1", broker_port)).ok())?;

    let Busy { ours, collectd, exporter, lnxlink, lnxlink_pace, seen } =
        side_by_side(&folder, programs, broker_port)?;
    let rest = at_rest(&folder, programs, broker_port, (tls, &trusted))?;
    let mut starts = Vec::new();
    for n in 0..STARTS {
        let relay = Relay::before(broker_port)?;
        let from = clock::mono();
        let agent = agent(&folder, programs, &format!("start-{n}"), 30, &Lines::plain(relay.port))?;
        let first = eventually(Duration::from_secs(20), "a first publish", || relay.seen().first);
        starts
            .push((first.with_context(|| agent.tail_of_log())?.saturating_sub(from)).as_secs_f64() * 1000.0);
    }
    println!(
        "\nprice: {} values in all groups; a value that stays is told every ten minutes, so a sample tells {:.1}; beside it:",
        seen.names.len(),
        figure(seen.values) / figure(seen.samples)
    );
    let peers = [
        ("Lectern", &ours, "a sample"),
        ("collectd", &collectd, "a second"),
        ("node-exporter", &exporter, "a scrape"),
        ("lnxlink", &lnxlink, "a round"),
    ];
    for (name, taken, per) in peers {
        let Taken { cpu_ms, bytes, share_kib } = taken;
        println!("  {name}: {share_kib} KiB PSS, {cpu_ms:.1} ms and {bytes:.0} bytes {per}");
    }
    println!(
        "  lnxlink told {lnxlink_pace:.2} rounds a second; pyCA at rest: {:.1} MiB PSS",
        rest.pyca_share_mib
    );
    println!("values: {}", seen.names.iter().cloned().collect::<Vec<_>>().join(" "));
    let (steady, whole) = reckoned(&seen);
    println!("a sample of all groups, each at its largest: {whole:.0} bytes, as after connecting");
    let size = stripped(&folder, &programs.lectern)?;
    let alone = |name: &str, ours, unit, bar| Row { name: name.to_owned(), ours, peer: None, unit, bar };
    let beside =
        |name: &str, ours, peer, unit, bar| Row { name: name.to_owned(), ours, peer: Some(peer), unit, bar };
    Ok(vec![
        alone("daemon at rest, PSS", rest.share_mib, "MiB", Bar::AtMost(10.0)),
        alone("daemon at rest with TLS, PSS", rest.tls_share_mib, "MiB", Bar::AtMost(10.0)),
        alone("wake-ups at rest", rest.wakeups, "1/s", Bar::AtMost(1.0)),
        alone("names in all groups", figure(seen.names.len() as u64), "", Bar::AtLeast(30.0)),
        alone("processor per sample", ours.cpu_ms, "ms", Bar::AtMost(1.5)),
        beside("processor per sample, collectd", ours.cpu_ms, collectd.cpu_ms, "ms", Bar::AtMost(0.25)),
        beside("processor per sample, node-exporter", ours.cpu_ms, exporter.cpu_ms, "ms", Bar::AtMost(0.25)),
        beside("processor per sample, lnxlink", ours.cpu_ms, lnxlink.cpu_ms, "ms", Bar::AtMost(0.25)),
        beside(
            "PSS while measuring, lnxlink",
            mib(ours.share_kib),
            mib(lnxlink.share_kib),
            "MiB",
            Bar::AtMost(0.5),
        ),
        beside("PSS at rest, pyCA", rest.share_mib, rest.pyca_share_mib, "MiB", Bar::AtMost(0.1)),
        alone("bytes per sample, all groups", ours.bytes, "bytes", Bar::AtMost(600.0)),
        alone("bytes per sample at a sample every 30 s", steady, "bytes", Bar::AtMost(600.0)),
        beside("bytes per sample, collectd", ours.bytes, collectd.bytes, "bytes", Bar::AtMost(0.25)),
        beside("bytes per sample, lnxlink", ours.bytes, lnxlink.bytes, "bytes", Bar::AtMost(1.0)),
        alone("start to first publish", super::median(starts), "ms", Bar::AtMost(150.0)),
        alone("stripped daemon", size, "MB", Bar::AtMost(12.0)),
    ])
}

/// Bytes of a sample at the shipped pace, and of one in which every group is told at its largest: the worst there is.
fn reckoned(seen: &Seen) -> (f64, f64) {
    let (mut steady, mut whole) = (0.0, 0.0);
    for (group, (bytes, packets, largest)) in &seen.groups {
        let often = if ["sys", "net"].contains(&group.as_str()) { 1.0 } else { PACE.0 / PACE.1 };
        steady += often * figure(*bytes) / figure(*packets);
        whole += figure(*largest);
    }
    (steady, whole)
}

fn mib(kib: u64) -> f64 {
    figure(kib) / 1024.0
}

fn side_by_side(folder: &Folder, programs: &Programs, broker: u16) -> anyhow::Result<Busy> {
    let (our_relay, their_relay) = (Relay::before(broker)?, Relay::before(broker)?);
    let agent = agent(folder, programs, "busy", 1, &Lines::plain(our_relay.port))?;
    let collectd = agents::collectd(folder, their_relay.port)?;
    let exporter = Exporter::start(folder)?;
    let lnxlink = Lnxlink::start(folder, broker)?;
    std::thread::sleep(SETTLE);
    let bytes = || [&our_relay, &their_relay, &lnxlink.relay].map(|relay| relay.seen().bytes);
    let (samples_before, rounds_before, bytes_before) = (our_relay.seen().samples, lnxlink.rounds(), bytes());
    let pids = [agent.pid(), collectd.pid(), exporter.process.pid(), lnxlink.process.pid()];
    let cpu = || -> anyhow::Result<Vec<f64>> {
        pids.iter().map(|pid| Ok(usage::processor_with_children(*pid)? * 1000.0)).collect()
    };
    let (before, from) = (cpu()?, clock::mono());
    let (mut scrapes, mut scraped) = (0_u32, 0_usize);
    while clock::mono() - from < BUSY {
        scraped += exporter.scrape()?;
        scrapes += 1;
        std::thread::sleep((from + Duration::from_secs(1) * scrapes).saturating_sub(clock::mono()));
    }
    let after = cpu()?;
    let seconds = (clock::mono() - from).as_secs_f64();
    let (seen, bytes_after) = (our_relay.seen(), bytes());
    let told = |n: usize| figure(bytes_after[n] - bytes_before[n]);
    let samples = figure(seen.samples - samples_before);
    let rounds = figure(lnxlink.rounds() - rounds_before);
    ensure!(samples > 30.0, "Lectern told {samples} samples\n{}", agent.tail_of_log());
    ensure!(told(1) > 0.0, "collectd told nothing\n{}", collectd.tail_of_log());
    ensure!(rounds > 30.0, "lnxlink told {rounds} rounds\n{}", lnxlink.process.tail_of_log());
    let taken = |n: usize, per: f64, bytes: f64| -> anyhow::Result<Taken> {
        let share_kib = usage::share_with_children_kib(pids[n])?;
        Ok(Taken { cpu_ms: (after[n] - before[n]) / per, bytes: bytes / per, share_kib })
    };
    Ok(Busy {
        ours: taken(0, samples, told(0))?,
        collectd: taken(1, seconds, told(1))?,
        exporter: taken(2, f64::from(scrapes), figure(scraped as u64))?,
        lnxlink: taken(3, rounds, told(2))?,
        lnxlink_pace: rounds / seconds,
        seen,
    })
}

/// Lectern that waits, beside pyCA that waits.
struct Rest {
    share_mib: f64,
    /// Of all pyCA's processes.
    pyca_share_mib: f64,
    /// Of one that speaks TLS with hub and broker and trusts whom a real machine trusts.
    tls_share_mib: f64,
    wakeups: f64,
}

fn at_rest(
    folder: &Folder,
    programs: &Programs,
    broker: u16,
    (tls, trusted): (u16, &Path),
) -> anyhow::Result<Rest> {
    let lines = Lines {
        hub: "https://localhost:9".into(),
        broker: format!("mqtts://localhost:{tls}"),
        trusted: Some(trusted.to_owned()),
    };
    let pyca = Pyca::start(folder)?;
    let tls_share_mib = {
        let agent = agent(folder, programs, "rest-tls", 30, &lines)?;
        std::thread::sleep(SETTLE + REST);
        let log = std::fs::read_to_string(agent.log())?;
        ensure!(log.contains("connected to the broker"), "no line with TLS: {}", agent.tail_of_log());
        mib(usage::share_with_children_kib(agent.pid())?)
    };
    // Only now: two daemons would share the pages of their program, and each would seem to hold less than the one of a room.
    let relay = Relay::before(broker)?;
    let agent = agent(folder, programs, "rest", 30, &Lines::plain(relay.port))?;
    eventually(Duration::from_secs(20), "a sample", || (relay.seen().samples > 0).then_some(()))?;
    std::thread::sleep(SETTLE);
    let (before, from) = (usage::wakeups(agent.pid())?, clock::mono());
    std::thread::sleep(REST);
    let after = usage::wakeups(agent.pid())?;
    let seconds = (clock::mono() - from).as_secs_f64();
    Ok(Rest {
        share_mib: mib(usage::share_with_children_kib(agent.pid())?),
        pyca_share_mib: mib(pyca.share_kib()?),
        tls_share_mib,
        wakeups: figure(after.saturating_sub(before)) / seconds,
    })
}

/// Whom an agent speaks with.
struct Lines {
    hub: String,
    broker: String,
    /// A folder with a certificate that it trusts beside all that the system does.
    trusted: Option<PathBuf>,
}

impl Lines {
    fn plain(mqtt: u16) -> Self {
        Self { hub: "http://127.0.0.1:9".into(), broker: format!("mqtt://127.0.0.1:{mqtt}"), trusted: None }
    }
}

/// A certificate for `localhost` with its key, in a folder that is believed beside the system's.
fn certificate(folder: &Folder) -> anyhow::Result<PathBuf> {
    let (key, trusted) = (folder.join("key.pem"), folder.make("trusted")?);
    let own = trusted.join("own.pem");
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
    make.args(["-addext", "subjectAltName=DNS:localhost", "-keyout"]).arg(&key).arg("-out").arg(&own);
    lectern_tests::process::output(make)?;
    // Under its hash, as the system's are.
    let mut rehash = Command::new("openssl");
    rehash.arg("rehash").arg(&trusted);
    lectern_tests::process::output(rehash)?;
    Ok(trusted)
}

/// An agent that only measures: the hub's own address does not answer, its broker does.
fn agent(
    folder: &Folder,
    programs: &Programs,
    name: &str,
    interval_s: u32,
    lines: &Lines,
) -> anyhow::Result<Process> {
    let own = folder.make(name)?;
    let secret = own.join("device.password");
    std::fs::write(&secret, "bench-bench-bench")?;
    let (data, config) = (own.join("data"), own.join("agent.toml"));
    let text = format!(
        "[device]\nid = \"bench\"\nschool = \"3401000001\"\nroom = \"301\"\ndata_dir = {data:?}\n\
         [hub]\nurl = {:?}\nmqtt = {:?}\npassword_file = {secret:?}\n\
         [page]\nlisten = \"127.0.0.1:0\"\n[sense]\ninterval_s = {interval_s}\n\
         [recording]\nrecorder = {:?}\n[[source]]\nname = \"screen\"\nkind = \"screen\"\n",
        lines.hub, lines.broker, programs.recorder
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new(&programs.lectern);
    command.args(["run", "--config"]).arg(&config);
    // As its unit starts it.
    let unit = include_str!("../../packaging/systemd/lectern.service");
    let set = unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='));
    command.envs(set.filter(|(name, _)| *name == "SSL_CERT_FILE"));
    command.envs(lines.trusted.iter().map(|folder| ("SSL_CERT_DIR", folder)));
    Process::start(folder, name, command)
}

/// Megabytes of the program without its symbols.
fn stripped(folder: &Folder, program: &Path) -> anyhow::Result<f64> {
    let copy = folder.join("stripped");
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&copy).arg(program);
    lectern_tests::process::output(strip)?;
    Ok(figure(std::fs::metadata(&copy)?.len()) / 1e6)
}
