//! `lectern doctor`: what a technician wants to know before the first lesson, in one table.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use lectern_base::exit::Exit;
use lectern_base::{clock, disk};
use lectern_wire::capture::{SourceKind, without_userinfo};
use serde_json::json;

use super::{devices, remote, say};
use crate::beside::share;
use crate::config::Config;
use crate::config::destination::{Settings, Way};
use crate::platform::{identity, input, volume};
use crate::record::encoders;

/// One line of the table.
struct Finding {
    what: &'static str,
    well: bool,
    detail: String,
}

/// Looks at everything and prints it.
pub fn run(config: &Config, json: bool) -> Exit {
    let mut findings =
        vec![data(config), volume(config), space(config), recorder(config), encoder(config), clock_state()];
    findings.extend(config.recording.capture.sources.iter().map(|source| match &source.kind {
        SourceKind::Screen { display } => screen(display),
        SourceKind::WaylandScreen { .. } => wayland_screen(&config.recording.recorder),
        SourceKind::Microphone { device, .. } => {
            finding("microphone", Ok(format!("{device}: opened when a lesson starts")))
        }
        SourceKind::Camera { device, .. } => local_camera(device),
        SourceKind::NetworkCamera { url, .. } => camera(url),
        SourceKind::Test => finding("test card", Ok("a generated picture and tone, not a classroom".into())),
    }));
    if let Some(live) = &config.live {
        let server = lectern_wire::live::shown(&live.url);
        findings.push(finding("live", Ok(format!("{server}: reached only when a teacher goes live"))));
    }
    if config.key.on {
        findings.push(finding("key", key(&config.key)));
    }
    match &config.hub {
        None => findings.push(finding("hub", Ok("none set: lessons stay on this machine".into()))),
        Some(hub) => {
            findings
                .push(finding("password", identity::password(&hub.password_file).map(|_| "there".into())));
            findings.push(finding("hub", reach(&hub.url)));
            findings.push(finding("broker", reach(&hub.mqtt)));
        }
    }
    findings.extend(config.destinations.iter().map(destination));
    let listed = devices::list(&config.recording.recorder, &config.recording.capture);
    let listed = listed.map_err(|e| findings.push(finding("devices", Err(e)))).ok();
    let well = findings.iter().all(|f| f.well);
    let chosen = findings.iter().find(|f| f.what == "encoder").map_or("", |f| f.detail.as_str());
    let rows: Vec<_> =
        findings.iter().map(|f| json!({ "what": f.what, "ok": f.well, "detail": f.detail })).collect();
    let text: Vec<_> = findings
        .iter()
        .map(|f| format!("{} {:<11} {}", if f.well { "ok  " } else { "BAD " }, f.what, f.detail))
        .collect();
    let table = listed.as_ref().map_or_else(String::new, |l| format!("\n\n{}", devices::table(l, chosen)));
    let listed = listed.as_ref().map(|l| devices::value(l, chosen));
    let answer = json!({ "ok": well, "findings": rows, "devices": listed });
    say(json, &answer, &(text.join("\n") + &table));
    if well { Exit::Done } else { Exit::NotSound }
}

/// Whether a destination can be reached, and what the running daemon says of it.
fn destination(settings: &Settings) -> Finding {
    let outcome = match &settings.way {
        Way::Folder { path } => share::look(path),
        Way::S3(bucket) => identity::password(&bucket.secret_file).and_then(|_| reach(&bucket.url)),
        Way::Opencast(core) => identity::password(&core.password_file).and_then(|_| reach(&core.url)),
    };
    let named = |text: String| format!("{} ({}): {text}", settings.name, settings.way.place());
    finding("destination", outcome.map(named).map_err(named))
}

fn finding(what: &'static str, outcome: Result<String, String>) -> Finding {
    match outcome {
        Ok(detail) => Finding { what, well: true, detail },
        Err(detail) => Finding { what, well: false, detail },
    }
}

fn data(config: &Config) -> Finding {
    let folder = &config.device.data_dir;
    let usable = std::fs::create_dir_all(folder).and_then(|()| {
        let probe = folder.join(".doctor");
        std::fs::write(&probe, b"x")?;
        std::fs::remove_file(&probe)
    });
    finding(
        "data",
        usable.map(|()| folder.display().to_string()).map_err(|e| format!("{}: {e}", folder.display())),
    )
}

/// Whether the volume keeps what is written to it: by looks, and by what the running daemon has found out.
fn volume(config: &Config) -> Finding {
    let folder = &config.device.data_dir;
    let looks = volume::doubt(folder).filter(|_| !config.device.trust_volume).map(|doubt| doubt.to_string());
    let told = || {
        let status = remote::ask(folder, "/api/status", None).ok()?;
        status["home"]["detail"].as_str().map(str::to_owned)
    };
    let outcome = match looks.or_else(told) {
        None => Ok("keeps what is written to it, as far as can be seen".to_owned()),
        Some(why) => {
            Err(format!("{why}: lessons are refused; set device.data_dir to a volume that is not restored"))
        }
    };
    finding("volume", outcome)
}

