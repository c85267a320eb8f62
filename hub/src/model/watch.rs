//! The alarms only a hub can raise: a room that is away, a program that was stopped, numbers that are missing, a copied
//! machine, an old version.
//!
//! Everything is decided from what is known now, again and again; nothing is remembered here.

use lectern_wire::alarm::Code;
use lectern_wire::telemetry::Presence;
use semver::Version;

/// A device that says nothing for this long is lost, whatever it said last.
pub const QUIET_MS: i64 = 3 * 60 * 1000;
/// A program that is back within this time was restarted, not stopped.
const RESTART_MS: i64 = 2 * 60 * 1000;
/// A number that is missing for less than this may still be under way.
const LATE_MS: i64 = 2 * 60 * 1000;

/// A copied machine that has not come back for so long was dealt with where it stands.
const COPY_GONE_MS: i64 = 7 * 86_400_000;

/// What is known of a device.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// What it last said, or the broker said for it, and when.
    pub presence: Option<(Presence, i64)>,
    /// Why.
    pub reason: Option<String>,
    /// When anything came from it last.
    pub seen_ms: Option<i64>,
    /// The numbers missing below one that has arrived: first, last, and when that one arrived.
    pub hole: Option<(i64, i64, i64)>,
    /// When it began to number its events anew, unless somebody has looked into it since.
    pub anew_ms: Option<i64>,
    /// When another machine with its id and password was refused last.
    pub other_ms: Option<i64>,
    /// The version of its agent, as it says it.
    pub version: Option<String>,
}

/// How rooms are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// A room may be away for this long.
    pub away_ms: i64,
    /// When it is missed at all.
    pub hours: Hours,
    /// The oldest version of the agent that is not too old.
    pub oldest: Version,
}

/// When a school expects its rooms to be on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// Days of the week, 1 is Monday.
    pub days: std::ops::RangeInclusive<i8>,
    /// Minutes of the day.
    pub minutes: std::ops::Range<u16>,
}

impl Hours {
    /// Reads `1-5 07:30-16:30`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (days, span) = text.split_once(' ')?;
        let (first, last) = days.split_once('-').unwrap_or((days, days));
        let (first, last): (i8, i8) = (first.parse().ok()?, last.parse().ok()?);
        let minute = |text: &str| -> Option<u16> {
            let (h, m) = text.split_once(':')?;
            let (h, m): (u16, u16) = (h.parse().ok()?, m.parse().ok()?);
            (h <= 24 && m < 60 && h * 60 + m <= 24 * 60).then_some(h * 60 + m)
        };
        let (from, to) = span.trim().split_once('-')?;
        let minutes = minute(from)?..minute(to)?;
        let ok = 1 <= first && first <= last && last <= 7 && !minutes.is_empty();
        ok.then_some(Self { days: first..=last, minutes })
    }

    /// Whether a moment lies in them.
    #[must_use]
    pub fn hold(&self, weekday: i8, minute: u16) -> bool {
        self.days.contains(&weekday) && self.minutes.contains(&minute)
    }
}

/// What a look at one device says of one code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It holds, and what exactly.
    Holds(String),
    /// It does not.
    Over,
    /// Nothing new can be said now: an alarm that stands goes on standing.
    Unsaid,
}

