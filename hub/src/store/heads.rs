//! The chain heads that devices gave out while they recorded; see [`lectern_wire::chain`]. Only ever appended to.

use lectern_wire::chain::{ChainHead, HeadLine, Witness};
use lectern_wire::digest::Digest;
use lectern_wire::id::{DeviceId, LessonId};
use lectern_wire::manifest::Part;
use lectern_wire::sign::Signed;
use rusqlite::{Connection, Row, params};

use super::{device_keys, lessons, odd, unwritable};

/// Most heads kept of one lesson: more than two days of recording make.
const MOST: i64 = 20_000;

/// A head that was received.
#[derive(Debug, Clone)]
pub struct Head {
    /// Its row.
    pub n: i64,
    /// As the device signed it.
    pub signed: Signed<ChainHead>,
    /// When it arrived, Unix milliseconds.
    pub arrived_ms: i64,
    /// Whether it agrees with the bytes, once they are here.
    pub agrees: Option<bool>,
}

fn head(row: &Row<'_>) -> rusqlite::Result<Head> {
    let text: String = row.get(1)?;
    let standing: Option<String> = row.get(3)?;
    Ok(Head {
        n: row.get(0)?,
        signed: serde_json::from_str(&text).map_err(|e| odd(1, e))?,
        arrived_ms: row.get(2)?,
        agrees: standing.map(|word| word == "agrees"),
    })
}

/// Keeps what a device says. The inner error says why it is not kept.
///
/// # Errors
/// What the database says.
pub fn add(
    db: &Connection,
    device: &DeviceId,
    signed: &Signed<ChainHead>,
    now: i64,
) -> rusqlite::Result<Result<(), String>> {
    let said = &signed.document;
    if said.v != 1 || said.device != *device || said.take == 0 || said.bytes == 0 {
        return Ok(Err("it is of another version or device, or about nothing".into()));
    }
    // Before its first lesson is announced a device has no key here; then its bytes' check looks at it.
    let ring = device_keys::live(db, device)?;
    if !ring.is_empty()
        && let Err(e) = signed.verify(&ring)
    {
        return Ok(Err(e.to_string()));
    }
    let id = said.lesson_id.as_str();
    if let Some(lesson) = lessons::find(db, id)? {
        if lesson.device != *device {
            return Ok(Err("it is about another device's lesson".into()));
        }
        if lesson.discarded_ms.is_some() {
            return Ok(Err("its lesson was thrown away".into()));
        }
    }
    let count: i64 = db
        .prepare_cached("SELECT count(*) FROM chain_head WHERE lesson = ? AND device = ?")?
        .query_row(params![id, device.as_str()], |row| row.get(0))?;
    if count >= MOST {
        return Ok(Err(format!("{MOST} heads of its lesson are kept already")));
    }
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    db.prepare_cached(
        "INSERT OR IGNORE INTO chain_head
         (lesson, device, take, bytes, boot_id, mono_ms, digest, document, arrived_ms) VALUES (?,?,?,?,?,?,?,?,?)",
    )?
    .execute(params![
        id,
        device.as_str(),
        said.take,
        number(said.bytes),
        said.boot_id,
        number(said.mono_ms),
        said.digest().map_err(unwritable)?.to_string(),
        serde_json::to_string(signed).map_err(unwritable)?,
        now
    ])?;
    Ok(Ok(()))
}

const COLUMNS: &str = "n, document, arrived_ms, standing";

/// The heads of a lesson that its device sent, in the order of their arrival.
///
/// # Errors
/// What the database says.
pub fn of(db: &Connection, lesson: &LessonId, device: &DeviceId) -> rusqlite::Result<Vec<Head>> {
    let mut rows = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM chain_head WHERE lesson = ? AND device = ? ORDER BY n"
    ))?;
    rows.query_map([lesson.as_str(), device.as_str()], head)?.collect()
}

