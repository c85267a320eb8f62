//! Calls the collectors, round by round, so that one that hangs never holds the others.
//!
//! One thread takes collector after collector from a list, and waits for the next round when the list is empty. When a
//! collector takes longer than its patience, the thread is left with it, a new thread goes on with the list, and the
//! numbers of the one that hangs are missing until it comes back by itself; the thread it held ends then.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lectern_base::clock;
use tokio::sync::Notify;

use super::collect::Collector;
use crate::model::reading::{Found, Group, Health};
use crate::platform::host::Host;

/// Collectors need little: their deepest call reads a file or a socket.
const STACK: usize = 192 * 1024;

/// All collectors and what they found last.
pub struct Rounds {
    host: Host,
    entries: Vec<Entry>,
    work: Arc<Work>,
}

struct Entry {
    name: &'static str,
    group: Group,
    every: Duration,
    patience: Duration,
    /// When it is to be called next, monotonic.
    due: Duration,
    /// None while it is being called.
    idle: Option<Box<dyn Collector>>,
    found: Found,
    /// Since when it hangs.
    hangs: Option<Duration>,
}

/// What the round's threads share with the stage.
#[derive(Default)]
struct Work {
    list: Mutex<List>,
    /// Rings when there is something to do for the thread that waits, or nothing ever again.
    more: Condvar,
    /// Rings when a thread has nothing more to do.
    over: Notify,
}

/// Which, itself unless it broke off, and what it found.
type Done = (usize, Option<Box<dyn Collector>>, Found);

#[derive(Default)]
struct List {
    waiting: VecDeque<(usize, Box<dyn Collector>)>,
    /// What is being called, since when, by which thread.
    now: Option<(usize, Duration)>,
    /// The thread that may take from the list; others are left behind.
    thread: u64,
    /// That thread waits for something to do.
    idle: bool,
    done: Vec<Done>,
}

impl Work {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life: until somebody else took over.
    fn run(&self, host: &Host, me: u64) {
        let mut list = self.lock();
        loop {
            if list.thread != me {
                return;
            }
            let taken = list.waiting.pop_front();
            list.now = taken.as_ref().map(|(n, _)| (*n, clock::mono()));
            let Some((n, mut collector)) = taken else {
                self.over.notify_one();
                list.idle = true;
                let waits = |list: &mut List| list.idle && list.thread == me;
                list = self.more.wait_while(list, waits).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(list);
            let outcome =
                std::panic::catch_unwind(AssertUnwindSafe(|| collector.collect(host, clock::mono())));
            list = self.lock();
            list.done.push(match outcome {
                Ok(found) => (n, Some(collector), found),
                Err(_) => {
                    let mut found = Found::default();
                    found.lack(collector.name(), "reading it broke off, see the log; it is not tried again");
                    (n, None, found)
                }
            });
        }
    }
}

impl Rounds {
    /// Rounds over these collectors.
    #[must_use]
    pub fn new(host: Host, collectors: Vec<Box<dyn Collector>>) -> Self {
        let entry = |collector: Box<dyn Collector>| Entry {
            name: collector.name(),
            group: collector.group(),
            every: collector.every(),
            patience: collector.patience(),
            due: Duration::ZERO,
            idle: Some(collector),
            found: Found::default(),
            hangs: None,
        };
        Self { host, entries: collectors.into_iter().map(entry).collect(), work: Arc::default() }
    }

    /// Calls every collector that is due; gives what is known then.
    pub async fn round(&mut self) -> Health {
        self.settle();
        let now = clock::mono();
        {
            let mut list = self.work.lock();
            for (n, entry) in self.entries.iter_mut().enumerate() {
                if entry.due <= now
                    && let Some(collector) = entry.idle.take()
                {
                    // A little early is on time: rounds are not exact.
                    entry.due = now + entry.every.saturating_sub(Duration::from_secs(1));
                    list.waiting.push_back((n, collector));
                }
            }
        }
        self.start();
        loop {
            let patience = {
                let list = self.work.lock();
                list.now.map(|(n, since)| (n, since, self.entries[n].patience))
            };
            let wait = patience.map_or(Duration::from_secs(3), |(_, since, patience)| {
                (since + patience).saturating_sub(clock::mono()) + Duration::from_millis(1)
            });
            if tokio::time::timeout(wait, self.work.over.notified()).await.is_ok() {
                break;
            }
            let mut list = self.work.lock();
            let Some((n, since)) = list.now else { continue };
            let entry = &mut self.entries[n];
            if clock::mono().saturating_sub(since) < entry.patience {
                continue;
            }
            tracing::warn!(collector = entry.name, "it hangs; the others go on without it");
            entry.hangs = Some(since);
            list.now = None;
            drop(list);
            self.start();
        }
        self.settle();
        self.health()
    }

