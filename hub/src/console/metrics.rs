//! `/metrics` in Prometheus' text format, and `/healthz`.

use std::fmt::Write as _;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use lectern_base::clock;
use lectern_wire::alarm::Code;

use super::{Console, Oops, guard, rooms};
use crate::door::Peer;
use crate::store::{lessons, receipts, repairs};

/// Numbers for Prometheus: to this machine, or to whoever is logged in.
pub async fn metrics(
    State(console): State<Console>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
) -> Result<Response, Oops> {
    // Whoever came through a proxy on this machine is not on this machine.
    let passed_on =
        ["x-forwarded-for", "forwarded", "x-real-ip", "via"].iter().any(|h| headers.contains_key(*h));
    let here = peer.address.ip().to_canonical().is_loopback() && !passed_on;
    if !here && guard::session(&headers, &console).await?.is_none() {
        return Err(Oops::new(StatusCode::UNAUTHORIZED, "请先登录，或从中心这台机器上读取。"));
    }
    let (lessons, receipts) =
        console.store.read(|db| Ok((lessons::count_by_state(db)?, receipts::count(db)?))).await?;
    let repairs = console.store.read(repairs::pending).await?.into_values().map(u64::from).sum();
    let rooms = rooms::rooms(&console, clock::wall_ms()).await?;
    let online = rooms.iter().filter(|r| r.is_online()).count();
    let recording = rooms.iter().filter(|r| r.is_recording()).count();
    let free = console.objects.free_bytes().unwrap_or(0);

    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, rows: &[(String, u64)]| {
        // Writing to a String cannot fail.
        write!(out, "# HELP lectern_hub_{name} {help}\n# TYPE lectern_hub_{name} {kind}\n").ok();
        for (labels, value) in rows {
            writeln!(out, "lectern_hub_{name}{labels} {value}").ok();
        }
    };
    let one = |n: u64| vec![(String::new(), n)];
    family("devices", "gauge", "Devices registered and in use.", &one(rooms.len() as u64));
    family("devices_online", "gauge", "Devices online and heard of lately.", &one(online as u64));
    family("devices_recording", "gauge", "Devices recording a lesson.", &one(recording as u64));
    let by_state: Vec<_> = ["receiving", "verifying", "stored", "discarded"]
        .iter()
        .map(|state| {
            let n =
                lessons.iter().find(|(s, _)| s == state).map_or(0, |(_, n)| u64::try_from(*n).unwrap_or(0));
            (format!("{{state=\"{state}\"}}"), n)
        })
        .collect();
    family("lessons", "gauge", "Lessons by state.", &by_state);
    let by_code = Code::ALL.map(|(_, name, title, _)| {
        let n = rooms.iter().flat_map(|r| &r.alarms).filter(|t| **t == title).count();
        (format!("{{code=\"{name}\"}}"), n as u64)
    });
    family("alarms", "gauge", "Problems that stand, by code.", &by_code);
    family(
        "panics_total",
        "counter",
        "Bugs since the start that were survived.",
        &one(lectern_base::panics::count()),
    );
    family("repairs_pending", "gauge", "Reported faults that are not repaired yet.", &one(repairs));
    family("receipts", "gauge", "Receipts in the log.", &one(u64::try_from(receipts).unwrap_or(0)));
    family("store_free_bytes", "gauge", "Free bytes on the store's disk.", &one(free));
    let c = &console.counts;
    for (name, help, count) in [
        ("samples_total", "Samples stored since start.", &c.samples),
        ("events_total", "Events stored since start.", &c.events),
        ("malformed_total", "Messages dropped as malformed since start.", &c.malformed),
        ("refused_total", "MQTT connections and messages refused since start.", &c.refused),
        (
            "broker_forgot_total",
            "Times the broker had forgotten this hub, and what waited for it.",
            &c.forgotten,
        ),
        ("parts_total", "Parts stored since start.", &c.parts),
        ("part_bytes_total", "Bytes of parts stored since start.", &c.bytes),
        ("bad_parts_total", "Parts refused for hash or length since start.", &c.bad_parts),
        ("queued_total", "Parts told to wait for others since start.", &c.queued),
        ("receipts_total", "Receipts written since start.", &c.receipts),
    ] {
        family(name, "counter", help, &one(count.get()));
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], out).into_response())
}

/// Whether the hub can use its database: computed by using it.
pub async fn healthz(State(console): State<Console>) -> Response {
    match console.store.write(|_| Ok(())).await {
        Ok(()) => "ok\n".into_response(),
        Err(e) => {
            tracing::error!("not healthy: {e}");
            (StatusCode::SERVICE_UNAVAILABLE, "the state database cannot be used\n").into_response()
        }
    }
}
