//! The newest word about each alarm.

use lectern_wire::alarm::Alarm;
use rusqlite::{Connection, params};
use tokio::sync::watch;

use super::{Store, StoreError};

/// All alarms ever raised here, each as it stands.
pub(super) fn load(db: &Connection) -> Result<Vec<Alarm>, StoreError> {
    let mut statement = db.prepare("SELECT body FROM alarms ORDER BY code")?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    let mut alarms = Vec::new();
    for body in rows {
        // A code of another version is left alone.
        match serde_json::from_str(&body?) {
            Ok(alarm) => alarms.push(alarm),
            Err(e) => tracing::warn!("an alarm cannot be read: {e}"),
        }
    }
    Ok(alarms)
}

impl Store {
    /// Follows the alarms.
    #[must_use]
    pub fn alarms(&self) -> watch::Receiver<Vec<Alarm>> {
        self.0.alarms.subscribe()
    }

    /// Keeps the newest word about an alarm.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_alarm(&self, alarm: &Alarm) -> Result<(), StoreError> {
        let body = serde_json::to_string(alarm).map_err(|e| StoreError::Impossible(e.to_string()))?;
        let sql =
            "INSERT INTO alarms (code, body) VALUES (?1, ?2) ON CONFLICT (code) DO UPDATE SET body = ?2";
        self.db().execute(sql, params![alarm.code.name(), body])?;
        self.0.alarms.send_modify(|all| {
            all.retain(|known| known.code != alarm.code);
            all.push(alarm.clone());
        });
        Ok(())
    }
}
