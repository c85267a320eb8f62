//! The hub's HTTP doors, from the list that its routers are made of.

use lectern_tests::school::SCHOOL;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::x509::X509;
use reqwest::{Certificate, Client, Identity, Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{House, Keys, OTHER, ROOM, house};

/// Who knocks.
struct Knock {
    name: &'static str,
    http: Client,
    login: Option<(String, String)>,
    cookie: Option<&'static str>,
}

impl House {
    fn client(&self, shown: Option<&Keys>) -> Client {
        let ca = Certificate::from_pem(&self.hub.ca().unwrap()).unwrap();
        let redirect = reqwest::redirect::Policy::none();
        let client = Client::builder().no_proxy().tls_certs_only([ca]).redirect(redirect);
        let client = match shown {
            None => client,
            Some(keys) => {
                let certificate = X509::from_pem(&keys.shown.certificate).unwrap();
                let key = PKey::private_key_from_pem(&keys.shown.key).unwrap();
                let mut both = Pkcs12::builder();
                both.name("x").pkey(&key).cert(&certificate);
                let both = both.build2("x").unwrap().to_der().unwrap();
                client.identity(Identity::from_pkcs12_der(&both, "x").unwrap())
            }
        };
        client.build().unwrap()
    }

    fn knocks(&self) -> Vec<Knock> {
        let login = |id: &str, password: &str| Some((id.to_owned(), password.to_owned()));
        let (own, other) = (&self.keys, &self.other);
        let knock = |name, http, login| Knock { name, http, login, cookie: None };
        vec![
            knock("nobody", self.client(None), None),
            knock("wrong password", self.client(Some(own)), login(ROOM, "0".repeat(48).as_str())),
            knock("password alone", self.client(None), login(ROOM, &own.password)),
            knock("certificate alone", self.client(Some(own)), None),
            knock("another's certificate", self.client(Some(other)), login(ROOM, &own.password)),
            Knock { cookie: Some("lectern=00"), ..knock("wrong cookie", self.client(None), None) },
            knock("another device", self.client(Some(other)), login(OTHER, &other.password)),
        ]
    }

    fn path(&self, path: &str) -> String {
        let lesson = self.lesson.as_str();
        [
            ("{device}/{id}", format!("{ROOM}/0000000000000001")),
            ("{device}", ROOM.to_owned()),
            ("{lesson}", lesson.to_owned()),
            ("{take}", "1".to_owned()),
            ("{file}", "take-1.mp4".to_owned()),
            ("{n}", "1".to_owned()),
            ("{token}", self.token.clone()),
            ("{*path}", "0/0".to_owned()),
        ]
        .into_iter()
        .fold(path.to_owned(), |path, (name, value)| path.replace(name, &value))
    }

    /// What a door needs to be more than a malformed question.
    fn query(path: &str) -> String {
        let forged = "0".repeat(64);
        match path {
            "/api/v1/enrol/{token}" => format!("?nonce={}", "0".repeat(32)),
            "/api/v1/log/consistency" => "?from=0&to=1".to_owned(),
            path if path.starts_with("/store/v1/parts/") => {
                format!("?size=3&sha256={forged}&expires=9999999999999&sig={forged}")
            }
            _ => String::new(),
        }
    }

    /// A body that would do something, if it were let in.
    fn body(&self, path: &str) -> Vec<u8> {
        let key = &self.key;
        let digest = "0".repeat(64);
        let body = match path {
            "/api/v1/lessons" => json!({ "lesson_id": self.lesson, "started_wall_ms": 1, "key": key }),
            "/api/v1/enrol/{token}" => json!({ "csr": "x", "key": key, "proof": digest }),
            // Signed by the room itself: only it may hand it in.
            "/api/v1/lessons/{lesson}/seal" => {
                return std::fs::read(
                    self.hub.data.join(format!("objects/{SCHOOL}/{ROOM}/{}/manifest.json", self.lesson)),
                )
                .unwrap();
            }
            _ => {
                json!({ "n": 0, "size": 3, "sha256": digest, "csr": "x", "school": SCHOOL, "room": "x", "device": ROOM })
            }
        };
        body.to_string().into_bytes()
    }

    async fn knock(&self, by: &Knock, method: &str, path: &str) -> Response {
        let method: Method = method.parse().unwrap();
        let mut request = by
            .http
            .request(method.clone(), format!("{}{}{}", self.hub.url(), self.path(path), Self::query(path)));
        if let Some((id, password)) = &by.login {
            request = request.basic_auth(id, Some(password));
        }
        if let Some(cookie) = by.cookie {
            request = request.header("cookie", cookie);
        }
        if method != Method::GET && method != Method::DELETE {
            request = request.header("content-type", "application/json").body(self.body(path));
        }
        request.send().await.unwrap()
    }
}

/// Whether an answer is a refusal, and none that something broke.
fn refused(status: StatusCode, leads_to: Option<&str>) -> bool {
    let to_login = status == StatusCode::SEE_OTHER && leads_to.is_some_and(|to| to.starts_with("/login"));
    to_login || status.is_client_error()
}

/// What another device may do with these is its own: the door is tried with what belongs to the room.
fn is_its_own(path: &str) -> bool {
    ["/api/v1/home", "/api/v1/renew"].contains(&path)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_http_door_of_the_hub_opens_to_whom_it_is_not_for() {
    let mut house = house();
    let info: Value = house
        .client(None)
        .get(format!("{}/api/v1/hub", house.hub.url()))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    house.key = info["key"].clone();
    house.hub.token("304教室").unwrap();
    let tokens: Value =
        serde_json::from_str(&house.hub.lectern_hub(&["token", "list", "--json"]).unwrap()).unwrap();
    let unused = tokens.as_array().unwrap().iter().find(|token| token["standing"] == "unused").unwrap();
    house.token = unused["token"].as_str().unwrap().to_owned();
    let list: Vec<Value> = serde_json::from_str(&house.hub.lectern_hub_bare(&["routes"]).unwrap()).unwrap();
    assert!(list.len() > 60, "only {} doors", list.len());
    let knocks = house.knocks();
    print!("{:7}{:48}{:11}", "", "", "");
    knocks.iter().for_each(|by| print!("{:>23}", by.name));
    println!();
    let (mut faults, mut tried) = (Vec::new(), 0);
    for door in &list {
        let text = |name: &str| door[name].as_str().unwrap();
        let (method, path, who) = (text("method"), text("path"), text("who"));
        let mut line = format!("{method:7}{path:48}{who:11}");
        for by in &knocks {
            // A stream that is let in would not end; its status comes at once.
            let answer = house.knock(by, method, path).await;
            let status = answer.status();
            let leads_to =
                answer.headers().get("location").and_then(|to| to.to_str().ok()).map(str::to_owned);
            tried += 1;
            let own = by.name == "another device" && is_its_own(path);
            let fine = match who {
                "everybody" => !status.is_server_error(),
                // From this machine; from others by the next test.
                "here" => status == StatusCode::OK,
                "device" if own => !status.is_server_error(),
                // Who knows a token's name knows its code; what is said then is worth nothing without it.
                "token" if method == "GET" => status == StatusCode::OK,
                "device" | "console" | "grant" | "token" => refused(status, leads_to.as_deref()),
                other => panic!("{other}: a kind of door that nobody tries"),
            };
            line += &format!("{:>23}", if own { "its own".to_owned() } else { status.as_u16().to_string() });
            if !fine {
                faults.push(format!("{method} {path} ({who}), {}: {status}", by.name));
            }
            if who == "everybody" && status.is_success() {
                let body = answer.text().await.unwrap();
                let names = [ROOM, OTHER, "302教室", house.lesson.as_str(), house.keys.password.as_str()];
                for name in names.into_iter().filter(|name| body.contains(*name)) {
                    faults.push(format!("{method} {path} tells everybody of {name}"));
                }
            }
        }
        println!("{line}");
    }
    println!("{tried} knocks at {} doors", list.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // Numbers are for this machine; whoever comes through a proxy on it is not on it.
    let through =
        house.client(None).get(format!("{}/metrics", house.hub.url())).header("x-forwarded-for", "10.0.0.9");
    assert_eq!(through.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    // The token that was knocked at lets its room in, as before; one that is not there lets nobody in.
    let sql = format!("SELECT uses FROM token WHERE token = '{}'", house.token);
    assert_eq!(house.hub.rows().unwrap().query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    house.token = "0".repeat(24);
    for method in ["GET", "POST"] {
        let status = house.knock(&knocks[0], method, "/api/v1/enrol/{token}").await.status();
        assert_eq!(status, StatusCode::NOT_FOUND, "{method}");
    }
    // A path that is no door.
    for path in ["/api/v1/nothing", "/store/v1/nothing", "/nothing", "/devices/tokens/x/y/z"] {
        let answer = house.client(None).get(format!("{}{path}", house.hub.url())).send().await.unwrap();
        assert!(answer.status().is_client_error(), "{path}: {}", answer.status());
    }
    // Nothing of the room was touched, and its own keys open its own doors.
    let own = Knock {
        name: "the room",
        http: house.client(Some(&house.keys)),
        login: Some((ROOM.to_owned(), house.keys.password.clone())),
        cookie: None,
    };
    let answer = house.knock(&own, "GET", "/api/v1/lessons/{lesson}").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.json::<Value>().await.unwrap()["state"], "stored");
    // Whoever speaks without TLS here is told so, and nothing else.
    let plain = format!("http://127.0.0.1:{}/login", house.hub.http);
    let answer = Client::builder().no_proxy().build().unwrap().get(plain).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(answer.text().await.unwrap().contains("https://"));
    house.is_well();
}
