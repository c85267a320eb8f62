//! A physical key beside the page's button. No real one could be tried on the machine these were written on: a pipe
//! carries the kernel's own events instead (see `tests/world/key.rs`).

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::time::Duration;

use lectern_tests::key::{F9, Key};
use lectern_tests::{Agent, Browser, Folder, Hub, Room, School, eventually};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

/// A room whose key is F9 of whatever is plugged in as `lectern-key*` in the folder.
fn room(folder: &Folder) -> Room {
    let mut room = Room::card();
    let device = folder.make("input").unwrap().join("lectern-key*");
    room.sources += &format!("[key]\non = true\ndevice = {device:?}\ncode = \"KEY_F9\"\n");
    room
}

fn wait_for(agent: &Agent, what: &str, holds: impl Fn(&Value) -> bool) {
    let found = eventually(PATIENCE, what, || agent.status().ok().filter(&holds).map(drop));
    found.unwrap_or_else(|e| panic!("{e}: {}\n{}", agent.status().unwrap(), agent.process.tail_of_log()));
}

fn wait_for_key(agent: &Agent, there: bool) {
    wait_for(agent, &format!("the key: {there}"), |status| status["key"]["there"] == there);
}

fn wait_for_marks(agent: &Agent, marks: u64) {
    wait_for(agent, &format!("{marks} marks"), |status| status["lesson"]["marks"] == marks);
}

fn lessons(agent: &Agent) -> Vec<Value> {
    agent.lectern(&["lessons"]).unwrap().0.as_array().unwrap().clone()
}

#[tokio::test]
async fn a_key_begins_marks_goes_on_and_ends_a_lesson_and_a_bump_ends_none() {
    let folder = Folder::new().unwrap();
    let room = room(&folder);
    let School { hub, agent, folder } = School::start_in(folder, &room).unwrap();
    let input = folder.path().join("input");
    let browser = Browser::start(&folder, "key").await.unwrap();
    let pictures = lectern_tests::browser::pictures().unwrap();
    browser.open(&agent.page().unwrap()).await.unwrap();
    browser.wait_text("#key", "录课键没有接好", PATIENCE).await.unwrap();
    let (found, code) = agent.lectern(&["doctor"]).unwrap();
    let finding = |found: &Value| {
        found["findings"].as_array().unwrap().iter().find(|f| f["what"] == "key").unwrap()["ok"].clone()
    };
    assert!(code != 0 && finding(&found) == false, "{found}");
    let mut key = Key::plug(&input, "lectern-key-event3").unwrap();
    browser.wait_text("#key", "也可以按一下录课键开始", PATIENCE).await.unwrap();
    browser.screenshot(&pictures.join("page-key-idle.png")).await.unwrap();
    assert_eq!(finding(&agent.lectern(&["doctor"]).unwrap().0), true);

    // Another key of the same keyboard, then the key with contacts that chatter.
    key.press(30).unwrap();
    key.send(F9, &[(0, 1), (2, 0), (4, 1), (7, 0), (9, 1), (120, 2), (160, 2), (200, 0), (203, 1), (206, 0)])
        .unwrap();
    agent.wait_for_media(2000, PATIENCE).unwrap();
    browser.wait_text("#key", "短按打点", PATIENCE).await.unwrap();
    browser.screenshot(&pictures.join("page-key-recording.png")).await.unwrap();
    assert_eq!(agent.status().unwrap()["lesson"]["marks"], 0, "the press that began it is no mark");
    let id = agent.status().unwrap()["lesson"]["id"].as_str().unwrap().to_owned();

    key.press(F9).unwrap();
    wait_for_marks(&agent, 1);
    // A bump, and a press that this program reads late: down and up a little less than a second apart.
    key.send(F9, &[(0, 1), (8, 0)]).unwrap();
    wait_for_marks(&agent, 2);
    key.send(F9, &[(0, 1), (900, 0)]).unwrap();
    wait_for_marks(&agent, 3);
    agent.press("pause").unwrap();
    agent.wait_for(&["paused"], PATIENCE).unwrap();
    key.press(F9).unwrap();
    agent.wait_for(&["recording"], PATIENCE).unwrap();

    // Pulled while somebody leans on it: the lesson goes on, longer than the key would have had to be held.
    key.send(F9, &[(0, 1)]).unwrap();
    drop(key);
    wait_for_key(&agent, false);
    browser.wait_text("#key", "录课键没有接好", PATIENCE).await.unwrap();
    let media = agent.status().unwrap()["lesson"]["media_ms"].as_u64().unwrap();
    let status = agent.wait_for_media(media + 2500, PATIENCE).unwrap();
    assert_eq!(status["lesson"]["state"], "recording");

    // Plugged in again, it has another name, as real ones do; held, it ends the lesson before it is released.
    let mut key = Key::plug(&input, "lectern-key-event7").unwrap();
    wait_for_key(&agent, true);
    key.send(F9, &[(0, 1), (400, 2), (430, 2)]).unwrap();
    agent.wait_for(&["stored"], PATIENCE).unwrap();
    key.send(F9, &[(3000, 0)]).unwrap();
    let lesson = lessons(&agent);
    assert_eq!((lesson.len(), &lesson[0]["id"]), (1, &Value::from(id.as_str())), "{lesson:?}");
    let stored = School { hub, agent, folder }.stored(&id).unwrap();
    assert_eq!(stored.report["sound"], true);
    assert_eq!(stored.takes[0]["marks"].as_array().map(Vec::len), Some(3), "{}", stored.takes[0]);
}

