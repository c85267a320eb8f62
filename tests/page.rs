//! The teacher's page in a real browser.
//!
//! Pictures of every state are left in `target/pictures`, to be looked at.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::path::PathBuf;
use std::time::Duration;

use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Browser, Folder, Hub, Room};
use reqwest::StatusCode;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(120);

fn pictures() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let folder = exe.ancestors().nth(3).unwrap().join("pictures");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[tokio::test]
async fn a_teacher_presses_twice_pauses_goes_on_and_sees_it_stored() {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password).unwrap();
    let pictures = pictures();
    let browser = Browser::start(&folder, "teacher").await.unwrap();
    browser.open(&agent.page().unwrap()).await.unwrap();
    browser.wait_text("#big", "可以录课", PATIENCE).await.unwrap();
    browser.screenshot(&pictures.join("page-idle.png")).await.unwrap();

    // Twice, as quickly as a script can: the second press meets the button or its successor.
    let twice = "const b = document.querySelector('#do-start'); b.click(); b.disabled = false; b.click();";
    browser.run(twice).await.unwrap();
    browser.wait_text("#big", "正在录课", PATIENCE).await.unwrap();
    agent.wait_for_media(3000, PATIENCE).unwrap();
    let there = "return document.querySelector('#preview').classList.contains('there')";
    let mut seen = false;
    for _ in 0..600 {
        seen = browser.run(there).await.unwrap() == json!(true);
        if seen {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(seen, "no preview came while the page was open");
    browser.screenshot(&pictures.join("page-recording.png")).await.unwrap();
    browser.set_window(390, 844).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    browser.screenshot(&pictures.join("page-recording-phone.png")).await.unwrap();
    let wide = browser
        .run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        .await;
    assert_eq!(wide.unwrap(), json!(0), "nothing sticks out of a phone's screen");
    browser.set_window(1920, 1080).await.unwrap();

    browser.click("#do-pause").await.unwrap();
    browser.wait_text("#big", "已暂停", PATIENCE).await.unwrap();
    browser.screenshot(&pictures.join("page-paused.png")).await.unwrap();
    browser.click("#language").await.unwrap();
    browser.wait_text("#big", "Paused", PATIENCE).await.unwrap();
    browser.click("#language").await.unwrap();
    // By keyboard: the first button has the focus, or gets it by the tab key.
    browser.run("document.querySelector('#do-resume').focus()").await.unwrap();
    let enter = json!({ "type": "keyDown", "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r" });
    browser.devtools("Input.dispatchKeyEvent", &enter).await.unwrap();
    browser.wait_text("#big", "正在录课", PATIENCE).await.unwrap();

    // No hub now: the page says so and nothing calls itself done.
    browser.click("#do-stop").await.unwrap();
    browser.wait_text("#big", "已存入学校资源库，可以关机", PATIENCE).await.unwrap();
    assert_eq!(browser.text("#lamp").await.unwrap(), "可以关机");
    browser.screenshot(&pictures.join("page-stored.png")).await.unwrap();
    let (list, _) = agent.lectern(&["lessons"]).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1, "two presses, one lesson");
    browser.close().await.unwrap();
}

#[tokio::test]
async fn without_a_hub_the_page_says_kept_here_and_not_safe_yet() {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (mut hub, password) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password).unwrap();
    hub.process.kill();
    let browser = Browser::start(&folder, "teacher").await.unwrap();
    browser.open(&agent.page().unwrap()).await.unwrap();
    browser.click("#do-start").await.unwrap();
    browser.wait_text("#big", "正在录课", PATIENCE).await.unwrap();
    agent.wait_for_media(2000, PATIENCE).unwrap();
    browser.click("#do-stop").await.unwrap();
    browser.wait_text("#big", "网络不通，先存在本机", PATIENCE).await.unwrap();
    assert_eq!(browser.text("#lamp").await.unwrap(), "请先不要关机");
    browser.screenshot(&pictures().join("page-offline.png")).await.unwrap();
    hub.restart(&folder).unwrap();
    browser.wait_text("#big", "已存入学校资源库", Duration::from_secs(120)).await.unwrap();
    browser.close().await.unwrap();
}

