//! The people who use the console: one administrator for now, their password and their sessions.

use argon2::Argon2;
use lectern_wire::digest::Digest;
use rusqlite::{Connection, OptionalExtension as _, params};

/// The administrator's name in sessions and in the list of views.
pub const ADMIN: &str = "admin";
const PASSWORD: &str = "admin_password_argon2id";

/// A setting kept in the database.
///
/// # Errors
/// What the database says.
pub fn get(db: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    db.query_row("SELECT value FROM setting WHERE name = ?", [name], |row| row.get(0)).optional()
}

/// Keeps a setting.
///
/// # Errors
/// What the database says.
pub fn set(db: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    db.execute("INSERT OR REPLACE INTO setting (name, value) VALUES (?,?)", [name, value])?;
    Ok(())
}

/// The administrator's password hash, if one was ever set.
///
/// # Errors
/// What the database says.
pub fn password_hash(db: &Connection) -> rusqlite::Result<Option<String>> {
    get(db, PASSWORD)
}

/// Sets the administrator's password and ends all sessions.
///
/// # Errors
/// What the database says.
pub fn set_password_hash(db: &Connection, hash: &str) -> rusqlite::Result<()> {
    set(db, PASSWORD, hash)?;
    db.execute("DELETE FROM session", [])?;
    Ok(())
}

/// A password as it is stored: salt and Argon2id (RFC 9106, the library's own parameters), in hex.
#[must_use]
pub fn hash(password: &str) -> Option<String> {
    let salt = lectern_base::chance::hex::<16>();
    derive(password, &salt).map(|out| format!("{salt}${out}"))
}

/// Whether a password is the stored one.
#[must_use]
pub fn fits(password: &str, stored: &str) -> bool {
    let Some((salt, want)) = stored.split_once('$') else { return false };
    // Hashing both sides once more makes the comparison say nothing by its time.
    derive(password, salt).is_some_and(|got| Digest::of(got.as_bytes()) == Digest::of(want.as_bytes()))
}

fn derive(password: &str, salt: &str) -> Option<String> {
    let mut out = [0; 32];
    Argon2::default().hash_password_into(password.as_bytes(), salt.as_bytes(), &mut out).ok()?;
    Some(hex::encode(out))
}

/// Opens a session; the token itself is not kept.
///
/// # Errors
/// What the database says.
pub fn open_session(
    db: &Connection,
    token: &str,
    who: &str,
    expires_ms: i64,
    now: i64,
) -> rusqlite::Result<()> {
    db.execute("DELETE FROM session WHERE expires_ms < ?", [now])?;
    db.execute(
        "INSERT INTO session (token_sha256, who, expires_ms) VALUES (?,?,?)",
        params![Digest::of(token.as_bytes()).to_string(), who, expires_ms],
    )?;
    Ok(())
}

/// Who a token belongs to.
///
/// # Errors
/// What the database says.
pub fn session(db: &Connection, token: &str, now: i64) -> rusqlite::Result<Option<String>> {
    db.query_row(
        "SELECT who FROM session WHERE token_sha256 = ? AND expires_ms >= ?",
        params![Digest::of(token.as_bytes()).to_string(), now],
        |row| row.get(0),
    )
    .optional()
}

/// Ends a session.
///
/// # Errors
/// What the database says.
pub fn close_session(db: &Connection, token: &str) -> rusqlite::Result<()> {
    db.execute("DELETE FROM session WHERE token_sha256 = ?", [Digest::of(token.as_bytes()).to_string()])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_own_hash_only() {
        let stored = hash("right").expect("hash");
        assert!(fits("right", &stored));
        assert!(!fits("wrong", &stored));
        assert!(!fits("right", "nonsense"));
        assert!(!stored.contains("right"));
        // What makes it slow to guess: memory and passes of Argon2id, as OWASP asks for them.
        let argon = Argon2::default();
        assert!(argon.params().m_cost() >= 19 * 1024 && argon.params().t_cost() >= 2);
    }
}
