//! What waits for MQTT: a bounded SQLite file of its own.
//!
//! Two classes. `event` rows are committed at once, leave only on the hub's own acknowledgement, and
//! are never dropped. `sample` rows are committed in groups (at most 5 s apart) and leave on the broker's
//! acknowledgement; when the file is full the oldest go, and a `gap` event says which.
//! `head` rows are chain heads: committed at once, gone on the broker's acknowledgement. Each speaks for all bytes
//! before it, so of very many only the newest are kept.
//! A file that cannot be read is set aside, and that is declared too: the daemon always starts.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lectern_base::clock;
use lectern_wire::telemetry::{Event, Sample};
use rusqlite::{Connection, params};

use super::{StoreError, at};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS events (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    kind          TEXT NOT NULL,
    ts            INTEGER NOT NULL,
    mono_ms       INTEGER NOT NULL,
    boot_id       TEXT NOT NULL,
    clock_trusted INTEGER NOT NULL,
    data          TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS samples (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    grp    TEXT NOT NULL,
    ts     INTEGER NOT NULL,
    sample TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS heads (seq INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL);
";

/// Longest time between two commits of fresh samples: what a power cut may take.
const GROUP_COMMIT: Duration = Duration::from_secs(5);
/// Chain heads kept at most: fourteen hours of recording without a network.
const MOST_HEADS: i64 = 5000;
/// What a row of samples costs beside its text, roughly, in bytes.
const ROW_COST: u64 = 48;

/// The outbox.
pub struct Outbox {
    inner: Mutex<Inner>,
}

struct Inner {
    db: Connection,
    limit_bytes: u64,
    bytes: u64,
    /// Samples not committed yet.
    fresh: Vec<(String, Sample)>,
    /// Rows the broker has; removed with the next commit. A power cut before it sends them again, once.
    sent: Vec<i64>,
    flushed: Duration,
}

/// A stored event with its type.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// The event's type, a topic level.
    pub kind: String,
    /// The event.
    pub event: Event,
}

/// A stored sample.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleRow {
    /// Its row.
    pub seq: i64,
    /// Its group, a topic level.
    pub group: String,
    /// The sample as it is told, JSON.
    pub text: String,
}

impl Outbox {
    /// Opens the file; one that cannot be read is set aside.
    ///
    /// # Errors
    /// [`StoreError`] when not even a new file can be made.
    pub fn open(path: &Path, limit_bytes: u64) -> Result<Self, StoreError> {
        match Inner::open(path, limit_bytes) {
            Ok(inner) => Ok(Self { inner: Mutex::new(inner) }),
            Err(e) => {
                let aside = path.with_extension(format!("broken-{}", clock::wall_ms()));
                tracing::error!(path = %path.display(), "the outbox cannot be read and is set aside: {e}");
                std::fs::rename(path, &aside).map_err(at(path))?;
                for tail in ["-wal", "-shm"] {
                    let mut side = path.as_os_str().to_owned();
                    side.push(tail);
                    if let Err(e) = std::fs::remove_file(&side) {
                        tracing::debug!("{}: {e}", Path::new(&side).display());
                    }
                }
                let inner = Inner::open(path, limit_bytes)?;
                // Numbers must not repeat: the hub has seen some of the old ones. Milliseconds since 1970 are
                // above any number that counts events.
                let start = clock::wall_ms().max(1_000_000_000_000);
                inner.db.execute("INSERT INTO events (seq, kind, ts, mono_ms, boot_id, clock_trusted, data) VALUES (?1, 'restart', 0, 0, '', 0, '{}')", [start - 1])?;
                inner.db.execute("DELETE FROM events", [])?;
                let outbox = Self { inner: Mutex::new(inner) };
                let data = serde_json::json!({
                    "class": "event", "from_seq": 1, "to_seq": start - 1, "cause": "the outbox could not be read",
                });
                outbox.push_event("gap", &data)?;
                Ok(outbox)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits an event; gives its number.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn push_event(&self, kind: &str, data: &serde_json::Value) -> Result<u64, StoreError> {
        self.lock().push_event(kind, data)
    }

    /// Adds a sample; it is committed with the next [`Outbox::flush`].
    pub fn push_sample(&self, group: &str, sample: Sample) {
        self.lock().fresh.push((group.to_owned(), sample));
    }

    /// Commits what is fresh, and makes room when the file is full.
    ///
    /// # Errors
    /// [`StoreError::Database`]; the samples stay in memory and are tried again, up to a bound.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.lock().flush()
    }

    /// As [`Outbox::flush`], when the last one is [`GROUP_COMMIT`] ago.
    ///
    /// # Errors
    /// As [`Outbox::flush`].
    pub fn flush_if_due(&self) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if clock::mono().saturating_sub(inner.flushed) < GROUP_COMMIT { Ok(()) } else { inner.flush() }
    }

    /// The oldest events above `after`, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn events(&self, after: u64, limit: u32) -> Result<Vec<EventRow>, StoreError> {
        let inner = self.lock();
        let mut statement = inner.db.prepare_cached(
            "SELECT seq, kind, ts, mono_ms, boot_id, clock_trusted, data FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )?;
        let rows = statement.query_map(params![after.cast_signed(), limit], |row| {
            let data: String = row.get(6)?;
            Ok(EventRow {
                kind: row.get(1)?,
                event: Event {
                    seq: row.get::<_, i64>(0)?.cast_unsigned(),
                    ts: row.get(2)?,
                    mono_ms: row.get::<_, i64>(3)?.cast_unsigned(),
                    boot_id: row.get(4)?,
                    clock_trusted: row.get(5)?,
                    data: serde_json::from_str(&data).unwrap_or_default(),
                },
            })
        })?;
        rows.collect::<Result<_, _>>().map_err(Into::into)
    }

    /// Removes all events up to a number: the hub has them.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn events_stored(&self, seq: u64) -> Result<(), StoreError> {
        self.lock().db.execute("DELETE FROM events WHERE seq <= ?1", [seq.cast_signed()])?;
        Ok(())
    }

