//! Real MQTT clients against the real broker.

use std::time::Duration;

use lectern_wire::telemetry::{Ack, Event};
use lectern_wire::topic::Leaf;
use rumqttc::{
    AsyncClient, ConnectReturnCode, Event as Seen, Incoming, LastWill, MqttOptions, QoS, SubscribeReasonCode,
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::testkit::{self, TestHub};

const SOON: Duration = Duration::from_secs(60);

/// A connected device: what it hears arrives in order; dropping it cuts the line without a word.
struct Device {
    client: AsyncClient,
    heard: mpsc::UnboundedReceiver<Result<Incoming, String>>,
    line: tokio::task::JoinHandle<()>,
}

fn options(hub: &TestHub, id: &str, user: &str, password: &str) -> MqttOptions {
    let mut options = MqttOptions::new(id, "127.0.0.1", hub.mqtt_port);
    options.set_credentials(user, password).set_keep_alive(Duration::from_secs(5));
    options
}

fn dial(options: MqttOptions) -> Device {
    let (client, mut events) = AsyncClient::new(options, 64);
    let (say, heard) = mpsc::unbounded_channel();
    let line = tokio::spawn(async move {
        loop {
            match events.poll().await {
                Ok(Seen::Incoming(packet)) => say.send(Ok(packet)).unwrap_or(()),
                Ok(Seen::Outgoing(_)) => {}
                Err(e) => return say.send(Err(e.to_string())).unwrap_or(()),
            }
        }
    });
    Device { client, heard, line }
}

impl Device {
    /// The next packet that `pick` wants.
    async fn hear<T>(&mut self, pick: impl Fn(&Incoming) -> Option<T>) -> T {
        timeout(SOON, async {
            loop {
                let packet = self.heard.recv().await.expect("the line is open").expect("no fault");
                if let Some(found) = pick(&packet) {
                    return found;
                }
            }
        })
        .await
        .expect("heard in time")
    }

    /// What ended the line.
    async fn fault(&mut self) -> String {
        timeout(SOON, async {
            loop {
                if let Err(fault) = self.heard.recv().await.expect("the line is open") {
                    return fault;
                }
            }
        })
        .await
        .expect("ended in time")
    }

    async fn say(&self, topic: String, retain: bool, body: &serde_json::Value) {
        self.client.publish(topic, QoS::AtLeastOnce, retain, body.to_string()).await.expect("sent");
    }

    async fn puback(&mut self) {
        self.hear(|p| matches!(p, Incoming::PubAck(_)).then_some(())).await;
    }

    async fn ack(&mut self) -> u64 {
        self.hear(|p| match p {
            Incoming::Publish(p) if p.topic.ends_with("/ack/event") => {
                Some(serde_json::from_slice::<Ack>(&p.payload).expect("an ack").seq)
            }
            _ => None,
        })
        .await
    }
}

/// Connects as a device does: while the broker still ends the connection before, it says that it is not
/// available, and the device comes again.
async fn join(hub: &TestHub, id: &str) -> Device {
    let topics = testkit::topics(id);
    for _ in 0..200 {
        let mut options = options(hub, id, id, &format!("pw-{id}"));
        let will = LastWill::new(topics.of(&Leaf::State), r#"{"state":"lost"}"#, QoS::AtLeastOnce, true);
        options.set_last_will(will);
        let mut device = dial(options);
        match timeout(SOON, device.heard.recv()).await.expect("answered in time").expect("the line is open") {
            Ok(Incoming::ConnAck(answer)) => assert_eq!(answer.code, ConnectReturnCode::Success),
            Ok(other) => panic!("{other:?} before the connection was answered"),
            Err(fault) => {
                assert!(fault.contains("ServiceUnavailable"), "{fault}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        }
        for filter in topics.down() {
            device.client.subscribe(filter, QoS::AtLeastOnce).await.expect("sent");
            device.hear(|p| matches!(p, Incoming::SubAck(_)).then_some(())).await;
        }
        return device;
    }
    panic!("{id} was never let in");
}

fn one(hub: &TestHub, query: &str) -> Option<String> {
    hub.db().query_row(query, [], |row| row.get(0)).expect("a row")
}

async fn until(hub: &TestHub, query: &str, want: &str) {
    for _ in 0..1200 {
        if one(hub, query).as_deref() == Some(want) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{query} is {:?}, not {want}", one(hub, query));
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_wrong_names_are_refused() {
    let hub = TestHub::start().await;
    let foreign = testkit::topics("room-2").of(&Leaf::State);
    let mut thief = options(&hub, "room-1", "room-1", "pw-room-1");
    thief.set_last_will(LastWill::new(foreign, "{}", QoS::AtLeastOnce, true));
    let mut nameless = MqttOptions::new("room-1", "127.0.0.1", hub.mqtt_port);
    nameless.set_keep_alive(Duration::from_secs(5));
    for (who, options) in [
        ("a wrong password", options(&hub, "room-1", "room-1", "wrong")),
        ("an unknown device", options(&hub, "room-9", "room-9", "pw-room-9")),
        ("another client id", options(&hub, "other", "room-1", "pw-room-1")),
        ("nobody", nameless),
        ("another's last will", thief),
    ] {
        let fault = dial(options).fault().await;
        assert!(fault.contains("refused") || fault.contains("Connection"), "{who}: {fault}");
        assert!(!fault.contains("Timeout"), "{who}: {fault}");
    }
    join(&hub, "room-1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_speaks_only_for_itself() {
    let hub = TestHub::start().await;
    for topic in [
        "lectern/v1/3401000001/room-2/state",
        "lectern/v1/9999999999/room-1/state",
        "lectern/v1/3401000001/room-1/ack/event",
        "lectern/v1/3401000001/room-1/nothing",
        "anything",
    ] {
        let mut device = join(&hub, "room-1").await;
        device.say(topic.into(), true, &json!({"state": "online"})).await;
        device.fault().await;
    }
    assert_eq!(one(&hub, "SELECT state FROM device WHERE id = 'room-2'"), None);
    let mut device = join(&hub, "room-1").await;
    for filter in ["#", "lectern/v1/3401000001/room-2/#", "lectern/v1/3401000001/room-1/state"] {
        device.client.subscribe(filter, QoS::AtLeastOnce).await.expect("sent");
        let codes = device.hear(|p| match p {
            Incoming::SubAck(ack) => Some(ack.return_codes.clone()),
            _ => None,
        });
        assert_eq!(codes.await, [SubscribeReasonCode::Failure], "{filter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_line_is_told_by_the_last_will_and_a_return_by_the_device() {
    let hub = TestHub::start().await;
    let state = "SELECT state FROM device WHERE id = 'room-1'";
    let topic = testkit::topics("room-1").of(&Leaf::State);
    let mut device = join(&hub, "room-1").await;
    device.say(topic.clone(), true, &json!({"state": "online", "ts": 5})).await;
    device.puback().await;
    assert_eq!(one(&hub, state).as_deref(), Some("online"), "stored before it is acknowledged");
    device.line.abort();
    drop(device);
    until(&hub, state, "lost").await;
    let mut device = join(&hub, "room-1").await;
    device.say(topic, true, &json!({"state": "online", "ts": 6})).await;
    device.puback().await;
    // A second connection takes over from the first: the first one's will must not have the last word.
    let mut second = join(&hub, "room-1").await;
    second.say(testkit::topics("room-1").of(&Leaf::State), true, &json!({"state": "online", "ts": 7})).await;
    second.puback().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(one(&hub, state).as_deref(), Some("online"));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_stored_once_and_acknowledged_after_that() {
    let hub = TestHub::start().await;
    let topic = testkit::topics("room-1").of(&Leaf::Event("lesson".into()));
    let event = |seq| Event {
        seq,
        ts: 1,
        mono_ms: 1,
        boot_id: "b".into(),
        clock_trusted: true,
        data: json!({"lesson_id": "l1", "state": "recording"}),
    };
    let mut device = join(&hub, "room-1").await;
    for seq in [1, 2, 2, 1, 3] {
        device.say(topic.clone(), false, &serde_json::to_value(event(seq)).expect("json")).await;
    }
    while device.ack().await < 3 {}
    assert_eq!(hub.db().query_row("SELECT count(*) FROM event", [], |r| r.get(0)), Ok(3));
    device.line.abort();

    // A new connection repeats what it never heard about: nothing new is stored, and it is told again.
    let mut device = join(&hub, "room-1").await;
    device.say(topic.clone(), false, &serde_json::to_value(event(3)).expect("json")).await;
    assert_eq!(device.ack().await, 3);
    assert_eq!(hub.db().query_row("SELECT count(*) FROM event", [], |r| r.get(0)), Ok(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_retained_is_told_to_whoever_may_hear_it() {
    let hub = TestHub::start().await;
    // Only what goes down can be subscribed to, so the hub's side of the store is looked at here.
    use rmqtt::retain::RetainStorage as _;
    let ram = super::retain::Ram::default();
    let from = rmqtt::types::From::from_system(rmqtt::types::Id::new(1, 1, None, None, "x".into(), None));
    let message = |text: &'static str| rmqtt::types::Retain {
        msg_id: None,
        from: from.clone(),
        publish: rmqtt::types::Publish::from(rmqtt::codec::types::Publish {
            dup: false,
            retain: true,
            qos: rmqtt::types::QoS::AtLeastOnce,
            topic: "a/b/state".into(),
            packet_id: None,
            payload: text.as_bytes().into(),
            properties: None,
        }),
    };
    let topic = "a/b/state".into();
    ram.set(&topic, message("one"), Some(Duration::ZERO)).await.expect("kept");
    ram.set(&topic, message("two"), None).await.expect("kept");
    let found = ram.get(&"a/+/state".into()).await.expect("found");
    assert_eq!(found.iter().map(|(_, r)| r.publish.payload.to_vec()).collect::<Vec<_>>(), [b"two".to_vec()]);
    ram.set(&topic, message(""), None).await.expect("cleared");
    assert!(ram.get(&"a/#".into()).await.expect("found").is_empty());
    drop(hub);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversize_packet_ends_that_line_and_no_other() {
    let hub = TestHub::start().await;
    let mut options = options(&hub, "room-2", "room-2", "pw-room-2");
    options.set_max_packet_size(1 << 20, 1 << 20);
    let mut big = dial(options);
    big.hear(|p| matches!(p, Incoming::ConnAck(_)).then_some(())).await;
    let mut device = join(&hub, "room-1").await;
    let topic = testkit::topics("room-2").of(&Leaf::Measurement("sys".into()));
    big.client.publish(topic, QoS::AtLeastOnce, false, vec![b'x'; 200_000]).await.expect("sent");
    big.fault().await;
    let topic = testkit::topics("room-1").of(&Leaf::Measurement("sys".into()));
    device.say(topic, false, &json!({"ts": 1, "values": {"cpu_pct": 5}})).await;
    device.puback().await;
    assert_eq!(hub.db().query_row("SELECT count(*) FROM live", [], |r| r.get(0)), Ok(1));
}
