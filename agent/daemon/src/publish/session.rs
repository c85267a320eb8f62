//! One connection to the broker.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use lectern_base::clock;
use lectern_mqtt::{Heard, Line, LineError, Options};
use lectern_wire::alarm::{Alarm, Code};
use lectern_wire::command::Outcome;
use lectern_wire::desired::Reported;
use lectern_wire::telemetry::Ack;
use lectern_wire::topic::{self, Leaf};
use tokio_util::sync::CancellationToken;

use super::dialect::{self, Message};
use super::sizes::{Sizes, UnderWay};
use super::{Settings, WINDOW, discovery, keeping, lost, offline, online};
use crate::model::telling::Dialect;
use crate::platform::rest::{self, Beat};
use crate::platform::tls::TrustError;
use crate::store::outbox::SampleRow;
use crate::store::{Store, StoreError};

/// An event the hub has not acknowledged after this long is sent again; then after twice as long, and so on: a
/// broker that keeps everything for a hub that is away for days must not be filled with the same events.
const EVENT_PATIENCE: Duration = Duration::from_secs(30);
/// The longest of these times.
const EVENT_PATIENCE_MOST: Duration = Duration::from_secs(16 * 60);
/// A connection on which nothing is acknowledged for this long, though something is under way, is dead.
const STUCK: Duration = Duration::from_secs(60);
/// Batches of history a second at most.
const HISTORY_EVERY: Duration = Duration::from_millis(200);
/// Where history is thought to be told, it is looked whether the outbox got any back from a disk that was away.
const LOOK_BACK: Duration = Duration::from_secs(60);
/// Longest silence on the line.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long a goodbye may take; with systemd's answer before it, it is over before the daemon's stages are cut off.
const GOODBYE: Duration = Duration::from_secs(4);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The connection.
    #[error(transparent)]
    Line(#[from] LineError),
    /// TLS with the hub.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The outbox.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A message cannot be written down.
    #[error("a message has no JSON form: {0}")]
    Json(#[from] serde_json::Error),
    /// Nothing is acknowledged any more.
    #[error("the broker has acknowledged nothing for {} s", STUCK.as_secs())]
    Stuck,
}

/// What a message under way carries.
enum Cargo {
    /// Rows, and the bytes of a batch of history.
    Samples(Vec<i64>, Option<usize>),
    /// Number and bytes.
    Event(u64, usize),
    Outcome(Outcome),
    Head(i64),
    Word,
}

struct Session<'a> {
    store: &'a Store,
    settings: &'a Settings,
    line: Line,
    /// Sent, by packet id, and when.
    sent: HashMap<u16, (Cargo, Duration)>,
    /// Samples under way.
    busy: BTreeSet<i64>,
    /// Highest event number sent, when that was, and the highest the hub has.
    event_sent: u64,
    event_at: Duration,
    event_stored: u64,
    event_patience: Duration,
    /// The newest chain head handed over on this connection.
    head_sent: i64,
    progress: Duration,
    history_at: Duration,
    /// There may be history that is not under way.
    history_left: bool,
    /// The largest batch of history, bytes.
    batch: usize,
    /// There was more to send than the window had room for.
    more: bool,
    /// The alarms as they were told on this connection.
    alarms: HashMap<Code, Alarm>,
    /// What was told on this connection of what the hub handed down.
    reported: Option<Reported>,
    /// Everything up to here was in the outbox when the connection began.
    backlog: i64,
}

fn options(settings: &Settings) -> Result<Options, SessionError> {
    let device = settings.topics.device.to_string();
    let (login, will) = match settings.dialect {
        Dialect::Lectern => {
            let will = (settings.topics.of(&Leaf::State), serde_json::to_vec(&lost())?);
            ((device.clone(), settings.password.clone()), Some(will))
        }
        // The token is the user; there is no password.
        Dialect::ThingsBoard => ((settings.password.clone(), String::new()), None),
    };
    let url = settings.url.clone();
    // A ThingsBoard is believed by the system's certificates.
    let ours = settings.dialect == Dialect::Lectern && url.scheme() == "mqtts";
    let tls = ours.then(|| settings.trust.connector()).transpose()?.map(|(tls, _)| tls);
    Ok(Options { url, tls, id: device, login: Some(login), will, clean: true, keep_alive: KEEP_ALIVE })
}