#[test]
fn page_and_key_at_once_are_one_lesson_and_a_press_that_is_refused_says_why() {
    let folder = Folder::new().unwrap();
    let mut room = room(&folder);
    let School { hub: _hub, agent, folder } = School::start_in(folder, &room).unwrap();
    let input = folder.path().join("input");
    let mut key = Key::plug(&input, "lectern-key-event3").unwrap();
    wait_for_key(&agent, true);
    // Both at once, in both orders.
    for key_first in [true, false] {
        let pressed = std::thread::scope(|scope| {
            let page = scope.spawn(|| agent.press("start"));
            if !key_first {
                eventually(PATIENCE, "the page's press", || {
                    agent.status().ok()?["lesson"]["state"].as_str().filter(|s| *s != "stored").map(drop)
                })
                .unwrap();
            }
            key.press(F9).unwrap();
            page.join().unwrap()
        });
        assert!(["done", "already"].contains(&pressed.unwrap()["answer"].as_str().unwrap()));
        agent.wait_for_media(1000, PATIENCE).unwrap();
        key.send(F9, &[(0, 1)]).unwrap();
        // Whoever is second is told that it is so already, or that nothing records any more.
        agent.lectern(&["record", "stop"]).ok();
        agent.wait_for(&["stored"], PATIENCE).unwrap();
        key.send(F9, &[(1500, 0)]).unwrap();
        // The key's own quiet time after an end.
        std::thread::sleep(Duration::from_secs(4));
    }
    assert_eq!(lessons(&agent).len(), 2);
    drop((agent, key));

    // A press that cannot do what it says is answered on the page.
    let folder = Folder::new().unwrap();
    let device = folder.make("input").unwrap().join("lectern-key");
    room.sources =
        format!("[[source]]\nname = \"card\"\nkind = \"test\"\n[key]\non = true\ndevice = {device:?}\n");
    room.recording += "reserve_minutes = 1440\nmax_kbps = 20000\n";
    let programs = lectern_tests::programs::Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, &room, &hub, &password).unwrap();
    let mut key = Key::plug(&folder.path().join("input"), "lectern-key").unwrap();
    wait_for_key(&agent, true);
    key.press(30).unwrap();
    wait_for(&agent, "a refusal", |status| status["key"]["refusal"]["code"] == "no_space");
    assert!(lessons(&agent).is_empty());
}
