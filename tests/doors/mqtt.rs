//! Every MQTT topic of another device, from the document that the wire types are held against, in every way to get at one.

use lectern_tests::RawMqtt;
use lectern_tests::raw_mqtt::{connect, packet, publish, subscribe};
use lectern_tests::school::SCHOOL;

use super::{House, Keys, OTHER, PATIENCE, ROOM, house};

/// Every topic of a device, by the document that ships.
fn topics(device: &str) -> Vec<String> {
    let document = include_str!("../../config/asyncapi.json");
    let document: serde_json::Value = serde_json::from_str(document).unwrap();
    let channels = document["channels"].as_object().unwrap().values();
    let filled = [
        ("{school}", SCHOOL),
        ("{device}", device),
        ("{class}", "event"),
        ("{code}", "clock_wrong"),
        ("{id}", "0123456789abcdef"),
        ("{type}", "lesson"),
        ("{group}", "sys"),
    ];
    let all = channels.map(|channel| channel["address"].as_str().unwrap().to_owned());
    let all: Vec<_> = all
        .map(|topic| filled.iter().fold(topic, |topic, (name, value)| topic.replace(name, value)))
        .collect();
    assert!(all.len() >= 12 && all.iter().all(|topic| !topic.contains('{')), "{all:#?}");
    all
}

impl House {
    async fn dial(&self, shown: Option<&Keys>) -> anyhow::Result<RawMqtt> {
        let shown = shown.map(|keys| &keys.shown);
        RawMqtt::dial_tls(self.hub.mqtt, &self.hub.ca().unwrap(), shown).await
    }

    /// The other device, let in by its own keys; comes again while the broker still ends its connection before.
    async fn other(&self) -> RawMqtt {
        let hello = connect(OTHER, Some((OTHER, &self.other.password)), None);
        for _ in 0..100 {
            let mut line = self.dial(Some(&self.other)).await.unwrap();
            if line.log_in(&hello).await == Some(0) {
                return line;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("the other device is not let in by its own keys");
    }
}

fn told(way: &str, topic: &str, outcome: &str) {
    println!("{way:28}{topic:60}{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_topic_of_a_device_is_another_ones_in_any_way() {
    let mut house = house();
    // Who says to be the room, with anything but all of its own keys.
    let (own, other) = (house.keys.clone(), house.other.clone());
    let room = |password: &str| connect(ROOM, Some((ROOM, password)), None);
    let liars = [
        ("the room, no password", Some(&own), connect(ROOM, None, None)),
        ("the room, wrong password", Some(&own), room("wrong")),
        ("the room, password alone", None, room(&own.password)),
        ("the room, other's password", Some(&own), room(&other.password)),
        ("the room, other's certificate", Some(&other), room(&own.password)),
        ("the room's name, other's login", Some(&other), connect(ROOM, Some((OTHER, &other.password)), None)),
        ("other's name, the room's login", Some(&other), connect(OTHER, Some((ROOM, &own.password)), None)),
        ("other, password alone", None, connect(OTHER, Some((OTHER, &other.password)), None)),
        ("nobody", None, connect("x", None, None)),
        ("the hub itself", Some(&other), connect("lectern-hub", Some(("lectern-hub", "")), None)),
    ];
    for (who, shown, hello) in liars {
        let answer = house.dial(shown).await.unwrap().log_in(&hello).await;
        assert!(answer.is_none_or(|word| word != 0), "{who} was let in");
        told("connect", who, "refused");
    }
    // The broker's own port, behind the gate, lets nobody in, whatever they know.
    let inner = super::ports::listening(house.hub.process.pid());
    let inner = inner.iter().find(|l| l.is_tcp_but(&[house.hub.http, house.hub.mqtt])).unwrap().port;
    let answer = RawMqtt::dial(inner).await.unwrap().log_in(&room(&own.password)).await;
    assert!(answer.is_none_or(|word| word != 0));
    told("connect past the gate", "", "refused");

    let mut tried = 0;
    for topic in topics(ROOM) {
        for (retain, payload) in
            [(false, &b"{}"[..]), (true, br#"{"state":"offline","reason":"a lie"}"#), (true, b"")]
        {
            let mut line = house.other().await;
            line.say(&publish(&topic, payload, retain)).await;
            assert_eq!(line.hear().await, None, "{topic}: hung up, not acknowledged");
            tried += 1;
        }
        told("publish, retained, cleared", &topic, "cut off");
        let mut line = house.dial(Some(&other)).await.unwrap();
        let will = connect(OTHER, Some((OTHER, &other.password)), Some((&topic, "{}")));
        assert!(line.log_in(&will).await.is_none_or(|word| word != 0), "{topic} as a last will");
        told("last will", &topic, "refused");
        let mut line = house.other().await;
        line.say(&subscribe(&topic)).await;
        assert_eq!(line.hear().await, Some((0x90, vec![0, 9, 0x80])), "{topic}");
        told("subscribe", &topic, "refused");
        tried += 2;
    }
    // What would hear or say more than one's own, one way or another.
    let base = format!("lectern/v1/{SCHOOL}");
    let mut wide: Vec<String> = [
        "#",
        "+",
        "+/#",
        "/#",
        "lectern/#",
        "lectern/+/+/+/state",
        "$SYS/#",
        "$SYS/brokers",
        "$lectern/stale",
        "$queue/#",
    ]
    .map(str::to_owned)
    .into();
    for filter in [
        "#",
        "+/state",
        "+/#",
        "+/ack/+",
        "+/cmd/req/+",
        &format!("{ROOM}/#"),
        &format!("{ROOM}/+"),
        &format!("{ROOM}/cmd/req/+"),
        &format!("{ROOM}/ack/+"),
        &format!("{OTHER}/#"),
        &format!("{OTHER}/+"),
        &format!("{OTHER}/cmd/#"),
        &format!("{OTHER}/../{ROOM}/state"),
    ] {
        wide.push(format!("{base}/{filter}"));
    }
    let shared: Vec<_> = wide.iter().map(|filter| format!("$share/g/{filter}")).collect();
    let own_shared = format!("$share/g/{base}/{OTHER}/ack/+");
    for filter in wide.iter().chain(&shared).chain([&own_shared]) {
        let mut line = house.other().await;
        line.say(&subscribe(filter)).await;
        let heard = line.hear().await;
        assert!(matches!(&heard, None | Some((0x90, _))), "{filter}: {heard:?}");
        assert!(heard.as_ref().is_none_or(|(_, body)| body.last() == Some(&0x80)), "{filter}: {heard:?}");
        told("subscribe", filter, "refused");
        tried += 1;
    }
    for topic in [
        "$SYS/x",
        "$share/g/x",
        "x",
        "lectern/v1",
        "",
        "+",
        "#",
        &format!("{base}/{OTHER}/#"),
        &format!("lectern/v1/other/{OTHER}/state"),
    ] {
        let mut line = house.other().await;
        line.say(&publish(topic, b"{}", true)).await;
        assert_eq!(line.hear().await, None, "{topic}");
        told("publish", topic, "cut off");
        tried += 1;
    }
    println!("{tried} ways tried");
    // All that time the room was heard, and nobody else heard it: a connection that took its name would have ended its own.
    house.is_well();
    let mut line = house.other().await;
    line.say(&publish(&format!("lectern/v1/{SCHOOL}/{OTHER}/state"), br#"{"state":"online"}"#, true)).await;
    assert_eq!(line.hear().await, Some((0x40, vec![0, 7])), "its own it may say");
    line.say(&packet(0xc0, &[])).await;
    assert!(tokio::time::timeout(PATIENCE, line.hear()).await.is_ok());
}
