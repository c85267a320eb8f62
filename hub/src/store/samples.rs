//! Measurements: the newest of each group as it arrived, and a bounded past for charts.

use std::collections::BTreeMap;

use lectern_wire::id::DeviceId;
use lectern_wire::telemetry::Sample;
use rusqlite::{Connection, OptionalExtension as _, params};

/// A group's newest sample and when it arrived by the hub's clock.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Name with unit to value.
    pub values: BTreeMap<String, f64>,
    /// When it arrived.
    pub arrived_ms: i64,
}

/// Stores a sample once, however often it comes; true when it is new.
///
/// # Errors
/// What the database says.
pub fn add(db: &Connection, device: &DeviceId, group: &str, sample: &Sample) -> rusqlite::Result<bool> {
    let mut row =
        db.prepare_cached("INSERT OR IGNORE INTO sample (device, grp, ts, vals) VALUES (?,?,?,?)")?;
    Ok(row.execute(params![device.as_str(), group, sample.ts, text(sample)?])? == 1)
}

/// Remembers a sample as the newest of its group.
///
/// # Errors
/// What the database says.
pub fn set_live(
    db: &Connection,
    device: &DeviceId,
    group: &str,
    sample: &Sample,
    now: i64,
) -> rusqlite::Result<()> {
    let mut row = db.prepare_cached(
        "INSERT OR REPLACE INTO live (device, grp, ts, vals, arrived_ms) VALUES (?,?,?,?,?)",
    )?;
    row.execute(params![device.as_str(), group, sample.ts, text(sample)?, now])?;
    Ok(())
}

fn text(sample: &Sample) -> rusqlite::Result<String> {
    serde_json::to_string(&sample.values).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

/// The newest sample of a group.
///
/// # Errors
/// What the database says.
pub fn live(db: &Connection, device: &DeviceId, group: &str) -> rusqlite::Result<Option<Live>> {
    db.prepare_cached("SELECT vals, arrived_ms FROM live WHERE device = ? AND grp = ?")?
        .query_row(params![device.as_str(), group], |row| {
            let vals: String = row.get(0)?;
            Ok(Live { values: serde_json::from_str(&vals).unwrap_or_default(), arrived_ms: row.get(1)? })
        })
        .optional()
}

/// Means over steps of `step_ms` of several values of a group, as (step's start, one mean per name). A
/// value that never came in a step is missing there.
///
/// # Errors
/// What the database says.
pub fn series(
    db: &Connection,
    device: &DeviceId,
    group: &str,
    names: &[&str],
    span: std::ops::Range<i64>,
    step_ms: i64,
) -> rusqlite::Result<Vec<(i64, Vec<Option<f64>>)>> {
    // The names are this program's own words; quoting keeps it true should that change.
    let means: String = names
        .iter()
        .filter(|n| n.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_'))
        .map(|n| format!(", avg(vals ->> '$.{n}')"))
        .collect();
    let mut rows = db.prepare_cached(&format!(
        "SELECT ts / ?1 * ?1 AS step{means} FROM sample
         WHERE device = ?2 AND grp = ?3 AND ts >= ?4 AND ts < ?5 GROUP BY step ORDER BY step"
    ))?;
    let rows = rows.query_map(params![step_ms, device.as_str(), group, span.start, span.end], |row| {
        Ok((row.get(0)?, (1..=names.len()).map(|k| row.get(k)).collect::<rusqlite::Result<_>>()?))
    })?;
    rows.collect()
}

/// Forgets what is older than `before` or lies after `after`, a clock gone wrong. At most `most` rows, so
/// that nobody waits long; true when there is more to forget.
///
/// # Errors
/// What the database says.
pub fn prune(db: &Connection, before: i64, after: i64, most: u32) -> rusqlite::Result<bool> {
    let gone = db.execute(
        "DELETE FROM sample WHERE (device, grp, ts) IN
         (SELECT device, grp, ts FROM sample WHERE ts < ? OR ts > ? LIMIT ?)",
        params![before, after, most],
    )?;
    Ok(gone == usize::try_from(most).unwrap_or(usize::MAX))
}

/// How many samples are kept.
///
/// # Errors
/// What the database says.
#[cfg(test)]
pub fn count(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("SELECT count(*) FROM sample", [], |row| row.get(0))
}
