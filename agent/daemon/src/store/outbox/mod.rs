//! What waits for MQTT: a bounded SQLite file of its own.
//!
//! Two classes. `event` rows are committed at once, leave only on the hub's own acknowledgement, and
//! are never dropped. `sample` rows are committed in groups (at most 5 s apart) and leave on the broker's
//! acknowledgement; when the file is full the oldest go, and a `gap` event says which.
//! `head` rows are chain heads: committed at once, gone on the broker's acknowledgement. Each speaks for all bytes
//! before it, so of very many only the newest are kept.
//!
//! The daemon always starts and always tells: a file that cannot be read is set aside, and that is declared
//! ([`file`]). While the disk is full, read-only or gone, samples wait in memory and are told from there; events wait
//! in memory for the number that only the file can give them. Both have a bound, and what does not fit is declared.

mod file;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lectern_base::clock;
use lectern_wire::telemetry::{Event, Sample};
use rusqlite::{Connection, params};
use serde_json::Value;

use super::StoreError;
use file::Fault;
use rows::{Count, Held, Lost};
pub use rows::{EventRow, SampleRow};

/// Longest time between two commits of fresh samples: what a power cut may take.
const GROUP_COMMIT: Duration = Duration::from_secs(5);
/// Chain heads kept at most: fourteen hours of recording without a network.
const MOST_HEADS: i64 = 5000;
/// What a row of samples costs beside its text, roughly, in bytes.
const ROW_COST: u64 = 48;
/// Samples in memory at most: eight hours of a disk that cannot be written and a hub that cannot be reached.
const MOST_FRESH: usize = 2000;
/// Events in memory at most, while the disk cannot be written.
const MOST_HELD: usize = 1000;
/// Where samples are numbered from when the file cannot be asked how far it got: above any number in it.
const FAR: i64 = 1 << 40;

/// The outbox.
pub struct Outbox {
    inner: Mutex<Inner>,
}

struct Inner {
    path: PathBuf,
    limit_bytes: u64,
    /// None while the disk does not give the file.
    db: Option<Connection>,
    bytes: u64,
    /// Rows in the file.
    count: Count,
    /// The number of the next sample.
    next: i64,
    /// Samples not committed yet, each with its time.
    fresh: VecDeque<(SampleRow, i64)>,
    /// Events not committed yet: none, unless the disk refuses.
    held: VecDeque<Held>,
    /// What there was no room for in memory.
    lost: Lost,
    /// Rows the broker has; removed with the next commit. A power cut before it sends them again, once.
    sent: BTreeSet<i64>,
    /// The hub has all events up to here; and whether the file says so too.
    stored: u64,
    forgotten: bool,
    /// Heads the broker has, still in the file.
    heads_sent: BTreeSet<i64>,
    /// Since when something waits for a commit, and when the last one was tried.
    waits_since: Option<Duration>,
    flushed: Duration,
    /// The last commit failed: it is said once.
    refuses: bool,
}

impl Outbox {
    /// Opens the file. One that cannot be read is set aside; one that the disk does not give is tried again with every
    /// commit.
    #[must_use]
    pub fn open(path: &Path, limit_bytes: u64) -> Self {
        let mut inner = Inner {
            path: path.to_owned(),
            limit_bytes,
            db: None,
            bytes: 0,
            count: Count::default(),
            next: FAR,
            fresh: VecDeque::new(),
            held: VecDeque::new(),
            lost: Lost::default(),
            sent: BTreeSet::new(),
            stored: 0,
            forgotten: true,
            heads_sent: BTreeSet::new(),
            waits_since: None,
            flushed: clock::mono(),
            refuses: false,
        };
        if let Err(e) = inner.reopen() {
            inner.refuses = true;
            tracing::error!(path = %path.display(), "the outbox cannot be opened; what is to be told waits in memory: {e}");
        }
        Self { inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits an event. Where the file refuses, which is logged, it waits in memory and is tried again.
    pub fn push_event(&self, kind: &str, data: &Value) {
        let mut inner = self.lock();
        inner.hold(kind, data);
        if let Err(e) = inner.commit_now() {
            tracing::warn!(kind, "an event waits in memory, the outbox cannot be written: {e}");
        }
    }

    /// Commits an event that somebody is told of as done: it is in the file, or nowhere.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn commit_event(&self, kind: &str, data: &Value) -> Result<(), StoreError> {
        let mut inner = self.lock();
        inner.hold(kind, data);
        let outcome = inner.commit_now();
        if outcome.is_err() {
            inner.held.pop_back();
        }
        outcome
    }

    /// Adds a sample; it is committed with the next [`Outbox::flush`].
    pub fn push_sample(&self, group: &str, sample: &Sample) {
        self.lock().add(group, sample.ts, sample.text());
    }

    /// Commits what is fresh, and makes room when the file is full.
    ///
    /// # Errors
    /// [`StoreError`]; what is fresh stays in memory, up to a bound, can be told from there, and is tried again.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.lock().flush()
    }

