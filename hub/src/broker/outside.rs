//! A broker beside the hub: Mosquitto, RabbitMQ, EMQX, an RMQTT cluster.
//!
//! The hub is a client there, under a name that the broker remembers: what rooms say while the hub is away waits for
//! it. Every message is acknowledged when ingest has committed it and not before, in the order it came, so what was not
//! stored comes again; events are stored once however often they come. Who may say what is the broker's to enforce
//! (config/broker); that a topic is a registered device's own in its own school is checked here once more.
//!
//! A broker that forgets the hub loses what waited: samples that it had acknowledged to their rooms. Events are not lost,
//! since they wait for the hub's own word. It is counted (`lectern_hub_broker_forgot_total`) and logged.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt as _, StreamExt as _};
use lectern_base::{chance, clock};
use lectern_mqtt::{Heard, Line, LineError, Options};
use lectern_wire::topic::{self, Leaf, ROOT, Topics};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Deps;
use crate::config;
use crate::model::arrival::Arrival;
use crate::store::{StoreError, devices};

/// Longest silence on the line.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long an account that was looked up is believed.
const BELIEVED: Duration = Duration::from_secs(10);
/// Accounts remembered at most.
const MOST_KNOWN: usize = 10_000;
/// How long the hub waits, when it ends, for what it has heard to be stored.
const FAREWELL: Duration = Duration::from_secs(5);

/// The broker, and what the hub does with it.
pub struct Outside {
    /// Where it is.
    pub settings: config::Outside,
    /// What is needed from the floors around.
    pub deps: Deps,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Line(#[from] LineError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("it does not let the hub hear {ROOT}/…; see its access rules")]
    NotAllowed,
    #[error("what rooms said could not be stored; it is to come again")]
    NotStored,
    #[error("the hub is stopping")]
    Stopping,
}

impl Outside {
    /// Hears rooms until told to stop; calls again when the connection ends.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut wait = Duration::from_secs(1);
        let mut before = false;
        while !stop.is_cancelled() {
            let began = clock::mono();
            let end = self.session(&mut before, &stop).await;
            if stop.is_cancelled() {
                return;
            }
            if clock::mono().saturating_sub(began) > Duration::from_secs(60) {
                wait = Duration::from_secs(1);
            }
            if let Err(e) = end {
                tracing::warn!(broker = %self.settings.url, retry_s = wait.as_secs(), "not connected to the broker: {e}");
            }
            let jitter = chance::below(u64::try_from(wait.as_millis()).unwrap_or(1000));
            self.idle(&stop, wait / 2 + Duration::from_millis(jitter)).await;
            wait = (wait * 2).min(Duration::from_secs(30));
        }
    }

