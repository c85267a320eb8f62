//! 告警: what is wrong on this machine, raised once and cleared once, however often it flickers.
//!
//! ```text
//! quiet ──holds for a while──▶ raised ──is over for a while──▶ quiet
//! ```
//!
//! Looked at when the status board or the measurements change, and when a while is over; kept in the database,
//! published retained. What one number decides stands in [`RULES`], the rest in [`holds`].

use std::collections::HashMap;
use std::time::Duration;

use lectern_base::clock;
use lectern_wire::alarm::{Alarm, AlarmState, Code};
use lectern_wire::manifest::FindingKind;
use lectern_wire::preflight::{CheckState, CheckedKind};
use tokio_util::sync::CancellationToken;

use crate::model::alarm::Limits;
use crate::model::home::Doubt;
use crate::model::lesson::CutShort;
use crate::model::reading::Health;
use crate::model::status::{Status, Warning};
use crate::store::Store;

/// While a lesson is recorded the board changes ten times a second; it is looked at this often.
const EVERY: Duration = Duration::from_secs(3);
/// Lessons that wait to be sent: from here on it is a backlog.
const BACKLOG: u64 = 4;
/// The fact that a display was seen connected.
const DISPLAY_SEEN: &str = "display_seen";

/// What one number decides.
struct Rule {
    code: Code,
    value: &'static str,
    limit: fn(&Limits) -> f64,
    /// Where it is well again, as a part of the limit: below 1 what is high is wrong, above 1 what is low.
    well: f64,
    say: fn(f64) -> String,
}

const RULES: [Rule; 5] = [
    Rule {
        code: Code::Hot,
        value: "temperature_celsius",
        limit: |l| l.temperature_celsius.into(),
        well: 0.94,
        say: |c| format!("最热处 {c:.0} ℃"),
    },
    Rule {
        code: Code::DiskNearlyFull,
        value: "disk_used_pct",
        limit: |l| l.disk_used_pct.into(),
        well: 0.97,
        say: |pct| format!("磁盘已用 {pct:.0}%"),
    },
    Rule {
        code: Code::NetworkSlow,
        value: "hub_rtt_ms",
        limit: |l| l.round_trip_ms.into(),
        well: 0.6,
        say: |ms| format!("到中心往返 {ms:.0} 毫秒"),
    },
    Rule {
        code: Code::NetworkSlow,
        value: "net_resent_pct",
        limit: |l| l.resent_pct.into(),
        well: 0.5,
        say: |pct| format!("{pct:.0}% 的数据要重发"),
    },
    Rule {
        code: Code::NetworkSlow,
        value: "net_link_bps",
        limit: |l| f64::from(l.link_mbps) * 1e6,
        well: 1.0,
        say: |bps| format!("网口只有 {:.0} Mb/s", bps / 1e6),
    },
];

impl Rule {
    /// What is wrong, when it is; `was` is whether the alarm stands.
    fn holds(&self, seen: &Seen<'_>, was: bool) -> Option<String> {
        let value = seen.health.value(self.value)?;
        let limit = (self.limit)(seen.limits);
        let edge = if was { limit * self.well } else { limit };
        let wrong = if self.well < 1.0 { value >= edge } else { value < edge };
        wrong.then(|| (self.say)(value))
    }
}

/// How long a problem must hold, and must be over, before it is said.
fn patience(code: Code) -> (Duration, Duration) {
    let (raise, clear) = match code {
        // A busy minute, an update that is downloaded, a projector that changes its input.
        Code::Hot | Code::DisplayFault => (60, 120),
        Code::NetworkSlow => (180, 180),
        // A plug pulled and put back.
        _ => (10, 30),
    };
    (Duration::from_secs(raise), Duration::from_secs(clear))
}

/// Everything alarms are judged by.
struct Seen<'a> {
    status: &'a Status,
    health: &'a Health,
    limits: &'a Limits,
    /// A display was connected here once.
    display: bool,
}