/// Connects and stays until the connection or the daemon ends.
pub async fn run(
    store: &Store,
    settings: &Settings,
    sizes: &mut Sizes,
    stop: &CancellationToken,
) -> Result<(), SessionError> {
    let options = options(settings)?;
    let line = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        line = keeping(store, Line::connect(&options)) => line?,
    };
    tracing::info!(broker = %settings.url, "connected to the broker");
    let now = clock::mono();
    sizes.begin(now);
    let mut session = Session {
        store,
        settings,
        line,
        sent: HashMap::new(),
        busy: BTreeSet::new(),
        event_sent: 0,
        event_at: now,
        event_stored: 0,
        event_patience: EVENT_PATIENCE,
        head_sent: 0,
        progress: now,
        history_at: now,
        history_left: true,
        batch: sizes.batch(),
        more: false,
        alarms: HashMap::new(),
        reported: None,
        backlog: store.outbox().newest_sample()?,
    };
    let end = session.live_on(stop).await;
    match end {
        Ok(()) => session.goodbye().await,
        Err(SessionError::Line(_)) => {
            let way = session.largest();
            if let Some(seq) = sizes.lost(way, clock::mono()) {
                let bytes = way.event.map_or(0, |(_, bytes)| bytes);
                tracing::error!(seq, bytes, "an event ends every connection and is given up");
                store
                    .outbox()
                    .give_up_event(seq, &format!("the broker takes no message of {bytes} bytes"))?;
            }
        }
        Err(_) => {}
    }
    end
}

