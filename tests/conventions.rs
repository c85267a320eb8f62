//! Others read a room in their own words: Prometheus and the dashboard that ships, Home Assistant's discovery through
//! Mosquitto with the shipped rules, ThingsBoard's device API. Prometheus is a real one, and so is Home Assistant in
//! tests/home_assistant.rs, where one is installed; a ThingsBoard is not at hand, so what it is told is held against what it
//! says it wants.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use lectern_tests::broker::settings;
use lectern_tests::process::output;
use lectern_tests::programs::Programs;
use lectern_tests::school::DEVICE;
use lectern_tests::{Agent, BadBroker, Broker, Folder, Hub, Process, Room, School, eventually, free_port};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config");

fn room_with(section: &str) -> Room {
    let mut room = Room::card();
    room.sources += section;
    room
}

/// What `promtool` has to say about metrics.
fn lint(metrics: &str) -> String {
    let mut tool = Command::new("promtool");
    tool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = tool.spawn().unwrap();
    std::io::Write::write_all(&mut tool.stdin.take().unwrap(), metrics.as_bytes()).unwrap();
    let out = tool.wait_with_output().unwrap();
    String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
}

#[tokio::test]
async fn a_real_prometheus_reads_hub_and_room_and_every_panel_of_the_dashboard_has_an_answer() {
    let School { hub, mut agent, folder } = School::start(&Room::card()).unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = async |url: String| {
        let answer = http.get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, said) = get(format!("{}metrics", agent.page().unwrap())).await;
    assert!(status == 404 && said.contains("page.metrics"), "off unless it is switched on: {said}");
    let text = std::fs::read_to_string(&agent.config).unwrap();
    std::fs::write(&agent.config, text.replace("[page]\n", "[page]\nmetrics = true\n")).unwrap();
    agent.restart(&folder).unwrap();
    let room = agent.page().unwrap();
    let mut metrics = String::new();
    for _ in 0..200 {
        metrics = get(format!("{room}metrics")).await.1;
        if metrics.contains("lectern_sys_cpu_ratio ") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(metrics.contains("lectern_sys_memory_used_bytes "), "{metrics}");
    assert_eq!(lint(&metrics), "", "of the room");
    let (_, of_hub) = get(format!("{}/metrics", hub.url())).await;
    assert_eq!(lint(&of_hub), "", "of the hub");

    // The shipped file, with the ports of this test.
    let port = free_port().unwrap();
    let shipped = std::fs::read_to_string(format!("{CONFIG}/prometheus.yml")).unwrap();
    let room_at = room.trim_start_matches("http://").trim_end_matches('/');
    let text = shipped
        .replace("127.0.0.1:8470", &format!("127.0.0.1:{}", hub.http))
        .replace("127.0.0.1:8471", room_at);
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, format!("global:\n  scrape_interval: 1s\n{text}")).unwrap();
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let mut prometheus = Process::start(&folder, "prometheus", command).unwrap();
    let dashboard = std::fs::read(format!("{CONFIG}/grafana/lectern-hub.json")).unwrap();
    let dashboard: Value = serde_json::from_slice(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut asked: BTreeSet<String> =
        targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    assert!(asked.len() > 12);
    asked.insert("lectern_sys_cpu_ratio".into());
    asked.insert("up == 1".into());
    for expr in asked {
        // Nothing is wrong in this room, so no alarm stands: the series themselves must be there.
        let expr = expr.replace(" > 0", " >= 0");
        let mut last = String::new();
        let give_up = lectern_base::clock::mono() + PATIENCE;
        loop {
            prometheus.must_run().unwrap();
            let mut url = reqwest::Url::parse(&format!("http://127.0.0.1:{port}/api/v1/query")).unwrap();
            url.query_pairs_mut().append_pair("query", &expr);
            if let Ok(answer) = http.get(url).send().await {
                last = answer.text().await.unwrap();
                let value: Value = serde_json::from_str(&last).unwrap_or_default();
                if value["data"]["result"].as_array().is_some_and(|found| !found.is_empty()) {
                    break;
                }
            }
            assert!(lectern_base::clock::mono() < give_up, "{expr}: {last}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// The messages kept below a filter, as somebody sees them who comes later: topic and document.
fn kept(port: u16, user: (&str, &str), filter: &str, count: usize) -> Vec<(String, Value)> {
    let ask = || {
        let mut sub = Command::new("mosquitto_sub");
        sub.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-u", user.0, "-P", user.1, "-t", filter]);
        sub.args(["--retained-only", "-F", "%t %p", "-W", "20", "-C", &count.to_string()]);
        String::from_utf8(output(sub).ok()?).ok()
    };
    // It ends at the first message that was not kept, so that it may have come too early.
    let text = eventually(PATIENCE, filter, || ask().filter(|text| text.lines().count() == count)).unwrap();
    let pair = |line: &str| {
        let (topic, payload) = line.split_once(' ').unwrap();
        (topic.to_owned(), serde_json::from_str(payload).unwrap())
    };
    text.lines().map(pair).collect()
}

#[test]
fn home_assistant_finds_every_component_of_a_room_in_both_forms() {
    let watcher = ("homeassistant", "only-looks-on");
    for (form, count) in [("device", 1), ("components", 28)] {
        let folder = Folder::new().unwrap();
        let programs = Programs::find().unwrap();
        let port = free_port().unwrap();
        let beside = settings(&folder, port, "").unwrap();
        let (hub, password) = Hub::start_at(&folder, &programs, "127.0.0.1", &beside).unwrap();
        let _broker = Broker::mosquitto(&folder, port, &[(DEVICE, &password), watcher]).unwrap();
        let room = room_with(&format!("[home_assistant]\nform = \"{form}\"\n"));
        let mut agent = Agent::start(&folder, &programs, &room, &hub, &password).unwrap();
        let state = kept(port, watcher, "lectern/v1/+/+/state", 1);
        assert_eq!(state[0].1["state"], "online");
        let found = kept(port, watcher, "homeassistant/#", count);
        assert_eq!(found.len(), count, "{form}");
        let parts: Vec<Value> = match form {
            "device" => found[0].1["components"].as_object().unwrap().values().cloned().collect(),
            _ => found.iter().map(|(_, document)| document.clone()).collect(),
        };
        assert_eq!(parts.len(), 28);
        for (topic, document) in &found {
            assert_eq!(document["availability_topic"], state[0].0.as_str(), "{topic}");
            assert!(document["origin"]["name"].is_string() && document["device"]["identifiers"].is_array());
        }
        // Each number it looks for has the name it is told under.
        let measured = |topic: &str| {
            let mut sub = Command::new("mosquitto_sub");
            sub.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-u", watcher.0, "-P", watcher.1]);
            sub.args(["-t", topic, "-W", "20", "-C", "1"]);
            serde_json::from_slice::<Value>(&output(sub).unwrap()).unwrap()["values"].clone()
        };
        let sys = measured(&format!("lectern/v1/+/{DEVICE}/m/sys"));
        for part in &parts {
            let template = part["value_template"].as_str().unwrap();
            assert!(template.starts_with("{{ ") && template.ends_with(" }}"), "{template}");
            if part["state_topic"].as_str().unwrap().ends_with("/m/sys") {
                let name = template.split('\'').nth(3).unwrap();
                let known = !["temperature_celsius", "fan_rpm"].contains(&name);
                assert!(sys[name].is_number() || !known, "{name} in {sys}");
            }
        }
        agent.process.stop();
        assert_eq!(kept(port, watcher, "lectern/v1/+/+/state", 1)[0].1["state"], "offline");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thingsboard_gets_measurements_inventory_and_events_by_its_device_api() {
    let broker = BadBroker::start().unwrap();
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let token = folder.join("thingsboard.token");
    std::fs::write(&token, "A1_TEST_TOKEN\n").unwrap();
    let section =
        format!("[thingsboard]\nurl = \"mqtt://127.0.0.1:{}\"\ntoken_file = {token:?}\n", broker.port);
    let mut agent = Agent::start(&folder, &programs, &room_with(&section), &hub, &password).unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = serde_json::json!({ "id": format!("{:016x}", 7), "text": "话筒没有声音" });
    let url = format!("{}api/repair", agent.page().unwrap());
    assert_eq!(http.post(url).header("x-lectern", "1").json(&body).send().await.unwrap().status(), 200);
    let said = || -> Vec<(String, Value)> {
        let all = broker.said().into_iter();
        all.map(|s| (s.topic, serde_json::from_slice(&s.payload).unwrap())).collect()
    };
    let event = eventually(PATIENCE, "the event", || {
        let all = said().into_iter();
        all.map(|(_, value)| value["values"]["event_repair"].clone()).find(Value::is_object)
    });
    assert_eq!(event.unwrap()["data"]["text"], "话筒没有声音");
    eventually(PATIENCE, "measurements", || {
        said().iter().any(|(_, value)| value["values"]["cpu_pct"].is_number()).then_some(())
    })
    .unwrap();
    assert!(said().iter().all(|(topic, _)| {
        ["v1/devices/me/telemetry", "v1/devices/me/attributes"].contains(&topic.as_str())
    }));
    assert!(said().iter().any(|(topic, value)| topic.ends_with("attributes") && value["room"] == "301教室"));
    let rows = agent.data.join("outbox.db");
    let waits = || {
        let rows = rusqlite::Connection::open(&rows).ok()?;
        let left: i64 = rows.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).ok()?;
        (left == 0).then_some(())
    };
    eventually(PATIENCE, "an event leaves with its acknowledgement", waits).unwrap();
    // Lessons still go to the hub.
    agent.press("start").unwrap();
    agent.wait_for_media(1500, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    agent.wait_for(&["stored"], PATIENCE).unwrap();
    agent.process.stop();
}
