//! Who may connect, publish and subscribe.
//!
//! A device connects with client id = user name = device id and its password. It publishes only
//! below its own `lectern/v1/{school}/{device}/` and subscribes only to what is sent down to it.
//! Order in rmqtt: `MessagePublish` runs before `MessagePublishCheckAcl`, and a last will passes
//! only the former. So messages are handed to ingest in the check, wills in `MessagePublish`, and a
//! will's topic is checked when it is announced, at CONNECT.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use lectern_wire::id::{DeviceId, SchoolId};
use lectern_wire::topic::{self, Leaf, ROOT, Topics};
use rmqtt::acl::AuthInfo;
use rmqtt::codec::v5::SubscribeAckReason;
use rmqtt::hook::{Handler, HookResult, Parameter, ReturnType};
use rmqtt::types::{
    AuthResult, ConnectInfo, From, FromType, LastWill, Publish, PublishAclResult, QoS, Subscribe,
    SubscribeAclResult,
};
use tokio::sync::{mpsc, oneshot};

use crate::door::mqtt::Callers;
use crate::model::arrival::Arrival;
use crate::model::barred::Barred;
use crate::model::count::Counts;
use crate::store::Store;
use crate::store::certificates::{self, Came};

/// The rules and what they need.
pub struct Access {
    store: Store,
    arrivals: mpsc::Sender<Arrival>,
    counts: Arc<Counts>,
    barred: Barred,
    /// Where rooms come through a gate: who they are.
    callers: Option<Callers>,
    /// Who is connected: school, and when the newest connection was made.
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    topics: Topics,
    connected_ms: i64,
}

impl Access {
    /// New rules.
    pub fn new(
        store: Store,
        arrivals: mpsc::Sender<Arrival>,
        counts: Arc<Counts>,
        barred: Barred,
        callers: Option<Callers>,
    ) -> Self {
        Self { store, arrivals, counts, barred, callers, known: Mutex::default() }
    }