    /// The oldest samples above `after`, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn samples(&self, after: i64, limit: u32) -> Result<Vec<SampleRow>, StoreError> {
        let inner = self.lock();
        let mut statement = inner
            .db
            .prepare_cached("SELECT seq, grp, sample FROM samples WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
        // Rows the broker has are still there until the next commit; nobody is to see them.
        let most = i64::from(limit) + i64::try_from(inner.sent.len()).unwrap_or(0);
        let rows = statement.query_map(params![after, most], |row| {
            Ok(SampleRow { seq: row.get(0)?, group: row.get(1)?, text: row.get(2)? })
        })?;
        let waiting = rows.filter(|row| row.as_ref().map_or(true, |row| !inner.sent.contains(&row.seq)));
        waiting.take(limit as usize).map(|row| row.map_err(StoreError::from)).collect()
    }

    /// The number of the newest committed sample; 0 when there is none.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn newest_sample(&self) -> Result<i64, StoreError> {
        Ok(self.lock().db.query_row("SELECT coalesce(max(seq), 0) FROM samples", [], |row| row.get(0))?)
    }

    /// Samples the broker has: removed with the next commit, or now when there are many.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn samples_sent(&self, rows: &[i64]) -> Result<(), StoreError> {
        /// A commit costs a wait for the disk; what is sent one by one is removed together.
        const MANY: usize = 100;
        let mut inner = self.lock();
        inner.sent.extend(rows);
        if inner.sent.len() >= MANY { inner.flush() } else { Ok(()) }
    }

    /// How long until what is fresh must be committed; none when nothing is.
    #[must_use]
    pub fn flush_due_in(&self) -> Option<Duration> {
        let inner = self.lock();
        (!inner.fresh.is_empty()).then(|| (inner.flushed + GROUP_COMMIT).saturating_sub(clock::mono()))
    }

    /// Commits a signed chain head.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn push_head(&self, body: &str) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let tx = inner.db.transaction()?;
        tx.execute("INSERT INTO heads (body) VALUES (?1)", [body])?;
        tx.execute("DELETE FROM heads WHERE seq <= (SELECT max(seq) FROM heads) - ?1", [MOST_HEADS])?;
        Ok(tx.commit()?)
    }

    /// The oldest chain heads above `after`, at most `limit`, each with its row.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn heads(&self, after: i64, limit: u32) -> Result<Vec<(i64, String)>, StoreError> {
        let inner = self.lock();
        let sql = "SELECT seq, body FROM heads WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        let mut statement = inner.db.prepare_cached(sql)?;
        let rows = statement.query_map(params![after, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect::<Result<_, _>>().map_err(Into::into)
    }

    /// Removes a chain head: the broker has it.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn head_sent(&self, seq: i64) -> Result<(), StoreError> {
        self.lock().db.execute("DELETE FROM heads WHERE seq = ?1", [seq])?;
        Ok(())
    }

    /// Rows waiting, both classes.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn rows(&self) -> Result<u64, StoreError> {
        let inner = self.lock();
        let sql = "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM samples)";
        let rows: i64 = inner.db.query_row(sql, [], |row| row.get(0))?;
        Ok((rows.cast_unsigned() + inner.fresh.len() as u64).saturating_sub(inner.sent.len() as u64))
    }
}

