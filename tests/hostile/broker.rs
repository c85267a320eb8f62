//! The broker's port: bytes that are no MQTT, strangers, and a device that wants more than its own.

use lectern_tests::raw_mqtt::{connect, packet, publish, subscribe};
use lectern_tests::school::{DEVICE, SCHOOL};
use lectern_tests::{RawMqtt, eventually};
use serde_json::json;

use super::{Line, OTHER, PATIENCE, line};

fn topic(device: &str, leaf: &str) -> String {
    format!("lectern/v1/{SCHOOL}/{device}/{leaf}")
}

impl Line {
    /// Says bytes on a new line. Whatever comes back, it ends with a hang-up and never with a welcome.
    async fn turned_away(&self, what: &str, bytes: &[u8]) {
        let mut line = RawMqtt::dial(self.hub.mqtt).await.unwrap();
        line.say(bytes).await;
        line.hang_up_writing().await;
        while let Some((first, body)) = line.hear().await {
            assert!(first != 0x20 || body.get(1) != Some(&0), "{what} was let in: {body:?}");
        }
    }

    async fn other(&self) -> RawMqtt {
        RawMqtt::device(self.hub.mqtt, OTHER, &self.password).await.unwrap()
    }

    fn count(&self, sql: &str) -> i64 {
        self.hub.rows().unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    async fn figure(&self, name: &str) -> u64 {
        let text = self.console.page("/metrics").await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("lectern_hub_{name} ")));
        line.unwrap().parse().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_mqtt_and_strangers_are_turned_away() {
    let mut line = line().await;
    let lesson = line.record();
    let password = line.password.clone();
    let login = Some((OTHER, password.as_str()));
    let whole = connect(OTHER, login, None);
    for (what, bytes) in [
        ("nothing", vec![]),
        ("zeros", vec![0; 4096]),
        ("HTTP", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("a length without end", vec![0x10, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("a packet of 256 MiB", vec![0x10, 0xff, 0xff, 0xff, 0x7f, 0, 4]),
        ("a publish before anything else", publish(&topic(OTHER, "state"), b"{}", true)),
        ("half a connect", whole[..whole.len() / 2].to_vec()),
        ("a will without words", packet(0x10, b"\x00\x04MQTT\x04\x06\x00\x14\x00\x01x")),
        ("MQTT of the year 2099", packet(0x10, b"\x00\x04MQTT\x63\x02\x00\x14\x00\x01x")),
        ("a name that is no text", packet(0x10, b"\x00\x04MQTT\x04\x02\x00\x14\x00\x02\xff\xfe")),
        ("a client without a name", connect("", login, None)),
        ("a client without a password", connect(OTHER, None, None)),
        ("a wrong password", connect(OTHER, Some((OTHER, "x")), None)),
        ("another's name", connect(DEVICE, login, None)),
        ("another's user", connect(OTHER, Some((DEVICE, &password)), None)),
        ("a name that is a filter", connect("+", Some(("+", &password)), None)),
        ("a long name", connect(&"x".repeat(60_000), login, None)),
        ("a will for another", connect(OTHER, login, Some((&topic(DEVICE, "state"), r#"{"state":"lost"}"#)))),
        ("a will that is an event", connect(OTHER, login, Some((&topic(OTHER, "e/lesson"), "{}")))),
        ("a will everywhere", connect(OTHER, login, Some(("#", "{}")))),
    ] {
        line.turned_away(what, &bytes).await;
    }
    // Who only keeps lines open keeps nobody out.
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(RawMqtt::dial(line.hub.mqtt).await.unwrap());
    }
    drop(line.other().await);
    line.all_is_well(&[&lesson]).await;
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_hears_and_says_nothing_beyond_its_own() {
    let mut line = line().await;
    let lesson = line.record();
    let foreign = "SELECT count(*) FROM event WHERE device = 'room-301'";
    eventually(PATIENCE, "the story of the lesson", || (line.count(foreign) == 4).then_some(())).unwrap();

    let mut spy = line.other().await;
    for filter in [
        "#",
        "+/#",
        "lectern/#",
        "lectern/v1/+/+/state",
        "$SYS/#",
        "$share/g/lectern/v1/#",
        "$share/g/#",
        &topic(DEVICE, "ack/+"),
        &topic(DEVICE, "#"),
        &topic(OTHER, "#"),
        &topic("+", "ack/event"),
        &topic(OTHER, "state"),
        "$lectern/#",
        "/",
        "",
    ] {
        spy.say(&subscribe(filter)).await;
        match spy.hear().await {
            Some((0x90, body)) => assert_eq!(body, [0, 9, 0x80], "{filter} was granted"),
            // Not even a filter: the line ends.
            None => spy = line.other().await,
            other => panic!("{filter} was answered with {other:?}"),
        }
    }
    spy.say(&subscribe(&topic(OTHER, "ack/+"))).await;
    assert_eq!(spy.hear().await, Some((0x90, vec![0, 9, 1])), "its own it may hear");

    for topic in [
        topic(DEVICE, "state"),
        topic(DEVICE, "m/sys"),
        topic(DEVICE, "h/sys"),
        topic(DEVICE, "e/lesson"),
        topic(DEVICE, "info"),
        topic(OTHER, "ack/event"),
        topic(DEVICE, "ack/event"),
        topic(OTHER, "cmd/req/1"),
        format!("lectern/v1/other-school/{OTHER}/state"),
        "lectern/v2/x".into(),
        "$SYS/brokers".into(),
        "x".into(),
        topic(OTHER, "m/+"),
        topic(OTHER, "m/#"),
        topic(OTHER, "m/a/b/c/d/e/f/g"),
        topic(OTHER, "m/A"),
        topic(OTHER, "../room-301/state"),
        String::new(),
        "x".repeat(20_000),
    ] {
        let mut line = line.other().await;
        line.say(&publish(&topic, br#"{"state":"offline","reason":"a lie"}"#, true)).await;
        let heard = line.hear().await;
        assert!(
            heard.is_none(),
            "{} was answered with {heard:?}",
            topic.chars().take(60).collect::<String>()
        );
    }
    let lie =
        "SELECT count(*) FROM device WHERE id = 'room-301' AND (state <> 'online' OR reason IS NOT NULL)";
    assert_eq!(line.count(lie), 0, "nobody else speaks for the room");
    assert_eq!(line.count(foreign), 4);
    assert!(line.figure("refused_total").await >= 30);
    line.all_is_well(&[&lesson]).await;
    // All that time the room spoke; the spy heard nothing of it.
    spy.say(&packet(0xc0, &[])).await;
    assert!(matches!(spy.hear().await, Some((0xd0, _)) | None), "the spy heard something");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_device_says_of_itself_is_stored_or_dropped_and_every_page_still_opens() {
    let mut line = line().await;
    let lesson = line.record();
    let before = line.figure("malformed_total").await;
    let mut device = line.other().await;
    let deep = "[".repeat(8000);
    let malformed =
        ["{", "null", "[]x", "\u{0}", "{\"ts\":\"x\",\"values\":{}}", "{\"ts\":1e999,\"values\":{}}", &deep];
    let mut said = 0;
    for leaf in ["state", "info", "m/sys", "h/sys", "e/lesson"] {
        for payload in malformed {
            device.say(&publish(&topic(OTHER, leaf), payload.as_bytes(), false)).await;
            assert_eq!(
                device.hear().await,
                Some((0x40, vec![0, 7])),
                "{leaf}: {payload:.30} is taken, and dropped"
            );
            said += 1;
        }
        let large = vec![b' '; 20_000];
        device.say(&publish(&topic(OTHER, leaf), &large, false)).await;
        assert_eq!(device.hear().await, Some((0x40, vec![0, 7])), "{leaf}: more than 16 KiB");
        said += 1;
    }
    assert_eq!(line.figure("malformed_total").await - before, said);

    // Well written, but nothing that can be: shown as best it can be, on every page.
    let now = lectern_base::clock::wall_ms();
    let odd = [1e19, 1.8e19, -5.0, 1e308, f64::MAX, f64::MIN, 0.5, 9e15];
    for (k, value) in odd.into_iter().enumerate() {
        let ts = now - i64::try_from(k).unwrap();
        let sys = [
            "cpu_pct",
            "memory_used_pct",
            "memory_used_bytes",
            "memory_total_bytes",
            "uptime_s",
            "net_rx_bps",
            "temperature_celsius",
            "load1_load",
            "agent_memory_bytes",
            "agent_cpu_pct",
            "disk_free_bytes",
            "outbox_rows_count",
        ];
        let values: serde_json::Map<_, _> =
            sys.map(|name| (name.to_owned(), json!(value))).into_iter().collect();
        let rec = json!({ "recording_count": 1, "media_s": value, "pending_upload_bytes": value });
        for (leaf, values) in [("m/sys", json!(values)), ("m/rec", rec)] {
            let sample = json!({ "ts": ts, "values": values }).to_string();
            device.say(&publish(&topic(OTHER, leaf), sample.as_bytes(), false)).await;
            assert_eq!(device.hear().await, Some((0x40, vec![0, 7])));
        }
        device.say(&publish(&topic(OTHER, "state"), br#"{"state":"online"}"#, true)).await;
        assert_eq!(device.hear().await, Some((0x40, vec![0, 7])));
        for path in ["/", "/rooms/room-302", "/rooms/room-302?span=7d", "/metrics"] {
            assert!(
                line.console.page(path).await.is_ok(),
                "{path} with {value}: {:?}",
                line.console.page(path).await
            );
        }
    }
    for ts in [i64::MIN, -1, 0, i64::MAX] {
        let sample = json!({ "ts": ts, "values": { "cpu_pct": 5 } }).to_string();
        let event = json!({ "seq": 3, "ts": ts, "mono_ms": u64::MAX, "boot_id": "x".repeat(9000), "clock_trusted": true,
            "data": { "lesson_id": "<b>", "state": "x".repeat(5000) } });
        for (leaf, payload) in [("h/sys", sample), ("e/lesson", event.to_string())] {
            device.say(&publish(&topic(OTHER, leaf), payload.as_bytes(), false)).await;
            assert_eq!(device.hear().await, Some((0x40, vec![0, 7])));
        }
    }
    for (seq, data) in [
        (0, json!({})),
        (u64::MAX, json!({})),
        (1 << 53, json!({})),
        (5, json!({"from_seq": 1, "to_seq": i64::MAX})),
        (6, json!({"from_seq": i64::MIN, "to_seq": i64::MAX})),
        (7, json!({"from_seq": "x"})),
    ] {
        let event = json!({ "seq": seq, "ts": 1, "mono_ms": 1, "boot_id": "b", "clock_trusted": false, "data": data });
        device.say(&publish(&topic(OTHER, "e/gap"), event.to_string().as_bytes(), false)).await;
        assert_eq!(device.hear().await, Some((0x40, vec![0, 7])), "{event}");
    }
    // Larger than any packet: the line ends, and only that.
    device.say(&publish(&topic(OTHER, "m/sys"), &vec![b' '; 1 << 20], false)).await;
    assert_eq!(device.hear().await, None);
    line.all_is_well(&[&lesson]).await;
}
