//! The local pages' doors: only their own page opens them.

use lectern_tests::programs::Programs;
use lectern_tests::{Agent, Folder, Hub, Room};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn no_door_of_a_local_page_opens_to_another_page() {
    let folder = Folder::new().unwrap();
    let programs = Programs::find().unwrap();
    let (hub, password) = Hub::start(&folder, &programs).unwrap();
    let agent = Agent::start(&folder, &programs, &Room::card(), &hub, &password).unwrap();
    let fresh = Agent::fresh(&folder, &programs, &Room::card(), "fresh").unwrap();
    let (list, exit) = agent.lectern(&["routes"]).unwrap();
    assert_eq!(exit, 0);
    let http = Client::builder().no_proxy().build().unwrap();
    let ways: [(&str, &[(&str, &str)]); 5] = [
        ("another name", &[("host", "evil.example"), ("x-lectern", "page")]),
        ("this machine's name", &[("host", "10.0.0.5:8471"), ("x-lectern", "page")]),
        ("another page", &[("origin", "http://evil.example"), ("x-lectern", "page")]),
        ("a page nearby", &[("sec-fetch-site", "same-site"), ("x-lectern", "page")]),
        ("a form", &[("content-type", "application/x-www-form-urlencoded")]),
    ];
    let mut tried = 0;
    for (which, agent) in [("page", &agent), ("first", &fresh)] {
        let base = agent.page().unwrap();
        let doors = list[which].as_array().unwrap();
        assert!(doors.len() > 5, "{which}");
        for door in doors {
            let text = |name: &str| door.get(name).and_then(Value::as_str).unwrap();
            let (method, path) = (text("method"), text("path"));
            let url = format!("{}{}", base.trim_end_matches('/'), path.replace("{id}", "1"));
            let mut line = format!("{which:6} {method:5}{path:30}");
            for (name, headers) in ways {
                if name == "a form" && method == "GET" {
                    continue;
                }
                let mut request = http.request(method.parse::<Method>().unwrap(), &url).body("{}");
                for (key, value) in headers {
                    request = request.header(*key, *value);
                }
                let status = request.send().await.unwrap().status();
                assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path}, {name}");
                line += &format!("  {name}: {}", status.as_u16());
                tried += 1;
            }
            println!("{line}");
        }
    }
    println!("{tried} knocks");
    assert!(!fresh.data.join("enrolled.toml").exists());
}
