//! Garbage at every door: it is refused, nothing answers with 5xx, nothing ends, and the next lesson is
//! recorded, stored and verified as if nothing had been.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod api;
mod broker;
mod console;
mod local;

use std::time::Duration;

use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Console, Folder, Hub, Room};
use reqwest::{RequestBuilder, StatusCode};

const PATIENCE: Duration = Duration::from_secs(120);
/// The device in the wrong hands: registered, but it owns nothing of the room's.
const OTHER: &str = "room-302";

struct Line {
    hub: Hub,
    agent: Agent,
    folder: Folder,
    console: Console,
    /// The other device's.
    password: String,
}

async fn line() -> Line {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, room) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, &Room::card(), &hub, &room).unwrap();
    let console = Console::admin(&hub).await.unwrap();
    let password = console.add_device(OTHER, "302教室").await.unwrap();
    Line { hub, agent, folder, console, password }
}

impl Line {
    fn record(&self) -> String {
        self.agent.press("start").unwrap();
        self.agent.wait_for_media(2000, PATIENCE).unwrap();
        self.agent.press("stop").unwrap();
        let status = self.agent.wait_for(&["stored"], PATIENCE).unwrap();
        status["lesson"]["id"].as_str().unwrap().to_owned()
    }

    /// Everything goes on: the same processes, every page, and a lesson from the press to the receipt.
    async fn all_is_well(&mut self, before: &[&str]) {
        self.hub.process.must_run().unwrap();
        self.agent.process.must_run().unwrap();
        assert_eq!(self.console.page("/healthz").await.unwrap(), "ok\n");
        for path in
            ["/", "/rooms.part", "/rooms/room-301", "/rooms/room-302", "/lessons", "/devices", "/metrics"]
        {
            self.console.page(path).await.unwrap();
        }
        let lesson = self.record();
        let mut lessons = [before, &[&lesson]].concat();
        lessons.sort_unstable();
        for lesson in &lessons {
            let report = self.agent.verify(&self.hub.lesson_folder(lesson)).unwrap();
            assert!(report["sound"] == true && report["receipted"] == true, "{report:#}");
        }
        let mut at_hub = self.hub.lessons();
        at_hub.sort();
        assert_eq!(at_hub, lessons, "nobody else's lesson lies in the room's folder");
        for (name, process) in [("hub", &self.hub.process), ("agent", &self.agent.process)] {
            let log = std::fs::read_to_string(process.log()).unwrap();
            assert!(!log.contains("panicked"), "{name}: {log}");
        }
        assert_eq!(self.folder.processes().iter().filter(|pid| **pid == self.hub.process.pid()).count(), 1);
    }
}

fn garbage() -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> =
        ["", "{", "[]", "null", "\"x\"", "{}", "{\"lesson_id\":\"../../x\"}", "\u{0}\u{1}"]
            .map(|text| text.as_bytes().to_vec())
            .into();
    out.extend([vec![0xff, 0xfe, 0], b"[".repeat(100_000), vec![b'x'; 5 << 20]]);
    out
}

/// The status of the answer. A body that is refused unread may meet a closed line instead.
async fn status_of(request: RequestBuilder, body: Vec<u8>) -> StatusCode {
    let large = body.len() > 1 << 20;
    match request.body(body).send().await {
        Ok(answer) => answer.status(),
        Err(_) if large => StatusCode::PAYLOAD_TOO_LARGE,
        Err(e) => panic!("no answer: {e}"),
    }
}
