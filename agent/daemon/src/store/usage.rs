//! The use register of this room: each period's automatic row, the newest word of a teacher about it, and the ledger.

use lectern_wire::usage::{KIND, Usage};
use rusqlite::{OptionalExtension as _, params};

use super::{Store, StoreError};
use crate::model::usage::Ledger;

pub(super) const USAGE: &str = "
CREATE TABLE usage (
    date    TEXT NOT NULL,
    period  TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    auto    TEXT NOT NULL,                              -- JSON, written once
    told    INTEGER NOT NULL DEFAULT 0,                 -- it is in the outbox
    said    TEXT,                                       -- JSON, the newest word of a teacher
    said_told INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (date, period)
);
";

/// The fact that holds the ledger.
const LEDGER: &str = "usage_ledger";
/// Rows are kept this many days: longer than anything can be corrected.
const KEPT_DAYS: u32 = 60;

/// A period's row as the agent wrote it, and as a teacher says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// The automatic row.
    pub auto: Usage,
    /// The newest word about it.
    pub said: Option<Usage>,
}

fn json(row: &Usage) -> Result<String, StoreError> {
    serde_json::to_string(row).map_err(|e| StoreError::Impossible(e.to_string()))
}

fn read(text: &str) -> Result<Usage, StoreError> {
    serde_json::from_str(text).map_err(|e| StoreError::Impossible(format!("a row of the use register: {e}")))
}

