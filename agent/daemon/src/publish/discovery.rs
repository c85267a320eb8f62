//! What Home Assistant is told of this room, by its MQTT discovery: retained documents, from which it makes sensors.
//!
//! Only what is live is shown there (`state`, `m/…`, `a/…`): Home Assistant's messages have no time of their own, so
//! history would be taken for now. Nothing can be asked of the room from there.

use lectern_wire::alarm::Code;
use lectern_wire::telemetry::Info;
use lectern_wire::topic::{Leaf, Topics};
use serde_json::{Map, Value, json};

use super::dialect::Message;
use crate::model::telling::{Discovery, Form};

/// Numbers: group, name, what people call it, and Home Assistant's class of it. The unit follows from the name.
const SENSORS: [(&str, &str, &str, Option<&str>); 18] = [
    ("sys", "cpu_pct", "处理器", None),
    ("sys", "memory_used_pct", "内存", None),
    ("sys", "disk_used_pct", "磁盘", None),
    ("sys", "disk_free_bytes", "磁盘剩余", Some("data_size")),
    ("sys", "temperature_celsius", "温度", Some("temperature")),
    ("sys", "fan_rpm", "风扇", None),
    ("sys", "uptime_s", "已开机", Some("duration")),
    ("agent", "outbox_rows_count", "待上报", None),
    ("net", "hub_rtt_ms", "到中心的时延", Some("duration")),
    ("net", "net_link_bps", "网线速率", Some("data_rate")),
    ("net", "net_rx_bps", "接收", Some("data_rate")),
    ("net", "net_tx_bps", "发送", Some("data_rate")),
    ("net", "net_resent_pct", "重传", None),
    ("net", "wifi_signal_dbm", "无线信号", Some("signal_strength")),
    ("av", "display_on_count", "亮着的显示设备", None),
    ("av", "projector_lamp_s", "投影灯时", Some("duration")),
    ("rec", "media_s", "本节已录", Some("duration")),
    ("rec", "pending_upload_bytes", "待上传", Some("data_size")),
];

/// What is or is not: group, name, what people call it, Home Assistant's class of it.
const SIGNS: [(&str, &str, &str, &str); 2] =
    [("rec", "recording_count", "录课", "running"), ("rec", "paused_count", "录课暂停", "running")];

/// Alarms that concern the room itself; the hub's own are not told by it.
const ALARMS: [Code; 8] = [
    Code::ClockWrong,
    Code::DiskNearlyFull,
    Code::Hot,
    Code::CameraNoPicture,
    Code::MicrophoneNoSound,
    Code::DisplayFault,
    Code::RecordingFailed,
    Code::UploadBacklog,
];

/// Home Assistant's unit for a name of ours.
fn unit(name: &str) -> Option<&'static str> {
    const UNITS: [(&str, &str); 9] = [
        ("_pct", "%"),
        ("_bytes", "B"),
        ("_celsius", "°C"),
        ("_rpm", "rpm"),
        ("_ms", "ms"),
        ("_bps", "bit/s"),
        ("_dbm", "dBm"),
        ("_dbfs", "dB"),
        ("_s", "s"),
    ];
    UNITS.iter().find(|(end, _)| name.ends_with(end)).map(|(_, unit)| *unit)
}

/// The documents for a device.
pub fn documents(settings: &Discovery, topics: &Topics, info: &Info) -> Vec<Message> {
    let (device, prefix) = (topics.device.as_str(), settings.prefix.as_str());
    let parts = components(topics);
    let document = |topic: String, value: &Value| Message {
        topic,
        payload: value.to_string().into_bytes(),
        retain: true,
    };
    match settings.form {
        Form::Device => {
            let parts: Map<String, Value> = parts.into_iter().collect();
            let mut whole = common(topics, info);
            whole.insert("components".into(), parts.into());
            whole.insert("qos".into(), 1.into());
            vec![document(format!("{prefix}/device/{device}/config"), &whole.into())]
        }
        Form::Components => parts
            .into_iter()
            .filter_map(|(name, part)| {
                let Value::Object(mut part) = part else { return None };
                let Some(Value::String(kind)) = part.remove("platform") else { return None };
                part.extend(common(topics, info));
                Some(document(format!("{prefix}/{kind}/{device}/{name}/config"), &part.into()))
            })
            .collect(),
    }
}

/// What every document holds.
fn common(topics: &Topics, info: &Info) -> Map<String, Value> {
    let device = json!({
        "identifiers": [format!("lectern_{}", topics.device)],
        "name": info.room,
        "manufacturer": "Lectern",
        "model": info.os,
        "sw_version": info.agent_version,
        "serial_number": topics.device,
    });
    let mut common = Map::new();
    common.insert("device".into(), device);
    common.insert("origin".into(), json!({ "name": "Lectern", "sw_version": info.agent_version }));
    common.insert("availability_topic".into(), topics.of(&Leaf::State).into());
    // A will says lost, a goodbye offline: neither is there.
    let there = "{{ 'online' if value_json.state == 'online' else 'offline' }}";
    common.insert("availability_template".into(), there.into());
    common
}

