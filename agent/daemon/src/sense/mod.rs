//! Reads the machine's health at an interval and leaves samples in the outbox.

use std::time::Duration;

use lectern_base::clock;
use lectern_wire::telemetry::Sample;
use tokio_util::sync::CancellationToken;

use crate::model::lesson::State;
use crate::model::status::Status;
use crate::platform::host::{Host, Readings};
use crate::store::Store;

/// Runs until told to stop.
pub async fn run(store: Store, interval: Duration, stop: CancellationToken) {
    let mut host = Host::open(store.folder());
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut board = store.board().watch();
    let mut shown = None;
    let mut told = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = async {
                tokio::select! {
                    _ = tick.tick() => {}
                    // A technician wants to know now.
                    () = store.bells().sense.notified() => {}
                }
            } => {
                // Reading may block on a sick disk; others must not wait for it.
                let read = tokio::task::spawn_blocking(move || {
                    let values = host.read();
                    (host, values)
                });
                let mut values;
                match read.await {
                    Ok(read) => (host, values) = read,
                    Err(e) => return tracing::error!("reading the machine's health broke off: {e}"),
                }
                match store.outbox().rows() {
                    Ok(rows) => drop(values.insert("outbox_rows_count".into(), rows as f64)),
                    Err(e) => tracing::warn!("the outbox cannot be counted: {e}"),
                }
                leave(&store, "sys", clock::wall_ms(), values);
                let status = store.board().read();
                shown = Some(phase(&status));
                told = after(told);
                leave(&store, "rec", told, recording(&status));
            }
            Ok(()) = board.changed() => {
                // A change of phase is told at once, so that the console follows the room.
                let status = board.borrow_and_update().clone();
                let now = phase(&status);
                if shown != Some(now) {
                    shown = Some(now);
                    told = after(told);
                    leave(&store, "rec", told, recording(&status));
                }
            }
        }
    }
}

/// Now, but never the millisecond of the sample before: the hub keeps one sample of a group for each, and two
/// phases can change within one.
fn after(before: i64) -> i64 {
    let now = clock::wall_ms();
    if (0..1000).contains(&(before - now)) { before + 1 } else { now }
}

fn leave(store: &Store, group: &str, ts: i64, values: Readings) {
    if !values.is_empty() {
        store.outbox().push_sample(group, Sample { ts, values });
        store.bells().publish.notify_one();
    }
}

type Phase = (Option<State>, u64, bool);

fn phase(status: &Status) -> Phase {
    (status.lesson.as_ref().map(|l| l.state), status.upload.waiting_lessons, status.upload.pending_bytes > 0)
}

/// The group `rec`: what is being recorded and what waits.
fn recording(status: &Status) -> Readings {
    let mut out = Readings::new();
    let mut put = |name: &str, value: f64| {
        out.insert(name.to_owned(), value);
    };
    let live = status.lesson.as_ref().filter(|l| l.state.is_live());
    put("recording_count", f64::from(u8::from(live.is_some_and(|l| l.state != State::Paused))));
    put("paused_count", f64::from(u8::from(live.is_some_and(|l| l.state == State::Paused))));
    if let Some(lesson) = live {
        put("media_s", lesson.media_ms as f64 / 1000.0);
        put("durable_bytes", lesson.bytes as f64);
        if let Some(level) = status.level {
            put("level_peak_dbfs", (level.peak_dbfs * 10.0).round() / 10.0);
            put("level_rms_dbfs", (level.rms_dbfs * 10.0).round() / 10.0);
        }
    }
    put("warnings_count", status.warnings.len() as f64);
    if status.upload.configured {
        put("pending_upload_bytes", status.upload.pending_bytes as f64);
        put("lessons_waiting_count", status.upload.waiting_lessons as f64);
        put("lessons_waiting_bytes", status.keeping.waiting_bytes as f64);
    }
    out
}
