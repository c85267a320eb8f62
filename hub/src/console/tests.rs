//! The console over real HTTP.

use std::os::unix::fs::FileExt as _;

use lectern_wire::PART_SIZE;
use reqwest::header;

use crate::testkit::{self, TestHub};

/// A browser without a face: keeps its cookie, follows nothing.
struct Browser {
    http: reqwest::Client,
    url: String,
    cookie: String,
}

impl Browser {
    fn new(hub: &TestHub) -> Self {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
        Self { http: http.expect("client"), url: hub.url.clone(), cookie: String::new() }
    }

    async fn login(hub: &TestHub) -> Self {
        let mut browser = Self::new(hub);
        let answer = browser.post("/login", &[("password", &hub.admin), ("next", "/lessons")]).await;
        assert_eq!(answer.headers()[header::LOCATION], "/lessons");
        let cookie = answer.headers()[header::SET_COOKIE].to_str().expect("text").to_owned();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        cookie.split(';').next().expect("a cookie").clone_into(&mut browser.cookie);
        browser
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        self.get_with(path, &[]).await
    }

    async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let mut request = self.http.get(format!("{}{path}", self.url)).header(header::COOKIE, &self.cookie);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("an answer")
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> reqwest::Response {
        let body: Vec<String> = form.iter().map(|(k, v)| format!("{k}={}", escape(v))).collect();
        self.http
            .post(format!("{}{path}", self.url))
            .header(header::COOKIE, &self.cookie)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body.join("&"))
            .send()
            .await
            .expect("an answer")
    }

    async fn text(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.expect("text")
    }
}

fn escape(text: &str) -> String {
    text.bytes().map(|c| format!("%{c:02X}")).collect()
}

#[tokio::test]
async fn nothing_is_shown_without_a_login() {
    let hub = TestHub::start().await;
    hub.device("room-1").whole("l1", &[(3, 1000)]).await;
    let stranger = Browser::new(&hub);
    for path in [
        "/",
        "/rooms/room-1",
        "/lessons",
        "/lessons/l1",
        "/devices",
        "/repairs",
        "/usage",
        "/indicators",
        "/usage/room-1/2026-09-14/x",
        "/usage/export/usage.csv",
        "/indicators/export/indicators.xlsx",
        "/lessons/l1/takes/1.mp4",
        "/lessons/l1/index.m3u8",
        "/lessons/l1/manifest.json",
    ] {
        let answer = stranger.get(path).await;
        assert_eq!(answer.status(), 303, "{path}");
        assert!(
            answer.headers()[header::LOCATION].to_str().expect("text").starts_with("/login?next="),
            "{path}"
        );
    }
    for path in ["/rooms.part", "/live", "/lessons.part", "/repairs.part"] {
        assert_eq!(stranger.get(path).await.status(), 401, "{path}");
    }
    for path in ["/devices", "/lessons/l1/verify", "/devices/room-1/password", "/repairs/room-1/x"] {
        assert_eq!(
            stranger.post(path, &[("school", "s"), ("device", "d"), ("room", "r")]).await.status(),
            401,
            "{path}"
        );
    }
    assert_eq!(stranger.post("/login", &[("password", "wrong")]).await.status(), 401);
    assert_eq!(stranger.text("/healthz").await, "ok\n");
    assert!(
        stranger.text("/metrics").await.contains("lectern_hub_lessons{state=\"stored\"} 1"),
        "this machine may ask"
    );
}

#[tokio::test]
async fn guessing_the_password_is_slowed_down() {
    let hub = TestHub::start().await;
    let stranger = Browser::new(&hub);
    for _ in 0..8 {
        assert_eq!(stranger.post("/login", &[("password", "wrong")]).await.status(), 401);
    }
    assert_eq!(stranger.post("/login", &[("password", &hub.admin)]).await.status(), 429);
}