    /// Waits. What is to go down meanwhile goes nowhere: events come again, commands are said again.
    async fn idle(&mut self, stop: &CancellationToken, time: Duration) {
        let until = clock::mono() + time;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(until.saturating_sub(clock::mono())) => return,
                down = self.deps.downs.recv() => if down.is_none() {
                    return stop.cancelled().await;
                }
            }
        }
    }

    async fn session(&mut self, before: &mut bool, stop: &CancellationToken) -> Result<(), End> {
        let options = Options {
            url: self.settings.url.clone(),
            tls: None,
            id: self.settings.id.clone(),
            login: self.settings.login.clone(),
            will: None,
            clean: false,
            keep_alive: KEEP_ALIVE,
        };
        let mut calling = Box::pin(Line::connect(&options));
        let mut line = loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                line = &mut calling => break line?,
                down = self.deps.downs.recv() => drop(down.ok_or(End::Stopping)?),
            }
        };
        tracing::info!(broker = %self.settings.url, remembered = line.remembered, "connected to the broker");
        if *before && !line.remembered {
            self.deps.counts.forgotten.one();
            tracing::warn!(
                "the broker has forgotten this hub: samples that waited there are lost, events come again"
            );
        }
        *before = true;
        // Also where it remembers: some remember the name and not the wish.
        let all = format!("{ROOT}/+/+/#");
        let share = &self.settings.share;
        let filter = if share.is_empty() { all } else { format!("$share/{share}/{all}") };
        line.subscribe([filter]).await?;
        let outcome = self.live_on(&mut line, stop).await;
        if outcome.is_ok()
            && let Err(e) = line.disconnect().await
        {
            tracing::debug!("the broker did not hear the goodbye: {e}");
        }
        outcome
    }

    async fn live_on(&mut self, line: &mut Line, stop: &CancellationToken) -> Result<(), End> {
        let mut known: HashMap<String, (Topics, Duration)> = HashMap::new();
        // Answered in the order they came, as MQTT wants its acknowledgements.
        let mut waiting = FuturesOrdered::new();
        let mut until: Option<Duration> = None;
        loop {
            let rest = until.map_or(Duration::from_secs(3600), |until| until.saturating_sub(clock::mono()));
            if until.is_some() && (waiting.is_empty() || rest.is_zero()) {
                return Ok(());
            }
            tokio::select! {
                () = stop.cancelled(), if until.is_none() => until = Some(clock::mono() + FAREWELL),
                () = tokio::time::sleep(rest) => {}
                heard = line.next(), if until.is_none() => match heard? {
                    Heard::Message { topic, payload, retained, id } => {
                        let (done, stored) = oneshot::channel();
                        match self.own(&mut known, &topic, retained).await? {
                            Some((topics, leaf)) => {
                                let arrival = Arrival { topics, leaf, payload, retained, done: Some(done) };
                                self.deps.arrivals.send(arrival).await.map_err(|_| End::Stopping)?;
                            }
                            // Nobody will ever want it: let the broker forget it.
                            None => drop(done.send(true)),
                        }
                        waiting.push_back(async move { (id, stored.await.unwrap_or(false)) });
                    }
                    Heard::Subscribed(false) => return Err(End::NotAllowed),
                    // What goes down is said again until the device has it; who got it there is no news.
                    Heard::Subscribed(true) | Heard::Acknowledged(_) => {}
                },
                Some(first) = waiting.next(), if !waiting.is_empty() => {
                    let mut next = Some(first);
                    while let Some((id, stored)) = next {
                        if !stored {
                            return Err(End::NotStored);
                        }
                        if id != 0 {
                            line.acknowledge(id).await?;
                        }
                        next = waiting.next().now_or_never().flatten();
                    }
                    line.flush().await?;
                }
                down = self.deps.downs.recv(), if until.is_none() => {
                    let down = down.ok_or(End::Stopping)?;
                    line.publish(down.topics.of(&down.leaf), false, down.payload).await?;
                    line.flush().await?;
                }
            }
        }
    }

    /// A registered device's own topic, of a kind that goes up. Of what the broker had kept, only what tells how a room
    /// is now.
    async fn own(
        &self,
        known: &mut HashMap<String, (Topics, Duration)>,
        topic: &str,
        retained: bool,
    ) -> Result<Option<(Topics, Leaf)>, End> {
        let Some((topics, leaf)) = topic::parse(topic) else {
            self.deps.counts.refused.one();
            tracing::debug!(
                topic = super::access::short(topic),
                "a message was refused: not a topic of ours"
            );
            return Ok(None);
        };
        if matches!(leaf, Leaf::Ack(_) | Leaf::CommandRequest(_) | Leaf::Desired)
            || retained && !matches!(leaf, Leaf::State | Leaf::Info | Leaf::Alarm(_) | Leaf::Reported)
        {
            return Ok(None);
        }
        let now = clock::mono();
        let id = topics.device.to_string();
        let registered = match known.get(&id).filter(|(_, at)| now.saturating_sub(*at) < BELIEVED) {
            Some((topics, _)) => Some(topics.clone()),
            None => {
                let wanted = id.clone();
                let found = self.deps.store.read(move |db| devices::find(db, &wanted)).await?;
                let found = found.map(|device| device.topics());
                if known.len() >= MOST_KNOWN {
                    known.clear();
                }
                if let Some(found) = &found {
                    known.insert(id.clone(), (found.clone(), now));
                }
                found
            }
        };
        if registered.is_none_or(|own| own != topics) {
            self.deps.counts.refused.one();
            tracing::info!(device = id, "a message was refused: no such device is registered in that school");
            return Ok(None);
        }
        Ok(Some((topics, leaf)))
    }
}