/// What holds of a device now. `expected` is whether its room ought to be on; `moment` writes a time.
pub fn look(
    known: &Known,
    rules: &Rules,
    expected: bool,
    now: i64,
    moment: impl Fn(i64) -> String,
) -> [(Code, Verdict); 5] {
    let stopped = known.reason.as_deref() == Some("stopped");
    let last = known.seen_ms.or(known.presence.map(|(_, at)| at));
    let away = match known.presence {
        // Never connected: it waits to be installed, nobody misses it.
        None => Verdict::Over,
        Some((Presence::Online, _)) if known.seen_ms.is_some_and(|seen| now - seen <= QUIET_MS) => {
            Verdict::Over
        }
        // Said goodbye: planned, or the alarm below.
        Some((Presence::Offline, _)) => Verdict::Over,
        Some((_, at)) => {
            let since = last.unwrap_or(at);
            if expected && now - since.max(at) > rules.away_ms {
                Verdict::Holds(format!("{} 以后没有消息，可能断电或断网", moment(since)))
            } else {
                Verdict::Unsaid
            }
        }
    };
    let program = match known.presence {
        Some((Presence::Offline, at)) if stopped && now - at > RESTART_MS => {
            Verdict::Holds(format!("{} 程序被停止，电脑没有关机", moment(at)))
        }
        Some((Presence::Offline, _)) if stopped => Verdict::Unsaid,
        // Whoever stopped it may pull the plug then: only a sign of life ends it.
        Some((Presence::Lost, _)) => Verdict::Unsaid,
        _ => Verdict::Over,
    };
    let numbers = match (known.hole, known.anew_ms) {
        (Some((from, to, arrived)), _) if now - arrived > LATE_MS => {
            let which = if from == to { format!("{from} 号") } else { format!("{from} 到 {to} 号") };
            Verdict::Holds(format!("缺少{which}记录，设备没有说明原因"))
        }
        (_, Some(at)) => Verdict::Holds(format!("{} 起记录从头编号，本机数据可能被删除", moment(at))),
        (Some(_), _) => Verdict::Unsaid,
        (None, None) => Verdict::Over,
    };
    let copied = match known.other_ms {
        Some(at) if now - at <= COPY_GONE_MS => {
            Verdict::Holds(format!("另一台电脑用同样的编号和密码来交录课，{} 又被拒绝", moment(at)))
        }
        _ => Verdict::Over,
    };
    let version = match &known.version {
        // Nothing is known of it before it has told.
        None => Verdict::Unsaid,
        Some(text) => match Version::parse(text) {
            Ok(version) if version >= rules.oldest => Verdict::Over,
            _ => Verdict::Holds(format!("在用 {text}，要用 {} 或更新的版本", rules.oldest)),
        },
    };
    [
        (Code::Offline, away),
        (Code::AgentStopped, program),
        (Code::SequenceGap, numbers),
        (Code::MachineCopied, copied),
        (Code::VersionOld, version),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn rules() -> Rules {
        Rules {
            away_ms: 5 * MINUTE,
            hours: Hours::parse("1-5 07:30-16:30").expect("hours"),
            oldest: Version::new(0, 10, 0),
        }
    }

    fn said(known: &Known, expected: bool, now: i64) -> Vec<Code> {
        let all = look(known, &rules(), expected, now, |ms| format!("{ms}"));
        all.into_iter().filter(|(_, v)| matches!(v, Verdict::Holds(_))).map(|(code, _)| code).collect()
    }

    fn device(presence: Presence, at: i64, reason: Option<&str>) -> Known {
        let reason = reason.map(str::to_owned);
        Known { presence: Some((presence, at)), reason, seen_ms: Some(at), ..Known::default() }
    }

    #[test]
    fn a_planned_shutdown_is_no_alarm_and_a_stopped_program_is_one() {
        let now = 1000 * MINUTE;
        assert!(said(&device(Presence::Offline, 1, Some("shutdown")), true, now).is_empty());
        assert_eq!(said(&device(Presence::Offline, 1, Some("stopped")), false, now), [Code::AgentStopped]);
        let upgrade = device(Presence::Offline, now - MINUTE, Some("stopped"));
        assert!(said(&upgrade, true, now).is_empty(), "a restart is not a stop");
        // Stopped first and unplugged then: the alarm stands, whatever the last will says.
        let unplugged = device(Presence::Lost, now, None);
        let all = look(&unplugged, &rules(), false, now, |_| String::new());
        assert_eq!(all[1], (Code::AgentStopped, Verdict::Unsaid));
    }

    #[test]
    fn a_room_is_missed_in_school_hours_and_an_alarm_that_stands_stays() {
        let now = 1000 * MINUTE;
        let lost = device(Presence::Lost, now - 6 * MINUTE, None);
        assert_eq!(said(&lost, true, now), [Code::Offline]);
        assert!(said(&lost, false, now).is_empty(), "in the evening the mains is cut");
        assert_eq!(look(&lost, &rules(), false, now, |_| String::new())[0].1, Verdict::Unsaid);
        assert!(said(&device(Presence::Lost, now - 4 * MINUTE, None), true, now).is_empty());
        let silent = device(Presence::Online, now - 9 * MINUTE, None);
        assert_eq!(said(&silent, true, now), [Code::Offline], "online by its word, but silent");
        assert!(said(&Known::default(), true, now).is_empty(), "one that was never here is not missed");
        assert_eq!(
            look(&device(Presence::Online, now, None), &rules(), true, now, |_| String::new())[0].1,
            Verdict::Over
        );
    }

    #[test]
    fn a_missing_number_is_an_alarm_once_it_cannot_be_under_way() {
        let now = 1000 * MINUTE;
        let hole = |arrived| Known { hole: Some((4, 6, arrived)), ..device(Presence::Online, now, None) };
        assert!(said(&hole(now - MINUTE), true, now).is_empty());
        assert_eq!(said(&hole(now - 3 * MINUTE), true, now), [Code::SequenceGap]);
        let anew = Known { anew_ms: Some(5), ..device(Presence::Online, now, None) };
        assert_eq!(said(&anew, true, now), [Code::SequenceGap]);
    }

    #[test]
    fn a_copied_machine_is_an_alarm_until_it_has_stayed_away() {
        let now = 1000 * MINUTE;
        let copied = |at| Known { other_ms: at, ..device(Presence::Online, now, None) };
        assert_eq!(said(&copied(Some(now - MINUTE)), false, now), [Code::MachineCopied]);
        assert!(said(&copied(None), true, now).is_empty());
        let later = now + COPY_GONE_MS;
        assert!(!said(&copied(Some(now - MINUTE)), true, later).contains(&Code::MachineCopied));
    }

    #[test]
    fn versions_are_compared_as_versions_and_not_as_texts() {
        let now = 1000 * MINUTE;
        let of = |version: &str| {
            let known = Known { version: Some(version.into()), ..device(Presence::Online, now, None) };
            said(&known, true, now)
        };
        assert!(of("0.10.0").is_empty() && of("0.11.2").is_empty() && of("1.0.0").is_empty());
        for old in ["0.9.9", "0.2.0", "0.10.0-beta.1", "unknown"] {
            assert_eq!(of(old), [Code::VersionOld], "{old}");
        }
        assert!(said(&device(Presence::Online, now, None), true, now).is_empty(), "it has not told yet");
    }

    #[test]
    fn school_hours_are_read_and_what_is_none_is_refused() {
        let hours = Hours::parse("1-5 07:30-16:30").expect("hours");
        assert!(hours.hold(1, 450) && hours.hold(5, 989));
        assert!(!hours.hold(6, 600) && !hours.hold(1, 449) && !hours.hold(1, 990));
        assert!(Hours::parse("1-7 00:00-24:00").is_some_and(|h| h.hold(7, 1439)));
        for bad in [
            "",
            "1-5",
            "5-1 07:30-16:30",
            "1-8 07:30-16:30",
            "1-5 16:30-07:30",
            "1-5 07:60-08:00",
            "x 1:0-2:0",
        ] {
            assert_eq!(Hours::parse(bad), None, "{bad}");
        }
    }
}