#[tokio::test]
async fn another_site_cannot_press_the_buttons() {
    let hub = TestHub::start().await;
    let browser = Browser::login(&hub).await;
    for (name, value) in
        [("origin", "http://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")]
    {
        let answer = browser
            .http
            .post(format!("{}/devices/room-1/password", browser.url))
            .header(header::COOKIE, &browser.cookie)
            .header(name, value)
            .send();
        assert_eq!(answer.await.expect("an answer").status(), 403, "{name}: {value}");
    }
    let page = browser.get("/").await;
    let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().expect("text");
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("script-src 'self'"));
}

#[tokio::test]
async fn every_page_opens_and_says_nothing_it_should_not() {
    let hub = TestHub::start().await;
    let room = hub.device("room-1");
    room.whole("l1", &[(4, 1000), (3, 1000)]).await;
    room.announce("l2").await;
    room.announce("l3").await;
    assert_eq!(room.json("DELETE", "/api/v1/lessons/l3", None).await.0, 204);
    let browser = Browser::login(&hub).await;
    let xss = "<script>alert(1)</script>";
    let answer =
        browser.post("/devices", &[("school", "3401000001"), ("device", "room-9"), ("room", xss)]).await;
    assert_eq!(answer.status(), 200);
    let made = answer.text().await.expect("text");
    assert!(made.contains("密码只显示这一次") && !made.contains(xss), "shown once, escaped");
    for path in [
        "/",
        "/rooms.part",
        "/rooms/room-1",
        "/rooms/room-1?span=7d",
        "/rooms/room-9",
        "/rooms/room-1/charts.part?span=24h",
        "/lessons",
        "/lessons?q=%E8%AF%AD%E6%96%87&state=stored",
        "/lessons/l1",
        "/lessons/l2",
        "/lessons?state=discarded",
        "/lessons/l3",
        "/repairs",
        "/repairs?show=all&room=room-1",
        "/usage",
        "/usage?from=2026-09-20&to=2026-09-01&show=none&class=%3Cscript%3E",
        "/usage?from=x",
        "/indicators",
        "/indicators?month=2020-02",
        "/devices",
        "/login",
    ] {
        let page = browser.text(path).await;
        assert!(!page.contains(xss), "{path}");
        assert!(!page.contains(&hub.admin) && !page.contains("pw-room-1"), "{path}");
        for word in ["监控", "监视", "强制", "排名", "！"] {
            assert!(!page.contains(word), "{path} says {word}");
        }
    }
    assert!(browser.text("/lessons?q=%E8%AF%AD%E6%96%87").await.contains("/lessons/l1"));
    assert!(!browser.text("/lessons?q=%E6%95%B0%E5%AD%A6").await.contains("/lessons/l1"));
    for path in
        ["/rooms/nothing", "/lessons/nothing", "/nothing", "/lessons/l1/takes/9.mp4", "/lessons/l1/takes/x"]
    {
        let answer = browser.get(path).await;
        assert_eq!(answer.status(), 404, "{path}");
    }
    assert_eq!(browser.get("/lessons/l2/index.m3u8").await.status(), 409);
    let bad = browser.post("/devices", &[("school", "3401000001"), ("device", "../x"), ("room", "r")]).await;
    assert_eq!(bad.status(), 422);
    assert_eq!(browser.post("/logout", &[]).await.status(), 303);
    assert_eq!(browser.get("/").await.status(), 303, "the session is over");
}

