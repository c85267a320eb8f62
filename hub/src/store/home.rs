//! What the hub remembers of each device's state volume.

use lectern_wire::home::{Home, Remembered, Verdict, judge};
use lectern_wire::id::{DeviceId, LessonId};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::odd;

/// Takes in what a device says of its volume; says what was remembered.
///
/// # Errors
/// What the database says.
pub fn remember(db: &Connection, device: &DeviceId, now: &Home, now_ms: i64) -> rusqlite::Result<Remembered> {
    let before = db
        .query_row(
            "SELECT volume, boots, boot_id, verdict, since_ms FROM home WHERE device = ?",
            [device.as_str()],
            |row| {
                let home = Home {
                    volume: row.get(0)?,
                    boots: row.get::<_, i64>(1)?.cast_unsigned(),
                    boot_id: row.get(2)?,
                };
                let verdict: String = row.get(3)?;
                let verdict = serde_json::from_str::<Verdict>(&verdict).map_err(|e| odd(3, e))?;
                Ok((home, verdict, row.get::<_, i64>(4)?))
            },
        )
        .optional()?;
    let verdict = judge(before.as_ref().map(|(home, verdict, _)| (home, *verdict)), now);
    let since_ms = before.filter(|(home, ..)| home.volume == now.volume).map_or(now_ms, |(.., since)| since);
    db.execute(
        "INSERT INTO home (device, volume, boots, boot_id, verdict, seen_ms, since_ms) VALUES (?1,?2,?3,?4,?5,?6,?7)
         ON CONFLICT (device) DO UPDATE SET volume = ?2, boots = ?3, boot_id = ?4, verdict = ?5, seen_ms = ?6, since_ms = ?7",
        params![
            device.as_str(),
            now.volume,
            now.boots.cast_signed(),
            now.boot_id,
            serde_json::to_string(&verdict).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?,
            now_ms,
            since_ms
        ],
    )?;
    let last: Option<String> = db
        .query_row(
            "SELECT id FROM lesson WHERE device = ?1 AND announced_ms >= ?2 ORDER BY announced_ms DESC LIMIT 1",
            params![device.as_str(), since_ms],
            |row| row.get(0),
        )
        .optional()?;
    let last_lesson = last.map(LessonId::new).transpose().map_err(|e| odd(0, e))?;
    Ok(Remembered { verdict, last_lesson })
}