impl Session<'_> {
    /// Until the daemon stops, or the connection ends.
    async fn live_on(&mut self, stop: &CancellationToken) -> Result<(), SessionError> {
        self.greet().await?;
        let mut beat = Beat::every(rest::STEP);
        loop {
            self.send_more().await?;
            self.line.flush().await?;
            let until = clock::mono() + self.rest();
            // What was heard makes room, or it does not: then it is no reason to look through the outbox.
            loop {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    heard = self.line.next() => if self.hear(heard?).await? {
                        break;
                    },
                    () = self.store.bells().publish.notified() => break,
                    // The machine is awake now; in the middle of the night it need not be woken for a ping alone.
                    () = beat.next() => self.line.ping_early().await?,
                    () = tokio::time::sleep(until.saturating_sub(clock::mono())) => {
                        self.store.outbox().flush_if_due();
                        break;
                    }
                }
            }
        }
    }

    /// Sends a message, with the next flush.
    async fn hand(&mut self, leaf: &Leaf, payload: Vec<u8>, cargo: Cargo) -> Result<(), SessionError> {
        let Message { topic, payload, retain } =
            self.settings.dialect.put(&self.settings.topics, leaf, payload);
        let now = clock::mono();
        if self.sent.is_empty() {
            // The broker's time to acknowledge begins when there is something to acknowledge.
            self.progress = now;
        }
        tracing::debug!(topic, bytes = payload.len(), "to the broker");
        let id = self.line.publish(topic, retain, payload).await?;
        self.sent.insert(id, (cargo, now));
        Ok(())
    }

    async fn greet(&mut self) -> Result<(), SessionError> {
        let down = self.settings.dialect.down(&self.settings.topics);
        self.line.subscribe(down).await?;
        self.hand(&Leaf::State, serde_json::to_vec(&online())?, Cargo::Word).await?;
        self.hand(&Leaf::Info, serde_json::to_vec(&self.settings.info)?, Cargo::Word).await?;
        // One fresh sample of each group first: the present must not hide behind history.
        let mut newest: BTreeMap<String, SampleRow> = BTreeMap::new();
        for row in self.store.outbox().samples((self.backlog - 50).max(0), 100)? {
            newest.insert(row.group.clone(), row);
        }
        for (_, row) in newest {
            self.live(row).await?;
        }
        if let Some(settings) = &self.settings.discovery {
            for Message { topic, payload, retain } in
                discovery::documents(settings, &self.settings.topics, &self.settings.info)
            {
                let id = self.line.publish(topic, retain, payload).await?;
                self.sent.insert(id, (Cargo::Word, clock::mono()));
            }
        }
        Ok(())
    }

    async fn live(&mut self, row: SampleRow) -> Result<(), SessionError> {
        if !row.is_sound() {
            self.store.outbox().samples_spoiled(&[row.seq]);
            return Ok(());
        }
        self.busy.insert(row.seq);
        let cargo = Cargo::Samples(vec![row.seq], None);
        self.hand(&Leaf::Measurement(row.group), row.text.into_bytes(), cargo).await
    }

    /// How long there is nothing to do unless something happens.
    fn rest(&self) -> Duration {
        let now = clock::mono();
        let mut due = now + Duration::from_secs(3600);
        if !self.sent.is_empty() {
            due = due.min(self.progress + STUCK + Duration::from_millis(10));
        }
        if self.event_sent > self.event_stored {
            due = due.min(self.event_at + self.event_patience + Duration::from_millis(10));
        }
        if self.history_left && self.sent.len() < WINDOW / 2 {
            due = due.min(self.history_at);
        }
        if let Some(flush) = self.store.outbox().flush_due_in() {
            due = due.min(now + flush);
        }
        due.saturating_sub(now)
    }

    fn room(&self) -> u32 {
        u32::try_from(WINDOW.saturating_sub(self.sent.len())).unwrap_or(0)
    }

    async fn send_more(&mut self) -> Result<(), SessionError> {
        let now = clock::mono();
        if !self.sent.is_empty() && now.saturating_sub(self.progress) > STUCK {
            return Err(SessionError::Stuck);
        }
        self.send_alarms().await?;
        self.send_reported().await?;
        self.more = false;
        self.send_outcomes().await?;
        self.send_heads().await?;
        self.send_live().await?;
        self.send_events(now).await?;
        self.history_left |= now.saturating_sub(self.history_at) > LOOK_BACK;
        if self.history_left && now >= self.history_at && self.sent.len() < WINDOW / 2 {
            self.history_at = now + HISTORY_EVERY;
            self.send_history().await?;
        }
        Ok(())
    }

    /// Alarms stand retained at the broker; each is told when it differs from what was told last.
    async fn send_alarms(&mut self) -> Result<(), SessionError> {
        let alarms = self.store.alarms();
        let untold = |alarm: &&Alarm| self.alarms.get(&alarm.code) != Some(*alarm);
        let untold: Vec<Alarm> = alarms.borrow().iter().filter(untold).cloned().collect();
        for alarm in untold {
            self.hand(&Leaf::Alarm(alarm.code), serde_json::to_vec(&alarm)?, Cargo::Word).await?;
            self.alarms.insert(alarm.code, alarm);
        }
        Ok(())
    }

    /// What became of what was handed down, told once on each connection and when it changes.
    async fn send_reported(&mut self) -> Result<(), SessionError> {
        let said = self.store.reported();
        if said != self.reported
            && let Some(said) = said
        {
            self.hand(&Leaf::Reported, serde_json::to_vec(&said)?, Cargo::Word).await?;
            self.reported = Some(said);
        }
        Ok(())
    }

    /// What became of commands, each until the broker has it.
    async fn send_outcomes(&mut self) -> Result<(), SessionError> {
        for outcome in self.store.outcomes_to_tell()? {
            let known = |cargo: &Cargo| matches!(cargo, Cargo::Outcome(o) if *o == outcome);
            if !self.sent.values().any(|(cargo, _)| known(cargo)) {
                let (leaf, payload) =
                    (Leaf::CommandResult(outcome.id.clone()), serde_json::to_vec(&outcome)?);
                self.hand(&leaf, payload, Cargo::Outcome(outcome)).await?;
            }
        }
        Ok(())
    }

    /// Chain heads, oldest first, so that the newest stays retained.
    async fn send_heads(&mut self) -> Result<(), SessionError> {
        for (seq, body) in self.store.outbox().heads(self.head_sent, self.room())? {
            self.hand(&Leaf::Chain, body.into_bytes(), Cargo::Head(seq)).await?;
            self.head_sent = seq;
        }
        self.more |= self.room() == 0;
        Ok(())
    }

    async fn send_events(&mut self, now: Duration) -> Result<(), SessionError> {
        let waiting = self.event_sent > self.event_stored;
        if waiting && now.saturating_sub(self.event_at) > self.event_patience {
            // Whatever was not acknowledged by the hub is told again; it stores each number once.
            (self.event_sent, self.event_at) = (0, now);
            self.event_patience = (self.event_patience * 2).min(EVENT_PATIENCE_MOST);
        }
        let mut room = self.room();
        if self.settings.dialect == Dialect::ThingsBoard {
            // There an event is stored with its PUBACK, and those may come out of order: one at a time.
            let under_way = self.sent.values().any(|(cargo, _)| matches!(cargo, Cargo::Event(..)));
            room = u32::from(!under_way).min(room);
        }
        for row in self.store.outbox().events(self.event_sent, room)? {
            let seq = row.event.seq;
            let payload = serde_json::to_vec(&row.event)?;
            let cargo = Cargo::Event(seq, payload.len());
            self.hand(&Leaf::Event(row.kind), payload, cargo).await?;
            (self.event_sent, self.event_at) = (seq, now);
        }
        self.more |= self.room() == 0;
        Ok(())
    }

    /// Samples that came after the connection began go at once, one by one, from memory: those that the broker has before
    /// they are committed never cost the disk anything.
    async fn send_live(&mut self) -> Result<(), SessionError> {
        let after = self.busy.last().copied().unwrap_or(0).max(self.backlog);
        for row in self.store.outbox().samples(after, self.room())? {
            self.live(row).await?;
        }
        self.more |= self.room() == 0;
        Ok(())
    }

    /// The oldest samples, those of one group together.
    async fn send_history(&mut self) -> Result<(), SessionError> {
        let rows: Vec<SampleRow> = self.store.outbox().samples(0, 200)?;
        let waiting = rows.into_iter().filter(|row| row.seq <= self.backlog && !self.busy.contains(&row.seq));
        let (waiting, spoiled): (Vec<_>, Vec<_>) = waiting.partition(SampleRow::is_sound);
        if !spoiled.is_empty() {
            self.store.outbox().samples_spoiled(&spoiled.iter().map(|row| row.seq).collect::<Vec<_>>());
        }
        let mut waiting = waiting.into_iter();
        let Some(first) = waiting.next() else {
            self.history_left = false;
            return Ok(());
        };
        let group = first.group.clone();
        let (mut seqs, mut payload) = (vec![first.seq], format!("[{}", first.text));
        for row in waiting.filter(|row| row.group == group) {
            if payload.len() + row.text.len() + 2 > self.batch {
                break;
            }
            payload = payload + "," + &row.text;
            seqs.push(row.seq);
        }
        payload.push(']');
        self.busy.extend(&seqs);
        let cargo = Cargo::Samples(seqs, Some(payload.len()));
        self.hand(&Leaf::History(group), payload.into_bytes(), cargo).await
    }

    /// Takes in what the broker says; whether there may be something to send now.
    async fn hear(&mut self, heard: Heard) -> Result<bool, SessionError> {
        match heard {
            Heard::Acknowledged(id) => {
                self.progress = clock::mono();
                // One that comes a second time speaks for nothing.
                let Some((cargo, since)) = self.sent.remove(&id) else { return Ok(false) };
                self.store.line().heard_after(self.progress.saturating_sub(since));
                self.delivered(cargo)?;
                Ok(self.more || self.history_left)
            }
            Heard::Message { topic, payload, id, .. } => {
                self.progress = clock::mono();
                let asked = self.settings.dialect == Dialect::ThingsBoard;
                match dialect::rpc(&topic, &payload).filter(|_| asked) {
                    Some((answer, refresh)) => {
                        if refresh {
                            self.store.bells().sense.notify_one();
                        }
                        let id = self.line.publish(answer.topic, false, answer.payload).await?;
                        self.sent.insert(id, (Cargo::Word, self.progress));
                    }
                    None => self.told(&topic, &payload)?,
                }
                if id != 0 {
                    self.line.acknowledge(id).await?;
                }
                self.line.flush().await?;
                Ok(false)
            }
            Heard::Subscribed(false) => {
                tracing::warn!("the broker does not let this device hear what the hub sends down");
                Ok(false)
            }
            Heard::Subscribed(true) => Ok(false),
        }
    }

    /// The broker has it.
    fn delivered(&mut self, cargo: Cargo) -> Result<(), SessionError> {
        match cargo {
            Cargo::Samples(rows, _) => {
                for row in &rows {
                    self.busy.remove(row);
                }
                // Rows of a full look at the history were left out while they were under way.
                self.history_left |= rows.iter().any(|row| *row <= self.backlog);
                self.store.outbox().samples_sent(&rows);
            }
            Cargo::Outcome(outcome) => self.store.outcome_told(&outcome)?,
            Cargo::Head(seq) => self.store.outbox().head_sent(seq),
            Cargo::Event(seq, _) if self.settings.dialect == Dialect::ThingsBoard => {
                self.event_stored = self.event_stored.max(seq);
                self.store.outbox().events_stored(seq);
                self.more = true;
            }
            Cargo::Event(..) | Cargo::Word => {}
        }
        Ok(())
    }

    /// What the hub sends down.
    fn told(&mut self, topic: &str, payload: &[u8]) -> Result<(), SessionError> {
        match topic::parse(topic) {
            Some((topics, Leaf::Ack(class))) if topics == self.settings.topics && class == "event" => {
                match serde_json::from_slice::<Ack>(payload) {
                    Ok(ack) => {
                        if ack.seq > self.event_stored {
                            (self.event_stored, self.event_patience) = (ack.seq, EVENT_PATIENCE);
                        }
                        self.store.outbox().events_stored(ack.seq);
                    }
                    Err(e) => tracing::warn!("an acknowledgement could not be read: {e}"),
                }
            }
            Some((topics, Leaf::CommandRequest(id))) if topics == self.settings.topics => {
                match serde_json::from_slice(payload) {
                    Ok(document) => {
                        self.store.take_command(&id, &document)?;
                        self.store.bells().command.notify_one();
                    }
                    Err(e) => tracing::warn!(command = id, "a command could not be read: {e}"),
                }
            }
            Some((topics, Leaf::Desired)) if topics == self.settings.topics => {
                self.store.hand_in(payload.to_vec());
            }
            _ => tracing::warn!(topic, "a message nobody asked for was ignored"),
        }
        Ok(())
    }

    /// The largest things that are not acknowledged.
    fn largest(&self) -> UnderWay {
        let mut way = UnderWay::default();
        for (cargo, _) in self.sent.values() {
            match cargo {
                Cargo::Samples(_, bytes) => way.batch = way.batch.max(*bytes),
                Cargo::Event(seq, bytes) if way.event.is_none_or(|(_, most)| *bytes > most) => {
                    way.event = Some((*seq, *bytes));
                }
                _ => {}
            }
        }
        way
    }

    /// Says that the device leaves on purpose, and waits a moment for it to be heard.
    async fn goodbye(mut self) {
        // Asked before the time runs: a goodbye that is cut short looks like a room that was lost.
        let last = offline().await;
        let farewell = async move {
            let payload = serde_json::to_vec(&last)?;
            self.hand(&Leaf::State, payload, Cargo::Word).await?;
            self.line.flush().await?;
            while !self.sent.is_empty() {
                let heard = self.line.next().await?;
                self.hear(heard).await?;
            }
            self.line.disconnect().await?;
            Ok::<_, SessionError>(())
        };
        match tokio::time::timeout(GOODBYE, farewell).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::warn!("the broker did not hear the goodbye: {e}"),
            Err(_) => tracing::warn!("the broker did not hear the goodbye in time"),
        }
    }
}