/// Runs until told to stop.
pub async fn run(store: Store, stop: CancellationToken) {
    let raised = store.alarms().borrow().clone();
    let mut latches: HashMap<Code, Latch> = HashMap::new();
    for alarm in raised.iter().filter(|a| a.state == AlarmState::Raised) {
        latches.insert(alarm.code, Latch { raised: true, changed: None });
    }
    // Whether a display was ever connected here; boxes without one are not missing it.
    let mut display = matches!(store.fact(DISPLAY_SEEN), Ok(Some(_)));
    let (mut board, mut health, mut rules) = (store.board().watch(), store.health(), store.rules());
    loop {
        let looked = clock::mono();
        board.mark_unchanged();
        health.mark_unchanged();
        let limits = rules.borrow_and_update().limits.clone();
        let again = look(&store, &limits, &mut latches, &mut display);
        let due = async {
            match again {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            Ok(()) = board.changed() => {}
            Ok(()) = health.changed() => {}
            // Another threshold is handed down.
            Ok(()) = rules.changed() => {}
            () = due => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            // At rest the next change is long after the last look, and is looked at when it comes.
            () = tokio::time::sleep((looked + EVERY).saturating_sub(clock::mono())) => {}
        }
    }
}

/// Raises and clears; gives how long until a problem has held, or been over, long enough.
fn look(
    store: &Store,
    limits: &Limits,
    latches: &mut HashMap<Code, Latch>,
    display: &mut bool,
) -> Option<Duration> {
    let (status, health) = (store.board().read(), store.health().borrow().clone());
    if !*display && health.value("display_count").is_some_and(|n| n > 0.0) {
        *display = true;
        if let Err(e) = store.set_fact(DISPLAY_SEEN, "1") {
            tracing::error!("that a display is connected could not be noted: {e}");
        }
    }
    let seen = Seen { status: &status, health: &health, limits, display: *display };
    let now = clock::mono();
    let mut again = None::<Duration>;
    for (code, ..) in Code::ALL {
        let was = latches.get(&code).is_some_and(|latch| latch.raised);
        let detail = holds(code, &seen, was);
        if detail.is_none() && !latches.contains_key(&code) {
            continue;
        }
        let latch = latches.entry(code).or_default();
        let step = latch.step(detail.is_some(), now, patience(code));
        if let Some(since) = latch.changed {
            let (raise, clear) = patience(code);
            let due = (since + if was { clear } else { raise }).saturating_sub(now);
            again = Some(again.map_or(due, |first| first.min(due)));
        }
        let Some(raised) = step else { continue };
        let ts = clock::wall_ms();
        let before = store.alarms().borrow().iter().find(|a| a.code == code).cloned();
        let alarm = Alarm {
            code,
            state: if raised { AlarmState::Raised } else { AlarmState::Cleared },
            since_ts: before.as_ref().filter(|_| !raised).map_or(ts, |alarm| alarm.since_ts),
            ts,
            detail: detail.or(before.map(|alarm| alarm.detail)).unwrap_or_default(),
            next_step: next_step(code, &seen).to_owned(),
        };
        tracing::warn!(code = code.name(), raised, "{}: {}", code.title(), alarm.detail);
        match store.set_alarm(&alarm) {
            Ok(()) => store.bells().publish.notify_one(),
            Err(e) => tracing::error!("an alarm could not be kept: {e}"),
        }
    }
    again
}

/// Takes back that nothing can be stored: what begins anew on the disk knows nothing of that alarm.
pub fn take_back_read_only(store: &Store) {
    let standing = store.alarms().borrow().iter().find(|a| a.code == Code::DiskNearlyFull).cloned();
    let Some(mut alarm) = standing.filter(|a| a.state == AlarmState::Raised) else { return };
    (alarm.state, alarm.ts) = (AlarmState::Cleared, clock::wall_ms());
    match store.set_alarm(&alarm) {
        Ok(()) => store.bells().publish.notify_one(),
        Err(e) => tracing::error!("an alarm could not be taken back: {e}"),
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
    fn step(&mut self, holds: bool, now: Duration, (raise, clear): (Duration, Duration)) -> Option<bool> {
        if holds == self.raised {
            self.changed = None;
            return None;
        }
        let since = *self.changed.get_or_insert(now);
        let patience = if holds { raise } else { clear };
        if now.saturating_sub(since) < patience {
            return None;
        }
        (self.raised, self.changed) = (holds, None);
        Some(holds)
    }
}

/// What exactly is wrong, when something is; `was` is whether the alarm stands.
fn holds(code: Code, seen: &Seen<'_>, was: bool) -> Option<String> {
    let status = seen.status;
    let by_number = RULES.iter().filter(|rule| rule.code == code).find_map(|rule| rule.holds(seen, was));
    let otherwise = match code {
        Code::ClockWrong => clock_wrong(seen),
        Code::DiskNearlyFull => disk_nearly_full(seen, was),
        Code::DiskRestore => {
            status.home.as_ref().filter(|doubt| **doubt != Doubt::ReadOnly).map(Doubt::detail)
        }
        Code::DisplayFault => display_fault(seen),
        Code::UnknownCaptureDevice => {
            seen.health.words.get("unknown_capture").filter(|_| seen.limits.unknown_capture).cloned()
        }
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
    };
    otherwise.or(by_number)
}

fn clock_wrong(seen: &Seen<'_>) -> Option<String> {
    if !clock::plausible() {
        return Some(format!("本机时间是 {}", clock::local_text(clock::wall_ms())));
    }
    let ahead = seen.health.value("clock_hub_ms")? / 1000.0;
    let way = if ahead > 0.0 { "慢" } else { "快" };
    (ahead.abs() >= f64::from(seen.limits.clock_off_s))
        .then(|| format!("本机时间比中心{way} {:.0} 秒", ahead.abs()))
}

/// What to do about it.
fn next_step(code: Code, seen: &Seen<'_>) -> &'static str {
    match code {
        Code::DiskNearlyFull if read_only(seen) => "检查这台电脑的磁盘，修好或换掉；能写以后会自己恢复",
        code => code.next_step(),
    }
}

fn read_only(seen: &Seen<'_>) -> bool {
    seen.health.value("disk_readonly_count") == Some(1.0) || seen.status.home == Some(Doubt::ReadOnly)
}

/// By minutes of lesson; from a third more on it is well again.
fn disk_nearly_full(seen: &Seen<'_>, was: bool) -> Option<String> {
    if read_only(seen) {
        return Some("磁盘变成只读，可能已经损坏；现在什么都存不下来，也不能录课".into());
    }
    let minutes = seen.status.disk_free_minutes?;
    let few = u64::from(seen.limits.disk_minutes);
    let few = if was { few * 4 / 3 } else { few };
    (minutes < few).then(|| match seen.status.keeping.waiting {
        0 => format!("还能录约 {minutes} 分钟"),
        n => format!(
            "还能录约 {minutes} 分钟；还有 {n} 节没有传完，占 {:.1} GB",
            seen.status.keeping.waiting_bytes as f64 / 1e9
        ),
    })
}

/// A destination beside the hub that does not take what it must have.
fn beside(status: &Status, was: bool) -> Option<String> {
    status.destinations.iter().filter(|d| d.required && d.waiting > 0).find_map(|d| match &d.problem {
        Some(why) => Some(format!("{} 存不进去：{why}", d.name)),
        None => (d.waiting >= BACKLOG || was).then(|| format!("{} 还有 {} 节没有存好", d.name, d.waiting)),
    })
}

fn display_fault(seen: &Seen<'_>) -> Option<String> {
    if let Some(faults) = seen.health.words.get("projector_faults")
        && seen.health.value("projector_errors_count").is_some_and(|n| n > 0.0)
    {
        return Some(format!("投影机报告故障：{faults}"));
    }
    let gone = seen.limits.display && seen.display && seen.health.value("display_count") == Some(0.0);
    gone.then(|| "没有接显示设备".into())
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
    use crate::model::reading::{Found, Group};

    fn limits() -> Limits {
        Limits {
            temperature_celsius: 85,
            disk_minutes: 45,
            disk_used_pct: 95,
            round_trip_ms: 500,
            link_mbps: 100,
            resent_pct: 10,
            clock_off_s: 120,
            display: true,
            unknown_capture: true,
        }
    }

    #[test]
    fn an_alarm_neither_flickers_nor_repeats() {
        let mut latch = Latch::default();
        let seconds = |n| Duration::from_secs(n);
        let patience = (seconds(10), seconds(30));
        let mut said = Vec::new();
        for n in 0..200 {
            let holds = (20..120).contains(&n) && n % 7 != 0;
            said.extend(latch.step(holds, seconds(n), patience).map(|raised| (n, raised)));
        }
        assert!(said.is_empty(), "what flickers every 7 s never holds for 10: {said:?}");
        for n in 200..400 {
            said.extend(latch.step((220..300).contains(&n), seconds(n), patience).map(|raised| (n, raised)));
        }
        assert_eq!(said, [(230, true), (330, false)]);
    }

    #[test]
    fn little_space_is_well_again_only_with_a_third_more() {
        let holds = |minutes, was| {
            let status = Status { disk_free_minutes: Some(minutes), ..Status::default() };
            let seen =
                Seen { status: &status, health: &Health::default(), limits: &limits(), display: false };
            holds(Code::DiskNearlyFull, &seen, was).is_some()
        };
        assert!(holds(44, false) && !holds(50, false) && holds(50, true) && !holds(60, true));
    }

    #[test]
    fn each_number_raises_its_alarm_and_clears_it_further_back() {
        let said = |name: &str, value: f64, code, was| {
            let mut health = Health::default();
            let mut found = Found::default();
            found.put(name, value);
            health.add(Group::Sys, &found);
            let status = Status::default();
            let seen = Seen { status: &status, health: &health, limits: &limits(), display: true };
            holds(code, &seen, was)
        };
        for (name, code, wrong, between, well) in [
            ("temperature_celsius", Code::Hot, 86.0, 82.0, 79.0),
            ("disk_used_pct", Code::DiskNearlyFull, 96.0, 93.0, 90.0),
            ("hub_rtt_ms", Code::NetworkSlow, 700.0, 400.0, 200.0),
            ("net_resent_pct", Code::NetworkSlow, 12.0, 7.0, 1.0),
        ] {
            assert!(said(name, wrong, code, false).is_some(), "{name}");
            assert!(said(name, between, code, false).is_none(), "{name} is not raised in between");
            assert!(said(name, between, code, true).is_some(), "{name} is not cleared in between");
            assert!(said(name, well, code, true).is_none(), "{name}");
        }
        let slow = said("net_link_bps", 1e7, Code::NetworkSlow, false);
        assert_eq!(slow.as_deref(), Some("网口只有 10 Mb/s"));
        assert_eq!(said("net_link_bps", 1e8, Code::NetworkSlow, false), None);
        assert!(said("display_count", 0.0, Code::DisplayFault, false).is_some());
        assert!(
            said("clock_hub_ms", -200_000.0, Code::ClockWrong, false)
                .is_some_and(|s| s.contains("快 200 秒"))
        );
        let nothing =
            Seen { status: &Status::default(), health: &Health::default(), limits: &limits(), display: true };
        assert!(
            Code::ALL
                .iter()
                .all(|(code, ..)| holds(*code, &nothing, true).is_none() || *code == Code::ClockWrong),
            "what is not known raises nothing"
        );
    }
}
