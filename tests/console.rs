//! The hub's console: a technician in a real browser, and the bytes behind the pages.
//!
//! Pictures of every page, as wide as a desk and as a phone, are left in `target/pictures`, to be looked at.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::path::Path;
use std::time::Duration;

use lectern_base::clock;
use lectern_tests::browser::pictures;
use lectern_tests::{Agent, Browser, Console, Folder, Hub, Room, School};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);
const WORDS: [&str; 10] = [
    "--class",
    "五年级2班",
    "--subject",
    "语文",
    "--topic",
    "草船借箭",
    "--teacher",
    "张老师",
    "--period",
    "第3节",
];

fn school() -> School {
    School::start(&Room::card()).unwrap()
}

fn start(agent: &Agent) {
    let (answer, code) = agent.lectern(&[&["record", "start"], &WORDS[..]].concat()).unwrap();
    assert_eq!(code, 0, "{answer}");
}

fn stop(agent: &Agent) -> String {
    agent.press("stop").unwrap();
    let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
    status["lesson"]["id"].as_str().unwrap().to_owned()
}

fn record(agent: &Agent, ms: u64) -> String {
    start(agent);
    agent.wait_for_media(ms, PATIENCE).unwrap();
    stop(agent)
}

/// A lesson whose recorder is killed in the middle.
fn record_two_takes(agent: &Agent, folder: &Folder) -> String {
    start(agent);
    agent.wait_for_media(6000, PATIENCE).unwrap();
    agent.lose_recorder(folder, 5000, PATIENCE).unwrap();
    stop(agent)
}

/// Changes one byte in the middle of a file; gives what was there.
fn damage(file: &Path) -> Vec<u8> {
    let good = std::fs::read(file).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(file, bad).unwrap();
    good
}

