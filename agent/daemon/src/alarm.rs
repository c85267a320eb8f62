//! 告警: what is wrong on this machine, raised once and cleared once, however often it flickers.
//!
//! ```text
//! quiet ──holds for a while──▶ raised ──is over for a while──▶ quiet
//! ```
//!
//! Looked at every few seconds from the status board, kept in the database, published retained.

use std::collections::HashMap;
use std::time::Duration;

use lectern_base::clock;
use lectern_wire::alarm::{Alarm, AlarmState, Code};
use lectern_wire::manifest::FindingKind;
use lectern_wire::preflight::{CheckState, CheckedKind};
use tokio_util::sync::CancellationToken;

use crate::model::lesson::CutShort;
use crate::model::status::{Status, Warning};
use crate::store::Store;

const EVERY: Duration = Duration::from_secs(3);
/// What holds for less than this is not raised: a plug pulled and put back.
const RAISE_AFTER: Duration = Duration::from_secs(10);
/// What is over for less than this is not cleared yet.
const CLEAR_AFTER: Duration = Duration::from_secs(30);
/// Fewer minutes of lesson than this on the disk are too few; from a third more on it is well again.
const FEW_MINUTES: u64 = 45;
/// Lessons that wait to be sent: from here on it is a backlog.
const BACKLOG: u64 = 4;

/// Runs until told to stop.
pub async fn run(store: Store, stop: CancellationToken) {
    let raised = store.alarms().borrow().clone();
    let mut latches: HashMap<Code, Latch> = HashMap::new();
    for alarm in raised.iter().filter(|a| a.state == AlarmState::Raised) {
        latches.insert(alarm.code, Latch { raised: true, changed: None });
    }
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => look(&store, &mut latches),
        }
    }
}

fn look(store: &Store, latches: &mut HashMap<Code, Latch>) {
    let status = store.board().read();
    let now = clock::mono();
    for (code, ..) in Code::ALL {
        let was = latches.get(&code).is_some_and(|latch| latch.raised);
        let detail = holds(code, &status, was);
        if detail.is_none() && !latches.contains_key(&code) {
            continue;
        }
        let latch = latches.entry(code).or_default();
        let Some(raised) = latch.step(detail.is_some(), now) else { continue };
        let ts = clock::wall_ms();
        let before = store.alarms().borrow().iter().find(|a| a.code == code).cloned();
        let alarm = Alarm {
            code,
            state: if raised { AlarmState::Raised } else { AlarmState::Cleared },
            since_ts: before.as_ref().filter(|_| !raised).map_or(ts, |alarm| alarm.since_ts),
            ts,
            detail: detail.or(before.map(|alarm| alarm.detail)).unwrap_or_default(),
            next_step: code.next_step().to_owned(),
        };
        tracing::warn!(code = code.name(), raised, "{}: {}", code.title(), alarm.detail);
        match store.set_alarm(&alarm) {
            Ok(()) => store.bells().publish.notify_one(),
            Err(e) => tracing::error!("an alarm could not be kept: {e}"),
        }
    }
}

/// One alarm's hysteresis in time.
#[derive(Debug, Default)]
struct Latch {
    raised: bool,
    /// Since when it has been otherwise than shown.
    changed: Option<Duration>,
}

impl Latch {
    /// Takes in whether the problem holds; says when the alarm changes.
    fn step(&mut self, holds: bool, now: Duration) -> Option<bool> {
        if holds == self.raised {
            self.changed = None;
            return None;
        }
        let since = *self.changed.get_or_insert(now);
        let patience = if holds { RAISE_AFTER } else { CLEAR_AFTER };
        if now.saturating_sub(since) < patience {
            return None;
        }
        (self.raised, self.changed) = (holds, None);
        Some(holds)
    }
}

/// What exactly is wrong, when something is; `was` is whether the alarm stands.
fn holds(code: Code, status: &Status, was: bool) -> Option<String> {
    match code {
        Code::ClockWrong => {
            (!clock::plausible()).then(|| format!("本机时间是 {}", clock::local_text(clock::wall_ms())))
        }
        Code::DiskNearlyFull => {
            let minutes = status.disk_free_minutes?;
            let few = if was { FEW_MINUTES * 4 / 3 } else { FEW_MINUTES };
            (minutes < few).then(|| match status.keeping.waiting {
                0 => format!("还能录约 {minutes} 分钟"),
                n => format!(
                    "还能录约 {minutes} 分钟；还有 {n} 节没有传完，占 {:.1} GB",
                    status.keeping.waiting_bytes as f64 / 1e9
                ),
            })
        }
        Code::DiskRestore => status.home.as_ref().map(crate::model::home::Doubt::detail),
        Code::CameraNoPicture => no_picture(status),
        Code::MicrophoneNoSound => no_sound(status),
        Code::RecordingFailed => recording_failed(status),
        Code::UploadBacklog => {
            let waiting = status.upload.waiting_lessons;
            let held = status.upload.blocked.as_ref();
            match held {
                Some(why) => Some(format!("上传停住了：{why}")),
                None => (waiting >= BACKLOG || (was && waiting > 0))
                    .then(|| format!("{waiting} 节等待上传"))
                    .or_else(|| beside(status, was)),
            }
        }
        Code::LogMismatch => status.upload.log_fault.clone(),
        Code::EvidenceMismatch => status.upload.evidence_fault.clone(),
        _ => None,
    }
}

