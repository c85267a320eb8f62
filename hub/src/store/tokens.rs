//! Tokens: each lets one room's device enrol, a few times at most and not for ever.
//!
//! ```text
//! unused ──used as often as it allows──▶ used ──an hour──▶ used, its code forgotten
//!    └────────its day comes───────────▶ expired, its code forgotten
//! ```
//!
//! Within the hour the device that used it may ask again: its answer may have been lost on the way.

use lectern_wire::enrol::Code;
use lectern_wire::id::{DeviceId, SchoolId};
use lectern_wire::sign::PublicKey;
use lectern_wire::topic::Topics;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::odd;

/// How long a used token's code is kept, for a device whose answer was lost.
const AGAIN_MS: i64 = 3_600_000;
/// Tokens that were used or have expired are shown for this long.
const SHOWN_MS: i64 = 30 * 86_400_000;

/// A token.
#[derive(Debug, Clone)]
pub struct Token {
    /// Its name on the network.
    pub token: String,
    /// As printed; gone when it is no longer good for anything.
    pub code: Option<Code>,
    /// Which device it makes.
    pub topics: Topics,
    /// The room as people say it.
    pub room: String,
    /// Uses that are left.
    pub uses: u32,
    /// When it expires, Unix milliseconds.
    pub expires_ms: i64,
    /// When it was used last.
    pub used_ms: Option<i64>,
    /// By the device with this signing key.
    used_key: Option<PublicKey>,
}

/// How a token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It lets a device enrol.
    Unused,
    /// It did.
    Used,
    /// Its day has come.
    Expired,
}

impl Token {
    /// How it stands.
    #[must_use]
    pub fn standing(&self, now: i64) -> Standing {
        match (self.uses, self.used_ms) {
            (0, _) => Standing::Used,
            _ if now >= self.expires_ms => Standing::Expired,
            _ => Standing::Unused,
        }
    }

    /// Whether the device with this key may enrol with it now.
    ///
    /// # Errors
    /// How it stands, when not.
    pub fn lets_in(&self, key: PublicKey, now: i64) -> Result<(), Standing> {
        let again = self.used_key == Some(key) && self.may_ask_again(now);
        match self.standing(now) {
            Standing::Unused => Ok(()),
            Standing::Used if again => Ok(()),
            standing => Err(standing),
        }
    }

    fn may_ask_again(&self, now: i64) -> bool {
        self.used_ms.is_some_and(|used| now - used < AGAIN_MS)
    }
}

const COLUMNS: &str = "token, code, school, device, room, uses, expires_ms, used_ms, used_key";

fn token(row: &Row<'_>) -> rusqlite::Result<Token> {
    let text = |column| row.get::<_, String>(column);
    let code: Option<String> = row.get(1)?;
    let used_key: Option<String> = row.get(8)?;
    Ok(Token {
        token: text(0)?,
        code: code.map(|code| Code::read(&code)).transpose().map_err(|e| odd(1, e))?,
        topics: Topics {
            school: SchoolId::new(text(2)?).map_err(|e| odd(2, e))?,
            device: DeviceId::new(text(3)?).map_err(|e| odd(3, e))?,
        },
        room: text(4)?,
        uses: row.get(5)?,
        expires_ms: row.get(6)?,
        used_ms: row.get(7)?,
        used_key: used_key.map(PublicKey::try_from).transpose().map_err(|e| odd(8, e))?,
    })
}

/// What a token is made for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which device.
    pub topics: Topics,
    /// The room as people say it.
    pub room: String,
    /// How often it may be used.
    pub uses: u32,
    /// When it expires, Unix milliseconds.
    pub expires_ms: i64,
}

/// Makes a token. One that the same device still had unused is good for nothing from now on: one room, one card.
///
/// # Errors
/// What the database says.
pub fn add(db: &Connection, wanted: Wanted, code: Code, now: i64) -> rusqlite::Result<Token> {
    forget(db, now)?;
    let token = code.key().token();
    db.execute(
        "DELETE FROM token WHERE device = ? AND uses > 0 AND used_ms IS NULL",
        [wanted.topics.device.as_str()],
    )?;
    db.execute(
        "INSERT INTO token (token, code, school, device, room, uses, made_ms, expires_ms) VALUES (?,?,?,?,?,?,?,?)",
        params![
            token,
            code.to_string(),
            wanted.topics.school.as_str(),
            wanted.topics.device.as_str(),
            wanted.room,
            wanted.uses,
            now,
            wanted.expires_ms
        ],
    )?;
    let Wanted { topics, room, uses, expires_ms } = wanted;
    Ok(Token { token, code: Some(code), topics, room, uses, expires_ms, used_ms: None, used_key: None })
}

