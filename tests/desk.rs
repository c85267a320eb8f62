//! What comes after a lesson, at the technician's desk: lessons that teachers threw away, what they added, what
//! they reported as broken. A real room records and its teacher says more; then the room's agent is ended and
//! the test speaks in its name, with its key and password, what no agent would say.
//!
//! Pictures of every page are left in `target/pictures`, to be looked at.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::SigningKey;
use lectern_base::clock;
use lectern_tests::browser::pictures;
use lectern_tests::programs::Programs;
use lectern_tests::raw_mqtt::{RawMqtt, publish};
use lectern_tests::school::{DEVICE, SCHOOL};
use lectern_tests::{Agent, Browser, Console, Folder, Hub, Room};
use lectern_wire::afterwards::{Amendment, Submission};
use lectern_wire::digest::Digest;
use lectern_wire::id::LessonId;
use lectern_wire::manifest::About;
use lectern_wire::sign::{Document, Signed};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);
const XSS: &str = "<script>alert(1)</script>";

/// The room's agent after it was ended: its key, its password, its numbers.
struct Ghost {
    key: SigningKey,
    password: String,
    mqtt: u16,
    url: String,
    seq: i64,
}

impl Ghost {
    fn of(hub: &Hub, agent: &mut Agent, password: String) -> Self {
        agent.process.kill();
        let key = std::fs::read_to_string(agent.data.join("device.key")).unwrap();
        let key = BASE64.decode(key.trim()).unwrap();
        let high = "SELECT max(seq) FROM event WHERE device = ?";
        let high: i64 = hub.rows().unwrap().query_row(high, [DEVICE], |row| row.get(0)).unwrap();
        let key = SigningKey::from_bytes(&key.try_into().unwrap());
        Self { key, password, mqtt: hub.mqtt, url: hub.url(), seq: high }
    }

    /// Publishes an event and waits until the hub has it.
    async fn says(&mut self, kind: &str, data: &Value) {
        self.seq += 1;
        let event = json!({ "seq": self.seq, "ts": clock::wall_ms(), "mono_ms": 1, "boot_id": "b",
                            "clock_trusted": true, "data": data });
        let mut line = RawMqtt::device(self.mqtt, DEVICE, &self.password).await.unwrap();
        let topic = format!("lectern/v1/{SCHOOL}/{DEVICE}/e/{kind}");
        line.say(&publish(&topic, event.to_string().as_bytes(), false)).await;
        assert_eq!(line.hear().await, Some((0x40, vec![0, 7])), "{kind} is stored and acknowledged");
    }

    fn signed<T: Document>(&self, document: T) -> Value {
        serde_json::to_value(Signed::sign(document, &self.key).unwrap()).unwrap()
    }

    async fn discard(&self, lesson: &str) -> StatusCode {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = http.request(Method::DELETE, format!("{}/api/v1/lessons/{lesson}", self.url));
        request.basic_auth(DEVICE, Some(&self.password)).send().await.unwrap().status()
    }
}

fn record(agent: &Agent, topic: &str) -> String {
    let words = ["record", "start", "--class", "五年级2班", "--subject", "语文", "--teacher", "张老师"];
    let (answer, code) = agent.lectern(&[&words[..], &["--topic", topic]].concat()).unwrap();
    assert_eq!(code, 0, "{answer}");
    agent.wait_for_media(3000, PATIENCE).unwrap();
    agent.press("stop").unwrap();
    let status = agent.wait_for(&["stored"], PATIENCE).unwrap();
    status["lesson"]["id"].as_str().unwrap().to_owned()
}

/// The hash of a stored lesson's manifest, as its receipt names it.
fn manifest_of(hub: &Hub, lesson: &str) -> Digest {
    let receipt = std::fs::read(hub.lesson_folder(lesson).join("receipt.json")).unwrap();
    let receipt: Value = serde_json::from_slice(&receipt).unwrap();
    receipt["document"]["manifest_sha256"].as_str().unwrap().parse().unwrap()
}

