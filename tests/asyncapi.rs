//! What goes over MQTT, written down for others: config/asyncapi.json (AsyncAPI 3, JSON Schema 2020-12) is made from the
//! wire types, and everything that a room and its hub really say is held against it.
//!
//! `LECTERN_WRITE=1 cargo test -p lectern-tests --test asyncapi` writes the file anew.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lectern_tests::bad_broker::{Manners, Said};
use lectern_tests::broker::settings;
use lectern_tests::programs::Programs;
use lectern_tests::school::{DEVICE, SCHOOL};
use lectern_tests::{Agent, BadBroker, Console, Folder, Hub, Room, eventually};
use lectern_wire::alarm::{Alarm, Code};
use lectern_wire::chain::ChainHead;
use lectern_wire::command::{Command, Outcome};
use lectern_wire::desired::{Desired, Reported};
use lectern_wire::sign::Signed;
use lectern_wire::telemetry::{Ack, Event, Info, MAX_PAYLOAD, Sample, State};
use lectern_wire::topic::{self, Leaf, ROOT};
use lectern_wire::usage::Usage;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/asyncapi.json");
const PATIENCE: Duration = Duration::from_secs(120);

/// A kind of topic.
struct Channel {
    name: &'static str,
    /// Below school and device.
    address: &'static str,
    /// What its last level is, where it may be anything.
    parameter: Option<(&'static str, &'static str)>,
    /// Whether the device says it; else the hub does.
    up: bool,
    retained: bool,
    about: &'static str,
    schema: Value,
}

/// The channel of a topic. A new kind of topic does not compile until it has one.
fn channel_of(leaf: &Leaf) -> &'static str {
    match leaf {
        Leaf::State => "state",
        Leaf::Info => "info",
        Leaf::Measurement(_) => "measurement",
        Leaf::History(_) => "history",
        Leaf::Event(kind) if kind == lectern_wire::usage::KIND => "usage",
        Leaf::Event(_) => "event",
        Leaf::Chain => "chain",
        Leaf::Alarm(_) => "alarm",
        Leaf::CommandRequest(_) => "command",
        Leaf::CommandResult(_) => "outcome",
        Leaf::Desired => "desired",
        Leaf::Reported => "reported",
        Leaf::Ack(_) => "ack",
    }
}

/// Every channel, with the schema of its payload, and the schemas those refer to.
fn channels() -> (Vec<Channel>, Map<String, Value>) {
    let settings = SchemaSettings::draft2020_12().with(|s| {
        s.definitions_path = "/components/schemas".into();
        s.meta_schema = None;
    });
    let mut all = SchemaGenerator::new(settings);
    let group = Some(("group", "What was measured: sys, net, av, rec, agent."));
    let mut list = Vec::new();
    let mut add = |name, address, parameter, up, retained, about, schema: schemars::Schema| {
        list.push(Channel { name, address, parameter, up, retained, about, schema: schema.to_value() });
    };
    add(
        "state",
        "state",
        None,
        true,
        true,
        "Whether the device is there; also its last will.",
        all.subschema_for::<State>(),
    );
    add("info", "info", None, true, true, "The device's inventory.", all.subschema_for::<Info>());
    add(
        "measurement",
        "m/{group}",
        group,
        true,
        false,
        "Measurements of now.",
        all.subschema_for::<Sample>(),
    );
    add(
        "history",
        "h/{group}",
        group,
        true,
        false,
        "Measurements that had waited for a connection.",
        all.subschema_for::<Vec<Sample>>(),
    );
    let kinds = Some((
        "type",
        "amended, fault, gap, lesson, live, preflight, repair, submitted; usage has a channel of its own.",
    ));
    add(
        "event",
        "e/{type}",
        kinds,
        true,
        false,
        "Something happened. Repeated until the hub's ack names its number.",
        all.subschema_for::<Event>(),
    );
    let (event, row) = (all.subschema_for::<Event>(), all.subschema_for::<Usage>());
    add(
        "usage",
        "e/usage",
        None,
        true,
        false,
        "A period's row of the use register, or what a person says of one; an event as any other.",
        schemars::json_schema!({ "allOf": [event, { "properties": { "data": row } }] }),
    );
    add(
        "chain",
        "chain",
        None,
        true,
        true,
        "What the bytes recorded so far are, signed by the device.",
        all.subschema_for::<Signed<ChainHead>>(),
    );
    add(
        "desired",
        "cfg/desired",
        None,
        false,
        true,
        "What the room is to go by, signed by the hub: timetable and thresholds. Whole; its revision only grows.",
        all.subschema_for::<Signed<Desired>>(),
    );
    add(
        "reported",
        "cfg/reported",
        None,
        true,
        true,
        "What the room made of what it is to go by.",
        all.subschema_for::<Reported>(),
    );
    let codes = Some(("code", "The code of the problem, as in the payload."));
    add(
        "alarm",
        "a/{code}",
        codes,
        true,
        true,
        "A problem that stands, or is over.",
        all.subschema_for::<Alarm>(),
    );
    let id = Some(("id", "The command's id, as in the payload: 16 hexadecimal digits."));
    add(
        "command",
        "cmd/req/{id}",
        id,
        false,
        false,
        "A command, signed by the hub. Repeated until it is taken in.",
        all.subschema_for::<Signed<Command>>(),
    );
    add(
        "outcome",
        "cmd/res/{id}",
        id,
        true,
        false,
        "What has become of a command.",
        all.subschema_for::<Outcome>(),
    );
    let class = Some(("class", "event."));
    add(
        "ack",
        "ack/{class}",
        class,
        false,
        false,
        "The hub has stored everything of this class up to a number.",
        all.subschema_for::<Ack>(),
    );
    (list, all.take_definitions(false))
}

