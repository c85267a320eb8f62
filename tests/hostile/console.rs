//! The console's addresses and forms.

use lectern_tests::school::{DEVICE, SCHOOL};
use reqwest::{Method, StatusCode};

use super::{garbage, line, status_of};

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_the_consoles_forms_and_addresses_is_refused() {
    let mut line = line().await;
    let lesson = line.record();
    let console = &line.console;
    for path in [
        "/rooms/nobody",
        "/rooms/..%2f..%2f",
        "/rooms/%ff",
        "/rooms/nobody/charts.part",
        "/lessons/nobody",
        "/lessons/nobody/index.m3u8",
        "/lessons/..%2fhub.db/manifest.json",
        "/assets/..%2fhub.key",
        "/nothing",
        &format!("/lessons/{lesson}/takes/0.mp4"),
        &format!("/lessons/{lesson}/takes/..%2f1.mp4"),
        &format!("/lessons/{lesson}/takes/1.mp4.partial"),
        &format!("/lessons/{lesson}/takes/99999999999.mp4"),
    ] {
        let status = console.get(path).await.unwrap().status();
        assert!(status.is_client_error(), "{path}: {status}");
    }
    for path in [
        "/lessons?page=-1&state=x&q=%25%27%22%00",
        "/lessons?page=4294967295",
        "/rooms/room-301?span=century",
        "/lessons.part?q=%ff%fe&q=2",
        "/login?next=//evil.example",
        "/repairs?show=x&room=..%2f..%2fetc&page=-1",
        "/repairs.part?show=%ff&page=4294967295",
    ] {
        let status = console.get(path).await.unwrap().status();
        assert!(status == StatusCode::OK || status.is_client_error(), "{path}: {status}");
    }
    let long = "长".repeat(41);
    for (school, device, room) in [
        ("", "", ""),
        (SCHOOL, "../x", "x"),
        (SCHOOL, "ok", &long),
        (SCHOOL, "ok", "a\nb"),
        ("A", "ok", "x"),
        (SCHOOL, DEVICE, "taken"),
        (SCHOOL, "+", "x"),
        (SCHOOL, "#", "x"),
    ] {
        let form = [("school", school), ("device", device), ("room", room)];
        let answer = console.post("/devices", &form).await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{form:?}");
    }
    let script = [("school", SCHOOL), ("device", "scripted"), ("room", "<script>alert(1)</script>")];
    assert_eq!(console.post("/devices", &script).await.unwrap().status(), StatusCode::OK);
    assert!(!console.page("/").await.unwrap().contains("<script>alert"), "names are shown, never run");
    for body in garbage() {
        for (path, kind) in
            [("/devices", "application/x-www-form-urlencoded"), ("/devices", "application/json")]
        {
            let request = console.request(Method::POST, path).header("content-type", kind);
            let status = status_of(request, body.clone()).await;
            assert!(status.is_client_error(), "{path} {kind}: {status}");
        }
    }
    for body in garbage() {
        let request = console.request(Method::POST, "/repairs/nobody/..%2f..");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let status = status_of(request, body).await;
        assert!(status.is_client_error(), "{status}");
    }
    for (path, form) in [("/devices/nobody/password", []), ("/lessons/nobody/verify", [])] {
        assert_eq!(console.post(path, &form).await.unwrap().status(), StatusCode::NOT_FOUND, "{path}");
    }
    for (name, value) in
        [("origin", "http://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")]
    {
        let request = console.request(Method::POST, "/devices/room-301/password").header(name, value);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::FORBIDDEN, "{name}: {value}");
    }
    for method in [Method::DELETE, Method::PUT, Method::PATCH, Method::from_bytes(b"BREW").unwrap()] {
        let status = console.request(method.clone(), "/devices").send().await.unwrap().status();
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    // Last: who guesses must wait, and whoever is inside stays inside.
    let guesses =
        [b"password=x".to_vec()].into_iter().chain(garbage()).chain(vec![b"password=y".to_vec(); 12]);
    let mut last = StatusCode::OK;
    for body in guesses {
        let request = console.request(Method::POST, "/login");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        last = status_of(request, body).await;
        assert!(last.is_client_error(), "{last}");
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
    line.all_is_well(&[&lesson]).await;
}