#[tokio::test]
async fn a_lesson_plays_by_byte_ranges_and_every_view_is_noted() {
    let hub = TestHub::start().await;
    hub.device("room-1").whole("l1", &[(4, 1000), (3, 1000)]).await;
    let (_, bytes) = testkit::manifest("l1", &[(4, 1000), (3, 1000)]);
    let browser = Browser::login(&hub).await;
    assert!(browser.text("/lessons/l1").await.contains("还没有人看过"));
    let playlist = browser.text("/lessons/l1/index.m3u8").await;
    assert!(playlist.contains("#EXT-X-BYTERANGE:2000@100") && playlist.contains("#EXT-X-DISCONTINUITY"));

    let part = browser.get_with("/lessons/l1/takes/1.mp4", &[("range", "bytes=100-2099")]).await;
    assert_eq!(part.headers()[header::CONTENT_RANGE], "bytes 100-2099/4100");
    let etag = part.headers()[header::ETAG].to_str().expect("text").to_owned();
    assert_eq!(part.bytes().await.expect("bytes"), &bytes[0][100..2100]);
    let beyond = browser.get_with("/lessons/l1/takes/1.mp4", &[("range", "bytes=4100-")]).await;
    assert_eq!(beyond.status(), 416);
    let known = browser.get_with("/lessons/l1/takes/1.mp4", &[("if-none-match", &etag)]).await;
    assert_eq!(known.status(), 304);
    let stale =
        browser.get_with("/lessons/l1/takes/1.mp4", &[("range", "bytes=0-9"), ("if-range", "\"old\"")]).await;
    assert_eq!(stale.status(), 200);

    let whole = browser.get("/lessons/l1/takes/2.mp4?download=1").await;
    let name = whole.headers()[header::CONTENT_DISPOSITION].to_str().expect("text").to_owned();
    assert!(name.starts_with("attachment; filename*=UTF-8''%") && name.ends_with(".mp4"), "{name}");
    assert_eq!(whole.bytes().await.expect("bytes"), bytes[1]);

    let page = browser.text("/lessons/l1").await;
    assert!(page.contains("播放") && page.contains("下载</span>"));
    let views: i64 = hub.db().query_row("SELECT count(*) FROM view", [], |r| r.get(0)).expect("count");
    assert_eq!(views, 2, "many ranges are one view");
}

#[tokio::test]
async fn a_changed_byte_is_named_with_its_part_and_its_time() {
    let hub = TestHub::start().await;
    hub.device("room-1").whole("l0", &[(2, 1000)]).await;
    // Sixteen seconds in two parts: the second part begins inside the ninth second.
    let shape = [(16, PART_SIZE / 8)];
    hub.device("room-1").whole("l1", &shape).await;
    let browser = Browser::login(&hub).await;
    let verify = async || {
        let answer = browser.post("/lessons/l1/verify", &[]).await;
        assert_eq!(answer.status(), 303);
        browser.text("/lessons/l1").await
    };
    let page = verify().await;
    assert!(page.contains("完整，没有改动") && page.contains("3 个分片"), "{page}");

    let take = hub.lesson_folder("l1").join("take-1.mp4");
    let change = |at: u64| {
        let file = std::fs::File::options().read(true).write(true).open(&take).expect("take");
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("read");
        file.write_all_at(&[byte[0] ^ 1], at).expect("written");
    };
    change(PART_SIZE + 77);
    let page = verify().await;
    assert!(page.contains("第 1 段 00:07–00:16 的数据被改动（分片 1）"), "{page}");
    assert!(browser.text("/lessons").await.contains("有改动"));
    change(PART_SIZE + 77);
    assert!(verify().await.contains("完整，没有改动"));

    for (file, word) in [("manifest.json", "清单不可信"), ("receipt.json", "回执不可信")] {
        let path = hub.lesson_folder("l1").join(file);
        let right = std::fs::read_to_string(&path).expect("document");
        std::fs::write(&path, right.replacen(":1,", ":2,", 1)).expect("changed");
        assert!(verify().await.contains(word), "{file}");
        std::fs::write(&path, right).expect("back");
    }
    std::fs::File::options().write(true).open(&take).and_then(|f| f.set_len(PART_SIZE)).expect("cut");
    assert!(verify().await.contains("数据缺失（分片 1）"));
}

