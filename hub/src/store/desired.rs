//! What each room is to go by, signed, and what it said of it.

use ed25519_dalek::SigningKey;
use lectern_wire::desired::{Desired, MAX_DESIRED, REPORTED_MAX_CHARS, ReportState, Reported, Thresholds};
use lectern_wire::id::DeviceId;
use lectern_wire::sign::Signed;
use lectern_wire::timetable::Timetable;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{devices, odd, timetable, unwritable};
use crate::model::timetable::room;

/// What a room was handed, and what it said.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its revision.
    pub revision: u64,
    /// When it was handed down.
    pub given_ms: i64,
    /// What it holds, signed.
    pub signed: Signed<Desired>,
    /// The room's newest word, and when it came.
    pub said: Option<(Reported, i64)>,
}

impl Row {
    /// Whether the room has answered this revision.
    #[must_use]
    pub fn answered(&self) -> bool {
        self.said.as_ref().is_some_and(|(said, _)| said.revision == self.revision)
    }
}

/// Bytes of a document beside its timetable, at most: names, thresholds, signature.
const BESIDE: usize = 1024;

/// Why a timetable cannot be handed down, if it cannot, in a sentence for whoever made it.
#[must_use]
pub fn obstacle(timetable: &Timetable) -> Option<String> {
    let bytes = serde_json::to_vec(timetable).map_or(usize::MAX, |text| text.len());
    if bytes > MAX_DESIRED - BESIDE {
        return Some(format!(
            "这间教室的课太多，放不下（{} KB，最多 {} KB）",
            bytes / 1024,
            (MAX_DESIRED - BESIDE) / 1024
        ));
    }
    timetable.fault()
}

/// What a device was handed.
///
/// # Errors
/// What the database says.
pub fn of(db: &Connection, device: &DeviceId) -> rusqlite::Result<Option<Row>> {
    let mut row = db.prepare_cached(
        "SELECT revision, document, given_ms, said_revision, said_state, said_detail, running, said_ms
         FROM desired WHERE device = ?",
    )?;
    row.query_row([device.as_str()], |row| {
        let document: String = row.get(1)?;
        let state: Option<String> = row.get(4)?;
        let said = match (row.get::<_, Option<i64>>(3)?, row.get::<_, Option<i64>>(7)?) {
            (Some(revision), Some(at)) => Some((
                Reported {
                    revision: revision.cast_unsigned(),
                    state: if state.as_deref() == Some("applied") {
                        ReportState::Applied
                    } else {
                        ReportState::Refused
                    },
                    detail: row.get::<_, Option<String>>(5)?.unwrap_or_default(),
                    running: row.get::<_, Option<i64>>(6)?.unwrap_or(0).cast_unsigned(),
                    ts: at,
                },
                at,
            )),
            _ => None,
        };
        Ok(Row {
            revision: row.get::<_, i64>(0)?.cast_unsigned(),
            signed: serde_json::from_str(&document).map_err(|e| odd(1, e))?,
            given_ms: row.get(2)?,
            said,
        })
    })
    .optional()
}

/// Makes a new revision for every room whose timetable or thresholds are no longer what it was handed; answers
/// which rooms these are. One that cannot be handed down leaves the room with what it has, and is named.
///
/// # Errors
/// What the database says.
pub fn refresh(
    db: &Connection,
    thresholds: Thresholds,
    key: &SigningKey,
    now: i64,
) -> rusqlite::Result<(Vec<DeviceId>, Vec<String>)> {
    let (mut changed, mut faults) = (Vec::new(), Vec::new());
    let mut tables = std::collections::HashMap::new();
    for device in devices::all(db)? {
        if !tables.contains_key(&device.school) {
            tables.insert(device.school.clone(), timetable::newest(db, &device.school)?.table);
        }
        let table = tables.get(&device.school);
        let timetable = table.and_then(|table| room::timetable(table, device.id.as_str(), &device.room));
        let before = of(db, &device.id)?;
        let key_id = lectern_wire::sign::PublicKey::of(key).id();
        let same = before.as_ref().is_some_and(|row| {
            let document = &row.signed.document;
            // A room that goes by a revision this hub never gave was another hub's, or this one lost its past.
            let ahead = row.said.as_ref().is_some_and(|(said, _)| said.running > row.revision);
            document.timetable == timetable
                && document.alarm == thresholds
                && row.signed.signature.key_id == key_id
                && !ahead
        });
        let nothing = before.is_none() && timetable.is_none() && thresholds.none();
        if same || nothing {
            continue;
        }
        let running = before.as_ref().and_then(|row| row.said.as_ref()).map_or(0, |(said, _)| said.running);
        let revision = before.map_or(0, |row| row.revision).max(running.min((1 << 53) - 2)) + 1;
        let wanted = Desired {
            v: 1,
            school: device.school.clone(),
            device: device.id.clone(),
            revision,
            given_ms: now,
            timetable,
            alarm: thresholds,
        };
        if let Some(what) = wanted.timetable.as_ref().and_then(obstacle).or_else(|| wanted.fault()) {
            faults.push(format!("{}: {what}", device.id));
            continue;
        }
        let signed = Signed::sign(wanted, key).map_err(unwritable)?;
        let text = serde_json::to_string(&signed).map_err(unwritable)?;
        db.execute(
            "INSERT INTO desired (device, revision, document, given_ms) VALUES (?1,?2,?3,?4)
             ON CONFLICT (device) DO UPDATE SET revision = ?2, document = ?3, given_ms = ?4",
            params![device.id.as_str(), revision.cast_signed(), text, now],
        )?;
        changed.push(device.id);
    }
    Ok((changed, faults))
}

/// Takes in what a room says of what it was handed.
///
/// # Errors
/// What the database says.
pub fn heard(db: &Connection, device: &DeviceId, said: &Reported, now: i64) -> rusqlite::Result<()> {
    let line = |c: char| if c.is_control() { ' ' } else { c };
    let detail: String = said.detail.chars().map(line).take(REPORTED_MAX_CHARS).collect();
    let state = if said.state == ReportState::Applied { "applied" } else { "refused" };
    let number = |n: u64| n.min(1 << 53).cast_signed();
    // A room that was handed nothing by this hub may still say what it goes by.
    db.execute(
        "UPDATE desired SET said_revision = ?2, said_state = ?3, said_detail = ?4, running = ?5, said_ms = ?6
         WHERE device = ?1",
        params![device.as_str(), number(said.revision), state, detail, number(said.running), now],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff::civil::Time;
    use lectern_wire::manifest::About;
    use lectern_wire::timetable::{Period, Plan, Weeks};

    use super::*;

    #[test]
    fn a_timetable_that_does_not_fit_or_makes_no_sense_is_an_obstacle_with_a_sentence() {
        let time = |hour| Time::constant(hour, 0, 0, 0);
        let period = Period { name: "第1节".into(), start: time(8), end: time(9) };
        let plan = Plan {
            weekday: 1,
            period: "第1节".into(),
            weeks: Weeks::parse("1-16").expect("weeks"),
            about: About { subject: "语文".into(), ..About::default() },
        };
        let table = |plans: usize| Timetable {
            periods: vec![period.clone()],
            plans: vec![plan.clone(); plans],
            ..Timetable::default()
        };
        assert_eq!(obstacle(&table(60)), None);
        assert!(obstacle(&table(3000)).is_some_and(|what| what.contains("放不下")));
        let lost = Timetable { periods: Vec::new(), ..table(1) };
        assert!(obstacle(&lost).is_some_and(|what| what.contains("no such period")));
    }
}