impl Inner {
    fn open(path: &Path, limit_bytes: u64) -> Result<Self, StoreError> {
        let db = Connection::open(path)?;
        db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -512;")?;
        db.execute_batch(SCHEMA)?;
        let check: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if check != "ok" {
            return Err(StoreError::Impossible(check));
        }
        let mut inner =
            Self { db, limit_bytes, bytes: 0, fresh: Vec::new(), sent: Vec::new(), flushed: clock::mono() };
        inner.measure()?;
        Ok(inner)
    }

    fn measure(&mut self) -> Result<(), StoreError> {
        let sql = "SELECT coalesce(sum(length(sample) + ?1), 0) FROM samples";
        let bytes: i64 = self.db.query_row(sql, [ROW_COST.cast_signed()], |row| row.get(0))?;
        self.bytes = bytes.cast_unsigned();
        Ok(())
    }

    fn push_event(&mut self, kind: &str, data: &serde_json::Value) -> Result<u64, StoreError> {
        let mono_ms = i64::try_from(clock::boot().as_millis()).unwrap_or(i64::MAX);
        self.db.execute(
            "INSERT INTO events (kind, ts, mono_ms, boot_id, clock_trusted, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![kind, clock::wall_ms(), mono_ms, clock::boot_id(), clock::trusted(), data.to_string()],
        )?;
        Ok(self.db.last_insert_rowid().cast_unsigned())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        const MAX_FRESH: usize = 2000;
        self.flushed = clock::mono();
        if self.fresh.is_empty() && self.sent.is_empty() {
            return Ok(());
        }
        if self.fresh.len() > MAX_FRESH {
            // The disk has refused for hours: the oldest in memory go, as the oldest in the file would.
            let drop = self.fresh.len() - MAX_FRESH;
            tracing::warn!(drop, "samples are lost because the outbox cannot be written");
            self.fresh.drain(..drop);
        }
        let tx = self.db.transaction()?;
        let (mut added, mut removed) = (0, 0);
        {
            let mut remove =
                tx.prepare_cached("DELETE FROM samples WHERE seq = ?1 RETURNING length(sample)")?;
            for seq in &self.sent {
                let mut gone = remove.query([seq])?;
                while let Some(row) = gone.next()? {
                    removed += row.get::<_, i64>(0)?.cast_unsigned() + ROW_COST;
                }
            }
        }
        for (group, sample) in &self.fresh {
            let text = serde_json::to_string(sample).map_err(|e| StoreError::Impossible(e.to_string()))?;
            added += text.len() as u64 + ROW_COST;
            let mut insert =
                tx.prepare_cached("INSERT INTO samples (grp, ts, sample) VALUES (?1, ?2, ?3)")?;
            insert.execute(params![group, sample.ts, text])?;
        }
        tx.commit()?;
        self.fresh.clear();
        self.sent.clear();
        self.bytes = (self.bytes + added).saturating_sub(removed);
        if self.bytes > self.limit_bytes { self.make_room() } else { Ok(()) }
    }