#[tokio::test]
async fn without_the_password_nothing_is_shown_and_nothing_is_done() {
    let School { hub, agent, folder: _folder } = school();
    let lesson = record(&agent, 2000);
    let stranger = Console::stranger(&hub).unwrap();
    let paths = [
        "/",
        "/rooms/room-301",
        "/lessons",
        &format!("/lessons/{lesson}"),
        &format!("/lessons/{lesson}/index.m3u8"),
        &format!("/lessons/{lesson}/takes/1.mp4"),
        &format!("/lessons/{lesson}/takes/1.mp4?download=1"),
        &format!("/lessons/{lesson}/manifest.json"),
        &format!("/lessons/{lesson}/receipt.json"),
        "/devices",
    ];
    for path in paths {
        let answer = stranger.get(path).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{path}");
        let to = Console::leads_to(&answer).unwrap();
        assert!(to.starts_with("/login?next="), "{path} leads to {to}");
        assert!(answer.bytes().await.unwrap().is_empty(), "{path} gives something away");
        // A cookie that is nobody's is no cookie.
        let forged = stranger.request(Method::GET, path).header("cookie", "lectern=0123456789abcdef");
        assert_eq!(forged.send().await.unwrap().status(), StatusCode::SEE_OTHER, "{path}");
    }
    for path in ["/rooms.part", "/rooms/room-301/charts.part", "/lessons.part", "/live"] {
        assert_eq!(stranger.get(path).await.unwrap().status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    let verify = format!("/lessons/{lesson}/verify");
    for path in [verify.as_str(), "/devices", "/devices/room-301/password"] {
        let form = [("school", "s"), ("device", "d"), ("room", "r")];
        let answer = stranger.post(path, &form).await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(
        record(&agent, 1000),
        agent.status().unwrap()["lesson"]["id"],
        "the room's account still holds"
    );

    let admin = Console::admin(&hub).await.unwrap();
    admin.page("/").await.unwrap();
    assert_eq!(admin.post("/logout", &[]).await.unwrap().status(), StatusCode::SEE_OTHER);
    assert_eq!(admin.get("/").await.unwrap().status(), StatusCode::SEE_OTHER, "the old cookie is dead");
}

#[tokio::test]
async fn what_is_downloaded_is_what_was_recorded_whole_or_in_ranges() {
    let School { hub, agent, folder: _folder } = school();
    let lesson = record(&agent, 4000);
    let console = Console::admin(&hub).await.unwrap();
    let path = format!("/lessons/{lesson}/takes/1.mp4");
    let stored = std::fs::read(hub.lesson_folder(&lesson).join("take-1.mp4")).unwrap();
    let answer = console.get(&format!("{path}?download=1")).await.unwrap();
    let name = answer.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert!(name.starts_with("attachment; filename*=UTF-8''") && name.ends_with(".mp4"), "{name}");
    assert_eq!(answer.headers()["content-length"].to_str().unwrap(), stored.len().to_string());
    assert_eq!(answer.bytes().await.unwrap(), stored);
    let at_the_room = agent.data.join("lessons").join(&lesson).join("take-1.mp4");
    assert_eq!(std::fs::read(at_the_room).unwrap(), stored);

    let size = stored.len();
    for (range, want) in [
        ("bytes=0-0", 0..1),
        ("bytes=100-4195", 100..4196),
        (&format!("bytes={}-", size - 7), size - 7..size),
        ("bytes=-1000", size - 1000..size),
        (&format!("bytes=5-{}", size * 2), 5..size),
    ] {
        let request = console.request(Method::GET, &path).header("range", range);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        let told = answer.headers()["content-range"].to_str().unwrap().to_owned();
        assert_eq!(told, format!("bytes {}-{}/{size}", want.start, want.end - 1));
        assert_eq!(answer.bytes().await.unwrap(), stored[want], "{range}");
    }
    let beyond = console.request(Method::GET, &path).header("range", format!("bytes={size}-"));
    assert_eq!(beyond.send().await.unwrap().status(), StatusCode::RANGE_NOT_SATISFIABLE);
    for (range, what) in [("bytes=9-2", "backwards"), ("lines=0-1", "no bytes"), ("bytes=x-y", "no numbers")]
    {
        let answer = console.request(Method::GET, &path).header("range", range).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{what}: such a range is as none (RFC 9110)");
    }

    // The two documents are those that lie beside the takes.
    for document in ["manifest.json", "receipt.json"] {
        let told =
            console.get(&format!("/lessons/{lesson}/{document}")).await.unwrap().bytes().await.unwrap();
        assert_eq!(told, std::fs::read(hub.lesson_folder(&lesson).join(document)).unwrap(), "{document}");
    }
    let page = console.page(&format!("/lessons/{lesson}")).await.unwrap();
    assert!(page.contains("下载</span>"), "who downloaded is shown");
}

/// A browser that keeps pictures.
struct Eyes {
    browser: Browser,
}

impl Eyes {
    /// A picture as wide as a desk and one as a phone; nothing may stick out of the phone's screen.
    async fn look(&self, name: &str) {
        let folder = pictures().unwrap();
        for (width, tail) in [(390, "-phone"), (1440, "")] {
            // As high as the page, so that the picture shows all of it.
            self.browser.set_window(width, 844).await.unwrap();
            let root = "document.documentElement";
            let height = self.ask(&format!("{root}.scrollHeight")).await.as_u64().unwrap();
            self.browser.set_window(width, u32::try_from(height).unwrap()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
            let file = folder.join(format!("console-{name}{tail}.png"));
            self.browser.screenshot(&file).await.unwrap();
            let wide = self.ask(&format!("{root}.scrollWidth - {root}.clientWidth")).await;
            assert_eq!(wide, json!(0), "{name} sticks out of a window {width} wide");
        }
    }

    async fn ask(&self, question: &str) -> Value {
        self.browser.run(&format!("return {question}")).await.unwrap()
    }

    /// Waits until the page says yes.
    async fn until(&self, question: &str) {
        let give_up = clock::mono() + PATIENCE;
        while self.ask(question).await != json!(true) {
            if clock::mono() > give_up {
                let video = "(v => v && [v.currentTime, v.readyState, v.paused, v.error && v.error.message])\
                             (document.querySelector('video'))";
                panic!("never true: {question}; the player: {}", self.ask(video).await);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Seeks to a second and waits until it plays on from there, with pictures.
    async fn seek(&self, second: f64) {
        let before = self.ask("video_frames()").await.as_u64().unwrap();
        self.browser.run(&format!("player.currentTime = {second}")).await.unwrap();
        self.until("!player.seeking && player.readyState >= 3").await;
        self.until(&format!("player.currentTime > {second} + 1 && player.currentTime < {second} + 20")).await;
        self.until(&format!("video_frames() > {before}")).await;
    }
}

/// Short names for the player, for the questions above.
const NAMES: &str = "window.player = document.querySelector('#player');\
    window.video_frames = () => player.getVideoPlaybackQuality().totalVideoFrames;\
    window.bright = () => { const c = document.createElement('canvas'); c.width = 64; c.height = 36;\
        const g = c.getContext('2d'); g.drawImage(player, 0, 0, 64, 36);\
        const p = g.getImageData(0, 0, 64, 36).data; let most = 0, least = 255;\
        for (let i = 0; i < p.length; i += 4) { most = Math.max(most, p[i]); least = Math.min(least, p[i]); }\
        return most - least; };";

#[tokio::test]
async fn a_technician_follows_a_room_and_watches_its_lessons() {
    let School { hub, agent, folder } = school();
    let eyes = Eyes { browser: Browser::start(&folder, "technician").await.unwrap() };
    let browser = &eyes.browser;

    browser.open(&format!("{}/lessons", hub.url())).await.unwrap();
    browser.wait_text("main", "管理员密码", PATIENCE).await.unwrap();
    log_in(browser, "not the password").await;
    browser.wait_text(".fault", "密码不对，请再试一次。", PATIENCE).await.unwrap();
    eyes.look("login").await;
    log_in(browser, &hub.admin_password).await;
    browser.wait_text("h1", "录课", PATIENCE).await.unwrap();
    assert_eq!(eyes.ask("location.pathname").await, json!("/lessons"), "back to where one was going");
    eyes.look("lessons-none").await;

    // 总览 follows the room without being loaded again.
    browser.open(&hub.url()).await.unwrap();
    browser.wait_text(".room .state", "在线", PATIENCE).await.unwrap();
    browser.run("window.loaded_once = true").await.unwrap();
    eyes.look("rooms").await;
    start(&agent);
    browser.wait_text(".room .recording", "正在录课", PATIENCE).await.unwrap();
    browser.wait_text(".tally .rec", "1 正在录课", PATIENCE).await.unwrap();
    eyes.look("rooms-recording").await;
    agent.press("pause").unwrap();
    browser.wait_text(".room .recording", "已暂停", PATIENCE).await.unwrap();
    agent.press("resume").unwrap();
    browser.wait_text(".room .recording", "正在录课", PATIENCE).await.unwrap();
    agent.wait_for_media(12_000, PATIENCE).unwrap();
    let first = stop(&agent);
    eyes.until("document.querySelector('.room .recording') === null").await;
    assert_eq!(eyes.ask("window.loaded_once").await, json!(true), "the page was loaded again");

    let second = record_two_takes(&agent, &folder);
    room_page(&eyes, &hub).await;

    browser.open(&format!("{}/lessons", hub.url())).await.unwrap();
    assert_eq!(eyes.ask("document.querySelectorAll('.lessons tbody tr').length").await, json!(2));
    let row = browser.text(".lessons tbody tr").await.unwrap();
    for word in ["五年级2班 · 语文", "草船借箭", "张老师", "301教室", "已存入"] {
        assert!(row.contains(word), "{word} is missing in {row}");
    }
    eyes.look("lessons").await;

    watch(&eyes, &hub, &first).await;
    watch_across_takes(&eyes, &hub, &second).await;
    verify(&eyes, &hub, &second).await;
    browser.open(&format!("{}/devices", hub.url())).await.unwrap();
    eyes.look("devices").await;
    eyes.browser.close().await.unwrap();
}

async fn log_in(browser: &Browser, password: &str) {
    let field = browser.client().find(fantoccini::Locator::Css("#password")).await.unwrap();
    field.send_keys(password).await.unwrap();
    browser.click("main form button").await.unwrap();
}

/// The charts draw what was measured, in words people understand.
async fn room_page(eyes: &Eyes, hub: &Hub) {
    eyes.browser.open(&format!("{}/rooms/room-301", hub.url())).await.unwrap();
    let charts = eyes.ask("[...document.querySelectorAll('svg.chart')].map(c => c.ariaLabel)").await;
    for name in ["处理器", "内存", "磁盘已用", "网络"] {
        let drawn =
            format!("document.querySelector('svg.chart[aria-label=\"{name}\"] path').getAttribute('d')");
        let drawn = eyes.ask(&drawn).await;
        assert!(drawn.as_str().is_some_and(|d| d.contains('M')), "{name}: {drawn}, among {charts}");
    }
    let now = eyes.browser.text(".charts").await.unwrap();
    for name in ["开机时间", "内存", "磁盘剩余", "采集程序占用"] {
        assert!(now.contains(name), "{name} is missing in {now}");
    }
    let events = eyes.browser.text(".events").await.unwrap();
    assert!(events.contains("已存入") && events.contains("录好了"), "{events}");
    for word in ["started", "ended", "interrupted", "sealed", "stored"] {
        assert!(!events.contains(word), "people do not say {word:?}: {events}");
    }
    eyes.look("room").await;
}

/// One take: play, seek, and only ranges of it were fetched.
async fn watch(eyes: &Eyes, hub: &Hub, lesson: &str) {
    eyes.browser.open(&format!("{}/lessons/{lesson}", hub.url())).await.unwrap();
    eyes.look("lesson").await;
    eyes.browser.run(NAMES).await.unwrap();
    assert_eq!(eyes.ask("player.currentSrc").await, json!(""), "opening the page is not watching");
    eyes.browser.click("#player-start").await.unwrap();
    eyes.until("player.currentTime > 1 && !player.paused && video_frames() > 10").await;
    assert!(eyes.ask("bright()").await.as_u64().unwrap() > 50, "the picture is one grey");
    let length = eyes.ask("player.duration").await.as_f64().unwrap();
    let manifest = std::fs::read(hub.lesson_folder(lesson).join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let recorded = manifest["document"]["takes"][0]["duration_ms"].as_f64().unwrap() / 1000.0;
    assert!(length >= 12.0 && (length - recorded).abs() < 0.5, "{length} s of {recorded} s");
    eyes.seek(8.0).await;
    eyes.look("lesson-playing").await;
    // Taking the pictures may last longer than the lesson does; a player that came to the end stands still.
    eyes.browser.run("if (player.ended) player.play()").await.unwrap();
    eyes.browser.run("document.querySelector('[data-rate=\"2\"]').click()").await.unwrap();
    assert_eq!(eyes.ask("player.playbackRate").await, json!(2));
    eyes.seek(2.0).await;
    eyes.until("player.ended || player.currentTime > player.duration - 0.5").await;

    let fetched = "performance.getEntriesByType('resource').filter(e => e.name.includes('/takes/'))\
                   .map(e => [e.responseStatus, e.encodedBodySize])";
    let fetched = eyes.ask(fetched).await;
    let fetched = fetched.as_array().unwrap();
    let size = std::fs::metadata(hub.lesson_folder(lesson).join("take-1.mp4")).unwrap().len();
    assert!(fetched.len() > 3, "{fetched:?}");
    for entry in fetched {
        assert_eq!(entry[0], json!(206), "a whole take was fetched: {fetched:?}");
        assert!(entry[1].as_u64().unwrap() < size, "{fetched:?}");
    }
    assert_eq!(eyes.ask("document.querySelector('#player-fault').hidden").await, json!(true));
}

/// Two takes are one lesson to whoever watches.
async fn watch_across_takes(eyes: &Eyes, hub: &Hub, lesson: &str) {
    let manifest = std::fs::read(hub.lesson_folder(lesson).join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let lengths = manifest["document"]["takes"].as_array().unwrap().iter();
    let lengths: Vec<f64> = lengths.map(|t| t["duration_ms"].as_f64().unwrap() / 1000.0).collect();
    assert_eq!(lengths.len(), 2, "{manifest}");
    eyes.browser.open(&format!("{}/lessons/{lesson}", hub.url())).await.unwrap();
    eyes.browser.run(NAMES).await.unwrap();
    eyes.browser.click("#player-start").await.unwrap();
    eyes.until("player.currentTime > 0.5").await;
    let page = eyes.browser.text("main").await.unwrap();
    assert!(page.contains("中断：录课程序意外停止") && page.contains("有停顿"), "{page}");
    let length = eyes.ask("player.duration").await.as_f64().unwrap();
    assert!((length - lengths.iter().sum::<f64>()).abs() < 0.5, "{length} s shown of {lengths:?}");
    // Over the border by itself, far beyond it, and back before it.
    let border = lengths[0];
    eyes.seek(border - 1.5).await;
    eyes.until(&format!("player.currentTime > {border} + 1 && !player.paused")).await;
    assert!(eyes.ask("bright()").await.as_u64().unwrap() > 50, "no picture after the border");
    eyes.seek(border + 2.0).await;
    eyes.seek(1.0).await;
    eyes.look("lesson-two-takes").await;
}

/// 核验 reads the bytes that are there, and names what is wrong with them.
async fn verify(eyes: &Eyes, hub: &Hub, lesson: &str) {
    let browser = &eyes.browser;
    browser.open(&format!("{}/lessons/{lesson}", hub.url())).await.unwrap();
    browser.click("#proof form button").await.unwrap();
    browser.wait_text("#proof .verdict", "完整，没有改动", PATIENCE).await.unwrap();
    eyes.look("lesson-verified").await;
    let take = hub.lesson_folder(lesson).join("take-2.mp4");
    let good = damage(&take);
    browser.click("#proof form button").await.unwrap();
    browser.wait_text("#proof .verdict", "和录制时不一致", PATIENCE).await.unwrap();
    let fault = browser.text("#proof .faults").await.unwrap();
    assert!(fault.contains("第 2 段 00:00–00:") && fault.contains("被改动（分片 0）"), "{fault}");
    eyes.look("lesson-altered").await;
    browser.open(&format!("{}/lessons", hub.url())).await.unwrap();
    browser.wait_text(".lessons", "有改动", PATIENCE).await.unwrap();
    std::fs::write(&take, &good).unwrap();
    browser.open(&format!("{}/lessons/{lesson}", hub.url())).await.unwrap();
    browser.click("#proof form button").await.unwrap();
    browser.wait_text("#proof .verdict", "完整，没有改动", PATIENCE).await.unwrap();
}
