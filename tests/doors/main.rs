//! Every door of hub and daemon is tried: without credentials, with wrong ones, with another device's. All must be refused. Each
//! test prints its table (`cargo test --workspace --test doors -- --nocapture`), so that a new door is seen.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod http;
mod mqtt;
mod page;
mod ports;

use std::time::Duration;

use lectern_tests::programs::Programs;
use lectern_tests::raw_mqtt::Shown;
use lectern_tests::{Agent, Folder, Hub, Room, eventually};

const PATIENCE: Duration = Duration::from_secs(120);
/// The room whose doors are tried, and the device in the wrong hands.
const ROOM: &str = "room-302";
const OTHER: &str = "room-303";

/// A hub that speaks TLS, a room that enrolled and stored a lesson, and another device that enrolled too.
struct House {
    hub: Hub,
    room: Agent,
    lesson: String,
    keys: Keys,
    other: Keys,
    /// A signing key, as it is written.
    key: serde_json::Value,
    /// A token's name.
    token: String,
    folder: Folder,
}

/// What a device has to show.
#[derive(Clone)]
struct Keys {
    password: String,
    shown: Shown,
}

/// What enrolment brought to this data folder.
fn keys(data: &std::path::Path) -> Keys {
    let folders = std::fs::read_dir(data.join("enrolled")).unwrap().flatten();
    let folder = folders.map(|entry| entry.path()).next().unwrap();
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    Keys {
        password: String::from_utf8(read("device.password")).unwrap().trim().to_owned(),
        shown: Shown { certificate: read("certificate.pem"), key: read("key.pem") },
    }
}

fn house() -> House {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, _) = Hub::start_at(&folder, &programs, "127.0.0.1", "[tls]\nloopback = true\n").unwrap();
    let enrol = |agent: &mut Agent, room: &str| {
        let (said, exit) = agent.enrol(&hub.address(), &hub.token(room).unwrap(), &[]).unwrap();
        assert_eq!(exit, 0, "{said}");
        agent.wait_until_ready().unwrap();
    };
    let mut room = Agent::fresh(&folder, &programs, &Room::card(), "room").unwrap();
    enrol(&mut room, "302教室");
    let mut other = Agent::fresh(&folder, &programs, &Room::card(), "other").unwrap();
    enrol(&mut other, "303教室");
    // Its keys are in the wrong hands from here on.
    other.process.stop();
    room.press("start").unwrap();
    room.wait_for_media(2000, PATIENCE).unwrap();
    room.press("stop").unwrap();
    let lesson = room.wait_for(&["stored"], PATIENCE).unwrap()["lesson"]["id"].as_str().unwrap().to_owned();
    let (keys, other) = (keys(&room.data), keys(&other.data));
    let house =
        House { hub, room, lesson, keys, other, key: serde_json::Value::Null, token: String::new(), folder };
    eventually(PATIENCE, "the room is online", || house.online().then_some(())).unwrap();
    house
}

impl House {
    fn online(&self) -> bool {
        let sql = format!(
            "SELECT count(*) FROM device WHERE id = '{ROOM}' AND state = 'online' AND reason IS NULL"
        );
        self.hub.rows().unwrap().query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap() == 1
    }

    /// Nothing ended, and nothing panicked.
    fn is_well(&mut self) {
        self.hub.process.must_run().unwrap();
        self.room.process.must_run().unwrap();
        for process in [&self.hub.process, &self.room.process] {
            assert!(!std::fs::read_to_string(process.log()).unwrap().contains("panicked"));
        }
        assert!(self.online(), "the room is as it was");
        assert!(!self.folder.processes().is_empty());
    }
}
