//! The log of receipts as a Merkle tree: rows of entries and of all complete subtrees. Only ever appended to.
//! What it means is told in [`lectern_wire::log`].

use lectern_wire::digest::Digest;
use lectern_wire::id::LessonId;
use lectern_wire::log::proof::{self, Node};
use lectern_wire::log::tile::Tile;
use lectern_wire::log::{self, Checkpoint, Salt};
use lectern_wire::receipt::Receipt;
use lectern_wire::sign::Signed;
use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

use super::keys::Signer;
use super::{findings, odd};

/// SQLite keeps signed numbers.
fn sql(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Entries.
///
/// # Errors
/// What the database says.
pub fn size(db: &Connection) -> rusqlite::Result<u64> {
    let size: i64 = db.query_row("SELECT coalesce(max(n) + 1, 0) FROM log_entry", [], |row| row.get(0))?;
    Ok(size.unsigned_abs())
}

fn node(db: &Connection, at: Node) -> rusqlite::Result<Digest> {
    let mut find = db.prepare_cached("SELECT hash FROM log_node WHERE level = ? AND n = ?")?;
    find.query_row(params![at.level, sql(at.index)], |row| row.get::<_, [u8; 32]>(0)).map(Digest::from_bytes)
}

/// Root of the first `size` entries.
///
/// # Errors
/// What the database says.
pub fn root(db: &Connection, size: u64) -> rusqlite::Result<Digest> {
    proof::root(size, |at| node(db, at))
}

/// See [`proof::inclusion`].
///
/// # Errors
/// What the database says.
pub fn inclusion(db: &Connection, index: u64, size: u64) -> rusqlite::Result<Vec<Digest>> {
    proof::inclusion(index, size, |at| node(db, at))
}

/// See [`proof::consistency`].
///
/// # Errors
/// What the database says.
pub fn consistency(db: &Connection, from: u64, to: u64) -> rusqlite::Result<Vec<Digest>> {
    proof::consistency(from, to, |at| node(db, at))
}

/// Appends an entry; gives the log's size with it.
///
/// # Errors
/// What the database says.
pub fn append(db: &Connection, entry: Digest, salt: Option<Salt>) -> rusqlite::Result<u64> {
    let index = size(db)?;
    db.execute(
        "INSERT INTO log_entry (n, entry, salt) VALUES (?,?,?)",
        params![sql(index), entry.to_string(), salt.map(String::from)],
    )?;
    for (at, hash) in proof::grow(index, log::leaf_hash(entry.bytes()), |at| node(db, at))? {
        db.execute(
            "INSERT INTO log_node (level, n, hash) VALUES (?,?,?)",
            params![at.level, sql(at.index), hash.bytes()],
        )?;
    }
    Ok(index + 1)
}

/// Signs the log as it stands and keeps what was signed. A checkpoint of this size by this key stands.
///
/// # Errors
/// What the database says.
pub fn sign(db: &Connection, signer: &Signer, now: i64) -> rusqlite::Result<Signed<Checkpoint>> {
    let size = size(db)?;
    let key_id = signer.public().id();
    let find = "SELECT document FROM log_checkpoint WHERE size = ? AND key_id = ?";
    let known: Option<String> =
        db.query_row(find, params![sql(size), key_id], |row| row.get(0)).optional()?;
    if let Some(text) = known {
        return serde_json::from_str(&text).map_err(|e| odd(0, e));
    }
    let said = Checkpoint { v: 1, log: signer.log.clone(), size, root: root(db, size)?, wall_ms: now };
    let signed = Signed::sign(said, &signer.key).map_err(super::unwritable)?;
    let text = serde_json::to_string(&signed).map_err(super::unwritable)?;
    db.execute(
        "INSERT INTO log_checkpoint (size, key_id, document) VALUES (?,?,?)",
        params![sql(size), key_id, text],
    )?;
    Ok(signed)
}

/// The newest checkpoint, by the newest key.
///
/// # Errors
/// What the database says.
pub fn newest(db: &Connection) -> rusqlite::Result<Option<Signed<Checkpoint>>> {
    let text: Option<String> = db
        .query_row(
            "SELECT document FROM log_checkpoint ORDER BY size DESC,
             json_extract(document, '$.document.wall_ms') DESC LIMIT 1",
            [],
            |row| row.get(0),
        )
        .optional()?;
    text.map(|t| serde_json::from_str(&t)).transpose().map_err(|e| odd(0, e))
}

/// A tile's bytes; none when the log has not grown it yet.
///
/// # Errors
/// What the database says.
pub fn tile(db: &Connection, tile: Tile) -> rusqlite::Result<Option<Vec<u8>>> {
    if !tile.is_in(size(db)?) {
        return Ok(None);
    }
    let mut out = Vec::new();
    for at in tile.nodes() {
        if tile.level.is_some() {
            out.extend(node(db, at)?.bytes());
        } else {
            out.extend(32_u16.to_be_bytes());
            out.extend(entry(db, at.index)?.bytes());
        }
    }
    Ok(Some(out))
}

fn entry(db: &Connection, index: u64) -> rusqlite::Result<Digest> {
    let mut find = db.prepare_cached("SELECT entry FROM log_entry WHERE n = ?")?;
    let text: String = find.query_row([sql(index)], |row| row.get(0))?;
    text.parse().map_err(|e| odd(0, e))
}

/// Forgets what an entry was about: its salt and the receipt, where the salt stands too. The entry stays.
///
/// # Errors
/// What the database says.
pub fn forget(db: &Connection, lesson: &LessonId) -> rusqlite::Result<()> {
    let id = [lesson.as_str()];
    db.execute(
        "UPDATE log_entry SET salt = NULL WHERE n = (SELECT log_index FROM receipt WHERE lesson = ?)",
        id,
    )?;
    db.execute("UPDATE receipt SET document = '' WHERE lesson = ?", id)?;
    Ok(())
}

/// Brings receipts from before there was this log into it, in their order, and makes sure that what stands is
/// signed with the key of today. `salt` gives a fresh salt each time.
///
/// # Errors
/// What the database says.
pub fn catch_up(
    db: &Connection,
    signer: &Signer,
    mut salt: impl FnMut() -> Salt,
    now: i64,
) -> rusqlite::Result<u64> {
    let before = size(db)?;
    let mut rows = db.prepare(
        "SELECT log_index, lesson, document, (SELECT state FROM lesson WHERE id = lesson) FROM receipt
         WHERE log_index >= ? ORDER BY log_index",
    )?;
    let mut rows = rows.query([sql(before)])?;
    while let Some(row) = rows.next()? {
        let index = row.get::<_, i64>(0)?.unsigned_abs();
        while size(db)? < index {
            // Somebody took a receipt away before there was a log that shows it. Its place stays empty, and said.
            let n = size(db)?;
            append(db, Digest::of(format!("lectern log hole v1\n{n}").as_bytes()), None)?;
            findings::add(
                db,
                "",
                "receipt_removed",
                &format!("entry {n} had no receipt when the log was begun"),
                now,
            )?;
        }
        let (lesson, text): (String, String) = (row.get(1)?, row.get(2)?);
        let receipt: Signed<Receipt> = serde_json::from_str(&text).map_err(|e| odd(2, e))?;
        let salt = salt();
        let entry = log::entry(&salt, &receipt.document).map_err(super::unwritable)?;
        append(db, entry, Some(salt))?;
        if row.get::<_, Option<String>>(3)?.as_deref() == Some("discarded") {
            forget(db, &LessonId::new(lesson).map_err(|e| odd(1, e))?)?;
        }
    }
    sign(db, signer, now)?;
    Ok(size(db)? - before)
}

/// Adds a leaf to the peaks of a tree: complete subtrees, the largest first, each with its level.
pub fn push(peaks: &mut Vec<(u32, Digest)>, leaf: Digest) {
    let mut top = (0, leaf);
    while peaks.last().is_some_and(|(level, _)| *level == top.0) {
        let Some((level, left)) = peaks.pop() else { return };
        top = (level + 1, log::node_hash(&left, &top.1));
    }
    peaks.push(top);
}

/// The root over peaks.
#[must_use]
pub fn fold(peaks: &[(u32, Digest)]) -> Digest {
    let mut hashes = peaks.iter().rev().map(|(_, hash)| *hash);
    let Some(last) = hashes.next() else { return Digest::finish(Sha256::new()) };
    hashes.fold(last, |right, left| log::node_hash(&left, &right))
}