/// Those that end inside a part, or with it, and were not held against it yet.
///
/// # Errors
/// What the database says.
pub fn open_in(
    db: &Connection,
    lesson: &LessonId,
    device: &DeviceId,
    take: u32,
    part: &Part,
) -> rusqlite::Result<Vec<Head>> {
    let from = i64::from(part.n) * i64::try_from(lectern_wire::PART_SIZE).unwrap_or(i64::MAX);
    let to = from.saturating_add(i64::try_from(part.size).unwrap_or(i64::MAX));
    let mut rows = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM chain_head
         WHERE lesson = ? AND device = ? AND take = ? AND bytes > ? AND bytes <= ? AND standing IS NULL"
    ))?;
    rows.query_map(params![lesson.as_str(), device.as_str(), take, from, to], head)?.collect()
}

/// Notes how a head stands to the bytes.
///
/// # Errors
/// What the database says.
pub fn set_agrees(db: &Connection, n: i64, agrees: bool) -> rusqlite::Result<()> {
    let word = if agrees { "agrees" } else { "contradicts" };
    db.execute("UPDATE chain_head SET standing = ? WHERE n = ?", params![word, n])?;
    Ok(())
}

/// A part's bytes were lost and will come anew: what was found of heads that speak of them is forgotten.
///
/// # Errors
/// What the database says.
pub fn reopen(db: &Connection, lesson: &LessonId, take: u32, n: u32) -> rusqlite::Result<()> {
    let from = i64::from(n) * i64::try_from(lectern_wire::PART_SIZE).unwrap_or(i64::MAX);
    db.execute(
        "UPDATE chain_head SET standing = NULL WHERE lesson = ? AND take = ? AND bytes > ?",
        params![lesson.as_str(), take, from],
    )?;
    Ok(())
}

/// Forgets the heads of a lesson that was thrown away.
///
/// # Errors
/// What the database says.
pub fn forget(db: &Connection, lesson: &LessonId) -> rusqlite::Result<()> {
    db.execute("DELETE FROM chain_head WHERE lesson = ?", [lesson.as_str()])?;
    Ok(())
}

/// The text of `heads.jsonl` and what a receipt says of these heads; none when there are none.
///
/// # Errors
/// A sentence when a head cannot be written.
pub fn witness(heads: &[Head]) -> Result<Option<(String, Witness)>, serde_json::Error> {
    let (Some(first), Some(last)) = (heads.first(), heads.last()) else { return Ok(None) };
    let mut text = String::new();
    for head in heads {
        let line = HeadLine { head: head.signed.clone(), arrived_ms: Some(head.arrived_ms) };
        text += &serde_json::to_string(&line)?;
        text.push('\n');
    }
    // The device's wall clock may be anything. Within a boot its monotonic clock runs as ours does: the head that
    // came soonest sets the scale, the others are late by so much.
    let age = |head: &Head| head.arrived_ms - i64::try_from(head.signed.document.mono_ms).unwrap_or(i64::MAX);
    let late = |head: &Head| {
        let boot = &head.signed.document.boot_id;
        let soonest = heads.iter().filter(|h| h.signed.document.boot_id == *boot).map(age).min();
        age(head).saturating_sub(soonest.unwrap_or(0)).unsigned_abs()
    };
    let mut takes = std::collections::BTreeMap::new();
    for said in heads.iter().map(|head| &head.signed.document) {
        let most = takes.entry(said.take).or_insert(0);
        *most = said.bytes.max(*most);
    }
    let newest = heads.iter().max_by_key(|head| {
        let said = &head.signed.document;
        (said.take, said.bytes)
    });
    let witness = Witness {
        count: heads.len() as u64,
        first_ms: first.arrived_ms,
        last_ms: last.arrived_ms,
        bytes: takes.values().sum(),
        last_late_ms: newest.map_or(0, late),
        most_late_ms: heads.iter().map(late).max().unwrap_or(0),
        sha256: Digest::of(text.as_bytes()),
    };
    Ok(Some((text, witness)))
}
