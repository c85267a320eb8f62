//! Commands that arrived, each once, and what became of them.

use std::sync::atomic::Ordering;

use lectern_base::clock;
use lectern_wire::command::{Command, CommandState, Outcome};
use lectern_wire::sign::Signed;
use rusqlite::{Connection, params};

use super::{Store, StoreError};

/// A step of the database.
pub(super) const COMMANDS: &str = "
CREATE TABLE commands (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,         -- in the order they arrived
    id       TEXT NOT NULL UNIQUE,
    document TEXT NOT NULL,                             -- JSON, signed by the hub
    state    TEXT NOT NULL,
    detail   TEXT NOT NULL DEFAULT '',
    ts       INTEGER NOT NULL,                          -- when it came to this state
    boot_id  TEXT NOT NULL,                             -- of the boot in which it did
    told     INTEGER NOT NULL DEFAULT 0                 -- the broker has this state
);
";
/// Commands whose end the hub knows are kept, so that one that arrives again is known; but not all of them.
const KEPT: u32 = 500;

/// A command and how far it is.
#[derive(Debug, Clone)]
pub struct CommandRow {
    /// The command's id, as the topic said.
    pub id: String,
    /// What is asked, as it arrived.
    pub document: Signed<Command>,
    /// How far it is.
    pub state: CommandState,
    /// The boot in which it came there.
    pub boot_id: String,
}

impl Store {
    /// Takes a command in; false when it was here before: then its outcome is told again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn take_command(&self, id: &str, document: &Signed<Command>) -> Result<bool, StoreError> {
        let text = serde_json::to_string(document).map_err(|e| StoreError::Impossible(e.to_string()))?;
        let db = self.db();
        let new = db.execute(
            "INSERT OR IGNORE INTO commands (id, document, state, ts, boot_id) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![id, text, CommandState::Received.name(), clock::wall_ms(), clock::boot_id()],
        )?;
        if new == 0 {
            db.execute("UPDATE commands SET told = 0 WHERE id = ?1", [id])?;
        }
        db.execute(
            "DELETE FROM commands WHERE told AND state NOT IN ('received', 'running')
             AND number <= (SELECT max(number) FROM commands) - ?1",
            [KEPT],
        )?;
        self.0.untold.store(true, Ordering::Relaxed);
        Ok(new == 1)
    }

    /// Commands that are not at their end, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn commands_under_way(&self) -> Result<Vec<CommandRow>, StoreError> {
        let db = self.db();
        let mut statement = db.prepare_cached(
            "SELECT id, document, state, boot_id FROM commands WHERE state IN ('received', 'running') ORDER BY number",
        )?;
        let rows = statement.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get(3)?))
        })?;
        let impossible = |what: String| StoreError::Impossible(what);
        rows.map(|row| {
            let (id, document, state, boot_id) = row?;
            let document =
                serde_json::from_str(&document).map_err(|e| impossible(format!("command {id}: {e}")))?;
            let state = CommandState::from_name(&state)
                .ok_or_else(|| impossible(format!("command {id} is {state}")))?;
            Ok(CommandRow { id, document, state, boot_id })
        })
        .collect()
    }

    /// A command has come a step further; what would be a step back is left as it is, and answers false.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn advance_command(&self, id: &str, to: CommandState, detail: &str) -> Result<bool, StoreError> {
        let db = self.db();
        let from: String =
            db.query_row("SELECT state FROM commands WHERE id = ?1", [id], |row| row.get(0))?;
        let same_but_said_anew = to == CommandState::Running && from == to.name();
        if !same_but_said_anew && !CommandState::from_name(&from).is_some_and(|from| to.follows(from)) {
            return Ok(false);
        }
        let detail: String = detail.chars().take(lectern_wire::command::DETAIL_MAX_CHARS).collect();
        db.execute(
            "UPDATE commands SET state = ?2, detail = ?3, ts = ?4, boot_id = ?5, told = 0 WHERE id = ?1",
            params![id, to.name(), detail, clock::wall_ms(), clock::boot_id()],
        )?;
        self.0.untold.store(true, Ordering::Relaxed);
        Ok(true)
    }

    /// Outcomes the broker does not have yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn outcomes_to_tell(&self) -> Result<Vec<Outcome>, StoreError> {
        // Asked with every sample; whoever changes a row holds the database as this does.
        let db = self.db();
        if !self.0.untold.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let untold = outcomes(&db)?;
        self.0.untold.store(!untold.is_empty(), Ordering::Relaxed);
        Ok(untold)
    }

    /// The broker has an outcome; a newer one is still to be told.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn outcome_told(&self, told: &Outcome) -> Result<(), StoreError> {
        self.db().execute(
            "UPDATE commands SET told = 1 WHERE id = ?1 AND state = ?2 AND detail = ?3",
            params![told.id, told.state.name(), told.detail],
        )?;
        Ok(())
    }
}

fn outcomes(db: &Connection) -> rusqlite::Result<Vec<Outcome>> {
    let mut statement = db.prepare_cached(
        "SELECT id, state, detail, ts FROM commands WHERE NOT told ORDER BY number LIMIT 16",
    )?;
    let rows = statement.query_map([], |row| {
        let state: String = row.get(1)?;
        let state = CommandState::from_name(&state).unwrap_or(CommandState::Failed);
        Ok(Outcome { id: row.get(0)?, state, detail: row.get(2)?, ts: row.get(3)? })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use lectern_wire::command::Verb;
    use lectern_wire::id::{DeviceId, SchoolId};

    use super::*;

    fn signed(id: &str) -> Signed<Command> {
        let command = Command {
            v: 1,
            id: id.into(),
            school: SchoolId::new("s").expect("id"),
            device: DeviceId::new("d").expect("id"),
            verb: Verb::Refresh,
            given_ms: 1,
            good_for_ms: 1000,
            who: "admin".into(),
        };
        Signed::sign(command, &SigningKey::from_bytes(&[5; 32])).expect("signs")
    }

    #[test]
    fn a_command_is_taken_once_and_its_outcome_told_again_when_it_is_asked_again() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path(), 1 << 20).expect("opens");
        let id = "0123456789abcdef";
        assert!(store.take_command(id, &signed(id)).expect("takes"));
        assert!(!store.take_command(id, &signed(id)).expect("knows it"));
        assert_eq!(store.commands_under_way().expect("reads").len(), 1);
        for (to, new) in [
            (CommandState::Running, true),
            (CommandState::Successful, true),
            (CommandState::Failed, false),
            (CommandState::Running, false),
        ] {
            assert_eq!(store.advance_command(id, to, "x").expect("no fault"), new, "{to:?}");
        }
        let told = store.outcomes_to_tell().expect("reads");
        assert_eq!((told.len(), told[0].state), (1, CommandState::Successful));
        store.outcome_told(&told[0]).expect("no fault");
        assert!(store.outcomes_to_tell().expect("reads").is_empty());
        assert!(!store.take_command(id, &signed(id)).expect("knows it"));
        assert_eq!(store.outcomes_to_tell().expect("reads"), told);
        assert!(store.commands_under_way().expect("reads").is_empty());
    }
}
