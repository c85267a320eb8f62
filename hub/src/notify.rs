//! Tells systemd how far the hub is (`sd_notify(3)`): one datagram, no library.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// How often systemd wants to hear that the hub is alive: twice as often as it gives up; none when it does not listen.
#[must_use]
pub fn watchdog() -> Option<std::time::Duration> {
    let us: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    (us > 0).then(|| std::time::Duration::from_micros(us / 2))
}

/// Says `READY=1` or `STOPPING=1` when systemd asked to be told.
pub fn systemd(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let sent = address.and_then(|to| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &to));
    if let Err(e) = sent {
        tracing::warn!("systemd could not be told {state}: {e}");
    }
}