/// The token of this name.
///
/// # Errors
/// What the database says.
pub fn find(db: &Connection, name: &str) -> rusqlite::Result<Option<Token>> {
    db.query_row(&format!("SELECT {COLUMNS} FROM token WHERE token = ?"), [name], token).optional()
}

/// Notes a use; the same device's second question is not another one.
///
/// # Errors
/// What the database says.
pub fn used(db: &Connection, token: &Token, key: PublicKey, now: i64) -> rusqlite::Result<()> {
    let again = token.used_key == Some(key) && token.may_ask_again(now);
    db.execute(
        "UPDATE token SET uses = uses - ?, used_ms = ?, used_key = ? WHERE token = ?",
        params![
            u32::from(!again && token.uses > 0),
            token.used_ms.filter(|_| again).unwrap_or(now),
            String::from(key),
            token.token
        ],
    )?;
    Ok(())
}

/// Tokens of today and of the last weeks, by room.
///
/// # Errors
/// What the database says.
pub fn all(db: &Connection, now: i64) -> rusqlite::Result<Vec<Token>> {
    let mut rows = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM token WHERE max(expires_ms, coalesce(used_ms, 0)) > ? ORDER BY school, room, device"
    ))?;
    rows.query_map([now - SHOWN_MS], token)?.collect()
}

/// Takes back a token that was not used; false when there is none.
///
/// # Errors
/// What the database says.
pub fn take_back(db: &Connection, name: &str) -> rusqlite::Result<bool> {
    Ok(db.execute("DELETE FROM token WHERE token = ? AND uses > 0", [name])? == 1)
}

/// Forgets codes that are good for nothing any more.
///
/// # Errors
/// What the database says.
pub fn forget(db: &Connection, now: i64) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE token SET code = NULL WHERE code IS NOT NULL
         AND (expires_ms <= ?1 OR uses = 0) AND coalesce(used_ms, 0) <= ?1 - ?2",
        params![now, AGAIN_MS],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::testkit;

    fn public(seed: u8) -> PublicKey {
        PublicKey::of(&testkit::key(seed))
    }

    #[test]
    fn a_token_is_used_once_by_one_device_that_may_ask_again_for_an_hour() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path()).expect("opens");
        let wanted =
            Wanted {
                topics: testkit::topics("room-1"), room: "301教室".into(), uses: 1, expires_ms: 10_000
            };
        store
            .write_now(|db| {
                let made = add(db, wanted.clone(), Code::new([7; 10]), 1000)?;
                let look = |now| Ok::<_, rusqlite::Error>((find(db, &made.token)?.expect("there"), now));
                let (token, now) = look(2000)?;
                assert_eq!(token.standing(now), Standing::Unused);
                assert_eq!(token.standing(10_000), Standing::Expired);
                assert_eq!(token.lets_in(public(1), 10_000), Err(Standing::Expired));
                used(db, &token, public(1), now)?;
                let (token, now) = look(3000)?;
                assert_eq!(token.lets_in(public(2), now), Err(Standing::Used));
                assert_eq!(token.lets_in(public(1), now), Ok(()), "its answer was lost");
                used(db, &token, public(1), now)?;
                let (token, _) = look(0)?;
                assert_eq!((token.uses, token.used_ms), (0, Some(2000)), "the hour is not made longer");
                let late = 2000 + AGAIN_MS;
                assert_eq!(token.lets_in(public(1), late), Err(Standing::Used));
                forget(db, late - 1)?;
                assert!(look(0)?.0.code.is_some());
                forget(db, late)?;
                assert!(look(0)?.0.code.is_none());
                assert_eq!(all(db, late)?.len(), 1);
                assert!(!take_back(db, &token.token)?, "what was used stays shown");
                Ok(())
            })
            .expect("no database fault");
    }

    #[test]
    fn a_new_token_for_a_room_ends_the_one_before() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path()).expect("opens");
        let wanted =
            Wanted {
                topics: testkit::topics("room-1"), room: "301教室".into(), uses: 2, expires_ms: 10_000
            };
        store
            .write_now(|db| {
                let first = add(db, wanted.clone(), Code::new([7; 10]), 1000)?;
                let second = add(db, wanted.clone(), Code::new([8; 10]), 1000)?;
                assert!(find(db, &first.token)?.is_none());
                used(db, &second, public(1), 1000)?;
                let token = find(db, &second.token)?.expect("there");
                assert_eq!(token.lets_in(public(2), 1001), Ok(()), "it allows two");
                assert!(take_back(db, &second.token)?);
                Ok(())
            })
            .expect("no database fault");
    }
}