/// The whole document.
fn document() -> Value {
    let (list, schemas) = channels();
    let (mut channels, mut operations) = (Map::new(), Map::new());
    for channel in list {
        let mut parameters = json!({
            "school": { "description": "The school's id, usually its 10-digit code." },
            "device": { "description": "The device's id; also its MQTT client id and user name." },
        });
        if let Some((name, about)) = channel.parameter {
            parameters[name] = json!({ "description": about });
        }
        let message = json!({
            "contentType": "application/json", "summary": channel.about, "payload": channel.schema,
        });
        let mqtt = json!({ "mqtt": { "qos": 1, "retain": channel.retained, "bindingVersion": "0.2.0" } });
        let name = channel.name;
        channels.insert(
            name.into(),
            json!({
                "address": format!("{ROOT}/{{school}}/{{device}}/{}", channel.address),
                "parameters": parameters,
                "messages": { name: message },
            }),
        );
        operations.insert(
            name.into(),
            json!({
                "action": if channel.up { "send" } else { "receive" },
                "channel": { "$ref": format!("#/channels/{name}") },
                "bindings": mqtt,
            }),
        );
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Lectern: a room over MQTT",
            "version": "1",
            "description": format!(
                "Made from the wire types; send is what a room says, receive what it hears. Payloads are at most \
                 {MAX_PAYLOAD} bytes. A reader passes over fields it does not know. Measurements are flat numbers whose \
                 names end with their unit."
            ),
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": { "schemas": schemas },
    })
}

#[test]
fn the_shipped_document_is_what_the_types_say() {
    let made = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if std::env::var_os("LECTERN_WRITE").is_some() {
        std::fs::write(FILE, &made).unwrap();
    }
    let shipped = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        made == shipped,
        "config/asyncapi.json is stale: LECTERN_WRITE=1 cargo test -p lectern-tests --test asyncapi"
    );
}

/// A checker of a channel's payloads, made from the shipped document.
fn checkers() -> BTreeMap<String, jsonschema::Validator> {
    let text = std::fs::read_to_string(FILE).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let channels = document["channels"].as_object().unwrap();
    let checker = |(name, channel): (&String, &Value)| {
        let payload = channel["messages"][name]["payload"].clone();
        let whole = json!({ "allOf": [payload], "components": document["components"] });
        (name.clone(), jsonschema::validator_for(&whole).unwrap())
    };
    channels.iter().map(checker).collect()
}

#[test]
fn the_schemas_refuse_what_is_not_meant() {
    let checkers = checkers();
    let fits = |channel: &str, value: Value| checkers[channel].is_valid(&value);
    assert!(fits("measurement", json!({ "ts": 1, "values": { "cpu_pct": 1.5 } })));
    assert!(!fits("measurement", json!({ "ts": 1, "values": { "cpu_pct": "1.5" } })));
    assert!(!fits("measurement", json!({ "values": {} })));
    assert!(
        fits("history", json!([{ "ts": 1, "values": {} }]))
            && !fits("history", json!({ "ts": 1, "values": {} }))
    );
    assert!(fits("state", json!({ "state": "lost" })) && !fits("state", json!({ "state": "asleep" })));
    assert!(!fits("alarm", json!({ "code": "hot" })) && !fits("ack", json!({ "seq": -1 })));
    let outcome = |state: &str| json!({ "id": "0123456789abcdef", "state": state, "ts": 1 });
    assert!(fits("outcome", outcome("running")) && !fits("outcome", outcome("flying")));
    let vectors: Value = serde_json::from_str(include_str!("vectors/usage.json")).unwrap();
    let usage = |used: &str| {
        let mut row = vectors["cases"][0]["row"].clone();
        row["used"] = used.into();
        json!({ "seq": 1, "ts": 1, "mono_ms": 1, "boot_id": "", "clock_trusted": true, "data": row })
    };
    assert!(fits("usage", usage("unknown")) && !fits("usage", usage("perhaps")));
}

