//! The arithmetic of the indicators.

use std::collections::{BTreeMap, BTreeSet};

use lectern_wire::id::DeviceId;

use super::{Code, Facts, Indicator, Room, Targets, Teacher, Ticket, Trouble, Value};
use crate::model::register::{Entry, Verdict};
use crate::model::timetable::{fold, room};

/// What is left out, told only where there is something.
type LeftOut = Vec<(u64, String)>;

fn count<T>(all: impl IntoIterator<Item = T>) -> u64 {
    all.into_iter().fold(0, |n, _| n + 1)
}

fn share(num: u64, den: u64, without: &str) -> Value {
    if den == 0 { Value::Cannot(without.into()) } else { Value::Share { num, den } }
}

/// Every indicator, in the order of the page.
#[must_use]
pub fn compute(facts: &Facts, targets: &Targets) -> Vec<Indicator> {
    let made = [
        (Code::Coverage, coverage(facts)),
        (Code::PowerOn, power_on(&facts.entries)),
        (Code::PeriodsUsed, periods_used(&facts.entries)),
        (Code::Teachers, teachers(&facts.entries)),
        (Code::RecordingRooms, recording_rooms(facts, &targets.recording_rooms)),
        (Code::Submitted, submitted(facts)),
        (Code::InOrder, in_order(&facts.entries, &facts.troubles)),
    ];
    let mut all: Vec<_> = made
        .into_iter()
        .map(|(code, (value, left_out))| Indicator {
            code,
            value,
            left_out: left_out.into_iter().filter(|(n, _)| *n > 0).collect(),
            target: targets.tenths.get(&code).copied(),
        })
        .collect();
    let reached = reached(&all);
    all.push(reached);
    let mean = |code, until: fn(&Ticket) -> Option<i64>, not_yet: &str| {
        let times: Vec<i64> =
            facts.tickets.iter().filter_map(|t| Some((until(t)? - t.asked_ms).max(0))).collect();
        let (n, open) = (count(&times), count(&facts.tickets) - count(&times));
        let value = match n {
            0 if open == 0 => Value::Cannot("这个月没有报修。".into()),
            0 => Value::Cannot(format!("这个月的报修{not_yet}。")),
            n => Value::Mean { ms: times.iter().sum(), n },
        };
        let left_out = if open > 0 { vec![(open, format!("件{not_yet}"))] } else { Vec::new() };
        Indicator { code, value, left_out, target: None }
    };
    all.push(mean(Code::Answered, |t| t.doing_ms, "还没有开始处理"));
    all.push(mean(Code::Repaired, |t| t.done_ms, "还没有修好"));
    all
}

fn coverage(facts: &Facts) -> (Value, LeftOut) {
    let places: BTreeSet<String> =
        facts.table.lessons.iter().map(|l| fold::room(room::of(l))).filter(|name| !name.is_empty()).collect();
    let of = |place: &str, r: &Room| room::means(place, r.device.as_str(), &r.name);
    let covered = places.iter().filter(|place| facts.rooms.iter().any(|r| r.heard && of(place, r)));
    let spare = facts.rooms.iter().filter(|r| !places.iter().any(|place| of(place, r)));
    let value = share(count(covered), count(&places), "没有课表，不知道有几间教室上课。");
    (value, vec![(count(spare), "间登记了的教室在课表里没有课".into())])
}

/// The entries of each room and day.
fn days(entries: &[Entry]) -> BTreeMap<(&DeviceId, &str), Vec<&Entry>> {
    let mut days: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for entry in entries {
        days.entry((&entry.device, entry.row().date.as_str())).or_default().push(entry);
    }
    days
}

fn power_on(entries: &[Entry]) -> (Value, LeftOut) {
    let (mut on, mut off, mut unknown) = (0, 0, 0);
    for day in days(entries).into_values().filter(|day| day.iter().any(|e| e.row().planned)) {
        if day.iter().any(|e| e.powered() == Some(true) || e.verdict() == Verdict::Used) {
            on += 1;
        } else if day.iter().all(|e| e.powered() == Some(false)) {
            off += 1;
        } else {
            unknown += 1;
        }
    }
    let value = share(on, on + off, "这个月还没有哪间教室的开机情况。");
    (value, vec![(unknown, "天不知道是否开机：没有记录，或看到的时间不够".into())])
}

/// Used, and used or not; and what is left out of them.
fn counted<'a>(entries: &(impl Iterator<Item = &'a Entry> + Clone), without: &str) -> (Value, LeftOut) {
    let of = |verdict| count(entries.clone().filter(|e| e.verdict() == verdict));
    let (used, not) = (of(Verdict::Used), of(Verdict::Not));
    let left_out = vec![
        (of(Verdict::Unknown), "节未知：看到的时间不够，不算使用也不算未使用".into()),
        (of(Verdict::NoRecord), "节没有记录：教室没有送来".into()),
    ];
    (share(used, used + not, without), left_out)
}

fn periods_used(entries: &[Entry]) -> (Value, LeftOut) {
    let (value, mut left_out) =
        counted(&entries.iter().filter(|e| e.row().planned), "这个月还没有哪节课知道是否使用。");
    let beside = entries.iter().filter(|e| !e.row().planned && e.verdict() == Verdict::Used);
    left_out.push((count(beside), "节在课表以外使用".into()));
    (value, left_out)
}

