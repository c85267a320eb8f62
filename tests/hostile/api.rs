//! The upload API and the bytes below it.

use lectern_tests::school::DEVICE;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{OTHER, PATIENCE, garbage, line, status_of};

/// A caller of the upload API.
struct Caller<'a> {
    http: Client,
    url: String,
    login: Option<(&'a str, &'a str)>,
}

impl Caller<'_> {
    async fn ask(&self, method: Method, path: &str, body: impl Into<Vec<u8>>) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).body(body.into());
        if let Some((id, password)) = self.login {
            request = request.basic_auth(id, Some(password));
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap_or_default())
    }

    /// Asks, and must be refused with a code and a sentence.
    async fn refused(&self, method: Method, path: &str, body: impl Into<Vec<u8>>) -> StatusCode {
        let (status, answer) = self.ask(method.clone(), path, body).await;
        assert!(status.is_client_error(), "{method} {path}: {status} {answer}");
        let sentence = answer["message"].as_str().unwrap_or_default();
        assert!(
            answer["code"].is_string() && sentence.len() > 10,
            "{method} {path}: {status} without a word: {answer}"
        );
        status
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_strangers_at_the_upload_api_are_refused() {
    let mut line = line().await;
    let lesson = line.record();
    let http = Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    let url = line.hub.url();
    let caller = |login| Caller { http: http.clone(), url: url.clone(), login };
    let key = caller(None).ask(Method::GET, "/api/v1/hub", "").await.1["key"].clone();
    let announce =
        |id: &str, at: i64| json!({ "lesson_id": id, "started_wall_ms": at, "key": key }).to_string();
    let part = json!({ "n": 0, "size": 3, "sha256": "0".repeat(64) }).to_string();
    let of = |id: &str| {
        let tails = [
            ("", Method::GET),
            ("", Method::DELETE),
            ("/takes/1/parts:grant", Method::POST),
            ("/seal", Method::POST),
        ];
        tails.map(|(tail, method)| (method, format!("/api/v1/lessons/{id}{tail}")))
    };

    // Who is not known, or not who it says.
    let nobody =
        [None, Some((DEVICE, "")), Some((DEVICE, line.password.as_str())), Some(("' OR 1=1 --", "x"))];
    for login in nobody {
        let caller = caller(login);
        let status = caller.refused(Method::POST, "/api/v1/lessons", announce("l1", 1)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        for (method, path) in of(&lesson) {
            assert_eq!(caller.refused(method, &path, part.clone()).await, StatusCode::UNAUTHORIZED);
        }
    }
    for header in ["Basic", "Basic !!!", "Basic bm9jb2xvbg==", "Basic //86//8=", "Bearer x", "\u{7f}x"] {
        let request = http.get(format!("{url}/api/v1/lessons/{lesson}"));
        let Ok(value) = reqwest::header::HeaderValue::from_bytes(header.as_bytes()) else { continue };
        let answer = request.header("authorization", value).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{header}");
    }

    // A known device, at a lesson that is not its own.
    let other = caller(Some((OTHER, line.password.as_str())));
    let status = other.refused(Method::POST, "/api/v1/lessons", announce(&lesson, 1)).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let manifest = std::fs::read(line.hub.lesson_folder(&lesson).join("manifest.json")).unwrap();
    for (method, path) in of(&lesson) {
        let body = if path.ends_with("seal") { manifest.clone() } else { part.clone().into_bytes() };
        assert_eq!(other.refused(method, &path, body).await, StatusCode::FORBIDDEN);
    }

    // At its own: garbage in every field, and times no clock ever showed.
    for (id, at) in [("mine", 1_789_180_200_000), ("first", i64::MIN), ("last", i64::MAX)] {
        let (status, answer) = other.ask(Method::POST, "/api/v1/lessons", announce(id, at)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        line.console.page(&format!("/lessons/{id}")).await.unwrap();
    }
    for body in garbage() {
        for path in ["", "/mine/takes/1/parts:grant", "/mine/seal"] {
            let request = http.post(format!("{url}/api/v1/lessons{path}"));
            let request = request.basic_auth(OTHER, Some(&line.password));
            let status = status_of(request, body.clone()).await;
            assert!(status.is_client_error(), "{path}: {status}");
        }
    }
    let names = ["../../x", "", "A", "长", &"x".repeat(200), "a/b", "-a", ".", "a\u{0}"];
    for name in names {
        other.refused(Method::POST, "/api/v1/lessons", announce(name, 1)).await;
    }
    for path in ["..%2f..%2fetc%2fpasswd", "%00", "%ff", "%", &"x".repeat(5000), "nobodys"] {
        for (method, path) in of(path) {
            let (status, answer) = other.ask(method, &path, part.clone()).await;
            assert!(status.is_client_error(), "{path}: {status} {answer}");
        }
    }
    for take in ["0", "-1", "x", "4294967296", "99999999999999999999", "1.5"] {
        other
            .refused(Method::POST, &format!("/api/v1/lessons/mine/takes/{take}/parts:grant"), part.clone())
            .await;
    }
    for wish in [
        json!({"n": -1, "size": 3, "sha256": "0"}),
        json!({"n": 0, "size": 0, "sha256": "0".repeat(64)}),
        json!({"n": 0, "size": u64::MAX, "sha256": "0".repeat(64)}),
        json!({"n": u32::MAX, "size": 3, "sha256": "0".repeat(64)}),
    ] {
        other.refused(Method::POST, "/api/v1/lessons/mine/takes/1/parts:grant", wish.to_string()).await;
    }
    for (method, path) in [
        (Method::DELETE, "/api/v1/lessons"),
        (Method::DELETE, "/api/v1/lessons/mine/seal"),
        (Method::GET, "/api/v1/nothing"),
        (Method::PUT, "/store/v1/x"),
    ] {
        other.refused(method, path, "").await;
    }

    // A grant carries only its own bytes to its own place.
    let (status, grant) =
        other.ask(Method::POST, "/api/v1/lessons/mine/takes/1/parts:grant", part.clone()).await;
    assert_eq!(status, StatusCode::OK, "{grant}");
    let granted = grant["url"].as_str().unwrap().to_owned();
    for body in [&b""[..], b"ab", b"abc", b"abcd", &[7; 9000]] {
        other.refused(Method::PUT, &granted, body).await;
    }
    let elsewhere = [
        granted.replace("/mine/1/0", &format!("/{lesson}/1/0")),
        granted.replace("/mine/1/0", "/mine/1/1"),
        granted.replace("/mine/1/0", "/mine/../../1/0"),
        granted.replace("size=3", "size=4"),
        granted.replace("expires=", "expires=9"),
        granted.replace("sig=", "sig=00"),
        "/store/v1/parts/mine/1/0".to_owned(),
        "/store/v1/parts/mine/1/0?size=x&sha256=y&expires=z&sig=".to_owned(),
    ];
    for path in elsewhere {
        other.refused(Method::PUT, &path, "abc").await;
    }
    // What was thrown away takes nothing in, however often it is tried.
    for _ in 0..2 {
        let (status, answer) = other.ask(Method::DELETE, "/api/v1/lessons/mine", vec![7; 9000]).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
        assert_eq!(other.refused(Method::PUT, &granted, "abc").await, StatusCode::GONE);
        let status = other.refused(Method::POST, "/api/v1/lessons", announce("mine", 1)).await;
        assert_eq!(status, StatusCode::GONE);
    }
    raw_garbage_at_the_http_port(line.hub.http).await;
    line.all_is_well(&[&lesson]).await;
}

/// Bytes that are no HTTP: answered with 4xx or with a hang-up.
async fn raw_garbage_at_the_http_port(port: u16) {
    let long = format!("GET / HTTP/1.1\r\n{}\r\n\r\n", "x: y\r\n".repeat(50_000));
    for bytes in [
        &b"\x00\xff\x16\x03\x01"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /%zz HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /login HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /login HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        long.as_bytes(),
    ] {
        let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        socket.write_all(bytes).await.ok();
        socket.shutdown().await.ok();
        let mut said = Vec::new();
        tokio::time::timeout(PATIENCE, socket.read_to_end(&mut said)).await.unwrap().ok();
        let said = String::from_utf8_lossy(&said);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    }
}