    /// Somebody goes on with the list: the thread that waits, or a new one; whoever worked on it before is left behind.
    fn start(&self) {
        let me = {
            let mut list = self.work.lock();
            let waits = std::mem::take(&mut list.idle);
            list.thread += u64::from(!waits);
            (!waits).then_some(list.thread)
        };
        let Some(me) = me else { return self.work.more.notify_one() };
        let (work, host) = (self.work.clone(), self.host.clone());
        let thread = std::thread::Builder::new().name("sense".into()).stack_size(STACK);
        if let Err(e) = thread.spawn(move || work.run(&host, me)) {
            tracing::error!("the machine's health cannot be read now: {e}");
            self.work.over.notify_one();
        }
    }

    /// Takes in what threads have finished.
    fn settle(&mut self) {
        let done = std::mem::take(&mut self.work.lock().done);
        for (n, collector, found) in done {
            let entry = &mut self.entries[n];
            if let Some(since) = entry.hangs.take() {
                let s = clock::mono().saturating_sub(since).as_secs();
                tracing::info!(collector = entry.name, s, "it came back");
            }
            entry.idle = collector;
            entry.found = found;
        }
    }

    fn health(&self) -> Health {
        let mut health = Health::default();
        for entry in &self.entries {
            match entry.hangs {
                None => health.add(entry.group, &entry.found),
                Some(since) => {
                    let s = clock::mono().saturating_sub(since).as_secs();
                    let why = format!("no answer for {s} s");
                    let names = entry.found.values.keys().cloned();
                    health.missing.extend(names.map(|name| (name, why.clone())));
                    health.missing.insert(entry.name.to_owned(), why);
                }
            }
        }
        health
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        self.work.lock().thread += 1;
        self.work.more.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Counts its calls; hangs while its gate is shut; breaks off at the third call when it is brittle.
    struct Probe {
        name: &'static str,
        calls: u32,
        gate: Option<mpsc::Receiver<()>>,
        brittle: bool,
    }

    impl Collector for Probe {
        fn name(&self) -> &'static str {
            self.name
        }

        fn group(&self) -> Group {
            Group::Sys
        }

        fn patience(&self) -> Duration {
            // Only what hangs is waited for: on a busy machine the others may take their time.
            Duration::from_secs(if self.gate.is_some() { 1 } else { 60 })
        }

        fn collect(&mut self, _host: &Host, _now: Duration) -> Found {
            self.calls += 1;
            if self.calls > 1
                && let Some(gate) = &self.gate
            {
                gate.recv().expect("the test opens it");
            }
            assert!(!self.brittle, "brittle");
            let mut found = Found::default();
            found.put(&format!("{}_count", self.name), self.calls.into());
            found
        }
    }

    fn probe(name: &'static str) -> Probe {
        Probe { name, calls: 0, gate: None, brittle: false }
    }

    #[tokio::test]
    async fn one_that_hangs_or_breaks_is_missing_and_holds_nobody() {
        let (open, gate) = mpsc::channel();
        let hanging = Probe { gate: Some(gate), ..probe("hanging") };
        let brittle = Probe { brittle: true, ..probe("brittle") };
        let all: Vec<Box<dyn Collector>> =
            vec![Box::new(probe("first")), Box::new(hanging), Box::new(brittle), Box::new(probe("last"))];
        let mut rounds = Rounds::new(Host::at("/".as_ref()), all);
        let health = rounds.round().await;
        assert_eq!(health.value("hanging_count"), Some(1.0));
        assert!(health.missing["brittle"].contains("broke off"), "{health:?}");
        for n in [2.0, 3.0] {
            let health = rounds.round().await;
            assert_eq!((health.value("first_count"), health.value("last_count")), (Some(n), Some(n)));
            assert_eq!(health.value("hanging_count"), None, "a number that is not known is not repeated");
            assert!(health.missing["hanging_count"].starts_with("no answer"), "{health:?}");
        }
        open.send(()).expect("it waits");
        open.send(()).expect("it will be called again");
        let mut tries = 0;
        while rounds.round().await.value("hanging_count").is_none() {
            tries += 1;
            open.send(()).expect("it may be called again");
            assert!(tries < 200, "it does not come back");
        }
    }
}