fn components(topics: &Topics) -> Vec<(String, Value)> {
    let id = |name: &str| format!("lectern_{}_{name}", topics.device);
    // What a part is called in automations: by `default_entity_id`, and up to Home Assistant 2025.9 by `object_id`.
    let entity = |kind: &str, name: &str| format!("{kind}.{}", id(name));
    let measured = |group: &str| topics.of(&Leaf::Measurement(group.to_owned()));
    let mut all = Vec::new();
    for (group, name, called, class) in SENSORS {
        // `value_json.values` would be the dictionary's own method; a number that is missing is unknown.
        let value = format!("{{{{ value_json['values'].get('{name}', none) }}}}");
        let mut part = json!({
            "platform": "sensor", "unique_id": id(name), "object_id": id(name), "name": called,
            "default_entity_id": entity("sensor", name),
            "state_topic": measured(group), "value_template": value, "state_class": "measurement",
        });
        if let Some(unit) = unit(name) {
            part["unit_of_measurement"] = unit.into();
        }
        if let Some(class) = class {
            part["device_class"] = class.into();
        }
        all.push((name.to_owned(), part));
    }
    for (group, name, called, class) in SIGNS {
        let value = format!("{{{{ 'ON' if value_json['values'].get('{name}', 0) > 0 else 'OFF' }}}}");
        let part = json!({
            "platform": "binary_sensor", "unique_id": id(name), "object_id": id(name), "name": called,
            "default_entity_id": entity("binary_sensor", name),
            "state_topic": measured(group), "value_template": value, "device_class": class,
        });
        all.push((name.to_owned(), part));
    }
    for code in ALARMS {
        let name = format!("alarm_{}", code.name());
        let part = json!({
            "platform": "binary_sensor", "unique_id": id(&name), "object_id": id(&name), "name": code.title(),
            "default_entity_id": entity("binary_sensor", &name),
            "state_topic": topics.of(&Leaf::Alarm(code)), "device_class": "problem",
            "value_template": "{{ 'ON' if value_json.state == 'raised' else 'OFF' }}",
        });
        all.push((name, part));
    }
    all
}

#[cfg(test)]
mod tests {
    use lectern_wire::id::{DeviceId, SchoolId};
    use lectern_wire::sign::PublicKey;
    use lectern_wire::telemetry::MAX_PAYLOAD;

    use super::*;

    fn told(form: Form) -> Vec<(String, Value)> {
        let (school, device) = (SchoolId::new("3401000001"), DeviceId::new("room-301"));
        let topics = Topics { school: school.expect("id"), device: device.expect("id") };
        let info = Info {
            ts: 1,
            room: "301教室".into(),
            agent_version: "1".into(),
            os: "Debian".into(),
            kernel: "6".into(),
            cpu: "x".into(),
            cpu_count: 2,
            memory_bytes: 1,
            key: PublicKey::of(&ed25519_dalek::SigningKey::from_bytes(&[1; 32])),
            recorder: true,
            projector: false,
        };
        let settings = Discovery { form, prefix: "homeassistant".into() };
        let all = documents(&settings, &topics, &info);
        assert!(all.iter().all(|m| m.retain && m.payload.len() <= MAX_PAYLOAD), "no broker refuses it");
        all.into_iter().map(|m| (m.topic, serde_json::from_slice(&m.payload).expect("json"))).collect()
    }

    #[test]
    fn both_forms_tell_the_same_components_each_with_a_name_of_its_own() {
        let whole = told(Form::Device);
        assert_eq!(whole[0].0, "homeassistant/device/room-301/config");
        let parts = whole[0].1["components"].as_object().expect("components").clone();
        let single = told(Form::Components);
        assert_eq!((whole.len(), single.len()), (1, parts.len()));
        for (topic, document) in single {
            let levels: Vec<_> = topic.split('/').collect();
            let ["homeassistant", kind, "room-301", name, "config"] = levels[..] else { panic!("{topic}") };
            let part = &parts[name];
            assert_eq!(part["platform"], kind);
            for key in ["unique_id", "state_topic", "value_template", "name"] {
                assert!(part[key].is_string() && part[key] == document[key], "{topic}: {key}");
            }
            assert_eq!(document["device"], whole[0].1["device"], "{topic}");
        }
        let ids: std::collections::BTreeSet<_> =
            parts.values().map(|part| part["unique_id"].to_string()).collect();
        assert_eq!(ids.len(), parts.len());
    }

    #[test]
    fn a_unit_is_not_taken_from_the_end_of_another() {
        assert_eq!(
            (unit("hub_rtt_ms"), unit("uptime_s"), unit("net_rx_bps")),
            (Some("ms"), Some("s"), Some("bit/s"))
        );
        assert_eq!(unit("outbox_rows_count"), None);
    }
}