/// What is wrong with something that was said, if anything.
fn fault(checkers: &BTreeMap<String, jsonschema::Validator>, said: &Said) -> Option<String> {
    let Some((_, leaf)) = topic::parse(&said.topic) else { return Some("no topic of ours".into()) };
    let value: Value = match serde_json::from_slice(&said.payload) {
        Ok(value) => value,
        Err(e) => return Some(e.to_string()),
    };
    checkers[channel_of(&leaf)].validate(&value).err().map(|e| format!("{e} in {value}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_a_room_and_its_hub_say_is_as_it_is_written_down() {
    let broker = BadBroker::start().unwrap();
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let beside = settings(&folder, broker.port, "").unwrap();
    let (hub, password) = Hub::start_at(&folder, &programs, "127.0.0.1", &beside).unwrap();
    let mut agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password).unwrap();
    let console = Console::admin(&hub).await.unwrap();
    // A lesson long enough for a signed head, a mark, a report, a command, a while without a broker, and goodbye.
    agent.press("start").unwrap();
    agent.wait_for_media(12_000, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    agent.wait_for(&["stored"], PATIENCE).unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = json!({ "id": format!("{:016x}", 7), "text": "投影不亮" });
    let url = format!("{}api/repair", agent.page().unwrap());
    assert_eq!(http.post(url).header("x-lectern", "1").json(&body).send().await.unwrap().status(), 200);
    let bells = [("school", SCHOOL), ("first_monday", ""), ("offset", "0"), ("bells", "第1节 00:00-23:59")];
    let saved = console.post("/timetable/bells", &bells).await.unwrap();
    assert!(saved.status().is_redirection() || saved.status().is_success(), "{}", saved.status());
    let form = [("verb", "refresh")];
    let asked = console.post(&format!("/rooms/{DEVICE}/commands"), &form).await.unwrap();
    assert!(asked.status().is_redirection() || asked.status().is_success(), "{}", asked.status());
    let heard = || -> BTreeSet<&'static str> {
        let all = broker.said().into_iter();
        all.filter_map(|said| topic::parse(&said.topic)).map(|(_, leaf)| channel_of(&leaf)).collect()
    };
    eventually(PATIENCE, "an outcome", || heard().contains("outcome").then_some(())).unwrap();
    agent.process.kill();
    agent.restart(&folder).unwrap();
    // Away long enough that more waits than one sample of each group.
    broker.set(Manners { kicks: 4, ..Manners::default() });
    broker.hang_up();
    // What waits now is history when the line is back.
    let every: BTreeSet<&str> =
        document()["channels"].as_object().unwrap().keys().map(|k| &*k.clone().leak()).collect();
    let missing = || {
        let heard = heard();
        every
            .iter()
            .filter(|name| !heard.contains(*name) && !["alarm", "usage"].contains(*name))
            .copied()
            .collect::<Vec<_>>()
    };
    let all = eventually(PATIENCE, "every kind", || missing().is_empty().then_some(()));
    assert!(all.is_ok(), "nobody said {:?}", missing());
    agent.process.stop();
    let checkers = checkers();
    let said = broker.said();
    assert!(said.len() > 20);
    let faults: Vec<_> =
        said.iter().filter_map(|s| Some(format!("{}: {}", s.topic, fault(&checkers, s)?))).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // Alarms, which a healthy room does not raise, each by its code; rows of use take a bell that rings.
    for (code, ..) in Code::ALL {
        let alarm = Alarm {
            code,
            state: lectern_wire::alarm::AlarmState::Raised,
            since_ts: 1,
            ts: 2,
            detail: "91℃".into(),
            next_step: code.next_step().into(),
        };
        assert!(checkers["alarm"].is_valid(&serde_json::to_value(alarm).unwrap()), "{code:?}");
    }
}
