//! The hub, its broker, and the destinations beside it.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use lectern_base::clock;

use super::{Finding, finding};
use crate::beside::share;
use crate::config::Config;
use crate::config::destination::{Settings, Way};
use crate::model::trust::Files;
use crate::platform::{identity, tls};
use crate::store::rules;

/// Whether what is recorded can leave this machine.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut found = match &config.hub {
        None => vec![finding("hub", Ok("none set: lessons stay on this machine".into()))],
        Some(hub) => vec![
            finding("password", identity::password(&hub.password_file).map(|_| "there".into())),
            finding("certificate", certificate(&hub.tls)),
            finding("hub", reach(&hub.url)),
            finding("broker", reach(&hub.mqtt)),
        ],
    };
    found.push(finding("timetable", timetable(config)));
    found.extend(config.destinations.iter().map(destination));
    found
}

/// Until when this device's certificate holds.
fn certificate(files: &Files) -> Result<String, String> {
    let Some((path, _)) = &files.own else { return Ok("none: this device shows its password alone".into()) };
    let ends = tls::ends_ms(path)?;
    let until = clock::local_text(ends);
    if ends < clock::wall_ms() {
        return Err(format!("ran out on {until}; enrol again with a new card: lectern enrol --again"));
    }
    Ok(format!("holds until {until}, and is renewed before"))
}

/// Which timetable counts: what the hub handed down, or the file on this machine.
fn timetable(config: &Config) -> Result<String, String> {
    let handed = rules::kept_in(&config.device.data_dir)?;
    if let Some((revision, true)) = handed {
        return Ok(format!("revision {revision} from the hub counts"));
    }
    let file = config.school_day.timetable.display();
    let own = config.timetable().map_err(|faults| faults.join("; "))?;
    let nothing = handed.map_or(String::new(), |(revision, _)| {
        format!("; revision {revision} from the hub holds thresholds alone")
    });
    Ok(match own {
        Some(own) => {
            format!("{file} counts: {} periods, {} lessons{nothing}", own.periods.len(), own.plans.len())
        }
        None => format!("none: neither from the hub nor in {file}{nothing}"),
    })
}

/// Whether a destination can be reached.
fn destination(settings: &Settings) -> Finding {
    let outcome = match &settings.way {
        Way::Folder { path } => share::look(path),
        Way::S3(bucket) => identity::password(&bucket.secret_file).and_then(|_| reach(&bucket.url)),
        Way::Opencast(core) => identity::password(&core.password_file).and_then(|_| reach(&core.url)),
    };
    let named = |text: String| format!("{} ({}): {text}", settings.name, settings.way.place());
    finding("destination", outcome.map(named).map_err(named))
}

/// Whether somebody listens at an address.
pub(super) fn reach(url: &url::Url) -> Result<String, String> {
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
