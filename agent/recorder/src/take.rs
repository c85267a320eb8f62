//! Writes the take: fragments appended, made durable off the encoding thread.
//!
//! For each fragment, in this order: 1. facts so far into the journal, `fdatasync`; 2. the fragment
//! into the take, `fdatasync`; 3. the durable length is told. So a fact is never missing from a
//! journal whose take goes beyond it. The take is locked for as long as it is written: a daemon that has taken it for lost
//! holds the lock, and then there is nothing to record here any more. A failed sync is final: it is never tried again on the same
//! file, because the kernel may have dropped the pages it could not write.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, anyhow, ensure};
use lectern_base::disk;
use lectern_wire::recorder::{Event, Fact};

use crate::link::Speaker;

/// Fragments (about a second each) that may wait for a slow disk.
const QUEUE: usize = 64;

enum Work {
    Fragment { bytes: Vec<u8>, media_ms: u64 },
    Fact(Fact),
}

/// The take being written.
pub struct Take {
    work: Option<SyncSender<Work>>,
    thread: Option<JoinHandle<u64>>,
    fault: Arc<Mutex<Option<String>>>,
}

fn create(path: &str) -> anyhow::Result<File> {
    let path = Path::new(path);
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let file = file.with_context(|| format!("{} could not be created", path.display()))?;
    if let Some(folder) = path.parent() {
        disk::sync_folder(folder)
            .with_context(|| format!("the name {} could not be made durable", path.display()))?;
    }
    Ok(file)
}

impl Take {
    /// Creates the take and its journal; both must be new.
    pub fn create(take_path: &str, journal_path: &str, speaker: Speaker) -> anyhow::Result<Self> {
        let take = create(take_path)?;
        let held = disk::hold(&take).with_context(|| format!("{take_path} could not be locked"))?;
        ensure!(held, "{take_path} is no longer waited for: the lesson goes on without this recorder");
        let journal = create(journal_path)?;
        let (work, queue) = sync_channel(QUEUE);
        let fault = Arc::new(Mutex::new(None));
        let told = fault.clone();
        let thread = std::thread::Builder::new().name("take writer".into()).spawn(move || {
            let mut writer = Writer { take, journal, length: 0, speaker };
            if let Err(e) = writer.run(&queue) {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{e:#}"));
                // Keep taking work so that the session is never stuck; nothing more is written.
                queue.iter().for_each(drop);
            }
            writer.length
        })?;
        Ok(Self { work: Some(work), thread: Some(thread), fault })
    }

    fn send(&self, work: Work) -> anyhow::Result<()> {
        if let Some(fault) = self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Err(anyhow!(fault));
        }
        let sender = self.work.as_ref().ok_or_else(|| anyhow!("the take has ended"))?;
        match sender.try_send(work) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(work)) => {
                tracing::warn!("the disk is more than a minute behind; waiting for it");
                sender.send(work).map_err(|_| anyhow!("the take's writer is gone"))
            }
            Err(TrySendError::Disconnected(_)) => Err(anyhow!("the take's writer is gone")),
        }
    }

    /// Appends a fragment that ends at this media time.
    pub fn fragment(&self, bytes: Vec<u8>, media_ms: u64) -> anyhow::Result<()> {
        if bytes.is_empty() { Ok(()) } else { self.send(Work::Fragment { bytes, media_ms }) }
    }

    /// Writes a fact; durable with the next fragment, or at the end.
    pub fn fact(&self, fact: Fact) -> anyhow::Result<()> {
        self.send(Work::Fact(fact))
    }

    /// Waits until everything is durable; gives the take's length.
    pub fn end(&mut self) -> anyhow::Result<u64> {
        drop(self.work.take());
        let length = match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| anyhow!("the take's writer panicked"))?,
            None => 0,
        };
        match self.fault.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(fault) => Err(anyhow!(fault)),
            None => Ok(length),
        }
    }
}

struct Writer {
    take: File,
    journal: File,
    length: u64,
    speaker: Speaker,
}

impl Writer {
    fn run(&mut self, queue: &Receiver<Work>) -> anyhow::Result<()> {
        let mut unsynced = false;
        for work in queue {
            match work {
                Work::Fact(fact) => {
                    let mut line = serde_json::to_vec(&fact)?;
                    line.push(b'\n');
                    self.journal.write_all(&line).context("the take's journal could not be written")?;
                    unsynced = true;
                }
                Work::Fragment { bytes, media_ms } => {
                    if std::mem::take(&mut unsynced) {
                        self.journal.sync_data().context("the take's journal could not be made durable")?;
                    }
                    self.take.write_all(&bytes).context("the take could not be written")?;
                    self.take.sync_data().context("the take could not be made durable")?;
                    self.length += bytes.len() as u64;
                    self.speaker.say(&Event::Durable { bytes: self.length, media_ms });
                }
            }
        }
        self.journal.sync_data().context("the take's journal could not be made durable")
    }
}