#[tokio::test]
async fn the_live_stream_says_that_something_changed_and_ends_with_the_hub() {
    let hub = TestHub::start().await;
    let browser = Browser::login(&hub).await;
    let mut stream = browser.get("/live").await;
    assert_eq!(stream.status(), 200);
    let first = stream.chunk().await.expect("a chunk").expect("not over");
    assert!(String::from_utf8_lossy(&first).contains("event: change"));
    hub.device("room-1").announce("l1").await;
    let second = stream.chunk().await.expect("a chunk").expect("not over");
    assert!(String::from_utf8_lossy(&second).contains("event: change"));
    hub.stop().await;
    while let Ok(Some(_)) = stream.chunk().await {}
}

#[tokio::test]
async fn a_problem_is_shown_once_with_what_to_do_and_who_has_taken_note() {
    use lectern_wire::alarm::Code;

    let hub = TestHub::start().await;
    let browser = Browser::login(&hub).await;
    assert!(browser.text("/alarms").await.contains("现在没有告警"));
    let device = testkit::topics("room-1").device;
    let now = lectern_base::clock::wall_ms();
    let set = |detail: Option<&'static str>| {
        crate::store::alarms::set(&hub.db(), &device, Code::Hot, detail, now, now).expect("no fault");
    };
    set(Some("91℃<b>"));
    let page = browser.text("/alarms").await;
    for word in ["301教室", "温度高", "91℃&#60;b&#62;", "清理风扇", "未处理", "知道了"] {
        assert!(page.contains(word), "{word} is missing in {page}");
    }
    assert!(browser.text("/").await.contains("/alarms?room=room-1"), "the room shows it too");
    assert!(browser.text("/metrics").await.contains("lectern_hub_alarms{code=\"hot\"} 1"));
    for _ in 0..2 {
        assert_eq!(browser.post("/alarms/1", &[]).await.status(), 303);
    }
    let page = browser.text("/alarms?room=room-1").await;
    assert!(page.contains("已知道") && !page.contains("知道了</button>"), "{page}");
    set(None);
    assert!(browser.text("/alarms").await.contains("现在没有告警"));
    assert!(browser.text("/alarms?show=all").await.contains("已恢复"));
    let stranger = Browser::new(&hub);
    assert_eq!(stranger.get("/alarms").await.status(), 303);
    assert_eq!(stranger.post("/alarms/1", &[]).await.status(), 401);
}

#[tokio::test]
async fn a_reviewer_sees_what_a_lesson_follows_a_hole_before_it_and_what_contradicts_it() {
    let hub = TestHub::start().await;
    let room = hub.device("room-1");
    let shape = [(2, 1000)];
    let (first, _) = room.whole("l1", &shape).await;
    let follow = async |lesson: &str, prev| {
        let (mut manifest, bytes) = testkit::manifest(lesson, &shape);
        manifest.prev = Some(prev);
        assert_eq!(room.announce(lesson).await.0, 200);
        room.send(lesson, &bytes).await;
        let (status, said) = room.seal(&manifest).await;
        assert_eq!(status, 200, "{said}");
    };
    follow("l2", testkit::digest(&first)).await;
    follow("l3", lectern_wire::digest::Digest::of(b"never came")).await;
    let findings = crate::store::findings::add;
    let contradicts = crate::receive::witness::CONTRADICTS;
    findings(&hub.db(), "l3", contradicts, "the first 9 bytes are others", 1).expect("added");
    let browser = Browser::login(&hub).await;
    assert!(browser.text("/lessons/l1").await.contains("这台设备的第一节"));
    let second = browser.text("/lessons/l2").await;
    assert!(second.contains("接着 <a href=\"/lessons/l1\">l1</a>"), "{second}");
    assert!(!second.contains("不一样"));
    let third = browser.text("/lessons/l3").await;
    assert!(third.contains("class=\"caution\" id=\"follows\">这台设备录的上一节没有交到这里"), "{third}");
    assert!(third.contains("录制时签过名的内容和交来的不一样") && third.contains("the first 9 bytes"));
}