fn space(config: &Config) -> Finding {
    let outcome = disk::free_bytes(&config.device.data_dir).map_err(|e| e.to_string()).and_then(|free| {
        let minutes = free / config.bytes_per_minute().max(1);
        let text = format!("room for {minutes} minutes of recording");
        if minutes < u64::from(config.recording.reserve_minutes) { Err(text) } else { Ok(text) }
    });
    finding("space", outcome)
}

fn recorder(config: &Config) -> Finding {
    let program = &config.recording.recorder;
    let outcome = std::process::Command::new(program).arg("--version").output();
    finding(
        "recorder",
        match outcome {
            Ok(out) if out.status.success() => Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned()),
            Ok(out) => Err(format!("{} ended with {}", program.display(), out.status)),
            Err(e) => Err(format!("{}: {e}", program.display())),
        },
    )
}

/// What would encode the picture, and why nothing better can.
fn encoder(config: &Config) -> Finding {
    let outcome = encoders::report(&config.recording.recorder).and_then(|reports| {
        let wanted = config.recording.capture.video.encoder;
        let chosen = wanted.unwrap_or_else(|| encoders::best(&reports));
        let fault = |encoder| reports.iter().find(|r| r.encoder == encoder).and_then(|r| r.fault.as_deref());
        match (wanted, fault(chosen)) {
            (Some(_), Some(why)) => {
                Err(format!("{} cannot be used and gives way to libx264: {why}", chosen.name()))
            }
            (Some(_), None) => Ok(format!("{}, as the settings say", chosen.name())),
            (None, Some(why)) => Err(format!("none can be used, not even {}: {why}", chosen.name())),
            (None, None) => {
                let better = reports.iter().take_while(|r| r.encoder != chosen);
                let whys = better
                    .map(|r| format!("{}: {}", r.encoder.name(), r.fault.as_deref().unwrap_or_default()));
                let whys: Vec<_> = whys.collect();
                let because = if whys.is_empty() { String::new() } else { format!(" ({})", whys.join("; ")) };
                Ok(format!("{}{because}", chosen.name()))
            }
        }
    });
    finding("encoder", outcome)
}

fn clock_state() -> Finding {
    let now = clock::local_text(clock::wall_ms());
    // An untrusted clock is not a fault of the machine, but it stands in every manifest.
    let trust = if clock::trusted() {
        "a time service keeps it"
    } else {
        "no time service keeps it: lessons will say so"
    };
    finding("clock", Ok(format!("{now}, {trust}")))
}

fn screen(display: &str) -> Finding {
    let number = display.trim_start_matches(':').split('.').next().unwrap_or_default();
    let there = std::path::Path::new("/tmp/.X11-unix").join(format!("X{number}")).exists();
    let hidden = std::fs::read_to_string("/proc/net/unix")
        .is_ok_and(|text| text.contains(&format!("/tmp/.X11-unix/X{number}")));
    finding(
        "screen",
        match there || hidden {
            true => Ok(format!("X display {display} is there")),
            false => Err(format!("X display {display} is not there: is anybody logged in at the screen?")),
        },
    )
}

/// The recorder alone speaks to the desktop; it says one sentence.
fn wayland_screen(recorder: &std::path::Path) -> Finding {
    let outcome = std::process::Command::new(recorder).arg("portal").output();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    finding(
        "screen",
        match outcome {
            Ok(out) if out.status.success() => Ok(text(&out.stdout)),
            Ok(out) => Err(text(&out.stdout)),
            Err(e) => Err(format!("{}: {e}", recorder.display())),
        },
    )
}

/// Whether the key's device is there and may be read by whoever asks.
fn key(key: &crate::config::Key) -> Result<String, String> {
    let found = input::matching(&key.device);
    let Some(path) = found.first() else {
        return Err(format!("nothing is plugged in as {}", key.device.display()));
    };
    input::check(path).map(|()| format!("{} is there", path.display()))
}

fn local_camera(device: &str) -> Finding {
    let opened = std::fs::File::options().read(true).write(true).open(device);
    finding("camera", opened.map(|_| format!("{device} is there")).map_err(|e| format!("{device}: {e}")))
}

fn camera(url: &str) -> Finding {
    let outcome = url::Url::parse(url).map_err(|e| e.to_string()).and_then(|url| reach(&url));
    finding("camera", outcome.map_err(|e| format!("{}: {e}", without_userinfo(url))))
}

/// Whether somebody listens at an address.
fn reach(url: &url::Url) -> Result<String, String> {
    let port = url.port_or_known_default().unwrap_or(match url.scheme() {
        "rtsp" => 554,
        "mqtts" => 8883,
        _ => 1883,
    });
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let mut addresses = (host, port).to_socket_addrs().map_err(|e| format!("{host}: {e}"))?;
    let address = addresses.next().ok_or_else(|| format!("{host} has no address"))?;
    match TcpStream::connect_timeout(&address, Duration::from_secs(3)) {
        Ok(_) => Ok(format!("{address} answers")),
        Err(e) => Err(format!("{address}: {e}")),
    }
}
