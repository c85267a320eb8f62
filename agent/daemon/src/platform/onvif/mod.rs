//! Network cameras that speak ONVIF: found by asking the network, then asked for the addresses of their pictures.
//!
//! ```text
//! every IPv4 interface ─ Probe to 239.255.255.250:3702 ─▶ answers: name, hardware, address of the service
//!      each answer ─ HTTP, SOAP: time, profiles, stream addresses (user name with a digest) ─▶ rtsp://…
//! ```
//!
//! Whoever is in the network may answer, so nothing of an answer is believed that can be checked: sizes are limited,
//! documents may declare nothing, and a password's digest goes only to the machine that answered.

mod device;
mod discovery;
mod xml;

use std::net::Ipv4Addr;
use std::time::Duration;

pub use device::{Login, Stream};
pub use discovery::interfaces;
use futures_util::future::join_all;

/// A camera that answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Camera {
    /// Where it answered from.
    pub address: Ipv4Addr,
    /// As it calls itself; may be empty.
    pub name: String,
    /// Its model; may be empty.
    pub hardware: String,
    /// Its maker, where it says so.
    pub maker: String,
    /// Its pictures, or why they are not known, in a sentence.
    pub streams: Result<Vec<Stream>, String>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The cameras, by address.
    pub cameras: Vec<Camera>,
    /// What went wrong, in sentences: interfaces that could not be asked, answers that were refused.
    pub problems: Vec<String>,
}

/// Asks on these interfaces for so long, then asks each camera for its pictures.
///
/// # Errors
/// A sentence when requests cannot be made at all.
pub fn find(interfaces: &[Ipv4Addr], wait: Duration, login: Option<&Login>) -> Result<Found, String> {
    let (answers, problems) = discovery::probe(interfaces, wait);
    let failed = |e: &dyn std::fmt::Display| format!("cameras cannot be asked: {e}");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| failed(&e))?;
    let client = device::client().map_err(|e| failed(&e))?;
    let cameras = runtime.block_on(join_all(answers.into_iter().map(|answer| ask(&client, answer, login))));
    Ok(Found { cameras, problems })
}

async fn ask(client: &reqwest::Client, answer: discovery::Answer, login: Option<&Login>) -> Camera {
    let discovery::Answer { address, name, hardware, service } = answer;
    let (mut maker, mut model) = (String::new(), String::new());
    let streams = match service {
        Err(e) => Err(e),
        Ok(service) => {
            let mut device = device::Device::new(client, service, login);
            let streams = device.streams().await;
            // Who made it is worth knowing, and worth no failure.
            if streams.is_ok()
                && let Ok((by, what)) = device.made_by().await
            {
                (maker, model) = (by, what);
            }
            streams
        }
    };
    let hardware = if hardware.is_empty() { model } else { hardware };
    Camera { address, name, hardware, maker, streams }
}
