//! The words a broker's other side understands: Lectern's own topics, or ThingsBoard's device API.
//!
//! | | Lectern | ThingsBoard |
//! |---|---|---|
//! | measurements, live and history | `m/{group}`, `h/{group}` | `v1/devices/me/telemetry`, the same bytes |
//! | state, inventory | `state`, `info`, retained | `v1/devices/me/attributes`, the same bytes |
//! | alarms, events, outcomes of commands | topics of their own | telemetry: `alarm_{code}`, `event_{type}`, `command` |
//! | chain heads | `chain`, retained | an attribute `chain` |
//! | who is gone | last will | the platform sees it by itself |
//! | an event is stored | the hub's `ack/event` | PUBACK: nobody there says more |
//! | what is asked of the device | `cmd/req/{id}`, signed | RPC `refresh`; everything else needs the hub's signature and is refused |

use lectern_wire::topic::{Leaf, Topics};
use serde_json::{Value, json};

use crate::model::telling::Dialect;

const TELEMETRY: &str = "v1/devices/me/telemetry";
const ATTRIBUTES: &str = "v1/devices/me/attributes";
const RPC: &str = "v1/devices/me/rpc";

/// A message as it goes out.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// Where.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// Whether the broker keeps it for whoever comes.
    pub retain: bool,
}

impl Dialect {
    /// Puts a message; its payload is JSON.
    #[must_use]
    pub fn put(self, topics: &Topics, leaf: &Leaf, payload: Vec<u8>) -> Message {
        if self == Self::Lectern {
            let retain =
                matches!(leaf, Leaf::State | Leaf::Info | Leaf::Alarm(_) | Leaf::Chain | Leaf::Reported);
            return Message { topic: topics.of(leaf), payload, retain };
        }
        let told = |name: &str| {
            let all: Value = serde_json::from_slice(&payload).unwrap_or_default();
            let ts = all.get("ts").cloned().unwrap_or_default();
            json!({ "ts": ts, "values": { name: all } }).to_string().into_bytes()
        };
        let (topic, payload) = match leaf {
            Leaf::Measurement(_) | Leaf::History(_) => (TELEMETRY, payload),
            Leaf::Alarm(code) => (TELEMETRY, told(&format!("alarm_{}", code.name()))),
            Leaf::Event(kind) => (TELEMETRY, told(&format!("event_{kind}"))),
            Leaf::CommandResult(_) => (TELEMETRY, told("command")),
            Leaf::Chain => {
                let head: Value = serde_json::from_slice(&payload).unwrap_or_default();
                (ATTRIBUTES, json!({ "chain": head }).to_string().into_bytes())
            }
            _ => (ATTRIBUTES, payload),
        };
        Message { topic: topic.into(), payload, retain: false }
    }

    /// What is sent down.
    #[must_use]
    pub fn down(self, topics: &Topics) -> Vec<String> {
        match self {
            Self::Lectern => topics.down().to_vec(),
            Self::ThingsBoard => vec![format!("{RPC}/request/+")],
        }
    }
}

/// What ThingsBoard asks for: the topic of the answer, the answer, and whether a fresh sample is wanted.
#[must_use]
pub fn rpc(topic: &str, payload: &[u8]) -> Option<(Message, bool)> {
    let id = topic.strip_prefix(RPC)?.strip_prefix("/request/")?;
    let asked: Value = serde_json::from_slice(payload).unwrap_or_default();
    let refresh = asked.get("method").and_then(Value::as_str) == Some("refresh");
    let answer = if refresh {
        json!({ "state": "successful" })
    } else {
        json!({ "state": "denied", "detail": "only refresh can be asked for here; everything else is signed by the hub" })
    };
    let topic = format!("{RPC}/response/{id}");
    Some((Message { topic, payload: answer.to_string().into_bytes(), retain: false }, refresh))
}

#[cfg(test)]
mod tests {
    use lectern_wire::alarm::Code;
    use lectern_wire::id::{DeviceId, SchoolId};

    use super::*;

    fn topics() -> Topics {
        let (school, device) = (SchoolId::new("3401000001"), DeviceId::new("room-301"));
        Topics { school: school.expect("id"), device: device.expect("id") }
    }

    #[test]
    fn thingsboard_gets_the_same_bytes_of_every_measurement() {
        for payload in [r#"{"ts":1,"values":{"cpu_pct":2}}"#, r#"[{"ts":1,"values":{"cpu_pct":2}}]"#] {
            for leaf in [Leaf::Measurement("sys".into()), Leaf::History("sys".into())] {
                let there = Dialect::ThingsBoard.put(&topics(), &leaf, payload.into());
                assert_eq!((there.topic.as_str(), there.retain), (TELEMETRY, false));
                assert_eq!(there.payload, Dialect::Lectern.put(&topics(), &leaf, payload.into()).payload);
            }
        }
        let state = Dialect::ThingsBoard.put(&topics(), &Leaf::State, br#"{"state":"online"}"#.to_vec());
        assert_eq!(
            (state.topic.as_str(), state.payload.as_slice()),
            (ATTRIBUTES, &br#"{"state":"online"}"#[..])
        );
    }

    #[test]
    fn what_has_a_topic_of_its_own_becomes_a_value_with_its_time() {
        let alarm = br#"{"code":"hot","state":"raised","ts":5}"#.to_vec();
        let there = Dialect::ThingsBoard.put(&topics(), &Leaf::Alarm(Code::Hot), alarm);
        let value: Value = serde_json::from_slice(&there.payload).expect("json");
        assert_eq!((&value["ts"], &value["values"]["alarm_hot"]["state"]), (&json!(5), &json!("raised")));
        let here = Dialect::Lectern.put(&topics(), &Leaf::Alarm(Code::Hot), b"{}".to_vec());
        assert_eq!((here.topic.as_str(), here.retain), ("lectern/v1/3401000001/room-301/a/hot", true));
        let head = Dialect::Lectern.put(&topics(), &Leaf::Chain, b"{}".to_vec());
        assert_eq!((head.topic.as_str(), head.retain), ("lectern/v1/3401000001/room-301/chain", true));
    }

    #[test]
    fn of_rpc_only_a_fresh_sample_is_granted() {
        let (answer, refresh) = rpc("v1/devices/me/rpc/request/7", br#"{"method":"refresh"}"#).expect("rpc");
        assert_eq!((answer.topic.as_str(), refresh), ("v1/devices/me/rpc/response/7", true));
        for bad in [&br#"{"method":"reboot"}"#[..], b"", b"[]", b"\xff"] {
            let (answer, refresh) = rpc("v1/devices/me/rpc/request/7", bad).expect("rpc");
            assert!(!refresh && String::from_utf8_lossy(&answer.payload).contains("denied"));
        }
        assert!(rpc("v1/devices/me/attributes", b"{}").is_none());
    }
}
