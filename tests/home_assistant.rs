//! A real Home Assistant finds a room by what the room tells it, and shows what is so: numbers, what is missing, a lesson, an
//! alarm, and that the room is gone. In the form for each component and in the one for the whole device, where that
//! Home Assistant knows it.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::time::Duration;

use lectern_base::clock;
use lectern_tests::broker::settings;
use lectern_tests::home_assistant::{HomeAssistant, Installed, installed};
use lectern_tests::programs::Programs;
use lectern_tests::school::DEVICE;
use lectern_tests::{Agent, Broker, Folder, Hub, Room, eventually, free_port};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);
const WATCHER: (&str, &str) = ("homeassistant", "only-looks-on");

/// A room's entity, as automations name it.
fn id(kind: &str, name: &str) -> String {
    format!("{kind}.lectern_room_301_{name}")
}

async fn becomes(hass: &HomeAssistant, id: &str, what: &str, wanted: impl Fn(&str) -> bool) -> Value {
    let give_up = clock::mono() + PATIENCE;
    loop {
        let seen = hass.entity(id).await.unwrap();
        if let Some(entity) = &seen
            && entity["state"].as_str().is_some_and(&wanted)
        {
            return entity.clone();
        }
        assert!(clock::mono() < give_up, "{id} is not {what}: {seen:?}\n{}", hass.process.tail_of_log());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// The newest value at the hub.
fn told(hub: &Hub, group: &str, name: &str) -> Option<f64> {
    let sql = "SELECT vals FROM sample WHERE device = ? AND grp = ? ORDER BY ts DESC LIMIT 1";
    let rows = hub.rows().unwrap();
    let text: String = rows.query_row(sql, [DEVICE, group], |row| row.get(0)).ok()?;
    serde_json::from_str::<Value>(&text).unwrap()[name].as_f64()
}

async fn follow(which: &Installed, form: &str) {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let port = free_port().unwrap();
    let beside = settings(&folder, port, "").unwrap();
    let (hub, password) = Hub::start_at(&folder, &programs, "127.0.0.1", &beside).unwrap();
    let _broker = Broker::mosquitto(&folder, port, &[(DEVICE, &password), WATCHER]).unwrap();
    let mut room = Room::card();
    // More than any disk has room for: an alarm.
    room.sources += &format!("[home_assistant]\nform = \"{form}\"\n[alarm]\ndisk_minutes = 10000\n");
    let mut agent = Agent::start(&folder, &programs, &room, &hub, &password).unwrap();
    let hass = HomeAssistant::start(&folder, which, port, WATCHER).await.unwrap();
    let version = hass.version().await.unwrap();
    eprintln!("Home Assistant {version}, form {form:?}");

    let number = |state: &str| state.parse::<f64>().is_ok();
    let cpu = becomes(&hass, &id("sensor", "cpu_pct"), "a number", number).await;
    assert_eq!(cpu["attributes"]["unit_of_measurement"], "%");
    assert_eq!(cpu["attributes"]["friendly_name"], "301教室 处理器");
    eventually(PATIENCE, "samples at the hub", || told(&hub, "sys", "disk_used_pct")).unwrap();
    for (name, unit, near) in [
        ("memory_used_pct", "%", 20.0),
        ("disk_used_pct", "%", 5.0),
        ("uptime_s", "s", 60.0),
        ("disk_free_bytes", "B", 1e10),
    ] {
        let shown = becomes(&hass, &id("sensor", name), "a number", number).await;
        let value: f64 = shown["state"].as_str().unwrap().parse().unwrap();
        let told = told(&hub, "sys", name).unwrap();
        assert!((value - told).abs() <= near, "{name}: {value} is shown, {told} was told");
        assert_eq!(shown["attributes"]["unit_of_measurement"].as_str().unwrap_or_default(), unit, "{name}");
    }
    // What is missing is unknown there too, and never zero.
    assert_eq!(told(&hub, "av", "projector_lamp_s"), None);
    becomes(&hass, &id("sensor", "projector_lamp_s"), "unknown", |state| state == "unknown").await;
    let give_up = clock::mono() + PATIENCE;
    while hass.entities().await.unwrap().len() < 28 && clock::mono() < give_up {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(hass.entities().await.unwrap().len(), 28);

    becomes(&hass, &id("binary_sensor", "alarm_disk_nearly_full"), "raised", |state| state == "on").await;
    agent.press("start").unwrap();
    becomes(&hass, &id("binary_sensor", "recording_count"), "recording", |state| state == "on").await;
    becomes(&hass, &id("sensor", "media_s"), "growing", |state| state.parse().is_ok_and(|s: f64| s > 1.0))
        .await;
    agent.press("stop").unwrap();
    becomes(&hass, &id("binary_sensor", "recording_count"), "over", |state| state == "off").await;
    agent.wait_for(&["stored"], PATIENCE).unwrap();
    agent.process.stop();
    let gone = |state: &str| state == "unavailable";
    becomes(&hass, &id("sensor", "cpu_pct"), "gone", gone).await;
    becomes(&hass, &id("binary_sensor", "alarm_disk_nearly_full"), "gone", gone).await;
    assert_eq!(hass.complaints().unwrap(), Vec::<String>::new(), "Home Assistant {version}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_home_assistant_shows_a_room_as_it_is_in_every_form_it_knows() {
    let (found, skipped) = installed();
    for why in skipped {
        lectern_tests::skipped(&why);
    }
    for which in &found {
        follow(which, "components").await;
        if which.whole_device {
            follow(which, "device").await;
        }
    }
}
