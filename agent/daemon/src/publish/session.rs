//! One connection to the broker.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use lectern_base::clock;
use lectern_wire::alarm::{Alarm, Code};
use lectern_wire::command::Outcome;
use lectern_wire::desired::Reported;
use lectern_wire::telemetry::{Ack, MAX_PAYLOAD};
use lectern_wire::topic::{self, Leaf};
use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, Incoming, LastWill, MqttOptions, Outgoing, QoS,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Settings, WINDOW, lost, offline, online};
use crate::store::outbox::SampleRow;
use crate::store::{Store, StoreError};

/// An event the hub has not acknowledged after this long is sent again.
const EVENT_PATIENCE: Duration = Duration::from_secs(30);
/// A connection on which nothing is acknowledged for this long, though something is under way, is dead.
const STUCK: Duration = Duration::from_secs(60);
/// Batches of history a second at most.
const HISTORY_EVERY: Duration = Duration::from_millis(200);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The connection.
    #[error("{0}")]
    Connection(#[from] Box<ConnectionError>),
    /// The connection's task has ended.
    #[error("the connection has ended")]
    Over,
    /// The outbox.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A message cannot be written down.
    #[error("a message has no JSON form: {0}")]
    Json(#[from] serde_json::Error),
    /// Nothing is acknowledged any more.
    #[error("the broker has acknowledged nothing for {} s", STUCK.as_secs())]
    Stuck,
    /// The address has no host.
    #[error("the broker's address has no host")]
    NoHost,
}

/// What a message under way carries.
enum Cargo {
    Samples(Vec<i64>),
    Event,
    Outcome(Outcome),
    Head(i64),
    Word,
}

/// The client's event loop on a task of its own: its `poll` must never be dropped half-way, which a
/// `select!` would do (a connection half made is then left hanging and made again).
struct Line {
    events: mpsc::Receiver<Result<Event, Box<ConnectionError>>>,
    task: JoinHandle<()>,
}

impl Line {
    fn start(mut line: EventLoop) -> Self {
        let (sender, events) = mpsc::channel(WINDOW);
        let task = tokio::spawn(async move {
            loop {
                let event = line.poll().await.map_err(Box::new);
                let over = event.is_err();
                if sender.send(event).await.is_err() || over {
                    return;
                }
            }
        });
        Self { events, task }
    }

    /// The next event; safe to drop while waiting.
    async fn next(&mut self) -> Result<Event, SessionError> {
        match self.events.recv().await {
            Some(event) => Ok(event?),
            None => Err(SessionError::Over),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Session<'a> {
    store: &'a Store,
    settings: &'a Settings,
    client: AsyncClient,
    /// Handed to the client, packet id not known yet; the client keeps the order.
    handed: VecDeque<Cargo>,
    /// Sent, by packet id, and when.
    sent: HashMap<u16, (Cargo, Duration)>,
    /// Samples under way.
    busy: BTreeSet<i64>,
    /// Highest event number sent, when that was, and the highest the hub has.
    event_sent: u64,
    event_at: Duration,
    event_stored: u64,
    /// The newest chain head handed over on this connection.
    head_sent: i64,
    progress: Duration,
    history_at: Duration,
    /// There may be history that is not under way.
    history_left: bool,
    /// There was more to send than the window had room for.
    more: bool,
    /// The alarms as they were told on this connection.
    alarms: HashMap<Code, Alarm>,
    /// What was told on this connection of what the hub handed down.
    reported: Option<Reported>,
    /// Everything up to here was in the outbox when the connection began.
    backlog: i64,
}

fn options(settings: &Settings) -> Result<MqttOptions, SessionError> {
    let host = settings.url.host_str().ok_or(SessionError::NoHost)?;
    let tls = settings.url.scheme() == "mqtts";
    let port = settings.url.port().unwrap_or(if tls { 8883 } else { 1883 });
    let device = settings.topics.device.as_str();
    let mut options = MqttOptions::new(device, host, port);
    options.set_credentials(device, settings.password.as_str());
    options.set_keep_alive(Duration::from_secs(20));
    options.set_clean_session(true);
    options.set_max_packet_size(256 * 1024, 256 * 1024);
    options.set_inflight(u16::try_from(WINDOW).unwrap_or(16));
    let will = serde_json::to_vec(&lost())?;
    options.set_last_will(LastWill::new(settings.topics.of(&Leaf::State), will, QoS::AtLeastOnce, true));
    if tls {
        options.set_transport(rumqttc::Transport::tls_with_config(rumqttc::TlsConfiguration::Native));
    }
    Ok(options)
}

/// Connects and stays until the connection or the daemon ends.
pub async fn run(store: &Store, settings: &Settings, stop: &CancellationToken) -> Result<(), SessionError> {
    let (client, line) = AsyncClient::new(options(settings)?, WINDOW * 2);
    let mut line = Line::start(line);
    let now = clock::mono();
    let mut session = Session {
        store,
        settings,
        client,
        handed: VecDeque::new(),
        sent: HashMap::new(),
        busy: BTreeSet::new(),
        event_sent: 0,
        event_at: now,
        event_stored: 0,
        head_sent: 0,
        progress: now,
        history_at: now,
        history_left: true,
        more: false,
        alarms: HashMap::new(),
        reported: None,
        backlog: store.outbox().newest_sample()?,
    };
    let mut connected = false;
    loop {
        let rest = session.rest(connected);
        tokio::select! {
            () = stop.cancelled() => {
                if connected {
                    session.goodbye(&mut line).await;
                }
                return Ok(());
            }
            event = line.next() => {
                let event = event?;
                let begins = matches!(event, Event::Incoming(Incoming::ConnAck(_)));
                if begins {
                    connected = true;
                    tracing::info!(broker = %settings.url, "connected to the broker");
                    session.greet()?;
                }
                if !session.hear(event)? && !begins {
                    // What the client tells of itself makes no room.
                    continue;
                }
            }
            () = store.bells().publish.notified(), if connected => {}
            () = tokio::time::sleep(rest) => store.outbox().flush_if_due()?,
        }
        if connected {
            session.send_more()?;
        }
    }
}

impl Session<'_> {
    /// Hands a message to the client; false when its queue is full.
    fn hand(&mut self, leaf: &Leaf, retain: bool, payload: Vec<u8>, cargo: Cargo) -> bool {
        let topic = self.settings.topics.of(leaf);
        let taken = self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload).is_ok();
        if taken {
            self.handed.push_back(cargo);
        }
        taken
    }

    fn greet(&mut self) -> Result<(), SessionError> {
        // A new session: whatever the client was told before the connection stood is gone.
        for filter in self.settings.topics.down() {
            if let Err(e) = self.client.try_subscribe(&filter, QoS::AtLeastOnce) {
                tracing::warn!("what the hub sends down could not be subscribed, {filter}: {e}");
            }
        }
        self.hand(&Leaf::State, true, serde_json::to_vec(&online())?, Cargo::Word);
        self.hand(&Leaf::Info, true, serde_json::to_vec(&self.settings.info)?, Cargo::Word);
        self.progress = clock::mono();
        // One fresh sample of each group first: the present must not hide behind history.
        let mut newest: BTreeMap<String, SampleRow> = BTreeMap::new();
        for row in self.store.outbox().samples((self.backlog - 50).max(0), 100)? {
            newest.insert(row.group.clone(), row);
        }
        for (_, row) in newest {
            self.live(row);
        }
        Ok(())
    }

    fn live(&mut self, row: SampleRow) -> bool {
        let cargo = Cargo::Samples(vec![row.seq]);
        let taken = self.hand(&Leaf::Measurement(row.group), false, row.text.into_bytes(), cargo);
        if taken {
            self.busy.insert(row.seq);
        }
        taken
    }

    /// How long there is nothing to do unless something happens.
    fn rest(&self, connected: bool) -> Duration {
        let now = clock::mono();
        let mut due = now + Duration::from_secs(3600);
        if connected && self.under_way() > 0 {
            due = due.min(self.progress + STUCK + Duration::from_millis(10));
        }
        if connected && self.event_sent > self.event_stored {
            due = due.min(self.event_at + EVENT_PATIENCE + Duration::from_millis(10));
        }
        if connected && self.history_left && self.under_way() < WINDOW / 2 {
            due = due.min(self.history_at);
        }
        if let Some(flush) = self.store.outbox().flush_due_in() {
            due = due.min(now + flush);
        }
        if !connected {
            // Samples come while nobody rings: the bell is for those who are connected.
            due = due.min(now + Duration::from_secs(5));
        }
        due.saturating_sub(now)
    }

    fn under_way(&self) -> usize {
        self.handed.len() + self.sent.len()
    }

    fn send_more(&mut self) -> Result<(), SessionError> {
        let now = clock::mono();
        if self.under_way() > 0 && now.saturating_sub(self.progress) > STUCK {
            return Err(SessionError::Stuck);
        }
        self.send_alarms()?;
        self.send_reported()?;
        self.more = false;
        self.send_outcomes()?;
        self.send_heads()?;
        self.send_events(now)?;
        self.send_live()?;
        if self.history_left && now >= self.history_at && self.under_way() < WINDOW / 2 {
            self.history_at = now + HISTORY_EVERY;
            self.send_history()?;
        }
        Ok(())
    }

    /// Alarms stand retained at the broker; each is told when it differs from what was told last.
    fn send_alarms(&mut self) -> Result<(), SessionError> {
        let alarms = self.store.alarms().borrow().clone();
        for alarm in alarms {
            if self.alarms.get(&alarm.code) == Some(&alarm) {
                continue;
            }
            if !self.hand(&Leaf::Alarm(alarm.code), true, serde_json::to_vec(&alarm)?, Cargo::Word) {
                break;
            }
            self.alarms.insert(alarm.code, alarm);
        }
        Ok(())
    }

    /// What became of what was handed down, told once on each connection and when it changes.
    fn send_reported(&mut self) -> Result<(), SessionError> {
        let said = self.store.reported();
        if said != self.reported
            && let Some(said) = said
            && self.hand(&Leaf::Reported, true, serde_json::to_vec(&said)?, Cargo::Word)
        {
            self.reported = Some(said);
        }
        Ok(())
    }

    /// What became of commands, each until the broker has it.
    fn send_outcomes(&mut self) -> Result<(), SessionError> {
        for outcome in self.store.outcomes_to_tell()? {
            let known = |cargo: &Cargo| matches!(cargo, Cargo::Outcome(o) if *o == outcome);
            if self.handed.iter().any(known) || self.sent.values().any(|(cargo, _)| known(cargo)) {
                continue;
            }
            let (leaf, payload) = (Leaf::CommandResult(outcome.id.clone()), serde_json::to_vec(&outcome)?);
            if !self.hand(&leaf, false, payload, Cargo::Outcome(outcome)) {
                break;
            }
        }
        Ok(())
    }

    /// Chain heads, oldest first, so that the newest stays retained.
    fn send_heads(&mut self) -> Result<(), SessionError> {
        let room = WINDOW.saturating_sub(self.under_way());
        for (seq, body) in self.store.outbox().heads(self.head_sent, u32::try_from(room).unwrap_or(0))? {
            if !self.hand(&Leaf::Chain, true, body.into_bytes(), Cargo::Head(seq)) {
                break;
            }
            self.head_sent = seq;
        }
        self.more |= self.under_way() >= WINDOW;
        Ok(())
    }

    fn send_events(&mut self, now: Duration) -> Result<(), SessionError> {
        if now.saturating_sub(self.event_at) > EVENT_PATIENCE {
            // Whatever was not acknowledged by the hub is told again; it stores each number once.
            (self.event_sent, self.event_at) = (0, now);
        }
        let room = WINDOW.saturating_sub(self.under_way());
        for row in self.store.outbox().events(self.event_sent, u32::try_from(room).unwrap_or(0))? {
            let seq = row.event.seq;
            self.more |= self.under_way() + 1 >= WINDOW;
            let payload = serde_json::to_vec(&row.event)?;
            if !self.hand(&Leaf::Event(row.kind), false, payload, Cargo::Event) {
                break;
            }
            (self.event_sent, self.event_at) = (seq, now);
        }
        Ok(())
    }

    /// Samples that came after the connection began go at once, one by one.
    fn send_live(&mut self) -> Result<(), SessionError> {
        self.store.outbox().flush()?;
        let room = WINDOW.saturating_sub(self.under_way());
        if room == 0 {
            self.more = true;
            return Ok(());
        }
        let after = self.busy.last().copied().unwrap_or(0).max(self.backlog);
        for row in self.store.outbox().samples(after, u32::try_from(room).unwrap_or(0))? {
            if !self.live(row) {
                break;
            }
        }
        self.more |= self.under_way() >= WINDOW;
        Ok(())
    }

    /// The oldest samples, those of one group together.
    fn send_history(&mut self) -> Result<(), SessionError> {
        let rows: Vec<SampleRow> = self.store.outbox().samples(0, 200)?;
        let mut waiting =
            rows.into_iter().filter(|row| row.seq <= self.backlog && !self.busy.contains(&row.seq));
        let Some(first) = waiting.next() else {
            self.history_left = false;
            return Ok(());
        };
        let group = first.group.clone();
        let (mut seqs, mut payload) = (vec![first.seq], format!("[{}", first.text));
        for row in waiting.filter(|row| row.group == group) {
            if payload.len() + row.text.len() + 2 > MAX_PAYLOAD {
                break;
            }
            payload = payload + "," + &row.text;
            seqs.push(row.seq);
        }
        payload.push(']');
        if self.hand(&Leaf::History(group), false, payload.into_bytes(), Cargo::Samples(seqs.clone())) {
            self.busy.extend(seqs);
        }
        Ok(())
    }

    /// Takes in what the client tells; whether there may be something to send now.
    fn hear(&mut self, event: Event) -> Result<bool, SessionError> {
        match event {
            Event::Outgoing(Outgoing::Publish(id)) => {
                if let Some(cargo) = self.handed.pop_front() {
                    self.sent.insert(id, (cargo, clock::mono()));
                }
            }
            Event::Incoming(Incoming::PubAck(ack)) => {
                self.progress = clock::mono();
                if let Some((cargo, since)) = self.sent.remove(&ack.pkid) {
                    self.store.line().heard_after(self.progress.saturating_sub(since));
                    match cargo {
                        Cargo::Samples(rows) => {
                            for row in &rows {
                                self.busy.remove(row);
                            }
                            // Rows of a full look at the history were left out while they were under way.
                            self.history_left |= rows.iter().any(|row| *row <= self.backlog);
                            self.store.outbox().samples_sent(&rows)?;
                        }
                        Cargo::Outcome(outcome) => self.store.outcome_told(&outcome)?,
                        Cargo::Head(seq) => self.store.outbox().head_sent(seq)?,
                        _ => {}
                    }
                }
                return Ok(self.more || self.history_left);
            }
            Event::Incoming(Incoming::Publish(message)) => {
                self.progress = clock::mono();
                match topic::parse(&message.topic) {
                    Some((topics, Leaf::Ack(class)))
                        if topics == self.settings.topics && class == "event" =>
                    {
                        match serde_json::from_slice::<Ack>(&message.payload) {
                            Ok(ack) => {
                                self.event_stored = self.event_stored.max(ack.seq);
                                self.store.outbox().events_stored(ack.seq)?;
                            }
                            Err(e) => tracing::warn!("an acknowledgement could not be read: {e}"),
                        }
                    }
                    Some((topics, Leaf::CommandRequest(id))) if topics == self.settings.topics => {
                        match serde_json::from_slice(&message.payload) {
                            Ok(document) => {
                                self.store.take_command(&id, &document)?;
                                self.store.bells().command.notify_one();
                            }
                            Err(e) => tracing::warn!(command = id, "a command could not be read: {e}"),
                        }
                    }
                    Some((topics, Leaf::Desired)) if topics == self.settings.topics => {
                        self.store.hand_in(message.payload.to_vec());
                    }
                    _ => tracing::warn!(topic = message.topic, "a message nobody asked for was ignored"),
                }
            }
            _ => {}
        }
        Ok(false)
    }

    /// Says that the device leaves on purpose, and waits a moment for it to be heard.
    async fn goodbye(&mut self, line: &mut Line) {
        let Ok(payload) = serde_json::to_vec(&offline().await) else { return };
        self.hand(&Leaf::State, true, payload, Cargo::Word);
        let mut asked = false;
        let farewell = async {
            while let Ok(event) = line.next().await {
                if matches!(event, Event::Outgoing(Outgoing::Disconnect)) || self.hear(event).is_err() {
                    return;
                }
                if self.under_way() == 0 && !asked {
                    asked = true;
                    if self.client.try_disconnect().is_err() {
                        return;
                    }
                }
            }
        };
        if tokio::time::timeout(Duration::from_secs(2), farewell).await.is_err() {
            tracing::warn!("the broker did not hear the goodbye in time");
        }
    }
}
