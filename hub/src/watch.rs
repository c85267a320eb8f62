//! Floor 3: looks at every device again and again, and raises the alarms that only the hub can raise.

use std::time::Duration;

use lectern_base::clock;
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use crate::model::bell::Bell;
use crate::model::watch::{Rules, Verdict, look};
use crate::store::{Store, alarms, devices};

/// How often. The rules count in minutes.
const EVERY: Duration = Duration::from_secs(10);

/// What the watch needs.
#[derive(Debug)]
pub struct Deps {
    /// Rows.
    pub store: Store,
    /// Rung when an alarm changed.
    pub bell: Bell,
    /// When a room is missed.
    pub rules: Rules,
}

/// Watches until told to stop.
pub async fn run(deps: Deps, stop: CancellationToken) {
    // Rooms connect again after a restart of the hub: nobody is missed before they could.
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let rules = deps.rules.clone();
        match deps.store.write(move |db| once(db, &rules, clock::wall_ms())).await {
            Ok(true) => deps.bell.ring(),
            Ok(false) => {}
            Err(e) => tracing::error!("rooms could not be watched: {e}"),
        }
    }
}

/// One look at all devices; answers whether an alarm changed.
fn once(db: &Connection, rules: &Rules, now: i64) -> rusqlite::Result<bool> {
    let local = clock::local(now);
    let minute = u16::try_from(i32::from(local.hour()) * 60 + i32::from(local.minute())).unwrap_or(0);
    let expected = rules.hours.hold(local.weekday().to_monday_one_offset(), minute);
    let moment = |ms: i64| clock::local(ms).strftime("%m-%d %H:%M").to_string();
    let mut changed = false;
    for (device, known) in devices::watched(db)? {
        for (code, verdict) in look(&known, rules, expected, now, moment) {
            changed |= match verdict {
                Verdict::Holds(detail) => alarms::set(db, &device, code, Some(&detail), now, now)?,
                Verdict::Over => alarms::set(db, &device, code, None, now, now)?,
                Verdict::Unsaid => false,
            };
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use lectern_wire::alarm::Code;
    use lectern_wire::telemetry::{Presence, State};

    use super::*;
    use crate::model::watch::Hours;
    use crate::testkit;

    const MINUTE: i64 = 60_000;

    #[test]
    fn a_room_that_vanishes_in_school_hours_is_one_alarm_until_it_is_back() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path()).expect("opens");
        let topics = testkit::topics("room-1");
        let hours = Hours::parse("1-7 00:00-24:00").expect("hours");
        let rules = Rules { away_ms: 5 * MINUTE, hours, oldest: semver::Version::new(0, 1, 0) };
        let start = 1_789_180_200_000;
        store.write_now(|db| devices::add(db, &topics, "301教室", "pw", 1)).expect("added");
        let say = |presence, minute: i64| {
            let state = State { state: presence, reason: None, ts: None };
            let at = start + minute * MINUTE;
            store.write_now(|db| devices::set_state(db, &topics.device, &state, at)).expect("no fault");
        };
        let look =
            |minute: i64| store.write_now(|db| once(db, &rules, start + minute * MINUTE)).expect("no fault");
        let standing = || store.read_now(alarms::standing).expect("read").into_values().flatten().count();
        assert!(!look(0), "one that was never here is not missed");
        say(Presence::Online, 0);
        assert!(!look(1));
        say(Presence::Lost, 2);
        assert!(!look(6) && look(9) && !look(10), "raised once");
        assert_eq!(standing(), 1);
        say(Presence::Online, 20);
        assert!(look(20) && !look(21));
        assert_eq!(standing(), 0);
        let rows = store.read_now(|db| alarms::list(db, &alarms::Filter::default(), 9, 0)).expect("read");
        assert_eq!(rows.iter().map(|r| r.code).collect::<Vec<_>>(), [Code::Offline]);
    }

    #[test]
    fn a_copied_machine_is_one_alarm_until_it_has_an_id_of_its_own_or_the_room_a_new_password() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path()).expect("opens");
        let (room, other) = (testkit::topics("room-1"), testkit::topics("room-2"));
        for topics in [&room, &other] {
            store.write_now(|db| devices::add(db, topics, "301教室", "pw", 1)).expect("added");
        }
        let hours = Hours::parse("1-7 00:00-24:00").expect("hours");
        let rules = Rules { away_ms: 5 * MINUTE, hours, oldest: semver::Version::new(0, 1, 0) };
        let now = 1_789_180_200_000;
        let marks = |name: &str| [lectern_wire::digest::Digest::of(name.as_bytes())];
        let comes = |topics: &lectern_wire::topic::Topics, machine: &str| {
            let marks = marks(machine);
            store.write_now(|db| devices::pin_machine(db, &topics.device, &marks, now)).expect("no fault")
        };
        let standing = || {
            store.write_now(|db| once(db, &rules, now + MINUTE)).expect("no fault");
            let all = store.read_now(alarms::standing).expect("read").into_values().flatten();
            all.map(|row| (row.device.to_string(), row.code)).collect::<Vec<_>>()
        };
        let copied = [("room-1".to_owned(), Code::MachineCopied)];
        assert!(comes(&room, "mainboard 1") && standing().is_empty());
        assert!(!comes(&room, "mainboard 2") && !comes(&room, "mainboard 2"));
        assert_eq!(standing(), copied);
        assert!(comes(&room, "mainboard 1"), "the first one goes on");
        assert_eq!(standing(), copied, "and the other still stands somewhere");
        assert!(comes(&other, "mainboard 2"), "it was registered");
        assert!(standing().is_empty());
        assert!(!comes(&room, "mainboard 3"));
        assert_eq!(standing(), copied);
        store.write_now(|db| devices::set_password(db, &room.device, "new")).expect("no fault");
        assert!(standing().is_empty() && comes(&room, "mainboard 3"), "its mainboard was exchanged");
    }

    #[test]
    fn an_old_version_is_an_alarm_until_it_is_updated() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path()).expect("opens");
        let room = testkit::topics("room-1");
        store.write_now(|db| devices::add(db, &room, "301教室", "pw", 1)).expect("added");
        let hours = Hours::parse("1-7 00:00-24:00").expect("hours");
        let rules = Rules { away_ms: 5 * MINUTE, hours, oldest: semver::Version::new(0, 10, 0) };
        let tells = |version: &str| {
            let info = lectern_wire::telemetry::Info {
                ts: 1,
                room: "301教室".into(),
                agent_version: version.into(),
                os: String::new(),
                kernel: String::new(),
                cpu: String::new(),
                cpu_count: 2,
                memory_bytes: 1,
                key: lectern_wire::sign::PublicKey::of(&testkit::key(7)),
                recorder: true,
                projector: false,
            };
            store.write_now(|db| devices::set_info(db, &room.device, &info, 5)).expect("no fault");
            store.write_now(|db| once(db, &rules, 10)).expect("no fault")
        };
        let all = || store.read_now(|db| alarms::list(db, &alarms::Filter::default(), 9, 0)).expect("read");
        assert!(tells("0.9.1") && !tells("0.9.1"), "raised once");
        assert_eq!(all()[0].code, Code::VersionOld);
        assert!(
            all()[0].detail.contains("0.9.1") && all()[0].detail.contains("0.10.0"),
            "{}",
            all()[0].detail
        );
        assert!(tells("0.10.0") && all()[0].cleared_ms.is_some());
    }
}