    /// Drops the oldest tenth of the samples and declares the hole, in one transaction.
    fn make_room(&mut self) -> Result<(), StoreError> {
        let (count, from, to, last): (i64, i64, i64, i64) = self.db.query_row(
            "SELECT count(*), coalesce(min(ts), 0), coalesce(max(ts), 0), coalesce(max(seq), 0) FROM
             (SELECT seq, ts FROM samples ORDER BY seq LIMIT (SELECT count(*) / 10 + 1 FROM samples))",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )?;
        self.db.execute_batch("BEGIN")?;
        let dropped =
            self.db.execute("DELETE FROM samples WHERE seq <= ?1", [last]).map_err(StoreError::from);
        let told = dropped.and_then(|_| {
            let data = serde_json::json!({
                "class": "sample", "count": count, "from_ts": from, "to_ts": to, "cause": "the outbox is full",
            });
            self.push_event("gap", &data)
        });
        self.db.execute_batch(if told.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
        told?;
        self.measure()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(ts: i64) -> Sample {
        Sample { ts, values: [("cpu_pct".to_owned(), 1.0)].into() }
    }

    #[test]
    fn events_leave_only_when_the_hub_has_them() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("outbox.db");
        let outbox = Outbox::open(&path, 1 << 20).expect("opens");
        for n in 0..3 {
            outbox.push_event("lesson", &serde_json::json!({ "n": n })).expect("pushes");
        }
        drop(outbox);
        let outbox = Outbox::open(&path, 1 << 20).expect("opens again");
        let seqs: Vec<_> = outbox.events(0, 10).expect("reads").iter().map(|e| e.event.seq).collect();
        assert_eq!(seqs, [1, 2, 3]);
        outbox.events_stored(2).expect("removes");
        assert_eq!(outbox.events(0, 10).expect("reads")[0].event.data["n"], 2);
    }

    #[test]
    fn a_sample_the_broker_has_is_never_seen_again_and_leaves_with_the_next_commit() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("outbox.db");
        let outbox = Outbox::open(&path, 1 << 20).expect("opens");
        for ts in 0..5 {
            outbox.push_sample("sys", sample(ts));
        }
        outbox.flush().expect("flushes");
        outbox.samples_sent(&[1, 2, 3]).expect("notes");
        let seqs = |outbox: &Outbox, limit| {
            outbox.samples(0, limit).expect("reads").iter().map(|row| row.seq).collect::<Vec<_>>()
        };
        assert_eq!((seqs(&outbox, 1), seqs(&outbox, 9)), (vec![4], vec![4, 5]));
        assert_eq!(outbox.rows().expect("counts"), 2);
        outbox.flush().expect("flushes");
        drop(outbox);
        assert_eq!(seqs(&Outbox::open(&path, 1 << 20).expect("opens"), 9), [4, 5]);
    }

    #[test]
    fn of_very_many_chain_heads_the_newest_are_kept() {
        let folder = tempfile::tempdir().expect("folder");
        let outbox = Outbox::open(&folder.path().join("outbox.db"), 1 << 20).expect("opens");
        outbox
            .lock()
            .db
            .execute("INSERT INTO heads VALUES (1, 'old'), (?1, 'new')", [MOST_HEADS])
            .expect("fills");
        outbox.push_head("newest").expect("pushes");
        let kept = outbox.heads(0, 10).expect("reads");
        assert_eq!(kept.iter().map(|(_, body)| body.as_str()).collect::<Vec<_>>(), ["new", "newest"]);
        outbox.head_sent(kept[0].0).expect("removes");
        assert_eq!(outbox.heads(0, 10).expect("reads").len(), 1);
        assert_eq!(outbox.heads(kept[1].0, 10).expect("reads").len(), 0);
    }

    #[test]
    fn a_full_outbox_drops_the_oldest_samples_and_says_so() {
        let folder = tempfile::tempdir().expect("folder");
        let outbox = Outbox::open(&folder.path().join("outbox.db"), 10_000).expect("opens");
        for ts in 0..500 {
            outbox.push_sample("sys", sample(ts));
            outbox.flush().expect("flushes");
        }
        let kept = outbox.samples(0, 1000).expect("reads");
        assert!(kept.len() < 200 && kept.last().is_some_and(|s| s.text.starts_with("{\"ts\":499,")));
        let gaps = outbox.events(0, 1000).expect("reads");
        let dropped: i64 = gaps.iter().map(|g| g.event.data["count"].as_i64().unwrap_or(0)).sum();
        assert_eq!(dropped as usize + kept.len(), 500, "every dropped sample is declared");
        assert!(gaps.iter().all(|g| g.kind == "gap"));
    }

    #[test]
    fn a_broken_file_is_set_aside_and_declared_and_numbers_never_repeat() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("outbox.db");
        let outbox = Outbox::open(&path, 1 << 20).expect("opens");
        outbox.push_event("lesson", &serde_json::json!({})).expect("pushes");
        drop(outbox);
        std::fs::write(&path, vec![7; 5000]).expect("breaks it");
        let outbox = Outbox::open(&path, 1 << 20).expect("opens all the same");
        let events = outbox.events(0, 10).expect("reads");
        assert_eq!(events[0].kind, "gap");
        assert!(events[0].event.seq > 1_000_000);
        assert_eq!(events[0].event.data["to_seq"].as_u64(), Some(events[0].event.seq - 1));
        assert!(
            std::fs::read_dir(folder.path())
                .expect("lists")
                .flatten()
                .any(|e| e.file_name().to_string_lossy().contains("broken"))
        );
    }
}
