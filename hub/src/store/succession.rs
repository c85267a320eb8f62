//! The chain of a device's manifests: each names the one its device sealed before it.

use lectern_wire::digest::Digest;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::lessons::Lesson;
use super::odd;

/// What a lesson follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follows {
    /// Nothing: the first of its device.
    First,
    /// Nothing, and rightly: a person let the device begin anew with another key.
    Anew,
    /// That lesson.
    Lesson(String),
    /// A manifest that never came here: a hole.
    Missing(Digest),
    /// Nothing, though its device had recorded before: a hole, or a machine that lost its state.
    Broken,
    /// The same manifest as another lesson: two machines, or a past that was written twice.
    Twice(String),
}

/// What a sealed lesson follows; none while it is not sealed.
///
/// # Errors
/// What the database says.
pub fn of(db: &Connection, lesson: &Lesson) -> rusqlite::Result<Option<Follows>> {
    if lesson.manifest_sha256.is_none() {
        return Ok(None);
    }
    let (id, device) = (lesson.id.as_str(), lesson.device.as_str());
    let (prev, key_id): (Option<String>, Option<String>) =
        db.query_row("SELECT prev, key_id FROM lesson WHERE id = ?", [id], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let Some(prev) = prev else {
        let earlier: bool = db.query_row(
            "SELECT EXISTS (SELECT 1 FROM lesson WHERE device = ?1 AND id <> ?2 AND manifest_sha256 IS NOT NULL
             AND started_ms < (SELECT started_ms FROM lesson WHERE id = ?2))",
            params![device, id],
            |row| row.get(0),
        )?;
        if !earlier {
            return Ok(Some(Follows::First));
        }
        let mut keys = db.prepare("SELECT key, how FROM device_key WHERE device = ?")?;
        let mut keys = keys.query([device])?;
        while let Some(row) = keys.next()? {
            let key =
                lectern_wire::sign::PublicKey::try_from(row.get::<_, String>(0)?).map_err(|e| odd(0, e))?;
            if row.get::<_, String>(1)? == "registered" && Some(key.id()) == key_id {
                return Ok(Some(Follows::Anew));
            }
        }
        return Ok(Some(Follows::Broken));
    };
    let twin: Option<String> = db
        .query_row(
            "SELECT id FROM lesson WHERE prev = ? AND device = ? AND id <> ? LIMIT 1",
            params![prev, device, id],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(twin) = twin {
        return Ok(Some(Follows::Twice(twin)));
    }
    let before: Option<String> = db
        .query_row(
            "SELECT id FROM lesson WHERE manifest_sha256 = ? AND device = ?",
            params![prev, device],
            |row| row.get(0),
        )
        .optional()?;
    Ok(Some(match before {
        Some(before) => Follows::Lesson(before),
        None => Follows::Missing(prev.parse().map_err(|e| odd(0, e))?),
    }))
}
