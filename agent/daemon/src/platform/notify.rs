//! Tells systemd how the daemon is: ready, alive, stopping (sd_notify(3)).

use std::os::unix::net::UnixDatagram;

/// How often systemd wants to hear that we are alive: twice as often as it gives up; none when it does not listen.
#[must_use]
pub fn watchdog() -> Option<std::time::Duration> {
    let us: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    (us > 0).then(|| std::time::Duration::from_micros(us / 2))
}

/// Sends a state such as `READY=1`; does nothing when systemd does not listen.
pub fn tell(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let name = socket.to_string_lossy().into_owned();
    let sent = UnixDatagram::unbound().and_then(|datagram| match name.strip_prefix('@') {
        Some(hidden) => {
            use std::os::linux::net::SocketAddrExt as _;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(hidden)?;
            datagram.send_to_addr(state.as_bytes(), &address)
        }
        None => datagram.send_to(state.as_bytes(), &name),
    });
    if let Err(e) = sent {
        tracing::warn!("systemd could not be told {state}: {e}");
    }
}