    fn known(&self, client: &str) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(client).cloned()
    }

    async fn authenticate(&self, info: &ConnectInfo) -> AuthResult {
        let client = info.client_id().to_string();
        let user = info.username().map(ToString::to_string);
        let password = info.password().and_then(|p| String::from_utf8(p.to_vec()).ok());
        let (Some(user), Some(password)) = (user, password) else { return AuthResult::NotAuthorized };
        if user != client {
            tracing::info!("an MQTT client was refused: its client id is not its user name");
            return AuthResult::NotAuthorized;
        }
        let came = match &self.callers {
            None => Came::Plain,
            Some(callers) => match info.ipaddress().and_then(|at| callers.behind(at)) {
                Some(peer) => peer.came,
                None => {
                    tracing::warn!("an MQTT client was refused: it did not come through the gate");
                    return AuthResult::NotAuthorized;
                }
            },
        };
        let found = self.store.read(move |db| certificates::enter(db, &user, &password, &came)).await;
        let device = match found {
            Ok(Some(device)) => device,
            Ok(None) => {
                tracing::info!(
                    client = short(&client),
                    "an MQTT client was refused: unknown, wrong password, or not its certificate"
                );
                return AuthResult::BadUsernameOrPassword;
            }
            Err(e) => {
                tracing::error!("an MQTT client could not be checked: {e}");
                return AuthResult::NotAuthorized;
            }
        };
        let topics = device.topics();
        let will = info.last_will().map(|will| match will {
            LastWill::V3(will) => will.topic.to_string(),
            LastWill::V5(will) => will.topic.to_string(),
        });
        if will.is_some_and(|topic| topic != topics.of(&Leaf::State)) {
            tracing::info!(device = %topics.device, "a device was refused: its last will is not its own state");
            return AuthResult::NotAuthorized;
        }
        self.barred.welcome(&topics.device);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let connected_ms = known.get(&client).map_or(0, |k| k.connected_ms);
        known.insert(client, Known { topics, connected_ms });
        AuthResult::Allow(false, None::<AuthInfo>)
    }

    fn connected(&self, client: &str, at_ms: i64) {
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get_mut(client) {
            known.connected_ms = known.connected_ms.max(at_ms);
        }
    }

    /// Checks a message and waits until it is stored, when the device waits for that too.
    async fn publish(&self, client: &str, message: &Publish) -> PublishAclResult {
        if is_discovery(client, &message.topic) {
            return PublishAclResult::allow();
        }
        let own = self.own(client, &message.topic);
        let Some((topics, leaf)) = own.filter(|(topics, _)| !self.barred.is(&topics.device)) else {
            self.counts.refused.one();
            tracing::info!(
                client,
                topic = short(&message.topic),
                "a message was refused: not the device's own topic"
            );
            return PublishAclResult::rejected(true, Some("not your topic".into()));
        };
        let waits = message.qos != QoS::AtMostOnce;
        let (done, stored) = oneshot::channel();
        let arrival = Arrival {
            topics,
            leaf,
            payload: message.payload.to_vec(),
            retained: false,
            done: waits.then_some(done),
        };
        if !waits {
            // Nobody is told whether it arrived, so nobody waits: when ingest is behind it is dropped.
            if self.arrivals.try_send(arrival).is_err() {
                tracing::debug!(client, "a message of QoS 0 was dropped: ingest is behind");
            }
            return PublishAclResult::allow();
        }
        let stored = self.arrivals.send(arrival).await.is_ok() && stored.await.unwrap_or(false);
        if stored {
            PublishAclResult::allow()
        } else {
            // No PUBACK: the device keeps it and comes again.
            PublishAclResult::rejected(true, Some("not stored, come again".into()))
        }
    }

    /// The device's own topic, of a kind that goes up.
    fn own(&self, client: &str, topic: &str) -> Option<(Topics, Leaf)> {
        let known = self.known(client)?;
        let (topics, leaf) = topic::parse(topic)?;
        let up = !matches!(leaf, Leaf::Ack(_) | Leaf::CommandRequest(_) | Leaf::Desired);
        (up && topics == known.topics).then_some((topics, leaf))
    }

    /// A last will: handed on, unless the device is back already. Then it must not be told to others
    /// either, and goes where nobody listens.
    async fn will(&self, from: &From, message: &Publish) -> Option<Publish> {
        let client = from.id.client_id.to_string();
        let stale = self.known(&client).is_none_or(|k| k.connected_ms > from.id.create_time);
        let own = self.own(&client, &message.topic);
        let Some((topics, leaf)) = own.filter(|_| !stale) else {
            let mut nowhere = message.clone();
            nowhere.topic = "$lectern/stale".into();
            nowhere.retain = false;
            return Some(nowhere);
        };
        let arrival =
            Arrival { topics, leaf, payload: message.payload.to_vec(), retained: false, done: None };
        if self.arrivals.send(arrival).await.is_err() {
            tracing::debug!(client, "a last will came while the hub was stopping");
        }
        None
    }

    fn subscribe(&self, client: &str, wish: &Subscribe) -> SubscribeAclResult {
        let filter: &str = &wish.topic_filter;
        if self.known(client).is_some_and(|k| downward(&k.topics.school, &k.topics.device, filter)) {
            SubscribeAclResult::new_success(wish.opts.qos(), None)
        } else {
            self.counts.refused.one();
            tracing::info!(
                client,
                filter = short(filter),
                "a subscription was refused: not sent down to this device"
            );
            SubscribeAclResult::new_failure(SubscribeAckReason::NotAuthorized)
        }
    }
}

/// Whether a filter asks for what the hub sends to this device, and for nothing more.
fn downward(school: &SchoolId, device: &DeviceId, filter: &str) -> bool {
    let rest = filter.strip_prefix(&format!("{ROOT}/{school}/{device}/"));
    rest.is_some_and(|rest| {
        let one_level = |prefix: &str| {
            rest.strip_prefix(prefix).is_some_and(|level| !level.is_empty() && !level.contains(['/', '#']))
        };
        rest == "cfg/desired" || one_level("ack/") || one_level("cmd/req/")
    })
}