/// A destination beside the hub that does not take what it must have.
fn beside(status: &Status, was: bool) -> Option<String> {
    status.destinations.iter().filter(|d| d.required && d.waiting > 0).find_map(|d| match &d.problem {
        Some(why) => Some(format!("{} 存不进去：{why}", d.name)),
        None => (d.waiting >= BACKLOG || was).then(|| format!("{} 还有 {} 节没有存好", d.name, d.waiting)),
    })
}

fn live(status: &Status) -> bool {
    status.lesson.as_ref().is_some_and(|lesson| lesson.state.is_live())
}

/// While a lesson is recorded its own warnings count, else the last look at the sources.
fn no_picture(status: &Status) -> Option<String> {
    if live(status) {
        return status.warnings.iter().find_map(|warning| match warning {
            Warning::SourceLost { source, sound: false, .. } => Some(format!("{source} 没有画面")),
            Warning::Finding(FindingKind::Frozen) => Some("画面不动".into()),
            Warning::Finding(FindingKind::Black) => Some("画面是黑的".into()),
            _ => None,
        });
    }
    let sources = &status.preflight.as_ref()?.sources;
    let blind = sources.iter().find(|s| s.kind != CheckedKind::Microphone && s.state != CheckState::Good)?;
    Some(format!("{} 没有画面", blind.name))
}

fn no_sound(status: &Status) -> Option<String> {
    /// Below this a microphone gives digital zero, not a quiet room.
    const ZERO_DBFS: f64 = -90.0;
    if live(status) {
        return status.warnings.iter().find_map(|warning| match warning {
            Warning::SourceLost { source, sound: true, .. } => Some(format!("{source} 没有声音")),
            Warning::Finding(FindingKind::DigitalZero) => Some("话筒是静音的".into()),
            Warning::Finding(FindingKind::Silent) => Some("很久没有听到声音".into()),
            _ => None,
        });
    }
    let sources = &status.preflight.as_ref()?.sources;
    let mute = sources.iter().filter(|s| s.kind == CheckedKind::Microphone).find(|s| match s.state {
        CheckState::Silent => s.peak_dbfs.is_none_or(|peak| peak < ZERO_DBFS),
        state => state != CheckState::Good,
    })?;
    Some(format!("{} 没有声音", mute.name))
}

fn recording_failed(status: &Status) -> Option<String> {
    if let Some(lesson) = &status.lesson {
        match lesson.cut_short {
            Some(CutShort::RecorderLost) => return Some(format!("{} 录制程序中断", lesson.id)),
            Some(CutShort::DiskFull) => return Some(format!("{} 存储空间用完", lesson.id)),
            _ => {}
        }
    }
    let found = status.preflight.as_ref().filter(|_| !live(status))?;
    match (&found.problem, found.no_encoder()) {
        (Some(problem), _) => Some(format!("录课前检查没有成功：{problem}")),
        (None, Some(why)) => Some(format!("画面不能编码：{why}")),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_neither_flickers_nor_repeats() {
        let mut latch = Latch::default();
        let seconds = |n| Duration::from_secs(n);
        let mut said = Vec::new();
        for n in 0..200 {
            let holds = (20..120).contains(&n) && n % 7 != 0;
            said.extend(latch.step(holds, seconds(n)).map(|raised| (n, raised)));
        }
        assert!(said.is_empty(), "what flickers every 7 s never holds for 10: {said:?}");
        for n in 200..400 {
            said.extend(latch.step((220..300).contains(&n), seconds(n)).map(|raised| (n, raised)));
        }
        assert_eq!(said, [(230, true), (330, false)]);
    }

    #[test]
    fn little_space_is_well_again_only_with_a_third_more() {
        let with = |minutes| Status { disk_free_minutes: Some(minutes), ..Status::default() };
        assert!(holds(Code::DiskNearlyFull, &with(44), false).is_some());
        assert!(holds(Code::DiskNearlyFull, &with(50), false).is_none());
        assert!(holds(Code::DiskNearlyFull, &with(50), true).is_some());
        assert!(holds(Code::DiskNearlyFull, &with(60), true).is_none());
    }
}