async fn look(browser: &Browser, name: &str) {
    let root = "document.documentElement";
    for (width, tail) in [(390, "-phone"), (1440, "")] {
        browser.set_window(width, 844).await.unwrap();
        let height = browser.run(&format!("return {root}.scrollHeight")).await.unwrap().as_u64().unwrap();
        browser.set_window(width, u32::try_from(height).unwrap()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        browser.screenshot(&pictures().unwrap().join(format!("desk-{name}{tail}.png"))).await.unwrap();
        let wide = browser.run(&format!("return {root}.scrollWidth - {root}.clientWidth")).await.unwrap();
        assert_eq!(wide, json!(0), "{name} sticks out of a window {width} wide");
    }
}

async fn figure(console: &Console, name: &str) -> u64 {
    let text = console.page("/metrics").await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("lectern_hub_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desk_sees_what_was_thrown_away_added_and_reported() {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let mut agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password).unwrap();
    let (kept, thrown) = (record(&agent, "草船借箭"), record(&agent, "录错了的一节"));
    let (manifest, thrown_manifest) = (manifest_of(&hub, &kept), manifest_of(&hub, &thrown));
    let console = Console::admin(&hub).await.unwrap();
    let browser = Browser::start(&folder, "desk").await.unwrap();
    browser.open(&format!("{}/repairs", hub.url())).await.unwrap();
    let field = browser.client().find(fantoccini::Locator::Css("#password")).await.unwrap();
    field.send_keys(&hub.admin_password).await.unwrap();
    browser.click("main form button").await.unwrap();
    browser.wait_text(".empty", "没有等待处理的报修", PATIENCE).await.unwrap();
    look(&browser, "repairs-none").await;

    teacher(&agent, &console, &kept, &thrown).await;
    let mut room = Ghost::of(&hub, &mut agent, password);
    additions(&mut room, &hub, &console, &kept, manifest).await;
    browser.open(&format!("{}/lessons/{kept}", hub.url())).await.unwrap();
    let head = browser.text(".head").await.unwrap();
    for word in [
        "六年级1班 · 数学",
        "圆的面积",
        "课后补充于 20",
        "录课时写的是：五年级2班 · 语文",
        "已提交：微能力2.0 A5、校本自定义、县里的 X1",
    ] {
        assert!(head.contains(word), "{word} is missing in {head}");
    }
    look(&browser, "lesson-amended").await;

    assert_eq!(room.discard(&thrown).await, StatusCode::NO_CONTENT);
    assert_eq!(room.discard(&thrown).await, StatusCode::NO_CONTENT);
    assert_eq!(room.discard("neverheardof").await, StatusCode::NOT_FOUND);
    assert_eq!(hub.lessons(), [kept.as_str()], "its folder is gone");
    browser.open(&format!("{}/lessons", hub.url())).await.unwrap();
    let list = browser.wait_text(".lessons", "圆的面积", PATIENCE).await.unwrap();
    assert!(
        list.contains("圆的面积") && list.contains("课后补充于") && list.contains("已提交：微能力2.0 A5"),
        "{list}"
    );
    assert!(!list.contains("录错了的一节"), "{list}");
    look(&browser, "lessons").await;
    browser.open(&format!("{}/lessons?state=discarded", hub.url())).await.unwrap();
    let list = browser.wait_text(".lessons", "录错了的一节", PATIENCE).await.unwrap();
    assert!(list.contains("录错了的一节") && list.contains("已删除") && !list.contains("圆的面积"), "{list}");
    look(&browser, "lessons-discarded").await;
    browser.open(&format!("{}/lessons/{thrown}", hub.url())).await.unwrap();
    let page = browser.text("main").await.unwrap();
    assert!(page.contains("教师已于 20") && page.contains(&thrown_manifest.to_string()), "{page}");
    let offered = "return document.querySelectorAll('video, main a[href*=takes], main a[href$=json], main form').length";
    assert_eq!(browser.run(offered).await.unwrap(), json!(0), "nothing to play, load or verify");
    look(&browser, "lesson-discarded").await;
    for path in ["index.m3u8", "takes/1.mp4"] {
        let status = console.get(&format!("/lessons/{thrown}/{path}")).await.unwrap().status();
        assert_eq!(status, StatusCode::GONE, "{path}");
    }
    let verify = console.post(&format!("/lessons/{thrown}/verify"), &[]).await.unwrap();
    assert_eq!(verify.status(), StatusCode::GONE);
    assert_eq!(agent.verify(&hub.lesson_folder(&kept)).unwrap()["sound"], true);
    console.post(&format!("/lessons/{kept}/verify"), &[]).await.unwrap();
    let page = console.page(&format!("/lessons/{kept}")).await.unwrap();
    assert!(page.contains("完整，没有改动"), "the other lesson and the log are as they were");

    repairs(&mut room, &hub, &console, &browser).await;
    browser.close().await.unwrap();
}

/// What the teacher says on the room's page after the lesson arrives at the hub.
async fn teacher(agent: &Agent, console: &Console, kept: &str, thrown: &str) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let says = async |path: &str, body: Value| {
        let request = http.post(format!("{}api/{path}", agent.page().unwrap()));
        let answer = request.header("x-lectern", "page").json(&body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path} {body}: {}", answer.text().await.unwrap());
    };
    let lesson = format!("lessons/{kept}");
    let about = json!({ "class": "六年级1班", "subject": "数学", "topic": "圆的周长", "teacher": "张老师" });
    says(&lesson, json!({ "action": "amend", "about": about })).await;
    says(&lesson, json!({ "action": "submit", "scheme": "weinengli2", "point": "A5" })).await;
    says(&format!("lessons/{thrown}"), json!({ "action": "discard" })).await;
    says("repair", json!({ "id": "00000000000000a2", "text": XSS })).await;
    for (path, words) in [
        ("/lessons", &["圆的周长", "已提交：微能力2.0 A5"][..]),
        ("/lessons?state=discarded", &["录错了的一节"]),
        ("/repairs", &["&#60;script&#62;alert(1)", "到中心的网络"]),
    ] {
        let give_up = clock::mono() + PATIENCE;
        loop {
            let page = console.page(path).await.unwrap();
            if words.iter().all(|word| page.contains(word)) {
                break;
            }
            assert!(clock::mono() < give_up, "{words:?} never came to {path}: {page}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A good word, and bad ones that are stored and acknowledged but change nothing.
async fn additions(room: &mut Ghost, hub: &Hub, console: &Console, lesson: &str, manifest: Digest) {
    let about = |topic: &str| About {
        class: "六年级1班".into(),
        subject: "数学".into(),
        topic: topic.into(),
        teacher: "张老师".into(),
        ..About::default()
    };
    let lesson_id = LessonId::new(lesson).unwrap();
    let amendment = |topic: &str| Amendment {
        v: 1,
        lesson_id: lesson_id.clone(),
        manifest_sha256: manifest,
        about: about(topic),
        wall_ms: clock::wall_ms(),
    };
    let submission = |scheme: &str, point: &str| Submission {
        v: 1,
        lesson_id: lesson_id.clone(),
        manifest_sha256: manifest,
        scheme: scheme.into(),
        point: point.into(),
        wall_ms: clock::wall_ms(),
    };
    let malformed = figure(console, "malformed_total").await;
    room.says("amended", &room.signed(amendment("圆的面积"))).await;
    room.says("submitted", &room.signed(submission("xiaoben", ""))).await;
    room.says("submitted", &room.signed(submission("县里的", "X1"))).await;
    assert_eq!(figure(console, "malformed_total").await, malformed);
    let mut forged = room.signed(amendment("圆的面积"));
    forged["document"]["about"]["topic"] = json!("别人写的");
    let elsewhere = Amendment { manifest_sha256: Digest::of(b"x"), ..amendment("别的清单") };
    for bad in [forged, room.signed(elsewhere), json!({}), json!("x")] {
        room.says("amended", &bad).await;
    }
    assert_eq!(figure(console, "malformed_total").await, malformed + 4);
    let high = "SELECT high FROM device WHERE id = ?";
    let high: i64 = hub.rows().unwrap().query_row(high, [DEVICE], |row| row.get(0)).unwrap();
    assert_eq!(high, room.seq, "every number is taken, none is missing");
    let name = console.get(&format!("/lessons/{lesson}/takes/1.mp4?download=1")).await.unwrap();
    let name = name.headers()["content-disposition"].to_str().unwrap().to_owned();
    // 圆的面积, as a download's name is written.
    assert!(name.contains("%E5%9C%86%E7%9A%84%E9%9D%A2%E7%A7%AF"), "{name}");
}

/// 报修 from the room's tap to 已完成.
async fn repairs(room: &mut Ghost, hub: &Hub, console: &Console, browser: &Browser) {
    let findings = json!([
        { "name": "磁盘空间", "good": true, "what": "还有 182 GB" },
        { "name": "话筒", "good": false, "what": "30 秒没有声音，最近一次是今天 10:12" },
        { "name": "中心", "good": true, "what": "已连接，往返 3 毫秒" },
        { "name": XSS, "good": true, "what": XSS },
    ]);
    let microphone = json!({ "id": "00000000000000a1", "text": "话筒没有声音，上课时学生听不见。\n第二排的插座也松了。", "condition": findings });
    room.says("repair", &microphone).await;
    room.says("repair", &microphone).await;
    room.says("repair", &json!({ "id": "00000000000000a3", "text": "", "condition": null })).await;
    room.says("repair", &json!({ "id": "../../hub.key", "text": "", "condition": null })).await;
    assert_eq!(figure(console, "repairs_pending").await, 3);

    browser.open(&hub.url()).await.unwrap();
    browser.wait_text(".room", "报修 3 条未完成", PATIENCE).await.unwrap();
    browser.wait_text(".tally", "3 报修", PATIENCE).await.unwrap();
    look(browser, "rooms").await;
    browser.open(&format!("{}/rooms/{DEVICE}", hub.url())).await.unwrap();
    browser.wait_text(".now", "报修 3 条未完成", PATIENCE).await.unwrap();
    let events = browser.text(".events").await.unwrap();
    assert!(events.contains("话筒没有声音") && !events.contains("condition"), "{events}");
    look(browser, "room").await;
    browser.click(".now a").await.unwrap();
    browser.wait_text("h1", "报修 · 301教室", PATIENCE).await.unwrap();

    let ticket = format!("#t-{DEVICE}-00000000000000a1");
    browser.click(&format!("{ticket} summary")).await.unwrap();
    let text = browser.wait_text(&ticket, "30 秒没有声音", PATIENCE).await.unwrap();
    for word in ["待受理", "第二排的插座也松了", "4 项检查中 1 项有问题：话筒", "30 秒没有声音"]
    {
        assert!(text.contains(word), "{word} is missing in {text}");
    }
    browser.click(&format!("#c-{DEVICE}-00000000000000a2 summary")).await.unwrap();
    look(browser, "repairs").await;
    // Something else changes: what is unfolded stays so, in a page that was not loaded again.
    browser.run("window.loaded_once = true").await.unwrap();
    room.says("repair", &json!({ "id": "00000000000000a4", "text": "投影很暗", "condition": [] })).await;
    browser.wait_text("main", "投影很暗", PATIENCE).await.unwrap();
    let open = format!("return [window.loaded_once, document.querySelector('{ticket} details').open]");
    assert_eq!(browser.run(&open).await.unwrap(), json!([true, true]));
    let scripts = "return document.querySelectorAll('main script').length";
    assert_eq!(browser.run(scripts).await.unwrap(), json!(0), "what people write is shown, never run");

    browser.click(&format!("{ticket} button")).await.unwrap();
    browser.wait_text(&ticket, "处理中", PATIENCE).await.unwrap();
    browser.wait_text(&format!("{ticket} .steps"), "admin 开始处理", PATIENCE).await.unwrap();
    look(browser, "repairs-doing").await;
    browser.click(&format!("{ticket} button")).await.unwrap();
    browser.wait_text("h1", "报修", PATIENCE).await.unwrap();
    let gone = format!("return document.querySelector('{ticket}') === null");
    let give_up = clock::mono() + PATIENCE;
    while browser.run(&gone).await.unwrap() != json!(true) {
        assert!(clock::mono() < give_up, "what is done is among what is not");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    browser.open(&format!("{}/repairs?show=done", hub.url())).await.unwrap();
    browser.wait_text(&ticket, "已完成", PATIENCE).await.unwrap();
    browser.wait_text(&format!("{ticket} .steps"), "admin 标为已完成", PATIENCE).await.unwrap();
    look(browser, "repairs-done").await;
    assert_eq!(figure(console, "repairs_pending").await, 3);

    // The form by itself: strange words, a step too far, nobody's ticket, somebody without a session.
    let path = format!("/repairs/{DEVICE}/00000000000000a2");
    for (form, want) in [
        ("done", StatusCode::CONFLICT),
        ("gone", StatusCode::UNPROCESSABLE_ENTITY),
        ("doing", StatusCode::SEE_OTHER),
        ("doing", StatusCode::SEE_OTHER),
    ] {
        assert_eq!(console.post(&path, &[("state", form)]).await.unwrap().status(), want, "{form}");
    }
    let nobodys = console.post(&format!("/repairs/{DEVICE}/nothing"), &[("state", "doing")]).await.unwrap();
    assert_eq!(nobodys.status(), StatusCode::NOT_FOUND);
    let stranger = Console::stranger(hub).unwrap();
    assert_eq!(stranger.post(&path, &[("state", "doing")]).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(stranger.get("/repairs").await.unwrap().status(), StatusCode::SEE_OTHER);
    let noted = "SELECT count(*) FROM audit WHERE subject LIKE '%a2' AND who = 'admin' AND detail = 'doing'";
    let noted: i64 = hub.rows().unwrap().query_row(noted, [], |row| row.get(0)).unwrap();
    assert_eq!(noted, 1, "pressed twice, noted once");
}