fn teacher(entry: &Entry) -> Teacher {
    let row = entry.row();
    Teacher { id: row.teacher_id.clone(), name: row.teacher.clone() }
}

/// The teachers with planned lessons, each with the lessons, by 工号 or name; and lessons that nobody is named for.
fn taught(entries: &[Entry]) -> (BTreeMap<&str, Vec<&Entry>>, u64) {
    let (mut by, mut nobody): (BTreeMap<_, Vec<_>>, u64) = (BTreeMap::new(), 0);
    for entry in entries.iter().filter(|e| e.row().planned) {
        match entry.teacher() {
            "" => nobody += 1,
            key => by.entry(key).or_default().push(entry),
        }
    }
    (by, nobody)
}

fn teachers(entries: &[Entry]) -> (Value, LeftOut) {
    let (by, nobody) = taught(entries);
    let any = |verdict: Verdict| move |lessons: &&Vec<&Entry>| lessons.iter().any(|e| e.verdict() == verdict);
    let used = count(by.values().filter(any(Verdict::Used)));
    let not = by.values().filter(|lessons| !any(Verdict::Used)(lessons));
    // One lesson that nobody knows of may be the one that was used.
    let (not, unknown): (Vec<_>, Vec<_>) =
        not.partition(|lessons| lessons.iter().all(|e| e.verdict() == Verdict::Not));
    let value = share(used, used + count(not), "这个月还没有哪位教师知道是否使用。");
    let left_out = vec![
        (count(unknown), "位教师没有使用过的记录，但有的课未知或没有记录".into()),
        (nobody, "节课在课表里没有教师".into()),
    ];
    (value, left_out)
}

fn recording_rooms(facts: &Facts, named: &[String]) -> (Value, LeftOut) {
    if named.is_empty() {
        let what = "没有设置哪些教室是录播室，在 hub.toml 的 targets.recording_rooms 里写上。";
        return (Value::Cannot(what.into()), Vec::new());
    }
    let is = |device: &DeviceId, name: &str| named.iter().any(|n| room::means(n, device.as_str(), name));
    let strange =
        named.iter().filter(|n| !facts.rooms.iter().any(|r| room::means(n, r.device.as_str(), &r.name)));
    let own = facts.entries.iter().filter(|e| is(&e.device, &e.room));
    let (value, mut left_out) = counted(&own, "这个月录播室还没有知道是否使用的课时。");
    left_out.push((count(strange), "间设置里的录播室没有登记".into()));
    (value, left_out)
}

fn submitted(facts: &Facts) -> (Value, LeftOut) {
    let (by, nobody) = taught(&facts.entries);
    let own: Vec<Teacher> = by.values().filter_map(|lessons| lessons.first()).map(|e| teacher(e)).collect();
    let has = own.iter().filter(|t| facts.submitted.iter().any(|s| s.same(t)));
    let unnamed = |s: &&Teacher| s.id.is_empty() && s.name.is_empty();
    let others: BTreeSet<&Teacher> =
        facts.submitted.iter().filter(|s| !unnamed(s) && !own.iter().any(|t| t.same(s))).collect();
    let value = share(count(has), count(&own), "这个月的课表里没有教师。");
    let left_out = vec![
        (count(others), "位提交过的教师这个月没有课".into()),
        (count(facts.submitted.iter().filter(unnamed)), "节提交的实录没有写教师".into()),
        (nobody, "节课在课表里没有教师".into()),
    ];
    (value, left_out)
}

fn in_order(entries: &[Entry], troubles: &[Trouble]) -> (Value, LeftOut) {
    let (mut good, mut all, mut silent) = (0, 0, 0);
    for ((device, _), day) in days(entries) {
        if day.iter().all(|e| e.auto().is_none()) {
            silent += 1;
            continue;
        }
        let from = day.iter().map(|e| e.row().planned_start_ms).min().unwrap_or(0);
        let to = day.iter().map(|e| e.row().planned_end_ms).max().unwrap_or(0);
        let meets =
            |t: &Trouble| t.device == *device && t.from_ms < to && t.to_ms.is_none_or(|end| end > from);
        all += 1;
        good += u64::from(!troubles.iter().any(meets));
    }
    let value = share(good, all, "这个月还没有哪间教室送来记录。");
    (value, vec![(silent, "天教室没有送来记录，不知道设备情况".into())])
}

/// 目标达成率, of the indicators before it.
fn reached(all: &[Indicator]) -> Indicator {
    let targeted = || all.iter().filter(|i| i.target.is_some());
    let (met, judged) = (
        count(targeted().filter(|i| i.reached() == Some(true))),
        count(targeted().filter(|i| i.reached().is_some())),
    );
    let without = if targeted().next().is_none() {
        "没有设目标，在 hub.toml 的 targets 里写上。"
    } else {
        "设了目标的指标这个月都算不出来。"
    };
    let open = count(targeted()) - judged;
    let left_out = if open > 0 {
        vec![(open, "个指标设了目标，这个月算不出来".into())]
    } else {
        Vec::new()
    };
    Indicator { code: Code::Targets, value: share(met, judged, without), left_out, target: None }
}
