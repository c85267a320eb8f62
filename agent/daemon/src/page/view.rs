//! The status as the page and the CLI get it: JSON with codes, not sentences; words are the page's.

use lectern_base::clock;
use lectern_wire::alarm::{Alarm, AlarmState};
use serde_json::{Value, json};

use super::Page;
use crate::model::profile::Reason;
use crate::model::reading::Health;
use crate::model::status::{Hold, Preflight, Status, Warning};
use crate::store::deliveries::Delivery;
use crate::store::lessons::Lesson;

/// What was measured last: numbers by group, why some are missing, words, and the alarms that stand.
#[must_use]
pub fn health(health: &Health, alarms: &[Alarm]) -> Value {
    let groups: serde_json::Map<String, Value> =
        health.groups.iter().map(|(group, values)| (group.name().to_owned(), json!(values))).collect();
    let raised: Vec<Value> = alarms
        .iter()
        .filter(|alarm| alarm.state == AlarmState::Raised)
        .map(|alarm| {
            json!({
                "code": alarm.code,
                "title": alarm.code.title(),
                "since_ts": alarm.since_ts,
                "detail": alarm.detail,
                "next_step": alarm.next_step,
            })
        })
        .collect();
    json!({ "groups": groups, "missing": health.missing, "words": health.words, "alarms": raised })
}

/// The whole status.
pub fn status(status: &Status, page: &Page) -> Value {
    let now = u64::try_from(clock::boot().as_millis()).unwrap_or(0);
    let lesson = status.lesson.as_ref().map(|l| {
        json!({
            "id": l.id,
            "state": l.state.name(),
            "about": l.about,
            "take": l.take,
            "layout": l.layout.name(),
            "marks": l.marks,
            "media_ms": l.media_ms,
            "media_age_ms": now.saturating_sub(l.media_at_boot_ms),
            "bytes": l.bytes,
            "cut_short": l.cut_short.map(crate::model::lesson::CutShort::name),
            "bell": l.bell.map(|bell| json!({
                "counts_down": l.counts_down,
                "ends_in_ms": bell.ends_ms.saturating_sub(now),
            })),
            "thrown_away": l.thrown_away,
            "submitted": l.submitted,
            "reports": l.reports,
            "profiles": l.profiles.iter().map(profile).collect::<Vec<_>>(),
            "first_durable_ms": l.first_durable_ms,
            "stored_after_ms": l.stored_after_ms,
        })
    });
    json!({
        "generation": status.generation,
        "room": &*page.room,
        "layouts": page.layouts.iter().map(|l| l.name()).collect::<Vec<_>>(),
        "lesson": lesson,
        "warnings": status.warnings.iter().map(warning).collect::<Vec<_>>(),
        "ring_s": status.ring_s,
        "ready": status.armed.is_some(),
        "live": { "can": page.can_live, "state": status.live.name() },
        "encoder": status.encoder,
        "level": status.level.map(|l| json!({ "peak_dbfs": l.peak_dbfs, "rms_dbfs": l.rms_dbfs })),
        "upload": {
            "configured": status.upload.configured || !status.destinations.is_empty(),
            "reachable": reachable(status),
            "waiting_lessons": status.upload.waiting_lessons,
            "pending_bytes": status.upload.pending_bytes,
            "sent_bytes": status.upload.sent_bytes,
            "rate": status.upload.rate,
            "blocked": status.upload.blocked,
            "hold": status.upload.hold.map(|hold| match hold {
                Hold::Night => "night",
                Hold::Queue => "queue",
            }),
        },
        "suggestion": status.suggestion.as_ref().map(|s| json!({ "topic": s.topic })),
        "destinations": status.destinations.iter().map(|d| json!({
            "name": d.name,
            "kind": d.kind,
            "required": d.required,
            "reachable": d.reachable,
            "waiting": d.waiting,
            "pending_bytes": d.pending_bytes,
            "problem": d.problem,
        })).collect::<Vec<_>>(),
        "disk_free_minutes": status.disk_free_minutes,
        "keeping": {
            "waiting": status.keeping.waiting,
            "waiting_bytes": status.keeping.waiting_bytes,
            "stored": status.keeping.stored,
            "stored_bytes": status.keeping.stored_bytes,
        },
        "home": status.home.as_ref().map(|doubt| json!({ "code": doubt.code(), "detail": doubt.detail() })),
        "slot": status.slot.as_ref().map(|slot| json!({ "about": slot.about, "times": slot.times })),
        "timetable": { "from": status.timetable.0.name(), "revision": status.timetable.1 },
        "preflight": preflight(status.preflight.as_ref()),
        "speech": status.speech,
        "note": status.note.as_ref().map(|note| json!({ "text": note.text, "from": note.from })),
        "power": status.power.map(|power| json!({
            "off": power.off,
            "in_ms": power.at_boot_ms.saturating_sub(now),
        })),
        "key": status.key.as_ref().map(|key| json!({
            "there": key.there,
            "hold_ms": key.hold_ms,
            "refusal": key.refusal.as_ref().map(|(refusal, at_boot_ms)| json!({
                "code": refusal.code,
                "message": refusal.sentence,
                "age_ms": now.saturating_sub(*at_boot_ms),
            })),
        })),
        "clock_plausible": clock::plausible(),
        "safe_to_switch_off": status.safe_to_switch_off(),
    })
}