    /// As [`Outbox::flush`], when something has waited for [`GROUP_COMMIT`]. That the disk refuses is logged, once.
    pub fn flush_if_due(&self) {
        let mut inner = self.lock();
        if inner.due_in().is_some_and(|wait| wait.is_zero())
            && let Err(e) = inner.flush()
        {
            tracing::debug!("the outbox could not be written: {e}");
        }
    }

    /// The oldest events above `after`, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn events(&self, after: u64, limit: u32) -> Result<Vec<EventRow>, StoreError> {
        let inner = self.lock();
        let Some(db) = inner.db.as_ref().filter(|_| inner.count.events > 0) else { return Ok(Vec::new()) };
        let mut statement = db.prepare_cached(
            "SELECT seq, kind, ts, mono_ms, boot_id, clock_trusted, data FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )?;
        let after = after.max(inner.stored);
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
                    // Whatever a bad disk made of it is told as text: its number is taken.
                    data: serde_json::from_str(&data)
                        .unwrap_or_else(|_| serde_json::json!({ "unreadable": data })),
                },
            })
        })?;
        rows.collect::<Result<_, _>>().map_err(Into::into)
    }

    /// The hub has all events up to a number: they are removed.
    pub fn events_stored(&self, seq: u64) {
        let mut inner = self.lock();
        inner.stored = inner.stored.max(seq);
        inner.forgotten = false;
        inner.forget_events();
    }

    /// An event that no broker on the way takes is given up, and declared: the ones behind it must not wait for ever.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn give_up_event(&self, seq: u64, cause: &str) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let Some(db) = &inner.db else { return Ok(()) };
        // Emptied, not removed: its number is taken, and the hub is told what became of it.
        let data = serde_json::json!({ "class": "event", "count": 1, "cause": cause });
        db.execute(
            "UPDATE events SET kind = 'gap', data = ?2 WHERE seq = ?1",
            params![seq.cast_signed(), data.to_string()],
        )?;
        inner.flush()
    }

    /// The oldest samples above `after`, at most `limit`: committed ones, then those in memory.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn samples(&self, after: i64, limit: u32) -> Result<Vec<SampleRow>, StoreError> {
        let inner = self.lock();
        let mut found = Vec::new();
        if let Some(db) = inner.db.as_ref().filter(|_| inner.count.samples > 0) {
            let sql = "SELECT seq, grp, sample FROM samples WHERE seq > ?1 ORDER BY seq LIMIT ?2";
            let mut statement = db.prepare_cached(sql)?;
            // Rows the broker has are still there until the next commit; nobody is to see them.
            let most = i64::from(limit) + i64::try_from(inner.sent.len()).unwrap_or(0);
            let rows = statement.query_map(params![after, most], |row| {
                Ok(SampleRow { seq: row.get(0)?, group: row.get(1)?, text: row.get(2)?, kept: true })
            })?;
            let waiting = rows.filter(|row| row.as_ref().map_or(true, |row| !inner.sent.contains(&row.seq)));
            for row in waiting.take(limit as usize) {
                found.push(row?);
            }
        }
        let room = (limit as usize).saturating_sub(found.len());
        let fresh = inner.fresh.iter().map(|(row, _)| row).filter(|row| row.seq > after);
        found.extend(fresh.take(room).cloned());
        Ok(found)
    }

    /// The number of the newest sample; 0 when there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn newest_sample(&self) -> Result<i64, StoreError> {
        let inner = self.lock();
        if let Some((row, _)) = inner.fresh.back() {
            return Ok(row.seq);
        }
        let Some(db) = &inner.db else { return Ok(0) };
        Ok(db.query_row("SELECT coalesce(max(seq), 0) FROM samples", [], |row| row.get(0))?)
    }

    /// Samples the broker has: removed with the next commit, or now when there are many.
    pub fn samples_sent(&self, rows: &[i64]) {
        /// A commit costs a wait for the disk; what is sent one by one is removed together.
        const MANY: usize = 100;
        let mut inner = self.lock();
        let first = inner.fresh.front().map_or(i64::MAX, |(row, _)| row.seq);
        let (fresh, committed): (Vec<i64>, Vec<i64>) = rows.iter().copied().partition(|seq| *seq >= first);
        if !fresh.is_empty() {
            inner.fresh.retain(|(row, _)| !fresh.contains(&row.seq));
        }
        inner.sent.extend(committed);
        inner.look_whether_anything_waits();
        if inner.sent.len() >= MANY
            && !inner.refuses
            && let Err(e) = inner.flush()
        {
            tracing::debug!("sent samples stay in the outbox until it can be written: {e}");
        }
    }

    /// Samples that are no longer what they were: removed, and declared.
    pub fn samples_spoiled(&self, rows: &[i64]) {
        tracing::error!(
            count = rows.len(),
            "samples in the outbox cannot be read any more; they are given up"
        );
        let data = serde_json::json!({
            "class": "sample", "count": rows.len(), "cause": "samples in the outbox could not be read",
        });
        let mut inner = self.lock();
        inner.sent.extend(rows);
        inner.hold("gap", &data);
        if let Err(e) = inner.flush() {
            tracing::debug!("that is declared when the outbox can be written: {e}");
        }
    }

    /// How long until what waits must be committed; none when nothing does.
    #[must_use]
    pub fn flush_due_in(&self) -> Option<Duration> {
        self.lock().due_in()
    }

    /// Commits a signed chain head.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn push_head(&self, body: &str) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let tx = inner.file()?.transaction()?;
        tx.execute("INSERT INTO heads (body) VALUES (?1)", [body])?;
        let old =
            tx.execute("DELETE FROM heads WHERE seq <= (SELECT max(seq) FROM heads) - ?1", [MOST_HEADS])?;
        tx.commit()?;
        inner.count.heads = (inner.count.heads + 1).saturating_sub(old as u64);
        Ok(())
    }

    /// The oldest chain heads above `after`, at most `limit`, each with its row.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn heads(&self, after: i64, limit: u32) -> Result<Vec<(i64, String)>, StoreError> {
        let inner = self.lock();
        let Some(db) = inner.db.as_ref().filter(|_| inner.count.heads > 0) else { return Ok(Vec::new()) };
        let sql = "SELECT seq, body FROM heads WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        let mut statement = db.prepare_cached(sql)?;
        let most = i64::from(limit) + i64::try_from(inner.heads_sent.len()).unwrap_or(0);
        let rows = statement.query_map(params![after, most], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let waiting =
            rows.filter(|row| row.as_ref().map_or(true, |(seq, _)| !inner.heads_sent.contains(seq)));
        waiting.take(limit as usize).collect::<Result<_, _>>().map_err(Into::into)
    }

    /// The broker has a chain head: it is removed.
    pub fn head_sent(&self, seq: i64) {
        let mut inner = self.lock();
        inner.heads_sent.insert(seq);
        inner.forget_heads();
    }

    /// Rows waiting, both classes, in the file and in memory.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rows(&self) -> Result<u64, StoreError> {
        let inner = self.lock();
        let memory = (inner.fresh.len() + inner.held.len()) as u64;
        let Some(db) = &inner.db else { return Ok(memory) };
        let events = if inner.forgotten {
            inner.count.events
        } else {
            // The disk refuses: those that the hub has are still there.
            let sql = "SELECT count(*) FROM events WHERE seq > ?1";
            db.query_row(sql, [inner.stored.cast_signed()], |row| row.get::<_, i64>(0))?.cast_unsigned()
        };
        Ok((events + inner.count.samples + memory).saturating_sub(inner.sent.len() as u64))
    }
}