impl Store {
    /// The ledger as it was kept; an empty one when there is none or it cannot be read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn ledger(&self) -> Result<Ledger, StoreError> {
        let Some(text) = self.fact(LEDGER)? else { return Ok(Ledger::default()) };
        Ok(serde_json::from_str(&text).unwrap_or_else(|e| {
            tracing::error!("what was seen of the room's use cannot be read and begins anew: {e}");
            Ledger::default()
        }))
    }

    /// Keeps the ledger.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_ledger(&self, ledger: &Ledger) -> Result<(), StoreError> {
        let text = serde_json::to_string(ledger).map_err(|e| StoreError::Impossible(e.to_string()))?;
        self.set_fact(LEDGER, &text)
    }

    /// Whether a period has its row.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has_usage(&self, date: &str, period: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM usage WHERE date = ?1 AND period = ?2";
        Ok(self.db().query_row(sql, [date, period], |_| Ok(())).optional()?.is_some())
    }

    /// Keeps the automatic row of a period. Answers whether it is the first: a second one changes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_usage(&self, row: &Usage) -> Result<bool, StoreError> {
        let sql = "INSERT OR IGNORE INTO usage (date, period, ordinal, auto) VALUES (?1, ?2, ?3, ?4)";
        let first = self.db().execute(sql, params![row.date, row.period, row.ordinal, json(row)?])?;
        Ok(first > 0)
    }

    /// Keeps what a teacher says of a row; false when there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn say_usage(&self, row: &Usage) -> Result<bool, StoreError> {
        let sql = "UPDATE usage SET said = ?3, said_told = 0 WHERE date = ?1 AND period = ?2";
        Ok(self.db().execute(sql, params![row.date, row.period, json(row)?])? > 0)
    }

    /// A period's row.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn usage(&self, date: &str, period: &str) -> Result<Option<UsageRow>, StoreError> {
        Ok(self.usages_where("date = ?1 AND period = ?2", &[date, period])?.pop())
    }

    /// The rows from a day on, in order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn usages_since(&self, date: &str) -> Result<Vec<UsageRow>, StoreError> {
        self.usages_where("date >= ?1", &[date])
    }

    fn usages_where(&self, filter: &str, arguments: &[&str]) -> Result<Vec<UsageRow>, StoreError> {
        let db = self.db();
        let sql = format!("SELECT auto, said FROM usage WHERE {filter} ORDER BY date, ordinal");
        let mut statement = db.prepare(&sql)?;
        let rows = statement.query_map(rusqlite::params_from_iter(arguments), |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?))
        })?;
        let mut found = Vec::new();
        for row in rows {
            let (auto, said) = row?;
            found.push(UsageRow { auto: read(&auto)?, said: said.as_deref().map(read).transpose()? });
        }
        Ok(found)
    }

    /// Puts every row that is not in the outbox there. A power cut between the two files sends a row twice; the hub keeps
    /// it once. Old rows go.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tell_usage(&self) -> Result<(), StoreError> {
        for (column, told) in [("auto", "told"), ("said", "said_told")] {
            let waiting: Vec<(String, String, String)> = {
                let db = self.db();
                let sql = format!(
                    "SELECT date, period, {column} FROM usage WHERE {column} IS NOT NULL AND {told} = 0 ORDER BY date, ordinal"
                );
                let mut statement = db.prepare(&sql)?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
                rows.collect::<Result<_, _>>()?
            };
            for (date, period, body) in waiting {
                let data: serde_json::Value =
                    serde_json::from_str(&body).map_err(|e| StoreError::Impossible(e.to_string()))?;
                self.outbox().commit_event(KIND, &data)?;
                // Only the word that was told: a newer one may have come meanwhile.
                let sql =
                    format!("UPDATE usage SET {told} = 1 WHERE date = ?1 AND period = ?2 AND {column} = ?3");
                self.db().execute(&sql, params![date, period, body])?;
                self.bells().publish.notify_one();
            }
        }
        let sql = "DELETE FROM usage WHERE told = 1 AND date < date((SELECT max(date) FROM usage), ?1)";
        self.db().execute(sql, [format!("-{KEPT_DAYS} days")])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lectern_wire::usage::{Source, Used};
    use serde_json::json;

    use super::*;

    fn row() -> Usage {
        serde_json::from_value(json!({
            "v": 1, "date": "2026-09-14", "weekday": 1, "period": "第3节", "ordinal": 3, "planned_start_ms": 0,
            "planned_end_ms": 2_400_000, "planned": true, "used": "not", "needed_s": 600, "used_s": 0, "active_s": 0,
            "display_on_s": 0, "recorded_s": 0, "known_s": 2400, "powered_s": 0, "source": "auto", "said_ms": 5,
        }))
        .expect("a row")
    }

    fn told(store: &Store) -> Vec<(Source, Used)> {
        let events = store.outbox().events(0, 100).expect("reads");
        let read = |data| serde_json::from_value::<Usage>(data).expect("a row");
        events.into_iter().map(|e| read(e.event.data)).map(|row| (row.source, row.used)).collect()
    }

    #[test]
    fn the_first_row_of_a_period_stays_and_is_told_once_and_a_word_stands_beside_it() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path(), 1 << 20).expect("opens");
        assert!(store.put_usage(&row()).expect("puts"));
        assert!(!store.put_usage(&Usage { used: Used::Used, ..row() }).expect("puts"), "it is written once");
        store.tell_usage().expect("tells");
        drop(store);
        let store = Store::open(folder.path(), 1 << 20).expect("opens");
        store.tell_usage().expect("tells");
        assert_eq!(told(&store), [(Source::Auto, Used::Not)]);
        let word =
            Usage {
                used: Used::Used, source: Source::Corrected, by: "李老师".into(), said_ms: 9, ..row()
            };
        assert!(store.say_usage(&word).expect("says"));
        assert!(!store.say_usage(&Usage { period: "第9节".into(), ..word.clone() }).expect("says"));
        for _ in 0..2 {
            store.tell_usage().expect("tells");
        }
        assert_eq!(told(&store), [(Source::Auto, Used::Not), (Source::Corrected, Used::Used)]);
        let kept = store.usage("2026-09-14", "第3节").expect("reads").expect("there");
        assert_eq!((kept.auto, kept.said), (row(), Some(word)), "the automatic row is as it was");
    }

    #[test]
    fn old_rows_go_once_they_were_told() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path(), 1 << 20).expect("opens");
        store.put_usage(&row()).expect("puts");
        store.put_usage(&Usage { date: "2026-12-01".into(), ..row() }).expect("puts");
        store.tell_usage().expect("tells");
        let dates: Vec<_> = store.usages_since("").expect("reads").into_iter().map(|r| r.auto.date).collect();
        assert_eq!(dates, ["2026-12-01"]);
    }
}