/// What a room tells Home Assistant. Nobody can hear it here, and the room is not to be cut off for it.
fn is_discovery(client: &str, topic: &str) -> bool {
    !topic.starts_with(ROOT) && topic.ends_with("/config") && topic.split('/').any(|level| level == client)
}

/// What strangers say goes into logs at a bounded length.
pub(super) fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

/// One registration of the rules with rmqtt. rmqtt's own tasks outlive the broker; they must not hold the
/// store, so they hold the rules only as long as the broker runs.
pub struct Hook(pub Weak<Access>);

#[async_trait]
impl Handler for Hook {
    async fn hook(&self, parameter: &Parameter, before: Option<HookResult>) -> ReturnType {
        let Some(access) = self.0.upgrade() else { return (false, closing(parameter)) };
        match parameter {
            Parameter::ClientAuthenticate(info) => {
                let outcome = access.authenticate(info).await;
                if !matches!(outcome, AuthResult::Allow(..)) {
                    access.counts.refused.one();
                }
                (false, Some(HookResult::AuthResult(outcome)))
            }
            Parameter::ClientConnected(session) => {
                access.connected(&session.id.client_id, session.id.create_time);
                (true, before)
            }
            Parameter::ClientSubscribeCheckAcl(session, wish) => {
                let outcome = access.subscribe(&session.id.client_id, wish);
                (false, Some(HookResult::SubscribeAclResult(outcome)))
            }
            Parameter::MessagePublishCheckAcl(session, message) => {
                let outcome = access.publish(&session.id.client_id, message).await;
                (false, Some(HookResult::PublishAclResult(outcome)))
            }
            Parameter::MessagePublish(_, from, message) if matches!(from.typ(), FromType::LastWill) => {
                match access.will(from, message).await {
                    Some(changed) => (false, Some(HookResult::Publish(changed))),
                    None => (true, before),
                }
            }
            _ => (true, before),
        }
    }
}

/// After the broker's end nothing is let in any more.
fn closing(parameter: &Parameter) -> Option<HookResult> {
    match parameter {
        Parameter::ClientAuthenticate(_) => Some(HookResult::AuthResult(AuthResult::NotAuthorized)),
        Parameter::ClientSubscribeCheckAcl(..) => Some(HookResult::SubscribeAclResult(
            SubscribeAclResult::new_failure(SubscribeAckReason::NotAuthorized),
        )),
        Parameter::MessagePublishCheckAcl(..) => {
            let refused = PublishAclResult::rejected(true, Some("the hub is stopping".into()));
            Some(HookResult::PublishAclResult(refused))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit;

    #[test]
    fn what_is_for_home_assistant_is_told_from_what_is_a_rooms() {
        for good in ["homeassistant/device/room-1/config", "ha/x/sensor/room-1/cpu_pct/config"] {
            assert!(is_discovery("room-1", good), "{good}");
        }
        for bad in
            ["homeassistant/device/room-2/config", "lectern/v1/s/room-1/config", "homeassistant/status"]
        {
            assert!(!is_discovery("room-1", bad), "{bad}");
        }
    }

    #[test]
    fn a_device_hears_only_what_is_sent_down_to_it() {
        let Topics { school, device } = testkit::topics("room-1");
        let base = "lectern/v1/3401000001/room-1";
        for good in ["ack/+", "ack/event", "cmd/req/+", "cmd/req/7", "cfg/desired"] {
            assert!(downward(&school, &device, &format!("{base}/{good}")), "{good}");
        }
        for bad in ["#", "+", "state", "m/sys", "ack/#", "ack", "ack/", "ack/a/b", "cmd/+/7", "cfg/+"] {
            assert!(!downward(&school, &device, &format!("{base}/{bad}")), "{bad}");
        }
        for bad in ["#", "lectern/v1/+/room-1/ack/+", "lectern/v1/3401000001/+/ack/+", "$SYS/#", ""] {
            assert!(!downward(&school, &device, bad), "{bad}");
        }
    }
}