impl Inner {
    fn reopen(&mut self) -> Result<(), StoreError> {
        let db = match file::open(&self.path) {
            Ok(db) => db,
            Err(Fault::Broken(why)) => {
                let db = file::begin_anew(&self.path, &why)?;
                // What the old file held is nobody's any more.
                (self.stored, self.forgotten) = (0, true);
                self.sent.clear();
                self.heads_sent.clear();
                db
            }
            Err(Fault::Disk(e)) => return Err(e),
        };
        file::declare_cut(&self.path, &db)?;
        let ever = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'samples'), 0)";
        let ever: i64 = db.query_row(ever, [], |row| row.get(0))?;
        self.next = if self.fresh.is_empty() { ever + 1 } else { self.next.max(ever + 1) };
        self.db = Some(db);
        self.measure()
    }

    /// The file, opened anew if need be.
    fn file(&mut self) -> Result<&mut Connection, StoreError> {
        if self.db.is_none() {
            self.reopen()?;
        }
        self.db.as_mut().ok_or_else(|| StoreError::Impossible("no outbox".into()))
    }

    /// Counts what is in the file. Afterwards it is counted along: a week of rows is not gone through for each sample.
    fn measure(&mut self) -> Result<(), StoreError> {
        let sql = "SELECT coalesce(sum(length(sample) + ?1), 0), count(*), (SELECT count(*) FROM events),
                   (SELECT count(*) FROM heads) FROM samples";
        let Some(db) = &self.db else { return Ok(()) };
        let number = |row: &rusqlite::Row<'_>, n| row.get::<_, i64>(n).map(i64::cast_unsigned);
        let counted = db.query_row(sql, [ROW_COST.cast_signed()], |row| {
            let count = Count { samples: number(row, 1)?, events: number(row, 2)?, heads: number(row, 3)? };
            Ok((number(row, 0)?, count))
        });
        (self.bytes, self.count) = counted?;
        Ok(())
    }

    /// How long until what waits must be committed, or is tried again; none when nothing waits.
    fn due_in(&self) -> Option<Duration> {
        let due = self.waits_since?.max(self.flushed) + GROUP_COMMIT;
        Some(due.saturating_sub(clock::mono()))
    }

    fn look_whether_anything_waits(&mut self) {
        let waits = !self.fresh.is_empty()
            || !self.sent.is_empty()
            || !self.held.is_empty()
            || self.lost.samples > 0
            || self.lost.events > 0;
        self.waits_since = waits.then(|| self.waits_since.unwrap_or_else(clock::mono));
    }

    fn add(&mut self, group: &str, ts: i64, text: String) {
        if self.fresh.len() >= MOST_FRESH
            && let Some((_, ts)) = self.fresh.pop_front()
        {
            // The disk has refused for hours: the oldest in memory go, as the oldest in the file would.
            self.lost.from_ts = if self.lost.samples == 0 { ts } else { self.lost.from_ts };
            self.lost.to_ts = ts;
            self.lost.samples += 1;
        }
        self.fresh.push_back((SampleRow { seq: self.next, group: group.to_owned(), text, kept: false }, ts));
        self.next += 1;
        self.look_whether_anything_waits();
    }

    fn hold(&mut self, kind: &str, data: &Value) {
        if self.held.len() >= MOST_HELD && self.held.pop_front().is_some() {
            self.lost.events += 1;
        }
        self.held.push_back(Held {
            kind: kind.to_owned(),
            ts: clock::wall_ms(),
            mono_ms: file::boot_ms(),
            clock_trusted: clock::trusted(),
            data: data.to_string(),
        });
        self.look_whether_anything_waits();
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if self.waits_since.is_none() {
            return Ok(());
        }
        self.flushed = clock::mono();
        self.commit_now()
    }

    /// One change with everything in memory; says once that it fails, and once that it no longer does.
    fn commit_now(&mut self) -> Result<(), StoreError> {
        let outcome = self
            .commit()
            .and_then(|()| if self.bytes > self.limit_bytes { self.make_room() } else { Ok(()) });
        match &outcome {
            Ok(()) if self.refuses => tracing::info!("the outbox can be written again"),
            Err(e) if file::is_broken(e) => {
                tracing::error!("the outbox has become unreadable: {e}");
                // With the next commit it is looked at whole, and set aside.
                self.db = None;
            }
            Err(e) if !self.refuses => {
                tracing::error!("the outbox cannot be written; what is to be told waits in memory: {e}");
            }
            _ => {}
        }
        self.refuses = outcome.is_err();
        if outcome.is_ok() {
            self.forget_events();
            self.forget_heads();
        }
        outcome
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.file()?;
        let Some(db) = self.db.as_mut() else { return Ok(()) };
        let tx = db.transaction()?;
        let (mut added, mut removed, mut count) = (0, 0, self.count);
        let numbers = !self.held.is_empty() || self.lost.events > 0 || self.lost.samples > 0;
        {
            let mut remove =
                tx.prepare_cached("DELETE FROM samples WHERE seq = ?1 RETURNING length(sample)")?;
            for seq in &self.sent {
                let mut gone = remove.query([seq])?;
                while let Some(row) = gone.next()? {
                    removed += row.get::<_, i64>(0)?.cast_unsigned() + ROW_COST;
                    count.samples = count.samples.saturating_sub(1);
                }
            }
            let mut insert =
                tx.prepare_cached("INSERT INTO samples (seq, grp, ts, sample) VALUES (?1, ?2, ?3, ?4)")?;
            for (row, ts) in &self.fresh {
                added += row.text.len() as u64 + ROW_COST;
                insert.execute(params![row.seq, row.group, ts, row.text])?;
                count.samples += 1;
            }
            let mut tell = tx.prepare_cached(
                "INSERT INTO events (kind, ts, mono_ms, boot_id, clock_trusted, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            let boot = clock::boot_id();
            for event in &self.held {
                tell.execute(params![
                    event.kind,
                    event.ts,
                    event.mono_ms,
                    boot,
                    event.clock_trusted,
                    event.data
                ])?;
                count.events += 1;
            }
            for data in self.lost.told() {
                let now = (clock::wall_ms(), file::boot_ms(), clock::trusted());
                tell.execute(params!["gap", now.0, now.1, boot, now.2, data.to_string()])?;
                count.events += 1;
            }
        }
        tx.commit()?;
        if numbers {
            file::note(&self.path, db);
        }
        self.fresh.clear();
        self.sent.clear();
        self.held.clear();
        self.lost = Lost::default();
        self.waits_since = None;
        self.count = count;
        self.bytes = (self.bytes + added).saturating_sub(removed);
        Ok(())
    }

    /// Removes the events the hub has; where the disk refuses, they are passed over until it does not.
    fn forget_events(&mut self) {
        let Some(db) = self.db.as_ref().filter(|_| !self.forgotten) else { return };
        match db.execute("DELETE FROM events WHERE seq <= ?1", [self.stored.cast_signed()]) {
            Ok(gone) => {
                self.forgotten = true;
                self.count.events = self.count.events.saturating_sub(gone as u64);
            }
            Err(e) => tracing::debug!("events the hub has stay in the outbox until it can be written: {e}"),
        }
    }

    /// As [`Inner::forget_events`], for heads.
    fn forget_heads(&mut self) {
        let Some(db) = &self.db else { return };
        let count = &mut self.count.heads;
        let mut gone = |seq: &i64| match db.execute("DELETE FROM heads WHERE seq = ?1", [seq]) {
            Ok(rows) => {
                *count = count.saturating_sub(rows as u64);
                true
            }
            Err(e) => {
                tracing::debug!("a head the broker has stays in the outbox until it can be written: {e}");
                false
            }
        };
        self.heads_sent.retain(|seq| !gone(seq));
    }

    /// Drops the oldest tenth of the samples and declares the hole, in one transaction.
    fn make_room(&mut self) -> Result<(), StoreError> {
        let Some(db) = self.db.as_mut() else { return Ok(()) };
        let tx = db.transaction()?;
        let (count, from, to, last): (i64, i64, i64, i64) = tx.query_row(
            "SELECT count(*), coalesce(min(ts), 0), coalesce(max(ts), 0), coalesce(max(seq), 0) FROM
             (SELECT seq, ts FROM samples ORDER BY seq LIMIT (SELECT count(*) / 10 + 1 FROM samples))",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )?;
        tx.execute("DELETE FROM samples WHERE seq <= ?1", [last])?;
        let data = serde_json::json!({
            "class": "sample", "count": count, "from_ts": from, "to_ts": to, "cause": "the outbox is full",
        });
        tx.execute(
            "INSERT INTO events (kind, ts, mono_ms, boot_id, clock_trusted, data) VALUES ('gap', ?1, ?2, ?3, ?4, ?5)",
            params![
                clock::wall_ms(),
                file::boot_ms(),
                clock::boot_id(),
                clock::trusted(),
                data.to_string()
            ],
        )?;
        tx.commit()?;
        file::note(&self.path, db);
        self.measure()
    }
}