#[tokio::test]
async fn other_pages_and_garbage_are_refused_and_everything_goes_on() {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password).unwrap();
    let page = agent.page().unwrap();
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    let start = json!({ "action": "start" }).to_string();
    let post = |headers: &[(&'static str, &'static str)], body: String| {
        let mut request = client.post(format!("{page}api/record")).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body);
        // A body that is too large is refused unread: the line may close before the answer is read.
        async move { request.send().await.map_or(StatusCode::PAYLOAD_TOO_LARGE, |answer| answer.status()) }
    };
    assert_eq!(post(&[], start.clone()).await, StatusCode::FORBIDDEN, "no header of its own");
    assert_eq!(
        post(&[("x-lectern", "1"), ("origin", "http://evil.example")], start.clone()).await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        post(&[("x-lectern", "1"), ("host", "evil.example")], start.clone()).await,
        StatusCode::FORBIDDEN,
        "rebinding"
    );
    assert_eq!(
        post(&[("x-lectern", "1"), ("sec-fetch-site", "cross-site")], start).await,
        StatusCode::FORBIDDEN
    );
    for garbage in [
        "",
        "{",
        "[]",
        "{\"action\":\"fly\"}",
        "{\"action\":\"start\",\"surprise\":1}",
        "\u{0}",
        &"x".repeat(100_000),
    ] {
        let status = post(&[("x-lectern", "1")], garbage.to_owned()).await;
        assert!(status.is_client_error(), "{:?} got {status}", garbage.chars().take(30).collect::<String>());
    }
    let long = json!({ "action": "start", "about": { "topic": "长".repeat(500) } }).to_string();
    assert_eq!(post(&[("x-lectern", "1")], long).await, StatusCode::CONFLICT);
    for path in
        ["api/status?after=x", "api/status?surprise=1", "api/nothing", "../../etc/passwd", "api/record"]
    {
        let status = client.get(format!("{page}{path}")).send().await.unwrap().status();
        assert!(status.is_client_error(), "{path} got {status}");
    }
    let (list, _) = agent.lectern(&["lessons"]).unwrap();
    assert_eq!(list, json!([]), "nothing of all that started a lesson");
    agent.press("start").unwrap();
    agent.wait_for_media(1000, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    agent.wait_for(&["stored"], PATIENCE).unwrap();
}

#[tokio::test]
async fn a_browser_that_is_killed_in_the_middle_of_a_lesson_changes_nothing() {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password).unwrap();
    let mut browser = Browser::start(&folder, "teacher").await.unwrap();
    browser.open(&agent.page().unwrap()).await.unwrap();
    browser.click("#do-start").await.unwrap();
    browser.wait_text("#big", "正在录课", PATIENCE).await.unwrap();
    browser.driver().kill();
    drop(browser);
    let before = agent.status().unwrap()["lesson"]["media_ms"].as_u64().unwrap();
    agent.wait_for_media(before + 3000, PATIENCE).unwrap();
    // Whoever opens the page next finds the same lesson at work, and can end it.
    let browser = Browser::start(&folder, "colleague").await.unwrap();
    browser.open(&agent.page().unwrap()).await.unwrap();
    browser.wait_text("#big", "正在录课", PATIENCE).await.unwrap();
    browser.click("#do-stop").await.unwrap();
    browser.wait_text("#big", "已存入学校资源库", PATIENCE).await.unwrap();
    browser.close().await.unwrap();
    let status = agent.status().unwrap();
    let report = agent.verify(&hub.lesson_folder(status["lesson"]["id"].as_str().unwrap())).unwrap();
    assert!(report["sound"] == true && report["uninterrupted"] == true, "{report:#}");
}