/// Whether lessons get away: the hub where there is one, else every destination that is required.
fn reachable(status: &Status) -> Option<bool> {
    let mut required = status.destinations.iter().filter(|d| d.required).filter_map(|d| d.reachable);
    match status.upload.configured {
        true => status.upload.reachable,
        false => required.next().map(|first| first && required.all(|well| well)),
    }
}

/// How the sources were found; null when nobody has looked.
pub fn preflight(found: Option<&Preflight>) -> Value {
    let now = u64::try_from(clock::boot().as_millis()).unwrap_or(0);
    found.map_or(Value::Null, |found| {
        json!({
            "at_boot_ms": found.at_boot_ms,
            "age_ms": now.saturating_sub(found.at_boot_ms),
            "problem": found.problem,
            "sources": found.sources,
            "encoder": found.encoder,
        })
    })
}

fn profile((name, reasons): &(String, Vec<Reason>)) -> Value {
    let reasons = reasons.iter().map(|reason| match reason {
        Reason::TooShort(n) => json!({ "kind": "too_short", "n": n }),
        Reason::TooLong(n) => json!({ "kind": "too_long", "n": n }),
        Reason::TooSmall(width, height) => json!({ "kind": "too_small", "n": format!("{width}×{height}") }),
        Reason::TooFewPictures(n) => json!({ "kind": "too_few_pictures", "n": n }),
        Reason::TooManyKbps(n) => json!({ "kind": "too_many_kbps", "n": n }),
        Reason::TooLarge(n) => json!({ "kind": "too_large", "n": n }),
        Reason::Interrupted => json!({ "kind": "interrupted" }),
        Reason::Paused => json!({ "kind": "paused" }),
        Reason::Gap => json!({ "kind": "gap" }),
        Reason::Silent(n) => json!({ "kind": "silent", "n": n }),
        Reason::Black(n) => json!({ "kind": "black", "n": n }),
        Reason::Frozen(n) => json!({ "kind": "frozen", "n": n }),
        Reason::OutOfStep(n) => json!({ "kind": "out_of_step", "n": n }),
    });
    json!({ "name": name, "fits": reasons.len() == 0, "reasons": reasons.collect::<Vec<_>>() })
}

fn warning(warning: &Warning) -> Value {
    match warning {
        Warning::SourceLost { source, sound, code, cause } => {
            let kind = if *sound { "no_sound" } else { "no_picture" };
            json!({ "kind": kind, "source": source, "code": code, "cause": cause })
        }
        Warning::Finding(kind) => json!({ "kind": kind }),
        Warning::Slow { fps } => json!({ "kind": "slow", "fps": fps }),
        Warning::LittleSpace { minutes } => json!({ "kind": "little_space", "minutes": minutes }),
    }
}

/// What of a lesson is on this disk.
pub struct Kept {
    /// Bytes of its takes.
    pub bytes: u64,
    /// Why and when they were removed, if they were.
    pub reclaimed: Option<(String, i64)>,
    /// How far each destination has come.
    pub deliveries: Vec<Delivery>,
}

/// A lesson in the list.
pub fn lesson_row(lesson: &Lesson, reports: &Value, kept: &Kept) -> Value {
    json!({
        "id": lesson.id,
        "state": lesson.state.name(),
        "started": clock::local_text(lesson.started_wall_ms),
        "started_wall_ms": lesson.started_wall_ms,
        "about": lesson.about,
        "cut_short": lesson.cut_short.map(crate::model::lesson::CutShort::name),
        "manifest_sha256": lesson.manifest_sha256,
        "reports": reports,
        "local_bytes": kept.bytes,
        "destinations": kept.deliveries.iter().map(|d| json!({
            "name": d.destination,
            "confirmed": d.confirmed_wall_ms.map(clock::local_text),
            "sent_bytes": d.sent_bytes,
            "problem": d.problem,
        })).collect::<Vec<_>>(),
        "reclaimed": kept.reclaimed.as_ref().map(|(why, at)| json!({ "why": why, "at": clock::local_text(*at) })),
        "thrown_away": lesson.discarded_wall_ms.map(clock::local_text),
        "submitted": lesson.submitted,
    })
}
